"""Results of `fervid agree`: tables on the terminal, a figure of both sides over time, and data files."""

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fervid.files import make_folder, write_atomically
from fervid.timeline.aggregate import NO_DATA, NO_FACE
from fervid.views.figures.axes import runs, shade_gaps, show_time
from fervid.views.figures.style import PALETTE, new_figure, save_figure
from fervid.views.figures.tables import cell_text, interval_text, write_csv, write_json
from fervid.views.terminal import plain, print_facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fervid.studies.agreement import Agreement

__all__ = ["print_agreement", "write_agreement"]

#: What was rated, by the kind of the ratings.
_KINDS = {
    "moments": "of single seconds",
    "intervals": "of intervals",
    "moments and intervals": "of single seconds and intervals",
}
#: The colours of single raters and of their mean.
_RATER, _MEAN = "#BDBDBD", "#222222"
#: Most points of a panel; longer videos are averaged over several seconds.
_MAX_POINTS = 600
#: Width in inches for which the time axis gets its ticks: about twelve.
_TICKS_IN = 5.5
#: Width in characters at which the tables fit.
_MIN_COLUMNS = 100


# -- on the terminal --------------------------------------------------------------------------------------------


def print_agreement(result: "Agreement", written: list[Path]) -> None:
    """Print what was compared, how well both sides agree, and how well the raters agree among themselves.

    Parameters
    ----------
    result : Agreement
    written : list of Path
        The files that were written.
    """
    facts, console = result.facts, Console(file=sys.stdout, highlight=False)
    console.width = max(console.width, _MIN_COLUMNS)  # a longer line rather than cells that are cut off
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
        "model": f"{facts['machine']['model']}; {facts['machine']['who']}",
        "raters": f"{len(facts['raters'])}: {', '.join(facts['raters'])} ({facts['ratings']} ratings "
        f"{_KINDS[facts['kind']]})",
        "compared": f"{coverage['compared_seconds']} seconds: {coverage['of_raters']:.0%} of the raters', "
        f"{coverage['of_machine']:.0%} of the model's" + (f"; rated but not compared: {lost}" if lost else ""),
    }
    if coverage["too_few_seconds"]:
        rows["caution"] = "so few seconds give rough values only"
    if "scale" in facts:
        several = isinstance(facts["scale"][0], list)
        scales = [f"{low:g} to {high:g}" for low, high in (facts["scale"] if several else [facts["scale"]])]
        how = ", guessed from the ratings (give --scale LOW:HIGH: CCC depends on it)"
        rows["scale"] = ", ".join(scales) + (how if facts["scale_guessed"] else " (--scale)")
    reasons = {"only_in_ratings": "not in the timeline", "only_in_machine": "not rated"}
    left_out = [f"{', '.join(facts[key])} ({reason})" for key, reason in reasons.items() if facts[key]]
    if n := facts["points_ignored"]:
        left_out.append(f"{n} event{'s' * (n > 1)} without duration")
    if left_out:
        rows["left out"] = "; ".join(left_out)
    if others := facts["other_videos"]:
        rows["video"] = f"the ratings name {', '.join(others)}; the timeline has another name"
    if origin_s := facts["origin_s"]:
        rows["clock"] = f"that of a player, with the first frame at {origin_s:g} s"
    if facts["labels_ignored"]:
        rows["ignored"] = ", ".join(f"{name!r} ({n})" for name, n in facts["labels_ignored"].items())
    if facts["columns_not_used"]:
        rows["columns not used"] = facts["columns_not_used"]
    return rows | {
        "95% intervals": f"bootstrap: moving blocks of {boot['block_s']} s, {boot['draws']} draws, seed {boot['seed']}"
    }


def _emotion_table(facts: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("emotion", "CCC", "Pearson", "Spearman"):
        table.add_column(name, no_wrap=True)
    table.add_column("lag", justify="right", no_wrap=True)
    for name, one in facts["emotions"].items():
        table.add_row(name, *(_cell(one[k]) for k in ("ccc", "pearson", "spearman")), _lag_text(one))
    return table


def _lag_text(one: dict[str, Any]) -> str:
    """Format the best lag of an emotion; a dash if it is undefined, or comes from too few seconds."""
    lag = one["best_lag_s"]
    if lag is None or one["best_lag_too_few_seconds"]:
        return "-"
    return f"{lag:+d} s (limit)" if one["best_lag_at_limit"] else f"{lag:+d} s" if lag else "0 s"


def _rater_table(facts: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("among raters", "ICC(2,k)", "ICC(2,1)", "alpha (interval data)"):
        table.add_column(name, no_wrap=True)
    for name, one in facts["emotions"].items():
        table.add_row(name, *(_cell(one["raters"][k]) for k in ("icc_2k", "icc_21", "alpha_interval")))
    return table


def _cell(one: dict[str, Any]) -> str:
    """Format a statistic for a table; reasons for undefined ones are listed below the table."""
    if one["value"] is None:
        return "undefined"
    return interval_text(one).replace(" to ", ", ").replace("(", "[").replace(")", "]")


def _reasons(facts: dict[str, Any]) -> dict[str, str]:
    """Explain the lag, and list by emotion why statistics are undefined."""
    emotions = facts["emotions"]
    lags = [_lag_text(one) for one in emotions.values()]
    rows = {}
    if set(lags) != {"-"}:
        rows["lag"] = "seconds by which the raters follow the model at the best correlation (negative: they precede it)"
    if any("limit" in lag for lag in lags):
        rows["(limit)"] = "the largest lag that was tried; the best may be larger (--max-lag)"
    if any(one["best_lag_too_few_seconds"] for one in emotions.values()):
        rows["lag -" if "lag" in rows else "lag"] = "too few seconds"
    for name, one in emotions.items():
        every = [one[k] for k in ("ccc", "pearson", "spearman")]
        every += [value for value in one.get("raters", {}).values() if isinstance(value, dict)]
        if why := list(dict.fromkeys(value["undefined"] for value in every if value["value"] is None)):
            rows[name] = f"undefined: {'; '.join(why)}"
    return rows


def _label_lines(labels: dict[str, Any]) -> dict[str, Any]:
    several = "kappa_by_rater" in labels
    undecided = f"; {labels['without_consensus']} tied" if labels["without_consensus"] else ""
    rows = {
        "labels": f"from {labels['from']}, {labels['seconds']} seconds{undecided}",
        "Cohen's kappa": f"{interval_text(labels['kappa'])} with the {'most frequent label' if several else 'rater'}",
    }
    if several:
        each = ", ".join(f"{rater} {interval_text(one)}" for rater, one in labels["kappa_by_rater"].items())
        rows |= {
            "  with each rater": each,
            "alpha (nominal data)": f"{interval_text(labels['raters_alpha_nominal'])} among the raters; "
            f"{interval_text(labels['alpha_nominal_with_machine'])} with the model as one more rater",
        }
    named = [f"{name} {one['f1']:.2f}" for name, one in labels["each"].items() if one["f1"] is not None]
    return rows | {"F1": ", ".join(named)}


# -- in files -----------------------------------------------------------------------------------------------------


def write_agreement(result: "Agreement", folder: Path) -> list[Path]:
    """Write the results as files.

    Parameters
    ----------
    result : Agreement
    folder : Path
        The folder for agreement.json, agreement.csv (one row per statistic), agreement_seconds.csv and agreement.png.

    Returns
    -------
    list of Path
        The files, in this order.

    Raises
    ------
    OutputError, RunError
        If a file cannot be written, or the disk is full.
    """
    make_folder(folder)
    names = ("agreement.json", "agreement.csv", "agreement_seconds.csv", "agreement.png")
    paths = [folder / name for name in names]
    write_json(result.facts, paths[0])
    write_csv(
        [["of", "measure", "value", "low", "high", "seconds", "undefined", "note"], *_rows(result.facts)], paths[1]
    )
    with write_atomically(paths[2]) as part:
        result.to_pandas().to_csv(part, index=False, float_format="%.6g")
    save_figure(_figure(result), paths[3])
    return paths


def _rows(facts: dict[str, Any]) -> list[list[Any]]:
    """List every statistic as one row."""
    rows: list[list[Any]] = []

    def add(of: str, measure: str, one: dict[str, Any], seconds: int | str, note: str = "") -> None:
        values = [cell_text(one[k]) for k in ("value", "low", "high")]
        rows.append([of, measure, *values, seconds, one.get("undefined", ""), note])

    for name, one in facts["emotions"].items():
        for measure in ("ccc", "pearson", "spearman"):
            add(name, measure, one[measure], one["seconds"])
        lag = {"value": one["best_lag_s"], "low": None, "high": None}
        few, limit = one["best_lag_too_few_seconds"], one["best_lag_at_limit"]
        note = "too few seconds" if few else "at the limit of --max-lag" if limit else ""
        add(name, "best_lag_s", lag, one["seconds"], note)
        for measure in ("alpha_interval", "icc_2k", "icc_21"):
            if "raters" in one:
                add(name, f"raters_{measure}", one["raters"][measure], one["raters"]["seconds_all"])
    labels = facts["labels"]
    for measure in ("kappa", "raters_alpha_nominal", "alpha_nominal_with_machine"):
        if measure in labels:
            add("labels", measure, labels[measure], labels["seconds"])
    for rater, one in labels.get("kappa_by_rater", {}).items():
        add("labels", f"kappa_with_{rater}", one, "")
    for name, one in labels.get("each", {}).items():
        add(name, "f1", {"value": one["f1"], "low": None, "high": None}, labels["seconds"])
    return rows


# -- the figure -----------------------------------------------------------------------------------------------------


def _figure(result: "Agreement") -> "Figure":
    """Draw labels as strips, then one panel per emotion: the model in colour, raters in grey, their mean dark."""
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
    show_time(panels[-1], float(both.second[0]), float(both.second[-1] + 1), _TICKS_IN)
    panels[-1].set_xlabel("time in the video")
    notes = []
    if "spread" in facts:
        notes += ["* among the raters.", facts["spread"]["verdict"]]
    if any("limit" in _lag_text(one) for one in facts["emotions"].values()):
        notes.append("(limit): the largest lag that was tried.")
    if notes:
        note = " ".join(notes)
        figure.supxlabel("\n".join(textwrap.wrap(note, 150)), fontsize=9, x=0.01, ha="left")
    figure.suptitle(f"{Path(facts['timeline']).name} and {len(both.raters)} rater{'s' * (coders > 2)}", fontsize=11)
    return figure


def _shade(axes: "Axes", both: Any) -> None:
    """Shade the seconds in which the model has no face, or no data."""
    no_face, no_data = (
        [
            (float(both.second[i]), float(both.second[j - 1] + 1 - both.second[i]))
            for i, j in runs(both.status == status)
        ]
        for status in (NO_FACE, NO_DATA)
    )
    shade_gaps(axes, no_face, no_data)


def _draw_emotion(axes: "Axes", result: "Agreement", j: int, name: str) -> None:
    both, one = result.aligned, result.facts["emotions"][name]
    step = -(-len(both.second) // _MAX_POINTS)
    centre = _bin_means(both.second + 0.5, step)
    _shade(axes, both)
    if len(both.raters) > 1:
        for r, score in enumerate(both.score[:, :, j]):
            axes.plot(
                centre,
                _bin_means(score, step),
                color=_RATER,
                linewidth=0.8,
                marker="o",  # shows a second without neighbours
                markersize=2 if len(centre) < 300 else 0.8,
                label="raters" if r == 0 else None,
            )
    rated = "mean of the raters" if len(both.raters) > 1 else "rater"
    axes.plot(
        centre,
        _bin_means(both.mean[:, j], step),
        color=_MEAN,
        linewidth=1.3,
        linestyle="--",
        marker="" if len(centre) > 300 else ".",
        markersize=3,
        label=rated,
    )
    width = 2 if len(centre) < 300 else 1.2
    model = "model" if step == 1 else f"model (all curves: means over {step} s)"
    values = _bin_means(both.prob[:, j], step)
    axes.plot(centre, values, color=PALETTE[name], linewidth=width, marker="o", markersize=width, label=model)
    axes.set(ylim=(-0.03, 1.03), ylabel=name)
    measures = {"CCC": one["ccc"], "Pearson": one["pearson"], "Spearman": one["spearman"]}
    if "raters" in one:
        measures["ICC(2,k)*"] = one["raters"]["icc_2k"]
    lines = [f"{word:<10}{_cell(value)}" for word, value in measures.items()]
    lines.append(f"lag       {_lag_text(one)}")
    shown = "\n".join(lines)
    axes.text(1.01, 0.98, shown, transform=axes.transAxes, va="top", fontsize=8, family="monospace")
    if j == 0:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=3, frameon=False, fontsize=7.5)


def _bin_means(values: np.ndarray, step: int) -> np.ndarray:
    """Average bins of `step` seconds, ignoring NaN; an empty bin is NaN."""
    bins = np.pad(values, (0, -len(values) % step), constant_values=np.nan).reshape(-1, step)
    finite = np.isfinite(bins)
    count = finite.sum(1)
    return np.divide(np.where(finite, bins, 0).sum(1), count, out=np.full(len(count), np.nan), where=count > 0)


def _draw_strips(axes: "Axes", result: "Agreement") -> None:
    """Draw the labels in their colours, one row per rater and the model last."""
    from matplotlib.patches import Patch

    both = result.aligned
    rows = [*both.label, both.model_label]
    for i, labels in enumerate(rows):
        for c, name in enumerate(both.categories):
            spans = [(both.second[s], both.second[e - 1] + 1 - both.second[s]) for s, e in runs(labels == c)]
            axes.broken_barh(spans, (i - 0.38, 0.76), facecolors=PALETTE[name], linewidth=0)
    axes.set(ylim=(len(rows) - 0.45, -0.55))
    axes.set_yticks(range(len(rows)), [*both.raters, "model"], fontsize=8)
    used = [c for c in range(len(both.categories)) if any((row == c).any() for row in rows)]
    patches = [Patch(color=PALETTE[both.categories[c]], label=both.categories[c]) for c in used]
    axes.legend(handles=patches, loc="upper left", bbox_to_anchor=(1.0, 1.1), frameon=False, fontsize=7.5, ncols=2)
    reference = "the most frequent label of the raters" if len(both.raters) > 1 else "the rater"
    kappa = f"kappa of the model with {reference} {interval_text(result.facts['labels']['kappa'])}"
    seconds = f"{result.facts['labels']['seconds']} seconds compared"
    labels = "labels" if result.facts["labels"]["from"] == "labels" else "labels from the highest score"
    axes.set_title(f"{labels}: {kappa}, {seconds}", fontsize=9, loc="left")
