"""Is a data set whole and clean? What `hf-breakhis data verify` finds, as JSON and as a table."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hf_breakhis.data.filenames import CLASSES, MAGNIFICATIONS, TUMOR_TYPES, BreakHisName, parse_file_name
from hf_breakhis.data.images import ODD_PLACES, Images, placeless, tell
from hf_breakhis.data.integrity.check_images import Findings
from hf_breakhis.data.integrity.duplicates import (
    LIMITS,
    NEAR,
    OVERLAP,
    copies_across_parts,
    find_image_copies,
)
from hf_breakhis.data.integrity.findings import Finding, those_with_images
from hf_breakhis.data.integrity.waves import THRESHOLD
from hf_breakhis.data.inventory import INVENTORY, expected_file_names
from hf_breakhis.data.open_image import BITS, MAX_PIXELS, MIN_SIDE, MODE
from hf_breakhis.data.twin.twin import read_settings, twin_file_names
from hf_breakhis.data.walk import OTHER
from hf_breakhis.files import InputError, counted, few, reason_of
from hf_breakhis.text import folded, text_table

FORMAT = 1
PLURALS = {NEAR: "near copies", OVERLAP: "overlapping fields"}
ASPECTS = {"class": "label", "tumor_type": "tumor_type", "magnification": "magnification", "slide": "patient_id"}


def verify(images: Images, checked: Findings, folds: pd.DataFrame | None = None) -> dict[str, Any]:
    """Compare images with the inventory, with each other, and, if `folds` are given, across the parts of each fold.

    Args:
        images: all of a source.
        checked: what `check_images` found in them.
        folds: columns `file_name`, `fold`, `part`, see `read_folds`.

    Returns:
        What verify.json holds: `whole` (no finding but known ones), `counts` (expected and found by class, tumour
        type, magnification and slide folder), `findings` (kind, count, sentence, images), `known`, `copies` (see
        `find_copies`), `copies_not_seen`, `manifest_sha256`.
    """
    table = images.dataset.remove_columns("image").to_pandas()
    expected = expected_names(images)
    pairs = find_image_copies(images, checked.files)
    natural = (pairs["kind"] == OVERLAP) & pairs["same_specimen"].eq(True) & pairs["same_label"].astype(bool)
    known, strange = _slides_of_two_types(table)
    findings = [
        *_missing(expected, set(table["file_name"])),
        *(Finding(kind, what, dict.fromkeys(images.places.get(kind, []), "")) for kind, what in ODD_PLACES.items()),
        *_unusable(checked.files),
        *checked.oddities,
        Finding("two_types", "A slide under two tumour types", strange),
        *_copies(pairs[~natural]),
        *(_divided(pairs, folds) if folds is not None else []),
    ]
    listed = [finding.to_dict() for finding in those_with_images(findings)]
    others = [text for text in images.findings if text not in tell(images.places)]
    listed += [{"kind": "source", "count": 1, "sentence": text, "images": {}} for text in others]
    return {
        "format": FORMAT,
        "source": images.source,
        "location": images.location,
        "manifest_sha256": checked.manifest_sha256,
        "whole": not listed,
        "num_expected": None if expected is None else len(expected),
        "num_found": len(table),
        "counts": _count(table, images.classes, expected),
        "findings": listed,
        "known": [*known, *_other_files(images), *_overlapping(int(natural.sum()))],
        "near_copy_threshold": THRESHOLD,
        "copies": pairs.to_dict("records"),
        "copies_not_seen": LIMITS,
    }


def _other_files(images: Images) -> list[str]:
    other = images.places.get(OTHER, [])
    return [f"No images: {counted(len(other), 'other file')} ({few(other)})."] if other else []


def _overlapping(pairs: int) -> list[str]:
    return [f"{pairs:,} pairs of fields overlap within a specimen."] if pairs else []


def expected_names(images: Images) -> list[BreakHisName] | None:
    """Return the names that a whole copy has, None where nobody knows."""
    if not images.about.has_breakhis_names:
        return None
    settings = read_settings(Path(images.location)) if images.about.is_generated else None
    names = expected_file_names() if settings is None else twin_file_names(settings)
    return [parse_file_name(name) for name in names]


def read_checked_folds(path: Path, images: Images) -> pd.DataFrame:
    """Read the folds.csv of a run on these images.

    Raises:
        InputError: there is no such table, it lacks a column, or it is of other images.
    """
    try:
        folds = pd.read_csv(path, dtype={"file_name": str, "part": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no table of folds ({reason_of(error)}); give a run's folds.csv.") from error
    lacking = {"file_name", "fold", "part"} - set(folds.columns)
    if lacking:
        raise InputError(f"{path} lacks the column {', '.join(sorted(lacking))}; give a run's folds.csv.")
    absent = sorted(set(folds["file_name"]) - set(images.dataset["file_name"]))
    if absent:
        raise InputError(
            f"{path} names images that {images.location} does not hold: {few(absent)}; give the run's data."
        )
    return folds


def _missing(expected: list[BreakHisName] | None, there: set[str]) -> list[Finding]:
    absent = sorted({str(name) for name in expected or ()} - there)
    return [Finding("missing", "Missing", dict.fromkeys(absent, ""))]


def _unusable(files: pd.DataFrame) -> list[Finding]:
    """Sort the unusable images by what is wrong: nothing decoded, or bit depth, mode, size or number of frames."""
    bad = files[files["problem"] != ""]
    decoded = bad["width"] > 0
    depth = decoded & ((bad["bits"] > BITS) | ((bad["mode"] == MODE) & (bad["bits"] != BITS)))
    mode = decoded & ~depth & (bad["mode"] != MODE)
    rest = decoded & ~depth & ~mode
    sides = bad[["width", "height"]].astype(float)
    size = (sides.min(axis=1) < MIN_SIDE) | (sides.prod(axis=1) > MAX_PIXELS)
    kinds = {
        "undecodable": ("Not to be decoded", ~decoded),
        "bit_depth": ("Of another bit depth than 8", depth),
        "mode": ("Of another mode than RGB", mode),
        "tiny": ("Too small or too large", rest & size),
        "frames": ("Of several frames or pages", rest & ~size),
    }
    return [
        Finding(kind, what, dict(zip(bad["file_name"][rows], bad["problem"][rows], strict=True)))
        for kind, (what, rows) in kinds.items()
    ]


def _slides_of_two_types(table: pd.DataFrame) -> tuple[list[str], dict[str, str]]:
    """Return a sentence for each slide that BreakHis itself has under two types, and all others with their types."""

    def types_of(patients: pd.Series) -> dict[str, list[str]]:
        parts = patients.dropna().drop_duplicates().str.extract(r"_([A-Z]+)-(\d\d-\w+)$").dropna()
        types = parts.groupby(1)[0].agg(lambda types: sorted(set(types)))
        return {str(slide): found for slide, found in types.items() if len(found) > 1}

    official = types_of(pd.Series([folder.patient_id for folder in INVENTORY]))
    found = types_of(table["patient_id"].astype(object))
    known = [
        f"Slide {slide} lies under two tumour types, {' and '.join(types)}, as in the official archive; it counts as "
        "one specimen."
        for slide, types in found.items()
        if official.get(slide) == types
    ]
    return known, {slide: " and ".join(types) for slide, types in found.items() if official.get(slide) != types}


def _copies(pairs: pd.DataFrame) -> list[Finding]:
    """Sort pairs by kind and by what they cross: the labels, else the specimens, else nothing."""
    across = pd.Series("across_specimens", index=pairs.index)
    across[pairs["same_specimen"].isna()] = "of_unknown_specimens"
    across[pairs["same_specimen"].eq(True)] = "within_a_specimen"
    across[~pairs["same_label"].astype(bool)] = "across_labels"
    return [
        Finding(
            f"{kind}_{where}".replace(" ", "_"),
            f"Pairs of {PLURALS.get(str(kind), f'the {kind}')} {str(where).replace('_', ' ')}",
            _name_pairs(rows),
        )
        for (kind, where), rows in pairs.groupby(["kind", across], sort=True)
    ]


def _divided(pairs: pd.DataFrame, folds: pd.DataFrame) -> list[Finding]:
    """Return a finding for each fold that has copies in two of its parts."""
    return [
        Finding(f"{kind}_across_parts", f"{words} in two parts of fold {fold}", _name_pairs(rows, parts=True))
        for kind, words, part in (
            ("copies", "Copies", pairs[pairs["kind"] != OVERLAP]),
            ("overlapping_fields", "Overlapping fields", pairs[pairs["kind"] == OVERLAP]),
        )
        for fold, rows in copies_across_parts(part, folds).groupby("fold")
    ]


def _name_pairs(rows: pd.DataFrame, parts: bool = False) -> dict[str, str]:
    """Return "a = b" -> what is particular about the pair."""
    return {
        f"{row['a']} = {row['b']}": f"{row['part_a']}, {row['part_b']}"
        if parts
        else _alike(row) * (row["kind"] in (NEAR, OVERLAP))
        for row in rows.to_dict("records")
    }


def _alike(row: Mapping[Any, Any]) -> str:
    if row["distance"] is None:
        return f"{100 * row['shared']:.0f} % in common, {row['turn']}"
    return f"{row['distance']} of 255 waves differ, {row['turn']}"


def _count(
    table: pd.DataFrame, classes: tuple[str, ...], expected: list[BreakHisName] | None
) -> dict[str, dict[str, Any]]:
    """Return {aspect: {value: {"expected", "found"}}}."""
    counts = {}
    order = (*CLASSES, *TUMOR_TYPES, *MAGNIFICATIONS)
    for aspect, column in ASPECTS.items():
        values = table[column].map(dict(enumerate(classes))) if aspect == "class" else table[column]
        found = Counter(values.dropna())
        wanted: Counter[str] = Counter()
        for name in expected or ():
            wanted[CLASSES[name.label] if aspect == "class" else getattr(name, column)] += 1
        unknown = expected is None
        counts[aspect] = {
            value: {"expected": None if unknown else wanted[value], "found": found[value]}
            for value in sorted(
                {*wanted, *found}, key=lambda value: (order.index(value) if value in order else len(order), value)
            )
        }
    return counts


def verify_table(report: dict[str, Any]) -> str:
    """Return what `verify` found as lines for the terminal; slide folders that are complete are only counted."""

    def row(name: str, expected: int | None, found: int) -> tuple[str, ...]:
        mark = "" if expected in (None, found) else "<-"
        return name, "-" if expected is None else f"{expected:,}", f"{found:,}", mark

    rows: list[tuple[str, ...]] = [row("all", report["num_expected"], report["num_found"])]
    for aspect, values in report["counts"].items():
        if not values:
            continue
        rows += [(), (aspect.replace("_", " ").replace("tumor", "tumour").capitalize(),)]
        whole = []
        if aspect == "slide":
            whole = [name for name, count in values.items() if count["expected"] == count["found"]]
            rows.append((f"  {len(whole)} of {len(values)} slide folders have all their images",))
        rows += [
            row(f"  {name}", count["expected"], count["found"]) for name, count in values.items() if name not in whole
        ]
    lines = text_table(("Images", "Expected", "Found", ""), rows, words=(0, 3))
    lines += ["", f"Manifest sha256 {report['manifest_sha256']}", ""]
    lines += [line for text in report["known"] for line in folded(f"Known: {text}")]
    for sentence in placeless([finding["sentence"] for finding in report["findings"]], report["location"]):
        lines += folded(f"Finding: {sentence}")
    lines += folded(f"Copies: {report['copies_not_seen']}")
    return "\n".join([*lines, "Whole and clean." if report["whole"] else f"Findings: {len(report['findings'])}."])
