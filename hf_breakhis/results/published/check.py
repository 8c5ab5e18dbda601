"""All that can be said of the tables of a paper, from their printed numbers alone."""

from typing import Any

from hf_breakhis.results.published.averages import check_averages
from hf_breakhis.results.published.candidates import check_supports, in_common
from hf_breakhis.results.published.consistency import NOT, check_fold
from hf_breakhis.results.published.table import Paper, Table
from hf_breakhis.results.published.trend import climb, spread_of_folds

FORMAT = 1


def check_paper(paper: Paper) -> dict[str, Any]:
    """Compare every printed number of a paper's tables with the others, and their supports with known data sets.

    Returns:
        What check.json holds: for each table the verdicts of `folds`, `averages` and `supports` ("fits", "does not
        fit", or "not excluded" where only bounds were compared), `spread` and `climb` of the accuracies over the
        folds (None where there is nothing to compare), the data sets that fit all tables (`in_common`), and whether
        all rows and averages fit (`fits`; supports are left out of it, since a split may be none of the usual ones).
    """
    tables = [check_table(table) for table in paper.tables]
    verdicts = [row["verdict"] for table in tables for row in table["folds"]]
    verdicts += [table["averages"]["verdict"] for table in tables if table["averages"]]
    return {
        "format": FORMAT,
        "name": paper.title,
        "source": paper.source,
        "tables": tables,
        "in_common": in_common([table["supports"] for table in tables]),
        "fits": NOT not in verdicts,
    }


def check_table(table: Table) -> dict[str, Any]:
    """Compare the printed numbers of one table with each other and with known data sets."""
    return {
        "name": table.name,
        "printed_in": table.printed_in,
        "classes": list(table.classes),
        "folds": [check_fold(fold) for fold in table.folds],
        "averages": None if table.averages is None else check_averages(table),
        "supports": check_supports(table),
        "spread": spread_of_folds(table),
        "climb": climb(table),
    }
