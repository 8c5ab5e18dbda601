"""The scores of a run as plain text, in the form of the paper's Tables II to IV."""

import textwrap
from typing import Any

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.results.formatting import (
    ABSENT,
    MEASURES,
    RESEARCH_ONLY,
    count,
    interval,
    percent,
    rate_name,
    score,
    signed,
    value_of,
)
from hf_breakhis.results.scores.estimands import Estimand, meanings
from hf_breakhis.results.scores.warnings import color_note

WIDTH = 88
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
        return _ascii("\n".join(_repeats(summary)))
    parts = [_wrapped(f"WARNING: {caution['text']}") for caution in summary["warnings"]]
    parts += [_wrapped(summary["headline"]["sentence"]), _folds(summary), _averages(summary), _baselines(summary)]
    parts += [_external(summary), _decisions(summary)] if "evaluation" in summary else []
    parts.append([RESEARCH_ONLY])
    return _ascii("\n\n".join("\n".join(lines) for lines in parts if lines))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def _folds(summary: dict[str, Any]) -> list[str]:
    """Tables III and V: a row for each class of each fold, then the fold's accuracy."""
    wide = max(12, *(len(name) + 2 for name in summary["classes"]))
    lines = [f"{'Fold':<6}{'Class':<{wide}}{'Precision':>11}{'Recall':>11}{'F1-score':>11}{'Support':>11}"]
    lines.append("-" * len(lines[0]))
    for report in summary["image"]["per_fold"]:
        for i, (name, values) in enumerate(report["per_class"].items()):
            numbers = "".join(f"{score(values[key]):>11}" for key in ("precision", "recall", "f1"))
            fold = str(report["fold"]) if i == 0 else ""
            lines.append(f"{fold:<6}{name:<{wide}}{numbers}{count(values['support']):>11}")
        total = count(report["num_images"])
        lines.append(f"{'':<6}{'accuracy':<{wide}}{score(report['accuracy']):>33}{total:>11}")
    return lines


def _averages(summary: dict[str, Any]) -> list[str]:
    """Tables IV and VI: mean and standard deviation over folds, and pooled test predictions with their interval."""
    level = (summary.get("interval") or {}).get("level")
    bounds = f"{percent(level)} interval" if level else "Interval"
    lines = [f"{'Average over folds':<42}{'Mean +- sd':>16}{'Pooled':>11}{bounds:>19}"]
    lines.append("-" * len(lines[0]))
    patient = summary.get("patient") or {}
    rows = [(summary["image"], key, label) for key, label in AVERAGES.items()]
    rows += [(patient, key, MEASURES[key]) for key in PATIENT_MEASURES]
    for scores, key, label in rows:
        mean, sd = ((scores.get(kind) or {}).get(key) for kind in ("mean", "sd"))
        pooled = (scores.get("pooled") or {}).get(key)
        if mean is None and value_of(pooled) is None:
            continue
        label = rate_name(key, label, summary["classes"])
        both = score(mean) if sd is None else f"{score(mean)} +- {score(sd)}"
        lines.append(f"{label:<42}{both:>16}{score(value_of(pooled)):>11}{interval(pooled):>19}")
    return lines + _notes(summary)


def _notes(summary: dict[str, Any]) -> list[str]:
    protocol, described = summary["protocol"], summary.get("interval") or {}
    slides = " Patients are slide folders, as the BreakHis authors count."
    is_breakhis = source_of(summary["data"]).has_breakhis_names
    several = len(summary["image"]["per_fold"]) > 1
    lines = _wrapped("ROC AUC and average precision are means over the folds, also under Pooled.") if several else []
    kept = "not known" if protocol["split_by"] == "unknown" else protocol["split_by"]
    lines += _wrapped(f"Kept apart: {kept}.{slides if is_breakhis else ''}")
    if described.get("reason") or described.get("method"):
        drawn = f"{described.get('num_groups')} drawn, {described.get('resamples'):,} resamples"
        how = f"{described.get('method')} ({drawn})."
        about = meanings(described)[described.get("estimand", Estimand.MODELS)]
        lines += _wrapped(f"Interval: {described.get('reason') or f'about {about}; {how}'}")
    decision = summary.get("decision") or {}
    if decision.get("threshold") is not None:
        positive, which = summary["classes"][1], "Refitted threshold" if "evaluation" in summary else "Threshold"
        lines += _wrapped(
            f"{which}: {positive} from a calibrated probability of {score(decision['threshold'])} on, by the rule "
            f"{decision['rule']}; sensitivity is the share of {positive} images found."
        )
    if protocol.get("folds_missing"):
        lines += _wrapped(f"Folds not there yet: {', '.join(map(str, protocol['folds_missing']))}.")
    return lines


def _baselines(summary: dict[str, Any]) -> list[str]:
    known = dict(BASELINES)
    if summary["protocol"].get("imported"):
        known = {name: label for name, label in BASELINES.items() if summary["baselines"][name]}
    if not known:
        return []
    lines = [f"{'Baselines':<42}{'Accuracy':>16}{'Balanced':>11}{'ROC AUC':>19}"]
    lines.append("-" * len(lines[0]))
    image = (summary["image"].get("pooled") or {}).items()
    rows: dict[str, dict[str, Any]] = {"This model, pooled": {key: value_of(value) for key, value in image}}
    rows |= {label: (summary.get("baselines") or {}).get(name) or {} for name, label in known.items()}
    for label, values in rows.items():
        numbers = (score(values.get(key)) for key in ("accuracy", "balanced_accuracy", "roc_auc"))
        lines.append("{:<42}{:>16}{:>11}{:>19}".format(label, *numbers) + ("" if values else "  (not known)"))
    note = color_note(summary)
    return lines if note is None else [*lines, *_wrapped(note)]


def _external(summary: dict[str, Any]) -> list[str]:
    """Scores of the run that trained the model, and of its model on these images."""
    evaluation = summary["evaluation"]
    lines = _wrapped(evaluation["training"]["how"])
    if evaluation["internal"] is None:
        return [*lines, "No internal scores of this model are known."]
    lines += [
        "",
        f"{'Internal and external':<34}{'Internal':>10}{'External':>10}{'Difference':>12}{'95 % interval':>20}",
    ]
    lines.append("-" * len(lines[-1]))
    for row in evaluation["scores"]:
        if row["internal"] is not None:
            values = "".join(f"{score(value_of(row[key])):>10}" for key in ("internal", "external"))
            label = rate_name(row["score"], MEASURES[row["score"]], summary["classes"])
            ends = interval(row["difference"], is_difference=True)
            lines.append(f"{label:<34}{values}{signed(value_of(row['difference'])):>12}{ends:>20}")
    return lines


def _decisions(summary: dict[str, Any]) -> list[str]:
    """The scores of each way to decide: most probable class, locked and refitted threshold."""
    evaluation = summary["evaluation"]
    heads = ("Threshold", "Accuracy", "Balanced", "Sens.", "Spec.", "ECE")
    lines = [f"{'Decision':<34}" + "".join(f"{head:>10}" for head in heads)]
    lines.append("-" * len(lines[0]))
    for row in evaluation["decisions"]:
        rates = (value_of(row.get(key)) for key in ("accuracy", "balanced_accuracy", "sensitivity", "specificity"))
        values = "".join(f"{score(value):>10}" for value in (row["threshold"], *rates, row["ece"]))
        lines.append(f"{DECISIONS[row['kind']]:<34}{values}")
    lines += _wrapped(evaluation["locked_note"] or "")
    reason = evaluation["locked_reason"]
    return lines + (_wrapped(f"There is no locked decision: {reason}") if reason else [])


def _repeats(summary: dict[str, Any]) -> list[str]:
    """One row a repeat, then mean and standard deviation over the repeats."""
    lines = [line for caution in summary["warnings"] for line in (*_wrapped(f"WARNING: {caution['text']}"), "")]
    lines += [*_wrapped(summary["headline"]["sentence"]), ""] if summary.get("headline") else []
    lines.append(f"{'Repeat':<10}{'Split seed':>12}{'Seed':>10}{'Accuracy':>18}{'Recognition rate':>20}")
    lines.append("-" * len(lines[-1]))
    for row in summary["repeats"]:
        seeds = f"{row['repeat']:<10}{row['split_seed']:>12}{row['seed']:>10}"
        lines.append(f"{seeds}{score(row['accuracy']):>18}{score(row.get('recognition_rate')):>20}")
    mean, sd = summary.get("mean") or {}, summary.get("sd") or {}
    both = [f"{score(mean.get(key))} +- {score(sd.get(key))}" for key in ("accuracy", "recognition_rate")]
    return [*lines, f"{'Mean +- sd':<32}{both[0]:>18}{both[1]:>20}", "", RESEARCH_ONLY]


def _ascii(text: str) -> str:
    """Keep to ASCII, since not every terminal and log file has more."""
    return text.replace("±", "+-").replace(ABSENT, "-").encode("ascii", "replace").decode()
