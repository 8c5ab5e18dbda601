"""Confusion matrices of two classes from which printed scores can come.

The search is exact however many images there are: of every possible number of correctly classified images of the first
class, the numbers of the second that fit are an interval, since every score grows with them.
"""

import numpy as np

from hf_breakhis.results.published.table import Printed, PublishedFold

MOST_MATRICES = 2_000_000  # that are looked at one by one
SLACK = 1e-9  # of floating-point numbers, in favour of the table
MatrixScores = dict[str, np.ndarray]  # by name: "benign precision", "macro precision", "accuracy"


class Matrices:
    """The confusion matrices of two classes that fit.

    Attributes:
        count: how many.
        pairs: (count, 2) correctly classified images of each class; None where they are too many to list.
    """

    def __init__(self, count: int, pairs: np.ndarray | None) -> None:
        self.count, self.pairs = count, pairs


def matrices(fold: PublishedFold) -> Matrices:
    """Find every confusion matrix of two classes whose scores round to the printed ones."""
    name0, name1 = fold.classes
    n0, n1 = fold.supports[name0], fold.supports[name1]
    right0 = np.arange(n0 + 1, dtype=np.int64)
    low, high = np.zeros_like(right0), np.full_like(right0, n1)
    kept = np.ones(n0 + 1, bool)

    def require(printed: Printed | None, part: np.ndarray | int, slope: int, whole: np.ndarray, step: int) -> None:
        """Keep where (part + slope * right1) / (whole + step * right1) rounds to the printed number."""
        nonlocal low, high
        if printed is None:
            return
        for bound, is_low in ((printed.low, True), (printed.high, False)):
            # a (whole + step x) <= b (part + slope x), in whole numbers; the factor of x is never negative
            a, b = bound.numerator, bound.denominator
            rest, factor = a * whole - b * np.asarray(part), b * slope - a * step
            if factor == 0:
                kept[(rest > 0) if is_low else (rest < 0)] = False
            elif is_low:
                low = np.maximum(low, -(-rest // factor))
            else:
                high = np.minimum(high, rest // factor)

    one, other = fold.classes[name0], fold.classes[name1]
    zeros = np.zeros_like(right0)
    wrong0 = n0 - right0
    require(one.get("recall"), right0, 0, zeros + n0, 0)
    require(one.get("precision"), right0, 0, right0 + n1, -1)
    require(one.get("f1"), 2 * right0, 0, n0 + right0 + n1, -1)
    require(other.get("recall"), zeros, 1, zeros + n1, 0)
    require(other.get("precision"), zeros, 1, wrong0, 1)
    require(other.get("f1"), zeros, 2, n1 + wrong0, 1)
    require(fold.scores.get("accuracy"), right0, 1, zeros + n0 + n1, 0)
    low, high = np.maximum(low, 0), np.minimum(high, n1)
    widths = np.where(kept, np.maximum(high - low + 1, 0), 0)
    count = int(widths.sum())
    if count > MOST_MATRICES:
        return Matrices(count, None)
    first = np.repeat(low, widths)
    offset = np.arange(count) - np.repeat(np.cumsum(widths) - widths, widths)
    pairs = np.stack([np.repeat(right0, widths), first + offset], axis=1)
    pairs = pairs[_undefined_is_zero(pairs, fold)]
    pairs = pairs[_whole_fits(pairs, fold)]
    return Matrices(len(pairs), pairs)


def _undefined_is_zero(pairs: np.ndarray, fold: PublishedFold) -> np.ndarray:
    """Where no image is predicted as a class, its precision is printed as 0, as scikit-learn does."""
    (name0, name1) = fold.classes
    n0, n1 = fold.supports[name0], fold.supports[name1]
    drawn = {name0: pairs[:, 0] + n1 - pairs[:, 1], name1: pairs[:, 1] + n0 - pairs[:, 0]}
    good = np.ones(len(pairs), bool)
    for name, number in drawn.items():
        if "precision" in fold.classes[name] and fold.classes[name]["precision"].low > 0:
            good &= number > 0
    return good


def whole_scores(fold: PublishedFold) -> dict[str, Printed]:
    """Return the printed numbers that need a whole matrix at once, by the name that `scores_of` gives them."""
    named = {f"{mean} {score}": value for mean, row in fold.means.items() for score, value in row.items()}
    return named | {key: fold.scores[key] for key in ("balanced_accuracy", "auc") if key in fold.scores}


def _whole_fits(pairs: np.ndarray, fold: PublishedFold) -> np.ndarray:
    good = np.ones(len(pairs), bool)
    wanted = whole_scores(fold)
    if wanted and len(pairs):
        scores = scores_of(pairs, fold)
        for name, printed in wanted.items():
            # a ROC curve through the point of this matrix leaves an interval of areas
            least, most = (scores["auc least"], scores["auc most"]) if name == "auc" else (scores[name], scores[name])
            good &= (most >= float(printed.low) - SLACK) & (least <= float(printed.high) + SLACK)
    return good


def scores_of(pairs: np.ndarray, fold: PublishedFold) -> MatrixScores:
    """Return the scores of confusion matrices of two classes, each (len(pairs),).

    Args:
        pairs: (m, 2) correctly classified images of each class.
        fold: for the names and supports.
    """
    names = list(fold.classes)
    n = np.array([fold.supports[name] for name in names], dtype=float)
    right = pairs.astype(float)
    drawn = right + (n - right)[:, ::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        each = {
            "precision": np.where(drawn > 0, right / drawn, 0.0),
            "recall": right / n,
            "f1": 2 * right / (n + drawn),
        }
    scores: MatrixScores = {"accuracy": right.sum(1) / n.sum(), "balanced_accuracy": each["recall"].mean(1)}
    for score, values in each.items():
        scores |= {f"{name} {score}": values[:, i] for i, name in enumerate(names)}
        scores |= {f"macro {score}": values.mean(1), f"weighted {score}": values @ n / n.sum()}
    first, second = each["recall"].T
    return scores | {"auc least": first * second, "auc most": 1 - (1 - first) * (1 - second)}
