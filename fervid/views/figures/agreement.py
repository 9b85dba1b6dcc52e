"""What `fervid agree` shows and writes: tables, a figure of both sides over time, and everything as data."""

import csv
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fervid.files import make_folder, write_atomically
from fervid.views.figures.style import PALETTE, new_figure, save_figure
from fervid.views.terminal import clock, plain, print_facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fervid.studies.agreement import Agreement

__all__ = ["interval_text", "label_time", "print_agreement", "write_agreement"]

_RATER, _MEAN = "#BDBDBD", "#222222"
#: A panel shows so many points at the most: of longer videos, means over several seconds.
_POINTS = 600
_NO_FACE, _NO_DATA = "#EEEEEE", "#FFFFFF"
#: Ticks of the time axis stand so many seconds apart, the last for a day of video and more.
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400, 10**9)


def interval_text(one: dict[str, Any]) -> str:
    """A figure with its interval: "0.81 (0.62 to 0.90)", or why there is none."""
    if one["value"] is None:
        return f"undefined: {one['undefined']}"
    value, low, high = (None if one[k] is None else f"{round(one[k], 2) + 0.0:.2f}" for k in ("value", "low", "high"))
    return f"{value}" if low is None else f"{value} ({low} to {high})"


# -- on the terminal --------------------------------------------------------------------------------------------


def print_agreement(result: "Agreement", written: list[Path]) -> None:
    """Say on stdout what was compared, how far it agrees, and what the raters do among themselves."""
    facts, console = result.facts, Console(file=sys.stdout, highlight=False)
    print_facts(_headline(facts))
    console.print()
    console.print(_emotion_table(facts))
    if "spread" in facts:
        console.print()
        console.print(_rater_table(facts))
    print_facts(_reasons(facts))
    if "undefined" not in facts["labels"]:
        console.print()
        print_facts(_label_lines(facts["labels"]))
    if "spread" in facts:
        sys.stdout.write(f"\n{facts['spread']['verdict']}\n")
    for path in written:
        sys.stdout.write(f"{plain(str(path))}\n")


def _headline(facts: dict[str, Any]) -> dict[str, Any]:
    coverage, boot = facts["coverage"], facts["bootstrap"]
    reasons = {"no_face": "no face", "no_data": "no data", "outside": "outside the timeline"}
    lost = ", ".join(f"{n} {reasons[k]}" for k, n in coverage["rated_not_compared"].items() if n)
    rows = {
        "machine": f"{facts['machine']['who']} ({facts['machine']['model']})",
        "raters": f"{len(facts['raters'])}: {', '.join(facts['raters'])} ({facts['ratings']} ratings, {facts['kind']})",
        "compared": f"{coverage['compared_seconds']} seconds: {coverage['of_raters']:.0%} of the raters', "
        f"{coverage['of_machine']:.0%} of the machine's" + (f"; rated but not compared: {lost}" if lost else ""),
    }
    if "scale" in facts:
        several = isinstance(facts["scale"][0], list)
        scales = [f"{low:g} to {high:g}" for low, high in (facts["scale"] if several else [facts["scale"]])]
        rows["scale"] = f"{', '.join(scales)}, read as 0 to 1 (only CCC depends on it; --scale LOW:HIGH sets it)"
    only = [f"{name} ({k.rpartition('_')[2]})" for k in ("only_in_ratings", "only_in_machine") for name in facts[k]]
    if only:
        rows["only one side"] = ", ".join(only)
    if facts["labels_ignored"]:
        rows["ignored"] = ", ".join(f"{name!r} ({n})" for name, n in facts["labels_ignored"].items())
    if facts["columns_not_used"]:
        rows["columns not used"] = facts["columns_not_used"]
    return rows | {
        "intervals": f"95%, moving blocks of {boot['block_s']} s, {boot['draws']} draws, seed {boot['seed']}"
    }


def _emotion_table(facts: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("emotion", "CCC", "Pearson", "Spearman"):
        table.add_column(name, no_wrap=True)
    table.add_column("lag", justify="right", no_wrap=True)
    for name, one in facts["emotions"].items():
        lag = "-" if one["best_lag_s"] is None else f"{one['best_lag_s']:+d} s"
        table.add_row(name, *(_cell(one[k]) for k in ("ccc", "pearson", "spearman")), lag)
    return table


def _rater_table(facts: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("among raters", "ICC(2,k)", "ICC(2,1)", "alpha, interval"):
        table.add_column(name, no_wrap=True)
    for name, one in facts["emotions"].items():
        table.add_row(name, *(_cell(one["raters"][k]) for k in ("icc_2k", "icc_21", "alpha_interval")))
    return table


def _cell(one: dict[str, Any]) -> str:
    """A figure in the width of a column; the reason why there is none stands below the table."""
    if one["value"] is None:
        return "undefined"
    return interval_text(one).replace(" to ", ", ").replace("(", "[").replace(")", "]")


def _reasons(facts: dict[str, Any]) -> dict[str, str]:
    """Why figures are undefined, by emotion; and what a lag means."""
    rows = {"lag": "seconds by which the raters come after the machine where both correlate best (negative: before it)"}
    for name, one in facts["emotions"].items():
        every = [one[k] for k in ("ccc", "pearson", "spearman")]
        every += [value for value in one.get("raters", {}).values() if isinstance(value, dict)]
        if why := list(dict.fromkeys(value["undefined"] for value in every if value["value"] is None)):
            rows[name] = f"undefined: {'; '.join(why)}"
    return rows


def _label_lines(labels: dict[str, Any]) -> dict[str, Any]:
    level = f"; {labels['without_consensus']} without a majority" if labels["without_consensus"] else ""
    rows = {
        "labels": f"from {labels['from']}, {labels['seconds']} seconds{level}",
        "Cohen's kappa": interval_text(labels["kappa"]),
    }
    if "kappa_by_rater" in labels:
        each = ", ".join(f"{who} {interval_text(one)}" for who, one in labels["kappa_by_rater"].items())
        rows |= {
            "  with each": each,
            "raters' alpha": interval_text(labels["raters_alpha_nominal"]),
            "  and machine": interval_text(labels["alpha_nominal_with_machine"]),
        }
    named = [f"{name} {one['f1']:.2f}" for name, one in labels["each"].items() if one["f1"] is not None]
    return rows | {"F1": ", ".join(named)}


# -- in files -----------------------------------------------------------------------------------------------------


def write_agreement(result: "Agreement", folder: Path) -> list[Path]:
    """Write agreement.json, agreement.csv (a row a figure), agreement_seconds.csv and agreement.png; give the paths."""
    make_folder(folder)
    names = ("agreement.json", "agreement.csv", "agreement_seconds.csv", "agreement.png")
    paths = [folder / name for name in names]
    with write_atomically(paths[0]) as part:
        part.write_text(json.dumps(result.facts, indent=2, allow_nan=False) + "\n", "utf-8")
    with write_atomically(paths[1]) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["of", "measure", "value", "low", "high", "seconds", "undefined"])
        table.writerows(_rows(result.facts))
    with write_atomically(paths[2]) as part:
        result.to_pandas().to_csv(part, index=False, float_format="%.6g")
    save_figure(_figure(result), paths[3])
    return paths


def _rows(facts: dict[str, Any]) -> list[list[Any]]:
    """Every figure with an interval as a row."""
    rows: list[list[Any]] = []

    def add(of: str, measure: str, one: dict[str, Any], seconds: int | str) -> None:
        rows.append(
            [of, measure, *(_short(one[k]) for k in ("value", "low", "high")), seconds, one.get("undefined", "")]
        )

    for name, one in facts["emotions"].items():
        for measure in ("ccc", "pearson", "spearman"):
            add(name, measure, one[measure], one["seconds"])
        lag = {"value": one["best_lag_s"], "low": None, "high": None}
        add(name, "best_lag_s", lag, one["seconds"])
        for measure in ("alpha_interval", "icc_2k", "icc_21"):
            if "raters" in one:
                add(name, f"raters_{measure}", one["raters"][measure], one["raters"]["seconds_all"])
    labels = facts["labels"]
    for measure in ("kappa", "raters_alpha_nominal", "alpha_nominal_with_machine"):
        if measure in labels:
            add("labels", measure, labels[measure], labels["seconds"])
    for who, one in labels.get("kappa_by_rater", {}).items():
        add("labels", f"kappa_with_{who}", one, "")
    for name, one in labels.get("each", {}).items():
        add(name, "f1", {"value": one["f1"], "low": None, "high": None}, labels["seconds"])
    return rows


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


# -- the figure -----------------------------------------------------------------------------------------------------


def _figure(result: "Agreement") -> "Figure":
    """Labels as strips on top, then one panel an emotion: the machine in colour, raters grey, their mean dark."""
    both, facts = result.aligned, result.facts
    strips = (both.label >= 0).any() and len(both.categories) > 1
    k, coders = len(both.emotions), len(both.raters) + 1
    heights = ([0.34 * coders] if strips else []) + [1.25] * k
    figure = new_figure(12.5, sum(heights) + 1.5)
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    if strips:
        _draw_strips(panels[0], result)
    for j, (axes, name) in enumerate(zip(panels[-k:], both.emotions)):
        _draw_emotion(axes, result, j, name)
    start, end = _extent(both)
    label_time(panels[-1], start, end)
    if "spread" in facts:
        below = f"* of the raters among themselves. {facts['spread']['verdict']}"
        figure.supxlabel("\n".join(textwrap.wrap(below, 150)), fontsize=9, x=0.01, ha="left")
    figure.suptitle(f"{Path(facts['timeline']).name} and {len(both.raters)} rater{'s' * (coders > 2)}", fontsize=11)
    return figure


def label_time(axes: "Axes", start_s: float, end_s: float) -> None:
    """Give the axis of time its ends, and at most a dozen ticks at round times."""
    step = next(step for step in _STEPS_S if (end_s - start_s) / step <= 12)
    axes.set_xlim(start_s, end_s)
    axes.set_xticks(np.arange(np.ceil(start_s / step) * step, end_s + 0.1, step))
    axes.xaxis.set_major_formatter(lambda s, _: clock(s) if s >= 0 else f"-{clock(-s)}")
    axes.set_xlabel("time in the video")


def _extent(both: Any) -> tuple[float, float]:
    """From the first to the last second that either side rated, with a little air."""
    rated = np.isfinite(both.score).any((0, 2)) | (both.label >= 0).any(0)
    seconds = both.second[rated]
    return float(seconds[0]), float(seconds[-1] + 1)


def _shade(axes: "Axes", both: Any) -> None:
    """Where the machine has nothing: no_face in grey, no_data hatched."""
    for status, face, hatch in (("no_face", _NO_FACE, None), ("no_data", _NO_DATA, "///")):
        for s, e in _runs(both.status == status):
            span = (both.second[s], both.second[e - 1] + 1)
            axes.axvspan(*span, facecolor=face, edgecolor="#BBBBBB", hatch=hatch, linewidth=0, zorder=0)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def _draw_emotion(axes: "Axes", result: "Agreement", j: int, name: str) -> None:
    both, one = result.aligned, result.facts["emotions"][name]
    step = -(-len(both.second) // _POINTS)
    middle = _thinned(both.second + 0.5, step)
    _shade(axes, both)
    if len(both.raters) > 1:
        for r, score in enumerate(both.score[:, :, j]):
            axes.plot(middle, _thinned(score, step), color=_RATER, linewidth=0.8, label="raters" if r == 0 else None)
    whose = "mean of the raters" if len(both.raters) > 1 else "rater"
    axes.plot(
        middle,
        _thinned(both.mean[:, j], step),
        color=_MEAN,
        linewidth=1.3,
        linestyle="--",
        marker="" if len(middle) > 300 else ".",
        markersize=3,
        label=whose,
    )
    width = 2 if len(middle) < 300 else 1.2
    what = "machine" if step == 1 else f"machine (all: means of {step} s)"
    axes.plot(middle, _thinned(both.prob[:, j], step), color=PALETTE[name], linewidth=width, label=what)
    axes.set(ylim=(-0.03, 1.03), ylabel=name)
    lag = one["best_lag_s"]
    measures = {"CCC": one["ccc"], "Pearson": one["pearson"], "Spearman": one["spearman"]}
    if "raters" in one:
        measures["ICC(2,k)*"] = one["raters"]["icc_2k"]
    lines = [f"{word:<10}{_cell(value)}" for word, value in measures.items()]
    lines.append("lag       " + ("-" if lag is None else f"{lag:+d} s"))
    shown = "\n".join(lines)
    axes.text(1.01, 0.98, shown, transform=axes.transAxes, va="top", fontsize=8, family="monospace")
    if j == 0:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=3, frameon=False, fontsize=7.5)


def _thinned(values: np.ndarray, step: int) -> np.ndarray:
    """Means over `step` seconds each, of what there is; NaN where there is nothing."""
    filled = np.pad(values, (0, -len(values) % step), constant_values=np.nan).reshape(-1, step)
    there = np.isfinite(filled)
    count = there.sum(1)
    return np.divide(np.where(there, filled, 0).sum(1), count, out=np.full(len(count), np.nan), where=count > 0)


def _draw_strips(axes: "Axes", result: "Agreement") -> None:
    """One row a rater, the machine last: a colour a label."""
    from matplotlib.patches import Patch

    both = result.aligned
    rows = [*both.label, both.machine]
    for i, labels in enumerate(rows):
        for c, name in enumerate(both.categories):
            spans = [(both.second[s], both.second[e - 1] + 1 - both.second[s]) for s, e in _runs(labels == c)]
            axes.broken_barh(spans, (i - 0.38, 0.76), facecolors=PALETTE[name], linewidth=0)
    axes.set(ylim=(len(rows) - 0.45, -0.55))
    axes.set_yticks(range(len(rows)), [*both.raters, "machine"], fontsize=8)
    used = [c for c in range(len(both.categories)) if any((row == c).any() for row in rows)]
    patches = [Patch(color=PALETTE[both.categories[c]], label=both.categories[c]) for c in used]
    axes.legend(handles=patches, loc="upper left", bbox_to_anchor=(1.0, 1.1), frameon=False, fontsize=7.5, ncols=2)
    whom = "the label of most raters" if len(both.raters) > 1 else "the rater"
    kappa = f"kappa of the machine with {whom} {interval_text(result.facts['labels']['kappa'])}"
    seconds = f"{result.facts['labels']['seconds']} seconds compared"
    axes.set_title(f"labels ({result.facts['labels']['from']}): {kappa}, {seconds}", fontsize=9, loc="left")
