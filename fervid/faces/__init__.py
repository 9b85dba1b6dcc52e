"""Faces in frames: detectors, key frames, crops."""
