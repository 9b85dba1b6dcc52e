"""A timeline on its video: boxes, track numbers and small bars, or the faces hidden; timing and sound as they were."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.config import load_config
from fervid.errors import DataError
from fervid.files import check_file, check_output, content_hash, write_atomically
from fervid.timeline.read import Timeline, open_timeline
from fervid.types import Progress
from fervid.video.open import read_video
from fervid.views.figures.style import PALETTE
from fervid.views.overlay import badges as small
from fervid.views.overlay.face_boxes import FaceBoxes, faces_places, hidden_places, seconds_places
from fervid.views.overlay.yuv_drawing import Inks, Planes, Sprite, hide, outline, paste

if TYPE_CHECKING:
    from fervid.video.readers.pyav import PyAVReader

__all__ = ["Options", "Painter", "overlay"]

OnProgress = Callable[[Progress], None]
_PROGRESS_FRAMES = 25


@dataclass(frozen=True)
class Options:
    """blur_faces hides every face that was found; mute leaves the sound out; force takes another video."""

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
    """Write the video with the timeline on it as H.264 in MP4, upright, with square pixels, each frame at its own time.

    Boxes come from `faces`, else from the mean of each second. DataError if the timeline is of another video (unless
    forced), VideoError if the video cannot be read, OutputError if `out` cannot be written.
    """
    options = options or Options()
    check_output(out, (".mp4",), video, timeline, faces)
    story = open_timeline(timeline)
    if options.blur_faces and faces is None:
        raise DataError(
            f"{timeline}: the boxes of whole seconds do not hide a moving face; for --blur-faces give the "
            "readings too, with --faces (fervid process --faces writes them)"
        )
    places = faces_places(faces, story) if faces else seconds_places(story)
    hidden = hidden_places(faces, story) if faces and options.blur_faces else None
    _check_video(check_file(video), story, options.force)
    settings = story.provenance["config"]
    config = load_config(fps="native", stream=settings.get("stream"), max_pixels=settings.get("max_pixels"))
    with write_atomically(out) as part:
        facts, _ = read_video(
            video, config, lambda reader: _Copy(reader, story, places, hidden).write(part, options, on_progress)
        )
    return {"written": str(out)} | facts


def _check_video(video: Path, timeline: Timeline, force: bool) -> None:
    source = timeline.provenance["source"]
    if not force and (video.stat().st_size != source["bytes"] or content_hash(video) != source["sha256"]):
        raise DataError(
            f"{video}: not the video that {timeline.path} was made from ({source['name']}, sha256 "
            f"{source['sha256'][:12]}); process this one, or go on with --force"
        )


class _Copy:
    """One pass over an open video."""

    def __init__(self, reader: Any, timeline: Timeline, places: FaceBoxes, hidden: FaceBoxes | None) -> None:
        self.reader: PyAVReader = reader
        self.timeline, self.places, self.hidden = timeline, places, hidden

    def write(self, part: Path, options: Options, on_progress: OnProgress | None) -> dict[str, Any]:
        """Decode, paint and encode every frame -> what was done."""
        from fervid.config import MAX_PIXELS
        from fervid.video.readers.pyav_frame import planes_of
        from fervid.video.writers.audio import AudioPassthrough
        from fervid.video.writers.clip import ClipWriter

        info, n, painter = self.reader.info, 0, None
        width, height = (max(2, side - side % 2) for side in (info.width_px, info.height_px))
        with AudioPassthrough(info.path, info.start_s, MAX_PIXELS) as found:
            sound = None if options.mute or not found.kept else found
            rate = info.frame_rate or 25
            with ClipWriter(part, rate, tick=self.reader.time_base, threads=0, sound=sound) as clip:
                for frame in self.reader.frames():
                    canvas = frame.canvas(width, height)
                    planes = planes_of(canvas)
                    painter = painter or Painter(self.timeline, (width, height), _inks(canvas))
                    if self.hidden:
                        for box in self.hidden.swept(frame.pts_s):
                            hide(planes, box * painter.scale)
                    painter.paint(planes, frame.pts_s, self.places.at(frame.pts_s))
                    clip.write_frame(canvas, frame.pts_s, frame.duration_s)
                    n += 1
                    if on_progress and n % _PROGRESS_FRAMES == 0:
                        on_progress(Progress(frame.pts_s, info.duration_s, painter.drawn))
        heard = (", ".join(sound.kept) if sound else "none") + ("; damaged parts left out" if found.damaged else "")
        return {
            "frames": n,
            "boxes": painter.drawn if painter else 0,
            "faces": "hidden" if self.hidden else "shown",
            "sound": heard,
        }


def _inks(canvas: Any) -> Inks:
    """How the video makes colours of YUV; one that does not say is taken as players do, by its height."""
    known = {1: True, 5: False, 6: False, 7: False}  # AVColorSpace: bt709, bt470bg, smpte170m, smpte240m
    return Inks(known.get(int(canvas.colorspace), canvas.height >= 720), int(canvas.color_range) == 2)


class Painter:
    """Draws what a timeline says of each face beside it. Small pictures are made once for each second of a track."""

    def __init__(self, timeline: Timeline, size_px: tuple[int, int], inks: Inks) -> None:
        self.labels, self.size_px, self.inks = timeline.labels, size_px, inks
        self.scale = np.array([*size_px, *size_px], float)
        self.font = round(min(max(min(size_px) / 32, 11), 30))
        self.thick = max(2, round(min(size_px) / 270))
        self.drawn = 0
        faces = timeline.faces
        self._prob = dict(
            zip(zip(faces["track"].astype(int), faces["second"].astype(int)), faces[list(self.labels)].to_numpy(float))
        )
        self._face_px = faces.groupby("track")["h"].median() * size_px[1]
        least = small.panel_height(self.labels, self.font)
        self._roomy = {int(track) for track, height in self._face_px.items() if height >= 0.8 * least}
        self._colour = {name: inks.mix(_rgb(PALETTE[name])) for name in self.labels}
        self._black = inks.mix(np.zeros(3))
        self._words = lru_cache(maxsize=512)(self._draw_words)
        self._corner: Sprite | None = None
        if not len(faces):
            self._corner = inks.sprite(small.notice("fervid: no face was found in this video", self.font))
        elif len(self._roomy) < len(self._face_px):
            self._corner = inks.sprite(small.legend(self.labels, self.font))

    def paint(self, planes: Planes, pts_s: float, seen: list[tuple[int, np.ndarray]]) -> None:
        """Draw on the planes of one frame the boxes (as parts of the frame) that are seen in it."""
        taken = [box * self.scale for _, box in seen]
        for (track, _), box_px in zip(seen, taken[:]):
            second = self._second(track, math.floor(pts_s))
            if second is None:
                continue
            emotion = self.labels[int(self._prob[track, second].argmax())]
            outline(planes, box_px, (self._colour[emotion], self._black), self.thick)
            tab, chart = self._words(track, second)
            self._place_tab(planes, tab, box_px)
            taken.append(self._place_chart(planes, chart, box_px, taken if track in self._roomy else None))
            self.drawn += 1
        if self._corner:
            paste(planes, self._corner, 6, planes[0].shape[0] - self._corner.y.shape[0] - 6)

    def _second(self, track: int, second: int) -> int | None:
        """The second that speaks for a moment; a box may reach a little over the seconds of its track."""
        return next((s for s in (second, second - 1, second + 1) if (track, s) in self._prob), None)

    def _draw_words(self, track: int, second: int) -> tuple[Sprite, Sprite]:
        prob = self._prob[track, second]
        best = int(prob.argmax())
        face_px = float(self._face_px[track])
        roomy = track in self._roomy
        size = self.font if roomy else round(min(max(face_px * 0.2, 11), 0.8 * self.font))
        text = f"{track}  {self.labels[best]} {prob[best]:.0%}"
        if roomy:
            chart = small.bars(prob, self.labels, self.font)
        else:
            chart = small.columns(prob, self.labels, max(28, round(face_px * 0.75)), max(12, round(face_px * 0.4)))
        return self.inks.sprite(small.tab(text, self.labels[best], size)), self.inks.sprite(chart)

    def _place_tab(self, planes: Planes, tab: Sprite, box_px: np.ndarray) -> None:
        """Above the box; where there is no room, in it."""
        high, wide = tab.y.shape
        x = min(max(box_px[0] - 2, 0), self.size_px[0] - wide)
        above = box_px[1] - high - 2
        paste(planes, tab, x, above if above >= 0 else max(box_px[1] + self.thick + 2, 0))

    def _place_chart(
        self, planes: Planes, chart: Sprite, box_px: np.ndarray, taken: list[np.ndarray] | None
    ) -> np.ndarray:
        """Bars beside the box where nothing is taken, else at it; columns (taken None) below it -> where they are."""
        high, wide = chart.y.shape
        width, height = self.size_px
        x0, y0, x1, y1 = box_px
        beside = [(x1 + 6, y0), (x0 - 6 - wide, y0), (x0, y1 + 6), (x1 - wide, y1 + 6), (x1 - wide - 6, y0 + 6)]
        for x, y in [((x0 + x1 - wide) / 2, y1 + 4)] if taken is None else beside:
            place = np.array([x, y, x + wide, y + high])
            fits = x >= 0 and x + wide <= width and y + high <= height
            if fits and not any(_overlap(place, other) for other in taken or () if other is not box_px):
                break
        x, y = min(max(place[0], 0), width - wide), min(max(place[1], 0), height - high)
        paste(planes, chart, x, y)
        return np.array([x, y, x + wide, y + high])


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.maximum(one[:2], other[:2]) < np.minimum(one[2:], other[2:])).all())


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
