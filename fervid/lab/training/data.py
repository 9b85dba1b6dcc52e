"""The data of a training run: training and validation faces, checked against each other."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from fervid.errors import DataError
from fervid.faces.crop import FaceAlignment
from fervid.lab.data.datasets import FaceSet, load_faces, load_validation
from fervid.lab.data.duplicates import find_duplicates
from fervid.lab.data.face_alignment import measure_alignment
from fervid.lab.training.recipe import Recipe

__all__ = ["DataSource", "TrainingData"]

#: Names that contain the word test: "fer2013_private_test", "PrivateTest"; not "latest".
_TEST = re.compile(r"(?<![A-Za-z])test|Test|TEST")


@dataclass(frozen=True)
class TrainingData:
    """Faces to train on, and others to validate and calibrate on; both index the classes of `faces`.

    Parameters
    ----------
    faces, validation : FaceSet

    Raises
    ------
    DataError
        If the faces come from a test split, if there are too few or all of one class, or if `validation` has a class
        that `faces` lacks.
    """

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
            index = np.array([faces.labels.index(name) for name in validation.labels], np.int64)
            object.__setattr__(
                self, "validation", replace(validation, labels=faces.labels, label=index[validation.label])
            )

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of all faces and labels; a run resumes only with the same ones."""
        digest = hashlib.sha256()
        for part in (self.faces, self.validation):
            digest.update(repr((part.labels, part.vote_labels)).encode())
            for array in (part.image, part.label, part.votes):
                if array is not None:
                    digest.update(repr((array.dtype, array.shape)).encode())
                    digest.update(array.tobytes())
        return digest.hexdigest()

    @cached_property
    def alignment(self) -> tuple[FaceAlignment, str]:
        """The alignment of the training faces, and what it was measured on."""
        return measure_alignment(self.faces.image)


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
            material = TrainingData(*faces.split())
        else:
            validation = load_validation(self.validation, labels=recipe.labels, size_px=recipe.size_px)
            material = TrainingData(faces, validation)
        found = find_duplicates(material.faces, material.validation)
        report(found.summary())
        if not self.drop_duplicates:
            return material
        kept = found.drop(material.faces)
        report(f"{len(material.faces) - len(kept)} training faces dropped")
        return replace(material, faces=kept)
