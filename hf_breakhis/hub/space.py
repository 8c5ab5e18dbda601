"""A Gradio app around the weights of a run, as a folder that runs as it stands on Spaces and locally."""

import dataclasses
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from hf_breakhis.data import open_image
from hf_breakhis.data.pixels.preprocessing import require_portable
from hf_breakhis.files import write_json, write_text
from hf_breakhis.folders import FolderKind, replace_folder, require_place
from hf_breakhis.hub.facts import read_facts
from hf_breakhis.hub.privacy import publishable, require_impersonal
from hf_breakhis.hub.remote import claim_repo, push_folder
from hf_breakhis.hub.templates import card_text, markdown_template
from hf_breakhis.inference import heatmap
from hf_breakhis.inference.hub_model import MEMBERS, MODEL_FILES, copy_network
from hf_breakhis.inference.model import Weights, load_classifier, saved_preprocessing
from hf_breakhis.run import MODEL

GRADIO = "6.31.0"  # what the app was tried with
# Pillow, numpy and huggingface_hub come with gradio, which bounds them: a pin of ours could contradict it.
NEEDED = ("torch", "torchvision", "transformers", "safetensors")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"  # Spaces take 3.10 where a card names none
FILES = {".gitattributes", "README.md", "app.py", "heatmap.py", "open_image.py", "facts.json", "requirements.txt"}
# Python leaves the compiled module there when the app has run.
SPACE = FolderKind(
    "Space",
    (
        *sorted(FILES),
        *(f"{folder}/{name}" for folder in (MODEL, f"{MEMBERS}/*") for name in MODEL_FILES),
        "__pycache__/*.pyc",
    ),
    "facts.json",
)


def write_space(weights: Weights, folder: Path, parts: str = "") -> Path:
    """Write the app: `app.py`, `heatmap.py`, `open_image.py`, `facts.json`, `requirements.txt`, `README.md`, `model/`.

    The other networks of an ensemble are in `members/`, and the app shows their mean probability.

    The app does not need this package: the modules that it takes from it are copied.

    Args:
        weights: of a run; the app tells its scores.
        folder: a new or empty folder, or that of an earlier app.
        parts: a section in Markdown about what else was published of the run.

    Raises:
        InputError: the folder holds something else, the run cannot be described, or the model normalises stains.
    """
    require_place(folder, SPACE)
    require_portable(saved_preprocessing(weights))
    with publishable(weights) as public:
        facts = read_facts(public)
    model = load_classifier(weights)  # refused here and not on the server
    needed = (*NEEDED, "timm") if model.config.model_type == "timm_wrapper" else NEEDED

    def fill(beside: Path) -> None:
        for number, network in enumerate(weights.networks):
            copy_network(network, beside / MODEL if number == 0 else beside / MEMBERS / f"{number:03d}")
        write_text(beside / "app.py", card_text("space/app.py"))
        for module in (heatmap, open_image):
            shutil.copyfile(str(module.__file__), beside / f"{module.__name__.rpartition('.')[2]}.py")
        write_json(beside / "facts.json", {"made_by": SPACE.made_by} | dataclasses.asdict(facts))
        # the versions here, without the suffix of a build for one kind of machine
        lines = [f"{name}=={version(name).split('+')[0]}" for name in needed]
        write_text(beside / "requirements.txt", "\n".join(lines) + "\n")
        title = f"{' or '.join(facts.labels)}{' (generated images)' if facts.twin else ''}".capitalize()
        card = markdown_template("space/README.md.j2")
        text = card.render(facts=facts, gradio=GRADIO, python=PYTHON, title=title, parts=parts)
        write_text(beside / "README.md", text)
        require_impersonal(beside, weights.require_run())

    replace_folder(folder, fill, SPACE)
    return folder


def claim_space(repo_id: str, private: bool) -> None:
    """Create the Space, or check that an existing one may be written to; see `claim_repo`."""
    claim_repo(
        repo_id,
        "space",
        private or None,
        lambda name: name in FILES or name.startswith((f"{MODEL}/", f"{MEMBERS}/")),
        "an app of a run",
    )


def push_space(folder: Path, repo_id: str) -> str:
    """Upload the app and return its address.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    return push_folder(folder, repo_id, "space", [f"{MODEL}/*", f"{MEMBERS}/*"], "Upload the app and its model")
