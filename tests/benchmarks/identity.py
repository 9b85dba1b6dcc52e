"""Verify that two commits give the same bytes: `python -m tests.benchmarks.identity VIDEO... --against FILE`.

Each video is processed by `fervid.process` with each option set, and the sha256 of its timeline, face readings and
shots is printed. `--save` stores hashes and tables; `--against` compares with those that another commit saved, and
prints the differences and, at the end, the largest one per column. `--tables` compares only the tables, without their
metadata (version number, provenance). Only the public API is used, so a copy of this file runs at any commit. The exit
code is 1 if files differ. Bytes are comparable only on one machine: CPUs and versions of torch differ in the last bits.
"""

import argparse
import hashlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import fervid

OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {"end_s": 8},
    "native": {"fps": "native", "start_s": 1, "end_s": 2},
    "every frame searched": {"fps": 2, "detection": "every", "end_s": 3},
    "fast": {"sampling": "fast", "end_s": 4},
    "persons and curves": {"persons": "dlib", "smooth_s": 1.0, "baseline": True, "end_s": 6},
    "centerface": {"detector": "centerface", "end_s": 2},
}
FILES = ("timeline", "faces", "shots")
#: The name of an output -> its sha256, columns and metadata.
Outputs = dict[str, dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, help="videos to process")
    parser.add_argument("--save", type=Path, help="write hashes and tables to this JSON file")
    parser.add_argument("--against", type=Path, help="compare with a file that --save wrote")
    parser.add_argument("--tables", action="store_true", help="compare the tables, without their metadata")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=OPTIONS,
        default=list(OPTIONS),
        metavar="NAME",
        help=f"option sets to run: {', '.join(OPTIONS)} (default all)",
    )
    args = parser.parse_args()
    before = json.loads(args.against.read_text("utf-8")) if args.against else None
    saved: dict[str, Outputs] = {}
    differ, largest = 0, dict[str, float]()
    for name in args.only:
        models = fervid.load_models(device="cpu", **OPTIONS[name])
        for video in args.videos:
            key = f"{video.name}, {name}"
            saved[key] = outputs = process(video, models, OPTIONS[name])
            for file, facts in outputs.items():
                verdict = ""
                if before is not None:
                    found = differences(before.get(key, {}).get(file), facts, tables=args.tables)
                    verdict = ", ".join(found) or "equal"
                    differ += bool(found)
                    largest |= {k: max(v, largest.get(k, 0.0)) for k, v in found.items()}
                print(f"{key:52s} {file:9s} {facts['sha256'][:16]} {verdict}", flush=True)
    if args.save:
        args.save.write_text(json.dumps(saved), "utf-8")
    if before is not None:
        print(f"{differ} of {sum(map(len, saved.values()))} files differ")
        for name, most in sorted(largest.items(), key=lambda item: -item[1]):
            print(f"  {name:30s} {most:.3g}")
    return int(differ > 0)


def process(video: Path, models: Any, options: dict[str, Any]) -> Outputs:
    """Process one video under its bare name, since the column `video` holds the path as given."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        timeline, faces, shots = paths = [Path(folder, f"{file}.parquet") for file in FILES]
        os.chdir(video.resolve().parent)
        try:
            fervid.process(video.name, timeline, faces=faces, shots=shots, models=models, device="cpu", **options)
        finally:
            os.chdir(here)
        return {file: _read(path) for file, path in zip(FILES, paths)}


def _read(path: Path) -> dict[str, Any]:
    table = pq.read_table(path)
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "types": {field.name: str(field.type) for field in table.schema},
        "columns": json.loads(json.dumps(table.to_pydict(), default=str)),
        "metadata": {k.decode(): v.decode("utf-8", "replace") for k, v in (table.schema.metadata or {}).items()},
    }


def differences(before: dict[str, Any] | None, now: dict[str, Any], *, tables: bool) -> dict[str, float]:
    """Return the largest difference per column; infinity for values that are not numbers and for other lengths."""
    if before is None:
        return {"missing in the other file": math.inf}
    if before["sha256"] == now["sha256"]:
        return {}
    found = {} if before["types"] == now["types"] else {"columns or types": math.inf}
    for name, column in now["columns"].items():
        if name in before["columns"] and (most := _largest(before["columns"][name], column)):
            found[name] = most
    if not tables:
        one, other = before["metadata"], now["metadata"]
        found |= {f"metadata {k}": math.inf for k in sorted({*one, *other}) if one.get(k) != other.get(k)}
    return found or ({} if tables else {"bytes": math.inf})


def _largest(before: list[Any], now: list[Any]) -> float:
    one, other = list(_flat(before)), list(_flat(now))
    if len(one) != len(other):
        return math.inf
    most = 0.0
    for a, b in zip(one, other):
        if a != b and not (a != a and b != b):  # NaN is equal to NaN here
            numbers = isinstance(a, (int, float)) and isinstance(b, (int, float)) and not math.isnan(a - b)
            most = max(most, abs(a - b) if numbers else math.inf)
    return most


def _flat(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


if __name__ == "__main__":
    sys.exit(main())
