"""Search for input that ends in anything but a result or one line, guided by what code it reaches (atheris).

python scripts/fuzz.py TARGET SECONDS

Begins with a whole file of the target's kind, and leaves what it found in the working directory as crash-*. The tests
draw such input by hypothesis; this walks deeper into the readers of archives, pictures and tables.
"""

import io
import json
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import atheris
from PIL import Image

with atheris.instrument_imports(include=["hf_breakhis", "tarfile", "zipfile", "yaml"]):
    from hf_breakhis.data.filenames import parse_file_name
    from hf_breakhis.data.integrity.check_image import check_image
    from hf_breakhis.data.sources.archive import walk_archive
    from hf_breakhis.files import InputError
    from hf_breakhis.inference.classifier import saved_size
    from hf_breakhis.inference.hub_model import require_classifier
    from hf_breakhis.recipe import build_recipe, load_recipe
    from hf_breakhis.results.predictions import read_predictions

FOLDER = Path(tempfile.mkdtemp())
NAME = "SOB_B_A-14-22549AB-40-001.png"
ROWS = (
    b"file_name,patient_id,specimen_id,magnification,tumor_type,label,fold,part,seen_in_training,predicted,"
    b"logit_benign,logit_malignant,prob_benign,prob_malignant\n"
    + NAME.encode()
    + b",14-22549AB,14-22549,40X,A,0,0,test,False,0,0.0,0.0,0.5,0.5\n"
)


def written(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return what reads bytes from a file of this name."""

    def call(content: bytes) -> object:
        (FOLDER / name).write_bytes(content)
        return read(FOLDER / name)

    return call


def read_model(path: Path) -> object:
    """Read what a model folder says of itself."""
    require_classifier(path.parent, "model")
    return saved_size(path.parent)


def picture() -> bytes:
    """Return a small picture."""
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), "pink").save(stream, "PNG")
    return stream.getvalue()


def tarball() -> bytes:
    """Return a plain tar archive with a picture."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo(NAME)
        member.size = len(picture())
        archive.addfile(member, io.BytesIO(picture()))
    return stream.getvalue()


def zipped() -> bytes:
    """Return a zip archive with a picture."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, picture())
    return stream.getvalue()


TARGETS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "file_name": (lambda content: parse_file_name(content.decode("utf-8", "surrogateescape")), NAME.encode()),
    "tar": (written("a.tar", lambda path: list(walk_archive(path))), tarball()),
    "zip": (written("a.zip", lambda path: list(walk_archive(path))), zipped()),
    "picture": (lambda content: check_image(0, {"bytes": content, "path": None}), picture()),
    "predictions": (written("predictions.csv", read_predictions), ROWS),
    "recipe": (
        written("r.yaml", lambda path: build_recipe(load_recipe(path), {"use_cpu": True, "output_dir": str(FOLDER)})),
        b"dataset: twin\nnum_folds: 3\nlearning_rate: 0.01\nscheduler_kwargs: {warmup: 1}\n",
    ),
    "model": (
        written("config.json", read_model),
        json.dumps({"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}).encode(),
    ),
}


def main() -> None:
    """Run one target for so many seconds; libFuzzer ends the process, with a code other than 0 where it found one."""
    target, seconds = sys.argv[1:]
    call, example = TARGETS[target]
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    (corpus / "example").write_bytes(example)
    call(example)  # which is whole: a target that refuses everything searches nothing

    def one(content: bytes) -> None:
        try:
            call(content)
        except InputError as error:
            if not str(error).isprintable():
                raise RuntimeError(f"not one line: {error!r}") from error

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-rss_limit_mb=4096", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
