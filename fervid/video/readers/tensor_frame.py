"""Convert frames whose pixels are tensors on a device, as fervid.video.readers.pyav_frame does on the CPU."""

import torch
from torch import Tensor

from fervid.video.readers.tensor_resize import resize_area

__all__ = ["full_range_of", "luma_weights", "resize_rgb", "yuv_to_rgb"]

#: The weights of red, green and blue in luma (ITU-R BT.601, BT.709, BT.2020); 601 where the file declares none.
_BT601, _BT709, _BT2020 = (0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722), (0.2627, 0.6780, 0.0593)
_BY_NAME = {"bt709": _BT709, "bt2020nc": _BT2020, "bt2020c": _BT2020}
_BY_NUMBER = {1: _BT709, 9: _BT2020, 10: _BT2020}


def luma_weights(color_space: str | int | None) -> tuple[float, float, float]:
    """Look up the weights of red, green and blue in the luma of a colour space.

    Parameters
    ----------
    color_space : str, int or None
        FFmpeg's name, or the number in ITU-T H.273.

    Returns
    -------
    tuple of float
    """
    if isinstance(color_space, int):
        return _BY_NUMBER.get(color_space, _BT601)
    return _BY_NAME.get(color_space or "", _BT601)


def resize_rgb(rgb: Tensor, width_px: int, height_px: int) -> Tensor:
    """Resize an image by area.

    Parameters
    ----------
    rgb : Tensor, shape (H, W, 3), uint8
    width_px, height_px : int

    Returns
    -------
    Tensor, shape (height_px, width_px, 3), uint8
    """
    return resize_area(rgb, height_px, width_px).round_().to(torch.uint8)


def yuv_to_rgb(
    luma: Tensor, chroma: Tensor, size_px: tuple[int, int], weights: tuple[float, float, float], *, limited: bool
) -> Tensor:
    """Convert 4:2:0 planes to RGB: resized by area first, then converted (ITU-T H.273, 8.3).

    Parameters
    ----------
    luma : Tensor, shape (H, W), uint8
    chroma : Tensor, shape (H / 2, W / 2, 2), uint8
        Blue, then red difference.
    size_px : tuple of int
        Width and height of the result.
    weights : tuple of float
        As `luma_weights` returns them.
    limited : bool
        Whether luma has the range 16..235 and chroma 16..240.

    Returns
    -------
    Tensor, shape (height, width, 3), uint8
    """
    width, height = size_px
    grey = resize_area(luma[..., None], height, width).round_()
    half = resize_area(chroma, -(-height // 2), -(-width // 2)).round_()
    difference = half.repeat_interleave(2, 0).repeat_interleave(2, 1)[:height, :width] - 128
    if limited:
        grey, difference = (grey - 16) * (255 / 219), difference * (255 / 224)
    red_weight, green_weight, blue_weight = weights
    blue, red = difference[..., :1] * (2 - 2 * blue_weight), difference[..., 1:] * (2 - 2 * red_weight)
    green = -(red_weight * red + blue_weight * blue) / green_weight
    return (grey + torch.cat((red, green, blue), 2)).round_().clamp_(0, 255).to(torch.uint8)


def full_range_of(luma: Tensor) -> Tensor:
    """Stretch limited luma 16..235 to 0..255, as fervid.video.reader.full_range does.

    Parameters
    ----------
    luma : Tensor, float
        Of any shape.

    Returns
    -------
    Tensor, float
        Rounded to integers.
    """
    return ((luma - 16) * 255).div_(219).round_().clamp_(0, 255)
