"""The card of an export says what is there, and everything it says of BreakHis follows from the inventory."""

import re
from collections import defaultdict

import datasets
import pytest
import yaml

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.images import arrange
from hf_breakhis.data.inventory import INVENTORY, expected_file_names
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.twin.twin import TwinSettings, encode
from hf_breakhis.files import InputError
from hf_breakhis.hub import templates
from hf_breakhis.hub.dataset_card import write_card
from hf_breakhis.hub.templates import card_text

MANIFEST = "0123abcd" * 8


@pytest.fixture(scope="module")
def whole_card():
    """The card of all of BreakHis, written without any file."""
    places = [parse_file_name(name).path for name in expected_file_names()]
    paths = datasets.Dataset.from_dict({"image": places}, datasets.Features({"image": datasets.Image()}))
    return write_card(arrange(paths, places, "/home/me/secret"), MANIFEST, [], "user/breakhis")


@pytest.fixture
def small_card(small_breakhis, data_args):
    return write_card(load_images(data_args(small_breakhis)), MANIFEST, ["First.", "Second."])


def split_card(text):
    _, metadata, body = text.split("---\n", 2)
    return yaml.safe_load(metadata), body


def test_the_metadata_is_what_the_hub_reads(whole_card):
    metadata, _ = split_card(whole_card)
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["task_categories"] == ["image-classification"]
    assert (metadata["language"], metadata["annotations_creators"]) == (["en"], ["expert-generated"])
    assert metadata["size_categories"] == ["1K<n<10K"]
    paths = {one["config_name"]: one["data_files"][0]["path"] for one in metadata["configs"]}
    assert paths["default"] == [f"data/{name}-*.parquet" for name in ("40X", "100X", "200X", "400X")]
    assert [paths[name] for name in ("40X", "100X", "200X", "400X")] == paths["default"]
    assert [one["config_name"] for one in metadata["configs"] if one.get("default")] == ["default"]


def test_the_card_holds_what_a_reader_needs(whole_card):
    for words in (
        "For research, not for diagnosis", "7,909 images of 82 patients (slide folders) and 70 specimens", MANIFEST,
        "14-13412", "CC BY 4.0 according to the documentation of kaiko-eva", "10.1109/TBME.2015.2496264",
        "Why 82 slide folders are 70 specimens", 'load_dataset("user/breakhis", "40X", split="train")',
        "| **benign** |  | 2,480 | 625 | 644 | 623 | 588 | 24 | 16 |", "`split_seed` 42",
    ):  # fmt: skip
        assert words in whole_card
    assert "part of BreakHis" not in whole_card
    assert "Found in this copy" not in whole_card
    assert "secret" not in whole_card


def test_what_is_said_of_the_official_folds_is_so(whole_card):
    sides = [defaultdict(set) for _ in range(5)]
    for folder in INVENTORY:
        for fold, part in enumerate(folder.official):
            sides[fold][folder.specimen_id].add(part)
    divided = [[specimen for specimen, parts in fold.items() if len(parts) == 2] for fold in sides]
    assert {len(specimens) for specimens in divided} <= {6, 7, 8}
    assert [i + 1 for i in range(5) if "14-13412" in divided[i]] == [1, 3, 5]
    assert sum("test" not in folder.official for folder in INVENTORY) == 13
    assert "those of\n13 patients never. Each fold has 6 to 8 specimens on both sides" in whole_card
    assert "In official folds 1, 3 and 5 one of the two" in whole_card
    tests = [sum(len(folder) for folder in INVENTORY if folder.official[i] == "test") for i in range(5)]
    for i, number in enumerate(tests):
        assert f"| {i + 1} | {7909 - number} | {number} |" in whole_card


def test_what_is_said_of_rare_types_is_so(whole_card):
    specimens = defaultdict(set)
    for folder in INVENTORY:
        specimens[folder.tumor_type].add(folder.specimen_id)
    assert [len(specimens[tumor]) for tumor in ("A", "PT", "LC")] == [2, 3, 4]
    assert "adenosis is of 2 specimens,\n  phyllodes tumor of 3, lobular carcinoma of 4" in whole_card


def test_the_fixed_folds_add_up(whole_card):
    table = whole_card.partition("| `specimen_fold` |")[2]
    rows = [
        tuple(map(int, row)) for row in re.findall(r"^\| (\d) \| (\d+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    ]
    assert [row[0] for row in rows] == [0, 1, 2, 3, 4]
    assert [sum(column) for column in zip(*rows, strict=True)][1:] == [70, 2480, 5429]


def test_a_part_of_breakhis_says_so_and_what_was_found(small_card):
    metadata, body = split_card(small_card)
    assert metadata["size_categories"] == ["n<1K"]
    assert [one["config_name"] for one in metadata["configs"]] == ["default", "40X", "200X"]
    assert "24 images of 6 patients (slide folders) and 5 specimens" in body
    assert "**This is a part of BreakHis**" in body
    assert "Found in this copy:\n\n* First.\n* Second.\n" in body


def test_a_twins_card_says_first_that_it_is_generated(small_breakhis, data_args):
    for path in small_breakhis.rglob("*.png"):
        path.write_bytes(encode(path.name, TwinSettings(width=64, height=48)))
    (small_breakhis / "twin.json").write_text('{"format": 1, "settings": {"seed": 7}}', encoding="utf-8")
    metadata, body = split_card(write_card(load_images(data_args(small_breakhis)), MANIFEST, []))
    assert body.lstrip().startswith("# BreakHis twin: generated images, not BreakHis\n\n**Every image here is drawn")
    assert '"seed": 7' in body
    assert metadata["license"] == "apache-2.0"
    assert "synthetic" in metadata["tags"]
    assert metadata["annotations_creators"] == ["machine-generated"]
    assert "CC BY" not in body


def test_a_twin_without_settings_is_refused_in_one_line(small_breakhis, data_args):
    for path in small_breakhis.rglob("*.png"):
        path.write_bytes(encode(path.name, TwinSettings(width=64, height=48)))
    (small_breakhis / "twin.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"twin\.json holds no settings of a twin; generate the twin again\.$"):
        write_card(load_images(data_args(small_breakhis)), MANIFEST, [])


def test_the_card_claims_no_more_of_the_files_than_is_known(whole_card):
    text = " ".join(whole_card.split())
    assert "those it was exported from, byte for byte; no checksum of the authors' archive is known" in text
    assert "those of the authors' archive" not in text


@pytest.mark.parametrize("card", ["whole_card", "small_card"])
def test_the_page_is_tidy(card, request):
    text = request.getfixturevalue(card)
    assert text.startswith("---\n")
    assert text.endswith("}\n```\n")
    assert "\n\n\n" not in text
    assert "{{" not in text
    assert "{%" not in text


def test_a_text_is_found_in_the_package_before_the_checkout(tmp_path, monkeypatch):
    (tmp_path / "model_cards").mkdir()
    (tmp_path / "model_cards" / "dataset.md").write_text("packed", encoding="utf-8")
    assert card_text("dataset.md").startswith("---\n{{ metadata }}")
    monkeypatch.setattr(templates, "files", lambda _: tmp_path)
    assert card_text("dataset.md") == "packed"
    with pytest.raises(InputError, match=r"model_cards/absent\.md is not installed"):
        card_text("absent.md")
