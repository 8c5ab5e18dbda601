"""A page that runs the model in the visitor's browser: files to put on any web server, and no server program."""

import base64
import dataclasses
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from hf_breakhis.data.open_image import FORMATS, MAX_SHARED_PIXELS, MIN_SIDE, NOT_IN_BROWSERS
from hf_breakhis.files import InputError, read_json, write_json, write_text
from hf_breakhis.folders import FolderKind, replace_folder, require_place
from hf_breakhis.hub.facts import read_facts
from hf_breakhis.hub.privacy import publishable, require_impersonal
from hf_breakhis.hub.remote import claim_repo, push_folder
from hf_breakhis.hub.templates import card_text, markdown_template
from hf_breakhis.inference.export import export_model
from hf_breakhis.inference.model import Weights
from hf_breakhis.results.formatting import RESEARCH_ONLY

# The files of the npm package onnxruntime-web at this version, which jsdelivr serves as they are.
ORT_VERSION = "1.30.0"
CDN = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{ORT_VERSION}/dist/"
ORT_FILES = {
    "ort.wasm.bundle.min.mjs": "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
    "ort-wasm-simd-threaded.wasm": "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
}
SCRIPTS = ("page.js", "header.js")
CARD = "README.md"  # of a Space
PAGE = FolderKind(
    "page",
    ("index.html", CARD, *SCRIPTS, "page.json", "model.onnx", *(f"ort/{name}" for name in ORT_FILES)),
    "page.json",
)
MAX_BYTES = 50 * 2**20  # of a file that is looked into at all


def write_page(weights: Weights, folder: Path, ort: Path | None = None, parts: str | None = None) -> Path:
    """Write `index.html`, its scripts and `model.onnx`, and with `ort` the runtime too; return the path of the page.

    Args:
        weights: of a run; the page tells its scores.
        folder: a new or empty folder, or that of an earlier page.
        ort: `dist/` of the npm package onnxruntime-web at `ORT_VERSION`, copied into the folder; absent: the
            visitor's browser takes the runtime from jsdelivr, and refuses it unless its sha384 is the one here.
        parts: a section in Markdown about what else was published of the run, or "". With it the folder is a static
            Space.

    Raises:
        InputError: the folder holds something else, `ort` is not that version, or the run cannot be described.
    """
    require_place(folder, PAGE)
    with publishable(weights) as public:
        facts = read_facts(public)
    if ort is not None:
        _require_runtime(ort)

    def fill(beside: Path) -> None:
        exported = export_model(weights, beside / "onnx", score=False)
        shutil.move(beside / "onnx" / "model.onnx", beside / "model.onnx")
        shutil.rmtree(beside / "onnx")
        if ort is not None:
            (beside / "ort").mkdir()
            for name in ORT_FILES:
                shutil.copyfile(ort / name, beside / "ort" / name)
        content = dataclasses.asdict(facts) | {
            "runtime": {"from": "ort/" if ort is not None else CDN, "files": ORT_FILES},
            "max_bytes": MAX_BYTES,
            "rules": rules(),
        }
        write_json(beside / "page.json", {"made_by": PAGE.made_by, "format": 1, "export": exported["parity"]})
        for name in SCRIPTS:
            write_text(beside / name, card_text(f"page/{name}"))
        write_text(beside / "index.html", _html(facts, content, ort is not None))
        if parts is not None:
            card = markdown_template("page/README.md.j2")
            text = card.render(facts=facts, parts=parts, research_only=RESEARCH_ONLY)
            write_text(beside / CARD, text.rstrip() + "\n")
        require_impersonal(beside, weights.require_run())

    replace_folder(folder, fill, PAGE)
    return folder / "index.html"


def claim_page(repo_id: str, private: bool) -> None:
    """Create the static Space, or check that an existing one may be written to; see `claim_repo`."""
    names = {".gitattributes", *PAGE.names}
    claim_repo(repo_id, "space", private or None, names.__contains__, "a page of a run", sdk="static")


def push_page(folder: Path, repo_id: str) -> str:
    """Upload the page to a static Space and return its address.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    return push_folder(folder, repo_id, "space", ["ort/*"], "Upload the page and its model")


def rules() -> dict[str, Any]:
    """Return which images the page accepts, for `header.js`."""
    formats = [name for name in FORMATS if name not in NOT_IN_BROWSERS]
    return {"formats": formats, "min_side": MIN_SIDE, "max_pixels": MAX_SHARED_PIXELS}


def _html(facts: Any, page: dict[str, Any], vendored: bool) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["code"] = _code
    # "<" as an escape, so that no text of a run can end the script element
    content = json.dumps(page).replace("<", "\\u003c")
    accept = ",".join(extension for name in rules()["formats"] for extension in FORMATS[name])
    return environment.from_string(card_text("page/index.html.j2")).render(
        facts=facts, content=content, accept=accept, research_only=RESEARCH_ONLY, elsewhere="" if vendored else CDN
    )


def _code(text: str) -> Markup:
    """Return text whose names of fields, in backticks as a card has them, are marked as such."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped)


def _require_runtime(ort: Path) -> None:
    """Refuse a runtime other than the one whose sums stand here.

    Raises:
        InputError: a file is absent or another version.
    """
    for name, integrity in ORT_FILES.items():
        path = ort / name
        if not path.is_file():
            raise InputError(
                f"{ort} has no {name}; `npm pack onnxruntime-web@{ORT_VERSION}` fetches it: give package/dist of that."
            )
        found = "sha384-" + base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode()
        if found != integrity:
            version = "?"
            if (ort.parent / "package.json").is_file():
                version = read_json(ort.parent / "package.json").get("version", "?")
            raise InputError(f"{path} is not that of onnxruntime-web {ORT_VERSION} (but {version}); fetch that one.")
