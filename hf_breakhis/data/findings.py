"""One kind of oddity, and all images that show it."""

from collections.abc import Iterable
from dataclasses import dataclass

from hf_breakhis.data.images import few


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

    def to_dict(self) -> dict:
        """Return what goes into a JSON file: everything."""
        return {"kind": self.kind, "count": len(self.images), "sentence": str(self), "images": self.images}


def those_with_images(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that found something."""
    return [finding for finding in findings if finding.images]
