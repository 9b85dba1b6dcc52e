"""The words in which results are shown, where stored keys and those of `--json` are older or shorter."""

from collections.abc import Mapping
from typing import Any

from fervid.config import ALIASES

__all__ = ["LABELS", "NO_SHOTS", "as_sentence", "counters", "options", "shown"]

NO_SHOTS = "not detected (detect_shots = false)"

#: Keys of facts -> what is printed for them.
LABELS = {
    "config": "options",
    "face_readings": "face readings",
    # counters of `info`
    "decode_errors": "packets not decoded",
    "frames_decoded": "frames decoded",
    "frames_left_out": "frames skipped",
    "frames_untimed": "frames without a timestamp",
    "looks": "frames sampled",
    # other metadata
    "crops_a_track": "crops per track",
    "decoder_note": "decoder note",
    "least_quality": "least quality",
    "results_version": "results version",
    "resume_key": "resume key",
    # `doctor`
    "weights_elsewhere": "optional weights",
    "memory_gb_a_worker": "memory per worker (GB)",
    "timeout_s": "timeout (s)",
    "stall_s": "longest time without progress (s)",
    # `score` and `report`
    "film": "video",
    "no_face": "without a face",
    "pictures": "images",
}


def shown(value: Any) -> str:
    """Write a value for a reader.

    Parameters
    ----------
    value : Any
        A plain value, or a list of them.

    Returns
    -------
    str
        "yes" or "no" for a truth value, "-" for nothing.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "-"
    return "-" if value is None or value == "" else str(value)


def as_sentence(text: str) -> str:
    """Make a sentence of a note.

    Parameters
    ----------
    text : str
        Not empty.

    Returns
    -------
    str
        With a capital and a full stop.
    """
    return f"{text[0].upper()}{text[1:]}."


def options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Name the options of a timeline as they are named today.

    Parameters
    ----------
    config : Mapping[str, Any]
        `config` of the metadata, four of whose keys are those of earlier versions.

    Returns
    -------
    dict[str, Any]
        The values by name of a field of Config, sorted.
    """
    return dict(sorted((ALIASES.get(name, name), value) for name, value in config.items()))


def counters(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Give the counters of a timeline in words.

    Parameters
    ----------
    provenance : Mapping[str, Any]
        The metadata.

    Returns
    -------
    dict[str, Any]
        The values by what was counted. Without shot detection, the one shot of the video does not count.
    """
    found = {LABELS.get(name, name): value for name, value in provenance.get("counters", {}).items()}
    if "shots" in found and not provenance.get("config", {}).get("cuts", True):
        found["shots"] = NO_SHOTS
    return found
