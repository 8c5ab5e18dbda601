"""Pictures of a data set: whole PNG files, the same each time, with words that say what they are."""

from functools import partial

import pytest
from matplotlib.text import Text
from PIL import Image

from hf_breakhis.cli import main
from hf_breakhis.data.counts import choose_pair
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.twin.twin import TwinSettings, encode
from hf_breakhis.files import InputError
from hf_breakhis.results.figures.contact_sheet import _contrast, class_figure, contact_sheet, write_picture

DRAW = {"figure": class_figure, "sheet": contact_sheet}


@pytest.fixture
def images(small_breakhis, data_args):
    return load_images(data_args(small_breakhis))


def words(figure):
    return " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text))


@pytest.mark.usefixtures("fine_figures")
@pytest.mark.parametrize("kind", DRAW)
def test_a_picture_is_a_whole_png_and_the_same_each_time(images, tmp_path, kind):
    files = [write_picture(tmp_path / f"{i}.png", DRAW[kind], images, 3) for i in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    with Image.open(files[0]) as picture:
        picture.load()
        assert min(picture.size) > 900
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["0.png", "1.png"]


def test_figures_1_and_2_say_class_type_magnification_slide_and_source(images):
    shown = words(class_figure(images))
    assert "Fig. 1. Biopsy section of a benign breast tumour:" in shown
    assert "Fig. 2. Biopsy section of a malignant breast tumour:" in shown
    assert "magnification 200X, slide SOB_M_" in shown
    assert shown.count("CC BY 4.0") == 2
    assert "Spanhol et al. 2016" in shown


def test_a_sheet_names_its_rows_columns_and_files(images):
    figure = contact_sheet(images)
    shown = words(figure)
    for word in ("breakhis, 24 images", "40X", "200X", "ductal carcinoma", "benign", "CC BY 4.0"):
        assert word in shown
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 20  # 5 types, 2 magnifications, 2 images each


def test_a_twin_is_never_credited_to_breakhis(small_breakhis, data_args):
    for path in small_breakhis.rglob("*.png"):
        path.write_bytes(encode(path.name, TwinSettings(width=64, height=48)))
    images = load_images(data_args(small_breakhis))
    assert images.source == "twin"
    shown = words(class_figure(images))
    assert "Fig. 2. Drawn picture in the manner of a malignant breast tumour: " in shown
    assert "named as slide SOB_M_" in shown
    assert shown.count("Generated images, no real tissue.") == 2
    assert "Biopsy" not in shown
    assert "CC BY" not in shown
    shown = words(contact_sheet(images))
    assert "Generated images, no real tissue." in shown
    assert "CC BY" not in shown


def test_an_image_that_does_not_decode_is_said_to(images, small_breakhis):
    for path in small_breakhis.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:100])
    assert words(contact_sheet(images)).count("cannot be read") == 20


def test_the_figure_shows_no_frame_without_structure(small_breakhis, data_args):
    """One flat frame of each class, whatever the seed; and with nothing that decodes there is still a figure."""
    paths = sorted(small_breakhis.rglob("*-200-*.png"))
    flat = [next(path for path in paths if letter in path.name) for letter in ("_B_", "_M_")]
    for path in flat:
        Image.new("RGB", (70, 46), "plum").save(path)
    images = load_images(data_args(small_breakhis))
    score = partial(_contrast, images.dataset)
    plain = set()
    for seed in range(20):
        chosen = images.dataset.select(choose_pair(images.dataset, seed, score))["file_name"]
        assert not {path.name for path in flat} & set(chosen)
        plain |= set(images.dataset.select(choose_pair(images.dataset, seed))["file_name"])
    assert plain & {path.name for path in flat}
    for path in paths:
        path.write_bytes(b"")
    assert words(class_figure(load_images(data_args(small_breakhis)))).count("cannot be read") == 2


def test_only_png_is_written(images, tmp_path):
    with pytest.raises(InputError, match=r"sheet\.jpg is to be written as PNG; give a name that ends in \.png"):
        write_picture(tmp_path / "sheet.jpg", contact_sheet, images, 0)


def test_the_command_prints_counts_and_writes_both(small_breakhis, tmp_path, capsys):
    figure, sheet = tmp_path / "f.png", tmp_path / "new" / "s.png"
    asked = ["data", "info", "--data_dir", str(small_breakhis), "--figure", str(figure), "--sheet", str(sheet)]
    assert main(asked) == 0
    printed = capsys.readouterr().out
    assert "malignant" in printed
    assert f"figure: {figure}\nsheet: {sheet}\n" in printed
    assert figure.is_file()
    assert sheet.is_file()


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["--sheet", "a.svg"], "a.svg is to be written as PNG"),
        (["--data_dir", "/no/where"], "no such file or folder"),
        (["--dataset", "twin", "--twin_kwargs", "{scale: 1}"], "`twin_kwargs` is {scale: 1}, but has to be JSON"),
        (["--dataset", "twin", "--twin_kwargs", "[1]"], "`twin_kwargs` is [1], but has to be JSON"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_bad_input_is_one_line(asked, line, capsys):
    assert main(["data", "info", *asked]) == 2
    printed = capsys.readouterr()
    assert line in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out
