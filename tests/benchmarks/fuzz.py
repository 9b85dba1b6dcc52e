"""A batch of damaged videos: `python -m tests.benchmarks.fuzz [--files 10000] [--workers 2] [--first 0]`.

Damages small clips of all containers and codecs of tests/helpers/mutations.py by seven mutations, and runs a batch over
them with real workers and real decoding; the networks are fakes, so that the time is spent on the files. The exit code
is 1 unless the run completes, every file has one row, and the results agree with the rows.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fervid.config import Config
from fervid.errors import FervidError
from fervid.jobs.batch import Request, Summary, run_batch
from fervid.jobs.engine import Limits
from fervid.jobs.local_engine import LocalEngine
from fervid.jobs.manifest import read_manifest
from fervid.timeline.read import read_provenance
from tests.helpers.failing_jobs import load_fakes
from tests.helpers.mutations import MUTATIONS, SEEDS, mutate, write_seed

LIMITS = Limits(timeout_s=60.0, stall_s=30.0, memory_bytes=1_500_000_000)


def write_damaged_files(folder: Path, n: int, first: int = 0) -> None:
    """Write n damaged files, numbered from `first`; each clip is damaged by each mutation in turn."""
    seeds = folder.with_name("seeds")
    seeds.mkdir(parents=True, exist_ok=True)
    intact = [write_seed(seeds / name, name).read_bytes() for name in SEEDS]
    for i in range(first, first + n):
        name = list(SEEDS)[i % len(SEEDS)]
        subfolder = folder / f"{i // 1000:03}"
        subfolder.mkdir(parents=True, exist_ok=True)
        turn = i // len(SEEDS)
        mutation, data = mutate(intact[i % len(SEEDS)], intact[turn * 7 % len(SEEDS)], turn)
        (subfolder / f"{i:06}-{mutation}-{name}").write_bytes(data)


def run(folder: Path, out: Path, workers: int) -> tuple[Summary, LocalEngine]:
    """Run a batch over all files."""
    engine = LocalEngine(Config(), workers, LIMITS, load=load_fakes)
    return run_batch(Request((str(folder),), out), Config(), engine), engine


def find_violations(folder: Path, out: Path, summary: Summary) -> list[str]:
    """Return every guarantee of a batch that this one violates."""
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    rows = read_manifest(out)
    found = [] if sorted(row.path for row in rows) == files else [f"{len(rows)} rows for {len(files)} files"]
    found += [] if sorted(r.path for r in summary.rows) == files else ["the rows of summary and manifest differ"]
    timelines = {str(p.relative_to(out)) for p in out.rglob("*.parquet")} - {"manifest.parquet"}
    listed = {row.timeline for row in rows if row.timeline}
    found += [f"{name}: {'no row' if name in timelines else 'missing'}" for name in sorted(timelines ^ listed)]
    found += [f"{p}: left over" for p in out.rglob(".*") if p.name != ".fervid.lock"]
    for row in rows:
        if (row.status == "failed") == bool(row.timeline) or (row.status != "ok" and not row.reason):
            found.append(f"{row.path}: {row.status} {row.reason} {row.timeline}")
        elif row.timeline:
            try:
                matches = read_provenance(out / row.timeline)["source"]["sha256"] == row.sha256
            except FervidError:
                matches = False
            found += [] if matches else [f"{row.timeline}: not a timeline of {row.path}"]
    return found


def report(summary: Summary, engine: LocalEngine, taken_s: float) -> None:
    """Print the results by status and reason, by clip and by mutation."""
    n = len(summary.rows)
    slowest = max(summary.rows, key=lambda row: row.taken_s)
    print(
        f"{n} files in {taken_s:.0f} s ({n / taken_s:.1f} per second); slowest {slowest.taken_s:.1f} s: {slowest.path}"
    )
    print(f"workers lost: {dict(engine.losses) or 0}")
    for (status, reason), count in Counter((r.status, r.reason) for r in summary.rows).most_common():
        print(f"{count:7d}  {status:8s}  {reason}")
    for title, names in (("seed", SEEDS), ("mutation", MUTATIONS)):
        print(f"{title:16s} {'ok':>6s} {'degraded':>9s} {'failed':>7s}")
        for name in names:
            mine = [r for r in summary.rows if (r.path.split("-", 2)[2 if title == "seed" else 1]) == name]
            counts = Counter(r.status for r in mine)
            print(f"{name:16s} {counts['ok']:6d} {counts['degraded']:9d} {counts['failed']:7d}")
    for row in summary.rows:
        if row.reason in ("crashed", "killed", "stalled", "timeout", "memory", "error", "not_written"):
            print(f"inspect: {row.path}: {row.message[:300]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000, help="number of damaged files (default %(default)s)")
    parser.add_argument(
        "--first",
        type=int,
        default=0,
        help="number of the first file; another one gives different files (default %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default %(default)s)")
    parser.add_argument("--keep", type=Path, help="working folder, which is kept")
    args = parser.parse_args()
    work = args.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        write_damaged_files(work / "videos", args.files, args.first)
        started = time.monotonic()
        summary, engine = run(work / "videos", work / "out", args.workers)
        report(summary, engine, time.monotonic() - started)
        found = find_violations(work / "videos", work / "out", summary)
    finally:
        if not args.keep:
            shutil.rmtree(work)
    print(f"crashes of the run: 0; rows: {len(summary.rows)} of {args.files}; violations: {len(found)}")
    print("\n".join(found[:20]))
    sys.exit(1 if found or len(summary.rows) != args.files else 0)


if __name__ == "__main__":
    main()
