"""What `hf-breakhis check` found, in words: the same sentences on a page and on the terminal."""

from pathlib import Path
from typing import Any

from hf_breakhis.files import read_json, write_json, write_text
from hf_breakhis.results.formatting import count, things
from hf_breakhis.results.published.consistency import FITS, NOT, OPEN
from hf_breakhis.results.report.page import fill_page
from hf_breakhis.run import Run
from hf_breakhis.text import folded, text_table

DATA = {"source": "imagefolder", "title": "check of a published table"}  # what a page says of its images: nothing
LIMITS = (
    "A number that fits may still be wrong, and one that does not fit may be a misprint. Numbers are taken as "
    "rounded, not cut off. Only splits by image and the official folds are compared with the supports."
)


def write_check(folder: Path, check: dict[str, Any]) -> Path:
    """Write check.json and the page, and return the page."""
    check = read_json(write_json(folder / "check.json", check))
    tables = [table | {"sentences": sentences(table)} for table in check["tables"]]
    run = Run.holding(folder, summary=check | {"data": DATA})
    page = fill_page("check.html.j2", run, tables=tables, answer=answer(check), limits=LIMITS)
    return write_text(folder / "check.html", page)


def check_text(check: dict[str, Any]) -> str:
    """Return what was found as plain text of at most 100 columns."""
    lines = [*folded(f"{check['name']}, {check['source']}".strip(", ")), "", *folded(answer(check))]
    for table in check["tables"]:
        rows = [
            (row["fold"], count(row["images"]), row["verdict"], count(row["num_matrices"])) for row in table["folds"]
        ]
        head = ("Fold", "Images", "Verdict", "Matrices that fit")
        lines += ["", title(table), *text_table(head, rows, words=(0, 2))]
        for name, text in _short(table):
            lines += folded(f"{name}: {text}")
    return "\n".join([*lines, "", *folded(LIMITS)])


def _short(table: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the sentences without those about magnifications that do not fit."""
    names = [row["name"] for row in table["supports"]["data_sets"] if not row["parts"]][1:]
    found = [(name, text) for name, text in sentences(table) if name not in names]
    return [*found, ("Does not fit either", f"{'; '.join(names)}.")] if names else found


def title(table: dict[str, Any]) -> str:
    """Return the name of a table and where it is printed."""
    return f"{table['name']} ({table['printed_in']})" if table["printed_in"] else str(table["name"])


def answer(check: dict[str, Any]) -> str:
    """Return the whole in two or three sentences."""
    rows = [row for table in check["tables"] for row in table["folds"]]
    wrong = [row for row in rows if row["verdict"] == NOT]
    texts = []
    all_rows = "The row" if len(rows) == 1 else f"All {things(len(rows), 'row')}"
    if wrong:
        which = "The row" if len(rows) == 1 else f"{len(wrong)} of {things(len(rows), 'row')}"
        does = "does" if len(wrong) == 1 else "do"
        texts.append(f"{which} {does} not fit: no whole numbers of images give these scores.")
    elif any(row["verdict"] == OPEN for row in rows):
        texts.append(f"Nothing excludes {all_rows[0].lower()}{all_rows[1:]}.")
    else:
        texts.append(f"{all_rows} can come from whole numbers of images.")
    averages = [table["averages"]["verdict"] for table in check["tables"] if table["averages"]]
    if NOT in averages:
        texts.append("Printed averages do not fit the rows.")
    elif averages and set(averages) == {FITS}:
        texts.append("The averages follow from the rows.")
    if check["in_common"]:
        texts.append(f"The supports of all tables fit {' or '.join(check['in_common'])}.")
    return " ".join(texts)


def sentences(table: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was found in one table: a heading and a text each."""
    found = [(f"Fold {row['fold']}", _contradiction(row)) for row in table["folds"] if row["verdict"] == NOT]
    if table["averages"]:
        found.append(("Averages", _averages(table["averages"])))
    if table["spread"]:
        found.append(("Folds", _spread(table["spread"])))
    if table["climb"]:
        found.append(("Order", _climb(table["climb"])))
    return [*found, *_supports(table["supports"])]


def _contradiction(row: dict[str, Any]) -> str:
    if not row["fits_without"]:
        if row["how"] == "whole images":
            return f"no whole number of {count(row['images'])} images has this accuracy."
        if row["how"] == "bounds":
            return "the numbers contradict each other."
        return "the numbers contradict each other, also if any one of them is left out."
    ways = [
        f"{way['number']} (printed {way['printed']}; the others allow {_range(way['allowed'], way['unit'])})"
        for way in row["fits_without"]
    ]
    return f"the numbers contradict each other. They fit if one is left out: {'; or '.join(ways)}."


def _range(bounds: list[float], unit: int) -> str:
    low, high = (f"{unit * bound:.{2 if unit == 100 else 4}f}" for bound in bounds)
    return low if low == high else f"{low} to {high}"


def _averages(averages: dict[str, Any]) -> str:
    if not averages["rows"]:
        return f"{averages['how']}."
    texts = []
    for row in averages["rows"]:
        printed = ", ".join(f"{name} {text}" for name, text in row["printed"].items())
        if row["ways"]:
            texts.append(f"{printed} fit the rows as {'; or as '.join(row['ways'])}.")
        elif row["fits_without"]:
            texts.append(
                f"{printed} do not fit the rows. They would without {' or without '.join(row['fits_without'])}."
            )
        else:
            texts.append(f"{printed} do not fit the rows.")
    return " ".join(texts)


def _spread(spread: dict[str, Any]) -> str:
    values, error = (
        ", ".join(spread["accuracies"]),
        f"{spread['unit'] * spread['sampling_error']:.{1 if spread['unit'] == 100 else 3}f}",
    )
    if spread["more_than_sampling"]:
        return (
            f"accuracies {values} vary more than the sampling of test images allows (p < 0.001), whose standard error "
            f"is {error} for a fold. Training, patients kept together, or a model carried from fold to fold can be "
            "the reason."
        )
    return f"accuracies {values} vary no more than the sampling of test images allows (p = {spread['p']:.2f})."


def _climb(climb: dict[str, Any]) -> str:
    if not climb["climbs"]:
        return "the accuracies do not climb from fold to fold."
    return (
        "the accuracies climb, as those of a model do that is carried from fold to fold and so was trained on later "
        f"test images. In random order, folds climb in 1 of {round(1 / climb['chance'])} cases. This is consistent "
        "with such a model, but does not prove it."
    )


def _supports(supports: dict[str, Any]) -> list[tuple[str, str]]:
    if supports["verdict"] is None:
        return [("Supports", f"not compared. {supports['reason']}")]
    rows = []
    for row in supports["data_sets"]:
        if row["parts"]:
            parts = [f"{part['kept']}, {part['rule']}, {part['how']}" for part in row["parts"]]
            rows.append((row["name"], f"fits as {'; or as '.join(parts)}."))
        else:
            rows.append((row["name"], f"does not fit: {'; '.join(row['reasons'])}."))
    return sorted(rows, key=lambda row: not row[1].startswith("fits"))
