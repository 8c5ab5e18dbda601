"""No command deletes a folder that it did not write, whatever that folder looks like; what it wrote, it replaces."""

import shutil

import pytest
import yaml

from hf_breakhis.cli import main
from hf_breakhis.files import InputError, write_json
from hf_breakhis.recipe import build_recipe
from hf_breakhis.training.crossval import cross_validate

pytestmark = [
    pytest.mark.usefixtures("small_reports"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of onnx and onnxscript, about themselves
]


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    return shutil.copytree(trained_run, tmp_path_factory.mktemp("folders") / "run")


# the words of each command that writes a folder; RUN and DIR are filled in
COMMANDS = {
    "publish": "publish RUN --repo_id user/name --dry_run --output_dir DIR",
    "page": "page RUN DIR",
    "space": "space RUN DIR",
    "export": "export RUN --output_dir DIR",
    "data export": 'data export DIR --dataset twin --twin_kwargs {"scale":0.01,"width":70,"height":46}',
}
# what a folder of somebody else may look like
LOOKS = {
    "publish": {"README.md": "# My thesis", "summary.json": "{}"},
    "page": {"page.json": "{}", "index.html": "my page"},
    "space": {"facts.json": "{}", "app.py": "mine"},
    "export": {"export.json": "{}", "model.onnx": "mine"},
    "data export": {"export.json": "{}", "README.md": "mine"},
}

VICTIMS = {
    "publish": "README.md",
    "page": "index.html",
    "space": "app.py",
    "export": "model.onnx",
    "data export": "README.md",
}


def export_nothing(_weights, folder, score):
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"a model")
    return {"parity": {}}


def words(name, run, folder):
    return [word.replace("RUN", str(run)).replace("DIR", str(folder)) for word in COMMANDS[name].split(" ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_of_somebody_else_stays_as_it_is(name, run, tmp_path, capsys):
    folder = tmp_path / "thesis"
    folder.mkdir()
    for file, text in LOOKS[name].items():
        (folder / file).write_text(text)
    assert main(words(name, run, folder)) == 2
    assert "Give a new or an empty folder" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in folder.iterdir()} == LOOKS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_of_the_same_command_is_replaced_unless_something_else_is_in_it(
    name, run, tmp_path, capsys, monkeypatch
):
    if name == "export":
        pytest.importorskip("onnxscript")
    monkeypatch.setattr("hf_breakhis.hub.page.export_model", export_nothing)
    folder = tmp_path / "ours"
    assert main(words(name, run, folder)) == 0
    written = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    victim = folder / VICTIMS[name]
    victim.write_bytes(b"changed")
    assert main(words(name, run, folder)) == 0
    assert victim.read_bytes() != b"changed"
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == written
    (folder / "notes.txt").write_text("keep")
    capsys.readouterr()
    assert main(words(name, run, folder)) == 2
    assert "did not write: notes.txt" in capsys.readouterr().err
    assert (folder / "notes.txt").read_text() == "keep"
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


TWIN = '--dataset twin --twin_kwargs {"scale":0.01,"width":70,"height":46}'
# the words of each command with an output, and a function that its work calls
WORK = {
    COMMANDS["publish"]: "hf_breakhis.hub.publish.copy_network",
    COMMANDS["page"]: "hf_breakhis.hub.page.read_facts",
    COMMANDS["space"]: "hf_breakhis.hub.space.read_facts",
    COMMANDS["export"]: "hf_breakhis.inference.export.load_networks",
    COMMANDS["data export"]: "hf_breakhis.data.sources.table.load_images",
    f"evaluate RUN --output_dir DIR {TWIN}": "hf_breakhis.inference.evaluation.evaluate.find_model",
    "score RUN/predictions.csv --output_dir DIR": "hf_breakhis.results.imported.read_foreign",
    "predict RUN RUN/fold-0/examples --output DIR/x.csv": "hf_breakhis.inference.model.find_model",
    "embed RUN RUN/fold-0/examples --output DIR/x.csv": "hf_breakhis.inference.model.find_model",
    "compare RUN RUN --output_dir DIR": "hf_breakhis.results.compare.compare",
    "check pixels-to-prognosis --output_dir DIR": "hf_breakhis.results.published.check.check_paper",
    "audit --split official --output_dir DIR": "hf_breakhis.results.audit.audit_folds",
    "audit recipes/demo.yaml --output_dir DIR": "hf_breakhis.data.sources.table.load_images",
    "train recipes/demo.yaml --output_dir DIR": "hf_breakhis.training.crossval.load_images",
    "search recipes/demo.yaml --space head --trials 2 --output_dir DIR": "hf_breakhis.search.start.load_images",
}  # fmt: skip


@pytest.mark.parametrize("command", WORK)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(command, run, tmp_path, capsys, monkeypatch):
    file = tmp_path / "file"
    file.write_text("mine")
    monkeypatch.setattr(WORK[command], lambda *_, **__: pytest.fail("worked first"))
    given = [word.replace("RUN", str(run)).replace("DIR", str(file / "new")) for word in command.split(" ")]
    assert main(given) == 2
    refusal = capsys.readouterr().err.strip().splitlines()[-1]
    assert refusal.startswith(f"hf-breakhis: Cannot write {file}/new")
    assert refusal.endswith(f"{file} is a file, not a folder. Give another place.")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("flags", ["--format csv", "--format parquet", "--format csv --by patient"])
def test_a_folder_is_no_output_file_of_predict(flags, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hf_breakhis.inference.model.find_model", lambda *_, **__: pytest.fail("worked first"))
    images = str(run / "fold-0" / "examples")
    assert main(["predict", str(run), images, "--output", str(tmp_path), *flags.split(" ")]) == 2
    assert f"Cannot write {tmp_path}, which is a folder. Give the name of a file.\n" in capsys.readouterr().err


@pytest.mark.parametrize("command", WORK)
def test_work_that_comes_first_would_be_seen(command, run, tmp_path, monkeypatch):
    """With a place that can be written, each command calls the function that the tests of refusals watch."""
    monkeypatch.setattr(WORK[command], lambda *_, **__: pytest.fail("worked first"))
    given = [word.replace("RUN", str(run)).replace("DIR", str(tmp_path / "new")) for word in command.split(" ")]
    with pytest.raises(pytest.fail.Exception, match="worked first"):
        main(given)


@pytest.mark.parametrize(
    "command", ["evaluate RUN --output_dir DIR --dataset twin", "score RUN/predictions.csv --output_dir DIR"]
)
def test_a_run_does_not_take_a_folder_of_somebody_else_and_says_so_first(command, run, tmp_path, capsys, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine")
    for work in ("inference.evaluation.evaluate.find_model", "results.imported.read_foreign"):
        monkeypatch.setattr(f"hf_breakhis.{work}", lambda *_, **__: pytest.fail("worked first"))
    given = [word.replace("RUN", str(run)).replace("DIR", str(tmp_path)) for word in command.split(" ")]
    assert main(given) == 2
    assert "Give a new or an empty folder." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_explain_replaces_its_own_pictures_only(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    command = ["explain", str(copy), "--num_images", "1", "--num_curves", "1"]
    assert main(command) == 0
    assert main(command) == 0
    write_json(copy / "fold-0" / "explain" / "index.json", {"by": "somebody else"})
    assert main(command) == 2
    assert (copy / "fold-0" / "explain" / "index.json").is_file()


def test_a_twin_is_not_written_over_a_folder_of_somebody_else(tmp_path, monkeypatch, capsys):
    (tmp_path / "twin.json").write_text("{}")
    assert main(["data", "twin", str(tmp_path), "--scale", "0.001"]) == 2
    assert (tmp_path / "twin.json").read_text() == "{}"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("hf_breakhis.data.twin.twin._write_pictures", lambda *_: None)
    assert main(["data", "twin", ".", "--scale", "0.001"]) == 2
    assert "is the working directory" in capsys.readouterr().err


def recipe(fields, folder, **changes):
    return build_recipe({**fields, "output_dir": str(folder), "restart": True, **changes}, {})


@pytest.fixture
def trains_nothing(monkeypatch):
    monkeypatch.setattr("hf_breakhis.training.crossval.train_members", lambda *_: None)


STRANGE_RECIPES = {
    "another field": "whatever: [not a run]\n",
    "no mapping": "[a, b]\n",
    "a recipe to start from": "dataset: twin\noutput_dir: x\nmodel_name_or_path: microsoft/resnet-50\n",
    "not YAML": "a: [",
    "another environment": "{dataset: a, output_dir: x, model_name_or_path: b, environment: {packages: [x]}}",
}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("text", STRANGE_RECIPES.values(), ids=STRANGE_RECIPES)
def test_a_folder_with_a_recipe_of_somebody_else_is_no_run(text, restart, run_fields, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    (tmp_path / "thesis.txt").write_text("keep")
    with pytest.raises(InputError, match=r"was not written by a run\. Give another --output_dir\.$"):
        cross_validate(recipe(run_fields, tmp_path, restart=restart))
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.yaml", "thesis.txt"}


@pytest.mark.parametrize("name", ["thesis.txt", "fold-0/thesis.txt", "fold-0/model/thesis.txt", "figures/.git/HEAD"])
def test_restart_of_a_run_with_other_files_in_it_deletes_nothing(name, run, run_fields, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("keep")
    before = sorted(copy.rglob("*"))
    with pytest.raises(InputError, match=r"did not write: .*thesis\.txt|Git repository"):
        cross_validate(recipe(run_fields, copy))
    assert sorted(copy.rglob("*")) == before


def test_restart_in_the_working_directory_is_refused(run, run_fields, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(run, tmp_path / "run"))
    with pytest.raises(InputError, match=r"is the working directory"):
        cross_validate(recipe(run_fields, "."))
    assert (tmp_path / "run" / "summary.json").is_file()


def test_restart_through_a_link_begins_again(run, run_fields, tmp_path, trains_nothing):
    copy = shutil.copytree(run, tmp_path / "run")
    (tmp_path / "link").symlink_to(copy)
    cross_validate(recipe(run_fields, tmp_path / "link", learning_rate=0.25))
    assert (tmp_path / "link").is_symlink()
    assert yaml.safe_load((copy / "recipe.yaml").read_text())["learning_rate"] == 0.25
    assert {path.name for path in copy.iterdir()} <= {
        "checksums.json",
        "recipe.yaml",
        "data.json",
        "colors.csv",
        "folds.csv",
        "fold-0",
        "fold-1",
    }
    assert not list(copy.rglob("metrics.json"))


def test_restart_that_cannot_delete_is_an_error(run, run_fields, tmp_path, trains_nothing, monkeypatch):
    copy = shutil.copytree(run, tmp_path / "run")

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hf_breakhis.folders.os.unlink", refuse)
    with pytest.raises(InputError, match=r"Cannot delete .*: Permission denied"):
        cross_validate(recipe(run_fields, copy, learning_rate=0.25))
    assert yaml.safe_load((copy / "recipe.yaml").read_text())["learning_rate"] == 0.05


def test_repeats_do_not_write_over_a_recipe_of_somebody_else_or_a_plain_run(run, run_fields, tmp_path):
    (tmp_path / "recipe.yaml").write_text("dataset: twin\n")
    with pytest.raises(InputError, match="was not written by a run"):
        cross_validate(recipe(run_fields, tmp_path, repeats=2, restart=False))
    assert (tmp_path / "recipe.yaml").read_text() == "dataset: twin\n"
    copy = shutil.copytree(run, tmp_path / "run")
    before = (copy / "recipe.yaml").read_bytes()
    with pytest.raises(InputError, match=r"run of another recipe \(repeats 1 -> 2\)"):
        cross_validate(recipe(run_fields, copy, repeats=2, restart=False))
    assert (copy / "recipe.yaml").read_bytes() == before


def test_repeats_begin_again_and_grow_in_their_own_folder(run, run_fields, tmp_path, trains_nothing):
    copy = shutil.copytree(run, tmp_path / "run")
    cross_validate(recipe(run_fields, copy, repeats=2))
    assert sorted(path.name for path in copy.iterdir()) == ["checksums.json", "recipe.yaml", "repeat-0", "repeat-1"]
    cross_validate(recipe(run_fields, copy, repeats=3, restart=False))
    assert yaml.safe_load((copy / "recipe.yaml").read_text())["repeats"] == 3
    with pytest.raises(InputError, match=r"run of another recipe \(learning_rate 0.05 -> 0.25\)"):
        cross_validate(recipe(run_fields, copy, repeats=3, restart=False, learning_rate=0.25))
    with pytest.raises(InputError, match=r"run of another recipe \(repeats 3 -> 1\)"):
        cross_validate(recipe(run_fields, copy, restart=False))
