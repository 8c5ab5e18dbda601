"""`hf-breakhis embed`: write the feature vectors of images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_breakhis.files import InputError, counted, require_writable

if TYPE_CHECKING:
    from hf_breakhis.arguments import ModelArguments
    from hf_breakhis.data.pixels.preprocessing import Preprocessing


def embed(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Run, model folder or Hub id of the backbone.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Images: archive or folder, as for --data_dir.")],
    output: Annotated[Path, typer.Option("--output", help="File to write: .parquet or .csv.")],
    dataset: Annotated[str, typer.Option("--dataset", help="Form of the data: breakhis or imagefolder.")] = "breakhis",
    revision: Annotated[str, typer.Option("--revision", help="Branch, tag or commit of a Hub id.")] = "main",
    fold: Annotated[str | None, typer.Option("--fold", help="Fold of a run, or refit. Default: 0.")] = None,
    image_size: Annotated[
        int | None, typer.Option("--image_size", help="Side in pixels. Default: that of a run, else 224.")
    ] = None,
    crop: Annotated[str | None, typer.Option("--crop", help="none or center. Default: as for --image_size.")] = None,
) -> None:
    """Write the input of the classification head for each image, one row per image, for `train --features`."""
    from hf_breakhis.arguments import DataArguments
    from hf_breakhis.data.sources.table import load_images
    from hf_breakhis.recipe import check_value
    from hf_breakhis.training.features import embed_images

    if output.suffix not in (".parquet", ".csv"):
        raise InputError(f"--output is {output}, but has to end in .parquet or .csv. Change the name.")
    require_writable(output)
    given: dict[str, Any] = {"image_size": image_size, "crop": crop}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        check_value(name, value, "command line")
    args, how = find_backbone(model, revision, fold, **given)
    images = load_images(DataArguments(dataset=dataset, data_dir=str(data)))
    count, length = embed_images(args, how, images, output)
    typer.echo(f"vectors: {output} ({counted(count, 'image')}, {length:,} numbers each)")


def find_backbone(
    model: str, revision: str = "main", fold: str | None = None, **given: Any
) -> "tuple[ModelArguments, Preprocessing]":
    """Return a frozen network and the preprocessing of its images.

    Args:
        model: a run, of an ensemble its first network; a folder of a fold, of a member or of a model; a Hub id.
        revision: of a Hub id.
        fold: of a run.
        given: fields of the preprocessing that differ from those of the model.
    """
    import dataclasses

    from hf_breakhis.arguments import DataArguments, ModelArguments
    from hf_breakhis.inference.model import find_model, saved_preprocessing
    from hf_breakhis.run import MODEL, FoldFolder, Run
    from hf_breakhis.training.modeling import preprocessing_of

    place = Path(model)
    if Run(place).exists and Run(place).recipe.get("features"):
        raise InputError(f"{model} was trained on feature vectors and has no network for images. Give the encoder.")
    if Run(place).exists or (place / MODEL).is_dir() or FoldFolder(place).members():
        weights = find_model(model, fold, local=True)
        args = ModelArguments(model_name_or_path=str(weights.folder), freeze_backbone=True)
        return args, dataclasses.replace(saved_preprocessing(weights), **given)
    args = ModelArguments(model_name_or_path=model, model_revision=revision, freeze_backbone=True)
    return args, preprocessing_of(DataArguments(**given), args)
