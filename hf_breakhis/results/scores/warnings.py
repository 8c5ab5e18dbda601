"""The headline of a summary in words, and the warnings to read before its scores."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from hf_breakhis.data.inventory import NUM_OFFICIAL_FOLDS
from hf_breakhis.data.sources.about import source_of
from hf_breakhis.results.formatting import percent, things
from hf_breakhis.results.scores.estimands import Estimand
from hf_breakhis.results.scores.intervals import MIN_GROUPS, resampling
from hf_breakhis.results.scores.leakage import NOT_ASSESSED, UNKNOWN_TRAINING, is_assessed


class Kind(StrEnum):
    """What a warning is about; pages select and order warnings by it, never by their words."""

    LEAK = "leak"
    SELECTED_ON_TEST = "selected_on_test"
    INCOMPLETE = "incomplete"
    GENERATED = "generated"
    BASELINE = "baseline"
    DATA = "data"
    INTERVAL = "interval"
    SEVERAL_CLASSES = "several_classes"
    THIN_FOLDS = "thin_folds"
    OFFICIAL = "official"
    UNKNOWN_GROUPS = "unknown_groups"
    SEEDS = "seeds"
    PAPER = "paper"
    DESIGN = "design"


OPTIMISTIC = (Kind.LEAK, Kind.SELECTED_ON_TEST)  # the scores are higher than those of new patients


@dataclass(frozen=True)
class Caution:
    """One warning: its kind, and a text that can be understood without context."""

    kind: Kind
    text: str


THIN = 3  # groups of a class in a test set
ONE_SEED = Caution(
    Kind.SEEDS,
    "This run uses one split seed and one training seed. Use `--repeats` to measure variability across seeds.",
)
ONE_SPLIT = Caution(
    Kind.SEEDS,
    "This run uses one split seed and one ensemble for each fold. Use `--repeats` to measure variability across "
    "seeds.",
)
GENERATED = Caution(
    Kind.GENERATED,
    "These scores are for a synthetic twin: generated images with the groups and counts of a real data set. They say "
    "nothing about BreakHis or real tissue.",
)


def to_json(cautions: list[Caution]) -> list[dict[str, str]]:
    """Return warnings as summary.json and comparison.json hold them."""
    return [asdict(caution) for caution in cautions]


def texts_of(summary: Mapping[str, Any], *kinds: Kind) -> list[str]:
    """Return the texts of a summary's warnings that are of one of these kinds, in the order of the summary."""
    return [caution["text"] for caution in summary["warnings"] if caution["kind"] in kinds]


def texts_without(summary: Mapping[str, Any], *kinds: Kind) -> list[str]:
    """Return the texts of all other warnings of a summary."""
    return [caution["text"] for caution in summary["warnings"] if caution["kind"] not in kinds]


def headline(summary: dict[str, Any]) -> str:
    """Return one sentence: what was measured, with which interval, at which group level."""
    accuracy, interval = summary["image"]["pooled"]["accuracy"], summary["interval"]
    protocol = summary["protocol"]
    tested = sum(row["test_images"] for row in summary["leakage"]["per_fold"])
    different = protocol.get("num_tested") or tested
    tests = f"{tested:,} test images" if different == tested else f"{tested:,} tests of {different:,} images"
    sentence = f"{100 * accuracy['value']:.1f} % of {tests} were classified correctly"
    if accuracy["low"] is None:
        sentence += " (no confidence interval)"
    else:
        bounds = f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f} %"
        groups = f"{things(interval['num_groups'], interval['group'])}, {interval['resamples']:,} resamples"
        about = "the recipe" if interval["estimand"] == Estimand.RECIPE else "these trained models"
        how = f"{resampling(interval['group'])}: {groups}"
        sentence += f" (95 % confidence interval for {about} {bounds}; {how})"
    return f"{sentence} in {design(protocol)}{_overlap(summary['leakage'], 'evaluated' in protocol)}."


def design(protocol: dict[str, Any]) -> str:
    """Return how the images were split, as the end of "measured in"."""
    total = len(protocol["folds_present"]) + len(protocol["folds_missing"])
    if protocol["split_by"] == "official":
        whole = "the official hold-outs of BreakHis"
        if protocol.get("imported") and total < NUM_OFFICIAL_FOLDS:
            whole = f"{_folds(protocol['folds_present'])} of {whole}"
    elif protocol["split_by"] == "folders":
        whole = "the hold-out given by the folders of the images"
    elif protocol.get("evaluated"):
        whole = "an evaluation of a model on other images"
    elif protocol.get("imported"):
        whole = f"imported predictions of {things(total, 'fold')}"
    elif total == 1:
        whole = f"one hold-out split by {protocol['split_by']}"
    else:
        whole = f"a {total}-fold cross-validation split by {protocol['split_by']}"
    return f"{_folds(protocol['folds_present'])} of {whole}" if protocol["folds_missing"] else whole


def warnings(summary: dict[str, Any]) -> list[Caution]:
    """Return what must be read before the scores, leaks first."""
    protocol, data = summary["protocol"], summary["data"]
    found = _leaks(summary["leakage"], protocol)
    if protocol["selected_on"] == "test":
        found.append(
            Caution(
                Kind.SELECTED_ON_TEST,
                "Selected on the test set: a checkpoint, the stopping epoch or a learning rate was chosen on the "
                "images that give the scores. The scores are optimistic. Set `validation_size` to select on a "
                "validation set.",
            )
        )
    if protocol["folds_missing"]:
        count = len(protocol["folds_missing"]) + len(protocol["folds_present"])
        text = (
            f"{_folds(protocol['folds_missing']).capitalize()} of {count} did not finish. The scores are those of "
            f"{_folds(protocol['folds_present'])}."
        )
        found.append(Caution(Kind.INCOMPLETE, text))
    if source_of(data).is_generated:
        found.append(GENERATED)
    found += [Caution(Kind.BASELINE, text) for text in _unbeaten(summary)]
    found += [Caution(Kind.DATA, text) for text in data["warnings"]]
    found += [Caution(Kind.INTERVAL, text) for text in _doubtful_intervals(summary["interval"])]
    found += [Caution(Kind.SEVERAL_CLASSES, text) for text in _several_classes(summary["patient"])]
    thin = _thin_folds(summary["image"]["per_fold"], summary["interval"]["group"])
    found += [Caution(Kind.THIN_FOLDS, text) for text in thin]
    if protocol["split_by"] == "official" and not protocol["covers_all_images_once"]:
        found.append(Caution(Kind.OFFICIAL, _official(protocol.get("never_tested"))))
    if protocol.get("imported"):
        return found
    return [*found, ONE_SPLIT if "members" in summary else ONE_SEED]


def _several_classes(patient: dict[str, Any] | None) -> list[str]:
    several = sum(row["label"] is None for row in (patient or {}).get("table") or [])
    if not several:
        return []
    who = "1 patient has" if several == 1 else f"{several} patients have"
    return [
        f"{who} images of more than one class. The recognition rate includes them. The patient accuracy of the mean "
        "probability is undefined. The sensitivity and specificity per patient exclude them."
    ]


def _thin_folds(reports: list[dict[str, Any]], group: str) -> list[str]:
    """Return a warning where a class of a fold's test set is one group, or two."""
    counts = [
        (report["fold"], [f"{count} {name}" for name, count in classes.items() if 0 < count < THIN])
        for report in reports
        for classes in [report.get("num_groups_by_class", {})]
    ]
    thin = [f"fold {fold} has {' and '.join(few)}" for fold, few in counts if few]
    if not thin or group == "image":
        return []
    return [f"Some test sets contain few {group}s: {', '.join(thin)}. Interpret per-fold scores with caution."]


def _official(never: list[int] | None) -> str:
    which = f"{never[0]} of {things(never[1], 'patient')} are never tested" if never else "others are never tested"
    what = "The official folds are repeated hold-outs, not a partition"
    return f"{what}: some images are tested several times, and {which}."


def _leaks(leakage: dict[str, Any], protocol: dict[str, Any]) -> list[Caution]:
    if not is_assessed(leakage):
        return [Caution(Kind.UNKNOWN_GROUPS, UNKNOWN_TRAINING if protocol.get("evaluated") else NOT_ASSESSED)]
    total = sum(row["test_images"] for row in leakage["per_fold"])
    found = []
    for group in ("patient", "specimen"):
        count = _sum(leakage, f"same_{group}")
        if count and not (group == "specimen" and count == _sum(leakage, "same_patient")):
            found.append(
                f"{count:,} of {total:,} test images ({percent(count / total)}) show a {group} whose other images are "
                f"in the training set. The scores do not measure performance on new {group}s."
            )
    seen = sum(row["seen_in_training"] for row in leakage["per_fold"])
    share = percent(seen / total)
    if protocol["carry_over"] != "none":
        found.append(
            f"The model was carried over from fold to fold: {seen:,} of {total:,} test images ({share}) were training "
            "images of an earlier fold. Later folds were also trained for longer."
        )
    elif seen:
        found.append(f"{seen:,} of {total:,} test images ({share}) are also training images of the model.")
    cautions = [Caution(Kind.LEAK, text) for text in found]
    if leakage["share_same_patient"] is None and leakage["share_same_specimen"] is None:
        text = "The source names no patients and no specimens. Training and test sets may share patients."
        cautions.append(Caution(Kind.UNKNOWN_GROUPS, text))
    return cautions


def color_note(summary: Mapping[str, Any]) -> str | None:
    """Return a sentence about mean color in the synthetic twin, if it predicts nearly as well as the model.

    It is no warning: color was measured to be strong in real images too, and the twin resembles them.
    """
    below, near = _against(summary, "mean_color")
    if below or not near or not source_of(summary["data"]).is_generated:
        return None
    return (
        f"Mean colour alone predicts nearly as well as the model: {'; '.join(near)} (95 % confidence interval of the "
        "paired difference). Colour differs between the classes of the synthetic twin, as it does in real images."
    )


def _unbeaten(summary: Mapping[str, Any]) -> list[str]:
    """Return a warning for each baseline that the model does not clearly beat."""
    found = []
    for name, words in {"majority": "majority-class", "mean_color": "mean-colour"}.items():
        below, near = _against(summary, name)
        if below:
            found.append(f"The model does not beat the {words} baseline: {', '.join(below)}.")
        elif near and not (name == "mean_color" and color_note(summary)):
            found.append(
                f"The model does not clearly beat the {words} baseline on the same images: {'; '.join(near)} (95 % "
                "confidence interval of the paired difference)."
            )
    return found


def _against(summary: Mapping[str, Any], name: str) -> tuple[list[str], list[str]]:
    """Return the scores in which a model is no better than a baseline, and those in which the interval allows it."""
    pooled = summary["image"].get("pooled") or {}
    baseline = (summary.get("baselines") or {}).get(name) or {}
    below, near = [], []
    for score, short in (("accuracy", "accuracy"), ("roc_auc", "ROC AUC")):
        ours, theirs = pooled.get(score) or {}, baseline.get(score)
        if theirs is None or ours.get("value") is None:
            continue
        difference = (baseline.get("difference") or {}).get(score) or {"low": None}
        if theirs >= ours["value"]:
            below.append(f"{short} {ours['value']:.3f} (baseline {theirs:.3f})")
        elif difference["low"] is not None and difference["low"] <= 0:
            bounds = f"{difference['low']:+.3f} to {difference['high']:+.3f}"
            near.append(f"{short} {ours['value']:.3f} against {theirs:.3f}, difference {bounds}")
    return below, near


def _doubtful_intervals(interval: dict[str, Any]) -> list[str]:
    if interval["reason"] is not None:
        of_what = "" if interval["num_groups"] < MIN_GROUPS else " for the accuracy"
        return [f"No confidence interval{of_what}: {interval['reason']}"]
    found = []
    few = {name: count for name, count in interval["num_groups_by_class"].items() if count < MIN_GROUPS}
    if few:
        plural = f"{interval['group']}s"
        counts = ", ".join(f"{count} {name}" for name, count in few.items())
        found.append(
            f"The test sets contain few {plural} of a class ({counts}). Scores based on fewer than {MIN_GROUPS} "
            f"{plural} have no confidence interval."
        )
    if interval["group"] == "image":
        found.append(
            "The confidence intervals resample single images because no groups are known. They are too narrow if "
            "images share a patient."
        )
    return found


def _overlap(leakage: dict[str, Any], is_evaluated: bool = False) -> str:
    """Return what training and test sets share, as the end of the headline."""
    patient, specimen = leakage["share_same_patient"], leakage["share_same_specimen"]
    seen = leakage["share_seen"]
    if seen is None and is_evaluated:
        return "; the training data of the model are unknown, so leakage was not assessed"
    if seen is None:
        return "; no training list was given, so leakage was not assessed"
    if seen:
        return f", although {percent(seen)} of them are also training images of the model"
    if is_evaluated and patient == 0 and not specimen:
        return ", with no patient that is also in the training set"
    if patient:
        return f", although {percent(patient)} of them show a patient whose other images are in the training set"
    if specimen:
        return (
            ", with no patient on both sides of a split, although "
            f"{percent(specimen)} of them show a specimen whose other images are in the training set"
        )
    if patient is None and specimen is None:
        return "; the source names no patients, so training and test sets may share patients"
    return f", with no {'specimen' if specimen is not None else 'patient'} on both sides of a split"


def _sum(leakage: dict[str, Any], name: str) -> int | None:
    values = [row[name] for row in leakage["per_fold"]]
    return None if None in values else sum(values)


def _folds(numbers: list[int]) -> str:
    """Return "fold 1", "folds 0 and 2", "folds 0, 1 and 2"."""
    if len(numbers) == 1:
        return f"fold {numbers[0]}"
    return f"folds {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
