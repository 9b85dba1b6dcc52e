"""Timelines as web pages that work offline."""
