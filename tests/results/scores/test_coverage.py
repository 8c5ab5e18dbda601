"""The methods that the coverage bench compares are what their names say."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hf_breakhis.results.scores.intervals import Replicates
from hf_breakhis.results.scores.resampling import Predicted

_spec = importlib.util.spec_from_file_location("coverage", Path(__file__).parents[3] / "benchmarks" / "coverage.py")
coverage = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(coverage)


def test_bca_is_that_of_scipy():
    values = np.random.default_rng(0).beta(5, 1, size=30)
    rng = np.random.default_rng(1)
    replicates = rng.choice(values, size=(9999, 30)).mean(1)
    left_out = (values.sum() - values) / 29
    ours = coverage.bca(Replicates(values.mean(), replicates, 29), left_out)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=2).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_what_is_simulated_has_the_truth_that_is_claimed():
    labels, sizes = coverage.specimens()
    assert (len(labels), labels.sum(), sizes.sum()) == (70, 54, 7909)
    rng = np.random.default_rng(0)
    truth = coverage.truths(labels, sizes, 1.3, 1.0)
    drawn: list[Predicted] = [coverage.simulate(labels, sizes, 1.3, 1.0, rng) for _ in range(60)]
    found = np.mean([np.mean(one.predicted[one.labels == 1]) for one in drawn])
    assert found == pytest.approx(truth["sensitivity"], abs=0.01)


def test_the_table_in_the_docs_is_of_the_methods_and_settings_of_today():
    found = json.loads(Path(coverage.__file__).with_suffix(".json").read_text(encoding="utf-8"))
    assert list(found["settings"]) == list(coverage.SETTINGS)
    assert found["first_seed"] == coverage.FIRST_SEED
    for setting in found["settings"].values():
        ways = {name.removeprefix("specimens").removeprefix(", by class").removeprefix(", ")
                for name in setting["methods"] if name.startswith("specimens")}  # fmt: skip
        assert ways == set(coverage.WAYS)
