"""The data of a training run: corpora of training and validation faces, checked against each other."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fervid.errors import DataError
from fervid.faces.crop import FaceAlignment
from fervid.lab.data.datasets import FaceSet, load_faces, load_validation
from fervid.lab.data.duplicates import find_duplicates
from fervid.lab.data.face_alignment import measure_alignment
from fervid.lab.training.recipe import Recipe

__all__ = ["Corpus", "DataSource", "TrainingData"]

#: Names that contain the word test: "fer2013_private_test", "PrivateTest"; not "latest".
_TEST = re.compile(r"(?<![A-Za-z])test|Test|TEST")


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
                "faces from --validation, or leave out --validation to validate on every 10th training face"
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

    Raises
    ------
    DataError
        If there is no corpus, if two have one name, or if one shares no class with the others.
    """

    corpora: tuple[Corpus, ...]

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
            digest.update(corpus.name.encode())
            for part in (corpus.faces, corpus.validation):
                digest.update(part.fingerprint.encode())
        return digest.hexdigest()

    @cached_property
    def alignment(self) -> tuple[FaceAlignment, str]:
        """The alignment of the training faces of the first corpus, and what it was measured on."""
        return measure_alignment(self.corpora[0].faces.image)


@dataclass(frozen=True)
class DataSource:
    """Where the data of a training run lie.

    Parameters
    ----------
    data : Path
        The training set; as for `load_faces`.
    validation : Path, optional
        The validation set; by default every tenth face of `data`.
    split : str
        The split of `data` to train on, where it has several.
    drop_duplicates : bool
        Whether to drop training faces that are near-duplicates of validation faces.

    Raises
    ------
    DataError
        If the split is a test split.
    """

    data: Path
    validation: Path | None = None
    split: str = "train"
    drop_duplicates: bool = False

    def __post_init__(self) -> None:
        if self.split == "all":
            raise DataError(f"{self.data}: all includes test splits: train on the training split")
        if _TEST.search(self.split) or self.split in ("public", "private"):
            raise DataError(f"{self.data}: {self.split} is a test split: train on the training split")

    def read(self, recipe: Recipe, report: Callable[[str], None] = lambda line: None) -> TrainingData:
        """Load the faces and search for near-duplicates between the two sets.

        Parameters
        ----------
        recipe : Recipe
            Decides labels and size.
        report : Callable
            Receives a line about the duplicates.

        Returns
        -------
        TrainingData
        """
        faces = load_faces(self.data, self.split, labels=recipe.labels, size_px=recipe.size_px)
        if self.validation is None:
            material = TrainingData.single(*faces.split())
        else:
            validation = load_validation(self.validation, labels=recipe.labels, size_px=recipe.size_px)
            material = TrainingData.single(faces, validation)
        found = find_duplicates(material.faces, material.validation)
        report(found.summary())
        if not self.drop_duplicates:
            return material
        kept = found.drop(material.faces)
        report(f"{len(material.faces) - len(kept)} training faces dropped")
        return TrainingData.single(kept, material.validation)
