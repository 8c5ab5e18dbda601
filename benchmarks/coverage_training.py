"""How often a 95 % interval contains the true score of a recipe when training is part of the simulation.

    python benchmarks/coverage_training.py [--cohorts 1000] [--resamples 200] [--jobs 2]

The quantity of interest is the score of the recipe: of a model that is trained on other specimens from the same
population and tested on new specimens. Each cohort has 16 benign and 54 malignant specimens with sizes as in BreakHis
(an eighth of the images). An image is a vector with an effect of its specimen and noise; malignant images are shifted
along one axis. Each fold trains a logistic regression, or in the last settings a small neural network (16 hidden
units). The true score is the mean over many models, each trained on as many new specimens as a training set has, and
tested on a large population. Neural networks, methods of three repeats and nested cross-validation run on a fifth of
the cohorts. Writes benchmarks/coverage_training.json. The lowest and highest coverage of the two intervals of the
package go to hf_breakhis/results/scores/coverage.json, which reports print.
"""

import argparse
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from coverage import specimens
from scipy.special import expit, logit
from scipy.stats import t
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.utils._testing import ignore_warnings

from hf_breakhis.files import write_json
from hf_breakhis.results.scores.estimands import COVERAGE, Estimand
from hf_breakhis.results.scores.intervals import Scores, intervals
from hf_breakhis.results.scores.paired import mean_interval
from hf_breakhis.results.scores.resampling import Predicted, image_scores, patient_rates

SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc", "recognition_rate")
COUNTS = (16, 54)  # benign and malignant specimens
DIMENSIONS, SIGNALS, FOLDS = (10, 50, 100), (0.0, 0.7, 1.2, 1.8, 2.6), (3, 5)
EFFECT, REPEATS, LEVEL = 0.7, 3, 0.95
MODELS, RECIPE = "trained models (the package)", "recipe (the package)"
OF_REPEATS = "recipe, mean of three repeats (the package)"
RESAMPLED = "recipe, the mean of three repeats resampled"
CORRECTED = "corrected t over folds (Nadeau and Bengio 2003)"
SPREAD = "bootstrap and spread over repeats"
NESTED = "nested cross-validation (Bates, Hastie and Tibshirani 2023)"
NETWORK_DIMENSIONS, NETWORK_SIGNALS, FEWER = 50, (1.2, 2.6), 5  # a fifth of the cohorts


@dataclass(frozen=True)
class Setting:
    """A population and a recipe."""

    dimensions: int
    signal: float
    folds: int
    model: str = "logistic regression"


SETTINGS = [Setting(*each) for each in product(DIMENSIONS, SIGNALS, FOLDS)] + [
    Setting(NETWORK_DIMENSIONS, signal, 5, "neural network") for signal in NETWORK_SIGNALS
]


def cohort(
    rng: np.random.Generator, dimensions: int, signal: float, counts: tuple[int, int] = COUNTS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a cohort; return vectors (n, dimensions), labels (n,) and specimens (n,), benign specimens first."""
    labels, sizes = specimens()
    drawn = np.concatenate([rng.choice(sizes[labels == kind], counts[kind]) for kind in (0, 1)])
    group = np.repeat(np.arange(len(drawn)), np.maximum(1, np.round(drawn / 8).astype(int)))
    truth = np.repeat([0, 1], counts)[group]
    vectors = EFFECT * rng.normal(size=(len(drawn), dimensions))[group] + rng.normal(size=(len(group), dimensions))
    vectors[:, 0] += signal * (2 * truth - 1)
    return vectors, truth, group


def fit(vectors: np.ndarray, labels: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """Return the coefficients of a logistic regression with an L2 penalty, the intercept last; by Newton's method."""
    inputs = np.c_[vectors, np.ones(len(vectors))]
    ridge = np.diag([penalty] * vectors.shape[1] + [1e-3])
    weights = np.zeros(inputs.shape[1])
    for _ in range(15):
        prob = expit(inputs @ weights)
        hessian = (inputs * (prob * (1 - prob))[:, None]).T @ inputs + ridge
        step = np.linalg.solve(hessian, inputs.T @ (labels - prob) - ridge @ weights)
        weights += step
        if np.abs(step).max() < 1e-6:
            break
    return weights


@ignore_warnings(category=ConvergenceWarning)
def network(vectors: np.ndarray, labels: np.ndarray, seed: int) -> MLPClassifier:
    """Train a small neural network for a fixed number of epochs."""
    return MLPClassifier((16,), alpha=1.0, learning_rate_init=0.01, max_iter=30, random_state=seed).fit(
        vectors, labels
    )


def train(model: str, vectors: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Callable:
    """Return a function from vectors to the log odds of class 1."""
    if model == "neural network":
        trained = network(vectors, labels, int(rng.integers(2**31)))
        return lambda new: logit(np.clip(trained.predict_proba(new)[:, 1], 1e-9, 1 - 1e-9))
    weights = fit(vectors, labels)
    return lambda new: np.c_[new, np.ones(len(new))] @ weights


def deal(rng: np.random.Generator, kinds: np.ndarray, num_folds: int) -> np.ndarray:
    """Return a fold for each specimen, the specimens of each class shuffled and dealt."""
    fold = np.empty(len(kinds), dtype=int)
    for kind in (0, 1):
        members = rng.permutation(np.flatnonzero(kinds == kind))
        fold[members] = np.arange(len(members)) % num_folds
    return fold


def cross_validate(
    rng: np.random.Generator,
    vectors: np.ndarray,
    labels: np.ndarray,
    group: np.ndarray,
    num_folds: int,
    model: str = "logistic regression",
) -> Predicted:
    """Deal specimens of each class to folds, train a model for each fold, and return its test predictions."""
    kinds = np.repeat([0, 1], COUNTS)
    fold = deal(rng, kinds, num_folds)
    prob = np.empty(len(labels))
    for number in range(num_folds):
        test = fold[group] == number
        prob[test] = expit(train(model, vectors[~test], labels[~test], rng)(vectors[test]))
    return Predicted(labels, (prob > 0.5).astype(int), np.stack([1 - prob, prob], axis=1), group, folds=fold[group])


def true_scores(setting: Setting, models: int = 200) -> np.ndarray:
    """Return the mean scores of models trained on new specimens, tested on a large population."""
    dimensions, signal, num_folds = setting.dimensions, setting.signal, setting.folds
    rng = np.random.default_rng([1, dimensions, round(10 * signal), num_folds])
    vectors, labels, group = cohort(rng, dimensions, signal, (800, 800))
    all_labels, sizes = specimens()
    images = np.array([COUNTS[kind] * sizes[all_labels == kind].mean() for kind in (0, 1)])
    kinds = np.repeat([0, 1], 800)
    found = []
    for _ in range(models):
        fewer = [count - rng.choice([count // num_folds, -(-count // num_folds)]) for count in COUNTS]
        trained, truth, _ = cohort(rng, dimensions, signal, (fewer[0], fewer[1]))
        score = train(setting.model, trained, truth, rng)(vectors)
        right = (score > 0) == labels
        rates = np.array([right[labels == kind].mean() for kind in (0, 1)])
        by_specimen = np.bincount(group, weights=right) / np.bincount(group)
        rank = np.argsort(np.argsort(score)) + 1.0
        positive = labels.sum()
        area = (rank[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))
        recognised = sum(COUNTS[kind] * by_specimen[kinds == kind].mean() for kind in (0, 1)) / sum(COUNTS)
        found.append([rates @ images / images.sum(), rates.mean(), rates[1], rates[0], area, recognised])
    return np.mean(found, axis=0)


def scores_of(images: Predicted):
    """Return a function from weights of specimens to all scores."""
    by_image, by_specimen = image_scores(images), patient_rates(images, images.groups)
    return lambda weights: {**by_image(weights), **by_specimen(weights)}


def score_folds(images: Predicted) -> np.ndarray:
    """Return the scores of each fold, (folds, scores)."""
    rows = []
    for number in np.unique(images.folds):
        chosen = images.folds == number
        groups = np.unique(images.groups[chosen], return_inverse=True)[1]
        one = Predicted(images.labels[chosen], images.predicted[chosen], images.probabilities[chosen], groups,
                     folds=np.zeros(chosen.sum(), dtype=int))  # fmt: skip
        values = scores_of(one)(np.ones((1, one.num_groups)))
        rows.append([float(values[name][0]) for name in SCORES])
    return np.array(rows)


def part_of(
    labels: np.ndarray, prob: np.ndarray, group: np.ndarray, folds: np.ndarray, chosen: np.ndarray
) -> Predicted:
    """Return some of the images as test images, their groups numbered anew."""
    pair = np.stack([1 - prob, prob], axis=1)[chosen]
    groups = np.unique(group[chosen], return_inverse=True)[1]
    return Predicted(labels[chosen], (pair[:, 1] > 0.5).astype(int), pair, groups, folds=folds[chosen])


def jackknife_variance(images: Predicted) -> np.ndarray:
    """Return the variance of each score over specimens, drawn within their class, (scores,)."""
    left_out = scores_of(images)(1 - np.eye(images.num_groups))
    kinds = np.array([images.labels[images.groups == number][0] for number in range(images.num_groups)])
    found = np.zeros(len(SCORES))
    for kind in np.unique(kinds):
        values = np.stack([left_out[name][kinds == kind] for name in SCORES], axis=1)
        count = len(values)
        found += (count - 1) / count * ((values - values.mean(0)) ** 2).sum(0)
    return found


def nested_bounds(
    rng: np.random.Generator,
    data: tuple[np.ndarray, np.ndarray, np.ndarray],
    num_folds: int,
    model: str,
    repeats: int = REPEATS,
) -> list[tuple[float, float]]:
    """Return the interval of nested cross-validation for each score.

    Each outer fold is tested by the model of the other folds, and those folds by models that saw neither. The mean
    squared difference of the two scores, less the variance of the first, estimates the error of cross-validation.

    Source:
        Bates, Hastie and Tibshirani 2023, Cross-validation: what does it estimate and how well does it do it?,
        Journal of the American Statistical Association 119(546), with specimens in place of observations.
    """
    vectors, labels, group = data
    kinds = np.repeat([0, 1], COUNTS)
    squares, variances, inner_scores, outer_scores, naive = [], [], [], [], []
    for _ in range(repeats):
        fold = deal(rng, kinds, num_folds)[group]
        whole = np.empty(len(labels))
        without = np.empty((num_folds, len(labels)))  # by the fold that is left out as well
        for first in range(num_folds):
            test = fold == first
            whole[test] = expit(train(model, vectors[~test], labels[~test], rng)(vectors[test]))
            for second in range(first):
                left = test | (fold == second)
                predicted = expit(train(model, vectors[~left], labels[~left], rng)(vectors))
                without[second, test], without[first, fold == second] = predicted[test], predicted[fold == second]
        every = part_of(labels, whole, group, fold, np.ones(len(labels), bool))
        naive.append(jackknife_variance(every))
        outer_scores.append(score_folds(every).mean(0))
        for number in range(num_folds):
            test = fold == number
            outer = part_of(labels, whole, group, fold, test)
            inner = score_folds(part_of(labels, without[number], group, fold, ~test)).mean(0)
            outside = scores_of(outer)(np.ones((1, outer.num_groups)))
            squares.append((inner - [outside[name][0] for name in SCORES]) ** 2)
            variances.append(jackknife_variance(outer))
            inner_scores.append(inner)
    error = np.mean(naive, axis=0)
    found = (num_folds - 1) / num_folds * (np.mean(squares, axis=0) - np.mean(variances, axis=0))
    half = t.ppf((1 + LEVEL) / 2, 1000) * np.sqrt(np.clip(found, error, num_folds * error))
    inner_mean, outer_mean = np.mean(inner_scores, axis=0), np.mean(outer_scores, axis=0)
    middle = inner_mean - (1 + (num_folds - 2) / num_folds) * (inner_mean - outer_mean)
    return list(zip(middle - half, middle + half, strict=True))


def ends_of(scores: Scores, images: Predicted, resamples: int, estimand: Estimand) -> list[tuple[float, float]]:
    """Return the interval of the package for each score; one that it does not give contains nothing."""
    classes = images.group_classes
    found = intervals(scores, images.num_groups, classes=classes, resamples=resamples, estimand=estimand)
    return [either(found[name]) for name in SCORES]


def either(bounds: Mapping[str, float | None]) -> tuple[float, float]:
    """Return low and high, or NaN."""
    low, high = bounds["low"], bounds["high"]
    return (np.nan, np.nan) if low is None or high is None else (low, high)


def bounds_of(run: Predicted, num_folds: int, resamples: int) -> dict[str, list[tuple[float, float]]]:
    """Return the interval of each method that needs one run, for each score."""
    scores = scores_of(run)
    folds = score_folds(run)
    half = t.ppf((1 + LEVEL) / 2, num_folds - 1) * np.sqrt(
        folds.var(0, ddof=1) * (1 / num_folds + 1 / (num_folds - 1))
    )
    return {
        MODELS: ends_of(scores, run, resamples, Estimand.MODELS),
        RECIPE: ends_of(scores, run, resamples, Estimand.RECIPE),
        CORRECTED: [(middle - part, middle + part) for middle, part in zip(folds.mean(0), half, strict=True)],
    }


def bounds_of_repeats(runs: list[Predicted], resamples: int) -> dict[str, list[tuple[float, float]]]:
    """Return the interval of each method that needs repeats, for each score."""
    first, every = runs[0], [scores_of(one) for one in runs]

    def average(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = [one(weights) for one in every]
        return {name: np.mean([one[name] for one in found], axis=0) for name in SCORES}

    each = [ends_of(scores, run, resamples, Estimand.RECIPE) for scores, run in zip(every, runs, strict=True)]
    ends = [[dict(zip(("low", "high"), bounds[i], strict=True)) for bounds in each] for i in range(len(SCORES))]
    means = np.array([score_folds(one).mean(0) for one in runs])
    more = t.ppf((1 + LEVEL) / 2, REPEATS - 1) * means.std(0, ddof=1) / REPEATS**0.5
    models = ends_of(average, first, resamples, Estimand.MODELS)
    return {
        RESAMPLED: ends_of(average, first, resamples, Estimand.RECIPE),
        OF_REPEATS: [either(mean_interval(None, one)) for one in ends],
        SPREAD: [(low - part, high + part) for (low, high), part in zip(models, more, strict=True)],
    }


def simulate(setting: Setting, cohorts: int, resamples: int) -> dict:
    """Return the true scores of a setting, and coverage and mean width of each method."""
    cohorts = cohorts // FEWER if setting.model == "neural network" else cohorts
    truth = true_scores(setting)
    runs = []
    for seed in range(cohorts):
        key = [2, setting.dimensions, round(10 * setting.signal), setting.folds, seed]
        rng = np.random.default_rng(key)
        data = cohort(rng, setting.dimensions, setting.signal)
        run = cross_validate(rng, *data, setting.folds, setting.model)
        found = bounds_of(run, setting.folds, resamples)
        if seed < cohorts // FEWER:
            others = [cross_validate(rng, *data, setting.folds, setting.model) for _ in range(REPEATS - 1)]
            found |= bounds_of_repeats([run, *others], resamples)
            found[NESTED] = nested_bounds(rng, data, setting.folds, setting.model)
        runs.append(found)
    methods = {}
    for name in runs[0]:
        bounds = np.array([one[name] for one in runs if name in one])  # (cohorts, scores, 2)
        covers = ((bounds[:, :, 0] <= truth) & (truth <= bounds[:, :, 1])).mean(0)
        widths = np.nanmean(bounds[:, :, 1] - bounds[:, :, 0], axis=0)
        methods[name] = {
            score: {"coverage": float(covers[i]), "width": float(widths[i])} for i, score in enumerate(SCORES)
        }
    truths = dict(zip(SCORES, truth.tolist(), strict=True))
    return {**asdict(setting), "cohorts": cohorts, "truth": truths, "methods": methods}


def extremes(rows: list[dict], method: str) -> dict[str, list[float]]:
    """Return the lowest and highest coverage of each score over all settings."""
    cells = {score: [row["methods"][method][score]["coverage"] for row in rows] for score in SCORES}
    return {score: [min(values), max(values)] for score, values in cells.items()}


def main() -> None:
    """Simulate, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/coverage_training.json"))
    parser.add_argument("--coverage", type=Path, default=COVERAGE)
    args = parser.parse_args()
    found = []
    with ProcessPoolExecutor(args.jobs) as pool:
        count = len(SETTINGS)
        for row in pool.map(simulate, SETTINGS, [args.cohorts] * count, [args.resamples] * count):
            found.append(row)
            truth = " ".join(f"{name} {value:.3f}" for name, value in row["truth"].items())
            setting = f"{row['model']}, {row['dimensions']} dimensions, signal {row['signal']}, {row['folds']} folds"
            print(f"\n{setting}: {truth}")
            for name, cells in row["methods"].items():
                shown = " ".join(f"{cells[s]['coverage']:.3f} ({cells[s]['width']:.3f})" for s in SCORES)
                print(f"{name:<50}{shown}", flush=True)
    write_json(args.json, {"cohorts": args.cohorts, "resamples": args.resamples, "level": LEVEL, "repeats": REPEATS,
                           "rows": found})  # fmt: skip
    coverage = {Estimand.MODELS: extremes(found, MODELS), Estimand.RECIPE: extremes(found, RECIPE)}
    write_json(args.coverage, {"from": "benchmarks/coverage_training.py", "coverage": coverage})


if __name__ == "__main__":
    main()
