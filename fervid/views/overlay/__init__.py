"""A timeline drawn on its video."""
