"""Two recipes that are started together on one new folder are not mixed: the second is refused."""

import pytest

from hf_breakhis.files import InputError
from hf_breakhis.training import crossval
from hf_breakhis.training.environment import write_recipe


def test_a_recipe_that_another_process_wrote_meanwhile_is_compared(recipe, tmp_path, monkeypatch):
    run = tmp_path / "run"
    read = crossval.load_images

    def slowly(data):
        images = read(data)
        run.mkdir()
        write_recipe(run, recipe(run, fold="1", learning_rate=0.5))  # by the other command, while this one reads
        return images

    monkeypatch.setattr(crossval, "load_images", slowly)
    with pytest.raises(InputError, match=r"contains a run of another recipe \(learning_rate 0\.5 -> 0\.05\)"):
        crossval.cross_validate(recipe(run, fold="0"))
    assert not (run / "fold-0").exists()
