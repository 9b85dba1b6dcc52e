"""Timelines for other programs."""
