"""Hold out a tenth of a data set for validation, the same faces every time, with no photograph on both sides."""

import numpy as np

from fervid.lab.data.matching import twin_groups

__all__ = ["HOLDOUT", "held_out_name", "holdout"]

#: Name of the split in commands.
HOLDOUT = "holdout"
#: The seed of every hold-out: another one would mix training faces into the validation of models trained before.
_SEED = 18


def held_out_name(name: str) -> str:
    """Name the faces that are held out of a data set.

    Parameters
    ----------
    name : str
        Of the data set.

    Returns
    -------
    str
    """
    return f"{name}, a tenth held out"


def holdout(image: np.ndarray, label: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Choose the faces to hold out: the same share of each class.

    Faces are drawn with one fixed seed. Near-duplicates stay together (see `matching.match`).

    Parameters
    ----------
    image : np.ndarray
        (n, S, S) or (n, S, S, 3), uint8.
    label : np.ndarray
        (n,) int, the class of each face.
    share : float

    Returns
    -------
    np.ndarray
        (n,) bool.
    """
    group = twin_groups(image)
    rng, chosen = np.random.default_rng(_SEED), np.zeros(len(image), bool)
    classes = [label == k for k in np.unique(label)]
    wanted = [round(share * of_class.sum()) for of_class in classes]
    if sum(wanted) < 2:  # a few faces only: one of each class
        wanted = [min(1, of_class.sum() - 1) for of_class in classes]
    for of_class, want in zip(classes, wanted):
        count = 0
        for one in rng.permutation(np.unique(group[of_class])):
            if count >= want:
                break
            members = group == one
            count += (members & of_class & ~chosen).sum()
            chosen |= members
    return chosen
