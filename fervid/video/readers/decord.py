"""A second reader for clean files, by decord: see indexed_reader.py."""

from pathlib import Path
from typing import Any

import numpy as np

from fervid.errors import MissingDependency
from fervid.video.readers.indexed import IndexedReader

__all__ = ["DecordReader"]


class DecordFrame:
    """A frame by its number, decoded when its pixels are asked for."""

    def __init__(self, reader: "DecordReader", number: int, pts_s: float, duration_s: float) -> None:
        self.pts_s, self.duration_s = pts_s, duration_s
        self._reader, self._number = reader, number

    def rgb(self, width_px: int, height_px: int) -> np.ndarray:
        """Give (height_px, width_px, 3) uint8 RGB, scaled by area."""
        from PIL import Image

        image = Image.fromarray(self._reader.pixels(self._number))
        return np.asarray(image.resize((width_px, height_px), Image.Resampling.BOX))

    def luma(self) -> np.ndarray:
        """Give the luma (H, W) uint8, 0..255, from RGB by ITU-R BT.601 (decord gives no luma plane)."""
        weights = np.array([0.299, 0.587, 0.114], np.float32)
        return np.rint(self._reader.pixels(self._number) @ weights).astype(np.uint8)

    def luma_preview(self) -> np.ndarray | None:
        """Nothing is cheap here: decord gives RGB only."""
        return None

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Give the luma; there is no other."""
        return self.luma(), False


class DecordReader(IndexedReader[np.ndarray]):
    """A Reader on decord, whose pixels are (H, W, 3) uint8 RGB."""

    library = "decord"
    #: It drops the first group of pictures of MPEG-TS.
    safe = ("mov", "matroska", "avi")

    def __init__(self, path: Path, *, stream: int | None, max_pixels: int) -> None:
        try:
            import decord
        except ImportError:
            raise MissingDependency("--reader decord needs decord: pip install decord (x86-64 Linux)") from None
        self._library = decord
        super().__init__(path, stream=stream, max_pixels=max_pixels)

    def _open(self) -> Any:
        # decord turns rotated MP4 upright itself, but not Matroska
        self._turns = self.info.rotation_deg // 90 if self.info.container == "matroska" else 0
        return self._library.VideoReader(str(self._path.absolute()), num_threads=1)

    def _decode(self, number: int) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(self._decoder[number].asnumpy(), self._turns))

    def _frame(self, number: int, pts_s: float, duration_s: float) -> DecordFrame:
        return DecordFrame(self, number, pts_s, duration_s)
