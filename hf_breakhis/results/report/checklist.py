"""What a reader of a medical report expects: the items of TRIPOD+AI and CLAIM 2024, and where a report answers them.

Items are named in our own short words, in the order and with the numbers of the guidelines. An item that a report of a
run cannot answer says why; a report is not a publication, and some answers are for the authors of one.

Sources:
    Collins et al. 2024, TRIPOD+AI statement, BMJ 385:e078378.
    Tejani et al. 2024, CLAIM: 2024 Update, Radiology: Artificial Intelligence 6(4).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hf_breakhis.data.sources.about import source_of

AUTHORS = "for the authors of a publication"
NOT_KNOWN = "not known of BreakHis"
_UNKNOWN = "not known of these images"


@dataclass(frozen=True)
class Item:
    """One item of a guideline.

    Attributes:
        number: as in the guideline.
        asks: what it asks for, in short.
        section: id of the section of the report that answers it, "" where none does.
        note: what the report says, or why it is not answered.
        is_of_breakhis: the answer is true of BreakHis alone.
        partly: the section answers only a part; the note names the rest.
    """

    number: str
    asks: str
    section: str
    note: str
    is_of_breakhis: bool = False
    partly: bool = False


TRIPOD_AI = (
    Item("1", "title names model, population and outcome", "", AUTHORS),
    Item("2", "structured abstract", "", AUTHORS),
    Item(
        "3",
        "clinical context, intended use and users, inequalities",
        "words",
        f"research only, not for diagnosis; context and inequalities are {AUTHORS}",
        partly=True,
    ),
    Item("4", "objectives", "pipeline", "what this run trains and scores"),
    Item("5", "sources and dates of the data", "data", f"source and manifest; dates are {NOT_KNOWN}", partly=True),
    Item("6", "setting, eligibility, treatment", "", f"one laboratory in Brazil; eligibility is {NOT_KNOWN}", True),
    Item("7", "data preparation and quality checks", "data", "findings of the integrity check; resize in the recipe"),
    Item("8", "outcome and its assessment", "words", "label of the surgical biopsy, taken from the file name", True),
    Item("9", "predictors", "pipeline", "the pixels of one image, and nothing else"),
    Item("10", "sample size", "data", "counts by class, type and group; no size was planned", partly=True),
    Item("11", "missing data", "data", "missing images are listed; none is left out silently"),
    Item("12", "analysis: split, model, tuning, measures", "pipeline", "recipe, folds and measures"),
    Item("13", "class imbalance", "pipeline", "`class_weights` and `sampler` in the recipe"),
    Item("14", "fairness", "", f"age, ancestry and other traits are {NOT_KNOWN}"),
    Item("15", "model output and threshold", "calibration", "probability, temperature and locked threshold"),
    Item("16", "training against evaluation data", "leakage", "what is on both sides of the split"),
    Item("17", "ethical approval", "", "of the collection of BreakHis: see its publication", True),
    Item(
        "18",
        "funding, protocol, registration, data and code",
        "versions",
        f"versions and commit; the rest is {AUTHORS}",
        partly=True,
    ),
    Item("19", "patient and public involvement", "", "none"),
    Item(
        "20", "flow and traits of participants", "data", f"counts; traits of the patients are {NOT_KNOWN}", partly=True
    ),
    Item("21", "numbers in each analysis", "folds", "images of each fold and class; groups in each caption"),
    Item("22", "the model in full", "pipeline", "recipe, revision of the backbone and saved weights"),
    Item("23", "performance with intervals, in subgroups", "slices", "pooled, by magnification and by tumour type"),
    Item("24", "model updating", "", "none was done"),
    Item("25", "interpretation", "", AUTHORS),
    Item("26", "limitations", "words", "few specimens, no outside test"),
    Item("27", "use in practice", "", "not for diagnosis: no use in practice is intended"),
)
CLAIM = (
    Item("1-2", "title and abstract", "", AUTHORS),
    Item(
        "3-4",
        "background, objectives, intended role",
        "words",
        f"research only, not for diagnosis; background is {AUTHORS}",
        partly=True,
    ),
    Item("5", "prospective or retrospective", "words", "retrospective: a published collection of images", True),
    Item("6", "study goal", "pipeline", "what this run trains and scores"),
    Item("7", "data sources", "data", "source, revision and manifest"),
    Item("8", "inclusion and exclusion", "data", f"of images: here; of patients: {NOT_KNOWN}", partly=True),
    Item(
        "9",
        "preprocessing",
        "pipeline",
        "`crop`, `image_size`, `interpolation` and both normalisations in the recipe",
    ),
    Item("10", "selection of subsets", "pipeline", "`magnifications` in the recipe"),
    Item("11", "de-identification", "", "the collection was published without names", True),
    Item("12", "missing data", "data", "missing images are listed"),
    Item(
        "13", "image acquisition", "", "Olympus BX-50 and Samsung SCC-131AN at four magnifications, as published", True
    ),
    Item(
        "14-16",
        "reference standard, its reason and source",
        "words",
        "surgical biopsy read by pathologists, as published",
        True,
    ),
    Item("17-18", "annotation of test data, variability of readers", "", NOT_KNOWN),
    Item("19", "how data were divided", "pipeline", "`split_by`, folds and seeds; folds.csv names every image"),
    Item("20", "level at which parts are disjoint", "leakage", "image, patient or specimen, and what leaks"),
    Item("21", "sample size", "data", "counts by class, type and group; no size was planned", partly=True),
    Item("22", "model", "pipeline", "backbone and revision"),
    Item("23", "software", "versions", "every version"),
    Item("24", "initial weights", "pipeline", "`init`, backbone and seed"),
    Item("25", "training", "pipeline", "optimizer, schedule, augmentation, epochs"),
    Item("26", "choice of the final model", "pipeline", "last epoch, or the part that chose it"),
    Item("27", "ensembles", "pipeline", "`members` in the recipe; 1 is no ensemble"),
    Item("28", "measures", "folds", "each defined in its caption"),
    Item("29", "uncertainty", "folds", "intervals over specimens, deviation over folds"),
    Item(
        "30",
        "robustness",
        "slices",
        "by magnification and tumour type; other laboratories are not tested",
        partly=True,
    ),
    Item("31", "explanation", "explained", "heat maps and deletion curves, where `explain` was run"),
    Item("32", "test on inside data", "folds", "cross-validation"),
    Item("33", "test on outside data", "external", "in the report of `hf-breakhis evaluate` only"),
    Item("34", "registration", "", "none"),
    Item("35", "numbers included and excluded", "data", "counts and findings"),
    Item("36", "traits of the patients", "", NOT_KNOWN),
    Item("37-38", "performance with precision", "folds", "pooled and by fold"),
    Item("39", "failures", "examples", "the most confident wrong images; all are in predictions.csv"),
    Item("40-41", "limitations and implications", "words", f"limits here; implications are {AUTHORS}", partly=True),
    Item(
        "42-43",
        "protocol, code, model and data",
        "versions",
        f"recipe, commit, manifest; where they can be had is {AUTHORS}",
        partly=True,
    ),
    Item("44", "funding", "", AUTHORS),
)
GUIDELINES = {"TRIPOD+AI": TRIPOD_AI, "CLAIM 2024": CLAIM}


def _without_breakhis(item: Item) -> Item:
    """Return an item as it is answered for data of unknown origin."""
    if item.is_of_breakhis:
        return replace(item, section="", note=_UNKNOWN)
    return replace(item, note=item.note.replace(NOT_KNOWN, _UNKNOWN))


def checklists(sections: list[str], data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the guidelines with their items, and which of these a report with these sections answers.

    Args:
        sections: ids of the sections of the report that say something about this run.
        data: the field `data` of summary.json.
    """
    is_breakhis = source_of(data).has_breakhis_names
    found = []
    for name, items in GUIDELINES.items():
        rows = [
            {"number": item.number, "asks": item.asks, "note": item.note, "partly": item.partly,
             "section": item.section if item.section in sections else ""}
            for item in (items if is_breakhis else map(_without_breakhis, items))
        ]  # fmt: skip
        linked = [row for row in rows if row["section"]]
        found.append(
            {
                "name": name,
                "items": rows,
                "answered": sum(not row["partly"] for row in linked),
                "partly": sum(bool(row["partly"]) for row in linked),
                "open": [f"{row['number']} {row['asks']}" for row in rows if not row["section"]],
            }
        )
    return found
