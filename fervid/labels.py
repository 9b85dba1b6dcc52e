"""The one list of emotions. Data sets and models map to it by name, never by index."""

from fervid.errors import DataError

__all__ = ["EMOTIONS", "emotion"]

#: Ekman's six (1992), neutral, and FER+'s contempt, in the order of the timeline's columns.
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")

_ALIASES = {
    "angry": "anger", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "scared": "fear",
    "happy": "happiness", "joy": "happiness", "sad": "sadness", "surprised": "surprise",
    "contemptuous": "contempt",
}  # fmt: skip


def emotion(name: str) -> str:
    """Give the canonical name of an emotion ("angry" -> "anger"); DataError if it is none of EMOTIONS."""
    key = name.strip().lower()
    key = _ALIASES.get(key, key)
    if key not in EMOTIONS:
        raise DataError(f"unknown emotion {name!r}: expected one of {', '.join(EMOTIONS)} or a usual alias")
    return key
