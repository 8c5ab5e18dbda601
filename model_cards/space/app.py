"""A web page in which a model says what it sees in an image, and where. Research software: not for diagnosis."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import torch
from heatmap import grad_cam, occlusion, overlay
from open_image import MAX_SHARED_PIXELS, PILLOW_ERRORS, ignore_size_warnings, in_words, open_image, why_unusable
from PIL import Image
from torchvision.transforms.v2 import functional as F
from transformers import AutoImageProcessor, AutoModelForImageClassification

HERE = Path(__file__).parent
BUTTONS = ["download", "fullscreen"]  # the default also offers to share the image in public
FACTS = json.loads((HERE / "facts.json").read_text(encoding="utf-8"))
MAX_BYTES = 50 * 2**20
ignore_size_warnings()

networks = [  # one, or those of an ensemble
    AutoModelForImageClassification.from_pretrained(folder, use_safetensors=True).eval()
    for folder in (HERE / "model", *sorted((HERE / "members").glob("*")))
]
processor = AutoImageProcessor.from_pretrained(HERE / "model")


class Mean(torch.nn.Module):
    """The mean probability of all networks, and of the views of an image with test-time augmentation."""

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        """Return an output whose `logits`, (n, classes), have the mean probability as softmax."""
        views = [pixel_values]
        if FACTS["tta"] == "dihedral":
            turned = [pixel_values.rot90(quarter, (-2, -1)) for quarter in range(4)]
            views = [*turned, *(view.flip(-1) for view in turned)]
        each = torch.stack([network(pixel_values=view).logits for view in views for network in networks])
        logits = each[0] if len(each) == 1 else each.log_softmax(-1).logsumexp(0) - math.log(len(each))
        return SimpleNamespace(logits=logits)


model = Mean().eval()


def read_image(path: str) -> torch.Tensor:
    """Decode a file to (3, height, width) uint8; `gr.Error` says politely what is wrong with it."""
    if Path(path).stat().st_size > MAX_BYTES:
        raise gr.Error(f"This file is too large: at most {MAX_BYTES // 2**20} MB are taken.", print_exception=False)
    content = Path(path).read_bytes()
    reason = why_unusable(content, MAX_SHARED_PIXELS)
    if not reason:
        try:
            return F.pil_to_tensor(open_image(content))
        except PILLOW_ERRORS as error:
            reason = in_words(error)
    raise gr.Error(f"This file {reason}. A colour image (RGB, 8 bits) is needed.", print_exception=False)


Shown = tuple[str, dict | None, Image.Image | None, Image.Image | None]
NOTHING: Shown = ("", None, None, None)


def answer(path: str | None, method: str) -> Shown:
    """Return words about the threshold, probabilities by class, the image, and the heat map over the whole of it."""
    if path is None:
        return "Choose an image first.", *NOTHING[1:]
    pixels = read_image(path)
    values = processor(pixels, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        logits = model(pixel_values=values).logits[0]
    probabilities = logits.softmax(-1).tolist()
    first = int(logits.argmax())
    called, words = FACTS["labels"][first], f"The most probable class is **{FACTS['labels'][first]}**."
    if FACTS["positive"] is not None and FACTS["threshold"] is not None and FACTS["temperature"] is not None:
        positive = FACTS["labels"].index(FACTS["positive"])
        calibrated = (logits / FACTS["temperature"]).softmax(-1)[positive].item()
        called = FACTS["labels"][positive if calibrated >= FACTS["threshold"] else 1 - positive]
        words = (
            f"At the locked threshold it is called **{called}**: the calibrated probability of {FACTS['positive']} is "
            f"**{calibrated:.4f}**, and it is called so from {FACTS['threshold']:.3f}. " + words
        )
    heat = explain(values, first, method)
    words = f"## {called}\n\n{words}"
    if not heat.any():
        words += (
            f"\n\nThe heat map is empty: {method} finds no place that raises the score of {FACTS['labels'][first]}."
        )
    # what the network saw: the whole frame, or its central square
    small = processor(pixels, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"][0]
    picture = Image.fromarray(overlay(small, heat).permute(1, 2, 0).numpy())
    shape = (700, max(1, round(700 * pixels.shape[1] / pixels.shape[2])))
    shown = F.to_pil_image(pixels).resize(shape)
    seen = shape if not processor.do_center_crop else (min(shape), min(shape))
    return words, dict(zip(FACTS["labels"], probabilities, strict=True)), shown, picture.resize(seen)


def explain(values: torch.Tensor, label: int, method: str) -> torch.Tensor:
    """Return the heat map of a class, (height, width) from 0 to 1; Grad-CAM is the mean over the networks."""
    if method == "Occlusion":
        return occlusion(model, values, label)
    heat = torch.stack([grad_cam(network, values, label) for network in networks]).mean(0)
    return heat / heat.max() if heat.any() else heat


def ask(path: str | None, method: str) -> tuple[Any, ...]:
    """Return nothing to see yet, and the answer with what it is about."""
    return *NOTHING, (path, method, answer(path, method))


def show(path: str | None, method: str, found: tuple[str | None, str, Shown]) -> Shown:
    """Return an answer if it is about what is chosen now: none stands beside another image or method than its own."""
    return found[2] if (path, method) == found[:2] else NOTHING


def warning() -> str:
    """Return what stands above everything else."""
    lines = ["**Research software: not for diagnosis.** Nothing here replaces a pathologist."]
    if FACTS["twin"]:
        lines.append("**This model was trained on generated images only.** Its output for real tissue is meaningless.")
    lines += [f"**Leakage:** {text}" for text in FACTS["leak"]]
    return "\n\n".join(lines)


def trust() -> str:
    """Return how far to trust the model."""
    lines = ["## How far to trust it", f"{FACTS['trained_on']} {FACTS['headline']}"]
    lines += [f"* {text}" for text in FACTS["warnings"]]
    lines.append(
        f"\n{FACTS['expects']} It gives an answer for any picture, also for one that shows no tissue. "
        "The heat map shows where the evidence for the most probable class lies, not why. "
        "An image is sent to the server that runs this page."
    )
    return "\n".join(lines)


def build() -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title=" or ".join(FACTS["labels"]), analytics_enabled=False) as page:
        gr.Markdown(f"# {' or '.join(FACTS['labels'])}?\n\n{warning()}")
        with gr.Row():
            with gr.Column():
                # A file and not gr.Image: that would unpack, turn and convert it before anyone looked at its size.
                file = gr.File(label="Drop an image, or click to choose one", type="filepath", elem_id="file")
                method = gr.Radio(
                    ["Grad-CAM", "Occlusion"], value=METHODS[0], label="Heat map", visible=len(METHODS) > 1
                )
                button = gr.Button("Ask the model", variant="primary", elem_id="ask")
            with gr.Column():
                words = gr.Markdown(elem_id="said")
                label = gr.Label(label="Probability", elem_id="label", show_heading=False)
        with gr.Row():
            image = gr.Image(label="Image", elem_id="image", format="png", interactive=False, buttons=BUTTONS)
            heat = gr.Image(label="Heat map", elem_id="heat", format="png", interactive=False, buttons=BUTTONS)
        gr.Markdown(trust())
        outputs = [words, label, image, heat]
        found = gr.State()
        asked = button.click(ask, [file, method], [*outputs, found], api_visibility="private")
        asked.success(show, [file, method, found], outputs, api_visibility="private")
        for chosen in (file, method):
            chosen.change(lambda: NOTHING, None, outputs, queue=False, api_visibility="private")
    return page


def fitting() -> list[str]:
    """Return the methods that work for this model; a transformer may have no feature map for Grad-CAM."""
    values = processor(torch.zeros(3, 64, 64, dtype=torch.uint8), return_tensors="pt")["pixel_values"]
    try:
        grad_cam(networks[0], values, 0)
    except ValueError:
        return ["Occlusion"]
    return ["Grad-CAM", "Occlusion"]


METHODS = fitting()

if __name__ == "__main__":
    build().launch(max_file_size=MAX_BYTES)
