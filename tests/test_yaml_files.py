"""YAML is read alike with libyaml and without, and both refuse the same files."""

import importlib.util

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_breakhis import yaml_files
from hf_breakhis.files import InputError

pytestmark = pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")


@pytest.fixture(scope="module")
def without_libyaml():
    """The module as it is where PyYAML was built without libyaml."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader")
        spec = importlib.util.spec_from_file_location("yaml_files_without_libyaml", yaml_files.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    assert not issubclass(module.OneOfEachKey, yaml.CSafeLoader)
    return module


@pytest.fixture(params=["libyaml", "python"])
def module(request, without_libyaml):
    return yaml_files if request.param == "libyaml" else without_libyaml


def test_libyaml_is_used_where_it_is():
    assert issubclass(yaml_files.OneOfEachKey, yaml.CSafeLoader)


@pytest.mark.parametrize("folder", ["recipes", "papers"])
def test_every_file_of_the_package_is_the_same(folder, without_libyaml):
    paths = yaml_files.packed_files(folder).values()
    assert paths
    for path in paths:
        for loader in ("OneOfEachKey", "AsText"):
            found, other = (
                module.read_yaml(path, "a file", getattr(module, loader)) for module in (yaml_files, without_libyaml)
            )
            assert found == other
            assert repr(found) == repr(other), "1 and 1.0 and True are equal"


texts = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(content=st.dictionaries(texts, values, min_size=1, max_size=4))
def test_what_was_written_is_read(content, without_libyaml, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", newline="")
    for module in (yaml_files, without_libyaml):
        assert module.read_yaml(path, "a file") == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "key `a` is given twice"),
        ("b: {a: 1, a: 2}", "key `a` is given twice"),
        ("a: &x [1]\nb: *x", "aliases are not supported; write the value itself in"),
        ("[" * 5000, "is nested too deeply; a file is a file."),
        ("a: [", "is not YAML: while parsing a flow node"),
        ("- 1", "contains no `key: value` lines"),
    ],
)
def test_both_refuse_the_same(text, message, module, tmp_path):
    path = tmp_path / "given.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        module.read_yaml(path, "a file is a file")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_star_in_a_value_is_no_alias(module, tmp_path):
    path = tmp_path / "given.yaml"
    path.write_text('a: "*"\nb: 2 * 3\n', encoding="utf-8")
    assert module.read_yaml(path, "a file") == {"a": "*", "b": "2 * 3"}
