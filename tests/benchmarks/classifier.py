"""Crops per second through a classifier on one thread, and the accuracy of each precision.

    python -m tests.benchmarks.classifier [--weights NAME] [--data FER2013.parquet]

Each round runs all precisions, so that a busy machine slows all of them; medians are printed. With --data, faces with
known labels (as `fervid evaluate` reads them) are classified in each precision, and accuracy, calibration error and the
differences of the probabilities from those in fp32 are printed.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.lab.data.datasets import load_faces
from fervid.lab.data.images import as_channels
from fervid.lab.evaluation.metrics import calibration_error

PRECISIONS = ("fp32", "bf16")
CROPS, ROUNDS = 256, 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="seresnet", help="weights to measure (default %(default)s)")
    parser.add_argument("--data", type=Path, help="labelled faces, to compare the accuracy of the precisions")
    args = parser.parse_args()
    torch.set_num_threads(1)
    classifiers = {name: TorchClassifier(args.weights, "cpu", precision=name) for name in PRECISIONS}
    speed(classifiers)
    if args.data:
        accuracy(classifiers, args.data)


def speed(classifiers: dict[str, TorchClassifier]) -> None:
    """Print crops per CPU second: the network as trained in batches of 1 and 16, and as the pipeline runs it."""
    plain = classifiers["fp32"]
    side = plain.crop_px
    crop = np.random.default_rng(0).integers(0, 256, (CROPS, side, side, plain.channels), np.uint8)
    jobs = {f"as trained, batch {n}": lambda n=n: run_as_trained(plain, crop, n) for n in (1, 16)}
    jobs |= {
        f"fervid, {name}, batch {one.batch_size}": lambda one=one: one.predict(crop)
        for name, one in classifiers.items()
    }
    for job in jobs.values():
        job()
    measured = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            measured[name].append(cpu_s(job))
    print(f"{plain.name}, {side}x{side}, one thread: crops per CPU second, median of {ROUNDS}")
    for name, seconds in measured.items():
        print(f"  {name:28s} {CROPS / np.median(seconds):6.0f}")


def cpu_s(job: Callable[[], object]) -> float:
    """Measure the CPU seconds of a call."""
    start = time.process_time()
    job()
    return time.process_time() - start


@torch.inference_mode()
def run_as_trained(classifier: TorchClassifier, crop: np.ndarray, batch: int) -> None:
    """Run the network as trained, in float32."""
    for first in range(0, len(crop), batch):
        classifier.net(classifier.prepare(crop[first : first + batch]))


def accuracy(classifiers: dict[str, TorchClassifier], data: Path) -> None:
    """Print accuracy and calibration on labelled faces, and differences of the probabilities from those in fp32."""
    exact = classifiers["fp32"]
    faces = load_faces(data, size_px=exact.crop_px)
    label = np.array([exact.labels.index(name) for name in faces.labels])[faces.label]
    prob = {name: one.predict(as_channels(faces.image, one.channels)) for name, one in classifiers.items()}
    print(f"{data.name}, {len(label)} faces")
    print("          accuracy     ECE  max |dp|  99.9% of |dp|  other emotion")
    for name, p in prob.items():
        difference = np.abs(p - prob["fp32"])
        other = (p.argmax(1) != prob["fp32"].argmax(1)).mean()
        print(
            f"  {name:6s} {(p.argmax(1) == label).mean():9.4f} {calibration_error(p, label):7.4f} "
            f"{difference.max():9.4f} {np.quantile(difference, 0.999):14.4f} {other:14.4f}"
        )


if __name__ == "__main__":
    main()
