"""Commands about the images: `hf-breakhis data COMMAND`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="What is there; is it whole; generate the twin.", rich_markup_mode=None)


@app.command()
def twin(
    folder: Annotated[Path, typer.Argument(help="Where BreaKHis_v1/ is to be written.")],
    seed: Annotated[int, typer.Option(help="Another seed, another cohort.")] = 0,
    scale: Annotated[float, typer.Option(help="Share of the images of each slide.")] = 1.0,
    width: Annotated[int, typer.Option(help="Pixels; BreakHis has 700.")] = 700,
    height: Annotated[int, typer.Option(help="Pixels; BreakHis has 460.")] = 460,
    class_signal: Annotated[float, typer.Option(help="How much malignant differs from benign.")] = 1.0,
    patient_effect: Annotated[float, typer.Option(help="How much patients differ from each other.")] = 1.0,
    noise: Annotated[float, typer.Option(help="How much images of one patient differ.")] = 1.0,
) -> None:
    """Generate a data set with the names, groups and counts of BreakHis and drawn pictures."""
    from hf_breakhis.data.twin import TwinSettings, write_twin

    settings = TwinSettings(seed, scale, width, height, class_signal, patient_effect, noise)
    typer.echo(f"twin: {write_twin(folder, settings)}")
