"""A run knows its files: what was changed, replaced or damaged is named in one line by every command."""

import json
import os
import shutil

import pytest

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.inference import export
from hf_breakhis.inference.model import find_model
from hf_breakhis.recipe import build_recipe
from hf_breakhis.run import CHECKSUMS, Run
from hf_breakhis.tables import read_mapping, read_table
from hf_breakhis.training.crossval import cross_validate

pytestmark = pytest.mark.usefixtures("small_reports")

MUTATIONS = {
    "missing": None,
    "empty": lambda _: b"",
    "null": lambda _: b"null\n",
    "list": lambda _: b"[]\n",
    "no fields": lambda _: b"{}\n",
    "cut in half": lambda content: content[: len(content) // 2],
    "binary": lambda _: bytes(range(256)),
    "folder": None,
}


def mutate(path, name):
    content = path.read_bytes()
    path.unlink()
    if name == "folder":
        path.mkdir()
    elif MUTATIONS[name] is not None:
        path.write_bytes(MUTATIONS[name](content))


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


@pytest.fixture
def light_report(monkeypatch, few_resamples):
    """A report without figures and with few resamples: the files are read as ever."""
    monkeypatch.setattr("hf_breakhis.results.report.page.FIGURES", {})


def changes_of(run):
    return Run(run).changes()


def test_a_run_as_it_was_written_has_no_changes(trained_run):
    assert changes_of(trained_run) == []
    for fold in (0, 1):
        names = json.loads((trained_run / f"fold-{fold}" / CHECKSUMS).read_text())["sha256"]
        files = {path.relative_to(trained_run / f"fold-{fold}").as_posix()
                 for path in (trained_run / f"fold-{fold}").rglob("*") if path.is_file()}  # fmt: skip
        assert set(names) == files - {CHECKSUMS}


def swap_model(run):
    shutil.copyfile(run / "fold-1/model/model.safetensors", run / "fold-0/model/model.safetensors")
    return "fold-0/model/model.safetensors"


def edit(name, old, new):
    def change(run):
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new, 1))
        return name

    return change


def permute_names(run):
    path = run / "fold-0/predictions.csv"
    head, *rows = path.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    names = [row[0] for row in cells]
    rows = [",".join([name, *row[1:]]) for name, row in zip(names[1:] + names[:1], cells, strict=True)]
    path.write_text("\n".join([head, *rows]) + "\n")
    return "fold-0/predictions.csv"


def lose_a_fold(run):
    shutil.rmtree(run / "fold-1")
    return "fold-1 (missing or not finished)"


def lose_metrics(run):
    (run / "fold-1" / "metrics.json").unlink()
    return "fold-1 (missing or not finished)"


CHANGES = {
    "model of another fold": swap_model,
    "permuted names": permute_names,
    "a label": edit("folds.csv", ",1,", ",0,"),
    "a patient": edit("folds.csv", "SOB_", "SOC_"),
    "the accuracy": edit("summary.json", '"value": 0.', '"value": 0.9'),
    "the recipe": edit("recipe.yaml", "learning_rate: 0.05", "learning_rate: 0.5"),
    "a missing fold": lose_a_fold,
    "missing metrics": lose_metrics,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named_and_can_be_accepted(run, name):
    changed = CHANGES[name](run)
    assert changes_of(run) == [changed]
    with pytest.raises(InputError, match=r"have changed: .*accept the change: `hf-breakhis report"):
        find_model(run)
    Run(run).seal()
    assert changes_of(run) == []


def test_a_fold_of_another_run_is_named(run):
    """Copied with its checksums, so that only the recipe that it was trained by differs."""
    sums = json.loads((run / "fold-1" / CHECKSUMS).read_text())
    sums["run"]["recipe.yaml"] = "0" * 64
    (run / "fold-1" / CHECKSUMS).write_text(json.dumps(sums))
    assert changes_of(run) == ["fold-1 (trained with another recipe.yaml or folds.csv)"]
    assert find_model(run, "0").fold == "0", "the weights that are used are those of the run"


def test_the_report_makes_an_edited_summary_again_and_says_so(run, light_report, capsys):
    before = (run / "summary.json").read_text()
    assert main(["report", str(run)]) == 0
    made = (run / "summary.json").read_text()
    CHANGES["the accuracy"](run)
    assert main(["report", str(run)]) == 0
    assert "summary.json had been changed and was written again" in capsys.readouterr().err
    assert (run / "summary.json").read_text() == made
    assert before


def test_reseal_accepts_a_change(run, light_report, capsys):
    edit("recipe.yaml", "seed: 42", "seed: 43")(run)
    assert main(["report", str(run)]) == 2
    assert "recipe.yaml" in capsys.readouterr().err
    assert main(["report", str(run), "--reseal"]) == 0
    assert changes_of(run) == []


def test_a_decision_without_its_rule_is_no_reason_to_choose_another(run, light_report, capsys):
    (run / "decision.json").write_text("null")
    Run(run).seal()
    assert main(["report", str(run)]) == 2
    assert "--threshold_rule" in capsys.readouterr().err
    assert main(["report", str(run), "--threshold_rule", "youden"]) == 0


@pytest.fixture(scope="module")
def whole_run(trained_run, run_fields, tmp_path_factory):
    """A run with all that commands add to it: a refit, an audit, heat maps. Tests only read it."""
    run = shutil.copytree(trained_run, tmp_path_factory.mktemp("whole") / "run")
    cross_validate(build_recipe(run_fields | {"output_dir": str(run), "fold": "refit"}, {}))
    assert main(["audit", str(run)]) == 0
    assert main(["explain", str(run), "--num_images", "1", "--num_curves", "1"]) == 0
    return run


def files_of(run):
    """All files of a run, so that the table grows with it; of the figures or pictures in one folder the first."""
    names = [path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_file()]
    first = {(name.parent, name.suffix) if name.suffix in (".png", ".svg") else name: name for name in reversed(names)}
    return sorted(name.as_posix() for name in first.values())


COMMANDS = {  # RUN, OUT, PICTURE and RECIPE are places
    "report": "RUN", "audit": "RUN", "compare": "RUN --output_dir OUT", "predict": "RUN PICTURE",
    "export": "RUN --output_dir OUT",
    "publish": "RUN --repo_id user/name --dry_run --output_dir OUT", "train": "RECIPE", "page": "RUN OUT",
    "explain": "RUN --num_images 1 --num_curves 1", "space": "RUN OUT",
}  # fmt: skip
MADE_AGAIN = {("train", "finished.json"), ("train", "report.html")}  # which then prints the table of the report
OPTIONAL = {("publish", "fold-0/explain/index.json", "missing")}  # which then publishes no heat maps


@pytest.fixture
def light_export(monkeypatch):
    """Convert equal weights once, and draw one figure; the files are read as ever."""
    convert, graphs = export._network, {}

    def once(model, side):
        key = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
        if key not in graphs:
            graphs[key] = convert(model, side)
        return graphs[key]

    monkeypatch.setattr(export, "_network", once)
    monkeypatch.setattr("hf_breakhis.hub.publish.FIGURES", ("learning_curves",))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of onnx and onnxscript, about themselves
@pytest.mark.parametrize("command", COMMANDS)
def test_every_damaged_file_of_a_run_is_one_line_or_changes_nothing(
    command, whole_run, tmp_path, light_report, light_export, run_fields, capsys
):
    """Each file with each command and each mutation: with both, one of eight triples, or all (`WHOLE_TABLE=1`).

    A command that ends with code 0 prints what it prints of the whole run.
    """
    if command in ("export", "page"):
        pytest.importorskip("onnx")
        pytest.importorskip("onnxscript")
    names = files_of(whole_run)
    assert {"audit.json", "report.html", "figures/baselines.svg", "refit/metrics.json"} <= set(names)
    places = {word: str(tmp_path / word) for word in ("RUN", "OUT", "PICTURE", "RECIPE")}
    shutil.copyfile(next(whole_run.glob("fold-0/examples/*.png")), places["PICTURE"])
    (tmp_path / "RECIPE").write_text(json.dumps(run_fields | {"output_dir": places["RUN"]}))
    words = [command, *(places.get(word, word) for word in COMMANDS[command].split())]

    def call(name=None, mutation=None):
        for folder in ("RUN", "OUT"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        shutil.copytree(whole_run, tmp_path / "RUN", copy_function=os.link)
        if name is not None:
            mutate(tmp_path / "RUN" / name, mutation)
        code = main(words)
        return code, capsys.readouterr()

    code, whole = call()
    assert code == 0
    wrong = []
    for i, name in enumerate(names):
        for j, mutation in enumerate(MUTATIONS):
            if "WHOLE_TABLE" not in os.environ and (i + j + list(COMMANDS).index(command)) % len(MUTATIONS):
                continue
            code, printed = call(name, mutation)
            good = (code == 2 and printed.err.count("\n") == 1) or (
                code == 0
                and (
                    printed.out == whole.out or (command, name) in MADE_AGAIN or (command, name, mutation) in OPTIONAL
                )
            )
            if not good:
                wrong.append((name, mutation, code, printed))
    assert wrong == []
    assert changes_of(whole_run) == [], "a command wrote into a file instead of replacing it"


@pytest.mark.parametrize("command", ["predict", "export", "explain", "page", "space", "train"])
@pytest.mark.parametrize(
    "name", ["recipe.yaml", "folds.csv", "summary.json", "fold-0/metrics.json", "fold-0/model/config.json"]
)
def test_commands_that_use_weights_refuse_a_run_that_was_changed(run, name, command, run_fields, tmp_path, capsys):
    with (run / name).open("ab") as file:
        file.write(b"\n")
    if command == "train":
        with pytest.raises(InputError, match="have changed: "):
            cross_validate(build_recipe(run_fields | {"output_dir": str(run)}, {}))
        return
    extra = {"predict": [str(tmp_path)], "page": [str(tmp_path / "page")], "space": [str(tmp_path / "space")]}
    assert main([command, str(run), *extra.get(command, [])]) == 2
    printed = capsys.readouterr().err
    assert name in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("content", ["", "null", "[]", "7", '{"a": "text"}', '{"a": true}', "{}", '{"a": 1'])
def test_a_mapping_without_its_fields_is_one_line(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"metrics\.json.*; train again\.") as caught:
        read_mapping(path, {"a": int}, "train again")
    assert "\n" not in str(caught.value)
    path.write_text('{"a": 1}')
    assert read_mapping(path, {"a": int}) == {"a": 1}


@pytest.mark.parametrize("text", ["a,b\n1,2\n3\n", "a,b\n1,2\n3,4,5,6\n", "a,b\n", ""])
def test_a_table_that_was_cut_is_refused(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"table\.csv"):
        read_table(path, ["a", "b"])
    path.write_text("a,b\n1,2\n3,4\n")
    assert len(read_table(path, ["a", "b"])) == 2


def test_a_patient_with_images_of_both_classes_is_reported(tmp_path, draw_png, run_fields, capsys):
    """Trained, scored, compared and published; the rates that such a patient leaves undefined have a reason."""
    rows = ["file_name,patient_id"]
    for number in range(24):
        label, patient = (
            ("benign", "malignant")[number % 2],
            f"p{number // 2 % 8}" if number % 2 else f"q{number // 2 % 8}",
        )
        patient = "both" if number in (0, 1) else patient
        draw_png(tmp_path / "images" / label / f"{number:02d}.png")
        rows.append(f"{label}/{number:02d}.png,{patient}")
    (tmp_path / "images" / "metadata.csv").write_text("\n".join(rows) + "\n")
    run = tmp_path / "run"
    fields = run_fields | {"dataset": "imagefolder", "twin_kwargs": None, "data_dir": str(tmp_path / "images"),
                           "split_by": "patient", "batch_size": 4, "output_dir": str(run)}  # fmt: skip
    assert cross_validate(build_recipe(fields, {}))
    assert main(["report", str(run)]) == 0
    assert main(["compare", str(run)]) == 0
    assert main(["publish", str(run), "--repo_id", "user/name", "--dry_run"]) == 0
    pooled = Run(run).summary["patient"]["pooled"]
    assert pooled["recognition_rate"]["value"] is not None
    assert pooled["accuracy_of_mean_probability"]["value"] is None
    reason = "1 patient has images of more than one class"
    assert any(caution["text"].startswith(reason) for caution in Run(run).summary["warnings"])
    assert reason in (run / "report.html").read_text()
    assert reason in (run / "publish" / "README.md").read_text()
    assert reason in capsys.readouterr().out
