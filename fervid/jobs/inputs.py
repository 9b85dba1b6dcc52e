"""What a batch was given -> the videos in it: files, folders, globs and lists, each once and with a name of its own."""

import errno
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fervid.errors import UsageError
from fervid.files import files_below, identity, to_utf8

__all__ = ["Input", "find_videos", "looks_like_video", "name_inputs", "read_list"]

#: Damaged files keep their names: these are taken for videos, and accounted for, whatever is in them.
_SUFFIXES = frozenset(
    (
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".dv",
        ".f4v",
        ".flv",
        ".h264",
        ".h265",
        ".hevc",
        ".ivf",
        ".m1v",
        ".m2t",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpe",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".qt",
        ".rm",
        ".rmvb",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    )
)
_HEAD = 4096
#: First boxes of QuickTime and MP4 (ISO/IEC 14496-12); brands that are sound or still pictures only.
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_NOT_VIDEO = (b"M4A ", b"M4B ", b"M4P ", b"heic", b"heix", b"heif", b"mif1", b"avif", b"crx ", b"jp2 ", b"jxl ")
_MAGIC = (
    b"\x1a\x45\xdf\xa3",
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"DKIF",
    b"\x00\x00\x01\xba",
    b"\x00\x00\x01\xb3",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",
    b"\x1f\x07\x00\x3f",
)
#: Raw H.264 and HEVC begin with a parameter set or an access unit delimiter (Annex B of each).
_ANNEX_B = re.compile(rb"\x00{2,3}\x01([\x67\x27\x47\x09]|[\x40\x42\x46]\x01)", re.S)
_OGG_VIDEO = (b"\x80theora", b"BBCD", b"OVP80", b"video\x00")


@dataclass(frozen=True)
class Input:
    """One video to account for. `parts` are the names, innermost last, from which its place in the results is made."""

    path: Path
    parts: tuple[str, ...]
    inner: int
    """How many of `parts` lie within the folder that was given."""
    problem: str = ""
    """Why it cannot even be looked at; such an input fails without being opened."""


def find_videos(given: Iterable[str | os.PathLike[str]], *, listed: Iterable[str] = (), out: Path) -> list[Input]:
    """Find every video in files, folders (recursively, by content) and globs, each (device, inode) once.

    Names of `listed` (a list made earlier) may have vanished: they are kept, to be accounted for. UsageError if one of
    `given` does not exist, or if nothing at all is found.
    """
    names = [os.fspath(item) for item in given]
    results = identity(out)
    seen: set[tuple] = set()
    found: list[Input] = []
    for item in [*_expand(names), *map(Path, listed)]:
        if results and identity(item) == results:
            raise UsageError(f"{item}: is the folder for the results too; name another one with --out")
        for one in _candidates(item, out):
            known = identity(one.path) or one.parts  # what has vanished is known by its name
            if known not in seen:
                seen.add(known)
                found.append(one)
    if not found:
        what = ", ".join(names) or "no input"
        raise UsageError(f"{what}: no video in it; expected video files, or folders that hold some")
    return found


def _candidates(item: Path, out: Path) -> Iterator[Input]:
    """A file as it is, whatever it is; of a folder what looks like a video."""
    try:
        is_folder = item.is_dir()
    except (OSError, ValueError) as e:
        yield Input(item, _parts(item), 1, f"{item}: cannot be looked at ({getattr(e, 'strerror', e)})")
        return
    if is_folder:
        yield from _walk(item, out)
    else:
        yield Input(item, _parts(item), 1)


def _expand(given: list[str]) -> Iterator[Path]:
    for item in given:
        path = Path(item)
        if _is_there(path):
            yield path
        elif glob.has_magic(item):
            matches = sorted(glob.glob(item, recursive=True))  # noqa: PTH207 - takes absolute patterns too
            if not matches:
                raise UsageError(f"{item}: matches nothing; expected a file, a folder or a pattern that finds some")
            yield from map(Path, matches)
        else:
            raise UsageError(f"{item}: no such file or folder; check the name, or quote a pattern")


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as e:
        if e.errno == errno.ENAMETOOLONG:  # a long pattern
            return False
        raise UsageError(f"{path}: cannot be looked at ({e.strerror}); check the permissions on the way to it") from e
    return True


def _walk(root: Path, out: Path) -> Iterator[Input]:
    """Every video below a folder but those in the folder of results, and then the folders that cannot be read."""
    trouble: list[OSError] = []
    for path in files_below(root, without=out, on_trouble=trouble.append):
        if path.suffix.lower() in _SUFFIXES or looks_like_video(path):
            yield Input(path, _parts(path), len(path.relative_to(root).parts))
    for error in trouble:
        path = Path(error.filename)
        inner = max(1, len(path.relative_to(root).parts))
        yield Input(path, _parts(path), inner, f"{path}: the folder cannot be read ({error.strerror})")


def _parts(path: Path) -> tuple[str, ...]:
    return tuple(to_utf8(part) for part in Path(os.path.abspath(path)).parts[1:]) or ("root",)  # noqa: PTH100 - keeps links


def looks_like_video(path: Path) -> bool:
    """Whether a regular file begins like one of the containers that fervid reads. Opens nothing else."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return _begins_like_video(file.read(_HEAD))
    except (OSError, ValueError):
        return False


def _begins_like_video(head: bytes) -> bool:
    if head[4:8] in _BOXES:
        return not (head[4:8] == b"ftyp" and head[8:12] in _NOT_VIDEO)
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    if head[:4] == b"OggS":
        return any(mark in head for mark in _OGG_VIDEO)
    if any(
        len(head) > start + 2 * step and head[start : start + 3 * step : step] == b"GGG"
        for start, step in ((0, 188), (4, 192), (0, 204))
    ):
        return True
    return head.startswith(_MAGIC) or bool(_ANNEX_B.match(head))


def read_list(path: Path | None, text: bytes | None = None) -> list[str]:
    """Read the names in a list, one a line (or ended by NUL, as `find -print0` does); empty lines are nothing."""
    try:
        data = path.read_bytes() if path else text or b""
    except OSError as e:
        raise UsageError(f"{path}: the list cannot be read ({e.strerror}); expected one file name a line") from None
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]


def name_inputs(found: Iterable[Input], known: Mapping[str, str]) -> Iterator[tuple[str, Input]]:
    """Give each input the name that its result is kept under: its place within the folder given.

    Where two inputs would have one name, the later takes the names of its outer folders with it, as many as are
    needed. `known`: names of earlier runs and the files they stand for; they keep them as long as those files exist.
    """
    owner = {name: source for name, source in known.items() if os.path.lexists(source)}
    names = {source: name for name, source in owner.items()}
    for one in found:
        source = "/" + "/".join(one.parts)
        choices = ["/".join(one.parts[-n:]) for n in range(one.inner, len(one.parts) + 1)]
        kept = names.get(source)
        if kept is None:
            free = (name for name in choices if name != "manifest" and owner.get(name, source) == source)
            kept = next(free, f"root/{source[1:]}")
        owner[kept] = source
        yield kept, one
