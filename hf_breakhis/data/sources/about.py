"""What the images of a run are: whose, under which licence, and who knew their class."""

from dataclasses import dataclass

from hf_breakhis.data.sources.rcl7500 import HUB_ID as RCL_ID

CC_BY = "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)"
BREAKHIS_PAGE = "https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/"
_STAINED = "images of breast tissue, stained with H&E,"
_TAGS = ("histopathology", "breast-cancer", "breakhis")


@dataclass(frozen=True)
class Pictures:
    """What a card and a page say about the images of a run.

    Attributes:
        name: of the data set, for a list of scores.
        type: of the data set, as the Hub names it.
        what: noun phrase that follows a number.
        where: where they came from; ends the same sentence.
        standard: who knew their class.
        credit: title, creators, source and licence; None where no licence is known, and no picture may be shown.
        hub_id: of the data set on the Hub.
        tags: of a card.
        one_place: they come from one laboratory and one stain.
    """

    name: str
    type: str
    what: str
    where: str
    standard: str
    credit: str | None
    hub_id: str | None = None
    tags: tuple[str, ...] = _TAGS
    one_place: bool = True


def pictures_of(source: str) -> Pictures:
    """Return what is known about a source as data.json names it: a line of the table, or a Hub id."""
    if "twin" in source:
        return Pictures(
            name="Twin of BreakHis (generated pictures)",
            type="twin",
            what="generated pictures, not tissue,",
            where="drawn by this package",
            standard="none; a program drew the pictures and knows their class.",
            credit="The pictures were drawn by hf_breakhis.",
            one_place=False,
        )
    if source == "breakhis":
        return Pictures(
            name="BreakHis",
            type="breakhis",
            what=_STAINED,
            where="from one laboratory",
            standard=("surgical open biopsy, diagnosed at the P&D laboratory in Brazil; one centre, one stain (H&E)."),
            credit=(
                'Pictures: "Breast Cancer Histopathological Database (BreakHis)" by Spanhol, Oliveira, Petitjean and '
                f"Heutte (2016), from [the authors' page]({BREAKHIS_PAGE}), under {CC_BY} according to secondary "
                "sources."
            ),
        )
    if source in ("rcl7500", RCL_ID):
        return Pictures(
            name="RCL-7500",
            type=RCL_ID,
            what=_STAINED,
            where="made from BreakHis, as their page says",
            standard="not documented; if made from BreakHis, that of BreakHis (surgical open biopsy, Brazil).",
            credit=(
                f'Pictures: "RCL-Breast-Cancer-Biopsy-7500" by LuminaAI, from [its page](https://huggingface.co/datasets'
                f"/{RCL_ID}), under {CC_BY}; made from BreakHis by Spanhol, Oliveira, Petitjean and Heutte (2016), as "
                "that page says."
            ),
            hub_id=RCL_ID,
        )
    hub_id = source if source.count("/") == 1 else None
    return Pictures(
        name=source,
        type=hub_id or source,
        what="images",
        where="of which this package knows no origin",
        standard="not known to this package.",
        credit=None,
        hub_id=hub_id,
        tags=(),
        one_place=False,
    )
