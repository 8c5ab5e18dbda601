"""A drawn twin has no finding but the known one, and with a planted fault exactly that one besides.

Three tenths of the images of every slide folder, 48x32 pixels, since drawing all 7,909 takes over a minute on one
core. All of them, drawn once by hand, had no finding but the known one either (docs/leakage.md).
"""

import os

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.integrity.verify import verify
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.twin.twin import TwinSettings, encode, twin_file_names, write_twin

KNOWN = "Slide 14-13412 lies under two tumour types, DC and LC, as in the official archive; it counts as one specimen."
SETTINGS = TwinSettings(scale=0.3, width=48, height=32)
# Of two specimens, both malignant.
FIRST, OTHER = (
    next(name for name in twin_file_names(SETTINGS) if slide in name) for slide in ("DC-14-2523-100", "PC-14-9146-100")
)
SURPLUS = f"{FIRST[:-7]}999.png"


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return write_twin(tmp_path_factory.mktemp("whole") / "twin", SETTINGS, num_proc=1)


@pytest.fixture
def paths(twin):
    """Path by name; whatever a test changes is as it was afterwards, so that the next looks at no image twice."""
    paths = {path.name: path for path in twin.rglob("*.png")}
    before = {name: (paths[name].read_bytes(), paths[name].stat().st_mtime_ns) for name in (FIRST, OTHER)}
    yield paths
    for path in twin.rglob("*.png"):
        if path != paths.get(path.name):
            path.unlink()
    for name, (content, time) in before.items():
        paths[name].write_bytes(content)
        os.utime(paths[name], ns=(time, time))


@pytest.fixture
def report(twin, data_args):
    def build():
        images = load_images(data_args(twin))
        return verify(images, check_images(images, 1))

    return build


def save(picture, path):
    marks = PngInfo()
    marks.add_text("Software", "hf_breakhis twin")
    picture.save(path, pnginfo=marks)


def opened(path):
    with Image.open(path) as picture:
        picture.load()
    return picture


def surplus(paths):
    paths[FIRST].with_name(SURPLUS).write_bytes(encode(SURPLUS, SETTINGS))


def misplaced(paths):
    paths[FIRST].rename(paths[OTHER].with_name(FIRST))


def near_copy(paths):
    turned = opened(paths[FIRST]).transpose(Image.Transpose.ROTATE_180)
    save(turned.point(lambda level: min(255, level + 3)), paths[OTHER])


FAULTS = {
    "missing": lambda paths: paths[FIRST].unlink(),
    "surplus": surplus,
    "undecodable": lambda paths: paths[FIRST].write_bytes(paths[FIRST].read_bytes()[:-300]),
    "mode": lambda paths: save(opened(paths[FIRST]).convert("L"), paths[FIRST]),
    "misplaced": misplaced,
    "same_file_across_specimens": lambda paths: paths[OTHER].write_bytes(paths[FIRST].read_bytes()),
    "near_copy_across_specimens": near_copy,
}


def test_a_twin_is_clean_but_for_the_known_finding(twin, report):
    found = report()
    assert (found["source"], found["findings"], found["known"], found["whole"]) == ("twin", [], [KNOWN], True)
    assert found["num_expected"] == found["num_found"] == len(twin_file_names(SETTINGS)) > 2_300
    names = [parse_file_name(path.name) for path in twin.rglob("*.png")]
    assert len({(name.patient_id, name.slide, name.magnification) for name in names}) == 82 * 4, "each has some"
    assert (len(found["counts"]["slide"]), found["copies"]) == (82, [])


@pytest.mark.parametrize(("kind", "plant"), FAULTS.items(), ids=FAULTS)
def test_a_planted_fault_is_the_only_finding_besides(kind, plant, paths, report):
    plant(paths)
    found = report()
    assert [(finding["kind"], finding["count"]) for finding in found["findings"]] == [(kind, 1)]
    assert (found["known"], found["whole"]) == ([KNOWN], False)
    (shown,) = found["findings"][0]["images"]
    assert (SURPLUS if kind == "surplus" else FIRST) in shown
    assert (OTHER in shown) is ("across" in kind)
    assert found["num_found"] == found["num_expected"] + {"missing": -1, "surplus": 1}.get(kind, 0)
    assert parse_file_name(FIRST).specimen_id != parse_file_name(OTHER).specimen_id
