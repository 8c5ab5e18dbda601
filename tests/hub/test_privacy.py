"""A run on private data is published without the names and images of its patients."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard
from matplotlib.text import Text
from PIL import Image

from hf_breakhis.arguments import DataArguments
from hf_breakhis.cli import main
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.twin.twin import TwinSettings, write_twin
from hf_breakhis.files import InputError
from hf_breakhis.hub import publish
from hf_breakhis.hub.card import Place
from hf_breakhis.hub.privacy import NAMES, RENAMED, publishable, require_impersonal
from hf_breakhis.inference.model import find_model
from hf_breakhis.results.figures.plots import draw_figure
from hf_breakhis.results.figures.style import figure_bytes
from hf_breakhis.run import Run

pytestmark = pytest.mark.usefixtures("small_reports")
OF_A_CARD = publish.FIGURES

PATIENTS = [f"Kowalska{letter}" for letter in "ABCDEFGHIJKLMNOP"]


@pytest.fixture(scope="module", autouse=True)
def all_figures_of_a_card(small_reports):
    """Each of them might show a name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "FIGURES", OF_A_CARD)
        yield


@pytest.fixture(scope="module")
def private(run_fields, tmp_path_factory):
    """A reported run on a folder of a hospital: the names of patients are in file names and in metadata.csv."""
    base = tmp_path_factory.mktemp("hospital")
    rng = np.random.default_rng(0)
    rows = []
    for number, patient in enumerate(PATIENTS):
        label = ("healthy", "tumour")[number % 2]
        for image in range(3):
            path = base / "images" / label / f"scan_{patient}_{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(60 + 60 * (number % 2), 200, (46, 70, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            rows.append([f"{label}/{path.name}", patient, f"block{patient}"])
    rows.sort(key=lambda row: row[0])
    with (base / "images" / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "patient_id", "specimen_id"], *rows])
    twin_copy = base / "images" / "tumour" / f"scan_{PATIENTS[1]}_0.png"
    shutil.copyfile(twin_copy, twin_copy.with_name(f"scan_{PATIENTS[1]}_1.png"))  # a finding that names both
    fields = {name: value for name, value in run_fields.items() if name != "twin_kwargs"}
    fields |= {"dataset": "imagefolder", "data_dir": str(base / "images"), "output_dir": str(base / "run")}
    fields |= {"num_train_epochs": 1, "batch_size": 8}
    (base / "r.yaml").write_text(json.dumps(fields))
    assert main(["train", str(base / "r.yaml")]) == 0
    return base / "run"


PRIVATE = "Kowalska|scan_|hospital"


def holding(folder, pattern):
    """Return the names of files that contain a text in their name or, whatever their format, in their bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = re.compile(pattern)
    return sorted(
        path.relative_to(folder).as_posix()
        for path in files
        if found.search(path.name) or found.search(path.read_bytes().decode("latin-1"))
    )


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def published(private, tmp_path_factory):
    """What `publish` and `space` write of the private run, and the published figures once more, with their text."""
    base = tmp_path_factory.mktemp("published")
    (base / "drawn").mkdir()

    def draw_twice(name, run):
        figure = draw_figure(name, run)
        if figure is not None:
            (base / "drawn" / f"{name}.svg").write_bytes(figure_bytes(figure, "svg"))
        return figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "draw_figure", draw_twice)
        asked = ["publish", str(private), "--repo_id", "user/model", "--dry_run", "--output_dir"]
        assert main([*asked, str(base / "model")]) == 0
    assert main(["space", str(private), str(base / "space")]) == 0
    return base


def test_no_name_of_a_private_source_is_published(private, published):
    found = set(holding(private, "Kowalska"))
    assert {"folds.csv", "predictions.csv", "summary.json", "report.html", NAMES} <= found
    assert holding(published, PRIVATE) == []
    assert not list(published.rglob("examples/*"))
    drawn = {path.stem for path in (published / "drawn").iterdir()}
    assert drawn == {path.stem for path in (published / "model" / "figures").iterdir()} >= {"patients", "roc_mean"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of onnx and onnxscript, about themselves
def test_no_name_of_a_private_source_is_in_the_page_or_the_export(private, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    assert main(["page", str(private), str(tmp_path / "page")]) == 0
    assert main(["export", str(private), "--output_dir", str(tmp_path / "onnx")]) == 0
    assert {"page/index.html", "page/model.onnx", "onnx/model.onnx"} <= set(holding(tmp_path, "healthy"))
    assert holding(tmp_path, PRIVATE) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as above
def test_no_name_of_a_private_source_is_in_any_part_of_everything(private, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    asked = ["publish", str(private), "--repo_id", "user/model", "--everything", "--dry_run"]
    assert main([*asked, "--output_dir", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model", "app", "page"}  # no images
    assert {"model/onnx/model.onnx", "page/index.html", "app/facts.json"} <= set(holding(tmp_path, "healthy"))
    assert holding(tmp_path, PRIVATE) == []


def test_random_names_are_consistent_and_stay_the_same(private, published, tmp_path, capsys):
    table = json.loads((private / NAMES).read_text())
    rows = rows_of(published / "model" / "folds.csv")
    originals = {row["file_name"]: row for row in rows_of(private / "folds.csv")}
    shown = {new: name for name, new in table["file_name"].items()}
    assert len(rows) == 2 * len(originals) == 96
    for row in rows:
        original = originals[shown[row["file_name"]]]
        assert row["patient_id"] == table["patient_id"][original["patient_id"]]
        assert row["specimen_id"] == table["specimen_id"][original["specimen_id"]]
        assert row["label"] == original["label"]
    assert [row["file_name"] for row in rows] == [row["file_name"] for row in sorted(
        rows, key=lambda row: (row["fold"], row["file_name"]))]  # fmt: skip
    summary = json.loads((published / "model" / "summary.json").read_text())
    assert {row["patient_id"] for row in summary["patient"]["table"]} == set(table["patient_id"].values())
    assert set(summary["data"]["counts"]["patient"]) == set(table["patient_id"].values())
    before = (private / NAMES).read_bytes()
    assert (
        main(["publish", str(private), "--repo_id", "user/model", "--dry_run", "--output_dir", str(tmp_path / "p")])
        == 0
    )
    assert RENAMED in capsys.readouterr().out
    assert (private / NAMES).read_bytes() == before
    assert (tmp_path / "p" / "folds.csv").read_bytes() == (published / "model" / "folds.csv").read_bytes()
    # The numbers are those of the run.
    own = json.loads((private / "summary.json").read_text())
    assert summary["image"] == own["image"]


def test_the_order_of_random_names_does_not_follow_the_names(private, published):
    table = json.loads((private / NAMES).read_text())["file_name"]
    assert sorted(table) != sorted(table, key=table.__getitem__)


def test_the_card_and_the_app_say_that_names_are_random(published):
    assert RENAMED in ModelCard.load(published / "model" / "README.md").text
    assert RENAMED in (published / "space" / "README.md").read_text()


def test_nothing_of_breakhis_is_claimed(private, published):
    for path in (private / "report.html", published / "model" / "README.md", published / "space" / "README.md"):
        text = re.sub(r"hf[_-]breakhis", "", path.read_text(), flags=re.IGNORECASE)
        found = re.findall(r"(?i)breakhis|spanhol|slide|wom[ae]n|adenosis|brazil|biops|apache|700 x 460", text)
        assert found == [], path
    facts = json.loads((published / "space" / "facts.json").read_text())
    assert (facts["licence"], "BreakHis" in facts["expects"]) == ("unknown", False)


def texts_of(figure):
    return {text.get_text() for text in figure.findobj(Text)}


def test_the_figure_with_names_of_patients_shows_random_ones(trained_run, tmp_path, monkeypatch):
    run = shutil.copytree(trained_run, tmp_path / "run")
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(data | {"names_are_public": False}))
    summary = json.loads((run / "summary.json").read_text())
    for number, row in enumerate(summary["patient"]["table"]):
        row["patient_score"] = 0.1 if number == 0 else 1.0  # a point that has room for a name
    (run / "summary.json").write_text(json.dumps(summary))
    Run(run).seal()
    drawn = {}
    monkeypatch.setattr(publish, "draw_figure", lambda name, record: drawn.setdefault(name, draw_figure(name, record)))
    publish.write_publication(find_model(run), Place("user/model"), tmp_path / "model")
    patients = json.loads((run / NAMES).read_text())["patient_id"]
    plain = draw_figure("patients", Run(run))
    own, random = ({name.split("-", 1)[1][:14] for name in names} for names in (patients, patients.values()))
    for figure, shown, hidden in ((drawn["patients"], random, own), (plain, own, random)):
        texts = texts_of(figure)
        assert texts & shown
        assert not texts & hidden
    assert len(drawn) == len(publish.FIGURES)
    assert not {text for figure in drawn.values() for text in texts_of(figure)} & own


def test_a_public_run_keeps_its_names(trained_run):
    with publishable(find_model(trained_run)) as public:
        assert public.run == Run(trained_run)
    assert not (trained_run / NAMES).exists()


@pytest.mark.parametrize("text", ["[]", '{"file_name": {}}', '{"file_name": {"a": "x", "b": "x"}}', "{"])
def test_a_damaged_table_of_names_is_refused(private, tmp_path, text):
    run = shutil.copytree(private, tmp_path / "run")
    (run / NAMES).write_text(text)
    with pytest.raises(InputError, match=NAMES), publishable(find_model(run)):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/home/ada", "/home/ada"),
        ("see /home/ada.", "/home/ada"),
        ("C:\\Users\\ada", "Users"),
        ("/Users/ada/data", "/Users/ada"),
        ("hf_abcdefghijkl", "a token"),
        ("x=hf_abcdefghijkl", "a token"),
    ],
)
def test_homes_and_tokens_are_found_wherever_they_are(tmp_path, text, message):
    (tmp_path / "config.json").write_text("hf_breakhis https://example.org/home/ada ./home/x")
    require_impersonal(tmp_path, Run(tmp_path / "run"))
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="contains private information") as caught:
        require_impersonal(tmp_path, Run(tmp_path / "run"))
    assert message in str(caught.value)
    assert "hf_abcdefghijkl" not in str(caught.value)


@pytest.fixture
def tree_of_a_user(tmp_path):
    """BreakHis images in folders that name people: one odd place of each kind, and a copy as JPEG."""
    folder = tmp_path / "images"
    write_twin(folder, TwinSettings(scale=0.01, width=70, height=46))
    (folder / "twin.json").unlink()
    first, second, third, fourth = sorted(folder.rglob("*.png"))[:4]
    people = folder / "BreaKHis_v1" / "histology_slides" / "breast" / "Kowalska" / "malignant"
    people.mkdir(parents=True)
    shutil.move(first, people / first.name)
    Image.open(second).save(people / second.with_suffix(".jpg").name)
    second.unlink()
    shutil.copyfile(third, people / third.name)
    shutil.copyfile(fourth, people / "scan_Kowalska.png")
    (people / "scan_Kowalska.svg").write_text("<svg/>")
    return folder


def test_folders_that_name_people_do_not_leave_the_machine(tree_of_a_user, run_fields, tmp_path):
    images = load_images(DataArguments(dataset="breakhis", data_dir=str(tree_of_a_user)))
    assert any("Kowalska" in text for text in images.findings), "the user is shown the places"
    fields = {name: value for name, value in run_fields.items() if name != "twin_kwargs"}
    fields |= {"dataset": "breakhis", "data_dir": str(tree_of_a_user), "output_dir": str(tmp_path / "run")}
    (tmp_path / "r.yaml").write_text(json.dumps(fields | {"num_train_epochs": 1}))
    assert main(["train", str(tmp_path / "r.yaml")]) == 0
    for name in ("data.json", "summary.json", "report.html"):
        assert "Kowalska" not in (tmp_path / "run" / name).read_text(), name
    assert any(text.endswith(": 1.") for text in json.loads((tmp_path / "run/data.json").read_text())["findings"])
    out = tmp_path / "out"
    assert (
        main(["publish", str(tmp_path / "run"), "--repo_id", "user/model", "--dry_run", "--output_dir", str(out)]) == 0
    )
    assert holding(out, "Kowalska") == []
    assert main(["data", "export", str(tmp_path / "export"), "--data_dir", str(tree_of_a_user)]) == 0
    assert "Kowalska" not in (tmp_path / "export" / "README.md").read_text()
