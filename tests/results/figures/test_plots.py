"""Figures draw what a run has, stay inside their edges, and are the same each time."""

import re
from types import SimpleNamespace

import matplotlib as mpl
import pytest
from matplotlib.text import Text
from PIL import Image

from hf_breakhis.data.pixels.shifts import SHIFTS, STRENGTHS
from hf_breakhis.files import write_json
from hf_breakhis.results.figures import dotplots
from hf_breakhis.results.figures.captions import CAPTIONS, caption
from hf_breakhis.results.figures.plots import BETWEEN_RUNS, FIGURES, draw_figure
from hf_breakhis.results.figures.style import COLUMN, figure_bytes
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.report.inline import inline_svg
from hf_breakhis.results.shifts import describe_shifts
from hf_breakhis.results.summary import Choices, summarise
from hf_breakhis.run import Run

TYPES = ("A", "F", "PT", "TA", "DC", "LC", "MC", "PC")
OF_A_RUN = [name for name in FIGURES if name != "repeats"]
VARIANTS = {
    "folds": {},
    "hold-out": {"num_folds": 1, "num_train_epochs": 1},
}


@pytest.fixture(scope="module")
def records(write_run, cohort, tmp_path_factory):
    """A record for each variant, and two with eight classes and with long class names."""
    folder = tmp_path_factory.mktemp("runs")
    for name, recipe in VARIANTS.items():
        write_run(folder / name, **recipe)
    eight = cohort.assign(label=[TYPES.index(tumor) for tumor in cohort["tumor_type"]])
    write_run(folder / "eight classes", eight, classes=TYPES, target="tumor_type", num_folds=2)
    path = "/a/folder/" + "of-a-very-long-name/" * 6
    names = ("no_tumour_of_any_kind_in_sight", "infiltrating_carcinoma")
    write_run(folder / "long names", classes=names, num_folds=2, model_name_or_path=path, augmentation="stain_" * 30)
    for run in folder.iterdir():
        # with 8 specimens of a class in two folds, zones can be checked for an error of 0.2 only
        summarise(run, Choices(error=0.2) if run.name == "folds" else Choices())
    records = {run.name: Run(run) for run in folder.iterdir()}
    write_shifts(records["folds"])
    return records


def write_shifts(run):
    """The predictions themselves in the place of those under each shift."""
    test = gather(run)
    rows = describe_shifts(run, test, {(name, strength): test for name in SHIFTS for strength in STRENGTHS})
    write_json(run.folder / "shifts.json", rows)


def texts_outside(figure):
    """Texts that leave the figure by more than a tenth of a millimetre; ticks beyond the axis are not drawn."""
    figure.draw_without_rendering()
    axes = [ax for ax in figure.axes if ax.get_visible()]
    ticks = [(axis, tick) for ax in axes for axis in (ax.xaxis, ax.yaxis) for tick in axis.get_major_ticks()]
    undrawn = {tick.label1 for axis, tick in ticks if not inside(tick.get_loc(), axis.get_view_interval())}
    width, height = figure.bbox.size
    for text in figure.findobj(Text):
        hidden = text in undrawn or (text.axes is not None and not text.axes.get_visible())
        if hidden or not text.get_text().strip() or not text.get_visible():
            continue
        box, grace = text.get_window_extent(), 0.1 * figure.dpi / 25.4
        if min(box.x0, box.y0, width - box.x1, height - box.y1) < -grace:
            yield text.get_text()


def inside(value, interval):
    low, high = sorted(interval)
    return low - 1e-9 <= value <= high + 1e-9


@pytest.mark.parametrize("variant", [*VARIANTS, "eight classes", "long names"])
@pytest.mark.parametrize("name", OF_A_RUN)
def test_no_text_leaves_its_figure(records, variant, name):
    figure = draw_figure(name, records[variant])
    if figure is None:
        absent = {(figure, "eight classes") for figure in ("roc_folds", "roc_patients", "prevalence")}
        absent |= {(one, other) for one in ("decision_curves", "referral", "zones") for other in
                   ("eight classes", "hold-out")}  # fmt: skip
        absent |= {("prevalence", "hold-out"), ("zones", "long names")}
        absent |= {("shifts", other) for other in ("eight classes", "hold-out", "long names")}
        assert (name, variant) in absent
    else:
        assert list(texts_outside(figure)) == []


def test_a_text_outside_would_be_noticed(records):
    figure = draw_figure("roc_mean", records["folds"])
    figure.axes[0].text(2.0, 0.5, "far to the right").set_in_layout(False)
    assert list(texts_outside(figure)) == ["far to the right"]


@pytest.fixture(scope="module")
def figures(records):
    return {name: draw_figure(name, records["folds"]) for name in OF_A_RUN}


@pytest.mark.parametrize("name", OF_A_RUN)
def test_axes_are_labelled(figures, name):
    axes = [ax for ax in figures[name].axes if ax.get_visible()]
    named = [tick.get_text() for ax in axes for tick in ax.get_yticklabels() if tick.get_text()[:1].isalpha()]
    assert any(ax.get_xlabel() for ax in axes)
    assert any(ax.get_ylabel() for ax in axes) or named or name == "magnifications"


@pytest.mark.parametrize("name", OF_A_RUN)
def test_figures_have_a_column_of_width_and_legible_text(figures, name):
    assert figures[name].get_figwidth() == pytest.approx(COLUMN)
    assert min(text.get_fontsize() for text in figures[name].findobj(Text) if text.get_text()) >= 6


def test_a_column_has_300_dots_per_inch(trained_run):
    with Image.open(trained_run / "figures/confusion_mean.png") as picture:
        assert picture.width == int(85 / 25.4 * 300)


@pytest.mark.usefixtures("fine_figures")
@pytest.mark.parametrize("kind", ["svg", "png"])
def test_equal_runs_give_equal_bytes_without_a_date(records, kind):
    first, second = (figure_bytes(draw_figure("patients", records["folds"]), kind) for _ in range(2))
    assert first == second
    assert b"matplotlib.org" not in first
    assert b"dc:date" not in first


def test_every_figure_has_words_of_its_own(records):
    assert set(CAPTIONS) == set(FIGURES) | set(BETWEEN_RUNS)
    for variant in records.values():
        for name in FIGURES:
            assert "{" not in caption(name, variant.summary)


@pytest.mark.parametrize("name", OF_A_RUN)
def test_every_color_of_a_figure_follows_the_page(figures, name):
    """Else it would stay dark on a dark page."""
    svg = inline_svg(figure_bytes(figures[name], "svg"), name, "a figure")
    assert re.findall(r"#[0-9a-f]{6}\b", svg) == []
    assert "DejaVu" not in svg


def test_ids_of_two_figures_never_meet(figures):
    svg = figure_bytes(figures["roc_mean"], "svg")
    ids = [set(re.findall(r'\bid="([^"]+)"', inline_svg(svg, name, ""))) for name in ("a", "b")]
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', inline_svg(svg, "a", "")))
    assert ids[0].isdisjoint(ids[1])
    assert used <= ids[0]


def test_unknown_patients_and_no_history_leave_their_figures_out(write_run, cohort, tmp_path):
    nameless = cohort.assign(patient_id="", specimen_id="", tumor_type="", magnification="")
    summarise(write_run(tmp_path, nameless, split_by="image"))
    record = Run.holding(tmp_path, summary=Run(tmp_path).summary)
    absent = {name for name in OF_A_RUN if draw_figure(name, record) is None}
    assert absent == {
        "patients",
        "roc_patients",
        "magnifications",
        "tumor_types",
        "learning_curves",
        "zones",
        "shifts",
    }


def test_an_epoch_without_evaluation_draws_the_training_curves(records):
    record = records["folds"]
    columns = ["eval_loss", "eval_accuracy", "eval_roc_auc"]
    histories = {fold: table.assign(**dict.fromkeys(columns)) for fold, table in record.histories.items()}
    figure = draw_figure(
        "learning_curves",
        Run.holding(record.folder, summary=record.summary, histories=histories),
    )
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["training loss", "learning rate"]


def test_a_falling_learning_rate_is_written_in_plain_numbers(records):
    record = records["folds"]
    rates = [1e-2, 1e-3, 1e-5]
    histories = {fold: table.assign(learning_rate=rates) for fold, table in record.histories.items()}
    figure = draw_figure(
        "learning_curves",
        Run.holding(record.folder, summary=record.summary, histories=histories),
    )
    assert list(texts_outside(figure)) == []
    ticks = [tick.get_text() for tick in figure.axes[-1].get_yticklabels()]
    assert {"0.01", "1e\N{MINUS SIGN}05"} <= set(ticks)


def test_a_dollar_sign_in_a_name_is_drawn_as_it_is(records):
    record = records["folds"]
    first, *others = record.summary["patient"]["table"]
    table = [first | {"patient_id": r"x-$\frac{$", "patient_score": 0.1}, *others]
    summary = record.summary | {"patient": record.summary["patient"] | {"table": table}}
    assert rb"$\frac{$" in figure_bytes(
        draw_figure("patients", Run.holding(record.folder, summary=summary)),
        "svg",
    )


def test_drawing_leaves_the_settings_of_the_caller(records):
    before = dict(mpl.rcParams)
    figure_bytes(draw_figure("baselines", records["folds"]), "svg")
    assert dict(mpl.rcParams) == before


def test_an_unknown_figure_names_those_there_are(records):
    with pytest.raises(ValueError, match=r"Unknown figure 'rok'; choose from .*roc_mean"):
        draw_figure("rok", records["folds"])


@pytest.mark.parametrize(("half", "is_wider"), [(1e-17, True), (0.05, False)])
def test_differences_of_equal_rows_have_an_axis_that_can_be_read(half, is_wider):
    score = {"value": 0.8, "low": 0.7, "high": 0.9}
    other = {"scores": {"accuracy": {"value": half / 2, "low": -half, "high": half}}}
    rows = [
        {"name": "base", "ended": True, "reference": None, "difference": None, "accuracy": score},
        {"name": "same", "ended": True, "reference": "base", "difference": other, "accuracy": score},
    ]
    run = SimpleNamespace(summary={"rows": rows, "score": "accuracy", "score_name": "accuracy"})
    low, high = dotplots.study(run).axes[1].get_xlim()
    assert low <= -half < half <= high
    assert (high - low == pytest.approx(0.02)) == is_wider
