"""fervid's MTCNN compared with facenet-pytorch's: `python -m tests.benchmarks.detection VIDEO...`.

Print the agreement (boxes matched one to one, by descending overlap) and the CPU time on one thread. Both detectors get
the same images in turns, so that a busy machine slows both: trust the ratio, not the milliseconds. Each runs in a
process of its own, as in use: fervid tunes malloc for its process.
"""

import argparse
import multiprocessing
import time
import warnings
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import torch

from fervid.faces.detector import Detections
from fervid.faces.mtcnn import MTCNN
from fervid.runtime.threads import one_thread

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="+", type=Path, help="videos to take images from")
    parser.add_argument("--width", type=int, default=640, help="width of the images in pixels (default 640)")
    parser.add_argument(
        "--min-face", type=float, default=20, help="smallest face in pixels of these images (default 20)"
    )
    parser.add_argument("--frames", type=int, default=40, help="images per video (default 40)")
    parser.add_argument("--every", type=int, default=6, help="frames from one image to the next (default 6)")
    parser.add_argument("--batch", type=int, default=8, help="images per call of fervid (default 8)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for path in options.video:
        images = decode(path, options.width, options.frames, options.every)
        compare(path.name, images, options.min_face, options.batch)


def decode(path: Path, width: int, n: int, every: int) -> np.ndarray:
    """Decode one in `every` frames of a video, at most n -> (n, h, w, 3) uint8."""
    with av.open(str(path)) as container:
        frames = islice(container.decode(video=0), 0, n * every, every)
        return np.stack([_small(frame, width) for frame in frames])


def _small(frame: av.VideoFrame, width: int) -> np.ndarray:
    height = round(frame.height * width / frame.width / 2) * 2
    return frame.reformat(width, height, interpolation="AREA").to_ndarray(format="rgb24")


def compare(name: str, images: np.ndarray, min_face_px: float, batch: int) -> None:
    """Print agreement and cost for one clip."""
    with Worker(Reference, images, min_face_px, batch) as reference, Worker(Ours, images, min_face_px, batch) as ours:
        expected, found = reference.request("detections"), ours.request("detections")
        cpu_s = np.array([[reference.request("round"), ours.request("round")] for _ in range(ROUNDS)])
    pairs, overlap = match(expected, found)
    print(f"{name}: {len(images)} images of {images.shape[2]}x{images.shape[1]}, min face {min_face_px:g}")
    for least in (0.9, 0.0):
        print(f"  score >= {least}: {_shares(expected, found, pairs[overlap >= 0.8], least)}")
    if len(pairs):
        i, j = pairs.T
        print(
            f"  matched: IoU median {np.median(overlap):.6f}, p10 {np.percentile(overlap, 10):.6f}; "
            f"largest difference: score {abs(expected.score[i] - found.score[j]).max():.1e}, "
            f"landmark {abs(expected.landmarks_px[i] - found.landmarks_px[j]).max():.1e} px"
        )
    theirs_ms, ours_ms = cpu_s.T / len(images) * 1e3
    ratio = np.median(theirs_ms) / np.median(ours_ms)
    print(
        f"  CPU ms per image: reference {np.median(theirs_ms):.1f} (best {theirs_ms.min():.1f}), "
        f"fervid {np.median(ours_ms):.1f} (best {ours_ms.min():.1f}): {ratio:.2f} times as fast "
        f"(rounds {(theirs_ms / ours_ms).min():.2f} to {(theirs_ms / ours_ms).max():.2f})",
        flush=True,
    )


class Worker:
    """A detector in a process of its own, which answers one request at a time."""

    def __init__(self, *task: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=work, args=(other, *task), daemon=True)

    def __enter__(self) -> "Worker":
        self._process.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipe.send(None)
        self._process.join()

    def request(self, name: str) -> object:
        self._pipe.send(name)
        return self._pipe.recv()


def work(pipe: Connection, detector: type, images: np.ndarray, min_face_px: float, batch: int) -> None:
    """Answer "detections" with what the detector finds, "round" with the CPU seconds of one pass over the images."""
    torch.set_num_threads(1)
    detect = detector(min_face_px).detect
    while question := pipe.recv():
        start = time.process_time()
        parts = [(i, detect(images[i : i + batch])) for i in range(0, len(images), batch)]
        pipe.send(time.process_time() - start if question == "round" else _joined(parts))


class Ours:
    """MTCNN of fervid, run on batches of images."""

    def __init__(self, min_face_px: float) -> None:
        self._net, self._min_face_px = MTCNN(), min_face_px

    def detect(self, images: np.ndarray) -> Detections:
        return self._net.detect(images, self._min_face_px)


class Reference:
    """facenet-pytorch, one image at a time."""

    def __init__(self, min_face_px: float) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from facenet_pytorch import MTCNN as FacenetMTCNN

            self._net = FacenetMTCNN(keep_all=True, min_face_size=min_face_px, device="cpu")

    @one_thread
    def detect(self, images: np.ndarray) -> Detections:
        columns: list[list[np.ndarray]] = [[], [], [], []]
        for i, one in enumerate(images):
            box, score, landmarks = self._net.detect(one, landmarks=True)
            if box is not None:
                for column, part in zip(columns, (np.full(len(box), i), box, score, landmarks)):
                    column.append(np.asarray(part, np.float32))
        shapes = ((0,), (0, 4), (0,), (0, 5, 2))
        frame, *rest = (np.concatenate([np.zeros(s, np.float32), *c]) for s, c in zip(shapes, columns))
        return Detections(frame.astype(np.int64), *rest)


def match(expected: Detections, found: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Pair boxes of the same image one to one, by descending overlap -> pairs (p, 2), IoU (p,)."""
    a, b = expected.box_px[:, None].astype(np.float64), found.box_px[None].astype(np.float64)
    shared = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(2)
    iou = shared / ((a[..., 2:] - a[..., :2]).prod(2) + (b[..., 2:] - b[..., :2]).prod(2) - shared)
    iou[expected.frame[:, None] != found.frame[None]] = 0
    pairs, overlap = [], []
    while iou.size and iou.max() > 0:
        i, j = np.unravel_index(iou.argmax(), iou.shape)
        pairs.append((i, j))
        overlap.append(iou[i, j])
        iou[i], iou[:, j] = 0, 0
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(overlap)


def _joined(parts: list[tuple[int, Detections]]) -> Detections:
    return Detections(
        np.concatenate([part.frame + i for i, part in parts]),
        *(np.concatenate([getattr(part, name) for _, part in parts]) for name in ("box_px", "score", "landmarks_px")),
    )


def _shares(expected: Detections, found: Detections, pairs: np.ndarray, least: float) -> str:
    """Format how many boxes of at least this score the other side has too, both ways."""
    recalled = int((expected.score[pairs[:, 0]] >= least).sum())
    right = int((found.score[pairs[:, 1]] >= least).sum())
    ours, theirs = int((found.score >= least).sum()), int((expected.score >= least).sum())
    return f"recall {recalled}/{theirs}, precision {right}/{ours} at IoU >= 0.8"


if __name__ == "__main__":
    main()
