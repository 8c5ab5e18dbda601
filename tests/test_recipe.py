"""A recipe has the fields that it states, and anything else is refused."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_breakhis import recipe
from hf_breakhis.arguments import MAGNIFICATIONS
from hf_breakhis.data import filenames
from hf_breakhis.data.pixels.augmentations import AUGMENTATIONS
from hf_breakhis.data.sources.about import SOURCES
from hf_breakhis.data.twin.traits import TwinSettings
from hf_breakhis.files import InputError
from hf_breakhis.recipe import Recipe, build_recipe, load_recipe, parse_flags, parse_recipe, resolved_fields
from hf_breakhis.training.optim import OPTIMIZERS, SCHEDULERS
from hf_breakhis.training_arguments import TRACKERS

RECIPES = Path(__file__).parents[1] / "recipes"
ALL = sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name != "accelerate")

# Table I of the paper; None where the text has no such thing.
TABLE_I = {
    "c1": {"batch": 32, "rate": 0.005, "epochs": 5, "optimizer": "sgd", "schedule": "step", "folds": 1},
    "c2": {"batch": 64, "rate": 0.01, "epochs": 3, "optimizer": "sgd", "schedule": "step", "folds": 3},
    "c3": {"batch": 64, "rate": 0.0075, "epochs": 3, "optimizer": "adamw", "schedule": "plateau", "folds": 3},
}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a recipe and gives its path."""

    def write_text(text):
        path = tmp_path / "r.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_text


@pytest.mark.parametrize("name", TABLE_I)
def test_recipe_holds_table_i(name):
    found = parse_recipe([str(RECIPES / f"{name}.yaml"), "--use_cpu"])
    data, model, training = found.data, found.model, found.training
    expected = TABLE_I[name]
    assert training.batch_size == expected["batch"]
    assert training.learning_rate == expected["rate"]
    assert training.num_train_epochs == expected["epochs"]
    assert training.optimizer_name == expected["optimizer"]
    assert training.scheduler_name == expected["schedule"]
    assert data.num_folds == expected["folds"]
    assert (training.weight_decay, training.dataloader_num_workers, data.image_size) == (0.01, 2, 224)
    assert (data.split_by, data.augmentation, model.carry_over, data.reserve_size) == ("image", "none", "none", 0)
    assert model.model_name_or_path == "microsoft/resnet-50"
    assert len(model.model_revision) == 40, "a commit, not a branch"
    momentum = training.optimizer_kwargs.get("momentum") or training.optimizer_kwargs["betas"][0]
    assert momentum == (0.92 if name == "c3" else 0.9)
    wait = training.scheduler_kwargs.get("step_size") or training.scheduler_kwargs["patience"]
    factor = training.scheduler_kwargs.get("gamma") or training.scheduler_kwargs["factor"]
    assert (wait, factor) == (3, 0.1)
    # Where the paper is silent: nothing is clipped, smoothed, weighed or chosen, and images are drawn as they come.
    assert (training.max_grad_norm, training.label_smoothing_factor, training.class_weights) == (0, 0, "none")
    assert (training.load_best_model_at_end, training.early_stopping_patience, training.bf16) == (False, None, False)
    assert (training.decay_norm_and_bias, training.sampler, model.init) == (True, "none", "pretrained")
    assert (data.stratify, data.validation_size, data.target, data.dataset) == (False, 0, "malignancy", "breakhis")
    assert data.test_size == (0.15 if name == "c1" else 0.2)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_recipe_parses_and_says_how_to_run_it(path):
    training = parse_recipe([str(path), "--use_cpu"]).training
    head = path.read_text(encoding="utf-8").splitlines()[:5]
    assert any(line.startswith("# Run:") for line in head)
    assert training.output_dir == f"outputs/{path.relative_to(RECIPES).with_suffix('')}"


def test_flag_beats_recipe(write):
    path = write("num_folds: 3\noptimizer_name: sgd\noptimizer_kwargs: {momentum: 0.9}\n")
    found = parse_recipe([path, "--num_folds", "4", "--optimizer_kwargs", '{"momentum": 0.5}', "--use_cpu"])
    assert found.data.num_folds == 4
    assert found.training.optimizer_kwargs == {"momentum": 0.5}


def test_fold_may_be_a_number_in_yaml_and_on_the_command_line(write):
    assert parse_recipe([write("fold: 2"), "--use_cpu"]).data.fold == "2"
    assert parse_recipe([write("num_folds: 3"), "--fold", "refit", "--use_cpu"]).data.fold == "refit"


def test_batch_size_is_divided_over_accumulation_steps(write):
    training = parse_recipe([write("batch_size: 32\ngradient_accumulation_steps: 4"), "--use_cpu"]).training
    assert training.per_device_train_batch_size == 8


BAD_YAML = {
    "learning_rat: 1": "unknown key `learning_rat`. Did you mean `learning_rate`?",
    "learning_rate: 1e-4": "YAML reads 1e-4 as text: write 1.0e-4",
    "split_by: patiant": "has to be one of image, patient, specimen, official",
    "num_folds: 2.5": "`num_folds` is 2.5, but has to be a whole number",
    "num_folds: true": "`num_folds` is True, but has to be a whole number",
    "seed: 1.5": "`seed` is 1.5",
    "magnifications: [50X, 7]": "has to be a list of text",
    "magnifications: [50X]": "`magnifications` has ['50X']; choose from",
    "magnifications: 40X": "has to be a list of text",
    "magnifications: []": "`magnifications` is empty",
    "eval_strategy: no": "write it in quotes",
    "eval_strategy: epohc": "one of no, steps, epoch",
    "bf16: 1": "has to be true or false",
    "optimizer_kwargs: 3\noptimizer_name: sgd": "has to be a mapping or null",
    "optimizer_kwargs: {momentum: 1}": "`optimizer_kwargs` needs `optimizer_name`",
    "fold: 7": "`fold` is 7, but num_folds=5 allows all, refit or 0..4",
    "fold: -1": "`fold` is -1",
    "num_folds: 0": "at least 1",
    "test_size: 1.5": "a share lies between 0 and 1",
    "reserve_size: -0.1": "a share is at least 0",
    "split_by: official\nnum_folds: 3": "the official split has 5 folds of its own",
    "split_by: official\nreserve_size: 0.1": "not supported with split_by=official",
    "seed: 1\nseed: 2": "key `seed` is given twice",
    "- a": "contains no `key: value` lines",
    "a: [": "is not YAML",
    "batch_size: 33\ngradient_accumulation_steps: 2": "cannot be divided over 1 devices x 2 accumulation steps",
    "batch_size: 32\nper_device_train_batch_size: 8": "keep one",
    "scheduler_name: plateau\neval_strategy: 'no'": "the plateau schedule needs epoch",
    "scheduler_name: step\nmax_steps: 10": "`max_steps` is not supported with `scheduler_name`",
    "carry_over: all\nfold: 1": "Use --fold all",
    "fold: refit\nscheduler_name: plateau": "has no test set to select",
    "fold: 1\nrepeats: 3": "has to be all",
    "push_to_hub: true": "needs `hub_model_id`",
    "remove_unused_columns: true": "would delete the images",
    "freeze_backbone: true\ninit: random": "use pretrained weights",
    "load_best_model_at_end: true\nsave_strategy: 'no'": "save and eval strategy to match",
}


@pytest.mark.parametrize("text", BAD_YAML)
def test_bad_recipe_is_one_line_that_says_what_to_do(text, write):
    with pytest.raises(InputError) as caught:
        parse_recipe([write(text), "--use_cpu"])
    message = str(caught.value)
    assert BAD_YAML[text] in message
    assert "\n" not in message


BAD_FLAGS = {
    "--num_fold 3": "unknown flag `--num_fold`. Did you mean `--num_folds`?",
    "--num_folds 2.5": "`num_folds` is '2.5', but has to be a whole number.",
    "--num-folds=2.5": "`num_folds` is '2.5', but has to be a whole number.",
    "--num_folds 2 --num_folds x --num_folds 3": "`num_folds` is 'x', but has to be a whole number.",
    "--early_stopping_patience 7 --early_stopping_patience x": "`early_stopping_patience` is 'x', but has to be",
    "--learning_rate fast": "`learning_rate` is 'fast', but has to be a number.",
    "--test_size": "--test_size has no value. Give a number.",
    "--optimizer_kwargs {a": "is not a JSON object; write",
    "--optimizer_kwargs 3": "is not a JSON object",
    "--split_by x": "`split_by` is 'x', but has to be one of image, patient, specimen, official, folders.",
    "--split_by=": "--split_by has no value. Give one of image, patient, specimen, official, folders.",
    "--magnifications 40X 60X": "['60X']",
    "--stratify maybe": "`stratify` is 'maybe', but has to be true or false.",
    "--hub_token": "--hub_token has no value. Give text.",
    "--seed null": "`seed` is 'null', but has to be a whole number.",
    "stray": "cannot read 'stray'",
    "--seed": "--seed has no value. Give a whole number.",
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_bad_flag_is_one_line_that_says_what_to_do(flags, write):
    with pytest.raises(InputError) as caught:
        parse_recipe([write("num_folds: 3"), *flags.split(), "--use_cpu"])
    assert BAD_FLAGS[flags] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flag_empties_a_field(write):
    kwargs = "optimizer_name: sgd\noptimizer_kwargs: {momentum: 0.9}\n"
    path = write(f"{kwargs}early_stopping_patience: 3\npositive_class: B")
    empty = ["--optimizer_kwargs", "null", "--early_stopping_patience=null", "--positive_class", "null"]
    assert parse_recipe([path, "--use_cpu"]).training.early_stopping_patience == 3
    recipe = parse_recipe([path, *empty, "--use_cpu"])
    assert recipe.training.optimizer_name == "sgd"
    assert recipe.training.optimizer_kwargs is recipe.training.early_stopping_patience is None
    assert recipe.data.positive_class is None


def test_a_recipe_of_the_package_goes_by_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_recipe("c3")["optimizer_name"] == "adamw"


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_resolved_fields_of_a_recipe_are_a_recipe_of_the_same_fields(path, write):
    resolved = resolved_fields(build_recipe(load_recipe(path), {"use_cpu": True}))
    again = load_recipe(write(yaml.safe_dump({**resolved, "environment": {"packages": {}}})))
    assert resolved_fields(build_recipe(again, {})) == resolved


def test_an_environment_that_no_run_wrote_is_an_unknown_key(write):
    with pytest.raises(InputError, match="unknown key `environment`"):
        load_recipe(write("environment: {OMP_NUM_THREADS: 1}"))


def test_missing_recipe_lists_those_of_the_package():
    with pytest.raises(InputError, match=r"No recipe at recipes/c9\.yaml.*c1, c2, c3.*demo"):
        parse_recipe(["recipes/c9.yaml"])
    with pytest.raises(InputError, match="No recipe is given"):
        parse_recipe(["--fold", "1"])


def test_a_folder_is_no_recipe_but_may_hold_one(tmp_path):
    with pytest.raises(InputError, match=r"No recipe at"):
        parse_recipe([str(tmp_path)])
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(InputError, match=r"is a folder\. Give a recipe in it, for example .*/recipe\.yaml\.$"):
        parse_recipe([str(tmp_path)])


def test_binary_recipe_is_refused(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="is not a text file"):
        load_recipe(path)


def test_unconnected_processes_are_refused(write, monkeypatch):
    training = parse_recipe([write("seed: 1"), "--use_cpu"]).training
    training._check_processes()
    monkeypatch.setenv("WORLD_SIZE", "2")  # what torchrun sets; these arguments know of one process
    with pytest.raises(InputError, match=r"2 processes were started, but they are not connected.*ACCELERATE_USE_CPU"):
        training._check_processes()


def test_short_help_lists_own_fields_and_long_help_all(capsys):
    with pytest.raises(SystemExit) as done:
        parse_recipe(["--help"])
    short = capsys.readouterr().out
    assert done.value.code == 0
    assert "--split_by" in short
    assert "--adam_beta1" not in short
    assert max(map(len, short.splitlines())) <= 100
    with pytest.raises(SystemExit):
        parse_recipe(["--help_all"])
    assert "--adam_beta1" in capsys.readouterr().out


def test_help_texts_name_every_choice_and_no_source_file():
    help_of = {f.name: f.metadata.get("help", "") for group in recipe.ARGUMENT_CLASSES for f in fields(group)}
    for name, table in {
        "dataset": SOURCES,
        "augmentation": AUGMENTATIONS,
        "optimizer_name": OPTIMIZERS,
        "scheduler_name": SCHEDULERS,
        "report_to": TRACKERS,
    }.items():
        assert ", ".join(table) in help_of[name], name
    assert ", ".join(f.name for f in fields(TwinSettings)) in help_of["twin_kwargs"]
    for name, text in help_of.items():
        assert ".py" not in text, name
        if name not in ("optim", "lr_scheduler_type", "log_level", "log_level_replica", "hub_strategy", "debug"):
            assert all(choice in text for choice in recipe._choices(recipe.HINTS[name])), name


def test_the_long_help_states_the_default_of_every_field(capsys):
    with pytest.raises(SystemExit):
        parse_recipe(["--help_all"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--no_stratify, --no-stratify Set stratify to false." in text
    assert text.count("Default: ") > len(recipe.SUGGESTED) - 10


def test_magnifications_are_those_of_the_file_names():
    """Two modules list them, since a recipe imports no library."""
    assert MAGNIFICATIONS == filenames.MAGNIFICATIONS


values = st.none() | st.booleans() | st.integers(-3, 9) | st.floats(-2, 2) | st.text(max_size=6)
values = values | st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values, max_size=2)
OWN = [name for name in recipe.HINTS if name in recipe.KNOWN and name not in ("output_dir", "deepspeed", "fsdp")]


def refusal(path):
    try:
        for name, value in load_recipe(path).items():
            recipe.check_value(name, value, "r.yaml")
    except InputError as error:
        return str(error)
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given=st.dictionaries(st.sampled_from(OWN), values, max_size=2))
def test_any_value_is_taken_or_refused_in_one_line(given, tmp_path):
    """Nothing but InputError comes out of a strange recipe, and what is taken is of the field's type."""
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    message = refusal(path)
    if message is not None:
        assert "\n" not in message
        return
    for name, value in given.items():
        assert not (isinstance(value, bool) and recipe.HINTS[name] in (int, float))
        assert recipe.HINTS[name] is not int or isinstance(value, int)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_fold": 3}, "Recipe.load: unknown key `num_fold`. Did you mean `num_folds`?"),
        ({"num_folds": "three"}, "Recipe.load: `num_folds` is 'three', but has to be a whole number."),
        ({"learning_rate": float("nan")}, "Recipe.load: `learning_rate` is nan, but has to be at least 0."),
        ({"fold": 9}, "`fold` is 9, but num_folds=3 allows all, refit or 0..2."),
    ],
)
def test_keyword_arguments_are_checked_as_flags_are(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Recipe.load("demo", use_cpu=True, **changes)


def test_keyword_arguments_may_be_paths_and_the_number_of_a_fold(tmp_path):
    loaded = Recipe.load("demo", use_cpu=True, output_dir=tmp_path / "run", fold=1)
    assert (loaded.training.output_dir, loaded.data.fold) == (str(tmp_path / "run"), "1")


def test_a_flag_without_a_value_says_so():
    with pytest.raises(InputError, match=r"^--no_stratify takes no value; write --no_stratify alone\.$"):
        parse_flags(["--no_stratify=yes"])


def test_flags_and_yaml_are_checked_alike():
    with pytest.raises(InputError, match="command line"):
        build_recipe({}, {"num_folds": 2.5})
    assert parse_flags(["--stratify", "false"]) == {"stratify": False}
    assert parse_flags(["--no_stratify"]) == {"stratify": False}
