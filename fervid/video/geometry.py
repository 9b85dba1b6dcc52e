"""How stored frames become displayed ones: one of eight orientations, and the shape of the pixels."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")

__all__ = ["ORIENTATIONS", "UPRIGHT", "Geometry", "LargerFrame", "Orientation", "Place", "fit", "on_largest"]

#: How far the axes of a display matrix may lie from those of the nearest orientation, in radians.
_TOLERANCE = 0.1


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to display a stored frame: mirrored or not, then rotated by quarter turns.

    Parameters
    ----------
    turns : int
        Quarter turns counterclockwise, 0 to 3.
    mirrored : bool
        Whether the stored frame is mirrored left to right first.
    """

    turns: int = 0
    mirrored: bool = False

    @classmethod
    def of_matrix(cls, matrix: tuple[int, ...]) -> tuple["Orientation", bool]:
        """Find the orientation nearest to a display matrix (ISO/IEC 14496-12, 8.3.2).

        Parameters
        ----------
        matrix : tuple of int
            Its nine numbers a b u, c d v, x y w: the point (p, q) is displayed at (a p + c q, b p + d q).

        Returns
        -------
        orientation : Orientation
            Upright if the matrix maps the frame to a line or a point.
        exact : bool
            Whether the matrix is that orientation, apart from its scale: not a shear or another angle.
        """
        axes = np.array([[matrix[0], matrix[3]], [matrix[1], matrix[4]]], float)
        length = np.hypot(*axes)
        if not length.all() or abs(np.linalg.det(axes / length)) < _TOLERANCE:
            return UPRIGHT, False
        axes /= length
        mirrored = bool(np.linalg.det(axes) < 0)
        nearest = max((cls(turns, mirrored) for turns in range(4)), key=lambda one: (axes * one.matrix()).sum())
        return nearest, bool(np.hypot(*(axes - nearest.matrix())).max() <= _TOLERANCE)

    def matrix(self) -> np.ndarray:
        """Return the matrix (2, 2) that maps a stored to a displayed point, x to the right and y down."""
        turn = np.array([[0, 1], [-1, 0]])
        mirror = np.diag([-1 if self.mirrored else 1, 1])
        return np.asarray(np.linalg.matrix_power(turn, self.turns) @ mirror)

    @property
    def swaps_sides(self) -> bool:
        """Whether the width of the displayed frame is the height of the stored one."""
        return self.turns % 2 == 1

    @property
    def rotation_deg(self) -> int:
        """How far the stored frame, mirrored or not, is rotated counterclockwise."""
        return 90 * self.turns

    @property
    def name(self) -> str:
        """The value of --rotate that stands for this orientation."""
        return next(name for name, one in ORIENTATIONS.items() if one == self)

    def apply(self, plane: np.ndarray) -> np.ndarray:
        """Display a stored plane or image.

        Parameters
        ----------
        plane : ndarray, shape (H, W, ...)

        Returns
        -------
        ndarray
            A view of it.
        """
        return np.rot90(plane[:, ::-1] if self.mirrored else plane, self.turns)

    def apply_tensor(self, plane: Any) -> Any:
        """Display a stored plane or image on a device.

        Parameters
        ----------
        plane : Tensor, shape (H, W, ...)

        Returns
        -------
        Tensor
            A copy, unless there is nothing to do.
        """
        if self.mirrored:
            plane = plane.flip(1)
        return plane.rot90(self.turns) if self.turns else plane


UPRIGHT = Orientation()
#: Every orientation by its name: degrees clockwise, and then mirrored left to right.
ORIENTATIONS = {str(90 * n): Orientation(-n % 4) for n in range(4)} | {
    "mirrored" + (f"-{90 * n}" if n else ""): Orientation(n, mirrored=True) for n in range(4)
}


@dataclass(frozen=True)
class Geometry:
    """How the stored pixels of one frame are displayed.

    Parameters
    ----------
    orientation : Orientation
    pixel_shape : Fraction
        Width of a stored pixel by its height.
    exact : bool
        Whether the file's display matrix is an orientation; else the nearest one is used.
    """

    orientation: Orientation = UPRIGHT
    pixel_shape: Fraction = Fraction(1)
    exact: bool = field(default=True, compare=False)

    def displayed(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Compute the displayed size of a stored frame.

        Parameters
        ----------
        width_px, height_px : int
            Of the stored frame.

        Returns
        -------
        tuple of int
            Width and height, in square pixels.
        """
        wide = max(1, round(width_px * float(self.pixel_shape)))
        return (height_px, wide) if self.orientation.swaps_sides else (wide, height_px)


class Place(NamedTuple):
    """Where a frame lies in a window, in pixels: even numbers, as chroma planes need them."""

    x: int
    y: int
    width: int
    height: int

    def within(self, window_px: tuple[int, int]) -> np.ndarray:
        """Express the place in parts of its window.

        Parameters
        ----------
        window_px : tuple of int

        Returns
        -------
        ndarray, shape (2, 2)
            x and y of the upper left corner, then width and height.
        """
        return np.array([[self.x, self.y], [self.width, self.height]]) / window_px


def fit(frame_px: tuple[int, int], window_px: tuple[int, int]) -> Place:
    """Fit a frame into a window as players do: as large as possible in its own shape, and in the middle.

    Parameters
    ----------
    frame_px : tuple of int
        Displayed width and height.
    window_px : tuple of int
        Even numbers. A frame whose shape is that of the window, within two pixels, fills it.

    Returns
    -------
    Place
    """
    scale = min(window / side for window, side in zip(window_px, frame_px))
    width, height = (
        window if window - side * scale <= 2 else max(2, round(side * scale / 2) * 2)
        for window, side in zip(window_px, frame_px)
    )
    return Place((window_px[0] - width) // 4 * 2, (window_px[1] - height) // 4 * 2, width, height)


class LargerFrame(Exception):
    """A frame has more pixels than the window into which frames are fitted.

    Parameters
    ----------
    size_px : tuple of int
        Displayed width and height of the largest frame of the video.
    """

    def __init__(self, size_px: tuple[int, int]) -> None:
        super().__init__(f"{size_px[0]}x{size_px[1]}")
        self.size_px = size_px

    @classmethod
    def check(cls, frame: Any, rest: Iterable[Any], window_px: tuple[int, int]) -> None:
        """Raise a LargerFrame if a frame is larger than the window, for the largest one of the video.

        Parameters
        ----------
        frame : Frame
        rest : iterable of Frame
            The frames after it.
        window_px : tuple of int
        """
        if _area(frame.size_px) > _area(window_px):
            raise cls(max((frame.size_px, *(one.size_px for one in rest)), key=_area))


def _area(size_px: tuple[int, int]) -> int:
    return size_px[0] * size_px[1]


def on_largest(work: Callable[[tuple[int, int] | None], T]) -> T:
    """Do work in a window of the size of the first frame, and again in that of the largest frame if there is one.

    Parameters
    ----------
    work : callable
        Takes the displayed size of the largest frame, None at first; it raises LargerFrame if that is not the largest.

    Returns
    -------
    T
        What `work` returns.
    """
    try:
        return work(None)
    except LargerFrame as larger:
        return work(larger.size_px)
