"""The video of a report page: whether browsers can play it, and whether it is embedded in the page or linked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fervid.config import Config, load_config
from fervid.errors import OutputError, VideoError
from fervid.timeline.read import Timeline
from fervid.types import VideoInfo
from fervid.video.geometry import on_largest
from fervid.video.open import read_video

__all__ = ["EMBED_MB", "MAX_EMBED_MB", "PageVideo", "open_page_video"]

#: Largest video that is embedded by default, and at all: browsers hold at most 512 MB in one string.
EMBED_MB, MAX_EMBED_MB = 50.0, 350.0
#: Reasons for which the timestamps of the timeline differ from those that a browser reads.
_OTHER_CLOCK = {"synthetic_time", "time_jumps"}


@dataclass(frozen=True)
class PageVideo:
    """A video that browsers can play.

    Parameters
    ----------
    content : Path or None
        The file to embed; None if it is linked.
    url : str
        Its address relative to the page; empty if it is embedded.
    mime : str
    offset_s : float
        The time in the video of second 0 of the timeline.
    size_px : tuple of int
        Width and height.
    bytes : int
        Size of the file.
    notes : tuple of str
        Warnings for the reader of the page.
    places : tuple
        From which time on frames have which place in the video, if they do not fill it: x, y, width and height as
        fractions.
    """

    content: Path | None
    url: str
    mime: str
    offset_s: float
    size_px: tuple[int, int]
    bytes: int
    notes: tuple[str, ...]
    places: tuple[tuple[float, list[float]], ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return what the scripts of the page need.

        Returns
        -------
        dict
        """
        return {
            "url": self.url,
            "mime": self.mime,
            "offset": self.offset_s,
            "size": self.size_px,
            "places": self.places,
        }


@contextmanager
def open_page_video(
    timeline: Timeline, video: Path, page: Path, *, transcode: bool, embed_mb: float
) -> Iterator[PageVideo]:
    """Prepare the video for a page while the page is written.

    Parameters
    ----------
    timeline : Timeline
    video : Path
        The video of the timeline.
    page : Path
        The page.
    transcode : bool
        Use a copy that every browser plays. A copy too large to embed is kept beside the page as NAME.film.mp4.
    embed_mb : float
        Largest size to embed.

    Yields
    ------
    PageVideo

    Raises
    ------
    OutputError
        If the video itself has the name of the copy.
    VideoError
        If the video cannot be read, or browsers cannot play it and `transcode` is not set.
    """
    from fervid.video.writers.browser_support import browser_support

    config = _config(timeline)
    info, _ = read_video(video, config, lambda reader: reader.info)
    support = browser_support(video, stream=config.stream, max_pixels=config.max_pixels)
    if not transcode:
        if config.rotate:
            raise VideoError(
                f"{video}: browsers do not know of --rotate; use --transcode to put an upright copy into the report",
                reason="unsupported",
            )
        if support.unsupported:
            raise VideoError(
                f"{video}: not all browsers play {support.unsupported}; use --transcode to put an H.264 copy into the "
                "report",
                reason="unsupported",
            )
        yield _page_video(video, video, page, embed_mb, info, _notes(timeline, support))
        return
    beside = page.with_name(f"{page.stem}.film.mp4")
    if beside.exists() and beside.samefile(video):
        raise OutputError(f"{beside}: is the video itself, where its copy would go; name another page with --out")
    part = page.with_name(f".{page.name}.film.{os.getpid()}.tmp")
    try:
        places = _write_copy(video, part, config)
        copied, _ = read_video(part, load_config(None), lambda reader: reader.info)
        copy = _page_video(part, beside, page, embed_mb, copied, ("The video is a copy made by --transcode.",))
        copy = replace(copy, places=places)
        yield copy
        if copy.content is None:
            part.replace(beside)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _config(timeline: Timeline) -> Config:
    """Read the stream that the timeline was made from, under the same size limit, but all of its frames."""
    used = timeline.provenance.get("config", {})
    options = {name: used[name] for name in ("stream", "max_pixels", "rotate") if used.get(name) is not None}
    return load_config(None, fps="native", **options)


def _write_copy(video: Path, part: Path, config: Config) -> tuple[tuple[float, list[float]], ...]:
    """Write the copy; return the places of frames in it, unless each fills it."""
    from fervid.video.writers.transcode import transcode

    def write(largest_px: tuple[int, int] | None) -> list[tuple[float, list[float]]]:
        copied = partial(transcode, out=part, max_pixels=config.max_pixels, largest_px=largest_px)
        return read_video(video, config, copied)[0]

    places = on_largest(write)
    return () if len(places) <= 1 and all(at == [0, 0, 1, 1] for _, at in places) else tuple(places)


def _page_video(
    content: Path, beside: Path, page: Path, embed_mb: float, info: VideoInfo, notes: tuple[str, ...]
) -> PageVideo:
    """Decide by size whether to embed or to link. Browsers count from timestamp 0, wherever the first one is."""
    size = content.stat().st_size
    embed = size <= embed_mb * 1e6
    url = "" if embed else _relative_url(beside, page)
    mime = "video/webm" if info.container == "matroska" else "video/mp4"
    size_px = (info.width_px, info.height_px)
    return PageVideo(content if embed else None, url, mime, max(0.0, info.start_s), size_px, size, notes)


def _relative_url(file: Path, page: Path) -> str:
    """Return the URL of a file relative to the page; it starts with `./`, so that a colon does not end a scheme."""
    return "./" + quote(os.fsencode(os.path.relpath(file.absolute(), page.absolute().parent)))


def _notes(timeline: Timeline, support: Any) -> tuple[str, ...]:
    notes = []
    if support.unsupported_audio:
        notes.append(
            f"Browsers may play the video without its sound ({support.unsupported_audio}); --transcode converts it to "
            "AAC."
        )
    if _OTHER_CLOCK & set(timeline.provenance.get("reasons", [])):
        notes.append("The timestamps of the video are unreliable: the player may be out of sync; --transcode fixes it.")
    return tuple(notes)
