"""Parts of known data sets are found by their class counts; other counts are not."""

import csv
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold, train_test_split

from hf_breakhis.data.inventory import RCL_PER_CLASS
from hf_breakhis.data.sources.rcl7500 import HUB_ID
from hf_breakhis.results.published.candidates import SHARES, check_supports, data_sets, in_common
from hf_breakhis.results.published.table import PublishedFold, Table

CLASSES = ("benign", "malignant")
LABELS = np.repeat([0, 1], [2480, 5429])
BY_NAME = {one.name: one for one in data_sets(CLASSES)}
WHOLE = "BreakHis, all images"


def table_of(*tests, classes=CLASSES):
    """A table with the class counts of these test sets, given as labels or counts."""
    counts = [
        dict(zip(classes, np.bincount(one) if isinstance(one, np.ndarray) else one, strict=True)) for one in tests
    ]
    folds = tuple(PublishedFold(str(i), {name: {} for name in classes}, row) for i, row in enumerate(counts))
    return Table("t", "", classes, folds, None)


def parts_of(checked, name):
    (row,) = [row for row in checked["data_sets"] if row["name"] == name]
    return [f"{part['kept']}: {part['rule']}" for part in row["parts"]]


def test_the_data_sets_have_the_sizes_that_are_published():
    sizes = {name: tuple(one.counts[key] for key in CLASSES) for name, one in BY_NAME.items()}
    assert sizes == {
        WHOLE: (2480, 5429),
        "BreakHis, 40X": (625, 1370),
        "BreakHis, 100X": (644, 1437),
        "BreakHis, 200X": (623, 1390),
        "BreakHis, 400X": (588, 1232),
        "RCL-7500": (3750, 3750),
    }
    assert HUB_ID.endswith(str(2 * RCL_PER_CLASS))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SHARES), st.sampled_from([None, *SHARES]), st.integers(0, 10_000))
def test_a_stratified_hold_out_by_image_is_found(share, reserve, seed):
    rest = LABELS
    if reserve:
        rest, _ = train_test_split(rest, test_size=reserve, stratify=rest, random_state=seed)
    _, test = train_test_split(rest, test_size=share, stratify=rest, random_state=seed)
    kept = f"{reserve:.0%} set aside ({len(rest):,} images left)" if reserve else "nothing set aside"
    assert f"{kept}: a hold-out of {share:.0%}" in parts_of(check_supports(table_of(test)), WHOLE)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 10), st.integers(0, 10_000))
def test_stratified_folds_by_image_are_found(k, seed):
    tests = [LABELS[test] for _, test in StratifiedKFold(k, shuffle=True, random_state=seed).split(LABELS, LABELS)]
    found = parts_of(check_supports(table_of(*tests)), WHOLE)
    assert found[0].startswith(f"nothing set aside: {k} folds of ")
    # k folds test every image once: an image of another class somewhere is one too many
    benign, malignant = np.bincount(tests[0])
    assert not parts_of(check_supports(table_of([benign + 1, malignant - 1], *tests[1:])), WHOLE)


def random_splits():
    """Yield the words for a split, the sizes of its test sets and how often to draw it: 2,000 draws in all."""
    for reserve in (None, *SHARES):
        left = len(LABELS) - math.ceil((reserve or 0) * len(LABELS))
        kept = f"{reserve:.0%} set aside ({left:,} images left)" if reserve else "nothing set aside"
        for share in SHARES:
            yield f"{kept}: a hold-out of {share:.0%}", [math.ceil(share * left)], 14
    for k in range(2, 11):
        sizes = [len(part) for part in np.array_split(LABELS, k)]
        words = " or ".join(f"{size:,}" for size in sorted(set(sizes)))
        yield f"nothing set aside: {k} folds of {words}", sizes, 111


def test_random_splits_by_image_are_missed_as_seldom_as_promised():
    """Of splits drawn without regard to the class, at most 1 in 1,000 does not fit."""

    def is_found(part, tests):
        return part in parts_of(check_supports(table_of(*(test.tolist() for test in tests))), WHOLE)

    rng, missed, drawn = np.random.default_rng(0), 0, 0
    for part, sizes, draws in random_splits():
        for _ in range(draws):
            left, tests = np.bincount(LABELS), []
            for size in sizes:
                tests.append(rng.multivariate_hypergeometric(left, size))
                left = left - tests[-1]
            missed += not is_found(part, tests)
            drawn += 1
        # Six standard deviations too many benign images in the first test set, and as many fewer in the second.
        share, size = np.bincount(LABELS) / len(LABELS), sizes[0]
        shift = math.ceil(6 * math.sqrt(size * share.prod() * (1 - size / len(LABELS))))
        moved = np.round(size * share[0]) + shift - tests[0][0]
        moved = np.array([moved, -moved], dtype=int)
        tests = [test + change * moved for test, change in zip(tests, [1, -1, *[0] * 8], strict=False)]
        assert not is_found(part, tests), part
    assert drawn > 2000
    assert missed <= 6  # 2 are expected at most


def test_the_official_folds_are_found(real_breakhis):
    for magnification in ("40", None):
        tests = []
        for fold in range(1, 6):
            rows = (real_breakhis / "folds" / f"dsfold{fold}.txt").read_text().split()
            cells = [row.split("|") for row in rows]
            counts = Counter(c[0][4] for c in cells if c[3] == "test" and magnification in (c[1], None))
            tests.append([counts["B"], counts["M"]])
        name = f"BreakHis, {magnification}X" if magnification else WHOLE
        assert parts_of(check_supports(table_of(*tests)), name) == ["nothing set aside: official folds 1, 2, 3, 4, 5"]
        assert parts_of(check_supports(table_of(tests[2])), name)[0] == "nothing set aside: official fold 3"
        benign, malignant = tests[2]
        assert "official" not in str(check_supports(table_of([benign + 1, malignant])))


def test_tumor_types_are_compared_by_letter_or_by_name(real_breakhis):
    with (real_breakhis / "filelist.csv").open() as file:
        counts = Counter(row["subtype"] for row in csv.DictReader(file))
    table = table_of(list(counts.values()), classes=tuple(counts))
    assert parts_of(check_supports(table), WHOLE) == ["nothing set aside: all of it"]
    long = {"DC": "Ductal_Carcinoma", "A": "adenosis"}
    table = table_of(list(counts.values()), classes=tuple(long.get(name, name) for name in counts))
    assert parts_of(check_supports(table), WHOLE) == ["nothing set aside: all of it"]


def test_counts_of_no_usual_part_say_why():
    checked = check_supports(table_of([507, 493]))
    assert checked["verdict"] == "does not fit"
    assert checked["data_sets"][0]["reasons"] == [
        "no usual share or fold of it has 1,000 images",
        "31% of its images are benign, in the table 51%; a random split by image does not differ that much",
    ]


def test_few_hold_outs_of_other_sizes_fit_by_chance():
    """An eighth of them is looked at, each as balanced as RCL-7500."""
    sizes = range(201, 3000, 8)
    fits = [check_supports(table_of([size // 2, size - size // 2]))["verdict"] == "fits" for size in sizes]
    assert 0 < sum(fits) / len(sizes) < 0.03


def test_a_class_with_more_images_than_there_are_is_named():
    checked = check_supports(table_of([2600, 5000]))
    assert "it has 2,480 benign images, fewer than one test set" in checked["data_sets"][0]["reasons"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (table_of([5, 5], classes=("cat", "dog")), "No data set known here has the classes cat, dog."),
        (
            Table("t", "", CLASSES, (PublishedFold("1", {"benign": {}, "malignant": {}}),), None),
            "The table has no supports.",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(table, reason):
    checked = check_supports(table)
    assert (checked["verdict"], checked["reason"]) == (None, reason)
    assert in_common([checked]) == []
