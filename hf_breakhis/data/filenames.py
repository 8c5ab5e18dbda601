"""What a BreakHis file name says: SOB_M_DC-14-13412-100-001.png."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from hf_breakhis.data.open_image import EXTENSIONS
from hf_breakhis.files import InputError

CLASSES = ("benign", "malignant")
MAGNIFICATIONS = ("40X", "100X", "200X", "400X")
BENIGN_TYPES = {"A": "adenosis", "F": "fibroadenoma", "PT": "phyllodes tumor", "TA": "tubular adenoma"}
MALIGNANT_TYPES = {
    "DC": "ductal carcinoma",
    "LC": "lobular carcinoma",
    "MC": "mucinous carcinoma",
    "PC": "papillary carcinoma",
}
TUMOR_TYPES = BENIGN_TYPES | MALIGNANT_TYPES

_PATTERN = re.compile(
    rf"(?P<method>SOB)_(?P<letter>[BM])_(?P<tumor_type>{'|'.join(TUMOR_TYPES)})-(?P<year>[0-9]{{2}})"
    r"-(?P<slide>[0-9]{1,6}[A-Z]{0,3})-(?P<magnification>40|100|200|400)-(?P<number>[0-9]{3})"
)
_SLIDE_FOLDER = re.compile(r"sob_[bm]_[a-z]{1,2}_[0-9]{2}_[0-9]+[a-z]*")
PART_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_FORM = "METHOD_CLASS_TYPE-YEAR-SLIDE-MAGNIFICATION-NUMBER.png, such as SOB_M_DC-14-13412-100-001.png"


@dataclass(frozen=True)
class BreakHisName:
    """One file name in parts; `str()` gives the file name back.

    Attributes:
        method: "SOB", surgical open biopsy.
        label: 0 = benign, 1 = malignant.
        tumor_type: a key of `TUMOR_TYPES`.
        year: two digits, "14".
        slide: number and block letters, "22549AB".
        magnification: one of `MAGNIFICATIONS`.
        number: 1 to 999, counted within slide and magnification, with gaps.
    """

    method: str
    label: int
    tumor_type: str
    year: str
    slide: str
    magnification: str
    number: int

    @property
    def patient_id(self) -> str:
        """The slide folder as the authors count patients, "SOB_B_A-14-22549AB"."""
        return f"{self.method}_{'BM'[self.label]}_{self.tumor_type}-{self.year}-{self.slide}"

    @property
    def specimen_id(self) -> str:
        """Year and number without block letters, "14-22549": what is kept together to be safe."""
        return f"{self.year}-{self.slide.rstrip('ABCDEFGHIJKLMNOPQRSTUVWXYZ')}"

    @property
    def path(self) -> str:
        """The place of the image in the official archive."""
        folder = f"{self.method}_{'BM'[self.label]}_{self.tumor_type}_{self.year}-{self.slide}"
        tumor = TUMOR_TYPES[self.tumor_type].replace(" ", "_")
        breast = "BreaKHis_v1/histology_slides/breast"
        return f"{breast}/{CLASSES[self.label]}/{self.method}/{tumor}/{folder}/{self.magnification}/{self}"

    def __str__(self) -> str:
        """Return the file name."""
        return f"{self.patient_id}-{self.magnification.removesuffix('X')}-{self.number:03d}.png"


def parse_file_name(name: str) -> BreakHisName:
    """Read a BreakHis file name (no folders), with any accepted extension in any case, as copies have.

    `str()` of the result is the name of the original image, with `.png`: it stands for the image everywhere.

    Raises:
        InputError: the name has another form, or its class and tumour type disagree.
    """
    stem, extension = os.path.splitext(name)
    match = _PATTERN.fullmatch(stem) if extension.lower() in EXTENSIONS else None
    if match is None or match["number"] == "000":
        raise InputError(f"{name!r} is not a BreakHis file name; one looks like {_FORM}.")
    label = "BM".index(match["letter"])
    if match["tumor_type"] not in (BENIGN_TYPES, MALIGNANT_TYPES)[label]:
        tumor = TUMOR_TYPES[match["tumor_type"]]
        raise InputError(f"{name!r} says {CLASSES[label]} and {tumor}, which disagree; restore its official name.")
    return BreakHisName(
        method=match["method"],
        label=label,
        tumor_type=match["tumor_type"],
        year=match["year"],
        slide=match["slide"],
        magnification=match["magnification"] + "X",
        number=int(match["number"]),
    )


def is_breakhis(name: str) -> bool:
    """Tell whether a file name (no folders) is one that `parse_file_name` reads."""
    try:
        return bool(parse_file_name(name))
    except InputError:
        return False


def part_of(folders: Iterable[str]) -> str | None:
    """Return the part of a split that folders suggest: train, validation or test; None if they suggest none."""
    return next((PART_FOLDERS[name.lower()] for name in folders if name.lower() in PART_FOLDERS), None)


def contradicts(folders: Iterable[str], name: BreakHisName) -> bool:
    """Tell whether a folder names another class, tumour type, magnification or slide than the file name."""
    for folder in folders:
        words = folder.lower().replace(" ", "_").replace("-", "_")
        for values, own in (
            (CLASSES, CLASSES[name.label]),
            ([value.lower() for value in MAGNIFICATIONS], name.magnification.lower()),
            ([value.replace(" ", "_") for value in TUMOR_TYPES.values()], _words_of_type(name)),
        ):
            if words in values and words != own:
                return True
        slide = name.patient_id.lower().replace("-", "_")
        if _SLIDE_FOLDER.fullmatch(words) and words != slide:
            return True
    return False


def _words_of_type(name: BreakHisName) -> str:
    return TUMOR_TYPES[name.tumor_type].replace(" ", "_")


def picture_name(file_name: str) -> str:
    """Return what to call a PNG that is made of an image: plain letters, and another name for every image.

    BreakHis names stay as they are. Of others, with folders, other endings or letters that a link or a file system
    does not take, a part is kept and their checksum added.
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,80}\.png", file_name):
        return file_name
    kept = re.sub(r"[^A-Za-z0-9]+", "-", PurePosixPath(file_name).stem).strip("-")[:40] or "image"
    return f"{kept}-{hashlib.sha256(file_name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}.png"
