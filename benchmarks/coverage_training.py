"""How often a 95 % interval contains the true score of a recipe when training is part of the simulation.

    python benchmarks/coverage_training.py [--cohorts 400] [--resamples 500] [--json benchmarks/coverage_training.json]

The quantity of interest is the score of the recipe: of a model that is trained on other specimens from the same
population and tested on new specimens. Each cohort has 16 benign and 54 malignant specimens with sizes as in BreakHis
(an eighth of the images). An image is a vector with an effect of its specimen and noise; malignant images are shifted
along one axis. Each fold trains a logistic regression. The true score is the mean over many models, each trained on as
many new specimens as a training set has, and tested on a large population. The intervals of the package keep the
trained models fixed, so here they should cover too rarely; the other methods try to add the variance of training.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from coverage import specimens
from scipy.special import expit
from scipy.stats import t

from hf_breakhis.files import write_json
from hf_breakhis.results.scores import intervals as scored
from hf_breakhis.results.scores.resampling import Images, image_scores, patient_rates

SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc", "recognition_rate")
COUNTS = (16, 54)  # benign and malignant specimens
DIMENSIONS, SIGNALS, FOLDS = (10, 50, 100), (0.0, 0.7, 1.2, 1.8, 2.6), (3, 5)
EFFECT, REPEATS, LEVEL = 0.7, 3, 0.95
DOUBLED, CORRECTED, SPREAD, DEFAULT = (
    "bootstrap, variance doubled",
    "corrected t over folds (Nadeau and Bengio 2003)",
    "bootstrap and spread over repeats",
    "bootstrap, models fixed (the package)",
)


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


def cross_validate(
    rng: np.random.Generator, vectors: np.ndarray, labels: np.ndarray, group: np.ndarray, num_folds: int
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
        prob[test] = expit(np.c_[vectors[test], np.ones(test.sum())] @ fit(vectors[~test], labels[~test]))
    return Images(labels, (prob > 0.5).astype(int), np.stack([1 - prob, prob], axis=1), group, folds=fold[group])


def true_scores(dimensions: int, signal: float, num_folds: int, models: int = 200) -> np.ndarray:
    """Return the mean scores of models trained on new specimens, tested on a large population."""
    rng = np.random.default_rng([1, dimensions, round(10 * signal), num_folds])
    vectors, labels, group = cohort(rng, dimensions, signal, (800, 800))
    all_labels, sizes = specimens()
    images = np.array([COUNTS[kind] * sizes[all_labels == kind].mean() for kind in (0, 1)])
    kinds = np.repeat([0, 1], 800)
    found = []
    for _ in range(models):
        fewer = [count - rng.choice([count // num_folds, -(-count // num_folds)]) for count in COUNTS]
        trained, truth, _ = cohort(rng, dimensions, signal, (fewer[0], fewer[1]))
        score = np.c_[vectors, np.ones(len(vectors))] @ fit(trained, truth)
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
    first = runs[0]
    found: dict[str, list[tuple[float, float]]] = {}
    for name in (DEFAULT, DOUBLED):
        result = scored.intervals(scores_of(first), first.num_groups, classes=first.group_classes, resamples=resamples,
                                  method="doubled" if name == DOUBLED else scored.METHOD)  # fmt: skip
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
            found[DEFAULT],
            means.mean(0) - means[0],
            t.ppf((1 + LEVEL) / 2, REPEATS - 1) * spread / REPEATS**0.5,
            strict=True,
        )
    ]
    return found


def rows(cohorts: int, resamples: int) -> Iterator[dict]:
    """Yield one row for each setting: the true scores, and coverage and mean width of each method."""
    scored.METHODS["doubled"] = lambda told: scored.bootstrap_error(replace(told, inflation=2 * told.inflation))
    for dimensions in DIMENSIONS:
        for signal in SIGNALS:
            for num_folds in FOLDS:
                truth = true_scores(dimensions, signal, num_folds)
                runs = []
                for seed in range(cohorts):
                    rng = np.random.default_rng([2, dimensions, round(10 * signal), num_folds, seed])
                    data = cohort(rng, dimensions, signal)
                    repeats = [cross_validate(rng, *data, num_folds) for _ in range(REPEATS)]
                    runs.append(bounds_of(repeats, num_folds, resamples))
                methods = {
                    name: {
                        score: {
                            "coverage": float(
                                np.mean([one[name][i][0] <= truth[i] <= one[name][i][1] for one in runs])
                            ),
                            "width": float(np.mean([one[name][i][1] - one[name][i][0] for one in runs])),
                        }
                        for i, score in enumerate(SCORES)
                    }
                    for name in runs[0]
                }
                setting = {"dimensions": dimensions, "signal": signal, "folds": num_folds}
                yield {**setting, "truth": dict(zip(SCORES, truth.tolist(), strict=True)), "methods": methods}


def main() -> None:
    """Simulate, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/coverage_training.json"))
    args = parser.parse_args()
    found = []
    for row in rows(args.cohorts, args.resamples):
        found.append(row)
        truth = " ".join(f"{name} {value:.3f}" for name, value in row["truth"].items())
        print(f"\n{row['dimensions']} dimensions, signal {row['signal']}, {row['folds']} folds: {truth}", flush=True)
        for name, cells in row["methods"].items():
            shown = " ".join(f"{cells[s]['coverage']:.3f} ({cells[s]['width']:.3f})" for s in SCORES)
            print(f"{name:<50}{shown}", flush=True)
        write_json(args.json, {"cohorts": args.cohorts, "resamples": args.resamples, "level": LEVEL,
                               "repeats": REPEATS, "rows": found})  # fmt: skip


if __name__ == "__main__":
    main()
