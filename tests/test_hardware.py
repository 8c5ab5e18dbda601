"""Settings follow from the hardware where a recipe leaves them open, and what is given stays."""

import json
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import training_args

from hf_breakhis import training_arguments
from hf_breakhis.hardware import (
    Hardware,
    choose_settings,
    count_cores,
    full_precision,
    keeps_memory,
    kept_precision,
    processor,
    use_tf32,
)
from hf_breakhis.inference.classifier import Classifier, default_batch_size
from hf_breakhis.settings import restored_settings
from hf_breakhis.training.crossval import cross_validate, use_hardware
from hf_breakhis.training.environment import add_cost
from hf_breakhis.training.trainer import BreakHisTrainer
from hf_breakhis.training_arguments import BreakHisTrainingArguments

A100 = Hardware("cuda", (8, 0), cores=32)
T4 = Hardware("cuda", (7, 5), cores=4)


@pytest.mark.parametrize(
    ("hardware", "bf16", "tf32", "workers", "prefetch"),
    [
        (Hardware("cpu", cores=2), False, None, 0, None),
        (Hardware("cpu", cores=64, cpu_bf16=True), True, None, 0, None),
        (A100, True, True, 8, 4),
        (T4, False, None, 3, 4),
        (Hardware("cuda", (9, 0), cores=1), True, True, 1, 4),
        (Hardware("mps", cores=8, cpu_bf16=True), False, None, 7, 4),
    ],
    ids=["laptop", "server", "A100", "T4", "one core", "Apple"],
)
def test_settings_of_machines(hardware, bf16, tf32, workers, prefetch):
    found = choose_settings(hardware)
    assert (found["bf16"], found["tf32"]) == (bf16, tf32)
    assert (found["dataloader_num_workers"], found["dataloader_prefetch_factor"]) == (workers, prefetch)


def test_processes_of_one_machine_share_its_cores():
    found = choose_settings(Hardware("cuda", (8, 0), cores=32, processes=8))
    assert found["num_threads"] == 4
    assert found["dataloader_num_workers"] == 3
    assert choose_settings(Hardware(cores=1, processes=2))["num_threads"] == 1


def test_what_a_recipe_gives_stays(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(training_arguments, "find_hardware", lambda use_cpu: Hardware("cpu", cores=6))
    left = BreakHisTrainingArguments(use_cpu=True)
    assert (left.bf16, left.num_threads, left.dataloader_num_workers) == (False, 6, 0)
    given = BreakHisTrainingArguments(use_cpu=True, bf16=True, num_threads=1, dataloader_num_workers=2)
    assert (given.bf16, given.num_threads, given.dataloader_num_workers) == (True, 1, 2)


FAULTS = """
import resource
from hf_breakhis.hardware import keep_memory
{call}
for i in range(8):
    if i == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (48 << 20)
    b"x" * (40 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def count_faults(run_python):
    """How often a process asks for pages after a call: `count_faults("keep_memory()", MALLOC_ARENA_MAX="4")`."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_"))}

    def count(call, **environment):
        done = run_python("-c", FAULTS.format(call=call), environment={**usual, **environment})
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    return count


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system has no glibc")
def test_freed_memory_is_kept(count_faults):
    """Pages that a process was given once, it need not be given again."""
    usual = count_faults("")
    assert usual > 1000
    assert count_faults("keep_memory()") < usual / 10
    assert count_faults("keep_memory()", MALLOC_ARENA_MAX="4") > usual / 2, "a user's own settings stay"


def test_memory_is_kept_where_the_allocator_supports_it(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_", "LD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert keeps_memory()
    assert default_batch_size() == 32
    for name, value in {"GLIBC_TUNABLES": "glibc.malloc.check=1", "LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}.items():
        monkeypatch.setenv(name, value)
        assert not keeps_memory()
        assert default_batch_size() == 8
        monkeypatch.delenv(name)
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert not keeps_memory()


def test_threads_of_the_launcher_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert BreakHisTrainingArguments(use_cpu=True).num_threads is None


def test_half_precision_of_one_kind_only(monkeypatch):
    """What an A100 would be given must not contradict a recipe that asks for float16."""
    monkeypatch.setattr(training_arguments, "find_hardware", lambda use_cpu: A100)
    monkeypatch.setattr(
        training_arguments, "choose_settings", lambda *given: choose_settings(*given) | {"tf32": None}
    )  # there is none here
    assert BreakHisTrainingArguments(use_cpu=True).bf16
    assert not BreakHisTrainingArguments(use_cpu=True, fp16=True).bf16


def test_cores_are_those_of_this_process():
    count = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})"
    code = f"{count}\nfrom hf_breakhis.hardware import count_cores; print(count_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1 <= count_cores()


def test_slow_bfloat16_is_a_warning(monkeypatch, capsys):
    wanted = SimpleNamespace(num_threads=None, tf32=None, bf16=True, device=torch.device("cpu"))
    for able, lines in ((False, 1), (True, 0)):
        monkeypatch.setattr(
            "hf_breakhis.training.crossval.find_hardware", lambda use_cpu, a=able: Hardware(cpu_bf16=a)
        )
        use_hardware(wanted)
        assert capsys.readouterr().err.count("Emulated bfloat16") == lines


@pytest.mark.parametrize(("device", "fused"), [("cuda", True), ("cpu", None)])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_updates_are_fused_on_a_gpu(device, fused, name):
    given = SimpleNamespace(optimizer_name=name, optimizer_kwargs=None, learning_rate=0.1, device=torch.device(device))
    assert BreakHisTrainer.get_optimizer_cls_and_kwargs(given)[1].get("fused") is fused
    given.optimizer_kwargs = {"fused": False}
    assert BreakHisTrainer.get_optimizer_cls_and_kwargs(given)[1]["fused"] is False


def test_an_optimizer_that_cannot_be_fused_is_not():
    given = SimpleNamespace(
        optimizer_name="rmsprop", optimizer_kwargs=None, learning_rate=0.1, device=torch.device("cuda")
    )
    assert "fused" not in BreakHisTrainer.get_optimizer_cls_and_kwargs(given)[1]


@pytest.mark.parametrize("before", ["none", "tf32", "ieee"])
def test_float32_is_not_shortened_and_the_setting_comes_back(before):
    part = torch.backends.cudnn.conv
    default = part.fp32_precision
    part.fp32_precision = before
    found = part.fp32_precision
    for _ in range(2):
        with full_precision():
            assert part.fp32_precision == "ieee"
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert part.fp32_precision == found
    part.fp32_precision = default


def test_what_is_set_for_all_counts_after_a_full_precision_as_before():
    """As two runs of one process do it on a GPU, the first in TensorFloat-32."""
    default, part = torch.backends.fp32_precision, torch.backends.cuda.matmul
    own = part.fp32_precision
    try:
        part.fp32_precision = "none"  # it follows what is set for all, whatever an earlier run of this process set
        torch.backends.fp32_precision = "tf32"
        with full_precision():
            assert part.fp32_precision == "ieee"
        assert part.fp32_precision == "tf32"
        torch.backends.fp32_precision = "ieee"
        assert part.fp32_precision == "ieee"
    finally:
        torch.backends.fp32_precision = default
        part.fp32_precision = own


def precision():
    """Every setting of torch for float32; reading the older ones raises an error where the newer one differs."""
    backends = torch.backends
    parts = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    older = (torch.get_float32_matmul_precision(), backends.cuda.matmul.allow_tf32)
    return older, backends.fp32_precision, [part.fp32_precision for part in parts]


@pytest.mark.filterwarnings("ignore:Please use the new API settings:UserWarning")
def test_tf32_is_set_in_both_ways_of_torch_and_comes_back():
    """Compiling for a GPU reads the older settings, inside a full precision too."""
    before = precision()
    with kept_precision():
        use_tf32(True)
        inside = precision()
        assert inside == (("high", True), "tf32", ["tf32"] * 4)
        with full_precision():
            assert precision() == (("highest", False), "ieee", ["ieee"] * 4)
        assert precision() == inside
    assert precision() == before


def test_the_older_setting_of_a_program_comes_back():
    before = precision()
    with kept_precision():
        torch.set_float32_matmul_precision("high")
        inside = precision()
        with full_precision():
            pass
        assert precision() == inside
    assert precision() == before


def test_only_training_sets_tf32(monkeypatch):
    """Building a recipe on a GPU leaves the process as it was, though transformers sets it there."""
    before = precision()
    monkeypatch.setattr(training_args, "is_torch_tf32_available", lambda: True)
    args = BreakHisTrainingArguments(use_cpu=True, tf32=True)
    assert precision() == before
    with restored_settings():
        use_hardware(args)
        assert precision()[0] == ("high", True)
    assert precision() == before


def test_the_cost_of_a_run_is_that_of_its_device(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**30)
    numbers = {"train_seconds": 1.0, "predict_seconds": 0.5, "train_images_per_second": 10.0}
    add_cost(tmp_path, "0", numbers, torch.device("cuda:1"))
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert cost["folds"]["0"]["peak_memory_gib"] == 3
    assert cost["hardware"]["device"] == "GPU 1"
    add_cost(tmp_path, "1", numbers, torch.device("cpu"))
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert 0.05 < cost["folds"]["1"]["peak_memory_gib"] < 64
    assert cost["hardware"]["device"] == processor()
    assert cost["total_seconds"] == 3


def test_float32_is_not_shortened_on_a_cpu_either():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
        with full_precision():
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_run_in_bfloat16_writes_what_its_weights_say_in_float32(tmp_path, request):
    """Predictions of autocast would differ from those of the saved model in the third digit."""
    from hf_breakhis.data.pixels.transforms import read_rgb
    from hf_breakhis.data.sources.table import load_images
    from hf_breakhis.recipe import build_recipe

    fields = request.getfixturevalue("run_fields")
    recipe = build_recipe({**fields, "bf16": True, "output_dir": str(tmp_path / "run")}, {})
    cross_validate(recipe)
    settings = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["environment"]["settings"]
    assert settings["bf16"] is True
    assert json.loads((tmp_path / "run" / "fold-0" / "metrics.json").read_text())["test"]
    table = pd.read_csv(tmp_path / "run" / "fold-0" / "predictions.csv").set_index("file_name")
    dataset = load_images(recipe.data).dataset
    names = list(dataset["file_name"])
    classifier = Classifier(tmp_path / "run" / "fold-0" / "model")
    paths = dataset.cast_column("image", datasets.Image(decode=False))
    for name in table.index[:8]:
        pixels = read_rgb(paths[names.index(name)]["image"]["path"]).permute(1, 2, 0).numpy()
        logits = classifier.logits([classifier.prepare(pixels)])[0]
        np.testing.assert_allclose(
            logits, table.loc[name, ["logit_benign", "logit_malignant"]].astype(float), atol=1e-5
        )
