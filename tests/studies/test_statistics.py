"""Measures of agreement: published worked examples, other libraries, and properties of the bootstrap."""

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from fervid.studies import statistics as m
from fervid.studies.bootstrap import N_RESAMPLES, ClusterBootstrap, MovingBlockBootstrap, estimate
from tests.helpers.hypothesis_settings import steady

NAN = np.nan
RANDOM = np.random.default_rng(7)


def one(terms: np.ndarray, measure) -> float:
    return float(measure(terms.sum(0)))


# -- publications ----------------------------------------------------------------------------------------


def test_cohens_worked_example() -> None:
    """Cohen's 200 patients in three categories (as R's psych gives them): observed .70, chance .41, kappa = .492."""
    table = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]], float)
    assert table.trace() / 200 == 0.70
    assert (table.sum(0) * table.sum(1)).sum() / 200**2 == pytest.approx(0.41)
    assert float(m.kappa(table.ravel())) == pytest.approx(0.492, abs=5e-4)


#: Krippendorff 2011, four observers and twelve units.
CODED = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
])  # fmt: skip


def test_krippendorff_2011_worked_example() -> None:
    """Part C: nominal .743; part E: interval .849."""
    labels = np.where(np.isnan(CODED), -1, CODED - 1).astype(int)
    assert one(m.nominal_alpha_terms(labels, 5), m.nominal_alpha) == pytest.approx(0.743, abs=5e-4)
    assert one(m.interval_alpha_terms(CODED), m.interval_alpha) == pytest.approx(0.849, abs=5e-4)


#: Shrout & Fleiss 1979, table 2: four judges, six targets.
JUDGED = np.array([[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]], float)


def test_shrout_and_fleiss_1979_table_4() -> None:
    """ICC(2,1) = .29, ICC(2,4) = .62."""
    terms = m.icc_terms(JUDGED)
    assert one(terms, m.icc) == pytest.approx(0.62, abs=5e-3)
    assert float(m.icc(terms.sum(0), mean_of_all=False)) == pytest.approx(0.29, abs=5e-3)


# -- other libraries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_correlations_equal_scipy(seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, 40))
    y = (y + x).round(1)
    assert one(m.pair_terms(x, y), m.pearson) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert one(m.pair_terms(m.ranks(x), m.ranks(y)), m.pearson) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_concordance_by_hand() -> None:
    """For 1 2 3 and 2 3 4, variances and covariance are 2/3 and the means differ by 1: (4/3) / (4/3 + 1) = 4/7."""
    assert one(m.pair_terms(np.array([1.0, 2, 3]), np.array([2.0, 3, 4])), m.concordance) == pytest.approx(4 / 7)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_equals_scikit_learn(seed: int) -> None:
    one_, other = np.random.default_rng(seed).integers(0, 4, (2, 50))
    assert one(m.kappa_terms(one_, other, 4), m.kappa) == pytest.approx(cohen_kappa_score(one_, other))


@pytest.mark.parametrize("seed", range(5))
def test_alpha_equals_the_krippendorff_package(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 4, (3, 30)).astype(float)
    values[random.random(values.shape) < 0.2] = NAN
    labels = np.where(np.isnan(values), -1, values).astype(int)
    theirs = [krippendorff.alpha(values, level_of_measurement=kind) for kind in ("nominal", "interval")]
    ours = [
        one(m.nominal_alpha_terms(labels, 4), m.nominal_alpha),
        one(m.interval_alpha_terms(values), m.interval_alpha),
    ]
    assert ours == pytest.approx(theirs)


@pytest.mark.parametrize("seed", range(5))
def test_auc_equals_scikit_learn_also_with_weights(seed: int) -> None:
    random = np.random.default_rng(seed)
    score, positive = random.normal(size=60).round(1), random.random(60) < 0.3
    counts = np.stack([np.ones(60), random.integers(0, 4, 60)]).astype(float)
    theirs = [roc_auc_score(positive, score, sample_weight=row) for row in counts]
    assert m.auc(counts @ m.auc_terms(score, positive)) == pytest.approx(theirs)
    assert m.auc(counts @ m.auc_terms(score, positive, 30)) == pytest.approx(theirs, abs=0.02)
    assert m.exact_auc(score, positive) == pytest.approx(theirs[0])


# -- undefined values -----------------------------------------------------------------------------------------


def test_agreement_of_constant_series_is_undefined() -> None:
    flat, waves = np.full(30, 0.1), np.sin(np.arange(30))
    for x, y in ((flat, waves), (waves, flat), (flat, flat)):
        for measure in (m.pearson, m.concordance):
            assert estimate(m.pair_terms(x, y), measure, MovingBlockBootstrap(5))["undefined"] == "constant"
    zeros = np.zeros(30, int)
    assert np.isnan(one(m.kappa_terms(zeros, zeros, 2), m.kappa))
    assert np.isnan(one(m.nominal_alpha_terms(np.zeros((2, 30), int), 2), m.nominal_alpha))
    assert np.isnan(one(m.interval_alpha_terms(np.stack([flat, flat])), m.interval_alpha))
    assert np.isnan(one(m.icc_terms(np.stack([flat, flat])), m.icc))
    assert np.isnan(m.exact_auc(waves, np.zeros(30, bool)))
    assert np.isnan(one(m.auc_terms(waves, np.zeros(30, bool)), m.auc))


def test_agreement_of_too_few_values_is_undefined() -> None:
    for n in (0, 1, 2):
        assert np.isnan(one(m.pair_terms(np.arange(n) * 1.0, np.arange(n) * 1.0), m.pearson))
    assert np.isnan(one(m.nominal_alpha_terms(np.full((2, 5), -1), 3), m.nominal_alpha))
    assert np.isnan(one(m.interval_alpha_terms(np.full((2, 5), NAN)), m.interval_alpha))


# -- the bootstrap --------------------------------------------------------------------------------------------


@steady
@given(st.integers(5, 80), st.integers(1, 30))
def test_every_resample_has_the_length_of_the_series_and_consists_of_blocks(n: int, length: int) -> None:
    """The sums of an identity matrix count how often each member occurs in a resample."""
    bootstrap = MovingBlockBootstrap(length)
    counts = bootstrap.sums(np.eye(n)).round(9)
    assert counts.shape == (N_RESAMPLES, n)
    assert (counts.sum(1) == n).all() and (counts >= 0).all()
    changes = np.abs(np.diff(counts, axis=1, prepend=0, append=0)).sum(1)
    assert (changes <= 2 * np.ceil(n / bootstrap.block_length(n))).all()


def test_blocks_give_wider_intervals_for_slow_series() -> None:
    random = np.random.default_rng(1)
    slow = np.convolve(random.normal(size=(640)), np.ones(40) / 40, "valid")
    other = slow + 0.5 * np.convolve(random.normal(size=(640)), np.ones(40) / 40, "valid")
    wide, narrow = (estimate(m.pair_terms(slow, other), m.pearson, MovingBlockBootstrap(k)) for k in (40, 1))
    assert wide["value"] == narrow["value"]
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])


def test_intervals_cover_the_true_value() -> None:
    """The intervals of about 95 of 100 series of 200 independent pairs should cover the correlation of 0.6."""
    covered = 0
    for seed in range(100):
        x, e = np.random.default_rng(seed).normal(size=(2, 200))
        found = estimate(m.pair_terms(x, 0.6 * x + 0.8 * e), m.pearson, MovingBlockBootstrap(1, n_resamples=300))
        covered += found["low"] <= 0.6 <= found["high"]
    assert 88 <= covered <= 99


def test_the_same_data_give_the_same_interval() -> None:
    x, y = RANDOM.normal(size=(2, 50))
    assert estimate(m.pair_terms(x, y), m.pearson, MovingBlockBootstrap(5)) == estimate(
        m.pair_terms(x, y), m.pearson, MovingBlockBootstrap(5)
    )


def test_one_group_has_no_interval() -> None:
    found = estimate(m.pair_terms(*RANDOM.normal(size=(2, 50))), m.pearson, ClusterBootstrap(np.zeros(50, int)))
    assert found["value"] is not None and found["low"] is None and found["high"] is None


def test_groups_are_resampled_whole() -> None:
    of = np.repeat([0, 1, 2], [2, 3, 4])
    counts = ClusterBootstrap(of).sums(np.eye(9))
    assert (counts[:, 0] == counts[:, 1]).all() and (counts[:, 5] == counts[:, 8]).all()
    assert (counts[:, [0, 2, 5]].sum(1) == 3).all()
