"""All options of a training run as one frozen dataclass, from a TOML file and keyword arguments."""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict, Unpack, get_origin

from fervid.config import check_choice, check_options, make_options, read_toml
from fervid.errors import ConfigError
from fervid.lab.training.kinds import KINDS, PLAIN_KINDS
from fervid.labels import EMOTIONS
from fervid.networks.registry import ARCHITECTURES

__all__ = ["BALANCES", "CorpusRecipe", "Recipe", "RecipeOptions", "load_grid", "load_recipe", "recipes", "same_recipe"]

#: Architectures whose last layers depend on the grid of the last feature map, so that a smaller window misleads them.
_FIXED_GRID = ("baseline", "basecnn", "mobilefacenet")
BALANCES = ("none", "weights", "oversample", "smote", "adasyn")
_HEADS = ("hard", "both", "joint")
_ALIGNS = ("none", "landmarks")
_LABELS = ("auto", "hard", "ferplus")


@dataclass(frozen=True)
class CorpusRecipe:
    """The options of one corpus where a run learns from several: a table [corpora.NAME] of a recipe.

    An option of None is that of the recipe.
    """

    data: str | None = None
    """The training faces, as for --data, which takes precedence."""
    validation: str | None = None
    """The validation faces, as for --validation; None: a tenth of `data` is held out."""
    split: str = "train"
    share: float | None = None
    """Share of the images in a batch, relative to the other corpora; None: the number of its images."""
    labels: str | None = None
    align: str | None = None
    unaligned: float = 0.0
    """Share of the images that are placed by the corpus's median landmarks instead of their own; from 0.5 on,
    validation faces are, too."""
    vote_weight: float | None = None
    label_vote_weight: float = 0.0
    """Weight of the votes in the target of the head of this corpus's own labels."""
    label_smoothing: float | None = None
    teacher_weight: float | None = None

    def __post_init__(self) -> None:
        if self.labels is not None:
            check_choice("labels", self.labels, _LABELS)
        if self.align is not None:
            check_choice("align", self.align, _ALIGNS)
        _check_ranges(self, _CORPUS_RANGES)


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
    freeze_blocks: int = 0
    """Number of blocks that keep their initial weights, together with all layers before them; 0 trains everything."""
    dropout: float = 0.3
    # the data
    labels: str = "auto"
    """Which labels to use where there are several: "auto", "hard" or "ferplus" (see load_faces)."""
    size_px: int = 48
    colour: bool = False
    """Whether the network sees RGB images; grey ones are repeated in all channels."""
    align: str = "none"
    """"landmarks": faces are placed by their landmarks as in the line; "none": as the data set has them."""
    balance: str = "none"
    corpora: dict[str, CorpusRecipe] = field(default_factory=dict)
    """Tables [corpora.NAME] of the corpora to learn from at once."""
    class_power: float = 0.0
    """The share of a class of n images is proportional to n ** (1 - class_power): 0 as in the data, 1 equal."""
    epoch_pictures: int | None = None
    """Images of an epoch where images are drawn; None: as many as there are."""
    # what is learned
    heads: str = "hard"
    """"hard": one head for the labels; "both": a second one for the votes; "joint": one head for `classes`, which all
    corpora teach, and one for each labelling."""
    classes: tuple[str, ...] = ()
    """The classes of the joint head; none: the seven of FER2013."""
    head_weights: dict[str, float] = field(default_factory=dict)
    """Weight of each head in the loss (1); a head of weight 0 is left out."""
    export_heads: tuple[str, ...] = ()
    """The heads that the trained model keeps, in this order; none: all."""
    logit_adjustment: bool = False
    """Whether the loss adds the log of the class frequencies to the logits (Menon et al. 2021, arXiv 2007.07314), which
    makes the outputs assume that all classes are equally frequent."""
    prior: dict[str, float] = field(default_factory=dict)
    """Class frequencies that the probabilities of the first head assume; none: equal ones under `logit_adjustment`,
    else those of training."""
    vote_weight: float = 0.5
    """Weight of the votes in the target of a single head, where there are votes."""
    label_smoothing: float = 0.05
    mixup: float = 0.0
    """Both parameters of the beta distribution of mixup (Zhang et al. 2018); 0 switches it off."""
    teacher: tuple[str, ...] = ()
    """Weights of teachers; their mean prediction is part of the target (Hinton et al. 2015, arXiv 1503.02531)."""
    teacher_weight: float = 0.5
    consistency: float = 0.0
    """Weight of the difference between the attention of an image and of its mirror image (Zhang et al. 2022,
    arXiv 2207.10299); 0 switches it off."""
    # how images are varied
    augment: float = 1.0
    augment_kinds: tuple[str, ...] = PLAIN_KINDS
    move_strength: float | None = None
    """Strength of the kinds move and shake; None: `augment`."""
    window_px: int | None = None
    """Side of the random window of an image used in training; None: the whole image."""
    # how it is learned
    epochs: int = 28
    minutes: float | None = None
    """Train for this time instead of `epochs`; the schedule follows the clock. Such a run is not repeatable."""
    gentle_epochs: int = 13
    """Number of final epochs with half the augmentation, closer to the faces of the line."""
    batch_size: int = 128
    optimiser: str = "sgd"
    learning_rate: float | None = None
    """Peak learning rate; None: 0.1 for sgd, 0.001 for adamw."""
    layer_decay: float = 1.0
    """Learning rate of the first layers in parts of the last ones'; geometric in between."""
    head_factor: float = 1.0
    """Learning rate of the head in parts of the last layers'."""
    sam: float = 0.0
    """Radius of sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412); 0 switches it off."""
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
    terms: str = ""
    """A sentence about the licence of the weights and of what they were trained on, for the facts."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "corpora", _corpora(self.corpora))
        check_choice("arch", self.arch, tuple(ARCHITECTURES))
        check_choice("labels", self.labels, _LABELS)
        check_choice("align", self.align, _ALIGNS)
        check_choice("balance", self.balance, BALANCES)
        check_choice("heads", self.heads, _HEADS)
        check_choice("optimiser", self.optimiser, ("sgd", "adamw"))
        check_choice("schedule", self.schedule, ("cosine", "plateau"))
        check_choice("bf16", self.bf16, ("auto", "on", "off"))
        for kind in self.augment_kinds:
            check_choice("augment_kinds", kind, KINDS)
        _check_ranges(self, _RANGES)
        for name in self.classes:
            check_choice("classes", name, EMOTIONS)
        if len(set(self.classes)) != len(self.classes) or len(self.classes) == 1:
            raise ConfigError(f"classes = {', '.join(self.classes)}: expected at least two different ones")
        for name, weight in self.head_weights.items():
            if not 0 <= weight <= 100:
                raise ConfigError(f"head_weights: {name} = {weight:g}: expected 0 to 100")
        _check_prior(self.prior)
        if self.window_px is not None and self.window_px > self.size_px:
            raise ConfigError(
                f"window_px = {self.window_px}: the window must fit into the image of {self.size_px} pixels"
            )
        if self.window_px not in (None, self.size_px) and self.arch in _FIXED_GRID:
            raise ConfigError(
                f"window_px = {self.window_px}: the last layers of {self.arch} need faces of one size; leave it out"
            )
        if self.heads == "both" and self.labels == "ferplus":
            raise ConfigError('heads = "both" learns labels and votes; labels = "ferplus" makes both the same')
        if self.minutes is not None and self.workers > 1:
            raise ConfigError(f"minutes = {self.minutes:g}: a run by the clock has one process; leave out workers")
        if self.draws:
            self.check_draws()

    def check_draws(self) -> None:
        """Refuse options that need every image once per epoch.

        Raises
        ------
        ConfigError
        """
        for name, expected in (("balance", "none"), ("window_px", None), ("refit", None)):
            if getattr(self, name) not in (expected, False):
                raise ConfigError(
                    f"{name} = {getattr(self, name)}: works for images that are passed once per epoch only; leave it "
                    "out, or use class_power"
                )

    @property
    def draws(self) -> bool:
        """Whether images are drawn at random and resampled once, not passed once per epoch at the input's size."""
        return bool(
            self.corpora
            or self.colour
            or self.align != "none"
            or self.class_power
            or self.logit_adjustment
            or self.epoch_pictures
            or self.heads == "joint"
            or any(kind not in PLAIN_KINDS for kind in self.augment_kinds)
        )

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
    "workers": (1, 256), "seed": (0, 2**31), "freeze_blocks": (0, 1000), "class_power": (0, 1), "move_strength": (0, 2),
    "epoch_pictures": (2, 10**9), "consistency": (0, 1000), "minutes": (0.01, 100_000), "layer_decay": (0.001, 1),
    "head_factor": (0.001, 1000), "sam": (0, 10),
}  # fmt: skip
_CORPUS_RANGES = {
    "share": (1e-6, 1e9), "unaligned": (0, 1), "vote_weight": (0, 1), "label_vote_weight": (0, 1),
    "label_smoothing": (0, 0.9), "teacher_weight": (0, 1),
}  # fmt: skip
_TYPES: dict[str, Any] = {f.name: f.type for f in fields(Recipe)}


def _check_ranges(options: "Recipe | CorpusRecipe", ranges: Mapping[str, tuple[float, float]]) -> None:
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{name} = {value:g}: expected {low:g} to {high:g}")


def _check_prior(prior: Mapping[str, float]) -> None:
    for name, value in prior.items():
        check_choice("prior", name, EMOTIONS)
        if value <= 0:
            raise ConfigError(f"prior: {name} = {value:g}: expected more than 0")
    if prior and abs(sum(prior.values()) - 1) > 1e-3:
        raise ConfigError(f"prior: sums to {sum(prior.values()):g}; expected 1")


def _corpora(tables: Mapping[str, Any]) -> dict[str, CorpusRecipe]:
    """Check the tables of corpora against CorpusRecipe."""
    made: dict[str, CorpusRecipe] = {}
    data: dict[str, str] = {}
    for name, table in tables.items():
        if isinstance(table, CorpusRecipe):
            made[name] = table
        elif not isinstance(table, Mapping):
            raise ConfigError(f"corpora.{name} = {table!r}: expected a table")
        else:
            try:
                made[name] = CorpusRecipe(**check_options(CorpusRecipe, table))
            except ConfigError as e:
                raise ConfigError(f"corpora.{name}: {e}") from None
        path = made[name].data
        if path is not None and data.setdefault(path, name) != name:
            raise ConfigError(f"corpora.{name}: {path} is already the data of corpora.{data[path]}")
    return made


class RecipeOptions(TypedDict, total=False):
    """The keywords of `load_recipe`: Recipe's fields. None leaves one to the recipe file, or at its default."""

    arch: str | None
    init: str | None
    freeze: bool | None
    freeze_blocks: int | None
    dropout: float | None
    labels: str | None
    size_px: int | None
    colour: bool | None
    align: str | None
    balance: str | None
    corpora: Mapping[str, Any] | None
    class_power: float | None
    epoch_pictures: int | None
    heads: str | None
    classes: list[str] | tuple[str, ...] | None
    head_weights: Mapping[str, float] | None
    export_heads: list[str] | tuple[str, ...] | None
    logit_adjustment: bool | None
    prior: Mapping[str, float] | None
    vote_weight: float | None
    label_smoothing: float | None
    mixup: float | None
    teacher: list[str] | tuple[str, ...] | None
    teacher_weight: float | None
    consistency: float | None
    augment: float | None
    augment_kinds: list[str] | tuple[str, ...] | None
    move_strength: float | None
    window_px: int | None
    epochs: int | None
    minutes: float | None
    gentle_epochs: int | None
    batch_size: int | None
    optimiser: str | None
    learning_rate: float | None
    layer_decay: float | None
    head_factor: float | None
    sam: float | None
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
    terms: str | None


def recipes() -> dict[str, Path]:
    """List the recipes that ship with fervid.

    Returns
    -------
    dict[str, Path]
        The TOML file of each, by name.
    """
    return {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.toml"))}


def load_recipe(path: Path | None = None, **options: Unpack[RecipeOptions]) -> Recipe:
    """Load a recipe from a TOML file; options that are not None take precedence.

    Parameters
    ----------
    path : Path, optional
        A TOML file, or the name of a recipe that ships with fervid (`recipes`).
    **options
        Fields of Recipe.

    Returns
    -------
    Recipe

    Raises
    ------
    ConfigError
        If there is no such recipe; else naming the key, what was expected, and the file if the value is from there.
    """
    if path is not None and not path.exists():
        path = recipes().get(str(path), path)
        if not path.exists() and not path.suffix:
            raise ConfigError(f"recipe {path}: no such recipe; expected {', '.join(recipes())} or a .toml file")
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


def same_recipe(stored: Mapping[str, Any], recipe: Recipe) -> bool:
    """Compare a recipe with one that was stored, possibly before some of the options existed.

    Parameters
    ----------
    stored : Mapping[str, Any]
        As from dataclasses.asdict.
    recipe : Recipe

    Returns
    -------
    bool
    """
    corpora = {name: asdict(CorpusRecipe()) | dict(table) for name, table in stored.get("corpora", {}).items()}
    return asdict(Recipe()) | dict(stored) | {"corpora": corpora} == asdict(recipe)
