"""All real images at hand: fields of one specimen overlap, and no two images are near copies."""

from pathlib import Path

import pandas as pd
import pytest

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.integrity.check_image import check_image
from hf_breakhis.data.integrity.duplicates import find_copies
from hf_breakhis.data.integrity.features import describe_all

TWICE = "14-13412"  # its slide lies under two tumour types


def test_real_fields_overlap_within_specimens_and_none_is_a_near_copy(real_breakhis):
    more = real_breakhis.parent / "real" / "breakhis-224"
    if not more.is_dir():
        pytest.skip("real images of 224 pixels are not beside the checkout (shared/real)")
    paths = [path for folder in (real_breakhis, more) for path in sorted(Path(folder).rglob("*.png"))]
    images = [{"bytes": None, "path": str(path)} for path in paths]
    names = [parse_file_name(path.name) for path in paths]
    checked = [check_image(0, image) for image in images]
    files = pd.DataFrame(
        {
            "file_name": [str(name) for name in names],
            "label": [name.label for name in names],
            "specimen_id": [name.specimen_id for name in names],
            **{key: [getattr(one, key) for one in checked] for key in ("content_sha256", "pixels_sha256", "shape")},
        }
    )
    pairs = find_copies(files, describe_all(images))
    assert pairs["same_specimen"].all()
    near = pairs[(pairs["kind"] == "near copy") & ~pairs["a"].str.contains(TWICE)]
    assert near["a"].tolist() == []
    assert (pairs["kind"] == "overlapping field").sum() > 100
