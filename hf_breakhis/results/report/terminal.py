"""The scores of a run as plain text, in the form of the paper's Tables II to IV."""

from typing import Any

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.results.formatting import (
    MEASURES,
    RESEARCH_ONLY,
    count,
    interval,
    percent,
    rate_name,
    score,
    signed,
    spread,
    value_of,
)
from hf_breakhis.results.scores.estimands import Estimand, meanings
from hf_breakhis.results.scores.warnings import color_note
from hf_breakhis.text import ascii_only, folded, text_table

AVERAGES = {
    "accuracy": "Accuracy",
    "macro.precision": "Precision, mean of classes",
    "macro.recall": "Recall, mean of classes",
    "macro.f1": "F1-score, mean of classes",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "mcc": "Matthews correlation",
    "brier": "Brier score (lower is better)",
}
DECISIONS = {
    "most_probable": "Most probable class",
    "locked": "Locked, as fitted for the model",
    "refitted": "Refitted here, cross-fitted",
}
PATIENT_MEASURES = ("recognition_rate", "accuracy_of_mean_probability", "roc_auc_of_mean_probability")
BASELINES = {"majority": "Majority class", "mean_color": "Mean colour, logistic regression"}


def terminal_table(summary: dict[str, Any]) -> str:
    """The warnings, the scores of each fold and class, their averages and the baselines; at most 100 columns of ASCII.

    Args:
        summary: summary.json of a run, or the summary that stands above its repeats.
    """
    if "repeats" in summary:
        return ascii_only("\n".join(_repeats(summary)))
    parts = [folded(f"WARNING: {caution['text']}") for caution in summary["warnings"]]
    parts += [folded(summary["headline"]["sentence"]), _folds(summary), _averages(summary), _baselines(summary)]
    parts += [_external(summary), _decisions(summary)] if "evaluation" in summary else []
    parts.append([RESEARCH_ONLY])
    return ascii_only("\n\n".join("\n".join(lines) for lines in parts if lines))


def _folds(summary: dict[str, Any]) -> list[str]:
    """Tables III and V: a row for each class of each fold, then the fold's accuracy."""
    rows = []
    for report in summary["image"]["per_fold"]:
        for i, (name, values) in enumerate(report["per_class"].items()):
            fold = str(report["fold"]) if i == 0 else ""
            numbers = (score(values[key]) for key in ("precision", "recall", "f1"))
            rows.append((fold, name, *numbers, count(values["support"])))
        rows.append(("", "accuracy", "", "", score(report["accuracy"]), count(report["num_images"])))
    return text_table(("Fold", "Class", "Precision", "Recall", "F1-score", "Support"), rows, words=(0, 1))


def _averages(summary: dict[str, Any]) -> list[str]:
    """Tables IV and VI: mean and standard deviation over folds, and pooled test predictions with their interval."""
    level = (summary.get("interval") or {}).get("level")
    bounds = f"{percent(level)} interval" if level else "Interval"
    patient = summary.get("patient") or {}
    rows = []
    known = [(summary["image"], key, label) for key, label in AVERAGES.items()]
    known += [(patient, key, MEASURES[key]) for key in PATIENT_MEASURES]
    for scores, key, label in known:
        mean, sd = ((scores.get(kind) or {}).get(key) for kind in ("mean", "sd"))
        pooled = (scores.get("pooled") or {}).get(key)
        if mean is None and value_of(pooled) is None:
            continue
        label = rate_name(key, label, summary["classes"])
        rows.append((label, spread(mean, sd), score(value_of(pooled)), interval(pooled)))
    return text_table(("Average over folds", "Mean ± sd", "Pooled", bounds), rows) + _notes(summary)


def _notes(summary: dict[str, Any]) -> list[str]:
    protocol, described = summary["protocol"], summary.get("interval") or {}
    slides = " Patients are slide folders, as the BreakHis authors count."
    is_breakhis = source_of(summary["data"]).has_breakhis_names
    several = len(summary["image"]["per_fold"]) > 1
    lines = folded("ROC AUC and average precision are means over the folds, also under Pooled.") if several else []
    kept = "not known" if protocol["split_by"] == "unknown" else protocol["split_by"]
    lines += folded(f"Kept apart: {kept}.{slides if is_breakhis else ''}")
    if described.get("reason") or described.get("method"):
        drawn = f"{described.get('num_groups')} drawn, {described.get('resamples'):,} resamples"
        how = f"{described.get('method')} ({drawn})."
        about = meanings(described)[described.get("estimand", Estimand.MODELS)]
        lines += folded(f"Interval: {described.get('reason') or f'about {about}; {how}'}")
    decision = summary.get("decision") or {}
    if decision.get("threshold") is not None:
        positive, which = summary["classes"][1], "Refitted threshold" if "evaluation" in summary else "Threshold"
        lines += folded(
            f"{which}: {positive} from a calibrated probability of {score(decision['threshold'])} on, by the rule "
            f"{decision['rule']}; sensitivity is the share of {positive} images found."
        )
    if protocol.get("folds_missing"):
        lines += folded(f"Folds not there yet: {', '.join(map(str, protocol['folds_missing']))}.")
    return lines


def _baselines(summary: dict[str, Any]) -> list[str]:
    known = dict(BASELINES)
    if summary["protocol"].get("imported"):
        known = {name: label for name, label in BASELINES.items() if summary["baselines"][name]}
    if not known:
        return []
    image = (summary["image"].get("pooled") or {}).items()
    scores: dict[str, dict[str, Any]] = {"This model, pooled": {key: value_of(value) for key, value in image}}
    scores |= {label: (summary.get("baselines") or {}).get(name) or {} for name, label in known.items()}
    rows = []
    for label, values in scores.items():
        numbers = (score(values.get(key)) for key in ("accuracy", "balanced_accuracy", "roc_auc"))
        rows.append((label if values else f"{label} (not known)", *numbers))
    return text_table(("Baselines", "Accuracy", "Balanced", "ROC AUC"), rows) + folded(color_note(summary) or "")


def _external(summary: dict[str, Any]) -> list[str]:
    """Scores of the run that trained the model, and of its model on these images."""
    evaluation = summary["evaluation"]
    lines = folded(evaluation["training"]["how"])
    if evaluation["internal"] is None:
        return [*lines, "No internal scores of this model are known."]
    rows = []
    for row in evaluation["scores"]:
        if row["internal"] is not None:
            both = (score(value_of(row[key])) for key in ("internal", "external"))
            label = rate_name(row["score"], MEASURES[row["score"]], summary["classes"])
            ends = interval(row["difference"], is_difference=True)
            rows.append((label, *both, signed(value_of(row["difference"])), ends))
    head = ("Internal and external", "Internal", "External", "Difference", "95 % interval")
    return [*lines, "", *text_table(head, rows)]


def _decisions(summary: dict[str, Any]) -> list[str]:
    """The scores of each way to decide: most probable class, locked and refitted threshold."""
    evaluation = summary["evaluation"]
    rows = []
    for row in evaluation["decisions"]:
        rates = (value_of(row.get(key)) for key in ("accuracy", "balanced_accuracy", "sensitivity", "specificity"))
        rows.append((DECISIONS[row["kind"]], *map(score, (row["threshold"], *rates, row["ece"]))))
    lines = text_table(("Decision", "Threshold", "Accuracy", "Balanced", "Sensitivity", "Specificity", "ECE"), rows)
    lines += folded(evaluation["locked_note"] or "")
    reason = evaluation["locked_reason"]
    return lines + (folded(f"There is no locked decision: {reason}") if reason else [])


def _repeats(summary: dict[str, Any]) -> list[str]:
    """One row a repeat, then mean and standard deviation over the repeats."""
    lines = [line for caution in summary["warnings"] for line in (*folded(f"WARNING: {caution['text']}"), "")]
    lines += [*folded(summary["headline"]["sentence"]), ""] if summary.get("headline") else []
    keys = ("accuracy", "recognition_rate")
    rows = [
        (*(str(row[name]) for name in ("repeat", "split_seed", "seed")), *(score(row.get(key)) for key in keys))
        for row in summary["repeats"]
    ]
    mean, sd = summary.get("mean") or {}, summary.get("sd") or {}
    rows.append(("Mean ± sd", "", "", *(f"{score(mean.get(key))} ± {score(sd.get(key))}" for key in keys)))
    head = ("Repeat", "Split seed", "Seed", "Accuracy", "Recognition rate")
    return [*lines, *text_table(head, rows), "", RESEARCH_ONLY]
