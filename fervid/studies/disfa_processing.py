"""Process the videos of DISFA at their native frame rate, and match the readings with the codes frame by frame."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.config import Config
from fervid.errors import DataError
from fervid.files import content_hash, stat_of
from fervid.jobs.batch import BatchStarted, Event, JobFinished
from fervid.jobs.engine import Engine
from fervid.jobs.job import Job
from fervid.jobs.manifest import Row
from fervid.labels import EMOTIONS
from fervid.provenance import models_fingerprint, resume_key
from fervid.studies.disfa_corpus import RATE, Codes, Recording
from fervid.timeline.read import read_provenance

__all__ = ["MatchedRecording", "faces_path", "match_frames", "process_recordings"]

#: Largest distance between the time of a reading and the time of its frame, in frames.
_TOLERANCE_FRAMES = 0.1


@dataclass(frozen=True)
class MatchedRecording:
    """Readings and codes of the n frames of a recording that have a face."""

    recording: Recording
    emotions: tuple[str, ...]
    frame: np.ndarray
    """(n,) int, from 1."""
    prob: np.ndarray
    """(n, K) float."""
    intensity: np.ndarray
    """(n, 12) int8."""
    video_frames: int
    coded_frames: int
    several_faces: int
    """How many frames have more than one face."""


def faces_path(out: Path, recording: Recording) -> Path:
    """Return where the readings of a recording are stored.

    Parameters
    ----------
    out : Path
        Folder of the results.
    recording : Recording
        The recording.

    Returns
    -------
    Path
        A Parquet file.
    """
    return out / "faces" / f"{recording.name}.parquet"


def process_recordings(
    recordings: Sequence[Recording],
    out: Path,
    config: Config,
    engine: Engine,
    on_event: Callable[[Event], None] | None = None,
) -> list[str]:
    """Process the recordings that are not finished.

    A recording is finished if its readings have the resume key that they would have now, see `fervid.provenance`.

    Parameters
    ----------
    recordings : sequence of Recording
        The recordings.
    out : Path
        Folder of the results.
    config : Config
        Options of the pipeline.
    engine : Engine
        Runs the jobs.
    on_event : callable, optional
        Called with each event.

    Returns
    -------
    list of str
        One sentence per video that failed.

    Raises
    ------
    RunError
        If the run had to stop.
    """
    notify = on_event or (lambda _: None)
    models = models_fingerprint(config)
    jobs = [_job(item, out) for item in recordings if not _is_finished(item, out, config, models)]
    problems = []
    notify(BatchStarted(len(jobs), sum(job.bytes for job in jobs), []))
    with closing(engine.run(jobs, notify)) as outcomes:
        for outcome in outcomes:
            if outcome.status == "failed":
                problems.append(outcome.message)
                for stale in filter(None, (outcome.job.out, outcome.job.faces)):  # of an earlier version of the file
                    stale.unlink(missing_ok=True)
            notify(JobFinished(Row.of(outcome, "", outcome.sha256, out), outcome.job))
    return sorted(problems)


def _is_finished(recording: Recording, out: Path, config: Config, models: str) -> bool:
    key = resume_key(content_hash(recording.video), config, models)
    try:
        return key != "" and read_provenance(faces_path(out, recording)).get("resume_key") == key
    except DataError:
        return False


def _job(recording: Recording, out: Path) -> Job:
    size, changed_ns = stat_of(recording.video)
    timeline = out / "timelines" / f"{recording.name}.parquet"
    return Job(recording.video, recording.video.name, timeline, size, changed_ns, faces=faces_path(out, recording))


def match_frames(recording: Recording, out: Path, codes: Codes) -> tuple[MatchedRecording, list[str]]:
    """Match readings and codes by the number of the frame.

    The number is the time of the reading in frames, which must be integral, so that no reading is off by one frame.
    If a frame has several faces, the largest counts.

    Parameters
    ----------
    recording : Recording
        A recording that was processed.
    out : Path
        Folder of the results.
    codes : Codes
        Codes of the subject.

    Returns
    -------
    matched : MatchedRecording
        Readings and codes of the same frames.
    problems : list of str
        What differs from DISFA's own file, in sentences.

    Raises
    ------
    DataError
        If the frames cannot be numbered.
    """
    path = faces_path(out, recording)
    facts, table = read_provenance(path), pq.read_table(path)
    rate, problems = _check_timestamps(recording, facts)
    frame, is_integral = _number_frames(table, rate)
    if not is_integral:
        raise DataError(
            f"{recording.video}: does not have {float(rate):g} frames per second throughout, so its frames cannot be "
            "numbered; expected DISFA's own file"
        )
    frames, coded = int(facts["counters"]["looks"]), len(codes.intensity)
    if frames != coded:
        problems.append(
            f"{recording.video}: {frames} frames, but the codes of {recording.subject} have {coded}; the first "
            f"{min(frames, coded)} are compared, frame by frame from the start"
        )
    kept = _largest_faces(table, frame)
    kept = kept[frame[kept] <= coded]
    emotions = tuple(name for name in EMOTIONS if name in table.column_names)
    prob = np.stack([table[name].to_numpy()[kept] for name in emotions], 1).astype(float)
    several = len(table) - len(np.unique(frame))
    matched = MatchedRecording(
        recording, emotions, frame[kept], prob, codes.intensity[frame[kept] - 1], frames, coded, several
    )
    return matched, problems


def _check_timestamps(recording: Recording, facts: dict[str, Any]) -> tuple[Fraction, list[str]]:
    """Return the frame rate and the problems of the video; DataError if its frames cannot be numbered."""
    reasons, errors = set(facts["reasons"]), facts["counters"]["decode_errors"]
    if "time_jumps" in reasons or ("synthetic_time" in reasons and errors):
        raise DataError(
            f"{recording.video}: damaged ({', '.join(sorted(reasons))}; {errors} decode errors), so its frames cannot "
            "be numbered; download it again"
        )
    rate = Fraction(facts["source"]["frame_rate"] or RATE)
    problems = []
    if rate != RATE:
        problems.append(
            f"{recording.video}: {float(rate):g} frames per second, expected {RATE}; compared frame by frame"
        )
    if lost := reasons - {"synthetic_time"}:  # the frames of an AVI without timestamps are counted
        problems.append(f"{recording.video}: degraded ({', '.join(sorted(lost))}); the readable part is compared")
    return rate, problems


def _number_frames(table: pa.Table, rate: Fraction) -> tuple[np.ndarray, bool]:
    """Return the number (m,) of each reading's frame, from 1, and whether all times are times of frames."""
    position = table["pts_s"].to_numpy() * float(rate)
    frame = np.round(position).astype(int)
    return frame + 1, bool(np.all(np.abs(position - frame) <= _TOLERANCE_FRAMES))


def _largest_faces(table: pa.Table, frame: np.ndarray) -> np.ndarray:
    """Return the row of the largest face per frame, in the order of frames."""
    order = np.lexsort((-table["h"].to_numpy(), frame))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(frame[order]) > 0
    return order[first]
