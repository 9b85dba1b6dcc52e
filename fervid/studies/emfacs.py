"""Compare emotion probabilities with coded action units by EMFACS combinations, per subject and over all subjects.

Combinations after Friesen, W. V. & Ekman, P. (1983), EMFACS-7: Emotional Facial Action Coding System (unpublished
manuscript, University of California at San Francisco), as far as DISFA codes their units. Anger is reduced to AU4+5,
because AU7 and AU23 are not coded; nor are AU7 of fear and the units that accompany AU9 in disgust.
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
    "compare_recording",
    "compare_subjects",
    "describe_method",
    "emotion_series",
    "intensity_of",
    "presence_of",
]

#: Action units of each emotion.
COMBINATIONS = {
    "anger": (4, 5),
    "disgust": (9,),
    "fear": (1, 2, 4, 5, 20, 26),
    "happiness": (6, 12),
    "sadness": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
}
#: An emotion is present where all units of its combination have at least this intensity.
PRESENT = 2
#: Length of the bootstrap's blocks within a recording, in seconds.
BLOCK_S = 10
_NEVER_PRESENT = f"no positive frame: the units never reach {PRESENT} together"
_MIN_FRAMES = 3
#: Number of bins of the scores for the interval of an AUC; the AUC itself is computed without bins.
_BINS = 100


def intensity_of(emotion: str, intensity: np.ndarray) -> np.ndarray:
    """Return the score of a combination, the mean intensity of its units.

    Parameters
    ----------
    emotion : str
        Emotion of COMBINATIONS.
    intensity : ndarray of shape (n, 12)
        Intensities; columns as in UNITS.

    Returns
    -------
    ndarray of shape (n,)
        In 0..5.
    """
    return Codes(intensity).of(COMBINATIONS[emotion]).mean(1)


def presence_of(emotion: str, intensity: np.ndarray) -> np.ndarray:
    """Return where all units of a combination reach PRESENT.

    Parameters
    ----------
    emotion : str
        Emotion of COMBINATIONS.
    intensity : ndarray of shape (n, 12)
        Intensities; columns as in UNITS.

    Returns
    -------
    ndarray of shape (n,)
        Booleans.
    """
    return Codes(intensity).of(COMBINATIONS[emotion]).min(1) >= PRESENT


@dataclass(frozen=True)
class EmotionSeries:
    """One emotion of a recording, per frame (n,)."""

    prob: np.ndarray
    """Probability; NaN without a face."""
    score: np.ndarray
    """Mean intensity of the units, scaled to 0..1; NaN without a face."""
    present: np.ndarray
    """Whether all units are present."""


def emotion_series(matched: MatchedRecording) -> dict[str, EmotionSeries]:
    """Return each emotion of a recording over all of its frames.

    Parameters
    ----------
    matched : MatchedRecording
        Readings and codes.

    Returns
    -------
    dict of str to EmotionSeries
        Series by emotion.
    """
    found, n, at = {}, matched.video_frames, matched.frame - 1
    for emotion in (name for name in COMBINATIONS if name in matched.emotions):
        prob, score = np.full((2, n), np.nan)
        present = np.zeros(n, bool)
        prob[at] = matched.prob[:, matched.emotions.index(emotion)]
        score[at] = intensity_of(emotion, matched.intensity) / 5
        present[at] = presence_of(emotion, matched.intensity)
        found[emotion] = EmotionSeries(prob, score, present)
    return found


def compare_recording(matched: MatchedRecording) -> dict[str, Any]:
    """Compare each emotion of one recording with its codes.

    Parameters
    ----------
    matched : MatchedRecording
        Readings and codes.

    Returns
    -------
    dict
        By emotion: correlations with the score and the AUC for presence, with intervals.
    """
    resampler, found = MovingBlockBootstrap(BLOCK_S * RATE), {}
    for emotion in COMBINATIONS:
        if emotion not in matched.emotions:
            continue
        prob = matched.prob[:, matched.emotions.index(emotion)]
        score, present = intensity_of(emotion, matched.intensity), presence_of(emotion, matched.intensity)
        found[emotion] = {
            "frames": len(prob),
            "positive": int(present.sum()),
            **_correlations(prob, score, resampler),
            "auc": _auc(prob, present, resampler),
        }
    return found


def _correlations(prob: np.ndarray, score: np.ndarray, resampler: Resampler) -> dict[str, Any]:
    if len(prob) < _MIN_FRAMES:
        return dict.fromkeys(("pearson", "spearman"), undefined(f"{len(prob)} frames with a face"))
    reason = "constant: the codes" if np.ptp(score) == 0 else "constant: the model"
    pairs = {"pearson": (prob, score), "spearman": (measures.ranks(prob), measures.ranks(score))}
    return {
        name: estimate(measures.pair_terms(x, y), measures.pearson, resampler, reason) for name, (x, y) in pairs.items()
    }


def _auc(prob: np.ndarray, present: np.ndarray, resampler: Resampler) -> dict[str, Any]:
    if not present.any() or present.all():
        return undefined("no negative frame" if present.any() else _NEVER_PRESENT)
    low, high = percentile_interval(measures.auc(resampler.sums(measures.auc_terms(prob, present, _BINS))))
    return {"value": measures.exact_auc(prob, present), "low": low, "high": high}


def compare_subjects(matched: Sequence[MatchedRecording], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare each emotion over the subjects of one camera.

    Parameters
    ----------
    matched : sequence of MatchedRecording
        One recording per subject.
    results : sequence of dict
        Results of `compare_recording`.

    Returns
    -------
    dict
        By emotion: means over the subjects, their range when each subject is left out, and statistics of all frames
        together; intervals are bootstrapped over subjects.
    """
    return {
        emotion: {
            "subjects": len(matched),
            "positive": sum(result[emotion]["positive"] for result in results),
            "subjects_positive": sum(result[emotion]["positive"] > 0 for result in results),
            **{
                name: _mean_over_subjects([result[emotion][name] for result in results])
                for name in ("pearson", "spearman", "auc")
            },
            "pooled": _pooled(emotion, matched),
        }
        for emotion in results[0]
    }


def _mean_over_subjects(estimates: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of the defined values, its interval, and its range when each subject is left out."""
    defined = np.array([one["value"] for one in estimates if one["value"] is not None])
    n = len(defined)
    range_facts: dict[str, Any] = {"subjects": n, "without_one_low": None, "without_one_high": None}
    if n == 0:
        return undefined(f"every subject: {estimates[0]['undefined']}") | range_facts
    found = {"value": float(defined.mean()), "low": None, "high": None} | range_facts
    if n > 1:
        low, high = percentile_interval(ClusterBootstrap(np.arange(n)).sums(defined[:, None])[:, 0] / n)
        without_one = (defined.sum() - defined) / (n - 1)
        found |= {
            "low": low,
            "high": high,
            "without_one_low": float(without_one.min()),
            "without_one_high": float(without_one.max()),
        }
    return found


def _pooled(emotion: str, matched: Sequence[MatchedRecording]) -> dict[str, Any]:
    """Return the statistics of all frames of all subjects, which include differences between subjects."""
    prob = np.concatenate([one.prob[:, one.emotions.index(emotion)] for one in matched])
    score = np.concatenate([intensity_of(emotion, one.intensity) for one in matched])
    present = np.concatenate([presence_of(emotion, one.intensity) for one in matched])
    subject = np.repeat(np.arange(len(matched)), [len(one.frame) for one in matched])
    terms = measures.pair_terms(prob, score)
    sums = np.stack([np.bincount(subject, column, len(matched)) for column in terms.T], 1)
    return {
        "frames": len(prob),
        "pearson": estimate(sums, measures.pearson, ClusterBootstrap(np.arange(len(matched)))),
        "auc": _auc(prob, present, ClusterBootstrap(subject)) if len(prob) else undefined("no frames"),
    }


def describe_method() -> dict[str, Any]:
    """Describe what is compared and how, for the report.

    Returns
    -------
    dict
        Plain values for JSON.
    """
    return {
        "combinations": {name: [f"AU{unit}" for unit in units] for name, units in COMBINATIONS.items()},
        "units_coded": list(UNITS),
        "score": "mean intensity (0 to 5) of the combination's action units",
        "present": f"all units of the combination at {PRESENT} or more",
        "source": "Friesen & Ekman (1983), EMFACS-7, as far as DISFA codes the units; anger reduced to AU4+5",
        "intervals": (
            f"95% bootstrap: moving blocks of {BLOCK_S} s within a recording, whole subjects over all; seed {SEED}"
        ),
    }
