"""Where a film cuts, fades or dissolves."""
