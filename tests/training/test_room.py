"""A run that finds no room, or loses a loading process, and is started again ends as one that was left alone."""

import pytest

from hf_breakhis.hardware import find_hardware


def test_full_disks_change_nothing(ends_as_if_left_alone, fields):
    """Too few bytes for a checkpoint, whose files not Python opens."""
    larger = fields["model_kwargs"] | {"embedding_size": 16, "hidden_sizes": [16, 48]}
    ends_as_if_left_alone(fields | {"model_kwargs": larger}, "full", 60_000)


def test_a_full_disk_at_any_file_changes_nothing(ends_as_if_left_alone, fields):
    ends_as_if_left_alone(fields, "everywhere")


@pytest.mark.skipif(not find_hardware(use_cpu=True).cpu_bf16, reason="this processor has no bfloat16")
def test_kills_in_bfloat16_change_nothing(ends_as_if_left_alone, fields):
    ends_as_if_left_alone(fields | {"bf16": True}, "kills", 2, 3)


def test_kills_with_a_loading_process_change_nothing(ends_as_if_left_alone, fields):
    """The pictures of an epoch are turned at random, by another process that is killed too."""
    ends_as_if_left_alone(fields | {"dataloader_num_workers": 1}, "kills", 4, 8)
