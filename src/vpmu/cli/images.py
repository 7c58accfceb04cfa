"""What a name on the command line stands for: an image, a payload that ships with the package, a run."""

from __future__ import annotations

from pathlib import Path

from ..errors import UnknownNameError
from ..payloads import names, path


def find_image(name: str) -> Path:
    """The file `name`, or else the bundled payload of that name. A bare word that is neither gets the near
    names."""
    file = Path(name)
    if file.exists() or "/" in name or "." in name:
        return file
    bundled = [known for known in names() if path(known).suffix == ".elf"]  # the others need a monitor
    if name in bundled:
        return path(name)
    raise UnknownNameError("image", name, bundled, layer="loader")


def campaign_run(name: str) -> tuple[Path, int] | None:
    """Folder and number of `FOLDER:NUMBER`, a run of a campaign; None where it is not one."""
    folder, colon, number = name.rpartition(":")
    there = colon and number.isdigit() and (Path(folder) / "plan.json").exists()
    return (Path(folder), int(number)) if there else None
