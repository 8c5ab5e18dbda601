"""How often a 95 % interval holds the truth, by method, for data with the specimens of BreakHis.

    python benchmarks/coverage.py [--simulations 400] [--resamples 1000] [--only "96 % correct"]

Each simulation draws 16 benign and 54 malignant specimens with sizes as in BreakHis (a quarter of the images), an
effect of its own for each, noise for each image, and a score that is right on average by a known amount: so
sensitivity, specificity, accuracy, AUC and recognition rate have a known true value. Settings: scores that know
nothing but the specimen (true AUC .5), and scores of a useful model, up to 99 % correct. About eight minutes on one
core; --only takes the settings that are named, and keeps the others as they are in the JSON. The methods were decided
on before these seeds were drawn.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, t

from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.files import read_json, write_json
from hf_breakhis.results.scores.intervals import (
    TINY,
    Replicates,
    bootstrap_error,
    draw_groups,
    exact_bound,
    percentile,
    weigh,
)
from hf_breakhis.results.scores.resampling import Predicted, image_scores, patient_rates

SETTINGS = {
    "no signal, specimens differ": (0.0, 1.0),
    "signal, specimens differ": (1.3, 1.0),
    "signal, specimens differ much": (1.6, 1.6),
    "96 % correct": (norm.ppf(0.96) * np.sqrt(2), 1.0),
    "99 % correct": (norm.ppf(0.99) * np.sqrt(2), 1.0),
}
FIRST_SEED = 20_000  # what is the default was decided on seeds below it
SCORES = ("accuracy", "sensitivity", "specificity", "roc_auc", "recognition_rate")
LEVEL = 0.95


def specimens() -> tuple[np.ndarray, np.ndarray]:
    """Return label and number of images of each of the 70 specimens of BreakHis."""
    sizes: dict[str, int] = {}
    labels: dict[str, int] = {}
    for folder in INVENTORY:
        sizes[folder.specimen_id] = sizes.get(folder.specimen_id, 0) + len(folder)
        labels[folder.specimen_id] = folder.label
    return np.array(list(labels.values())), np.array(list(sizes.values()))


def simulate(
    labels: np.ndarray, sizes: np.ndarray, signal: float, effect: float, rng: np.random.Generator
) -> Predicted:
    """Draw a cohort and its scores; benign specimens first."""
    order = np.argsort(labels, kind="stable")
    labels, sizes = labels[order], sizes[order]
    drawn = np.concatenate([rng.choice(np.flatnonzero(labels == k), (labels == k).sum()) for k in (0, 1)])
    count = np.maximum(1, np.round(sizes[drawn] / 4).astype(int))
    group = np.repeat(np.arange(len(drawn)), count)
    truth = labels[group]
    logit = signal * (2 * truth - 1) + effect * rng.normal(size=len(drawn))[group] + rng.normal(size=len(group))
    prob = expit(logit)
    return Predicted(truth, (prob > 0.5).astype(int), np.stack([1 - prob, prob], axis=1), group)


def truths(labels: np.ndarray, sizes: np.ndarray, signal: float, effect: float) -> dict[str, float]:
    """Return the true value of each score over all specimens that could be drawn."""
    right = float(norm.cdf(signal / np.hypot(effect, 1)))
    area = float(norm.cdf(2 * signal / np.sqrt(2 * (effect**2 + 1))))
    values = {"sensitivity": right, "specificity": right, "accuracy": right, "roc_auc": area}
    return values | {"recognition_rate": right}  # equal recalls, so no weights of classes come in


def expanded(draws: Replicates, _left_out: np.ndarray) -> tuple[float, float]:
    """Return quantiles further out, since resamples of n groups vary too little: Hesterberg 2015, section 4.2."""
    n = len(_left_out)
    tail = float(norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf((1 + LEVEL) / 2, n - 1)))
    return tuple(np.quantile(draws.scores, [tail, 1 - tail]))


def bca(draws: Replicates, left_out: np.ndarray) -> tuple[float, float]:
    """Return quantiles corrected for bias and for a spread that grows with the score: Efron 1987, JASA 82(397)."""
    below = ((draws.scores < draws.value).sum() + (draws.scores == draws.value).sum() / 2) / len(draws.scores)
    bias = norm.ppf(np.clip(below, 1e-3, 1 - 1e-3))
    away = left_out.mean() - left_out
    skew = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    ends = norm.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2]) + bias
    return tuple(np.quantile(draws.scores, norm.cdf(bias + ends / (1 - skew * ends))))


def jackknife_t(draws: Replicates, left_out: np.ndarray) -> tuple[float, float]:
    """Return the value -+ a t quantile of all specimens times the jackknife's standard error, in log odds."""
    n, away = len(left_out), logit(np.clip(left_out, 1e-6, 1 - 1e-6))
    half = t.ppf((1 + LEVEL) / 2, n - 1) * np.sqrt((n - 1) / n * ((away - away.mean()) ** 2).sum())
    return expit(logit(draws.value) - half), expit(logit(draws.value) + half)


def of_groups(draws: Replicates, count: int) -> tuple[float, float]:
    """Return the default's interval as if the whole spread came from so many groups."""
    return bootstrap_error(replace(draws, degrees=count - 1.0, inflation=count / (count - 1)))


# From draws, the scores without each specimen, and the class of each specimen.
WAYS: dict[str, Callable[[Replicates, np.ndarray, np.ndarray], tuple[float, float]]] = {
    "percentile": lambda draws, _left_out, _classes: percentile(draws),
    "expanded percentile": lambda draws, left_out, _classes: expanded(draws, left_out),
    "BCa": lambda draws, left_out, _classes: bca(draws, left_out),
    "jackknife t": lambda draws, left_out, _classes: jackknife_t(draws, left_out),
    "bootstrap error, all specimens": lambda draws, left_out, _classes: of_groups(draws, len(left_out)),
    "bootstrap error, rarer class": lambda draws, _left_out, classes: of_groups(draws, min(np.bincount(classes))),
    "bootstrap error, weighed (default)": lambda draws, _left_out, _classes: bootstrap_error(draws),
}


def cover(images: Predicted, truth: dict[str, float], resamples: int, seed: int) -> dict[str, dict[str, tuple]]:
    """Return, by method and score, whether the interval holds the truth, and its width."""
    found: dict[str, dict[str, tuple]] = {}
    alone = Predicted(images.labels, images.predicted, images.probabilities, np.arange(len(images.labels)))
    replicates = image_scores(alone)(draw_groups(len(images.labels), resamples, seed))
    bounds = {name: percentile(Replicates(0.0, replicates[name], 1)) for name in SCORES[:-1]}
    found["images, percentile"] = _hits(bounds, truth)
    scores, rates = image_scores(images), patient_rates(images, images.groups)

    def scores_of(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {**scores(weights), **rates(weights)}

    values = scores_of(np.ones((1, images.num_groups)))
    left = scores_of(1 - np.eye(images.num_groups))
    classes = images.group_classes
    for how, strata in (("", None), (", by class", classes)):
        replicates = scores_of(draw_groups(images.num_groups, resamples, seed, strata))
        for way, bounds_of in WAYS.items():
            if how and way in ("BCa", "jackknife t"):  # their jackknife knows no strata
                continue
            bounds = {}
            for name in SCORES:
                value = float(values[name][0])
                if np.ptp(replicates[name]) < TINY:  # all correct: the other methods have no width
                    numbers = np.bincount(classes)
                    rest_on = {"specificity": numbers[0], "sensitivity": numbers[1], "roc_auc": min(numbers)}
                    exact = exact_bound(value, int(rest_on.get(name, len(classes))), LEVEL)
                    bounds[name] = exact if way.endswith("(default)") else (value, value)
                    continue
                one = Replicates(value, replicates[name], *weigh(value, left[name], classes))
                bounds[name] = bounds_of(one, left[name], classes)
            found[f"specimens{how}, {way}"] = _hits(bounds, truth)
    return found


def _hits(bounds: dict[str, tuple[float, float]], truth: dict[str, float]) -> dict[str, tuple]:
    return {name: (low <= truth[name] <= high, high - low) for name, (low, high) in bounds.items()}


def main() -> None:
    """Simulate, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--only", choices=SETTINGS, action="append")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/coverage.json"))
    args = parser.parse_args()
    labels, sizes = specimens()
    result: dict = {
        "simulations": args.simulations,
        "resamples": args.resamples,
        "level": LEVEL,
        "first_seed": FIRST_SEED,
        "settings": read_json(args.json)["settings"] if args.only and args.json.is_file() else {},
    }
    for number, (name, (signal, effect)) in enumerate(SETTINGS.items()):
        if args.only and name not in args.only:
            continue
        truth = truths(labels, sizes, signal, effect)
        rng = np.random.default_rng([FIRST_SEED, number])
        runs = [
            cover(simulate(labels, sizes, signal, effect, rng), truth, args.resamples, seed)
            for seed in range(FIRST_SEED, FIRST_SEED + args.simulations)
        ]
        table = {
            method: {
                score: {
                    "coverage": float(np.mean([run[method][score][0] for run in runs])),
                    "width": float(np.mean([run[method][score][1] for run in runs])),
                }
                for score in runs[0][method]
            }
            for method in runs[0]
        }
        result["settings"][name] = {"truth": truth, "methods": table}
        print(f"\n{name} (share of {args.simulations} intervals that hold the truth; mean width)")
        print(f"{'':48}" + "".join(f"{score:>18}" for score in SCORES))
        for method, row in table.items():
            cells = [f"{row[s]['coverage']:.3f} ({row[s]['width']:.3f})" if s in row else "-" for s in SCORES]
            print(f"{method:<48}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"\njson: {write_json(args.json, result)}")


if __name__ == "__main__":
    main()
