"""The film in a report page: whether it is the right one, whether a browser plays it, inside the page or beside it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fervid.config import Config, load_config
from fervid.errors import DataError, OutputError, VideoError
from fervid.files import check_file, content_hash
from fervid.timeline.read import read_provenance
from fervid.types import VideoInfo
from fervid.video.open import read_video
from fervid.views.report.data import Timeline

__all__ = ["EMBED_MB", "MOST_EMBED_MB", "Film", "check_faces", "check_same", "open_film"]

#: Films up to this size go into the page by default; the most that a browser holds as one text is 512 MB.
EMBED_MB, MOST_EMBED_MB = 50.0, 350.0
#: Reasons for which the browser's clock is not that of the timeline.
_OWN_CLOCK = {"synthetic_time", "time_jumps"}


@dataclass(frozen=True)
class Film:
    """A film that browsers play: `content` goes into the page, or `url` tells from the page where it lies.

    Second 0 of the timeline is at `offset_s` in it. `notes` are sentences for whoever looks at the page.
    """

    content: Path | None
    url: str
    mime: str
    offset_s: float
    size_px: tuple[int, int]
    bytes: int
    notes: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """What the page has to know."""
        return {"url": self.url, "mime": self.mime, "offset": self.offset_s, "size": self.size_px}


def check_same(timeline: Timeline, video: Path, *, force: bool) -> str:
    """Hold the video to the hash in the timeline; gives a note where `force` lets another pass, else DataError."""
    expected = str(timeline.provenance.get("source", {}).get("sha256") or "")
    found = content_hash(check_file(video))
    if found == expected:
        return ""
    difference = f"sha256 {found[:12]}, expected {expected[:12] or 'none'}"
    if force:
        return f"The film {video.name} is another file than the one that the timeline was made from ({difference})."
    raise DataError(
        f"{video}: is not the video that {timeline.path} was made from ({timeline.name}; {difference}); "
        "name that one, or go on with --force"
    )


def check_faces(timeline: Timeline, faces: Path, *, force: bool) -> str:
    """Hold the face readings to the same source as the timeline, as check_same does."""
    expected, found = (
        str(facts.get("source", {}).get("sha256")) for facts in (timeline.provenance, read_provenance(faces))
    )
    if found == expected:
        return ""
    if force:
        return f"The face boxes ({faces.name}) were read from another file than the timeline."
    raise DataError(
        f"{faces}: these readings are of another video than {timeline.path} (sha256 {found[:12]}, expected "
        f"{expected[:12]}); name the file that was written beside it, or go on with --force"
    )


@contextmanager
def open_film(timeline: Timeline, video: Path, page: Path, *, transcode: bool, embed_mb: float) -> Iterator[Film]:
    """Give the film as the page takes it: itself, or with `transcode` a copy that every browser plays.

    A copy too large to be embedded stays beside the page as NAME.film.mp4. VideoError if browsers cannot play it.
    """
    from fervid.video.writers.browser_support import browser_support

    config = _config(timeline)
    info, _ = read_video(video, config, lambda reader: reader.info)
    plays = browser_support(video, stream=config.stream, max_pixels=config.max_pixels)
    if not transcode:
        if plays.trouble:
            raise VideoError(
                f"{video}: browsers cannot be relied on to play {plays.trouble}; --transcode puts an H.264 copy into "
                "the report",
                reason="unsupported",
            )
        yield _place(video, video, page, embed_mb, info, _notes(timeline, plays))
        return
    beside = page.with_name(f"{page.stem}.film.mp4")
    if beside.exists() and beside.samefile(video):
        raise OutputError(f"{beside}: is the film itself, where its copy would go; name another page with --out")
    part = page.with_name(f".{page.name}.film.{os.getpid()}.tmp")
    try:
        _write_copy(video, part, config)
        copied, _ = read_video(part, load_config(None), lambda reader: reader.info)
        film = _place(part, beside, page, embed_mb, copied, ("The film is a copy made by --transcode.",))
        yield film
        if film.content is None:
            part.replace(beside)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _config(timeline: Timeline) -> Config:
    """Read the film as the timeline's maker did, the same stream, the same limit; but every frame of it."""
    made = timeline.provenance.get("config", {})
    options = {name: made[name] for name in ("stream", "max_pixels") if made.get(name) is not None}
    return load_config(None, fps="native", **options)


def _write_copy(video: Path, part: Path, config: Config) -> None:
    from fervid.video.writers.transcode import transcode

    read_video(video, config, lambda reader: transcode(reader, part, max_pixels=config.max_pixels))


def _place(content: Path, beside: Path, page: Path, embed_mb: float, info: VideoInfo, notes: tuple[str, ...]) -> Film:
    """Decide by size where the film goes. Browsers keep the file's own clock, as `start_s` does."""
    size = content.stat().st_size
    inside = size <= embed_mb * 1e6
    url = "" if inside else _relative(beside, page)
    mime = "video/webm" if info.container == "matroska" else "video/mp4"
    size_px = (info.width_px, info.height_px)
    return Film(content if inside else None, url, mime, max(0.0, info.start_s), size_px, size, notes)


def _relative(file: Path, page: Path) -> str:
    """The address of a file as seen from the page; `./` before it, so that a colon is no scheme."""
    return "./" + quote(os.fsencode(os.path.relpath(file.absolute(), page.absolute().parent)))


def _notes(timeline: Timeline, plays: Any) -> tuple[str, ...]:
    notes = []
    if plays.mute:
        notes.append(f"Browsers may play the film without its sound ({plays.mute}); --transcode makes AAC of it.")
    if _OWN_CLOCK & set(timeline.provenance.get("reasons", [])):
        notes.append("The film's own clock is not to be trusted: the player may be off; --transcode sets it right.")
    return tuple(notes)
