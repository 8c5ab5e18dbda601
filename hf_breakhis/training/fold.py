"""One fold: train a new model, predict the test set, and write the folder of the fold."""

import dataclasses
import gc
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, PrinterCallback
from transformers.trainer_callback import ProgressCallback

from hf_breakhis.averaging import DIHEDRAL, mean_logits, softmax, transforms_of, with_scores
from hf_breakhis.data.pixels.cache import PixelCache, open_cache
from hf_breakhis.data.pixels.draws import image_keys
from hf_breakhis.data.pixels.mixing import Mixing
from hf_breakhis.data.pixels.preprocessing import Preprocessing, image_processor
from hf_breakhis.data.pixels.transforms import PixelSource, WholeBatches, whole_batch
from hf_breakhis.data.splits import Fold
from hf_breakhis.files import write_csv, write_json
from hf_breakhis.folders import FolderKind, replace_folder
from hf_breakhis.metrics.functions.image_report import image_report
from hf_breakhis.recipe import Recipe
from hf_breakhis.run import CHECKPOINTS, EXAMPLES, HISTORY, METRICS, MODEL, PREDICTIONS, FoldFolder
from hf_breakhis.training.checkpoints import Checksums, last_whole_checkpoint, load_carried, save_carried
from hf_breakhis.training.environment import add_cost
from hf_breakhis.training.examples import write_examples
from hf_breakhis.training.features import Features, VectorClassifier, VectorRows, open_features, take_features
from hf_breakhis.training.lora import merge_lora
from hf_breakhis.training.losses import balanced_weights, build_loss
from hf_breakhis.training.modeling import build_model, preprocessing_of, use_channels_last
from hf_breakhis.training.progress import (
    PlainLines,
    TitledBars,
    history,
    name_in_trackers,
    place_trackers,
    say,
    tracker_runs,
)
from hf_breakhis.training.stopping import StopAtStep, StopRequest
from hf_breakhis.training.trainer import (
    BreakHisTrainer,
    EpochOfAugmentation,
    lowered_by_plateau,
)
from hf_breakhis.training_arguments import WATCHED

MODEL_FOLDER = FolderKind("model", ("*.json", "*.safetensors"))
PARTS = ("test", "validation", "reserve")


@dataclass(frozen=True)
class Job:
    """Everything that the folds of a run share.

    Attributes:
        run: folder of the run.
        recipe: of the run.
        dataset: all images, sorted by file name.
        table: the same rows without the images.
        classes: names of the classes in the order of their numbers.
        num_folds: number of folds of the run.
        manifest_sha256: checksum of the content of the images.
        stop: the request to stop, if any.
        vectors: (n_images, d) float32, the feature vectors that the head is trained on in place of images.
        has_files: whether there are pixels.
        member: number of the network in an ensemble; None for a single network.
    """

    run: Path
    recipe: Recipe
    dataset: Dataset
    table: pd.DataFrame
    classes: list[str]
    num_folds: int
    manifest_sha256: str
    stop: StopRequest = field(default_factory=StopRequest)
    vectors: np.ndarray | None = None
    has_files: bool = True
    member: int | None = None

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Size, crop and normalisation of the images."""
        data = self.recipe.data
        return Preprocessing(data.image_size) if data.features else preprocessing_of(data, self.recipe.model)

    @cached_property
    def pixels(self) -> PixelCache | None:
        """The pixels of all images, decoded at first use; None without a cache."""
        data = self.recipe.data
        return open_cache(self.dataset, self.preprocessing, self.manifest_sha256) if data.cache else None

    @cached_property
    def features(self) -> Features | None:
        """The inputs of the head for all images; None unless the backbone is frozen and images are not augmented."""
        data, model = self.recipe.data, self.recipe.model
        if not model.freeze_backbone or not data.cache:
            return None
        training = self.recipe.training
        changes = {
            "Augmentation": data.augmentation != "none",
            "Mixing": training.mixup or training.cutmix,
            "Test-time augmentation": data.tta != "none",
        }
        for name in (name for name, is_used in changes.items() if is_used):
            say(f"{name} changes the features, so every epoch runs the frozen backbone.")
            return None
        images = WholeBatches(self.dataset, self.preprocessing, "none", 0, self.pixels)
        build = partial(build_model, model, self.classes)
        return open_features(images, self.dataset, self.manifest_sha256, build)

    @cached_property
    def _labels(self) -> np.ndarray:
        return self.table["label"].to_numpy(dtype=np.int64)

    @cached_property
    def _keys(self) -> np.ndarray:
        return image_keys(self.table["file_name"])

    def images(self, rows: np.ndarray, augmentation: str = "none", transform: str = "identity") -> WholeBatches:
        """Return the inputs of the network for `rows`: pixels that the Trainer normalizes, or features.

        Args:
            rows: row numbers of the images.
            augmentation: key of `AUGMENTATIONS`.
            transform: key of `DIHEDRAL`, applied to the pixels of all images.
        """
        training = self.recipe.training
        source: Any = VectorRows(self.vectors) if self.vectors is not None else self.features or self.pixels
        pixels = None if source is None else source.select(rows)
        dataset = self.dataset.select(rows) if source is None else self.dataset
        seed = training.data_seed or training.seed
        known = self._labels[rows], self._keys[rows]
        images = WholeBatches(dataset, self.preprocessing, augmentation, seed, pixels, known)
        if transform != "identity":
            images.source = Transformed(images.source, transform)
        return images


class Transformed:
    """Pixels of another source, each batch transformed.

    Args:
        source: gives (n, 3, side, side) uint8.
        transform: key of `DIHEDRAL`.
    """

    def __init__(self, source: PixelSource, transform: str) -> None:
        self.source, self.transform = source, transform

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return (n, 3, side, side) uint8 of the rows (n,) int."""
        return DIHEDRAL[self.transform](torch.from_numpy(self.source.take(rows))).contiguous().numpy()


def train_fold(job: Job, fold: Fold, folder: Path, seen: np.ndarray, carry_from: Path | None = None) -> None:
    """Train on `fold.train`, predict the other parts, and write the folder of the fold.

    An unfinished fold resumes from its last complete checkpoint.

    Args:
        job: what all folds share.
        fold: row numbers of each part.
        folder: of the fold.
        seen: (n_images,) bool, rows that the model was trained on in earlier folds.
        carry_from: folder of the fold whose state is carried over, with `carry_over`.
    """
    trainer = make_trainer(job, fold, folder, carry_from)
    checkpoints = folder / CHECKPOINTS
    with trainer.accelerator.main_process_first():
        checkpoint = last_whole_checkpoint(checkpoints, say)
    begin = time.perf_counter()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    with tracker_runs(trainer) as log_scores:
        job.stop.raise_if_requested()
        # before the test set is predicted, so that the predictions are those of the saved weights
        numbers = merge_lora(trainer.accelerator.unwrap_model(trainer.model))
        trained = time.perf_counter()
        tables = [predict_part(trainer, job, fold, part, seen) for part in PARTS if len(getattr(fold, part))]
        predicted = time.perf_counter()
        reports = {part: report_part(table, job.classes) for part, table in zip(_parts(fold), tables, strict=True)}
        log_scores(reports.get("test", {}))
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        how = None if job.vectors is not None else job.preprocessing
        replace_folder(folder / MODEL, lambda part: save_model(model, how, part), MODEL_FOLDER)
        write_csv(
            folder / HISTORY,
            history(trainer.state.log_history, "validation" if len(fold.validation) else "test"),
        )
        if job.recipe.model.carry_over == "all":
            save_carried(folder / "carried.pt", trainer)
        if tables:
            write_csv(folder / PREDICTIONS, pd.concat(tables, ignore_index=True))
        if len(fold.test) and job.member is None:  # a refit has no test set
            write_examples(folder / EXAMPLES, tables[0][: None if job.has_files else 0], job.dataset, fold.test)
        add_cost(
            job.run,
            FoldFolder(folder).label,
            {
                "train_seconds": round(trained - begin, 3),
                "predict_seconds": round(predicted - trained, 3),
                "train_images_per_second": round(len(fold.train) * trainer.state.epoch / (trained - begin), 2),
            },
            trainer.args.device,
        )
        write_json(folder / METRICS, {**reports, "selected_on": selected_on(trainer, fold), **numbers})
        FoldFolder(folder).seal()
        shutil.rmtree(checkpoints, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.free_memory()
    del trainer
    gc.collect()


def make_trainer(job: Job, fold: Fold, folder: Path, carry_from: Path | None) -> BreakHisTrainer:
    """Return the Trainer of one fold."""
    data, training = job.recipe.data, job.recipe.training
    watched = fold.validation if len(fold.validation) else fold.test
    args = dataclasses.replace(
        training,
        output_dir=str(folder / CHECKPOINTS),
        run_name=name_in_trackers(job.run, training.run_name, *folder.relative_to(job.run).parts),
        eval_strategy=training.eval_strategy if len(watched) else "no",
        push_to_hub=False,  # the run is published as a whole
        hub_token=None,  # the Trainer would write it to disk
    )
    labels = job.table["label"].to_numpy()[fold.train]
    weights = balanced_weights(labels, len(job.classes)) if training.class_weights == "balanced" else None
    callbacks: list[Any] = [EpochOfAugmentation(), StopAtStep(job.stop), Checksums()]
    if training.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(training.early_stopping_patience))
    trainer = BreakHisTrainer(
        model_init=model_init(
            job, carry_from, fold.train
        ),  # called after seeding, so that equal seeds give equal heads
        args=args,
        train_dataset=job.images(fold.train, data.augmentation),
        eval_dataset=job.images(watched) if len(watched) else None,
        data_collator=whole_batch,
        compute_loss_func=build_loss(training, weights),
        compute_metrics=partial(watched_scores, classes=job.classes),
        callbacks=callbacks,
    )
    trainer.preprocessing = job.preprocessing
    if training.mixup or training.cutmix:
        trainer.mixing = Mixing(training.mixup, training.cutmix, len(job.classes))
    place_trackers(trainer, folder, name_in_trackers(job.run, training.run_name))
    if carry_from is not None and job.recipe.model.carry_over == "all":
        trainer.carried = load_carried(carry_from / "carried.pt")
    name = f"fold {fold.index} (of {job.num_folds})" if len(fold.test) else "refit"
    name += "" if job.member is None else f", member {job.member} (of {training.members})"
    trainer.remove_callback(PrinterCallback if args.disable_tqdm else ProgressCallback)
    trainer.add_callback(PlainLines(name) if args.disable_tqdm else TitledBars(name))
    return trainer


def model_init(job: Job, carry_from: Path | None, train: np.ndarray) -> Callable[[], PreTrainedModel]:
    """Return a function that builds the model of a fold, new or carried over.

    Args:
        job: what all folds share.
        carry_from: folder of the fold whose state is carried over.
        train: row numbers of the training set, on which feature vectors are standardized.
    """
    args = job.recipe.model
    if carry_from is not None:
        args = dataclasses.replace(
            args, model_name_or_path=str(carry_from / MODEL), init="pretrained", model_kwargs=None
        )

    def build() -> PreTrainedModel:
        model: Any
        if job.vectors is not None:
            model = VectorClassifier.standardized_on(job.vectors[train], job.classes)
            model.accepts_loss_kwargs = False
            return cast("PreTrainedModel", model)
        model = build_model(args, job.classes)
        model.accepts_loss_kwargs = False  # see `CrossEntropy`
        if job.features is not None:
            take_features(model)
        if job.recipe.training.channels_last:
            use_channels_last(model, job.recipe.training.device)
        return cast("PreTrainedModel", model)

    return build


def watched_scores(output: Any, classes: list[str]) -> dict[str, float]:
    """Return the metrics that may select a checkpoint, for (n, n_classes) logits."""
    probabilities = softmax(output.predictions)
    report = image_report(output.label_ids, output.predictions.argmax(-1), probabilities, classes)
    return {name: report[name] for name in WATCHED if report.get(name) is not None}


def predict_part(trainer: BreakHisTrainer, job: Job, fold: Fold, part: str, seen: np.ndarray) -> pd.DataFrame:
    """Return the predictions of one part, one row per image, in the order of its rows."""
    rows = getattr(fold, part)
    logits = [
        trainer.predict_in_full(job.images(rows, transform=name), part) for name in transforms_of(job.recipe.data.tta)
    ]
    table = job.table.iloc[rows].reset_index(drop=True)
    table = table.assign(fold=fold.index, part=part, seen_in_training=seen[rows])
    return with_scores(table, mean_logits(logits), job.classes)


def report_part(table: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """Return the image report of the predictions of one part."""
    probabilities = table[[f"prob_{name}" for name in classes]].to_numpy()
    return image_report(table["label"].to_numpy(), table["predicted"].to_numpy(), probabilities, classes)


def selected_on(trainer: BreakHisTrainer, fold: Fold) -> str | None:
    """Return the part that selected a checkpoint, an early stop or a learning rate; None if none did."""
    chosen = trainer.args.load_best_model_at_end or trainer.args.early_stopping_patience is not None
    if not chosen and not lowered_by_plateau(trainer):
        return None
    return "validation" if len(fold.validation) else "test"


def save_model(model: PreTrainedModel, preprocessing: Preprocessing | None, folder: Path) -> None:
    """Write weights, configuration, and the image processor that gives the same pixels as evaluation, if any."""
    model.save_pretrained(folder)
    if preprocessing is not None:
        image_processor(preprocessing).save_pretrained(folder)


def _parts(fold: Fold) -> list[str]:
    return [part for part in PARTS if len(getattr(fold, part))]
