"""Commands about the images: `hf-breakhis data COMMAND`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_breakhis.files import InputError, counted

if TYPE_CHECKING:
    from hf_breakhis.arguments import DataArguments

# Flags are spelt as the fields of a recipe.
DatasetName = Annotated[
    str, typer.Option("--dataset", help="Data set: breakhis, rcl7500, twin, rcl7500_twin, imagefolder, or a Hub id.")
]
DataDir = Annotated[
    str | None, typer.Option("--data_dir", help="Archive or folder with the images. Default: the downloaded archive.")
]
Revision = Annotated[str | None, typer.Option("--dataset_revision", help="Commit of a data set on the Hub.")]
TwinKwargs = Annotated[
    str | None, typer.Option("--twin_kwargs", help="Settings of the synthetic twin as JSON: '{\"scale\": 0.1}'.")
]

app = typer.Typer(help="Inspect, verify, download, export or generate data.", rich_markup_mode=None)


@app.command()
def twin(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder in which BreaKHis_v1/ is written.")],
    seed: Annotated[int, typer.Option(help="Random seed of the cohort.")] = 0,
    scale: Annotated[float, typer.Option(help="Share of the images of each slide folder, 0 to 1.")] = 1.0,
    width: Annotated[int, typer.Option(help="Image width in pixels.")] = 700,
    height: Annotated[int, typer.Option(help="Image height in pixels.")] = 460,
    class_signal: Annotated[
        float, typer.Option("--class_signal", help="Difference between malignant and benign; 0 for none.")
    ] = 0.75,
    patient_effect: Annotated[
        float, typer.Option("--patient_effect", help="Difference between patients; 0 for none.")
    ] = 1.8,
    noise: Annotated[float, typer.Option(help="Difference between images of one patient.")] = 1.3,
    stain: Annotated[float, typer.Option(help="Distance from the usual stain, as of another laboratory.")] = 0.0,
) -> None:
    """Generate the synthetic twin. It has the file names, groups and counts of BreakHis with drawn images."""
    from hf_breakhis.data.twin.twin import TwinSettings, write_twin

    settings = TwinSettings(seed, scale, width, height, class_signal, patient_effect, noise, stain)
    typer.echo(f"twin: {write_twin(folder, settings)}")


@app.command()
def verify(
    place: Annotated[
        str | None, typer.Argument(metavar="PLACE", help="Archive or folder with the images, as --data_dir.")
    ] = None,
    dataset: DatasetName = "breakhis",
    data_dir: DataDir = None,
    dataset_revision: Revision = None,
    twin_kwargs: TwinKwargs = None,
    folds: Annotated[
        Path | None, typer.Option(help="folds.csv of a run: report copies in different parts of a fold.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--json", help="File for the result as JSON. Default: in the datasets cache.")
    ] = None,
) -> None:
    """Check whether the images are complete and readable. Exit code 0, or 1 with findings."""
    from hf_breakhis.data.integrity.described import check_and_describe
    from hf_breakhis.data.integrity.verify import read_checked_folds, verify, verify_table
    from hf_breakhis.data.sources.table import cache_folder, load_images
    from hf_breakhis.files import write_json

    if place is not None and data_dir is not None:
        raise InputError(f"The images are given twice, as {place} and as --data_dir {data_dir}; give one of them.")
    images = load_images(wanted_images(dataset, place or data_dir, dataset_revision, twin_kwargs))
    parts = None if folds is None else read_checked_folds(folds, images)
    report = verify(images, check_and_describe(images), parts)
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
    figure: Annotated[Path | None, typer.Option(help="PNG file for one example image of each class.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="PNG file for a contact sheet of example images.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for the choice of example images.")] = 0,
) -> None:
    """Count images by class and group. Also counts tumour types and magnifications, and can draw examples."""
    from hf_breakhis.data.counts import data_info
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
    typer.echo(data_info(images))
    draw = {"figure": class_figure, "sheet": contact_sheet}
    for name, path in pictures.items():
        typer.echo(f"{name}: {write_picture(path, draw[name], images, seed)}")


@app.command()
def download(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder for the archive. Default: the datasets cache.")
    ] = None,
) -> None:
    """Download BreaKHis_v1.tar.gz (4 GB) and check its file names. Run the same command again to resume."""
    from hf_breakhis.data.sources.download import download_breakhis
    from hf_breakhis.data.sources.table import cache_folder

    typer.echo(f"archive: {download_breakhis(folder or cache_folder() / 'downloads')}")


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="New or empty folder, or an earlier export to replace.")
    ],
    dataset: DatasetName = "breakhis",
    data_dir: DataDir = None,
    dataset_revision: Revision = None,
    twin_kwargs: TwinKwargs = None,
    push_to_hub: Annotated[
        str | None, typer.Option("--push_to_hub", help="Upload the result to this Hub repository, USER/NAME.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
) -> None:
    """Write BreakHis as Parquet, with a data card. Keeps the original PNG files, groups and folds."""
    from hf_breakhis.data.sources.table import load_images
    from hf_breakhis.folders import require_place
    from hf_breakhis.hub.dataset_export import EXPORT, claim_dataset, export_images, push_export
    from hf_breakhis.hub.remote import require_target

    require_target(push_to_hub, private)
    require_place(folder, EXPORT)
    images = load_images(wanted_images(dataset, data_dir, dataset_revision, twin_kwargs))
    if push_to_hub is not None:
        claim_dataset(push_to_hub, private)
    written = export_images(images, folder, push_to_hub)
    parts = f"{counted(written.num_images, 'image')}, {counted(len(written.files), 'file')}"
    typer.echo(f"export: {folder} ({parts}, {written.num_bytes / 1e6:,.1f} MB)")
    typer.echo(f"manifest: {written.manifest_sha256}")
    if push_to_hub is not None:
        typer.echo(f"pushed: {push_export(written, push_to_hub)}")


def wanted_images(
    dataset: str, data_dir: str | None, revision: str | None, twin_kwargs: str | None
) -> "DataArguments":
    """Return the data arguments for the flags of a `data` command."""
    from hf_breakhis.arguments import DataArguments

    try:
        settings = None if twin_kwargs is None else json.loads(twin_kwargs)
    except json.JSONDecodeError:
        settings = twin_kwargs
    if not isinstance(settings, dict | None):
        raise InputError(f"`twin_kwargs` is {twin_kwargs}, but has to be JSON such as '{{\"scale\": 0.1}}'.")
    return DataArguments(dataset=dataset, data_dir=data_dir, dataset_revision=revision, twin_kwargs=settings)
