"""The data of a training run: corpora of training and validation faces, checked against each other."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from fervid.errors import DataError
from fervid.faces.crop import FaceAlignment
from fervid.lab.data.datasets import FaceSet, load_faces, load_training, load_validation
from fervid.lab.data.duplicates import Duplicates, find_duplicates_across
from fervid.lab.data.face_alignment import RAFDB_ALIGNMENT, measure_alignment
from fervid.lab.data.landmarks import align_faces, crop_faces
from fervid.lab.training.recipe import Recipe

__all__ = ["Corpus", "CorpusSource", "DataSource", "TrainingData"]

#: Names that contain the word test: "fer2013_private_test", "PrivateTest"; not "latest".
_TEST = re.compile(r"(?<![A-Za-z])test|Test|TEST")
#: Side of the crops in which near-duplicates are searched: that of FER2013.
_COMPARED_PX = 48
#: A corpus with its name: "mine=faces.parquet".
_NAME = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True)
class Corpus:
    """One data set of a training run.

    Parameters
    ----------
    name : str
        Unique within the run; the name of its table in a recipe.
    faces : FaceSet
        Faces to train on.
    validation : FaceSet
        Faces to validate and calibrate on. Their classes are renumbered in the order of `faces`.

    Raises
    ------
    DataError
        If the faces come from a test split, if there are too few or all of one class, or if `validation` has a class
        that `faces` lacks.
    """

    name: str
    faces: FaceSet
    validation: FaceSet

    def __post_init__(self) -> None:
        if _TEST.search(self.faces.name):
            raise DataError(f"{self.faces.name} is a test split: train on the training split")
        faces, validation = self.faces, self.validation
        for part in (faces, validation):
            if len(part) < 2:
                raise DataError(f"{part.name}: expected at least 2 faces, found {len(part)}")
        if len(np.unique(faces.label)) < 2:
            only = faces.labels[faces.label[0]]
            raise DataError(f"{faces.name}: all of its {len(faces)} faces are {only}; expected at least two classes")
        if missing := [name for name in validation.labels if name not in faces.labels]:
            found = ", ".join(faces.labels)
            raise DataError(
                f"{validation.name} has {', '.join(missing)}, which {faces.name} lacks; it has {found}. Remove those "
                "faces from --validation, or leave out --validation to hold out a tenth of the training faces"
            )
        if faces.labels != validation.labels:
            object.__setattr__(self, "validation", validation.relabelled(faces.labels))

    def relabelled(self, labels: tuple[str, ...]) -> "Corpus":
        """Renumber the classes of both sets; see `FaceSet.relabelled`.

        Parameters
        ----------
        labels : tuple of str

        Returns
        -------
        Corpus
        """
        if self.faces.labels == labels:
            return self
        return Corpus(self.name, self.faces.relabelled(labels), self.validation.relabelled(labels))


@dataclass(frozen=True)
class TrainingData:
    """The corpora of a training run. All of them index the same classes.

    Parameters
    ----------
    corpora : tuple of Corpus
        Their classes are renumbered: in the order of the first corpus, then those that only others have.
    aligned : FaceAlignment, optional
        How the placement of faces puts them into the network's input; None: as the images are.

    Raises
    ------
    DataError
        If there is no corpus, if two have one name, or if one shares no class with the others.
    """

    corpora: tuple[Corpus, ...]
    aligned: FaceAlignment | None = None

    def __post_init__(self) -> None:
        names = [corpus.name for corpus in self.corpora]
        if not names:
            raise DataError("expected at least one corpus to train on, found none")
        if twice := [name for name in names if names.count(name) > 1]:
            raise DataError(f"two corpora are called {twice[0]}: give each a name of its own, as in --data mine=PATH")
        if len(names) > 1:
            self._check_overlap()
        labels = tuple(dict.fromkeys(name for corpus in self.corpora for name in corpus.faces.labels))
        object.__setattr__(self, "corpora", tuple(corpus.relabelled(labels) for corpus in self.corpora))

    def _check_overlap(self) -> None:
        for corpus in self.corpora:
            own = corpus.faces.present
            others = {name for other in self.corpora if other is not corpus for name in other.faces.present}
            if not own & others:
                raise DataError(
                    f"{corpus.name} has {', '.join(sorted(own))} and the other corpora {', '.join(sorted(others))}: no "
                    "class in common, so nothing to learn together; train on them one by one"
                )

    @classmethod
    def single(cls, faces: FaceSet, validation: FaceSet) -> "TrainingData":
        """Make the data of a run on one corpus.

        Parameters
        ----------
        faces, validation : FaceSet
            As for `Corpus`.

        Returns
        -------
        TrainingData
        """
        return cls((Corpus(faces.name, faces, validation),))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that all corpora index."""
        return self.corpora[0].faces.labels

    @property
    def faces(self) -> FaceSet:
        """The training faces of the only corpus."""
        (corpus,) = self.corpora
        return corpus.faces

    @property
    def validation(self) -> FaceSet:
        """The validation faces of the only corpus."""
        (corpus,) = self.corpora
        return corpus.validation

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of all faces and labels; a run resumes only with the same ones."""
        digest = hashlib.sha256()
        for corpus in self.corpora:
            if len(self.corpora) > 1:  # the checkpoints of earlier versions, with one corpus, stay valid
                digest.update(corpus.name.encode())
            for part in (corpus.faces, corpus.validation):
                part.update_hash(digest)
        return digest.hexdigest()

    @cached_property
    def alignment(self) -> tuple[FaceAlignment, str]:
        """The alignment of the training faces, and what it was measured on."""
        if self.aligned is not None:
            return self.aligned, "that of RAF-DB; training images are placed by their landmarks"
        if len(self.corpora) == 1:
            return measure_alignment(self.corpora[0].faces.image)
        alignment, origin = measure_alignment(self.corpora[0].faces.image)
        return alignment, f"{origin} of {self.corpora[0].name}"


@dataclass(frozen=True)
class CorpusSource:
    """Where one corpus lies.

    Parameters
    ----------
    name : str
    data : Path
        The training set; as for `load_faces`.
    validation : Path, optional
        The validation set; by default a tenth of `data` is held out.
    split : str
        The split of `data` to train on, where it has several.
    labels, align : str, optional
        Which labels to use, and whether to place faces by landmarks; by default as the recipe says.

    Raises
    ------
    DataError
        If the split is a test split.
    """

    name: str
    data: Path
    validation: Path | None = None
    split: str = "train"
    labels: str | None = None
    align: str | None = None

    def __post_init__(self) -> None:
        if self.split == "all":
            raise DataError(f"{self.data}: all includes test splits: train on the training split")
        if _TEST.search(self.split) or self.split in ("public", "private"):
            raise DataError(f"{self.data}: {self.split} is a test split: train on the training split")

    def read(self, labels: str, size_px: int | None, *, colour: bool) -> Corpus:
        """Load the faces.

        Parameters
        ----------
        labels, size_px, colour
            As for `load_faces`; the corpus's own labels take precedence.

        Returns
        -------
        Corpus

        Raises
        ------
        DataError
            As for `load_faces` and `Corpus`.
        """
        labels = self.labels or labels
        if self.validation is None:
            both = load_training(self.data, self.split, labels=labels, size_px=size_px, colour=colour)
            return Corpus(self.name, *both)
        faces = load_faces(self.data, self.split, labels=labels, size_px=size_px, colour=colour)
        return Corpus(self.name, faces, load_validation(self.validation, labels=labels, size_px=size_px, colour=colour))


@dataclass(frozen=True)
class DataSource:
    """Where the data of a training run lie.

    Parameters
    ----------
    corpora : tuple of CorpusSource
    drop_duplicates : bool
        Whether to drop training faces that are near-duplicates of validation faces, of any corpus.

    Raises
    ------
    DataError
        If there is no corpus, or if two have one name or the same data.
    """

    corpora: tuple[CorpusSource, ...]
    drop_duplicates: bool = False

    def __post_init__(self) -> None:
        if not self.corpora:
            raise DataError("no faces to train on; expected --data PATH, or a recipe with tables [corpora.NAME]")
        seen: dict[str, CorpusSource] = {}
        for one in self.corpora:
            if one.name in seen:
                raise DataError(
                    f"{one.data}: {seen[one.name].data} is called {one.name}, too; name them, as in --data mine=PATH"
                )
            for other in seen.values():
                if (one.data.resolve(), one.split) == (other.data.resolve(), other.split):
                    raise DataError(f"{one.data}: given twice, as {other.name} and {one.name}; give each corpus once")
            seen[one.name] = one

    @classmethod
    def of(
        cls,
        data: Sequence[str | Path] = (),
        validation: Sequence[str | Path] = (),
        recipe: Recipe | None = None,
        *,
        split: str | None = None,
        drop_duplicates: bool = False,
    ) -> "DataSource":
        """Combine paths with the corpora of a recipe.

        Parameters
        ----------
        data : Sequence of str or Path
            Training sets: PATH, or NAME=PATH. A corpus without a name has that of its file. A recipe's corpus of this
            name keeps its other options.
        validation : Sequence of str or Path
            Validation sets: one per path of `data`, in the same order; or NAME=PATH for the corpora that have one.
        recipe : Recipe, optional
        split : str, optional
            The split of all `data` to train on, where they have several.
        drop_duplicates : bool

        Returns
        -------
        DataSource

        Raises
        ------
        DataError
            If a validation set belongs to no corpus, or a corpus of the recipe has no data.
        """
        tables = dict(recipe.corpora) if recipe is not None else {}
        named = [_named(one) for one in data]
        if tables and len(tables) == len(named) == 1 and named[0][0] is None:
            named = [(next(iter(tables)), named[0][1])]  # the only corpus of the recipe, elsewhere
        paths = [(name or _stem(path), path) for name, path in named]
        checks = _validation_sets([name for name, _ in paths] + list(tables), len(paths), validation)
        listed = [(name, path) for name, path in paths if name not in tables]
        replaced = dict(paths)
        sources = []
        for name, table in tables.items():
            path = replaced.get(name) or (Path(table.data) if table.data is not None else None)
            if path is None:
                raise DataError(f"corpora.{name}: no data; give it there, or as --data {name}=PATH")
            own = Path(table.validation) if table.validation is not None else None
            options = (split or table.split, table.labels, table.align)
            sources.append(CorpusSource(name, path, checks.get(name, own), *options))
        sources += [CorpusSource(name, path, checks.get(name), split or "train") for name, path in listed]
        return cls(tuple(sources), drop_duplicates)

    def read(
        self, recipe: Recipe, report: Callable[[str], None] = lambda line: None, cache: Path | None = None
    ) -> TrainingData:
        """Load the faces, place them, and search for near-duplicates between training and validation faces.

        Parameters
        ----------
        recipe : Recipe
            Decides labels, size and colour.
        report : Callable
            Receives a line per finding.
        cache : Path, optional
            Folder for the landmarks of images, where the recipe aligns by them.

        Returns
        -------
        TrainingData
        """
        size_px = None if recipe.draws else recipe.size_px
        corpora = [one.read(recipe.labels, size_px, colour=recipe.colour) for one in self.corpora]
        if recipe.colour:
            for corpus in corpora:
                if not corpus.faces.colour:
                    report(f"{corpus.faces.name}: grey images; a colour network sees them in three equal channels")
        material = TrainingData(tuple(corpora))
        by_landmarks = [(one.align or recipe.align) == "landmarks" for one in self.corpora]
        placed = [_placed(c, cache, report) if place else c for c, place in zip(material.corpora, by_landmarks)]
        kept = tuple(self._without_duplicates(placed, report))
        return TrainingData(kept, RAFDB_ALIGNMENT if any(by_landmarks) else None)

    def _without_duplicates(self, corpora: Sequence[Corpus], report: Callable[[str], None]) -> Iterator[Corpus]:
        """Report near-duplicates, and drop them if so wanted."""
        found = _duplicates(corpora)
        if len(corpora) > 1 and not any(len(one) for i, ours in enumerate(found) for one in ours[:i] + ours[i + 1 :]):
            report("no near-duplicates between training faces of one corpus and validation faces of another")
        for i, (corpus, ours) in enumerate(zip(corpora, found)):
            for j, one in enumerate(ours):
                if i == j or len(one):
                    advice = "; --drop-duplicates leaves the training faces out"
                    report(one.summary() + (advice if len(one) and not self.drop_duplicates else ""))
            shared = np.unique(np.concatenate([one.pairs[:, 0] for one in ours]))
            if self.drop_duplicates:
                report(f"{len(shared)} training faces dropped" + (f" from {corpus.name}" if len(corpora) > 1 else ""))
            if self.drop_duplicates and len(shared):
                kept = np.ones(len(corpus.faces), bool)
                kept[shared] = False
                corpus = replace(corpus, faces=corpus.faces.take(kept))
            yield corpus


def _duplicates(corpora: Sequence[Corpus]) -> list[list[Duplicates]]:
    """Compare the training faces of every corpus with the validation faces of every other.

    Corpora frame the same photograph differently: where faces have a placement, the crops that the network sees are
    compared, too.
    """
    train, held = [c.faces for c in corpora], [c.validation for c in corpora]
    found = find_duplicates_across(train, held)
    if len(corpora) == 1 or all(faces.placement is None for faces in train):
        return found
    of_crops = find_duplicates_across([_as_placed(faces) for faces in train], [_as_placed(faces) for faces in held])
    return [
        [one if i == j else one.merged(other) for j, (one, other) in enumerate(zip(ours, theirs))]
        for i, (ours, theirs) in enumerate(zip(found, of_crops))
    ]


def _as_placed(faces: FaceSet) -> FaceSet:
    """Give the images as the network sees them, grey and small; those that lie in place are left as they are."""
    if faces.placement is None or (faces.median_placement == np.eye(2, 3)).all():
        return faces
    return replace(faces, image=crop_faces(faces, _COMPARED_PX, 1)[..., 0], placement=None)


def _placed(corpus: Corpus, cache: Path | None, report: Callable[[str], None]) -> Corpus:
    """Place the faces of a corpus by landmarks; validation images that lie in place are left as they are."""
    faces = align_faces(corpus.faces, RAFDB_ALIGNMENT, always=True, cache=cache, report=report)
    report(f"{corpus.name}: training images are placed {faces.message}")
    if faces.in_place:
        report(f"{corpus.name}: validation images stay as they are, with faces already where the network expects them")
        return replace(corpus, faces=faces.faces)
    validation = align_faces(corpus.validation, RAFDB_ALIGNMENT, always=True, cache=cache, report=report)
    report(f"{corpus.name}: validation images are placed {validation.message}")
    return replace(corpus, faces=faces.faces, validation=validation.faces)


def _named(text: str | Path) -> tuple[str | None, Path]:
    """Split NAME=PATH; a path that exists as written has no name."""
    match = _NAME.match(str(text))
    if match and not Path(text).exists():
        return match[1], Path(match[2])
    return None, Path(text)


def _stem(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem


def _validation_sets(names: Sequence[str], in_order: int, validation: Sequence[str | Path]) -> dict[str, Path]:
    """Assign validation sets to corpora, of which the first are in the order of --data."""
    sets: dict[str, Path] = {}
    given = [_named(one) for one in validation]
    unnamed = [path for name, path in given if name is None]
    if unnamed and len(given) != in_order:
        raise DataError(
            f"{unnamed[0]}: expected one --validation per --data, in the same order, or --validation NAME=PATH; found "
            f"{len(given)} for {in_order}"
        )
    for i, (name, path) in enumerate(given):
        name = name or names[i]
        if name not in names:
            raise DataError(f"{path}: no corpus is called {name!r}; expected {', '.join(dict.fromkeys(names))}")
        if name in sets:
            raise DataError(f"{path}: {name} has the validation set {sets[name]} already; give it one")
        sets[name] = path
    return sets
