"""Who is who with real weights: how often `--persons` joins one person's appearances, and two persons', by threshold.

Each appearance is a piece of a track, a second and a half or more, as a shot would show it. Pieces of one track are one
person; in the sample videos it is known who is who besides; all else is taken for different people, so give videos
that share nobody. With --pictures FOLDER (a folder of pictures a person, LFW say) each picture is an appearance.

python -m tests.benchmarks.persons [VIDEO ...] [--network dlib] [--pictures FOLDER] [--people 100]
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
PIECE_S = 1.5
#: Who the tracks of the sample videos are (sample_videos/README.md).
KNOWN = {
    ("one_face", 0): "Collins",
    ("two_faces", 0): "Collins",
    ("two_faces", 1): "Hopper",
    ("cut_to_nobody", 0): "Collins",
    ("cut_to_nobody", 1): "Hopper",
}
#: Pieces (video, track, piece) of a track that goes from one person to another, found by eye: whose they are.
ASTRAY = {("crowd_1920x1080", 3, 0): "crowd_1920x1080 5"}


def in_pieces(path: Path, models: Models) -> Iterator[tuple[str, np.ndarray]]:
    """The embedding of each piece of each track, as persons.Gallery makes it of a track."""
    config = Config(persons="dlib")
    gallery = PersonClusterer(models.embedder)
    with open_video(path) as reader:
        looks = sample_frames(reader.frames(), config.fps)
        faces = find_faces(looks, reader.info, config, models)
        pieces = (
            replace(batch, track=(1000 * batch.track + batch.pts_s // PIECE_S).astype(np.int32))
            for batch in link(assign_shots(faces, ShotDetector()), Tracker())
        )
        for _ in gallery.watch(pieces):
            pass
    for number, known in gallery._embeddings.items():
        track, piece = divmod(number, 1000)
        name = KNOWN.get((path.stem, track), f"{path.stem} {track}")
        yield ASTRAY.get((path.stem, track, piece), name), known.mean


def pictured(folder: Path, most: int, embedder: Embedder) -> Iterator[tuple[str, np.ndarray]]:
    """The largest face of each picture of the people who have two or more, cut as the line cuts it."""
    detector = MTCNN(device="cpu")
    people = [sorted(p for p in one.iterdir() if p.suffix.lower() in SUFFIXES) for one in sorted(folder.iterdir())]
    for path in [path for paths in people if len(paths) > 1 for path in paths[:10]][: 10 * most]:
        picture = Image.open(path).convert("RGB")
        found = detector.detect(np.asarray(picture)[None], 20.0)
        if len(found):
            best = [np.argmax(np.prod(found.box_px[:, 2:] - found.box_px[:, :2], 1))]
            square = embedder.squares(found.box_px[best], found.landmarks_px[best])[0]
            crop = crop_face(np.asarray(picture.convert("L")), square, embedder.recognition_px)
            yield path.parent.name, embedder.embed(crop[None])[0]


@one_thread
def main() -> None:
    """Print distances, then a row a threshold: pairs of one person joined, pairs of two, and how many people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="*", type=Path)
    parser.add_argument("--network", default="dlib")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--people", type=int, default=100)
    args = parser.parse_args()
    embedder = load_embedder(args.network, "cpu")
    if args.pictures:
        seen = list(pictured(args.pictures, args.people, embedder))
    else:
        models = Models(MTCNN(device="cpu"), TorchClassifier("seresnet", "cpu"), "cpu", embedder)
        seen = [one for path in [*sorted(SAMPLES.glob("*.mp4")), *args.video] for one in in_pieces(path, models)]
    show(np.array([name for name, _ in seen]), np.stack([mean for _, mean in seen]), embedder)


def show(names: np.ndarray, embedding: np.ndarray, embedder: Embedder) -> None:
    """Print what is known of these appearances."""
    start = time.process_time()
    embedder.embed(np.zeros((16, embedder.recognition_px, embedder.recognition_px), np.uint8))
    each_ms = 1e3 * (time.process_time() - start) / 16
    print(f"{len(names)} appearances of {len(set(names))} people; {each_ms:.0f} ms of CPU a crop")
    upper = np.triu_indices(len(names), 1)
    same, distance = (names[:, None] == names)[upper], (1 - embedding @ embedding.T)[upper]
    for title, part in (("one person", distance[same]), ("two people", distance[~same])):
        if not len(part):
            continue
        shares = " ".join(f"{share:.3f}" for share in np.percentile(part, [0, 1, 5, 50, 95, 99, 100]))
        print(f"{title}, {len(part)} pairs, distance at 0, 1, 5, 50, 95, 99, 100%: {shares}")
    print(f"{'threshold':>9} {'joined rightly':>15} {'joined wrongly':>15} {'people':>7}")
    for threshold in embedder.threshold * np.arange(0.4, 1.7, 0.1):
        person, _ = group(embedding, np.zeros((0, 2), int), threshold)
        joined = (person[:, None] == person)[upper]
        rightly, wrongly = (joined[pairs].mean() if pairs.any() else 0.0 for pairs in (same, ~same))
        mark = "  <- the line's" if abs(threshold - embedder.threshold) < 1e-9 else ""
        print(f"{threshold:9.3f} {rightly:15.1%} {wrongly:15.2%} {person.max() + 1:7d}{mark}")


if __name__ == "__main__":
    main()
