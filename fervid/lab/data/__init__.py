"""Labelled face images, as they lie on disk."""
