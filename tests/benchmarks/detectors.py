"""Which detector finds the faces that people see: `python -m tests.benchmarks.detectors VIDEO...`.

The truth was drawn by eye on 50 frames of six clips (faces_by_eye.csv; boxes in displayed pixels; a face counts from
full face to profile; what is turned further away, hidden for more than half, masked or a mirror image is "unclear" and
counts neither way). The frames are those at (k + 1/2) / n of each clip, n = 14, 12, 12, 4, 4, 4. Candidates were the
boxes of both detectors at low thresholds, in two sizes; boxes are means of theirs, so IoU tells least.

Every detector sees the detection picture of the line. A box matches a face from an IoU of 0.4 on; faces smaller than
asked for are no misses, and boxes on them no mistakes. CPU milliseconds a picture are medians of rounds in turns, of
batches of eight, one thread. `--adaptive` tells instead what detection between key looks costs and finds in each clip,
`--sweep` what thresholds of centerface do, on the even and the odd frames.
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
    """Centerface as a GPU runs it, on the CPU."""
    detector = CenterFace()
    detector._net = TorchNetwork(detector.precision, "cpu")
    return detector


TRUTH = Path(__file__).with_name("faces_by_eye.csv")
#: Name, detector, and by which name Config knows it.
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
    """The labelled frames of a video: detection pictures (n, h, w, 3), true faces in their pixels, and their kinds."""

    name: str
    picture: np.ndarray
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
    """What a detector made of a clip: for each true face the IoU and score of its box (0: none), scores of mistakes."""

    clip: Clip
    overlap: np.ndarray
    score: np.ndarray
    wrong: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="+", type=Path)
    parser.add_argument("--truth", type=Path, default=TRUTH)
    parser.add_argument("--min-face", type=float, help="pixels of the video (default: 20 of the detection picture)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--adaptive", action="store_true")
    parser.add_argument("--sweep", action="store_true")
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
    found = [[judge(d, clip) for clip in some] for (_, d, _), some in zip(detectors, clips)]
    spent = time_all([d for _, d, _ in detectors], clips, args.rounds)
    for i, path in enumerate(args.video):
        print(f"{path.name}: {len(clips[0][i].picture)} frames")
        for (name, _, _), some, ms in zip(detectors, found, spent):
            print(f"  {name:16s}{_size(some[i].clip):>10s}  {tell(some[i : i + 1])}  {ms[i]:6.1f} ms")
    print("all")
    for (name, _, _), some in zip(detectors, found):
        print(f"  {name:16s}{'':10s}  {tell(some)}\n    {by_kind(some)}")


def load(path: Path, truth: Path, config: Config) -> Clip:
    """Decode the frames that are labelled, as the line would show them to the detector."""
    with truth.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["clip"] == path.name]
    times = sorted({float(row["time_s"]) for row in rows})
    with open_video(path) as reader:
        video = reader.info
        picture_px, least_px = config.detection_scale(video.width_px, video.height_px)
        size = detection_size(video, picture_px)
        frames = (frame for frame in reader.frames(0, None) if any(abs(frame.pts_s - t) < 1e-3 for t in times))
        picture = np.stack([frame.rgb(*size) for frame in frames])
    assert len(picture) == len(times), f"{path}: {len(picture)} of {len(times)} labelled frames"
    faces = [row for row in rows if row["kind"] != "none"]
    scale = size[0] / video.width_px
    box = np.array([[float(row[k]) * scale for k in ("x0", "y0", "x1", "y1")] for row in faces], np.float32)
    frame = np.array([times.index(float(row["time_s"])) for row in faces], np.int64)
    marks, sure = np.zeros((len(faces), 5, 2), np.float32), np.ones(len(faces), np.float32)
    there = Detections(frame, box.reshape(-1, 4), sure, marks)
    return Clip(path.name, picture, least_px * scale, there, np.array([row["kind"] for row in faces]))


def detect(detector: FaceDetector, clip: Clip) -> Detections:
    """All faces of a clip, in batches as the line makes them."""
    parts = []
    for i in range(0, len(clip.picture), BATCH):
        some = detector.detect(clip.picture[i : i + BATCH], clip.least_px)
        parts.append((some.frame + i, some.box_px, some.score, some.landmarks_px))
    return Detections(*map(np.concatenate, zip(*parts)))


@one_thread
def judge(detector: FaceDetector, clip: Clip) -> Found:
    """Match boxes and true faces one to one, by falling overlap."""
    found = detect(detector, clip)
    pairs, overlap = match(clip.truth, found)
    pairs, overlap = pairs[overlap >= OVERLAP], overlap[overlap >= OVERLAP]
    best, score = np.zeros((2, len(clip.truth)))
    best[pairs[:, 0]], score[pairs[:, 0]] = overlap, found.score[pairs[:, 1]]
    return Found(clip, best, score, np.delete(found.score, pairs[:, 1]))


@one_thread
def time_all(detectors: list[FaceDetector], clips: list[list[Clip]], rounds: int) -> np.ndarray:
    """CPU milliseconds a picture (detectors, clips): medians of rounds in turns; the first round warms up."""
    spent = np.zeros((rounds + 1, len(detectors), len(clips[0])))
    for once in spent:
        for i in range(len(clips[0])):
            for j, detector in enumerate(detectors):
                start = time.process_time()
                detect(detector, clips[j][i])
                once[j, i] = (time.process_time() - start) / len(clips[j][i].picture) * 1e3
    return np.median(spent[1:], 0)


def tell(found: list[Found]) -> str:
    """Recall, precision and IoU in one line; those of faces that may begin a track (0.9) beside those of all."""
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
    """Hits by the height of the face in the detection picture, and for profiles."""

    def within(low: float, high: float) -> str:
        hits, n = count(found, lambda c: (c.kind != "unclear") & (low <= c.height_px) & (c.height_px < high))
        return f"{hits}/{n}"

    profiles = count(found, lambda clip: clip.counts & (clip.kind == "profile"))
    sizes = ((0, 12), (12, 16), (16, 20), (20, 24), (24, 40), (40, 1e9))
    told = ", ".join(f"{low}{f'-{high}' if high < 1e9 else '+'} px {within(low, high)}" for low, high in sizes)
    return f"{told}; profiles {profiles[0]}/{profiles[1]}"


def count(found: list[Found], which: Callable[[Clip], np.ndarray], least: float = 0.0) -> tuple[int, int]:
    """How many of the true faces that `which` selects were found with this score or more, and how many there are."""
    hits = sum(int(((f.overlap > 0) & (f.score >= least) & which(f.clip)).sum()) for f in found)
    return hits, sum(int(which(f.clip).sum()) for f in found)


def sweep(clips: list[Clip]) -> None:
    """Recall and mistakes of centerface by its threshold, in even and odd frames: do both halves choose the same?"""
    for least in SWEEP:
        detector = CenterFace(thresholds=(least, 0.8, 0.9))
        told = []
        for half in (0, 1):
            found = [judge(detector, part(clip, half)) for clip in clips]
            hits, n = count(found, lambda clip: clip.counts)
            told.append(f"found {hits:3d} of {n:3d}, wrong {sum(len(f.wrong) for f in found):2d}")
        print(f"{least:.2f}  even: {told[0]}   odd: {told[1]}", flush=True)


def part(clip: Clip, half: int) -> Clip:
    """Every other frame of a clip."""
    here = clip.truth.frame % 2 == half
    t = clip.truth
    truth = Detections(t.frame[here] // 2, t.box_px[here], t.score[here], t.landmarks_px[here])
    return Clip(clip.name, clip.picture[half::2], clip.least_px, truth, clip.kind[here])


@one_thread
def compare_adaptive(path: Path, detectors: list[tuple[str, FaceDetector]], rounds: int) -> None:
    """Detection between key looks against every look, for each detector: what it finds and costs."""
    for fps in (5.0, None):
        looks, min_face = read(path, fps, 8 if fps else 4)
        n = sum(map(len, looks))
        found = [
            [joined(finder(looks, d, min_face)) for finder in (detect_all, detect_keyframes)] for _, d in detectors
        ]
        spent = np.zeros((rounds, len(detectors), 2))
        for once in spent:
            for j, (_, detector) in enumerate(detectors):
                for k, finder in enumerate((detect_all, detect_keyframes)):
                    start = time.process_time()
                    joined(finder(looks, detector, min_face))
                    once[j, k] = (time.process_time() - start) / n * 1e3
        for j, (name, _) in enumerate(detectors):
            every, some = found[j]
            pairs, overlap = match(every, some)
            pairs, overlap = pairs[overlap >= 0.5], overlap[overlap >= 0.5]
            ms = np.median(spent[:, j], 0)
            print(
                f"{path.name} {f'{fps:g} fps' if fps else 'native':6s} {name:10s} {n} looks, {len(every)} faces: "
                f"adaptive recall {share(every, pairs[:, 0], 0):.3f}, precision {share(some, pairs[:, 1], 0):.3f}, IoU "
                f"{np.median(overlap) if len(overlap) else 0:.3f}; {ms[0]:.1f} -> {ms[1]:.1f} ms a look",
                flush=True,
            )


def _size(clip: Clip) -> str:
    return f"{clip.picture.shape[2]}x{clip.picture.shape[1]}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


if __name__ == "__main__":
    main()
