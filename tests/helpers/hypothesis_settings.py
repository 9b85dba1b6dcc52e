"""Settings of Hypothesis. Separate from fakes.py, which worker processes import without Hypothesis."""

from hypothesis import settings

__all__ = ["steady"]

#: No deadlines, the same examples in every run, nothing kept on disk.
steady = settings(max_examples=25, deadline=None, derandomize=True, database=None)
