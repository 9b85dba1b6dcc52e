"""The configuration of the pipeline: one frozen dataclass, made from a TOML preset and the options given beside it.

The reader of TOML files and options is written once, for any dataclass: fervid.lab.training.recipe uses it too.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any, TypedDict, TypeVar, Unpack, get_args, get_origin

from fervid.errors import ConfigError
from fervid.files import shipped_folder
from fervid.registry import DETECTORS, READERS

__all__ = [
    "ALIASES",
    "DEFAULT_WEIGHTS",
    "DETECTIONS",
    "MAX_PIXELS",
    "PRECISIONS",
    "ROTATIONS",
    "SAMPLINGS",
    "SMALLEST_FACE_PX",
    "Config",
    "ConfigOptions",
    "check_choice",
    "check_options",
    "load_config",
    "make_options",
    "presets",
    "read_toml",
]

#: Frames of more pixels are refused before they are decoded: 16384x8192 costs 1.2 GB. 8K (7680x4320) passes.
MAX_PIXELS = 64_000_000

#: The bundled model that is used by default; its card is fervid/weights/mobilefacenet.md.
DEFAULT_WEIGHTS = "mobilefacenet"
DETECTIONS = ("adaptive", "every")
SAMPLINGS = ("exact", "fast")
PRECISIONS = ("auto", "fp32", "bf16")
#: How stored frames are displayed: turned clockwise by these degrees, then mirrored left to right.
ROTATIONS = ("0", "90", "180", "270", "mirrored", "mirrored-90", "mirrored-180", "mirrored-270")
#: Side of MTCNN's first network, and so of the smallest face that can be found (Zhang et al. 2016, arXiv 1604.02878).
SMALLEST_FACE_PX = 12

#: Other names of Config's fields, in files and as keywords: those of earlier versions, and those of the command line.
ALIASES = {
    "picture_px": "detection_size_px",
    "birth_score": "track_start_score",
    "max_gap_s": "max_lost_s",
    "cuts": "detect_shots",
    "min_face": "min_face_px",
    "smooth": "smooth_s",
    "start": "start_s",
    "end": "end_s",
}
#: Fields whose key in the metadata of timelines is an earlier name, so that the metadata and the resume key stay.
_METADATA_KEYS = {
    "detection_size_px": "picture_px",
    "track_start_score": "birth_score",
    "max_lost_s": "max_gap_s",
    "detect_shots": "cuts",
}


@dataclass(frozen=True)
class Config:
    """Every option of the pipeline; all of it is written into the timeline's metadata.

    Functions that take these fields as keywords, and TOML files, also accept the names of the command line (start, end,
    min_face, smooth) and those of earlier versions (picture_px, birth_score, max_gap_s, cuts).

    Raises
    ------
    ConfigError
        If a value is unknown or out of range, or two values exclude each other.
    """

    fps: float | None = 5.0
    """Frames to sample per second of video, by timestamp; None samples every frame ("native")."""
    reader: str = "av"
    """A key of registry.READERS."""
    sampling: str = "exact"
    """exact: the first frame of each 1 / fps of a second; fast: any frame of it, so that fewer are decoded."""
    detector: str = "mtcnn"
    """A key of registry.DETECTORS."""
    detection: str = "adaptive"
    """every: search every sampled frame for faces; adaptive: search keyframes and confirm the faces between them."""
    weights: str = DEFAULT_WEIGHTS
    """Name of a bundled model, or a .safetensors file with its .json beside it."""
    prior: str = "default"
    """Class frequencies that the probabilities assume: default (those of the weights), uniform, trained, or a file."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: str = "auto"
    """Of the classifier and of centerface: fp32, bf16, or auto: bf16 where the device computes it natively."""
    detection_size_px: int = 640
    """Longer side of the image in which faces are detected."""
    min_face_px: float | None = None
    """Smallest face to detect, in pixels of the video; None: 20 pixels of the image in which faces are detected."""
    track_start_score: float = 0.9
    """Detection score that a face needs to start a track; lower ones only continue one."""
    max_lost_s: float = 1.0
    """Seconds for which a track without a face is kept."""
    detect_shots: bool = True
    """Detect cuts, fades and dissolves; no track crosses one. False: the video is one shot."""
    persons: str | None = None
    """A key of registry.EMBEDDERS, or a file with weights of vggface2; None: persons are not distinguished."""
    smooth_s: float | None = None
    """Standard deviation of the Gaussian of the `*_smooth` columns; None: there are no such columns."""
    baseline: bool = False
    """Whether there are `*_baseline` columns."""
    stream: int | None = None
    """Index of the video stream; None: the one that FFmpeg prefers."""
    rate: float | None = None
    """Frames per second of files without timestamps (raw streams); None: the rate that the file declares."""
    rotate: str | None = None
    """One of ROTATIONS: how stored frames are displayed, whatever the file declares; None: as the file declares."""
    start_s: float = 0.0
    """Where processing starts, in seconds as a player of the file shows them (clock.FileClock)."""
    end_s: float | None = None
    """Where processing ends, before this time of a player; None: at the end of the video."""
    max_pixels: int = MAX_PIXELS
    """Frames of more pixels are refused."""

    def __post_init__(self) -> None:
        check_choice("reader", self.reader, READERS)
        check_choice("sampling", self.sampling, SAMPLINGS)
        if self.sampling == "fast" and (self.fps is None or "sampling" not in READERS[self.reader].takes):
            found = "fps native" if self.fps is None else f"reader {self.reader}"
            raise ConfigError(f"sampling fast needs a frame rate (fps) and the reader av, found {found}")
        check_choice("detector", self.detector, DETECTORS)
        check_choice("detection", self.detection, DETECTIONS)
        check_choice("precision", self.precision, PRECISIONS)
        if self.rotate is not None:
            check_choice("rotate", self.rotate, ROTATIONS)
            if self.reader != "auto" and "rotate" not in READERS[self.reader].takes:
                raise ConfigError(f"rotate needs the reader av, found reader {self.reader}")
        _within("rate", self.rate, 0.01, 1000, "frames per second of a raw stream")
        _within("fps", self.fps, 1, 1000, "a number or native; every second of a timeline needs a sampled frame")
        _within("min_face_px", self.min_face_px, SMALLEST_FACE_PX, 100_000, "pixels of the video")
        _within("detection_size_px", self.detection_size_px, 64, 16_384, "pixels")
        _within("track_start_score", self.track_start_score, 0, 1, "a score")
        _within("max_lost_s", self.max_lost_s, 0, 3600, "seconds")
        _within("smooth_s", self.smooth_s, 0.1, 60, "seconds")
        _within("max_pixels", self.max_pixels, 1, 2**31, "pixels")
        _within("start_s", self.start_s, 0, 1e9, "seconds")
        _within("end_s", self.end_s, 0, 1e9, "seconds")
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ConfigError(f"end_s = {self.end_s:g}: expected a time after start_s = {self.start_s:g}")

    def detection_scale(self, width_px: int, height_px: int) -> tuple[int, float]:
        """Choose how far frames are scaled down for the detection of faces.

        A small `min_face_px` needs a larger image, until such a face has as many pixels as the detector needs; the
        image is never larger than the frame.

        Parameters
        ----------
        width_px, height_px : int
            Size of the displayed frame.

        Returns
        -------
        size_px : int
            Longer side of the image.
        min_face_px : float
            Smallest face to detect, in pixels of the frame.

        """
        longer = max(width_px, height_px)
        if self.min_face_px is None:
            size = min(self.detection_size_px, longer)
            return size, 20 * longer / size
        needed = round(DETECTORS[self.detector].face_px * longer / self.min_face_px)
        return min(longer, max(self.detection_size_px, needed)), self.min_face_px

    def check_min_face(self, width_px: int, height_px: int) -> None:
        """Check that the smallest face fits into the first frame of a video.

        Parameters
        ----------
        width_px, height_px : int
            Size of the displayed frame.

        Raises
        ------
        ConfigError
            If `min_face_px` is larger than the frame.
        """
        if self.min_face_px is not None and self.min_face_px > max(width_px, height_px):
            raise ConfigError(
                f"a smallest face of {self.min_face_px:g} pixels is larger than the frame, {width_px}x{height_px}; "
                "give a smaller --min-face"
            )

    @property
    def tracker_max_lost_s(self) -> float:
        """`max_lost_s`, but at least 2.5 sampling intervals: a face that was missed once is not lost."""
        return max(self.max_lost_s, 2.5 / self.fps if self.fps else 0)

    def to_dict(self) -> dict[str, Any]:
        """Give the options as they are written into the metadata of timelines.

        Returns
        -------
        dict[str, Any]
            Plain values. Fields that were renamed keep the key of fervid 0.1.
        """
        return {_METADATA_KEYS.get(f.name, f.name): getattr(self, f.name) for f in fields(self)}


class ConfigOptions(TypedDict, total=False):
    """The keywords that `load_config` and the functions of the API take: Config's fields, and other names of them.

    A value of None leaves a field to the pipeline file, or at its default.
    """

    fps: float | str | None
    reader: str | None
    sampling: str | None
    detector: str | None
    detection: str | None
    weights: str | None
    prior: str | None
    device: str | None
    precision: str | None
    detection_size_px: int | None
    min_face_px: float | None
    track_start_score: float | None
    max_lost_s: float | None
    detect_shots: bool | None
    persons: str | None
    smooth_s: float | None
    baseline: bool | None
    stream: int | None
    rate: float | None
    rotate: str | int | None
    start_s: float | None
    end_s: float | None
    max_pixels: int | None
    picture_px: int | None
    birth_score: float | None
    max_gap_s: float | None
    cuts: bool | None
    min_face: float | None
    smooth: float | None
    start: float | None
    end: float | None


def load_config(pipeline: str | PathLike[str] | None = None, **options: Unpack[ConfigOptions]) -> Config:
    """Make a Config from a preset or a TOML file, and the options that take precedence over it.

    Parameters
    ----------
    pipeline : str or PathLike, optional
        Name of a preset, or path of a TOML file.
    **options
        Fields of Config by their names or their ALIASES. None leaves a field to the file, or at its default. `fps` may
        be "native", and `persons` "none".

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        Names the key, the closest known one, and the file if the value is in the file.
    """
    written = {} if pipeline is None else _read_pipeline(pipeline)
    return make_options(Config, written, _convert_texts(options), source=f"{pipeline}", aliases=ALIASES)


def _read_pipeline(pipeline: str | PathLike[str]) -> dict[str, Any]:
    known = presets()
    path = known.get(str(pipeline), Path(pipeline))
    if not os.path.exists(path) or path.is_dir():  # noqa: PTH110 - Path.exists may raise
        raise ConfigError(f"pipeline = {pipeline}: no such preset; expected {', '.join(known)} or a .toml file")
    values = read_toml(path)
    try:
        return _convert_texts(values)
    except ConfigError as e:
        raise ConfigError(f"{pipeline}: {e}") from None


def _convert_texts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the texts that stand for other values; TOML and the command line have no None."""
    values = {name: value for name, value in options.items() if value is not None}
    if isinstance(fps := values.get("fps"), str):
        try:
            values["fps"] = None if fps == "native" else float(fps)
        except ValueError:
            raise ConfigError(f'fps = {fps!r}: expected a number or "native"') from None
    if isinstance(rotate := values.get("rotate"), int | float) and not isinstance(rotate, bool):
        values["rotate"] = f"{rotate:g}"
    if values.get("persons") == "none":  # disables what a preset enables
        values["persons"] = None
    return values


def presets() -> dict[str, Path]:
    """List the presets that ship with fervid.

    Returns
    -------
    dict[str, Path]
        The TOML file of each, by name.
    """
    return {path.stem: path for path in sorted(shipped_folder("pipelines").glob("*.toml"))}


# -- any dataclass of options -------------------------------------------------------------------------------

Options = TypeVar("Options")
_TYPE_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict[str, Any]

    Raises
    ------
    ConfigError
        If it is missing or cannot be read.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"{path}: not a readable TOML file ({e})") from None
    except OSError as e:
        reason = "no such file" if isinstance(e, FileNotFoundError) else f"cannot be read ({e.strerror})"
        raise ConfigError(f"{path}: {reason}; expected a TOML file") from None


def make_options(
    kind: type[Options],
    written: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    source: str = "",
    aliases: Mapping[str, str] | None = None,
) -> Options:
    """Make a dataclass of options from the values of a file and those that take precedence over it.

    Parameters
    ----------
    kind : type
        A dataclass whose fields are str, int, float, bool, optionally None, tuple[str, ...], or dict[str, ...].
    written : Mapping[str, Any]
        The values of the file.
    options : Mapping[str, Any]
        The values beside it.
    source : str
        The file as error messages name it; "" if there is none.
    aliases : Mapping[str, str], optional
        Other names of fields.

    Returns
    -------
    dataclass

    Raises
    ------
    ConfigError
        If a key is unknown, or a value has the wrong type or is out of range. The message begins with `source` if the
        file is wrong by itself.
    """
    try:
        return kind(**check_options(kind, written, aliases) | check_options(kind, options, aliases))
    except ConfigError:
        if written:
            try:
                kind(**check_options(kind, written, aliases))
            except ConfigError as e:
                raise ConfigError(f"{source}: {e}") from None
        raise


def check_options(kind: type, values: Mapping[str, Any], aliases: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Check values against the names and types of a dataclass's fields.

    Parameters
    ----------
    kind : type
        As for `make_options`.
    values : Mapping[str, Any]
    aliases : Mapping[str, str], optional
        Other names of fields.

    Returns
    -------
    dict[str, Any]
        The values by the names of the fields; whole numbers become floats, and lists tuples, where a field has these.

    Raises
    ------
    ConfigError
        If a key is unknown or occurs under two names, or a value has the wrong type.
    """
    types: dict[str, Any] = {f.name: f.type for f in fields(kind)}
    names = {name: name for name in types} | dict(aliases or {})
    checked: dict[str, Any] = {}
    for given, value in values.items():
        if given not in names:
            near = difflib.get_close_matches(given, names, 1)
            hint = f"did you mean {names[near[0]]!r}?" if near else f"expected one of {', '.join(types)}"
            raise ConfigError(f"unknown key {given!r}; {hint}")
        name = names[given]
        if name in checked:
            raise ConfigError(f"{given} is another name of {name}: give one of them")
        checked[name] = _convert(name, value, types[name])
    return checked


def _convert(name: str, value: Any, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
            raise ConfigError(f"{name} = {value!r}: expected a list of texts")
        return tuple(value)
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} = {value!r}: expected a table")
        part = get_args(kind)[1]
        return {
            key: _convert(f"{name}: {key}", one, part) if part in _TYPE_NAMES else one for key, one in value.items()
        }
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if float in kinds and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    fits = bool in kinds if isinstance(value, bool) else isinstance(value, kinds)
    if not fits:
        expected = " or ".join(_TYPE_NAMES[k] for k in kinds if k in _TYPE_NAMES)
        unit = " of seconds" if float in kinds and name.endswith("_s") else ""
        raise ConfigError(f"{name} = {value!r}: expected {expected}{unit}")
    return value


def check_choice(name: str, value: str, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Check that a value is one of several.

    Parameters
    ----------
    name : str
        The option.
    value : str
    known : Mapping or tuple
        The names, or a registry.

    Raises
    ------
    ConfigError
        If it is none of them; the message lists them.
    """
    if value not in known:
        raise ConfigError(f"unknown {name} {value!r}: expected one of {', '.join(known)}")


def _within(name: str, value: float | None, low: float, high: float, unit: str) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{name} = {value:g}: expected {low:g} to {high:g} ({unit})")
