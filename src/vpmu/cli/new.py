"""Make a folder with a guest program that builds, runs and is tested: start code, SBI calls, a linker script,
a main of a few lines, a Makefile, tests for pytest. docs/write-a-guest.md says what is what.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ..errors import FileError, UsageError
from ..files import read_text, write_file
from .options import Subparsers, add_json
from .output import print_json

RUNTIME = ("guest.h", "guest.ld", "runtime.c", "sbi.h", "start.S")
TEMPLATE = {"main.c": "main.c", "Makefile": "Makefile", "test_guest.py.in": "test_{name}.py"}
"""File of the template -> file of the folder."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu new`."""
    parser = subparsers.add_parser("new", description=__doc__)
    parser.add_argument("what", choices=("guest",), help="what is made")
    parser.add_argument("folder", metavar="FOLDER", help="where; its last part is the guest's name")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the folder; 0."""
    folder = Path(args.folder)
    name = folder.name
    if not NAME.fullmatch(name):
        raise UsageError("the name of a guest", expected="letters, digits, - and _", got=repr(name))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileError(folder, "is there already", expected="a new name, or an empty folder")
    made = files(name)
    was_there = folder.exists()
    try:
        for path, text in made.items():
            target = folder / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FileError.from_os_error(folder, error) from None
            write_file(target, text)
    except BaseException:  # nothing half made stays, so that the same command can be given again
        for path in made:
            (folder / path).unlink(missing_ok=True)
        for empty in (folder / "runtime", *(() if was_there else (folder,))):
            if empty.is_dir():
                empty.rmdir()
        raise
    if args.json:
        print_json({"folder": str(folder), "image": f"{folder / name}.elf", "files": sorted(made)})
        return 0
    print(f"{folder}: {', '.join(sorted(made))}")
    print(f"next: make -C {args.folder} && vpmu run {folder / name}.elf")
    return 0


def files(name: str) -> dict[str, str]:
    """The text of each file of a guest's folder, by path in it."""
    from .. import payloads

    source = Path(payloads.__file__).parent
    made = {f"runtime/{file}": read_text(source / "runtime" / file) for file in RUNTIME}
    for file, target in TEMPLATE.items():
        text = read_text(source / "template" / file).replace("@NAME@", name)
        made[target.format(name=name.replace("-", "_"))] = text
    return made
