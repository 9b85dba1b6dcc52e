"""Decode video files into frames in display order, with times that can be trusted, and write video files."""
