"""The words under each figure: they stand alone, and define what they use."""

from typing import Any

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.results.formatting import count, group_words, percent, things

CAPTIONS = {
    "baselines": (
        "Accuracy{compared}. Points: all test images pooled; {interval}. Ticks below: single folds.{baselines}"
    ),
    "confusion_mean": (
        "Mean confusion matrix over {folds}: number of test images of each true class (rows) that were given each "
        "predicted class (columns). Shading and per cent: share of the true class."
    ),
    "confusion_folds": (
        "Confusion matrix of each fold. Rows are the true class, columns the predicted one; shading and per cent: "
        "share of the true class.{numbers}"
    ),
    "roc_mean": (
        "Receiver operating characteristic: share of {positive} images found (sensitivity) against share of other "
        "images falsely called {positive}, over all thresholds. Dark: mean of {folds} at equal false positive rate; "
        "grey: single folds. AUC: mean of the folds' areas under the curve; .5 is chance (dashed)."
    ),
    "roc_folds": (
        "Receiver operating characteristic of each fold (dark) among the others (grey), with the area under it (AUC). "
        "Sensitivity is the share of {positive} images found; dashed is chance."
    ),
    "roc_patients": (
        "Receiver operating characteristic by patient: share of {positive} patients found (sensitivity) against share "
        "of other patients falsely called {positive}, over all thresholds of the mean probability of the patient's "
        "images. Dark: mean of {folds}; grey: single folds, which step because a fold has few patients; {patient}."
    ),
    "learning_curves": (
        "Learning curves, one line a fold: loss on the training set as the mean over the epoch; loss and accuracy on "
        "the {watched} part after the epoch; learning rate of its last update."
    ),
    "reliability": (
        "Reliability of the predicted probabilities, pooled test images in bins of equal width. A point on the dashed "
        "diagonal is well calibrated; above it the class is more frequent than predicted. ECE: mean distance from the "
        "diagonal, weighted by images. Brier score: mean squared error of the probability; lower is better. Grey "
        "squares: after dividing the logits by a temperature fitted on the other folds. Bars: 95 % intervals of the "
        "share; bins that rest on fewer than ten {group}s have none."
    ),
    "prevalence": (
        "What a decision at the threshold would mean where another share of the images is {positive} than here: PPV, "
        "the share of images called {positive} that are, and NPV, the share of the others that are not, if "
        "sensitivity and specificity stayed as on these images. Bands: 95 % intervals over the groups drawn."
    ),
    "decision_curves": (
        "Decision curves: net benefit of the calibrated probability over threshold probabilities, cross-fitted. Net "
        "benefit is the share of true positives minus the share of false positives times the odds of the threshold. "
        "Dashed: all cases called {positive}; grey: none. Bands: pointwise 95 % intervals over {group}s. All shares "
        "are those of these test sets, not of a clinic."
    ),
    "referral": (
        "Referral: error among the cases that are kept if the least confident ones are referred to a pathologist. "
        "Confidence is the distance from the threshold in log odds. Bars: 95 % intervals over {group}s."
    ),
    "shifts": (
        "ROC AUC (mean of the folds) of the same test images under simulated shifts of three strengths; 0 is no "
        "shift. Each image is judged by the model of its fold. Bars: 95 % intervals over {group}s; dashed is chance."
    ),
    "zones": (
        "Zones of patients by their mean probability, fitted on the other folds and counted on the fold left out."
    ),
    "magnifications": (
        "Scores at each magnification of the microscope, pooled over folds; {interval}. Sensitivity is the share of "
        "{positive} images predicted {positive}, specificity the share of {negative} images predicted {negative}, "
        "recognition rate the mean over patients of the share of their images classified correctly; {patient}.{behind}"
    ),
    "tumor_types": (
        "Share of test images classified correctly, by tumour type, pooled over folds; {interval}. Right: numbers of "
        "images and of specimens behind each point; {specimen}."
    ),
    "patients": (
        "Patient scores: one point per patient, the share of the patient's test images classified correctly, sorted "
        "within tumour type. The dashed line is their mean, the recognition rate. Some of the lowest are named; "
        "{patient}."
    ),
    "repeats": (
        "Accuracy of each repeat of the recipe with other split and initial seeds, all test images pooled. Bars: "
        "interval of that repeat, how far it may move with other specimens; the spread of the points is how far it "
        "moves with other seeds. Dashed: mean of the repeats."
    ),
    "study": (
        "Left: {score} of each row, all test images pooled, mean of the repeats; {interval}. Right: difference of the "
        "row from its reference on the same images, with an interval over the same specimens; the dashed line is no "
        "difference. Grey: the base."
    ),
    "specimens": (
        "Learning curve: {score} against the mean number of specimens in the training set of a fold. The specimens of "
        "a smaller training set are part of every larger one, and the test sets are the same; {interval}."
    ),
    "trials": (
        "{score_name} of each trial of the final search, in their order. Line: the best one so far. Hollow: "
        "trials that were stopped after some folds, with their score so far. Dashed: the nested score, with its "
        "interval as a band. The distance of the line from the dashed one is the optimism of the selection."
    ),
    "importance": (
        "Importance of each searched field: its share of the importance of all fields, estimated by Optuna from the "
        "trials (PED-ANOVA). Bars: final search; points: search of each outer fold."
    ),
    "compared": (
        "Accuracy of each run, all test images pooled, the mean of its repeats where it has them; {interval}. Ticks "
        "below: its repeats with other seeds, or its folds where it has none. Diamonds above: what the paper prints "
        "for the same recipe, without an interval and on other data."
    ),
}
ONE_FOLD = {
    "confusion_mean": (
        "Confusion matrix: number of test images of each true class (rows) that were given each predicted class "
        "(columns). Shading and per cent: share of the true class."
    ),
    "roc_mean": (
        "Receiver operating characteristic: share of {positive} images found (sensitivity) against share of other "
        "images falsely called {positive}, over all thresholds. AUC: area under the curve; .5 is chance (dashed)."
    ),
}
BASELINES = {
    "mean_color": "Mean colour is a logistic regression on the mean and spread of red, green and blue.",
    "majority": "Majority class always predicts the most frequent class of the training set.",
}
FOLD_NUMBERS = " Folds are counted from 0, as in the run folder; the paper counts from 1."
MANY_CLASSES = {
    "roc_mean": (
        "Receiver operating characteristic of each class against all others: share of the class's images found "
        "(sensitivity) against share of other images falsely called so, over all thresholds. Dark: mean of {folds}; "
        "grey: single folds; AUC: area under the mean curve; .5 is chance (dashed)."
    ),
    "magnifications": (
        "Scores at each magnification of the microscope, pooled over folds; {interval}. Recognition rate: mean over "
        "patients of the share of their images classified correctly; {patient}.{behind}"
    ),
}
TUMOR_LETTERS = (
    "A adenosis, F fibroadenoma, PT phyllodes tumor, TA tubular adenoma (benign); DC ductal, LC lobular, MC mucinous, "
    "PC papillary carcinoma (malignant)."
)


def caption(name: str, summary: dict[str, Any], watched: str = "evaluation") -> str:
    """The caption of a figure in the words of this run; a figure without one gets its name.

    Args:
        name: key of `plots.FIGURES`.
        summary: summary.json.
        watched: part that was scored after each epoch.
    """
    words = {
        "folds": things(len(summary.get("protocol", {}).get("folds_present", [])), "fold"),
        "interval": bars(summary),
        "positive": summary.get("positive_class") or "such",
        "negative": (summary.get("classes") or ["other"])[0],
        "watched": watched,
        "group": (summary.get("interval") or {}).get("group", "specimen"),
        **group_words(summary["data"]),
        "score_name": summary.get("score_name", ""),
        "score": _lower(summary.get("score_name", "")),
        "numbers": "" if summary.get("protocol", {}).get("imported") else FOLD_NUMBERS,
        "compared": " compared with baselines" if any((summary.get("baselines") or {}).values()) else "",
        "baselines": _baselines(summary.get("baselines") or {}),
        "behind": _behind(summary.get("by_magnification") or {}),
    }
    templates = CAPTIONS | (ONE_FOLD if words["folds"] == "1 fold" else {})
    templates |= MANY_CLASSES if len(summary.get("classes", [])) > 2 else {}
    text = templates.get(name, name.replace("_", " ") + ".").format(**words)
    if name == "learning_curves" and summary.get("members"):
        text += " Each line is the mean over the members of the ensemble."
    named = name == "patients" and source_of(summary["data"]).has_breakhis_names
    return f"{text} {TUMOR_LETTERS}" if named else text


def _baselines(found: dict[str, Any]) -> str:
    return "".join(f" {words}" for name, words in BASELINES.items() if found.get(name))


def _lower(name: str) -> str:
    return name if name.startswith("ROC") else name[:1].lower() + name[1:]


def _behind(slices: dict[str, Any]) -> str:
    """The numbers of images and specimens behind each magnification, since below ten there is no interval."""
    numbers = [
        f"{name} {count(part['num_images'])} images of {things(part['num_specimens'], 'specimen')}"
        for name, part in slices.items()
        if part.get("num_specimens") is not None
    ]
    return f" Behind the points: {', '.join(numbers)}; fewer than ten have no interval." if numbers else ""


def bars(summary: dict[str, Any]) -> str:
    """What the bars of a figure are."""
    words = interval_words(summary)
    return words if words.startswith("no ") else f"bars: {words}; hollow points have none"


def interval_words(summary: dict[str, Any]) -> str:
    """What the intervals are, or why there are none."""
    described = summary.get("interval") or {}
    if described.get("reason") or not described.get("method"):
        return f"no interval ({str(described.get('reason') or 'not computed').rstrip('.')})"
    drawn = f"{count(described['resamples'])} resamples of {count(described['num_groups'])}"
    about = "for the recipe, " if described.get("estimand") == "recipe" else "for these trained models, "
    return f"{percent(described['level'])} interval {about}{described['method']} ({drawn})"
