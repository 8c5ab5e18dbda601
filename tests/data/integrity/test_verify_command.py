"""`hf-breakhis data verify`: where the images are, where the JSON goes, and how places are told."""

import json
from pathlib import Path

from hf_breakhis.cli import main


def test_the_place_may_be_given_either_way(small_breakhis, capsys):
    shown = []
    for options in ([str(small_breakhis)], ["--data_dir", str(small_breakhis)]):
        assert main(["data", "verify", *options]) == 1
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "24" in shown[0]


def test_given_both_ways_it_is_refused(small_breakhis, capsys):
    assert main(["data", "verify", str(small_breakhis), "--data_dir", "elsewhere"]) == 2
    message = capsys.readouterr().err.strip()
    assert message == (
        f"hf-breakhis: The images are given twice, as {small_breakhis} and as --data_dir elsewhere; give one of them."
    )


def test_another_set_does_not_overwrite_the_first(small_breakhis, capsys):
    paths = []
    for _ in range(2):
        main(["data", "verify", str(small_breakhis)])
        paths.append(Path(capsys.readouterr().out.rstrip().rpartition("json: ")[2]))
        min(small_breakhis.rglob("*.png")).unlink()
    manifests = [json.loads(path.read_text())["manifest_sha256"] for path in paths]
    assert [path.name for path in paths] == [f"verify-{manifest[:16]}.json" for manifest in manifests]
    assert len(set(manifests)) == 2


def test_places_are_told_from_the_data_set_on_and_whole_in_the_json(small_breakhis, draw_png, capsys):
    path = draw_png(next(small_breakhis.rglob("*.png")).with_name("figure.png"))
    main(["data", "verify", str(small_breakhis)])
    shown = capsys.readouterr().out
    assert str(path.relative_to(small_breakhis)) in " ".join(shown.split())
    assert str(path) not in shown
    report = json.loads(Path(shown.rstrip().rpartition("json: ")[2]).read_text())
    (finding,) = [finding for finding in report["findings"] if finding["kind"] == "unnamed"]
    assert finding["images"] == {str(path): ""}
