"""All options of a training run as one frozen dataclass, from a TOML file and keyword arguments."""

import itertools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict, Unpack, get_origin

from fervid.config import check_choice, make_options, read_toml
from fervid.errors import ConfigError
from fervid.lab.training.augment import KINDS
from fervid.networks.registry import ARCHITECTURES

__all__ = ["BALANCES", "Recipe", "RecipeOptions", "load_grid", "load_recipe"]

#: Architectures whose dense layers depend on the grid of the last feature map, so that a smaller window misleads them.
_FIXED_GRID = ("baseline", "basecnn")
BALANCES = ("none", "weights", "oversample", "smote", "adasyn")


@dataclass(frozen=True)
class Recipe:
    """Every option of a training run. It is stored beside the weights; a checkpoint resumes only with the same one."""

    # the network
    arch: str = "seresnet"
    init: str | None = None
    """Initial weights of the backbone: a .safetensors or .pt file, a bundled model, "download" (the published weights),
    or "scratch". None: "download" for vggface2 and dlibface (whose weights are a package), "scratch" for all others."""
    freeze: bool = False
    """Whether to train the head alone."""
    dropout: float = 0.3
    # the data
    labels: str = "auto"
    """Which labels to use where there are several: "auto", "hard" or "ferplus" (see load_faces)."""
    size_px: int = 48
    balance: str = "none"
    # what is learned
    heads: str = "hard"
    """"hard": one head for the labels, or "both": a second one for the votes."""
    vote_weight: float = 0.5
    """Weight of the votes in the target of a single head, where there are votes."""
    label_smoothing: float = 0.05
    mixup: float = 0.0
    """Both parameters of the beta distribution of mixup (Zhang et al. 2018); 0 switches it off."""
    teacher: tuple[str, ...] = ()
    """Weights of teachers; their mean prediction is part of the target (Hinton et al. 2015, arXiv 1503.02531)."""
    teacher_weight: float = 0.5
    # how images are varied
    augment: float = 1.0
    augment_kinds: tuple[str, ...] = KINDS
    window_px: int | None = None
    """Side of the random window of an image used in training; None: the whole image."""
    # how it is learned
    epochs: int = 28
    gentle_epochs: int = 13
    """Number of final epochs with half the augmentation, closer to the faces of the line."""
    batch_size: int = 128
    optimiser: str = "sgd"
    learning_rate: float | None = None
    """Peak learning rate; None: 0.1 for sgd, 0.001 for adamw."""
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.5
    schedule: str = "cosine"
    """"cosine" to zero, or "plateau": multiply by `plateau_factor` after `plateau_epochs` without improvement."""
    plateau_epochs: int = 3
    plateau_factor: float = 0.3
    patience: int | None = None
    """Stop after this many epochs without improvement on the validation faces, and keep the best; None: never."""
    ema_decay: float = 0.998
    bf16: str = "auto"
    workers: int = 1
    """Processes that share each batch on a CPU, with one thread each."""
    seed: int = 0
    # the end
    refit: bool | None = None
    """Whether to refit the head on unaugmented images; None: for seresnet only."""
    head_vote_weight: float = 0.25
    """vote_weight for the refit."""

    def __post_init__(self) -> None:
        check_choice("arch", self.arch, tuple(ARCHITECTURES))
        check_choice("labels", self.labels, ("auto", "hard", "ferplus"))
        check_choice("balance", self.balance, BALANCES)
        check_choice("heads", self.heads, ("hard", "both"))
        check_choice("optimiser", self.optimiser, ("sgd", "adamw"))
        check_choice("schedule", self.schedule, ("cosine", "plateau"))
        check_choice("bf16", self.bf16, ("auto", "on", "off"))
        for kind in self.augment_kinds:
            check_choice("augment_kinds", kind, KINDS)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} = {value:g}: expected {low:g} to {high:g}")
        if self.window_px is not None and self.window_px > self.size_px:
            raise ConfigError(
                f"window_px = {self.window_px}: the window must fit into the image of {self.size_px} pixels"
            )
        if self.window_px not in (None, self.size_px) and self.arch in _FIXED_GRID:
            raise ConfigError(
                f"window_px = {self.window_px}: the dense layers of {self.arch} need faces of one size; leave it out"
            )
        if self.heads == "both" and self.labels == "ferplus":
            raise ConfigError('heads = "both" learns labels and votes; labels = "ferplus" makes both the same')

    @property
    def peak_rate(self) -> float:
        """The peak learning rate."""
        return self.learning_rate or (0.1 if self.optimiser == "sgd" else 0.001)


_RANGES = {
    "dropout": (0, 0.95), "size_px": (16, 1024), "window_px": (16, 1024),
    "vote_weight": (0, 1), "head_vote_weight": (0, 1), "teacher_weight": (0, 1), "label_smoothing": (0, 0.9),
    "mixup": (0, 10), "augment": (0, 2), "epochs": (1, 100_000), "gentle_epochs": (0, 100_000),
    "batch_size": (2, 65_536), "learning_rate": (1e-9, 100), "weight_decay": (0, 10), "warmup_epochs": (0, 1000),
    "plateau_epochs": (1, 1000), "plateau_factor": (0, 1), "patience": (1, 100_000), "ema_decay": (0, 0.999999),
    "workers": (1, 256), "seed": (0, 2**31),
}  # fmt: skip
_TYPES: dict[str, Any] = {f.name: f.type for f in fields(Recipe)}


class RecipeOptions(TypedDict, total=False):
    """The keywords of `load_recipe`: Recipe's fields. None leaves one to the recipe file, or at its default."""

    arch: str | None
    init: str | None
    freeze: bool | None
    dropout: float | None
    labels: str | None
    size_px: int | None
    balance: str | None
    heads: str | None
    vote_weight: float | None
    label_smoothing: float | None
    mixup: float | None
    teacher: list[str] | tuple[str, ...] | None
    teacher_weight: float | None
    augment: float | None
    augment_kinds: list[str] | tuple[str, ...] | None
    window_px: int | None
    epochs: int | None
    gentle_epochs: int | None
    batch_size: int | None
    optimiser: str | None
    learning_rate: float | None
    weight_decay: float | None
    warmup_epochs: float | None
    schedule: str | None
    plateau_epochs: int | None
    plateau_factor: float | None
    patience: int | None
    ema_decay: float | None
    bf16: str | None
    workers: int | None
    seed: int | None
    refit: bool | None
    head_vote_weight: float | None


def load_recipe(path: Path | None = None, **options: Unpack[RecipeOptions]) -> Recipe:
    """Load a recipe from a TOML file; options that are not None take precedence.

    Parameters
    ----------
    path : Path, optional
    **options
        Fields of Recipe.

    Returns
    -------
    Recipe

    Raises
    ------
    ConfigError
        Naming the key, what was expected, and the file if the value is from there.
    """
    written = read_toml(path) if path is not None else {}
    given = {name: value for name, value in options.items() if value is not None}
    return make_options(Recipe, written, given, source=f"{path}")


def load_grid(path: Path, base: Recipe) -> list[tuple[dict[str, Any], Recipe]]:
    """Load a grid of recipes from a TOML file.

    Parameters
    ----------
    path : Path
        A list of values makes a dimension of the grid, any other value is fixed. For an option that is a list itself
        (teacher), a list of lists makes a dimension.
    base : Recipe
        Supplies all other options.

    Returns
    -------
    list of (dict, Recipe)
        Per run, the options in which it differs, and its recipe.

    Raises
    ------
    ConfigError
        Naming the file and the key.
    """
    values = read_toml(path)
    choices = {name: value for name, value in values.items() if _is_choice(name, value)}
    if not choices or not all(choices.values()):
        raise ConfigError(f'{path}: expected at least one option with a list of values, as in arch = ["a", "b"]')
    fixed = {f.name: getattr(base, f.name) for f in fields(base)} | values
    runs = []
    for chosen in itertools.product(*choices.values()):
        difference = dict(zip(choices, chosen))
        runs.append((difference, make_options(Recipe, fixed | difference, {}, source=f"{path}")))
    return runs


def _is_choice(name: str, value: object) -> bool:
    if not isinstance(value, list):
        return False
    return get_origin(_TYPES.get(name)) is not tuple or any(isinstance(part, list) for part in value)
