"""`hf-breakhis audit`: leakage between training set and test set, and its effect on the score."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hf_breakhis.files import InputError, counted, few
from hf_breakhis.run import AUDIT, PLAN, RECIPE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from hf_breakhis.run import Run

TRAIN, SPLIT, SIGNATURE, MODEL, FEATURES = "--train", "--split", "--signature", "--model", "--features"
USAGE = (
    "RUN [--signature [--model MODEL | --features FILE ...]] | STUDY | RECIPE [--train] [--field value ...] | "
    "SPLIT [--data_dir DIR] [--output_dir DIR]"
)
DATA_FIELDS = "dataset data_dir dataset_revision twin_kwargs target magnifications tumor_types positive_class".split()
SEARCHED: str | None = "Copies of training images were searched by `evaluate`, which excluded them."
SPLIT_FLAGS = ("--data_dir", "--output_dir")
HELP = (
    "Find leakage: patients, specimens and copies in both training set and test set. Give a RUN, a RECIPE [--field "
    "value ...], or a SPLIT: a table with file_name and part or fold, the official dsfold files, a folder with train/ "
    "and test/, or --split official or eva. With --data_dir BREAKHIS copies are searched in a SPLIT too. With --train "
    "a RECIPE is trained under every split, to measure how much of its score is leakage: the study leakage of "
    "`hf-breakhis study`; the folder of a STUDY prints that table again. With --signature a RUN is searched for what "
    "the network recognises: how often the nearest neighbour of a test image shows the same patient or specimen, in "
    "the features of the backbone that the run starts from, of --model MODEL (a run, a folder or a Hub id), or of "
    "--features FILE."
)


def audit(context: typer.Context) -> None:
    """Audit a run, a recipe, a study or a split, whichever is given."""
    words = [word for word in context.args if word not in (TRAIN, SIGNATURE)]
    if not words or words[0] in ("-h", "--help"):
        typer.echo(f"Usage: hf-breakhis audit {USAGE}\n\n{HELP}")
        return
    from hf_breakhis.cli.study import show_study
    from hf_breakhis.results.splits import is_split

    wants = SIGNATURE in context.args
    if wants and not (Path(words[0]) / RECIPE).is_file():
        raise InputError(
            f"--signature needs a run, but {words[0]} is none. Train or score it first, and give its folder."
        )
    if words[0] == SPLIT or is_split(words[0]):
        _audit_split([word for word in context.args if word != SPLIT])
        return
    given = Path(words[0])
    if TRAIN in context.args and given.is_dir():
        raise InputError(f"{given} is a folder, but --train needs a recipe. Give the recipe.")
    _require_kind(given)
    if not given.is_dir():
        _audit_recipe(words, train=TRAIN in context.args)
        return
    if (given / PLAN).is_file():
        show_study(given)
    else:
        _audit_run(given, words[1:], wants)


def _require_kind(given: Path) -> None:
    """Refuse a folder that is no run and no study, and a name that is no file and no recipe."""
    from hf_breakhis.files import nearest
    from hf_breakhis.results.splits import PUBLISHED
    from hf_breakhis.yaml_files import packed_files

    remedy = (
        "Give a run, a study, a recipe such as c3, or a split: a table, a folder with train/ and test/, or --split"
    )
    if given.is_dir():
        if not any((given / name).is_file() for name in (RECIPE, PLAN)):
            found = "is empty" if not any(given.iterdir()) else f"has no {RECIPE}, no {PLAN} and no train/ and test/"
            raise InputError(f"{given} {found}. {remedy} NAME.")
    elif not given.is_file() and given.suffix not in (".yaml", ".yml"):
        recipes = packed_files("recipes")
        if str(given) not in recipes:
            near = nearest(str(given), [*recipes, *PUBLISHED])
            raise InputError(f"There is no file, folder or recipe {given}.{near} {remedy} NAME.")


def _audit_split(words: list[str]) -> None:
    """Audit a split from elsewhere; copies are searched only where its images are available."""
    from hf_breakhis.files import nearest, require_writable, write_json
    from hf_breakhis.results.audit import audit_folds, audit_table
    from hf_breakhis.results.splits import (
        PUBLISHED,
        copies_in_data,
        copies_in_folder,
        describe_split,
        read_split,
        sizes_table,
    )

    if not words:
        raise InputError(f"--split has no value. Give a table, a folder, or one of {', '.join(PUBLISHED)}.")
    given, flags = words[0], dict(zip(words[1::2], words[2::2], strict=False))
    wrong = next((flag for flag in words[1::2] if flag not in SPLIT_FLAGS), None)
    if wrong or len(words) % 2 == 0:
        last = wrong or words[-1]
        advice = f"unknown flag `{last}`.{nearest(last, SPLIT_FLAGS)}" if wrong else f"`{last}` has no value."
        raise InputError(f"{advice} Allowed with a split: {', '.join(SPLIT_FLAGS)}.")
    split = read_split(given)
    place = Path(flags.get("--output_dir", f"outputs/audit/{split.name}")) / AUDIT
    require_writable(place)
    pairs, without = None, "Copies were not searched. Give the images with --data_dir."
    if split.paths:
        pairs, without = copies_in_folder(split), ""
    elif "--data_dir" in flags:
        pairs, without = copies_in_data(split, flags["--data_dir"]), ""
    sizes, found = describe_split(split), audit_folds(split.folds, "none", pairs, without)
    path = write_json(place, sizes | found)
    typer.echo(f"{sizes_table(sizes)}\n\n{audit_table(found)}\naudit: {path}")


def _audit_run(run: Path, flags: list[str], wants_signature: bool) -> None:
    """Audit a run, search its images for copies if they are available, and update its report."""
    from hf_breakhis.files import require_writable
    from hf_breakhis.results.audit import audit_folds, audit_table
    from hf_breakhis.results.signature import signature
    from hf_breakhis.run import Run

    whole = Run(run)
    split_by, carry_over = str(whole.field("split_by")), str(whole.field("carry_over"))
    whole.require_unchanged()
    if whole.is_imported and not (whole.read_folds()["part"] == "train").any():
        if whole.is_evaluated:
            raise InputError(f"{run} cannot be audited, because the training data of its model are unknown.")
        raise InputError(f"{run} has no training list. Run `hf-breakhis score` again with --train or --split.")
    repeats = whole.every_repeat()
    first = next(iter(repeats.values()))
    require_writable(first.folder / AUDIT)
    encoder, flags = _encoder_of(flags) if wants_signature else ({}, flags)
    vectors = _vectors_of_run(first, whole.recipe, encoder, flags) if wants_signature else None
    if whole.is_evaluated:
        pairs, without = None, SEARCHED
    else:
        pairs, without = _copies_of_run(first, whole.recipe, flags)
    for number, repeat in repeats.items():
        found = audit_folds(repeat.read_folds(), carry_over, pairs, without)
        if vectors is not None:
            folds = repeat.read_folds()
            found["signature"] = signature(*vectors[:2], set(folds["file_name"][folds["part"] == "test"]), vectors[2])
        elif repeat.audit.get("signature"):
            found["signature"] = repeat.audit["signature"]  # of the same images, since the run is unchanged
        if repeat is not whole:
            typer.echo(f"Repeat {number}")
        typer.echo(audit_table(_written(repeat.folder, found, split_by)))
    if whole.is_scored:
        from hf_breakhis.results.report.page import write_report

        typer.echo(f"report: {write_report(run)}")


def _encoder_of(flags: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the values of --model and --features, and the other flags."""
    given: dict[str, list[str]] = {}
    rest: list[str] = []
    target = rest
    for word in flags:
        if word in (MODEL, FEATURES):
            target = given.setdefault(word, [])
            continue
        if word.startswith("--"):
            target = rest
        target.append(word)
    if len(given) == 2:
        raise InputError(f"{MODEL} and {FEATURES} are both given. Leave one out.")
    for name, values in given.items():
        if not values or (name == MODEL and len(values) > 1):
            allowed = "one run, folder or Hub id" if name == MODEL else "the files of the vectors"
            raise InputError(f"{name} has {len(values)} values. Give {allowed}.")
    return given, rest


def _vectors_of_run(
    run: "Run", recipe: dict[str, Any], encoder: dict[str, list[str]], flags: list[str]
) -> "tuple[np.ndarray, pd.DataFrame, str]":
    """Return vectors (n, d) of the images of a run, the images in the same order, and what computed the vectors."""
    import dataclasses

    from hf_breakhis.arguments import ModelArguments
    from hf_breakhis.cli.embed import find_backbone
    from hf_breakhis.data.sources.table import load_images
    from hf_breakhis.data.vectors import vectors_of
    from hf_breakhis.recipe import build_recipe, parse_flags
    from hf_breakhis.training.features import backbone_vectors
    from hf_breakhis.training.modeling import preprocessing_of

    pixels = ("image_size", "crop", "interpolation", "stain_normalization", "normalization")
    names = (*DATA_FIELDS, *pixels)
    wanted = {name: recipe[name] for name in names if recipe.get(name) is not None}
    wanted.setdefault("normalization", "imagenet")  # of runs before this field
    files = encoder.get(FEATURES) or ([] if MODEL in encoder else recipe.get("features") or [])
    data = build_recipe(wanted | {"use_cpu": True}, parse_flags(flags), str(run.folder / RECIPE)).data
    if files:
        by_name = data.dataset == "breakhis" and "--data_dir" not in flags  # then no images are needed
        # images without a vector are refused below
        where = None if by_name else data.data_dir
        data = dataclasses.replace(data, features=files, allow_missing=True, data_dir=where)
        images = load_images(data)
        vectors, words = vectors_of(images.dataset, data), " and ".join(Path(file).name for file in files)
    else:
        if MODEL in encoder:
            args, how = find_backbone(encoder[MODEL][0])
        elif recipe.get("model_name_or_path") is None or recipe.get("init") == "random":
            what = "was not trained here" if run.is_imported else "starts from random weights"
            raise InputError(f"{run.folder} {what}, so it has no backbone. Give {MODEL} MODEL or {FEATURES} FILE.")
        else:
            named = {name: recipe[name] for name in ("model_name_or_path", "model_revision") if recipe.get(name)}
            args = ModelArguments(**named, model_kwargs=recipe.get("model_kwargs"), freeze_backbone=True)
            how = preprocessing_of(data, args)
        images = load_images(data)
        vectors = backbone_vectors(args, how, images)
        name = args.model_name_or_path
        words = f"{Path(name).name if Path(name).is_dir() else name}, frozen"
    table = images.dataset.remove_columns("image").to_pandas().fillna("")
    mine = table["file_name"].isin(set(run.read_folds()["file_name"])).to_numpy()
    missing = set(run.read_folds()["file_name"]) - set(table["file_name"])
    if missing:
        some = f"{counted(len(missing), 'image')} of {run.folder} ({few(sorted(missing))})"
        raise InputError(f"No vector in {words}: {some}. Add them." if files else f"Missing: {some}. Restore them.")
    return vectors[mine], table[mine].reset_index(drop=True), words


def _copies_of_run(run: "Run", recipe: dict[str, Any], flags: list[str]) -> "tuple[pd.DataFrame | None, str | None]":
    """Return the copies among a run's images, or the reason why they were not searched."""
    from hf_breakhis.data.integrity.described import check_and_describe
    from hf_breakhis.data.integrity.duplicates import find_image_copies
    from hf_breakhis.data.sources.table import load_images
    from hf_breakhis.recipe import KNOWN, build_recipe, parse_flags
    from hf_breakhis.results.formatting import things

    if recipe.get("features") and recipe.get("data_dir") is None and "--data_dir" not in flags:
        return None, "Copies were not searched: the run has feature vectors only. Give the images with --data_dir."
    fields = {name: value for name, value in recipe.items() if name in KNOWN and value is not None}
    wanted = {name: fields[name] for name in DATA_FIELDS if name in fields} | {"use_cpu": True}
    parsed = parse_flags(flags)
    if run.is_imported:
        wanted["dataset"] = str(run.data["source"])
        if not {"data_dir", "dataset"} & set(parsed):
            return None, "Copies were not searched. Give the images with --data_dir."
    given = build_recipe(wanted, parsed, str(run.folder / RECIPE))
    try:
        images = load_images(given.data)
    except InputError as error:
        return (
            None,
            f"Copies were not searched: the images could not be read ({error}) Give their place with --data_dir.",
        )
    checked = check_and_describe(images)
    if run.is_imported:
        missing = sorted(set(run.read_folds()["file_name"]) - set(images.dataset["file_name"]))
        if missing:
            return (
                None,
                f"Copies were not searched: the data lack {things(len(missing), 'image')} of the run, such as "
                f"{missing[0]}. Give all of them with --data_dir.",
            )
    elif checked.manifest_sha256 != run.data["manifest_sha256"]:
        return (
            None,
            "Copies were not searched: these are not the images of the run (different manifest). Give --data_dir.",
        )
    return find_image_copies(images, checked.files), None


def _audit_recipe(words: list[str], train: bool) -> None:
    from accelerate import PartialState

    from hf_breakhis.data.integrity.described import check_and_describe
    from hf_breakhis.data.integrity.duplicates import find_image_copies
    from hf_breakhis.data.sources.table import load_images, prepare_once
    from hf_breakhis.data.splits import folds_table, split_images
    from hf_breakhis.files import require_writable
    from hf_breakhis.recipe import parse_recipe
    from hf_breakhis.results.audit import audit_folds, audit_table

    recipe = parse_recipe(words)
    data, model, training = recipe.data, recipe.model, recipe.training
    folder = Path(f"{training.output_dir.rstrip('/')}-audit")
    require_writable(folder / AUDIT)
    images = load_images(data)
    with prepare_once():
        checked = check_and_describe(images)
    checked.raise_if_unusable()
    folds = folds_table(split_images(images.dataset, data), images.dataset).fillna("")
    state = PartialState()
    if state.is_main_process:
        pairs = find_image_copies(images, checked.files) if images.has_files else None
        without = None if images.has_files else "Copies were not searched: there are feature vectors only."
        found = audit_folds(folds, model.carry_over, pairs, without)
        typer.echo(audit_table(_written(folder, found, data.split_by)))
    if train:
        _train_study(words, folder)
    elif state.is_main_process:
        typer.echo(f"audit: {folder / AUDIT}. Add --train to measure its effect on the score.")


def _written(folder: Path, found: dict[str, Any], split_by: str) -> dict[str, Any]:
    """Write audit.json; for the official folds with the specimens that they divide."""
    from hf_breakhis.files import write_json
    from hf_breakhis.results.audit import official_leaks

    whole = found | ({"official": official_leaks()} if split_by == "official" else {})
    write_json(folder / AUDIT, whole)
    return whole


def _train_study(words: list[str], folder: Path) -> None:
    """Train the recipe in the rows of the study `leakage`, which sets the split itself."""
    from hf_breakhis.cli.study import run_study
    from hf_breakhis.recipe import parse_flags
    from hf_breakhis.study import SPLIT_FIELDS, read_study

    flags = {name: value for name, value in parse_flags(words[1:]).items() if name not in SPLIT_FIELDS}
    run_study(read_study("leakage", flags | {"output_dir": str(folder)}, words[0]), ())
