"""Whatever stands in a recipe or behind its flags: fields come out, or one line says what is wrong."""

import json
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_breakhis import recipe
from hf_breakhis.files import MAX_MESSAGE, InputError, printable, read_json
from hf_breakhis.recipe import LARGEST, load_recipe, parse_flags, parse_recipe

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FIELDS = sorted(set(recipe.KNOWN) - {"push_to_hub", "output_dir"})
LINES = (
    "split_by: image",
    "a: &a [1]",
    "b: *a",
    "? [x]",
    "<<: {a: 1}",
    "!!binary aGk=",
    "- x",
    "seed: 2020-13-40",
    "\t",
)


def outcome(call, *arguments):
    """Return what comes out, or the message of the refusal, which has to be one line."""
    try:
        return call(*arguments)
    except InputError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 2 * MAX_MESSAGE
    return message


@FUZZ
@given(content=st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_any_bytes_are_a_recipe_or_refused(content, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    assert isinstance(outcome(load_recipe, path), dict | str)


@FUZZ
@given(lines=st.lists(st.sampled_from(LINES) | st.text("[]{}:,&*!?|>-'\"# ab1\n", max_size=12), max_size=6))
def test_any_structure_of_yaml_is_a_recipe_or_refused(lines, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert isinstance(outcome(load_recipe, path), dict | str)


def fitting(name):
    """Draw values that pass the check of a field's type, and its range or not."""
    hint, words = recipe.HINTS[name], recipe._choices(recipe.HINTS[name])
    drawn = [st.sampled_from(words)] if words else []
    for value in (True, 1, 1.5, "x", ["x"], {"x": 1}, None):
        if recipe._fits(value, hint):
            drawn.append({
                bool: st.booleans(), int: st.integers(-2, 3) | st.integers(), float: st.floats() | st.just(0),
                str: st.text(max_size=8), list: st.lists(st.text(max_size=4), max_size=2), type(None): st.none(),
                dict: st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=2),
            }[type(value)])  # fmt: skip
    return st.one_of(drawn) if drawn else st.none()


@pytest.mark.filterwarnings("ignore")  # the Trainer warns of what it will not keep
@settings(FUZZ, max_examples=150)
@given(data=st.data())
def test_any_values_of_the_right_types_are_taken_or_refused(data, tmp_path):
    names = data.draw(st.lists(st.sampled_from(FIELDS), max_size=2, unique=True))
    values = {name: data.draw(fitting(name), label=name) for name in names}
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    found = outcome(parse_recipe, [str(path), "--use_cpu", "--output_dir", str(tmp_path / "run")])
    assert isinstance(found, recipe.Recipe | str)


@FUZZ
@given(words=st.lists(st.sampled_from([f"--{name}" for name in FIELDS]) | st.text(max_size=8), max_size=4))
def test_any_flags_are_taken_or_refused(words):
    assert isinstance(outcome(parse_flags, words), dict | str)


def refusal(text, path):
    path.write_text(text, encoding="utf-8")
    found = outcome(parse_recipe, [str(path), "--use_cpu"])
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"a\\nb": 1', r"unknown key `a\nb`"),
        ('"\\e[31m": 1', r"unknown key `\x1b[31m`"),
        ('output_dir: "a\\0b"', "contains a control character"),
        ("a: &x [1]\nb: *x", "aliases are not supported"),
        ("model_kwargs: &x {a: *x}", "aliases are not supported"),
        ("[" * 5000, "nested too deeply"),
        ("seed: " + "9" * 5000, "is not YAML"),
        ("split_by: " + "x" * 10_000, "'xxxxx"),
        ("? []\n: 1\n? []\n: 2", "unhashable key"),
        ("a: 2020-99-99", "is not YAML: month must be in 1..12"),
        ("seed: -1", "`seed` is -1, but has to be at least 0"),
        ("seed: 99999999999", f"has to be a number of at most {LARGEST}"),
        ("learning_rate: .nan", "`learning_rate` is nan"),
        ("num_train_epochs: .inf", "`num_train_epochs` is inf"),
        ("gradient_accumulation_steps: 0", "has to be at least 1"),
        ("accelerator_config: {a: 1}", "`accelerator_config` is not supported here"),
        ("deepspeed: nowhere.json", "deepspeed"),
        ("seed: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_a_hostile_recipe_is_one_line(text, message, tmp_path):
    found = refusal(text, tmp_path / "r.yaml")
    assert message in found
    assert len(found) < 1000


def test_a_token_of_the_wrong_type_is_not_repeated(tmp_path):
    assert "hf_secret" not in refusal("hub_token: [hf_secret]", tmp_path / "r.yaml")


def test_a_name_that_no_file_can_have_is_one_line():
    assert "File name too long" in outcome(load_recipe, "a" * 300)
    assert r"No recipe at a\x00b" in outcome(load_recipe, "a\0b")


@FUZZ
@given(content=st.binary(max_size=60) | st.sampled_from([b"[" * 99_999, b"9" * 5000, b'{"a":' * 50_000]))
def test_any_bytes_are_json_or_refused(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    outcome(read_json, tmp_path / "a.json")
    assert "Cannot read" in outcome(read_json, tmp_path)


@given(st.text())
def test_printable_keeps_what_prints_and_escapes_the_rest(text):
    shown = printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()
