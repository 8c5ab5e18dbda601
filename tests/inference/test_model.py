"""MODEL is a run, a folder or a Hub id; what is no finished image classifier is refused in one line."""

import json
import shutil

import pytest

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.hub.publish import publications
from hf_breakhis.inference.classifier import Classifier, saved_size
from hf_breakhis.inference.model import find_model
from hf_breakhis.run import Run


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run that a test may change."""
    return shutil.copytree(run, tmp_path / "copied")


def refusal(*arguments, **options):
    with pytest.raises(InputError) as caught:
        find_model(*map(str, arguments), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_its_fold_and_its_model_folder_are_the_same_weights(run):
    found = [find_model(str(run / place)) for place in ("", "fold-0", "fold-0/model")]
    assert len({weights.folder.resolve() for weights in found}) == 1
    assert found[0].decision is not None
    assert found[0].decision == found[1].decision == found[2].decision
    assert found[0].seen == found[1].seen == found[2].seen
    assert find_model(str(run), "1").seen != found[0].seen


def test_what_was_published_knows_what_it_was_trained_on(at_loopback, put_model, run, tmp_path):
    """Pulled from the Hub, or a folder that was pulled: the recipe beside the model makes no run of it."""
    (publication,) = publications(run, "user/small", "fold:1", tmp_path / "publish")
    put_model(publication.folder)
    own = find_model(str(run), "1")
    for place in ("user/small", str(publication.folder)):
        found = find_model(place)
        assert found.seen == own.seen
        assert found.decision == own.decision
    assert find_model(str(run), "0").seen != own.seen
    summary = json.loads((publication.folder / "summary.json").read_text())
    del summary["published_fold"]
    (publication.folder / "summary.json").write_text(json.dumps(summary))
    assert find_model(str(publication.folder)).seen is None, "nobody says which fold it is"
    assert "is no run" in refusal(publication.folder, fold="1")


def test_the_refit_has_seen_everything_but_the_reserve(copied):
    shutil.copytree(copied / "fold-0", copied / "refit")
    (copied / "folds.csv").write_text(
        "file_name,patient_id,specimen_id,label,fold,part\n"
        "a.png,p,s,0,0,train\nb.png,p,t,0,0,test\nc.png,p,u,0,0,reserve\nc.png,p,u,0,1,reserve\n"
    )
    Run(copied).seal()
    weights = find_model(str(copied), "refit")
    assert weights.folder == copied / "refit" / "model"
    assert weights.seen.images == {"a.png", "b.png"}
    assert weights.seen.specimens == {"s", "t"}
    assert find_model(str(copied), "0").seen.images == {"a.png"}


def test_a_carried_model_has_seen_the_folds_before(copied):
    recipe = (copied / "recipe.yaml").read_text()
    (copied / "folds.csv").write_text(
        "file_name,patient_id,specimen_id,label,fold,part\na.png,p,s,0,0,train\nb.png,p,t,0,1,train\nb.png,p,t,0,0,test\n"
    )
    Run(copied).seal()
    assert find_model(str(copied), "1").seen.images == {"b.png"}
    (copied / "recipe.yaml").write_text(recipe.replace("carry_over: none", "carry_over: weights"))
    Run(copied).seal()
    assert find_model(str(copied), "1").seen.images == {"a.png", "b.png"}


def test_an_unfinished_run_is_refused_unless_a_fold_that_ended_is_named(copied):
    (copied / "finished.json").unlink()
    (copied / "fold-0" / "metrics.json").unlink()
    assert "is not finished: give --fold with one that has finished (1)" in refusal(copied)
    assert "weights of 1 only" in refusal(copied, "0")
    assert find_model(str(copied), "1").folder == copied / "fold-1" / "model"
    (copied / "fold-1" / "metrics.json").unlink()
    assert "no fold of it has" in refusal(copied, "1")


@pytest.mark.parametrize("decision", [{"temperature": 0}, {"temperature": 1, "threshold": 1.5}, {"temperature": "1"}])
def test_an_impossible_decision_is_refused(copied, decision):
    (copied / "decision.json").write_text(json.dumps(decision))
    Run(copied).seal()
    with pytest.raises(InputError, match="no possible temperature"):
        find_model(copied).decision  # noqa: B018 (read when asked for)


def test_a_run_without_decision_says_so(copied):
    (copied / "decision.json").unlink()
    Run(copied).seal()
    weights = find_model(str(copied))
    assert weights.decision is None
    assert "hf-breakhis report" in weights.reason


def test_options_that_do_not_go_with_the_model_are_refused(run, write_model, tmp_path):
    assert "no run" in refusal(write_model(), "0")
    assert "on this machine" in refusal(run, revision="main")
    assert "weights of 0, 1 only" in refusal(run, "7")
    (tmp_path / "empty").mkdir()
    assert "holds no model" in refusal(tmp_path / "empty")
    assert "no Hub id" in refusal(tmp_path / "nowhere" / "at" / "all")


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("config.json", {"architectures": ["ResNetModel"]}, "no image classifier"),
        ("config.json", {"architectures": None}, "no image classifier"),
        ("config.json", {"auto_map": {"AutoConfig": "evil.Config"}}, "code of its own"),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.P"}}, "code of its own"),
        ("config.json", {"model_type": "unheard"}, "Cannot load the model"),
        (
            "preprocessor_config.json",
            {"image_processor_type": "Unheard", "size": 3},
            "Cannot load the image processor",
        ),
    ],
)
def test_what_is_no_image_classifier_is_refused(write_model, draw_png, tmp_path, capsys, file, changes, words):
    folder = write_model()
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | changes))
    code = main(["predict", str(folder), str(draw_png(tmp_path / "a.png"))])
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert words in printed.err
    assert printed.err.count("\n") <= 2  # the refusal, and that there is no decision


def test_pickled_and_headless_weights_are_refused(write_model):
    from safetensors.torch import load_file, save_file

    folder = write_model()
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "classifier" not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError, match=r"lacks weights of an image classifier, such as classifier\."):
        Classifier(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="Cannot load the model"):
        Classifier(folder)


def test_only_our_own_processor_counts_as_ours(write_model):
    folder = write_model(image_size=48)
    assert saved_size(folder) == 48
    path = folder / "preprocessor_config.json"
    about = json.loads(path.read_text())
    for change in ({"do_center_crop": True}, {"resample": 1}, {"size": {"shortest_edge": 48}}, {"do_resize": False}):
        path.write_text(json.dumps(about | change))
        assert saved_size(folder) is None, change


def test_a_hub_model_scores_as_its_folder_does(at_loopback, put_model, write_model, draw_png, tmp_path, capsys):
    folder = write_model()
    (folder / "decision.json").write_text(json.dumps({"temperature": 2.0, "threshold": 0.4}))
    repo = put_model(folder)
    repo.commit({**repo.files, "modeling.py": b"raise SystemExit", "config.json": repo.files["config.json"]})
    picture = str(draw_png(tmp_path / "a.png"))
    printed = []
    for model in (str(folder), "user/small"):
        assert main(["predict", model, picture]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "calibrated_malignant,decision" in printed[0]
    assert not [path for _, path in at_loopback.log if "modeling.py" in path and "resolve" in path]


def test_a_revision_is_taken(put_model, write_model):
    repo = put_model(write_model(seed=1))
    first = repo.commits[-1]
    put_second = write_model(seed=2, name="second")
    repo.commit({path.name: path.read_bytes() for path in put_second.iterdir()})
    old, new = (find_model("user/small", revision=commit).folder for commit in (first[0], None))
    assert (old / "model.safetensors").read_bytes() == first[1]["model.safetensors"]
    assert (new / "model.safetensors").read_bytes() == (put_second / "model.safetensors").read_bytes()
    assert "has no revision v9" in refusal("user/small", revision="v9")


def test_a_recipe_of_another_program_on_the_hub_is_not_read(at_loopback, put_model, write_model):
    folder = write_model()
    (folder / "recipe.yaml").write_text("modifiers:\n  - !EpochRangeModifier\n    end_epoch: 10\n")
    put_model(folder)
    found = find_model("user/small")
    assert found.networks == (found.folder,)
    assert found.seen is None


def test_code_on_the_hub_is_refused_before_weights_are_fetched(at_loopback, put_model, write_model):
    folder = write_model()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoConfig": "evil.Config"}}))
    put_model(folder)
    assert "code of its own" in refusal("user/small")
    assert not [path for _, path in at_loopback.log if "safetensors" in path]


@pytest.mark.parametrize("status", [401, 500])
def test_each_refusal_of_the_hub_is_one_line(at_loopback, put_model, write_model, status):
    put_model(write_model())
    at_loopback.refuse["info"] = at_loopback.refuse["revision"] = status
    assert "user/small" in refusal("user/small")
    at_loopback.refuse.clear()
    assert "There is no user/nothing here" in refusal("user/nothing")
