"""BreakHis as Parquet: the original PNG files with labels, groups and folds, in shards, whole or not at all."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.info import DatasetInfosDict
from tqdm import tqdm

from hf_breakhis.data.counts import original_bytes
from hf_breakhis.data.filenames import CLASSES, MAGNIFICATIONS
from hf_breakhis.data.images import COLUMNS, Images, placeless, public_findings
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.integrity.manifest import manifest_sha256
from hf_breakhis.data.inventory import NUM_OFFICIAL_FOLDS, SPECIMEN_FOLDS, official_folds
from hf_breakhis.files import InputError, counted, few, read_json, write_json, write_text
from hf_breakhis.folders import FolderKind, replace_folder, require_place
from hf_breakhis.hub.dataset_card import twin_settings, write_card
from hf_breakhis.hub.remote import claim_repo, push_folder

FORMAT = 1  # raised whenever the same images would be exported otherwise
ABOUT = "export.json"
CARD = "README.md"
SHARD_BYTES = 400 * 2**20  # of a file: a few for each magnification, each loaded by one process
EXPORT = FolderKind("data export", (CARD, ABOUT, ".gitattributes", "data/*.parquet"), ABOUT)
GROUP_BYTES = 16 * 2**20  # of a row group: what is held in memory, and read to see one image
FOLD_COLUMNS = tuple(f"official_fold_{i}" for i in range(1, NUM_OFFICIAL_FOLDS + 1))
_TEXT = datasets.Value("string")
FEATURES = datasets.Features(
    {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    | dict.fromkeys(COLUMNS[2:] + FOLD_COLUMNS, _TEXT)
    | {"specimen_fold": datasets.Value("int8")}
)


@dataclass(frozen=True)
class Export:
    """A written export: its folder, the names of its Parquet files, what they hold, and the manifest of that."""

    folder: Path
    files: tuple[str, ...]
    num_images: int
    num_bytes: int
    manifest_sha256: str


def export_images(images: Images, folder: str | Path, repo_id: str | None = None) -> Export:
    """Write images as a data set that `datasets.load_dataset` reads; an earlier export in `folder` is replaced.

    There is one file or more for each magnification and no image twice: the configuration of all images names the
    same files as those of the single magnifications. The files depend on the images alone.

    Args:
        images: what `load_images` returned for BreakHis or its twin.
        folder: will hold `README.md` (the card), `export.json` and `data/`.
        repo_id: where on the Hub it goes, for the card's example.

    Raises:
        InputError: the folder holds something else or cannot be written to; the images are neither BreakHis nor its
            twin, or some cannot be used.
    """
    folder = require_place(folder, EXPORT)
    _require_breakhis(images)
    findings = check_images(images)
    findings.raise_if_unusable()

    def fill(part: Path) -> None:
        files, hashes = write_shards(images.dataset, part / "data")
        manifest = manifest_sha256(images.dataset, hashes)
        if manifest != findings.manifest_sha256:
            raise InputError(f"The images in {images.location} changed while they were exported; begin again.")
        about = {"made_by": EXPORT.made_by, "format": FORMAT, "source": images.source}
        about |= {"num_images": len(images.dataset)}
        about |= {"settings": twin_settings(images) or None} if images.about.is_generated else {}
        write_json(part / ABOUT, about | {"manifest_sha256": manifest, "files": files})
        sentences = [*images.cautions, *public_findings(images), *findings.findings]
        infos = describe_files(part / "data")
        write_text(part / CARD, write_card(images, manifest, placeless(sentences, images.location), repo_id, infos))

    replace_folder(folder, fill, EXPORT)
    about = read_json(folder / ABOUT)
    size = sum(path.stat().st_size for path in (folder / "data").iterdir())
    return Export(folder, tuple(about["files"]), about["num_images"], size, about["manifest_sha256"])


def is_of_export(name: str) -> bool:
    """Tell whether an export, here or on the Hub, may hold a file of this name."""
    parent, _, last = name.rpartition("/")
    return name in (CARD, ABOUT, ".gitattributes") or (parent == "data" and last.endswith(".parquet"))


def _require_breakhis(images: Images) -> None:
    """Refuse what this package has no right, and no groups, to publish."""
    if not images.about.has_breakhis_names:
        raise InputError(
            f"`dataset` is {images.source}, but only BreakHis and its twin are exported: groups, folds and licence "
            "of others are not known. Use dataset=breakhis or dataset=twin."
        )
    if not images.about.names_are_public:
        raise InputError(
            f"Not among the images of BreakHis: {few(images.places['surplus'])}. It is not known whether they may be "
            "published. Remove them from the folder."
        )
    if images.classes != CLASSES:
        raise InputError("Only target=malignancy is exported; the tumour type has a column of its own.")


def write_shards(dataset: datasets.Dataset, folder: Path) -> tuple[list[str], list[str]]:
    """Write the Parquet files; memory holds one row group at a time.

    Returns:
        The names of the files by magnification, and the sha256 of each image's file in the order of `dataset`.
    """
    folder.mkdir(parents=True)
    rows = dataset.select_columns(list(COLUMNS)).cast_column("image", datasets.Image(decode=False))
    magnifications = list(dataset["magnification"])
    names: list[str] = []
    hashes = [""] * len(dataset)

    def full_rows(chosen: Sequence[int]) -> Iterator[dict[str, Any]]:
        for number in chosen:
            row = _full_row(rows[number])
            hashes[number] = hashlib.sha256(row["image"]["bytes"]).hexdigest()
            yield row
            bar.update()

    with tqdm(total=len(dataset), desc="Exporting", unit=" images", disable=None) as bar:
        for magnification in MAGNIFICATIONS:
            chosen = [number for number, one in enumerate(magnifications) if one == magnification]
            written = _write_magnification(full_rows(chosen), folder / magnification)
            for k, path in enumerate(written):
                name = f"{magnification}-{k:05d}-of-{len(written):05d}.parquet"
                path.rename(folder / name)
                names.append(name)
    return names, hashes


def describe_files(folder: Path) -> DatasetInfosDict:
    """Return the columns, images and bytes of each magnification and of all, as the Hub shows them.

    Args:
        folder: the Parquet files of an export; their names begin with the magnification.
    """
    infos = DatasetInfosDict()
    paths_of = {name: sorted(folder.glob(f"{name}-*.parquet")) for name in MAGNIFICATIONS}
    paths_of = {"default": sorted(folder.glob("*.parquet"))} | {name: one for name, one in paths_of.items() if one}
    for name, paths in paths_of.items():
        num_bytes = sum(map(_loaded_bytes, paths))
        split = datasets.SplitInfo("train", num_bytes, sum(pq.read_metadata(path).num_rows for path in paths))
        infos[name] = datasets.DatasetInfo(
            features=FEATURES,
            splits=datasets.SplitDict({"train": split}),
            download_size=sum(path.stat().st_size for path in paths),
            dataset_size=num_bytes,
        )
    return infos


def _loaded_bytes(path: Path) -> int:
    """Return the bytes of a file after loading; one row group at a time is in memory."""
    with pq.ParquetFile(path) as file:
        return sum(file.read_row_group(i).nbytes for i in range(file.num_row_groups))


def _full_row(row: dict[str, Any]) -> dict[str, Any]:
    """Put the bytes of the file itself and the parts in the folds into a row of `COLUMNS`."""
    parts = official_folds().get(row["patient_id"], (None,) * NUM_OFFICIAL_FOLDS)
    image = {"bytes": original_bytes(row["image"]), "path": row["file_name"]}
    folds = dict(zip(FOLD_COLUMNS, parts, strict=True)) | {"specimen_fold": SPECIMEN_FOLDS.get(row["specimen_id"])}
    return row | folds | {"image": image}


def _write_magnification(rows: Iterator[dict[str, Any]], stem: Path) -> list[Path]:
    """Write rows to files of about `SHARD_BYTES` and return their paths, named by their place alone."""
    paths: list[Path] = []
    writer, room = None, 0
    try:
        for group, size in _groups(rows):
            if writer is None or size > room:
                if writer is not None:
                    writer.close()
                paths.append(stem.with_name(f"{stem.name}-{len(paths):05d}.parquet"))
                writer, room = _open(paths[-1]), SHARD_BYTES
            writer.write_table(pa.Table.from_pylist(group, schema=FEATURES.arrow_schema))
            room -= size
    finally:
        if writer is not None:
            writer.close()
    return paths


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Gather rows into groups of about `GROUP_BYTES`, and tell the bytes of each."""
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        length = len(row["image"]["bytes"])
        if group and size + length > GROUP_BYTES:
            yield group, size
            group, size = [], 0
        group.append(row)
        size += length
    if group:
        yield group, size


def _open(path: Path) -> pq.ParquetWriter:
    """Open a Parquet file for rows of `FEATURES`."""
    text = [name for name in FEATURES if name != "image"]
    return pq.ParquetWriter(
        path,
        FEATURES.arrow_schema,
        # A PNG is compressed already, and no two are the same.
        compression={"image.bytes": "none", "image.path": "snappy"} | dict.fromkeys(text, "snappy"),
        use_dictionary=text,
        # What of the next version is the same is then found by the Hub and not sent again.
        use_content_defined_chunking=True,
        write_page_index=True,
    )


def claim_dataset(repo_id: str, private: bool) -> None:
    """Create the repository, or check that an existing one may be written to; see `claim_repo`."""
    claim_repo(repo_id, "dataset", private or None, is_of_export, "an export of this package")


def push_export(export: Export, repo_id: str) -> str:
    """Upload an export and return its address; files of an earlier export that have no place in it are deleted.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    return push_folder(export.folder, repo_id, "dataset", ["data/*"], f"Upload {counted(export.num_images, 'image')}")
