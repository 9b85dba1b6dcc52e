"""Show high dynamic range (HDR: PQ and HLG) on an ordinary screen, as players do.

    coded value -> light in cd/m2 (ITU-R BT.2100) -> BT.709 primaries -> white at 203 cd/m2 (ITU-R BT.2408), with a
    shoulder up to 1000 cd/m2 -> coded value (ITU-R BT.1886)

Up to three quarters of white nothing is compressed: a film that was made from SDR looks as it did.
"""

from functools import cache

import numpy as np

__all__ = ["HLG", "PQ", "TRANSFERS", "luma_table", "tone_map"]

#: Transfer characteristics (ITU-T H.273).
PQ, HLG = 16, 18
#: The names under which metadata records them.
TRANSFERS = {PQ: "pq", HLG: "hlg"}
#: Light of white and of the brightest highlights, in cd/m2.
_WHITE, _PEAK = 203.0, 1000.0
#: Share of white above which highlights are compressed.
_KNEE = 0.75
#: ITU-R BT.2020 to BT.709 (ITU-R BT.2087), and the weights of luminance in BT.2020.
_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
_BT2020 = 9
_HLG_GAMMA, _SCREEN_GAMMA = 1.2, 2.4
#: Coded values in the table of light, and steps of light in the table of coded values.
_CODES, _STEPS = 4096, 8192


def tone_map(rgb: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Convert an HDR image to SDR.

    Parameters
    ----------
    rgb : ndarray, shape (h, w, 3), uint16
        Coded values, 0 to 65535.
    transfer : int
        PQ or HLG.
    primaries : int
        Of the image (ITU-T H.273); those of BT.2020 are converted.

    Returns
    -------
    ndarray, shape (h, w, 3), uint8
        With the primaries of BT.709.
    """
    light = _light(transfer)[rgb >> 4]
    if transfer == HLG:
        light = _displayed(light, light @ _LUMINANCE)
    if primaries == _BT2020:
        light = np.maximum(light @ _TO_BT709.T, 0)
    brightest = light.max(2, keepdims=True)
    light *= _compress(brightest) / np.maximum(brightest, 1e-6)  # one factor for three colours: hues stay
    return _screen()[np.minimum((light * _STEPS).astype(np.int32), _STEPS)]


@cache
def luma_table(transfer: int) -> np.ndarray:
    """Tabulate the luma of greys in SDR.

    Parameters
    ----------
    transfer : int
        PQ or HLG.

    Returns
    -------
    ndarray, shape (4096,), uint8
        Luma 0 to 255 for each coded value of luma 0 to 4095.
    """
    codes = np.arange(_CODES, dtype=np.uint16) << 4
    return tone_map(np.repeat(codes[:, None, None], 3, 2), transfer, 1)[:, 0, 0]


def _displayed(scene: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    """Light of the screen for light of the scene, both in parts of white (ITU-R BT.2100, table 5)."""
    peak = _PEAK / _WHITE
    return scene * np.maximum(luminance / peak, 1e-6)[..., None] ** (_HLG_GAMMA - 1)


def _compress(light: np.ndarray) -> np.ndarray:
    """Keep light up to the knee, and compress what is above it, so that the peak becomes white."""
    above, room = np.maximum(light - _KNEE, 0), 1 - _KNEE
    most = _PEAK / _WHITE - _KNEE
    return np.minimum(light, _KNEE) + room * np.minimum(above / (above + room) * (1 + room / most), 1)


@cache
def _light(transfer: int) -> np.ndarray:
    """Light for each coded value, in parts of white; of the scene, scaled to the peak, for HLG."""
    code = np.arange(_CODES) / (_CODES - 1)
    if transfer == PQ:  # ITU-R BT.2100, table 4
        root = code ** (1 / 78.84375)
        nits = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        nits = _PEAK * np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return (nits / _WHITE).astype(np.float32)


@cache
def _screen() -> np.ndarray:
    """Coded value 0 to 255 for each step of light from black to white."""
    return np.rint(255 * (np.arange(_STEPS + 1) / _STEPS) ** (1 / _SCREEN_GAMMA)).astype(np.uint8)
