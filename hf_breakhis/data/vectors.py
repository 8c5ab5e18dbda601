"""Feature vectors from files: one row per image, a name and numbers, in place of pixels."""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import numpy as np
import pandas as pd

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.images import Images, arrange
from hf_breakhis.data.walk import normal_path
from hf_breakhis.files import InputError, counted, expand_home, few, nearest, reason_of

SUFFIXES = (".parquet", ".csv", ".npz", ".h5")
NAMES = ("file_name", "filename", "image", "image_name", "name", "names", "file_names", "path", "slide", "id")
VALUES = ("features", "embeddings", "feats", "vectors", "embedding", "vector")
NOT_NUMBERS = ("label", "labels", "class", "target", "y", "fold", "split", "part", "magnification", "tumor_type")
GROUPS = ("patient_id", "specimen_id", "patient")
_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy", ".pt", ".h5")


@dataclass(frozen=True)
class Vectors:
    """Feature vectors of images.

    Attributes:
        names: n names without the ending of an image file.
        values: (n, d) float32, finite.
        origin: names of the files.
    """

    names: list[str]
    values: np.ndarray
    origin: str

    @property
    def sha256(self) -> str:
        """Checksum of names and values, whatever the order of the rows."""
        order = sorted(range(len(self.names)), key=self.names.__getitem__)
        whole = hashlib.sha256("\n".join(self.names[row] for row in order).encode())
        whole.update(np.ascontiguousarray(self.values[order]).tobytes())
        return whole.hexdigest()


def read_vectors(paths: Sequence[str]) -> Vectors:
    """Read files of feature vectors; several files are joined by name, side by side.

    Args:
        paths: Parquet, CSV, npz or h5 files, or folders of h5 files with one image each.

    Raises:
        InputError: a file is given twice, cannot be read, has text or missing numbers in a column, or names an image
            twice; the files have different images; or all vectors are equal.
    """
    places = [Path(expand_home(path)) for path in paths]
    for number, place in enumerate(places):
        if place.resolve() in [other.resolve() for other in places[:number]]:
            raise InputError(f"`features` has {place} twice; give each file once.")
    found = [_read(place) for place in places]
    first = found[0]
    blocks = [first.values]
    for other in found[1:]:
        if len(other.names) != len(first.names) or set(other.names) != set(first.names):
            odd = sorted(set(other.names) ^ set(first.names))
            raise InputError(
                f"{first.origin} has {len(first.names):,} images and {other.origin} has {len(other.names):,}; "
                f"{len(odd):,} names are in one of them only ({few(odd)}). Give files with the same images."
            )
        row = {name: number for number, name in enumerate(other.names)}
        blocks.append(other.values[[row[name] for name in first.names]])
    whole = Vectors(first.names, np.concatenate(blocks, axis=1), ", ".join(one.origin for one in found))
    if len(whole.names) > 1 and not np.ptp(whole.values, axis=0).any():
        raise InputError(f"All vectors of {whole.origin} are equal. Give the file that the encoder wrote.")
    return whole


def images_of_vectors(data: DataArguments) -> Images:
    """Return BreakHis images that exist as vectors only: class, patient and magnification come from the names.

    Raises:
        InputError: as `read_vectors`, or a name is not that of a BreakHis image.
    """
    vectors = read_vectors(data.features)
    wrong = [name for name in vectors.names if not _is_breakhis(name)]
    if wrong:
        raise InputError(
            f"{vectors.origin} has {len(wrong):,} names that are not those of BreakHis images: {few(wrong)}. Give the "
            "images with --data_dir, and --dataset imagefolder for another data set."
        )
    places = [parse_file_name(f"{PurePosixPath(name).name}.png").path for name in vectors.names]
    rows = datasets.Dataset.from_dict(
        {"image": [{"path": place, "bytes": None} for place in places]},
        features=datasets.Features({"image": datasets.Image(decode=False)}),
    )
    images = arrange(rows, places, "")
    words = f"The images are known by their feature vectors only ({vectors.origin}); their pixels were not available."
    return replace(images, location=vectors.origin, warnings=[*images.warnings, words], has_files=False)


def with_vectors(images: Images, data: DataArguments) -> Images:
    """Return the images that have a vector.

    Raises:
        InputError: no name of the files is that of an image, or images have no vector and `allow_missing` is false.
    """
    names = list(images.dataset["file_name"])
    rows = _rows_of(names, read_vectors(data.features))
    missing = np.flatnonzero(rows < 0)
    if not len(missing):
        return images
    first = few([names[row] for row in missing])
    text = f"{len(missing):,} of {len(rows):,} images have no feature vector ({first})"
    if not data.allow_missing:
        raise InputError(f"{text}. Add their vectors, or leave these images out with --allow_missing true.")
    kept = images.dataset.select(np.flatnonzero(rows >= 0), keep_in_memory=True)
    return replace(images, dataset=kept, warnings=[*images.warnings, f"{text} and were left out."])


def vectors_of(dataset: datasets.Dataset, data: DataArguments) -> np.ndarray:
    """Return (n, d) float32, the vectors of the rows of a data set.

    Raises:
        InputError: as `with_vectors`, or a column has the same order as the labels in every row.
    """
    vectors = read_vectors(data.features)
    rows = _rows_of(list(dataset["file_name"]), vectors)
    if (rows < 0).any():
        lacking = counted(int((rows < 0).sum()), "image")
        raise InputError(f"Without a feature vector: {lacking}. Give a file with all of them.")
    values: np.ndarray = vectors.values[rows]
    labels = np.asarray(dataset["label"])
    same = [column for column in range(values.shape[1]) if _is_label(values[:, column], labels)]
    if same:
        raise InputError(
            f"Number {same[0] + 1} of each vector of {vectors.origin} is the label of the image. Remove this column."
        )
    return values


def _is_label(column: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether a column has one value for each class, and another one for each."""
    values = np.unique(column)
    if len(values) != len(np.unique(labels)) or len(values) < 2:
        return False
    return len({(value, label) for value, label in zip(column.tolist(), labels.tolist(), strict=True)}) == len(values)


def _rows_of(file_names: Sequence[str], vectors: Vectors) -> np.ndarray:
    """Return (n,) int64: the row of each image in `vectors`, -1 if it has none."""
    row = {name: number for number, name in enumerate(vectors.names)}
    last = [PurePosixPath(name).name for name in vectors.names]
    counts = Counter(last)
    short = {name: number for number, name in enumerate(last) if counts[name] == 1}
    stems = [_stem(name) for name in file_names]
    ends = Counter(PurePosixPath(stem).name for stem in stems)
    found = np.full(len(stems), -1)
    for number, stem in enumerate(stems):
        end = PurePosixPath(stem).name
        found[number] = row.get(stem, short.get(end, -1) if ends[end] == 1 else -1)
    if len(stems) and (found < 0).all():
        near = nearest(stems[0], vectors.names)
        raise InputError(
            f"No name in {vectors.origin} is that of an image: it has {few(vectors.names, 1)}, and the images have "
            f"{few(stems, 1)}.{near} Use the file names of the images."
        )
    return found


def _read(path: Path) -> Vectors:
    """Read one file, or one folder of h5 files."""
    if path.is_dir():
        return _checked(*_read_folder(path), path.name)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} is no file of vectors: allowed are {', '.join(SUFFIXES)}, and folders of .h5 files.")
    if not path.is_file():
        raise InputError(f"There is no {path}. Give the file that has the feature vectors.")
    try:
        if path.suffix == ".csv":
            names, values = _from_table(pd.read_csv(path), path)
        elif path.suffix == ".parquet":
            names, values = _from_table(pd.read_parquet(path), path)
        elif path.suffix == ".npz":
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                names, values = _from_arrays({key: arrays[key] for key in arrays.files}, path)
        else:
            names, values = _from_arrays(_read_h5(path), path)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reason = reason_of(error)
        raise InputError(f"{path} cannot be read ({reason}). Write it again.") from error
    return _checked(names, values, path.name)


def _from_table(table: pd.DataFrame, path: Path) -> tuple[list[str], np.ndarray]:
    """Return names and values of a table; columns of classes and groups are not features."""
    lower = {str(column).lower(): column for column in table.columns}
    if not len(table):
        raise InputError(f"{path} is empty. Give the file that the encoder wrote.")
    named = [lower[name] for name in NAMES if name in lower]
    if not named:
        raise InputError(f"{path} has no column of names. Call it file_name.")
    names = table[named[0]].astype(str).tolist()
    skipped = {named[0], *(lower[name] for name in (*NOT_NUMBERS, *GROUPS) if name in lower)}
    rest = table[[column for column in table.columns if column not in skipped]]
    lists = [column for column in rest.columns if len(rest) and isinstance(rest[column].iloc[0], list | np.ndarray)]
    if lists:
        return names, _stacked(rest[lists[0]].tolist(), names, path)
    text = [column for column in rest.columns if not pd.api.types.is_numeric_dtype(rest[column])]
    if text:
        column = rest[text[0]]
        example = str(column[pd.to_numeric(column, errors="coerce").isna() & column.notna()].iloc[:1].squeeze())
        raise InputError(f"{path}: column {text[0]} has text ({example!r}), not numbers. Remove this column.")
    if not len(rest.columns):
        raise InputError(f"{path} has no column of numbers. Give the file that the encoder wrote.")
    return names, rest.to_numpy(dtype=np.float64)


def _from_arrays(arrays: dict[str, Any], path: Path) -> tuple[list[str], np.ndarray]:
    """Return names and values of named arrays; without names an array is the vector of one image, the file's."""
    key = next((name for name in VALUES if name in arrays), None)
    if key is None:
        raise InputError(f"{path} has no array {' or '.join(VALUES[:3])}, but {few(sorted(arrays))}. Rename it.")
    values = np.asarray(arrays[key])
    if values.dtype.kind not in "fiu":
        raise InputError(f"{path}: {key} has text, not numbers. Write it as float32.")
    named = next((name for name in NAMES if name in arrays), None)
    if named is not None:
        names = [one.decode() if isinstance(one, bytes) else str(one) for one in np.asarray(arrays[named]).tolist()]
        if values.ndim != 2 or len(values) != len(names):
            raise InputError(
                f"{path}: {key} has the shape {values.shape}, but there are {len(names):,} names. Write one row for "
                "each name."
            )
        return names, values
    flat = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
    if len(flat) != 1:
        raise InputError(
            f"{path}: {key} has {len(flat):,} rows and no names. Add an array file_name, or write one row for each "
            "image file."
        )
    return [path.stem], flat


def _read_h5(path: Path) -> dict[str, Any]:
    """Return the arrays of an h5 file."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise InputError(f"{path} needs a package that is not installed. Install it: pip install h5py.") from error
    with h5py.File(path, "r") as file:
        return {name: file[name][()] for name in file if isinstance(file[name], h5py.Dataset)}


def _read_folder(folder: Path) -> tuple[list[str], np.ndarray]:
    """Return the vectors of a folder of h5 files, one image each."""
    paths = sorted(folder.rglob("*.h5"))
    if not paths:
        raise InputError(f"{folder} has no .h5 files. Give a file of vectors ({', '.join(SUFFIXES)}).")
    names: list[str] = []
    rows: list[Any] = []
    for path in paths:
        try:
            found, values = _from_arrays(_read_h5(path), path)
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} cannot be read ({reason_of(error)}). Write it again.") from error
        names += found
        rows += list(values)
    return names, _stacked(rows, names, folder)


def _stacked(rows: Sequence[Any], names: Sequence[str], path: Path) -> np.ndarray:
    """Return rows of one length as (n, d)."""
    lengths = [np.size(row) for row in rows]
    usual = Counter(lengths).most_common(1)[0][0]
    odd = [f"{name} ({length})" for name, length in zip(names, lengths, strict=True) if length != usual]
    if odd:
        raise InputError(
            f"{path}: {len(odd):,} vectors have another length than {usual}: {few(odd)}. Embed all images with one "
            "encoder."
        )
    return np.stack([np.asarray(row).reshape(-1) for row in rows])


def _checked(names: Sequence[str], values: np.ndarray, origin: str) -> Vectors:
    """Return the vectors, or refuse names that are there twice and numbers that are not finite."""
    stems = [_stem(name) for name in names]
    twice = sorted(name for name, count in Counter(stems).items() if count > 1)
    if twice:
        raise InputError(f"{origin} names an image twice: {few(twice)}. Keep one row for each image.")
    with np.errstate(over="ignore"):
        numbers = np.asarray(values).astype(np.float32)
    odd = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(odd):
        raise InputError(
            f"{origin}: {len(odd):,} vectors have missing or infinite numbers: {few([stems[row] for row in odd])}. "
            "Embed these images again, or remove their rows."
        )
    return Vectors(stems, numbers, origin)


def _stem(name: str) -> str:
    """Return a name without the ending of an image or of a file of vectors."""
    place = normal_path(str(name))
    ending = PurePosixPath(place).suffix
    return place.removesuffix(ending) if ending.lower() in _ENDINGS else place


def _is_breakhis(name: str) -> bool:
    try:
        parse_file_name(f"{PurePosixPath(name).name}.png")
    except InputError:
        return False
    return True
