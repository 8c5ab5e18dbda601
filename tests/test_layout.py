"""The package stays small and its imports point one way."""

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_breakhis"
MAX_LINES = 400
MAX_MODULES = 15
# A module may import from its own room and from rooms above it, never from one below.
ROOMS = [
    "files",
    "folders",
    "yaml_files",
    "hardware",
    "arguments",
    "training_arguments",
    "recipe",
    "study",
    "tables",
    "text",
    "averaging",
    "settings",
    "run_fields",
    "run",
    "data",
    "metrics",
    "training",
    "results",
    "inference",
    "hub",
    "search",
    "cli",
    "__main__",
]
RANK = {name: i for i, name in enumerate(ROOMS)}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def internal_imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hf_breakhis."):
            yield node.module.split(".")[1]
        if isinstance(node, ast.ImportFrom) and node.module == "hf_breakhis":
            yield from (alias.name for alias in node.names if alias.name != "__version__")


@pytest.mark.parametrize(
    "path", MODULES + sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_module_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_up(path):
    own = room_of(path)
    assert own in RANK, f"{own} has no room; add it to ROOMS"
    for other in internal_imports(path):
        assert RANK[other] <= RANK[own], f"{own} imports {other}, which stands below it"
        if own in ("results", "inference", "hub"):
            assert other != "training", f"{own} meets training only in the files of a run"


def test_the_check_sees_a_wrong_import(tmp_path):
    path = tmp_path / "plots.py"
    path.write_text("from hf_breakhis.training.fold import Job\nfrom hf_breakhis import cli\n", encoding="utf-8")
    assert list(internal_imports(path)) == ["training", "cli"]


def subpackages_imported(path, package):
    """Yield the subpackages of a package that a module imports, such as "data.sources"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hf_breakhis."):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                parts = name.split(".")[1:3]
                if len(parts) == 2 and package.joinpath(*parts).is_dir():
                    yield ".".join(parts)


def order_of_subpackages(package):
    """Return the subpackages so that each one imports only those before it; a cycle raises CycleError."""
    modules = [path for path in package.rglob("*.py") if len(path.relative_to(package).parts) == 3]
    imports = {}
    for path in modules:
        own = ".".join(path.relative_to(package).parts[:2])
        imports.setdefault(own, set()).update(set(subpackages_imported(path, package)) - {own})
    return list(TopologicalSorter(imports).static_order())


def test_subpackages_do_not_import_each_other_in_a_cycle():
    order = order_of_subpackages(PACKAGE)
    assert order.index("data.twin") < order.index("data.sources") < order.index("results.report")


def test_a_cycle_of_subpackages_would_be_noticed(tmp_path):
    for own, other in (("sources", "twin"), ("twin", "sources")):
        (tmp_path / "data" / own).mkdir(parents=True)
        (tmp_path / "data" / own / "table.py").write_text(f"from hf_breakhis.data.{other} import table\n")
    with pytest.raises(CycleError):
        order_of_subpackages(tmp_path)


def test_folders_are_at_most_three_levels_deep_and_hold_at_most_fifteen_modules():
    assert max(len(path.relative_to(PACKAGE).parts) for path in MODULES) <= 3
    modules = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert {str(folder): count for folder, count in modules.items() if count > MAX_MODULES} == {}


OPENS = "hf_breakhis/data/open_image.py"
OPENERS = ("Image.open", "PIL.Image.open", "plt.imread", "matplotlib.pyplot.imread", "torchvision.io.read_image")


def opened_images(path):
    """Yield the lines at which a file opens images by other means than `open_image`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module == "PIL.Image" and "open" in names:
            yield node.lineno
        if isinstance(node, ast.Attribute) and ast.unparse(node) in OPENERS:
            yield node.lineno
        # A column of images that datasets decodes by itself, with any format that Pillow knows.
        if isinstance(node, ast.Call) and ast.unparse(node) in ("datasets.Image()", "datasets.Image(decode=True)"):
            yield node.lineno


def test_images_are_opened_by_one_function():
    apps = sorted((ROOT / "model_cards").rglob("*.py"))
    found = {path.relative_to(ROOT).as_posix(): list(opened_images(path)) for path in [*MODULES, *apps]}
    assert len(found.pop(OPENS)) == 1
    # the schema of what is published says that the column holds images: others decode it
    assert len(found.pop("hf_breakhis/hub/dataset_export.py")) == 1
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("from PIL import Image\nImage.open('a.png')\n", 1),
        ("from PIL.Image import open\n", 1),
        ("import datasets\ndatasets.Image()\ndatasets.Image(decode=True)\ndatasets.Image(decode=False)\n", 2),
        ("from PIL import Image\nImage.new('RGB', (1, 1)).save('a.png')\nopen('a')\n", 0),
    ],
)
def test_the_check_sees_an_image_opened_elsewhere(tmp_path, code, number):
    path = tmp_path / "module.py"
    path.write_text(code, encoding="utf-8")
    assert len(list(opened_images(path))) == number


RUN_FILES = {
    "recipe.yaml", "data.json", "folds.csv", "colors.csv", "predictions.csv", "summary.json", "decision.json",
    "cost.json", "audit.json", "shifts.json", "index.json", "plan.json", "evaluation.json", "excluded.csv",
    "finished.json", "checksums.json", "report.html", "metrics.json", "history.csv",
}  # fmt: skip
RUN_FOLDERS = {"model", "examples", "explain", "figures", "checkpoints", "tensorboard", "refit"}


def run_names(path):
    """The names of files of a run that a module writes out, in paths and not in messages, which have spaces."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if text.rpartition("/")[2] in RUN_FILES or text.startswith(("fold-*", "repeat-*")):
            yield text
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            names = [part.value for part in ast.walk(node.right) if isinstance(part, ast.Constant)]
            yield from (name for name in names if name in RUN_FOLDERS or str(name).startswith(("fold-", "repeat-")))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_run_spells_the_files_of_a_run(path):
    if path != PACKAGE / "run.py":
        assert list(run_names(path)) == [], "import the name from hf_breakhis.run"


def test_the_check_sees_a_file_of_a_run(tmp_path):
    path = tmp_path / "plots.py"
    path.write_text('a = run / f"fold-{i}" / "model"\nb = "fold-0/metrics.json"\nc = "no recipe.yaml, no run"\n')
    assert sorted(run_names(path)) == ["fold-", "fold-0/metrics.json", "model"]


def named_tests(text):
    return set(re.findall(r"`((?:tests|benchmarks)/[\w/.*]*)`", text))


def test_every_guarantee_names_tests_that_exist():
    named = named_tests((ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))
    assert {"tests/test_run.py", "tests/inference/*_fuzz.py", "benchmarks/long.py"} <= named
    assert [name for name in sorted(named) if not list(ROOT.glob(name))] == []


def test_a_test_that_is_absent_would_be_noticed():
    assert named_tests("| a file | `tests/absent.py`, hypothesis in `tests/data/*_fuzz.py` |") == {
        "tests/absent.py", "tests/data/*_fuzz.py"
    }  # fmt: skip
    assert not list(ROOT.glob("tests/data/*_fuzz.py"))
