"""A file name is read strictly and given back letter by letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_breakhis.data.filenames import (
    BENIGN_TYPES,
    MAGNIFICATIONS,
    MALIGNANT_TYPES,
    TUMOR_TYPES,
    BreakHisName,
    parse_file_name,
)
from hf_breakhis.files import InputError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@st.composite
def names(draw):
    label = draw(st.integers(0, 1))
    return BreakHisName(
        method="SOB",
        label=label,
        tumor_type=draw(st.sampled_from(list((BENIGN_TYPES, MALIGNANT_TYPES)[label]))),
        year=f"{draw(st.integers(0, 99)):02d}",
        slide=str(draw(st.integers(0, 999_999))) + draw(st.text(LETTERS, max_size=3)),
        magnification=draw(st.sampled_from(MAGNIFICATIONS)),
        number=draw(st.integers(1, 999)),
    )


def test_a_known_name_is_read():
    name = parse_file_name("SOB_M_DC-14-13412-100-001.png")
    assert (name.method, name.label, name.tumor_type, name.magnification, name.number) == ("SOB", 1, "DC", "100X", 1)
    assert name.patient_id == "SOB_M_DC-14-13412"
    assert name.specimen_id == "14-13412"
    assert name.path == (
        "BreaKHis_v1/histology_slides/breast/malignant/SOB/ductal_carcinoma/SOB_M_DC_14-13412/100X/"
        "SOB_M_DC-14-13412-100-001.png"
    )


@pytest.mark.parametrize("slide", ["22549AB", "22549CD", "22549G", "22549"])
def test_block_letters_do_not_make_another_specimen(slide):
    assert parse_file_name(f"SOB_B_A-14-{slide}-40-010.png").specimen_id == "14-22549"


@given(names())
def test_every_name_is_given_back(name):
    assert parse_file_name(str(name)) == name
    assert str(parse_file_name(str(name))) == str(name)


def read_or_refuse(text):
    """Return the name that was read, or None where it was refused in one line."""
    try:
        return parse_file_name(text)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    return None


@given(st.text() | st.text("SOBMDC_-0123456789.pngAFPT", max_size=40))
def test_garbage_raises_only_the_input_error(text):
    name = read_or_refuse(text)
    assert name is None or str(name) == text


@given(names(), st.data())
def test_a_damaged_name_is_never_read_as_another_one(name, data):
    text = str(name)
    place = data.draw(st.integers(0, len(text)))
    damaged = text[:place] + data.draw(st.characters()) + text[place:]
    found = read_or_refuse(damaged)
    assert found is None or str(found) == damaged


@pytest.mark.parametrize(
    "name",
    [
        "",
        "SOB_M_DC-14-13412-100-001.gif",
        "SOB_M_DC-14-13412-100-001",
        "SOB_M_DC-14-13412-100-001.png\n",
        "\x00SOB_M_DC-14-13412-100-001.png",
        " SOB_M_DC-14-13412-100-001.png",
        "100X/SOB_M_DC-14-13412-100-001.png",
        "._SOB_M_DC-14-13412-100-001.png",
        "SOB_M_DC-14-13412-50-001.png",
        "SOB_M_DC-14-13412-100-000.png",
        "SOB_M_DC-14-13412-100-1.png",
        "SOB_M_DC-14-ab-100-001.png",
        "SOB_M_XX-14-13412-100-001.png",
        "CNB_M_DC-14-13412-100-001.png",
        "SOB_M_DC-14-\u0661\u0663412-100-001.png",
    ],
)
def test_what_is_not_a_name_is_refused_and_shown(name):
    with pytest.raises(InputError, match=r"is not a BreakHis file name; one looks like .*SOB_M_DC-14-13412-100-001"):
        parse_file_name(name)


def test_class_and_tumor_type_must_agree():
    with pytest.raises(InputError, match="says benign and ductal carcinoma, which disagree"):
        parse_file_name("SOB_B_DC-14-13412-100-001.png")


def test_tumor_types_are_the_eight_in_order_of_class():
    assert list(TUMOR_TYPES) == ["A", "F", "PT", "TA", "DC", "LC", "MC", "PC"]
