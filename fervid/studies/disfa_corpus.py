"""DISFA as it is distributed: its videos, and its frame-by-frame codes of twelve facial action units.

Mavadati, Mahoor, Bartlett, Trinh & Cohn (2013), IEEE Transactions on Affective Computing 4, 151-160: 27 people watch a
film of four minutes, two cameras, 20 frames a second, 4845 frames; intensities 0 to 5.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervid.errors import ConfigError, DataError
from fervid.files import files_below

__all__ = [
    "CAMERAS",
    "FRAMES",
    "RATE",
    "SUBJECTS",
    "UNITS",
    "Codes",
    "Corpus",
    "Recording",
    "find_corpus",
    "read_codes",
]

RATE, FRAMES = 20, 4845
#: The action units that DISFA codes.
UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
SUBJECTS = tuple(f"SN{n:03d}" for n in (*range(1, 14), 16, 17, 18, 21, *range(23, 33)))
CAMERAS = ("left", "right")

_VIDEO = re.compile(r"(?:(left|right)[ _-]?(?:video|camera|cam)?[ _-]?)?(?:video[ _-]?)?SN[ _-]?0*(\d{1,3})\D.*", re.I)
_CODES = re.compile(r"(?:SN[ _-]?0*(\d{1,3})[ _-])?AU[ _-]?0*(\d{1,2})\.(?:txt|csv)", re.I)
_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".wmv", ".mpg"}


@dataclass(frozen=True)
class Recording:
    """One video: who, from which side, and where the file lies."""

    subject: str
    camera: str
    video: Path

    @property
    def name(self) -> str:
        """The name of its results."""
        return f"{self.subject}_{self.camera}"


@dataclass(frozen=True)
class Codes:
    """What the coders saw in one video: intensity (n, 12) int8, 0 to 5, of frames 1 to n; columns as UNITS."""

    intensity: np.ndarray

    def of(self, units: tuple[int, ...]) -> np.ndarray:
        """The columns of some units: (n, len(units))."""
        return self.intensity[:, [UNITS.index(unit) for unit in units]]


@dataclass(frozen=True)
class Corpus:
    """What lies in a folder: videos, code files by subject and unit, and what is missing or doubled, in sentences."""

    root: Path
    recordings: tuple[Recording, ...]
    codes: dict[str, dict[int, Path]]
    troubles: tuple[str, ...]


def find_corpus(root: Path, camera: str = "left") -> Corpus:
    """Find DISFA's videos and code files anywhere below a folder, by their names; DataError if there are none."""
    if camera not in (*CAMERAS, "both"):
        raise ConfigError(f"camera = {camera!r}: expected left, right or both")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the folder that holds DISFA's videos and ActionUnit_Labels")
    wanted = CAMERAS if camera == "both" else (camera,)
    videos: dict[tuple[str, str], list[Path]] = {}
    codes: dict[str, dict[int, Path]] = {}
    troubles: list[str] = []
    for path in files_below(root, on_trouble=lambda e: troubles.append(f"{e.filename}: cannot be read ({e.strerror})")):
        if (found := _coded(path)) is not None:
            subject, unit = found
            other = codes.setdefault(subject, {}).setdefault(unit, path)
            if other != path:
                troubles.append(f"{path}: {subject}'s action unit {unit} is also in {other}; that one is read")
        elif (seen := _filmed(path)) is not None and seen[1] in wanted:
            videos.setdefault(seen, []).append(path)
    if not videos or not codes:
        missing = "video such as LeftVideoSN001_comp.avi" if not videos else "code file such as SN001/SN001_au1.txt"
        side = f" of the {camera} camera" if not videos and camera != "both" else ""
        raise DataError(
            f"{root}: not DISFA: no {missing}{side} below it; expected Videos_LeftCamera/, Videos_RightCamera/ and "
            "ActionUnit_Labels/, unpacked"
        )
    recordings = []
    for subject in sorted({subject for subject, _ in videos} | set(codes)):
        for side in wanted:
            files = videos.get((subject, side), [])
            if not files:
                troubles.append(f"{subject}: has codes but no video of the {side} camera below {root}")
                continue
            if len(files) > 1:
                troubles.append(f"{subject}: two videos of the {side} camera, {files[0]} and {files[1]}; keep one")
            elif subject not in codes:
                troubles.append(f"{subject}: no code files (such as {subject}_au1.txt) below {root} for {files[0]}")
            else:
                recordings.append(Recording(subject, side, files[0]))
    return Corpus(root, tuple(recordings), codes, tuple(troubles))


def _coded(path: Path) -> tuple[str, int] | None:
    """Subject and action unit of a code file; the folder tells the subject where the name does not."""
    found = _CODES.fullmatch(path.name)
    if not found:
        return None
    inside = re.fullmatch(r"SN[ _-]?0*(\d{1,3})", path.parent.name, re.I)
    number = found[1] or (inside[1] if inside else None)
    return (f"SN{int(number):03d}", int(found[2])) if number and int(found[2]) in UNITS else None


def _filmed(path: Path) -> tuple[str, str] | None:
    """Subject and camera of a video; the folder tells the camera where the name does not."""
    found = _VIDEO.fullmatch(path.name)
    if not found or path.suffix.lower() not in _SUFFIXES:
        return None
    side = (found[1] or "").lower()
    if not side:
        told = [camera for camera in CAMERAS if any(camera in part.lower() for part in path.parts[-3:-1])]
        side = told[0] if len(told) == 1 else ""
    return (f"SN{int(found[2]):03d}", side) if side else None


def read_codes(corpus: Corpus, subject: str) -> Codes:
    """Read the twelve files of one subject; DataError names the file, and the line."""
    files = corpus.codes[subject]
    missing = [unit for unit in UNITS if unit not in files]
    if missing:
        folder = next(iter(files.values())).parent
        names = ", ".join(f"{subject}_au{unit}.txt" for unit in missing)
        raise DataError(f"{folder}: no {names}; expected one file for each of the {len(UNITS)} action units")
    columns = {unit: _read_unit(files[unit]) for unit in UNITS}
    longest = max(UNITS, key=lambda unit: len(columns[unit]))
    for unit, column in columns.items():
        if len(column) != len(columns[longest]):
            raise DataError(
                f"{files[unit]}: {len(column)} frames, but {files[longest].name} has {len(columns[longest])}"
            )
    return Codes(np.stack([columns[unit] for unit in UNITS], 1))


def _read_unit(path: Path) -> np.ndarray:
    """One intensity a frame, from lines `frame,intensity`, frames counted from 1 without a gap."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: cannot be read ({e}); expected lines such as 1,0") from None
    values: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = re.fullmatch(r"\s*(\d+)\s*[,;\s]\s*([0-5])(?:\.0*)?\s*", line)
        if not found or int(found[1]) != len(values) + 1:
            raise DataError(
                f"{path}: line {number}: expected {len(values) + 1},INTENSITY with an intensity of 0 to 5, found "
                f"{line.strip()!r}"
            )
        values.append(int(found[2]))
    if not values:
        raise DataError(f"{path}: empty; expected one line a frame, such as 1,0")
    return np.array(values, np.int8)
