"""Draw a timeline on its video: boxes, track numbers and small charts, or redacted faces; timing and sound are kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.config import MAX_PIXELS, load_config
from fervid.errors import DataError
from fervid.files import check_file, check_output, write_atomically
from fervid.timeline.read import Timeline, open_timeline
from fervid.timeline.sources import check_video
from fervid.types import Progress
from fervid.video.geometry import LargerFrame, fit, on_largest
from fervid.video.open import read_video
from fervid.views.figures.style import PALETTE
from fervid.views.overlay import badges
from fervid.views.overlay.face_boxes import FaceBoxes, boxes_of_readings, boxes_of_seconds, boxes_to_redact
from fervid.views.overlay.yuv_drawing import Planes, Sprite, YuvColours, outline, paste, redact

if TYPE_CHECKING:
    from fervid.video.readers.pyav import PyAVReader

__all__ = ["FrameAnnotator", "Options", "overlay"]

OnProgress = Callable[[Progress], None]
#: Frames between two calls of `on_progress`.
_PROGRESS_FRAMES = 25


@dataclass(frozen=True)
class Options:
    """Options of an overlay.

    Parameters
    ----------
    blur_faces : bool
        Redact every face that was found.
    mute : bool
        Leave out the sound.
    force : bool
        Accept a video other than the timeline's.
    """

    blur_faces: bool = False
    mute: bool = False
    force: bool = False


def overlay(
    video: Path,
    timeline: Path,
    out: Path,
    faces: Path | None = None,
    options: Options | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Write a copy of a video with its timeline drawn on it.

    The copy is H.264 in MP4, upright, with square pixels; each frame keeps its time. It is as large as the largest
    frame of the video; the others are fitted into it, as players do.

    Parameters
    ----------
    video : Path
    timeline : Path
        The timeline of the video.
    out : Path
        The copy, ending with .mp4.
    faces : Path, optional
        The face readings of the same run; without them, boxes are the means of whole seconds.
    options : Options, optional
    on_progress : callable, optional
        Called with a Progress every 25 frames.

    Returns
    -------
    dict
        `written` (path), `frames`, `boxes` (number drawn), `faces` ("shown" or "hidden") and `sound`.

    Raises
    ------
    ConfigError
        If faces are to be redacted, but the readings are too sparse or cover only a part of the video.
    DataError
        If the timeline or the readings are of another video, or faces are to be redacted without readings.
    OutputError
        If `out` has another suffix, is an input or cannot be written.
    VideoError
        If the video cannot be read.
    """
    options = options or Options()
    check_output(out, (".mp4",), video, timeline, faces)
    opened = open_timeline(timeline)
    if options.blur_faces and faces is None:
        raise DataError(
            f"{timeline}: the mean boxes of seconds do not cover a moving face; for --blur-faces add the face readings "
            "with --faces (fervid process --faces writes them)"
        )
    boxes = boxes_of_readings(faces, opened) if faces else boxes_of_seconds(opened)
    redacted = boxes_to_redact(faces, opened) if faces and options.blur_faces else None
    if not options.force:
        check_video(opened, check_file(video))
    settings = opened.provenance["config"]
    kept = {name: settings.get(name) for name in ("stream", "max_pixels", "rotate")}
    config = load_config(fps="native", **kept)
    with write_atomically(out) as part:
        copied = partial(
            _write_copy, timeline=opened, boxes=(boxes, redacted), options=options, on_progress=on_progress
        )

        def write(largest_px: tuple[int, int] | None) -> dict[str, Any]:
            return read_video(video, config, lambda reader: copied(reader, part, largest_px))[0]

        facts = on_largest(write)
    return {"written": str(out)} | facts


def _write_copy(
    reader: Any,
    part: Path,
    largest_px: tuple[int, int] | None,
    *,
    timeline: Timeline,
    boxes: tuple[FaceBoxes, FaceBoxes | None],
    options: Options,
    on_progress: OnProgress | None,
) -> dict[str, Any]:
    """Decode, draw and encode every frame of an open video; return the facts that `overlay` reports."""
    from fervid.video.readers.pyav_frame import planes_of
    from fervid.video.writers.audio import AudioPassthrough
    from fervid.video.writers.clip import ClipWriter

    source: PyAVReader = reader
    info, n, annotator = source.info, 0, None
    shown, redacted = boxes
    largest_px = largest_px or (info.width_px, info.height_px)
    width, height = (max(2, side - side % 2) for side in largest_px)
    with AudioPassthrough(info.path, info.start_s, MAX_PIXELS) as found:
        audio = None if options.mute or not found.summary else found
        rate = info.frame_rate or 25
        with ClipWriter(part, rate, tick=source.time_base, threads=0, audio=audio) as clip:
            frames = source.frames()
            for frame in frames:
                LargerFrame.check(frame, frames, largest_px)
                canvas = frame.canvas(width, height)
                planes = planes_of(canvas)
                annotator = annotator or FrameAnnotator(timeline, (width, height), _colours(canvas))
                corner, size = fit(frame.size_px, (width, height)).within((width, height))
                corner, size = np.tile(corner, 2), np.tile(size, 2)
                if redacted:
                    for box in redacted.swept(frame.pts_s):
                        redact(planes, (corner + box * size) * annotator.scale)
                there = [(track, corner + box * size) for track, box in shown.at(frame.pts_s)]
                annotator.draw(planes, frame.pts_s, there)
                clip.write_frame(canvas, frame.pts_s, frame.duration_s)
                n += 1
                if on_progress and n % _PROGRESS_FRAMES == 0:
                    on_progress(Progress(frame.pts_s, info.duration_s, annotator.drawn))
    kept = (", ".join(audio.summary) if audio else "none") + ("; damaged parts left out" if found.damaged else "")
    return {
        "frames": n,
        "boxes": annotator.drawn if annotator else 0,
        "faces": "hidden" if redacted else "shown",
        "sound": kept,
    }


def _colours(canvas: Any) -> YuvColours:
    """Return how the video encodes colours; if it does not declare that, guess by its height, as players do."""
    known = {1: True, 5: False, 6: False, 7: False}  # AVColorSpace: bt709, bt470bg, smpte170m, smpte240m
    return YuvColours(known.get(int(canvas.colorspace), canvas.height >= 720), int(canvas.color_range) == 2)


class FrameAnnotator:
    """Draws what a timeline says about each face beside it.

    Badges and charts are rendered once per track and second.

    Parameters
    ----------
    timeline : Timeline
    size_px : tuple of int
        Width and height of the frames.
    colours : YuvColours
        The colours of the frames.
    """

    def __init__(self, timeline: Timeline, size_px: tuple[int, int], colours: YuvColours) -> None:
        self.labels, self.size_px, self.colours = timeline.labels, size_px, colours
        self.scale = np.array([*size_px, *size_px], float)
        self.font = round(min(max(min(size_px) / 32, 11), 30))
        self.thickness = max(2, round(min(size_px) / 270))
        self.drawn = 0
        faces = timeline.faces
        self._prob = dict(
            zip(zip(faces["track"].astype(int), faces["second"].astype(int)), faces[list(self.labels)].to_numpy(float))
        )
        self._face_px = faces.groupby("track")["h"].median() * size_px[1]
        least = badges.bar_chart_height(self.labels, self.font)
        self._large = {int(track) for track, height in self._face_px.items() if height >= 0.8 * least}
        self._line = {name: colours.convert(_rgb(PALETTE[name])) for name in self.labels}
        self._black = colours.convert(np.zeros(3))
        self._sprites = lru_cache(maxsize=512)(self._render)
        self._corner: Sprite | None = None
        if not len(faces):
            self._corner = colours.sprite(badges.notice("fervid: no face was found in this video", self.font))
        elif len(self._large) < len(self._face_px):
            self._corner = colours.sprite(badges.legend(self.labels, self.font))

    def draw(self, planes: Planes, pts_s: float, boxes: list[tuple[int, np.ndarray]]) -> None:
        """Draw the faces of one frame.

        Parameters
        ----------
        planes : Planes
            The frame; changed in place.
        pts_s : float
            Time of the frame in seconds.
        boxes : list of (int, np.ndarray)
            Track and box, (4,), as fractions of the frame.
        """
        occupied = [box * self.scale for _, box in boxes]
        for (track, _), box_px in zip(boxes, occupied[:]):
            second = self._nearest_second(track, math.floor(pts_s))
            if second is None:
                continue
            emotion = self.labels[int(self._prob[track, second].argmax())]
            outline(planes, box_px, (self._line[emotion], self._black), self.thickness)
            badge, chart = self._sprites(track, second)
            self._place_badge(planes, badge, box_px)
            occupied.append(self._place_chart(planes, chart, box_px, occupied if track in self._large else None))
            self.drawn += 1
        if self._corner:
            paste(planes, self._corner, 6, planes[0].shape[0] - self._corner.y.shape[0] - 6)

    def _nearest_second(self, track: int, second: int) -> int | None:
        """Return the row to show; a box may extend slightly beyond the seconds of its track."""
        return next((s for s in (second, second - 1, second + 1) if (track, s) in self._prob), None)

    def _render(self, track: int, second: int) -> tuple[Sprite, Sprite]:
        prob = self._prob[track, second]
        best = int(prob.argmax())
        face_px = float(self._face_px[track])
        large = track in self._large
        size = self.font if large else round(min(max(face_px * 0.2, 11), 0.8 * self.font))
        text = f"{track}  {self.labels[best]} {prob[best]:.0%}"
        if large:
            chart = badges.bar_chart(prob, self.labels, self.font)
        else:
            width, height = max(28, round(face_px * 0.75)), max(12, round(face_px * 0.4))
            chart = badges.column_chart(prob, self.labels, width, height)
        return self.colours.sprite(badges.badge(text, self.labels[best], size)), self.colours.sprite(chart)

    def _place_badge(self, planes: Planes, badge: Sprite, box_px: np.ndarray) -> None:
        """Paste a badge above the box, or inside it if there is no space above."""
        high, wide = badge.y.shape
        x = min(max(box_px[0] - 2, 0), self.size_px[0] - wide)
        above = box_px[1] - high - 2
        paste(planes, badge, x, above if above >= 0 else max(box_px[1] + self.thickness + 2, 0))

    def _place_chart(
        self, planes: Planes, chart: Sprite, box_px: np.ndarray, occupied: list[np.ndarray] | None
    ) -> np.ndarray:
        """Paste bars beside the box where nothing is occupied, else over it; columns (occupied None) below the box.

        Returns the area of the chart, x0 y0 x1 y1.
        """
        high, wide = chart.y.shape
        width, height = self.size_px
        x0, y0, x1, y1 = box_px
        beside = [(x1 + 6, y0), (x0 - 6 - wide, y0), (x0, y1 + 6), (x1 - wide, y1 + 6), (x1 - wide - 6, y0 + 6)]
        for x, y in [((x0 + x1 - wide) / 2, y1 + 4)] if occupied is None else beside:
            area = np.array([x, y, x + wide, y + high])
            fits = x >= 0 and x + wide <= width and y + high <= height
            if fits and not any(_overlap(area, other) for other in occupied or () if other is not box_px):
                break
        x, y = min(max(area[0], 0), width - wide), min(max(area[1], 0), height - high)
        paste(planes, chart, x, y)
        return np.array([x, y, x + wide, y + high])


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.maximum(one[:2], other[:2]) < np.minimum(one[2:], other[2:])).all())


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
