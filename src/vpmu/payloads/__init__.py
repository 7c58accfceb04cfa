"""The bundled guest programs, built from ``guests/`` (``make guests``).

ELF files run by themselves: they print what they did on the console and power off. ``mailbox`` and
``mailbox-first`` are flat, for address 0x88000000: the payloads that the recorded tables were made with. A
table's header names the one it needs by its size in bytes (1544 and 684).
"""

from __future__ import annotations

from pathlib import Path

from vpmu.errors import UnknownNameError

_DIRECTORY = Path(__file__).parent
_SUFFIXES = (".elf", ".bin")

__all__ = ["find_image", "names", "path"]


def names() -> list[str]:
    """Names of the bundled payloads, sorted."""
    return sorted(file.stem for file in _DIRECTORY.iterdir() if file.suffix in _SUFFIXES)


def find_image(name: str) -> Path:
    """The file `name`, or else the bundled payload of that name, whatever folders there are (`vpmu new guest`
    makes one). A bare word that is neither gets the near names.

    :raises UnknownNameError: neither.
    """
    file = Path(name)
    if "/" in name or "." in name or (file.exists() and not file.is_dir()):
        return file
    bundled = _DIRECTORY / f"{name}.elf"  # the others need a monitor
    if bundled.is_file():
        return bundled
    if file.exists():
        return file
    raise UnknownNameError("image", name, (file.stem for file in _DIRECTORY.glob("*.elf")), layer="loader")


def path(name: str) -> Path:
    """File of the payload `name`.

    :raises UnknownNameError: there is no such payload.
    """
    if name in names():
        return next(file for suffix in _SUFFIXES if (file := _DIRECTORY / f"{name}{suffix}").is_file())
    raise UnknownNameError("payload", name, names(), layer="loader")
