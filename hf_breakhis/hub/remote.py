"""The Hub's side of a push: checks before any work, and every refusal in one line."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from hf_breakhis.files import InputError, few
from hf_breakhis.inference.hub_model import quiet_hub
from hf_breakhis.settings import require_hub_settings

_LOGIN = "run `hf auth login` with a token that may write, or set HF_TOKEN"


def require_repo_id(repo_id: str) -> str:
    """Return `repo_id` if it has the form user/name.

    Raises:
        InputError: it has not.
    """
    try:
        validate_repo_id(repo_id)
        whole = repo_id.count("/") == 1
    except HFValidationError:
        whole = False
    if not whole:
        raise InputError(
            f"{repo_id!r} is no name of a repository: give user/name, of letters, digits, '-', '_' and '.', "
            "such as user/breakhis."
        )
    return repo_id


def require_login() -> None:
    """Refuse early where nothing could be pushed.

    Raises:
        InputError: no token is known.
    """
    require_hub_settings()
    if get_token() is None:
        raise InputError(f"Not logged in to the Hugging Face Hub: {_LOGIN}, then give the same command again.")


def require_target(repo_id: str | None, private: bool) -> None:
    """Check --push_to_hub and --private before any work; without the first nothing is pushed.

    Raises:
        InputError: the name has another form, there is no token, or --private is given alone.
    """
    if repo_id is not None:
        require_repo_id(repo_id)
        require_login()
    elif private:
        raise InputError("--private needs --push_to_hub USER/NAME. Add it, or remove --private.")


NAMES = {"dataset": "data set", "model": "model", "space": "Space"}


@contextmanager
def using_token(token: str | None) -> Iterator[None]:
    """Use this token within the block, in place of that of HF_TOKEN or of `hf auth login`; None changes nothing."""
    before = os.environ.get("HF_TOKEN")
    if token is not None:
        os.environ["HF_TOKEN"] = token
    try:
        yield
    finally:
        if token is not None:
            if before is None:
                del os.environ["HF_TOKEN"]
            else:
                os.environ["HF_TOKEN"] = before


@contextmanager
def hub_errors_in_one_line(repo_id: str) -> Iterator[None]:
    """Turn what the Hub refuses within the block into one line.

    Raises:
        InputError: instead of the errors of huggingface_hub and of the network.
    """
    quiet_hub()
    require_hub_settings()
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise InputError("HF_HUB_OFFLINE is set, so nothing can be pushed; unset it and try again.") from error
    except (HTTPError, RuntimeError, ConnectionError, TimeoutError) as error:
        # Xet raises builtin errors. An upload without Xet hides its cause in a RuntimeError.
        cause = error.__cause__ if isinstance(error, RuntimeError) else error
        if not isinstance(cause, HTTPError | ConnectionError | TimeoutError):
            raise
        if status := _status(cause):
            raise InputError(f"The Hub: {_reason(repo_id, status, _brief(cause))}") from error
        raise InputError(
            f"The connection to the Hub failed ({_brief(cause)}); the same command continues where it stopped."
        ) from error


def open_repo(repo_id: str, repo_type: str, private: bool | None = None, sdk: str = "gradio") -> list[str]:
    """Create a repository, or find it, and return the names of the files in it; a new Space has this `sdk`.

    `private` is that of `claim_repo`.

    Raises:
        InputError: the Hub refuses, or the repository is public and `private` is asked for.
    """
    api = HfApi()
    with hub_errors_in_one_line(repo_id):
        of_space = sdk if repo_type == "space" else None  # a Space has to have one
        api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=of_space)
        # It says nothing where a repository of someone else is there already.
        api.auth_check(repo_id, repo_type=repo_type, write=True)
        if private and not api.repo_info(repo_id, repo_type=repo_type).private:
            raise InputError(
                f"{repo_id} exists and is public, but a private repository is asked for. Make it private on the Hub, "
                "or leave out --private and `hub_private_repo`."
            )
        return api.list_repo_files(repo_id, repo_type=repo_type)


def claim_repo(
    repo_id: str, repo_type: str, private: bool | None, is_own: Callable[[str], bool], what: str, sdk: str = "gradio"
) -> None:
    """Create a repository, or check that an existing one may be written to, before any work is done.

    Args:
        repo_id: user/name.
        repo_type: "dataset", "model" or "space".
        private: of a new repository; None leaves it to the Hub, where organisations may have another default than
            public.
        is_own: whether a file name is one that this package writes into such a repository.
        what: the content in words, for the message: "a model of a run".
        sdk: of a new Space.

    Raises:
        InputError: the Hub refuses, or the repository contains other files.
    """
    other = sorted(name for name in open_repo(repo_id, repo_type, private, sdk) if not is_own(name))
    if other:
        raise InputError(
            f"The {NAMES[repo_type]} {repo_id} on the Hub contains files that do not belong to {what} ({few(other)}). "
            "Give another name."
        )


def push_folder(
    folder: Path, repo_id: str, repo_type: str, stale: list[str], message: str, revision: str | None = None
) -> str:
    """Upload a folder in one commit, and return the address; what is up already is not sent again.

    Args:
        folder: holds README.md and what belongs to it.
        repo_id: an existing repository.
        repo_type: "dataset", "model" or "space".
        stale: patterns of files to delete from the repository where `folder` has them no longer.
        message: of the commit.
        revision: branch to push to; the main one by default.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    with hub_errors_in_one_line(repo_id):
        _send(folder, repo_id, repo_type, stale, message, revision)
    place = address(repo_id, repo_type)
    return place if revision is None else f"{place}/tree/{revision}"


def propose_folder(folder: Path, repo_id: str, repo_type: str, stale: list[str], message: str) -> str | None:
    """Propose a folder as a pull request and return its address; an open one of the same user and name is renewed.

    Args:
        folder: as for `push_folder`, and so are the others.

    Returns:
        None where the main branch holds exactly this already.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    with hub_errors_in_one_line(repo_id):
        number = _open_proposal(repo_id, repo_type, message)
        if number is None:
            number = _send(folder, repo_id, repo_type, stale, message, None, create_pr=True)
        else:
            _send(folder, repo_id, repo_type, stale, message, f"refs/pr/{number}")
    return None if number is None else f"{address(repo_id, repo_type)}/discussions/{number}"


def _open_proposal(repo_id: str, repo_type: str, title: str) -> int | None:
    api = HfApi()
    found = api.get_repo_discussions(
        repo_id, repo_type=repo_type, author=api.whoami()["name"], discussion_type="pull_request",
        discussion_status="open",
    )  # fmt: skip
    return next((one.num for one in found if one.title == title), None)


def _send(
    folder: Path,
    repo_id: str,
    repo_type: str,
    stale: list[str],
    message: str,
    revision: str | None,
    create_pr: bool = False,
) -> int | None:
    """Upload a folder in one commit to one branch; return the number of the pull request, if one was opened."""
    return (
        HfApi()
        .upload_folder(
            repo_id=repo_id, repo_type=repo_type, folder_path=folder, delete_patterns=stale, commit_message=message,
            revision=revision, create_pr=create_pr,
        )
        .pr_num
    )  # fmt: skip


def address(repo_id: str, repo_type: str) -> str:
    """Return where a repository is on the Hub."""
    return f"{HfApi().endpoint}/{'' if repo_type == 'model' else f'{repo_type}s/'}{repo_id}"


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error of the Hub or of Xet is about."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code
    found = re.search(r"HTTP status (?:client|server) error \((\d{3})", str(error))
    return int(found[1]) if found else None


def _reason(repo_id: str, status: int, brief: str) -> str:
    if status == 401:
        return f"it does not accept the token (401); {_LOGIN}."
    if status == 403:
        return (
            f"writing to {repo_id} is refused (403); the name belongs to someone else, or the token may only read: "
            f"give a name of your own, or {_LOGIN}."
        )
    if status == 404:
        return f"there is no {repo_id} (404), or the token may not see it; check the name."
    if status == 429:
        return "too many requests (429); wait some minutes, the same command continues where it stopped."
    if status >= 500:
        return f"it has a fault of its own ({status}); later the same command continues where it stopped."
    return f"{repo_id} is refused ({status}: {brief})."


def _brief(error: Exception) -> str:
    """Return the Hub's own words if it gave any, else the first line of the message."""
    message = getattr(error, "server_message", None)
    lines = (message or str(error)).strip().splitlines()
    return json.dumps(lines[0].strip(), ensure_ascii=False).strip('"') if lines else type(error).__name__
