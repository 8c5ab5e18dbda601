"""Networks by name: what starts, what is refused, what stays frozen."""

from collections import Counter

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LevitConfig, ResNetForImageClassification
from transformers.utils import logging

from hf_breakhis.arguments import ModelArguments
from hf_breakhis.files import InputError
from hf_breakhis.training.modeling import build_model, load_config, use_channels_last

SMALL = {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
CLASSES = ["benign", "malignant"]


@pytest.fixture
def saved(tmp_path):
    """A small classifier of three classes in a local folder, as a published backbone."""
    torch.manual_seed(1)
    args = ModelArguments(init="random", model_kwargs=SMALL)
    model = build_model(args, ["a", "b", "c"])
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model", model


def test_random_start_is_the_full_resnet_50_without_a_network():
    model = build_model(ModelArguments(init="random"), CLASSES)
    assert isinstance(model, ResNetForImageClassification)
    # 25,557,032 parameters on ImageNet (He et al. 2016, as torchvision counts), less the head of 1,000 classes.
    assert sum(p.numel() for p in model.parameters()) == 25_557_032 - 1000 * 2049 + 2 * 2049
    assert model.config.id2label == {0: "benign", 1: "malignant"}
    assert model.config.label2id == {"benign": 0, "malignant": 1}


def test_same_seed_same_weights():
    one, two = (
        [torch.manual_seed(5), build_model(ModelArguments(init="random", model_kwargs=SMALL), CLASSES)][1]
        for _ in "12"
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_published_backbone_keeps_its_weights_and_gets_a_new_head(saved):
    path, before = saved
    model = build_model(ModelArguments(model_name_or_path=str(path)), CLASSES)
    assert model.num_labels == 2
    old, new = before.base_model.state_dict(), model.base_model.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old)


@pytest.fixture
def without_bars():
    """Without progress bars, as during training."""
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.mark.usefixtures("without_bars")
def test_a_new_head_is_nothing_to_report(saved, capsys, caplog):
    path, _ = saved
    build_model(ModelArguments(model_name_or_path=str(path)), CLASSES)
    assert (*capsys.readouterr(), caplog.text) == ("", "", "")


@pytest.mark.usefixtures("without_bars")
@pytest.mark.parametrize("changes", [{"freeze_backbone": True}, {"lora": {"r": 2}}, {}])
def test_weights_that_start_untrained_outside_the_head_are_reported(changes, saved, capsys):
    path, _ = saved
    args = ModelArguments(model_name_or_path=str(path), model_kwargs={"hidden_sizes": [4, 6]}, **changes)
    build_model(args, CLASSES)
    error = capsys.readouterr().err
    assert error.startswith("warning: the weights of ResNetForImageClassification lack resnet.encoder.stages.1")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("without_bars")
def test_statistics_that_are_missing_are_reported(saved, capsys):
    path, _ = saved
    weights = load_file(path / "model.safetensors")
    lost = next(name for name in weights if name.endswith("running_mean"))
    save_file(
        {name: value for name, value in weights.items() if name != lost}, path / "model.safetensors", {"format": "pt"}
    )
    build_model(ModelArguments(model_name_or_path=str(path)), CLASSES)
    assert capsys.readouterr().err.startswith(f"warning: the weights of ResNetForImageClassification lack {lost}, or")


def test_without_a_connection_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"Cannot load `someone/absent` at `main`.*--init random") as caught:
        build_model(ModelArguments(model_name_or_path="someone/absent"), CLASSES)
    assert "\n" not in str(caught.value)


def test_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="Cannot load"):
        build_model(ModelArguments(model_name_or_path=str(tmp_path)), CLASSES)


def test_truncated_weights_are_refused(saved):
    path, _ = saved
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="Cannot load"):
        build_model(ModelArguments(model_name_or_path=str(path)), CLASSES)


def test_a_pickle_is_never_read(saved):
    path, model = saved
    (path / "model.safetensors").unlink()
    torch.save(model.state_dict(), path / "pytorch_model.bin")
    with pytest.raises(InputError, match="Cannot load"):
        build_model(ModelArguments(model_name_or_path=str(path)), CLASSES)


def test_unknown_override_names_the_nearest():
    with pytest.raises(
        InputError,
        match=r"`hiden_sizes`, which is not a field of the resnet configuration\. Did you mean `hidden_sizes`",
    ):
        load_config(ModelArguments(init="random", model_kwargs={"hiden_sizes": [1]}))


def test_override_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="`model_kwargs` does not fit resnet"):
        load_config(ModelArguments(init="random", model_kwargs={"layer_type": "round"}))


def test_frozen_backbone_stays_as_it_was(saved):
    path, _ = saved
    model = build_model(ModelArguments(model_name_or_path=str(path), freeze_backbone=True), CLASSES)
    before = {name: value.clone() for name, value in model.base_model.state_dict().items()}
    head = model.classifier[1].weight.detach().clone()
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    loss = model(pixel_values=torch.randn(4, 3, 16, 16), labels=torch.tensor([0, 1, 0, 1])).loss
    loss.backward()
    optimizer.step()
    after = model.base_model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "running statistics of batch norm included"
    assert not torch.equal(head, model.classifier[1].weight)


def test_activation_of_stem_and_blocks_is_saved(tmp_path):
    model = build_model(ModelArguments(init="random", model_kwargs=SMALL, activation="silu"), CLASSES)
    kinds = Counter(type(part).__name__ for part in model.modules())
    # transformers passes it to the stem and to the output of each of two blocks, and keeps relu within a block
    assert (kinds["SiLUActivation"], kinds["ReLU"]) == (3, 2)
    model.save_pretrained(tmp_path)
    again = build_model(ModelArguments(model_name_or_path=str(tmp_path)), CLASSES)
    assert again.config.hidden_act == "silu"
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(pixels).logits, again.eval()(pixels).logits)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": "gelo"}, r"Unknown activation `gelo`. Did you mean `gelu`\?"),
        ({"activation": "gelu", "model_kwargs": {"hidden_act": "relu"}}, "keep one"),
    ],
)
def test_activation_that_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        load_config(ModelArguments(**{"init": "random", **fields}))


def test_network_without_a_setting_for_the_activation_is_named(tmp_path):
    LevitConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="has no setting for it"):
        load_config(ModelArguments(model_name_or_path=str(tmp_path), activation="gelu"))


@pytest.mark.parametrize(
    ("channels", "stride", "device", "is_used"),
    [(16, 2, "cpu", True), (15, 2, "cpu", False), (4, 1, "cpu", True), (15, 2, "cuda", True)],
)
def test_channels_last_is_left_out_where_a_gradient_would_be_wrong(channels, stride, device, is_used):
    layer = torch.nn.Sequential(torch.nn.Conv2d(channels, 4, 3), torch.nn.Conv2d(channels, 4, 1, stride))
    use_channels_last(layer, torch.device(device))
    assert layer[0].weight.is_contiguous(memory_format=torch.channels_last) is is_used


TWO_THREADS = """
import torch
from hf_breakhis.arguments import ModelArguments
from hf_breakhis.training.modeling import build_model, use_channels_last
torch.set_num_threads(2)
sizes = {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
model = build_model(ModelArguments(init="random", model_kwargs=sizes), ["benign", "malignant"]).train()
use_channels_last(model, torch.device("cpu"))
for _ in range(20):
    model(pixel_values=torch.rand(5, 3, 64, 64), labels=torch.arange(5) % 2).loss.backward()
print("finished")
"""


def test_a_very_small_network_is_trained_by_two_threads(run_python):
    """With one thread, as in the other tests, oneDNN's fault does not show on every processor."""
    done = run_python("-c", TWO_THREADS)
    assert (done.returncode, done.stdout) == (0, "finished\n"), done.stderr
