"""Studies that compare timelines with human coders. No stage of the pipeline imports them."""
