"""The native engine: generate (generator/), compile once with LLVM, keep the object file, link and call it.

The object has no absolute addresses, so it is cached between processes. The key holds everything that it
depends on: the generator's sources, llvmlite's version, the host's CPU and features.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from vpmu.errors import VpmuError
from vpmu.hart import code_cache, machine_code
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.digest import blake2b, digest

_HERE = Path(__file__).parent
_SOURCES = (
    "state.py",
    "exits.py",
    "soft.py",
    "program.py",
    "csr_table.py",
    "codegen_flags.py",
    "native.py",
    "object_file.py",
    "machine_code.py",
    "../spec/csr.py",
    "../spec/privileged.py",
)
_SOURCE_FOLDERS = ("generator", "semantics", "isa", "privileged", "stencils")
_REGION_SOURCES = ("hot_cache.py",)  # beside those of the engine, and regions/
_OF_THE_CPU = ("vendor_id", "cpu family", "model", "stepping", "flags")  # in the order of /proc/cpuinfo


class NativeEngine(NamedTuple):
    """The two functions of a compiled engine; both take the address of a hart's state block."""

    run: Callable[[int, int], int]
    """(state, budget) -> exits.Stop"""
    probe: Callable[[int, int, int], int]
    """(state, virtual address, access) -> physical address; the state's `fault` says whether there is one."""
    unstitch: Callable[[int, int], int]
    """(state, decoded page, or 0 for all): its records are what they were"""
    trap: Callable[[int, int, int], int]
    """(state, cause, stval) -> RESUME or EXIT: an exception at pc, where the hart's own rules send it."""
    keep_alive: object


def cache_directory() -> Path:
    """Where compiled engines are kept: `$XDG_CACHE_HOME/vpmu/engine` or `~/.cache/vpmu/engine`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vpmu" / "engine"


@lru_cache(maxsize=1)
def host_identity() -> str:
    """What tells this host's CPU from others: what Linux says of it, or else LLVM."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as cpuinfo:
            first = cpuinfo.read(1 << 14).partition("\n\n")[0]
    except OSError:
        first = ""
    fixed = [line for line in first.splitlines() if line.startswith(_OF_THE_CPU)]
    if os.uname().machine in ("x86_64", "AMD64") and fixed and fixed[-1].startswith("flags"):
        return "\n".join([sys.platform, *fixed])
    return repr(host_machine()[1])


def _sources() -> list[str]:
    """The files that an engine is generated from, in a fixed order."""
    found = [f"{_HERE}/{name}" for name in _SOURCES]
    for folder in _SOURCE_FOLDERS:
        for where, _, names in sorted(os.walk(_HERE / folder)):
            found += [f"{where}/{name}" for name in sorted(names) if name.endswith(".py")]
    return found


def cache_key(counting: Counting) -> str:
    """A digest of everything that the compiled engine depends on."""
    import llvmlite  # this alone does not load LLVM

    key = blake2b(repr((counting.value, host_identity(), llvmlite.__version__)).encode(), digest_size=16)
    for path in _sources():
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a hundred of them, at every start)
            key.update(file.read())
    return key.hexdigest()


_key = cache(cache_key)  # of this process, which has read its sources once


def engine_ir(counting: Counting) -> str:
    """The LLVM IR of an engine."""
    from vpmu.hart import program
    from vpmu.hart.generator.module import module

    whole = Counting.WHOLE in counting
    functions = program.privileged_functions(whole) + program.soft_functions(whole)
    functions += program.stitcher_functions()
    return module(functions, program.constants(whole), counting)


def compile_ir(ir: str, target_machine: object) -> bytes:
    """Optimise IR and emit an object file for a target machine of llvmlite."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(ir)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = False
    builder = llvm.create_pass_builder(target_machine, tuning)
    builder.getModulePassManager().run(module, builder)
    return bytes(target_machine.emit_object(module))  # type: ignore[attr-defined]


def compile_region(ir: str, target_machine: object) -> bytes:
    """As `compile_ir`, with the few passes that matter to straight-line code: a region is waited for."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(ir)
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.run(
        module, llvm.create_pass_builder(target_machine, llvm.create_pipeline_tuning_options(speed_level=1))
    )
    return bytes(target_machine.emit_object(module))  # type: ignore[attr-defined]


def host_machine() -> tuple[object, tuple[str, str, str]]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=2, jit=True)
    return machine, (target.triple, cpu, features)


@lru_cache(maxsize=1)
def region_machine() -> object:
    """As `host_machine`, for code that names its constants relative to itself, wherever it is placed."""
    return _small_machine("pic")


@lru_cache(maxsize=1)
def stencil_machine() -> object | None:
    """As `host_machine`, for code whose holes are numbers of 32 bits; None on hosts that are not x86-64."""
    is_made_for = host_machine()[1][0].startswith("x86_64") and os.name == "posix"
    return _small_machine("static") if is_made_for else None


def _small_machine(relocation: str) -> object:
    """As `host_machine`, for code that reaches what it names within 32 bits."""
    import llvmlite.binding as llvm

    _, (triple, cpu, features) = host_machine()
    target = llvm.Target.from_triple(triple)
    machine: object = target.create_target_machine(
        cpu=cpu, features=features, opt=2, reloc=relocation, codemodel="small"
    )
    return machine


def beside(counting: Counting, name: str) -> Path:
    """Where something that follows from an engine is kept: its file has the engine's name and then `name`."""
    return cache_directory() / f"{_key(counting)}{name}"


def stencil_path(counting: Counting) -> Path:
    """Where the stencils of an engine are kept (stencils/table.py)."""
    return beside(counting, ".stencils")


@lru_cache(maxsize=4)
def region_folder(counting: Counting) -> Path:
    """Where compiled regions of the hot tier are kept for an engine (hot_cache.py)."""
    paths = [*sorted((_HERE / "regions").glob("**/*.py")), *(_HERE / name for name in _REGION_SOURCES)]
    generator = digest(*(path.read_bytes() for path in paths)).hex()[:16]
    return beside(counting, f"-{generator}.regions")


@cache  # harts keep its functions: code that may be called is never given back
def engine(counting: Counting) -> NativeEngine:
    """An engine, compiled now or taken from the cache."""
    try:
        path = beside(counting, ".o")
    except ImportError as error:
        raise VpmuError(
            f"hart: the native engine needs llvmlite, which this {os.uname().machine} machine does not have "
            f"({error}); use --engine reference"
        ) from error
    kept = code_cache.load(path)
    if kept is None:
        kept = laid_out(compile_ir(engine_ir(counting), host_machine()[0]))
        code_cache.store(path, kept)
    return link(kept, f"engine{counting.value}")


def laid_out(image: bytes) -> bytes:
    """What is kept of an object file: its code laid out, or the file itself where LLVM has to link it."""
    from vpmu.hart.object_file import lay_out

    code = lay_out(image)
    return image if code is None else code.packed()


def link(image: bytes, name: str) -> NativeEngine:
    """The engine in what `laid_out` has made of an object file."""
    code = machine_code.unpack(image)
    arena = machine_code.CodeArena(len(code.blob)) if code else None
    symbols = arena.place_object(code) if code and arena else None
    keep_alive: object = arena
    if symbols is None:
        symbols, keep_alive = link_with_llvm(image, name, ("run", "probe", "trap", "unstitch"))
    u64 = ctypes.c_uint64
    # a run is entered at every exit: numbers pass quickest as pointers
    run = ctypes.CFUNCTYPE(u64, ctypes.c_void_p, ctypes.c_void_p)(symbols["run"])
    probe = ctypes.CFUNCTYPE(u64, u64, u64, u64)(symbols["probe"])
    trap = ctypes.CFUNCTYPE(u64, u64, u64, u64)(symbols["trap"])
    unstitch = ctypes.CFUNCTYPE(u64, u64, u64)(symbols["unstitch"])
    return NativeEngine(run, probe, unstitch, trap, keep_alive)


def link_with_llvm(image: bytes, name: str, symbols: Sequence[str]) -> tuple[dict[str, int], object]:
    """Addresses of functions of an object file, and what must live as long as they are called."""
    import llvmlite.binding as llvm

    linker = llvm.create_lljit_compiler(host_machine()[0])
    builder = llvm.JITLibraryBuilder().add_object_img(image)
    for symbol in symbols:
        builder.export_symbol(symbol)
    library = builder.link(linker, name)
    return {symbol: library[symbol] for symbol in symbols}, (linker, library)
