"""A run that meets a full disk, or is killed in bfloat16, gives the same result after it is started again."""

import pytest

from hf_breakhis.hardware import find_hardware


def test_full_disks_change_nothing(gives_the_same_result, fields):
    """Too few bytes for the table of colors, a checkpoint, or the report; checkpoints are the largest files."""
    larger = fields["model_kwargs"] | {"embedding_size": 16, "hidden_sizes": [16, 48]}
    gives_the_same_result(fields | {"model_kwargs": larger}, "full", 10_000, 60_000, 250_000)


def test_a_full_disk_at_any_file_changes_nothing(gives_the_same_result, fields):
    gives_the_same_result(fields, "everywhere")


@pytest.mark.skipif(not find_hardware(use_cpu=True).cpu_bf16, reason="this processor has no bfloat16")
def test_kills_in_bfloat16_change_nothing(gives_the_same_result, fields):
    gives_the_same_result(fields | {"bf16": True}, "kills", 2, 3)
