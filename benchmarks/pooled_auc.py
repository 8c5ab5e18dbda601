"""Bias of three ways to average a ranking score over folds: why the package reports the mean over folds.

    python benchmarks/pooled_auc.py [--cohorts 400] [--json benchmarks/pooled_auc.json]

Each cohort has the 70 specimens of BreakHis with a fifth of their images and ten features of each image, which depend
on the class, on the specimen and on chance. A linear discriminant with the prior of the training set is fitted in
every fold. The truth is the score of the same models on 20,000 images of new specimens, averaged over the folds. A
constant predictor, which answers the prior of the training set, has a true AUC of .5. Half a minute on one core.
"""

import argparse
from pathlib import Path

import numpy as np
from coverage import specimens
from scipy.special import logit
from sklearn.metrics import average_precision_score, roc_auc_score

from hf_breakhis.data.splits import make_folds
from hf_breakhis.files import write_json

FEATURES, EFFECT = 10, 1.0
SIGNALS = {"no signal": 0.0, "signal": 0.35}
SCORES = {"roc_auc": roc_auc_score, "average_precision": average_precision_score}


def draw_images(labels: np.ndarray, specimen: np.ndarray, signal: float, rng: np.random.Generator) -> np.ndarray:
    """Return (n_images, FEATURES): signal of the class, effect of the specimen, noise."""
    effects = EFFECT * rng.normal(size=(specimen.max() + 1, FEATURES))
    return signal * (2 * labels - 1)[:, None] + effects[specimen] + rng.normal(size=(len(labels), FEATURES))


def fit(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return weights and offset of a linear discriminant for features of equal variance."""
    means = [features[labels == k].mean(0) for k in (0, 1)]
    weights = (means[1] - means[0]) / features.var(0)
    return weights, float(logit(labels.mean()) - weights @ (means[0] + means[1]) / 2)


def one_cohort(signal: float, stratify: bool, seed: int) -> dict[str, dict[str, float]]:
    """Return by score: the truth, the three averages and, for AUC, the pooled score of the constant predictor."""
    rng = np.random.default_rng(seed)
    of_specimen, sizes = specimens()
    specimen = np.repeat(np.arange(len(sizes)), np.maximum(1, sizes // 5))
    labels = of_specimen[specimen]
    features = draw_images(labels, specimen, signal, rng)
    fresh_labels = (rng.random(20_000) < labels.mean()).astype(int)
    fresh = draw_images(fresh_labels, np.arange(20_000), signal, rng)
    score, constant, fold_of = np.empty(len(labels)), np.empty(len(labels)), np.empty(len(labels), dtype=int)
    truths: dict[str, list[float]] = {name: [] for name in SCORES}
    for fold in make_folds(labels, {"specimen_id": specimen.astype(str)}, num_folds=5, stratify=stratify, seed=seed):
        weights, offset = fit(features[fold.train], labels[fold.train])
        score[fold.test] = features[fold.test] @ weights + offset
        constant[fold.test], fold_of[fold.test] = labels[fold.train].mean(), fold.index
        for name, measure in SCORES.items():
            truths[name].append(measure(fresh_labels, fresh @ weights))
    centred = score - np.array([score[fold_of == k].mean() for k in range(5)])[fold_of]
    found = {}
    for name, measure in SCORES.items():
        found[name] = {
            "truth": float(np.mean(truths[name])),
            "mean over folds": float(np.mean([measure(labels[fold_of == k], score[fold_of == k]) for k in range(5)])),
            "pooled": measure(labels, score),
            "pooled, centred per fold": measure(labels, centred),
        }
    found["roc_auc"]["constant, pooled"] = roc_auc_score(labels, constant)
    return found


def main() -> None:
    """Simulate, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/pooled_auc.json"))
    args = parser.parse_args()
    rows = []
    for words, signal in SIGNALS.items():
        for stratify in (True, False):
            runs = [one_cohort(signal, stratify, seed) for seed in range(args.cohorts)]
            for name in SCORES:
                for way in runs[0][name]:
                    if way == "truth":
                        continue
                    truth = 0.5 if way.startswith("constant") else np.array([run[name]["truth"] for run in runs])
                    error = np.array([run[name][way] for run in runs]) - truth
                    setting = f"{words}, {'stratified' if stratify else 'unstratified'}"
                    rows.append({"setting": setting, "score": name, "way": way, "bias": float(error.mean()),
                                 "monte_carlo_error": float(error.std(ddof=1) / np.sqrt(len(error))),
                                 "root_mean_square": float(np.sqrt((error**2).mean()))})  # fmt: skip
                    print("{setting:<26}{score:<20}{way:<28}{bias:+8.4f} +- {monte_carlo_error:.4f}"
                          "   rms {root_mean_square:.4f}".format(**rows[-1]))  # fmt: skip
    print(f"\njson: {write_json(args.json, {'cohorts': args.cohorts, 'rows': rows})}")


if __name__ == "__main__":
    main()
