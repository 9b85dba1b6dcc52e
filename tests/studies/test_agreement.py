"""`fervid agree`: hand-made tables, alignment per second, results computed by hand, and invalid input."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fervid
from fervid.errors import ConfigError, DataError
from fervid.studies.agreement import find_lag
from fervid.studies.ratings import RatingOptions, Ratings, read_ratings
from fervid.timeline.aggregate import fill_gaps, summarise
from fervid.timeline.schema import to_table
from fervid.timeline.write import write_table
from fervid.views.figures.tables import cell_text
from tests.helpers.command_line import run
from tests.helpers.fakes import LABELS, Face, Seen, emotion_batch
from tests.helpers.hypothesis_settings import steady
from tests.helpers.markdown import PAGES
from tests.helpers.markdown import table as markdown_table

#: Happiness of the model per second; None without a face. Second 12 cannot be decoded.
HAPPY = [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.7, 0.4, 0.2, 0.1, None, 0.1, "lost", 0.3, 0.5, 0.8, 0.6, 0.3, 0.2, 0.1]
SEEN = [s for s, value in enumerate(HAPPY) if isinstance(value, float)]


def face(happy: float, track: int = 0) -> Face:
    return Face(track=track, prob=(happy, 0.1, 0.9 - happy))


def write_timeline(path: Path, samples: list[Seen], end_s: float) -> Path:
    rows = fill_gaps(summarise([emotion_batch(samples)], LABELS), LABELS, 0, lambda: end_s)
    write_table(to_table(rows, LABELS, "film.mp4", {"model": {"name": "fake"}, "version": "0"}), path)
    return path


@pytest.fixture
def timeline(tmp_path: Path) -> Path:
    samples = [
        Seen(float(s), () if value is None else (face(value),), duration_s=1.0)
        for s, value in enumerate(HAPPY) if value != "lost"
    ]  # fmt: skip
    return write_timeline(tmp_path / "film.parquet", samples, float(len(HAPPY)))


@pytest.fixture
def table(tmp_path: Path):
    def write(text: str, name: str = "coder.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


def rows(*cells: list, header: str) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in cells)]) + "\n"


def happiness(found: Ratings, rater: int = 0) -> dict[int, float]:
    """Return happiness by second, where it was rated."""
    values = found.score[rater, :, found.emotions.index("happiness")]
    return {int(s): round(float(v), 6) for s, v in zip(found.second, values) if math.isfinite(v)}


# -- reading tables ---------------------------------------------------------------------------------------

SAME = {0: 0.1, 1: 0.25, 2: 1.0}
DIALECTS = {
    "commas": ("second,happiness\n0,0.1\n1,0.25\n2,1\n", "utf-8"),
    "semicolons and decimal commas": ("Time;Happy\n0:00;0,1\n0:01;0,25\n0:02;1,0\n", "utf-8-sig"),
    "tabs, UTF-16": ("timestamp\tjoy\n0:00:00\t0.1\n0:00:01\t0.25\n0:00:02\t1\n", "utf-16"),
    "milliseconds, percent": ("time_ms,happiness_score\n0,10%\n1000,25%\n2000,100%\n", "utf-8"),
    "Excel's sep, blank lines": ("sep=|\nt|happiness\n\n0|0.1\n1|0.25\n\n2|1\n", "utf-8"),
    "Windows, umlauts": ("second;happiness;Bemerkung\r\n0;0,1;schön\r\n1;0,25;\r\n2;1;\r\n", "cp1252"),
    "intervals": ("onset,offset,happiness\n0,1,0.1\n1,2,0.25\n2,3,1\n", "utf-8"),
    "durations, unsorted": ("Start (s),Duration (s),happiness\n2,1,1\n0,1,0.1\n1,1,0.25\n", "utf-8"),
    "finer than seconds": ("t,happiness\n0,0\n0.5,0.2\n1,0.2\n1.5,0.3\n2,1\n2.5,1\n", "utf-8"),
}


@pytest.mark.parametrize("kind", DIALECTS)
def test_the_same_ratings_in_many_dialects(kind: str, table) -> None:
    assert happiness(read_ratings(table(*[DIALECTS[kind][0], "a.csv", DIALECTS[kind][1]]))) == SAME


def test_raters_are_read_from_long_and_wide_tables(table) -> None:
    long = read_ratings(table("t,coder,label\n0,A,happy\n0,B,sad\n1,A,angry\n1,B,\n"))
    wide = read_ratings(table("t,rater_A,rater_B\n0,happy,sad\n1,angry,\n"))
    assert long.raters == ("A", "B") and wide.raters == ("rater_a", "rater_b")
    assert np.array_equal(long.label, wide.label)
    assert [[long.emotions[i] if i >= 0 else "" for i in own] for own in long.label] == [
        ["happiness", "anger"], ["sadness", ""],
    ]  # fmt: skip
    scores = read_ratings(table("t,happiness_r1,r2_happiness,sad_r1\n0,1,2,5\n1,5,4,1\n"))
    assert scores.raters == ("r1", "r2")
    assert happiness(scores, 1) == {0: 0.25, 1: 0.75}  # of 1 to 5


def test_an_interval_labels_the_seconds_that_it_covers_by_half(table) -> None:
    found = read_ratings(table("start,end,emotion\n0.2,1.3,happy\n1.3,3,fear\n3,3.4,joy\n"))
    assert [found.emotions[i] for i in found.label[0]] == ["happiness", "fear", "fear"]  # 0.4 s of second 3: not rated
    assert list(found.second) == [0, 1, 2]
    assert happiness(found) == {0: 1.0, 1: 0.3, 2: 0.0}


def test_without_labels_the_highest_score_is_the_label(table) -> None:
    found = read_ratings(table("t,happiness,sadness\n0,3,1\n1,2,2\n2,0,4\n"))
    assert not found.labelled
    assert list(found.label[0]) == [0, -1, 1]
    assert found.facts["scale"] == [0, 4]


@pytest.mark.parametrize(
    ("values", "scale"),
    [("0.2 0.9", [0, 1]), ("20 90", [0, 100]), ("1 5", [1, 5]), ("0 3", [0, 3]), ("-3 2", [-3, 2]), ("2 2", [1, 2])],
)
def test_the_scale_is_derived_from_the_scores(values: str, scale: list[int], table) -> None:
    first, second = values.split()
    assert read_ratings(table(f"t,happiness\n0,{first}\n1,{second}\n")).facts["scale"] == scale


@steady
@given(st.lists(st.floats(0.01, 0.99), min_size=3, max_size=20), st.floats(0.1, 50), st.floats(-5, 5))
def test_any_scale_gives_the_same_scores(tmp_path_factory, values: list[float], factor: float, shift: float) -> None:
    path = tmp_path_factory.mktemp("scale") / "coder.csv"
    scores = [factor * v + shift for v in (0.0, *values, 1.0)]
    path.write_text("t,happiness\n" + "".join(f"{i},{v!r}\n" for i, v in enumerate(scores)))
    found = read_ratings(path, RatingOptions(scale=(min(scores), max(scores))))
    assert list(happiness(found).values()) == pytest.approx([0, *values, 1], abs=1e-5)


# -- both sides -------------------------------------------------------------------------------------------


def test_a_rater_identical_to_the_model_agrees_perfectly(timeline: Path, table, tmp_path: Path) -> None:
    ratings = table(rows(*[[s, HAPPY[s]] for s in SEEN], header="second,happiness"))
    facts = fervid.agree(timeline, ratings).facts
    one = facts["emotions"]["happiness"]
    for measure in ("ccc", "pearson", "spearman"):
        assert [one[measure][k] for k in ("value", "low", "high")] == pytest.approx([1, 1, 1], abs=1e-5)
    assert one["best_lag_s"] == 0
    assert facts["coverage"]["of_raters"] == facts["coverage"]["of_machine"] == 1


def test_ccc_measures_level_and_scale_unlike_correlation(timeline: Path, table) -> None:
    """For y = x / 2: r = 1 and CCC = 2 * v/2 / (v + v/4 + (m/2)^2), with mean m and variance v of x."""
    x = np.array([HAPPY[s] for s in SEEN])
    ratings = table(rows(*[[s, HAPPY[s] / 2] for s in SEEN], header="second,happiness"))
    one = fervid.agree(timeline, ratings, scale=(0, 1)).facts["emotions"]["happiness"]
    assert one["pearson"]["value"] == pytest.approx(1)
    assert one["ccc"]["value"] == pytest.approx(x.var() / (1.25 * x.var() + x.mean() ** 2 / 4), abs=1e-6)


def test_coverage_counts_why_seconds_are_not_compared(timeline: Path, table) -> None:
    ratings = table(rows(*[[s, 0.1 * (s % 5)] for s in range(8, 23)], header="second,happiness"))
    coverage = fervid.agree(timeline, ratings).facts["coverage"]
    assert coverage["rated_not_compared"] == {"no_face": 1, "no_data": 1, "outside": 3}
    assert (coverage["rated_seconds"], coverage["compared_seconds"]) == (15, 10)
    assert coverage["machine_not_rated"] == 8
    assert coverage["of_raters"] == pytest.approx(10 / 15)


@pytest.mark.parametrize("lag", [-3, 0, 2])
def test_the_best_lag_is_the_delay_of_the_raters(lag: int) -> None:
    wave = np.random.default_rng(3).normal(size=60)
    second = np.arange(60)
    rated = np.full(60, np.nan)
    for s in range(60):
        if 0 <= s - lag < 60:
            rated[s] = wave[s - lag]
    assert find_lag(wave, rated, second, 5) == (lag, pytest.approx(1))
    assert find_lag(wave, np.ones(60), second, 5) == (None, None)


def test_the_lag_is_bounded(timeline: Path, table) -> None:
    ratings = table(rows(*[[s + 4, HAPPY[s]] for s in SEEN], header="second,happiness"))
    assert fervid.agree(timeline, ratings).facts["emotions"]["happiness"]["best_lag_s"] == 4
    assert abs(fervid.agree(timeline, ratings, max_lag_s=2).facts["emotions"]["happiness"]["best_lag_s"]) <= 2


def test_labels_by_hand(timeline: Path, table) -> None:
    """The model labels seconds 3-6 and 14-16 happiness, the rater 3-5 and 15; all others are neutral."""
    happy = {3, 4, 5, 15}
    ratings = table(rows(*[[s, "happy" if s in happy else "neutral"] for s in SEEN], header="t,label"))
    labels = fervid.agree(timeline, ratings).facts["labels"]
    seen, both, model, rater = 18, 4, 7, 4
    chance = (model * rater + (seen - model) * (seen - rater)) / seen**2
    agreed = (seen - (model - both)) / seen
    assert labels["agreement"] == pytest.approx(agreed)
    assert labels["kappa"]["value"] == pytest.approx((agreed - chance) / (1 - chance))
    assert labels["each"]["happiness"]["precision"] == pytest.approx(4 / 7)
    assert labels["each"]["happiness"]["recall"] == 1
    assert labels["each"]["happiness"]["f1"] == pytest.approx(8 / 11)


def test_a_single_track_is_compared(tmp_path: Path, table) -> None:
    """Track 1 falls while track 0 rises; their mean is constant."""
    samples = [Seen(float(s), (face(0.1 + 0.05 * s), face(0.55 - 0.05 * s, track=1)), 1.0) for s in range(10)]
    film = write_timeline(tmp_path / "two.parquet", samples, 10.0)
    ratings = table(rows(*[[s, s] for s in range(10)], header="second,happiness"))
    found = {track: fervid.agree(film, ratings, track=track).facts["emotions"]["happiness"] for track in (0, 1, None)}
    assert found[0]["pearson"]["value"] == pytest.approx(1)
    assert found[1]["pearson"]["value"] == pytest.approx(-1)
    assert found[None]["pearson"]["undefined"] == "constant: the model"
    with pytest.raises(DataError, match="no track 7; it has 0, 1"):
        fervid.agree(film, ratings, track=7)
    with pytest.raises(DataError, match="no column person"):
        fervid.agree(film, ratings, person=1)


def test_a_person_is_compared_over_several_tracks(tmp_path: Path, table) -> None:
    """The person has one track before and one after a cut."""
    samples = [Seen(float(s), (face(0.08 * s, track=int(s > 4)), face(0.5, track=2)), 1.0) for s in range(10)]
    film = write_timeline(tmp_path / "two.parquet", samples, 10.0)
    stored = pq.read_table(film)
    person = pa.array([None if t is None else int(t == 2) for t in stored["track"].to_pylist()], pa.int32())
    stored = stored.append_column("person", person)
    pq.write_table(stored.append_column("happiness_smooth", pa.array([0.1] * len(stored), pa.float32())), film)
    ratings = table(rows(*[[s, s] for s in range(10)], header="second,happiness"))
    facts = fervid.agree(film, ratings, person=0).facts
    assert facts["emotions"]["happiness"]["pearson"]["value"] == pytest.approx(1)
    assert facts["coverage"]["compared_seconds"] == 10 and facts["machine"]["who"] == "person 0"
    with pytest.raises(DataError, match="no person 3; it has 0, 1"):
        fervid.agree(film, ratings, person=3)


def test_gaps_between_intervals_can_be_neutral(timeline: Path, table) -> None:
    ratings = table("start,end,label\n3,7,happy\n14,17,happy\n")
    plain, filled = fervid.agree(timeline, ratings), fervid.agree(timeline, ratings, gaps="neutral")
    assert plain.facts["coverage"]["compared_seconds"] == 7
    assert plain.facts["emotions"]["happiness"]["pearson"]["undefined"] == "constant: the raters"
    assert filled.facts["labels"]["kappa"]["value"] == pytest.approx(1)
    with pytest.raises(DataError, match="only the gaps between intervals"):
        fervid.agree(timeline, table("t,label\n0,happy\n"), gaps="neutral")


def test_statistics_of_constant_raters_are_undefined(timeline: Path, table, tmp_path: Path) -> None:
    ratings = table(rows(*[[s, w, 0.5, "neutral"] for s in SEEN for w in "AB"], header="t,rater,happiness,label"))
    code, printed, _ = run("agree", timeline, ratings, "--out", tmp_path / "out")
    assert code == 0
    assert "undefined: constant: the raters" in printed
    facts = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert facts["emotions"]["happiness"]["ccc"] == {
        "value": None, "low": None, "high": None, "undefined": "constant: the raters",
    }  # fmt: skip
    assert "undefined" in facts["spread"] and "undefined" in facts["spread"]["verdict"]


# -- several raters -----------------------------------------------------------------------------------------


def noisy(seed: int, noise: float) -> list[float]:
    random = np.random.default_rng(seed)
    return [float(np.clip(HAPPY[s] + noise * random.normal(), 0, 1)) for s in SEEN]


@pytest.mark.parametrize("where", ["above", "below"])
def test_the_model_is_compared_with_the_range_of_the_raters(where: str, timeline: Path, table) -> None:
    """Raters with independent errors agree more with the model, those with a shared error with each other."""
    happy = np.array([HAPPY[s] for s in SEEN])
    errors = np.linalg.qr(np.column_stack([np.ones(18), happy, np.random.default_rng(5).normal(size=(18, 4))]))[0][
        :, 2:
    ]
    own = [
        happy + errors[:, i] if where == "above" else happy + 2 * errors[:, 3] + 0.1 * errors[:, i] for i in range(3)
    ]
    cells = [[s, *(one[i] for one in own)] for i, s in enumerate(SEEN)]
    ratings = table(rows(*cells, header="second,happiness_r1,happiness_r2,happiness_r3"))
    spread = fervid.agree(timeline, ratings).facts["spread"]
    assert spread["where"] == where
    assert spread["too_few_seconds"] and spread["verdict"].startswith("Only 18 seconds are compared: too few to judge")


def series(n: int, seed: int = 0) -> np.ndarray:
    """Return a slow wave with noise (n,), within 0.1 to 0.8."""
    wave = 0.45 + 0.3 * np.sin(np.arange(n) / 3) + 0.02 * np.random.default_rng(seed).normal(size=n)
    return np.clip(wave, 0.1, 0.8)


def write_long(path: Path, happy: np.ndarray) -> Path:
    return write_timeline(
        path, [Seen(float(s), (face(float(v)),), 1.0) for s, v in enumerate(happy)], float(len(happy))
    )


#: Noise of the model and of each of the raters, which all follow the same wave, and what the verdict says.
VERDICTS = {
    "two, lower": (0.5, (0.02, 0.03), r"is lower than that between the raters \(0\.\d\d\): .* less than"),
    "two, chance": (0.1, (0.1, 0.1), r"than that between the raters .*, but the difference \(.*\) may be chance"),
    "three, below": (0.5, (0.02, 0.03, 0.02), r"is below the range of the 3 raters \(0\.\d\d to 0\.\d\d\): .* less"),
    "three, within": (0.1, (0.02, 0.1, 0.3), r"is within the range of the 3 raters \(.*\); the difference from"),
    "three, above": (0.0, (0.2, 0.2, 0.2), r"is above the range of the 3 raters \(.*\): the model agrees .* more than"),
}  # fmt: skip


@pytest.mark.parametrize("kind", VERDICTS)
def test_the_verdict_compares_the_model_with_the_raters(kind: str, table, tmp_path: Path) -> None:
    noise, raters, words = VERDICTS[kind]
    wave, random = series(90), np.random.default_rng(7)
    film = write_long(tmp_path / "film.parquet", np.clip(wave + noise * random.normal(size=90), 0, 0.9))
    cells = [[s, *(np.clip(wave[s] + one * random.normal(), 0, 1) for one in raters)] for s in range(90)]
    header = ",".join(["t", *(f"happiness_r{i}" for i in range(len(raters)))])
    spread = fervid.agree(film, table(rows(*cells, header=header))).facts["spread"]
    assert re.search(words, spread["verdict"]), spread["verdict"]
    assert not spread["too_few_seconds"] and "too few" not in spread["verdict"]
    assert ("range" in spread["verdict"]) == (len(raters) > 2)


@pytest.mark.parametrize(("n", "words"), [(0, "No second is"), (1, "Only 1 second is"), (5, "Only 5 seconds are")])
def test_few_seconds_of_all_raters_give_no_verdict(n: int, words: str, table, tmp_path: Path) -> None:
    """Both raters rate n seconds, one of them all others."""
    happy = series(60)
    film = write_long(tmp_path / "film.parquet", happy)
    cells = [[s, f"{happy[s]:.2f}", f"{happy[s] / 2:.2f}" if s % 10 == 0 and s < 10 * n else ""] for s in range(60)]
    cells.append([61, "", 0.5])
    facts = fervid.agree(film, table(rows(*cells, header="t,happiness_r1,happiness_r2"))).facts
    assert facts["spread"]["verdict"].startswith(f"{words} compared")
    assert "too few to judge" in facts["spread"]["verdict"]
    assert facts["spread"]["too_few_seconds"] and not facts["coverage"]["too_few_seconds"]
    assert ("undefined" in facts["spread"]) == (n < 3)


def test_a_lag_from_few_seconds_is_not_shown(table, tmp_path: Path) -> None:
    film = write_long(tmp_path / "film.parquet", series(60))
    ratings = table(rows(*[[s, v] for s, v in zip((0, 3, 7, 11, 15), (2, 7, 3, 5, 1))], header="t,happiness"))
    code, printed, _ = run("agree", film, ratings, "--out", tmp_path / "out")
    assert (
        code == 0
        and re.search(r"^happiness .* -$", printed, re.M)
        and re.search(r"^lag +too few seconds", printed, re.M)
    )
    assert re.search(r"^caution ", printed, re.M)
    one = json.loads((tmp_path / "out" / "agreement.json").read_text())["emotions"]["happiness"]
    assert one["best_lag_too_few_seconds"] and one["best_lag_s"] is not None
    figures = pd.read_csv(tmp_path / "out" / "agreement.csv").set_index(["of", "measure"])
    assert figures.loc[("happiness", "best_lag_s"), "note"] == "too few seconds"


@pytest.mark.parametrize(("delay", "shown"), [(0, " 0 s"), (3, r"\+3 s"), (4, r"\+4 s \(limit\)")])
def test_a_lag_at_the_limit_of_the_search_is_marked(delay: int, shown: str, table, tmp_path: Path) -> None:
    happy = series(90)
    film = write_long(tmp_path / "film.parquet", happy)
    ratings = table(rows(*[[s, happy[s - delay]] for s in range(delay, 90)], header="t,happiness"))
    code, printed, _ = run("agree", film, ratings, "--max-lag", "4", "--out", tmp_path / "out")
    assert code == 0 and re.search(rf"^happiness .*{shown}$", printed, re.M)
    assert ("(limit)  the largest lag" in printed) == (delay == 4)
    figures = pd.read_csv(tmp_path / "out" / "agreement.csv", keep_default_na=False).set_index(["of", "measure"])
    assert figures.loc[("happiness", "best_lag_s"), "note"] == ("at the limit of --max-lag" if delay == 4 else "")
    assert "best_lag_at_limit" in (tmp_path / "out" / "agreement.json").read_text()


@pytest.mark.parametrize("several", [False, True])
def test_a_guessed_scale_is_marked(several: bool, timeline: Path, table) -> None:
    cells = [[s, 1 + s % 7] for s in SEEN]
    tables = [table(rows(*cells, header="t,happiness"), f"{name}.csv") for name in ("a", "b")[: 1 + several]]
    code, printed, _ = run("agree", timeline, *tables)
    assert code == 0 and "1 to 7, guessed from the ratings (give --scale LOW:HIGH" in printed
    code, printed, _ = run("agree", timeline, *tables, "--scale", "1:7")
    assert code == 0 and "1 to 7 (--scale)\n" in printed and "guessed" not in printed


def test_one_word_names_the_side_of_the_model(timeline: Path, table) -> None:
    cells = [[s, w, "happy" if s < 9 else "neutral", 0.5] for s in SEEN for w in "AB"]
    for text in (rows(*cells, header="t,rater,label,disgust"), rows(*cells, header="t,rater,x,happiness")):
        code, printed, _ = run("agree", timeline, table(text))
        assert code == 0 and re.search(r"^model +fake; all faces", printed, re.M)
        assert not re.search("machine|moments|on one side", printed)
    assert re.search(r"^left out +anger, neutral \(not rated\)$", printed, re.M)


def test_the_figure_covers_the_whole_video(table, tmp_path: Path, monkeypatch) -> None:
    film = write_long(tmp_path / "film.parquet", series(60))
    ratings = table(rows(*[[s, 0.01 * s] for s in range(5, 16)], header="t,happiness"))
    drawn = []
    monkeypatch.setattr("fervid.views.figures.agreement.save_figure", lambda figure, out: drawn.append(figure))
    fervid.agree(film, ratings, tmp_path / "out")
    assert drawn[0].axes[0].get_xlim() == (0, 60)


def documented(heading: str, column: int = 0) -> list[str]:
    """Return the names in a column of a table of docs/studies.md."""
    rows = markdown_table(PAGES["docs/studies.md"], heading)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row[column])]


def test_the_documentation_names_every_column(timeline: Path, table, tmp_path: Path) -> None:
    cells = [[s, w, "happy" if s % 4 else "neutral"] for s in SEEN for w in "AB"]
    fervid.agree(timeline, table(rows(*cells, header="t,rater,label")), tmp_path)
    frame = pd.read_csv(tmp_path / "agreement.csv")
    assert list(frame) == documented("#### agreement.csv")
    known = documented("#### agreement.csv", 1)
    assert {re.sub("_[AB]$", "_RATER", name) for name in frame["measure"]} <= set(known)
    found = [re.sub("_[AB]$", "_RATER", name) for name in pd.read_csv(tmp_path / "agreement_seconds.csv")]
    listed = documented("#### agreement_seconds.csv")
    assert list(dict.fromkeys(name for name in found if not name.startswith("neutral"))) == listed


def test_tables_do_not_show_the_noise_of_rounding() -> None:
    assert [cell_text(v) for v in (-3.86e-15, 1.2345678, -0.0, None, 0.00012345)] == [
        "0", "1.23457", "0", "", "0.00012345",
    ]  # fmt: skip


def test_leave_one_out_by_hand(timeline: Path, table) -> None:
    own = [noisy(seed, 0.1) for seed in (1, 2, 3)]
    cells = [[s, *(one[i] for one in own)] for i, s in enumerate(SEEN)]
    spread = fervid.agree(timeline, table(rows(*cells, header="t,happiness_r1,happiness_r2,happiness_r3"))).facts[
        "spread"
    ]
    x, m = np.array(own), np.array([HAPPY[s] for s in SEEN])
    others = [np.delete(x, i, 0).mean(0) for i in range(3)]
    assert list(spread["raters"].values()) == pytest.approx([np.corrcoef(x[i], others[i])[0, 1] for i in range(3)])
    assert spread["machine"] == pytest.approx(np.mean([np.corrcoef(m, y)[0, 1] for y in others]))


def test_labels_are_compared_by_kappa(timeline: Path, table) -> None:
    cells = [
        [s, "happy" if s in (3, 4, 5, 6, 14, 15, 16) else "neutral", "happy" if s < 9 else "neutral"] for s in SEEN
    ]
    facts = fervid.agree(timeline, table(rows(*cells, header="t,rater1,rater2"))).facts
    kappa = facts["labels"]["kappa_by_rater"]
    assert kappa["rater1"]["value"] == pytest.approx(1)
    assert facts["spread"]["machine"] == pytest.approx((1 + kappa["rater2"]["value"]) / 2)
    assert facts["spread"]["raters"]["rater1"] == pytest.approx(kappa["rater2"]["value"])
    assert facts["spread"]["verdict"].startswith("Only 18 seconds are compared: too few to judge")


@pytest.mark.parametrize("same", [True, False])
def test_the_verdict_for_labels(same: bool, table, tmp_path: Path) -> None:
    """Both raters label as the model does, or differ from it, but not from each other, in every third second."""
    happy = np.where(np.arange(60) % 4 < 2, 0.8, 0.1)
    film = write_long(tmp_path / "film.parquet", happy)
    given = ["happy" if (v > 0.5) == (same or s % 3 > 0) else "neutral" for s, v in enumerate(happy)]
    ratings = table(rows(*[[s, one, one] for s, one in enumerate(given)], header="t,rater1,rater2"))
    verdict = fervid.agree(film, ratings).facts["spread"]["verdict"]
    if same:
        words = (
            "kappa with single raters (1.00) equals that between the raters (1.00); the difference is +0.00, 95% +0.00"
        )
    else:
        words = "is lower than that between the raters (1.00): the model agrees with the raters less than they do"
    assert words in verdict


def test_tables_of_different_kinds_are_combined(timeline: Path, table) -> None:
    anna = table(rows(*[[s, HAPPY[s]] for s in SEEN], header="second,happiness"), "anna.csv")
    tiers = table("onset;offset;label;coder\n3;7;joy;Ben\n7;14;neutral;Ben\n14;17;joy;Ben\n", "tiers.csv")
    result = fervid.agree(timeline, [anna, tiers])
    assert result.facts["raters"] == ["anna", "Ben"]
    frame = result.to_pandas().set_index("second")
    assert frame.loc[4, "happiness_mean"] == pytest.approx((0.7 + 1) / 2)
    assert frame.loc[8, "happiness_mean"] == pytest.approx((0.2 + 0) / 2)
    assert frame.loc[0, "happiness_mean"] == pytest.approx(0.1)
    with pytest.raises(DataError, match="two raters are called 'anna/anna'"):
        fervid.agree(timeline, [anna, anna])


# -- the command ------------------------------------------------------------------------------------------------


def test_the_command_prints_results_and_writes_files(timeline: Path, table, tmp_path: Path) -> None:
    ratings = table(
        rows(
            *[[s, w, v] for i, s in enumerate(SEEN) for w, v in zip("AB", (HAPPY[s], noisy(1, 0.1)[i]))],
            header="t,rater,happiness",
        )
    )
    code, printed, _ = run("agree", timeline, ratings, "--out", tmp_path / "out", "--json", tmp_path / "a.json")
    assert code == 0
    assert "moving blocks of 3 s, 1000 draws, seed 0" in printed and "too few to judge" in printed
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "agreement.csv", "agreement.json", "agreement.png", "agreement_seconds.csv",
    ]  # fmt: skip
    figures = pd.read_csv(tmp_path / "out" / "agreement.csv").set_index(["of", "measure"])
    facts = json.loads((tmp_path / "a.json").read_text())
    assert figures.loc[("happiness", "ccc"), "value"] == pytest.approx(
        facts["emotions"]["happiness"]["ccc"]["value"], abs=1e-5
    )
    assert len(pd.read_csv(tmp_path / "out" / "agreement_seconds.csv")) == len(HAPPY)
    code, printed, _ = run("agree", timeline, ratings, "--json")
    assert code == 0 and json.loads(printed) == facts


def test_the_same_input_gives_the_same_bytes(timeline: Path, table, tmp_path: Path) -> None:
    ratings = table(rows(*[[s, HAPPY[s]] for s in SEEN], header="second,happiness"))
    for name in "ab":
        run("agree", timeline, ratings, "--out", tmp_path / name)
    for one in (tmp_path / "a").iterdir():
        assert one.read_bytes() == (tmp_path / "b" / one.name).read_bytes()


# -- bad input ---------------------------------------------------------------------------------------------------

BAD = {
    "empty": ("", "empty; expected a header"),
    "header only": ("second,happiness\n", "without ratings below"),
    "no values": ("second,happiness\n0,\n1,NA\n", "every label and score is empty"),
    "no time": ("when,happiness\n0,1\n", "no column of times; found when, happiness"),
    "no ratings": ("second,mood\n0,good\n", "no column of labels or scores; found second, mood"),
    "near names": ("secnod,happines\n0,1\n", "'secnod' (did you mean 'second'?)"),
    "start alone": ("start,label\n0,happy\n", "needs an end or a duration"),
    "both kinds of raters": ("t,coder,happiness_r1\n0,A,1\n", "columns of single raters (r1)"),
    "backwards": ("t,label\n0,happy\n2,sad\n1,happy\n", "row 4: 1 s comes after a later time (row 3, 2 s"),
    "twice": ("t,label\n0,happy\n1,sad\n1,happy\n", "row 4: 1 s is rated twice (row 3"),
    "overlap": ("start,end,label,coder\n5,9,sad,A\n0,6,happy,A\n0,9,sad,B\n", "rows 3 and 2 of A overlap"),
    "ends early": ("start,end,label\n5,4,sad\n", "row 2 ends at 4 s"),
    "unknown label": ("t,label\n0,happy\n1,hapy\n", "row 3, column 'label': unknown label 'hapy'; the nearest known is "
                      "'happiness'"),
    "no number": ("t,happiness\n0,much\n", "row 2, column 'happiness': expected a number, found 'much'"),
    "no clock": ("t,happiness\nnoon,1\n", "row 2, column 't': expected a time as seconds, m:ss or h:mm:ss"),
    "frames as time": ("t,happiness\n90000000,1\n", "name the column t_ms"),
    "too many cells": ("t,happiness\n0,1,5\n", "row 2 has 3 cells, the header 2"),
    "no rater": ("t,coder,label\n0,,happy\n", "row 2, column 'coder': empty; expected the name of the rater"),
    "other seconds": ("t,happiness\n100,1\n130,0\n", "rates seconds 100 to 130"),
    "other emotions": ("t,disgust\n0,1\n1,0\n", "rates disgust, of which"),
    "no face": ("t,happiness\n10,1\n12,0\n", "none of its rated seconds can be compared"),
    "two people": ("t,person,happiness\n0,1,1\n0,2,0\n", "rates more than one person (1, 2); choose by --person"),
    "workbook": ("PK\x03\x04zip", "a workbook"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_invalid_ratings_give_one_sentence_and_exit_code_2(kind: str, timeline: Path, table, tmp_path: Path) -> None:
    text, words = BAD[kind]
    path = table(text, f"{kind}.csv")
    code, printed, error = run("agree", timeline, path, "--out", tmp_path / "out")
    assert code == 2
    assert words in error and str(path) in error
    assert error.count("\n") == 1 and printed == ""
    assert not (tmp_path / "out").exists()


CELLS = st.sampled_from(
    ["", "0", "1", "2.5", "0,5", "1:00", "happy", "joy", "NaN", "-1", "1e400", "A", '"', "\x00", "é"]
)
HEADS = st.sampled_from(
    ["t", "start", "end", "duration", "label", "happiness", "sad_r1", "coder", "rater1", "x", "person"]
)


@steady
@given(
    st.lists(HEADS, min_size=1, max_size=5), st.lists(st.lists(CELLS, max_size=6), max_size=6), st.sampled_from(",;\t")
)
def test_any_table_is_read_or_rejected_with_one_sentence(tmp_path_factory, heads, body, mark: str) -> None:
    path = tmp_path_factory.mktemp("any") / "any.csv"
    path.write_text("\n".join(mark.join(cells) for cells in [heads, *body]), "utf-8")
    try:
        found = read_ratings(path)
    except DataError as e:
        assert str(path) in str(e) and "\n" not in str(e)
    else:
        assert len(found.second) and found.score.shape == (len(found.raters), len(found.second), len(found.emotions))


@steady
@given(st.binary(max_size=200))
def test_any_bytes_are_rejected_with_one_sentence(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "any.csv"
    path.write_bytes(data)
    with pytest.raises(DataError):
        read_ratings(path)


def test_unknown_labels_can_be_skipped(timeline: Path, table) -> None:
    ratings = table(rows(*[[s, "happy" if s < 9 else "bored"] for s in SEEN], header="t,label"))
    facts = fervid.agree(timeline, ratings, ignore_unknown=True).facts
    assert facts["labels_ignored"] == {"bored": 9}
    assert facts["labels"]["seconds"] == 9


def test_invalid_arguments_are_errors(timeline: Path, table, tmp_path: Path) -> None:
    ratings = table("t,happiness\n0,1\n1,3\n2,5\n")
    (tmp_path / "text.parquet").write_text("words")
    empty = write_timeline(tmp_path / "empty.parquet", [Seen(float(s), (), 1.0) for s in range(3)], 3.0)
    for call, words in (
        (lambda: fervid.agree(tmp_path / "text.parquet", ratings), "not a timeline"),
        (lambda: fervid.agree(tmp_path, ratings), "a folder"),
        (lambda: fervid.agree(empty, ratings), "no second with a face to compare (3 no_face, 0 no_data)"),
        (lambda: fervid.agree(timeline, tmp_path / "none.csv"), "cannot be read"),
        (lambda: fervid.agree(timeline, []), "at least one CSV file"),
        (lambda: fervid.agree(timeline, ratings, scale="1:4"), "row 4: a score of 5 is outside the scale 1 to 4"),
        (lambda: fervid.agree(timeline, ratings, scale="7:1"), "lower end first"),
        (lambda: fervid.agree(timeline, ratings, scale="seven"), "such as 1:7"),
        (lambda: fervid.agree(timeline, ratings, max_lag_s=-1), "max_lag_s = -1"),
        (lambda: fervid.agree(timeline, ratings, track=1, person=1), "expected one of them"),
    ):
        with pytest.raises((DataError, ConfigError), match=re.escape(words)):
            call()
