"""A data set on the Hub: read from its files at one commit, never by running code of it."""

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import datasets
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.filenames import MAGNIFICATIONS
from hf_breakhis.data.images import Images
from hf_breakhis.data.sources.datasets_cache import file_stamp, preparing_images
from hf_breakhis.data.sources.parquet import REQUIRED, as_pictures, from_rows, require_export_columns
from hf_breakhis.files import InputError, reason_of
from hf_breakhis.settings import require_hub_settings

_NO_FILES = (datasets.exceptions.DataFilesNotFoundError, datasets.data_files.EmptyDatasetError)


def load_published(data: DataArguments) -> Images:
    """Read the Hub data set `data.dataset`, which has the columns of `hf-breakhis data export`.

    Raises:
        InputError: as `fetch_published`.
    """
    if data.data_dir is not None:
        raise InputError(
            f"`data_dir` does not go with the Hub data set {data.dataset}; leave it out, or use dataset=breakhis."
        )
    place, revision = data.dataset, data.dataset_revision
    rows, commit, notes = fetch_published(place, revision, data.magnifications)
    images = from_rows(rows, place, place, rows_stamp(rows))
    images.warnings.extend(notes)
    return replace(images, revision=commit)


def fetch_published(
    place: str,
    revision: str | None,
    magnifications: Sequence[str] = MAGNIFICATIONS,
    required: Sequence[str] = REQUIRED,
    without: str = "breakhis",
) -> tuple[datasets.Dataset, str | None, list[str]]:
    """Fetch a Hub data set once into the datasets cache.

    Args:
        place: Hub id.
        revision: commit, branch or tag; None is the newest.
        magnifications: configurations to take where it has one for each magnification and none for all.
        required: columns it must have.
        without: the source that reads its files from a folder, for the advice where there is no network.

    Returns:
        The rows, the commit they are of (None if unknown), and sentences for the report.

    Raises:
        InputError: there is no such data set or revision, the Hub cannot be reached, or the columns are others.
    """
    try:
        validate_repo_id(place)
    except HFValidationError as error:
        raise InputError(f"`dataset` is {place!r}, which is no Hub id; one looks like OWNER/NAME.") from error
    with preparing_images(place, quiet=not sys.stderr.isatty()):
        parts = _load(place, revision, magnifications, without)
    notes = []
    if len({part.split for part in parts}) > 1:
        names = sorted({str(part.split) for part in parts})
        notes.append(f"The parts {', '.join(names)} of {place} were put together; this run divides anew.")
    for part in parts:
        require_export_columns(part.column_names, place, required)
    commit = _commit(parts)
    if revision is None:
        notes.append(
            f"`dataset_revision` was not given: {place} was read at its newest commit ({commit or 'not known'})."
        )
    rows = datasets.concatenate_datasets(parts) if len(parts) > 1 else parts[0]
    return as_pictures(rows, place), commit, notes


def rows_stamp(rows: datasets.Dataset) -> str:
    """Return a name for the content of rows that datasets keeps in its cache."""
    return file_stamp([Path(file["filename"]) for file in rows.cache_files])


def _load(place: str, revision: str | None, magnifications: Sequence[str], without: str) -> list[datasets.Dataset]:
    """Load every part of the configurations wanted, and put the many errors of the Hub into words."""
    at = f" at revision {revision}" if revision else ""
    require_hub_settings()
    try:
        names = datasets.get_dataset_config_names(place, revision=revision)
        # One configuration for each magnification, as `data export` has them: no more is fetched than is used.
        wanted = list(magnifications) if set(magnifications) <= set(names) else [None]
        loaded = [datasets.load_dataset(place, name, revision=revision) for name in wanted]
    except datasets.exceptions.DatasetNotFoundError as error:
        raise InputError(
            f"`dataset` is {place}{at}, which the Hub does not have or does not show you; check the spelling, "
            "or log in with `hf auth login`."
        ) from error
    except datasets.exceptions.DatasetGenerationError:
        raise
    except (*_NO_FILES, datasets.exceptions.DatasetBuildError) as error:
        raise InputError(f"{place}{at} on the Hub holds no data files that datasets can read.") from error
    except ValueError as error:  # "Config name is missing"
        raise InputError(f"{place}{at} on the Hub cannot be read as it is ({reason_of(error)}).") from error
    except RuntimeError as error:  # "Dataset scripts are no longer supported"
        raise InputError(f"{place}{at} on the Hub needs code of its own to be read, which is never run.") from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise  # of the system: the cache has no room
        raise InputError(
            f"The Hub cannot be reached for {place}{at}: {reason_of(error)}. Try again later, or fetch it "
            f"elsewhere by `hf download {place} --repo-type dataset --local-dir DIR` and give --dataset {without} "
            "--data_dir DIR."
        ) from error
    return [part for parts in loaded for part in parts.values()]


def _commit(parts: Sequence[datasets.Dataset]) -> str | None:
    """Return the commit, after which datasets names the folders of its cache."""
    folders = {Path(file["filename"]).parent.name for part in parts for file in part.cache_files}
    commits = {name for name in folders if re.fullmatch(r"[0-9a-f]{40}", name)}
    return commits.pop() if len(commits) == len(folders) == 1 else None
