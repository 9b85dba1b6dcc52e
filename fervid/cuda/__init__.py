"""The pipeline from sampled frames to faces on an NVIDIA GPU."""
