"""vpmu: RISC-V guests on a hypervisor whose virtual performance-monitoring unit is the product.

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import VpmuError as VpmuError
    from .kvm.errors import HostLostError as HostLostError
    from .kvm.errors import KvmRunError as KvmRunError
    from .trace.recorder import Record as Record
    from .trace.recorder import Recorder as Recorder
    from .vmm.machine import Machine as Machine
    from .vmm.machine import RunResult as RunResult

__version__ = "0.1.0"

_HOMES = {
    "HostLostError": "kvm.errors",
    "KvmRunError": "kvm.errors",
    "Machine": "vmm.machine",
    "Record": "trace.recorder",
    "Recorder": "trace.recorder",
    "RunResult": "vmm.machine",
    "VpmuError": "errors",
}

__all__ = [
    "HostLostError",
    "KvmRunError",
    "Machine",
    "Record",
    "Recorder",
    "RunResult",
    "VpmuError",
    "__version__",
]


def _take_compiled_rooms() -> None:
    """Where `hatch_build.py` has compiled the hot rooms, modules are taken from there; see compiled.py."""
    import os

    if os.path.isdir(f"{__path__[0]}/_compiled") and not os.environ.get("VPMU_PURE"):  # noqa: PTH112
        from .compiled import take

        take()


_take_compiled_rooms()


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
