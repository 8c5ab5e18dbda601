"""How often a 95 % interval contains the true score of a recipe when training is part of the simulation.

    python benchmarks/coverage_training.py [--cohorts 500] [--resamples 300] [--jobs 2]

The quantity of interest is the score of the recipe: of a model that is trained on other specimens from the same
population and tested on new specimens. Each cohort has 16 benign and 54 malignant specimens with sizes as in BreakHis
(an eighth of the images). An image is a vector with an effect of its specimen and noise; malignant images are shifted
along one axis. Each fold trains a logistic regression, or in the last settings, with fewer cohorts, a small neural
network (16 hidden units). The true score is the mean over many models, each trained on as many new specimens as a
training set has, and tested on a large population. Writes benchmarks/coverage_training.json. The lowest and highest
coverage of the two intervals of the package go to hf_breakhis/results/scores/coverage.json, which reports print.
"""

import argparse
from collections.abc import Callable
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
from hf_breakhis.results.scores.intervals import intervals
from hf_breakhis.results.scores.resampling import Images, image_scores, patient_rates

SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc", "recognition_rate")
COUNTS = (16, 54)  # benign and malignant specimens
DIMENSIONS, SIGNALS, FOLDS = (10, 50, 100), (0.0, 0.7, 1.2, 1.8, 2.6), (3, 5)
EFFECT, REPEATS, LEVEL = 0.7, 3, 0.95
MODELS, RECIPE = "trained models (the package)", "recipe (the package)"
OF_REPEATS = "recipe, mean of three repeats (the package)"
CORRECTED = "corrected t over folds (Nadeau and Bengio 2003)"
SPREAD = "bootstrap and spread over repeats"
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


def cross_validate(
    rng: np.random.Generator,
    vectors: np.ndarray,
    labels: np.ndarray,
    group: np.ndarray,
    num_folds: int,
    model: str = "logistic regression",
) -> Images:
    """Deal specimens of each class to folds, train a model for each fold, and return its test predictions."""
    kinds = np.repeat([0, 1], COUNTS)
    fold = np.empty(len(kinds), dtype=int)
    for kind in (0, 1):
        members = rng.permutation(np.flatnonzero(kinds == kind))
        fold[members] = np.arange(len(members)) % num_folds
    prob = np.empty(len(labels))
    for number in range(num_folds):
        test = fold[group] == number
        prob[test] = expit(train(model, vectors[~test], labels[~test], rng)(vectors[test]))
    return Images(labels, (prob > 0.5).astype(int), np.stack([1 - prob, prob], axis=1), group, folds=fold[group])


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


def scores_of(images: Images):
    """Return a function from weights of specimens to all scores."""
    by_image, by_specimen = image_scores(images), patient_rates(images, images.groups)
    return lambda weights: {**by_image(weights), **by_specimen(weights)}


def score_folds(images: Images) -> np.ndarray:
    """Return the scores of each fold, (folds, scores)."""
    rows = []
    for number in np.unique(images.folds):
        chosen = images.folds == number
        groups = np.unique(images.groups[chosen], return_inverse=True)[1]
        one = Images(images.labels[chosen], images.predicted[chosen], images.probabilities[chosen], groups,
                     folds=np.zeros(chosen.sum(), dtype=int))  # fmt: skip
        values = scores_of(one)(np.ones((1, one.num_groups)))
        rows.append([float(values[name][0]) for name in SCORES])
    return np.array(rows)


def bounds_of(runs: list[Images], num_folds: int, resamples: int) -> dict[str, list[tuple[float, float]]]:
    """Return the interval of each method for each score."""
    first, every = runs[0], [scores_of(one) for one in runs]
    classes = first.group_classes

    def average(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = [one(weights) for one in every]
        return {name: np.mean([one[name] for one in found], axis=0) for name in SCORES}

    found: dict[str, list[tuple[float, float]]] = {}
    for name, scores, estimand in (
        (MODELS, every[0], Estimand.MODELS),
        (RECIPE, every[0], Estimand.RECIPE),
        (OF_REPEATS, average, Estimand.RECIPE),
    ):
        result = intervals(scores, first.num_groups, classes=classes, resamples=resamples, estimand=estimand)
        # no interval contains nothing
        found[name] = [
            (result[s]["low"] or 0.0, np.nan if result[s]["high"] is None else result[s]["high"]) for s in SCORES
        ]
    means = np.array([score_folds(one).mean(0) for one in runs])
    folds = score_folds(first)
    half = t.ppf((1 + LEVEL) / 2, num_folds - 1) * np.sqrt(
        folds.var(0, ddof=1) * (1 / num_folds + 1 / (num_folds - 1))
    )
    found[CORRECTED] = [(middle - part, middle + part) for middle, part in zip(means[0], half, strict=True)]
    spread = means.std(0, ddof=1)
    found[SPREAD] = [
        (low + shift - more, high + shift + more)
        for (low, high), shift, more in zip(
            found[MODELS],
            means.mean(0) - means[0],
            t.ppf((1 + LEVEL) / 2, REPEATS - 1) * spread / REPEATS**0.5,
            strict=True,
        )
    ]
    return found


def simulate(setting: Setting, cohorts: int, resamples: int) -> dict:
    """Return the true scores of a setting, and coverage and mean width of each method."""
    cohorts = cohorts // FEWER if setting.model == "neural network" else cohorts
    truth = true_scores(setting)
    runs = []
    for seed in range(cohorts):
        key = [2, setting.dimensions, round(10 * setting.signal), setting.folds, seed]
        rng = np.random.default_rng(key)
        data = cohort(rng, setting.dimensions, setting.signal)
        repeats = [cross_validate(rng, *data, setting.folds, setting.model) for _ in range(REPEATS)]
        runs.append(bounds_of(repeats, setting.folds, resamples))
    methods = {
        name: {
            score: {
                "coverage": float(np.mean([one[name][i][0] <= truth[i] <= one[name][i][1] for one in runs])),
                "width": float(np.nanmean([one[name][i][1] - one[name][i][0] for one in runs])),
            }
            for i, score in enumerate(SCORES)
        }
        for name in runs[0]
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
    parser.add_argument("--cohorts", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=300)
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
