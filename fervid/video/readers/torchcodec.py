"""A reader for clean files by torchcodec, on the CPU or on a GPU's own decoder (NVDEC): see indexed_reader.py.

On a GPU the frames stay there: `picture` and `stored_luma` give tensors, for device_line.py.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fervid.errors import MissingDependency
from fervid.video.reader import NotOnGPU
from fervid.video.readers.indexed import IndexedReader
from fervid.video.readers.tensor_frame import luma_weights, resize_rgb

__all__ = ["TorchcodecReader"]


_SAME_TIME_S = 0.001


class _RGBFrame:
    """A frame by its number, decoded when its pixels are asked for; torchcodec gives RGB and no luma plane."""

    def __init__(self, reader: "TorchcodecReader", number: int, pts_s: float, duration_s: float) -> None:
        self.pts_s, self.duration_s = pts_s, duration_s
        self._reader, self._number = reader, number

    def _luma(self) -> Tensor:
        rgb = self._reader.pixels(self._number)
        return (rgb.float() @ self._reader.weights).round_().clamp_(0, 255).to(torch.uint8)

    def luma_preview(self) -> np.ndarray | None:
        """Nothing is cheap here."""
        return None


class TorchcodecFrame(_RGBFrame):
    """A Frame, on the CPU."""

    def rgb(self, width_px: int, height_px: int) -> np.ndarray:
        """Give (height_px, width_px, 3) uint8 RGB, scaled by area."""
        from PIL import Image

        image = Image.fromarray(self._reader.pixels(self._number).numpy())
        return np.asarray(image.resize((width_px, height_px), Image.Resampling.BOX))

    def luma(self) -> np.ndarray:
        """Give the luma (H, W) uint8, 0..255, from RGB by the file's own matrix."""
        return self._luma().numpy()

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Give the luma; there is no other."""
        return self.luma(), False


class DeviceFrame(_RGBFrame):
    """The same where the pixels are on a device: tensors in the place of arrays."""

    def rgb(self, width_px: int, height_px: int) -> Tensor:
        """Give (height_px, width_px, 3) uint8 RGB, scaled by area."""
        return resize_rgb(self._reader.pixels(self._number), width_px, height_px)

    def luma(self) -> np.ndarray:
        """Give the luma (H, W) uint8 as an array all the same."""
        return self._luma().cpu().numpy()

    def stored_luma(self) -> tuple[Tensor, bool]:
        """Give the luma; there is no other."""
        return self._luma(), False


class TorchcodecReader(IndexedReader[Tensor]):
    """A Reader on torchcodec, whose pixels are (H, W, 3) uint8 RGB on `device`.

    On a GPU, VideoError "unsupported" for what its decoder does not take: torchcodec would turn to the CPU by itself.
    """

    library = "torchcodec"
    #: At the end of MPEG-TS it asks for frames that are not there; raw streams it cannot index.
    safe = ("mov", "matroska", "avi")

    def __init__(self, path: Path, *, stream: int | None, max_pixels: int, device: str = "cpu") -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, OSError, RuntimeError) as e:  # it raises RuntimeError where FFmpeg's libraries are missing
            installed = isinstance(e, ImportError) and "torchcodec" in str(e)
            need = "torchcodec: pip install torchcodec" if installed else "FFmpeg's shared libraries: install ffmpeg"
            raise MissingDependency(f"--reader torchcodec needs {need} (or use --reader av)") from None
        self._new, self._device, self._on_gpu = VideoDecoder, device, device != "cpu"
        super().__init__(path, stream=stream, max_pixels=max_pixels)
        self.health.decoder = "nvdec" if self._on_gpu else "cpu"

    def _open(self) -> Any:
        if self._on_gpu and self.info.rotation_deg:
            raise NotOnGPU(self._path, "turned pictures were not tried")
        threads = max(1, min(4, len(os.sched_getaffinity(0)) - 1))
        decoder = self._new(
            str(self._path.absolute()),
            stream_index=self.info.stream,
            dimension_order="NHWC",
            num_ffmpeg_threads=threads,
            device=self._device,
            seek_mode="exact",
        )
        # on the device once: a copy for each frame would wait there for all that is computed
        self.weights = torch.tensor(luma_weights(decoder.metadata.color_space), device=self._device)
        if self._on_gpu and decoder.cpu_fallback:
            raise NotOnGPU(self._path, f"{decoder.cpu_fallback}")
        return decoder

    def _decode(self, number: int) -> Tensor:
        """Decode a frame, and hold it to its time and, on a GPU, to the size.

        NVDEC's parser passes over damage without a word, and where the resolution changes torchcodec reads surfaces of
        the old size as if they were of the new.
        """
        frame = self._decoder.get_frame_at(number)
        if abs(frame.pts_seconds - self.info.start_s - self._times[number][0]) > _SAME_TIME_S:
            raise self._refuse(f"frame {number} comes at {frame.pts_seconds:.3f} s, which is another's time")
        size = (self._decoder.metadata.height, self._decoder.metadata.width)
        if self._on_gpu and tuple(frame.data.shape[:2]) != size:
            raise NotOnGPU(self._path, "its resolution changes")
        return frame.data

    def _frame(self, number: int, pts_s: float, duration_s: float) -> Any:
        return (DeviceFrame if self._on_gpu else TorchcodecFrame)(self, number, pts_s, duration_s)
