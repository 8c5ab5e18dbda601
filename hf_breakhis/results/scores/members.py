"""Members of an ensemble: their scores, the gain of averaging, their agreement, and disagreement against error."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from hf_breakhis.files import InputError
from hf_breakhis.results.predictions import classes_of, read_predictions
from hf_breakhis.results.scores.paired import PAIRED, paired_scores, point_scores
from hf_breakhis.run import PREDICTIONS, Run

KEYS = ["fold", "file_name"]
GAIN = ("value", "low", "high", "p_value")


def describe_members(run: Run, test: pd.DataFrame) -> dict[str, Any] | None:
    """Return what summary.json says of the members of the ensembles of a run; None for single networks.

    Args:
        run: its finished folds have members.
        test: test predictions of the ensembles, of all folds.

    Raises:
        InputError: a file of a member is missing or damaged, or has other images or classes than the ensemble.
    """
    members = _read_members(run, test)
    return compare_members(test, members) if members else None


def describe_repeats(runs: Sequence[tuple[Run, pd.DataFrame]], each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the `scores` and the `agreement` of ensembles as means over repeats, and the mean gain.

    Args:
        runs: each repeat with the test predictions of its ensembles.
        each: `describe_members` of each repeat.

    Returns:
        As `compare_members`, without errors by disagreement; `lowest` and `highest` are over all repeats.
    """
    paired = _paired([(test, _read_members(run, test)) for run, test in runs])
    scores = {}
    for name in PAIRED:
        rows = [one["scores"][name] for one in each]
        scores[name] = {
            "mean": _over(np.mean, [row["mean"] for row in rows]),
            "lowest": _over(min, [row["lowest"] for row in rows]),
            "highest": _over(max, [row["highest"] for row in rows]),
            "ensemble": _over(np.mean, [row["ensemble"] for row in rows]),
            "gain": {key: paired[name][key] for key in GAIN},
        }
    kappas = [one["agreement"]["cohen_kappa"] for one in each]
    return {
        "num_members": each[0]["num_members"],
        "scores": scores,
        "agreement": {
            "cohen_kappa": {
                "mean": _over(np.mean, [one["mean"] for one in kappas]),
                "lowest": _over(min, [one["lowest"] for one in kappas]),
                "highest": _over(max, [one["highest"] for one in kappas]),
            },
            **{
                name: _over(np.mean, [one["agreement"][name] for one in each])
                for name in ("fleiss_kappa", "unanimous")
            },
        },
        "group": paired["group"],
    }


def _over(combine: Callable[[Any], Any], values: Sequence[float | None]) -> float | None:
    """Return mean, lowest or highest value; None if one of them is undefined."""
    return None if any(value is None for value in values) else float(combine(values))


def _paired(runs: Sequence[tuple[pd.DataFrame, Sequence[pd.DataFrame]]]) -> dict[str, Any]:
    """Return the differences between ensembles and their members, see `paired_scores`."""
    # An image that several folds test is compared within each of them.
    pairs = [(_by_fold(test), _by_fold(member)) for test, members in runs for member in members]
    return paired_scores(pairs)


def _by_fold(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(file_name=table["fold"].astype(str) + "/" + table["file_name"])


def compare_members(test: pd.DataFrame, members: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Compare an ensemble with its members on the test sets of all folds.

    Args:
        test: test predictions of the ensemble.
        members: of each member, the same rows in the same order. Member j of one fold and member j of another are
            different networks with the same seed.

    Returns:
        `num_members`; `scores`, for each of `PAIRED` the score of each member, their mean, lowest and highest one,
        that of the ensemble, and the `gain`, ensemble minus mean of the members, with a paired interval; `agreement`,
        see `agreement`; `disagreement`, see `disagreement`; `error_auc`, the area under the ROC curve of the number
        of dissenting members as a sign of an error; `group`, what the interval draws.
    """
    ensemble, each = _values(test), [_values(member) for member in members]
    paired = _paired([(test, members)])
    scores = {}
    for name in PAIRED:
        values = [one[name] for one in each]
        numbers = [value for value in values if value is not None]
        whole = len(numbers) == len(values)
        scores[name] = {
            "members": values,
            "mean": float(np.mean(numbers)) if whole else None,
            "lowest": min(numbers) if whole else None,
            "highest": max(numbers) if whole else None,
            "ensemble": ensemble[name],
            "gain": {key: paired[name][key] for key in GAIN},
        }
    predicted = np.stack([member["predicted"].to_numpy() for member in members])
    dissenting = (predicted != test["predicted"].to_numpy()).sum(0)
    wrong = (test["predicted"] != test["label"]).to_numpy()
    return {
        "num_members": len(members),
        "scores": scores,
        "agreement": agreement(predicted, len(classes_of(test))),
        "disagreement": disagreement(dissenting, wrong, len(members)),
        "error_auc": float(roc_auc_score(wrong, dissenting)) if 0 < wrong.sum() < len(wrong) else None,
        "group": paired["group"],
    }


def agreement(predicted: np.ndarray, num_classes: int) -> dict[str, Any]:
    """Return how far raters agree beyond chance.

    Args:
        predicted: (k, n) class that each of k raters gave each of n images.
        num_classes: number of classes.

    Returns:
        `cohen_kappa` (mean, lowest and highest over the pairs of raters; None where a pair always gives one class),
        `fleiss_kappa` of all raters, `unanimous`, the share of images on which all agree.
    """
    pairs = [
        float(cohen_kappa_score(one, other, labels=range(num_classes)))
        for one, other in combinations(predicted, 2)
        if len(np.union1d(one, other)) > 1
    ]
    return {
        "cohen_kappa": {
            "mean": float(np.mean(pairs)) if pairs else None,
            "lowest": min(pairs, default=None),
            "highest": max(pairs, default=None),
        },
        "fleiss_kappa": fleiss_kappa(predicted, num_classes),
        "unanimous": float((predicted == predicted[0]).all(0).mean()),
    }


def fleiss_kappa(predicted: np.ndarray, num_classes: int) -> float | None:
    """Return the kappa of Fleiss for k raters of n images, (k, n) int; None if all give one class only.

    Source:
        Fleiss 1971, Measuring nominal scale agreement among many raters, Psychological Bulletin 76(5).
    """
    raters = len(predicted)
    votes = np.stack([(predicted == label).sum(0) for label in range(num_classes)], axis=1)
    observed = float(((votes**2).sum(1) - raters).mean() / (raters * (raters - 1)))
    expected = float((votes.mean(0) / raters) @ (votes.mean(0) / raters))
    return None if np.isclose(expected, 1) else (observed - expected) / (1 - expected)


def disagreement(dissenting: np.ndarray, wrong: np.ndarray, num_members: int) -> list[dict[str, Any]]:
    """Return errors by the number of members whose class is not that of the ensemble.

    Args:
        dissenting: (n,) that number for each image.
        wrong: (n,) whether the ensemble is wrong.
        num_members: number of members.

    Returns:
        For each number that occurs `dissenting`, `num_images`, `num_errors`, `error_rate` (errors among its images)
        and `share_of_errors` (its part of all errors; None without errors).
    """
    rows = []
    for number in range(num_members + 1):
        here = dissenting == number
        if here.any():
            errors = int(wrong[here].sum())
            rows.append(
                {
                    "dissenting": number,
                    "num_images": int(here.sum()),
                    "num_errors": errors,
                    "error_rate": errors / int(here.sum()),
                    "share_of_errors": errors / int(wrong.sum()) if wrong.any() else None,
                }
            )
    return rows


def _read_members(run: Run, test: pd.DataFrame) -> list[pd.DataFrame]:
    count = int(run.recipe.get("members", 1))
    return [_read_member(run, number, test) for number in range(count)] if count > 1 else []


def _read_member(run: Run, number: int, test: pd.DataFrame) -> pd.DataFrame:
    """Return the test predictions of one member in all finished folds, in the order of those of the ensemble."""
    tables = []
    for fold in run.folds():
        if fold.is_finished:
            path = fold.member(number).folder / PREDICTIONS
            table = read_predictions(path)
            if classes_of(table) != classes_of(test):
                raise InputError(f"{path} has other classes than the ensemble; train that fold again with --restart.")
            tables.append(table[table["part"] == "test"])
    whole = pd.concat(tables, ignore_index=True).sort_values(KEYS).reset_index(drop=True)
    if not whole[[*KEYS, "label"]].equals(test[[*KEYS, "label"]]):
        raise InputError(f"Member {number} of {run.folder} predicted other images than the ensemble; train it again.")
    return whole


def _values(table: pd.DataFrame) -> dict[str, float | None]:
    """Return each of `PAIRED`; None where a score is undefined."""
    return {name: None if np.isnan(value) else value for name, value in point_scores(table).items()}
