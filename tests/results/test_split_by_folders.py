"""A copy of BreakHis in folders train/ and test/: trained on that split, reported and audited with what it leaks."""

import pandas as pd
import pytest
import yaml

from hf_breakhis.cli import main
from hf_breakhis.run import Run


@pytest.mark.usefixtures("few_figures")
def test_a_run_uses_the_split_of_the_folders_and_counts_its_leakage(small_breakhis, run_fields, tmp_path, capsys):
    paths = sorted(small_breakhis.rglob("*.png"))
    part_of = {path.name: "train" if i % 4 else "test" for i, path in enumerate(paths)}
    for path in paths:
        class_folder = "benign" if "_B_" in path.name else "malignant"
        target = tmp_path / "copy" / part_of[path.name] / class_folder / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    fields = run_fields | {
        "dataset": "breakhis", "data_dir": str(tmp_path / "copy"), "twin_kwargs": None, "split_by": "folders",
        "num_folds": 1, "num_train_epochs": 1, "output_dir": str(tmp_path / "run"),
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(fields))
    assert main(["train", str(tmp_path / "recipe.yaml")]) == 0
    folds = Run(tmp_path / "run").read_folds()
    assert dict(zip(folds["file_name"], folds["part"], strict=True)) == part_of
    predicted = pd.read_csv(tmp_path / "run" / "fold-0" / "predictions.csv")
    assert set(predicted["file_name"][predicted["part"] == "test"]) == {
        name for name, part in part_of.items() if part == "test"
    }
    assert main(["report", str(tmp_path / "run")]) == 0
    report = " ".join(capsys.readouterr().out.split())
    assert "6 of 6 test images (100 %) show a patient whose other images are in the training set" in report
    assert main(["audit", str(tmp_path / "run")]) == 0
    assert Run(tmp_path / "run").audit["shares"]["same_patient"] == 1
