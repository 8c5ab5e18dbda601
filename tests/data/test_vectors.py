"""Feature vectors from files: what is read, how it is joined, and what is refused with one line."""

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.vectors import read_vectors, vectors_of
from hf_breakhis.files import InputError
from hf_breakhis.recipe import build_recipe

NAMES = [
    f"SOB_{kind}-14-{slide}-40-{number:03}"
    for kind, slide in (("B_A", "22549AB"), ("B_F", "14134"), ("M_DC", "2523"), ("M_LC", "12204"))
    for number in (1, 2, 3)
]
VALUES = np.random.default_rng(0).normal(size=(len(NAMES), 3)).astype(np.float32)


def table(names=NAMES, values=VALUES, **columns):
    frame = pd.DataFrame(values, columns=[f"f{i}" for i in range(np.shape(values)[1])])
    return frame.assign(**columns, file_name=names)[["file_name", *columns, *frame.columns]]


def write(path, frame):
    frame.to_parquet(path, index=False) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return str(path)


def refusal(call):
    with pytest.raises(InputError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def write_npz(path):
    np.savez(path, names=np.array(NAMES), features=VALUES)


def write_h5(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["features"], file["names"] = VALUES, NAMES


def write_lists(path):
    pd.DataFrame({"image": NAMES, "embedding": list(VALUES)}).to_parquet(path, index=False)


def write_folder(path):
    """As TRIDENT writes them: one file an image, features of one patch."""
    import h5py

    path.mkdir()
    for name, value in zip(NAMES, VALUES, strict=True):
        with h5py.File(path / f"{name}.h5", "w") as file:
            file["features"], file["coords"] = value[None], np.zeros((1, 2))


@pytest.mark.parametrize(
    ("name", "fill"),
    [
        ("a.csv", lambda path: write(path, table(label=[0] * 6 + [1] * 6))),
        ("a.parquet", lambda path: write(path, table(names=[f"some/{name}.png" for name in NAMES]))),
        ("lists.parquet", write_lists),
        ("a.npz", write_npz),
        ("a.h5", write_h5),
        ("folder", write_folder),
    ],
)
def test_every_form_gives_the_same_vectors(tmp_path, name, fill):
    if "h5" in name or name == "folder":
        pytest.importorskip("h5py")
    fill(tmp_path / name)
    data = DataArguments(features=[str(tmp_path / name)])
    images = load_images(data)
    assert not images.has_files
    assert list(images.dataset["file_name"]) == sorted(f"{name}.png" for name in NAMES)
    assert list(images.dataset["label"]) == [int("_M_" in name) for name in images.dataset["file_name"]]
    order = np.argsort(NAMES)
    np.testing.assert_array_equal(vectors_of(images.dataset, data), VALUES[order])


def test_files_are_joined_by_name_and_not_by_row(tmp_path):
    one = write(tmp_path / "one.csv", table())
    other = write(tmp_path / "other.csv", table(NAMES[::-1], VALUES[::-1] * 2))
    found = read_vectors([one, other])
    np.testing.assert_allclose(found.values, np.hstack([VALUES, VALUES * 2]), rtol=1e-6)


def test_the_checksum_depends_on_the_values_and_not_on_the_order(tmp_path):
    one = read_vectors([write(tmp_path / "one.csv", table())]).sha256
    assert read_vectors([write(tmp_path / "turned.csv", table(NAMES[::-1], VALUES[::-1]))]).sha256 == one
    assert read_vectors([write(tmp_path / "swapped.csv", table(NAMES[::-1]))]).sha256 != one


def odd(row, column, value):
    values = VALUES.astype(object)
    values[row, column] = value
    return values


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (table([NAMES[0], *NAMES[:-1]]), f"names an image twice: {NAMES[0]}."),
        (table(values=odd(1, 1, "high")), "column f1 has text ('high'), not numbers."),
        (table(values=odd(2, 0, np.nan)), f"1 vectors have missing or infinite numbers: {NAMES[2]}."),
        (table(values=odd(2, 0, np.inf)), f"1 vectors have missing or infinite numbers: {NAMES[2]}."),
        (table(values=np.ones((len(NAMES), 3))), "All vectors of a.csv are equal."),
        (table().drop(columns="file_name"), "has no column of names. Call it file_name."),
        (table()[["file_name"]], "has no column of numbers."),
        (table().iloc[:0], "is empty."),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, frame, words):
    assert words in refusal(lambda: read_vectors([write(tmp_path / "a.csv", frame)]))


def test_different_lengths_are_refused(tmp_path):
    rows = [*VALUES[:-1], VALUES[-1][:2]]
    pd.DataFrame({"image": NAMES, "embedding": rows}).to_parquet(tmp_path / "a.parquet")
    assert f"1 vectors have another length than 3: {NAMES[-1]} (2)." in refusal(
        lambda: read_vectors([str(tmp_path / "a.parquet")])
    )
    one, short = write(tmp_path / "one.csv", table()), write(tmp_path / "b.csv", table().iloc[1:])
    assert f"1 names are in one of them only ({NAMES[0]})." in refusal(lambda: read_vectors([one, short]))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"PK\x03\x04damaged"])
@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.npz", "a.h5", "a.txt"])
def test_a_damaged_file_is_one_line(tmp_path, name, content):
    if name == "a.h5":
        pytest.importorskip("h5py")
    (tmp_path / name).write_bytes(content)
    assert name in refusal(lambda: read_vectors([str(tmp_path / name)]))
    assert "There is no" in refusal(lambda: read_vectors([str(tmp_path / "absent.csv")]))


def test_a_file_given_twice_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = write(tmp_path / "a.csv", table())
    write(tmp_path / "b.csv", table())
    assert read_vectors([place, "b.csv"]).values.shape[1] == 2 * read_vectors([place]).values.shape[1]
    assert refusal(lambda: read_vectors([place, "a.csv"])) == "`features` has a.csv twice; give each file once."


def test_a_pickle_in_npz_is_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", names=np.array(NAMES), features=np.array([{}] * len(NAMES), dtype=object))
    assert "cannot be read" in refusal(lambda: read_vectors([str(tmp_path / "a.npz")]))


def test_a_column_that_is_the_label_is_refused(tmp_path):
    data = DataArguments(features=[write(tmp_path / "a.csv", table(code=[5] * 6 + [3] * 6))])
    images = load_images(data)
    assert "Number 1 of each vector of a.csv is the label" in refusal(lambda: vectors_of(images.dataset, data))
    almost = DataArguments(features=[write(tmp_path / "b.csv", table(code=[5] * 7 + [3] * 5))])
    assert vectors_of(load_images(almost).dataset, almost).shape == (12, 4)


def test_vectors_of_images_are_joined_by_name(small_breakhis, tmp_path, data_args):
    images = load_images(data_args(small_breakhis))
    names = [name.removesuffix(".png") for name in images.dataset["file_name"]]
    values = np.arange(len(names) * 2, dtype=np.float32).reshape(-1, 2) ** 2
    features = write(tmp_path / "a.csv", table(names[::-1], values[::-1]))
    data = data_args(small_breakhis, features=[features])
    joined = load_images(data)
    assert joined.has_files
    assert check_images(joined).manifest_sha256 == check_images(images).manifest_sha256
    np.testing.assert_array_equal(vectors_of(joined.dataset, data), values)


def test_missing_images_are_counted_and_left_out_only_if_allowed(small_breakhis, tmp_path, data_args):
    names = list(load_images(data_args(small_breakhis)).dataset["file_name"])
    features = write(tmp_path / "a.csv", table(names[2:], np.random.default_rng(1).normal(size=(len(names) - 2, 2))))
    message = refusal(lambda: load_images(data_args(small_breakhis, features=[features])))
    assert message.startswith(f"2 of {len(names)} images have no feature vector ({names[0]}, {names[1]}).")
    fewer = write(tmp_path / "b.csv", table(names[6:], np.random.default_rng(1).normal(size=(len(names) - 6, 2))))
    message = refusal(lambda: load_images(data_args(small_breakhis, features=[fewer])))
    assert f"6 of {len(names)} images have no feature vector ({', '.join(names[:3])} and 3 more)." in message
    kept = load_images(data_args(small_breakhis, features=[features], allow_missing=True))
    assert list(kept.dataset["file_name"]) == names[2:]
    assert "were left out" in kept.warnings[-1]


def test_names_that_match_nothing_show_the_nearest(small_breakhis, tmp_path, data_args):
    names = [
        name.replace("SOB_", "").removesuffix(".png")
        for name in load_images(data_args(small_breakhis)).dataset["file_name"]
    ]
    features = write(tmp_path / "a.csv", table(names, np.random.default_rng(1).normal(size=(len(names), 2))))
    message = refusal(lambda: load_images(data_args(small_breakhis, features=[features])))
    assert message.startswith(f"No name in a.csv is that of an image: it has {names[0]} and 23 more")
    assert f"Did you mean `{names[0]}`?" in message


def test_names_that_are_not_of_breakhis_need_the_images(tmp_path):
    features = write(tmp_path / "a.csv", table(names=[f"patch_{i}" for i in range(len(NAMES))]))
    assert "Give the images with --data_dir" in refusal(lambda: load_images(DataArguments(features=[features])))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"augmentation": "dihedral"}, "`augmentation` is dihedral, but `features` are fixed"),
        ({"carry_over": "model"}, "not supported with `features`"),
    ],
)
def test_fields_that_contradict_features_are_refused(fields, words):
    assert words in refusal(lambda: build_recipe({"features": ["a.csv"], "use_cpu": True, **fields}, {}))


def test_allow_missing_is_for_features():
    assert "`allow_missing` is true" in refusal(lambda: build_recipe({"allow_missing": True, "use_cpu": True}, {}))
