"""Run folders with made-up predictions, written the way training writes them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from sklearn.model_selection import GroupKFold, KFold

from hf_breakhis.data.sources.about import find_source
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run

MAGNIFICATIONS = ["40X", "100X", "200X", "400X"]
TUMOR_TYPES = {0: ["A", "F", "PT", "TA"], 1: ["DC", "LC", "MC", "PC"]}
RECIPE = {
    "dataset": "breakhis", "data_dir": None, "dataset_revision": None, "twin_kwargs": None, "target": "malignancy",
    "magnifications": MAGNIFICATIONS, "split_by": "specimen", "num_folds": 3, "test_size": 0.2, "repeats": 1,
    "reserve_size": 0.0, "validation_size": 0.0, "stratify": True, "split_seed": 42, "fold": "all",
    "image_size": 224, "augmentation": "none", "model_name_or_path": "microsoft/resnet-50",
    "model_revision": "34c2154c194f829b11125337b98c8f5f9965ff19", "model_kwargs": None, "init": "pretrained",
    "carry_over": "none", "freeze_backbone": False, "optimizer_name": "adamw",
    "optimizer_kwargs": {"betas": [0.92, 0.999]}, "scheduler_name": "plateau",
    "scheduler_kwargs": {"patience": 3, "factor": 0.1}, "decay_norm_and_bias": True, "batch_size": 64,
    "class_weights": "none", "sampler": "none", "learning_rate": 0.0075, "weight_decay": 0.01,
    "num_train_epochs": 3, "max_grad_norm": 0, "metric_for_best_model": "loss", "seed": 42, "selected_on": None,
}  # fmt: skip


def make_cohort(num_patients: int = 24, seed: int = 0) -> pd.DataFrame:
    """Patients of 8 to 15 images, every second one malignant; the last two malignant ones are one specimen."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(num_patients):
        label, last = i % 2, i == num_patients - 1
        tumor = TUMOR_TYPES[label][(i // 2) % 4]
        number = 10_000 + (i - 2 if last else i)
        patient = f"SOB_{'BM'[label]}_{tumor}-14-{number}{'CD' if last else ''}"
        for k in range(int(rng.integers(8, 16))):
            magnification = MAGNIFICATIONS[k % 4]
            name = f"{patient}-{magnification[:-1]}-{k:03d}.png"
            rows.append((name, label, tumor, patient, f"14-{number}", magnification))
    columns = ["file_name", "label", "tumor_type", "patient_id", "specimen_id", "magnification"]
    return pd.DataFrame(rows, columns=columns)


def draw_logits(images: pd.DataFrame, fold: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """Logits with class signal, an effect of each patient, and weaker models in fold 0. (n, num_classes)"""
    rng = np.random.default_rng(seed)
    _, patient = np.unique(images["patient_id"], return_inverse=True)
    effect = rng.normal(0, 0.8, (patient.max() + 1, num_classes))
    truth = np.eye(num_classes)[images["label"]]
    strength = np.where(fold == 0, 1.2, 2.2)[:, None]
    return strength * truth + effect[patient] + rng.normal(0, 0.8, truth.shape)


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def prediction_table(images: pd.DataFrame, logits: np.ndarray, classes: list[str], **columns) -> pd.DataFrame:
    """Rows of predictions.csv; `columns` gives fold, part and seen_in_training."""
    table = images.assign(**columns)
    prob = softmax(logits)
    for kind, values in (("logit", logits), ("prob", prob)):
        for k, name in enumerate(classes):
            table[f"{kind}_{name}"] = values[:, k]
    return table.assign(predicted=prob.argmax(1))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def write_data(folder: Path, images: pd.DataFrame, classes: list[str], source: str, warnings: list[str]) -> None:
    def unique(column):
        return images[column].nunique() if images[column].ne("").all() else None

    counts = {
        "label": {name: int((images["label"] == k).sum()) for k, name in enumerate(classes)},
        "tumor_type": images["tumor_type"].value_counts().sort_index().to_dict(),
        "magnification": {m: int((images["magnification"] == m).sum()) for m in MAGNIFICATIONS},
        "patient": images["patient_id"].value_counts().sort_index().to_dict(),
    }
    about = find_source(source)
    data = {
        "source": source, "title": about.title, "is_generated": about.is_generated,
        "names_are_public": about.names_are_public, "location": "nowhere", "revision": None,
        "manifest_sha256": "0" * 64,
        "num_images": len(images), "num_patients": unique("patient_id"), "num_specimens": unique("specimen_id"),
        "counts": counts, "findings": [], "warnings": warnings,
    }  # fmt: skip
    (folder / "data.json").write_text(json.dumps(data, indent=2))


def write_history(folder: Path, epochs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    epoch = np.arange(1, epochs + 1)
    loss = 0.7 * 0.7**epoch + rng.uniform(0, 0.02, epochs)
    table = {"epoch": epoch, "step": 10 * epoch, "learning_rate": 0.0075, "train_loss": loss, "eval_part": "test",
             "eval_loss": loss + 0.05, "eval_accuracy": 1 - loss / 2, "eval_roc_auc": 1 - loss / 3}  # fmt: skip
    write_csv(folder / "history.csv", pd.DataFrame(table))


def write_examples(folder: Path, table: pd.DataFrame, classes: list[str], seed: int, width: int = 28) -> None:
    rng = np.random.default_rng(seed)
    test = table[table["part"] == "test"]
    confidence = test[[f"prob_{name}" for name in classes]].max(axis=1)
    (folder / "examples").mkdir(parents=True, exist_ok=True)
    index = []
    for kind, right in (("right", True), ("wrong", False)):
        chosen = test[(test["predicted"] == test["label"]) == right]
        for row in chosen.loc[confidence[chosen.index].nlargest(6).index].to_dict("records"):
            tint = np.array([200, 140, 190]) + rng.integers(-25, 25, 3)
            pixels = np.clip(tint + rng.normal(0, 12, (width * 46 // 70, width, 1)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "examples" / row["file_name"])
            index.append({key: row[key] for key in ("file_name", "label", "predicted")}
                         | {"probability": row[f"prob_{classes[row['predicted']]}"], "kind": kind})  # fmt: skip
    (folder / "examples" / "index.json").write_text(json.dumps(index, indent=2))


def fold_parts(images: pd.DataFrame, split_by: str, num_folds: int, test_size: float, seed: int) -> list[np.ndarray]:
    """Row numbers of each fold's test set; one fold is a hold-out."""
    count = num_folds if num_folds > 1 else round(1 / test_size)
    if split_by == "image":
        parts = KFold(count, shuffle=True, random_state=seed).split(images)
    else:
        groups = images[f"{split_by}_id"]
        parts = GroupKFold(count, shuffle=True, random_state=seed).split(images, groups=groups)
    return [test for _, test in parts][:num_folds]


def write_fold(
    folder: Path, images: pd.DataFrame, tests: list[np.ndarray], i: int, classes: list[str], recipe: dict
) -> None:
    """Write fold-i/ as it is when the fold has ended."""
    fold = np.zeros(len(images), int)
    for k, test in enumerate(tests):
        fold[test] = k
    rows = images.iloc[tests[i]]
    logits = draw_logits(images, fold, len(classes), recipe["seed"])[tests[i]]
    seen = recipe["carry_over"] != "none" and i > 0
    table = prediction_table(rows, logits, classes, fold=i, part="test", seen_in_training=seen)
    write_csv(folder / f"fold-{i}" / "predictions.csv", table)
    write_history(folder / f"fold-{i}", recipe["num_train_epochs"], i)
    write_examples(folder / f"fold-{i}", table, classes, i)
    (folder / f"fold-{i}" / "metrics.json").write_text(json.dumps({"selected_on": None}))


def fold_rows(images: pd.DataFrame, tests: list[np.ndarray], i: int) -> pd.DataFrame:
    """Rows of folds.csv of one fold."""
    part = np.full(len(images), "train", dtype=object)
    part[tests[i]] = "test"
    return images[["file_name", "patient_id", "specimen_id", "label"]].assign(fold=i, part=part)


def write_colors(folder: Path, images: pd.DataFrame, seed: int) -> None:
    rng = np.random.default_rng(seed)
    _, patient = np.unique(images["patient_id"], return_inverse=True)
    stain = rng.normal(0, 0.05, (patient.max() + 1, 6))[patient] - 0.04 * images["label"].to_numpy()[:, None]
    values = np.clip(np.array([0.75, 0.55, 0.72, 0.15, 0.18, 0.12]) + stain + rng.normal(0, 0.01, stain.shape), 0, 1)
    colors = pd.DataFrame(values, columns=["mean_r", "mean_g", "mean_b", "sd_r", "sd_g", "sd_b"])
    colors.insert(0, "file_name", images["file_name"].to_numpy())
    write_csv(folder / "colors.csv", colors)


def make_run(
    folder: Path, images: pd.DataFrame | None = None, *, present: list[int] | None = None, source: str = "breakhis",
    warnings: list[str] | None = None, classes: tuple[str, ...] = ("benign", "malignant"), **recipe
) -> Path:  # fmt: skip
    """Write a run folder; `present` are the folds that ended (all), `recipe` overrides fields of RECIPE."""
    images = make_cohort() if images is None else images.sort_values("file_name").reset_index(drop=True)
    recipe = RECIPE | recipe
    tests = fold_parts(images, recipe["split_by"], recipe["num_folds"], recipe["test_size"], recipe["split_seed"])
    present = list(range(len(tests))) if present is None else present
    folder.mkdir(parents=True, exist_ok=True)
    for i in present:
        write_fold(folder, images, tests, i, list(classes), recipe)
    write_csv(folder / "folds.csv", pd.concat([fold_rows(images, tests, i) for i in range(len(tests))]))
    write_colors(folder, images, recipe["seed"])
    write_data(folder, images, list(classes), source, warnings or [])
    environment = {"hf_breakhis": "0.1.0", "torch": "2.14.1", "git_commit": "0" * 40, "command": "train.py c3.yaml"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"environment": environment}, sort_keys=False))
    cost = {"train_seconds": 61.5, "predict_seconds": 4.2, "train_images_per_second": 29.0, "peak_memory_gib": 1.9}
    total = {"folds": {str(i): cost for i in present}, "total_seconds": 65.7 * len(present), "hardware": {"cpu": "2"}}
    (folder / "cost.json").write_text(json.dumps(total))
    if len(present) == len(tests):
        (folder / "finished.json").write_text(json.dumps({"folds": present}))
    Run(folder).seal()
    return folder


@pytest.fixture(scope="session")
def write_run():
    return make_run


@pytest.fixture(scope="session")
def summarised_run(once):
    """The run that `write_run` writes without arguments, summarised once; copy it before a change."""
    return once("summarised", lambda folder: summarise(make_run(folder)))


@pytest.fixture(scope="session")
def cohort():
    return make_cohort()
