"""Training, evaluation and the processor saved with the model see the same pixels; randomness hangs on the image."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import AutoImageProcessor

from hf_breakhis.data.open_image import open_image
from hf_breakhis.data.pixels.augmentations import AUGMENTATIONS
from hf_breakhis.data.pixels.draws import draw_numbers, image_keys
from hf_breakhis.data.pixels.transforms import (
    DecodedPixels,
    ImageDataset,
    image_processor,
    normalize,
    read_rgb,
    resize,
)
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError


@pytest.fixture
def images(small_breakhis, data_args):
    return load_images(data_args(small_breakhis)).dataset


def saved_processor(folder, image_size):
    image_processor(image_size).save_pretrained(folder)
    return AutoImageProcessor.from_pretrained(folder)


def everything(dataset, **kwargs):
    loader = DataLoader(dataset, batch_size=5, collate_fn=lambda rows: [row["pixel_values"] for row in rows], **kwargs)
    return torch.stack([value for batch in loader for value in batch])


@pytest.mark.parametrize("image_size", [224, 64])
def test_saved_processor_does_what_evaluation_does(tmp_path, image_size):
    processor = saved_processor(tmp_path, image_size)
    rng = np.random.default_rng(1)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 256, (23, 35, 3), dtype=np.uint8)).resize((700, 460)))
    for pixels in (rng.integers(0, 256, (460, 700, 3), dtype=np.uint8), smooth):
        path = tmp_path / "image.png"
        Image.fromarray(pixels).save(path)
        ours = normalize(resize(read_rgb(path), image_size))
        with Image.open(path) as picture:
            theirs = processor(picture, return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_saved_processor_does_what_evaluation_does_to_real_images(tmp_path, real_breakhis, data_args):
    images = load_images(data_args(real_breakhis)).dataset.select(range(0, 63, 6))
    processor = saved_processor(tmp_path, 224)
    ours = torch.stack([row["pixel_values"] for row in ImageDataset(images, 224).__getitems__(range(len(images)))])
    theirs = processor([open_image(image["path"]) for image in images["image"]], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_the_whole_frame_is_seen_and_squashed():
    pixels = torch.zeros(3, 46, 70, dtype=torch.uint8)
    pixels[0, :, :10] = 255  # a stripe at the very left, one seventh of the width
    small = resize(pixels, 14)
    assert small.shape == (3, 14, 14)
    assert (small[0, :, :2] > 200).all()
    assert (small[0, :, 3:] == 0).all()


def test_resize_is_near_to_an_independent_one():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (460, 700, 3), dtype=np.uint8)
    ours = resize(torch.from_numpy(pixels).permute(2, 0, 1), 224).permute(1, 2, 0).numpy()
    pillow = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR))
    assert np.abs(ours.astype(int) - pillow.astype(int)).max() <= 1


def test_a_stack_is_resized_as_its_images_are():
    pixels = torch.randint(0, 256, (4, 3, 46, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize(pixels, 32), torch.stack([resize(image, 32) for image in pixels]))


def test_normalize_has_the_mean_of_imagenet_at_zero():
    mean = torch.tensor([0.485, 0.456, 0.406])
    level = torch.tensor([124, 116, 104], dtype=torch.uint8)  # 255 times the mean, rounded
    assert normalize(level[:, None, None]).abs().max() < 0.02
    white = normalize(torch.full((3, 1, 1), 255, dtype=torch.uint8))[:, 0, 0]
    torch.testing.assert_close(white, (1 - mean) / torch.tensor([0.229, 0.224, 0.225]))


def test_another_mode_is_refused_and_not_converted(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("L", (40, 40)).save(path)
    with pytest.raises(InputError, match=r"grey\.png is grey, not RGB; give one 8-bit RGB image"):
        read_rgb(path)


@pytest.mark.parametrize("content", [b"", b"text"])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(InputError, match="An image in the archive is not an image in one of the formats"):
        read_rgb(content)


def test_an_unknown_augmentation_is_refused_with_the_known_ones(images):
    with pytest.raises(InputError, match=r"`augmentation` is 'flip', but has to be one of .*'dihedral'.*'none'"):
        ImageDataset(images, 32, "flip")


def test_dataset_gives_the_trainer_what_it_wants(images):
    dataset = ImageDataset(images, 32)
    assert len(dataset) == 24
    row = dataset[3]
    assert (row["pixel_values"].shape, row["pixel_values"].dtype) == ((3, 32, 32), torch.float32)
    assert row["labels"] == images[3]["label"]
    assert type(row["labels"]) is int
    assert torch.equal(dataset.__getitems__([0, 3])[1]["pixel_values"], row["pixel_values"])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_is_augmented_the_same_in_whatever_company(images, name):
    dataset = ImageDataset(images, 32, name, seed=1)
    dataset.set_epoch(2)
    together = dataset.batch(range(24))
    assert together.dtype == torch.uint8
    for index in (0, 7, 23):
        assert torch.equal(dataset.batch([index])[0], together[index])
    part = ImageDataset(images.select([7, 3]), 32, name, seed=1)
    part.set_epoch(2)
    assert torch.equal(part.batch([0, 1]), together[[7, 3]])


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
def test_epoch_and_seed_change_augmentation_and_going_back_restores_it(images, name):
    dataset = ImageDataset(images, 32, name, seed=1)
    first = dataset.batch(range(24))
    dataset.set_epoch(1)
    assert not torch.equal(dataset.batch(range(24)), first)
    dataset.set_epoch(0)
    assert torch.equal(dataset.batch(range(24)), first)
    assert not torch.equal(ImageDataset(images, 32, name, seed=2).batch(range(24)), first)


def test_without_augmentation_nothing_is_random(images):
    dataset = ImageDataset(images, 32)
    first = dataset.batch(range(24))
    dataset.set_epoch(5)
    assert torch.equal(dataset.batch(range(24)), first)


def test_workers_change_nothing_and_hear_of_the_next_epoch(images):
    """Workers that persist keep their copy of the dataset: the epoch has to reach them all the same."""
    dataset = ImageDataset(images, 32, "dihedral_stain", seed=4)
    loader = DataLoader(dataset, batch_size=5, num_workers=2, persistent_workers=True)
    for epoch in range(2):
        dataset.set_epoch(epoch)
        from_workers = torch.cat([batch["pixel_values"] for batch in loader])
        assert torch.equal(from_workers, everything(dataset))


def test_dataset_survives_pickling(images):
    dataset = ImageDataset(images, 32, "flips", seed=4)
    dataset.set_epoch(3)
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert torch.equal(copy.batch([1, 2]), dataset.batch([1, 2]))


def test_archives_give_the_same_pixels_as_folders(images):
    content = [image["path"] for image in DecodedPixels(images, 32).files["image"]]
    with open(content[0], "rb") as stream:
        assert torch.equal(read_rgb(stream.read()), read_rgb(content[0]))


def test_draws_are_uniform_and_belong_to_the_image():
    keys = image_keys([f"image {i}" for i in range(2000)])
    draws = draw_numbers(keys, seed=0, epoch=0)
    assert torch.equal(draw_numbers(keys[[5]], 0, 0)[0], draws[5])
    assert len(torch.unique(draws)) == draws.numel()
    assert draws.min() >= 0
    assert draws.max() < 1
    torch.testing.assert_close(draws.mean(0), torch.full_like(draws[0], 0.5), rtol=0, atol=0.03)
