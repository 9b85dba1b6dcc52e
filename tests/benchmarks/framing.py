"""How faces are aligned in the images of a data set, and which crop suits a classifier best.

`python -m tests.benchmarks.framing DATA [--split public] [--n 1500] [--weights seresnet]`

Enlarge images, pad them with their own edge so that boxes may reach beyond it, and detect faces. Print the medians that
FaceAlignment needs; then the accuracy on the images as they are, and on crops by the box alone and by landmarks and
box, upright and rotated, at several scales.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.faces.crop import crop_face, square_places
from fervid.faces.detector import Detections
from fervid.faces.mtcnn import MTCNN
from fervid.lab.data.datasets import load_faces
from fervid.lab.data.face_alignment import alignment_of

ENLARGE, MARGIN_PX, MIN_SCORE = 4, 64, 0.9


def enlarge(images: np.ndarray) -> np.ndarray:
    """Enlarge images (n, s, s) four times, and pad them."""
    size = images.shape[1] * ENLARGE
    large = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in images]
    return np.pad(np.stack(large), ((0, 0), (MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX)), "edge")


def best_faces(large: np.ndarray, face_px: float) -> Detections:
    """Detect the face with the highest score in each image that has one."""
    detector, parts = MTCNN(device="cpu"), []
    for first in range(0, len(large), 32):
        found = detector.detect(np.repeat(large[first : first + 32, ..., None], 3, 3), face_px / 3)
        sure = np.flatnonzero(found.score >= MIN_SCORE)
        frame, index = np.unique(found.frame[sure], return_index=True)  # by descending score within a frame
        chosen = sure[index]
        parts.append((frame + first, found.box_px[chosen], found.score[chosen], found.landmarks_px[chosen]))
    return Detections(*map(np.concatenate, zip(*parts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="labelled faces, as `fervid evaluate` reads them")
    parser.add_argument("--split", default="public", help="split of the data (default %(default)s)")
    parser.add_argument("--n", type=int, default=1500, help="number of faces (default %(default)s)")
    parser.add_argument("--weights", default="seresnet", help="weights of the classifier (default %(default)s)")
    args = parser.parse_args()
    faces = load_faces(args.data, args.split)
    chosen = np.random.default_rng(0).permutation(len(faces))[: args.n]
    image, label = faces.image[chosen], faces.label[chosen]
    large, size = enlarge(image), image.shape[1] * ENLARGE
    found = best_faces(large, size)
    alignment = alignment_of((found.box_px - MARGIN_PX) / size, (found.landmarks_px - MARGIN_PX) / size)
    print(f"faces found in {len(found)} of {len(image)} images")
    print(f"landmarks {alignment.landmarks}\nbox {alignment.box:.3f}")

    classifier = TorchClassifier(args.weights, "cpu")
    order = [classifier.labels.index(name) for name in faces.labels]

    def accuracy(crops: np.ndarray) -> float:
        return float((classifier.predict(crops[..., None])[:, order].argmax(1) == label[found.frame]).mean())

    print(f"accuracy on these images as they are: {accuracy(image[found.frame]):.4f}")
    print(f"{'scale':>6s} {'box alone':>10s} {'upright':>10s} {'rotated':>10s}")
    for scale in (0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.35, 1.5):
        rotated = replace(alignment, crop_scale=scale).squares(found.box_px, found.landmarks_px)
        upright = rotated * [1, 1, 1, 0]
        middle = (found.box_px[:, :2] + found.box_px[:, 2:]) / 2
        width, height = (found.box_px[:, i + 2] - found.box_px[:, i] for i in (0, 1))
        by_box = np.column_stack([middle, scale * np.sqrt(width * height) / alignment.box, np.zeros(len(middle))])
        shown = [
            accuracy(
                np.stack([crop_face(large[i], p, image.shape[1]) for i, p in zip(found.frame, square_places(squares))])
            )
            for squares in (by_box, upright, rotated)
        ]
        print(f"{scale:6.2f} " + " ".join(f"{value:10.4f}" for value in shown))


if __name__ == "__main__":
    main()
