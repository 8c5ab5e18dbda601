"""What the check of all images found: oddities, each of one kind with all images that show it, and a table."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from hf_breakhis.data.integrity.check_image import COLORS
from hf_breakhis.files import InputError, few


@dataclass(frozen=True)
class Finding:
    """One kind of oddity.

    Attributes:
        kind: a short name for programs, such as "size".
        what: begins the sentence.
        images: file name (or two of them) -> what it shows in particular, "" if nothing.
    """

    kind: str
    what: str
    images: dict[str, str]

    def __str__(self) -> str:
        """Return a sentence that names up to three of the images."""
        return f"{self.what}: {few([f'{name} ({more})' if more else name for name, more in self.images.items()])}."

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into a JSON file: everything."""
        return {"kind": self.kind, "count": len(self.images), "sentence": str(self), "images": self.images}


def those_with_images(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that found something."""
    return [finding for finding in findings if finding.images]


@dataclass(frozen=True)
class Findings:
    """What the check of all images found.

    Attributes:
        oddities: what is strange about images that are used, one for each kind.
        unusable: file name -> what is wrong with it; with these no run starts.
        table: one row an image in the order of the data set: `file_name` and the fields of `Checked` but its key.
        manifest_sha256: names these images with their labels and groups, wherever they lie.
    """

    oddities: list[Finding]
    unusable: dict[str, str]
    table: pa.Table
    manifest_sha256: str

    @property
    def colors(self) -> pd.DataFrame:
        """`file_name` and `COLORS`: mean and deviation of red, green and blue over the whole frame, 0 to 1."""
        result: pd.DataFrame = self.table.select(["file_name", *COLORS]).to_pandas()
        return result

    @property
    def files(self) -> pd.DataFrame:
        """`file_name` and the fields of `Checked` but its key and colours."""
        result: pd.DataFrame = self.table.select(
            [name for name in self.table.column_names if name not in COLORS]
        ).to_pandas()
        return result

    @property
    def findings(self) -> list[str]:
        """The oddities as sentences."""
        return [str(oddity) for oddity in self.oddities]

    def raise_if_unusable(self) -> None:
        """Refuse to go on without some of the images.

        Raises:
            InputError: there are unusable images; up to three are named.
        """
        if self.unusable:
            shown = few([f"{name} {problem}" for name, problem in self.unusable.items()])
            count = len(self.unusable)
            raise InputError(
                f"{count:,} image{'s' * (count > 1)} cannot be used: {shown}. Fetch the original files again, or "
                "convert them to 8-bit RGB PNG, or delete them; no image is left out silently."
            )
