"""Write benchmarks/README.md from the JSON files that the benchmarks left beside it.

python benchmarks/tables.py
"""

import math
from pathlib import Path
from typing import Any

from machine import in_words
from real_plot import draw_real
from real_tables import real, resemblance
from table import table
from zones import show as zones

from hf_breakhis.files import read_json, write_text
from hf_breakhis.results.report.terminal import terminal_table

HERE = Path(__file__).parent


def data_path(found: dict[str, Any]) -> str:
    """Return images per second of the data path."""
    usual = found["times_the_usual_way"]
    rows = [[name, f"{speed:,.0f}", f"{usual[name]:.1f}"] for name, speed in found["images_per_second"].items()]
    ratio = found["building"]["building_over_decoding"]
    note = f"Building the cache takes {ratio:.2f} times the decoding alone with {found['building']['decoder']}."
    return f"{table(['way', 'images/s', 'times (a)'], rows)}\n\n{note}"


def scale(found: dict[str, Any]) -> str:
    """Return seconds and memory of each stage by number of images."""
    sizes = found["sizes"]
    head = ["stage", *(f"{run['num_images']:,} images" for run in sizes)]
    rows = []
    for part in [name for name in sizes[0] if name != "num_images"]:
        for stage in sizes[0][part]:
            cells = [
                f"{run[part][stage]['seconds']:.2f} s, {run[part][stage]['highest_mib']:,.0f} MiB" for run in sizes
            ]
            where = {"first": "", "rooms": "", "again": ", opened again"}.get(part, f", {part.replace('_', ' ')}")
            rows.append([f"{stage}{where}", *cells])
    return table(head, rows)


def near_copies(found: dict[str, Any]) -> str:
    """Return the share of copies found by kind of change, near copies within the set, and the cost."""
    sets = found["sets"]
    rows = [[name, *(f"{100 * one['found'][name]:.0f} %" for one in sets)] for name in sets[0]["found"]]
    rows += [
        ["pairs of images in the set", *(f"{one['pairs']:,}" for one in sets)],
        ["near copies among them", *(f"{len(one['near_copies'])}" for one in sets)],
        ["overlapping fields among them", *(f"{one['overlapping_fields']}" for one in sets)],
        ["pairs of two specimens among both", *(f"{one['across_specimens']}" for one in sets)],
        ["time of the search, in times of decoding", *(f"{one['cost_over_decoding']:.1f}" for one in sets)],
    ]
    head = ["copies found", *(f"{one['source']}, {one['images']:,} images" for one in sets)]
    sizes = "; ".join(f"{one['source']}: copies of {one['images_copied']} images among {one['among']}" for one in sets)
    return f"{table(head, rows)}\n\n{sizes}. {found['not_seen']}"


def train(found: dict[str, Any]) -> str:
    """Return images per second of training."""
    speeds = found["images_per_second"]
    example = speeds["transformers' example"]
    rows = [[name, f"{speed:.2f}", f"{speed / example:.2f}"] for name, speed in speeds.items()]
    text = ", ".join(
        f"{speed / speeds[name.replace('ours', 'bare loop, channels_last')]:.2f} in {name.removeprefix('ours, ')}"
        for name, speed in speeds.items()
        if name.startswith("ours")
    )
    return f"{table(['way', 'images/s', 'times the example'], rows)}\n\nOurs divided by the bare loop: {text}."


def predict(found: dict[str, Any]) -> str:
    """Return images per second of prediction, beside the pipeline's."""
    times = found["times_the_pipeline"]
    rows = [[name, f"{speed:.1f}", f"{times[name]:.2f}"] for name, speed in found["rows"].items()]
    scores = [
        f"{kind} against float32: " + ", ".join(f"{name} {value:.3g}" for name, value in found[key].items())
        for kind, key in {"bfloat16": "bf16_against_fp32", "eight bits": "int8_against_fp32"}.items()
    ]
    alone = ("torch", "torch, --compile", "onnx")
    most = max(times[f"network alone, {name}"] for name in alone)
    speeds = found["rows"]
    sums = [
        speed * (1 / speeds[f"network alone, {name.removeprefix('predict, ')}"] + 1 / speeds["decoding alone"])
        for name, speed in speeds.items()
        if name.startswith("predict")
    ]
    limit = (
        f"Without decoding, no network in float32 is here more than {most:.2f} times as fast as the pipeline, "
        "whatever runs it;\nmore takes bfloat16 or eight bits. Decoding and network share the cores: together they "
        f"reach {min(sums):.2f} to {max(sums):.2f} of what\none after the other would."
    )
    head = ["way", "images/s", "times the pipeline at its best"]
    return f"{table(head, rows)}\n\n{limit}\n\nScores, {'; '.join(scores)}."


def crossval(found: dict[str, Any]) -> str:
    """Return seconds of a probe, in passes over the images too."""
    one = found["seconds"]["one pass of the backbone"]
    rows = [[name, f"{value:.1f}", f"{value / one:.2f}"] for name, value in found["seconds"].items()]
    note = (
        f"{found['num_images']} images, {found['folds']} folds, {found['epochs']} epochs. Both ways differ by "
        f"at most {found['difference']['scores']:.2g} in a score and "
        f"{found['difference']['probabilities']:.2g} in a probability."
    )
    return f"{table(['what', 'seconds', 'passes'], rows)}\n\n{note}"


def start(found: dict[str, Any]) -> str:
    """Return seconds until something happens."""
    rows = [[name, f"{value:.2f}"] for name, value in found["seconds"].items()]
    note = f"The first step comes after {found['train_over_bare']:.2f} times the bare import and the network."
    return f"{table(['process', 'seconds'], rows)}\n\n{note}"


def long(found: dict[str, Any]) -> str:
    """Return what half an hour left behind."""
    rows = [[name, *(f"{value:.1f}" for value in values)] for name, values in found["quarters"].items()]
    note = f"{found['rounds']} rounds and {found['stops']} stops in {found['minutes']:.0f} minutes. Medians:"
    return f"{note}\n\n{table(['what', 'second quarter', 'last quarter'], rows)}\n\n![over the minutes](long.png)"


def coverage(found: dict[str, Any]) -> str:
    """Return coverage and width of the intervals by method."""
    texts = []
    for name, setting in found["settings"].items():
        scores = [*next(iter(setting["methods"].values())), "recognition_rate"]
        rows = [
            [way, *(f"{row[s]['coverage']:.3f} ({row[s]['width']:.3f})" if s in row else "" for s in scores)]
            for way, row in setting["methods"].items()
        ]
        texts.append(f"**{name.capitalize()}**, {found['simulations']} simulations, coverage (mean width):\n\n"
                     + table(["method", *scores], rows))  # fmt: skip
    return "\n\n".join(texts)


def pooled_auc(found: dict[str, Any]) -> str:
    """Return the bias of each way to average a ranking score, by setting."""
    ways = list(dict.fromkeys(row["way"] for row in found["rows"]))
    cells = {(row["setting"], row["score"], row["way"]): f"{row['bias']:+.3f}" for row in found["rows"]}
    keys = list(dict.fromkeys((row["setting"], row["score"]) for row in found["rows"]))
    rows = [[", ".join(key), *(cells.get((*key, way), "") for way in ways)] for key in keys]
    error = max(row["monte_carlo_error"] for row in found["rows"])
    words = f"Mean error over {found['cohorts']} cohorts; its Monte Carlo error is at most {error:.3f}."
    return f"{table(['setting, score', *ways], rows)}\n\n{words}"


def coverage_training(found: dict[str, Any]) -> str:
    """Return the lowest and the highest coverage of each method over all settings, and its mean width, by score."""
    scores = list(found["rows"][0]["truth"])
    rows = []
    every, differing = found["rows"], [row for row in found["rows"] if row["signal"] > 0]
    names = [(name, name, every) for name in every[0]["methods"]]
    names.insert(2, (f"{names[1][0]}, where the classes differ", names[1][0], differing))
    for shown, method, settings in names:
        cells = []
        for score in scores:
            values = [row["methods"][method][score] for row in settings]
            lowest, highest = (100 * pick(value["coverage"] for value in values) for pick in (min, max))
            widths = [value["width"] for value in values if not math.isnan(value["width"] or math.nan)]
            cells.append(f"{lowest:.0f} to {highest:.0f} % ({sum(widths) / len(widths):.2f})")
        rows.append([shown, *cells])
    words = (
        f"{len(found['rows'])} settings of {found['cohorts']} cohorts, a fifth of that for neural networks, "
        "three repeats and nested cross-validation (10, 50 and 100 dimensions, 3 and 5 folds, true "
        f"accuracy {min(row['truth']['accuracy'] for row in found['rows']):.2f} to "
        f"{max(row['truth']['accuracy'] for row in found['rows']):.2f}): lowest and highest coverage, mean width."
    )
    return f"{words}\n\n{table(['method', *scores], rows)}"


def ranking(found: dict[str, Any]) -> str:
    """Return how often two recipes, and one recipe with other seeds, are ranked."""
    head = ["dimensions", "accuracies", "difference", "ranked", "same recipe, other seeds: ranked"]
    rows = [
        [
            str(row["dimensions"]),
            f"{row['accuracies'][0]:.3f} and {row['accuracies'][1]:.3f}",
            f"{row['difference']:+.3f}",
            f"{100 * row['ranked']:.0f} %",
            f"{100 * row['seeds_ranked']:.0f} %",
        ]
        for row in found["rows"]
    ]
    how = f"{found['cohorts']} cohorts, {found['repeats']} repeats of each recipe, 5 folds, p <= {found['alpha']}."
    return f"{how}\n\n{table(head, rows)}"


def coverage_in_short(found: dict[str, Any]) -> str:
    """Return the lowest and highest coverage of three methods over all settings, by score."""
    names = {
        "images, percentile": "images drawn, percentiles",
        "specimens, percentile": "specimens drawn, percentiles",
        "specimens, bootstrap error, weighed (default)": "specimens drawn, t interval (the default)",
    }
    scores = ["accuracy", "sensitivity", "specificity", "roc_auc", "recognition_rate"]
    rows = []
    for method, words in names.items():
        cells = []
        for score in scores:
            shares = [one["methods"][method][score]["coverage"] for one in found["settings"].values()
                    if score in one["methods"][method]]  # fmt: skip
            cells.append(f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %" if shares else "")
        rows.append([words, *cells])
    words = f"Share of 95 % intervals that hold the truth, {len(found['settings'])} settings of {found['simulations']}"
    return f"{words} simulations:\n\n{table(['intervals', *scores], rows)}"


def controls(found: dict[str, Any]) -> str:
    """Return what the controls declared and what came out."""
    texts = []
    for name, declared in found["declared"].items():
        if name not in found:
            continue
        scores = found[name]["scores"]
        rows = [[key, f"{v['mean']:.3f}", f"{v['sd']:.3f}", f"{v['low']:+.3f} to {v['high']:+.3f}"]
                for key, v in scores.items()]  # fmt: skip
        came = "yes" if found[name]["holds"] else "**no**"
        seeds = len(found[name]["rows"])
        texts.append(f"**{name.capitalize()}**, {seeds} seeds. Declared: {declared}. Came out: {came}."
                     f"\n\n{table(['score', 'mean', 'sd', '95 % interval of the mean'], rows)}")  # fmt: skip
    return "\n\n".join(texts)


def tuned(found: dict[str, Any]) -> str:
    """Return both recipes' scores over the repeats, and their differences."""
    names = ["accuracy", "balanced_accuracy", "roc_auc", "recognition_rate"]
    rows = [
        [name, *(f"{one['mean'][key]:.3f} +- {one['sd'][key]:.3f}" for key in names)]
        for name, one in found["summaries"].items()
    ]
    for row in found["paired"]:
        cells = [row["difference"].get(key) for key in names]
        differences = ["" if c is None else f"{c['value']:+.3f} ({c['low']:+.3f} to {c['high']:+.3f})" for c in cells]
        rows.append([f"repeat {row['repeat']}: tuned less c3", *differences])
    return table(["recipe", *names], rows)


def controls_in_short(found: dict[str, Any]) -> str:
    """Return what came out of the controls, a row each."""

    def mean(name: str, score: str) -> str:
        return f"{found[name]['scores'][score]['mean']:.3f}"

    def bounded(name: str, score: str) -> str:
        value = found[name]["scores"][score]
        return f"{value['mean']:+.3f} ({value['low']:+.3f} to {value['high']:+.3f})"

    rows = []
    for name, words in (
        ("patients only", "patients differ, classes do not"),
        ("classes only", "classes differ, patients do not"),
        ("both", "both"),
    ):
        cells = [mean(name, f"{split} roc_auc") for split in ("image", "specimen")]
        rows.append([words, *cells, bounded(name, "premium"), "yes" if found[name]["holds"] else "no"])
    seeds = len(found["patients only"]["rows"])
    head = ["in the pictures", "AUC by image", "AUC by specimen", "premium in accuracy", "as declared"]
    text = f"{table(head, rows)}\n\nMeans over {seeds} twins; in brackets the 95 % interval of the mean."
    if "carried" not in found:
        return text
    rows = []
    for way in ("carried", "fresh"):
        cells = [f"{mean('carried', f'{way} {part} first')} to {mean('carried', f'{way} {part} last')}"
                 for part in ("test", "reserve")]  # fmt: skip
        rows.append([way, *cells, bounded("carried", f"{way} test climb")])
    came = "as declared" if found["carried"]["holds"] else "one criterion not as declared (docs/leakage.md)"
    second = table(
        ["RCL-7500's twin, 3 folds", "test accuracy, first to last fold", "set aside", "climb of the test set"], rows
    )
    return f"{text}\n\n{second}\n\nMeans over {len(found['carried']['rows'])} twins, {came}."


def gpu(found: dict[str, Any]) -> str:
    """Return what was measured on a GPU beside what is to be reached; a test of the script alone gives no table."""
    if not found["is_gpu_result"]:
        return found["note"]
    measured = [row for part in found["rows"].values() for row in part]
    speeds = [f"{row['images_per_second']:,.0f}" if "images_per_second" in row else "" for row in measured]
    rows = [
        [row["what"], f"{row['value']:.3g}", row["to_reach"], speed]
        for row, speed in zip(measured, speeds, strict=True)
    ]
    where = (
        f"With `--scale {found['scale']:g} --parts {' '.join(found['rows'])}` on one {found['device']}: an epoch "
        "lasts about a second,\nso what it costs once weighs more than in one of the whole data set."
    )
    return f"{where}\n\n{table(['what', 'value', 'to reach', 'images/s'], rows)}"


def put(page: Path, name: str, text: str) -> None:
    """Put a table between the marks of its name in a page."""
    begin, end = f"<!-- {name}: by benchmarks/tables.py -->", f"<!-- end of {name} -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    write_text(page, f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


IN_DOCS: dict[str, dict[str, Any]] = {
    "leakage.md": {
        "controls": controls_in_short,
        "near_copies": near_copies,
        "tuned": tuned,
        "resemblance": resemblance,
    },
    "statistics.md": {"coverage": coverage_in_short, "coverage_training": coverage_training, "ranking": ranking},
    "decisions.md": {"zones": zones},
}
SMALL = "Small generated images, each size in a process of its own. Measured while the list of images was cached;"
# In the order of the page: file, title, what it shows, and how.
PAGES: dict[str, tuple[str, str, Any]] = {
    "data_path": ("Data path", "Images per second of the batches that reach the model, 224 pixels.", data_path),
    "scale_data": ("Scale of the data", f"{SMALL}\nnow it is listed again, as in the first stage.", scale),
    "near_copies": ("Near copies", "Changed copies, overlapping fields, and what the search costs.", near_copies),
    "train": ("Training", "ResNet-50, 224 pixels, batches of 32, one epoch on the same images.", train),
    "predict": ("Prediction", "PNG files of 700x460 to rows, ResNet-50 at 224 pixels.", predict),
    "crossval": ("Cross-validation", "A frozen backbone, the long way and from features computed once.", crossval),
    "start": ("Start", "Processes of their own, from their start on.", start),
    "scale": ("Scale of the results", "The rooms after training, by number of predictions.", scale),
    "long": ("Half an hour", "Runs stopped and started again, reports and predictions, in one process.", long),
    "coverage": ("Coverage", "How often a 95 % interval holds the truth, specimens as in BreakHis.", coverage),
    "coverage_training": (
        "Coverage with training",
        "How often a 95 % interval contains the true score of a recipe; each fold of each cohort trains a new model.",
        coverage_training,
    ),
    "zones": ("Zones", "How often zones hold what they guarantee.", zones),
    "ranking": ("Ranking recipes", "How often recipes of equal and of unequal quality are ranked.", ranking),
    "pooled_auc": ("Ranking over folds", "Bias of three ways to average a ranking score over folds.", pooled_auc),
    "controls": ("Controls", "Twins whose truth is known; numbers about generated pictures.", controls),
    "real": ("Real images", "Public parts of BreakHis, no random samples: heads on features, fine-tuning.", real),
    "resemblance": ("Resemblance", "The twin and real images, measured in the same way.", resemblance),
    "gpu": ("GPU", "ResNet-50 with random weights on the twin.", gpu),
    "tuned": ("Tuned", "c3 and c3_tuned on a twin, specimens kept apart; numbers about generated pictures.", tuned),
}


def main() -> None:
    """Write the page."""
    parts = [
        "# Benchmarks",
        "One script a claim; each prints a table and writes JSON, `make bench` runs them all, and\n"
        "`python benchmarks/tables.py` writes this page from the JSON. Times are noisy: compare within a table only.\n"
        "`python benchmarks/gpu.py` needs a GPU, and skips without one.",
    ]
    for name, (title, words, show) in PAGES.items():
        path = HERE / f"{name}.json"
        if path.is_file():
            found = read_json(path)
            where = f"\n\n{in_words(found['machine'])}" if "machine" in found else ""
            parts.append(f"## {title}\n\n{words} `python benchmarks/{name}.py`\n\n{show(found)}{where}")
    print(write_text(HERE / "README.md", "\n\n".join(parts) + "\n"))
    demo = HERE.parent / "outputs" / "demo" / "summary.json"
    if demo.is_file():  # `make demo` left it
        put(HERE.parent / "README.md", "demo", f"```\n{terminal_table(read_json(demo))}\n```")
    docs = HERE.parent / "docs"
    for page, name, show in ((page, *item) for page, shows in IN_DOCS.items() for item in shows.items()):
        if (HERE / f"{name}.json").is_file():
            put(docs / page, name, show(read_json(HERE / f"{name}.json")))
    found = read_json(HERE / "real.json")
    for where in (docs / "leakage.md", HERE.parent / "README.md"):
        put(where, "real", real(found, in_short=where.name == "README.md"))
    draw_real(found)


if __name__ == "__main__":
    main()
