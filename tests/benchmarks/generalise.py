"""How often weights are right on faces that they did not learn from, in one table for several of them.

`python -m tests.benchmarks.generalise RAF-DB=rafdb/ CK+:detect=ckplus/ FER+:ferplus,public=fer2013.csv \\
    --weights seresnet --weights runs/mine/model.safetensors --video videos/ --talk talk1.mp4 talk2.mp4`

Sets of faces, NAME=PATH, go through `fervid.evaluate`. Words after the name choose its options: the labels (ferplus,
hard), the split (public, test, ...), `detect` for raw images, `flip` for the mean with the mirror image.

Videos are processed as `fervid process` does. FOLDER/truth.csv states what they show: `file,label` (each second of
the file shows it) or `file,second,side,label`, where side is `left` or `right`, the half of the picture that holds the
middle of the face, or `only`. If several faces are on that side, the tallest counts. A second is right if that face's
dominant emotion is the label; without a face it is wrong. `files right` counts files with one label whose mean
probabilities, over all seconds with the face, are largest for it.

Talk is video without labels, so it must show people without expression only, such as neutral talk: the share of the
seconds of faces that are called neutral, of all and of the clear ones (an emotion with a probability of at least 0.5).
"""

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fervid
from fervid.errors import DataError
from fervid.labels import EMOTIONS, emotion

SIDES = ("left", "right", "only")
CLEAR = 0.5
_LABELS = ("hard", "ferplus")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", type=named_set, metavar="NAME[:WORD,...]=PATH", help="labelled faces")
    parser.add_argument("--weights", action="append", help="weights to compare; repeatable (default mobilefacenet)")
    parser.add_argument("--head", help="the head to evaluate on the sets (default the one that fits the labels best)")
    parser.add_argument("--prior", default="default", help="class frequencies to assume (default %(default)s)")
    parser.add_argument("--video", nargs="+", type=Path, default=[], metavar="FOLDER", help="videos with a truth.csv")
    parser.add_argument("--talk", nargs="+", type=Path, default=[], metavar="CLIP", help="videos of neutral talk")
    parser.add_argument("--fps", default="5", help="frames to sample per second of video (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="device of the networks (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    args = parser.parse_args(arguments)
    if not (args.sets or args.video or args.talk):
        parser.error("expected a set NAME=PATH, --video or --talk")
    truths = {folder: read_truth(folder) for folder in args.video}
    result: dict[str, Any] = {"sets": [], "videos": [], "talk": []}
    for weights in args.weights or [fervid.Config().weights]:
        model = Path(weights).parent.name if Path(weights).name == "model.safetensors" else Path(weights).stem
        for one in args.sets:
            facts = one.evaluate(weights, head=args.head, prior=args.prior, device=args.device)
            result["sets"].append({"set": one.name, "model": model, **facts})
        if not (truths or args.talk):
            continue
        fps = "native" if args.fps == "native" else float(args.fps)
        line = Line({"weights": weights, "prior": args.prior, "device": args.device, "fps": fps})
        for folder, truth in truths.items():
            result["videos"].append({"set": folder.name, "model": model, **count_right(truth, line)})
        if args.talk:
            result["talk"].append({"model": model, **count_neutral(args.talk, line)})
    for table in (sets_table(result["sets"]), videos_table(result["videos"]), talk_table(result["talk"])):
        if table:
            print("\n".join(markdown(table)), end="\n\n", flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return result


# -- sets of faces ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedSet:
    """Labelled faces, and how to evaluate on them."""

    name: str
    path: str
    words: tuple[str, ...] = ()

    def evaluate(self, weights: str, **options: Any) -> dict[str, Any]:
        """Evaluate weights with more options; the result is that of `fervid.evaluate`."""
        splits = [word for word in self.words if word not in (*_LABELS, "detect", "flip")]
        return fervid.evaluate(
            self.path,
            weights=weights,
            split=splits[0] if splits else None,
            labels=next((word for word in self.words if word in _LABELS), "auto"),
            tta="flip" if "flip" in self.words else "none",
            detect="detect" in self.words,
            **options,
        )


def named_set(text: str) -> NamedSet:
    """Read NAME[:WORD,...]=PATH."""
    name, equals, path = text.partition("=")
    name, _, words = name.partition(":")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=PATH or NAME:WORD,...=PATH")
    return NamedSet(name, path, tuple(filter(None, words.split(","))))


# -- videos -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What one line of truth.csv states; without a second, it is true of the whole file."""

    path: Path
    label: str
    second: int | None = None
    side: str = "only"


class Line:
    """The line with one set of options: its timelines, each computed once."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = dict(options)
        self.models = fervid.load_models(**self.options)
        self.labels = self.models.classifier.labels
        self._faces: dict[Path, tuple[list[dict[str, Any]], list[int]]] = {}

    def faces(self, path: Path) -> tuple[list[dict[str, Any]], list[int]]:
        """Process a video; give the timeline's rows with a face, and all its seconds."""
        if path not in self._faces:
            table = fervid.process(path, models=self.models, **self.options).table
            rows = table.to_pylist()
            self._faces[path] = [row for row in rows if row["status"] == "ok"], sorted({row["second"] for row in rows})
        return self._faces[path]


def read_truth(folder: Path) -> list[Truth]:
    """Read truth.csv of a folder of videos."""
    path = folder / "truth.csv"
    if not path.is_file():
        raise DataError(f"{path}: not found; expected a CSV file with file,label or file,second,side,label")
    with path.open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        columns = set(table.fieldnames or [])
        if not {"file", "label"} <= columns or ({"second", "side"} & columns) not in (set(), {"second", "side"}):
            found = ", ".join(table.fieldnames or []) or "nothing"
            raise DataError(f"{path}: expected the columns file,label or file,second,side,label, found {found}")
        truth = [_read_line(f"{path}: line {i}", folder, row) for i, row in enumerate(table, 2)]
    if not truth:
        raise DataError(f"{path}: expected at least one line below the columns")
    return truth


def _read_line(place: str, folder: Path, row: Mapping[str, str]) -> Truth:
    try:
        label = emotion(row["label"])
    except DataError as e:
        raise DataError(f"{place}: {e}") from None
    video = folder / row["file"]
    if not video.is_file():
        raise DataError(f"{place}: {video} does not exist")
    if "second" not in row:
        return Truth(video, label)
    if row["side"] not in SIDES or not row["second"].isdecimal():
        found = f"{row['second']}, {row['side']}"
        raise DataError(f"{place}: expected a whole second and {', '.join(SIDES)}; found {found}")
    return Truth(video, label, int(row["second"]), row["side"])


def count_right(truth: list[Truth], line: Line) -> dict[str, Any]:
    """Count the seconds of labelled videos whose dominant emotion is the label, and the files.

    A label that the model does not have counts as wrong.
    """
    pairs: list[tuple[str, str | None]] = []
    files: dict[Path, tuple[str, list[np.ndarray]]] = {}
    for one in truth:
        faces, seconds = line.faces(one.path)
        for second in seconds if one.second is None else [one.second]:
            face = face_at(faces, second, one.side)
            pairs.append((one.label, face and face["dominant"]))
            if one.second is None:
                prob = files.setdefault(one.path, (one.label, []))[1]
                prob += [np.array([face[name] for name in line.labels])] if face else []
    said = [line.labels[np.mean(prob, 0).argmax()] if prob else None for _, prob in files.values()]
    labels = [name for name in EMOTIONS if any(label == name for label, _ in pairs)]
    recall = {name: _share(label == found for label, found in pairs if label == name) for name in labels}
    return {
        "seconds": len(pairs),
        "seconds_right": sum(label == found for label, found in pairs),
        "seconds_without_face": sum(found is None for _, found in pairs),
        "accuracy": _share(label == found for label, found in pairs),
        "mean_recall": round(float(np.mean(list(recall.values()))), 4),
        "recall": recall,
        "confusion": {
            name: {str(found): pairs.count((name, found)) for found in (*line.labels, None) if (name, found) in pairs}
            for name in labels
        },
        "files": len(files),
        "files_right": sum(name == label for name, (label, _) in zip(said, files.values())),
        "files_said": {path.name: name for path, name in zip(files, said)},
    }


def face_at(faces: Iterable[Mapping[str, Any]], second: int, side: str) -> Mapping[str, Any] | None:
    """Return the tallest face in a second on a side of the picture."""
    here = [face for face in faces if face["second"] == second]
    if side != "only":
        here = [face for face in here if (face["x"] + face["w"] / 2 < 0.5) == (side == "left")]
    return max(here, key=lambda face: face["h"], default=None)


def count_neutral(clips: Iterable[Path], line: Line) -> dict[str, Any]:
    """Count the seconds of faces that are called neutral, per clip and overall."""
    rows = {str(clip): line.faces(clip)[0] for clip in clips}
    everything = [row for found in rows.values() for row in found]
    return {
        "overall": _neutral(everything, line.labels),
        "clips": {Path(clip).name: _neutral(found, line.labels) for clip, found in rows.items()},
    }


def _neutral(rows: list[dict[str, Any]], labels: Iterable[str]) -> dict[str, Any]:
    clear = [row for row in rows if max(row[name] for name in labels) >= CLEAR]
    called = [row["dominant"] for row in rows]
    return {
        "seconds": len(rows),
        "neutral": _share(name == "neutral" for name in called),
        "clear": len(clear),
        "neutral_of_clear": _share(row["dominant"] == "neutral" for row in clear),
        "dominant": {name: called.count(name) for name in EMOTIONS if name in called},
    }


def _share(right: Iterable[bool]) -> float | None:
    """Return the share of what is right, None of nothing."""
    each = list(right)
    return round(sum(each) / len(each), 4) if each else None


# -- tables -------------------------------------------------------------------------------------------------


def sets_table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Make a table with one row per set and weights; the rows of one set are neighbours."""
    if not rows:
        return []
    names = [name for name in EMOTIONS if any(name in row["classes"] for row in rows)]
    order = list(dict.fromkeys(row["set"] for row in rows))
    body = [
        [
            row["set"],
            f"{row['model']} ({row['weights'][0]['head']})",
            str(row["n"]),
            _percent(row["accuracy"]),
            *(f"{row[key]:.3f}" for key in ("mean_recall", "macro_f1", "ece")),
            *(_percent(row["classes"].get(name, {}).get("recall")) for name in names),
        ]
        for row in sorted(rows, key=lambda row: order.index(row["set"]))
    ]
    return [["set", "model (head)", "faces", "accuracy", "mean recall", "macro-F1", "ECE", *names], *body]


def videos_table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Make a table with one row per folder of videos and weights."""
    if not rows:
        return []
    names = [name for name in EMOTIONS if any(name in row["recall"] for row in rows)]
    order = list(dict.fromkeys(row["set"] for row in rows))
    body = [
        [
            row["set"],
            row["model"],
            f"{row['seconds_right']} of {row['seconds']}",
            _percent(row["accuracy"]),
            f"{row['mean_recall']:.3f}",
            str(row["seconds_without_face"]),
            f"{row['files_right']} of {row['files']}" if row["files"] else "-",
            *(_percent(row["recall"].get(name)) for name in names),
        ]
        for row in sorted(rows, key=lambda row: order.index(row["set"]))
    ]
    columns = ["videos", "model", "seconds right", "share", "mean recall", "without a face", "files right"]
    return [[*columns, *names], *body]


def talk_table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Make a table of neutral talk, with one row per clip and one for all, and two columns per weights."""
    if not rows:
        return []
    columns = [f"{row['model']}: {what}" for row in rows for what in ("neutral", "of the clear")]
    table = [["talk", "seconds", *columns]]
    for clip in (*rows[0]["clips"], None):
        found = [row["clips"][clip] if clip else row["overall"] for row in rows]
        shares = [_percent(one[key]) for one in found for key in ("neutral", "neutral_of_clear")]
        table.append([clip or "all", "/".join(dict.fromkeys(str(one["seconds"]) for one in found)), *shares])
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def markdown(table: list[list[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*table)]
    for i, row in enumerate(table):
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths))} |"
        if not i:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"


if __name__ == "__main__":
    main()
