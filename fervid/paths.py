"""The files of one run: what it reads, where its results go, and who is to blame when one of them fails."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fervid.errors import FervidError, OutputError, VideoError
from fervid.parts import refusal
from fervid.store import spelled
from fervid.video import check_file

__all__ = ["blaming_video", "check_paths", "fingerprint"]

_NOT_PARQUET = {".csv", ".tsv", ".txt", ".json", ".xlsx", ".html"}


def check_paths(path: Path, *outputs: Path | None) -> None:
    """Refuse an input that is no file, and an output that is the input or is named twice, before anything is loaded."""
    check_file(path)
    if path.suffix.lower() == ".parquet":
        raise VideoError(f"{path}: is a table, not a video; the video comes first", reason="not_media")
    named = [out for out in outputs if out is not None]
    for out in named:
        if out.suffix.lower() in _NOT_PARQUET:
            raise OutputError(f"{out}: results are Parquet; name it {out.with_suffix('.parquet').name}")
        try:
            placed, itself = out.parent.is_dir(), out.exists() and out.samefile(path)
        except OSError as e:
            raise refusal(out, e) from e
        if not placed:
            raise OutputError(f"{out}: cannot be written (no folder {out.parent}); name a file in a folder that exists")
        if itself:
            raise OutputError(f"{out}: is the video itself; name another file with --out")
    if len({out.resolve() for out in named}) < len(named):
        raise OutputError(f"{named[0]}: named for two results; give --faces and --shots files of their own")


def fingerprint(path: Path) -> dict[str, Any]:
    """Name, bytes and sha256 of a file, for the provenance of what is made of it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": spelled(path.name), "bytes": path.stat().st_size, "sha256": digest}


@contextmanager
def blaming_video(path: Path) -> Iterator[None]:
    """What the system refuses while the video is read is about the video, and not about where the result goes."""
    try:
        yield
    except OSError as e:
        if isinstance(e, FervidError):
            raise
        raise VideoError(f"{path}: cannot be read ({e.strerror or e})", reason="unreadable") from e
