"""Face crops into emotion probabilities."""
