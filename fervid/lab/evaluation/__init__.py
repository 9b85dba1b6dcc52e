"""Evaluate, score and explain classifiers."""
