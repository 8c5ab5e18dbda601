"""What a model was trained on, by the names of the images and specimens."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hf_breakhis.data.filenames import is_breakhis, parse_file_name
from hf_breakhis.data.sources.about import find_source
from hf_breakhis.data.twin.twin import is_twin
from hf_breakhis.data.walk import normal_path
from hf_breakhis.files import InputError
from hf_breakhis.run import REFIT, Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Seen:
    """Names of what a model was trained on.

    Attributes:
        images: as in folds.csv.
        specimens: of these images, where they are known.
        others: names of the run's other images, which the model was not trained on.
        is_generated: the images were drawn, and have names that real images have too.
    """

    images: frozenset[str]
    specimens: frozenset[str]
    others: frozenset[str] = frozenset()
    is_generated: bool = False

    def holds(self, path: str, image: str | bytes) -> bool | None:
        """Return whether an image is one that the model was trained on, by its name; None if that is not known.

        Args:
            path: with the name.
            image: the file, as its path or its bytes; read only to tell whether this package drew it.

        A name that the run does not list says nothing: the image may be a renamed copy. Only a BreakHis name, which
        belongs to one image, is known to be another one.
        """
        place = normal_path(path)
        try:
            own = {str(parse_file_name(PurePosixPath(place).name))}
        except InputError:
            own = set()
        names = own | _ends_of(place)
        if (names & self.images or names & self.others) and self.is_generated and not _is_drawn(image):
            return None
        if names & self.images:
            return True
        return False if names & self.others or (own and self._is_of_breakhis) else None

    @cached_property
    def _is_of_breakhis(self) -> bool:
        return any(is_breakhis(PurePosixPath(name).name) for name in self.images)


def _is_drawn(image: str | bytes) -> bool:
    """Say whether this package drew an image; one that cannot be looked at here counts as drawn."""
    return is_twin(image) if isinstance(image, bytes) or Path(image).is_file() else True


def _ends_of(path: str) -> set[str]:
    """Return the ends of a path, since folds.csv may have an image with folders or without."""
    parts = PurePosixPath(path).parts
    return {"/".join(parts[i:]) for i in range(max(0, len(parts) - 8), len(parts))}


def training_rows(run: Run, fold: str) -> "pd.DataFrame":
    """Return the rows of folds.csv that the model of `fold` was trained on, with earlier folds that it continues."""
    table = run.read_folds()
    if fold == REFIT:  # trained on all but the reserve and a validation part of the first fold
        return table[(table["fold"] == 0) & table["part"].isin(["train", "test"])]
    earlier = table["fold"] < int(fold) if run.field("carry_over") != "none" else False
    return table[(table["part"] == "train") & ((table["fold"] == int(fold)) | earlier)]


def read_seen(run: Run, fold: str) -> Seen:
    """Return what the folds of a run say that the model of `fold` was trained on."""
    used = training_rows(run, fold)
    images = frozenset(map(normal_path, used["file_name"]))
    others = frozenset(map(normal_path, run.read_folds()["file_name"])) - images
    is_generated = find_source(str(run.recipe.get("dataset"))).is_generated  # a published model has no data.json
    return Seen(images, frozenset(used["specimen_id"]) - {""}, others, is_generated)
