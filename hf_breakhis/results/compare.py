"""The comparison: runs side by side, next to the paper's numbers, and whether the evidence ranks them."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.files import InputError
from hf_breakhis.results.absent import NEED_PROBABILITIES, NO_PROBABILITIES, has_classes_only
from hf_breakhis.results.formatting import in_breakhis_order, things
from hf_breakhis.results.paper import DATA, MEASURES, classifier_of
from hf_breakhis.results.predictions import read_parts
from hf_breakhis.results.published.anchors import anchors_for
from hf_breakhis.results.scores.estimands import Estimand, Estimate
from hf_breakhis.results.scores.intervals import RESAMPLES
from hf_breakhis.results.scores.paired import PAIRED, NothingInCommonError, mean_interval, mean_scores, paired_scores
from hf_breakhis.results.scores.warnings import GENERATED, Caution, Kind, design, to_json
from hf_breakhis.results.summary import summary_of
from hf_breakhis.run import Run

FORMAT = 1
MIN_REPEATS, ALPHA = 3, 0.05
AVERAGES = {"precision": "macro.precision", "recall": "macro.recall", "f1": "macro.f1", "accuracy": "accuracy"}
PAPER_AND_TWIN = "The paper's numbers are for real images. Do not compare them with the scores of generated images."
GENERATED_AND_OTHERS = "No images in common: those of one run are generated and only have names of the other's."
SETTINGS = (
    "optimizer_name learning_rate weight_decay scheduler_name scheduler_kwargs num_train_epochs batch_size "
    "augmentation mixup cutmix loss label_smoothing_factor class_weights sampler activation init carry_over split_by "
    "num_folds repeats"
).split()


def compare(runs: Sequence[str | Path], margin: float | None = None) -> dict[str, Any]:
    """Set runs side by side.

    A pair of runs is compared on the images that both tested once, repeat by repeat. A ranking needs `MIN_REPEATS`
    repeats of each. Each pair has two p-values for the mean difference in accuracy, over specimens and over seeds; the
    larger one counts, corrected for the number of pairs (Holm 1979, Scandinavian Journal of Statistics 6(2)).

    Args:
        runs: folders of the runs.
        margin: accuracy that one run may lose against the other and still be called not inferior.

    Returns:
        What comparison.json holds.

    Raises:
        InputError: a folder is no run, the runs are of other images, classes or targets, or `margin` is not a share.
    """
    if margin is not None and not 0 < margin < 1:
        raise InputError(f"`margin` is {margin}; give a share of the images between 0 and 1, for example 0.02.")
    folders = [Path(run) for run in runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("One run is given twice; give each run once.")
    summaries = [summary_of(folder) for folder in folders]
    _require_same(folders, summaries)
    tables = [tests_of(folder) for folder in folders]
    names = _names(folders)
    rows = [_row(*parts) for parts in zip(names, folders, summaries, tables, strict=True)]
    pairs = [
        {"one": names[i], "other": names[j], **_pair((rows[i], tables[i]), (rows[j], tables[j]))}
        for i, j in combinations(range(len(folders)), 2)
    ]
    rank(pairs)
    for pair in pairs:
        pair["non_inferior"] = None if margin is None else _non_inferior(pair, margin)
    return {
        "format": FORMAT,
        "name": " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}",
        "data": summaries[0]["data"],
        "classes": summaries[0]["classes"],
        "interval": next(iter(Run(folders[0]).every_repeat().values())).summary["interval"],
        "runs": rows,
        "pairs": pairs,
        "anchors": next(filter(None, (anchors_for(summary["data"]) for summary in summaries)), []),
        "margin": margin,
        "tested_magnifications": _matrix_columns(rows),
        "sentence": _sentence(rows, pairs),
        "warnings": to_json(_warnings(rows, summaries)),
    }


def _require_same(folders: list[Path], summaries: list[dict[str, Any]]) -> None:
    """Refuse runs whose scores are of different things; images of imported runs are known by their names alone."""
    first = summaries[0]
    for folder, summary in zip(folders, summaries, strict=True):
        for what, one, other in (
            ("images", first["data"]["manifest_sha256"], summary["data"]["manifest_sha256"]),
            ("target", first["protocol"]["target"], summary["protocol"]["target"]),
            ("classes", first["classes"], summary["classes"]),
        ):
            by_name = what == "images" and not (one and other)
            if one != other and not by_name:
                shown = [str(value)[:40] for value in (one, other)]
                raise InputError(
                    f"{folders[0]} and {folder} are runs of different {what} ({shown[0]}, {shown[1]}), so their "
                    "scores cannot be compared; give runs of the same data and target."
                )


def _pair(one: tuple[dict[str, Any], Any], other: tuple[dict[str, Any], Any]) -> dict[str, Any]:
    """Compare two runs, each given as its row and its tables, in what their images and predictions allow."""
    if one[0]["is_generated"] != other[0]["is_generated"]:
        return {"num_images": 0, "scores": None, "reason": GENERATED_AND_OTHERS, "p_value": None}
    found = compare_tables(one[1], other[1])
    if found["scores"] and (one[0]["classes_only"] or other[0]["classes_only"]):
        for name in set(NEED_PROBABILITIES) & found["scores"].keys():
            found["scores"][name] = dict.fromkeys(found["scores"][name])
    return found


def _names(folders: list[Path]) -> list[str]:
    """Return short names: the folder's, with its parent's where two are alike."""
    short = [folder.resolve().name for folder in folders]
    if len(set(short)) == len(short):
        return short
    return [f"{folder.resolve().parent.name}/{folder.resolve().name}" for folder in folders]


def tests_of(folder: Path) -> dict[int, pd.DataFrame]:
    """Return the test predictions of each repeat by its number."""
    return {number: read_parts(run)["test"] for number, run in Run(folder).every_repeat().items()}


def _row(name: str, folder: Path, summary: dict[str, Any], tests: dict[int, pd.DataFrame]) -> dict[str, Any]:
    """Return one run with the paper's numbers, where its recipe is one of the paper's."""
    recipe = Run(folder).recipe
    every = [run.summary for run in Run(folder).every_repeat().values()]
    one = every[0]
    classifier = classifier_of(recipe)
    is_generated = source_of(one["data"]).is_generated
    comparable = not is_generated  # the paper has no scores of generated images
    ours = {score: float(np.mean([each["image"]["mean"][key] for each in every])) for score, key in AVERAGES.items()}
    about = Estimand(one["interval"]["estimand"])
    pooled = mean_scores(list(tests.values()), about) if len(tests) > 1 else one["image"]["pooled"]
    same_folds = classifier is not None and len(classifier.folds) == len(one["image"]["per_fold"])
    return {
        "name": name,
        "is_generated": is_generated,
        "classes_only": has_classes_only(recipe),
        "design": design(one["protocol"]),
        "num_tested": one["protocol"]["num_tested"],
        "num_groups": one["interval"]["num_groups"],
        "group": one["interval"]["group"],
        "protocol": one["protocol"],
        "settings": {key: recipe.get(key) for key in SETTINGS},
        "accuracy": pooled["accuracy"],
        "roc_auc": pooled["roc_auc"],
        "recognition_rate": _recognition(every),
        "train_magnifications": recipe.get("train_magnifications") or recipe.get("magnifications"),
        "by_magnification": _by_magnification(every),
        "repeats": [row["accuracy"] for row in summary.get("repeats", [])],
        "averages": ours,
        "per_fold": [{"fold": r["fold"], "accuracy": r["accuracy"], "per_class": r["per_class"]}
                     for r in one["image"]["per_fold"]],
        "leakage": {key: value for key, value in one["leakage"].items() if key != "per_fold"},
        "cost": _cost(folder),
        "paper": classifier and {
            "name": classifier.name,
            "averages": classifier.averages,
            "settings": classifier.settings,
            "difference": {k: _less(ours[k], classifier.averages[k], comparable) for k in AVERAGES},
            "folds": _beside(one["image"]["per_fold"], classifier.folds, comparable) if same_folds else [],
        },
    }  # fmt: skip


def _matrix_columns(rows: list[dict[str, Any]]) -> list[str]:
    """Return the test magnifications of all runs if runs are known to have trained on different ones, else none."""
    if len({tuple(row["train_magnifications"]) for row in rows if row["train_magnifications"]}) < 2:
        return []
    return list(in_breakhis_order({name: None for row in rows for name in row["by_magnification"]}))


def _by_magnification(summaries: list[dict[str, Any]]) -> dict[str, Estimate]:
    """Return the accuracy at each test magnification, the mean over repeats with the mean of their intervals."""
    parts = [summary["by_magnification"] or {} for summary in summaries]
    found = {}
    for name in parts[0]:
        scores = [part[name]["accuracy"] for part in parts if name in part]
        values = [score["value"] for score in scores]
        found[name] = mean_interval(None if None in values else float(np.mean(values)), scores)
    return found


def _recognition(summaries: list[dict[str, Any]]) -> float | None:
    """Return the recognition rate, the mean over repeats; None where no patients are known."""
    if any(summary["patient"] is None for summary in summaries):
        return None
    rates = [summary["patient"]["pooled"]["recognition_rate"]["value"] for summary in summaries]
    return None if None in rates else float(np.mean(rates))


def _beside(reports: list[dict[str, Any]], folds: Sequence[Any], comparable: bool) -> list[dict[str, Any]]:
    """Return a row for each fold and class that both have: ours, the paper's, and the difference."""
    rows = []
    for report, fold in zip(reports, folds, strict=False):
        for label, paper in fold.rows().items():
            ours = report["per_class"].get(label)
            if ours is not None:
                difference = {name: _less(ours[name], paper[name], comparable) for name in MEASURES}
                rows.append(
                    {"fold": report["fold"], "class": label, "ours": ours, "paper": paper, "difference": difference}
                )
        rows.append(
            {
                "fold": report["fold"],
                "class": None,
                "ours": report["accuracy"],
                "paper": fold.accuracy,
                "difference": _less(report["accuracy"], fold.accuracy, comparable),
            }
        )
    return rows


def _less(ours: float | None, paper: float, comparable: bool) -> float | None:
    return ours - paper if comparable and ours is not None else None


def _cost(folder: Path) -> dict[str, Any]:
    """Return seconds and speed of training, summed over the folds of all repeats."""
    costs = [run.cost for run in Run(folder).every_repeat().values() if not run.is_imported]
    folds = [fold for cost in costs for fold in cost["folds"].values()]
    if not folds:
        return {"train_seconds": None, "train_images_per_second": None, "device": None}
    return {
        "train_seconds": sum(fold["train_seconds"] for fold in folds),
        "train_images_per_second": float(np.mean([fold["train_images_per_second"] for fold in folds])),
        "device": (costs[0].get("hardware") or {}).get("device"),
    }


def compare_tables(
    ones: dict[int, pd.DataFrame],
    others: dict[int, pd.DataFrame],
    resamples: int = RESAMPLES,
    score: str = "accuracy",
) -> dict[str, Any]:
    """Compare the test predictions of two runs, by repeat: differences over specimens and seeds, and a p-value.

    Args:
        ones: test predictions by the number of the repeat.
        others: of the other run.
        resamples: number of resamples.
        score: the one of `PAIRED` that the p-value is about.
    """
    numbers = sorted(ones.keys() & others.keys())
    try:
        paired = paired_scores([(ones[number], others[number]) for number in numbers], resamples)
    except NothingInCommonError as error:
        return {"num_images": 0, "scores": None, "reason": str(error), "p_value": None}
    scores = {name: {**paired[name], **_over_seeds(paired[name]["repeats"])} for name in PAIRED}
    return {
        "num_images": paired["num_images"],
        "num_tested": paired["num_tested"],
        "num_repeats": len(numbers),
        "group": paired["group"],
        "scores": scores,
        "reason": None,
        "p_value": _p_value(scores[score], len(numbers), paired["group"]),
    }


def _over_seeds(differences: list[float | None]) -> dict[str, float | None]:
    """Return sd and 95 % t interval of the mean difference over the repeats."""
    known = [value for value in differences if value is not None]
    count = len(known)
    if count < max(MIN_REPEATS, len(differences)):
        return {"seeds_sd": None, "seeds_low": None, "seeds_high": None, "seeds_p_value": None}
    mean, sd = float(np.mean(known)), float(np.std(known, ddof=1))
    half = float(stats.t.ppf(0.975, count - 1)) * sd / np.sqrt(count)
    p_value = float(2 * stats.t.sf(abs(mean) / (sd / np.sqrt(count)), count - 1)) if sd > 0 else float(mean == 0)
    return {"seeds_sd": sd, "seeds_low": mean - half, "seeds_high": mean + half, "seeds_p_value": p_value}


def _p_value(score: dict[str, Any], repeats: int, group: str) -> float | None:
    """Return the larger p-value of specimens and seeds; None where the runs cannot be ranked.

    Single images of one patient are not independent, so a p-value over images says nothing.
    """
    if repeats < MIN_REPEATS or score["p_value"] is None or group == "image":
        return None
    result: float | None = max(score["p_value"], score["seeds_p_value"])
    return result


def rank(pairs: list[dict[str, Any]], score: str = "accuracy") -> None:
    """Add to each pair its p-value after Holm's correction, and 1 or -1 if it ranks the first or the second higher."""
    tested = sorted((pair for pair in pairs if pair["p_value"] is not None), key=lambda pair: pair["p_value"])
    highest = 0.0
    for pair in pairs:
        pair |= {"p_holm": None, "ranks": None}
    for k, pair in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - k) * pair["p_value"]))
        ahead = 1 if pair["scores"][score]["value"] > 0 else -1
        pair |= {"p_holm": highest, "ranks": ahead if highest <= ALPHA else 0}


def _non_inferior(pair: dict[str, Any], margin: float) -> dict[str, bool] | None:
    """Say for either run whether it is not worse than the other by more than the margin; None if that is unknown."""
    if pair["p_value"] is None:
        return None
    accuracy = pair["scores"]["accuracy"]
    low, high = min(accuracy["low"], accuracy["seeds_low"]), max(accuracy["high"], accuracy["seeds_high"])
    return {"one": low > -margin, "other": high < margin}


def _sentence(rows: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> str:
    if not pairs:
        beside = "is shown next to the paper's numbers" if rows[0]["paper"] else "is shown"
        return f"One run {beside}; a comparison of runs needs two."
    if all(pair["reason"] for pair in pairs):
        return "These runs tested no images in common, so they cannot be ranked."
    if any(pair["ranks"] is None for pair in pairs):
        fewest = min(max(1, len(row["repeats"])) for row in rows)
        if fewest < MIN_REPEATS:
            return (
                f"These runs cannot be ranked: a ranking needs {MIN_REPEATS} repeats of each with other seeds, and "
                f"one has {things(fewest, 'repeat')}. The intervals below are over specimens, not over seeds."
            )
        return (
            "These runs cannot be ranked: no specimens are known or they are too few for an interval, or there are no "
            "images in common."
        )
    ahead = [(p["one"], p["other"]) if p["ranks"] == 1 else (p["other"], p["one"]) for p in pairs if p["ranks"]]
    if not ahead:
        return "No run is ranked above another: other seeds or specimens may reverse every difference (Holm, 5 %)."
    ranking = "; ".join(f"{better} scores higher than {worse}" for better, worse in ahead)
    rest = " The other pairs are not ranked." if len(ahead) < len(pairs) else ""
    return f"The evidence is consistent with a ranking over other seeds and other specimens: {ranking}.{rest}"


def _warnings(rows: list[dict[str, Any]], summaries: list[dict[str, Any]]) -> list[Caution]:
    found = []
    generated = [row["name"] for row in rows if row["is_generated"]]
    if len(generated) == len(rows):
        found.append(GENERATED)
    elif generated:
        found.append(Caution(Kind.GENERATED, f"{' and '.join(generated)}: {GENERATED.text}"))
    found += [
        Caution(Kind.PAPER, PAPER_AND_TWIN if is_generated else DATA)
        for is_generated in sorted({row["is_generated"] for row in rows if row["paper"]})
    ]
    found += [Caution(Kind.INCOMPLETE, f"{row['name']}: {NO_PROBABILITIES}") for row in rows if row["classes_only"]]
    if len({row["design"] for row in rows}) > 1:
        designs = "; ".join(f"{row['name']}: {row['design']}" for row in rows)
        text = f"The runs use different splits, so a difference is not due to the recipes alone: {designs}."
        found.append(Caution(Kind.DESIGN, text))
    for row in rows:
        share = row["leakage"]["share_same_specimen"] or row["leakage"]["share_same_patient"]
        if share:
            text = (
                f"{row['name']}: {100 * share:.0f} % of the test images show a specimen whose other images are in the "
                "training set. The scores do not measure performance on new specimens."
            )
            found.append(Caution(Kind.LEAK, text))
    for row, summary in zip(rows, summaries, strict=True):
        found += [Caution(Kind.INCOMPLETE, f"{row['name']}: {text}") for text in _missing(row, summary)]
    return found


def _missing(row: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    repeats = summary.get("repeats") or [{"folds_missing": row["protocol"]["folds_missing"]}]
    found = []
    for one in repeats:
        missing = ", ".join(map(str, one["folds_missing"]))
        which = f"fold {missing} of repeat {one['repeat']}" if "repeat" in one else f"fold {missing}"
        if missing:
            found.append(f"{which} did not finish and is excluded from these numbers.")
    if summary.get("repeats_missing"):
        missing = ", ".join(map(str, summary["repeats_missing"]))
        found.append(f"repeat {missing} did not finish. Runs are compared on the repeats that both have.")
    return found
