"""What the commands print: the progress bar, the closing summary, tables of facts."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from fervid.runtime.profiling import Profiler
from fervid.timeline.read import timeline_summary

if TYPE_CHECKING:
    from fervid.pipeline import Result
    from fervid.self_test import SelfTest
    from fervid.types import Progress

__all__ = [
    "CLEAR",
    "clock",
    "line_printer",
    "plain",
    "print_evaluation",
    "print_facts",
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

#: Below this share of clear face time the most frequent expression says little.
CLEAR = 0.5


def clock(seconds: float) -> str:
    """Seconds -> "m:ss" or "h:mm:ss"."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


@contextmanager
def progress_bar(name: str, *, quiet: bool) -> Iterator[Callable[["Progress"], None] | None]:
    """A bar on stderr with video time, speed, faces and the time left; nothing when quiet or not a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    text = TextColumn("{task.fields[text]}")
    with Bar(TextColumn("[bold]{task.description}"), BarColumn(), text, console=console, transient=True) as bar:
        task = bar.add_task(escape(plain(name)), total=None, text="opening")
        started = perf_counter()

        def show(progress: "Progress") -> None:
            speed = progress.done_s / max(perf_counter() - started, 1e-3)
            text = f"{clock(progress.done_s)}"
            if progress.end_s:
                left = max(progress.end_s - progress.done_s, 0) / max(speed, 1e-3)
                text += f" of {clock(progress.end_s)}, {clock(left)} left"
            text += f"  {speed:.1f}x real time  {progress.faces} faces"
            bar.update(task, completed=progress.done_s, total=progress.end_s, text=text)

        yield show


def summary(result: "Result") -> dict[str, Any]:
    """The closing summary as data: what `--json` prints and `print_result` shows."""
    named = {"video": str(result.path), "out": str(result.out) if result.out else None}
    named |= {"read_whole": result.whole} if result.whole else {}
    named |= {"decoder_note": result.decoder_note} if result.decoder_note else {}
    return (
        named
        | {"status": result.status, "reasons": result.reasons}
        | timeline_summary(result.to_pandas(), result.provenance)
    )


def print_result(result: "Result", taken_s: float) -> None:
    """Say on stdout what the timeline says and where it is."""
    facts = summary(result)
    persons = f", persons: {facts['persons']}" if facts["persons"] is not None else ""
    rows = {
        "faces": f"{facts['seconds_with_face']} of {facts['seconds']} seconds, tracks: {facts['tracks']}{persons}",
        "shots": facts["shots"] or "not looked for (cuts = false): on an edited film a track may go on over a cut",
        "dominant": ", ".join(f"{name} {part:.0%}" for name, part in facts["dominant"].items()) or "no face found",
    }
    if facts["tracks"]:
        rows["clear"] = f"in {facts['clear']:.0%} of the face time one expression reaches 50%"
        if facts["clear"] < CLEAR:
            rows["clear"] += "; do not read much into the most frequent one"
    if facts["status"] != "ok":
        lost = f"; {facts['seconds_without_data']} seconds without data" if facts["seconds_without_data"] else ""
        rows["degraded"] = f"{', '.join(facts['reasons'])}{lost}"
    if result.whole:
        rows["shards"] = f"none, one worker has read it: {result.whole}"
    if result.decoder_note:
        rows["decoder"] = f"the CPU, for the GPU's decoder did not take it: {result.decoder_note}"
    rows |= {"took": f"{taken_s:.1f} s", "timeline": facts["out"]}
    print_facts(rows)


def print_facts(facts: Mapping[str, Any], indent: int = 0) -> None:
    """Print nested facts as aligned lines on stdout."""
    width = max((len(plain(str(k))) for k in facts), default=0)
    for key, value in facts.items():
        name = plain(str(key))
        if isinstance(value, Mapping):
            sys.stdout.write(f"{' ' * indent}{name}\n")
            print_facts(value, indent + 2)
        else:
            text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            shown = "-" if text is None or text == "" else plain(str(text))
            sys.stdout.write(f"{' ' * indent}{name:<{width}}  {shown}\n")


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


def show(facts: Mapping[str, Any], *, as_json: bool, quiet: bool = False) -> None:
    """Print the result of a command as its options request.

    Parameters
    ----------
    facts : Mapping[str, Any]
        Plain values, possibly nested.
    as_json : bool
        Print JSON instead of aligned lines.
    quiet : bool, default False
        Print nothing, unless JSON is requested.
    """
    if as_json:
        print_json(facts)
    elif not quiet:
        print_facts(facts)


def line_printer(*, as_json: bool, quiet: bool) -> Callable[[str], None]:
    """Choose where the progress of a long command goes, line by line.

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
            f"\n{failed} of {len(result.checks)} checks failed: do not rely on results of this installation. Compare "
            "`fervid doctor` with\na machine that passes, reinstall fervid, and report it with the output of both "
            "commands.\n"
        )
    else:
        sys.stdout.write(
            f"\nAll {len(result.checks)} checks passed in {result.taken_s:.0f} s: this installation works.\n"
        )


def print_evaluation(facts: Mapping[str, Any]) -> None:
    """Say on stdout how good and how honest a classifier is: figures, then classes, then what was called what."""
    console = Console(file=sys.stdout, highlight=False)
    print_facts(_headline(facts))
    names = list(facts["confusion"])
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    for name in ("precision", "recall", "F1", "faces"):
        table.add_column(name, justify="right")
    for name, one in facts["classes"].items():
        shares = ("-" if one[k] is None else f"{one[k]:.3f}" for k in ("precision", "recall", "f1"))
        table.add_row(name, *shares, str(one["support"]))
    console.print()
    console.print(table)
    title = "what 100 faces of each class were called"
    called = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0), title=title)
    called.title_justify = "left"
    called.add_column("true")
    for name in [*names, *(["no face"] if facts["detect"] else [])]:
        called.add_column(_SHORT.get(name, name), justify="right", no_wrap=True)
    for name, counts in facts["confusion"].items():
        one = facts["classes"][name]
        row = [*counts, *([one["missed"]] if facts["detect"] else [])]
        of_100 = (100 * n / max(one["support"], 1) for n in row)
        called.add_row(name, *(f"{s:.0f}" if s >= 0.5 else "." for s in of_100))
    console.print()
    console.print(called)


_SHORT = {"happiness": "happy", "sadness": "sad"}


def _headline(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of an evaluation in words."""
    split = f", {facts['split']}" if facts["split"] else ""
    way = "bootstrap" if 0 < facts["accuracy"] < 1 else "Clopper-Pearson"
    interval = f"95% interval {facts['accuracy_low']:.1%} to {facts['accuracy_high']:.1%}, {way}"
    rows = {
        "data": f"{facts['data']}{split}: {facts['n']} faces",
        "model": " + ".join(f"{one['name']} (head {one['head']})" for one in facts["weights"]),
        "classes": facts["classes_compared"],
        "accuracy": f"{facts['accuracy']:.1%} ({interval})",
        "macro-F1": f"{facts['macro_f1']:.3f}",
        "calibration": f"error {facts['ece']:.3f} in 15 bins ({facts['ece_uncalibrated']:.3f} before scaling)",
    }
    if facts["detect"]:
        words = f"{facts['accuracy']:.1%} of all, {facts['accuracy_found']:.1%} of the faces found ({interval})"
        rows |= {"accuracy": words, "coverage": f"{facts['coverage']:.1%} of the faces were found"}
    if barred := facts["classes_left_out"]["only_in_model"]:
        rows["any answer"] = f"{facts['accuracy_any_answer']:.1%} where it may also say {', '.join(barred)}"
    if facts["framed_otherwise"]:
        rows["framing"] = f"{facts['framed_otherwise']}; --detect would cut them out alike"
    if facts["tta"] != "none":
        rows["shown as"] = {"flip": "itself and mirrored", "tencrop": "ten windows"}[facts["tta"]]
    if "apart_from" in facts:
        rows["apart from"] = f"{facts['duplicates_left_out']} faces that are also in {facts['apart_from']}"
    if facts["faces_left_out"] or any(facts["classes_left_out"].values()):
        only = [f"{k.replace('_', ' ')}: {', '.join(v)}" for k, v in facts["classes_left_out"].items() if v]
        rows["left out"] = f"{facts['faces_left_out']} faces ({'; '.join(only)})"
    return rows


def plain(text: str) -> str:
    """Control characters in file names never reach the terminal raw."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def profile(watch: Profiler) -> dict[str, Any]:
    """Give the seconds of CPU and of the wall clock, in all and stage by stage; stages overlap on the wall clock."""
    return {
        "cpu_s": round(watch.cpu_s, 3),
        "wall_s": round(watch.wall_s, 3),
        "stages": {
            spent.stage: {"cpu_s": round(spent.cpu_s, 3), "wall_s": round(spent.wall_s, 3), "calls": spent.calls}
            for spent in watch.stages()
        },
    }


def print_profile(watch: Profiler) -> None:
    """Print the stages by falling CPU time on stdout."""
    facts = profile(watch)
    rows = [("stage", "CPU s", "share", "wall s", "calls")]
    for stage, spent in facts["stages"].items():
        wall, calls = (f"{spent['wall_s']:.2f}", str(spent["calls"])) if spent["calls"] else ("", "")
        rows.append((stage, f"{spent['cpu_s']:.2f}", f"{spent['cpu_s'] / facts['cpu_s']:.0%}", wall, calls))
    rows.append(("in all", f"{facts['cpu_s']:.2f}", "", f"{facts['wall_s']:.2f}", ""))
    sys.stdout.write("\n")
    for stage, *figures in rows:
        sys.stdout.write(f"{stage:<16}" + "".join(f"{figure:>9}" for figure in figures).rstrip() + "\n")
