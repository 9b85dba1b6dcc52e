"""Adaptive detection compared with a search of every sampled frame: `python -m tests.benchmarks.adaptive VIDEO...`.

Both get the frames that the pipeline would sample, at 5 fps and at the native rate. Faces are matched one to one by
descending overlap (at least 0.5). Recall and precision are given for faces that the other side scores at 0.9 or more
(which may start a track) and for all; CPU milliseconds per frame are medians of interleaved rounds.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np

from fervid.config import Config
from fervid.faces.detect import DetectionStrategy, detect_all
from fervid.faces.detector import Detections
from fervid.faces.keyframes import FAST_INTERVAL, INTERVAL, KeyframeInterval, detect_keyframes
from fervid.faces.mtcnn import MTCNN
from fervid.runtime.threads import one_thread
from fervid.types import FrameBatch
from fervid.video.open import open_video
from fervid.video.sampling import batch_frames, detection_size, sample_frames
from tests.benchmarks.detection import match


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="+", type=Path, help="videos to process")
    parser.add_argument("--fps", nargs="+", default=["5", "native"], help="frames to sample per second, or native")
    parser.add_argument("--seconds", type=float, default=20, help="seconds to process of each video (default 20)")
    parser.add_argument("--rounds", type=int, default=1, help="repetitions; medians are printed (default %(default)s)")
    parser.add_argument("--fast", action="store_true", help="keyframes as far apart as in fast sampling")
    args = parser.parse_args()
    columns = ("recall .9", "recall", "prec. .9", "precision", "IoU", "IoU p10", "every ms", "ms", "times")
    print(f"{'video':22s} {'fps':>6s} {'frames':>6s} {'faces':>5s}", *(f"{name:>9s}" for name in columns))
    for path in args.video:
        for fps in args.fps:
            batches, min_face = read(path, None if fps == "native" else float(fps), args.seconds)
            compare(
                f"{path.stem[:22]:22s} {fps:>6s}",
                batches,
                min_face,
                args.rounds,
                FAST_INTERVAL if args.fast else INTERVAL,
            )


def read(path: Path, fps: float | None, seconds: float) -> tuple[list[FrameBatch], float]:
    """Return the sampled frames of a video, and the smallest face relative to the width of the image."""
    config = Config(fps=fps)
    with open_video(path) as reader:
        video = reader.info
        size_px, min_face_px = config.detection_scale(video.width_px, video.height_px)
        samples = sample_frames(reader.frames(0, seconds), fps)
        batches = batch_frames(samples, lambda frame_px: detection_size(frame_px, size_px))
        return list(batches), min_face_px / video.width_px


@one_thread
def compare(name: str, batches: list[FrameBatch], min_face: float, rounds: int, interval: KeyframeInterval) -> None:
    """Print one row."""
    detector = MTCNN()
    n = sum(map(len, batches))
    strategies: list[DetectionStrategy] = [detect_all, partial(detect_keyframes, interval=interval)]
    cpu_s, found = [], []
    for _ in range(rounds):
        for find in strategies:
            start = time.process_time()
            found.append(joined(find(batches, detector, min_face)))
            cpu_s.append(time.process_time() - start)
    every, some = found[-2:]
    pairs, overlap = match(every, some)
    pairs, overlap = pairs[overlap >= 0.5], overlap[overlap >= 0.5]
    every_ms, some_ms = (1e3 * np.median(cpu_s[i::2]) / n for i in (0, 1))
    shares = [share(f, pairs[:, i], least) for i, f in enumerate((every, some)) for least in (0.9, 0.0)]
    figures = (*shares, np.median(overlap), np.percentile(overlap, 10), every_ms, some_ms, every_ms / some_ms)
    print(f"{name} {n:6d} {len(every):5d}", *(f"{figure:9.3f}" for figure in figures), flush=True)


def share(found: Detections, matched: np.ndarray, least: float) -> float:
    """Compute the share of the faces of at least this score that are matched."""
    return (found.score[matched] >= least).sum() / max((found.score >= least).sum(), 1)


def joined(parts) -> Detections:
    """Concatenate the detections of all batches, with frames numbered continuously."""
    first, found = 0, []
    for batch, some in parts:
        found.append((some.frame + first, some.box_px, some.score, some.landmarks_px))
        first += len(batch)
    return Detections(*map(np.concatenate, zip(*found)))


if __name__ == "__main__":
    main()
