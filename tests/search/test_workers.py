"""Several processes share a search: every trial is trained, none twice, also if one of them is killed."""

import json
import signal

import pytest
import yaml
from optuna.trial import TrialState

SPACE = "learning_rate: {low: 1.0e-3, high: 1.0, log: true}\nnum_train_epochs: {low: 1, high: 4, int: true}\n"
TRIALS = 4
PARTS = ["outer-0", "outer-1", "final"]


def command_of(folder, vectors, fields, *more):
    recipe, space = folder / "recipe.yaml", folder / "space.yaml"
    recipe.write_text(yaml.safe_dump(fields(vectors) | {"num_folds": 2}))
    space.write_text(SPACE)
    words = ["search", str(recipe), "--space", str(space), "--trials", str(TRIALS), "--inner_folds", "2"]
    return [*words, "--sampler", "random", "--pruner", "none", "--output_dir", str(folder / "out"), *more]


def slots(trials, state=TrialState.COMPLETE):
    return sorted(trial.user_attrs["slot"] for trial in trials if trial.state == state)


def every_slot(number):
    return {part: list(range(number)) for part in PARTS}


@pytest.mark.parametrize("storage", ["journal", "database"])
def test_three_workers_one_of_them_killed_train_every_trial_once(tmp_path, noise, fields, workers, storage):
    url = None if storage == "journal" else f"sqlite:///{tmp_path / 'trials.db'}"
    out, command = tmp_path / "out", command_of(tmp_path, noise, fields, *(["--storage", url] if url else []))
    running = [workers.start(command)]
    workers.wait_for(running[0], out, 1, url)  # on a fast machine one process could train them all
    running += [workers.start(command) for _ in range(2)]
    workers.wait_for(running[0], out, 3, url)
    running[0].kill()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [-signal.SIGKILL, 0, 0]
    found = workers.trials(out, url)
    assert {name: slots(trials) for name, trials in found.items()} == every_slot(TRIALS)
    every = [trial for trials in found.values() for trial in trials]
    assert len({trial.user_attrs.get("worker") for trial in every}) > 1
    # nothing else but what the killed process was training, if it was between two trials nothing
    assert len([trial for trial in every if trial.state != TrialState.COMPLETE]) <= 1
    result = json.loads((out / "search.json").read_text())
    assert [[row["trial"] for row in part["trials"]] for part in result["parts"]] == [list(range(TRIALS))] * 3


def test_three_workers_give_the_digits_of_one(tmp_path, noise, fields, workers):
    found = []
    for name, count in (("one", 1), ("three", 3)):
        folder = tmp_path / name
        folder.mkdir()
        command = command_of(folder, noise, fields)
        running = [workers.start(command) for _ in range(count)]
        for process in running:
            process.join()
        result = json.loads((folder / "out" / "search.json").read_text())
        found.append({key: result[key] for key in ("scores", "difference", "sentence")})
    assert found[0] == found[1]


def test_a_torn_line_of_the_journal_is_dropped(tmp_path, noise, fields, workers):
    command = command_of(tmp_path, noise, fields)
    for number in (1, 2):
        process = workers.start([*command, "--trials", str(number)])
        process.join()
        found = workers.trials(tmp_path / "out")
        assert {name: slots(trials) for name, trials in found.items()} == every_slot(number)
        with (tmp_path / "out" / "journal.log").open("a") as stream:
            stream.write('{"op_code": 4, "worker')
