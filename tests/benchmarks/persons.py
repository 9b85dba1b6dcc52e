"""Clustering of persons with real weights: how often `--persons` joins one person's appearances, and two persons'.

Each appearance is a part of a track, 1.5 seconds or more, as a shot would show it. Parts of one track are one person,
and the persons in the sample videos are known; all others count as different persons, so use videos without a person
in common. With --images FOLDER (one folder of images per person, such as LFW), each image is an appearance.

python -m tests.benchmarks.persons [VIDEO ...] [--network dlib] [--images FOLDER] [--people 100]
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fervid.config import Config
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.faces.crop import crop_face
from fervid.faces.mtcnn import MTCNN
from fervid.models import Models
from fervid.pipeline import find_faces
from fervid.runtime.threads import one_thread
from fervid.shots.detect import ShotDetector, assign_shots
from fervid.tracks.embedders import load_embedder
from fervid.tracks.persons import Embedder, PersonClusterer, group
from fervid.tracks.tracker import Tracker, link
from fervid.video.open import open_video
from fervid.video.sampling import sample_frames
from tests.helpers.edited_films import SAMPLES

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
PART_S = 1.5
#: The persons of the tracks of the sample videos (sample_videos/README.md).
KNOWN = {
    ("one_face", 0): "Collins",
    ("two_faces", 0): "Collins",
    ("two_faces", 1): "Hopper",
    ("cut_to_nobody", 0): "Collins",
    ("cut_to_nobody", 1): "Hopper",
}
#: Parts (video, track, part) of a track that changes from one person to another, found by eye -> the person.
SWITCHED = {("crowd_1920x1080", 3, 0): "crowd_1920x1080 5"}


def parts_of_tracks(path: Path, models: Models) -> Iterator[tuple[str, np.ndarray]]:
    """Embed each part of each track, as PersonClusterer embeds a track."""
    config = Config(persons="dlib")
    clusterer = PersonClusterer(models.embedder)
    with open_video(path) as reader:
        samples = sample_frames(reader.frames(), config.fps)
        faces = find_faces(samples, reader.info, config, models)
        parts = (
            replace(batch, track=(1000 * batch.track + batch.pts_s // PART_S).astype(np.int32))
            for batch in link(assign_shots(faces, ShotDetector()), Tracker())
        )
        for _ in clusterer.watch(parts):
            pass
    for number, known in clusterer._embeddings.items():
        track, part = divmod(number, 1000)
        name = KNOWN.get((path.stem, track), f"{path.stem} {track}")
        yield SWITCHED.get((path.stem, track, part), name), known.mean


def embed_images(folder: Path, most: int, embedder: Embedder) -> Iterator[tuple[str, np.ndarray]]:
    """Embed the largest face of each image of the people who have two or more, cropped as in the pipeline."""
    detector = MTCNN(device="cpu")
    people = [sorted(p for p in one.iterdir() if p.suffix.lower() in SUFFIXES) for one in sorted(folder.iterdir())]
    for path in [path for paths in people if len(paths) > 1 for path in paths[:10]][: 10 * most]:
        image = Image.open(path).convert("RGB")
        found = detector.detect(np.asarray(image)[None], 20.0)
        if len(found):
            best = [np.argmax(np.prod(found.box_px[:, 2:] - found.box_px[:, :2], 1))]
            place = embedder.places(found.box_px[best], found.landmarks_px[best])[0]
            crop = crop_face(np.asarray(image.convert("L")), place, embedder.recognition_px)
            yield path.parent.name, embedder.embed(crop[None])[0]


@one_thread
def main() -> None:
    """Print distances, then one row per threshold: joined pairs of one person, of two, and the number of people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="*", type=Path, help="videos to process in addition to the sample videos")
    parser.add_argument("--network", default="dlib", help="embedder (default %(default)s)")
    parser.add_argument(
        "--images", type=Path, help="folder with one folder of images per person, used instead of videos"
    )
    parser.add_argument(
        "--people", type=int, default=100, help="number of people to take from --images (default %(default)s)"
    )
    args = parser.parse_args()
    embedder = load_embedder(args.network, "cpu")
    if args.images:
        seen = list(embed_images(args.images, args.people, embedder))
    else:
        models = Models(MTCNN(device="cpu"), TorchClassifier("seresnet", "cpu"), "cpu", embedder)
        seen = [one for path in [*sorted(SAMPLES.glob("*.mp4")), *args.video] for one in parts_of_tracks(path, models)]
    show(np.array([name for name, _ in seen]), np.stack([mean for _, mean in seen]), embedder)


def show(names: np.ndarray, embedding: np.ndarray, embedder: Embedder) -> None:
    """Print the distances between these appearances, and the results of each threshold."""
    start = time.process_time()
    embedder.embed(np.zeros((16, embedder.recognition_px, embedder.recognition_px), np.uint8))
    each_ms = 1e3 * (time.process_time() - start) / 16
    print(f"{len(names)} appearances of {len(set(names))} people; {each_ms:.0f} ms of CPU per crop")
    upper = np.triu_indices(len(names), 1)
    same, distance = (names[:, None] == names)[upper], (1 - embedding @ embedding.T)[upper]
    for title, part in (("one person", distance[same]), ("two people", distance[~same])):
        if not len(part):
            continue
        shares = " ".join(f"{share:.3f}" for share in np.percentile(part, [0, 1, 5, 50, 95, 99, 100]))
        print(f"{title}, {len(part)} pairs, distance at 0, 1, 5, 50, 95, 99, 100%: {shares}")
    print(f"{'threshold':>9} {'joined, same':>15} {'joined, other':>15} {'people':>7}")
    for threshold in embedder.threshold * np.arange(0.4, 1.7, 0.1):
        person, _ = group(embedding, np.zeros((0, 2), int), threshold)
        joined = (person[:, None] == person)[upper]
        same_share, other_share = (joined[pairs].mean() if pairs.any() else 0.0 for pairs in (same, ~same))
        mark = "  <- default" if abs(threshold - embedder.threshold) < 1e-9 else ""
        print(f"{threshold:9.3f} {same_share:15.1%} {other_share:15.2%} {person.max() + 1:7d}{mark}")


if __name__ == "__main__":
    main()
