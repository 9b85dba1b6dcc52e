"""The DISFA study: find the corpus, process it, match the frames, and compare readings with codes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fervid.config import Config
from fervid.errors import DataError
from fervid.jobs.batch import Event
from fervid.jobs.engine import Engine
from fervid.studies.disfa_corpus import CAMERAS, SUBJECTS, find_corpus, read_codes
from fervid.studies.disfa_processing import MatchedRecording, faces_path, match_frames, process_recordings
from fervid.studies.emfacs import (
    EmotionSeries,
    compare_recording,
    compare_subjects,
    describe_method,
    emotion_series,
)

__all__ = ["DisfaResult", "run_disfa"]


@dataclass(frozen=True)
class DisfaResult:
    """Result of the study."""

    facts: dict[str, Any]
    """All statistics, as plain values for JSON."""
    matched: tuple[MatchedRecording, ...] = field(repr=False)
    """Readings and codes of each recording."""
    written: tuple[Path, ...] = ()
    """Files that the result was written to."""

    @property
    def median_recording(self) -> int:
        """Index of the recording with the median of the mean correlations."""
        means = []
        for recording in self.facts["recordings"]:
            values = [found["pearson"]["value"] for found in recording["emotions"].values()]
            defined = [value for value in values if value is not None]
            means.append(sum(defined) / len(defined) if defined else -1.0)
        return sorted(range(len(means)), key=means.__getitem__)[len(means) // 2]

    def emotion_series(self, recording: int) -> dict[str, EmotionSeries]:
        """Return each emotion of one recording per frame.

        Parameters
        ----------
        recording : int
            Index of the recording.

        Returns
        -------
        dict of str to EmotionSeries
            Series by emotion.
        """
        return emotion_series(self.matched[recording])

    @property
    def exit_code(self) -> int:
        """0 if the corpus is complete and all videos are ok, else 1."""
        return 1 if self.facts["troubles"] else 0


def run_disfa(
    root: Path,
    out: Path,
    config: Config,
    engine: Engine,
    *,
    camera: str = "left",
    on_event: Callable[[Event], None] | None = None,
) -> DisfaResult:
    """Process DISFA's videos, unless they are finished, and compare each frame with its codes.

    A missing or damaged file excludes its own subject only, and is listed in the facts.

    Parameters
    ----------
    root : Path
        Folder of the corpus.
    out : Path
        Folder of the results.
    config : Config
        Options of the pipeline.
    engine : Engine
        Runs the jobs.
    camera : str
        left, right or both.
    on_event : callable, optional
        Called with each event.

    Returns
    -------
    DisfaResult
        Statistics, and the matched recordings.

    Raises
    ------
    ConfigError
        If there is no such camera.
    DataError
        If there is nothing to compare.
    RunError
        If the run had to stop.
    """
    corpus = find_corpus(root, camera)
    problems = list(corpus.problems)
    codes, usable = {}, []
    for recording in corpus.recordings:
        try:
            if recording.subject not in codes:
                codes[recording.subject] = read_codes(corpus, recording.subject)
            usable.append(recording)
        except DataError as e:
            problems += [str(e)] if str(e) not in problems else []
    problems += process_recordings(usable, out, config, engine, on_event) if usable else []
    matched = []
    for recording in usable:
        if not faces_path(out, recording).is_file():
            continue  # its video failed, which is among the problems
        try:
            joined, notes = match_frames(recording, out, codes[recording.subject])
            problems += notes
            matched.append(joined)
        except DataError as e:
            problems.append(str(e))
    if not matched:
        raise DataError(f"{root}: nothing to compare; {' | '.join(problems)}")
    return DisfaResult(_facts(root, config, matched, problems), tuple(matched))


def _facts(root: Path, config: Config, matched: list[MatchedRecording], problems: list[str]) -> dict[str, Any]:
    results = [compare_recording(joined) for joined in matched]
    sides = {side: [i for i, joined in enumerate(matched) if joined.recording.camera == side] for side in CAMERAS}
    known = {joined.recording.subject for joined in matched}
    return {
        "root": str(root),
        "config": config.to_dict(),
        "method": describe_method(),
        "subjects": sorted(known),
        "subjects_missing": [name for name in SUBJECTS if name not in known],
        "recordings": [
            {
                "subject": joined.recording.subject,
                "camera": joined.recording.camera,
                "video": str(joined.recording.video),
                "video_frames": joined.video_frames,
                "coded_frames": joined.coded_frames,
                "frames_with_face": len(joined.frame),
                "frames_with_several_faces": joined.several_faces,
                "emotions": result,
            }
            for joined, result in zip(matched, results)
        ],
        "overall": {
            side: compare_subjects([matched[i] for i in indices], [results[i] for i in indices])
            for side, indices in sides.items()
            if indices
        },
        "troubles": problems,
    }
