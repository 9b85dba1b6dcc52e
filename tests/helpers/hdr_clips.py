"""Encode SDR images as HDR (PQ or HLG, BT.2020), with white at 203 cd/m2 (ITU-R BT.2408)."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

PQ, HLG = 16, 18
_TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])


def to_hdr(rgb: np.ndarray, transfer: int) -> np.ndarray:
    """Code an SDR image (h, w, 3) uint8 as HDR (h, w, 3) uint16 (ITU-R BT.2100)."""
    light = 203 * ((rgb / 255) ** 2.4) @ _TO_BT2020.T
    if transfer == PQ:
        power = (light / 10_000) ** 0.1593017578125
        code = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:
        screen = light / 1000
        luminance = np.maximum(screen @ _LUMINANCE, 1e-9)[..., None]
        scene = screen * luminance ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        code = np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return np.rint(65535 * code.clip(0, 1)).astype(np.uint16)


def write_hdr(
    path: Path, images: Iterable[np.ndarray], transfer: int, *, rate: int = 25, codec: str = "ffv1", full: bool = False
) -> Path:
    """Write SDR images as an HDR film of ten bits."""
    stream = None
    with av.open(path, "w") as out:
        for i, image in enumerate(images):
            if stream is None:
                stream = out.add_stream(codec, rate=rate)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt, context = "yuv420p10le", stream.codec_context
                stream.options = {"x265-params": "log-level=none:pools=none", "preset": "ultrafast", "crf": "12"}
                context.color_primaries, context.color_trc, context.colorspace = 9, transfer, 9
                context.color_range = 2 if full else 1
            coded = av.VideoFrame.from_ndarray(to_hdr(image, transfer), "rgb48le")
            frame = coded.reformat(format="yuv420p10le", dst_colorspace=9, dst_color_range=2 if full else 1)
            frame.color_primaries, frame.color_trc, frame.colorspace = 9, transfer, 9
            frame.color_range, frame.pts, frame.time_base = 2 if full else 1, i, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
