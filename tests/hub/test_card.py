"""The card says what the run's files say: of a refit, of a changed recipe, of real pictures."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from transformers import AutoModelForImageClassification

from hf_breakhis.data.sources.about import find_source
from hf_breakhis.files import InputError
from hf_breakhis.hub import publish
from hf_breakhis.hub.facts import read_facts
from hf_breakhis.hub.publish import choose_weights, publications
from hf_breakhis.inference.explain import explain_fold
from hf_breakhis.inference.model import find_model
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run
from hf_breakhis.training.crossval import cross_validate

pytestmark = pytest.mark.usefixtures("small_reports")

NAME = "user/breakhis-tiny"


@pytest.fixture(autouse=True)
def one_figure(monkeypatch):
    """Draw one of seven figures, which takes half the time of a publication; `ready` has all of them."""
    monkeypatch.setattr(publish, "FIGURES", publish.FIGURES[:1])


def card_of(run, folder, which="fold:0"):
    (publication,) = publications(run, NAME, which, folder)
    return ModelCard.load(publication.folder / "README.md")


def test_the_card_is_valid_and_complete(ready, trained_run):
    card = ModelCard.load(ready.folder / "README.md")
    summary = json.loads((trained_run / "summary.json").read_text())
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.license == "apache-2.0"
    found = {(result.dataset_split, result.metric_type): result.metric_value for result in card.data.eval_results}
    split = "2 folds, split by specimen"
    assert found[split, "accuracy"] == round(summary["image"]["pooled"]["accuracy"]["value"], 4)
    assert found[f"{split}, 40X", "accuracy"] == round(summary["by_magnification"]["40X"]["accuracy"]["value"], 4)
    pooled = summary["patient"]["pooled"]["recognition_rate"]
    assert found[split, "recognition_rate"] == round(pooled["value"], 4)
    for entry in card.data.widget:
        assert (ready.folder / "examples" / entry["src"].rpartition("/")[2]).is_file()
        assert sum(one["score"] for one in entry["output"]) == pytest.approx(1, abs=2e-4)
    text = card.text
    assert text.index("generated images only") < text.index("How to use")
    assert "not for diagnosis" in text
    assert "None" not in text
    assert "nan" not in text.lower().split()
    point = json.loads((trained_run / "decision.json").read_text())["cross_fitted"]["operating_point"]
    assert f"| PPV | {point['ppv']['value']:.3f} |" in text


def test_a_leak_stands_in_the_first_paragraph(trained_run, tmp_path):
    run = tmp_path / "leaks"
    shutil.copytree(trained_run, run)
    summary = json.loads((run / "summary.json").read_text())
    leak = "9 of 10 test images (90 %) show a patient in the words of another version."
    summary["warnings"] = [{"kind": "leak", "text": leak}, *summary["warnings"]]
    (run / "summary.json").write_text(json.dumps(summary))
    Run(run).seal()
    (publication,) = publications(run, NAME, "fold:0", tmp_path / "publish")
    text = ModelCard.load(publication.folder / "README.md").text
    assert f"\n\n**Leakage:** {leak}\n\n" in text, "a paragraph of its own"
    assert text.index(leak) < text.index("test images were classified correctly")
    (honest,) = publications(trained_run, NAME, "fold:0", tmp_path / "honest")
    assert "**Leakage:**" not in ModelCard.load(honest.folder / "README.md").text


def test_heat_maps_go_up_unless_they_are_of_other_weights(trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    explain_fold(find_model(run), num_images=1, num_curves=2)
    (publication,) = publications(run, NAME, "fold:0", tmp_path / "publish")
    shown = re.findall(r"\((explain/[^)]+)\)", ModelCard.load(publication.folder / "README.md").text)
    assert shown
    assert all((publication.folder / name).is_file() for name in shown)
    shutil.copyfile(run / "fold-1/model/model.safetensors", run / "fold-0/model/model.safetensors")
    with pytest.raises(InputError, match=r"have changed: fold-0/model/model\.safetensors\."):
        next(publications(run, NAME, "fold:0", tmp_path / "other"))
    Run(run).seal()
    (publication,) = publications(run, NAME, "fold:0", tmp_path / "other")
    assert not (publication.folder / "explain").exists()
    assert "explain/" not in ModelCard.load(publication.folder / "README.md").text


@pytest.fixture(scope="module")
def refitted(run_fields, tmp_path_factory):
    """A finished run with a reserve and validation parts, and the refit of it."""
    folder = tmp_path_factory.mktemp("refitted") / "run"
    fields = run_fields | {"reserve_size": 0.2, "validation_size": 0.2, "output_dir": str(folder)}
    cross_validate(build_recipe(fields, {}))
    cross_validate(build_recipe(fields, {"fold": "refit"}))
    summarise(folder)
    return folder


def test_a_refit_with_a_validation_part_has_no_examples(refitted):
    names = {path.name for path in (refitted / "refit").iterdir()}
    assert names == {"model", "history.csv", "predictions.csv", "metrics.json", "checksums.json"}
    assert (refitted / "fold-0" / "examples").is_dir()


def test_the_card_of_a_refit_tells_what_it_was_not_trained_on(refitted, tmp_path):
    text = card_of(refitted, tmp_path / "publish", "refit").text
    rows = dict(re.findall(r"^\| (train|test|validation|reserve) \| ([\d,]+) \|", text, re.MULTILINE))
    assert set(rows) == {"train", "validation", "reserve"}
    assert sum(int(number) for number in rows.values()) == 328
    left = int(rows["validation"]) + int(rows["reserve"])
    shown = f"all but {left} images ({rows['validation']} for validation and {rows['reserve']} for reserve) of 328"
    assert shown in text
    assert "on everything" not in text
    assert "no test set was held out" in text
    assert "examples/" not in text


def test_the_card_of_a_refit_without_such_parts_says_all(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    shutil.copytree(run / "fold-0", run / "refit", ignore=shutil.ignore_patterns("examples"))
    Run(run).seal()
    assert "It was trained on all of 328 generated images" in card_of(run, tmp_path / "publish", "refit").text


def test_a_refit_that_is_not_finished_is_not_published(refitted, tmp_path):
    run = shutil.copytree(refitted, tmp_path / "run")
    assert choose_weights(run, "refit")[0].fold == "refit"
    (run / "refit" / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"`fold` is refit, but .*`train --fold refit` trains one"):
        choose_weights(run, "refit")
    assert choose_weights(run, "fold:0")[0].fold == "0"


def test_a_model_that_went_on_from_fold_to_fold_was_trained_on_them_all(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    assert "the training set of fold 1 of" in read_facts(find_model(run, "1")).trained_on
    recipe = yaml.safe_load((run / "recipe.yaml").read_text()) | {"carry_over": "all"}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    Run(run).seal()
    assert "the training set of fold 0 of" in read_facts(find_model(run, "0")).trained_on
    assert "the training sets of folds 0 to 1 of" in read_facts(find_model(run, "1")).trained_on


def sourced(run, folder, source, **fields):
    """Return a copy of a run that says its images are of another source, since no real ones are here."""
    copy = shutil.copytree(run, folder)
    for name in ("summary.json", "data.json"):
        content, about = json.loads((copy / name).read_text()), find_source(source)
        (content["data"] if name == "summary.json" else content).update(
            source=source, title=about.title, is_generated=about.is_generated, names_are_public=about.names_are_public
        )
        (copy / name).write_text(json.dumps(content))
    recipe = yaml.safe_load((copy / "recipe.yaml").read_text()) | fields
    (copy / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    Run(copy).seal()
    return copy


@pytest.fixture(scope="module")
def mapped(trained_run, tmp_path_factory):
    """A copy of the run with heat maps of fold 0."""
    copy = shutil.copytree(trained_run, tmp_path_factory.mktemp("mapped") / "run")
    explain_fold(find_model(copy), num_images=1, num_curves=2)
    return copy


def test_real_pictures_stand_with_what_cc_by_asks_for(trained_run, mapped, tmp_path):
    run = sourced(trained_run, tmp_path / "run", "breakhis", dataset="breakhis")
    text = card_of(run, tmp_path / "plain").text
    for part in (
        "Breast Cancer Histopathological Database (BreakHis)", "Spanhol, Oliveira, Petitjean and Heutte",
        "(https://creativecommons.org/licenses/by/4.0/)", "(https://web.inf.ufpr.br/vri/databases/",
        "Changes: they were made smaller.", "from one laboratory",
    ):  # fmt: skip
        assert part in text
    assert text.index("](examples/") < text.index("Changes:")
    assert "generated" not in text.partition("## How to use")[2]
    with_maps = sourced(mapped, tmp_path / "mapped", "breakhis")
    assert "heat maps were drawn over copies of them" in card_of(with_maps, tmp_path / "maps").text
    assert "creativecommons" not in card_of(trained_run, tmp_path / "twin").text


def test_the_other_data_set_is_named_by_its_hub_id(trained_run, tmp_path):
    run = sourced(trained_run, tmp_path / "run", "rcl7500", dataset="rcl7500", init="pretrained")
    card = card_of(run, tmp_path / "publish")
    assert card.data.datasets == ["LuminaAI/RCL-Breast-Cancer-Biopsy-7500"]
    assert card.data.base_model == "microsoft/resnet-50"
    assert {result.dataset_name for result in card.data.eval_results} == {"RCL-7500"}
    assert "by LuminaAI" in card.text
    twin = card_of(trained_run, tmp_path / "twin")
    assert (twin.data.datasets, twin.data.base_model) == (None, None)
    assert {result.dataset_config for result in twin.data.eval_results} == {None}, "it is not on the Hub"


def test_an_export_on_the_hub_is_named_by_its_id(trained_run, tmp_path):
    run = sourced(trained_run, tmp_path / "run", "breakhis", dataset="ada/breakhis", dataset_revision="abc123")
    card = card_of(run, tmp_path / "publish")
    assert card.data.datasets == ["ada/breakhis"]
    assert {result.dataset_type for result in card.data.eval_results} == {"ada/breakhis"}
    parts = {result.dataset_config for result in card.data.eval_results}
    assert parts == {"default", "40X", "100X", "200X", "400X"}, "the configurations of an export"
    assert {result.dataset_split for result in card.data.eval_results} == {"2 folds, split by specimen"}
    assert "revision `abc123`" in card.text
    assert "has no revision" in card_of(trained_run, tmp_path / "twin").text


def test_pictures_of_unknown_licence_are_not_shown(mapped, tmp_path):
    run = sourced(mapped, tmp_path / "run", "imagefolder", dataset="imagefolder")
    card = card_of(run, tmp_path / "publish")
    assert not (tmp_path / "publish" / "examples").exists()
    assert not (tmp_path / "publish" / "explain").exists()
    assert not card.data.widget
    assert "No images are shown: their licence is not known" in card.text
    assert card.data.license == "unknown"
    for claim in (
        "creativecommons", "Brazil", "H&E", "One laboratory", "slide folder", "spanhol", "Apache", "breast",
        "denosis", "block letters",
    ):  # fmt: skip
        assert claim not in card.text
    assert "breakhis" not in card.data.tags


def test_a_reviewer_finds_parts_rates_and_arguments(trained_run, tmp_path):
    changes = {"optimizer_name": "sgd", "optimizer_kwargs": {"momentum": 0.9}, "max_grad_norm": 0.0}
    text = card_of(sourced(trained_run, tmp_path / "run", "twin", **changes), tmp_path / "publish").text
    summary = json.loads((trained_run / "summary.json").read_text())
    assert "| part of fold 0 | images | benign | malignant | patients | specimens |" in text
    assert re.search(r"^\| train \| 164 \| 48 \| 116 \| 41 \| \d+ \|$", text, re.MULTILINE)
    row = summary["image"]["per_fold"][1]
    values = [row[key] for key in ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc")]
    assert "| 1 | 164 | " + " | ".join(f"{value:.3f}" for value in values) + " |" in text
    near = summary["by_magnification"]["40X"]["accuracy"]
    assert f"| 40X | {summary['by_magnification']['40X']['num_images']} |" in text
    assert f"| {near['value']:.3f} ({near['low']:.3f} to {near['high']:.3f}) |" in text
    assert "sgd (momentum 0.9), rate 0.05" in text
    assert "not clipped" in text
    assert "adamw_torch_fused (adam_beta1 0.9" in card_of(trained_run, tmp_path / "other").text
    assert "Energy was not\nmeasured" in text


def test_patient_sensitivity_is_told_where_the_summary_has_it(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    for name in ("sensitivity", "specificity"):
        summary["patient"]["pooled"].pop(name, None)
    (run / "summary.json").write_text(json.dumps(summary))
    Run(run).seal()
    assert "Patient sensitivity" not in card_of(run, tmp_path / "without").text
    summary["patient"]["pooled"]["sensitivity"] = {"value": 0.75, "low": None, "high": None}
    (run / "summary.json").write_text(json.dumps(summary))
    Run(run).seal()
    assert (
        "| Patient sensitivity of the mean probability (malignant) | 0.750 | none |"
        in card_of(run, tmp_path / "with").text
    )


def test_the_card_begins_with_the_details_of_the_model(ready, trained_run):
    text = ModelCard.load(ready.folder / "README.md").text
    details = text[: text.index("## How to use")]
    assert details.index("## Model details") < details.index("generated images only")
    model = AutoModelForImageClassification.from_pretrained(ready.folder)
    size = sum(parameter.numel() for parameter in model.parameters())
    assert f"| Network | `{type(model).__name__}` with {size:,} parameters |" in details
    assert "| Output | a probability for each class: benign, malignant |" in details
    date = json.loads((trained_run / "cost.json").read_text())["date"]
    assert f"| Trained | {date}," in details


def test_failures_have_the_probability_that_the_widget_shows(ready):
    card = ModelCard.load(ready.folder / "README.md")
    for entry in card.data.widget:
        probability = {one["label"]: one["score"] for one in entry["output"]}["malignant"]
        (row,) = [line for line in card.text.splitlines() if f"({entry['src']})" in line and line.startswith("| ![")]
        assert row.endswith(f"| {probability:.3f} |")


def test_rows_of_the_data_say_what_they_count_in_rising_magnification(ready):
    text = ModelCard.load(ready.folder / "README.md").text
    rows = re.findall(r"^\| (class|tumour type|magnification) \| ([^|]+) \| (\d+) \|$", text, re.MULTILINE)
    assert [name for kind, name, _ in rows if kind == "magnification"] == ["40X", "100X", "200X", "400X"]
    for kind in ("class", "tumour type", "magnification"):
        assert sum(int(count) for one, _, count in rows if one == kind) == 328


@pytest.fixture(scope="module")
def others(run_fields, tmp_path_factory):
    """A run on three classes of other people's images, with or without patients."""

    def make(known):
        place = tmp_path_factory.mktemp("other")
        rng, rows = np.random.default_rng(0), []
        for name in ("cat", "dog", "owl"):
            (place / "images" / name).mkdir(parents=True)
            for i in range(12):
                Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(place / "images" / name / f"{i}.png")
                rows.append(f"{name}/{i}.png,{name[0]}{i // 2}")
        if known:
            (place / "images/metadata.csv").write_text("\n".join(["file_name,patient_id", *rows]) + "\n")
        fields = {name: value for name, value in run_fields.items() if name != "twin_kwargs"}
        fields |= {"dataset": "imagefolder", "data_dir": str(place / "images"), "num_train_epochs": 1}
        fields |= {"split_by": "patient" if known else "image", "output_dir": str(place / "run")}
        cross_validate(build_recipe(fields, {}))
        summarise(place / "run")
        return card_of(place / "run", place / "publish")

    return {known: make(known) for known in (True, False)}


def test_leakage_by_unknown_patients_is_not_called_zero(others):
    unknown = "leakage by patient and specimen cannot be measured, because none is known"
    none_shared = "0 % of the test images show a patient of the training set"
    known, other = others[True].text, others[False].text
    assert (unknown in known, none_shared in known) == (False, True)
    assert (unknown in other, none_shared in other) == (True, False)
    assert "it resamples patients and not images" in known
    assert "it resamples images, because no patients are known" in other
    assert "newly trained models on new patients. Not measured" in known
    assert "these trained models on new images. Not measured" in other


def test_a_card_of_three_classes_has_no_empty_rows_and_columns(others, ready):
    text = others[True].text
    assert "| fold | test images | accuracy | balanced accuracy | ROC AUC |" in text
    assert "It was trained on the training set of fold 0 of 36 images of 18 patients of unknown origin" in text
    slices = "Scores by magnification and tumour type"
    assert slices not in text
    assert slices in ModelCard.load(ready.folder / "README.md").text
    assert "stain" not in text[text.index("## Limits and ethics") :]
    assert {result.dataset_config for result in others[True].data.eval_results} == {None}
