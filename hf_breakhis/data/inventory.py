"""What BreakHis holds: 82 slide folders, 7,909 image names, the official folds and a fixed split by specimen.

Derived from the file names and the fold files that the authors publish (Spanhol et al. 2016).
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from hf_breakhis.data.filenames import MAGNIFICATIONS, BreakHisName, parse_file_name

NUM_OFFICIAL_FOLDS = 5
RCL_PER_CLASS = 3750  # benign, and malignant, images of RCL-7500, a data set on the Hub that may hold copies of these
SPECIMEN_SEED = 42  # of the fixed split by specimen
NUM_SPECIMEN_FOLDS = 5


@dataclass(frozen=True)
class SlideFolder:
    """One slide folder, which the authors count as one patient.

    Attributes:
        patient_id: "SOB_B_A-14-22549AB".
        specimen_id: "14-22549", the id without block letters.
        label: 0 = benign, 1 = malignant.
        tumor_type: a key of `TUMOR_TYPES`.
        numbers: image numbers of each magnification, ascending.
        official: "train" or "test" in each of the five official folds.
    """

    patient_id: str
    specimen_id: str
    label: int
    tumor_type: str
    numbers: dict[str, tuple[int, ...]]
    official: tuple[str, ...]

    def names(self) -> Iterator[BreakHisName]:
        """Yield the folder's images by magnification and number."""
        for magnification in MAGNIFICATIONS:
            for number in self.numbers[magnification]:
                yield parse_file_name(f"{self.patient_id}-{magnification.removesuffix('X')}-{number:03d}.png")

    def __len__(self) -> int:
        """Return the number of images."""
        return sum(len(numbers) for numbers in self.numbers.values())


def expected_file_names() -> list[str]:
    """Return the 7,909 file names, sorted."""
    return list(_every_name())


@cache
def _every_name() -> tuple[str, ...]:
    return tuple(sorted(str(name) for folder in INVENTORY for name in folder.names()))


def official_folds() -> dict[str, tuple[str, ...]]:
    """Return for each patient id its part, "train" or "test", in official folds 1 to 5.

    They are five random hold-outs, not a partition: 13 patients are never tested, and every fold has one specimen or
    more on both sides.
    """
    return {folder.patient_id: folder.official for folder in INVENTORY}


def _read_inventory() -> tuple[SlideFolder, ...]:
    text = (files("hf_breakhis.data") / "inventory.csv").read_text(encoding="utf-8")
    return tuple(
        SlideFolder(
            patient_id=row["patient_id"],
            specimen_id=row["specimen_id"],
            label=int(row["label"]),
            tumor_type=row["tumor_type"],
            numbers={magnification: _expand(row[magnification]) for magnification in MAGNIFICATIONS},
            official=tuple(row[f"fold{i}"] for i in range(1, NUM_OFFICIAL_FOLDS + 1)),
        )
        for row in csv.DictReader(text.splitlines())
    )


def _expand(ranges: str) -> tuple[int, ...]:
    """Turn "1-3 5" into (1, 2, 3, 5)."""
    numbers: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return tuple(numbers)


INVENTORY = _read_inventory()

# `SPECIMEN_FOLDS` maps each specimen to its fold in one fixed split of BreakHis, the same with every version of this
# package: what `split_by: specimen`, `num_folds: 5` and `split_seed: 42` give on all 7,909 images.
# The specimens of folds 0 to 4, in the order of their numbers; 3 or 4 of each fold are benign.
_SPECIMENS = (
    "14-3411 14-4372 14-5694 14-11031 14-14134 14-15687 14-15704 14-16336 14-16716 14-17901 14-17915 14-19440 "
    "14-19979 14-23222 14-25197",
    "14-2985 14-3909 14-5287 14-9461 14-11520 14-12204 14-15696 14-15792 14-16448 14-16456 14-18842 14-22704 "
    "14-23060 14-29960",
    "14-2980 14-5695 14-8168 14-10926 14-11951 14-12312 14-12465 14-13412 14-13418 14-15275 14-15572 14-18650 "
    "14-21998 14-29315",
    "14-2773 14-4364 14-9146 14-10147 14-12773 14-13200 14-13413 14-14015 14-14946 14-16188 14-16196 14-19854 "
    "14-20629 14-22549",
    "14-2523 14-6241 14-9133 14-13993 14-14926 14-15570 14-16184 14-16601 14-16875 14-17614 14-20636 14-21978 15-190",
)
SPECIMEN_FOLDS = {specimen: fold for fold, line in enumerate(_SPECIMENS) for specimen in line.split()}
