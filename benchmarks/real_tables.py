"""The tables about real images; `tables.py` puts them into the pages."""

from collections.abc import Callable
from typing import Any

from table import table


def is_in_short(title: str) -> bool:
    """Return whether the README and its figure show a part: one head per features, and one fine-tuned network."""
    return " as c" not in title or title.endswith("fine-tuned as c3_tuned")


def real(found: dict[str, Any], in_short: bool = False) -> str:
    """Return scores, premiums and baselines on real images, a row for each split; `in_short` for the README."""

    def cell(one: dict[str, Any], sign: str = "") -> str:
        if one.get("low") is None:
            return f"{one['value']:{sign}.3f}"
        return f"{one['value']:{sign}.3f} ({one['low']:{sign}.3f} to {one['high']:{sign}.3f})"

    rows = []
    parts = {title: part for title, part in found["parts"].items() if not in_short or is_in_short(title)}
    for title, part in parts.items():
        for level, row in part["rows"].items():
            color = row["baselines"].get("mean_color")
            rows.append([
                f"{title}, by {level}", cell(row["scores"]["accuracy"]), cell(row["scores"]["roc_auc"]),
                cell(row["premium"]["accuracy"], "+") if "premium" in row else "",
                f"{color['accuracy']:.3f}" if color else "", f"{row['baselines']['majority']['accuracy']:.3f}",
            ])  # fmt: skip
    head = ["images, vectors and split", "accuracy", "AUC", "leakage premium in accuracy", "mean colour", "majority"]
    counts = dict.fromkeys(
        f"{title.partition(',')[0]}: {part['num_images']:,} images of {part['num_patients']} slide folders and "
        f"{part['num_specimens']} specimens"
        for title, part in parts.items()
    )
    repeats = next(iter(parts.values()))["repeats"]
    skipped = [f"Skipped: {title}, since {reason}." for title, reason in found["skipped"].items()]
    how = (
        f"Means over {repeats} repeats of 5 folds, with 95 % confidence intervals over specimens: by patient and "
        "specimen about the recipe, by image about the trained models."
    )
    notes = [
        f"{title.partition(', ')[2]}: {part['repeats']} repeats of {part['settings']['num_folds']} folds, "
        f"{part['settings']['num_train_epochs']} epochs" + (f", on {part['device']}" if "fine-tuned" in title else "")
        for title, part in parts.items()
        if " as c" in title
    ]
    return "\n\n".join([table(head, rows), f"{'; '.join(counts)}. {how} {'; '.join(notes)}.", *skipped])


def resemblance(found: dict[str, Any]) -> str:
    """Return the same measurements on real images and on two twins."""
    sets = {"real": "real", "twin": "twin", "demo": "twin of the demo"}
    parts = [(found["sets"][name][power], f"{words}, {power}") for power in ("100X", "200X")
             for name, words in sets.items()]  # fmt: skip
    measures: dict[str, Callable[[Any], str]] = {}
    for level in ("image", "specimen"):
        measures[f"head, accuracy by {level}"] = lambda one, at=level: f"{one['head'][at]['accuracy']['value']:.3f}"
    measures["leakage premium of the head"] = lambda one: f"{one['premium']['accuracy']['value']:+.3f}"
    for level in ("image", "specimen"):
        measures[f"mean colour, accuracy by {level}"] = lambda one, at=level: f"{one['baseline'][at]['accuracy']:.3f}"
    measures["nearest neighbor is of the same specimen (chance)"] = lambda one: (
        f"{100 * one['signature']['share']:.0f} % ({100 * one['signature']['chance']:.0f} %)"
    )
    measures["mean of red, green and blue"] = lambda one: ", ".join(f"{x:.0f}" for x in one["colour"]["mean"])
    for key in ("between_specimens", "within_specimens"):
        words = f"standard deviation of colour {key.replace('_', ' ')}"
        measures[words] = lambda one, key=key: f"{sum(one['colour'][key]) / 3:.1f}"
    rows = [[words, *(show(one) for one, _ in parts)] for words, show in measures.items()]
    real = found["sets"]["real"]
    sizes = "; ".join(
        f"{power}: {one['images']} images of {one['specimens']} specimens" for power, one in real.items()
    )
    head = ["", *(title for _, title in parts)]
    return f"{table(head, rows)}\n\n{sizes}. Scores are means of {found['repeats']} repeats."
