"""A source is one entry of a table, and nothing is assumed about a source that is not in it."""

import pkgutil

import pytest

from hf_breakhis.data.images import Images
from hf_breakhis.data.sources.about import SOURCES, find_source, source_of
from hf_breakhis.data.sources.hub import load_published


@pytest.mark.parametrize("key", SOURCES)
def test_every_source_names_its_loader_and_a_licence_or_no_public_name(key):
    source = SOURCES[key]
    assert callable(pkgutil.resolve_name(source.loader))
    assert source.key == key
    assert (source.licence is None) == (source.credit is None)
    assert source.names_are_public == (source.licence is not None)


@pytest.mark.parametrize(
    "key", ["hospital/twin-cohort", "hospital/breakhis", "parquet", "imagefolder", "twin2", "../twin"]
)
def test_a_name_that_resembles_a_known_source_is_no_known_source(key):
    source = find_source(key)
    claims = (source.is_generated, source.names_are_public, source.is_of_breakhis, source.has_breakhis_names)
    assert not any(claims)
    assert (source.credit, source.licence, source.pictures_are_public) == (None, None, False)
    assert source.hub_id == (key if key.startswith("hospital/") else None)


def test_known_sources_are_found_by_key_and_by_hub_id():
    assert find_source("twin").is_generated
    assert find_source("breakhis").pictures_are_public
    assert find_source("LuminaAI/RCL-Breast-Cancer-Biopsy-7500") is SOURCES["rcl7500"]
    assert pkgutil.resolve_name(find_source("ada/images").loader) is load_published


def test_a_run_decides_whether_its_names_are_public():
    assert not source_of({"source": "breakhis"}).names_are_public
    assert not source_of({"source": "breakhis", "names_are_public": False}).pictures_are_public
    assert source_of({"source": "breakhis", "names_are_public": True}).pictures_are_public
    assert not source_of({"source": "ada/images", "names_are_public": True}).pictures_are_public


def test_names_that_breakhis_does_not_have_are_not_public():
    surplus = {"surplus": ["SOB_B_A-26-1-40-001.png"]}
    assert Images(None, "breakhis", "folder").about.names_are_public
    assert not Images(None, "breakhis", "folder", places=surplus).about.names_are_public
