"""How far emotion probabilities follow coded action units: EMFACS combinations, per subject and over all.

Combinations after Friesen, W. V. & Ekman, P. (1983), EMFACS-7: Emotional Facial Action Coding System (unpublished
manuscript, University of California at San Francisco), as far as DISFA codes their units. Anger is reduced to AU4+5:
its AU7 and AU23 are not coded; nor are fear's AU7, and what goes with disgust's AU9.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fervid.studies import statistics as measures
from fervid.studies.bootstrap import (
    SEED,
    ClusterBootstrap,
    MovingBlockBootstrap,
    Resampler,
    estimate,
    percentile_interval,
    undefined,
)
from fervid.studies.disfa_corpus import RATE, UNITS, Codes
from fervid.studies.disfa_processing import MatchedRecording

__all__ = [
    "COMBINATIONS",
    "PRESENT",
    "EmotionSeries",
    "compare_all",
    "compare_one",
    "emotion_series",
    "intensity_of",
    "method",
    "presence_of",
]

#: Action units of each emotion.
COMBINATIONS = {
    "anger": (4, 5), "disgust": (9,), "fear": (1, 2, 4, 5, 20, 26), "happiness": (6, 12), "sadness": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
}  # fmt: skip
#: An emotion is present where every unit of its combination has at least this intensity.
PRESENT = 2
#: Blocks of the bootstrap within one recording, in seconds.
BLOCK_S = 10
_NEVER = f"no positive frame: the units never reach {PRESENT} together"
_FEWEST = 3
#: The interval of an AUC is drawn from scores in so many bins; the AUC itself needs none.
_BINS = 100


def intensity_of(emotion: str, intensity: np.ndarray) -> np.ndarray:
    """The score (n,) of a combination: the mean intensity, 0 to 5, of its units; intensity is (n, 12)."""
    return Codes(intensity).of(COMBINATIONS[emotion]).mean(1)


def presence_of(emotion: str, intensity: np.ndarray) -> np.ndarray:
    """Where (n,) all units of a combination reach PRESENT."""
    return Codes(intensity).of(COMBINATIONS[emotion]).min(1) >= PRESENT


@dataclass(frozen=True)
class EmotionSeries:
    """One emotion of a recording by the frame (n,): probability, score in 0..1 (NaN without a face), and presence."""

    prob: np.ndarray
    score: np.ndarray
    present: np.ndarray


def emotion_series(one: MatchedRecording) -> dict[str, EmotionSeries]:
    """Each emotion over the whole of a recording, to be drawn."""
    found, n, at = {}, one.video_frames, one.frame - 1
    for emotion in (name for name in COMBINATIONS if name in one.emotions):
        prob, score = np.full((2, n), np.nan)
        present = np.zeros(n, bool)
        prob[at] = one.prob[:, one.emotions.index(emotion)]
        score[at] = intensity_of(emotion, one.intensity) / 5
        present[at] = presence_of(emotion, one.intensity)
        found[emotion] = EmotionSeries(prob, score, present)
    return found


def compare_one(one: MatchedRecording) -> dict[str, Any]:
    """Every emotion of one recording: correlations with the score, and the AUC for presence, with intervals."""
    blocks, found = MovingBlockBootstrap(BLOCK_S * RATE), {}
    for emotion in COMBINATIONS:
        if emotion not in one.emotions:
            continue
        prob = one.prob[:, one.emotions.index(emotion)]
        score, present = intensity_of(emotion, one.intensity), presence_of(emotion, one.intensity)
        found[emotion] = {
            "frames": len(prob), "positive": int(present.sum()), **_correlations(prob, score, blocks),
            "auc": _auc(prob, present, blocks),
        }  # fmt: skip
    return found


def _correlations(prob: np.ndarray, score: np.ndarray, blocks: MovingBlockBootstrap) -> dict[str, Any]:
    if len(prob) < _FEWEST:
        return dict.fromkeys(("pearson", "spearman"), undefined(f"{len(prob)} frames with a face"))
    why = "constant: the codes" if np.ptp(score) == 0 else "constant: the machine"
    pairs = {"pearson": (prob, score), "spearman": (measures.ranks(prob), measures.ranks(score))}
    return {name: estimate(measures.pair_terms(x, y), measures.pearson, blocks, why) for name, (x, y) in pairs.items()}


def _auc(prob: np.ndarray, present: np.ndarray, draws: Resampler) -> dict[str, Any]:
    if not present.any() or present.all():
        return undefined("no negative frame" if present.any() else _NEVER)
    low, high = percentile_interval(measures.auc(draws.sums(measures.auc_terms(prob, present, _BINS))))
    return {"value": measures.exact_auc(prob, present), "low": low, "high": high}


def compare_all(matched: Sequence[MatchedRecording], each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every emotion over the subjects of one camera: the mean of their figures, its spread without each subject, and
    one figure of all frames together; intervals from drawing subjects anew."""
    return {
        emotion: {
            "subjects": len(matched), "positive": sum(one[emotion]["positive"] for one in each),
            "subjects_positive": sum(one[emotion]["positive"] > 0 for one in each),
            **{name: _over_subjects([one[emotion][name] for one in each])
               for name in ("pearson", "spearman", "auc")},
            "pooled": _pooled(emotion, matched),
        }
        for emotion in each[0]
    }  # fmt: skip


def _over_subjects(found_each: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of those that are defined, with its interval and its range when each subject is left out in turn."""
    defined = np.array([one["value"] for one in found_each if one["value"] is not None])
    n = len(defined)
    if n == 0:
        return undefined(f"every subject: {found_each[0]['undefined']}") | {
            "subjects": 0,
            "without_one_low": None,
            "without_one_high": None,
        }
    found: dict[str, Any] = {
        "value": float(defined.mean()),
        "low": None,
        "high": None,
        "subjects": n,
        "without_one_low": None,
        "without_one_high": None,
    }
    if n > 1:
        low, high = percentile_interval(ClusterBootstrap(np.arange(n)).sums(defined[:, None])[:, 0] / n)
        without = (defined.sum() - defined) / (n - 1)
        found |= {
            "low": low,
            "high": high,
            "without_one_low": float(without.min()),
            "without_one_high": float(without.max()),
        }
    return found


def _pooled(emotion: str, matched: Sequence[MatchedRecording]) -> dict[str, Any]:
    """All frames of all subjects together: differences between people count as well."""
    prob = np.concatenate([one.prob[:, one.emotions.index(emotion)] for one in matched])
    score = np.concatenate([intensity_of(emotion, one.intensity) for one in matched])
    present = np.concatenate([presence_of(emotion, one.intensity) for one in matched])
    of = np.repeat(np.arange(len(matched)), [len(one.frame) for one in matched])
    terms = measures.pair_terms(prob, score)
    sums = np.stack([np.bincount(of, column, len(matched)) for column in terms.T], 1)
    return {
        "frames": len(prob),
        "pearson": estimate(sums, measures.pearson, ClusterBootstrap(np.arange(len(matched)))),
        "auc": _auc(prob, present, ClusterBootstrap(of)) if len(prob) else undefined("no frames"),
    }  # fmt: skip


def method() -> dict[str, Any]:
    """What was compared and how, for the report."""
    return {
        "combinations": {name: [f"AU{unit}" for unit in units] for name, units in COMBINATIONS.items()},
        "units_coded": list(UNITS),
        "score": "mean intensity (0 to 5) of the combination's action units",
        "present": f"all units of the combination at {PRESENT} or more",
        "source": "Friesen & Ekman (1983), EMFACS-7, as far as DISFA codes the units; anger reduced to AU4+5",
        "intervals": f"95%; within a recording by moving blocks of {BLOCK_S} s, over subjects by drawing them anew; "
        f"seed {SEED}",
    }  # fmt: skip
