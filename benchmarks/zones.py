"""How often zones hold what they guarantee, with the specimens of BreakHis and a known truth.

    python benchmarks/zones.py [--cohorts 1000] [--twins 200] [--json benchmarks/zones.json]

Each cohort has 16 benign and 54 malignant specimens, drawn as in benchmarks/coverage_training.py. A logistic
regression is trained, or a small neural network in a fifth of the cohorts. The last settings are on synthetic twins
(generated images with the groups of BreakHis): each cohort is a twin with a seed of its own, an image is the mean and
the standard deviation of its colours, and new specimens are those of the other twins. Zones are fitted for an error of
6, 10 and 20 % of the specimens of each class, by the mean probability of a specimen. 100 benign and 100 malignant new
specimens of the same population are then placed for each cohort. Four ways to score them:

fixed: one model, trained on other specimens, scored the cohort and scores the new specimens. Here the theorem of split
    conformal prediction holds.
refit: the cohort was scored by cross-validation, and a model trained on the whole cohort scores the new specimens.
folds: the cohort was scored by cross-validation, and so are the new specimens: by each of its models, as a mean.
first: the cohort was scored by cross-validation, and the model of its first fold scores the new specimens. Where the
    16 benign specimens cannot be divided by the number of folds, it was trained on fewer of them than other models.

The zones of a run are also checked by cross-fitting: zones of the other folds place the specimens of each fold. Their
shares in the wrong zone have an exact binomial interval. Its coverage is the share of cohorts in which it contains the
share of new specimens in the wrong zone, with the model and the zones of each fold, as a mean over the folds weighted
by their specimens. For 6 % the other folds have too few benign specimens.

Writes benchmarks/zones.json.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from coverage_training import COUNTS, cohort, deal, train

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.twin.twin import TwinSettings, draw_picture, twin_file_names
from hf_breakhis.files import write_json
from hf_breakhis.results.scores.conformal import Zones, fit_zones, shares_in_zones
from hf_breakhis.results.scores.decisions import Cases

DIMENSIONS, SIGNALS, FOLDS, ERRORS = (10, 50), (0.0, 0.7, 1.2, 2.6), (3, 5), (0.06, 0.1, 0.2)
CHECKED = (0.1, 0.2)
NEW = (100, 100)
FEWER = 5  # a fifth of the cohorts for neural networks
# images at 40X only, of the easy twin: the model sees colors, which tell the classes apart there
TWIN = {"scale": 0.05, "width": 70, "height": 46, "class_signal": 1, "patient_effect": 1, "noise": 1}
WAYS = {
    "fixed": "one fixed model (split conformal)",
    "refit": "cross-validated, refit on all",
    "folds": "cross-validated, mean over the models of the folds",
    "first": "cross-validated, model of the first fold",
}
Cohort = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """A population and a recipe."""

    folds: int
    dimensions: int = 6
    signal: float = 1.0
    model: str = "logistic regression"
    source: str = "vectors"


SETTINGS = [
    *(Setting(folds, dimensions, signal) for folds, dimensions, signal in product(FOLDS, DIMENSIONS, SIGNALS)),
    *(Setting(folds, 50, signal, "neural network") for folds, signal in product(FOLDS, (0.7, 1.2))),
    *(Setting(folds, source="twins") for folds in FOLDS),
]


def mean_of_specimens(log_odds: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the mean probability of each specimen."""
    return np.bincount(group, weights=1 / (1 + np.exp(-log_odds))) / np.bincount(group)


def cases(labels: np.ndarray, score: np.ndarray) -> Cases:
    """Return specimens, each a group of its own."""
    number = len(labels)
    return Cases(labels, score, np.full(number, 0.5), np.arange(number), np.zeros(number, int), np.array([]))


def wrong_shares(zones: Zones, score: np.ndarray) -> tuple[float, float, float]:
    """Return malignant in low, benign in high, and uncertain, as shares of the new specimens."""
    place = zones.place(score)
    return float((place[NEW[0] :] == 0).mean()), float((place[: NEW[0]] == 2).mean()), float((place == 1).mean())


def draw_twin(seed: int) -> Cohort:
    """Return the colours of the images of a twin, their labels and specimens, benign specimens first."""
    settings = TwinSettings.from_kwargs({**TWIN, "seed": seed})
    names = [parse_file_name(name) for name in twin_file_names(settings)]
    names = sorted((one for one in names if one.magnification == "40X"), key=lambda one: one.label)
    pixels = [draw_picture(str(one), settings).reshape(-1, 3) / 255 for one in names]
    vectors = np.array([[*one.mean(0), *one.std(0)] for one in pixels])
    _, first, group = np.unique([one.specimen_id for one in names], return_index=True, return_inverse=True)
    return vectors, np.array([one.label for one in names]), np.argsort(np.argsort(first))[group]


def new_of_twins(rng: np.random.Generator, twins: list[Cohort], own: int) -> Cohort:
    """Draw new specimens from all twins but one, benign ones first."""
    parts: list[tuple[np.ndarray, int]] = []
    for label in (0, 1):
        for _ in range(NEW[label]):
            vectors, labels, group = twins[(own + rng.integers(1, len(twins))) % len(twins)]
            chosen = rng.choice(np.unique(group[labels == label]))
            parts.append((vectors[group == chosen], label))
    sizes = [len(part) for part, _ in parts]
    return np.concatenate([part for part, _ in parts]), np.repeat([k for _, k in parts], sizes), np.repeat(
        np.arange(len(parts)), sizes
    )  # fmt: skip


def one_cohort(rng: np.random.Generator, setting: Setting, own: Cohort, other: Cohort, new: Cohort) -> dict[str, Any]:
    """Return shares of new specimens by way and error, see `wrong_shares`; and `contains` for each error.

    Args:
        rng: random numbers.
        setting: the recipe.
        own: the cohort.
        other: another cohort, on which the fixed model is trained.
        new: new specimens.
    """

    def scored(model: Callable[[np.ndarray], np.ndarray], data: Cohort) -> np.ndarray:
        return mean_of_specimens(model(data[0]), data[2])

    vectors, labels, group = own
    kinds = np.repeat([0, 1], COUNTS)
    fold = deal(rng, kinds, setting.folds)
    parts = [fold[group] != k for k in range(setting.folds)]
    models = [train(setting.model, vectors[part], labels[part], rng) for part in parts]
    test = np.stack([scored(model, own) for model in models])[fold, np.arange(len(kinds))]
    fixed, refit = (train(setting.model, *data[:2], rng) for data in (other, own))
    of_new = [scored(model, new) for model in models]
    ways = {
        "fixed": (scored(fixed, own), [scored(fixed, new)]),
        "refit": (test, [scored(refit, new)]),
        "folds": (test, of_new),
        "first": (test, of_new[:1]),
    }
    found: dict[str, Any] = {}
    for way, (calibration, scores) in ways.items():
        zones = [fit_zones(cases(kinds, calibration), error) for error in ERRORS]
        found[way] = [np.mean([wrong_shares(one, score) for score in scores], 0) for one in zones if one is not None]
    found["contains"] = [contains(kinds, fold, test, of_new, error) for error in CHECKED]
    return found


def contains(
    kinds: np.ndarray, fold: np.ndarray, own: np.ndarray, of_new: list[np.ndarray], error: float
) -> tuple[bool, bool]:
    """Return whether the intervals of cross-fitted shares contain the truth: malignant in low, benign in high."""
    place, truth = np.empty(len(kinds), int), np.zeros(2)
    for k, new in enumerate(of_new):
        zones = fit_zones(cases(kinds[fold != k], own[fold != k]), error)
        if zones is None:
            raise ValueError(f"{COUNTS} specimens in {len(of_new)} folds cannot be checked for {error}")
        place[fold == k] = zones.place(own[fold == k])
        weights = [(kinds[fold == k] == kind).sum() / COUNTS[kind] for kind in (1, 0)]
        truth += np.array(weights) * wrong_shares(zones, new)[:2]
    found = shares_in_zones(kinds, place, np.arange(len(kinds)))
    first, second = (
        found[name]["low"] <= value <= found[name]["high"]
        for name, value in zip(("positive_in_low", "negative_in_high"), truth, strict=True)
    )
    return first, second


def show(found: dict[str, Any]) -> str:
    """Return the tables in Markdown: lowest and highest share and coverage over the settings, by way and error."""
    vectors, twins = ([one for one in found["settings"] if one["source"] == source] for source in ("vectors", "twins"))
    lines = [
        f"{max(one['cohorts'] for one in vectors):,} cohorts in each of {len(vectors)} settings (a fifth for neural "
        f"networks), and {twins[0]['cohorts']:,} synthetic",
        f"twins, with {' and '.join(str(one['folds']) for one in twins)} folds. Lowest to highest share over the "
        "settings, in per cent (standard error of the highest share).",
        "",
        "| way | guarantee | malignant in low | benign in high | uncertain | twins: malignant in low | "
        "twins: benign in high |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for way, words in WAYS.items():
        for error in ERRORS:
            rows = [row for row in found["rows"] if row["way"] == way and row["error"] == error]
            cells = []
            for source, names in (("vectors", ("missed", "false", "uncertain")), ("twins", ("missed", "false"))):
                own = [row for row in rows if row["source"] == source]
                cells += [_ends(own, name) for name in names]
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


def _ends(rows: list[dict[str, Any]], name: str) -> str:
    """Return the lowest and the highest share, with the standard error of the highest where it is known."""
    low, high = (choose(rows, key=lambda row: row[name]) for choose in (min, max))
    se = f" ({100 * high[f'{name}_se']:.1f})" if f"{name}_se" in high else ""
    return f"{100 * low[name]:.1f} to {100 * high[name]:.1f}{se}"


def number_of(setting: Setting, cohorts: int, twins: int) -> int:
    """Return how many cohorts of a setting are drawn."""
    number = twins if setting.source == "twins" else cohorts
    return number // FEWER if setting.model == "neural network" else number


def simulate(setting: Setting, cohorts: int, twins: list[Cohort]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one setting: shares by way and error, and coverage by error."""
    about = asdict(setting)
    number = number_of(setting, cohorts, len(twins))
    rng = np.random.default_rng([setting.dimensions, round(10 * setting.signal), setting.folds])
    runs = []
    for k in range(number):
        if setting.source == "twins":
            drawn = twins[k], twins[k - 1], new_of_twins(rng, twins, k)
        else:
            drawn = tuple(cohort(rng, setting.dimensions, setting.signal, counts) for counts in (COUNTS, COUNTS, NEW))
        runs.append(one_cohort(rng, setting, *drawn))
    rows = []
    for way in WAYS:
        values = np.array([run[way] for run in runs])  # (cohorts, errors, 3)
        spread = values.std(0, ddof=1) / np.sqrt(number)
        for k, error in enumerate(ERRORS):
            shares = dict(zip(("missed", "false", "uncertain"), values.mean(0)[k].tolist(), strict=True))
            sizes = dict(zip(("missed_se", "false_se"), spread[k].tolist(), strict=False))
            rows.append({**about, "way": way, "error": error, **shares, **sizes})
    covered = np.mean([run["contains"] for run in runs], axis=0)  # (checked, 2)
    coverage = [
        {**about, "error": error, "missed": float(missed), "false": float(false)}
        for error, (missed, false) in zip(CHECKED, covered, strict=True)
    ]
    return rows, coverage


def main() -> None:
    """Simulate, print the tables and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--twins", type=int, default=200)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    twins = [draw_twin(seed) for seed in range(given.twins)]
    scale = np.concatenate([one[0] for one in twins]).std(0)
    twins = [(vectors / scale, labels, group) for vectors, labels, group in twins]
    settings, rows, coverage = [], [], []
    for setting in SETTINGS:
        more, covered = simulate(setting, given.cohorts, twins)
        settings.append({**asdict(setting), "cohorts": number_of(setting, given.cohorts, given.twins)})
        rows += more
        coverage += covered
    found = {"settings": settings, "rows": rows, "coverage": coverage}
    print(show(found))
    write_json(given.json, found)


if __name__ == "__main__":
    main()
