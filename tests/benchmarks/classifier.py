"""CPU milliseconds per face of classifiers on one thread, and the accuracy of each precision.

    python -m tests.benchmarks.classifier [--weights NAME ...] [--precision fp32 bf16] [--data FER2013.parquet]

Each round runs every classifier in every precision, so that a busy machine slows all of them; medians of the CPU time
are printed. ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 with --precision fp32 shows what a CPU without AVX512 and
bfloat16 does. With --data, faces with known labels (as `fervid evaluate` reads them) are classified in each precision,
and accuracy, calibration error and the differences of the probabilities from those in fp32 are printed.
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
from fervid.networks.base import fuse_batch_norm
from fervid.networks.weights import bundled

PRECISIONS = ("fp32", "bf16")
CROPS, ROUNDS = 128, 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=list(bundled()), help="default: all bundled ones")
    parser.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="precisions to compare"
    )
    parser.add_argument("--data", type=Path, help="labelled faces, to compare the accuracy of the precisions")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of the timing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    classifiers = {
        name: {precision: TorchClassifier(name, "cpu", precision=precision) for precision in args.precision}
        for name in args.weights
    }
    speed(classifiers, args.rounds)
    if args.data:
        for name in args.weights:
            accuracy(classifiers[name], args.data)


def speed(classifiers: dict[str, dict[str, TorchClassifier]], rounds: int) -> None:
    """Print CPU milliseconds per face: as the pipeline runs each network, and the variants that it does not use."""
    jobs: dict[str, Callable[[], object]] = {}
    for name, both in classifiers.items():
        plain = both[min(both, key=PRECISIONS.index)]
        crop = random_crops(plain)
        for precision, one in both.items():
            jobs[f"{name} {precision}, as fervid runs it (batch {one.batch_size})"] = lambda one=one, crop=crop: (
                one.predict(crop)
            )
        jobs[f"{name} fp32, norms not fused"] = run(plain, plain.net, crop, torch.channels_last)
        fused = fuse_batch_norm(plain.net)
        jobs[f"{name} fp32, fused, not channels_last"] = run(plain, fused, crop, torch.contiguous_format)
    for job in jobs.values():
        job()
    measured: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            measured[name].append(cpu_s(job))
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread, median of {rounds}")
    print(f"{'':52s} CPU ms per face")
    for name, seconds in measured.items():
        print(f"{name:52s} {1000 * np.median(seconds) / CROPS:6.2f}")


def random_crops(classifier: TorchClassifier) -> np.ndarray:
    """Make noise of the kind that a classifier takes."""
    shape = (CROPS, classifier.crop_px, classifier.crop_px, classifier.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def cpu_s(job: Callable[[], object]) -> float:
    """Measure the CPU seconds of a call."""
    start = time.process_time()
    job()
    return time.process_time() - start


def run(
    classifier: TorchClassifier, net: torch.nn.Module, crop: np.ndarray, memory_format: torch.memory_format
) -> Callable[[], object]:
    """Make a job that runs a network in float32, in batches of 32."""

    @torch.inference_mode()
    def job() -> None:
        placed = net.to(memory_format=memory_format)  # type: ignore[call-overload]
        for first in range(0, len(crop), 32):
            placed(classifier.prepare(crop[first : first + 32]).contiguous(memory_format=memory_format))

    return job


def accuracy(classifiers: dict[str, TorchClassifier], data: Path) -> None:
    """Print accuracy and calibration on labelled faces, and differences of the probabilities from those in fp32."""
    exact = classifiers["fp32"]
    faces = load_faces(data, size_px=exact.crop_px, colour=exact.channels == 3)
    label = np.array([exact.labels.index(name) for name in faces.labels])[faces.label]
    prob = {name: one.predict(as_channels(faces.image, one.channels)) for name, one in classifiers.items()}
    print(f"{exact.name}, {data.name}, {len(label)} faces")
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
