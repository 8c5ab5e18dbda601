"""Does c3_tuned beat c3 where specimens are kept apart? Three repeats of each on a twin, with a small network.

    python benchmarks/tuned.py [--work outputs/tuned] [--json benchmarks/tuned.json]

Fine-tuning needs a pretrained network, so a small one is trained first on the tumour types of another twin, as
ImageNet stands before BreakHis. Both recipes then start from its weights, on the same folds; what they say of rate,
schedule, length, augmentation, balance, validation and choice stays as they say it. About 15 minutes on two cores.
"""

import argparse
from pathlib import Path

import numpy as np

from hf_breakhis.files import read_json, write_json
from hf_breakhis.recipe import build_recipe, load_recipe
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.paired import SCORES, premium
from hf_breakhis.results.summary import summarise
from hf_breakhis.training.crossval import cross_validate

REPEATS = 3
SMALL = {
    "dataset": "twin", "image_size": 64, "use_cpu": True, "bf16": False, "disable_tqdm": True,
    "dataloader_num_workers": 0,
}  # fmt: skip
TWIN = {"scale": 0.15, "width": 105, "height": 69, "class_signal": 1, "patient_effect": 1, "noise": 1}
NETWORK = {"layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]}
BEFORE = {
    **SMALL, "twin_kwargs": {**TWIN, "seed": 99}, "target": "tumor_type", "split_by": "image", "num_folds": 2,
    "fold": "refit", "init": "random", "model_kwargs": NETWORK, "optimizer_name": "adamw", "learning_rate": 0.003,
    "scheduler_name": "cosine", "num_train_epochs": 12, "batch_size": 32, "dataloader_drop_last": True,
    "augmentation": "dihedral", "eval_strategy": "no",
}  # fmt: skip


def main() -> None:
    """Train, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("outputs/tuned"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/tuned.json"))
    args = parser.parse_args()
    cross_validate(build_recipe({**BEFORE, "output_dir": str(args.work / "before")}, {}))
    start = {"model_name_or_path": str(args.work / "before" / "refit" / "model"), "model_revision": "main"}
    shared = {
        **SMALL, **start, "twin_kwargs": TWIN, "split_by": "specimen", "stratify": True, "num_folds": 5,
        "repeats": REPEATS, "save_strategy": "epoch",
    }  # fmt: skip
    runs = {name: args.work / name for name in ("c3", "c3_tuned")}
    for name, run in runs.items():
        cross_validate(build_recipe({**load_recipe(name), **shared, "output_dir": str(run)}, {}))
        summarise(run)
    rows = []
    for repeat in range(REPEATS):
        one, other = (gather(run / f"repeat-{repeat}") for run in (runs["c3_tuned"], runs["c3"]))
        rows.append({"repeat": repeat, "difference": premium(one, other)})
    result = {"summaries": {}, "paired": rows, "twin": TWIN, "network": NETWORK}
    print(f"{'recipe':<10}" + "".join(f"{score:>28}" for score in (*SCORES, "recognition_rate")))
    for name, run in runs.items():
        summary = read_json(run / "summary.json")
        result["summaries"][name] = {key: summary[key] for key in ("mean", "sd", "repeats")}
        cells = [
            f"{summary['mean'][score]:.3f} +- {summary['sd'][score]:.3f}" for score in (*SCORES, "recognition_rate")
        ]
        print(f"{name:<10}" + "".join(f"{cell:>28}" for cell in cells))
    for row in rows:
        cells = [(row["difference"][score], score) for score in SCORES]
        texts = [
            f"{score} {value['value']:+.3f} ({value['low']:+.3f} to {value['high']:+.3f})" for value, score in cells
        ]
        print(f"repeat {row['repeat']}, c3_tuned less c3: " + ", ".join(texts))
    gains = np.array([row["difference"]["accuracy"]["value"] for row in rows])
    apart = [row["difference"]["accuracy"]["low"] > 0 for row in rows]
    print(f"c3_tuned is ahead in {int((gains > 0).sum())} of {REPEATS} repeats, beyond specimens in {sum(apart)}.")
    print("These numbers are about the twin, generated pictures, not about BreakHis.")
    print(f"json: {write_json(args.json, result)}")


if __name__ == "__main__":
    main()
