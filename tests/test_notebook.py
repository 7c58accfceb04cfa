"""What a notebook shows of results, and results as tables."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vpmu import Machine, Recorder, VpmuError
from vpmu.errors import UsageError
from vpmu.payloads import path
from vpmu.rows import SHOWN, Rows


@pytest.fixture(scope="module")
def ran() -> Machine:
    machine = Machine(host_pmu="full", memory=16 << 20, recorder=Recorder())
    machine.load(str(path("counting")))
    return machine


def test_counts_traces_and_calls(ran: Machine) -> None:
    counting = ran.counting("instructions", "cycles:u", "branch-misses")
    result = ran.run()
    assert counting["instructions"] == ran.instructions
    assert counting["cycles:u"] == 0
    assert counting["branch-misses"] is None
    assert repr(counting) == (
        f"Counting(instructions={ran.instructions:,}, cycles:u=0, branch-misses=<not supported>)"
    )
    calls = result.calls()
    assert any((row["extension"], row["function"]) == ("PMU", "num_counters") for row in calls)
    assert sum(calls.column("times")) == sum(result.sbi_calls.values())  # type: ignore[arg-type]
    rows = ran.recorder.rows()
    assert len(rows) == len(ran.recorder.records)
    assert [row["action"] for row in rows] == [record.action for record in ran.recorder.records]
    assert any("counter_idx_mask" in json.loads(str(row["args"] or "{}")) for row in rows)


def test_what_a_notebook_shows(ran: Machine) -> None:
    """Each has a table of its own, none of them long, and nothing of a guest's is taken for HTML."""
    shown = [ran.recorder._repr_html_(), ran.counting("cycles")._repr_html_(), ran.run()._repr_html_()]
    for html in shown:
        assert html.startswith("<table>")
        assert html.count("<tr>") <= SHOWN + 2
        assert len(re.findall("<t[dh][ >]", html)) == len(re.findall("</t[dh]>", html))
    rows = Rows(("name", "n"), [("<script>", 1234567)])
    assert rows._repr_html_().endswith(
        '<td>&lt;script&gt;</td><td style="text-align:right">1,234,567</td></tr></tbody></table>'
    )


def test_pandas_and_arrow_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """What their constructors are given; and one line where they are not installed."""
    rows = Rows(("a", "b"), [(1, "x"), (2, "y")])
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(VpmuError, match="to_pandas: expected the package pandas, got none installed"):
        rows.to_pandas()
    with pytest.raises(VpmuError, match="to_arrow: expected the package pyarrow"):
        rows.to_arrow()
    monkeypatch.setitem(
        sys.modules, "pandas", SimpleNamespace(DataFrame=lambda data, columns: (data, columns))
    )
    monkeypatch.setitem(sys.modules, "pyarrow", SimpleNamespace(table=dict))
    assert rows.to_pandas() == ([(1, "x"), (2, "y")], ["a", "b"])
    assert rows.to_arrow() == {"a": [1, 2], "b": ["x", "y"]}


def test_the_documented_notebook() -> None:
    """docs/traces.md's cell runs as it stands, and its last comment is true."""
    document = Path(__file__).resolve().parent.parent / "docs" / "traces.md"
    (cell,) = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(cell, names)
    comment = re.findall(r"# (.*)", cell)[-1]
    assert repr(names["counting"]) == comment


def test_a_slip_in_an_event(ran: Machine) -> None:
    with pytest.raises(UsageError, match="modifiers of u, k, h"):
        ran.counting("cycles:q")
    with pytest.raises(VpmuError, match="did you mean cycles"):
        ran.counting("cycle")
