"""Find the videos of a batch in files, folders, patterns and lists, and give each a unique name."""

import errno
import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fervid.errors import UsageError
from fervid.files import files_below, identity, to_utf8
from fervid.video.file_types import looks_like_video

__all__ = ["Input", "find_videos", "name_inputs", "read_list"]

#: A damaged file keeps its name: files with these suffixes count as videos whatever they contain.
_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2t",
    ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".qt", ".rm",
    ".rmvb", ".ts", ".vob", ".webm", ".wmv",
))  # fmt: skip


@dataclass(frozen=True)
class Input:
    """One input of a batch, which gets exactly one row in the manifest."""

    path: Path
    parts: tuple[str, ...]
    """Names of its folders and of the file, outermost first; its name in the results is made of the last ones."""
    depth: int
    """How many of `parts` lie within the folder that was passed; 1 for a file."""
    problem: str = ""
    """Why the file system does not allow access. Such an input fails without being opened."""


def find_videos(inputs: Iterable[str | os.PathLike[str]], *, listed: Iterable[str] = (), out: Path) -> list[Input]:
    """Find every video in files, folders and patterns, each once.

    Folders are searched recursively, and by content for files without a known suffix. Files are identified by device
    and inode.

    Parameters
    ----------
    inputs : iterable of path-like
        Files, folders and glob patterns.
    listed : iterable of str
        Names from a list file. A listed file that no longer exists is kept, and fails later.
    out : Path
        Folder of the results, which is not searched.

    Returns
    -------
    list of Input
        In the order of `inputs` and `listed`, sorted by name within folders.

    Raises
    ------
    UsageError
        If one of `inputs` does not exist, if one of them is `out`, or if nothing is found.
    """
    names = [os.fspath(item) for item in inputs]
    results = identity(out)
    seen: set[tuple] = set()
    found: list[Input] = []
    for item in [*_expand(names), *map(Path, listed)]:
        if results and identity(item) == results:
            raise UsageError(f"{item}: is also the folder for the results; choose another one with --out")
        for candidate in _candidates(item, out):
            key = identity(candidate.path) or candidate.parts  # a missing file is identified by its name
            if key not in seen:
                seen.add(key)
                found.append(candidate)
    if not found:
        what = ", ".join(names) or "no input"
        raise UsageError(f"{what}: contains no video; expected video files or folders of videos")
    return found


def _candidates(item: Path, out: Path) -> Iterator[Input]:
    """Yield a file as it is, and of a folder the files that look like videos."""
    try:
        is_folder = item.is_dir()
    except (OSError, ValueError) as e:
        yield Input(item, _parts(item), 1, f"{item}: cannot be accessed ({getattr(e, 'strerror', e)})")
        return
    if is_folder:
        yield from _walk(item, out)
    else:
        yield Input(item, _parts(item), 1)


def _expand(names: list[str]) -> Iterator[Path]:
    for name in names:
        path = Path(name)
        if _exists(path):
            yield path
        elif glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - accepts absolute patterns too
            if not matches:
                raise UsageError(f"{name}: matches nothing; expected a file, a folder or a pattern that matches some")
            yield from map(Path, matches)
        else:
            raise UsageError(f"{name}: no such file or folder; check the name, or quote a pattern")


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as e:
        if e.errno == errno.ENAMETOOLONG:  # a long pattern
            return False
        raise UsageError(f"{path}: cannot be accessed ({e.strerror}); check the permissions of its folders") from e
    return True


def _walk(root: Path, out: Path) -> Iterator[Input]:
    """Yield every video below a folder, without the folder of the results, then the folders that cannot be read."""
    errors: list[OSError] = []
    for path in files_below(root, without=out, on_error=errors.append):
        if path.suffix.lower() in _SUFFIXES or looks_like_video(path):
            yield Input(path, _parts(path), len(path.relative_to(root).parts))
    for error in errors:
        path = Path(error.filename)
        depth = max(1, len(path.relative_to(root).parts))
        yield Input(path, _parts(path), depth, f"{path}: the folder cannot be read ({error.strerror})")


def _parts(path: Path) -> tuple[str, ...]:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - keeps links
    return tuple(to_utf8(part) for part in absolute.parts[1:]) or ("root",)


def read_list(path: Path | None, text: bytes | None = None) -> list[str]:
    """Read file names from a list.

    Parameters
    ----------
    path : Path or None
        File with one name per line, or with names that end with NUL, as `find -print0` prints them.
    text : bytes, optional
        Content of the list, if `path` is None.

    Returns
    -------
    list of str
        The names, without empty lines.

    Raises
    ------
    UsageError
        If the file cannot be read.
    """
    try:
        data = path.read_bytes() if path else text or b""
    except OSError as e:
        raise UsageError(f"{path}: the list cannot be read ({e.strerror}); expected one file name per line") from None
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]


def name_inputs(found: Iterable[Input], known: Mapping[str, str]) -> Iterator[tuple[str, Input]]:
    """Name each input after its path within the folder that was passed.

    If two inputs would have the same name, the later one is prefixed with as many of its outer folders as needed.

    Parameters
    ----------
    found : iterable of Input
        As from `find_videos`.
    known : mapping of str to str
        Names of earlier runs and the files they belong to. A file keeps its name as long as it exists.

    Yields
    ------
    name : str
        Unique name, with / between folders.
    input : Input
        The input of that name.
    """
    owner = {name: source for name, source in known.items() if os.path.lexists(source)}
    names = {source: name for name, source in owner.items()}
    for item in found:
        source = "/" + "/".join(item.parts)
        name = names.get(source)
        if name is None:
            choices = ["/".join(item.parts[-n:]) for n in range(item.depth, len(item.parts) + 1)]
            # the timeline of an input called "manifest" would be manifest.parquet
            free = (choice for choice in choices if choice != "manifest" and owner.get(choice, source) == source)
            name = next(free, f"root/{source[1:]}")
        owner[name] = source
        yield name, item
