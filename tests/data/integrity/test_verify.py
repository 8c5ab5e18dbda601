"""A clean data set has no finding but the known one, and one with a planted fault has exactly that finding besides."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance
from PIL.PngImagePlugin import PngInfo

from hf_breakhis.cli import main
from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.images import Images
from hf_breakhis.data.integrity.check_images import Findings, check_images
from hf_breakhis.data.integrity.verify import expected_names, read_checked_folds, verify, verify_table
from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError

KNOWN = "Slide 14-13412 lies under two tumour types, DC and LC, as in the official archive; it counts as one specimen."


@pytest.fixture
def tree(small_breakhis, monkeypatch):
    """24 smooth pictures, which the inventory holds and no others; path by file name."""
    paths = {path.name: path for path in sorted(small_breakhis.rglob("*.png"))}
    names = sorted(paths)
    monkeypatch.setattr("hf_breakhis.data.integrity.verify.expected_file_names", lambda: names)
    for seed, path in enumerate(paths.values()):
        noise = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((140, 92), Image.Resampling.BICUBIC).save(path)
    return paths


@pytest.fixture
def report(small_breakhis, data_args):
    def build(folds=None):
        images = load_images(data_args(small_breakhis))
        return verify(images, check_images(images, 1), folds)

    return build


AB, CD = "SOB_B_A-14-22549AB-40-001.png", "SOB_B_A-14-22549CD-40-001.png"  # one specimen
FIBROADENOMA, CARCINOMA = "SOB_B_F-14-14134-40-001.png", "SOB_M_DC-14-2523-40-010.png"


def picture(path):
    with Image.open(path) as opened:
        return opened.convert("RGB")


def jpeg(image):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=50)
    return Image.open(stream).convert("RGB")


def bit_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def move(path):
    elsewhere = path.parents[1] / "100X" / path.name
    elsewhere.parent.mkdir()
    path.rename(elsewhere)


def add(name):
    """Return what lays a picture beside the others under another name."""
    return lambda path: Image.new("RGB", (140, 92), "plum").save(path.with_name(name))


def sixteen_bit(path):
    Image.fromarray(np.asarray(picture(path).convert("L"), dtype=np.uint16) * 257).save(path)


def two_frames(path):
    picture(path).save(path, save_all=True, append_images=[Image.new("RGB", (140, 92), "plum")])


FAULTS = {
    "missing": (lambda path: path.unlink(), "missing"),
    "surplus": (add("SOB_B_A-14-22549AB-40-999.png"), "surplus"),
    "a name of its own": (add("copy of image.png"), "unnamed"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-500]), "undecodable"),
    "a flipped bit": (bit_flip, "undecodable"),
    "text named png": (lambda path: path.write_text("no picture"), "undecodable"),
    "empty": (lambda path: path.write_bytes(b""), "undecodable"),
    "grey": (lambda path: picture(path).convert("L").save(path), "mode"),
    "RGBA": (lambda path: picture(path).convert("RGBA").save(path), "mode"),
    "16 bits": (sixteen_bit, "bit_depth"),
    "another size": (lambda path: picture(path).resize((120, 92)).save(path), "size"),
    "one pixel": (lambda path: Image.new("RGB", (1, 1)).save(path), "tiny"),
    "two frames": (two_frames, "frames"),
    "a JPEG": (lambda path: picture(path).save(path, "JPEG"), "format"),
    "in another folder": (move, "misplaced"),
}


def test_a_clean_data_set_has_no_finding(tree, report):
    found = report()
    assert (found["findings"], found["known"], found["copies"], found["whole"]) == ([], [], [], True)
    assert found["counts"]["class"] == {
        "benign": {"expected": 12, "found": 12},
        "malignant": {"expected": 12, "found": 12},
    }


@pytest.mark.parametrize(("plant", "kind"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_the_only_finding(plant, kind, tree, report):
    plant(tree[AB])
    found = report()
    assert [finding["kind"] for finding in found["findings"]] == [kind]
    finding = found["findings"][0]
    assert finding["count"] == len(finding["images"]) == 1
    there = next(iter(finding["images"]))
    assert kind in ("surplus", "unnamed") or there.endswith(AB)
    assert finding["sentence"].count(there) == 1
    assert not found["whole"]
    assert found["copies"] == []


COPIES = {
    "same file": lambda source, target: shutil.copyfile(source, target),
    "same pixels": lambda source, target: picture(source).save(target, compress_level=1),
    "JPEG": lambda source, target: jpeg(picture(source)).save(target),
    "half the size and back": lambda source, target: picture(source).resize((70, 46)).resize((140, 92)).save(target),
    "brighter": lambda source, target: ImageEnhance.Brightness(picture(source)).enhance(1.1).save(target),
    "mirrored": lambda source, target: picture(source).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(target),
    "turned": lambda source, target: (
        picture(source).transpose(Image.Transpose.ROTATE_90).resize((140, 92)).save(target)
    ),
}


@pytest.mark.parametrize("change", COPIES)
@pytest.mark.parametrize(
    ("target", "where"),
    [(CD, "within_a_specimen"), (FIBROADENOMA, "across_specimens"), (CARCINOMA, "across_labels")],
)
def test_a_planted_copy_is_the_only_finding(change, target, where, tree, report):
    COPIES[change](tree[AB], tree[target])
    found = report()
    kind = change if change.startswith("same") else "near copy"
    assert [finding["kind"] for finding in found["findings"]] == [f"{kind}_{where}".replace(" ", "_")]
    (pair,) = found["copies"]
    assert (pair["a"], pair["b"], pair["kind"]) == (AB, target, kind)
    assert pair["same_specimen"] is (where == "within_a_specimen")
    assert pair["same_label"] is (where != "across_labels")
    assert f"{AB} = {target}" in found["findings"][0]["sentence"]


def test_copies_in_two_parts_are_told_for_each_fold(tree, report):
    shutil.copyfile(tree[AB], tree[CD])
    folds = pd.DataFrame(
        [(name, fold, "train") for fold in (0, 1, 2) for name in tree], columns=["file_name", "fold", "part"]
    )
    folds.loc[(folds["file_name"] == CD) & (folds["fold"] != 1), "part"] = "test"
    divided = [finding for finding in report(folds)["findings"] if finding["kind"] == "copies_across_parts"]
    assert [finding["sentence"] for finding in divided] == [
        f"Copies in two parts of fold {fold}: {AB} = {CD} (train, test)." for fold in (0, 2)
    ]


def test_a_new_slide_under_two_types_is_no_known_finding(tree, report):
    name = "SOB_B_A-14-14134-40-001.png"  # 14-14134 is a fibroadenoma
    place = tree[AB].parents[8] / parse_file_name(name).path
    place.parent.mkdir(parents=True)
    Image.new("RGB", (140, 92), "plum").save(place)
    found = report()
    assert {finding["kind"]: finding["images"] for finding in found["findings"]} == {
        "surplus": {name: ""},
        "two_types": {"14-14134": "A and F"},
    }
    assert found["known"] == []


@pytest.fixture(scope="module")
def full_tree(tmp_path_factory):
    """Every name of BreakHis; the first picture says that all are generated, the others are never opened."""
    folder = tmp_path_factory.mktemp("full")
    mark = PngInfo()
    mark.add_text("Software", "hf_breakhis twin 0")
    for number, name in enumerate(expected_file_names()):
        path = folder / parse_file_name(name).path
        path.parent.mkdir(parents=True, exist_ok=True)
        if number:
            path.touch()
        else:
            Image.new("RGB", (32, 32)).save(path, pnginfo=mark)
    return folder


def test_full_counts_are_clean_but_for_the_known_finding(full_tree, data_args):
    """7,909 names and 31 million pairs; what the check would find in noise is made up."""
    images = load_images(data_args(full_tree))
    rng = np.random.default_rng(0)
    files = pd.DataFrame(
        {"file_name": images.dataset["file_name"], "problem": "", "width": 48, "height": 48, "bits": 8, "mode": "RGB"}
    )
    files["content_sha256"] = files["pixels_sha256"] = [rng.bytes(32).hex() for _ in range(7909)]
    files["shape"] = [f"0{rng.bytes(32).hex()[1:]}" for _ in range(7909)]
    found = verify(images, Findings([], {}, pa.Table.from_pandas(files, preserve_index=False), "0" * 64))
    assert (found["source"], found["num_found"], found["findings"], found["known"]) == ("twin", 7909, [], [KNOWN])
    assert found["whole"]
    text = verify_table(found)
    assert "82 of 82 slide folders have all their images" in text
    assert f"Known: {KNOWN[:60]}" in text
    assert text.endswith("Whole and clean.")
    files.loc[7908, "shape"] = files.loc[0, "shape"]
    copied = Findings([], {}, pa.Table.from_pandas(files, preserve_index=False), "0" * 64)
    assert [finding["kind"] for finding in verify(images, copied)["findings"]] == ["near_copy_across_labels"]


def test_a_twin_whose_first_image_is_damaged_is_still_one(full_tree, data_args):
    first = full_tree / parse_file_name(min(expected_file_names())).path
    second = first.with_name(first.name.replace("001", "002"))
    content = first.read_bytes()
    second.write_bytes(content)
    first.write_bytes(b"")
    try:
        assert load_images(data_args(full_tree)).source == "twin"
    finally:
        first.write_bytes(content)
        second.write_bytes(b"")


def test_of_a_twin_as_many_images_are_expected_as_its_scale_says(tmp_path):
    images = Images(None, "twin", str(tmp_path))
    assert len(expected_names(images)) == 7909
    (tmp_path / "twin.json").write_text('{"format": 1, "settings": {"scale": 0.01}}')
    assert len(expected_names(images)) == 328
    (tmp_path / "twin.json").write_text("{}")
    with pytest.raises(InputError, match=r"twin\.json holds no settings of a twin"):
        expected_names(images)


def test_a_source_without_inventory_expects_nothing(tmp_path, data_args, draw_png):
    for kind in ("one", "two"):
        for number in range(3):
            draw_png(tmp_path / kind / f"{kind}-{number}.png")
    images = load_images(data_args(tmp_path, dataset="imagefolder"))
    found = verify(images, check_images(images, 1))
    assert (found["num_expected"], found["num_found"], found["findings"]) == (None, 6, [])
    assert found["counts"]["class"] == {kind: {"expected": None, "found": 3} for kind in ("one", "two")}
    assert "Slide" not in verify_table(found)


def test_real_images_have_no_finding_but_what_is_missing(real_breakhis, data_args):
    images = load_images(data_args(real_breakhis))
    found = verify(images, check_images(images))
    assert [finding["kind"] for finding in found["findings"]] == ["missing"]
    assert found["findings"][0]["count"] == 7909 - 63
    assert {pair["kind"] for pair in found["copies"]} == {"overlapping field"}
    assert all(pair["same_specimen"] for pair in found["copies"])
    assert f"{len(found['copies'])} pairs of fields overlap within a specimen." in found["known"]


def test_the_command_prints_a_table_leaves_json_and_ends_with_0_or_1(tree, small_breakhis, tmp_path, capsys):
    json_path = tmp_path / "out" / "verify.json"
    assert main(["data", "verify", str(small_breakhis), "--json", str(json_path)]) == 0
    shown = capsys.readouterr().out
    assert "Whole and clean." in shown
    assert f"json: {json_path}" in shown
    tree[AB].unlink()
    assert main(["data", "verify", str(small_breakhis)]) == 1
    shown = capsys.readouterr().out
    assert f"Finding: Missing: {AB}." in shown
    path = shown.rstrip().rpartition("json: ")[2]
    with open(path) as stream:
        assert json.load(stream)["findings"][0]["images"] == {AB: ""}


@pytest.mark.parametrize("options", [["absent"], ["--dataset", "nothing"], ["{tree}", "--folds", "absent.csv"]])
def test_what_cannot_be_read_ends_with_2_and_one_line(options, tree, small_breakhis, capsys):
    assert main(["data", "verify", *(option.format(tree=small_breakhis) for option in options)]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("hf-breakhis: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,fold\nx,0\n", "lacks the column part"),
        ("file_name,fold,part\nx.png,0,test\n", "names images that .* does not hold: x.png"),
    ],
)
def test_folds_of_something_else_are_refused(text, message, tree, small_breakhis, data_args, tmp_path):
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_checked_folds(tmp_path / "folds.csv", load_images(data_args(small_breakhis)))
