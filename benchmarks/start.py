"""How long it takes until something happens: help pages, and the first step of a run.

    python benchmarks/start.py [--rounds 5] [--json benchmarks/start.json]

Each is a process of its own, warm (after one that is not counted). The floor of `train` is the bare import of torch
and of the Trainer plus building the same network; its pictures and their pixels are there already, as for every start
but the first. Medians; prints a table and writes JSON.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import machine

from hf_breakhis.files import write_json

HELP = "from hf_breakhis.cli import main; main(['--help'])"
BARE = """
import torch
from transformers import Trainer, TrainingArguments, ResNetConfig, AutoModelForImageClassification
from hf_breakhis.training.modeling import RESNET_50
model = AutoModelForImageClassification.from_config(ResNetConfig(**RESNET_50))
"""
IMPORT = "import torch\nfrom transformers import Trainer, TrainingArguments, ResNetConfig"
# Ends at the first forward pass in training mode, which is the beginning of the first step.
FIRST_STEP = """
import os, sys
from transformers import ResNetForImageClassification
forward = ResNetForImageClassification.forward
def stop(self, *given, **words):
    if self.training:
        os._exit(0)
    return forward(self, *given, **words)  # a check before training
ResNetForImageClassification.forward = stop
from hf_breakhis.cli import main
sys.exit(main(sys.argv[1:]) or 3)
"""


def seconds_of(code: str, words: list[str], env: dict[str, str]) -> float:
    """Return how long a fresh Python takes for some code."""
    begin = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-c", code, *words], env=env, check=True, **quiet)  # type: ignore[call-overload]  # noqa: S603
    return time.perf_counter() - begin


def main() -> None:
    """Measure all in turn, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("outputs/start-bench"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/start.json"))
    args = parser.parse_args()
    shutil.rmtree(args.work / "cache", ignore_errors=True)
    env = {**os.environ, "HF_DATASETS_CACHE": str((args.work / "cache").resolve())}
    train = [
        "train", "c3", "--dataset", "twin", "--twin_kwargs", '{"scale": 0.01, "width": 140, "height": 92}', "--init",
        "random", "--output_dir", str(args.work / "run"), "--use_cpu", "--restart", "--dataloader_num_workers", "0",
    ]  # fmt: skip
    ways = {
        "Python alone": ("pass", []), "hf-breakhis --help": (HELP, []),
        "bare import of torch and the Trainer": (IMPORT, []), "and building the network": (BARE, []),
        "train, to its first step": (FIRST_STEP, train),
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for counted in (False, *[True] * args.rounds):
        for name, (code, words) in ways.items():
            took = seconds_of(code, words, env)
            if counted:
                seconds[name].append(took)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:<40}{value:>8.2f} s")
    ratio = medians["train, to its first step"] / medians["and building the network"]
    print(f"train takes {ratio:.2f} times the bare import and the network")
    result = {"seconds": medians, "train_over_bare": ratio, "rounds": args.rounds, "machine": machine()}
    print(f"json: {write_json(args.json, result)}")


if __name__ == "__main__":
    main()
