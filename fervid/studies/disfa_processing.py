"""Every look at a coded video: process it at its native rate, once, and join readings and codes frame by frame."""

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

#: A reading may lie so far, in frames, from the place of its frame.
_OFF = 0.1


@dataclass(frozen=True)
class MatchedRecording:
    """One recording, joined: frame (n,), from 1, those with a face; prob (n, K) and intensity (n, 12) of these."""

    recording: Recording
    emotions: tuple[str, ...]
    frame: np.ndarray
    prob: np.ndarray
    intensity: np.ndarray
    video_frames: int
    coded_frames: int
    several_faces: int


def faces_path(out: Path, recording: Recording) -> Path:
    """Where the readings of a recording are kept."""
    return out / "faces" / f"{recording.name}.parquet"


def process_recordings(
    recordings: Sequence[Recording],
    out: Path,
    config: Config,
    engine: Engine,
    on_event: Callable[[Event], None] | None = None,
) -> list[str]:
    """Process what is not finished, in worker processes; give a sentence for each video that failed.

    A recording is finished when its readings have the resume key (provenance.py) that they would have now: it stands
    in their file, which is written whole or not at all.
    """
    tell = on_event or (lambda _: None)
    models = models_fingerprint(config)
    jobs = [_job(one, out) for one in recordings if not _is_finished(one, out, config, models)]
    troubles = []
    tell(BatchStarted(len(jobs), sum(job.bytes for job in jobs), []))
    with closing(engine.run(jobs, tell)) as outcomes:
        for outcome in outcomes:
            if outcome.status == "failed":
                troubles.append(outcome.message)
                for stale in filter(None, (outcome.job.out, outcome.job.faces)):  # of what the file was before
                    stale.unlink(missing_ok=True)
            tell(JobFinished(Row.of(outcome, "", outcome.sha256, out), outcome.job))
    return sorted(troubles)


def _is_finished(one: Recording, out: Path, config: Config, models: str) -> bool:
    key = resume_key(content_hash(one.video), config, models)
    try:
        return key != "" and read_provenance(faces_path(out, one)).get("resume_key") == key
    except DataError:
        return False


def _job(one: Recording, out: Path) -> Job:
    size, changed_ns = stat_of(one.video)
    timeline = out / "timelines" / f"{one.name}.parquet"
    return Job(one.video, one.video.name, timeline, size, changed_ns, faces=faces_path(out, one))


def match_frames(recording: Recording, out: Path, codes: Codes) -> tuple[MatchedRecording, list[str]]:
    """Join the readings with the codes by the number of the frame; give also what is not as it should be, in sentences.

    A frame's number is its time in frames: checked to be whole, so that no reading is one frame off. Of several faces
    in a frame the largest counts. DataError if frames cannot be numbered.
    """
    path = faces_path(out, recording)
    facts, table = read_provenance(path), pq.read_table(path)
    rate, troubles = _check_clock(recording, facts)
    frame, whole = _number(table, rate)
    if not whole:
        raise DataError(
            f"{recording.video}: its frames are not {float(rate):g} a second throughout, so they cannot be numbered; "
            "expected DISFA's own file"
        )
    frames, coded = int(facts["counters"]["looks"]), len(codes.intensity)
    if frames != coded:
        troubles.append(
            f"{recording.video}: {frames} frames, but the codes of {recording.subject} have {coded}; the first "
            f"{min(frames, coded)} are compared, frame by frame from the start"
        )
    kept = _largest(table, frame)
    kept = kept[frame[kept] <= coded]
    emotions = tuple(name for name in EMOTIONS if name in table.column_names)
    prob = np.stack([table[name].to_numpy()[kept] for name in emotions], 1).astype(float)
    several = len(table) - len(np.unique(frame))
    return MatchedRecording(
        recording, emotions, frame[kept], prob, codes.intensity[frame[kept] - 1], frames, coded, several
    ), troubles


def _check_clock(recording: Recording, facts: dict[str, Any]) -> tuple[Fraction, list[str]]:
    """The frames a second, and what is wrong with the video; DataError if counting frames would count wrong."""
    reasons, errors = set(facts["reasons"]), facts["counters"]["decode_errors"]
    if "time_jumps" in reasons or ("synthetic_time" in reasons and errors):
        raise DataError(
            f"{recording.video}: damaged ({', '.join(sorted(reasons))}; {errors} decode errors), so that its frames "
            "cannot be numbered; fetch it again"
        )
    rate = Fraction(facts["source"]["frame_rate"] or RATE)
    troubles = []
    if rate != RATE:
        troubles.append(f"{recording.video}: {float(rate):g} frames a second, expected {RATE}; compared frame by frame")
    if lost := reasons - {"synthetic_time"}:  # an AVI without timestamps is numbered by counting
        troubles.append(f"{recording.video}: degraded ({', '.join(sorted(lost))}); what could be read is compared")
    return rate, troubles


def _number(table: pa.Table, rate: Fraction) -> tuple[np.ndarray, bool]:
    """The number (m,) of each reading's frame, from 1; whether all times lie on frames."""
    place = table["pts_s"].to_numpy() * float(rate)
    frame = np.round(place).astype(int)
    return frame + 1, bool(np.all(np.abs(place - frame) <= _OFF))


def _largest(table: pa.Table, frame: np.ndarray) -> np.ndarray:
    """The row of the largest face of each frame, in order of frames."""
    order = np.lexsort((-table["h"].to_numpy(), frame))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(frame[order]) > 0
    return order[first]
