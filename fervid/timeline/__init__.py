"""Per-second timelines: aggregate, derive, write and read them."""
