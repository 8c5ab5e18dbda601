"""Images per second of `predict`, beside transformers' pipeline, from PNG files of 700x460 to rows.

    python benchmarks/predict.py [--num_images 256] [--rounds 2] [--json benchmarks/predict.json]

A ResNet-50 at 224 pixels, trained for an epoch on generated pictures so that there is a run to export; what it answers
is of no interest, but how its scores change in bfloat16 and in eight bits is. All ways score the same files, one
after the other in each round; the best round counts, and of the pipeline the best batch size. The pipeline has a
process of its own, whose memory is handled as in any other. "Decoding alone" reads and resizes as `predict` does,
"network alone" scores images that are ready. Start-up is left out, that of compiling is given separately.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from machine import machine
from sklearn.metrics import roc_auc_score
from transformers import pipeline

from hf_breakhis.files import read_json, write_json
from hf_breakhis.hardware import keep_memory
from hf_breakhis.inference.classifier import Classifier, CompiledClassifier, default_batch_size
from hf_breakhis.inference.decode import decode_all
from hf_breakhis.inference.export import export_model
from hf_breakhis.inference.inputs import find_images
from hf_breakhis.inference.model import find_model
from hf_breakhis.inference.onnx_classifier import OnnxClassifier
from hf_breakhis.inference.output import Rows
from hf_breakhis.inference.predict import Prediction
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.summary import summarise
from hf_breakhis.training.crossval import cross_validate

FIELDS = {
    "dataset": "twin", "num_folds": 1, "test_size": 0.5, "image_size": 224, "init": "random", "num_train_epochs": 1,
    "optimizer_name": "adamw", "learning_rate": 0.001, "batch_size": 16, "use_cpu": True, "bf16": False,
    "disable_tqdm": True,
    "eval_strategy": "no", "save_strategy": "no",
}  # fmt: skip
BATCHES = (1, 8, 16, 32)
BATCH = default_batch_size()
PIPELINE = [f"pipeline, batch {size}" for size in BATCHES]


def main() -> None:
    """Time every way, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("outputs/predict-bench"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/predict.json"))
    args = parser.parse_args()
    keep_memory()  # as `predict` does
    pictures = args.work / "twin"
    run = args.work / "run"
    fields = {**FIELDS, "twin_kwargs": {"scale": 0.001}, "data_dir": str(pictures), "output_dir": str(run)}
    if cross_validate(build_recipe(fields, {})):
        summarise(run)
    weights = find_model(run)
    if not (weights.output / "onnx" / "model_int8.onnx").is_file():
        export_model(weights, weights.output / "onnx", int8=True)
    every = sorted(str(path) for path in pictures.rglob("*.png"))
    files = [every[i] for i in np.linspace(0, len(every) - 1, min(args.num_images, len(every))).astype(int)]
    begin = time.perf_counter()
    compiled = CompiledClassifier(weights.folder, BATCH)
    compiling = time.perf_counter() - begin
    classifiers = {
        "torch": Classifier(weights.folder),
        "torch, --compile": compiled,
        "torch, --bf16": Classifier(weights.folder, bf16=True),
        "torch, --bf16 --compile": CompiledClassifier(weights.folder, BATCH, bf16=True),
        "onnx": OnnxClassifier(weights.folder, "onnx"),
        "int8": OnnxClassifier(weights.folder, "int8"),
    }

    def decoded() -> None:
        for _ in decode_all(find_images(files, print), compiled.prepare, 2, 2 * BATCH):
            pass

    ready = [compiled.prepare(picture) for picture in _pictures(files[:BATCH])]
    ways: dict[str, tuple[Callable[[], object], int]] = {
        **{f"predict, {name}": (predicted(one, files), len(files)) for name, one in classifiers.items()},
        "decoding alone": (decoded, len(files)),
        **{f"network alone, {name}": (_scored(one, ready), len(ready)) for name, one in classifiers.items()},
    }
    speeds = dict.fromkeys([*PIPELINE, *ways], 0.0)
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        for _ in range(args.rounds):
            for name, size in zip(PIPELINE, BATCHES, strict=True):
                speed = len(files) / process.submit(pipe, str(weights.folder), files, size).result()
                speeds[name] = max(speeds[name], speed)
            for name, (way, count) in ways.items():
                begin = time.perf_counter()
                way()
                speeds[name] = max(speeds[name], count / (time.perf_counter() - begin))
    best = max(speeds[name] for name in PIPELINE)
    print(f"{'':40}{'images/s':>10}{'times the pipeline':>20}")
    for name, speed in speeds.items():
        print(f"{name:<40}{speed:>10.1f}{speed / best:>20.2f}")
    change = read_json(weights.output / "onnx" / "export.json")["files"]["model_int8.onnx"]["against_fp32"]
    print(f"int8 against fp32: {change}")
    halved = difference(*(predicted(classifiers[name], files)() for name in ("torch", "torch, --bf16")))
    print(f"bf16 against fp32: {halved}")
    result = {"unit": "images/s", "rows": speeds, "times_the_pipeline": {k: v / best for k, v in speeds.items()},
              "int8_against_fp32": change, "bf16_against_fp32": halved, "num_images": len(files),
              "compiling_seconds": compiling}  # fmt: skip
    result["machine"] = machine()
    print(f"json: {write_json(args.json, result)}")


@cache
def _load_pipe(folder: str, device: str) -> Callable[..., object]:
    return pipeline("image-classification", model=folder, device=device)


def pipe(folder: str, files: list[str], size: int, device: str = "cpu") -> float:
    """Return the seconds that transformers' pipeline takes for the files, in batches of a size."""
    piped = _load_pipe(folder, device)
    begin = time.perf_counter()
    piped(files, batch_size=size)
    return time.perf_counter() - begin


def predicted(classifier: Classifier, files: list[str]) -> Callable[[], list[dict]]:
    """Return what scores the files, from PNG to rows."""

    def run_it() -> list[dict]:
        prediction = Prediction(classifier, Rows(classifier.classes, None, None), find_images(files, print), BATCH)
        return [row for batch in prediction.batches() for row in batch]

    return run_it


def _scored(classifier: Classifier, ready: list) -> Callable[[], object]:
    return lambda: classifier.logits(ready)


def difference(before: list[dict], after: list[dict]) -> dict[str, float]:
    """Return what `export` tells of eight bits, of two predictions of the same files."""
    truth = [row["label"] == "malignant" for row in before]
    old, new = (np.array([row["prob_malignant"] for row in rows]) for rows in (before, after))
    other = [a["predicted"] != b["predicted"] for a, b in zip(before, after, strict=True)]
    right = [[row["predicted"] == row["label"] for row in rows] for rows in (before, after)]
    return {
        "largest_difference": float(np.abs(new - old).max()),
        "other_class": int(sum(other)),
        "accuracy": float(np.mean(right[1]) - np.mean(right[0])),
        "roc_auc": float(roc_auc_score(truth, new) - roc_auc_score(truth, old)),
    }


def _pictures(files: list[str]) -> list:
    from hf_breakhis.data.pixels.transforms import read_rgb

    return [read_rgb(path).permute(1, 2, 0).numpy() for path in files]


if __name__ == "__main__":
    main()
