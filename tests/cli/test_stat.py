"""perf stat's table and its CSV, from given counts."""

from __future__ import annotations

import errno

from vpmu.cli.stat import as_json, csv_line, metric, text_table
from vpmu.perf.event import EventState, PerfError
from vpmu.vmm.counting import NOT_COUNTED, NOT_SUPPORTED, Counted, counted

COUNTED = [
    Counted("cycles", 2_000_000),
    Counted("instructions", 1_000_000),
    Counted("cache-misses", None, NOT_SUPPORTED, errno.ENOENT),
    Counted("dTLB-load-misses", None, NOT_COUNTED),
    Counted("cycles:u", 0),
]


def test_the_table_is_perfs() -> None:
    assert text_table("hello.elf", COUNTED, 0.0012345) == "\n".join(
        [
            "",
            " Performance counter stats for 'hello.elf':",
            "",
            "         2,000,000      cycles",
            "         1,000,000      instructions             #    0.50  insn per cycle",
            "   <not supported>      cache-misses",
            "     <not counted>      dTLB-load-misses" + " " * 48 + "(0.00%)",
            "                 0      cycles:u",
            "",
            "       0.001234500 seconds time elapsed",
            "",
        ]
    )


def test_csv_is_perfs() -> None:
    lines = [csv_line(line, COUNTED, ",", 0.001) for line in COUNTED]
    assert lines == [
        "2000000,,cycles,1000000,100.00,,",
        "1000000,,instructions,1000000,100.00,0.50,insn per cycle",
        "<not supported>,,cache-misses,0,100.00,,",
        "<not counted>,,dTLB-load-misses,0,0.00,,",
        "0,,cycles:u,1000000,100.00,,",
    ]


def test_a_metric_needs_its_base_with_the_same_modifiers() -> None:
    assert metric(Counted("instructions:u", 5), COUNTED) is None  # cycles:u is 0
    assert metric(Counted("instructions:k", 5), COUNTED) is None
    assert metric(Counted("branch-misses", 1), [Counted("branches", 50)]) == (2.0, "of all branches", True)


def test_json_tells_the_errno() -> None:
    made = as_json(COUNTED[2], COUNTED)
    assert (made["value"], made["status"], made["errno"]) == (None, "not supported", errno.ENOENT)
    assert as_json(COUNTED[1], COUNTED)["metric_value"] == 0.5
    assert as_json(COUNTED[0], COUNTED)["status"] == "counted"


class Counter:
    def __init__(self, state: EventState) -> None:
        self.state = state

    def read(self) -> int:
        return 7


def test_what_a_counter_says_at_the_end() -> None:
    assert counted("cycles", Counter(EventState.ACTIVE)) == Counted("cycles", 7)
    assert counted("cycles", Counter(EventState.ERROR)) == Counted("cycles", None, NOT_COUNTED)
    refused = PerfError(errno.ENOENT, "no")
    assert counted("cycles", refused) == Counted("cycles", None, NOT_SUPPORTED, errno.ENOENT)
