"""The readers: PyAV by default; decord, torchcodec and NVDEC on request."""
