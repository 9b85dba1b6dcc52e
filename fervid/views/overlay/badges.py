"""The small pictures that stand beside a face: its number and expression, its probabilities, a legend, a notice."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fervid.views.figures.style import PALETTE

__all__ = ["bars", "columns", "legend", "notice", "panel_height", "tab"]

_GROUND, _PAPER = (16, 16, 16, 190), (245, 245, 245, 255)
_TRACK = (90, 90, 90, 160)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def tab(text: str, emotion: str, size: int) -> Image.Image:
    """A line of text on dark ground behind a mark in the emotion's colour."""
    font, pad = _font(size), max(2, size // 4)
    width = round(font.getlength(text)) + 4 * pad + size // 2
    image = Image.new("RGBA", (width, size + 2 * pad), _GROUND)
    draw = ImageDraw.Draw(image)
    draw.rectangle((pad, pad, pad + size // 2, size + pad), fill=PALETTE[emotion])
    draw.text((3 * pad + size // 2, pad + size // 2), text, fill=_PAPER, font=font, anchor="lm")
    return image


def panel_height(labels: tuple[str, ...], size: int) -> int:
    """How high the picture of bars() is."""
    return len(labels) * (size + 2) + 6


def bars(prob: np.ndarray, labels: tuple[str, ...], size: int) -> Image.Image:
    """A bar an emotion (K,), each with its name."""
    font, high = _font(size), size + 2
    name_px = round(max(font.getlength(name) for name in labels)) + 8
    bar_px = 5 * size
    image = Image.new("RGBA", (name_px + bar_px + 6, panel_height(labels, size)), _GROUND)
    draw = ImageDraw.Draw(image)
    for k, name in enumerate(labels):
        top = 3 + k * high
        draw.text((4, top + high / 2), name, fill=_PAPER, font=font, anchor="lm")
        draw.rectangle((name_px, top + 2, name_px + bar_px, top + high - 2), fill=_TRACK)
        draw.rectangle((name_px, top + 2, name_px + round(bar_px * float(prob[k])), top + high - 2), fill=PALETTE[name])
    return image


def columns(prob: np.ndarray, labels: tuple[str, ...], width: int, height: int) -> Image.Image:
    """A column an emotion (K,), for faces too small for names."""
    image = Image.new("RGBA", (width, height), _GROUND)
    draw = ImageDraw.Draw(image)
    step = width / len(labels)
    for k, name in enumerate(labels):
        left, right = round(k * step) + 1, max(round((k + 1) * step) - 1, round(k * step) + 1)
        top = round((height - 1) * (1 - float(prob[k])))
        draw.rectangle((left, min(top, height - 2), right, height - 1), fill=PALETTE[name])
    return image


def legend(labels: tuple[str, ...], size: int) -> Image.Image:
    """Which colour is which emotion, in one line."""
    font, pad = _font(size), size // 2
    widths = [size + pad // 2 + round(font.getlength(name)) + pad for name in labels]
    image = Image.new("RGBA", (sum(widths) + pad, size + pad), _GROUND)
    draw = ImageDraw.Draw(image)
    for name, left in zip(labels, np.cumsum([pad, *widths])):
        draw.rectangle((left, pad // 2 + 1, left + size - 2, pad // 2 + size - 1), fill=PALETTE[name])
        draw.text((left + size + pad // 2, pad // 2 + size / 2), name, fill=_PAPER, font=font, anchor="lm")
    return image


def notice(text: str, size: int) -> Image.Image:
    """A sentence on dark ground."""
    return tab(text, "neutral", size)
