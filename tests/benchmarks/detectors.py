"""The detectors compared with faces labelled by eye: `python -m tests.benchmarks.detectors VIDEO...`.

The truth was drawn by eye on 50 frames of six clips (faces_by_eye.csv; boxes in displayed pixels; faces count from full
face to profile; those turned further away, more than half hidden, masked or in mirrors are "unclear" and do not count).
The frames are those at (k + 1/2) / n of each clip, n = 14, 12, 12, 4, 4, 4. Candidates were the boxes of both detectors
at low thresholds, in two sizes; the boxes are means of theirs, so that IoU is the weakest measure.

Every detector gets the image in which the pipeline would detect. A box matches a face from an IoU of 0.4 on; faces
smaller than the requested size are not misses, and boxes on them not mistakes. CPU milliseconds per image are medians
of interleaved rounds, in batches of eight, on one thread. `--adaptive` reports the cost and the results of detection
between keyframes in each clip instead, `--sweep` those of thresholds of centerface, on the even and the odd frames.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervid.config import Config
from fervid.faces.centerface import CenterFace
from fervid.faces.centerface_network import TorchNetwork
from fervid.faces.detect import detect_all
from fervid.faces.detector import Detections, FaceDetector
from fervid.faces.keyframes import detect_keyframes
from fervid.faces.mtcnn import MTCNN
from fervid.runtime.threads import one_thread
from fervid.video.open import open_video
from fervid.video.sampling import detection_size
from tests.benchmarks.adaptive import joined, read, share
from tests.benchmarks.detection import match


def on_torch() -> CenterFace:
    """Make centerface run on the CPU as on a GPU."""
    detector = CenterFace()
    detector._net = TorchNetwork(detector.precision, "cpu")
    return detector


TRUTH = Path(__file__).with_name("faces_by_eye.csv")
#: Name, detector, and its name in Config.
DETECTORS: tuple[tuple[str, Callable[[], FaceDetector], str], ...] = (
    ("mtcnn", MTCNN, "mtcnn"),
    ("centerface", CenterFace, "centerface"),
    ("centerface fp32", lambda: CenterFace(precision="fp32"), "centerface"),
    ("centerface torch", on_torch, "centerface"),
)
SWEEP = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
OVERLAP, BATCH = 0.4, 8


@dataclass(frozen=True)
class Clip:
    """The labelled frames of a video: images (n, h, w, 3), true faces in their pixels, and the kinds of these."""

    name: str
    image: np.ndarray
    least_px: float
    truth: Detections
    kind: np.ndarray

    @property
    def height_px(self) -> np.ndarray:
        return self.truth.box_px[:, 3] - self.truth.box_px[:, 1]

    @property
    def counts(self) -> np.ndarray:
        return (self.kind != "unclear") & (self.height_px >= self.least_px)


@dataclass(frozen=True)
class Found:
    """The result of a detector: IoU and score of the box of each true face (0: none), and the scores of mistakes."""

    clip: Clip
    overlap: np.ndarray
    score: np.ndarray
    wrong: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="+", type=Path, help="clips with labelled faces")
    parser.add_argument("--truth", type=Path, default=TRUTH, help="CSV file of labelled faces (default %(default)s)")
    parser.add_argument(
        "--min-face", type=float, help="smallest face in pixels of the video (default: 20 pixels of the image)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; medians are printed (default %(default)s)")
    parser.add_argument(
        "--adaptive",
        action="store_true",
        help="compare detection between keyframes with a search of every frame instead",
    )
    parser.add_argument("--sweep", action="store_true", help="evaluate thresholds of centerface instead")
    args = parser.parse_args()
    if args.sweep:
        sweep([load(path, args.truth, Config(min_face_px=args.min_face)) for path in args.video])
        return
    if args.adaptive:
        for path in args.video:
            compare_adaptive(path, [(name, make()) for name, make, _ in DETECTORS[:2]], args.rounds)
        return
    detectors = [(name, make(), Config(detector=known, min_face_px=args.min_face)) for name, make, known in DETECTORS]
    clips = [[load(path, args.truth, config) for path in args.video] for _, _, config in detectors]
    found = [[evaluate(d, clip) for clip in some] for (_, d, _), some in zip(detectors, clips)]
    spent = time_all([d for _, d, _ in detectors], clips, args.rounds)
    for i, path in enumerate(args.video):
        print(f"{path.name}: {len(clips[0][i].image)} frames")
        for (name, _, _), some, ms in zip(detectors, found, spent):
            print(f"  {name:16s}{_size(some[i].clip):>10s}  {describe(some[i : i + 1])}  {ms[i]:6.1f} ms")
    print("all")
    for (name, _, _), some in zip(detectors, found):
        print(f"  {name:16s}{'':10s}  {describe(some)}\n    {by_kind(some)}")


def load(path: Path, truth: Path, config: Config) -> Clip:
    """Decode the labelled frames, as the detector would get them from the pipeline."""
    with truth.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["clip"] == path.name]
    times = sorted({float(row["time_s"]) for row in rows})
    with open_video(path) as reader:
        video = reader.info
        size_px, least_px = config.detection_scale(video.width_px, video.height_px)
        size = detection_size((video.width_px, video.height_px), size_px)
        frames = (frame for frame in reader.frames(0, None) if any(abs(frame.pts_s - t) < 1e-3 for t in times))
        image = np.stack([frame.rgb(*size) for frame in frames])
    assert len(image) == len(times), f"{path}: {len(image)} of {len(times)} labelled frames"
    faces = [row for row in rows if row["kind"] != "none"]
    scale = size[0] / video.width_px
    box = np.array([[float(row[k]) * scale for k in ("x0", "y0", "x1", "y1")] for row in faces], np.float32)
    frame = np.array([times.index(float(row["time_s"])) for row in faces], np.int64)
    landmarks, score = np.zeros((len(faces), 5, 2), np.float32), np.ones(len(faces), np.float32)
    there = Detections(frame, box.reshape(-1, 4), score, landmarks)
    return Clip(path.name, image, least_px * scale, there, np.array([row["kind"] for row in faces]))


def detect(detector: FaceDetector, clip: Clip) -> Detections:
    """Detect all faces of a clip, in batches as in the pipeline."""
    parts = []
    for i in range(0, len(clip.image), BATCH):
        some = detector.detect(clip.image[i : i + BATCH], clip.least_px)
        parts.append((some.frame + i, some.box_px, some.score, some.landmarks_px))
    return Detections(*map(np.concatenate, zip(*parts)))


@one_thread
def evaluate(detector: FaceDetector, clip: Clip) -> Found:
    """Match boxes and true faces one to one, by descending overlap."""
    found = detect(detector, clip)
    pairs, overlap = match(clip.truth, found)
    pairs, overlap = pairs[overlap >= OVERLAP], overlap[overlap >= OVERLAP]
    best, score = np.zeros((2, len(clip.truth)))
    best[pairs[:, 0]], score[pairs[:, 0]] = overlap, found.score[pairs[:, 1]]
    return Found(clip, best, score, np.delete(found.score, pairs[:, 1]))


@one_thread
def time_all(detectors: list[FaceDetector], clips: list[list[Clip]], rounds: int) -> np.ndarray:
    """Measure CPU milliseconds per image (detectors, clips): medians of interleaved rounds, after one warm-up."""
    spent = np.zeros((rounds + 1, len(detectors), len(clips[0])))
    for once in spent:
        for i in range(len(clips[0])):
            for j, detector in enumerate(detectors):
                start = time.process_time()
                detect(detector, clips[j][i])
                once[j, i] = (time.process_time() - start) / len(clips[j][i].image) * 1e3
    return np.median(spent[1:], 0)


def describe(found: list[Found]) -> str:
    """Format recall, precision and IoU; of all faces, and of those that may start a track (0.9)."""
    hits, faces = count(found, lambda clip: clip.counts)
    sure, _ = count(found, lambda clip: clip.counts, least=0.9)
    wrong = np.concatenate([f.wrong for f in found])
    mistaken = int((wrong >= 0.9).sum())
    overlap = np.concatenate([f.overlap[f.clip.counts & (f.overlap > 0)] for f in found])
    precision = _share(hits, hits + len(wrong))
    return (
        f"found {hits:3d} of {faces:3d} ({_share(hits, faces)}), wrong {len(wrong):2d} ({precision}); "
        f"from 0.9: {sure:3d} ({_share(sure, faces)}), wrong {mistaken:2d}; IoU {overlap.mean() if hits else 0:.3f}"
    )


def by_kind(found: list[Found]) -> str:
    """Format the hits by the height of the face in the image, and for profiles."""

    def within(low: float, high: float) -> str:
        hits, n = count(found, lambda c: (c.kind != "unclear") & (low <= c.height_px) & (c.height_px < high))
        return f"{hits}/{n}"

    profiles = count(found, lambda clip: clip.counts & (clip.kind == "profile"))
    sizes = ((0, 12), (12, 16), (16, 20), (20, 24), (24, 40), (40, 1e9))
    by_size = ", ".join(f"{low}{f'-{high}' if high < 1e9 else '+'} px {within(low, high)}" for low, high in sizes)
    return f"{by_size}; profiles {profiles[0]}/{profiles[1]}"


def count(found: list[Found], which: Callable[[Clip], np.ndarray], least: float = 0.0) -> tuple[int, int]:
    """Count the true faces that `which` selects and that were found with this score or more -> hits, faces."""
    hits = sum(int(((f.overlap > 0) & (f.score >= least) & which(f.clip)).sum()) for f in found)
    return hits, sum(int(which(f.clip).sum()) for f in found)


def sweep(clips: list[Clip]) -> None:
    """Print recall and mistakes of centerface by its threshold: do even and odd frames choose the same?"""
    for least in SWEEP:
        detector = CenterFace(thresholds=(least, 0.8, 0.9))
        halves = []
        for half in (0, 1):
            found = [evaluate(detector, part(clip, half)) for clip in clips]
            hits, n = count(found, lambda clip: clip.counts)
            halves.append(f"found {hits:3d} of {n:3d}, wrong {sum(len(f.wrong) for f in found):2d}")
        print(f"{least:.2f}  even: {halves[0]}   odd: {halves[1]}", flush=True)


def part(clip: Clip, half: int) -> Clip:
    """Take every other frame of a clip."""
    here = clip.truth.frame % 2 == half
    t = clip.truth
    truth = Detections(t.frame[here] // 2, t.box_px[here], t.score[here], t.landmarks_px[here])
    return Clip(clip.name, clip.image[half::2], clip.least_px, truth, clip.kind[here])


@one_thread
def compare_adaptive(path: Path, detectors: list[tuple[str, FaceDetector]], rounds: int) -> None:
    """Print what detection between keyframes finds and costs, against a search of every frame, for each detector."""
    for fps in (5.0, None):
        batches, min_face = read(path, fps, 8 if fps else 4)
        n = sum(map(len, batches))
        found = [[joined(find(batches, d, min_face)) for find in (detect_all, detect_keyframes)] for _, d in detectors]
        spent = np.zeros((rounds, len(detectors), 2))
        for once in spent:
            for j, (_, detector) in enumerate(detectors):
                for k, find in enumerate((detect_all, detect_keyframes)):
                    start = time.process_time()
                    joined(find(batches, detector, min_face))
                    once[j, k] = (time.process_time() - start) / n * 1e3
        for j, (name, _) in enumerate(detectors):
            every, some = found[j]
            pairs, overlap = match(every, some)
            pairs, overlap = pairs[overlap >= 0.5], overlap[overlap >= 0.5]
            ms = np.median(spent[:, j], 0)
            print(
                f"{path.name} {f'{fps:g} fps' if fps else 'native':6s} {name:10s} {n} frames, {len(every)} faces: "
                f"adaptive recall {share(every, pairs[:, 0], 0):.3f}, precision {share(some, pairs[:, 1], 0):.3f}, IoU "
                f"{np.median(overlap) if len(overlap) else 0:.3f}; {ms[0]:.1f} -> {ms[1]:.1f} ms per frame",
                flush=True,
            )


def _size(clip: Clip) -> str:
    return f"{clip.image.shape[2]}x{clip.image.shape[1]}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


if __name__ == "__main__":
    main()
