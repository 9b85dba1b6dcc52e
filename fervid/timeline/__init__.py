"""Per-second timelines: aggregated, derived, written, read."""
