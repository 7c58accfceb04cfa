"""The soft arithmetic of the native engine, read as plain Python, against `softfloat`: special and random
operands, both formats, all modes, values and flags.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import pytest

from vpmu.hart import program, semantics, state
from vpmu.hart import softfloat as sf
from vpmu.hart.semantics.intrinsics import INTRINSICS
from vpmu.hart.semantics.to_python import to_python
from vpmu.hart.soft import DIGITS_D, DIGITS_H, DIGITS_S
from vpmu.spec.csr import SSTATUS_FS

from .softfloat_cases import DOUBLE, HALF, MODES, SINGLE, Shape, random_operands, specials

FORMATS = [
    pytest.param(sf.F16, HALF, DIGITS_H, id="half"),
    pytest.param(sf.F32, SINGLE, DIGITS_S, id="single"),
    pytest.param(sf.F64, DOUBLE, DIGITS_D, id="double"),
]
RANDOM = 1500
Soft = Callable[..., sf.Result]


@cache
def soft() -> Callable[[str], Soft]:
    """A function of soft.py by name, as one that answers (bits, flags)."""
    words = [0] * state.CONTEXTS
    namespace: dict[str, object] = {name: item.python for name, item in INTRINSICS.items()}
    namespace |= {**program.constants(), "S": words}
    body = [to_python(node) for node in program.soft_functions()]
    exec(compile(ast.Module(body=body, type_ignores=[]), "soft.py", "exec"), namespace)  # type: ignore[arg-type]

    def run(name: str) -> Soft:
        def call(*arguments: int) -> sf.Result:
            words[state.STATE["fflags"]] = words[state.STATE["sstatus"]] = 0
            bits = int(namespace[name](*arguments))  # type: ignore[operator]
            flags = words[state.STATE["fflags"]]
            assert words[state.STATE["sstatus"]] == (SSTATUS_FS if flags else 0)
            return bits, flags

        return call

    return run


def widened(fmt: sf.Format, *operands: int) -> list[int]:
    if fmt is sf.F64:
        return list(operands)
    return [soft()("widen" if fmt is sf.F32 else "widen_half")(a)[0] for a in operands]


def some(shape: Shape, step: int) -> list[int]:
    """Every `step`th special number of each sign, the ends of the list among them."""
    numbers = specials(shape)
    return sorted({*numbers[::step], *numbers[-8:], 0, 1, shape.sign, shape.infinity, shape.nan})


def operands(shape: Shape, count: int) -> Iterator[tuple[int, ...]]:
    """Special numbers in all combinations, as many as there is time for, then random ones."""
    rng = random.Random(count)
    yield from product(some(shape, {1: 1, 2: 3, 3: 12}[count]), repeat=count)
    for _ in range(RANDOM):
        yield tuple(random_operands(rng, shape, count))


OPERATIONS: dict[str, tuple[int, Callable[..., sf.Result]]] = {
    "add": (2, sf.add),
    "sub": (2, sf.sub),
    "mul": (2, sf.mul),
    "div": (2, sf.div),
    "sqrt": (1, sf.sqrt),
    "madd": (3, sf.fma),
    "msub": (3, lambda fmt, a, b, c, rm: sf.fma(fmt, a, b, c ^ fmt.sign, rm)),
    "nmsub": (3, lambda fmt, a, b, c, rm: sf.fma(fmt, a ^ fmt.sign, b, c, rm)),
    "nmadd": (3, lambda fmt, a, b, c, rm: sf.fma(fmt, a ^ fmt.sign, b, c ^ fmt.sign, rm)),
}


@pytest.mark.parametrize(("fmt", "shape", "digits"), FORMATS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation(operation: str, fmt: sf.Format, shape: Shape, digits: int) -> None:
    count, oracle = OPERATIONS[operation]
    ours = soft()(f"soft_{operation}")
    for number, values in enumerate(operands(shape, count)):
        for rm in MODES if count < 3 else (MODES[number % 5],):
            a, b, c = (*widened(fmt, *values), 0, 0)[:3]
            assert ours(a, b, c, digits, rm) == oracle(fmt, *values, rm), ([hex(v) for v in values], rm)


@pytest.mark.parametrize(
    ("source", "shape", "target", "digits"),
    [
        (sf.F64, DOUBLE, sf.F32, DIGITS_S),
        (sf.F32, SINGLE, sf.F64, DIGITS_D),
        (sf.F64, DOUBLE, sf.F16, DIGITS_H),
        (sf.F32, SINGLE, sf.F16, DIGITS_H),
        (sf.F16, HALF, sf.F32, DIGITS_S),
        (sf.F16, HALF, sf.F64, DIGITS_D),
    ],
    ids=["d to s", "s to d", "d to h", "s to h", "h to s", "h to d"],
)
def test_the_other_format(source: sf.Format, shape: Shape, target: sf.Format, digits: int) -> None:
    for (a,) in operands(shape, 1):
        for rm in MODES:
            ours = soft()("soft_convert")(*widened(source, a), 0, 0, digits, rm)
            assert ours == sf.convert(source, target, a, rm), (hex(a), rm)


@pytest.mark.parametrize(("fmt", "shape", "digits"), FORMATS)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("width", [32, 64])
def test_integers(width: int, signed: bool, fmt: sf.Format, shape: Shape, digits: int) -> None:
    highest = (1 << width - signed) - 1
    for (a,) in operands(shape, 1):
        for rm in MODES:
            value, flags = soft()("soft_to_integer")(*widened(fmt, a), highest, signed, rm)
            value = sf.sign_extend32(value) if width == 32 else value
            assert (value, flags) == sf.to_int(fmt, a, rm, width, signed), (hex(a), rm)
    rng = random.Random(width)
    powers = [(1 << n) + step for n in range(width) for step in (-1, 0, 1)]
    for raw in [*powers, *(rng.getrandbits(rng.randrange(1, 65)) for _ in range(RANDOM))]:
        for integer in (raw, -raw):
            extended = semantics.signed(integer, width) if signed else integer & (1 << width) - 1
            for rm in MODES:
                ours = soft()("soft_from_integer")(extended & semantics.MASK, signed, digits, rm)
                assert ours == sf.from_int(fmt, integer, rm, width, signed), (hex(integer), rm)
