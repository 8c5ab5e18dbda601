"""The sources of images: what each one is, whose it is, under which licence, and how it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

CC_BY = "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)"
BREAKHIS_PAGE = "https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/"
_RCL_ID = "LuminaAI/RCL-Breast-Cancer-Biopsy-7500"
_HUB_LOADER = "hf_breakhis.data.sources.hub:load_published"


@dataclass(frozen=True)
class Source:
    """What is known about the images of a source.

    The defaults are those of data whose origin is unknown: no licence, and names that may be those of patients.

    Attributes:
        key: value of `dataset`, or a Hub id.
        title: name of the data set in figures and tables.
        loader: "module:function" that reads the images; imported only when images are read.
        what: noun phrase that follows a number.
        where: where the images come from; ends the same sentence.
        standard: reference standard, that is, who determined the class of an image.
        credit: title, creators, address and licence in Markdown. Without it no image is published.
        short_credit: the same in one line for a figure.
        licence: identifier of the licence on the Hub; None where it is unknown.
        is_generated: the images are drawn by a program.
        names_are_public: anybody can know the file names and patient ids.
        hub_id: the data set on the Hub.
        has_breakhis_names: file names follow the scheme of BreakHis, so that patients are its slide folders.
        is_of_breakhis: the images are those of BreakHis, or were made after it, so that it is cited.
        one_laboratory: all slides come from one laboratory and one stain.
    """

    key: str
    title: str
    loader: str = _HUB_LOADER
    what: str = "images"
    where: str = "of unknown origin"
    standard: str = "not known to this package."
    credit: str | None = None
    short_credit: str = ""
    licence: str | None = None
    is_generated: bool = False
    names_are_public: bool = False
    hub_id: str | None = None
    has_breakhis_names: bool = False
    is_of_breakhis: bool = False
    one_laboratory: bool = False

    @property
    def pictures_are_public(self) -> bool:
        """Whether images may be published: their licence is known, and so is each of their names."""
        return self.credit is not None and self.names_are_public


def _generated(key: str, title: str, loader: str, has_breakhis_names: bool) -> Source:
    return Source(
        key=key,
        title=title,
        loader=loader,
        what="generated images, not tissue,",
        where="drawn by this package",
        standard="none; a program drew the images and knows their class.",
        credit="The images were drawn by hf_breakhis.",
        short_credit="Generated images, no real tissue.",
        licence="apache-2.0",
        is_generated=True,
        names_are_public=True,
        has_breakhis_names=has_breakhis_names,
        is_of_breakhis=True,
    )


_ALL = (
    Source(
        key="breakhis",
        title="BreakHis",
        loader="hf_breakhis.data.sources.table:load_breakhis",
        what="images of breast tissue, stained with H&E,",
        where="from one laboratory",
        standard="surgical open biopsy, diagnosed at the P&D laboratory in Brazil; one centre, one stain (H&E).",
        credit=(
            'Images: "Breast Cancer Histopathological Database (BreakHis)" by Spanhol, Oliveira, Petitjean and Heutte '
            f"(2016), from [the authors' page]({BREAKHIS_PAGE}), under {CC_BY} according to secondary sources."
        ),
        short_credit="BreakHis, Spanhol et al. 2016, doi 10.1109/TBME.2015.2496264, CC BY 4.0.",
        licence="cc-by-4.0",
        names_are_public=True,
        has_breakhis_names=True,
        is_of_breakhis=True,
        one_laboratory=True,
    ),
    Source(
        key="rcl7500",
        title="RCL-7500",
        loader="hf_breakhis.data.sources.rcl7500:load_rcl",
        what="images of breast tissue, stained with H&E,",
        where="made from BreakHis, according to their page",
        standard="not documented; if made from BreakHis, that of BreakHis (surgical open biopsy, Brazil).",
        credit=(
            f'Images: "RCL-Breast-Cancer-Biopsy-7500" by LuminaAI, from [its page](https://huggingface.co/datasets/'
            f"{_RCL_ID}), under {CC_BY}; made from BreakHis by Spanhol, Oliveira, Petitjean and Heutte (2016), "
            "according to that page."
        ),
        short_credit="RCL-Breast-Cancer-Biopsy-7500 by LuminaAI, CC BY 4.0.",
        licence="cc-by-4.0",
        names_are_public=True,
        hub_id=_RCL_ID,
        is_of_breakhis=True,
        one_laboratory=True,
    ),
    _generated(
        "twin", "Synthetic twin of BreakHis (generated images)", "hf_breakhis.data.sources.table:load_twin", True
    ),
    _generated(
        "rcl7500_twin",
        "Synthetic twin of RCL-7500 (generated images)",
        "hf_breakhis.data.sources.table:load_rcl_twin",
        False,
    ),
    Source(key="imagefolder", title="a folder of images", loader="hf_breakhis.data.sources.imagefolder:load_folder"),
)
SOURCES = {source.key: source for source in _ALL}


def find_source(key: str) -> Source:
    """Return the source of a key of `SOURCES` or of a Hub id; nothing is assumed about one that is not listed."""
    if key in SOURCES:
        return SOURCES[key]
    known = [source for source in _ALL if source.hub_id == key]
    return known[0] if known else Source(key=key, title=key, hub_id=key if is_hub_id(key) else None)


def source_of(data: Mapping[str, Any]) -> Source:
    """Return the source of a run, from its data.json or the field `data` of its summary.json.

    What the run wrote down wins over the table. Names are public only if the run says so.
    """
    source = find_source(str(data["source"]))
    return replace(
        source,
        title=str(data.get("title", source.title)),
        is_generated=data.get("is_generated", source.is_generated) is True,
        names_are_public=data.get("names_are_public") is True,
    )


def is_hub_id(name: str) -> bool:
    """Return whether a name has the form OWNER/NAME and is not a path on this machine."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()
