"""Tables of costs against each other, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.conform.cost_changes import as_document, changes, read_document
from vpmu.conform.costs import Cost
from vpmu.errors import FileError

BEFORE = [
    Cost("start", 30, {"kvm": 10, "perf": 20}, {("kvm", "a"): (1, 10), ("perf", "b.isra.0"): (2, 20)}),
    Cost("gone", 5, {"kvm": 5}, {("kvm", "a"): (1, 5)}),
]
AFTER = [
    Cost("start", 77, {"kvm": 60, "perf": 17}, {("kvm", "a"): (1, 60), ("perf", "b"): (2, 17)}),
    Cost("new", 3, {"kvm": 3}, {("kvm", "a"): (1, 3)}),
]


def test_what_changed_is_told_by_layer_and_function() -> None:
    start, new, gone = changes(BEFORE, AFTER)
    assert (start.name, start.by) == ("start", 47)
    assert [(one.name, one.by) for one in start.layers] == [("kvm", 50), ("perf", -3)]
    assert [(one.layer, one.name, one.by) for one in start.functions] == [("kvm", "a", 50), ("perf", "b", -3)]
    assert (new.before, new.after, new.by) == (None, 3, 0)
    assert (gone.before, gone.after, gone.by) == (5, None, 0)
    assert not [one for one in changes(BEFORE, BEFORE) if one.by or one.layers or one.functions]


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text(json.dumps(as_document("Linux 6.99", BEFORE)))
    assert read_document(path) == ("Linux 6.99", BEFORE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "got no JSON"),
        ("[]", "got other JSON"),
        ('{"schema": "vpmu-costs", "version": 9}', "expected version 1, got 9"),
        ('{"schema": "vpmu-costs", "version": 1, "kernel": "x"}', "damaged"),
        ('{"schema": "vpmu-costs", "version": 1, "kernel": "x", "calls": [{"call": 1}]}', "damaged"),
        (
            '{"schema": "vpmu-costs", "version": 1, "kernel": "x", "calls": '
            '[{"call": "a", "instructions": -1, "layers": {}, "functions": []}]}',
            "damaged",
        ),
    ],
)
def test_a_file_that_is_no_table_is_one_line(
    tmp_path: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "base.json"
    path.write_text(content)
    with pytest.raises(FileError):
        read_document(path)
    assert main(["costs", "--baseline", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("vpmu: error: costs: ")
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--slack", "1"], ["--only", "no such call"], ["kvm:trixie@qemu"]])
def test_options_that_make_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["costs", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
