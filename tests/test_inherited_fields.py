"""Every field of the Trainer has an effect on a run, or is refused with what to do instead."""

import importlib.util
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from hf_breakhis.files import InputError
from hf_breakhis.recipe import KNOWN, SUGGESTED, advice, build_recipe, load_recipe, parse_flags
from hf_breakhis.training_arguments import MEANINGLESS, NEEDED, OVERRIDDEN, REFUSED, SYNONYMS, USED, check_inherited

SCRIPT = Path(__file__).parent / "training" / "toy.py"
spec = importlib.util.spec_from_file_location("toy", SCRIPT)
toy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy)

NAMES = [f.name for f in fields(TrainingArguments) if f.init]


@pytest.mark.parametrize("name", NAMES)
def test_each_field_is_in_one_group(name):
    assert [name in group for group in (USED, REFUSED, MEANINGLESS)].count(True) == 1


def test_the_groups_name_no_other_field():
    assert {*USED, *REFUSED, *MEANINGLESS, *OVERRIDDEN, *NEEDED} <= set(NAMES)


def test_a_synonym_is_that_of_a_field_that_may_be_given():
    assert not set(SYNONYMS) & {*NAMES, *KNOWN}
    assert set(SYNONYMS.values()) <= set(SUGGESTED)
    assert advice("--lr") == " Use `--learning_rate`."
    assert advice("folds") == " Use `num_folds`."


@pytest.mark.parametrize("name", sorted({*REFUSED, *MEANINGLESS}))
def test_a_field_that_is_not_used_is_refused(name):
    with pytest.raises(InputError, match=f"^`{name}` (is not supported here: .+|has no meaning .+)$"):
        check_inherited({name: "another value"})


@pytest.mark.parametrize(
    ("flags", "instead"),
    [
        ("--hub_always_push true", "leave it out"),
        ("--hub_model_id user/name", "set it to True"),
        ("--resume_from_checkpoint x", "run the same command again"),
        ("--warmup_steps 100", "use `scheduler_kwargs`"),
        ("--lr_scheduler_type constant", "use `scheduler_kwargs`"),
        ("--optim sgd", "use `optimizer_kwargs`"),
        ("--adam_beta1 0.5", "use `optimizer_kwargs`"),
        ("--save_steps 3", "set it to steps"),
        ("--eval_steps 3", "set it to steps"),
        ("--logging_steps 3", "set it to steps"),
    ],
)
def test_a_flag_without_effect_is_refused(flags, instead):
    with pytest.raises(InputError, match=r"has no effect, since|is not supported here") as refused:
        build_recipe(load_recipe("c3"), parse_flags(flags.split()))
    assert instead in str(refused.value)


def test_a_value_that_is_the_default_is_no_contradiction():
    same = {"warmup_steps": 0, "adam_beta1": 0.9, "push_to_hub": False, "do_train": False, "use_cpu": True}
    assert build_recipe({"optimizer_name": "sgd", "scheduler_name": "step", **same}, {}).training.warmup_steps == 0


def test_betas_need_an_optimizer_that_has_them():
    with pytest.raises(InputError, match="`adam_beta1` has no effect, since `optim` is sgd"):
        build_recipe({"optim": "sgd", "adam_beta1": 0.5}, {"use_cpu": True})


@pytest.mark.parametrize(
    "name", ["warmup_ratio", "hub_tokn", "push_to_hu", "use_cach", "do_trai", "resume_checkpoint"]
)
def test_the_advice_names_no_field_that_would_be_refused(name):
    with pytest.raises(InputError) as refused:
        parse_flags([f"--{name}", "1"])
    named = str(refused.value).split("`--")[2:]
    assert all(words.split("`")[0] in SUGGESTED and words.split("`")[0] not in OVERRIDDEN for words in named)


def test_a_former_field_names_the_present_one():
    with pytest.raises(InputError, match=r"unknown flag `--warmup_ratio`. Use `--scheduler_kwargs`\.$"):
        parse_flags(["--warmup_ratio", "0.1"])


@pytest.mark.parametrize(
    "changes",
    [
        {"warmup_steps": 3}, {"lr_scheduler_type": "constant"}, {"optim": "sgd"}, {"adam_beta1": 0.5},
        {"weight_decay": 0.3}, {"learning_rate": 0.1}, {"data_seed": 9},
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 3.0}}, {"max_steps": 5},
    ],
    ids=lambda changes: "-".join(changes),
)  # fmt: skip
def test_a_used_field_changes_the_weights(changes, plain, tmp_path):
    assert weights(tmp_path, **{"learning_rate": 0.01, **changes}) != plain


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    first, again = (weights(tmp_path_factory.mktemp("toy"), learning_rate=0.01) for _ in range(2))
    assert first == again
    return first


def weights(folder, **changes):
    """Return the last weights of the small problem as bytes."""
    after, _, _ = toy.train(folder, changes, frozen_norm=True)
    return b"".join(torch.ravel(value).numpy().tobytes() for value in after[-1].values())
