"""Classes of a model and of a data set: matched where their names are equal, otherwise as the user says."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, logsumexp

from hf_breakhis.data.filenames import CLASSES, MALIGNANT_TYPES, TUMOR_TYPES
from hf_breakhis.files import InputError, few

FEW = 12


@dataclass(frozen=True)
class ClassMap:
    """How classes of the data and of the model become classes of an evaluated run.

    Attributes:
        classes: names of the classes of the run.
        labels: number in `classes` of each class of the data; None for images that are left out.
        columns: number in `classes` of each class of the model; several may have the same.
        given: names of the user, name -> class.
    """

    classes: tuple[str, ...]
    labels: tuple[int | None, ...]
    columns: tuple[int, ...]
    given: Mapping[str, str]

    @property
    def keeps_scores(self) -> bool:
        """Whether the classes of the run are those of the model, so that its threshold means the same."""
        return self.columns == tuple(range(len(self.classes)))

    def logits(self, logits: np.ndarray) -> np.ndarray:
        """Return logits (n, num_classes) of the run for those of the model, (n, num_model_classes).

        Probabilities of model classes that are one class of the run are added.
        """
        if sorted(self.columns) == list(range(len(self.classes))):
            return logits[:, np.argsort(self.columns)]
        logs = log_softmax(logits, axis=1)
        parts = [[k for k, column in enumerate(self.columns) if column == own] for own in range(len(self.classes))]
        return np.stack([logsumexp(logs[:, part], axis=1) for part in parts], axis=1)


def parse_classes(words: Sequence[str]) -> dict[str, str]:
    """Read `Normal=benign,InSitu=malignant`; `Normal=` leaves a class out.

    Raises:
        InputError: a part has no equals sign, or a name is given twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for word in words for part in word.split(","))):
        name, equals, own = (text.strip() for text in part.partition("="))
        if not equals or not name:
            raise InputError(f"--classes has {part!r}. Give NAME=CLASS, for example Normal=benign,InSitu=malignant.")
        if name in found:
            raise InputError(f"--classes has {name} twice. Give it once.")
        found[name] = own
    return found


def match_classes(
    model: Sequence[str], data: Sequence[str], given: Mapping[str, str], keep_order: bool = True
) -> ClassMap:
    """Match the classes of a model and of a data set.

    Names are equal if they differ in upper and lower case only. Other names are never guessed.

    Args:
        model: classes of the model.
        data: classes of the data set.
        given: from classes of the data to classes of the model ("" leaves a class out), or from classes of the model
            to classes of the data, whose probabilities are then added.
        keep_order: equal classes have the order of the model, not that of the data.

    Raises:
        InputError: a class cannot be matched; the message lists both sides.
    """
    of_model, of_data = ({name.lower(): k for k, name in enumerate(side)} for side in (model, data))
    if len(of_model) < len(model) or len(of_data) < len(data):
        raise _refusal(model, data, "several classes of one side differ in upper and lower case only")
    lowered = {name.lower(): own.lower() for name, own in given.items()}
    if all(name in of_data and own in {"", *of_model} for name, own in lowered.items()):
        named = {name: lowered.get(name, name) for name in of_data}
        unknown = [data[of_data[name]] for name, own in named.items() if own and own not in of_model]
        if unknown:
            raise _refusal(model, data, f"the model has no class {few(unknown)}")
        labels = [of_model[named[name]] if named[name] else None for name in of_data]
        if len({label for label in labels if label is not None}) < 2:
            raise _refusal(model, data, "fewer than two classes of the model are left")
        if not keep_order and not given and len(data) == len(model):
            return ClassMap(tuple(data), tuple(range(len(data))), tuple(of_data[name] for name in of_model), {})
        return ClassMap(tuple(model), tuple(labels), tuple(range(len(model))), dict(given))
    if all(name in of_model and own in of_data for name, own in lowered.items()):
        targets = {name: lowered.get(name, name) for name in of_model}
        unknown = [model[of_model[name]] for name, own in targets.items() if own not in of_data]
        if unknown:
            raise _refusal(model, data, f"the data have no class {few(unknown)}")
        columns = tuple(of_data[own] for own in targets.values())
        absent = [name for k, name in enumerate(data) if k not in columns]
        if absent:
            raise _refusal(model, data, f"no class of the model is {few(absent)}")
        return ClassMap(tuple(data), tuple(range(len(data))), columns, dict(given))
    dropped = [name for name in given if not given[name] and name.lower() in of_model]
    if dropped:
        problem = f"{few(dropped)} is a class of the model, and only classes of the data can be left out"
        raise _refusal(model, data, f"--classes does not fit: {problem}")
    names = {*of_model, *of_data, ""}
    wrong = [word for pair in given.items() for word in pair if word.lower() not in names]
    problem = (
        f"{few(wrong)} is a class of neither" if wrong else "a NAME has to be of one side, its CLASS of the other"
    )
    raise _refusal(model, data, f"--classes does not fit: {problem}")


def _refusal(model: Sequence[str], data: Sequence[str], problem: str) -> InputError:
    known = _tumor_types_mapped(data, model) or _tumor_types_mapped(model, data)
    name = next((name for name in data if name.lower() not in {one.lower() for one in model}), data[0])
    advice = (
        f"Give --classes {shlex.quote(known)} if these are the tumour types of BreakHis."
        if known
        else "Give --classes NAME=CLASS,... with a class of the model for each class of the data, such as "
        f"{name}={model[0]}; `{name}=` leaves it out."
    )
    return InputError(
        f"The classes of model and data differ: {problem}. The model has {few(list(model), FEW)}; the data have "
        f"{few(list(data), FEW)}. {advice}"
    )


def _tumor_types_mapped(names: Sequence[str], classes: Sequence[str]) -> str:
    """Return NAME=CLASS for all names if they are tumour types, and the classes types or malignancy; else ""."""
    own = {_type_of(name): name for name in classes}
    if not all(own):
        own = {one.lower(): one for one in classes}
        if set(own) != set(CLASSES):
            return ""
    of_type = {code: own.get(code) or own.get(CLASSES[code in MALIGNANT_TYPES]) for code in TUMOR_TYPES}
    pairs = [(name, of_type.get(_type_of(name))) for name in names]
    return ",".join(f"{name}={found}" for name, found in pairs) if all(found for _, found in pairs) else ""


def _type_of(name: str) -> str:
    """Return the code of a tumour type given as code or name; "" for any other word."""
    plain = re.sub(r"[\s_-]+", " ", name.strip().lower()).replace("tumour", "tumor")
    return next((code for code, long in TUMOR_TYPES.items() if plain in (code.lower(), long)), "")
