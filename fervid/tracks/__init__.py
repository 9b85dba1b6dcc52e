"""Faces linked over time, and tracks joined into persons."""
