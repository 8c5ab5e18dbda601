"""YAML files that a user writes: read strictly, or found by name among those that come with the package."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from hf_breakhis.files import InputError


class OneOfEachKey(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice, where plain YAML keeps the last one silently.

    Nor does it take aliases: ten lines of them stand for more than memory holds, and no file of ours needs one.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, but no alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not read; write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping whose keys differ."""
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = sorted((key for key, count in counts.items() if count > 1), key=str)
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key `{twice[0]}` is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


class AsText(OneOfEachKey):
    """The same, with every value as the text that was written, so that .90 keeps its last digit."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (an attribute of the parent)


def read_yaml(path: Path, kind: str, loader: type[OneOfEachKey] = OneOfEachKey) -> dict[Any, Any]:
    """Read a YAML file that holds a mapping.

    Args:
        path: the file.
        kind: what it should be, for messages: "a recipe is YAML like recipes/c3.yaml".
        loader: how values are read.

    Raises:
        InputError: it cannot be read, is not YAML, or holds no mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 (a SafeLoader)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; {kind}.") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {kind}.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Check the permissions of the file.") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply; {kind}.") from error
    except (yaml.YAMLError, ValueError) as error:  # the latter for dates and numbers that cannot be
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no `key: value` lines; {kind}.")
    return values


def find_yaml(given: str | Path, folder: str, kind: str) -> Path:
    """Return a YAML file: a path, or the name of one that comes with the package.

    Args:
        given: a path, or a name such as `c3`.
        folder: where those of the package lie, `recipes` or `papers`.
        kind: what the file is, for messages.

    Raises:
        InputError: there is none; the message lists the names.
    """
    packed = packed_files(folder)
    try:
        if Path(given).is_file():
            return Path(given)
    except OSError as error:  # a name that no file can have
        example = f"{folder}/{next(iter(packed), 'NAME')}.yaml"
        raise InputError(f"Cannot read {given}: {error.strerror}. Give a YAML file like {example}.") from error
    if str(given) not in packed:
        names = ", ".join(packed)
        raise InputError(f"No {kind} at {given}. Give a YAML file, or a {kind} of this package: {names}.")
    return packed[str(given)]


def packed_files(folder: str) -> dict[str, Path]:
    """Return the YAML files of the package in `folder`, by name."""
    # inside the package where a wheel was installed, at its side in a checkout
    places = (Path(__file__).parent / folder, Path(__file__).parents[1] / folder)
    packed = next((place for place in places if place.is_dir()), places[0])
    names = {str(path.relative_to(packed).with_suffix("")): path for path in sorted(packed.rglob("*.yaml"))}
    return {name: path for name, path in names.items() if not name.startswith("accelerate")}
