"""F and D on the native engine against `fd_rows.execute`: every row, operands of all kinds, all rounding
modes and flags.
"""

from __future__ import annotations

import ast
import random
from itertools import cycle, product

import pytest

from vpmu.hart import native, program, state
from vpmu.hart.events import HartEvent, Mode
from vpmu.hart.exits import Stop
from vpmu.hart.generator.module import module
from vpmu.hart.hart import Hart
from vpmu.hart.isa.fd_rows import FD_ROWS, FdRow, execute
from vpmu.spec.csr import SSTATUS_FS

from .assemble import as_double, as_single, f, fp
from .guest import BASE, DATA, ENGINES, boot
from .softfloat_cases import DOUBLE, MODES, SINGLE, Shape

pytestmark = pytest.mark.usefixtures("built_engine")

VECTORS = 250
INITIAL = 1 << 13
COMPUTATIONS = [row for row in FD_ROWS if row.format not in ("load", "store")]
BY_NAME = {row.name: row for row in FD_ROWS}


def edges(shape: Shape) -> list[int]:
    """Magnitudes at which something changes: of the format, and of the integers that it converts to."""
    one = shape.bias << shape.fraction_bits
    least = 1 << shape.fraction_bits
    powers = [(shape.bias + n) << shape.fraction_bits for n in (-1, 1, 31, 32, 52, 53, 62, 63, 64)]
    special = [
        0,
        1,
        least - 1,
        least,
        least + 1,
        one,
        shape.infinity - 1,
        shape.infinity,
        shape.infinity | 1,
        shape.nan,
    ]
    return special + [power + step for power in powers for step in (-1, 0, 1)]


def operand(rng: random.Random, shape: Shape) -> int:
    """An f register."""
    draw = rng.random()
    if draw < 0.5:
        scale = 2.0 ** rng.randrange(-140, 100) if shape is SINGLE else 2.0 ** rng.randrange(-1070, 960)
        number = rng.choice((
            float(rng.randrange(-100, 100)), rng.uniform(-1e3, 1e3), rng.randrange(1 << 24) * scale,
            rng.randrange(-9, 9) / 4, rng.randrange(-1 << 31, 1 << 33) + 0.5,
        ))  # fmt: skip
        return as_single(number) if shape is SINGLE else as_double(number)
    bits = rng.getrandbits(shape.width)
    if draw < 0.75:
        bits = rng.choice(edges(shape)) | rng.choice((0, shape.sign))
    if shape is DOUBLE:
        return bits
    return bits | (0xFFFFFFFF if rng.random() < 0.97 else rng.getrandbits(32)) << 32


def integer(rng: random.Random) -> int:
    """An x register."""
    power = (1 << rng.randrange(64)) + rng.randrange(-2, 3)
    return (
        rng.choice(
            (rng.getrandbits(64), rng.getrandbits(32), rng.getrandbits(5), -rng.getrandbits(5), power, -power)
        )
        & (1 << 64) - 1
    )


def operands(rng: random.Random, row: FdRow) -> tuple[int, int, int]:
    if row.sources[0] == "x":
        return integer(rng), 0, 0
    shape = SINGLE if (row.precision == "s") != (row.operation == "convert") else DOUBLE
    a, b, c = (operand(rng, shape) for _ in range(3))
    if rng.random() < 0.1:
        b = a
    if row.format == "R4-fp" and rng.random() < 0.3:  # an addend that cancels the product, or nearly
        c = execute(BY_NAME[f"fmul.{row.precision}"], a, b)[0] ^ rng.choice(
            (0, 1, shape.sign, shape.sign | 1)
        )
    return a, b, c


def run_one(hart: Hart, row: FdRow, values: tuple[int, int, int], fcsr: int, rm: int) -> tuple[int, int, int]:
    """The destination, fflags and sstatus after one instruction at BASE."""
    hart.memory.write(
        BASE, fp(row.name, 10, 10, 11 if len(row.sources) > 1 else 0, 12, rm).to_bytes(4, "little")
    )
    for number, value in enumerate(values, 10):
        if row.sources[0] == "f":
            hart.words[f(number)] = value
        else:
            hart.set_x(number, value)
    for name, value in (("sstatus", INITIAL), ("fflags", fcsr & 31), ("frm", fcsr >> 5), ("pc", BASE)):
        hart.set(name, value)
    assert (hart.run(1), hart.pc) == (Stop.BUDGET, BASE + 4)
    return hart.words[f(10)] if row.dest == "f" else hart.x(10), hart.get("fflags"), hart.get("sstatus")


@pytest.mark.parametrize("row", COMPUTATIONS, ids=lambda row: row.name)
def test_a_row_on_the_native_engine(row: FdRow) -> None:
    rng, hart = random.Random(row.name), boot("native")
    for _ in range(VECTORS):
        values = operands(rng, row)
        flags, mode, dynamic = (
            rng.choice((0, 0, 1, 31)),
            rng.choice((0, 0, 0, *MODES)),
            rng.random() < 0.5,
        )
        value, raised = execute(row, *values, mode)
        expected = value, flags | raised, SSTATUS_FS if row.dest == "f" or raised else INITIAL
        fcsr = flags | (mode if dynamic else 6) << 5
        answer = run_one(hart, row, values, fcsr, 7 if dynamic else mode)
        assert answer == expected, (row.name, [hex(v) for v in values], fcsr, mode, dynamic)


UNDERFLOWS = [
    # These are tiny when rounded to 53, or 24, digits; the format rounds them up to its least normal number.
    ("fmul.d", 0x3FEFFFFFFFFFFFFF, 0x0010000000000000),
    ("fdiv.d", 0x001FFFFFFFFFFFFF, 0x4000000000000000),
    ("fmul.s", 0xFFFFFFFF3F7FFFFF, 0xFFFFFFFF00800000),
    ("fdiv.s", 0xFFFFFFFF00FFFFFF, 0xFFFFFFFF40000000),
    # These round to zero; the third operand of the sums is zero.
    *((name, as_double(2.0**-600), as_double(2.0**-600)) for name in ("fmul.d", "fmadd.d", "fnmsub.d")),
    *((name, as_single(2.0**-90), as_single(2.0**-90)) for name in ("fmul.s", "fmsub.s", "fnmadd.s")),
    ("fdiv.d", as_double(2.0**-600), as_double(2.0**600)),
    ("fcvt.s.d", as_double(2.0**-600), 0),
]


@pytest.mark.parametrize(("name", "a", "b"), UNDERFLOWS)
def test_a_tiny_result_underflows_even_where_it_rounds_to_a_normal_number_or_to_zero(
    name: str, a: int, b: int
) -> None:
    zero = as_single(0.0) if name.endswith(".s") else 0
    value, raised = execute(BY_NAME[name], a, b, zero)
    assert raised == 3  # UF and NX
    assert run_one(boot("native"), BY_NAME[name], (a, b, zero), 1, 0) == (value, 3, SSTATUS_FS)


def special_values(shape: Shape) -> list[int]:
    """Registers of every kind of number, in both signs, and a single that is not boxed."""
    one, least = shape.bias << shape.fraction_bits, 1 << shape.fraction_bits
    positive = (
        0,
        1,
        least - 1,
        least,
        one,
        one + 1,
        shape.infinity - 1,
        shape.infinity,
        shape.nan - 1,
        shape.nan,
    )
    box = 0xFFFFFFFF << 32 if shape is SINGLE else 0
    return [box | sign | number for sign in (0, shape.sign) for number in positive] + [one]


@pytest.mark.parametrize("row", COMPUTATIONS, ids=lambda row: row.name)
def test_special_operands_in_every_mode(row: FdRow) -> None:
    hart, modes = boot("native"), cycle(MODES)
    if row.sources[0] == "x":
        values = [
            value & (1 << 64) - 1 for n in (0, 1, 24, 31, 32, 53, 63, 64) for value in (1 << n, -1 << n)
        ]
        values += [value - 1 & (1 << 64) - 1 for value in values]
    else:
        values = special_values(SINGLE if (row.precision == "s") != (row.operation == "convert") else DOUBLE)
    for a, b in product(values, values if len(row.sources) > 1 else (0,)):
        for c in values[::3] if len(row.sources) > 2 else (0,):
            for mode in (next(modes),) if len(row.sources) > 2 else MODES:
                value, raised = execute(row, a, b, c, mode)
                expected = value, raised, SSTATUS_FS if row.dest == "f" or raised else INITIAL
                answer = run_one(hart, row, (a, b, c), mode << 5, 7)
                assert answer == expected, (row.name, hex(a), hex(b), hex(c), mode)


def trap(engine: str, row: FdRow, rm: int, **state: int) -> tuple[Stop, ...]:
    """What happens at an illegal instruction: the stop, and words that it must leave alone or count."""
    hart = boot(engine, [row.match | (10 << 15 | rm << 12) & ~row.mask], x={10: DATA}, **state)
    hart.want([HartEvent.FP])
    stop = hart.run(5)
    words = ("pc", "fflags", "sstatus", "count_vs", "scause")
    return stop, *(hart.get(name) for name in words), hart.count(HartEvent.FP, Mode.VS)


@pytest.mark.parametrize("retire", [0, 1])
@pytest.mark.parametrize("row", FD_ROWS, ids=lambda row: row.name)
def test_without_fp_or_a_rounding_mode_an_instruction_is_illegal(row: FdRow, retire: int) -> None:
    states: list[tuple[int, dict[str, int]]] = [(0, {"sstatus": 0})]
    if row.has_rm:
        states += [(rm, {"sstatus": INITIAL}) for rm in (5, 6)]
        states += [(7, {"sstatus": INITIAL, "frm": frm}) for frm in (5, 6, 7)]
    for rm, words in states:
        native, reference = (trap(engine, row, rm, traps_retire=retire, **words) for engine in ENGINES)
        assert native == reference
        assert native[:2] == (Stop.ILLEGAL, BASE)


@pytest.fixture(scope="module")
def nonsense_engine() -> native.NativeEngine:
    """An engine whose soft operations answer nonsense."""
    functions = program.privileged_functions() + program.soft_functions() + program.stitcher_functions()
    for function in functions:
        if function.name.startswith("soft_"):
            function.body = ast.parse("accrue(31)\nreturn 12345").body
    machine = native.host_machine()[0]
    image = native.compile_ir(module(functions, program.constants()), machine)
    return native.link(image, "nonsense")


ORDINARY = {  # operations and operands as programs have them: the host computes these
    "d": (as_double(1.5), as_double(-0.1), as_double(1e10)),
    "s": (as_single(1.5), as_single(-0.1), as_single(1e10)),
}


@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize("row", COMPUTATIONS, ids=lambda row: row.name)
def test_the_host_computes_with_ordinary_numbers(
    row: FdRow, flags: int, nonsense_engine: native.NativeEngine
) -> None:
    hart = boot("native")
    hart._engines[id(hart.memory.counting)] = nonsense_engine.run
    precision = row.precision if row.operation != "convert" else "sd"[row.precision == "s"]
    operands = ORDINARY[precision] if row.sources[0] == "f" else (12345, 0, 0)
    if row.format == "R4-fp" and row.precision == "d" and not flags:
        # A fused double result that is the first to be inexact is the one thing that is soft: 1e10 - 0.75 is
        # not.
        operands = (as_double(1.5), as_double(-0.5), as_double(1e10))
    mode = 1 if row.format == "cvt x<-f" else 0  # C's conversion truncates
    value, raised = execute(row, *operands, mode)
    assert run_one(hart, row, operands, flags, mode)[:2] == (value, flags | raised)


def test_the_nonsense_engine_is_one(nonsense_engine: native.NativeEngine) -> None:
    hart = boot("native")
    hart._engines[id(hart.memory.counting)] = nonsense_engine.run
    assert run_one(hart, BY_NAME["fadd.d"], (as_double(1.5), as_double(-0.1), 0), 0, 1)[:2] == (12345, 31)


def test_soft_arithmetic_is_exact_in_counts_and_budget() -> None:
    """Subnormal operands are not the host's; the run around them goes on as if nothing were."""
    words = [fp("fadd.d", 3, 1, 2), fp("fadd.d", 3, 3, 2), fp("fadd.d", 3, 3, 2), 0xFF5FF06F]  # jal x0, -12
    for budget in range(1, 12):
        harts = [boot(engine, words, sstatus=SSTATUS_FS) for engine in ("native", "reference")]
        for hart in harts:
            hart.words[f(1)], hart.words[f(2)] = 1, 3
            assert hart.run(budget) is Stop.BUDGET
            assert (hart.instructions, hart.time_ns) == (budget, budget)
        assert harts[0].pc == harts[1].pc
        assert harts[0].words[f(3)] == harts[1].words[f(3)]
        assert harts[0].words[state.F : state.F + 32] == harts[1].words[state.F : state.F + 32]
