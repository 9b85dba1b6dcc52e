"""Timelines in the formats of other programs."""
