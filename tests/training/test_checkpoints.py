"""A damaged checkpoint is detected, named and skipped, and the run ends with the same result."""

from pathlib import Path

import pytest

from hf_breakhis.training.checkpoints import ARGUMENTS, CHECKSUMS, FILES, Checksums, damage_of, last_whole_checkpoint
from hf_breakhis.training.crossval import cross_validate


class KilledError(Exception):
    """Simulates a kill."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    assert cross_validate(recipe(folder, num_folds=1, num_train_epochs=3))
    return folder


@pytest.fixture
def killed(tmp_path, recipe, monkeypatch):
    """A run killed after its training, with two checkpoints on disk."""
    from hf_breakhis.training import fold

    def kill(*args):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(fold, "predict_part", kill)
        with pytest.raises(KilledError):
            cross_validate(recipe(tmp_path / "killed", num_folds=1, num_train_epochs=3))
    checkpoints = sorted((tmp_path / "killed" / "fold-0" / "checkpoints").iterdir(), key=lambda path: path.name)
    assert len(checkpoints) == 2
    return tmp_path / "killed"


def test_a_checkpoint_holds_no_pickle_of_the_arguments(tmp_path, recipe, monkeypatch):
    saved = {}

    def keep(self, args, state, control, **_):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        saved.update({path.name: path.read_bytes() for path in folder.iterdir()})
        seal(self, args, state, control)
        assert not (folder / ARGUMENTS).exists()
        assert damage_of(folder) is None

    seal = Checksums.on_save
    monkeypatch.setattr(Checksums, "on_save", keep)
    assert cross_validate(recipe(tmp_path / "run", num_folds=1, num_train_epochs=1))
    assert b"save_strategy" in saved[ARGUMENTS]  # as the Trainer wrote it


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {"cut": cut, "emptied": empty, "flipped": flip, "missing": lambda path: path.unlink()}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", [*FILES, "rng_state.pth", CHECKSUMS])
def test_every_damage_to_every_file_is_recognised(killed_once, name, damage, tmp_path):
    checkpoint = tmp_path / "checkpoint-10"
    checkpoint.mkdir()
    for path in killed_once.iterdir():
        (checkpoint / path.name).write_bytes(path.read_bytes())
    assert damage_of(checkpoint) is None
    damage(checkpoint / name)
    assert damage_of(checkpoint)
    messages = []
    assert last_whole_checkpoint(tmp_path, messages.append) is None
    assert not checkpoint.exists()
    assert len(messages) == 1
    assert "checkpoint-10 is damaged" in messages[0]


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory, recipe):
    """One whole checkpoint."""
    from hf_breakhis.training import fold

    folder = tmp_path_factory.mktemp("checkpoint") / "run"

    def kill(*args):
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "predict_part", kill)
        with pytest.raises(KilledError):
            cross_validate(recipe(folder, num_folds=1, num_train_epochs=1))
    (checkpoint,) = (folder / "fold-0" / "checkpoints").iterdir()
    return checkpoint


@pytest.mark.parametrize("how_many", [1, 2])
def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(
    how_many, killed, uninterrupted, recipe, same_run, capsys
):
    """If both are damaged, the fold is trained from its start."""
    checkpoints = sorted((killed / "fold-0" / "checkpoints").iterdir(), key=lambda path: int(path.name[11:]))
    for checkpoint in checkpoints[-how_many:]:
        flip(checkpoint / "optimizer.pt")
    assert cross_validate(recipe(killed, num_folds=1, num_train_epochs=3))
    messages = [line for line in capsys.readouterr().err.splitlines() if "was deleted" in line]
    assert len(messages) == how_many
    assert all("is damaged (optimizer.pt has changed)" in line for line in messages)
    same_run(killed, uninterrupted)
