"""Images per second of `predict`, beside transformers' pipeline, from PNG files of 700x460 to rows.

    python benchmarks/predict.py [--num_images 256] [--rounds 2] [--json benchmarks/predict.json]

A ResNet-50 at 224 pixels, trained for an epoch on generated pictures so that there is a run to export; what it answers
is of no interest, but how its score changes in eight bits is told. All ways score the same files, one after the other
in each round; the best round counts, and of the pipeline the best batch size. "Decoding alone" reads and resizes as
`predict` does, "network alone" scores images that are ready. Start-up is left out, that of compiling is told apart.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from machine import machine
from transformers import pipeline

from hf_breakhis.files import read_json, write_json
from hf_breakhis.inference.classifier import Classifier
from hf_breakhis.inference.compiled import CompiledClassifier
from hf_breakhis.inference.export import export_model
from hf_breakhis.inference.inputs import find_images
from hf_breakhis.inference.onnx_classifier import OnnxClassifier
from hf_breakhis.inference.pixels import decode_all
from hf_breakhis.inference.predict import Prediction
from hf_breakhis.inference.rows import Rows
from hf_breakhis.inference.weights import find_weights
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.aggregate import summarise
from hf_breakhis.training.crossval import cross_validate

FIELDS = {
    "dataset": "twin", "num_folds": 1, "test_size": 0.5, "image_size": 224, "init": "random", "num_train_epochs": 1,
    "optimizer_name": "adamw", "learning_rate": 0.001, "batch_size": 16, "use_cpu": True, "disable_tqdm": True,
    "eval_strategy": "no", "save_strategy": "no",
}  # fmt: skip
BATCHES = (1, 8, 16, 32)
BATCH = 8


def main() -> None:
    """Time every way, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("outputs/predict-bench"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/predict.json"))
    args = parser.parse_args()
    pictures = args.work / "twin"
    run = args.work / "run"
    fields = {**FIELDS, "twin_kwargs": {"scale": 0.001}, "data_dir": str(pictures), "output_dir": str(run)}
    if cross_validate(build_recipe(fields, {})):
        summarise(run)
    weights = find_weights(run)
    if not (weights.beside / "onnx" / "model_int8.onnx").is_file():
        export_model(weights, weights.beside / "onnx", int8=True)
    files = sorted(str(path) for path in pictures.rglob("*.png"))[: args.num_images]
    torch, onnx, int8 = (
        Classifier(weights.folder),
        *(OnnxClassifier(weights.folder, name) for name in ("onnx", "int8")),
    )
    begin = time.perf_counter()
    compiled = CompiledClassifier(weights.folder, BATCH)
    compiling = time.perf_counter() - begin
    piped = pipeline("image-classification", model=str(weights.folder), device="cpu")

    def predicted(classifier: Classifier) -> Callable[[], None]:
        def run_it() -> None:
            found = find_images(files, print)
            for _ in Prediction(classifier, Rows(classifier.classes, None, None), found, BATCH).batches():
                pass

        return run_it

    def decoded() -> None:
        for _ in decode_all(find_images(files, print), torch.prepare, 2, 2 * BATCH):
            pass

    ready = [torch.prepare(picture) for picture in _pictures(files[:BATCH])]
    ways: dict[str, tuple[Callable[[], object], int]] = {
        **{f"pipeline, batch {size}": (_piped(piped, files, size), len(files)) for size in BATCHES},
        "predict, torch": (predicted(torch), len(files)),
        "predict, torch, --compile": (predicted(compiled), len(files)),
        "predict, onnx": (predicted(onnx), len(files)),
        "predict, int8": (predicted(int8), len(files)),
        "decoding alone": (decoded, len(files)),
        "network alone, torch": (lambda: torch.logits(ready), len(ready)),
        "network alone, --compile": (lambda: compiled.logits(ready), len(ready)),
        "network alone, onnx": (lambda: onnx.logits(ready), len(ready)),
        "network alone, int8": (lambda: int8.logits(ready), len(ready)),
    }  # fmt: skip
    speeds = dict.fromkeys(ways, 0.0)
    for _ in range(args.rounds):
        for name, (way, count) in ways.items():
            begin = time.perf_counter()
            way()
            speeds[name] = max(speeds[name], count / (time.perf_counter() - begin))
    best = max(speeds[f"pipeline, batch {size}"] for size in BATCHES)
    print(f"{'':28}{'images/s':>10}{'times the pipeline':>20}")
    for name, speed in speeds.items():
        print(f"{name:<28}{speed:>10.1f}{speed / best:>20.2f}")
    change = read_json(weights.beside / "onnx" / "export.json")["files"]["model_int8.onnx"]["against_fp32"]
    print(f"int8 against fp32: {change}")
    result = {"unit": "images/s", "rows": speeds, "times_the_pipeline": {k: v / best for k, v in speeds.items()},
              "int8_against_fp32": change, "num_images": len(files), "compiling_seconds": compiling}  # fmt: skip
    result["machine"] = machine()
    print(f"json: {write_json(args.json, result)}")


def _piped(piped: Callable[..., object], files: list[str], size: int) -> Callable[[], object]:
    return lambda: piped(files, batch_size=size)


def _pictures(files: list[str]) -> list:
    from hf_breakhis.data.transforms import read_rgb

    return [read_rgb(path).permute(1, 2, 0).numpy() for path in files]


if __name__ == "__main__":
    main()
