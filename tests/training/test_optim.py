"""Every optimizer trains, every schedule counts in epochs."""

import pytest
import torch
from torch import nn

from hf_breakhis.files import InputError
from hf_breakhis.training.optim import FIXED_LENGTH, OPTIMIZERS, SCHEDULERS, Clock, check_optim, lookup
from hf_breakhis.training.trainer import watched_mode
from hf_breakhis.training_arguments import BreakHisTrainingArguments

CLOCK = Clock(num_steps=40, steps_per_epoch=10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_a_loss(name):
    torch.manual_seed(0)
    inputs = torch.randn(32, 4)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])
    model = nn.Linear(4, 1)
    optimizer = OPTIMIZERS[name](model.parameters(), lr=0.01, weight_decay=0.01)
    losses = []
    for _ in range(20):
        loss = ((model(inputs) - targets) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def rates(name, clock=CLOCK, metric=None, **kwargs):
    """Return the rate of each update, as the Trainer steps: per update, a plateau per epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    schedule = SCHEDULERS[name](optimizer, clock, **kwargs)
    seen = []
    for update in range(clock.num_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if name != "plateau":
            schedule.step()
        elif (update + 1) % clock.steps_per_epoch == 0:
            schedule.step(metric[update // clock.steps_per_epoch])
    return seen


def test_step_counts_epochs_not_updates():
    assert rates("step", step_size=3, gamma=0.1) == pytest.approx([1.0] * 30 + [0.1] * 10)


def test_plateau_counts_evaluations_and_follows_its_mode():
    assert rates("plateau", metric=[1, 1, 1, 1], patience=1, factor=0.5) == pytest.approx([1.0] * 30 + [0.5] * 10)
    rising = [0.1, 0.2, 0.3, 0.4]
    up, down = Clock(40, 10, "max"), Clock(40, 10, "min")
    assert min(rates("plateau", up, metric=rising, patience=0)) == 1.0
    assert min(rates("plateau", down, metric=rising, patience=0)) < 1.0


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_falls_to_zero_after_the_warm_up(name):
    seen = rates(name, warmup=1)
    assert seen[0] == 0
    assert max(seen) == seen[10] == pytest.approx(1.0)
    assert seen[10:] == sorted(seen[10:], reverse=True)
    assert seen[-1] < 0.05


def test_constant_stays_after_the_warm_up():
    assert rates("constant") == [1.0] * 40
    assert rates("constant", warmup=0.5)[5:] == [1.0] * 35


def test_one_cycle_peaks_at_the_rate_of_the_recipe():
    seen = rates("one_cycle", pct_start=0.25)
    assert max(seen) == pytest.approx(1.0)
    assert seen.index(max(seen)) in (9, 10)
    assert seen[-1] < seen[0] < 1.0


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedule_survives_a_state_dict_round_trip(name):
    """What a carried or resumed fold relies on."""
    parameters = [nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD(parameters, lr=1.0, momentum=0.9)
    schedule = SCHEDULERS[name](optimizer, CLOCK)
    for _ in range(7):
        optimizer.step()
        schedule.step(*([1.0] if name == "plateau" else []))
    again = torch.optim.SGD(parameters, lr=1.0, momentum=0.9)
    other = SCHEDULERS[name](again, CLOCK)
    again.load_state_dict(optimizer.state_dict())  # after the schedule, which sets the rate of its first update
    other.load_state_dict(schedule.state_dict())
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    for _ in range(7):
        for one, its in ((optimizer, schedule), (again, other)):
            one.step()
            its.step(*([1.0] if name == "plateau" else []))
        assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def arguments(**fields):
    return BreakHisTrainingArguments(use_cpu=True, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer_name": "adamm"}, r"Unknown optimizer `adamm`\. Did you mean `adam.*`\? Choose from adagrad, "),
        ({"scheduler_name": "steps"}, r"Unknown schedule `steps`\. Did you mean `step`\?"),
        (
            {"optimizer_name": "adamw", "optimizer_kwargs": {"momentum": 0.92}},
            "`momentum`, which adamw does not accept",
        ),
        ({"optimizer_name": "sgd", "optimizer_kwargs": {"lr": 1}}, "`lr`, which sgd does not accept"),
        ({"scheduler_name": "step", "scheduler_kwargs": {"stepsize": 3}}, "Did you mean `step_size`"),
    ],
)
def test_unknown_names_and_arguments_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        check_optim(arguments(**fields))


@pytest.mark.parametrize("name", FIXED_LENGTH)
def test_a_schedule_with_an_end_is_not_carried(name):
    check_optim(arguments(scheduler_name=name))
    with pytest.raises(InputError, match="has a fixed length; set `scheduler_name` to one of constant, plateau, step"):
        check_optim(arguments(scheduler_name=name), carry_over="all")


def test_mode_follows_the_metric():
    assert watched_mode(arguments(metric_for_best_model="loss")) == "min"
    assert watched_mode(arguments(metric_for_best_model="accuracy")) == "max"
    assert watched_mode(arguments(scheduler_name="plateau")) == "min"


def test_lookup_names_the_table():
    assert lookup(OPTIMIZERS, "sgd", "optimizer") is torch.optim.SGD
