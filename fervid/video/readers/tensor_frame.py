"""Frames whose pixels lie on a torch device: what a Frame gives as arrays, these functions give as tensors there."""

import torch
from torch import Tensor

from fervid.video.readers.tensor_resize import resize_area

__all__ = ["full_range_of", "luma_weights", "resize_rgb", "yuv_to_rgb"]

#: What red, green and blue count in luma (ITU-R BT.601, BT.709, BT.2020); 601 where the file does not say.
_BT601, _BT709, _BT2020 = (0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722), (0.2627, 0.6780, 0.0593)
_BY_NAME = {"bt709": _BT709, "bt2020nc": _BT2020, "bt2020c": _BT2020}
_BY_NUMBER = {1: _BT709, 9: _BT2020, 10: _BT2020}


def luma_weights(color_space: str | int | None) -> tuple[float, float, float]:
    """What red, green and blue count in the luma of a colour space: FFmpeg's name for it, or its number in H.273."""
    return (
        _BY_NUMBER.get(color_space, _BT601) if isinstance(color_space, int) else _BY_NAME.get(color_space or "", _BT601)
    )


def resize_rgb(rgb: Tensor, width_px: int, height_px: int) -> Tensor:
    """Scale (H, W, 3) uint8 by area -> (height_px, width_px, 3) uint8."""
    return resize_area(rgb, height_px, width_px).round_().to(torch.uint8)


def yuv_to_rgb(
    luma: Tensor, chroma: Tensor, size_px: tuple[int, int], weights: tuple[float, float, float], *, limited: bool
) -> Tensor:
    """Planes (H, W) and (H / 2, W / 2, 2) uint8 -> RGB of size_px (width, height), (height, width, 3) uint8.

    As PyAVFrame.picture goes about it: by area to the small size first, to RGB only there (ITU-T H.273, 8.3).
    """
    width, height = size_px
    grey = resize_area(luma[..., None], height, width).round_()
    half = resize_area(chroma, -(-height // 2), -(-width // 2)).round_()
    wide = half.repeat_interleave(2, 0).repeat_interleave(2, 1)[:height, :width] - 128
    if limited:
        grey, wide = (grey - 16) * (255 / 219), wide * (255 / 224)
    red_weight, green_weight, blue_weight = weights
    blue, red = wide[..., :1] * (2 - 2 * blue_weight), wide[..., 1:] * (2 - 2 * red_weight)
    green = -(red_weight * red + blue_weight * blue) / green_weight
    return (grey + torch.cat((red, green, blue), 2)).round_().clamp_(0, 255).to(torch.uint8)


def full_range_of(luma: Tensor) -> Tensor:
    """Do what video.full_range does to float luma."""
    return ((luma - 16) * 255).div_(219).round_().clamp_(0, 255)
