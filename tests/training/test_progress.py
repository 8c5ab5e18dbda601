"""What a person sees of a fold while it trains: the same lines in a log and above the bars of a terminal."""

from types import SimpleNamespace

import pytest

from hf_breakhis.training.progress import PlainLines, TitledBars

TRAINED = {"loss": 0.5, "grad_norm": 1.0, "learning_rate": 0.1, "epoch": 2.0}
SCORED = {"eval_loss": 0.25, "eval_accuracy": 0.75, "eval_roc_auc": 0.875, "eval_samples_per_second": 99.6}
LINES = [
    "fold 1 of 3, epoch 2 of 8: train loss 0.5000",
    "fold 1 of 3, epoch 2 of 8: loss 0.2500, accuracy 0.7500, AUC 0.8750, 100 images/s",
]


def state(main_process=True):
    return SimpleNamespace(
        epoch=2.0, num_train_epochs=8, max_steps=40, global_step=10, is_world_process_zero=main_process
    )


def test_a_log_gets_one_line_for_training_and_one_for_scoring():
    written = []
    lines = PlainLines("fold 1 of 3", written.append)
    for logs in (TRAINED, SCORED, {"train_runtime": 3.0}):
        lines.on_log(None, state(), None, logs=logs)
    assert written == [f"{line}\n" for line in LINES]


def test_other_processes_write_nothing():
    written = []
    PlainLines("fold 1 of 3", written.append).on_log(None, state(main_process=False), None, logs=TRAINED)
    bars = TitledBars("fold 1 of 3")
    bars.on_train_begin(None, state(main_process=False), None)
    bars.on_log(None, state(main_process=False), None, logs=TRAINED)
    assert written == []


@pytest.mark.filterwarnings("ignore:clamping frac:Warning")
def test_a_terminal_gets_titled_bars_with_the_same_lines_above(capsys):
    bars = TitledBars("fold 1 of 3")
    bars.on_train_begin(None, state(), None)
    bars.on_step_end(None, state(), None)
    for logs in (TRAINED, SCORED, {"train_runtime": 3.0}):
        bars.on_log(None, state(), None, logs=logs)
    bars.on_prediction_step(None, state(), None, eval_dataloader=[1, 2])
    bars.on_evaluate(None, state(), None)
    bars.on_train_end(None, state(), None)
    out, err = capsys.readouterr()
    assert out.splitlines() == LINES
    assert "fold 1 of 3, training:" in err
    assert "10/40" in err
    assert "fold 1 of 3, predicting:" in err
