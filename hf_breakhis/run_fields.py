"""The fields that the JSON files of a run have, for the checked readers in run.py."""

from hf_breakhis.tables import NUMBER, OPTIONAL_TEXT, Fields

_COUNT = (int, type(None))
DATA: Fields = {
    "source": str, "location": OPTIONAL_TEXT, "manifest_sha256": str, "num_images": int, "num_patients": _COUNT,
    "num_specimens": _COUNT, "counts": dict, "findings": list, "warnings": list,
}  # fmt: skip
SUMMARY: Fields = {
    "name": str, "data": dict, "protocol": dict, "classes": list, "headline": dict, "warnings": list,
}  # fmt: skip
CAUTION: Fields = {"kind": str, "text": str}
DECISION: Fields = {
    "rule": OPTIONAL_TEXT, "reason": OPTIONAL_TEXT, "threshold": (*NUMBER, type(None)),
    "temperature": (*NUMBER, type(None)),
}  # fmt: skip
COST: Fields = {"folds": dict, "total_seconds": NUMBER, "hardware": dict}
FOLD_COST: Fields = {"train_seconds": NUMBER, "predict_seconds": NUMBER, "train_images_per_second": NUMBER}
EXAMPLE: Fields = {"file_name": str, "label": int, "predicted": int, "probability": NUMBER, "kind": str}
EXPLAINED: Fields = {"weights_sha256": str, "methods": list, "images": list, "deletion": dict}
EVALUATION: Fields = {
    "model": dict, "decision": dict, "internal": (dict, type(None)), "training": dict, "classes": dict,
}  # fmt: skip
