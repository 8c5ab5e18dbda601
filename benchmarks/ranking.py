"""How often `compare` ranks two recipes: of equal quality, the same recipe with other seeds, and of unequal quality.

    python benchmarks/ranking.py [--cohorts 60] [--jobs 2]

Cohorts, specimens and training are those of coverage_training.py. Two recipes of equal quality see different vectors
of the same specimens, drawn from the same distribution: they make different errors and have the same true score. Of
unequal recipes the second sees a stronger signal. Each has three repeats. The decision is that of the package: the
larger of the p-values over specimens and over seeds is at most .05 (one pair, so Holm's correction changes nothing).
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from coverage_training import COUNTS, EFFECT, REPEATS, Setting, cohort, cross_validate, true_scores

from hf_breakhis.files import write_json
from hf_breakhis.results.compare import ALPHA, compare_tables

EQUAL = [(d, s, s) for d in (10, 50, 100) for s in (0.0, 0.7, 1.8)]
UNEQUAL = [(50, 1.2, s) for s in (1.3, 1.5, 1.9)] + [(50, 0.7, s) for s in (0.85, 1.05, 1.5)]
FOLDS, RESAMPLES = 5, 300


def predictions(rng: np.random.Generator, vectors: np.ndarray, labels: np.ndarray, group: np.ndarray) -> pd.DataFrame:
    """Return the test predictions of one cross-validation, as a run's predictions.csv has them."""
    found = cross_validate(rng, vectors, labels, group, FOLDS)
    names = np.arange(len(labels)).astype(str)
    return pd.DataFrame(
        {"file_name": names, "label": labels, "predicted": found.predicted, "fold": found.folds,
         "patient_id": group.astype(str), "specimen_id": group.astype(str),
         "prob_benign": found.probabilities[:, 0], "prob_malignant": found.probabilities[:, 1]}
    )  # fmt: skip


def simulate(dimensions: int, signal: float, other: float, cohorts: int) -> dict:
    """Return how often two recipes are ranked, and how often the same recipe with other seeds."""
    ranked, seeds = [], []
    for seed in range(cohorts):
        rng = np.random.default_rng([4, dimensions, round(100 * signal), round(100 * other), seed])
        vectors, labels, group = cohort(rng, dimensions, signal)
        second = EFFECT * rng.normal(size=(sum(COUNTS), dimensions))[group] + rng.normal(size=vectors.shape)
        second[:, 0] += other * (2 * labels - 1)
        ours, theirs, again = (
            {k: predictions(rng, inputs, labels, group) for k in range(REPEATS)}
            for inputs in (vectors, second, vectors)
        )
        ranked.append(compare_tables(ours, theirs, RESAMPLES)["p_value"] <= ALPHA)
        seeds.append(compare_tables(ours, again, RESAMPLES)["p_value"] <= ALPHA)
    truths = [true_scores(Setting(dimensions, each, FOLDS))[0] for each in (signal, other)]
    return {
        "dimensions": dimensions, "signals": [signal, other], "cohorts": cohorts, "accuracies": truths,
        "difference": truths[1] - truths[0], "ranked": float(np.mean(ranked)), "seeds_ranked": float(np.mean(seeds)),
    }  # fmt: skip


def main() -> None:
    """Simulate, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/ranking.json"))
    args = parser.parse_args()
    found = []
    settings = EQUAL + UNEQUAL
    with ProcessPoolExecutor(args.jobs) as pool:
        for row in pool.map(simulate, *zip(*settings, strict=True), [args.cohorts] * len(settings)):
            found.append(row)
            print(
                f"{row['dimensions']:>4} dimensions, accuracies {row['accuracies'][0]:.3f} and "
                f"{row['accuracies'][1]:.3f}: ranked {100 * row['ranked']:.1f} %, the same recipe with other seeds "
                f"{100 * row['seeds_ranked']:.1f} %", flush=True,
            )  # fmt: skip
    write_json(args.json, {"cohorts": args.cohorts, "repeats": REPEATS, "alpha": ALPHA, "rows": found})


if __name__ == "__main__":
    main()
