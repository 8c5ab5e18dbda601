"""Whole batches: what single images would give, in one piece, from the cache or without it, in any worker."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from hf_breakhis.data.pixels.augmentations import AUGMENTATIONS
from hf_breakhis.data.pixels.cache import open_cache
from hf_breakhis.data.pixels.transforms import (
    MEAN,
    SD,
    ImageDataset,
    WholeBatches,
    normalize,
    resize,
    stream,
    whole_batch,
)
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.training.trainer import BreakHisTrainer
from hf_breakhis.training_arguments import BreakHisTrainingArguments

SIZE = 32


@pytest.fixture
def images(small_breakhis, data_args):
    return load_images(data_args(small_breakhis)).dataset


def batches(dataset, **options):
    return list(DataLoader(dataset, batch_size=5, collate_fn=whole_batch, **options))


def equal(one, two):
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, two, strict=True) for name in a.keys() | b.keys())


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_batch_is_its_images_stacked(images, name):
    whole, single = WholeBatches(images, SIZE, name, seed=1), ImageDataset(images, SIZE, name, seed=1)
    batch = whole.__getitems__([3, 0, 17])
    rows = single.__getitems__([3, 0, 17])
    assert (batch["pixel_values"].dtype, batch["labels"].dtype) == (torch.uint8, torch.int64)
    assert torch.equal(normalize(batch["pixel_values"]), torch.stack([row["pixel_values"] for row in rows]))
    assert batch["labels"].tolist() == [row["labels"] for row in rows]
    assert torch.equal(whole[3]["pixel_values"], batch["pixel_values"][0])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_cache_changes_no_bit(images, name, request):
    pixels = open_cache(images, SIZE, request.node.name)
    cached = WholeBatches(images, SIZE, name, seed=1, source=pixels)
    assert equal(batches(cached), batches(WholeBatches(images, SIZE, name, seed=1)))


def test_workers_change_nothing_and_hear_of_the_next_epoch(images, request):
    pixels = open_cache(images, SIZE, request.node.name)
    rows = np.arange(0, 24, 2)
    dataset = WholeBatches(images.select(rows), SIZE, "dihedral_stain", seed=4, source=pixels.select(rows))
    loader = DataLoader(dataset, batch_size=5, collate_fn=whole_batch, num_workers=2, persistent_workers=True)
    seen = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        seen.append(list(loader))
        assert equal(seen[-1], batches(dataset))
    assert not equal(*seen)


def test_a_spawned_worker_would_open_the_cache_anew(images, request):
    dataset = WholeBatches(images, SIZE, "dihedral", seed=4, source=open_cache(images, SIZE, request.node.name))
    dataset.set_epoch(3)
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert equal(batches(copy), batches(dataset))


def test_batches_are_contiguous_with_and_without_cache(images, request):
    """Another layout in memory may take another convolution, and other bits."""
    pixels = open_cache(images, SIZE, request.node.name)
    for source in (None, pixels):
        for name in AUGMENTATIONS:
            assert batches(WholeBatches(images, SIZE, name, source=source))[0]["pixel_values"].is_contiguous()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(8, 120),
    width=st.integers(8, 120),
    image_size=st.integers(8, 96),
    seed=st.integers(0, 2**32 - 1),
)
def test_resize_does_not_depend_on_the_layout_in_memory(height, width, image_size, seed):
    """Pixels come as they were decoded, colours together; the definition does not."""
    pixels = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
    view = pixels.permute(2, 0, 1)
    assert torch.equal(resize(view, image_size), resize(view.contiguous(), image_size))


@pytest.mark.parametrize("shape", [(3, 7, 5), (4, 3, 8, 8), (2, 3, 3, 6, 6), (0, 3, 8, 8)])
def test_normalize_is_the_plain_formula_to_the_bit(shape):
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, sd = (torch.tensor(values)[:, None, None] * 255 for values in (MEAN, SD))
    expected = (pixels.float() - mean) / sd
    assert torch.equal(normalize(pixels), expected)
    buffer = torch.full(shape, 7.0)
    assert normalize(pixels, out=buffer) is buffer
    assert torch.equal(buffer, expected)
    assert torch.equal(normalize(pixels.mT), expected.mT)


def test_the_trainer_normalises_bytes_and_leaves_numbers_alone(tmp_path):
    args = BreakHisTrainingArguments(output_dir=str(tmp_path), use_cpu=True, eval_strategy="no")
    trainer = BreakHisTrainer(model=torch.nn.Linear(1, 1), args=args)
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    prepared = trainer._prepare_inputs({"pixel_values": pixels, "labels": torch.tensor([0, 1])})
    assert torch.equal(prepared["pixel_values"], normalize(pixels))
    assert prepared["labels"].tolist() == [0, 1]
    numbers = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    assert trainer._prepare_inputs({"pixel_values": numbers})["pixel_values"] is numbers


def test_columns_are_streamed_in_order(images):
    part = images.select([7, 3, 3])
    assert list(stream(part, "file_name")) == [images[row]["file_name"] for row in (7, 3, 3)]
    assert list(stream(part.select([]), "label")) == []
