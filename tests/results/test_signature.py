"""What a network recognises of a specimen is measured, and only where it is planted."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import ResNetConfig, ResNetForImageClassification

from hf_breakhis.arguments import DataArguments, ModelArguments
from hf_breakhis.cli import main
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.signature import ABSENT, ALL, EXPLAINS, signature, signature_table
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.features import backbone_vectors
from hf_breakhis.training.modeling import preprocessing_of

pytestmark = pytest.mark.usefixtures("small_reports")

RNG = np.random.default_rng(5)
IMAGES = pd.DataFrame(
    [(f"{place}{specimen}{slide}{number}", label, f"p{specimen}{slide}", f"s{specimen}", place)
     for specimen, label in enumerate([0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1])
     for slide in range(1 + specimen % 2) for place in ("40X", "200X") for number in range(1 + specimen % 7)],
    columns=["file_name", "label", "patient_id", "specimen_id", "magnification"],
)  # fmt: skip


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A small ResNet with random weights in a folder."""
    folder = tmp_path_factory.mktemp("backbone") / "small-resnet"
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=3)
    ResNetForImageClassification(config).save_pretrained(folder)
    return folder


def test_fewer_than_ten_specimens_have_no_interval():
    few = IMAGES[IMAGES["specimen_id"].isin([f"s{number}" for number in range(9)])].reset_index(drop=True)
    found = signature(RNG.normal(size=(len(few), 4)), few, set(few["file_name"]), "")
    assert found["rows"][-1]["specimen"]["low"] is None
    assert found["sentence"] is None


def test_the_counts_agree_with_a_loop_over_all_pairs():
    vectors = RNG.normal(size=(len(IMAGES), 5)).astype(np.float32) + 2 * IMAGES["label"].to_numpy()[:, None]
    tested = set(IMAGES["file_name"][::3]) | {"40X000", "200X000"}  # these have no other image of their specimen
    found = signature(vectors, IMAGES, tested, "noise")
    assert [row["magnification"] for row in found["rows"]] == ["40X", "200X", ALL]
    for row in found["rows"][:2]:
        own = np.flatnonzero(IMAGES["magnification"] == row["magnification"])
        scaled = (vectors[own] - vectors[own].mean(0)) / vectors[own].std(0)
        same, chance, in_class, right, elsewhere = [], [], [], [], []
        for one, image in enumerate(own):
            if IMAGES["file_name"][image] not in tested:
                continue
            mine = IMAGES.loc[image]
            others = [other for other in range(len(own)) if other != one]
            cosine = {
                other: scaled[one] @ scaled[other] / np.linalg.norm(scaled[one]) / np.linalg.norm(scaled[other])
                for other in others
            }
            rows = {other: IMAGES.loc[own[other]] for other in others}
            best = max(cosine, key=cosine.get)
            right.append(rows[best]["label"] == mine["label"])
            away = [other for other in others if rows[other]["specimen_id"] != mine["specimen_id"]]
            elsewhere.append(rows[max(away, key=cosine.get)]["label"] == mine["label"])
            alike = [rows[other]["specimen_id"] == mine["specimen_id"] for other in others]
            if any(alike):
                same.append(rows[best]["specimen_id"] == mine["specimen_id"])
                chance.append(np.mean(alike))
                in_class.append(sum(alike) / sum(rows[other]["label"] == mine["label"] for other in others))
        assert row["specimen"]["counted"] == len(same) < row["test_images"] == len(right)
        assert row["specimen"]["share"] == pytest.approx(np.mean(same))
        assert row["specimen"]["chance"] == pytest.approx(np.mean(chance))
        assert row["specimen"]["chance_in_class"] == pytest.approx(np.mean(in_class))
        assert row["same_class"]["nearest"] == pytest.approx(np.mean(right))
        assert row["same_class"]["other_specimens"] == pytest.approx(np.mean(elsewhere))
    whole = found["rows"][2]
    assert whole["specimen"]["same"] == sum(row["specimen"]["same"] for row in found["rows"][:2])
    assert max(map(len, signature_table(found).splitlines())) <= 100


def test_scale_and_unit_of_a_number_do_not_matter_and_constant_numbers_are_left_out():
    vectors = RNG.normal(size=(len(IMAGES), 4))
    names = set(IMAGES["file_name"])
    wide = np.column_stack([vectors * [1000, 1, 0.001, 7] + [5, -3, 0, 100], np.full(len(vectors), 3.0)])
    one, other = (signature(values, IMAGES, names, "")["rows"] for values in (vectors, wide))
    assert one == other


@pytest.mark.parametrize(("column", "group"), [("patient_id", "patient"), ("specimen_id", "specimen")])
def test_groups_that_the_source_does_not_know_are_left_out(column, group):
    vectors = RNG.normal(size=(len(IMAGES), 4))
    found = signature(vectors, IMAGES.assign(**{column: ""}), set(IMAGES["file_name"]), "")
    assert all(row[group] is None for row in found["rows"])
    text = signature_table(found)
    assert ("is not known here" in text) is (group == "specimen")


def test_one_image_has_no_neighbour():
    found = signature(np.ones((2, 3)), IMAGES.iloc[:2], {"a"}, "")
    assert found["rows"] == []
    assert "No magnification has two images" in signature_table(found)


@pytest.fixture(scope="module")
def found_in_twin(backbone):
    """Measure the signature in a twin of the controls: `found_in_twin(class_signal=..., patient_effect=...)`."""

    def measure(**settings):
        twin = {"scale": 0.05, "width": 88, "height": 58, "noise": 0.3, "seed": 1001, **settings}
        data = DataArguments(dataset="twin", twin_kwargs=twin, magnifications=["100X", "400X"], image_size=48)
        args = ModelArguments(model_name_or_path=str(backbone), freeze_backbone=True)
        images = load_images(data)
        table = images.dataset.remove_columns("image").to_pandas()
        vectors = backbone_vectors(args, preprocessing_of(data, args), images)
        return signature(vectors, table, set(table["file_name"]), "random weights")

    return measure


def test_planted_patients_are_recognised_though_classes_do_not_differ(found_in_twin):
    found = found_in_twin(class_signal=0.0, patient_effect=3.0)
    for row in found["rows"]:
        assert row["specimen"]["low"] > max(0.2, 5 * row["specimen"]["chance_in_class"])
        assert row["patient"]["share"] > 5 * row["patient"]["chance"]
    assert found["sentence"] == EXPLAINS


def test_without_patients_the_nearest_neighbour_is_of_the_specimen_by_chance(found_in_twin):
    found = found_in_twin(class_signal=0.35, patient_effect=0.0)
    for row in found["rows"]:
        assert row["specimen"]["low"] <= row["specimen"]["chance_in_class"] <= row["specimen"]["high"] + 0.01
        assert row["specimen"]["share"] < 0.1
    assert found["sentence"] == ABSENT


@pytest.fixture(scope="module")
def frozen_run(tmp_path_factory, run_fields, backbone):
    """A finished run of a frozen backbone."""
    folder = tmp_path_factory.mktemp("frozen") / "run"
    fields = {name: value for name, value in run_fields.items() if name not in ("init", "model_kwargs")}
    frozen = {"model_name_or_path": str(backbone), "freeze_backbone": True, "num_train_epochs": 1}
    cross_validate(build_recipe(fields | frozen | {"output_dir": str(folder)}, {}))
    summarise(folder)
    return folder


def test_an_audit_with_signature_is_printed_written_and_reported(frozen_run, capsys):
    assert main(["audit", str(frozen_run), "--signature"]) == 0
    text = capsys.readouterr().out
    found = Run(frozen_run).audit["signature"]
    assert signature_table(found) in text
    assert found["backbone"] == "small-resnet, frozen"
    assert [row["magnification"] for row in found["rows"]] == ["40X", "100X", "200X", "400X", ALL]
    assert found["rows"][-1]["test_images"] == Run(frozen_run).data["num_images"]
    page = (frozen_run / "report.html").read_text(encoding="utf-8")
    assert "Signature in the features of small-resnet, frozen" in page
    assert main(["audit", str(frozen_run)]) == 0
    assert Run(frozen_run).audit["signature"] == found, "an audit without the flag keeps it"


def test_a_model_and_its_vectors_give_the_same_signature(frozen_run, trained_run, backbone, tmp_path, capsys):
    run = shutil.copytree(trained_run, tmp_path / "run")
    fields = Run(run).recipe
    twin = load_images(DataArguments(dataset="twin", twin_kwargs=fields["twin_kwargs"])).location
    file = tmp_path / "vectors.parquet"
    assert main(["embed", str(backbone), twin, "--output", str(file), "--image_size", "224"]) == 0
    found = {}
    for name, flags in {"model": ["--model", str(backbone)], "file": ["--features", str(file)]}.items():
        assert main(["audit", str(run), "--signature", *flags]) == 0
        found[name] = Run(run).audit["signature"]
    assert found["file"]["backbone"] == "vectors.parquet"
    assert found["file"]["rows"] == found["model"]["rows"]
    table = pd.read_parquet(file)
    table[5:].to_parquet(tmp_path / "fewer.parquet", index=False)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    for changes in {}, {"dataset": "breakhis", "twin_kwargs": None}:  # then no images are needed
        (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | changes))
        Run(run).seal()
        capsys.readouterr()
        assert main(["audit", str(run), "--signature", "--features", str(tmp_path / "fewer.parquet")]) == 2
        error = capsys.readouterr().err
        assert f"No vector in fewer.parquet: 5 images of {run} (" in error
        assert error.endswith("and 2 more). Add them.\n")
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "starts from random weights, so it has no backbone. Give --model MODEL or --features FILE."),
        (["--model"], "--model has 0 values. Give one run, folder or Hub id."),
        (["--features", "--model", "x"], "--model and --features are both given. Leave one out."),
        (["--features", "absent.csv"], "There is no absent.csv."),
    ],
)
def test_a_signature_without_a_backbone_is_refused_in_one_line(flags, message, trained_run, capsys):
    before = (trained_run / "report.html").read_bytes()
    assert main(["audit", str(trained_run), "--signature", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (trained_run / "audit.json").exists()
    assert (trained_run / "report.html").read_bytes() == before


def test_a_recipe_has_no_signature(capsys):
    assert main(["audit", "c3", "--signature"]) == 2
    assert "--signature needs a run, but c3 is none." in capsys.readouterr().err
