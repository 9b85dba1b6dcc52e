"""DISFA from end to end: find it, process it, join it, compare it."""

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
from fervid.studies.emfacs import EmotionSeries, compare_all, compare_one, emotion_series, method

__all__ = ["DisfaResult", "run_disfa"]


@dataclass(frozen=True)
class DisfaResult:
    """What a run over DISFA found: `facts` are plain values, ready for JSON; `matched` the joined recordings."""

    facts: dict[str, Any]
    matched: tuple[MatchedRecording, ...] = field(repr=False)

    @property
    def median_recording(self) -> int:
        """The recording in the middle, by the mean of its correlations."""
        means = []
        for one in self.facts["recordings"]:
            values = [found["pearson"]["value"] for found in one["emotions"].values()]
            defined = [value for value in values if value is not None]
            means.append(sum(defined) / len(defined) if defined else -1.0)
        return sorted(range(len(means)), key=means.__getitem__)[len(means) // 2]

    def emotion_series(self, recording: int) -> dict[str, EmotionSeries]:
        """Each emotion of one recording by the frame."""
        return emotion_series(self.matched[recording])

    @property
    def exit_code(self) -> int:
        """0 if everything was there and fine, else 1."""
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
    """Process DISFA's videos (again only what is not finished) and compare each frame with its codes.

    What is missing or damaged is a sentence in `troubles` and costs its own subject only. DataError if nothing at all
    can be compared.
    """
    corpus = find_corpus(root, camera)
    troubles = list(corpus.troubles)
    codes, usable = {}, []
    for recording in corpus.recordings:
        try:
            if recording.subject not in codes:
                codes[recording.subject] = read_codes(corpus, recording.subject)
            usable.append(recording)
        except DataError as e:
            troubles += [str(e)] if str(e) not in troubles else []
    troubles += process_recordings(usable, out, config, engine, on_event) if usable else []
    matched = []
    for recording in usable:
        if not faces_path(out, recording).is_file():
            continue  # its video failed, which is told
        try:
            joined, notes = match_frames(recording, out, codes[recording.subject])
            troubles += notes
            matched.append(joined)
        except DataError as e:
            troubles.append(str(e))
    if not matched:
        raise DataError(f"{root}: nothing to compare; {' | '.join(troubles)}")
    return DisfaResult(_facts(root, config, matched, troubles), tuple(matched))


def _facts(root: Path, config: Config, matched: list[MatchedRecording], troubles: list[str]) -> dict[str, Any]:
    each = [compare_one(one) for one in matched]
    sides = {side: [i for i, one in enumerate(matched) if one.recording.camera == side] for side in CAMERAS}
    known = {one.recording.subject for one in matched}
    return {
        "root": str(root), "config": config.to_dict(), "method": method(),
        "subjects": sorted(known), "subjects_missing": [name for name in SUBJECTS if name not in known],
        "recordings": [
            {
                "subject": one.recording.subject, "camera": one.recording.camera, "video": str(one.recording.video),
                "video_frames": one.video_frames, "coded_frames": one.coded_frames, "frames_with_face": len(one.frame),
                "frames_with_several_faces": one.several_faces, "emotions": found,
            }
            for one, found in zip(matched, each)
        ],
        "overall": {
            side: compare_all([matched[i] for i in which], [each[i] for i in which])
            for side, which in sides.items() if which
        },
        "troubles": troubles,
    }  # fmt: skip
