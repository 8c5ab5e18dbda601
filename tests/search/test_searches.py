"""A search from the command line: the controls, the best recipe, resume, and what is refused."""

import builtins
import html
import json
import re
import shutil
import signal
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import yaml
from filelock import FileLock
from sklearn.metrics import balanced_accuracy_score

from hf_breakhis.cli import jobs, main
from hf_breakhis.results.search import score_search

pytestmark = pytest.mark.usefixtures("small_reports")

SPACE = """# Four fields of a head.
learning_rate: {low: 1.0e-3, high: 1.0, log: true}
weight_decay: {low: 1.0e-4, high: 1.0, log: true}
num_train_epochs: {low: 1, high: 4, int: true}
label_smoothing_factor: {low: 0.0, high: 0.5}
"""
TRIALS = 20


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "four.yaml"
    path.write_text(SPACE)
    return path


def write_recipe(folder, fields, **more):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**fields, **more}))
    return path


def searched(folder, vectors, space, fields, trials, num_folds=2):
    recipe = write_recipe(folder, fields(vectors), num_folds=num_folds)
    command = ["search", str(recipe), "--space", str(space), "--trials", str(trials), "--inner_folds", "2"]
    assert main([*command, "--output_dir", str(folder / "out")]) == 0
    return folder / "out", command


@pytest.fixture(scope="module")
def of_noise(tmp_path_factory, noise, space, fields):
    """A finished search on vectors without a class signal."""
    return searched(tmp_path_factory.mktemp("noise"), noise, space, fields, TRIALS, num_folds=3)


@pytest.fixture(scope="module")
def of_signal(tmp_path_factory, signal, space, fields):
    """A finished search on vectors with a class signal."""
    return searched(tmp_path_factory.mktemp("signal"), signal, space, fields, 6, num_folds=3)


def result(folder):
    return json.loads((folder / "search.json").read_text())


def test_without_a_class_signal_the_best_trial_is_above_chance_and_the_nested_interval_has_chance(of_noise):
    """Of these vectors; of others the best trial may be below chance, where cross-validation is biased downwards."""
    found = result(of_noise[0])
    nested = found["scores"]["nested"]["balanced_accuracy"]
    assert found["scores"]["best"]["balanced_accuracy"]["value"] > 0.55
    assert nested["low"] < 0.5 < nested["high"]
    assert found["difference"]["balanced_accuracy"]["value"] > 0


def test_with_a_class_signal_the_nested_interval_is_above_chance(of_signal):
    nested = result(of_signal[0])["scores"]["nested"]["balanced_accuracy"]
    assert nested["low"] > 0.5


def test_the_three_numbers_are_those_of_the_predictions(of_signal):
    """Computed again without the package."""
    folder, found = of_signal[0], result(of_signal[0])
    tables = {part["name"]: pd.read_csv(folder / part["predictions"]) for part in found["parts"]}
    final = tables.pop("final")
    nested = pd.concat(tables.values())
    assert sorted(nested["file_name"]) == sorted(final["file_name"])
    assert not final["file_name"].duplicated().any()
    values = {name: balanced_accuracy_score(table["label"], table["predicted"])
              for name, table in (("best", final), ("nested", nested))}  # fmt: skip
    for name, value in values.items():
        assert found["scores"][name]["balanced_accuracy"]["value"] == pytest.approx(value)
    gap = found["difference"]["balanced_accuracy"]
    assert gap["value"] == pytest.approx(values["best"] - values["nested"])
    assert gap["low"] < gap["value"] < gap["high"]
    last = found["parts"][-1]
    complete = {row["trial"]: row["value"] for row in last["trials"] if row["state"] == "complete"}
    assert last["best"] == max(complete, key=lambda trial: (complete[trial], -trial))
    assert complete[last["best"]] == pytest.approx(values["best"])


def test_the_outer_test_sets_are_the_folds_of_the_recipe_and_each_has_its_own_selection(of_noise):
    found = result(of_noise[0])
    for part in found["parts"][:-1]:
        table = pd.read_csv(of_noise[0] / part["predictions"])
        assert set(table["fold"]) == {part["outer_fold"]}
        values = {row["trial"]: row["value"] for row in part["trials"] if row["state"] == "complete"}
        assert values[part["best"]] == max(values.values())
    assert [row["num_trials"] for row in found["selected"]] == [TRIALS] * 4


def test_trials_are_stopped_early_by_the_median(of_noise):
    rows = result(of_noise[0])["parts"][-1]["trials"]
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned
    for row in pruned:
        last = len(row["steps"]) - 1
        assert last < 2
        before = [one["steps"][last] for one in rows if one["state"] == "complete" and one["trial"] < row["trial"]]
        assert row["steps"][last] < np.median(before)


def test_all_searches_have_the_same_random_values(of_noise):
    first = [[row["fields"] for row in part["trials"][:10]] for part in result(of_noise[0])["parts"]]
    assert first[0] == first[1] == first[2] == first[3]
    assert len({json.dumps(fields) for fields in first[0]}) == 10


def test_training_the_best_recipe_gives_the_predictions_of_the_best_trial(of_signal, capsys):
    folder, found = of_signal[0], result(of_signal[0])
    text = (folder / "best.yaml").read_text()
    assert "optimistic" in text
    assert f"trial {found['parts'][-1]['best']} of 6" in text
    assert main(["train", str(folder / "best.yaml")]) == 0
    ours = pd.read_csv(folder / found["parts"][-1]["predictions"]).set_index("file_name")
    trained = pd.read_csv(folder / "best" / "predictions.csv").set_index("file_name").loc[ours.index]
    np.testing.assert_array_equal(ours["logit_malignant"], trained["logit_malignant"])


def test_no_weights_and_no_temporary_files_stay(of_noise):
    names = {path.relative_to(of_noise[0]).parts[0] for path in of_noise[0].rglob("*") if path.is_file()}
    assert names == {"best.yaml", "figures", "journal.log", "plan.json", "predictions", "search.html", "search.json",
                     "trials.json", ".locks"}  # fmt: skip
    assert len(list((of_noise[0] / "predictions").iterdir())) == 4


def test_the_page_has_the_three_numbers_the_selections_and_the_command(of_noise):
    page = html.unescape((of_noise[0] / "search.html").read_text())
    found = result(of_noise[0])
    for which in ("best", "nested"):
        assert f"{found['scores'][which]['balanced_accuracy']['value']:.3f}" in page
    for words in ("Best trial (optimistic)", "Nested score (what to expect)", "outer fold 1", "final search",
                  "figure-importance", "figure-trials", "weight_decay", "selected by balanced accuracy",
                  found["command"]):  # fmt: skip
        assert words in page
    assert found["parts"][-1]["importance"].keys() == found["space"].keys()
    assert sum(found["parts"][-1]["importance"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("specimen", "On specimens that no selection has seen"),
        ("patient", "On patients that no selection has seen"),
        ("image", "In nested cross-validation by image, which leaks"),
    ],
)
def test_the_sentence_names_what_no_selection_has_seen(of_signal, tmp_path, unit, words):
    folder = shutil.copytree(of_signal[0], tmp_path / "copy")
    plan = json.loads((folder / "plan.json").read_text())
    plan["recipe"]["split_by"] = unit
    (folder / "plan.json").write_text(json.dumps(plan))
    found = score_search(folder)
    assert (
        f"{words}, the search scores {found['scores']['nested']['balanced_accuracy']['value']:.3f}"
        in found["sentence"]
    )


def test_the_folder_alone_writes_the_same_page_again(of_noise, capsys):
    before = (of_noise[0] / "search.html").read_bytes()
    (of_noise[0] / "search.html").unlink()
    assert main(["search", str(of_noise[0])]) == 0
    assert (of_noise[0] / "search.html").read_bytes() == before
    out = capsys.readouterr().out
    assert "Nested score (what to expect)" in out
    assert max(map(len, out.splitlines()[:-1])) <= 100


def without_times(folder):
    found = result(folder)
    for row in (*found["selected"], *(trial for part in found["parts"] for trial in part["trials"])):
        row["seconds"] = None
    return {key: found[key] for key in ("scores", "difference", "parts", "selected", "sentence")}


def test_a_killed_search_resumes_with_the_digits_of_one_that_was_not(tmp_path, noise, space, fields, capsys, workers):
    """The process is killed twice; then more trials are added."""
    whole, command = searched(tmp_path, noise, space, fields, 4)
    killed = tmp_path / "killed"
    for number in (2, 6):
        process = workers.start([*command, "--output_dir", str(killed)])
        workers.wait_for(process, killed, number)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert main([*command, "--output_dir", str(killed)]) == 0
    assert without_times(killed) == without_times(whole)
    capsys.readouterr()
    assert main([*command, "--trials", "5", "--output_dir", str(whole)]) == 0
    lines = capsys.readouterr().err
    assert sorted(re.findall(r"(\S+), trial (\d+):", lines)) == [("final", "4"), ("outer-0", "4"), ("outer-1", "4")]


def test_the_files_of_a_killed_process_are_removed_and_those_of_others_kept(tmp_path, noise, space, fields):
    folder, command = searched(tmp_path, noise, space, fields, 1)
    command += ["--output_dir", str(folder)]
    for worker in ("killed", "working"):
        checkpoint = folder / ".work" / worker / "checkpoint-1" / "model.safetensors"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(b"weights")
    (folder / ".locks" / "worker-killed.lock").touch()
    with FileLock(folder / ".locks" / "worker-working.lock"):
        assert main(command) == 0
    assert [path.name for path in (folder / ".work").iterdir()] == ["working"]
    assert main(command) == 0
    assert not (folder / ".work").exists()


def test_a_stopped_search_exits_with_the_code_of_the_signal(tmp_path, noise, space, fields, start_python):
    recipe = write_recipe(tmp_path, fields(noise), num_folds=2)
    command = ["search", str(recipe), "--space", str(space), "--trials", "30", "--output_dir", str(tmp_path / "out")]
    process = start_python("-m", "hf_breakhis", *command)
    process.wait_for("trial 0")
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(60)
    assert process.returncode == 143
    assert "run the same command again to resume" in rest
    assert not (tmp_path / "out" / ".work").exists()


@pytest.fixture
def forked_jobs(start_python, monkeypatch):
    """Start the jobs of a command in forked processes; those of a study are started as ever, by the same function."""

    def start(command, stdout, env, **_):
        return start_python(*command[1:], environment=env, pipe=stdout.name)

    monkeypatch.setattr(jobs, "subprocess", Mock(Popen=start))


def test_jobs_share_the_trials_of_one_command(tmp_path, noise, space, fields, workers, forked_jobs):
    recipe = write_recipe(tmp_path, fields(noise), num_folds=2)
    command = ["search", str(recipe), "--space", str(space), "--trials", "3", "--inner_folds", "2", "--jobs", "2"]
    assert main([*command, "--output_dir", str(tmp_path / "out")]) == 0
    every = [trial for trials in workers.trials(tmp_path / "out").values() for trial in trials]
    assert len(every) == 9
    # it waits for the trials of the others, and writes the same table
    assert "Nested score (what to expect)" in (tmp_path / "out" / ".logs" / "process-1.txt").read_text()


def test_a_damaged_journal_is_refused_in_one_line(tmp_path, noise, space, fields, capsys):
    folder, command = searched(tmp_path, noise, space, fields, 1)
    journal = folder / "journal.log"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([lines[0], "{]\n", *lines[1:]]))
    capsys.readouterr()
    assert main([*command, "--trials", "2", "--output_dir", str(folder)]) == 2
    assert "journal.log is damaged" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "Give --trials N, --hours H"),
        (["--trials", "0"], "--trials is 0"),
        (["--hours", "0"], "--hours is 0.0"),
        (["--trials", "2", "--sampler", "tpo"], "Did you mean `tpe`?"),
        (["--trials", "2", "--metric", "auc"], "--metric is auc"),
        (["--trials", "2", "--inner_folds", "1"], "--inner_folds is 1"),
        (["--sampler", "grid"], "range without a step"),
        (["--trials", "2", "--learning_rate", "0.1"], "is searched by"),
        (["--trials", "2", "--repeats", "3"], "`repeats` is 3"),
        (["--trials", "2", "--members", "5"], "train best.yaml with --members 5"),
        (["--trials", "2", "--restart", "true"], "`restart` is not supported"),
        (["--trials", "2", "--early_stopping_patience", "2"], "decided on the test set of each fold"),
        (["--trials", "2", "--storage", "nothing://x"], "Cannot open the database"),
        (["--trials", "2", "--num_folds", "40"], "num_folds"),
        (["--trials", "2", "--inner_folds", "30"], "Inner folds of outer fold 0"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(tmp_path, noise, space, fields, capsys, more, words):
    recipe = write_recipe(tmp_path, fields(noise))
    command = ["search", str(recipe), "--space", str(space), "--output_dir", str(tmp_path / "out"), *more]
    assert main(command) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert words in err[-1]
    assert len([line for line in err if not line.startswith("warning")]) == 1
    assert not (tmp_path / "out").exists()


def test_another_search_in_the_folder_is_refused(of_noise, capsys):
    folder, command = of_noise
    for more in (["--sampler", "random"], ["--batch_size", "16"], ["--inner_folds", "3"]):
        assert main([*command, *more, "--output_dir", str(folder)]) == 2
        err = capsys.readouterr().err
        assert "contains another search (" in err
        assert more[0].removeprefix("--") in err


def test_a_folder_that_is_no_search_is_refused(tmp_path, noise, space, fields, capsys):
    recipe = write_recipe(tmp_path, fields(noise))
    assert main(["search", str(recipe), "--space", str(space), "--trials", "2", "--output_dir", str(tmp_path)]) == 2
    assert "contains recipe.yaml and no plan.json" in capsys.readouterr().err
    assert main(["search", str(tmp_path)]) == 2
    assert "No search at" in capsys.readouterr().err


def test_trials_that_all_fail_end_with_the_first_reason_and_the_count(tmp_path, noise, fields, capsys):
    recipe = write_recipe(tmp_path, fields(noise), num_folds=2, weight_decay=1e6)
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: {low: 1.0e+8, high: 1.0e+9, log: true}\n")
    command = ["search", str(recipe), "--space", str(space), "--trials", "3", "--inner_folds", "2"]
    assert main([*command, "--output_dir", str(tmp_path / "out")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "All 3 trials of outer fold 0 failed. First reason: Training diverged" in last


def test_trials_of_contradicting_fields_fail_with_their_reason_and_the_others_count(tmp_path, noise, fields, capsys):
    recipe = write_recipe(tmp_path, fields(noise), num_folds=2, loss="focal")
    space = tmp_path / "space.yaml"
    space.write_text("loss: {choices: [focal, cross_entropy]}\nfocal_gamma: {low: 1, high: 2, step: 1}\n")
    command = ["search", str(recipe), "--space", str(space), "--sampler", "grid", "--inner_folds", "2"]
    assert main([*command, "--output_dir", str(tmp_path / "out")]) == 0
    assert "failed. `focal_gamma` has no effect" in capsys.readouterr().err
    found = result(tmp_path / "out")
    assert [(row["num_trials"], row["num_failed"]) for row in found["selected"]] == [(4, 2)] * 3
    assert all(row["fields"]["loss"] == "focal" for row in found["selected"])
    assert "failed: " in (tmp_path / "out" / "search.html").read_text()


def test_the_missing_extra_is_named(tmp_path, noise, space, fields, capsys, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'", name="optuna")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["search", "c3", "--space", str(space), "--trials", "2"]) == 2
    assert "pip install 'hf-breakhis[search]'" in capsys.readouterr().err


def test_a_grid_has_each_combination_once(tmp_path, noise, fields):
    recipe = write_recipe(tmp_path, fields(noise), num_folds=2)
    space = tmp_path / "space.yaml"
    space.write_text("class_weights: {choices: [none, balanced]}\nnum_train_epochs: {low: 1, high: 2, int: true}\n")
    command = ["search", str(recipe), "--space", str(space), "--sampler", "grid", "--inner_folds", "2"]
    assert main([*command, "--pruner", "none", "--metric", "roc_auc", "--output_dir", str(tmp_path / "out")]) == 0
    found = result(tmp_path / "out")
    for part in found["parts"]:
        assert sorted(tuple(row["fields"].values()) for row in part["trials"]) == [
            ("balanced", 1), ("balanced", 2), ("none", 1), ("none", 2)
        ]  # fmt: skip
    assert found["score_name"] == "ROC AUC"


def test_hours_end_a_search_after_each_part_has_a_trial(tmp_path, noise, space, fields):
    recipe = write_recipe(tmp_path, fields(noise), num_folds=2)
    command = ["search", str(recipe), "--space", str(space), "--hours", "1e-6", "--inner_folds", "2"]
    assert main([*command, "--output_dir", str(tmp_path / "out")]) == 0
    assert [row["num_trials"] for row in result(tmp_path / "out")["selected"]] == [1, 1, 1]
