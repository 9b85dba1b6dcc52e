"""The progress of a batch and its result: bars on a terminal, lines elsewhere, and a table of what failed."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from fervid.clock import clock
from fervid.views.terminal import plain, print_facts

if TYPE_CHECKING:
    from fervid.jobs.batch import BatchStarted, Event, JobFinished, Summary
    from fervid.jobs.engine import JobProgress

__all__ = ["BatchProgress", "print_forgotten", "print_summary", "sentence", "watch_batch"]

#: Rows of the table of what failed; the manifest lists all.
_SHOWN = 40
#: The speed is averaged over this many seconds.
_WINDOW_S = 600.0


class BatchProgress:
    """Count what a batch has done and estimate the time left.

    The duration of a video that is not open yet is estimated from its size, at the mean bit rate of those finished.

    Parameters
    ----------
    now : Callable[[], float], default time.monotonic
        Clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now, self._started = now, now()
        self.status = {"ok": 0, "degraded": 0, "failed": 0}
        self.total = self.bytes_left = self._bytes_done = 0
        self._video_s = 0.0
        self._running: dict[int, JobProgress] = {}
        self._trail: deque[tuple[float, float]] = deque()

    def take(self, event: "Event") -> None:
        """Count one event.

        Parameters
        ----------
        event : Event
        """
        from fervid.jobs.batch import BatchStarted, JobFinished

        if isinstance(event, BatchStarted):
            self.total, self.bytes_left = event.jobs + len(event.finished), event.bytes
            for row in event.finished:
                self.status[row.status] += 1
            self._started = self._now()
        elif isinstance(event, JobFinished):
            self.status[event.row.status] += 1
            self.bytes_left -= event.job.bytes
            self._video_s += event.row.video_s
            self._bytes_done += event.job.bytes if event.row.video_s else 0
        elif event.job is None:
            self._running.pop(event.worker, None)
        else:
            self._running[event.worker] = event
        self._trail.append((self._now(), self.video_s))
        while self._trail[0][0] < self._now() - _WINDOW_S and len(self._trail) > 2:
            self._trail.popleft()

    @property
    def done(self) -> int:
        """Number of inputs that have a row."""
        return sum(self.status.values())

    @property
    def video_s(self) -> float:
        """Seconds of video processed in this run, including those of the running jobs."""
        return self._video_s + sum(one.done_s for one in self._running.values())

    @property
    def speed(self) -> float:
        """Seconds of video per second."""
        then_s, then = self._trail[0] if len(self._trail) > 1 else (self._started, 0.0)
        return max(self.video_s - then, 0.0) / max(self._now() - then_s, 1e-3)

    @property
    def left_s(self) -> float | None:
        """Estimated seconds until the end; None before the first video is finished."""
        if not self._bytes_done or self.speed <= 0:
            return None
        known = sum(one.end_s or 0.0 for one in self._running.values())
        opened = sum(one.job.bytes for one in self._running.values() if one.job and one.end_s)
        unknown = max(self.bytes_left - opened, 0) * self._video_s / self._bytes_done
        running = sum(one.done_s for one in self._running.values() if one.end_s)
        return max(known - running + unknown, 0.0) / self.speed

    def text(self) -> str:
        """Give the totals in one line.

        Returns
        -------
        str
        """
        left = f"  {clock(self.left_s)} left" if self.left_s is not None else ""
        counts = "  ".join(f"{name} {n}" for name, n in self.status.items())
        return f"{self.done} of {self.total}  {counts}{left}  {self.speed:.1f}x real time"


@contextmanager
def watch_batch(*, quiet: bool) -> Iterator[Callable[["Event"], None] | None]:
    """Show the progress of a batch on stderr: bars on a terminal, one line per video elsewhere.

    Parameters
    ----------
    quiet : bool
        Show nothing.

    Yields
    ------
    Callable[[Event], None] or None
        To be called with each event; None if quiet.
    """
    console = Console(stderr=True)
    if quiet:
        yield None
    elif not console.is_terminal:
        yield _Lines()
    else:
        with Bar(
            TextColumn("{task.fields[label]}"),
            BarColumn(10),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
        ) as bar:
            yield _Bars(bar)


class _Lines:
    """One plain line per video, for log files."""

    def __init__(self) -> None:
        self._progress = BatchProgress()

    def __call__(self, event: "Event") -> None:
        from fervid.jobs.batch import BatchStarted, JobFinished

        self._progress.take(event)
        if isinstance(event, BatchStarted):
            self._print(_opening(event))
        elif isinstance(event, JobFinished):
            self._print(f"{_outcome(event)}  ({self._progress.text()})")

    def _print(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


class _Bars:
    """One bar for the batch, and one per worker."""

    def __init__(self, bar: Bar) -> None:
        self._bar, self._progress = bar, BatchProgress()
        self._all = bar.add_task("", total=None, label="[bold]all", text="")
        self._workers: dict[int, TaskID] = {}

    def __call__(self, event: "Event") -> None:
        from fervid.jobs.batch import BatchStarted, JobFinished

        self._progress.take(event)
        if isinstance(event, BatchStarted):
            self._bar.console.print(_opening(event), markup=False, highlight=False)
        elif isinstance(event, JobFinished):
            if event.row.status != "ok":
                self._bar.console.print(_outcome(event), markup=False, highlight=False)
        else:
            self._show_worker(event)
        self._bar.update(
            self._all, completed=self._progress.done, total=self._progress.total, text=self._progress.text()
        )

    def _show_worker(self, progress: "JobProgress") -> None:
        if progress.worker not in self._workers:
            self._workers[progress.worker] = self._bar.add_task("", total=None, label="", text="")
        label = escape(_short(plain(progress.job.name))) if progress.job else ""
        end = f" of {clock(progress.end_s)}" if progress.end_s else ""
        self._bar.update(
            self._workers[progress.worker],
            completed=progress.done_s,
            total=progress.end_s,
            label=label,
            text=f"{clock(progress.done_s)}{end}" if progress.job else "",
        )


def _opening(event: "BatchStarted") -> str:
    before = f"; {len(event.finished)} finished before" if event.finished else ""
    if not event.jobs:
        return f"nothing to do{before}"
    size = f"{event.bytes / 1e9:.2f} GB" if event.bytes >= 1e8 else f"{event.bytes / 1e6:.1f} MB"
    return f"{event.jobs} {'video' if event.jobs == 1 else 'videos'} to do, {size}{before}"


def _outcome(event: "JobFinished") -> str:
    row = event.row
    why = f": {sentence(row.path, row.message) or row.reason}" if row.status != "ok" else ""
    return f"{row.status:<8}  {plain(row.path)}{plain(why)}"


def sentence(path: str, message: str) -> str:
    """Remove the name of the video from the message of a manifest row, where it is printed beside the name.

    Parameters
    ----------
    path, message : str
        Of the row.

    Returns
    -------
    str
    """
    name, _, rest = message.partition(": ")
    return rest if name.endswith(path) else message


def _short(name: str, most: int = 30) -> str:
    """Shorten a long name in the middle: names of one series differ at either end."""
    return name if len(name) <= most else f"{name[: most // 2]}...{name[len(name) - most // 2 + 3 :]}"


def print_summary(summary: "Summary") -> None:
    """Print the result of a batch on stdout: totals, then a table of what failed or is degraded, and why.

    Parameters
    ----------
    summary : Summary
    """
    counts = ", ".join(f"{summary.count(name)} {name}" for name in ("ok", "degraded", "failed"))
    before = f" ({summary.skipped} finished before)" if summary.skipped else ""
    speed = f"{summary.video_s / max(summary.taken_s, 1e-3):.1f}x real time"
    video = f" for {clock(summary.video_s)} of video, {speed}" if summary.video_s else ""
    rows = {
        "videos": f"{len(summary.rows)}: {counts}{before}",
        "took": f"{clock(summary.taken_s)}{video}",
        "results": f"{summary.out}, listed in manifest.parquet",
    }
    if summary.outdated:
        rows["outdated"] = f"{summary.outdated} timelines of other videos: of other options, models or results"
    print_facts(rows)
    troubles = summary.troubles
    if not troubles:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("status", "video", "why"):
        table.add_column(name, overflow="fold")
    for row in troubles[:_SHOWN]:
        message = sentence(row.path, row.message)
        why = row.reason if row.reason in message or not message else f"{row.reason}: {message}"
        table.add_row(row.status, escape(plain(row.path)), escape(plain(why)))
    console = Console(file=sys.stdout, highlight=False)
    console.print()
    console.print(table)
    if len(troubles) > _SHOWN:
        console.print(f"... and {len(troubles) - _SHOWN} more, in {escape(plain(str(summary.out)))}/manifest.parquet")
    if any(row.status == "failed" for row in troubles):
        console.print("\nVideos that failed are processed again if the file changes, or with --retry-failed.")


def print_forgotten(names: list[str], out: Path) -> None:
    """Print on stdout what was erased, and what was not.

    Parameters
    ----------
    names : list of str
        Paths of the rows.
    out : Path
        The folder of results.
    """
    print_facts(
        {
            "forgotten": names,
            "erased": f"timelines and manifest rows in {out}",
            "not erased": "the videos themselves: a batch that still includes them makes their timelines again",
        }
    )
