"""The twin of RCL-7500: made from the twin of BreakHis as RCL-7500 seems to be from BreakHis, its copies known."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, PngImagePlugin
from tqdm import tqdm

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.inventory import RCL_PER_CLASS
from hf_breakhis.data.open_image import open_image
from hf_breakhis.data.twin.traits import generator
from hf_breakhis.data.twin.twin import TwinSettings, twin_file_names, write_twin
from hf_breakhis.files import InputError, write_csv
from hf_breakhis.folders import FolderKind, replace_folder
from hf_breakhis.hardware import count_cores

FORMAT = "rcl-1"  # changed whenever the same settings give other rows
NUM_BENIGN = 2480  # of BreakHis
TRUTH = "truth.csv"
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


def rcl_rows(settings: TwinSettings) -> pd.DataFrame:
    """Return the truth about the rows: file_name (of the row), label, original (a name in the twin), turn in degrees.

    All benign originals are there once, upright, and some of them again, turned, until there are 3,750 (or as many
    more as `scale` asks for); of the malignant as many as that, upright. Benign rows come first, in random order.
    Two rows of one original are the same picture: a split by row leaks them.
    """
    names = twin_file_names(settings)
    benign = [name for name in names if parse_file_name(name).label == 0]
    malignant = [name for name in names if parse_file_name(name).label == 1]
    number = min(round(len(benign) * RCL_PER_CLASS / NUM_BENIGN), len(malignant))
    random = generator(settings, "rcl", "rows")
    again = [(name, turn) for name in benign for turn in _TURNS]
    chosen = random.choice(len(again), max(0, number - len(benign)), replace=False)
    rows = [(name, 0, 0) for name in benign] + [(again[i][0], 0, again[i][1]) for i in chosen]
    rows = [rows[i] for i in random.permutation(len(rows))]
    rows += [(malignant[i], 1, 0) for i in random.choice(len(malignant), number, replace=False)]
    table = pd.DataFrame(rows, columns=["original", "label", "turn"])
    table.insert(0, "file_name", row_names(len(table)))
    return table


def row_names(number: int) -> list[str]:
    """Return names for rows that have none, in their order: "row-00000"."""
    return [f"row-{row:0{max(5, len(str(number - 1)))}d}" for row in range(number)]


def write_rcl_twin(folder: Path, twin: Path, settings: TwinSettings) -> pd.DataFrame:
    """Write one PNG a row and `truth.csv` into `folder`, unless they are there, and return the truth.

    Args:
        folder: where to; whole or not at all.
        twin: folder of the twin of BreakHis with the same settings, which is generated if it is not there.
        settings: of both.

    Raises:
        InputError: `folder` holds something else, or cannot be written to.
    """
    rows = rcl_rows(settings)
    if (folder / TRUTH).is_file():
        if pd.read_csv(folder / TRUTH).equals(rows):
            return rows
        raise InputError(f"{folder} holds another twin of RCL-7500; give another folder or delete it.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is no twin of RCL-7500; give a new or an empty folder.")
    write_twin(twin, settings)

    def fill(beside: Path) -> None:
        def write(row: Any) -> None:
            _write_picture(twin / parse_file_name(row.original).path, beside / f"{row.file_name}.png", row.turn)

        with ThreadPoolExecutor(count_cores()) as pool:
            work = pool.map(write, rows.itertuples(index=False))
            for _ in tqdm(work, total=len(rows), desc="Writing the twin of RCL-7500", unit=" images", disable=None):
                pass
            write_csv(beside / TRUTH, rows)

    names = (TRUTH, *(f"{name}.png" for name in rows["file_name"]))
    # the same twin, if another process has finished it in the meantime
    kind = FolderKind("twin of RCL-7500", names, TRUTH, lambda path: pd.read_csv(path).equals(rows))
    replace_folder(folder, fill, kind)
    return rows


def _write_picture(original: Path, path: Path, turn: int) -> None:
    """Lay the original at `path`, or a turned copy; a hard link where the file system has them costs no space."""
    if not turn:
        try:
            os.link(original, path)
        except OSError:
            shutil.copyfile(original, path)
        return
    with open_image(original) as picture:
        marks = PngImagePlugin.PngInfo()
        marks.add_text("Software", str(picture.info["Software"]))
        picture.transpose(_TURNS[turn]).save(path, "PNG", pnginfo=marks, compress_level=3)
