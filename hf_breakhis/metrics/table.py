"""The metrics by name."""

import evaluate

from hf_breakhis.metrics.fold_aggregate.fold_aggregate import FoldAggregate
from hf_breakhis.metrics.image_report.image_report import ImageReport
from hf_breakhis.metrics.recognition_rate.recognition_rate import RecognitionRate

METRICS: dict[str, type[evaluate.Metric]] = {
    "image_report": ImageReport,
    "recognition_rate": RecognitionRate,
    "fold_aggregate": FoldAggregate,
}
