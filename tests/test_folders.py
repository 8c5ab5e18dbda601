"""Only folders that this package wrote are replaced or cleared, and only the names that it writes."""

import os

import pytest

from hf_breakhis import folders
from hf_breakhis.files import InputError, read_json, write_json
from hf_breakhis.folders import FolderKind, clear_folder, replace_folder, require_replaceable

KIND = FolderKind("page", ("index.html", "page.json", "data/*.csv", "checkpoints/**"), "page.json")


def fill(folder, text="new"):
    write_json(folder / "page.json", {"made_by": KIND.made_by})
    (folder / "index.html").write_text(text)
    (folder / "data").mkdir()
    (folder / "data" / "a.csv").write_text(text)


@pytest.fixture
def page(tmp_path):
    """A folder of ours."""
    (tmp_path / "page").mkdir()
    fill(tmp_path / "page", "old")
    return tmp_path / "page"


def contents(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["absent", "empty"])
def test_an_absent_or_empty_folder_is_filled(tmp_path, make):
    make(tmp_path / "page")
    replace_folder(tmp_path / "page", fill, KIND)
    assert (tmp_path / "page" / "index.html").read_text() == "new"


def test_a_folder_of_ours_is_replaced_and_nothing_is_left_next_to_it(page):
    replace_folder(page, fill, KIND)
    assert (page / "index.html").read_text() == "new"
    assert [entry.name for entry in page.parent.iterdir()] == ["page"]


def test_a_folder_of_ours_is_cleared_with_what_killed_commands_left_in_it(page):
    (page / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (page / "checkpoints" / "checkpoint-3" / "model.safetensors").touch()
    (page / ".index.html.0123abcd.part").touch()
    (page / ".data.0123abcd.part").mkdir()
    (page / ".data.0123abcd.part" / "b.csv").touch()
    clear_folder(page, KIND)
    assert list(page.iterdir()) == []


def strange(name):
    def add(page):
        (page / name).parent.mkdir(parents=True, exist_ok=True)
        (page / name).write_text("my thesis")

    return add


def empty_marker(page):
    (page / "page.json").write_text("{}")


def marker_of_another_kind(page):
    write_json(page / "page.json", {"made_by": "hf_breakhis publication"})


def list_as_marker(page):
    (page / "page.json").write_text('["made_by"]')


def linked_marker(page):
    (page / "page.json").rename(page.parent / "marker.json")
    (page / "page.json").symlink_to(page.parent / "marker.json")


def link_to_a_folder(page):
    (page.parent / "elsewhere").mkdir()
    (page.parent / "elsewhere" / "b.csv").write_text("my data")
    (page / "data" / "a.csv").unlink()
    (page / "data").rmdir()
    (page / "data").symlink_to(page.parent / "elsewhere")


def strange_folder(page):
    (page / "thesis").mkdir()


def repository(page):
    (page / ".git").mkdir()


def inner_repository(page):
    (page / "checkpoints" / "a" / ".git").mkdir(parents=True)


ATTACKS = {
    "thesis.txt": (strange("thesis.txt"), r"did not write: thesis\.txt"),
    "data/thesis.txt": (strange("data/thesis.txt"), r"did not write: data/thesis\.txt"),
    "deeper": (strange("data/more/a.csv"), "did not write: data/more"),
    "part of another name": (strange(".thesis.0123abcd.part"), "did not write"),
    "folder": (strange_folder, "did not write: thesis"),
    "empty marker": (empty_marker, r"not a page that hf-breakhis wrote \(no page\.json of one\)"),
    "marker of another kind": (marker_of_another_kind, "not a page"),
    "list as marker": (list_as_marker, "not a page"),
    "linked marker": (linked_marker, "not a page"),
    "no marker": (lambda page: (page / "page.json").unlink(), "not a page"),
    "linked folder": (link_to_a_folder, "did not write: data"),
    "repository": (repository, r"Git repository"),
    "inner repository": (inner_repository, r"Git repository"),
}


@pytest.mark.parametrize("change", [replace_folder, lambda path, _fill, kind: clear_folder(path, kind)])
@pytest.mark.parametrize(("attack", "message"), ATTACKS.values(), ids=ATTACKS)
def test_whatever_is_not_ours_is_refused_and_stays(page, change, attack, message):
    attack(page)
    before = contents(page.parent)
    with pytest.raises(InputError, match=message):
        change(page, fill, KIND)
    assert contents(page.parent) == before


@pytest.mark.parametrize("place", ["", "data"])
def test_the_working_directory_and_its_parents_are_refused(page, place, monkeypatch):
    monkeypatch.chdir(page / place)
    with pytest.raises(InputError, match=f"{'contains' if place else 'is'} the working directory"):
        clear_folder(page, KIND)
    assert (page / "index.html").read_text() == "old"


def test_an_empty_working_directory_is_refused_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is the working directory"):
        replace_folder(".", fill, KIND)


@pytest.mark.parametrize("place", ["", "data"])
def test_the_home_directory_and_its_parents_are_refused(page, place, monkeypatch):
    monkeypatch.setenv("HOME", str(page / place))
    with pytest.raises(InputError, match="the home directory"):
        replace_folder(page, fill, KIND)
    assert (page / "index.html").read_text() == "old"


def test_a_link_to_a_folder_of_ours_stays_and_its_folder_is_replaced(page, tmp_path):
    (tmp_path / "link").symlink_to(page)
    replace_folder(tmp_path / "link", fill, KIND)
    assert (tmp_path / "link").is_symlink()
    assert (page / "index.html").read_text() == "new"
    clear_folder(tmp_path / "link", KIND)
    assert (tmp_path / "link").is_symlink()
    assert list(page.iterdir()) == []


def test_a_circle_of_links_and_a_file_are_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "file").touch()
    for name, message in (("a", "Cannot (read|write)"), ("file", "is a file")):
        with pytest.raises(InputError, match=message):
            replace_folder(tmp_path / name, fill, KIND)


def test_what_cannot_be_deleted_is_an_error_and_keeps_its_marker(page, monkeypatch):
    real = os.unlink

    def refuse(path):
        if path.name == "a.csv":
            raise PermissionError(13, "Permission denied")
        real(path)

    monkeypatch.setattr(folders.os, "unlink", refuse)
    with pytest.raises(InputError, match=r"Cannot delete .*a\.csv: Permission denied"):
        clear_folder(page, KIND)
    monkeypatch.undo()
    assert (page / "page.json").is_file()  # so the same command is not refused afterwards
    clear_folder(page, KIND)
    assert list(page.iterdir()) == []


def test_a_folder_that_appears_during_the_work_is_not_replaced(tmp_path):
    def fill_late(part):
        fill(part)
        strange("thesis.txt")(tmp_path / "page")

    with pytest.raises(InputError, match="not a page"):
        replace_folder(tmp_path / "page", fill_late, KIND)
    assert contents(tmp_path) == {"page": False, "page/thesis.txt": b"my thesis"}


def test_a_failed_folder_leaves_the_old_one(page):
    def fail(part):
        fill(part)
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        replace_folder(page, fail, KIND)
    assert (page / "index.html").read_text() == "old"
    assert [entry.name for entry in page.parent.iterdir()] == ["page"]


def test_a_folder_that_cannot_be_put_in_place_gives_the_old_one_back(page, monkeypatch):
    def refuse(_source, _target):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(folders.os, "replace", refuse)
    with pytest.raises(InputError, match="Input/output error"):
        replace_folder(page, fill, KIND)
    assert read_json(page / "page.json") == {"made_by": KIND.made_by}
    assert (page / "index.html").read_text() == "old"


def test_the_absolute_path_is_returned(page, monkeypatch):
    monkeypatch.chdir(page.parent)
    assert require_replaceable("page", KIND) == page.resolve()


@pytest.mark.parametrize(
    ("name", "words"), [("imported run", "not an imported run that"), ("Space", "not a Space that")]
)
def test_the_name_of_a_kind_has_its_article(tmp_path, name, words):
    (tmp_path / "mine.txt").write_text("my data")
    with pytest.raises(InputError, match=words):
        clear_folder(tmp_path, FolderKind(name, ("*.json",), "page.json"))
