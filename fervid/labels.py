"""The list of emotions. Data sets and models map to it by name, never by index."""

import re

from fervid.errors import DataError

__all__ = ["EMOTIONS", "emotion", "emotions_in"]

#: Ekman's six (1992), neutral, and FER+'s contempt, in the order of the timeline's columns.
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")

_ALIASES = {
    "angry": "anger",
    "mad": "anger",
    "disgusted": "disgust",
    "disgusting": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "scare": "fear",
    "frightened": "fear",
    "happy": "happiness",
    "hapiness": "happiness",
    "joy": "happiness",
    "joyful": "happiness",
    "smile": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "suprise": "surprise",
    "surprize": "surprise",
    "neutrality": "neutral",
    "normal": "neutral",
    "contemptuous": "contempt",
}


def emotion(name: str) -> str:
    """Give the canonical name of an emotion ("angry" -> "anger").

    Parameters
    ----------
    name : str
        One of EMOTIONS or a usual alias, in any case.

    Returns
    -------
    str

    Raises
    ------
    DataError
        If it is neither.
    """
    key = name.strip().lower()
    key = _ALIASES.get(key, key)
    if key not in EMOTIONS:
        raise DataError(f"unknown emotion {name!r}: expected one of {', '.join(EMOTIONS)} or a usual alias")
    return key


def emotions_in(text: str) -> tuple[str, ...]:
    """Find the emotions that the name of a folder or file contains as words ("0_angry", "HappyFace12", "fear (h)").

    Parameters
    ----------
    text : str

    Returns
    -------
    tuple[str, ...]
        Canonical names, each once, in the order of the text; empty if there is none.
    """
    words = (word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text))
    names = (_ALIASES.get(word, word) for word in words)
    return tuple(dict.fromkeys(name for name in names if name in EMOTIONS))
