"""A decoded frame of PyAV, converted only as far as requested."""

from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from fervid.video.geometry import UPRIGHT, fit
from fervid.video.reader import full_range
from fervid.video.readers.frame_geometry import geometry_of
from fervid.video.tone_mapping import TRANSFERS, luma_table, tone_map

__all__ = ["PyAVFrame", "Scalers", "planes_of"]

#: Those that have the full range whatever they declare, as FFmpeg's scaler treats them (begin of the name).
_FULL_RANGE = ("yuvj", "gray", "ya")
#: Pixel formats whose first plane is eight bits of luma.
_LUMA_FIRST = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv440p", "nv12", "nv21", "gray")

#: Colour matrices (ITU-T H.273) that swscale converts. It rejects frames that declare another one, such as BT.2020 with
#: constant luminance or a value written by damage: these are treated as frames that declare none.
_MATRICES, _UNSPECIFIED = (0, 1, 2, 4, 5, 6, 7, 9), 2


@dataclass(frozen=True)
class Scalers:
    """The swscale contexts of a video, one per purpose: a context that changes its purpose is set up again."""

    area: VideoReformatter = field(default_factory=VideoReformatter)
    rgb: VideoReformatter = field(default_factory=VideoReformatter)
    grey: VideoReformatter = field(default_factory=VideoReformatter)
    canvas: VideoReformatter = field(default_factory=VideoReformatter)
    opaque: VideoReformatter = field(default_factory=VideoReformatter)


class PyAVFrame:
    """A decoded frame, still in the decoder's pixel format.

    Parameters
    ----------
    frame : av.VideoFrame
    pts_s, duration_s : float
        Seconds.
    scalers : Scalers
        Shared by the frames of a video.

    Attributes
    ----------
    geometry : Geometry
    size_px : tuple of int
        Displayed width and height.
    transfer : int
        The transfer characteristics of HDR (tone_mapping.TRANSFERS), which is shown as SDR; else 0.
    """

    def __init__(self, frame: av.VideoFrame, pts_s: float, duration_s: float, scalers: Scalers) -> None:
        self.pts_s, self.duration_s = pts_s, duration_s
        self._frame, self._scalers = frame, scalers
        self.transfer = int(frame.color_trc) if frame.color_trc in TRANSFERS else 0
        if frame.colorspace not in _MATRICES:
            frame.colorspace = _UNSPECIFIED
        self.geometry = geometry_of(frame)
        self.size_px = self.geometry.displayed(frame.width, frame.height)

    def rgb(self, width_px: int, height_px: int) -> np.ndarray:
        """Convert the displayed frame to RGB (height_px, width_px, 3) uint8: resized by area first, then to RGB."""
        if self.geometry.orientation.swaps_sides:
            width_px, height_px = height_px, width_px
        frame, area = self._opaque(), Interpolation.AREA
        if self.transfer:
            coded = self._scalers.area.reformat(frame, width_px, height_px, "rgb48le", interpolation=area, threads=1)
            rgb = tone_map(coded.to_ndarray(), self.transfer, int(frame.color_primaries))
        else:
            small = self._scalers.area.reformat(frame, width_px, height_px, "yuv420p", interpolation=area, threads=1)
            rgb = self._scalers.rgb.reformat(small, width_px, height_px, "rgb24", threads=1).to_ndarray()
        return np.ascontiguousarray(self.geometry.orientation.apply(rgb))

    def _opaque(self) -> av.VideoFrame:
        """Return the frame; where parts of it are transparent, on black, as players show it."""
        frame = self._frame
        if not any(component.is_alpha for component in frame.format.components) and not frame.format.has_palette:
            return frame
        rgba = self._scalers.opaque.reformat(frame, format="rgba", threads=1).to_ndarray()
        if rgba[..., 3].min() >= 254 and not frame.format.has_palette:
            return frame
        on_black = (rgba[..., :3] * rgba[..., 3:].astype(np.uint16) + 127) // 255
        self._frame = av.VideoFrame.from_ndarray(on_black.astype(np.uint8), "rgb24")
        return self._frame

    def luma(self) -> np.ndarray:
        """Return the luma plane (H, W) uint8 of the displayed frame, stretched to 0..255 where its range is limited."""
        plane, limited = self.stored_luma()
        return full_range(plane) if limited else plane

    def luma_preview(self) -> np.ndarray | None:
        """Copy every eighth stored row of luma, as displayed; None for pixel formats without a luma plane."""
        if self._frame.format.name not in _LUMA_FIRST:
            return None
        return self.geometry.orientation.apply(_first_plane(self._frame)[::8]).copy()

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Copy the luma plane (H, W), and report whether its range is limited: stretching takes 9 ms at 1080p."""
        frame, display = self._opaque(), self.geometry.orientation.apply
        full: dict[str, Any] = {"dst_color_range": ColorRange.JPEG, "threads": 1}
        if self.transfer:
            deep: Any = self._scalers.grey.reformat(frame, format="gray16le", **full).to_ndarray()
            return display(luma_table(self.transfer)[deep >> 4]), False
        if frame.format.name not in _LUMA_FIRST:
            if frame.format.name.startswith(_FULL_RANGE):
                full["src_color_range"] = ColorRange.JPEG
            return display(_first_plane(self._scalers.grey.reformat(frame, format="gray", **full))), False
        limited = frame.color_range != ColorRange.JPEG and not frame.format.name.startswith(_FULL_RANGE)
        return display(_first_plane(frame).copy()), limited

    def canvas(self, width_px: int, height_px: int) -> av.VideoFrame:
        """Convert the displayed frame to yuv420p with writable planes, fitted into a window on black.

        Parameters
        ----------
        width_px, height_px : int
            Size of the window, even numbers.

        Returns
        -------
        av.VideoFrame
            With the stored range.
        """
        place = fit(self.size_px, (width_px, height_px))
        frame = self._displayed(place.width, place.height)
        if (place.width, place.height) == (width_px, height_px):
            return frame
        window = av.VideoFrame(width_px, height_px, "yuv420p")
        window.color_range, window.colorspace = frame.color_range, frame.colorspace
        black = 0 if frame.color_range == ColorRange.JPEG else 16
        for target, source, colour, scale in zip(planes_of(window), planes_of(frame), (black, 128, 128), (1, 2, 2)):
            target[:] = colour
            rows, columns = slice(place.y // scale, None), slice(place.x // scale, None)
            target[rows, columns][: source.shape[0], : source.shape[1]] = source
        return window

    def _displayed(self, width_px: int, height_px: int) -> av.VideoFrame:
        orientation = self.geometry.orientation
        stored = (height_px, width_px) if orientation.swaps_sides else (width_px, height_px)
        frame = self._opaque()
        if self.transfer:
            rgb = av.VideoFrame.from_ndarray(self.rgb(width_px, height_px), "rgb24")
            sdr = self._scalers.canvas.reformat(rgb, format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
            sdr.color_primaries, sdr.color_trc, sdr.colorspace, sdr.color_range = 1, 1, 1, 1
            return sdr
        if frame.format.name not in ("yuv420p", "yuvj420p") or (frame.width, frame.height) != stored:
            same_range = {"src_color_range": frame.color_range, "dst_color_range": frame.color_range}
            frame = self._scalers.canvas.reformat(frame, *stored, "yuv420p", threads=1, **same_range)
        if orientation != UPRIGHT:
            rotated = av.VideoFrame(width_px, height_px, "yuv420p")
            for target, source in zip(planes_of(rotated), planes_of(frame)):
                target[:] = orientation.apply(source)
            return rotated
        frame.make_writable()
        return frame


def planes_of(frame: av.VideoFrame) -> tuple[np.ndarray, ...]:
    """View the planes of a frame of eight bits without line padding; writing to the views changes the frame.

    Parameters
    ----------
    frame : av.VideoFrame

    Returns
    -------
    tuple of ndarray, uint8
        (height, width) of each plane.
    """
    views = []
    for plane in frame.planes:
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        views.append(lines[:, : plane.width])
    return tuple(views)


def _first_plane(frame: av.VideoFrame) -> np.ndarray:
    """View the first plane without line padding."""
    plane = frame.planes[0]
    pixels = np.frombuffer(memoryview(plane), np.uint8)
    return pixels.reshape(plane.height, plane.line_size)[:, : frame.width]
