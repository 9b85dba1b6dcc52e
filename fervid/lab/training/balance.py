"""Balance the classes of a training set; FER2013 has 16 faces of happiness for each of disgust."""

from dataclasses import replace

import numpy as np

from fervid.errors import DataError, MissingDependency, install_extra
from fervid.lab.data.datasets import FaceSet

__all__ = ["balance", "class_weights"]


def class_weights(faces: FaceSet) -> np.ndarray:
    """Weight each class by the inverse of its frequency.

    Parameters
    ----------
    faces : FaceSet

    Returns
    -------
    np.ndarray
        (len(labels),) float32, with mean 1 over the faces; 0 for absent classes.
    """
    count = np.bincount(faces.label, minlength=len(faces.labels))
    weight = len(faces) / (np.maximum(count, 1) * (count > 0).sum())
    return (weight * (count > 0)).astype(np.float32)


def balance(faces: FaceSet, method: str, seed: int = 0) -> FaceSet:
    """Add faces until every class has as many as the largest.

    Parameters
    ----------
    faces : FaceSet
    method : str
        "oversample" repeats random faces. "smote" interpolates neighbours of a class (Chawla et al. 2002); "adasyn"
        interpolates more of them near other classes (He et al. 2008), which balances the classes approximately. "none"
        and "weights" return the set unchanged.
    seed : int

    Returns
    -------
    FaceSet
        Added faces have no votes.

    Raises
    ------
    DataError
        If the method needs more faces of a class.
    MissingDependency
        If imbalanced-learn is not installed.
    """
    if method == "oversample":
        return faces.take(_repeat(faces, np.random.default_rng(seed)))
    if method in ("smote", "adasyn"):
        return _synthesise(faces, method, seed)
    return faces


def _repeat(faces: FaceSet, rng: np.random.Generator) -> np.ndarray:
    groups = [np.flatnonzero(faces.label == k) for k in np.unique(faces.label)]
    most = max(map(len, groups))
    more = [rng.choice(group, most - len(group)) for group in groups]
    return np.concatenate([np.arange(len(faces)), *more])


def _synthesise(faces: FaceSet, method: str, seed: int) -> FaceSet:
    try:
        from imblearn.over_sampling import ADASYN, SMOTE
    except ImportError:
        how = install_extra("lab")
        raise MissingDependency(f"balance = {method!r} needs imbalanced-learn: {how}") from None
    count = np.bincount(faces.label, minlength=len(faces.labels))
    fewest = int(count[count > 0].min())
    if fewest < 2:
        rare = faces.labels[int(np.flatnonzero(count == fewest)[0])]
        raise DataError(f"{faces.name}: {method} needs at least 2 faces per class, found 1 of {rare}; use weights")
    near = min(5, fewest - 1)
    sampler = (
        SMOTE(random_state=seed, k_neighbors=near) if method == "smote" else ADASYN(random_state=seed, n_neighbors=near)
    )
    n = len(faces)
    try:
        pixels, label = sampler.fit_resample(faces.image.reshape(n, -1).astype(np.float32), faces.label)
    except (ValueError, RuntimeError) as e:  # ADASYN without a neighbour of another class
        raise DataError(f"{faces.name}: {method} cannot add faces ({e}); use oversample or weights") from None
    new = pixels[n:].round().clip(0, 255).astype(np.uint8).reshape(-1, *faces.image.shape[1:])
    return _append(faces, new, np.asarray(label[n:], np.int64), method)


def _append(faces: FaceSet, image: np.ndarray, label: np.ndarray, origin: str) -> FaceSet:
    """Append faces without votes to a set."""
    votes, source = faces.votes, faces.source
    if votes is not None:
        votes = np.concatenate([votes, np.zeros((len(label), votes.shape[1]), votes.dtype)])
    if source is not None:
        source = np.concatenate([source, np.full(len(label), origin)])
    image, label = np.concatenate([faces.image, image]), np.concatenate([faces.label, label])
    return replace(faces, image=image, label=label, votes=votes, source=source)
