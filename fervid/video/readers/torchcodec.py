"""A reader for undamaged files by torchcodec, on the CPU or on a GPU's own decoder (NVDEC); see readers.indexed.

On a GPU the frames stay there: `rgb` and `stored_luma` return tensors, for fervid.cuda.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fervid.errors import MissingDependency, install_extra
from fervid.video.reader import NotOnGPU
from fervid.video.readers.indexed import IndexedFrame, IndexedReader, resize_image
from fervid.video.readers.tensor_frame import luma_weights, resize_rgb

__all__ = ["DeviceFrame", "TorchcodecReader"]

_SAME_TIME_S = 0.001


class _RGBFrame(IndexedFrame):
    """A frame that torchcodec decodes to RGB; it gives no luma plane."""

    def _luma(self) -> Tensor:
        rgb = self._pixels()
        return (rgb.float() @ self._reader.weights).round_().clamp_(0, 255).to(torch.uint8)


class TorchcodecFrame(_RGBFrame):
    """A Frame on the CPU, as arrays."""

    def rgb(self, width_px: int, height_px: int) -> np.ndarray:
        """Convert the frame to RGB (height_px, width_px, 3) uint8, resized by area."""
        return resize_image(self._pixels().numpy(), width_px, height_px)

    def luma(self) -> np.ndarray:
        """Compute the luma (H, W) uint8, 0..255, from RGB by the file's own matrix."""
        return self._luma().numpy()

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Return the luma at full range: torchcodec gives RGB only."""
        return self.luma(), False


class DeviceFrame(_RGBFrame):
    """A Frame whose pixels stay on a device, as tensors."""

    def rgb(self, width_px: int, height_px: int) -> Tensor:
        """Convert the frame to RGB (height_px, width_px, 3) uint8, resized by area."""
        return resize_rgb(self._pixels(), width_px, height_px)

    def luma(self) -> np.ndarray:
        """Copy the luma (H, W) uint8 to the CPU as an array."""
        return self._luma().cpu().numpy()

    def stored_luma(self) -> tuple[Tensor, bool]:
        """Return the luma at full range: torchcodec gives RGB only."""
        return self._luma(), False


class TorchcodecReader(IndexedReader[Tensor]):
    """A Reader by torchcodec, whose pixels are (H, W, 3) uint8 RGB on `device`.

    Parameters
    ----------
    path : Path
    stream : int or None
        The index of the video stream.
    max_pixels : int
        The largest frame.
    device : str
        "cpu", or "cuda:i" to decode on a GPU.

    Raises
    ------
    MissingDependency
        If torchcodec, or one of FFmpeg's libraries, is not installed.
    VideoError
        As IndexedReader; NotOnGPU for what the GPU's decoder does not support, where torchcodec would fall back to the
        CPU by itself.
    """

    library = "torchcodec"
    #: At the end of MPEG-TS torchcodec seeks frames that do not exist; it cannot index raw streams.
    safe = ("mov", "matroska", "avi")

    def __init__(self, path: Path, *, stream: int | None, max_pixels: int, device: str = "cpu") -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, OSError, RuntimeError) as e:  # RuntimeError where FFmpeg's libraries are missing
            missing = isinstance(e, ImportError) and "torchcodec" in str(e)
            need = (
                f"torchcodec: {install_extra('torchcodec')}" if missing else "FFmpeg's shared libraries: install ffmpeg"
            )
            raise MissingDependency(f"--reader torchcodec needs {need}; or use --reader av") from None
        self._decoder_type, self._device, self._on_gpu = VideoDecoder, device, device != "cpu"
        super().__init__(path, stream=stream, max_pixels=max_pixels)
        self.health.decoder = "nvdec" if self._on_gpu else "cpu"

    def _open(self) -> Any:
        if self._on_gpu and self.info.rotation_deg:
            raise NotOnGPU(self._path, "rotated video")
        threads = max(1, min(4, len(os.sched_getaffinity(0)) - 1))
        decoder = self._decoder_type(
            str(self._path.absolute()),
            stream_index=self.info.stream,
            dimension_order="NHWC",
            num_ffmpeg_threads=threads,
            device=self._device,
            seek_mode="exact",
        )
        # copied to the device once: a copy per frame would wait for everything that is being computed there
        self.weights = torch.tensor(luma_weights(decoder.metadata.color_space), device=self._device)
        if self._on_gpu and decoder.cpu_fallback:
            raise NotOnGPU(self._path, f"{decoder.cpu_fallback}")
        return decoder

    def _decode(self, number: int) -> Tensor:
        """Decode a frame, and check its time and, on a GPU, its size.

        NVDEC's parser skips damage without an error, and where the resolution changes torchcodec reads surfaces of the
        old size as if they had the new one.
        """
        frame = self._decoder.get_frame_at(number)
        if abs(frame.pts_seconds - self.info.start_s - self._times[number][0]) > _SAME_TIME_S:
            raise self._unsupported(f"frame {number} has the time of another one, {frame.pts_seconds:.3f} s")
        size = (self._decoder.metadata.height, self._decoder.metadata.width)
        if self._on_gpu and tuple(frame.data.shape[:2]) != size:
            raise NotOnGPU(self._path, "its resolution changes")
        return frame.data

    def _frame(self, number: int, pts_s: float, duration_s: float) -> Any:
        return (DeviceFrame if self._on_gpu else TorchcodecFrame)(self, number, pts_s, duration_s)
