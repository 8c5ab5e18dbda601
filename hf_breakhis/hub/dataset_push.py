"""An export goes to the Hub as a data set."""

from hf_breakhis.data.images import few
from hf_breakhis.files import InputError
from hf_breakhis.hub.dataset_export import Export, is_of_export
from hf_breakhis.hub.remote import open_repo, push_folder


def claim_repo(repo_id: str, private: bool) -> None:
    """Create the repository, or see that the one that is there may be written to: before any work is done.

    Raises:
        InputError: the Hub refuses, or the repository holds something else than an export.
    """
    strange = sorted(name for name in open_repo(repo_id, "dataset", private) if not is_of_export(name))
    if strange:
        raise InputError(
            f"The data set {repo_id} on the Hub holds what is of no export ({few(strange)}); give another name."
        )


def push_export(export: Export, repo_id: str) -> str:
    """Upload an export and return its address; files of an earlier export that have no place in it are deleted.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    return push_folder(export.folder, repo_id, "dataset", ["data/*"], f"Upload {export.num_images:,} images")
