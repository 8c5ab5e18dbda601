"""Commands about the images: `hf-breakhis data COMMAND`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_breakhis.files import InputError

if TYPE_CHECKING:
    from hf_breakhis.arguments import DataArguments

# Flags are spelt as the fields of a recipe.
DatasetName = Annotated[str, typer.Option("--dataset", help="A name in the table of sources, or a Hub id.")]
DataDir = Annotated[str | None, typer.Option("--data_dir", help="Archive or folder that holds the images.")]
Revision = Annotated[str | None, typer.Option("--dataset_revision", help="Commit of a Hub data set.")]
TwinKwargs = Annotated[str | None, typer.Option("--twin_kwargs", help="Settings of the twin: '{\"scale\": 0.1}'.")]

app = typer.Typer(help="What is there; is it whole; export it; generate the twin.", rich_markup_mode=None)


@app.command()
def twin(
    folder: Annotated[Path, typer.Argument(help="Where BreaKHis_v1/ is to be written.")],
    seed: Annotated[int, typer.Option(help="Another seed, another cohort.")] = 0,
    scale: Annotated[float, typer.Option(help="Share of the images of each slide.")] = 1.0,
    width: Annotated[int, typer.Option(help="Pixels; BreakHis has 700.")] = 700,
    height: Annotated[int, typer.Option(help="Pixels; BreakHis has 460.")] = 460,
    class_signal: Annotated[
        float, typer.Option("--class_signal", help="How much malignant differs from benign.")
    ] = 1.0,
    patient_effect: Annotated[
        float, typer.Option("--patient_effect", help="How much patients differ from each other.")
    ] = 1.0,
    noise: Annotated[float, typer.Option(help="How much images of one patient differ.")] = 1.0,
) -> None:
    """Generate a data set with the names, groups and counts of BreakHis and drawn pictures."""
    from hf_breakhis.data.twin.twin import TwinSettings, write_twin

    settings = TwinSettings(seed, scale, width, height, class_signal, patient_effect, noise)
    typer.echo(f"twin: {write_twin(folder, settings)}")


@app.command()
def verify(
    place: Annotated[str | None, typer.Argument(help="The same as --data_dir.")] = None,
    dataset: DatasetName = "breakhis",
    data_dir: DataDir = None,
    dataset_revision: Revision = None,
    twin_kwargs: TwinKwargs = None,
    folds: Annotated[Path | None, typer.Option(help="folds.csv of a run: look for copies across its parts.")] = None,
    to: Annotated[Path | None, typer.Option("--json", help="Where to write it; else in the datasets cache.")] = None,
) -> None:
    """Say whether the images are whole and clean; exit code 0 if so, 1 with findings, 2 for what cannot be read."""
    from hf_breakhis.data.integrity.check_images import check_images
    from hf_breakhis.data.integrity.verify import read_folds, verify, verify_table
    from hf_breakhis.data.sources.table import cache_folder, load_images
    from hf_breakhis.files import write_json

    if place is not None and data_dir is not None:
        raise InputError(f"The images are given twice, as {place} and as --data_dir {data_dir}; give one of them.")
    images = load_images(wanted_images(dataset, place or data_dir, dataset_revision, twin_kwargs))
    parts = None if folds is None else read_folds(folds, images)
    report = verify(images, check_images(images), parts)
    path = write_json(to or cache_folder() / f"verify-{report['manifest_sha256'][:16]}.json", report)
    typer.echo(verify_table(report))
    typer.echo(f"json: {path}")
    if not report["whole"]:
        raise typer.Exit(1)


@app.command()
def info(
    dataset: DatasetName = "breakhis",
    data_dir: DataDir = None,
    dataset_revision: Revision = None,
    twin_kwargs: TwinKwargs = None,
    figure: Annotated[Path | None, typer.Option(help="Write an image of each class as PNG (Figures 1 and 2).")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet as PNG.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other images in the pictures.")] = 0,
) -> None:
    """Count images by class, tumour type, magnification and group; draw a choice of them."""
    from hf_breakhis.data.counts import describe
    from hf_breakhis.data.sources.table import load_images
    from hf_breakhis.results.figures.contact_sheet import (
        class_figure,
        contact_sheet,
        require_picture_name,
        write_picture,
    )

    pictures = {name: path for name, path in (("figure", figure), ("sheet", sheet)) if path is not None}
    for path in pictures.values():
        require_picture_name(path)
    images = load_images(wanted_images(dataset, data_dir, dataset_revision, twin_kwargs))
    typer.echo(describe(images))
    draw = {"figure": class_figure, "sheet": contact_sheet}
    for name, path in pictures.items():
        typer.echo(f"{name}: {write_picture(path, draw[name], images, seed)}")


@app.command()
def download(
    folder: Annotated[Path | None, typer.Argument(help="Where to; by default the datasets cache.")] = None,
) -> None:
    """Fetch BreaKHis_v1.tar.gz (4 GB) once and check its file names; after a cut the same command goes on."""
    from hf_breakhis.data.sources.download import download_breakhis
    from hf_breakhis.data.sources.table import cache_folder

    typer.echo(f"archive: {download_breakhis(folder or cache_folder() / 'downloads')}")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder, or that of an earlier export.")],
    dataset: DatasetName = "breakhis",
    data_dir: DataDir = None,
    dataset_revision: Revision = None,
    twin_kwargs: TwinKwargs = None,
    push_to_hub: Annotated[str | None, typer.Option("--push_to_hub", help="And upload it as USER/NAME.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Nobody else may see the repository.")] = False,
) -> None:
    """Write BreakHis as Parquet: original PNG files, groups, folds and a data card; upload it if asked."""
    from hf_breakhis.data.sources.table import load_images
    from hf_breakhis.folders import require_replaceable
    from hf_breakhis.hub.dataset_export import EXPORT, export_images
    from hf_breakhis.hub.dataset_push import claim_repo, push_export
    from hf_breakhis.hub.remote import require_login, require_repo_id

    if push_to_hub is not None:
        require_repo_id(push_to_hub)
        require_login()
    elif private:
        raise InputError("--private is about a repository on the Hub: give --push_to_hub USER/NAME too, or drop it.")
    require_replaceable(folder, EXPORT)
    images = load_images(wanted_images(dataset, data_dir, dataset_revision, twin_kwargs))
    if push_to_hub is not None:
        claim_repo(push_to_hub, private)
    written = export_images(images, folder, push_to_hub)
    files = f"{len(written.files)} file{'s' * (len(written.files) > 1)}"
    typer.echo(f"export: {folder} ({written.num_images:,} images, {files}, {written.num_bytes / 1e6:,.1f} MB)")
    typer.echo(f"manifest: {written.manifest_sha256}")
    if push_to_hub is not None:
        typer.echo(f"pushed: {push_export(written, push_to_hub)}")


def wanted_images(
    dataset: str, data_dir: str | None, revision: str | None, twin_kwargs: str | None
) -> "DataArguments":
    """Return the fields that name a data set, as flags give them."""
    from hf_breakhis.arguments import DataArguments

    try:
        settings = None if twin_kwargs is None else json.loads(twin_kwargs)
    except json.JSONDecodeError:
        settings = twin_kwargs
    if not isinstance(settings, dict | None):
        raise InputError(f"`twin_kwargs` is {twin_kwargs}, but has to be JSON such as '{{\"scale\": 0.1}}'.")
    return DataArguments(dataset=dataset, data_dir=data_dir, dataset_revision=revision, twin_kwargs=settings)
