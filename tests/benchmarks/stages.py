"""The time of each stage by itself: `python -m tests.benchmarks.stages VIDEO [--frames 24]`.

CPU milliseconds on one thread, medians. Frames: decoding and conversion. Detection: by the width of the image, the size
of the batch, and the number of faces (drawn as films.py does). Tracking: per frame, by the number of faces. Parquet:
rows per second. (Classification: tests/benchmarks/classifier.py.)
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from fervid.faces.mtcnn import MTCNN
from fervid.runtime.allocator import tune_malloc
from fervid.runtime.threads import one_thread
from fervid.timeline.aggregate import fill_gaps, summarise
from fervid.timeline.schema import to_table
from fervid.timeline.write import write_table
from fervid.tracks.tracker import Tracker
from fervid.video.open import open_video
from fervid.video.sampling import detection_size
from tests.benchmarks.films import draw
from tests.helpers.fakes import LABELS, Face, Seen, emotion_batch

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, help="video to take frames from")
    parser.add_argument("--frames", type=int, default=24, help="number of frames (default %(default)s)")
    args = parser.parse_args()
    tune_malloc()
    frames(args.video, args.frames)
    detection()
    tracking()
    parquet()


def cpu_ms(call: Callable[[], object], n: int) -> float:
    """Measure the median CPU milliseconds per item of a call that processes n items."""
    call()
    spent = []
    for _ in range(ROUNDS):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return 1e3 * float(np.median(spent)) / n


def frames(path: Path, n: int) -> None:
    with open_video(path) as reader:
        some = list(islice(reader.frames(), n))
        frame_px = (reader.info.width_px, reader.info.height_px)
        size, named = detection_size(frame_px, 640), "{}x{}".format(*frame_px)

    def decode() -> None:
        with open_video(path) as reader:
            for _ in islice(reader.frames(), n):
                pass

    print(f"frames of {path.name}, {named}, CPU ms each")
    print(f"  decoding (with opening)  {cpu_ms(decode, n):7.2f}")
    for name in ("luma_preview", "stored_luma", "luma"):
        print(f"  {name:24s} {cpu_ms(lambda name=name: [getattr(frame, name)() for frame in some], n):7.2f}")
    print(f"  rgb, {size[0]} wide            {cpu_ms(lambda: [frame.rgb(*size) for frame in some], n):7.2f}")


@one_thread
def detection() -> None:
    detector = MTCNN()
    print("detection of faces from 20 px in 16:9 images, CPU ms each")
    for faces in (0, 1, 4, 20):
        drawn = list(islice(draw(faces, 1280, 720, still=False), 0, 80, 10))
        for width in (320, 640):
            small = np.stack([np.asarray(Image.fromarray(p).resize((width, width * 9 // 16), 4)) for p in drawn])
            found = detector.detect(small)
            one = cpu_ms(lambda small=small: detector.detect(small[:1]), 1)
            many = cpu_ms(lambda small=small: detector.detect(small), 8)
            line = f"  {width} wide, {faces:2d} drawn, {len(found) / 8:4.1f} found: single {one:6.1f}, of 8 {many:6.1f}"
            if len(found):
                sure = cpu_ms(lambda s=small, f=found: detector.confirm(list(s), f.frame, f.box_px), len(found))
                line += f"; confirmation per face {sure:5.2f}"
            print(line, flush=True)


def tracking() -> None:
    print("tracking, CPU ms per frame")
    for faces in (1, 4, 20):
        random = np.random.default_rng(0)
        corner = random.uniform(0, 1800, (faces, 2)) + np.cumsum(random.normal(0, 4, (300, faces, 2)), 0)
        box = np.concatenate([corner, corner + 100], 2).astype(np.float32)

        def run(box: np.ndarray = box, faces: int = faces) -> None:
            tracker = Tracker()
            for i, one in enumerate(box):
                tracker.update(i / 5, one, np.ones(faces, np.float32))

        print(f"  {faces:2d} faces {cpu_ms(run, 300):7.3f}")


def parquet() -> None:
    samples = [Seen(i / 5, tuple(Face(track=k) for k in range(4))) for i in range(5 * 600)]
    rows = fill_gaps(summarise([emotion_batch(samples)], LABELS), LABELS, 0, lambda: 600.0)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "t.parquet"
        each = cpu_ms(lambda: write_table(to_table(rows, LABELS, "v", {}), out), len(rows["second"]))
        size = out.stat().st_size / len(rows["second"])
        print(f"Parquet: {1e3 / each:.0f} rows per CPU second, {size:.0f} bytes per row")


if __name__ == "__main__":
    main()
