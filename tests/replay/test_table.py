"""The parser of recorded tables: the recorded ones in full, and what a malformed one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpmu.vmm.replay_table import (
    TableError,
    error_name,
    parse_operands,
    parse_table,
    read_table,
    result_line,
    sharp_hex,
    split_result,
)

TABLES = sorted((Path(__file__).parents[1] / "tables").glob("kvm-*.txt"))
U64 = (1 << 64) - 1


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_line_of_the_recorded_tables_belongs_to_a_step(path: Path) -> None:
    table = read_table(path)
    kept = {line.number for run in table.runs for step in run.steps for line in step.lines}
    text = path.read_text().splitlines()
    recorded = {n for n, line in enumerate(text, 1) if line.strip() and not line.startswith("#")}
    assert kept == recorded
    assert table.lines == len(recorded)


def test_runs_and_what_their_comments_say_of_the_machine() -> None:
    wide = read_table(TABLES[0].parent / "kvm-6.12-wide.txt")
    first, disabled, enabled, without = wide.runs
    assert [run.payload_size for run in wide.runs] == [1544] * 4
    assert first.sbi_extensions["PMU"]
    assert not first.sbi_extensions["DBCN"]
    assert "SUSP" not in first.sbi_extensions
    assert not disabled.sbi_extensions["PMU"]
    assert enabled.sbi_extensions["PMU"]
    assert enabled.sscofpmf
    assert not without.sscofpmf
    assert "PMU" not in without.sbi_extensions
    basic = read_table(TABLES[0].parent / "kvm-6.12-basic.txt")
    assert [run.payload_size for run in basic.runs] == [684] * 3
    overflow = read_table(TABLES[0].parent / "kvm-7.2-overflow.txt")
    assert all(run.isa_extensions is not None and 14 in run.isa_extensions for run in overflow.runs)
    assert all(run.isa_extensions is not None and 14 not in run.isa_extensions for run in wide.runs)


def test_the_second_run_of_the_undone_fix_is_the_unmodified_kernel() -> None:
    undone = read_table(TABLES[0].parent / "kvm-6.12-fix-undone.txt")
    assert [run.unmodified for run in undone.runs] == [False, True]


def test_a_failing_kvm_run_and_the_result_after_it_are_one_step() -> None:
    undone = read_table(TABLES[0].parent / "kvm-6.12-fix-undone.txt")
    step = next(step for step in undone.runs[0].steps if len(step.lines) > 1)
    results = [split_result(line.text)[1].strip() for line in step.lines]
    assert results[0].startswith("KVM_RUN FAILED rc=-1 errno=2 ")
    assert [result.split()[1] for result in results[1:3]] == ["AGAIN", "AGAIN"]
    assert results[3].startswith("instruction at pc = 0x73;")
    assert results[4] == "a0=-999 (?) a1=0x1fffffffffd"


def test_a_trap_belongs_to_the_line_after_it() -> None:
    table = parse_table(
        ["c 0 => 0x1 (1) 0", "  trap scause=2 sepc=88000430 stval=c0002573", "c 2 => 0 (0) 0 TRAPPED"]
    )
    first, second = table.runs[0].steps
    assert [line.number for line in first.lines] == [1]
    assert [line.number for line in second.lines] == [2, 3]


def test_the_same_script_line_twice_is_two_steps() -> None:
    table = parse_table(["c 0 => 0x1 (1) 0", "c 0 => 0x2 (2) 0"])
    assert len(table.runs[0].steps) == 2


def test_an_sbi_exit_is_followed_by_the_answer() -> None:
    lines = [
        "e 0xa000000 1 => EXIT_RISCV_SBI ext=a000000 fid=1 args 0 0 0",
        "e 0xa000000 1 => a0=-2 (NOT_SUPPORTED) a1=0",
    ]
    (step,) = parse_table(lines).runs[0].steps
    assert len(step.lines) == 2


def test_operands_are_read_as_strtoull_reads_them() -> None:
    assert parse_operands(" 0x10 010 -1 7 # 9")[:5] == (0x10, 8, U64, 7, 0)
    assert parse_operands(" 0x1ffffffffffffffff")[0] == U64
    assert len(parse_operands("")) == 8
    assert parse_operands(" -2")[0] == U64 - 1


@pytest.mark.parametrize("text", [" 0x", " zz", " 1_0", " --1", " 09", " 1 2 3 4 5 6 7 8 9"])
def test_what_is_no_operand(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|at most 8"):
        parse_operands(text)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["# x", "e 0x10 0"],
            r"^table: t\.txt:2: not a recorded line: expected 'SCRIPT LINE => RESULT', got 'e 0x10 0'$",
        ),
        (["z 1 => 0 (0) 0"], r"^table: t\.txt:1: unknown operation: expected one of e E .*, got z$"),
        (["c one => 0 (0) 0"], r"^table: t\.txt:1: expected a number, got 'one'$"),
        (["  trap scause=2 sepc=1 stval=0"], r"^table: t\.txt:1: a trap without the line that trapped$"),
        (["    instruction at pc = 0x73; VMM"], r"^table: t\.txt:1: 'instruction at pc' without"),
        (["# only a comment", ""], r"^table: t\.txt: no recorded line"),
        ([], r"^table: t\.txt: no recorded line"),
    ],
)
def test_malformed_tables_name_file_and_line(lines: list[str], message: str) -> None:
    with pytest.raises(TableError, match=message):
        parse_table(lines, "t.txt")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"nowhere\.txt: No such file"):
        read_table(tmp_path / "nowhere.txt")
    with pytest.raises(TableError, match="Is a directory"):
        read_table(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF\xff\xfe")
    with pytest.raises(TableError, match="binary:1: not a text file: expected UTF-8, got byte 0xff"):
        read_table(binary)


def test_lines_are_printed_as_the_monitor_prints_them() -> None:
    assert result_line("c 0", "0 (0) 0") == "c 0" + " " * 57 + " => 0 (0) 0"
    assert (sharp_hex(0), sharp_hex(255)) == ("0", "0xff")
    assert [error_name(value) for value in (0, U64, U64 - 13, U64 - 14, 1)] == [
        "SUCCESS",
        "FAILED",
        "DENIED_LOCKED",
        "?",
        "?",
    ]
