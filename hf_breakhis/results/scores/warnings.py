"""Sentences: what a summary says in words, the measurement first and every reason for doubt."""

from typing import Any

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.results.formatting import percent, things
from hf_breakhis.results.scores.intervals import MIN_GROUPS

ONE_SEED = (
    "One split seed and one initial seed: how far the scores move with other seeds is not in these numbers; "
    "`repeats` measures it."
)


THIN = 3  # groups of a class in a test part


def headline(summary: dict[str, Any]) -> str:
    """Return one sentence: what was measured, with which interval, at which group level."""
    accuracy, interval = summary["image"]["pooled"]["accuracy"], summary["interval"]
    tested = sum(row["test_images"] for row in summary["leakage"]["per_fold"])
    different = summary["protocol"].get("num_tested") or tested
    tests = f"{tested:,} test images" if different == tested else f"{tested:,} tests of {different:,} images"
    sentence = f"{100 * accuracy['value']:.1f} % of {tests} were classified right"
    if accuracy["low"] is None:
        sentence += " (no interval)"
    else:
        bounds = f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f} %"
        sentence += f" (95 % interval {bounds}, bootstrap over {things(interval['num_groups'], interval['group'])})"
    return f"{sentence} in {design(summary['protocol'])}{_kept_apart(summary['leakage'])}."


def design(protocol: dict[str, Any]) -> str:
    """Return how the images were split, as the end of "measured in"."""
    total = len(protocol["folds_present"]) + len(protocol["folds_missing"])
    if protocol["split_by"] == "official":
        whole = "the official hold-outs of BreakHis"
    elif protocol["split_by"] == "folders":
        whole = "the hold-out given by the folders of the images"
    elif total == 1:
        whole = f"one hold-out split by {protocol['split_by']}"
    else:
        whole = f"a {total}-fold cross-validation split by {protocol['split_by']}"
    return f"{_folds(protocol['folds_present'])} of {whole}" if protocol["folds_missing"] else whole


def warnings(summary: dict[str, Any]) -> list[str]:
    """Return what must be read before the scores, leaks first."""
    protocol, data = summary["protocol"], summary["data"]
    found = [*_leaks(summary["leakage"], protocol)]
    if protocol["selected_on"] == "test":
        found.append(
            "Selected on the test part: a checkpoint, an early stop or a learning rate was chosen by the same images "
            "that give the scores, so the scores flatter. `validation_size` gives a part for choosing."
        )
    if protocol["folds_missing"]:
        count = len(protocol["folds_missing"]) + len(protocol["folds_present"])
        found.append(
            f"{_folds(protocol['folds_missing']).capitalize()} of {count} did not end: the scores are those of "
            f"{_folds(protocol['folds_present'])} alone."
        )
    is_twin = source_of(data).is_generated
    if is_twin:
        found.append("These numbers are about the twin, a data set of generated pictures, not about BreakHis.")
    found += _unbeaten(summary)
    found += [text for text in data["warnings"] if not (is_twin and "twin" in text)]  # said above
    found += _doubtful_intervals(summary["interval"])
    found += _several_classes(summary["patient"])
    found += _thin_folds(summary["image"]["per_fold"], summary["interval"]["group"])
    if protocol["split_by"] == "official" and not protocol["covers_all_images_once"]:
        found.append(_official(protocol.get("never_tested")))
    return [*found, ONE_SEED]


def _several_classes(patient: dict[str, Any] | None) -> list[str]:
    """Return a warning where a patient has no class of its own."""
    several = sum(row["label"] is None for row in (patient or {}).get("table") or [])
    if not several:
        return []
    who = "1 patient has" if several == 1 else f"{several} patients have"
    return [
        f"{who} images of more than one class. The recognition rate counts them; the accuracy of the mean probability "
        "per patient is not defined, and sensitivity and specificity per patient leave them out."
    ]


def _thin_folds(reports: list[dict[str, Any]], group: str) -> list[str]:
    """Return a warning where a class of a fold's test part is one group, or two."""
    thin = [
        f"fold {report['fold']} {things(count, group)} of {name}"
        for report in reports
        for name, count in report.get("num_groups_by_class", {}).items()
        if 0 < count < THIN and group != "image"
    ]
    if not thin:
        return []
    return [f"Of few {group}s a fold tells little: to test with, {', '.join(thin)}."]


def _official(never: list[int] | None) -> str:
    """Return what the official folds are."""
    told = f"{never[0]} of {things(never[1], 'patient')} are never tested" if never else "others are never tested"
    what = "The official folds are repeated hold-outs, not a partition"
    return f"{what}: some images are tested several times, and {told}."


def _leaks(leakage: dict[str, Any], protocol: dict[str, Any]) -> list[str]:
    total = sum(row["test_images"] for row in leakage["per_fold"])
    found = []
    for group in ("patient", "specimen"):
        count = _sum(leakage, f"same_{group}")
        if count and not (group == "specimen" and count == _sum(leakage, "same_patient")):
            found.append(
                f"{count:,} of {total:,} test images ({percent(count / total)}) show a {group} whose other images the "
                f"model was trained on; the scores say how well known {group}s are recognised, not new ones."
            )
    seen = sum(row["seen_in_training"] for row in leakage["per_fold"])
    if protocol["carry_over"] != "none":
        found.append(
            f"The model was carried from fold to fold: {seen:,} of {total:,} test images ({percent(seen / total)}) "
            "are images it had been trained on in an earlier fold, and later folds were trained for longer."
        )
    elif seen:
        share = percent(seen / total)
        found.append(f"{seen:,} of {total:,} test images ({share}) are images that the model was trained on.")
    if leakage["share_same_patient"] is None and leakage["share_same_specimen"] is None:
        found.append("The source names neither patients nor specimens: whether they were kept apart is unknown.")
    return found


def _unbeaten(summary: dict[str, Any]) -> list[str]:
    """Return a warning for each baseline, which knows nothing of tissue, that the model does not clearly beat."""
    names = {"majority": "answering the majority class", "mean_color": "a logistic regression on mean colour"}
    pooled = summary["image"]["pooled"]
    found = []
    for name, words in names.items():
        baseline = summary["baselines"].get(name) or {}
        below, near = [], []
        for score, short in (("accuracy", "accuracy"), ("roc_auc", "ROC AUC")):
            ours, theirs = pooled.get(score) or {}, baseline.get(score)
            if theirs is None or ours.get("value") is None:
                continue
            told = f"{short} {ours['value']:.3f} against {theirs:.3f}"
            if theirs >= ours["value"]:
                below.append(told)
            elif ours["low"] is not None and theirs >= ours["low"]:
                near.append(told)
        if below:
            found.append(f"The model is no better than {words}: {', '.join(below)}.")
        elif near:
            found.append(f"The model is not clearly better than {words}, within the interval: {', '.join(near)}.")
    return found


def _doubtful_intervals(interval: dict[str, Any]) -> list[str]:
    if interval["reason"] is not None:
        of_what = "intervals" if interval["num_groups"] < MIN_GROUPS else "interval of the accuracy"
        return [f"No {of_what}: {interval['reason']}"]
    found = []
    few = {name: count for name, count in interval["num_groups_by_class"].items() if count < MIN_GROUPS}
    if few:
        plural = f"{interval['group']}s"
        told = ", ".join(f"{count} of {name}" for name, count in few.items())
        found.append(
            f"The test parts have few {plural} of a class ({told}); scores that hang on fewer than {MIN_GROUPS} "
            f"{plural} have no interval."
        )
    if interval["group"] == "image":
        found += [
            "The intervals resample single images, since no groups are known; where images share a patient they are "
            "too narrow."
        ]
    return found


def _kept_apart(leakage: dict[str, Any]) -> str:
    patient, specimen = leakage["share_same_patient"], leakage["share_same_specimen"]
    seen = leakage["share_seen"]
    if seen:
        return f", although {percent(seen)} of them are images the model was trained on"
    if patient:
        return f", although {percent(patient)} of them show a patient whose other images the model was trained on"
    if specimen:
        return (
            ", with no patient on both sides of a split, although "
            f"{percent(specimen)} of them show a specimen whose other images the model was trained on"
        )
    if patient is None and specimen is None:
        return "; the source names no patients, so whether they were kept apart is unknown"
    return f", with no {'specimen' if specimen is not None else 'patient'} on both sides of a split"


def _sum(leakage: dict[str, Any], name: str) -> int | None:
    values = [row[name] for row in leakage["per_fold"]]
    return None if None in values else sum(values)


def _folds(numbers: list[int]) -> str:
    """Return "fold 1", "folds 0 and 2", "folds 0, 1 and 2"."""
    if len(numbers) == 1:
        return f"fold {numbers[0]}"
    return f"folds {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
