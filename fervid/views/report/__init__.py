"""A timeline as an offline web page."""
