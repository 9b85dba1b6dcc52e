"""Match images that show one photograph: the same pixels, or the same mirrored, cropped differently or marked."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from fervid.lab.data.images import luma

__all__ = ["BITS", "SAME", "cosines", "match", "twin_groups"]

#: Coefficients of the cosine transform kept in each direction: all that a 24x24 image can show.
_KEPT = 24
_HASH_SIDE = 8
#: Thresholds on correlation and hash distance, chosen by eye on FER2013, Training against PublicTest: all 39 pairs near
#: them (0.92 to 0.95, 9 to 12 bits) show one photograph, cropped or marked differently; below 0.92 or beyond 12 bits,
#: different photographs appear.
SAME = 0.92
BITS = 12
#: Larger images are reduced to the side on which the thresholds were chosen.
_SIDE_PX = 48


def match(
    ours: np.ndarray, theirs: np.ndarray, *, same: float = SAME, max_bits: int = BITS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs that show one photograph.

    A perceptual hash selects candidates (Zauner 2010: the signs of the lowest cosine coefficients, 64 bits); the
    correlation of the pixels at 24x24 decides. A face of uniform grey matches nothing. Comparing 28,558 with 3,579
    faces takes five seconds and 350 MB on one core.

    Parameters
    ----------
    ours, theirs : np.ndarray
        As from `cosines`, (n, 24, 24) and (m, 24, 24).
    same : float
        Least correlation of a pair.
    max_bits : int
        Most bits in which their hashes may differ.

    Returns
    -------
    pairs : np.ndarray
        (k, 2) int64, by falling correlation.
    correlation : np.ndarray
        (k,) float32.
    mirrored : np.ndarray
        (k,) bool: they match only when one is mirrored.
    """
    turned = theirs * (-1.0) ** np.arange(_KEPT, dtype=np.float32)  # the effect of mirroring on a cosine transform
    found = [np.zeros((0, 4))]
    for mirrored, other in enumerate((theirs, turned)):
        pairs, correlation = _compare(ours, other, same, max_bits)
        found.append(np.column_stack([pairs, correlation, np.full(len(pairs), mirrored)]))
    table = np.concatenate(found)
    table = table[np.lexsort((table[:, 1], table[:, 0], -table[:, 2]))]
    _, first = np.unique(
        table[:, :2], axis=0, return_index=True
    )  # a symmetric face is found twice: keep the better one
    table = table[np.sort(first)]
    return table[:, :2].astype(np.int64), table[:, 2].astype(np.float32), table[:, 3] == 1


def twin_groups(image: np.ndarray) -> np.ndarray:
    """Number the groups of images that show one photograph.

    Parameters
    ----------
    image : np.ndarray
        (n, S, S) or (n, S, S, 3), uint8.

    Returns
    -------
    np.ndarray
        (n,) int64, the index of a face of the group; its own for a face without twins.
    """
    own = cosines(image)
    group = np.arange(len(image))
    for one, other in match(own, own)[0]:
        if one < other:  # most similar first: the order decides whose number a larger group keeps
            group[group == group[other]] = group[one]
    return group


def _small(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield images as grey ones of at most 48 pixels, in blocks."""
    for start in range(0, len(image), 1024):
        block = image[start : start + 1024]
        grey = block if block.ndim == 3 else luma(block)
        if grey.shape[1] > _SIDE_PX:
            size = (_SIDE_PX, _SIDE_PX)
            grey = np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in grey])
        yield grey


def cosines(image: np.ndarray) -> np.ndarray:
    """Compute the lowest cosine coefficients of images, without the mean, of length 1 or all 0.

    They represent the downscaled image. By Parseval's theorem their inner product is the correlation, whatever the size
    in pixels.

    Parameters
    ----------
    image : np.ndarray
        (n, S, S) or (n, S, S, 3), uint8.

    Returns
    -------
    np.ndarray
        (n, 24, 24) float32.
    """
    from scipy.fft import dctn

    kept, start = np.zeros((len(image), _KEPT, _KEPT), np.float32), 0
    for grey in _small(image):
        block = dctn(grey.astype(np.float32), axes=(1, 2), norm="ortho")[:, :_KEPT, :_KEPT]
        kept[start : start + len(grey), : block.shape[1], : block.shape[2]] = block
        start += len(grey)
    kept[:, 0, 0] = 0
    length = np.linalg.norm(kept, axis=(1, 2), keepdims=True)
    return np.where(length > 1, kept, 0) / np.maximum(length, 1)


def _compare(ours: np.ndarray, theirs: np.ndarray, same: float, max_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the matching pairs (k, 2) of coefficients (n, 24, 24) and (m, 24, 24), and their correlation (k,)."""
    bits, other_bits = _signs(ours), _signs(theirs)
    pairs, correlations = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    step = max(1, (1 << 23) // max(1, len(theirs)))
    for start in range(0, len(ours), step):
        # equal minus different bits as one matrix product: exact, and faster than counting
        close = bits[start : start + step] @ other_bits.T >= _HASH_SIDE**2 - 2 * max_bits
        candidates = np.argwhere(close) + np.array([start, 0])
        for some in np.split(candidates, range(1 << 14, len(candidates), 1 << 14)):
            correlation = np.einsum("iab,iab->i", ours[some[:, 0]], theirs[some[:, 1]])
            pairs.append(some[correlation >= same])
            correlations.append(correlation[correlation >= same])
    return np.concatenate(pairs), np.concatenate(correlations)


def _signs(cosines: np.ndarray) -> np.ndarray:
    """Compute the perceptual hash as (n, 64) float32 of +1 and -1; all 0 for a uniform image."""
    low = cosines[:, :_HASH_SIDE, :_HASH_SIDE].reshape(-1, _HASH_SIDE**2)
    flat = np.linalg.norm(cosines, axis=(1, 2)) == 0
    return np.where(flat[:, None], 0, np.where(low > 0, 1, -1)).astype(np.float32)
