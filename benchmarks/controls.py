"""Controls of the study: does a premium appear where patients can be recognised, and only there?

    python benchmarks/controls.py --seeds 30 --only "patients only" --only "classes only" --only both
    python benchmarks/controls.py --seeds 20 --only carried

Four experiments on twins whose truth is known, each with a new twin, split and network a seed, and with what has to
come out declared before (`DECLARED`). Settings were chosen on seeds from 1000 on, which are not used here. A run that
is there is used, so an interrupted experiment goes on. These two commands, whose figures are shown, take about an hour
and a half on one core; --part 0/2 and --part 1/2 share it between two, then once without --part.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from scipy import stats

from hf_breakhis.files import read_json, write_json
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.summary import summarise
from hf_breakhis.training.crossval import cross_validate

RECIPE = {
    "split_by": "image", "image_size": 48, "init": "random",
    "model_kwargs": {
        "layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1],
    },
    "optimizer_name": "adamw", "learning_rate": 0.004, "weight_decay": 0.01, "scheduler_name": "cosine",
    "scheduler_kwargs": {"warmup": 1}, "num_train_epochs": 15, "batch_size": 32, "dataloader_drop_last": True,
    "eval_strategy": "no", "save_strategy": "no", "use_cpu": True, "bf16": False, "disable_tqdm": True,
}  # fmt: skip
TWIN = {"scale": 0.1, "width": 88, "height": 58, "noise": 0.3}
HOLD_OUT = {"dataset": "twin", "num_folds": 1, "test_size": 0.34}
PATIENTS, CLASSES = 3.0, 0.35
TWINS = {
    "patients only": {"class_signal": 0.0, "patient_effect": PATIENTS},
    "classes only": {"class_signal": CLASSES, "patient_effect": 0.0},
    "both": {"class_signal": CLASSES, "patient_effect": PATIENTS},
}
CARRIED = {
    "dataset": "rcl7500_twin", "num_folds": 3, "reserve_size": 0.15, "stratify": False, "num_train_epochs": 10,
}  # fmt: skip
DECLARED = {
    "patients only": "specimen-wise mean AUC within .5 +- .05, image-wise mean AUC above .9",
    "classes only": "95 % interval of the mean premium in accuracy inside +- .03",
    "both": "95 % interval of the mean premium in accuracy above .03",
    "carried": (
        "carried: test accuracy climbs from the first to the last fold (interval above 0) by more than the part set "
        "aside (interval of the difference above 0), and the part set aside ends no higher than with a fresh model "
        "trained three times as long (interval not above 0); fresh: neither climbs (intervals hold 0)"
    ),
}


def score(folder: Path, seed: int, **fields: object) -> dict:
    """Train one run, unless it is there, and return its summary."""
    recipe = build_recipe({**RECIPE, **fields, "seed": seed, "split_seed": seed, "output_dir": str(folder)}, {})
    if cross_validate(recipe) or not (folder / "summary.json").is_file():
        summarise(folder)
    return read_json(folder / "summary.json")


def hold_outs(name: str, seed: int, work: Path) -> dict[str, float]:
    """Return AUC and accuracy of one twin, split by image and by specimen."""
    row: dict[str, float] = {"seed": seed}
    for split in ("image", "specimen"):
        twin = {**TWIN, **TWINS[name], "seed": seed}
        folder = work / name.replace(" ", "-") / f"{seed}-{split}"
        image = score(folder, seed, **HOLD_OUT, split_by=split, twin_kwargs=twin)["image"]["pooled"]
        row |= {f"{split} {key}": image[key]["value"] for key in ("roc_auc", "accuracy")}
    row["premium"] = row["image accuracy"] - row["specimen accuracy"]
    return row


def carried(name: str, seed: int, work: Path) -> dict[str, float]:
    """Return test and reserve accuracy of the first and last fold: carried, fresh, and fresh for thrice the time."""
    row: dict[str, float] = {"seed": seed}
    ways = {
        "carried": {"carry_over": "model"}, "fresh": {}, "fresh 3x": {"num_train_epochs": 30},
        # Three folds of ten epochs on two thirds each are twenty epochs of all; asked after the first answer was no.
        "all images": {"num_folds": 1, "test_size": 0.02, "num_train_epochs": 20},
    }  # fmt: skip
    for way, fields in ways.items():
        twin = {**TWIN, **TWINS["classes only"], "seed": seed}
        summary = score(work / name / f"{seed}-{way.replace(' ', '-')}", seed,
                        **{**CARRIED, **fields}, twin_kwargs=twin)  # fmt: skip
        for part, level in (("test", summary["image"]), ("reserve", summary["reserve"])):
            first, last = (level["per_fold"][fold]["accuracy"] for fold in (0, -1))
            row |= {f"{way} {part} first": first, f"{way} {part} last": last, f"{way} {part} climb": last - first}
    row["carried climb beyond reserve"] = row["carried test climb"] - row["carried reserve climb"]
    row["reserve beyond longer training"] = row["carried reserve last"] - row["fresh 3x reserve last"]
    row["reserve beyond as many images"] = row["carried reserve last"] - row["all images reserve last"]
    return row


EXPERIMENTS = {**dict.fromkeys(TWINS, hold_outs), "carried": carried}


def mean_interval(values: list[float]) -> dict[str, float]:
    """Return mean, sd and the 95 % t interval of the mean."""
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / np.sqrt(len(values))
    return {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def holds(name: str, scores: dict[str, dict[str, float]]) -> bool:
    """Say whether what was declared came out."""
    if name == "patients only":
        return abs(scores["specimen roc_auc"]["mean"] - 0.5) <= 0.05 and scores["image roc_auc"]["mean"] > 0.9
    if name == "classes only":
        return scores["premium"]["low"] > -0.03 and scores["premium"]["high"] < 0.03
    if name == "both":
        return scores["premium"]["low"] > 0.03
    still = all(scores[key]["low"] <= 0 <= scores[key]["high"] for key in ("fresh test climb", "fresh reserve climb"))
    climbs = all(scores[key]["low"] > 0 for key in ("carried test climb", "carried climb beyond reserve"))
    return still and climbs and scores["reserve beyond longer training"]["low"] <= 0


def main() -> None:
    """Run the experiments, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--only", choices=EXPERIMENTS, action="append")
    parser.add_argument("--part", default="0/1", help="k/n: every n-th seed from the k-th, to share the work")
    parser.add_argument("--work", type=Path, default=Path("outputs/controls"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/controls.json"))
    args = parser.parse_args()
    part, parts = map(int, args.part.split("/"))
    seeds = range(args.first_seed + part, args.first_seed + args.seeds, parts)
    before = read_json(args.json) if args.json.is_file() else {}  # of the experiments that are not asked for now
    result = {**before, "declared": DECLARED, "recipe": RECIPE, "twin": TWIN, "twins": TWINS}
    for name in args.only or EXPERIMENTS:
        rows = [EXPERIMENTS[name](name, seed, args.work) for seed in seeds]
        if len(rows) < 2:
            continue
        scores = {key: mean_interval([row[key] for row in rows]) for key in rows[0] if key != "seed"}
        result[name] = {"rows": rows, "scores": scores, "holds": bool(holds(name, scores))}
        print(f"\n{name}: {DECLARED[name]}\n{'':34}{'mean':>8}{'sd':>8}{'95 % interval of the mean':>28}")
        for key, value in scores.items():
            bounds = f"{value['low']:+.3f} to {value['high']:+.3f}"
            print(f"{key:<34}{value['mean']:>8.3f}{value['sd']:>8.3f}{bounds:>28}")
        print(f"came out as declared: {'yes' if result[name]['holds'] else 'NO'}")
    if parts == 1:
        print(f"\njson: {write_json(args.json, result)}")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
