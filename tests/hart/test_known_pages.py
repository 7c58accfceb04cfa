"""Pages whose lines earlier runs have found (stencils/known.py): a hint, which may say anything."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hart.assemble import code, encode
from tests.hart.stencil_programs import CODE, hart_of, stitched_records, walk, word_at

from vpmu.hart import native, state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PAGE
from vpmu.hart.stencils import known_pages as known
from vpmu.hart.stencils.holes import KNOWN_ROW

pytest.importorskip("llvmlite")

if native.stencil_machine() is None:
    pytest.skip("stencils are made for x86-64 hosts", allow_module_level=True)

PLAIN = Counting.NOTHING


@pytest.fixture(autouse=True)
def _kept_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing is known, and what is learned is kept in a folder of the test."""
    gc.collect()  # machines of other tests keep what they have learned
    folder = tmp_path / "kept"
    monkeypatch.setattr(known, "path", lambda: folder / "pages.known")
    monkeypatch.setattr(known, "WORTH_KEEPING", 1)
    known.known_pages.cache_clear()
    yield
    gc.collect()
    known.known_pages.cache_clear()


def _learned(hart: Hart) -> dict[bytes, int]:
    """What a machine has learned."""
    stitcher, shared = hart.memory.stitcher, hart.memory.shared.words
    assert stitcher is not None
    size = shared[state.SHARED["learned_count"]] * KNOWN_ROW
    return known._rows(bytes(stitcher._learned.view[:size]))


def _keep(rows: dict[bytes, int]) -> None:
    """Have the machines that are made from now on know these pages."""
    known.code_cache.store(known.path(), known.packed(rows))
    known.known_pages.cache_clear()


def _run_once(seed: int, instructions: int) -> Hart:
    hart = hart_of("native", seed, PLAIN)
    hart.memory.stitch()
    hart.run(instructions)
    return hart


def _key(hart: Hart) -> bytes:
    """Of the page that the hart is in."""
    return word_at(hart.get("dbase") + state.DECODED_KEY).to_bytes(8, "little")


@pytest.mark.usefixtures("small_slices")
def test_a_page_that_was_stitched_is_stitched_when_it_is_entered() -> None:
    first = _run_once(1, 20000)
    learned = _learned(first)
    _keep(learned)
    again = _run_once(1, 1)
    while not stitched_records(again):  # the program begins in a page that it leaves soon
        assert _key(again) not in learned
        again.run(1)
    assert len(stitched_records(again)) == len(stitched_records(first)) > 10
    again.run(20000 - again.instructions)
    assert [again.x(i) for i in range(32)] == [first.x(i) for i in range(32)]
    assert not _learned(again)  # nothing that was not known


@pytest.mark.usefixtures("small_slices")
def test_what_is_learned_is_kept_when_a_machine_is_gone() -> None:
    first = _run_once(2, 20000)
    learned = _learned(first)
    assert not known.path().exists()
    del first
    gc.collect()
    data = known.path().read_bytes()
    known.known_pages.cache_clear()
    kept = known.known_pages()
    assert kept is not None
    assert all(key + bits.to_bytes(KNOWN_ROW - 8, "little") in data for key, bits in learned.items())
    before = known.path().stat().st_mtime_ns
    _run_once(2, 20000)
    gc.collect()
    assert known.path().stat().st_mtime_ns == before


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("seed", range(6))
def test_a_hint_may_say_anything(seed: int) -> None:
    """Bits of halves of instructions, of what never runs, and of none."""
    rnd = random.Random(seed)
    share = rnd.choice((0.02, 0.3, 0.9))
    lies = {key: sum(1 << i for i in range(2048) if rnd.random() < share)
            for key in _learned(_run_once(seed, 20000))}  # fmt: skip
    _keep(lies)
    harts = [hart_of(engine, seed, PLAIN) for engine in ("native", "reference")]
    harts[0].memory.stitch()
    walk(*harts, PLAIN, 60, rnd)


@pytest.mark.usefixtures("small_slices")
def test_what_a_later_run_does_in_a_known_page_is_its_own() -> None:
    """It is stitched, and others are not burdened with it."""
    first = _run_once(1, 20000)
    learned = _learned(first)
    half = int("0001" * 512, 2)  # of instructions of four bytes
    _keep({key: bits & half for key, bits in learned.items()})
    again = _run_once(1, 20000)
    assert not _learned(again)
    assert len(stitched_records(again)) == len(stitched_records(first))


def test_of_two_runs_at_once_the_first_counts() -> None:
    for bits in (0x11, 0x22):
        learned = known.HostMemory(KNOWN_ROW)
        learned.view[0], learned.view[8] = 0x41, bits
        known.keep(learned, 1, 1)
    data = known.code_cache.load(known.path())
    assert data is not None
    assert known.unpacked(data) == {b"A" + bytes(7): 0x11}


@pytest.mark.usefixtures("small_slices")
def test_a_page_that_is_written_anew_is_another_one() -> None:
    hart = _run_once(1, 20000)
    before, page = _key(hart), hart.pc & -PAGE
    assert before != bytes(8)
    hart.memory.write(page, hart.memory.read(page, PAGE))
    assert _key(hart) == bytes(8)
    hart.run(20000)
    assert _key(hart) == before


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("writer", ["Python", "another hart"])
def test_a_page_that_is_known_and_written_anew_is_stitched_as_a_whole(writer: str) -> None:
    _keep(_learned(_run_once(1, 20000)))
    hart = _run_once(1, 20000)
    before, page = len(stitched_records(hart)), hart.pc & -PAGE
    data = hart.memory.read(page, PAGE)
    if writer == "Python":
        hart.memory.write(page, data)
    else:
        other = Hart(1, hart.memory)
        hart.memory.write(CODE - PAGE, code([encode("sd", rs1=5, rs2=6)]))
        other.pc = CODE - PAGE
        other.set_x(5, page)
        other.set_x(6, int.from_bytes(data[:8], "little"))
        other.run(1)
    assert not stitched_records(hart)
    hart.flush()
    hart.run(1)
    assert len(stitched_records(hart)) == before > 16


@pytest.mark.usefixtures("small_slices")
def test_a_breakpoint_is_met_in_a_page_that_is_known() -> None:
    _keep(_learned(_run_once(3, 20000)))
    hart = hart_of("native", 3, PLAIN)
    hart.memory.stitch()
    hart.memory.breakpoints.add(CODE + 8)
    hart.run(1000)
    assert hart.pc == CODE + 8


@pytest.mark.usefixtures("small_slices")
def test_a_page_is_found_behind_others_of_its_slot() -> None:
    learned = _learned(_run_once(1, 20000))
    slots = range(0, 8 << 1, 2)
    crowd = {(int.from_bytes(key, "little") & 0xF | high << 32).to_bytes(8, "little"): 0
             for key in learned for high in slots}  # fmt: skip
    _keep(crowd | learned)
    assert not _learned(_run_once(1, 20000))


def test_little_news_is_not_kept() -> None:
    learned = known.HostMemory(4 * KNOWN_ROW)
    learned.view[:8] = b"any key."
    known.keep(learned, 1, known.NEWS + 1)
    assert not known.path().exists()
    known.keep(learned, 1, known.NEWS)
    assert known.path().exists()


def test_what_is_kept_begins_anew_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_PAGES", 3)
    learned = known.HostMemory(2 * KNOWN_ROW)
    for names in (b"ab", b"bc", b"de"):
        for number, name in enumerate(names):
            learned.view[KNOWN_ROW * number] = name
        known.keep(learned, 2, 2)
    data = known.code_cache.load(known.path())
    assert data is not None
    assert known._HEAD.unpack_from(data)[0] == 2
    assert {key[:1] for key in known.unpacked(data)} == {b"d", b"e"}


def test_an_index_holds_all_rows_however_many_share_a_slot() -> None:
    rnd = random.Random(4)
    keys = [rnd.randrange(8) << 1 | rnd.getrandbits(30) << 20 | 1 for _ in range(100)]
    rows = {key.to_bytes(8, "little"): rnd.getrandbits(2048) for key in keys}
    data = known.packed(rows)
    number, slots = known._HEAD.unpack_from(data)
    assert number == len(rows) <= slots // 2
    assert known.unpacked(data) == rows


@pytest.mark.parametrize("data", [b"", b"damaged", bytes(4096)], ids=["empty", "short", "zeros"])
def test_a_damaged_file_is_as_good_as_none(data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    known.path().parent.mkdir(mode=0o700)
    known.path().write_bytes(data)
    known.path().chmod(0o600)
    assert known.known_pages() is None
    assert "pages.known: damaged" in capsys.readouterr().err
