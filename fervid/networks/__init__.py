"""The networks that fervid trains and loads, and their weights."""
