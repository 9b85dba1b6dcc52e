"""Hypothesis on a busy machine. Apart from fakes.py, which workers import: they have no use for Hypothesis."""

from hypothesis import settings

__all__ = ["steady"]

#: No deadlines, the same examples in every run, nothing kept on disk.
steady = settings(max_examples=25, deadline=None, derandomize=True, database=None)
