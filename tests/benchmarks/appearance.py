"""Does a face's appearance identify it after a gap? `python -m tests.benchmarks.appearance VIDEO... [--fps 12]`.

For each track that continues after frames without its face: the similarity of the faces before and after the gap, by a
small grey signature (8 x 8 means of the crop, correlated) and by the classifier's own features (cosine). For
comparison, that of neighbouring frames of one track, and of two tracks within one second. --out FILE.png shows the
faces before and after each gap, in the order of the rows, for identification by eye.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fervid.config import Config
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.faces.mtcnn import MTCNN
from fervid.models import Models
from fervid.pipeline import find_faces
from fervid.runtime.threads import one_thread
from fervid.shots.detect import ShotDetector, assign_shots
from fervid.tracks.tracker import Tracker, link
from fervid.types import TrackBatch, concatenate
from fervid.video.open import open_video
from fervid.video.sampling import sample_frames

CELLS = 8


def tracked(path: Path, fps: float, models: Models) -> TrackBatch:
    """Return all faces of a video with their tracks."""
    with open_video(path) as reader:
        faces = find_faces(sample_frames(reader.frames(), fps), reader.info, Config(fps=fps), models)
        return concatenate(list(link(assign_shots(faces, ShotDetector()), Tracker())))


def signature(crop: np.ndarray) -> np.ndarray:
    """Crops (m, s, s, C) uint8 -> (m, 64) of mean 0 and length 1."""
    side = crop.shape[1] // CELLS
    cells = crop.mean(3)[:, : side * CELLS, : side * CELLS].reshape(len(crop), CELLS, side, CELLS, side).mean((2, 4))
    return unit(cells.reshape(len(crop), -1) - cells.mean((1, 2))[:, None])


def trunk(crop: np.ndarray, classifier: TorchClassifier) -> np.ndarray:
    """Crops (m, s, s, C) uint8 -> (m, 256), the input of the classifier's head, centred and of length 1."""
    with torch.inference_mode():
        feature = classifier.net.features(classifier.prepare(crop)).numpy()
    return unit(feature - feature.mean(0))


def unit(x: np.ndarray) -> np.ndarray:
    """Normalise rows to length 1."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def show(path: Path, faces: TrackBatch, features: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Print the similarities -> the crops around each gap, three before and three after."""
    step_s = np.median(np.diff(np.unique(faces.pts_s)))
    pairs = [p for track in np.unique(faces.track) for p in pairwise(np.flatnonzero(faces.track == track))]
    first, second = np.array(pairs).T
    gap = faces.pts_s[second] - faces.pts_s[first] > 1.6 * step_s
    one, other = np.triu_indices(len(faces), 1)
    two = (np.abs(faces.pts_s[one] - faces.pts_s[other]) <= 1) & (faces.track[one] != faces.track[other])
    print(f"{path.name}: {len(faces)} faces, {len(np.unique(faces.track))} tracks; quantiles 5%, 25%, 50%, 75%, 95%")
    for name, x in features.items():
        for kind, a, b in (("neighbouring frames", first[~gap], second[~gap]), ("two tracks", one[two], other[two])):
            quantiles = np.quantile((x[a] * x[b]).sum(1), (0.05, 0.25, 0.5, 0.75, 0.95)) if len(a) else []
            print(f"  {name:10} {kind:19}", *(f"{v:6.2f}" for v in quantiles))
    crops = []
    for a, b in zip(first[gap], second[gap]):
        similarity = "  ".join(f"{name} {float(x[a] @ x[b]):5.2f}" for name, x in features.items())
        print(f"  track {faces.track[a]:3} {faces.pts_s[a]:6.2f} s -> {faces.pts_s[b]:6.2f} s  {similarity}")
        row = np.flatnonzero(faces.track == faces.track[a])
        at = int(np.searchsorted(row, b))
        around = row[np.clip(np.arange(at - 3, at + 3), 0, len(row) - 1)]
        crops.append(np.concatenate([np.pad(c[..., 0], 2) for c in faces.crop[around]], 1))
    return crops


@one_thread
def main() -> None:
    """Print one block per video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, help="videos to process")
    parser.add_argument("--fps", type=float, default=12.0, help="frames to sample per second (default %(default)s)")
    parser.add_argument("--out", type=Path, help="PNG file for the faces before and after each gap")
    options = parser.parse_args()
    models = Models(MTCNN(), TorchClassifier("seresnet", "cpu"), "cpu")
    crops = []
    for path in options.videos:
        faces = tracked(path, options.fps, models)
        classifier = models.classifier
        assert isinstance(classifier, TorchClassifier)
        crops += show(path, faces, {"grey 8x8": signature(faces.crop), "trunk": trunk(faces.crop, classifier)})
    if options.out and crops:
        Image.fromarray(np.concatenate(crops)).save(options.out)


if __name__ == "__main__":
    main()
