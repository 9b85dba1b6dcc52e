"""Test films of any length with moving faces: `python -m tests.benchmarks.films OUT.mp4 [--faces 4] ...`.

The faces are those of sample_videos/one_face.mp4, which move and change, drifting over a static, grainy background. Ten
seconds are drawn and encoded; longer films repeat their packets. With --clip the film is real footage, resized and
displayed at 30 frames per second.
"""

import argparse
import math
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.benchmarks.memory import repeat

SAMPLE = Path(__file__).parents[2] / "sample_videos" / "one_face.mp4"
RATE, SECONDS = 30, 10
ENCODERS = {
    "h264": ("libx264", {"crf": "23", "preset": "medium"}),
    "hevc": ("libx265", {"crf": "26", "preset": "fast", "x265-params": "log-level=error:pools=1"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--faces", type=int, default=1)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--codec", choices=ENCODERS, default="h264")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--still", action="store_true", help="repeat the first frame")
    parser.add_argument("--clip", type=Path, help="use this footage, resized, instead of faces on a background")
    args = parser.parse_args()
    if args.clip:
        footage(args.clip, args.out, height=args.height, codec=args.codec)
        return
    make(args.out, faces=args.faces, height=args.height, codec=args.codec, minutes=args.minutes, still=args.still)


def make(
    out: Path, *, faces: int = 1, height: int = 1080, codec: str = "h264", minutes: float = 1, still: bool = False
) -> Path:
    """Write a film in 16:9 at 30 frames per second."""
    encoder, options = ENCODERS[codec]
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder) / "short.mp4"
        with av.open(str(short), "w") as target:
            stream = target.add_stream(encoder, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = round(height * 8 / 9) * 2, height, "yuv420p"
            for frame in draw(faces, stream.width, height, still=still):
                target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            target.mux(stream.encode())
        return repeat(short, out, minutes)


def footage(clip: Path, out: Path, *, height: int, codec: str) -> None:
    """Encode the frames of a 16:9 clip at this height and 30 frames per second."""
    encoder, options = ENCODERS[codec]
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream(encoder, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = round(height * 8 / 9) * 2, height, "yuv420p"
        for i, frame in enumerate(source.decode(video=0)):
            large = frame.reformat(stream.width, height, "yuv420p", interpolation="BICUBIC")
            large.pts, large.time_base = i, stream.codec_context.time_base or Fraction(1, RATE)
            target.mux(stream.encode(large))
        target.mux(stream.encode())


def draw(faces: int, width: int, height: int, *, still: bool):
    """Draw the frames (height, width, 3) uint8: faces in a grid, each circling around its place."""
    background = np.random.default_rng(0).integers(70, 110, (height, width, 1), np.uint8).repeat(3, 2)
    columns = max(1, math.ceil(math.sqrt(faces * 16 / 9)))
    rows = max(1, math.ceil(faces / columns))
    cell_w, cell_h = width // columns, height // rows
    side = min(cell_w, cell_h, height // 2) * 4 // 5
    heads = [np.asarray(Image.fromarray(head).resize((side, side))) for head in sample()]
    for i in range(RATE * SECONDS):
        frame, time = background.copy(), 0 if still else i
        for k in range(faces):
            angle = 2 * math.pi * (time / (RATE * SECONDS) + k / faces)
            x = k % columns * cell_w + round((cell_w - side) * (0.5 + 0.45 * math.cos(angle)))
            y = k // columns * cell_h + round((cell_h - side) * (0.5 + 0.45 * math.sin(angle)))
            frame[y : y + side, x : x + side] = heads[(time + 7 * k) % len(heads)]
        yield frame


def sample() -> list[np.ndarray]:
    """Return the frames of the sample video, cropped to a square, forwards and backwards."""
    with av.open(str(SAMPLE)) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    height, width = frames[0].shape[:2]
    middle = [frame[:, (width - height) // 2 : (width + height) // 2] for frame in frames]
    return middle + middle[::-1]


if __name__ == "__main__":
    main()
