"""What the line is asked to do: one frozen dataclass, from a TOML preset and the options given beside it."""

import difflib
import tomllib
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

from fervid.errors import ConfigError

__all__ = [
    "DETECTIONS",
    "DETECTORS",
    "MAX_PIXELS",
    "PRECISIONS",
    "READERS",
    "SAMPLINGS",
    "Config",
    "load_config",
    "presets",
]

#: Frames of more pixels are refused before they are decoded: 16384x8192 costs 1.2 GB. 8K (7680x4320) passes.
MAX_PIXELS = 64_000_000


#: auto: nvdec for a line on a GPU, as far as the GPU's decoder takes the file, and av for everything else.
READERS = ("av", "decord", "torchcodec", "nvdec", "auto")

DETECTORS = ("mtcnn", "centerface")
DETECTIONS = ("adaptive", "every")
SAMPLINGS = ("exact", "fast")
PRECISIONS = ("auto", "fp32", "bf16")
#: The smallest face that MTCNN can be asked for: the side of its first net (Zhang et al. 2016, arXiv 1604.02878).
_SMALLEST_FACE_PX = 12
#: How many pixels of the picture a face needs to be found (tests/benchmarks/detectors.py).
_SEEN_PX = {"mtcnn": 20, "centerface": 12}


@dataclass(frozen=True)
class Config:
    """Every option of the line. It travels whole into the timeline's metadata."""

    fps: float | None = 5.0
    """Looks a second, by timestamp; None looks at every frame ("native")."""
    reader: str = "av"
    sampling: str = "exact"
    """exact: the first frame of each 1 / fps of a second; fast: any frame of it, so that fewer are decoded."""
    detector: str = "mtcnn"
    detection: str = "adaptive"
    """every: the detector searches every look; adaptive: key looks, and it confirms the faces between them."""
    weights: str = "seresnet"
    """A bundled model's name, or a .safetensors file with its .json beside it."""
    device: str = "auto"
    precision: str = "auto"
    """Of the classifier and of centerface: fp32, bf16, or auto, bf16 where the device computes it natively."""
    picture_px: int = 640
    """Longer side of the picture that faces are detected in."""
    min_face_px: float | None = None
    """Smallest face looked for, in pixels of the video; None: 20 pixels of the detection picture."""
    birth_score: float = 0.9
    """Detection score that a face needs to begin a track; weaker ones only continue one."""
    max_gap_s: float = 1.0
    """Seconds for which a track waits for a face that is not found."""
    cuts: bool = True
    """Look for cuts, fades and dissolves; no track crosses one. False: the video is one shot."""
    persons: str | None = None
    """What tells people apart (dlib, from a package; vggface2, which is fetched once; or a file); None: nobody does."""
    smooth_s: float | None = None
    """Deviation of the Gaussian of the `*_smooth` columns; None: there are none."""
    baseline: bool = False
    """Whether there are `*_baseline` columns."""
    stream: int | None = None
    start_s: float = 0.0
    end_s: float | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        _one_of("reader", self.reader, READERS)
        _one_of("sampling", self.sampling, SAMPLINGS)
        if self.sampling == "fast" and (self.fps is None or self.reader != "av"):
            found = "fps native" if self.fps is None else f"reader {self.reader}"
            raise ConfigError(f"sampling fast needs a number of looks a second and the reader av, found {found}")
        _one_of("detector", self.detector, DETECTORS)
        _one_of("detection", self.detection, DETECTIONS)
        _one_of("precision", self.precision, PRECISIONS)
        _within("fps", self.fps, 1, 1000, "a number or native; a per-second timeline needs a look a second")
        _within("min_face_px", self.min_face_px, _SMALLEST_FACE_PX, 100_000, "pixels of the video")
        _within("picture_px", self.picture_px, 64, 16_384, "pixels")
        _within("birth_score", self.birth_score, 0, 1, "a score")
        _within("max_gap_s", self.max_gap_s, 0, 3600, "seconds")
        _within("smooth_s", self.smooth_s, 0.1, 60, "seconds")
        _within("max_pixels", self.max_pixels, 1, 2**31, "pixels")
        _within("start_s", self.start_s, 0, 1e9, "seconds")
        _within("end_s", self.end_s, 0, 1e9, "seconds")
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ConfigError(f"end {self.end_s:g} s must be after start {self.start_s:g} s")

    def detection_scale(self, width_px: int, height_px: int) -> tuple[int, float]:
        """Give the picture's longer side and the smallest face in the video's pixels, for a video of this size.

        A small min_face_px enlarges the picture until that face has the pixels that the detector needs, as far as the
        video has them.
        """
        longer = max(width_px, height_px)
        if self.min_face_px is not None and self.min_face_px > longer:
            raise ConfigError(
                f"a least face of {self.min_face_px:g} pixels is larger than the picture, {width_px}x{height_px}; "
                "give a smaller --min-face"
            )
        if self.min_face_px is None:
            picture = min(self.picture_px, longer)
            return picture, 20 * longer / picture
        needed = round(_SEEN_PX[self.detector] * longer / self.min_face_px)
        return min(longer, max(self.picture_px, needed)), self.min_face_px

    @property
    def track_gap_s(self) -> float:
        """max_gap_s, but at least two looks and a half: a face missed once is not gone."""
        return max(self.max_gap_s, 2.5 / self.fps if self.fps else 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the metadata."""
        return asdict(self)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"unknown {name} {value!r}: expected one of {', '.join(known)}")


def _within(name: str, value: float | None, low: float, high: float, unit: str) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{name} = {value:g}: expected {low:g} to {high:g} ({unit})")


def load_config(pipeline: str | PathLike[str] | None = None, **options: Any) -> Config:
    """Read a preset by name or a TOML file, and put the options that are not None over it.

    ConfigError names the key, the nearest known one, and the file if the value stands there. `fps` may be "native", and
    `persons` "none".
    """
    given = _checked({name: value for name, value in options.items() if value is not None})
    if pipeline is None:
        return Config(**given)
    try:
        own = _checked(_read(pipeline))
        Config(**own)
    except ConfigError as e:
        raise ConfigError(f"{pipeline}: {e}") from None
    return Config(**own | given)


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """Hold values against the names and types of Config's fields; give them as it takes them."""
    for name in values:
        if name not in _KINDS:
            near = difflib.get_close_matches(name, _KINDS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"unknown key {name!r}{hint} (known: {', '.join(_KINDS)})")
    if isinstance(values.get("fps"), str):
        values["fps"] = _fps(values["fps"])
    for name, value in values.items():
        if not isinstance(value, _KINDS[name]) or isinstance(value, bool) != (_KINDS[name] == (bool,)):
            raise ConfigError(f"{name} = {value!r}: expected {_named(_KINDS[name])}")
    for name in _REALS & values.keys():
        values[name] = float(values[name]) if values[name] is not None else None
    if values.get("persons") == "none":  # switches off what a preset switches on
        values["persons"] = None
    return values


_NUMBER = (int, float)
_REALS = {"fps", "min_face_px", "birth_score", "max_gap_s", "smooth_s", "start_s", "end_s"}
_BY_TYPE: dict[Any, tuple[type, ...]] = {
    str: (str,), str | None: (str,), bool: (bool,), int: (int,), int | None: (int,),
}  # fmt: skip
_KINDS = {f.name: _BY_TYPE.get(f.type, (*_NUMBER, type(None))) for f in fields(Config)}


def _named(kinds: tuple[type, ...]) -> str:
    if kinds == (bool,):
        return "true or false"
    return "text" if str in kinds else "a whole number" if float not in kinds else "a number"


def _fps(text: str) -> float | None:
    if text == "native":
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f'fps = {text!r}: expected a number or "native"') from None


def presets() -> dict[str, Path]:
    """The presets that ship with fervid, by name."""
    inside = Path(__file__).parent / "pipelines"  # in a wheel
    folder = inside if inside.is_dir() else Path(__file__).parent.parent / "pipelines"  # in a checkout
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _read(pipeline: str | PathLike[str]) -> dict[str, Any]:
    known = presets()
    path = known.get(str(pipeline), Path(pipeline))
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"no such pipeline; expected {', '.join(known)} or a .toml file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"not a readable TOML file ({e})") from None
