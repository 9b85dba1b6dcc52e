"""Who is who with real weights: how often `--persons` joins tracks of one person, and tracks of two, by threshold.

Give a folder with a folder of pictures a person (LFW, say), each picture counting as a track of its own; or none, and
the people of sample_videos/ and of scikit-image are turned, dimmed and shrunk. Not run yet: the weights are no package.

python -m tests.benchmarks.persons WEIGHTS.pt [FOLDER] [--people 100]
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from fervid.backends.facenet import FaceNet
from fervid.backends.mtcnn import MTCNN
from fervid.faces import crop_face, upright
from fervid.persons import group

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


def labelled(folder: Path, most: int) -> Iterator[tuple[str, Image.Image]]:
    """Pictures of the people who have two or more."""
    people = [sorted(p for p in one.iterdir() if p.suffix.lower() in SUFFIXES) for one in sorted(folder.iterdir())]
    for pictures in [paths for paths in people if len(paths) > 1][:most]:
        for path in pictures[:10]:
            yield path.parent.name, Image.open(path).convert("RGB")


def changed() -> Iterator[tuple[str, Image.Image]]:
    """The few people at hand, each as six pictures."""
    import av
    import skimage.data

    people = {"astronaut": Image.fromarray(skimage.data.astronaut())}
    for path in sorted(Path("sample_videos").glob("one*.mp4")):
        with av.open(str(path)) as film:
            people[path.stem] = next(film.decode(video=0)).to_image()
    for name, picture in people.items():
        for turn in (-12, 0, 12):
            for light in (0.5, 1.2):
                yield name, ImageEnhance.Brightness(picture.rotate(turn, Image.Resampling.BILINEAR)).enhance(light)


def portraits(pictures: Iterator[tuple[str, Image.Image]], side: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest face of each picture, cut as the line cuts it -> names (n,), crops (n, side, side)."""
    detector, names, crops = MTCNN(device="cpu"), [], []
    for name, picture in pictures:
        found = detector.detect(np.asarray(picture)[None], 20.0)
        if len(found):
            box = found.box_px[np.argmax(np.prod(found.box_px[:, 2:] - found.box_px[:, :2], 1))]
            luma = np.asarray(picture.convert("L"))
            crops.append(crop_face(luma, upright(box[None])[0], side))
            names.append(name)
    return np.array(names), np.stack(crops)


def main() -> None:
    """Print a row a threshold: pairs of one person that were joined, pairs of two that were, and how many people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--people", type=int, default=100)
    args = parser.parse_args()
    embedder = FaceNet(args.weights, "cpu")
    names, crops = portraits(labelled(args.folder, args.people) if args.folder else changed(), embedder.portrait_px)
    start = time.process_time()
    embedding = embedder.embed(crops)
    each_ms = 1e3 * (time.process_time() - start) / len(names)
    print(f"{len(names)} faces of {len(set(names))} people; {each_ms:.0f} ms of CPU each")
    same = (names[:, None] == names)[np.triu_indices(len(names), 1)]
    print(f"{'threshold':>9} {'joined rightly':>15} {'joined wrongly':>15} {'people':>7}")
    for threshold in sorted({*np.arange(0.2, 0.85, 0.05).round(2), embedder.threshold}):
        person, _ = group(embedding, np.zeros((0, 2), int), threshold)
        joined = (person[:, None] == person)[np.triu_indices(len(names), 1)]
        rightly, wrongly = joined[same].mean(), joined[~same].mean() if (~same).any() else 0.0
        mark = "  <- the line's" if threshold == embedder.threshold else ""
        print(f"{threshold:9.2f} {rightly:15.1%} {wrongly:15.2%} {person.max() + 1:7d}{mark}")


if __name__ == "__main__":
    main()
