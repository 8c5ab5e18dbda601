"""Local features of the images of a place, kept in the datasets cache by what the files contain."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from hf_breakhis.data.images import Images
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.integrity.features import EMPTY, NUM_BYTES, LocalFeatures, describe_all, find_features
from hf_breakhis.data.integrity.findings import Findings
from hf_breakhis.data.sources.datasets_cache import cache_folder, recall
from hf_breakhis.files import write_whole

FORMAT = 1  # raised whenever the features of the same file would be others
CHUNK = 1_000  # images packed at a time
SCHEMA = pa.schema(
    {"content_sha256": pa.string()}
    | dict.fromkeys(("places", "angles", "signs", "frame"), pa.binary())
    | {"filled": pa.float64()}
)


def check_and_describe(images: Images) -> Findings:
    """Check images as `check_images` does, and keep the features of those that are decoded for it.

    Call it before `describe_images`, which then decodes no image a second time.
    """
    features: dict[int, LocalFeatures] = {}

    def use(row: int, picture: Image.Image) -> None:
        features[row] = find_features(picture)

    findings = check_images(images, use=use)
    content = findings.files["content_sha256"].to_numpy()
    memory = _place(images.location)
    known = recall(memory, SCHEMA)
    old = set(known["content_sha256"].to_pylist())
    _remember(memory, known, {content[row]: one for row, one in features.items() if content[row] not in old})
    return findings


def describe_images(images: Images, files: pd.DataFrame) -> list[LocalFeatures]:
    """Return the features of each image, in the order of the data set; a file that was described before is not read.

    Args:
        images: what `load_images` returned, or some rows of it.
        files: what the check found in these files, see `Findings.files`.
    """
    content = dict(zip(files["file_name"], files["content_sha256"], strict=True))
    wanted = [content.get(name, "") for name in images.dataset["file_name"]]
    memory = _place(images.location)
    known = recall(memory, SCHEMA)
    found = _known(known, set(wanted))
    new = [row for row, one in enumerate(wanted) if one not in found]
    if not new:
        return [found[one] for one in wanted]
    rows = images.dataset.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    described = dict(zip(new, describe_all(_Files(rows, new)), strict=True))
    # The hash of a file that could not be read is "".
    fresh = {wanted[row]: one for row, one in described.items() if wanted[row]}
    _remember(memory, known, fresh)
    return [described[row] if row in described else found[one] for row, one in enumerate(wanted)]


class _Files(Sequence[dict[str, Any]]):
    """Some files of a data set, read one at a time."""

    def __init__(self, rows: datasets.Dataset, places: Sequence[int]) -> None:
        self.rows, self.places = rows, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: Any) -> Any:
        return self.rows[self.places[number]]["image"]


def _place(location: str) -> Path:
    """Return the file of the datasets cache with the features of a place, for this version of OpenCV."""
    key = hashlib.sha256(f"{location}|{cv2.__version__}".encode()).hexdigest()[:16]
    return cache_folder() / f"features-{FORMAT}-{key}.arrow"


def _known(table: pa.Table, wanted: set[str]) -> dict[str, LocalFeatures]:
    rows = {one: row for row, one in enumerate(table["content_sha256"].to_pylist()) if one in wanted}
    return {one: _unpacked(table.slice(row, 1).to_pylist()[0]) for one, row in rows.items()}


def _unpacked(row: Mapping[str, Any]) -> LocalFeatures:
    angles = np.frombuffer(row["angles"], np.float32)
    if not len(angles):
        return LocalFeatures(EMPTY.places, EMPTY.angles, EMPTY.signs, row["filled"], _frame(row["frame"]))
    return LocalFeatures(
        places=np.frombuffer(row["places"], np.float32).reshape(-1, 2),
        angles=angles,
        signs=np.frombuffer(row["signs"], np.uint8).reshape(-1, NUM_BYTES),
        filled=row["filled"],
        frame=_frame(row["frame"]),
    )


def _frame(content: bytes) -> tuple[float, float, float, float]:
    left, top, right, bottom = np.frombuffer(content, np.float64).tolist()
    return left, top, right, bottom


def _packed(content: str, one: LocalFeatures) -> dict[str, Any]:
    arrays = {"places": one.places, "angles": one.angles, "signs": one.signs, "frame": np.array(one.frame, np.float64)}
    packed = {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}
    return packed | {"content_sha256": content, "filled": one.filled}


def _remember(path: Path, known: pa.Table, fresh: Mapping[str, LocalFeatures]) -> None:
    """Write what was known and what is new, whole or not at all."""
    items = list(fresh.items())

    def write(part: Path) -> None:
        with pa.ipc.new_file(str(part), SCHEMA) as file:
            file.write_table(known)
            for start in range(0, len(items), CHUNK):
                rows = [_packed(content, one) for content, one in items[start : start + CHUNK]]
                file.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))

    if items:
        write_whole(path, write)
