"""C1 to C3 train exactly as plain torch does, however the batch is divided."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

SCRIPT = Path(__file__).with_name("toy.py")
spec = importlib.util.spec_from_file_location("toy", SCRIPT)
toy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy)

STEP_SIZE = 2  # epochs, shorter than the paper's so that it acts within the test
SGD_FIELDS = {
    "optimizer_name": "sgd", "optimizer_kwargs": {"momentum": 0.9}, "learning_rate": 0.01, "weight_decay": 0.01,
    "scheduler_name": "step", "scheduler_kwargs": {"step_size": STEP_SIZE, "gamma": 0.1},
}  # fmt: skip
ADAMW_FIELDS = {
    "optimizer_name": "adamw", "optimizer_kwargs": {"betas": [0.92, 0.999]}, "learning_rate": 0.0075,
    "weight_decay": 0.01,
    "scheduler_name": "plateau", "scheduler_kwargs": {"patience": 0, "factor": 0.1, "threshold": 0.5},
    "metric_for_best_model": "loss",
}  # fmt: skip
RECIPES = {"c1 and c2": SGD_FIELDS, "c3": ADAMW_FIELDS}


def bare_loop(fields, order, frozen_norm, weights=None):
    """Train in plain torch over the images in `order`, a list of epochs; return the weights after each epoch."""
    model = toy.network(frozen_norm)
    if fields["optimizer_name"] == "sgd":
        optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)
        schedule = StepLR(optimizer, step_size=STEP_SIZE, gamma=0.1)
    else:
        optimizer = AdamW(model.parameters(), lr=0.0075, betas=(0.92, 0.999), weight_decay=0.01)
        schedule = ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=0.5)
    images, watched = toy.Toy(toy.NUM_TRAIN, 1), toy.Toy(toy.NUM_WATCHED, 2)
    after, rates = [], []
    for epoch in order:
        model.train()
        for start in range(0, len(epoch), toy.BATCH):
            rows = epoch[start : start + toy.BATCH]
            labels = torch.from_numpy(images.labels[rows])
            logits = model(images.pixels[rows]).logits
            each = cross_entropy(logits, labels, weight=weights, reduction="none")
            optimizer.zero_grad()
            each.mean().backward()
            optimizer.step()
        after.append({name: value.clone() for name, value in model.state_dict().items()})
        if isinstance(schedule, StepLR):
            schedule.step()
        else:
            model.eval()
            with torch.no_grad():
                loss = cross_entropy(model(watched.pixels).logits, torch.from_numpy(watched.labels))
            schedule.step(loss.item())
        rates.append(optimizer.param_groups[0]["lr"])
    return after, rates


def epochs(taken):
    """Divide the order in which images were taken into epochs."""
    order = []
    for item in taken:
        if isinstance(item, str):
            order.append([])
        else:
            order[-1].append(item)
    return [epoch for epoch in order if epoch]


def largest_difference(one, other):
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


@pytest.fixture(scope="module")
def order(tmp_path_factory):
    """The order of the images under seed 3; it depends only on the seed."""
    _, taken, _ = toy.train(tmp_path_factory.mktemp("order"), SGD_FIELDS, frozen_norm=False)
    found = epochs(taken)
    assert [sorted(epoch) for epoch in found] == [list(range(toy.NUM_TRAIN))] * 4
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_weights_equal_plain_torch_after_every_epoch(name, order, tmp_path):
    fields = RECIPES[name]
    after, taken, _ = toy.train(tmp_path, fields, frozen_norm=False)
    assert epochs(taken) == order
    bare, rates = bare_loop(fields, order, frozen_norm=False)
    assert len(set(rates)) > 1, "the schedule has to act, or this test cannot fail"
    assert [largest_difference(a, b) < 1e-10 for a, b in zip(after, bare, strict=True)] == [True] * 4


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_accumulation_changes_nothing(name, weighted, order, tmp_path):
    fields = RECIPES[name]
    after, _, _ = toy.train(
        tmp_path, {**fields, "gradient_accumulation_steps": 4}, frozen_norm=True, weighted=weighted
    )
    weights = toy.balanced_weights(toy.Toy(toy.NUM_TRAIN, 1).labels, 2) if weighted else None
    bare, _ = bare_loop(fields, order, frozen_norm=True, weights=weights)
    assert max(largest_difference(a, b) for a, b in zip(after, bare, strict=True)) < 1e-10


def test_the_trainers_own_loss_would_be_wrong(order, tmp_path):
    """The control: without our loss, accumulation multiplies the gradient, and the comparison above sees it."""
    args = toy.BreakHisTrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=4, batch_size=toy.BATCH, gradient_accumulation_steps=4,
        max_grad_norm=0, save_strategy="no", eval_strategy="no", use_cpu=True, bf16=False, seed=3, **SGD_FIELDS,
    )  # fmt: skip
    trainer = toy.BreakHisTrainer(
        model_init=lambda: toy.network(True), args=args, train_dataset=toy.Toy(toy.NUM_TRAIN, 1)
    )
    trainer.train()
    bare, _ = bare_loop(SGD_FIELDS, order, frozen_norm=True)
    assert largest_difference(trainer.model.state_dict(), bare[-1]) > 1e-4


def test_the_logged_learning_rate_is_that_of_the_last_update_of_the_epoch(tmp_path):
    used = []

    class Rates(toy.BreakHisTrainer):
        def training_step(self, *given, **named):
            used.append(self.optimizer.param_groups[0]["lr"])
            return super().training_step(*given, **named)

    fields = SGD_FIELDS | {"scheduler_name": "linear", "scheduler_kwargs": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "BreakHisTrainer", Rates)
        _, _, trainer = toy.train(tmp_path, fields, frozen_norm=True)
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    updates = toy.NUM_TRAIN // toy.BATCH
    assert len(logged) == 4
    assert logged == pytest.approx(used[updates - 1 :: updates])
    assert logged != pytest.approx([*used[updates::updates], 0.0]), "the rate of the next update differs"


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_as_one(name, order, tmp_path, run_two):
    fields = RECIPES[name]
    weighted = name == "c3"
    weights = toy.balanced_weights(toy.Toy(toy.NUM_TRAIN, 1).labels, 2) if weighted else None
    bare, _ = bare_loop(fields, order, frozen_norm=True, weights=weights)
    (tmp_path / "two").mkdir()
    run_two(SCRIPT, tmp_path / "two", json.dumps(fields), json.dumps(weighted))
    two = torch.load(tmp_path / "two" / "result.pt", weights_only=False)
    assert max(largest_difference(a, b) for a, b in zip(two["weights"], bare, strict=True)) < 1e-10
    assert two["steps"] == 4 * toy.NUM_TRAIN // toy.BATCH

    _, _, one = toy.train(tmp_path / "one", fields, frozen_norm=True, weighted=weighted)
    log = one.state.log_history
    assert two["losses"] == pytest.approx(
        [entry["loss"] for entry in log if "loss" in entry], abs=1e-6
    )  # gathered in float32
    assert two["eval_losses"] == pytest.approx(
        [entry["eval_loss"] for entry in log if "eval_loss" in entry], abs=1e-6
    )  # gathered in float32

    # 17 images do not divide: the predictions still come back complete and in order.
    expected = one.predict(toy.Toy(17, 5)).predictions
    assert two["logits"].shape == (17, 2)
    assert two["logits"] == pytest.approx(expected, abs=1e-5)

    # Nor do 317: the loss that schedules and checkpoints read is that of plain torch, every image counted once.
    images = toy.Toy(toy.NUM_RAGGED, 6)
    model = toy.network(frozen_norm=True).eval()
    model.load_state_dict(two["weights"][-1])
    with torch.no_grad():
        logits = model(pixel_values=images.pixels).logits
    each = torch.nn.functional.cross_entropy(logits, torch.from_numpy(images.labels), weight=weights, reduction="none")
    assert two["ragged_loss"] == pytest.approx(each.mean().item(), abs=1e-7)
    assert one.evaluate(images)["eval_loss"] == pytest.approx(each.mean().item(), abs=1e-7)
