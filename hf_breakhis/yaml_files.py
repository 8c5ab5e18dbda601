"""Strict reading of YAML files, given by path or by the name of a file of the package."""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hf_breakhis.files import InputError, nearest, require_kind

TOO_DEEP = "exceeded maximum nesting depth"  # as libyaml says it
# libyaml reads in a seventh of the time; it is part of PyYAML's wheels, but not of every build.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Kind:
    """A kind of YAML file.

    Attributes:
        folder: where the package keeps its own.
        command: what takes such a file.
        keys: some that no file of another kind has.
    """

    folder: str
    command: str
    keys: frozenset[str] = frozenset()


KINDS = {
    "study": Kind("studies", "study", frozenset({"base", "rows", "grid", "may_change"})),
    "table": Kind("papers", "check", frozenset({"tables"})),
    "recipe": Kind("recipes", "train", frozenset({"dataset", "split_by", "model_name_or_path"})),
    "space": Kind("spaces", "search RECIPE --space"),  # its keys are those of a recipe
}


class OneOfEachKey(_SafeLoader):  # type: ignore[misc]  # either of two classes
    """A SafeLoader that refuses duplicate keys, of which YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; refuse duplicate keys."""
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = sorted((key for key, count in counts.items() if count > 1), key=str)
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key `{twice[0]}` is given twice", node.start_mark)
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        return values


class AsText(OneOfEachKey):
    """The same loader with every value as text, so that .90 keeps its last digit."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (an attribute of the parent)


def read_yaml(path: Path, kind: str, loader: type[OneOfEachKey] = OneOfEachKey) -> dict[Any, Any]:
    """Read a YAML file that holds a mapping.

    Args:
        path: the file.
        kind: the expected content, for messages: "a recipe is YAML like recipes/c3.yaml".
        loader: converts the values.

    Raises:
        InputError: it cannot be read, is not YAML, or contains no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_aliases(text)
        values = yaml.load(text, Loader=loader)  # noqa: S506 (a SafeLoader)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; {kind}.") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {kind}.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Check the permissions of the file.") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply; {kind}.") from error
    except (yaml.YAMLError, ValueError) as error:  # the latter for impossible dates and numbers
        if TOO_DEEP in str(error):
            raise InputError(f"{path} is nested too deeply; {kind}.") from error
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} contains no `key: value` lines; {kind}.")
    return values


def other_kind(path: Path, values: dict[Any, Any], kind: str) -> str:
    """Return which command takes a file whose keys are those of another kind; empty if they are of none.

    Args:
        path: the file.
        values: what it contains.
        kind: what it was taken for: study, table, recipe or space.
    """
    for name, other in KINDS.items():
        if name != kind and other.keys & set(values):
            return f" It looks like a {name}. Use it with `hf-breakhis {other.command} {path}`."
    return ""


def _refuse_aliases(text: str) -> None:
    """Raise for an alias. Ten lines of them can expand to more than the memory, and no file here needs them."""
    if "*" not in text:
        return
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases are not supported; write the value itself {event.start_mark}")


def find_yaml(given: str | Path, kind: str) -> Path:
    """Return the path of a YAML file, given as a path or as the name of a file of the package.

    Args:
        given: a path, or a name such as `c3`.
        kind: recipe, study, space or table.

    Raises:
        InputError: no such file; the message lists the names.
    """
    folder = KINDS[kind].folder
    packed = packed_files(folder)
    example = f"for example {min(packed, key=len, default='NAME.yaml')!r}"
    require_kind(given, (str, os.PathLike), f"A {kind} is given by its path or its name", example)
    try:
        if Path(given).is_file():
            return Path(given)
    except OSError as error:  # an impossible file name
        example = f"{folder}/{next(iter(packed), 'NAME')}.yaml"
        raise InputError(f"Cannot read {given}: {error.strerror}. Give a YAML file like {example}.") from error
    if str(given) not in packed:
        if files := sorted(Path(given).glob("*.yaml")) if Path(given).is_dir() else []:
            raise InputError(f"{given} is a folder. Give a {kind} in it, for example {files[0]}.")
        names = list(packed)
        stem = re.sub(r"\.ya?ml$", "", str(given)).removeprefix("./").removeprefix(f"{folder}/")
        hint = _other_name(stem, kind) or nearest(stem, names)
        how = f"Give a YAML file, or a {kind} of this package: {', '.join(names)}."
        raise InputError(f"No {kind} at {given}.{hint} {how}")
    return packed[str(given)]


def _other_name(name: str, kind: str) -> str:
    """Return which command takes the file of another kind that has this name in the package; empty without one."""
    for other, about in KINDS.items():
        if other != kind and name in packed_files(about.folder):
            return f" {name} is a {other}: `hf-breakhis {about.command} {name}`."
    return ""


def packed_files(folder: str) -> dict[str, Path]:
    """Return the YAML files of the package in `folder`, by name."""
    # in the package if installed from a wheel, next to it in a checkout
    places = (Path(__file__).parent / folder, Path(__file__).parents[1] / folder)
    packed = next((place for place in places if place.is_dir()), places[0])
    names = {str(path.relative_to(packed).with_suffix("")): path for path in sorted(packed.rglob("*.yaml"))}
    return {name: path for name, path in names.items() if not name.startswith("accelerate")}
