"""Views of results: terminal output, figures, annotated videos, web pages, exports."""
