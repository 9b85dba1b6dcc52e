"""One frame of PyAV, converted only as far as it is asked for."""

from dataclasses import dataclass, field

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from fervid.video import full_range

__all__ = ["PyAVFrame", "Scalers"]

#: Pixel formats whose first plane is eight bits of luma.
_LUMA_FIRST = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv440p", "nv12", "nv21", "gray")


@dataclass(frozen=True)
class Scalers:
    """One swscale context a job, kept through the video: a context that changes jobs is set up anew each time."""

    area: VideoReformatter = field(default_factory=VideoReformatter)
    rgb: VideoReformatter = field(default_factory=VideoReformatter)
    grey: VideoReformatter = field(default_factory=VideoReformatter)


class PyAVFrame:
    """A decoded frame, still in the decoder's pixel format."""

    def __init__(self, frame: av.VideoFrame, pts_s: float, duration_s: float, scalers: Scalers) -> None:
        self.pts_s, self.duration_s = pts_s, duration_s
        self._frame, self._scalers = frame, scalers
        self._turns = round(frame.rotation / 90) % 4

    def picture(self, width_px: int, height_px: int) -> np.ndarray:
        """Give (height_px, width_px, 3) uint8 RGB: by area to the small size first, to RGB only there."""
        if self._turns % 2:
            width_px, height_px = height_px, width_px
        small = self._scalers.area.reformat(
            self._frame, width_px, height_px, "yuv420p", interpolation=Interpolation.AREA, threads=1
        )
        rgb = self._scalers.rgb.reformat(small, width_px, height_px, "rgb24", threads=1).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, self._turns))

    def luma(self) -> np.ndarray:
        """Give the luma plane (H, W) uint8, stretched to 0..255 where the video has 16..235."""
        plane, limited = self.stored_luma()
        return full_range(plane) if limited else plane

    def glance(self) -> np.ndarray | None:
        """Give every eighth row of the luma as it is stored, unturned; None for pixel formats without such a plane."""
        return _visible(self._frame)[::8].copy() if self._frame.format.name in _LUMA_FIRST else None

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Give a copy of the luma plane (H, W), and whether it is limited: stretching it all takes 9 ms at 1080p."""
        frame = self._frame
        if frame.format.name not in _LUMA_FIRST:
            full = self._scalers.grey.reformat(frame, format="gray", dst_color_range=ColorRange.JPEG, threads=1)
            return np.rot90(_visible(full), self._turns), False
        limited = frame.color_range != ColorRange.JPEG and not frame.format.name.startswith("yuvj")
        return np.rot90(_visible(frame).copy(), self._turns), limited


def _visible(frame: av.VideoFrame) -> np.ndarray:
    """View the first plane without its line padding."""
    plane = frame.planes[0]
    pixels = np.frombuffer(memoryview(plane), np.uint8)
    return pixels.reshape(plane.height, plane.line_size)[:, : frame.width]
