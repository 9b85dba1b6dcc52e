"""Results of `fervid disfa`: a written summary, tables, a forest plot over subjects, and a time course."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.files import make_folder, write_atomically
from fervid.views.figures.axes import show_time
from fervid.views.figures.style import PALETTE, new_figure, save_figure
from fervid.views.figures.tables import cell_text, interval_text, write_csv, write_json
from fervid.views.terminal import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fervid.studies.disfa_study import DisfaResult

__all__ = ["print_report", "write_report"]

#: Vertical offset of each camera within the row of a subject.
_CAMERA = {"left": -0.16, "right": 0.16}
#: Frames per second of DISFA.
_RATE = 20
#: Width in inches for which the time axis gets its ticks: about twelve.
_TICKS_IN = 5.5


def print_report(report: "DisfaResult", written: list[Path]) -> None:
    """Print the summary, and the files that were written.

    Parameters
    ----------
    report : DisfaResult
    written : list of Path
    """
    sys.stdout.write(_summary(report.facts))
    for path in written:
        sys.stdout.write(f"{plain(str(path))}\n")


def _summary(facts: dict[str, Any]) -> str:
    """Write the results as text."""
    faces = sum(one["frames_with_face"] for one in facts["recordings"])
    frames = sum(min(one["video_frames"], one["coded_frames"]) for one in facts["recordings"])
    lines = [
        f"DISFA: {len(facts['recordings'])} recordings of {len(facts['subjects'])} subjects, a face in "
        f"{faces} of {frames} coded frames ({faces / max(frames, 1):.1%})",
        f"score: {facts['method']['score']}; present: {facts['method']['present']}",
        f"source: {facts['method']['source']}",
        f"intervals: {facts['method']['intervals']}",
    ]
    for side, emotions in facts["overall"].items():
        lines += ["", f"{side} camera, mean over subjects [range when one subject is left out]"]
        for name, one in emotions.items():
            units = "+".join(unit.removeprefix("AU") for unit in facts["method"]["combinations"][name])
            lines.append(f"  {name} and AU{units}")
            lines += [
                f"    {label:<9} {_over(one[key], one['subjects'])}"
                for label, key in (("Pearson", "pearson"), ("Spearman", "spearman"), ("AUC", "auc"))
            ]
            pooled = one["pooled"]
            lines.append(
                f"    all {pooled['frames']} frames pooled: Pearson {interval_text(pooled['pearson'])}, AUC "
                f"{interval_text(pooled['auc'])}; present in {one['positive']} frames of {one['subjects_positive']} "
                "subjects"
            )
    if facts["subjects_missing"]:
        lines += ["", f"missing subjects: {', '.join(facts['subjects_missing'])}"]
    if facts["troubles"]:
        lines += ["", "problems", *(f"  {plain(text)}" for text in facts["troubles"])]
    return "\n".join(lines) + "\n"


def _over(one: dict[str, Any], subjects: int) -> str:
    text = interval_text(one)
    if one["value"] is None:
        return text
    if one["subjects"] < subjects:
        text += f", over the {one['subjects']} of {subjects} subjects for which it is defined"
    if one["without_one_low"] is not None:
        text += f" [{one['without_one_low']:.2f} to {one['without_one_high']:.2f}]"
    return text


def write_report(report: "DisfaResult", folder: Path) -> list[Path]:
    """Write the results as files.

    Parameters
    ----------
    report : DisfaResult
    folder : Path
        The folder for disfa.txt, disfa.csv (one row per recording and emotion), disfa.json, disfa_forest.png and
        disfa_course.png.

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
    names = ("disfa.txt", "disfa.csv", "disfa.json", "disfa_forest.png", "disfa_course.png")
    paths = [folder / name for name in names]
    with write_atomically(paths[0]) as part:
        part.write_text(_summary(report.facts), "utf-8")
    write_csv(_rows(report.facts), paths[1])
    write_json(report.facts, paths[2])
    save_figure(_forest(report.facts), paths[3])
    save_figure(_course(report), paths[4])
    return paths


def _rows(facts: dict[str, Any]) -> list[list[Any]]:
    """List one row per recording and emotion, then the mean over subjects per camera and emotion."""
    measures = ("pearson", "spearman", "auc")
    ends = [f"{name}{end}" for name in measures for end in ("", "_low", "_high", "_undefined")]
    rows: list[list[Any]] = [["subject", "camera", "emotion", "frames", "positive", *ends]]

    def add(subject: str, side: str, name: str, frames: int | str, one: dict[str, Any]) -> None:
        cells = [cell_text(one[key].get(end)) for key in measures for end in ("value", "low", "high", "undefined")]
        rows.append([subject, side, name, frames, one["positive"], *cells])

    for recording in facts["recordings"]:
        for name, one in recording["emotions"].items():
            add(recording["subject"], recording["camera"], name, one["frames"], one)
    for side, emotions in facts["overall"].items():
        for name, one in emotions.items():
            add("mean", side, name, one["pooled"]["frames"], one)
    return rows


def _forest(facts: dict[str, Any]) -> "Figure":
    """Draw one panel per emotion: Pearson's r of each recording with its interval, the mean over subjects below."""
    subjects = facts["subjects"]
    emotions = list(dict.fromkeys(name for side in facts["overall"].values() for name in side))
    figure = new_figure(2.2 * len(emotions) + 1.2, 0.24 * len(subjects) + 2.2)
    panels = figure.subplots(1, len(emotions), sharey=True, sharex=True, squeeze=False)[0]
    for axes, name in zip(panels, emotions):
        axes.axvline(0, color="#BBBBBB", linewidth=0.8)
        for one in facts["recordings"]:
            _whisker(axes, one["emotions"][name]["pearson"], subjects.index(one["subject"]), one["camera"], name)
        for side, found in facts["overall"].items():
            mean = found[name]["pearson"]
            _whisker(axes, mean, len(subjects) + 0.4, side, name, thick=True)
        units = "+".join(unit.removeprefix("AU") for unit in facts["method"]["combinations"][name])
        axes.set_title(f"{name}\nAU{units}", fontsize=9)
        axes.axhline(len(subjects) - 0.3, color="#DDDDDD", linewidth=0.8)
    panels[0].set_yticks([*range(len(subjects)), len(subjects) + 0.4], [*subjects, "mean"], fontsize=7.5)
    panels[0].set(ylim=(len(subjects) + 1, -0.7), xlim=(-1.05, 1.05))
    sides = " and ".join(facts["overall"]) + (" (open)" if len(facts["overall"]) > 1 else "")
    figure.supxlabel(
        f"Pearson's r of the probability with the mean intensity of the action units, 95% intervals; {sides} camera; "
        "u: undefined",
        fontsize=8,
    )
    return figure


def _whisker(axes: "Axes", one: dict[str, Any], row: float, side: str, name: str, thick: bool = False) -> None:
    y = row + _CAMERA[side]
    if one["value"] is None:
        axes.text(0, y, "u", ha="center", va="center", fontsize=7, color="#8C8C8C")
        return
    if one["low"] is not None:
        axes.plot([one["low"], one["high"]], [y, y], color=PALETTE[name], linewidth=2.4 if thick else 1)
    face = PALETTE[name] if side == "left" else "white"
    axes.plot(
        one["value"],
        y,
        "D" if thick else "o",
        color=PALETTE[name],
        markerfacecolor=face,
        markersize=6 if thick else 3.5,
    )


def _course(report: "DisfaResult") -> "Figure":
    """Draw the median recording over time: probabilities, and mirrored below them the scores of the action units."""
    index = report.median_recording
    one, courses = report.facts["recordings"][index], report.emotion_series(index)
    figure = new_figure(12, 1.15 * len(courses) + 1.2)
    panels = figure.subplots(len(courses), 1, sharex=True, squeeze=False)[:, 0]
    time = np.arange(one["video_frames"]) / _RATE
    for axes, (name, course) in zip(panels, courses.items()):
        axes.fill_between(time, -1, 1, where=course.present, color="#F0E442", alpha=0.35, linewidth=0, label="present")
        axes.fill_between(
            time, 0, -course.score, color="#666666", linewidth=0, label="action units, mean intensity / 5"
        )
        axes.plot(time, course.prob, color=PALETTE[name], linewidth=1, label="probability")
        axes.axhline(0, color="#BBBBBB", linewidth=0.6)
        axes.set(ylim=(-1.03, 1.03), ylabel=name)
        axes.set_yticks([-1, 0, 1], ["1", "0", "1"])
    panels[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=8)
    show_time(panels[-1], 0, max(one["video_frames"] / _RATE, 0.1), _TICKS_IN)
    panels[-1].set_xlabel("time in the video")
    figure.suptitle(
        f"{one['subject']}, {one['camera']} camera: the recording with the median correlation",
        fontsize=10,
        x=0.02,
        ha="left",
    )
    return figure
