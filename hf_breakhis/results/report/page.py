"""The report: one page that stands alone, written from the files of a run."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.files import as_folder, write_text, write_whole
from hf_breakhis.results import formatting
from hf_breakhis.results.figures.captions import caption, interval_words
from hf_breakhis.results.figures.plots import FIGURES, draw_figure, watched_parts
from hf_breakhis.results.figures.style import figure_bytes
from hf_breakhis.results.report.checklist import checklists
from hf_breakhis.results.report.explained import read_explained
from hf_breakhis.results.report.inline import inline_svg, thumbnail_uri
from hf_breakhis.results.report.pipeline import loop_label, stages
from hf_breakhis.results.report.screen import one_screen
from hf_breakhis.results.report.sibling import sibling
from hf_breakhis.results.report.terminal import AVERAGES, BASELINES, PATIENT_MEASURES
from hf_breakhis.results.scores.estimands import meanings, measured_coverage
from hf_breakhis.results.scores.warnings import OPTIMISTIC, Kind, color_note, texts_of, texts_without
from hf_breakhis.results.shifts import read_shifts
from hf_breakhis.run import CHECKSUMS, REPORT, Run
from hf_breakhis.run import EXAMPLES as PICTURES
from hf_breakhis.run import FIGURES as FIGURES_FOLDER

EXAMPLES = {"wrong": 12, "right": 6}  # the most confident of all folds; the wrong ones tell more
# What decides a result; a recipe also holds every other field of the Trainer.
MAIN_FIELDS = (
    "dataset features allow_missing "
    "dataset_revision twin_kwargs target magnifications split_by num_folds test_size repeats reserve_size "
    "validation_size train_share train_magnifications test_magnifications "
    "stratify split_seed image_size crop interpolation stain_normalization normalization augmentation tta "
    "model_name_or_path model_revision model_kwargs activation init "
    "carry_over freeze_backbone lora optimizer_name optimizer_kwargs learning_rate weight_decay decay_norm_and_bias "
    "scheduler_name scheduler_kwargs num_train_epochs batch_size max_grad_norm class_weights sampler "
    "loss focal_gamma label_smoothing_factor mixup cutmix "
    "load_best_model_at_end metric_for_best_model early_stopping_patience members bf16 fp16 seed"
).split()

IMPORTED_FIELDS = ("files", "scores", "trained_on")
EVALUATED_FIELDS = (
    "model", "fold", "dataset", "data_dir", "dataset_revision", "twin_kwargs", "target", "magnifications", "classes",
)  # fmt: skip


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write `figures/` and `report.html` of a run, from its summary.json and the files beside it.

    A run with repeats gets a report above the reports of its repeats. Equal runs give equal bytes.

    Raises:
        InputError: the run has no summary, or a file of it cannot be read.
    """
    run = Run(as_folder(folder))
    if "repeats" in run.summary:
        repeats = [run.repeat(row["repeat"]) for row in run.summary["repeats"]]
        for repeat in repeats:
            write_report(repeat.folder)
        figures = write_figures(run, ["repeats"])
        other = sibling(run, tuple(MAIN_FIELDS))
        page = fill_page("repeats.html.j2", run, figures=figures, sibling=other, leaks=_is_optimistic(run.summary))
        return write_text(run.folder / REPORT, page)
    figures = write_figures(run, FIGURES)
    explained = [] if run.is_imported else read_explained(run)
    shifts = read_shifts(run)
    page = fill_page(
        "report.html.j2",
        run,
        figures=figures,
        examples=choose_examples(run),
        explained=explained,
        shifts=shifts,
        screen=one_screen(run.summary, shifts),
        twin=texts_of(run.summary, Kind.GENERATED),
        doubts=texts_without(run.summary, Kind.GENERATED),
        leaks=_is_optimistic(run.summary),
        color_note=color_note(run.summary),
        pipeline=stages(run.recipe, run.summary) if run.recipe and not run.is_imported else [],
        repeated=loop_label(run.recipe, run.summary),
        checklists=checklists(_sections(run, explained, figures), run.summary["data"]),
        sibling=sibling(run, tuple(MAIN_FIELDS)),
        **_fields(run),
    )
    return write_text(run.folder / REPORT, page)


def is_reported(folder: Path) -> bool:
    """Return whether the report was written after the last fold; a run can be killed between the two."""
    page = folder / REPORT
    folds = [fold for one in Run(folder).every_repeat().values() for fold in one.folds() if fold.is_finished]
    last = max(((fold.folder / CHECKSUMS).stat().st_mtime_ns for fold in folds), default=0)
    return page.is_file() and page.stat().st_mtime_ns >= last


def _sections(run: Run, explained: Any, figures: Mapping[str, Any]) -> list[str]:
    """Return the ids of the sections that say something about this run, as checklists count them."""
    summary = run.summary
    says = {
        "folds": True,
        "leakage": summary["leakage"]["share_seen"] is not None,
        "calibration": bool((summary.get("decision") or {}).get("cross_fitted")),
        "slices": bool({"magnifications", "tumor_types"} & figures.keys()),
        "examples": any(run.examples.values()) if not run.is_imported else False,
        "explained": bool(explained),
        "pipeline": bool(run.recipe) and not run.is_imported,
        "data": run.is_evaluated or not run.is_imported,
        "external": run.is_evaluated,
        "versions": bool(run.environment),
        "words": True,
    }
    return [name for name, answers in says.items() if answers]


def _fields(run: Run) -> dict[str, dict[str, Any]]:
    """Return the fields of the recipe; of imported predictions those that say something."""
    recipe = run.recipe
    if run.is_imported:
        names = EVALUATED_FIELDS if run.is_evaluated else IMPORTED_FIELDS
        return {"main_fields": {}, "other_fields": {name: recipe[name] for name in names if recipe[name]}}
    return {
        "main_fields": {name: recipe[name] for name in MAIN_FIELDS if name in recipe},
        "other_fields": {name: recipe[name] for name in sorted(recipe) if name not in MAIN_FIELDS},
    }


def write_figures(run: Run, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Write figures as SVG and PNG, and return those there are: name -> `svg` for a page, and `caption`."""
    drawn = {}
    watched = watched_parts(run)
    for name in names:
        figure = draw_figure(name, run)
        paths = {kind: run.folder / FIGURES_FOLDER / f"{name}.{kind}" for kind in ("svg", "png")}
        if figure is None:
            for path in paths.values():
                path.unlink(missing_ok=True)  # left by an earlier report of more folds
            continue
        content = {kind: figure_bytes(figure, kind) for kind in paths}
        for kind, path in paths.items():
            write_whole(path, partial(_fill, content=content[kind]))
        words = caption(name, run.summary, watched)
        drawn[name] = {"svg": inline_svg(content["svg"], name, words), "caption": words}
    return drawn


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@cache
def _environment(has_breakhis_names: bool) -> jinja2.Environment:
    """Return what fills templates; kept, since compiling the templates takes longer than filling them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = (
        "score",
        "signed",
        "count",
        "percent",
        "interval",
        "spread",
        "value_of",
        "things",
        "in_breakhis_order",
    )
    environment.filters |= {name: getattr(formatting, name) for name in names}
    environment.filters["tumor_name"] = partial(formatting.tumor_name, is_breakhis=has_breakhis_names)
    environment.filters |= {"duration": duration, "setting": setting, "marked": marked}
    return environment


def fill_page(template: str, run: Run, **values: Any) -> str:
    """Fill a template of this folder; whatever comes from the run is escaped."""
    source = source_of(run.summary["data"])
    environment = _environment(source.has_breakhis_names)
    return environment.get_template(template).render(
        run=run,
        environment=flat(run.environment),
        summary=run.summary,
        averages={
            key: formatting.rate_name(key, name, run.summary.get("classes", ())) for key, name in AVERAGES.items()
        },
        patient_measures={name: formatting.MEASURES[name] for name in PATIENT_MEASURES},
        baseline_names=BASELINES,
        levels=formatting.LEVELS,
        words=formatting.group_words(run.summary["data"]),
        source=source,
        interval_words=interval_words(run.summary),
        measures={
            key: formatting.rate_name(key, name, run.summary.get("classes", ()))
            for key, name in formatting.MEASURES.items()
        },
        estimands=meanings(run.summary.get("interval") or {}),
        coverage=measured_coverage(),
        **values,
    )


def _is_optimistic(summary: dict[str, Any]) -> bool:
    return bool(texts_of(summary, *OPTIMISTIC))


def choose_examples(run: Run) -> dict[str, list[dict[str, Any]]]:
    """The most confident examples of all folds and classes: "wrong" and "right" -> rows with a `picture`."""
    rows = [row | {"fold": fold} for fold, index in run.examples.items() for row in index]
    rows.sort(key=lambda row: (-row["probability"], row["file_name"], row["fold"]))
    return {
        kind: [
            row | {"picture": _picture(run, row)} for row in _in_turn([r for r in rows if r["kind"] == kind])[:most]
        ]
        for kind, most in EXAMPLES.items()
    }


def _in_turn(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with one of each pair of true and predicted class in turn, so that every class is shown."""
    turns: Counter[tuple[int, int]] = Counter()
    order = []
    for row in rows:
        pair = (row["label"], row["predicted"])
        order.append(turns[pair])
        turns[pair] += 1
    return [row for _, row in sorted(zip(order, rows, strict=True), key=lambda each: each[0])]


def _picture(run: Run, row: dict[str, Any]) -> str | None:
    folder = run.fold(row["fold"]).folder / PICTURES
    path = folder / str(row["file_name"])
    # A name that leads out of the folder is not followed.
    return thumbnail_uri(path) if path.resolve().parent == folder.resolve() else None


def duration(seconds: float | None) -> str:
    """Seconds in words: "4.2 s", "3 min 5 s", "2 h 4 min"."""
    if seconds is None:
        return formatting.ABSENT
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def setting(value: Any) -> str:
    """A value of a recipe as YAML would have it in one line; a dash for none."""
    if value is None:
        return formatting.ABSENT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names joined by a point."""
    rows: dict[str, Any] = {}
    for name, value in values.items():
        rows |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return rows


def marked(text: str) -> Markup:
    """Return a text as HTML: words in backticks as code, and each percent sign on the line of its number."""
    code = re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(code.replace(" %", "&nbsp;%"))  # noqa: S704 (escaped before)
