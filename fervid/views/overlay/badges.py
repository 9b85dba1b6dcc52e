"""Small images that the overlay draws beside a face: badge, probabilities, legend, notice."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fervid.views.figures.style import PALETTE

__all__ = ["badge", "bar_chart", "bar_chart_height", "column_chart", "legend", "notice"]

#: RGBA of the background, of text, and of the empty part of a bar.
_BACKGROUND, _TEXT, _EMPTY = (16, 16, 16, 190), (245, 245, 245, 255), (90, 90, 90, 160)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def badge(text: str, emotion: str, size: int) -> Image.Image:
    """Draw a line of text on a dark background, behind a mark in the colour of an emotion.

    Parameters
    ----------
    text : str
    emotion : str
        A key of PALETTE.
    size : int
        Font size in pixels.

    Returns
    -------
    PIL.Image.Image
        RGBA.
    """
    font, pad = _font(size), max(2, size // 4)
    width = round(font.getlength(text)) + 4 * pad + size // 2
    image = Image.new("RGBA", (width, size + 2 * pad), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.rectangle((pad, pad, pad + size // 2, size + pad), fill=PALETTE[emotion])
    draw.text((3 * pad + size // 2, pad + size // 2), text, fill=_TEXT, font=font, anchor="lm")
    return image


def bar_chart_height(labels: tuple[str, ...], size: int) -> int:
    """Compute the height of a bar chart.

    Parameters
    ----------
    labels : tuple of str
        The emotions.
    size : int
        Font size in pixels.

    Returns
    -------
    int
        Pixels.
    """
    return len(labels) * (size + 2) + 6


def bar_chart(prob: np.ndarray, labels: tuple[str, ...], size: int) -> Image.Image:
    """Draw one named horizontal bar per emotion.

    Parameters
    ----------
    prob : np.ndarray
        Probabilities, (K,).
    labels : tuple of str
        The K emotions.
    size : int
        Font size in pixels.

    Returns
    -------
    PIL.Image.Image
        RGBA.
    """
    font, high = _font(size), size + 2
    name_px = round(max(font.getlength(name) for name in labels)) + 8
    bar_px = 5 * size
    image = Image.new("RGBA", (name_px + bar_px + 6, bar_chart_height(labels, size)), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    for k, name in enumerate(labels):
        top = 3 + k * high
        draw.text((4, top + high / 2), name, fill=_TEXT, font=font, anchor="lm")
        draw.rectangle((name_px, top + 2, name_px + bar_px, top + high - 2), fill=_EMPTY)
        draw.rectangle((name_px, top + 2, name_px + round(bar_px * float(prob[k])), top + high - 2), fill=PALETTE[name])
    return image


def column_chart(prob: np.ndarray, labels: tuple[str, ...], width: int, height: int) -> Image.Image:
    """Draw one column per emotion, without names, for small faces.

    Parameters
    ----------
    prob : np.ndarray
        Probabilities, (K,).
    labels : tuple of str
        The K emotions.
    width, height : int
        Size in pixels.

    Returns
    -------
    PIL.Image.Image
        RGBA.
    """
    image = Image.new("RGBA", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    step = width / len(labels)
    for k, name in enumerate(labels):
        left, right = round(k * step) + 1, max(round((k + 1) * step) - 1, round(k * step) + 1)
        top = round((height - 1) * (1 - float(prob[k])))
        draw.rectangle((left, min(top, height - 2), right, height - 1), fill=PALETTE[name])
    return image


def legend(labels: tuple[str, ...], size: int) -> Image.Image:
    """Draw the colours of the emotions with their names, in one line.

    Parameters
    ----------
    labels : tuple of str
        The emotions.
    size : int
        Font size in pixels.

    Returns
    -------
    PIL.Image.Image
        RGBA.
    """
    font, pad = _font(size), size // 2
    widths = [size + pad // 2 + round(font.getlength(name)) + pad for name in labels]
    image = Image.new("RGBA", (sum(widths) + pad, size + pad), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    for name, left in zip(labels, np.cumsum([pad, *widths])):
        draw.rectangle((left, pad // 2 + 1, left + size - 2, pad // 2 + size - 1), fill=PALETTE[name])
        draw.text((left + size + pad // 2, pad // 2 + size / 2), name, fill=_TEXT, font=font, anchor="lm")
    return image


def notice(text: str, size: int) -> Image.Image:
    """Draw a sentence on a dark background.

    Parameters
    ----------
    text : str
    size : int
        Font size in pixels.

    Returns
    -------
    PIL.Image.Image
        RGBA.
    """
    return badge(text, "neutral", size)
