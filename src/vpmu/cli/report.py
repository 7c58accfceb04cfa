"""Write one page over a folder of results: runs, campaigns, conformance, comparisons, the catalogue of
faults, traces, flame graphs and JUnit files, each with what it came to, to filter and to open.

FOLDER holds what the commands have written: `--json` into files, folders of campaigns, `--trace`, `--html`,
`--junit`, flame graphs. A file is known by what is in it; others are passed over. Exit status 0; 2 where
there is nothing to show.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import FileError
from ..files import write_file
from .options import Subparsers, add_json
from .output import print_json
from .parser import out_file

PAGE = "index.html"


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu report`."""
    parser = subparsers.add_parser("report", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="where results are")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=out_file, help=f"the page (default: FOLDER/{PAGE})"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the page; the exit status."""
    from ..report.folder import page
    from ..report.found import READERS, look

    folder = Path(args.folder)
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing there"
        raise FileError(folder, "results", expected="a folder", got=got, layer="report")
    found, damaged = look(folder)
    if not found and not damaged:
        kinds = ", ".join(READERS)
        raise FileError(folder, "no results of vpmu", expected=f"files {kinds}", got="none", layer="report")
    target = Path(args.output) if args.output is not None else folder / PAGE
    write_file(str(target), page(folder.resolve().name, target, found, damaged))
    if args.json:
        print_json({
            "page": str(target),
            "results": [{"path": str(one.path), "kind": one.kind, "what": one.what,
                         "verdicts": [words for _, words in one.chips]} for one in found],
            "damaged": [{"path": str(path), "why": why} for path, why in damaged],
        })  # fmt: skip
    else:
        print(f"{target}: {len(found)} results" + (f", {len(damaged)} cannot be read" if damaged else ""))
    if args.open:
        import webbrowser

        webbrowser.open(target.resolve().as_uri())
    return 0
