"""Collections of a user on the Hub, found by their title."""

from collections.abc import Iterable
from typing import Any

from huggingface_hub import Collection, HfApi

from hf_breakhis.files import InputError
from hf_breakhis.hub.remote import hub_errors_in_one_line

MAX_TITLE = 59  # the Hub takes fewer than 60 characters


def require_title(title: str) -> str:
    """Return the title of a collection if the Hub would take it.

    Raises:
        InputError: it is empty or too long.
    """
    if not 0 < len(title.strip()) <= MAX_TITLE:
        raise InputError(f"--collection has {len(title)} characters, but has to have 1 to {MAX_TITLE}. Change it.")
    return title.strip()


def open_collection(title: str, owner: str, private: bool) -> Collection:
    """Return the collection of this title, with all its items; if there is none, it is created.

    Args:
        title: by which it is found among those of the owner.
        owner: user or organisation.
        private: for a new one.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    api = HfApi()
    with hub_errors_in_one_line(f"the collection {title}"):
        for found in api.list_collections(owner=owner):
            if found.title == title:
                return api.get_collection(found.slug)  # a list has only the first items of each
        return api.create_collection(title, namespace=owner, private=private, exists_ok=True)


def add_to_collection(collection: Collection, repos: Iterable[tuple[str, str]]) -> None:
    """Add the repositories, (type, user/name), that the collection does not have.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    there = {(item.item_type, item.item_id) for item in collection.items}
    with hub_errors_in_one_line(f"the collection {collection.title}"):
        for repo_type, repo_id in repos:
            kind: Any = repo_type
            if (kind, repo_id) not in there:
                HfApi().add_collection_item(collection.slug, repo_id, kind, exists_ok=True)
