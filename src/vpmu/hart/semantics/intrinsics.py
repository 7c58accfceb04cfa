"""The primitives of the semantics language, each as LLVM IR and as a Python function."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

from vpmu.hart import state
from vpmu.hart.semantics import MASK, signed


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """A primitive: LLVM instructions with `{0}`, `{1}` for operands and `{a}`, `{b}`... for fresh names;
    the last line is the result.
    """

    ir: tuple[str, ...]
    python: Callable[..., int]


def _sext(bits: int) -> Intrinsic:
    return Intrinsic(
        (f"trunc i64 {{0}} to i{bits}", f"sext i{bits} {{a}} to i64"), lambda v: signed(v, bits) & MASK
    )


def _zext(bits: int) -> Intrinsic:
    mask = (1 << bits) - 1
    return Intrinsic((f"and i64 {{0}}, {mask}",), lambda v: v & mask)


def _load(bits: int, ctype: type[ctypes._SimpleCData[int]]) -> Intrinsic:
    lines = ["inttoptr i64 {0} to ptr", f"load i{bits}, ptr {{a}}, align 1"]
    if bits < 64:
        lines.append(f"zext i{bits} {{b}} to i64")
    return Intrinsic(tuple(lines), lambda p: ctype.from_address(p).value)


def _store(bits: int, ctype: type[ctypes._SimpleCData[int]]) -> Intrinsic:
    def write(pointer: int, value: int) -> int:
        ctype.from_address(pointer).value = value
        return 0

    value = [f"trunc i64 {{1}} to i{bits}"] if bits < 64 else []
    name = "{a}" if bits < 64 else "{1}"
    pointer = "{b}" if bits < 64 else "{a}"
    return Intrinsic(
        (*value, "inttoptr i64 {0} to ptr", f"!store i{bits} {name}, ptr {pointer}, align 1"), write
    )


def _wide_multiply(extend_a: str, extend_b: str, python: Callable[[int, int], int]) -> Intrinsic:
    return Intrinsic((f"{extend_a} i64 {{0}} to i128", f"{extend_b} i64 {{1}} to i128", "mul i128 {a}, {b}",
                      "lshr i128 {c}, 64", "trunc i128 {d} to i64"), python)  # fmt: skip


def _fill(pointer: int, byte: int, length: int) -> int:
    ctypes.memset(pointer, byte, length)
    return 0


def _copy(to: int, source: int, length: int) -> int:
    ctypes.memmove(to, source, length)
    return 0


def _bring(pointer: int, length: int) -> int:
    """For the native engine's speed alone."""
    return 0


def _count_zeros(value: int, bits: int, leading: bool) -> int:
    value &= (1 << bits) - 1
    if value == 0:
        return bits
    return bits - value.bit_length() if leading else (value & -value).bit_length() - 1


def _count(name: str, bits: int) -> Intrinsic:
    call = f"call i{bits} @llvm.{name}.i{bits}(i{bits} {{{'0' if bits == 64 else 'a'}}}, i1 false)"
    lines = (call,) if bits == 64 else ("trunc i64 {0} to i32", call, "zext i32 {b} to i64")
    return Intrinsic(lines, lambda v: _count_zeros(v, bits, name == "ctlz"))


def _divide(a: int, b: int) -> int:
    """Signed division that truncates."""
    size = abs(signed(a)) // abs(signed(b))
    return (size if (signed(a) < 0) == (signed(b) < 0) else -size) & MASK


def _sums_are_usual(tiny: float, small: float) -> int:
    """Over the least subnormal number and 2^-60, which the compiler must not know."""
    return int(tiny + tiny == 2 * tiny != 0.0 and 1.0 + small == 1.0 == 1.0 - small)


_HOST_IEEE = Intrinsic(
    (
        "alloca double", "!store volatile double 0x0000000000000001, ptr {a}",
        "load volatile double, ptr {a}", "fadd double {c}, {c}", "bitcast double {d} to i64",
        "icmp eq i64 {e}, 2",
        "!store volatile double 0x3C30000000000000, ptr {a}",
        "load volatile double, ptr {a}", "fadd double 1.0, {h}", "fsub double 1.0, {h}",
        "fcmp oeq double {i}, 1.0", "fcmp oeq double {j}, 1.0",
        "and i1 {k}, {l}", "and i1 {f}, {m}", "zext i1 {n} to i64",
    ),
    lambda: _sums_are_usual(5e-324, 2.0**-60),
)  # fmt: skip
"""Whether this thread of the host rounds to nearest and keeps subnormal numbers: the sum of two of them is
one, and a 1 is not changed by what is too small for it.
"""

INTRINSICS: dict[str, Intrinsic] = {
    "host_ieee": _HOST_IEEE,
    "sext8": _sext(8), "sext16": _sext(16), "sext32": _sext(32), "sext24": _sext(24),
    "zext8": _zext(8), "zext16": _zext(16), "zext32": _zext(32),
    "load8": _load(8, ctypes.c_uint8), "load16": _load(16, ctypes.c_uint16),
    "load32": _load(32, ctypes.c_uint32), "load64": _load(64, ctypes.c_uint64),
    "store8": _store(8, ctypes.c_uint8), "store16": _store(16, ctypes.c_uint16),
    "store32": _store(32, ctypes.c_uint32), "store64": _store(64, ctypes.c_uint64),
    "sar": Intrinsic(("ashr i64 {0}, {1}",), lambda a, b: (signed(a) >> b) & MASK),
    "slt": Intrinsic(("icmp slt i64 {0}, {1}", "zext i1 {a} to i64"),
                     lambda a, b: int(signed(a) < signed(b))),
    "sdiv": Intrinsic(("sdiv i64 {0}, {1}",), _divide),
    "srem": Intrinsic(("srem i64 {0}, {1}",), lambda a, b: (a - b * _divide(a, b)) & MASK),
    "udiv": Intrinsic(("udiv i64 {0}, {1}",), lambda a, b: a // b),
    "urem": Intrinsic(("urem i64 {0}, {1}",), lambda a, b: a % b),
    "mulh": _wide_multiply("sext", "sext", lambda a, b: (signed(a) * signed(b) >> 64) & MASK),
    "mulhsu": _wide_multiply("sext", "zext", lambda a, b: (signed(a) * b >> 64) & MASK),
    "mulhu": _wide_multiply("zext", "zext", lambda a, b: a * b >> 64),
    "ctz64": _count("cttz", 64), "clz64": _count("ctlz", 64),
    "ctz32": _count("cttz", 32), "clz32": _count("ctlz", 32),
    "popcount": Intrinsic(("call i64 @llvm.ctpop.i64(i64 {0})",), lambda v: v.bit_count()),
    "bswap": Intrinsic(("call i64 @llvm.bswap.i64(i64 {0})",),
                       lambda v: int.from_bytes(v.to_bytes(8, "little"), "big")),
    "fill": Intrinsic(("inttoptr i64 {0} to ptr", "trunc i64 {1} to i8",
                       "!call void @llvm.memset.p0.i64(ptr {a}, i8 {b}, i64 {2}, i1 false)"), _fill),
    "copy": Intrinsic(("inttoptr i64 {0} to ptr", "inttoptr i64 {1} to ptr",
                       "!call void @llvm.memcpy.p0.p0.i64(ptr {a}, ptr {b}, i64 {2}, i1 false)"), _copy),
    "bring": Intrinsic(("inttoptr i64 {0} to ptr",
                        f"call i32 @madvise(ptr {{a}}, i64 {{1}}, i32 {state.POPULATE_WRITE})",
                        "zext i32 {b} to i64"), _bring),
}  # fmt: skip

DECLARATIONS = """
declare i64 @llvm.cttz.i64(i64, i1)
declare i64 @llvm.ctlz.i64(i64, i1)
declare i32 @llvm.cttz.i32(i32, i1)
declare i32 @llvm.ctlz.i32(i32, i1)
declare i64 @llvm.ctpop.i64(i64)
declare i64 @llvm.bswap.i64(i64)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i32 @madvise(ptr, i64, i32)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""
"""What a module of LLVM IR declares to use the primitives."""
