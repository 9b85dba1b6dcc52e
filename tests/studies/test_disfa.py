"""`fervid disfa` on a miniature in DISFA's exact layout: matching of frames and codes, statistics, missing files."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import fervid
from fervid.config import load_config
from fervid.errors import ConfigError, DataError
from fervid.pipeline import process_video
from fervid.studies.disfa_corpus import SUBJECTS, UNITS, Codes, Recording, find_corpus, read_codes
from fervid.studies.disfa_processing import MatchedRecording, faces_path, match_frames
from fervid.studies.emfacs import COMBINATIONS, compare_recording, compare_subjects, intensity_of, presence_of
from tests.helpers import disfa_corpus as mini
from tests.helpers.command_line import run
from tests.helpers.markdown import PAGES
from tests.helpers.markdown import table as markdown_table

ROOT = Path(__file__).parents[2]
#: The known probability of happiness changes by at least this much between neighbouring frames.
STEP = 37 / 510


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use models with known predictions, in this process."""
    monkeypatch.setattr("fervid.jobs.open_engine.LocalEngine", mini.KnownInProcessEngine)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mini.write_disfa(tmp_path_factory.mktemp("disfa") / "DISFA")


@pytest.fixture(scope="module")
def done(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """Run the study once in real worker processes; return exit code, stdout and the folder of the results."""
    out = tmp_path_factory.mktemp("disfa") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fervid.jobs.open_engine.LocalEngine", mini.KnownLocalEngine)
        code, printed, _ = run("disfa", corpus, "--out", out, "--workers", 1)
    return code, printed, out


def copy(corpus: Path, to: Path) -> Path:
    return Path(shutil.copytree(corpus, to / "DISFA"))


def joined(corpus: Path, out: Path, subject: str = "SN001") -> MatchedRecording:
    found = find_corpus(corpus)
    recording = next(one for one in found.recordings if one.subject == subject)
    return match_frames(recording, out, read_codes(found, subject))[0]


# -- matching --------------------------------------------------------------------------------------------


def test_every_frame_is_matched_with_its_own_codes(corpus: Path, done: tuple[int, str, Path]) -> None:
    """The brightness of the face differs between frames, so an offset of one frame is detected."""
    for subject in (1, 2, 3):
        one = joined(corpus, done[2], f"SN{subject:03d}")
        assert list(one.frame) == list(range(1, mini.N + 1))
        bright = np.array([mini.brightness(subject, i) for i in range(mini.N)]) / 510
        assert one.prob[:, one.emotions.index("happiness")] == pytest.approx(bright, abs=STEP / 2)
        assert np.array_equal(one.intensity, mini.as_array(mini.smiles(subject)))
        off = np.corrcoef(one.prob[1:, one.emotions.index("happiness")], intensity_of("happiness", one.intensity)[:-1])
        assert off[0, 1] < 0.6


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "mjpeg", "wmv2"])
def test_frames_are_numbered_exactly_in_every_codec_of_an_avi(codec: str, tmp_path: Path) -> None:
    """H.264 in AVI has no timestamps, and MPEG-4 with B-frames starts late."""
    root = tmp_path / "DISFA"
    mini.write_codes(root / "ActionUnit_Labels", 1, mini.smiles(1))
    video = mini.write_video(root / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi", 1, codec=codec)
    recording = find_corpus(root).recordings[0]
    faces = faces_path(tmp_path, recording)
    faces.parent.mkdir()
    process_video(video, None, load_config("disfa"), mini.load_known(load_config()), faces_out=faces)
    one, problems = match_frames(recording, tmp_path, read_codes(find_corpus(root), "SN001"))
    bright = np.array([mini.brightness(1, i) for i in range(mini.N)]) / 510
    assert problems == []
    assert one.prob[:, one.emotions.index("happiness")] == pytest.approx(bright, abs=STEP / 2)


def test_frames_without_a_face_are_excluded_and_shift_no_others(tmp_path: Path, known: None) -> None:
    root = tmp_path / "DISFA"
    mini.write_codes(root / "ActionUnit_Labels", 1, mini.smiles(1))
    mini.write_video(root / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi", 1, blank=range(30, 50))
    report = fervid.disfa(root, tmp_path / "out", workers=1)
    one = report.matched[0]
    assert list(one.frame) == [*range(1, 31), *range(51, mini.N + 1)]
    assert np.array_equal(one.intensity, mini.as_array(mini.smiles(1))[one.frame - 1])
    assert report.facts["recordings"][0]["emotions"]["happiness"]["pearson"]["value"] > 0.97


@pytest.mark.slow
def test_real_models_on_a_sample_video(tmp_path: Path) -> None:
    """Real models on real frames in an AVI find a face in every frame, and a rerun processes nothing."""
    import av

    root = tmp_path / "DISFA"
    path = root / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi"
    path.parent.mkdir(parents=True)
    with av.open(ROOT / "sample_videos" / "one_face.mp4") as source, av.open(path, "w") as out:
        stream = mini.add_video(out, "mpeg4", mini.RATE, (640, 360))
        images = [frame.to_ndarray(format="rgb24") for frame, _ in zip(source.decode(video=0), range(12))]
        out.mux(list(mini.encode(stream, images, range(12), stream.codec_context.time_base)))
    mini.write_codes(root / "ActionUnit_Labels", 1, lambda unit, frame: frame % 6 if unit == 12 else 0, n=12)
    report = fervid.disfa(root, tmp_path / "out", workers=1)
    assert report.facts["troubles"] == []
    assert report.facts["recordings"][0]["frames_with_face"] == 12
    assert set(report.facts["overall"]["left"]) == set(COMBINATIONS)
    assert report.facts["recordings"][0]["emotions"]["happiness"]["pearson"]["value"] is not None
    started: list[int] = []
    fervid.disfa(root, tmp_path / "out", workers=1, on_event=lambda event: started.append(getattr(event, "jobs", 0)))
    assert sum(started) == 0


# -- statistics ----------------------------------------------------------------------------------------------


def test_combinations_by_hand() -> None:
    codes = np.zeros((3, 12), np.int8)
    codes[0, [UNITS.index(6), UNITS.index(12)]] = (2, 5)
    codes[1, [UNITS.index(6), UNITS.index(12)]] = (1, 5)
    codes[2, [UNITS.index(unit) for unit in (1, 2, 5, 26)]] = (2, 3, 4, 2)
    assert list(intensity_of("happiness", codes)) == [3.5, 3, 0]
    assert list(presence_of("happiness", codes)) == [True, False, False]
    assert intensity_of("surprise", codes)[2] == 2.75 and presence_of("surprise", codes)[2]
    assert not presence_of("fear", codes)[2]  # AU4 and AU20 are missing
    assert COMBINATIONS == {
        "happiness": (6, 12), "sadness": (1, 4, 15), "surprise": (1, 2, 5, 26), "anger": (4, 5),
        "fear": (1, 2, 4, 5, 20, 26), "disgust": (9,),
    }  # fmt: skip


def test_correlations_have_the_right_sign(done: tuple[int, str, Path]) -> None:
    """Happiness rises with the brightness, as AU6+12 do; anger falls with it, as AU4+5 do."""
    code, printed, out = done
    facts = json.loads((out / "disfa.json").read_text())
    assert code == 0 and facts["troubles"] == []
    for one in facts["recordings"]:
        for name in ("happiness", "anger"):
            found = one["emotions"][name]
            assert found["pearson"]["value"] > 0.97 and found["spearman"]["value"] > 0.97
            assert found["auc"]["value"] == pytest.approx(1, abs=0.01)
            assert found["pearson"]["low"] <= found["pearson"]["value"] <= found["pearson"]["high"]
    overall = facts["overall"]["left"]["happiness"]
    values = [one["emotions"]["happiness"]["pearson"]["value"] for one in facts["recordings"]]
    assert overall["pearson"]["value"] == pytest.approx(np.mean(values))
    without = [np.mean([v for j, v in enumerate(values) if j != i]) for i in range(3)]
    assert overall["pearson"]["without_one_low"] == pytest.approx(min(without))
    assert overall["pearson"]["without_one_high"] == pytest.approx(max(without))
    assert overall["pooled"]["frames"] == 3 * mini.N
    assert "happiness and AU6+12" in printed and "anger reduced to AU4+5" in printed


def matched(prob: np.ndarray, codes: np.ndarray, subject: int = 1) -> MatchedRecording:
    recording = Recording(f"SN{subject:03d}", "left", Path("x.avi"))
    return MatchedRecording(
        recording, ("happiness",), np.arange(1, len(prob) + 1), prob[:, None], codes, len(prob), len(prob), 0
    )


def test_statistics_without_presence_or_movement_are_undefined() -> None:
    constant = matched(np.linspace(0, 1, 50), mini.as_array(mini.no_movement, 50))
    found = compare_recording(constant)["happiness"]
    assert found["pearson"]["undefined"] == "constant: the codes"
    assert found["auc"]["undefined"].startswith("no positive frame")
    moving = matched(np.full(50, 0.2), mini.as_array(mini.smiles(1), 50), 2)
    assert compare_recording(moving)["happiness"]["pearson"]["undefined"] == "constant: the model"
    overall = compare_subjects([constant, moving], [compare_recording(constant), compare_recording(moving)])[
        "happiness"
    ]
    assert overall["pearson"]["undefined"] == "every subject: constant: the codes"
    assert overall["auc"]["subjects"] == 1 and overall["auc"]["value"] == 0.5


def test_statistics_without_a_face_are_undefined() -> None:
    none = matched(np.zeros(0), mini.as_array(mini.no_movement, 0).reshape(0, 12))
    assert compare_recording(none)["happiness"]["pearson"]["undefined"] == "0 frames with a face"


# -- resuming ----------------------------------------------------------------------------------------------


def test_a_rerun_processes_only_what_is_not_finished(
    corpus: Path, done: tuple[int, str, Path], tmp_path: Path, known: None
) -> None:
    root, out = copy(corpus, tmp_path), Path(shutil.copytree(done[2], tmp_path / "out"))
    mini.write_video(root / "Videos_LeftCamera" / "LeftVideoSN002_comp.avi", 9)
    (out / "faces" / "SN003_left.parquet").unlink()
    started: list[int] = []
    fervid.disfa(root, out, workers=1, on_event=lambda event: started.append(getattr(event, "jobs", 0)))
    assert sum(started) == 2  # the changed one and the deleted one
    report = fervid.disfa(root, out, workers=1, on_event=lambda event: started.append(getattr(event, "jobs", 0)))
    assert sum(started) == 2
    assert report.facts["subjects"] == ["SN001", "SN002", "SN003"]


def test_an_upgrade_that_changes_results_processes_all_videos_again(
    corpus: Path, done: tuple[int, str, Path], tmp_path: Path, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, started = Path(shutil.copytree(done[2], tmp_path / "out")), []
    monkeypatch.setattr("fervid.provenance.RESULTS_VERSION", 99)
    fervid.disfa(corpus, out, workers=1, on_event=lambda event: started.append(getattr(event, "jobs", 0)))
    assert sum(started) == 3


def test_the_same_input_gives_the_same_bytes(corpus: Path, done: tuple[int, str, Path], tmp_path: Path, known) -> None:
    run("disfa", corpus, "--out", tmp_path / "out", "--workers", 2)
    for path in (p for p in done[2].rglob("*") if p.is_file()):
        assert (tmp_path / "out" / path.relative_to(done[2])).read_bytes() == path.read_bytes(), path.name


def test_the_written_files(done: tuple[int, str, Path]) -> None:
    names = sorted(str(p.relative_to(done[2])) for p in done[2].rglob("*") if p.is_file())
    kept = [f"{kind}/SN00{i}_left.parquet" for kind in ("faces", "timelines") for i in (1, 2, 3)]
    assert names == ["disfa.csv", "disfa.json", "disfa.txt", "disfa_course.png", "disfa_forest.png", *kept]
    table = pd.read_csv(done[2] / "disfa.csv")
    listed = [row[0] for row in markdown_table(PAGES["docs/studies.md"], "#### disfa.csv")]
    documented = [name for cell in listed for name in re.findall(r"`(\w+)`", cell)]
    assert set(documented) == {name for name in table if not re.match("(spearman|auc)_", name)}
    assert len(table) == 3 * 2 + 2 and set(table["subject"]) == {"SN001", "SN002", "SN003", "mean"}
    assert pq.read_metadata(done[2] / "faces" / "SN001_left.parquet").num_rows == mini.N


# -- the layout -----------------------------------------------------------------------------------------------


def test_the_subjects_of_disfa() -> None:
    assert len(SUBJECTS) == 27 and SUBJECTS[0] == "SN001" and SUBJECTS[-1] == "SN032"
    assert len(UNITS) == 12


@pytest.mark.parametrize(
    ("video", "codes"),
    [
        ("Videos_LeftCamera/LeftVideoSN001_comp.avi", "ActionUnit_Labels/SN001/SN001_au{}.txt"),
        ("Video_LeftCamera/LeftVideoSN001_Comp.AVI", "ActionUnit_Labels/sn001/sn001_AU{}.TXT"),
        ("disfa/video_leftcamera/leftvideosn001_comp.mp4", "DISFA/ActionUnitLabels/SN001/au{}.txt"),
        ("left/SN001.avi", "labels/SN001_AU{:02d}.txt"),
    ],
)
def test_files_are_found_in_folders_of_any_name(video: str, codes: str, tmp_path: Path) -> None:
    for name in (video, *(codes.format(unit) for unit in UNITS), "__MACOSX/._LeftVideoSN001_comp.avi", "readme.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1,0\n2,3\n")
    found = find_corpus(tmp_path)
    assert [(one.subject, one.camera, one.video) for one in found.recordings] == [("SN001", "left", tmp_path / video)]
    assert found.problems == ()
    assert read_codes(found, "SN001").intensity.tolist() == [[0] * 12, [3] * 12]


def test_both_cameras(tmp_path: Path, known: None) -> None:
    root = mini.write_disfa(tmp_path / "DISFA", (1, 2), ("left", "right"))
    report = fervid.disfa(root, tmp_path / "out", camera="both", workers=1)
    assert set(report.facts["overall"]) == {"left", "right"}
    assert len(report.facts["recordings"]) == 4
    assert len(find_corpus(root, "right").recordings) == 2


# -- missing and damaged files --------------------------------------------------------------------------------


def cut(path: Path, line: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


LABELS = "ActionUnit_Labels/SN002"
MISSING = {
    "no codes": (lambda r: shutil.rmtree(r / LABELS), "SN002: no code files (such as SN002_au1.txt)"),
    "one unit missing": (lambda r: (r / LABELS / "SN002_au26.txt").unlink(), "no SN002_au26.txt; expected one file"),
    "wrong line": (lambda r: cut(r / LABELS / "SN002_au9.txt", 17, "17;9"), "au9.txt: line 17: expected 17,INTENSITY"),
    "line missing": (lambda r: cut(r / LABELS / "SN002_au9.txt", 17, ""), "line 18: expected 17,INTENSITY"),
    "empty file": (lambda r: (r / LABELS / "SN002_au9.txt").write_text(""), "SN002_au9.txt: empty"),
    "one unit longer": (lambda r: mini.write_codes(r / "x", 2, mini.no_movement, 130) or (shutil.copy(
        r / "x/SN002/SN002_au9.txt", r / LABELS) and shutil.rmtree(r / "x")), "120 frames, but SN002_au9.txt has 130"),
    "no video": (lambda r: (r / "Videos_LeftCamera/LeftVideoSN002_comp.avi").unlink(), "SN002: has codes but no video"),
    "broken video": (lambda r: (r / "Videos_LeftCamera/LeftVideoSN002_comp.avi").write_text("no video"),
                     "LeftVideoSN002_comp.avi: not a video"),
    "two videos": (lambda r: shutil.copy(r / "Videos_LeftCamera/LeftVideoSN002_comp.avi",
                                         r / "LeftVideoSN002_comp.avi"), "SN002: two videos of the left camera"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISSING)
def test_a_missing_file_excludes_its_own_subject(kind: str, corpus: Path, done, tmp_path: Path, known: None) -> None:
    root, out = copy(corpus, tmp_path), Path(shutil.copytree(done[2], tmp_path / "out"))
    damage, words = MISSING[kind]
    damage(root)
    report = fervid.disfa(root, out, workers=1)
    assert report.exit_code == 1
    assert report.facts["subjects"] == ["SN001", "SN003"]
    assert len(report.facts["troubles"]) == 1 and words in report.facts["troubles"][0]


def test_problems_are_printed_and_give_exit_code_1(corpus: Path, done, tmp_path: Path, known: None) -> None:
    root, out = copy(corpus, tmp_path), Path(shutil.copytree(done[2], tmp_path / "out"))
    (root / LABELS / "SN002_au26.txt").unlink()
    code, printed, _ = run("disfa", root, "--out", out, "--workers", 1)
    assert code == 1 and "no SN002_au26.txt; expected one file" in printed
    assert json.loads((out / "disfa.json").read_text())["subjects"] == ["SN001", "SN003"]


@pytest.mark.parametrize(("coded", "compared"), [(118, 118), (125, 120)])
def test_a_different_number_of_frames_is_reported(
    coded: int, compared: int, corpus: Path, done, tmp_path, known
) -> None:
    root, out = copy(corpus, tmp_path), Path(shutil.copytree(done[2], tmp_path / "out"))
    mini.write_codes(root / "ActionUnit_Labels", 2, mini.smiles(2), n=coded)
    report = fervid.disfa(root, out, workers=1)
    assert len(report.facts["troubles"]) == 1
    assert f"120 frames, but the codes of SN002 have {coded}" in report.facts["troubles"][0]
    assert len(report.matched[1].frame) == compared
    assert report.exit_code == 1


def test_invalid_arguments_are_errors(corpus: Path, tmp_path: Path, known: None) -> None:
    (tmp_path / "empty").mkdir()
    code, _, error = run("disfa", tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2 and "not DISFA: no video such as LeftVideoSN001_comp.avi" in error and error.count("\n") == 1
    with pytest.raises(DataError, match="no such folder"):
        fervid.disfa(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="of the right camera"):
        fervid.disfa(corpus, tmp_path / "out", camera="right")
    with pytest.raises(ConfigError, match="expected left, right or both"):
        fervid.disfa(corpus, tmp_path / "out", camera="top")
    with pytest.raises(ConfigError, match="workers = 0"):
        fervid.disfa(corpus, tmp_path / "out", workers=0)


def test_nothing_to_compare_is_an_error(tmp_path: Path, known: None) -> None:
    root = mini.write_disfa(tmp_path / "DISFA", (1,))
    (root / "ActionUnit_Labels/SN001/SN001_au4.txt").unlink()
    with pytest.raises(DataError, match=r"nothing to compare; .*no SN001_au4.txt"):
        fervid.disfa(root, tmp_path / "out", workers=1)


def test_codes_are_selected_by_action_unit() -> None:
    codes = Codes(np.arange(12, dtype=np.int8)[None] % 6)
    assert codes.of((26, 1)).tolist() == [[11 % 6, 0]]
