"""How often zones hold what they guarantee, with the specimens of BreakHis and a known truth.

    python benchmarks/zones.py [--cohorts 400] [--json benchmarks/zones.json]

Each cohort has 16 benign and 54 malignant specimens, drawn as in benchmarks/coverage_training.py. Zones are fitted for
an error of 6, 10 and 20 % of the specimens of each class, by the mean probability of a specimen. New specimens of the
same population are then placed: 20 benign and 20 malignant ones for each cohort. Three ways to score them:

fixed: one model, trained on other specimens, scored the cohort and scores the new specimens. Here the theorem of split
    conformal prediction holds.
fold: the cohort was scored by cross-validation, and the model of its first fold scores the new specimens.
refit: the cohort was scored by cross-validation, and a model trained on the whole cohort scores the new specimens.

Writes benchmarks/zones.json.
"""

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from coverage_training import COUNTS, cohort, deal, fit
from scipy.special import expit

from hf_breakhis.files import write_json
from hf_breakhis.results.scores.conformal import fit_zones
from hf_breakhis.results.scores.decisions import Cases

DIMENSIONS, SIGNALS, FOLDS, ERRORS = (10, 50), (0.0, 0.7, 1.2, 2.6), 5, (0.06, 0.1, 0.2)
NEW = (20, 20)
WAYS = {
    "fixed": "one fixed model (split conformal)",
    "fold": "cross-validated, model of a fold",
    "refit": "cross-validated, refit on all",
}


def scores(weights: np.ndarray, vectors: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the mean probability of each specimen."""
    prob = expit(np.c_[vectors, np.ones(len(vectors))] @ weights)
    return np.bincount(group, weights=prob) / np.bincount(group)


def cases(labels: np.ndarray, score: np.ndarray) -> Cases:
    """Return specimens, each a group of its own."""
    number = len(labels)
    return Cases(labels, score, np.full(number, 0.5), np.arange(number), np.zeros(number, int), np.array([]))


def one_cohort(rng: np.random.Generator, dimensions: int, signal: float) -> dict[str, list[list[float]]]:
    """Return, by way, for each error: malignant in low, benign in high, and uncertain, as shares of new specimens."""
    vectors, labels, group = cohort(rng, dimensions, signal)
    kinds, fold = np.repeat([0, 1], COUNTS), deal(rng, np.repeat([0, 1], COUNTS), FOLDS)
    models = [fit(vectors[fold[group] != k], labels[fold[group] != k]) for k in range(FOLDS)]
    each = np.stack([scores(model, vectors, group) for model in models])
    crossed = cases(kinds, each[fold, np.arange(len(kinds))])
    other = cohort(rng, dimensions, signal)
    fixed = fit(other[0], other[1])
    new, _, new_group = cohort(rng, dimensions, signal, NEW)
    ways = {
        "fixed": (cases(kinds, scores(fixed, vectors, group)), fixed),
        "fold": (crossed, models[0]),
        "refit": (crossed, fit(vectors, labels)),
    }
    found: dict[str, list[list[float]]] = {}
    for way, (calibration, model) in ways.items():
        score = scores(model, new, new_group)
        rows = []
        for error in ERRORS:
            zones = fit_zones(calibration, error)
            if zones is None:
                raise ValueError(f"{COUNTS} specimens do not support {error}")
            place = zones.place(score)
            benign, malignant = place[: NEW[0]], place[NEW[0] :]
            rows.append([float((malignant == 0).mean()), float((benign == 2).mean()), float((place == 1).mean())])
        found[way] = rows
    return found


def show(found: dict[str, Any]) -> str:
    """Return the table in Markdown: lowest and highest share over the settings, by way and error."""
    lines = [
        f"{found['cohorts']} cohorts in each of {len(found['settings'])} settings; lowest to highest share over the "
        "settings, in per cent (standard error of each share at most "
        f"{100 * found['standard_error']:.1f}).",
        "",
        "| way | guarantee | malignant in zone low | benign in zone high | uncertain |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, words in WAYS.items():
        for error in ERRORS:
            rows = [row for row in found["rows"] if row["way"] == way and row["error"] == error]
            cells = [
                f"{100 * min(row[name] for row in rows):.1f} to {100 * max(row[name] for row in rows):.1f}"
                for name in ("missed", "false", "uncertain")
            ]
            lines.append(f"| {words} | {100 * error:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    cohorts = given.cohorts
    rows, errors = [], []
    for dimensions, signal in product(DIMENSIONS, SIGNALS):
        rng = np.random.default_rng([dimensions, round(10 * signal)])
        runs = [one_cohort(rng, dimensions, signal) for _ in range(cohorts)]
        for way in WAYS:
            values = np.array([run[way] for run in runs])  # (cohorts, errors, 3)
            errors.append(values[..., :2].std(0).max() / np.sqrt(cohorts))
            for error, (missed, false, uncertain) in zip(ERRORS, values.mean(0), strict=True):
                rows.append(
                    {
                        "dimensions": dimensions,
                        "signal": signal,
                        "way": way,
                        "error": error,
                        "missed": float(missed),
                        "false": float(false),
                        "uncertain": float(uncertain),
                    }
                )
    found = {
        "cohorts": cohorts,
        "settings": [list(each) for each in product(DIMENSIONS, SIGNALS)],
        "standard_error": float(max(errors)),
        "rows": rows,
    }
    print(show(found))
    write_json(given.json, found)


if __name__ == "__main__":
    main()
