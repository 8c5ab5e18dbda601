"""The pixel cache: the same pixels, decoded once, whole or not there."""

import errno
import json
import mmap
import pickle
from collections import namedtuple
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from hf_breakhis.data.pixels import cache
from hf_breakhis.data.pixels.cache import cache_path, describe_cache, is_intact, open_cache
from hf_breakhis.data.pixels.transforms import DecodedPixels
from hf_breakhis.data.sources.table import cache_folder, load_images
from hf_breakhis.files import InputError

SIZE = 32
EVERY = np.arange(24)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def images(small_breakhis, data_args):
    return load_images(data_args(small_breakhis)).dataset


@pytest.fixture
def manifest(request):
    """A name that no other test uses, since all share one cache folder."""
    return request.node.name


@pytest.fixture
def no_decoding(monkeypatch):
    def refuse(*_):
        raise AssertionError("an image was decoded again")

    return lambda: monkeypatch.setattr(DecodedPixels, "take", refuse)


def left_behind(images, manifest):
    """What lies in the cache folder under the name of this cache."""
    path = cache_path(describe_cache(images, SIZE, manifest))
    return sorted(found.name.replace(path.stem, "X") for found in path.parent.glob(f"*{path.stem}*"))


def fail_at(monkeypatch, row, error):
    """Let the decoding of one row fail with an error."""
    take = DecodedPixels.take

    def failing(self, rows):
        if row in rows:
            raise error
        return take(self, rows)

    monkeypatch.setattr(DecodedPixels, "take", failing)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pixels_are_those_of_the_path_without_cache(images, manifest, num_workers):
    pixels = open_cache(images, SIZE, manifest, num_workers)
    assert len(pixels) == 24
    assert np.array_equal(pixels.take(EVERY), DecodedPixels(images, SIZE).take(EVERY))
    assert left_behind(images, manifest) == ["X.json", "X.npy", "X.npy.lock"]


def test_the_file_is_plain_numpy(images, manifest):
    pixels = open_cache(images, SIZE, manifest)
    content = np.load(pixels.path)
    assert (content.shape, content.dtype) == ((24, 3, SIZE, SIZE), np.uint8)
    assert np.array_equal(content, pixels.take(EVERY))


def test_rows_come_in_the_order_asked_for(images, manifest):
    pixels = open_cache(images, SIZE, manifest)
    everything = pixels.take(EVERY)
    assert np.array_equal(pixels.take(np.array([5, 0, 5])), everything[[5, 0, 5]])
    part = pixels.select(np.array([9, 2, 7]))
    assert len(part) == 3
    assert np.array_equal(part.take(np.array([2, 0])), everything[[7, 9]])
    assert np.array_equal(part.select(np.array([1])).take(np.array([0])), everything[[2]])
    with pytest.raises(IndexError):
        part.take(np.array([3]))


def test_what_is_taken_is_a_copy(images, manifest):
    pixels = open_cache(images, SIZE, manifest)
    taken = pixels.take(EVERY)
    taken[:] = 0
    assert pixels.take(EVERY).any()


def test_a_second_run_decodes_nothing(images, manifest, no_decoding, capsys):
    first = open_cache(images, SIZE, manifest).take(EVERY)
    capsys.readouterr()
    no_decoding()
    assert np.array_equal(open_cache(images, SIZE, manifest).take(EVERY), first)
    assert capsys.readouterr().err == ""


def test_all_that_decides_the_pixels_is_in_the_name(images, manifest, monkeypatch):
    def path(dataset=images, size=SIZE, manifest=manifest):
        return cache_path(describe_cache(dataset, size, manifest))

    paths = [path(), path(size=33), path(manifest="other"), path(images.select(range(23, -1, -1)))]
    paths.append(path(images.select(range(23))))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    paths.append(path())
    monkeypatch.setattr(torch, "__version__", "2.9.0")
    paths.append(path())
    monkeypatch.setattr(cache, "FORMAT", 0)
    paths.append(path())
    monkeypatch.setattr("PIL.__version__", "1.0")
    paths.append(path())
    version = cache.features.version
    for library in ("jpg", "libtiff"):
        monkeypatch.setattr(cache.features, "version", lambda name, of=library: version(name) if name != of else "1.0")
        paths.append(path())
    assert len(set(paths)) == len(paths)
    assert {found.parent for found in paths} == {cache_folder()}


def test_the_file_beside_says_what_it_is(images, manifest):
    path = open_cache(images, SIZE, manifest).path
    about = json.loads(path.with_suffix(".json").read_text())
    assert about == describe_cache(images, SIZE, manifest) | {name: about[name] for name in ("num_bytes", "crc32")}
    assert about["num_bytes"] == path.stat().st_size
    assert (about["num_images"], about["image_size"], about["manifest_sha256"]) == (24, SIZE, manifest)


def test_pickling_keeps_the_place_and_the_rows(images, manifest):
    part = open_cache(images, SIZE, manifest).select(np.array([4, 8]))
    copy = pickle.loads(pickle.dumps(part))  # noqa: S301
    assert len(pickle.dumps(part)) < 1000
    assert np.array_equal(copy.take(np.array([1])), part.take(np.array([1])))


def test_building_leaves_the_random_numbers_of_the_recipe_alone(images, manifest):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    open_cache(images, SIZE, manifest, num_workers=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_space_is_said_and_checked_first(images, manifest, monkeypatch, no_decoding, capsys):
    no_decoding()
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 70_000, 70_000))
    with pytest.raises(InputError) as refused:
        open_cache(images, 64, manifest)
    message = str(refused.value)
    assert "needs 0.29 MB, but only 0.07 MB are free" in message
    assert "HF_DATASETS_CACHE" in message
    assert "--cache false" in message
    assert "\n" not in message
    monkeypatch.undo()
    open_cache(images, 64, manifest)
    assert "Pixel cache: 0.29 MB of" in capsys.readouterr().err


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_disk_that_fills_up_leaves_nothing(images, manifest, num_workers, monkeypatch):
    fail_at(monkeypatch, 16, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(InputError, match=r"^Cannot write the pixel cache .*: No space left on device\. Make room"):
        open_cache(images, SIZE, manifest, num_workers)
    assert left_behind(images, manifest) == ["X.npy.lock"]
    monkeypatch.undo()
    assert len(open_cache(images, SIZE, manifest)) == 24


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_image_that_does_not_decode_is_named_and_nothing_is_left(images, manifest, num_workers, small_breakhis):
    name = images[20]["file_name"]
    next(small_breakhis.rglob(name)).write_text("no image")
    with pytest.raises(InputError, match=rf"^The image \S*{name} is not an image in one [^\n]*$"):
        open_cache(images, SIZE, manifest, num_workers)
    assert left_behind(images, manifest) == ["X.npy.lock"]


def test_a_folder_that_cannot_be_made_is_told(images, manifest, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "file" / "folder")
    with pytest.raises(InputError, match=r"Cannot write the pixel cache .*--cache false"):
        open_cache(images, SIZE, manifest)


DAMAGES = {
    "shorter": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "other": lambda content: b"something else",
    "empty": lambda content: b"",
    "zeroed tail": lambda content: content[:-500] + bytes(500),
    "flipped bit": lambda content: content[:-700] + bytes([content[-700] ^ 1]) + content[-699:],
    "rolled rows": lambda content: content[:128] + content[128 + 3 * SIZE**2 :] + content[128 : 128 + 3 * SIZE**2],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again(images, manifest, damage):
    path = open_cache(images, SIZE, manifest).path
    assert is_intact(path)
    content = path.read_bytes()
    path.write_bytes(DAMAGES[damage](content))
    assert not is_intact(path)
    open_cache(images, SIZE, manifest)
    assert path.read_bytes() == content


def test_a_cache_without_its_checksum_is_made_again(images, manifest, no_decoding):
    path = open_cache(images, SIZE, manifest).path
    path.with_suffix(".json").write_text("{}")
    no_decoding()
    with pytest.raises(AssertionError, match="decoded again"):
        open_cache(images, SIZE, manifest, num_workers=0)


def test_a_cache_that_is_deleted_while_it_is_used_stays_readable(images, manifest):
    pixels = open_cache(images, SIZE, manifest)
    expected = pixels.take(np.array([3]))
    content = pickle.dumps(pixels)
    pixels.path.unlink()
    assert np.array_equal(pixels.select(np.array([3])).take(np.array([0])), expected)
    with pytest.raises(InputError, match=r"was deleted or changed while a run used it\. Run the same command again"):
        pickle.loads(content)  # noqa: S301


def test_what_a_killed_process_left_is_cleared(images, manifest):
    path = cache_path(describe_cache(images, SIZE, manifest))
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / f".{path.name}.0123abcd.part").write_bytes(b"half")
    open_cache(images, SIZE, manifest)
    assert left_behind(images, manifest) == ["X.json", "X.npy", "X.npy.lock"]


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="this system cannot hand pages back")
def test_pages_that_were_read_do_not_stay_with_the_process(images, manifest, monkeypatch):
    def resident(path):
        blocks = Path("/proc/self/smaps").read_text().split(str(path))[1:]
        return sum(int(block.split("Rss:")[1].split()[0]) for block in blocks)

    pixels = open_cache(images, 224, manifest)
    pixels.take(EVERY)
    assert resident(pixels.path) > 1000  # kB of 3,613
    monkeypatch.setattr(cache, "_RESIDENT", 0)
    again = pixels.take(EVERY)
    assert resident(pixels.path) == 0
    monkeypatch.undo()
    assert np.array_equal(pixels.take(EVERY), again)


BUILDER = """
import sys, time, datasets
from hf_breakhis.arguments import DataArguments
datasets.config.HF_DATASETS_CACHE = sys.argv[2]
from hf_breakhis.data.pixels import cache
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.pixels.transforms import DecodedPixels
cache._CHUNK = 4
take, decoded = DecodedPixels.take, []
def slowly(self, rows):
    time.sleep(0.4)
    decoded.extend(rows)
    return take(self, rows)
DecodedPixels.take = slowly
args = DataArguments(data_dir=sys.argv[1], magnifications=["40X", "200X"])
images = load_images(args).dataset
cache.open_cache(images, 32, "several processes")
print(len(decoded), "decoded", flush=True)
"""


def test_of_several_processes_one_builds_and_a_killed_one_harms_nobody(
    small_breakhis, tmp_path, data_args, monkeypatch, no_decoding, capsys, start_python
):
    """The first is killed while it builds, the second waits and builds from the start, the third waits and uses it."""
    first = start_python("-c", BUILDER, small_breakhis, tmp_path)
    first.wait_for("Pixel cache")
    second = start_python("-c", BUILDER, small_breakhis, tmp_path)
    second.wait_for("Waiting for another process")
    first.kill()
    second.wait_for("Pixel cache")
    images = load_images(data_args(small_breakhis, magnifications=["40X", "200X"])).dataset
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    no_decoding()
    pixels = open_cache(images, SIZE, "several processes")
    assert "Waiting for another process" in capsys.readouterr().err
    assert second.communicate(timeout=60)[0] == "24 decoded\n"
    monkeypatch.undo()
    assert np.array_equal(pixels.take(EVERY), DecodedPixels(images, SIZE).take(EVERY))
    assert not list(tmp_path.glob("hf_breakhis/.*part"))
