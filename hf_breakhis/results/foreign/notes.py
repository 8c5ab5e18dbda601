"""What a report says about predictions of another program."""

from collections.abc import Sequence

from hf_breakhis.results.absent import NO_PROBABILITIES
from hf_breakhis.results.foreign.columns import ONLY_CLASSES
from hf_breakhis.results.foreign.read import Foreign
from hf_breakhis.results.foreign.values import TARGETS


def notes_on(read: Sequence[Foreign]) -> list[str]:
    """Return a sentence or more for training images, ties, mapped tumour types, votes and another threshold."""
    total = sum(len(one.rows) for one in read)
    notes = [_seen(read, total), _ties(read, total), _difference(read, total), _votes(read)]
    if any(one.has_types for one in read):
        notes.append("The predicted classes are tumour types. They are scored as benign and malignant.")
    if read[0].scores == ONLY_CLASSES:
        notes.append(NO_PROBABILITIES)
    return [note for note in notes if note]


def _seen(read: Sequence[Foreign], total: int) -> str:
    seen = sum(one.seen for one in read)
    if not seen:
        return ""
    return (
        f"{seen:,} of {total:,} images were training images of the model, as the file says. So the scores are higher "
        "than on new images. Leave these rows out."
    )


def _ties(read: Sequence[Foreign], total: int) -> str:
    ties = sum(one.ties for one in read)
    if not ties:
        return ""
    classes = TARGETS[read[0].target]
    words = f"{ties:,} of {total:,} predictions {'is a tie' if ties == 1 else 'are ties'}: several classes have the "
    words += "highest score. "
    if all("predicted" in one.columns for one in read):
        return words + "A tie counts as the predicted class of the file."
    first = f"{classes[0]}, the first of them" if len(classes) == 2 else "the first of them"
    return words + f"A tie counts as {first}."


def _difference(read: Sequence[Foreign], total: int) -> str:
    found = [one.difference for one in read if one.difference is not None]
    if not found:
        return ""
    limits = found[0].threshold if len(found) == 1 else None
    low, high = limits or (0.0, 0.0)
    threshold = "other thresholds than 0.5"
    if limits is not None:
        threshold = f"another threshold: malignant from a probability of {low:.4g} to {high:.4g} on"
    same = [one for one in read if one.difference is None]
    correct = sum(one.correct for one in found) + sum(int((x.rows.predicted == x.rows.label).sum()) for x in same)
    count = sum(one.count for one in found)
    return (
        f"{count:,} of {total:,} predicted classes of the file are not the class with the highest score. They follow "
        f"{threshold}. The scores of this report use the class with the highest score. With the predicted classes, "
        f"{100 * correct / total:.1f} % of the images are classified correctly; --scores classes scores them."
    )


def _votes(read: Sequence[Foreign]) -> str:
    votes = [one.votes for one in read if one.votes is not None]
    unequal = [(low, high) for low, high in votes if low != high]
    if not unequal:
        return ""
    low, high = min(low for low, _ in unequal), max(high for _, high in unequal)
    return f"The votes of an image sum to {low:g} to {high:g}. Each image counts with its share of its own sum."
