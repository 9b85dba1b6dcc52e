"""The geometry of each frame that PyAV decodes: orientation and pixel shape may change at any frame."""

import struct
from fractions import Fraction
from typing import Any

import av
from av.sidedata.sidedata import Type

from fervid.video.geometry import Geometry, Orientation

__all__ = ["GeometryTracker", "geometry_of"]

#: A change of the pixel shape that no keyframe follows is applied after this many frames at the latest.
_LATEST = 32


def geometry_of(frame: av.VideoFrame) -> Geometry:
    """Return the geometry that `GeometryTracker.stamp` attached to a frame.

    Parameters
    ----------
    frame : av.VideoFrame

    Returns
    -------
    Geometry
    """
    return frame.opaque if isinstance(frame.opaque, Geometry) else Geometry()


class GeometryTracker:
    """Attaches to each decoded frame how it is displayed, as a player decides it.

    Orientation: the display matrix of the frame, which FFmpeg makes from the track header of MP4 and MOV, the
    projection of Matroska, or the display orientation of H.264 and HEVC. In H.264 FFmpeg reports the latter for the
    one frame that carries it; it is valid until the next keyframe (ITU-T H.264, D.2.25).

    Pixel shape: that of the container; where it declares none, or the one of its codec, that of the codec.

    Parameters
    ----------
    stream : av.VideoStream
    rotate : Orientation, optional
        Takes precedence over what the file declares.
    """

    def __init__(self, stream: Any, rotate: Orientation | None = None) -> None:
        self._codec, self._rotate = stream.codec_context, rotate
        declared, coded = _positive(stream.sample_aspect_ratio), _positive(self._codec.sample_aspect_ratio)
        self._declared = declared if declared != coded else None
        self._shape, self._waited = coded or declared or Fraction(1), 0
        self._size: tuple[int, int] | None = None
        self._orientation, self._exact = Orientation(), True
        self._persists = self._codec.name == "h264"

    def stamp(self, frame: av.VideoFrame) -> None:
        """Attach its geometry to a frame. Call this for every frame that the decoder returns, in its order.

        Parameters
        ----------
        frame : av.VideoFrame
        """
        matrix: Any = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
        if matrix is not None:
            self._orientation, self._exact = Orientation.of_matrix(struct.unpack("<9i", bytes(matrix)[:36]))
        elif frame.key_frame or not self._persists:
            self._orientation, self._exact = Orientation(), True
        if self._rotate:
            self._orientation, self._exact = self._rotate, True
        frame.opaque = Geometry(self._orientation, self._pixel_shape(frame), self._exact)

    def _pixel_shape(self, frame: av.VideoFrame) -> Fraction:
        """Follow the decoder's pixel shape, which is ahead of the frames that it still holds back, from a keyframe."""
        if self._declared:
            return self._declared
        size = (frame.width, frame.height)
        shape = _positive(self._codec.sample_aspect_ratio) or Fraction(1)
        if shape != self._shape:
            self._waited += 1
            if self._size is None or frame.key_frame or size != self._size or self._waited > _LATEST:
                self._shape = shape
        else:
            self._waited = 0
        self._size = size
        return self._shape


def _positive(ratio: Any) -> Fraction | None:
    """Convert FFmpeg's ratio; None if it is unknown, or out of all proportion."""
    if not ratio or not ratio.numerator or not ratio.denominator:
        return None
    found = Fraction(ratio.numerator, ratio.denominator)
    return found if Fraction(1, 16) <= found <= 16 else None
