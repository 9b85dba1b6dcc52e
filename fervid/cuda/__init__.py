"""The line on an NVIDIA GPU."""
