"""SIGKILLs at random moments: `python -m tests.benchmarks.kills [--kills 300] [--videos 24] [--seed 0]`.

Batches with fake models and real workers are killed repeatedly, one worker or the whole batch, rerun each time, and
finally completed. Each folder is compared with that of an undisturbed run: bytes, names, rows of the manifest.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.helpers.killed_batches import find_differences, kill_repeatedly, run_to_end
from tests.helpers.scenes import scene, write

_KILLS_PER_BATCH = 10


def make_videos(folder: Path, n: int) -> Path:
    """Write n clips with a still face, of different lengths, half of them in a subfolder."""
    for i in range(n):
        subfolder = folder / "deep" if i % 2 else folder
        subfolder.mkdir(parents=True, exist_ok=True)
        write(subfolder / f"{i:02}.mp4", scene(150 + 10 * i, (8, 8 + 2 * i)))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started, done, found = time.monotonic(), Counter[str](), list[str]()
    with tempfile.TemporaryDirectory(prefix="kills-") as work:
        videos = make_videos(Path(work) / "videos", args.videos)
        run_to_end(videos, expected := Path(work) / "expected")
        batches = 0
        while done.total() < args.kills:
            out = Path(work) / f"out{batches}"
            done += kill_repeatedly(videos, out, args.seed + batches, min(_KILLS_PER_BATCH, args.kills - done.total()))
            run_to_end(videos, out)
            found += find_differences(out, expected)
            batches += 1
            print(
                f"{done.total()} kills {dict(done)} in {batches} batches, {time.monotonic() - started:.0f} s: "
                f"{len(found)} videos missing, unexpected or different",
                flush=True,
            )
    print("\n".join(found))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
