"""What the commands print: progress bars, summaries, tables of facts."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from fervid.clock import FileClock, clock, processed_part
from fervid.config import SMALLEST_FACE_PX, Config
from fervid.runtime.profiling import Profiler
from fervid.timeline.read import timeline_notes, timeline_summary
from fervid.views.wording import LABELS, NO_SHOTS, counters, options, shown

if TYPE_CHECKING:
    from fervid.pipeline import Result
    from fervid.self_test import SelfTest
    from fervid.types import Progress

__all__ = [
    "CLEAR",
    "line_printer",
    "plain",
    "print_evaluation",
    "print_facts",
    "print_info",
    "print_json",
    "print_profile",
    "print_result",
    "print_self_test",
    "profile",
    "progress_bar",
    "show",
    "summary",
    "write_json",
]

#: Below this share of clear face time, the most frequent expression is not informative.
CLEAR = 0.5
#: Labels of the columns of a confusion matrix.
_SHORT = {"happiness": "happy", "sadness": "sad"}
_TTA = {"flip": "itself and mirrored", "tencrop": "ten crops"}


# -- text -------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Escape control characters, such as those in file names, for the terminal.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        Printable characters only.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# -- facts ------------------------------------------------------------------------------------------


def show(
    facts: Mapping[str, Any], *, as_json: bool, quiet: bool = False, labels: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Print the result of a command as its options request.

    Parameters
    ----------
    facts : Mapping[str, Any]
        Plain values, possibly nested.
    as_json : bool
        Print JSON instead of aligned lines.
    quiet : bool, default False
        Print nothing, unless JSON is requested.
    labels : Mapping[str, str], optional
        Words to print for keys, besides LABELS.
    """
    if as_json:
        print_json(facts)
    elif not quiet:
        print_facts(facts, labels={**LABELS, **labels})


def print_facts(facts: Mapping[str, Any], indent: int = 0, *, labels: Mapping[str, str] = MappingProxyType({})) -> None:
    """Print nested facts as aligned lines on stdout.

    Parameters
    ----------
    facts : Mapping[str, Any]
    indent : int, default 0
        Spaces before each line.
    labels : Mapping[str, str], optional
        Words to print for keys, at any depth.
    """
    rows = [(plain(labels.get(str(key), str(key))), value) for key, value in facts.items()]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        if isinstance(value, Mapping):
            sys.stdout.write(f"{' ' * indent}{name}\n")
            print_facts(value, indent + 2, labels=labels)
        else:
            sys.stdout.write(f"{' ' * indent}{name:<{width}}  {plain(shown(value))}\n")


def print_json(facts: Any) -> None:
    """Print facts as one JSON document on stdout.

    Parameters
    ----------
    facts : Any
        Plain values; what JSON lacks, such as paths, is printed as text.
    """
    sys.stdout.write(_to_json(facts))


def write_json(facts: Any, path: Path) -> None:
    """Write facts to a file as one JSON document.

    Parameters
    ----------
    facts : Any
        As for print_json.
    path : Path
        Replaced if it exists.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from fervid.files import write_atomically

    with write_atomically(path) as temporary:
        temporary.write_text(_to_json(facts), "utf-8")


def _to_json(facts: Any) -> str:
    return json.dumps(facts, indent=2, default=str) + "\n"


# -- progress ---------------------------------------------------------------------------------------


@contextmanager
def progress_bar(name: str, *, quiet: bool) -> Iterator[Callable[["Progress"], None] | None]:
    """Show a bar on stderr with the time in the video, speed, faces and the time left.

    Parameters
    ----------
    name : str
        Shown before the bar.
    quiet : bool
        Show nothing, as where stderr is not a terminal.

    Yields
    ------
    Callable[[Progress], None] or None
        To be called with each progress; None if there is no bar.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    text = TextColumn("{task.fields[text]}")
    with Bar(TextColumn("[bold]{task.description}"), BarColumn(), text, console=console, transient=True) as bar:
        task = bar.add_task(escape(plain(name)), total=None, text="opening")
        started = perf_counter()

        def update(progress: "Progress") -> None:
            speed = progress.done_s / max(perf_counter() - started, 1e-3)
            text = f"{clock(progress.done_s)}"
            if progress.end_s:
                left = max(progress.end_s - progress.done_s, 0) / max(speed, 1e-3)
                text += f" of {clock(progress.end_s)}, {clock(left)} left"
            text += f"  {speed:.1f}x real time  {progress.faces} faces"
            bar.update(task, completed=progress.done_s, total=progress.end_s, text=text)

        yield update


def line_printer(*, as_json: bool, quiet: bool) -> Callable[[str], None]:
    """Choose where the progress of a long command is printed, line by line.

    Parameters
    ----------
    as_json : bool
        Whether stdout is reserved for JSON; lines then go to stderr.
    quiet : bool
        Whether to print nothing.

    Returns
    -------
    Callable[[str], None]
    """
    stream = sys.stderr if as_json else sys.stdout

    def print_line(text: str) -> None:
        if not quiet:
            stream.write(f"{plain(text)}\n")
            stream.flush()

    return print_line


# -- process ----------------------------------------------------------------------------------------


def summary(result: "Result") -> dict[str, Any]:
    """Summarise a result as plain values: what `--json` prints and `print_result` shows.

    Parameters
    ----------
    result : Result

    Returns
    -------
    dict
    """
    facts: dict[str, Any] = {"video": str(result.path), "out": str(result.out) if result.out else None}
    facts |= {"read_whole": result.whole} if result.whole else {}
    facts |= {"decoder_note": result.decoder_note} if result.decoder_note else {}
    facts |= {"status": result.status, "reasons": result.reasons}
    found = timeline_summary(result.to_pandas(), result.provenance)
    return facts | found | {"notes": timeline_notes(found, result.provenance)}


def print_result(result: "Result", taken_s: float) -> None:
    """Print on stdout what a timeline contains and where it is.

    Parameters
    ----------
    result : Result
    taken_s : float
        Seconds that the command took.
    """
    facts = summary(result)
    rows = _content(facts, [*facts["notes"], *_beyond(result.provenance)])
    turned = result.provenance["source"].get("suggested_rotation")
    if not facts["tracks"] and facts["seconds"] > facts["seconds_without_data"] and not turned:
        rows |= _no_face_hint(result.provenance)
    if facts["status"] != "ok":
        lost = f"; {facts['seconds_without_data']} seconds without data" if facts["seconds_without_data"] else ""
        rate = "; state the rate with --rate N" if "synthetic_time" in facts["reasons"] else ""
        rows["degraded"] = f"{', '.join(facts['reasons'])}{lost}{rate}"
    if result.whole:
        rows["shards"] = f"none, one worker read the whole video: {result.whole}"
    if result.decoder_note:
        rows["decoder"] = f"the CPU, as the decoder of the GPU does not support the video: {result.decoder_note}"
    rows |= {"took": f"{taken_s:.1f} s", "timeline": facts["out"]}
    print_facts(rows)


def _no_face_hint(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Advise what may find faces where none was found in a whole video; nothing if all of it was tried."""
    config, source = provenance["config"], provenance["source"]
    tried = Config(detection_size_px=config["picture_px"], min_face_px=config["min_face_px"])
    _, smallest_px = tried.detection_scale(source["width_px"], source["height_px"])
    smaller_px = max(SMALLEST_FACE_PX, round(smallest_px / 2))
    advice = [f"--min-face {smaller_px}"] if smaller_px < smallest_px else []
    advice += ["--detector centerface"] if config["detector"] != "centerface" else []
    return {"hint": f"try {' or '.join(advice)}"} if advice else {}


def _beyond(provenance: Mapping[str, Any]) -> list[str]:
    """Say which options ask for more than the video has."""
    config, source, notes = provenance["config"], provenance["source"], []
    (_, end_s), duration_s = processed_part(provenance), source["duration_s"]
    if math.isfinite(end_s) and duration_s and end_s >= duration_s + 1:
        ends = clock(FileClock.of(provenance).to_file(duration_s))
        notes.append(f"--end {clock(config['end_s'])}: the video ends at {ends}")
    if config.get("rate") and provenance["timing"]["clock"] != "counted":
        notes.append(f"--rate {config['rate']:g}: the video has timestamps, and its frames are timed by these")
    rate = float(Fraction(source["frame_rate"])) if source["frame_rate"] else None
    if config["fps"] and rate and config["fps"] > rate + 1:
        notes.append(f"--fps {config['fps']:g}: the video has {rate:.4g} frames per second, and each is sampled once")
    return notes


def _content(facts: Mapping[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """What the summary of a timeline says, in words."""
    persons = f", persons: {facts['persons']}" if facts["persons"] is not None else ""
    rows = {
        "faces": f"{facts['seconds_with_face']} of {facts['seconds']} seconds, tracks: {facts['tracks']}{persons}",
        "shots": f"{NO_SHOTS}: in an edited film, a track may continue over a cut"
        if facts["shots"] is None
        else facts["shots"],
        "dominant": ", ".join(f"{name} {share:.0%}" for name, share in facts["dominant"].items()) or "no face found",
    }
    if facts["tracks"]:
        rows["clear"] = f"in {facts['clear']:.0%} of the face time one expression reaches 50%"
        if facts["clear"] < CLEAR:
            rows["clear"] += "; do not rely on the most frequent one"
    return rows | ({"note": "; ".join(notes)} if notes else {})


def print_info(path: Path, facts: Mapping[str, Any]) -> None:
    """Print on stdout how a file was made, in the order of what a reader needs first.

    Parameters
    ----------
    path : Path
        The file.
    facts : Mapping[str, Any]
        As fervid.info returns them.
    """
    rest = dict(facts)
    content, notes = rest.pop("summary", {}), rest.pop("notes", [])
    rows: dict[str, Any] = {"file": path, "status": rest.pop("status", None), "reasons": rest.pop("reasons", None)}
    if terms := rest.pop("terms", ""):
        rest["model"] = {"terms": terms} | rest.get("model", {})
    if "seconds" in content:
        rows |= _content(content, notes)
        lost = content["seconds_without_data"]
        rows |= {"no data": f"in {lost} of {content['seconds']} seconds"} if lost else {}
    else:  # face readings, or shots
        rows |= content
    detected = facts.get("config", {}).get("cuts", True)
    if "shots" in content and not detected and "seconds" not in content:
        rows["shots"] = f"{NO_SHOTS}: the video is one row"
    rows["version"] = rest.pop("version", None)
    groups = {"config": options, "counters": lambda _: counters(facts)}
    rest = {name: groups[name](value) if name in groups else value for name, value in rest.items()}
    single = {name: value for name, value in rest.items() if not isinstance(value, Mapping)}
    print_facts(rows | single | {name: value for name, value in rest.items() if name not in single}, labels=LABELS)


def profile(profiler: Profiler) -> dict[str, Any]:
    """Give the time that each stage took, as plain values; stages overlap in wall time.

    Parameters
    ----------
    profiler : Profiler

    Returns
    -------
    dict
        Seconds of CPU and wall time, in total and per stage.
    """
    return {
        "cpu_s": round(profiler.cpu_s, 3),
        "wall_s": round(profiler.wall_s, 3),
        "stages": {
            one.stage: {"cpu_s": round(one.cpu_s, 3), "wall_s": round(one.wall_s, 3), "calls": one.calls}
            for one in profiler.stages()
        },
    }


def print_profile(profiler: Profiler) -> None:
    """Print the stages on stdout, in order of decreasing CPU time.

    Parameters
    ----------
    profiler : Profiler
    """
    facts = profile(profiler)
    rows = [("stage", "CPU s", "share", "wall s", "calls")]
    for stage, one in facts["stages"].items():
        wall, calls = (f"{one['wall_s']:.2f}", str(one["calls"])) if one["calls"] else ("", "")
        rows.append((stage, f"{one['cpu_s']:.2f}", f"{one['cpu_s'] / facts['cpu_s']:.0%}", wall, calls))
    rows.append(("total", f"{facts['cpu_s']:.2f}", "", f"{facts['wall_s']:.2f}", ""))
    sys.stdout.write("\n")
    width = max(len(stage) for stage, *_ in rows)
    for stage, *figures in rows:
        sys.stdout.write(f"{stage:<{width}}" + "".join(f"{figure:>9}" for figure in figures).rstrip() + "\n")


# -- selftest ---------------------------------------------------------------------------------------


def print_self_test(result: "SelfTest") -> None:
    """Print the checks of a self-test on stdout, and what to do if one failed.

    Parameters
    ----------
    result : SelfTest
    """
    width = max(len(check.name) for check in result.checks)
    for check in result.checks:
        outcome = f"passed  {check.name:<{width}}  {check.found}"
        if not check.passed:
            outcome = f"FAILED  {check.name:<{width}}  expected {check.expected}, found {check.found}"
        sys.stdout.write(f"{plain(outcome)}\n")
    failed = sum(not check.passed for check in result.checks)
    if failed:
        sys.stdout.write(
            f"\n{failed} of {len(result.checks)} checks failed: do not rely on results of this installation. Reinstall "
            "fervid;\nif the checks fail again, report it with this output and that of `fervid doctor`.\n"
        )
    else:
        sys.stdout.write(f"\nAll checks passed in {result.taken_s:.0f} s: this installation works.\n")


# -- evaluate ---------------------------------------------------------------------------------------


def print_evaluation(facts: Mapping[str, Any]) -> None:
    """Print the accuracy and the calibration of a classifier on stdout: in total, per class, and confusions.

    Parameters
    ----------
    facts : Mapping[str, Any]
        As fervid.evaluate returns them.
    """
    console = Console(file=sys.stdout, highlight=False)
    print_facts(_evaluation_rows(facts))
    console.print()
    console.print(_class_table(facts))
    console.print()
    console.print(_confusion_table(facts))


def _class_table(facts: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    for name in ("precision", "recall", "F1", "faces"):
        table.add_column(name, justify="right")
    for name, one in facts["classes"].items():
        shares = ("-" if one[k] is None else f"{one[k]:.3f}" for k in ("precision", "recall", "f1"))
        table.add_row(name, *shares, str(one["support"]))
    return table


def _confusion_table(facts: Mapping[str, Any]) -> Table:
    """Predictions per 100 faces of each class; a point is less than half a face."""
    title = "predictions per 100 faces of each class"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0), title=title)
    table.title_justify = "left"
    table.add_column("true")
    for name in [*facts["confusion"], *(["no face"] if facts["detect"] else [])]:
        table.add_column(_SHORT.get(name, name), justify="right", no_wrap=True)
    for name, counts in facts["confusion"].items():
        one = facts["classes"][name]
        row = [*counts, *([one["missed"]] if facts["detect"] else [])]
        shares = (100 * n / max(one["support"], 1) for n in row)
        table.add_row(name, *(f"{share:.0f}" if share >= 0.5 else "." for share in shares))
    return table


def _evaluation_rows(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of an evaluation in words."""
    split = f", {facts['split']}" if facts["split"] else ""
    method = "bootstrap" if 0 < facts["accuracy"] < 1 else "Clopper-Pearson"
    interval = f"95% interval {facts['accuracy_low']:.1%} to {facts['accuracy_high']:.1%}, {method}"
    rows = {
        "data": f"{facts['data']}{split}: {facts['n']} faces",
        "model": " + ".join(f"{one['name']} (head {one['head']})" for one in facts["weights"]),
        "classes": facts["classes_compared"],
        "accuracy": f"{facts['accuracy']:.1%} ({interval})",
        "macro-F1": f"{facts['macro_f1']:.3f}",
        "mean recall": f"{facts['mean_recall']:.3f}",
        "calibration": f"error {facts['ece']:.3f} in 15 bins ({facts['ece_uncalibrated']:.3f} before scaling)",
    }
    if facts["detect"]:
        words = f"{facts['accuracy']:.1%} of all, {facts['accuracy_found']:.1%} of the faces found ({interval})"
        rows |= {"accuracy": words, "coverage": f"{facts['coverage']:.1%} of the faces were found"}
    if requested := [prior for one in facts["weights"] if (prior := one["prior"]) and prior["name"] != "default"]:
        rows["prior"] = requested[0]["name"]
    if only_in_model := facts["classes_left_out"]["only_in_model"]:
        rows["any class"] = f"{facts['accuracy_any_answer']:.1%} if {', '.join(only_in_model)} may be predicted too"
    if facts["grey_as_colour"]:
        rows["images"] = "grey, repeated in the three channels of the model"
    if facts["aligned"]:
        rows["face alignment"] = facts["aligned"]
    if facts["framed_otherwise"]:
        rows["face alignment"] = f"{facts['framed_otherwise']}; --detect crops faces as the model expects them"
    if facts["tta"] != "none":
        rows["augmented"] = f"at test time: {_TTA[facts['tta']]}"
    if "apart_from" in facts:
        rows["duplicates"] = f"{facts['duplicates_left_out']} faces excluded that are also in {facts['apart_from']}"
    if facts["faces_left_out"] or any(facts["classes_left_out"].values()):
        only = [f"{k.replace('_', ' ')}: {', '.join(v)}" for k, v in facts["classes_left_out"].items() if v]
        rows["left out"] = f"{facts['faces_left_out']} faces ({'; '.join(only)})"
    return rows
