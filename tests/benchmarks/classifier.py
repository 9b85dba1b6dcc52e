"""Crops a second through a classifier on one thread: `python -m tests.benchmarks.classifier [--weights NAME]`.

Each round goes through all batch sizes and precisions, so that a busy machine slows all of them; medians are printed.
"""

import argparse
import time

import numpy as np
import torch

from fervid.backends.torch_classifier import TorchClassifier

BATCHES = (1, 8, 16, 32, 128)
CROPS, ROUNDS = 256, 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="seresnet")
    classifier = TorchClassifier(parser.parse_args().weights, "cpu")
    torch.set_num_threads(1)
    side = classifier.crop_px
    crop = np.random.default_rng(0).integers(0, 256, (CROPS, side, side), np.uint8)
    cases = [(batch, half) for batch in BATCHES for half in (False, True)]
    seconds = {case: [once(classifier, crop, *case) for _ in range(1)] for case in cases}  # warm
    for _ in range(ROUNDS):
        for case in cases:
            seconds[case].append(once(classifier, crop, *case))
    print(f"{classifier.name}, {side}x{side}, one thread: crops a CPU second, median of {ROUNDS}")
    print("batch     fp32     bf16")
    for batch in BATCHES:
        fp32, bf16 = (CROPS / np.median(seconds[batch, half][1:]) for half in (False, True))
        print(f"{batch:5d} {fp32:8.0f} {bf16:8.0f}")


@torch.inference_mode()
def once(classifier: TorchClassifier, crop: np.ndarray, batch: int, half: bool) -> float:
    """CPU seconds for all crops in batches of one size, in float32 or under bfloat16 autocast."""
    start = time.process_time()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        for first in range(0, len(crop), batch):
            classifier.net(classifier.prepare(crop[first : first + batch, None]))
    return time.process_time() - start


if __name__ == "__main__":
    main()
