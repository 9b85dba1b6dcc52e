"""Find and read DISFA as distributed: its videos, and the coded intensities of twelve facial action units per frame.

Mavadati, Mahoor, Bartlett, Trinh & Cohn (2013), IEEE Transactions on Affective Computing 4, 151-160: 27 people watch a
film of four minutes, filmed by two cameras at 20 frames per second, 4845 frames; intensities 0 to 5.
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
#: Action units that DISFA codes.
UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
SUBJECTS = tuple(f"SN{n:03d}" for n in (*range(1, 14), 16, 17, 18, 21, *range(23, 33)))
CAMERAS = ("left", "right")

_VIDEO = re.compile(r"(?:(left|right)[ _-]?(?:video|camera|cam)?[ _-]?)?(?:video[ _-]?)?SN[ _-]?0*(\d{1,3})\D.*", re.I)
_CODES = re.compile(r"(?:SN[ _-]?0*(\d{1,3})[ _-])?AU[ _-]?0*(\d{1,2})\.(?:txt|csv)", re.I)
_SUBJECT_FOLDER = re.compile(r"SN[ _-]?0*(\d{1,3})", re.I)
_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".wmv", ".mpg"}


@dataclass(frozen=True)
class Recording:
    """One video of one subject."""

    subject: str
    camera: str
    """left or right."""
    video: Path

    @property
    def name(self) -> str:
        """Name of the results, such as SN001_left."""
        return f"{self.subject}_{self.camera}"


@dataclass(frozen=True)
class Codes:
    """Action unit codes of one subject."""

    intensity: np.ndarray
    """(n, 12) int8, 0 to 5, of frames 1 to n; columns as in UNITS."""

    def of(self, units: tuple[int, ...]) -> np.ndarray:
        """Return the columns of some action units.

        Parameters
        ----------
        units : tuple of int
            Action units of UNITS.

        Returns
        -------
        ndarray of shape (n, len(units))
            Intensities.
        """
        return self.intensity[:, [UNITS.index(unit) for unit in units]]


@dataclass(frozen=True)
class Corpus:
    """Videos and code files of a folder."""

    root: Path
    recordings: tuple[Recording, ...]
    """Videos of subjects with code files."""
    codes: dict[str, dict[int, Path]]
    """Code files by subject and action unit."""
    problems: tuple[str, ...]
    """What is missing or duplicated, in sentences."""


def find_corpus(root: Path, camera: str = "left") -> Corpus:
    """Find DISFA's videos and code files anywhere below a folder, by their names.

    Parameters
    ----------
    root : Path
        The folder.
    camera : str
        left, right or both.

    Returns
    -------
    Corpus
        With at least one video and one code file.

    Raises
    ------
    ConfigError
        If there is no such camera.
    DataError
        If there is no such folder, no video or no code file.
    """
    if camera not in (*CAMERAS, "both"):
        raise ConfigError(f"camera = {camera!r}: expected left, right or both")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the folder that holds DISFA's videos and ActionUnit_Labels")
    cameras = CAMERAS if camera == "both" else (camera,)
    videos: dict[tuple[str, str], list[Path]] = {}
    codes: dict[str, dict[int, Path]] = {}
    problems: list[str] = []

    def report(error: OSError) -> None:
        problems.append(f"{error.filename}: cannot be read ({error.strerror})")

    for path in files_below(root, on_error=report):
        if (coded := _parse_code_file(path)) is not None:
            subject, unit = coded
            other = codes.setdefault(subject, {}).setdefault(unit, path)
            if other != path:
                problems.append(f"{path}: {subject}'s action unit {unit} is also in {other}; that one is read")
        elif (filmed := _parse_video(path)) is not None and filmed[1] in cameras:
            videos.setdefault(filmed, []).append(path)
    if not videos or not codes:
        missing = "video such as LeftVideoSN001_comp.avi" if not videos else "code file such as SN001/SN001_au1.txt"
        side = f" of the {camera} camera" if not videos and camera != "both" else ""
        raise DataError(
            f"{root}: not DISFA: no {missing}{side} below it; expected Videos_LeftCamera/, Videos_RightCamera/ and "
            "ActionUnit_Labels/, unpacked"
        )
    recordings = []
    for subject in sorted({subject for subject, _ in videos} | set(codes)):
        for side in cameras:
            files = videos.get((subject, side), [])
            if not files:
                problems.append(f"{subject}: has codes but no video of the {side} camera below {root}")
            elif len(files) > 1:
                problems.append(f"{subject}: two videos of the {side} camera, {files[0]} and {files[1]}; keep one")
            elif subject not in codes:
                problems.append(f"{subject}: no code files (such as {subject}_au1.txt) below {root} for {files[0]}")
            else:
                recordings.append(Recording(subject, side, files[0]))
    return Corpus(root, tuple(recordings), codes, tuple(problems))


def _parse_code_file(path: Path) -> tuple[str, int] | None:
    """Return subject and action unit of a code file; the subject is in the name of the file or of its folder."""
    found = _CODES.fullmatch(path.name)
    if not found:
        return None
    folder = _SUBJECT_FOLDER.fullmatch(path.parent.name)
    number = found[1] or (folder[1] if folder else None)
    return (f"SN{int(number):03d}", int(found[2])) if number and int(found[2]) in UNITS else None


def _parse_video(path: Path) -> tuple[str, str] | None:
    """Return subject and camera of a video; the camera is in the name of the file or of its folders."""
    found = _VIDEO.fullmatch(path.name)
    if not found or path.suffix.lower() not in _SUFFIXES:
        return None
    side = (found[1] or "").lower()
    if not side:
        named = [camera for camera in CAMERAS if any(camera in part.lower() for part in path.parts[-3:-1])]
        side = named[0] if len(named) == 1 else ""
    return (f"SN{int(found[2]):03d}", side) if side else None


def read_codes(corpus: Corpus, subject: str) -> Codes:
    """Read the twelve code files of one subject.

    Parameters
    ----------
    corpus : Corpus
        As from `find_corpus`.
    subject : str
        Subject with code files.

    Returns
    -------
    Codes
        Intensities of all frames.

    Raises
    ------
    DataError
        If a file is missing or not valid, or the files differ in length.
    """
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
    """Read one intensity per frame from lines `frame,intensity`; frames count from 1 without a gap."""
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
        raise DataError(f"{path}: empty; expected one line per frame, such as 1,0")
    return np.array(values, np.int8)
