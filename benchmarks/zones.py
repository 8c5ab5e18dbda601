"""How often zones hold what they guarantee, with the specimens of BreakHis and a known truth.

    python benchmarks/zones.py [--cohorts 1000] [--json benchmarks/zones.json]

Each cohort has 16 benign and 54 malignant specimens, drawn as in benchmarks/coverage_training.py. Zones are fitted for
an error of 6, 10 and 20 % of the specimens of each class, by the mean probability of a specimen. New specimens of the
same population are then placed: 100 benign and 100 malignant ones for each cohort. Three ways to score them:

fixed: one model, trained on other specimens, scored the cohort and scores the new specimens. Here the theorem of split
    conformal prediction holds.
fold: the cohort was scored by cross-validation, and the model of its first fold scores the new specimens.
refit: the cohort was scored by cross-validation, and a model trained on the whole cohort scores the new specimens.

The zones of a run are also checked by cross-fitting: zones of the other folds place the specimens of each fold. Their
shares in the wrong zone have an exact binomial interval. Its coverage is the share of cohorts in which it contains the
share of new specimens in the wrong zone, with the model and the zones of each fold, as a mean over the folds weighted
by their specimens. For 6 % the other folds have too few benign specimens.

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
from hf_breakhis.results.scores.conformal import Zones, fit_zones, shares_in_zones
from hf_breakhis.results.scores.decisions import Cases

DIMENSIONS, SIGNALS, FOLDS, ERRORS = (10, 50), (0.0, 0.7, 1.2, 2.6), 5, (0.06, 0.1, 0.2)
CHECKED = (0.1, 0.2)
NEW = (100, 100)
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


def wrong_shares(zones: Zones, score: np.ndarray) -> tuple[float, float, float]:
    """Return malignant in low, benign in high, and uncertain, as shares of the new specimens."""
    place = zones.place(score)
    return float((place[NEW[0] :] == 0).mean()), float((place[: NEW[0]] == 2).mean()), float((place == 1).mean())


def one_cohort(rng: np.random.Generator, dimensions: int, signal: float) -> dict[str, Any]:
    """Return shares of new specimens by way and error, see `wrong_shares`; and `contains` for each error."""
    vectors, labels, group = cohort(rng, dimensions, signal)
    kinds = np.repeat([0, 1], COUNTS)
    fold = deal(rng, kinds, FOLDS)
    models = [fit(vectors[fold[group] != k], labels[fold[group] != k]) for k in range(FOLDS)]
    own = np.stack([scores(model, vectors, group) for model in models])[fold, np.arange(len(kinds))]
    other = cohort(rng, dimensions, signal)
    fixed = fit(other[0], other[1])
    new, _, new_group = cohort(rng, dimensions, signal, NEW)
    of_new = [scores(model, new, new_group) for model in models]
    ways = {
        "fixed": (scores(fixed, vectors, group), scores(fixed, new, new_group)),
        "fold": (own, of_new[0]),
        "refit": (own, scores(fit(vectors, labels), new, new_group)),
    }
    found: dict[str, Any] = {}
    for way, (calibration, score) in ways.items():
        zones = [fit_zones(cases(kinds, calibration), error) for error in ERRORS]
        found[way] = [wrong_shares(one, score) for one in zones if one is not None]
    found["contains"] = [contains(kinds, fold, own, of_new, error) for error in CHECKED]
    return found


def contains(
    kinds: np.ndarray, fold: np.ndarray, own: np.ndarray, of_new: list[np.ndarray], error: float
) -> tuple[bool, bool]:
    """Return whether the intervals of cross-fitted shares contain the truth: malignant in low, benign in high."""
    place, truth = np.empty(len(kinds), int), np.zeros(2)
    for k in range(FOLDS):
        zones = fit_zones(cases(kinds[fold != k], own[fold != k]), error)
        if zones is None:
            raise ValueError(f"{COUNTS} specimens in {FOLDS} folds cannot be checked for {error}")
        place[fold == k] = zones.place(own[fold == k])
        weights = [(kinds[fold == k] == kind).sum() / COUNTS[kind] for kind in (1, 0)]
        truth += np.array(weights) * wrong_shares(zones, of_new[k])[:2]
    found = shares_in_zones(kinds, place, np.arange(len(kinds)))
    first, second = (
        found[name]["low"] <= value <= found[name]["high"]
        for name, value in zip(("positive_in_low", "negative_in_high"), truth, strict=True)
    )
    return first, second


def show(found: dict[str, Any]) -> str:
    """Return the tables in Markdown: lowest and highest share and coverage over the settings, by way and error."""
    lines = [
        f"{found['cohorts']:,} cohorts in each of {len(found['settings'])} settings; lowest to highest share over the "
        "settings, in per cent (standard error of the highest share).",
        "",
        "| way | guarantee | malignant in zone low | benign in zone high | uncertain |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, words in WAYS.items():
        for error in ERRORS:
            rows = [row for row in found["rows"] if row["way"] == way and row["error"] == error]
            cells = []
            for name in ("missed", "false", "uncertain"):
                low, high = (choose(rows, key=lambda row: row[name]) for choose in (min, max))
                se = "" if name == "uncertain" else f" ({100 * high[f'{name}_se']:.1f})"
                cells.append(f"{100 * low[name]:.1f} to {100 * high[name]:.1f}{se}")
            lines.append(f"| {words} | {100 * error:g} | {' | '.join(cells)} |")
    lines += [
        "",
        "Coverage of the 95 % intervals of cross-fitted shares, lowest to highest over the settings, in per cent:",
        "",
        "| guarantee | malignant in zone low | benign in zone high |",
        "|---:|---:|---:|",
    ]
    for error in CHECKED:
        rows = [row for row in found["coverage"] if row["error"] == error]
        cells = [
            f"{100 * min(row[name] for row in rows):.1f} to {100 * max(row[name] for row in rows):.1f}"
            for name in ("missed", "false")
        ]
        lines.append(f"| {100 * error:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def simulate(dimensions: int, signal: float, cohorts: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one setting: shares by way and error, and coverage by error."""
    rng = np.random.default_rng([dimensions, round(10 * signal)])
    runs = [one_cohort(rng, dimensions, signal) for _ in range(cohorts)]
    setting = {"dimensions": dimensions, "signal": signal}
    rows = []
    for way in WAYS:
        values = np.array([run[way] for run in runs])  # (cohorts, errors, 3)
        spread = values.std(0, ddof=1) / np.sqrt(cohorts)
        for k, error in enumerate(ERRORS):
            shares = dict(zip(("missed", "false", "uncertain"), values.mean(0)[k].tolist(), strict=True))
            sizes = dict(zip(("missed_se", "false_se"), spread[k].tolist(), strict=False))
            rows.append({**setting, "way": way, "error": error, **shares, **sizes})
    covered = np.mean([run["contains"] for run in runs], axis=0)  # (checked, 2)
    coverage = [
        {**setting, "error": error, "missed": float(missed), "false": float(false)}
        for error, (missed, false) in zip(CHECKED, covered, strict=True)
    ]
    return rows, coverage


def main() -> None:
    """Simulate, print the tables and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    settings = list(product(DIMENSIONS, SIGNALS))
    rows, coverage = [], []
    for dimensions, signal in settings:
        more, covered = simulate(dimensions, signal, given.cohorts)
        rows += more
        coverage += covered
    found = {"cohorts": given.cohorts, "settings": [list(each) for each in settings], "rows": rows,
             "coverage": coverage}  # fmt: skip
    print(show(found))
    write_json(given.json, found)


if __name__ == "__main__":
    main()
