"""Shots: where a film cuts, fades or dissolves."""
