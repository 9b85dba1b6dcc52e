"""A reader for undamaged files by decord (see fervid.video.readers.indexed)."""

from pathlib import Path
from typing import Any

import numpy as np

from fervid.errors import MissingDependency
from fervid.video.readers.indexed import IndexedFrame, IndexedReader, resize_image

__all__ = ["DecordReader"]

#: ITU-R BT.601; decord gives no luma plane.
_LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)


class DecordFrame(IndexedFrame):
    """A Frame that decord decodes on request."""

    def rgb(self, width_px: int, height_px: int) -> np.ndarray:
        """Convert the frame to RGB (height_px, width_px, 3) uint8, resized by area."""
        return resize_image(self._pixels(), width_px, height_px)

    def luma(self) -> np.ndarray:
        """Compute the luma (H, W) uint8, 0..255, from RGB."""
        return np.rint(self._pixels() @ _LUMA_WEIGHTS).astype(np.uint8)

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Return the luma at full range: decord gives RGB only."""
        return self.luma(), False


class DecordReader(IndexedReader[np.ndarray]):
    """A Reader by decord, whose pixels are (H, W, 3) uint8 RGB.

    Parameters
    ----------
    path : Path
    stream : int or None
        The index of the video stream.
    max_pixels : int
        The largest frame.

    Raises
    ------
    MissingDependency
        If decord is not installed.
    VideoError
        As IndexedReader.
    """

    library = "decord"
    #: decord drops the first group of pictures of MPEG-TS.
    safe = ("mov", "matroska", "avi")

    def __init__(self, path: Path, *, stream: int | None, max_pixels: int) -> None:
        try:
            import decord
        except ImportError:
            raise MissingDependency("--reader decord needs decord: pip install decord (x86-64 Linux)") from None
        self._library = decord
        super().__init__(path, stream=stream, max_pixels=max_pixels)

    def _open(self) -> Any:
        # decord rotates MP4 upright by itself, but not Matroska
        self._turns = self.info.rotation_deg // 90 if self.info.container == "matroska" else 0
        return self._library.VideoReader(str(self._path.absolute()), num_threads=1)

    def _decode(self, number: int) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(self._decoder[number].asnumpy(), self._turns))

    def _frame(self, number: int, pts_s: float, duration_s: float) -> DecordFrame:
        return DecordFrame(self, number, pts_s, duration_s)
