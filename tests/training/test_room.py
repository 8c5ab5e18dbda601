"""A run that finds no room, or is killed in bfloat16, and is started again ends as one that was left alone."""

import pytest

from hf_breakhis.hardware import find_hardware


def test_full_disks_change_nothing(ends_as_if_left_alone, fields):
    """Too few bytes for the table of colours, a checkpoint, the report; checkpoints are larger than the rest."""
    larger = fields["model_kwargs"] | {"embedding_size": 16, "hidden_sizes": [16, 48]}
    ends_as_if_left_alone(fields | {"model_kwargs": larger}, "full", 10_000, 60_000, 250_000)


def test_a_full_disk_at_any_file_changes_nothing(ends_as_if_left_alone, fields):
    ends_as_if_left_alone(fields, "everywhere")


@pytest.mark.skipif(not find_hardware(use_cpu=True).cpu_bf16, reason="this processor has no bfloat16")
def test_kills_in_bfloat16_change_nothing(ends_as_if_left_alone, fields):
    ends_as_if_left_alone(fields | {"bf16": True}, "kills", 2, 3)
