"""What a model may be used for, on one screen: operating point, zones, shifts, and what is not shown."""

from collections.abc import Mapping
from typing import Any

from hf_breakhis.results.formatting import interval, rate_name, score, signed
from hf_breakhis.results.shifts import worst_row

RATES = ("sensitivity", "specificity")
STUDY = (
    "Methods: how image classifiers are trained, scored and misjudged. Not for diagnosis, second opinion or triage."
)
SHOWN = (
    "The same model and threshold, fixed in advance, on patients of several other laboratories, with enough specimens "
    "of both classes; decisions of pathologists with and without it (a prospective study); and a net benefit at "
    "thresholds that were named before. This run shows none of it."
)
NO_MODEL = "Not measured: there is no model here to which shifted images could be given."
NO_SHIFTS = "Not measured: `evaluate --shifts all` simulates another stain, focus and file format."


def one_screen(summary: Mapping[str, Any], shifts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return rows of a name and a sentence, the same for report and card.

    Args:
        summary: summary.json of a run of two classes or more.
        shifts: shifts.json of the run; empty if there is none.
    """
    decisions = summary.get("decisions") or {}
    rows = [("May be used to study", STUDY)]
    if decisions.get("image"):
        rows.append(("Operating point", _operating_point(summary, decisions)))
        rows.append(("Net benefit", _net_benefit(decisions, summary["classes"][1])))
        rows.append(("Zones", _zones(summary, decisions)))
    else:
        rows.append(("Operating point", f"Not available. {decisions.get('reason') or 'Write the report again.'}"))
    rows.append(("Shifts", NO_MODEL if summary["protocol"].get("imported") else _shifts(shifts)))
    rows.append(("To be shown before anyone decides with it", SHOWN))
    return rows


def _rate(estimate: Mapping[str, Any]) -> str:
    value = score(estimate["value"])
    return value if estimate["low"] is None else f"{value} ({interval(dict(estimate))})"


def _levels(decisions: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    names = {"image": "image", "patient": decisions["unit"]}
    return [(name, decisions[key]) for key, name in names.items() if decisions[key]]


def _operating_point(summary: Mapping[str, Any], decisions: Mapping[str, Any]) -> str:
    parts = []
    for name, level in _levels(decisions):
        first = level["per_thousand"][0]
        rates = [f"{rate_name(key, key, summary['classes'])} {_rate(level[key])}" for key in RATES]
        parts.append(
            f"By {name}: {', '.join(rates)}; of 1,000 {name}s of which "
            f"{100 * first['prevalence']:g} % are {summary['classes'][1]}, {score(first['missed']['value'], 1)} would "
            f"be missed and {score(first['false_alarms']['value'], 0)} would be false alarms."
        )
    return f"Rule {summary['decision']['rule']}, cross-fitted. {' '.join(parts)}"


def _net_benefit(decisions: Mapping[str, Any], positive: str) -> str:
    parts = []
    for name, level in _levels(decisions):
        useful = level["useful"]
        where = "at no threshold" if useful is None else f"at thresholds from {useful[0]:g} to {useful[1]:g}"
        parts.append(f"By {name}: {where}.")
    return (
        f"Clearly higher than if all or no cases were called {positive}: {' '.join(parts)} Clearly: the lower ends of "
        "two pointwise 95 % intervals are above 0."
    )


def _zones(summary: Mapping[str, Any], decisions: Mapping[str, Any]) -> str:
    zones = decisions["zones"]
    if not zones["zones"]:
        return f"Not available. {zones['reason']}"
    negative, positive = summary["classes"]
    text = f"For an error of at most {100 * zones['error']:g} % of the {zones['group']}s of each class."
    if not zones.get("is_exact"):
        text += " It holds in simulations for a model trained on all folds (refit); it is not proven."
    checked = zones["cross_fitted"].get("mean")
    if checked is None:
        return f"{text} {zones['cross_fitted_reason']}"
    above = [
        f"The {name} share is above the guarantee, which its interval {'excludes' if excluded else 'includes'}."
        for name, share in ((positive, checked["positive_in_low"]), (negative, checked["negative_in_high"]))
        for excluded in [share["low"] > zones["error"]]
        if share["value"] > zones["error"]
    ]
    found = (
        f"{text} Cross-fitted: {_rate(checked['positive_in_low'])} of the {positive} ones in zone low, "
        f"{_rate(checked['negative_in_high'])} of the {negative} ones in zone high, "
        f"{100 * checked['uncertain']:.0f} % of the {zones['unit']}s uncertain."
    )
    return " ".join([found, *above])


def _shifts(shifts: Mapping[str, Any]) -> str:
    if not shifts:
        return NO_SHIFTS
    worst, plain = worst_row(shifts), shifts["plain"]["scores"]["roc_auc"]
    flipped = max(shifts["rows"], key=lambda row: row["flipped"]["value"])
    names = ", ".join(dict.fromkeys(row["shift"] for row in shifts["rows"]))
    return (
        f"Simulated on the test images ({names}): ROC AUC {_rate(plain)} without a shift and "
        f"{_rate(worst['scores']['roc_auc'])} at worst ({worst['words']}; "
        f"{signed(worst['difference']['roc_auc']['value'])}). Up to {100 * flipped['flipped']['value']:.0f} % of the "
        f"decisions flip ({flipped['words']}). No images of another laboratory were scored."
    )
