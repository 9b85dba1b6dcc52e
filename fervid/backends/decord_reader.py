"""A second reader for clean files: decord's pixels at the times that the container's packets carry.

decord opens any frame by its number, so only the frames that are looked at are decoded. It is wrong or silent on edit
lists, damage and changes of resolution (FACTS), so everything but pixels comes from PyAV, and a file on which the two
do not agree is refused.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from fervid.backends.pyav_reader import PyAVReader
from fervid.errors import MissingDependency, VideoError
from fervid.video import Health, RestartNeeded

__all__ = ["DecordReader"]

#: Containers in which decord 0.6 gives every frame (it drops the first group of pictures of MPEG-TS). It turns rotated
#: MP4 upright itself, but not Matroska.
_SAFE = ("mov", "matroska", "avi")


class DecordFrame:
    """A frame by its number, decoded when its pixels are asked for."""

    def __init__(self, reader: "DecordReader", number: int, pts_s: float, duration_s: float) -> None:
        self.pts_s, self.duration_s = pts_s, duration_s
        self._reader, self._number = reader, number

    def picture(self, width_px: int, height_px: int) -> np.ndarray:
        """Give (height_px, width_px, 3) uint8 RGB, scaled by area."""
        from PIL import Image

        image = Image.fromarray(self._reader.pixels(self._number))
        return np.asarray(image.resize((width_px, height_px), Image.Resampling.BOX))

    def luma(self) -> np.ndarray:
        """Give the luma (H, W) uint8, 0..255, from RGB by ITU-R BT.601 (decord gives no luma plane)."""
        weights = np.array([0.299, 0.587, 0.114], np.float32)
        return np.rint(self._reader.pixels(self._number) @ weights).astype(np.uint8)

    def glance(self) -> np.ndarray | None:
        """Nothing is cheap here: decord gives RGB only."""
        return None

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Give the luma; there is no other."""
        return self.luma(), False


class DecordReader:
    """A Reader on decord. VideoError "unsupported" where decord would give other frames than the container holds."""

    def __init__(self, path: Path, *, stream: int | None, max_pixels: int) -> None:
        try:
            import decord
        except ImportError:
            raise MissingDependency("--reader decord needs decord: pip install decord (x86-64 Linux)") from None
        self._path = path
        try:
            with PyAVReader(path, stream=stream, max_pixels=max_pixels, careful=False, synthetic_time=False) as sure:
                self.info = sure.info
                self._times = sure.frame_times()
        except RestartNeeded:
            raise self._refuse("it is damaged or has no timestamps") from None
        if self.info.container not in _SAFE:
            raise self._refuse(f"it loses frames of {self.info.container}")
        end_s = sum(self._times[-1]) if self._times else 0.0
        if self.info.duration_s and end_s < self.info.duration_s - 1:
            raise self._refuse(f"it ends at {end_s:.1f} s of {self.info.duration_s:.1f} s")
        self._turns = self.info.rotation_deg // 90 if self.info.container == "matroska" else 0
        self.health = Health()
        self.end_s: float | None = None
        self._last: tuple[int, np.ndarray] | None = None
        try:
            self._decord = decord.VideoReader(str(path.absolute()), num_threads=1)
        except Exception as e:  # noqa: BLE001 - decord raises its own and bare RuntimeErrors
            raise self._refuse(f"decord says: {str(e).splitlines()[0][:120]}") from None
        if len(self._decord) != len(self._times):
            raise self._refuse(f"decord counts {len(self._decord)} frames, the container {len(self._times)}")

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[DecordFrame]:
        """Yield the frames with start_s <= pts_s < stop_s."""
        end_s = 0.0
        for number, (pts_s, duration_s) in enumerate(self._times):
            if pts_s >= start_s and (stop_s is None or pts_s < stop_s):
                self.health.decoded += 1
                end_s = pts_s + duration_s
                yield DecordFrame(self, number, pts_s, duration_s)
        self.end_s = end_s if stop_s is None else min(end_s, stop_s)

    def pixels(self, number: int) -> np.ndarray:
        """Decode one frame -> (H, W, 3) uint8, displayed upright; the last one is kept."""
        if self._last is None or self._last[0] != number:
            try:
                rgb = self._decord[number].asnumpy()
            except Exception as e:  # noqa: BLE001 - as above
                raise self._refuse(f"frame {number}: {str(e).splitlines()[0][:120]}") from None
            self._last = (number, np.ascontiguousarray(np.rot90(rgb, self._turns)))
        return self._last[1]

    def close(self) -> None:
        """Let go of the decoder."""
        self._decord = self._last = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _refuse(self, why: str) -> VideoError:
        message = f"{self._path}: not a file that decord reads rightly ({why}); use --reader av"
        return VideoError(message, reason="unsupported")
