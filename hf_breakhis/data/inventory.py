"""What BreakHis holds: 82 slide folders, their 7,909 image names and their parts in the official folds.

Derived from the file names and the fold files that the authors publish (Spanhol et al. 2016).
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from hf_breakhis.data.filenames import MAGNIFICATIONS, BreakHisName, parse_file_name

NUM_OFFICIAL_FOLDS = 5
RCL_PER_CLASS = 3750  # benign, and malignant, images of RCL-7500, a data set on the Hub that may hold copies of these


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
    return sorted(str(name) for folder in INVENTORY for name in folder.names())


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
