"""The audit of folds: what of a fold's test set its model could know from its training set."""

from typing import Any, get_args

import pandas as pd

from hf_breakhis.arguments import CarryOver, require
from hf_breakhis.data.integrity.duplicates import LIMITS, NEAR, OVERLAP, copies_across_parts
from hf_breakhis.data.inventory import INVENTORY, NUM_OFFICIAL_FOLDS
from hf_breakhis.files import InputError, require_kind
from hf_breakhis.results.formatting import count
from hf_breakhis.results.predictions import by_fold, known
from hf_breakhis.results.signature import signature_table
from hf_breakhis.tables import require_columns
from hf_breakhis.text import folded, text_table

KINDS = {
    "exact_copy": "Exact copy",
    "near_copy": "Near copy",
    "overlapping_field": "Overlapping",
    "same_patient": "Same patient",
    "same_specimen": "Same specimen",
    "seen_in_training": "Seen by model",
}
COPY_KINDS = ("exact_copy", "near_copy", "overlapping_field")
COPY_KIND_OF = {NEAR: "near_copy", OVERLAP: "overlapping_field"}  # the other kinds of pairs are exact
FORMAT = 2


def audit_folds(
    folds: pd.DataFrame, carry_over: str, pairs: pd.DataFrame | None, without: str | None = None
) -> dict[str, Any]:
    """Count, for each fold, the test images that have something in common with the training set.

    An image counts once for each kind, however many relations it has; of an exact copy, a near copy and an overlapping
    field it counts as the first that it has.

    Args:
        folds: a run's folds.csv: `file_name`, `patient_id`, `specimen_id` ("" where unknown), `fold`, `part`.
        carry_over: of the recipe; unless it is "none" a model has also seen the training sets of earlier folds.
        pairs: of `find_copies`, or None where the images could not be looked at.
        without: why `pairs` is None.

    Returns:
        What audit.json holds: for each fold the numbers of images by kind, None where it cannot be known, their
        shares over all folds, what is not known, with the reason, and which copies the search cannot see.

    Raises:
        InputError: `carry_over` is not a value of the recipe's field, this is no table of folds, or a fold has no
            training or no test images.
    """
    require_kind(folds, pd.DataFrame, "audit_folds takes a table of folds", "Run(FOLDER).read_folds()")
    require_columns(folds, "The table of folds", ("file_name", "patient_id", "specimen_id", "fold", "part"))
    ways = get_args(CarryOver)
    require(carry_over in ways, f"`carry_over` is {carry_over!r}, but has to be one of {', '.join(ways)}.")
    unknown = [without] if pairs is None and without else []
    unknown += [
        f"Whether a {group} is on both sides: the source names no {group}s."
        for group in ("patient", "specimen")
        if not known(folds, f"{group}_id")
    ]
    across = None if pairs is None else copies_across_parts(pairs, folds)
    rows, seen = [], set[str]()
    for number, fold in by_fold(folds):
        train, test = (fold[fold["part"] == part] for part in ("train", "test"))
        for part, images in (("training", train), ("test", test)):
            require(
                len(images) > 0, f"Fold {number} has no {part} images; give all parts, as Run(FOLDER).read_folds()."
            )
        names = set(test["file_name"])
        rows.append(
            {
                "fold": number,
                "test_images": len(test),
                **_copies(across, number, names),
                **{f"same_{group}": _shared(train, test, f"{group}_id") for group in ("patient", "specimen")},
                "seen_in_training": len(names & (seen | set(train["file_name"]))),
            }
        )
        if carry_over != "none":
            seen |= set(train["file_name"])
    return {
        "format": FORMAT,
        "per_fold": rows,
        "shares": _shares(rows),
        "unknown": unknown,
        "not_seen": None if pairs is None else LIMITS,
    }


def official_leaks() -> list[dict[str, Any]]:
    """Return what the authors' five folds themselves divide, counted from 1 as they are published.

    `slides` are ids that stand under two tumour types, `specimens` those whose slide folders lie on both sides.
    """
    rows = []
    for number in range(NUM_OFFICIAL_FOLDS):
        sides: dict[str, dict[str, set[str]]] = {"slides": {}, "specimens": {}}
        for folder in INVENTORY:
            slide = folder.patient_id.split("-", 1)[1]
            for kind, identity in (("slides", slide), ("specimens", folder.specimen_id)):
                sides[kind].setdefault(identity, set()).add(folder.official[number])
        both = {kind: sorted(name for name, parts in found.items() if len(parts) > 1) for kind, found in sides.items()}
        rows.append({"fold": number + 1, **both})
    return rows


def audit_table(audit: dict[str, Any]) -> str:
    """Return an audit as plain text of at most 100 columns."""
    rows = [(str(row["fold"]), *(count(row[kind]) for kind in ("test_images", *KINDS))) for row in audit["per_fold"]]
    shares = audit["shares"].values()
    rows.append(("share", "", *("-" if value is None else f"{100 * value:.1f} %" for value in shares)))
    lines = text_table(("Fold", "Test images", *KINDS.values()), rows)
    lines += [f"Not known: {text}" for text in audit["unknown"]]
    lines += folded(audit.get("not_seen") or "")
    for row in audit.get("official") or []:
        same = f", slide {', '.join(row['slides'])} under two types" if row["slides"] else ""
        lines.append(f"Official fold {row['fold']}: {len(row['specimens'])} specimens on both sides{same}.")
    if audit.get("signature"):
        lines += ["", signature_table(audit["signature"])]
    return "\n".join(lines)


def _copies(across: pd.DataFrame | None, fold: int, test: set[str]) -> dict[str, int | None]:
    """Count the test images with a copy among the images that the fold trains on."""
    if across is None:
        return dict.fromkeys(COPY_KINDS, None)
    own = across[across["fold"] == fold]
    found: dict[str, set[str]] = {kind: set() for kind in COPY_KINDS}
    for one, other in (("a", "b"), ("b", "a")):
        beside = own[(own[f"part_{one}"] == "test") & (own[f"part_{other}"] == "train")]
        for kind, names in beside.groupby(beside["kind"].map(COPY_KIND_OF).fillna("exact_copy"))[one]:
            found[str(kind)] |= set(names)
    if not set().union(*found.values()) <= test:
        raise InputError(f"The copies of fold {fold} are not of its test set; train the run again with --restart.")
    counts: dict[str, int | None] = {}
    counted: set[str] = set()
    for kind, images in found.items():
        counts[kind] = len(images - counted)
        counted |= images
    return counts


def _shared(train: pd.DataFrame, test: pd.DataFrame, column: str) -> int | None:
    if not (known(train, column) and known(test, column)):
        return None
    return int(test[column].isin(train[column].unique()).sum())


def _shares(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return, for each kind, the share of all test images, or None where a fold does not know."""
    total = sum(row["test_images"] for row in rows)
    return {
        kind: None if any(row[kind] is None for row in rows) else sum(row[kind] for row in rows) / total
        for kind in KINDS
    }
