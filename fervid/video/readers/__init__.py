"""One module per decoder: PyAV by default, decord, torchcodec and NVDEC on request."""
