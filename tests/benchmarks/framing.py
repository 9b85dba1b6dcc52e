"""How much of a face a data set shows around the detector's box: `python -m tests.benchmarks.framing DATA [--n 500]`.

Enlarges pictures, surrounds them with their own edge so that boxes may reach over it, detects, and prints the medians
that Framing needs.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from fervid.backends.mtcnn import MTCNN
from fervid.lab.datasets import load_faces

ENLARGE, MARGIN_PX = 4, 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--n", type=int, default=500)
    args = parser.parse_args()
    images = load_faces(args.data, args.split).image
    images = images[np.random.default_rng(0).choice(len(images), min(args.n, len(images)), replace=False)]
    size = images.shape[1] * ENLARGE
    large = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in images]
    padded = np.pad(np.stack(large), ((0, 0), (MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX)), "edge")
    found = MTCNN(device="cpu").detect(np.repeat(padded[..., None], 3, 3), size / 3)
    sure = found.score >= 0.95
    first = np.unique(found.frame[sure], return_index=True)[1]  # by falling score within a frame
    box = (found.box_px[sure][first] - MARGIN_PX) / size
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    down = (0.5 - (box[:, 1] + box[:, 3]) / 2) / height
    side = 1 / np.maximum(width, height)
    print(f"faces found in {len(first)} of {len(images)} pictures")
    for name, values in (("side", side), ("down", down)):
        low, middle, high = np.percentile(values, [25, 50, 75])
        print(f"{name}: median {middle:.3f}, middle half {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
