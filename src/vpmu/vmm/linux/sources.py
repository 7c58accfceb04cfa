"""Where this machine's APT gets Debian from: its own sources, one-line and deb822 format (sources.list(5)).

No mirror is named here. What the machine trusts (Signed-By) is taken over with the mirror.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vpmu.files import read_bytes

# A suite name is only a hint that an archive is Debian's own; its signature and content decide.
DEBIAN_SUITES = ("buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid",
                 "oldoldstable", "oldstable", "stable", "testing", "unstable")  # fmt: skip
USABLE_SCHEMES = ("http", "https", "ftp", "tor+http", "tor+https", "mirror", "mirror+http", "mirror+https",
                  "mirror+file", "file", "copy")  # fmt: skip


@dataclass(frozen=True, slots=True)
class AptSource:
    """One archive of one suite as the machine names it; `signed_by` verbatim (files, fingerprints, a key)."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None

    def stanza(self, suite: str, architecture: str) -> str:
        """A deb822 source: from this archive only the package index of `suite` main for one architecture."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {suite}", "Components: main",
                 f"Architectures: {architecture}", "Targets: Packages"]  # fmt: skip
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def machine_sources() -> list[AptSource]:
    """All enabled binary sources of this machine's APT; empty when it has none that can be read."""
    shell = subprocess.run(
        ["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    paths = dict(word.split("=", 1) for word in shlex.split(shell.stdout) if "=" in word)
    found: list[Path] = [Path(paths["LIST"])] if "LIST" in paths else []
    if "PARTS" in paths and (parts := Path(paths["PARTS"])).is_dir():
        found += sorted(path for path in parts.iterdir() if path.suffix in (".list", ".sources"))
    return [source for path in found if path.is_file() for source in read_sources(path)]


def read_sources(path: Path) -> list[AptSource]:
    """The enabled `deb` sources of one file; its suffix tells the format, as APT does it."""
    text = read_bytes(path).decode(errors="replace")
    return list(parse_deb822(text) if path.suffix == ".sources" else parse_one_line(text))


def debian_sources(sources: Iterable[AptSource], suite: str) -> list[AptSource]:
    """Those that may be the Debian archive, the likeliest first, each archive once."""
    likely: dict[str, tuple[int, AptSource]] = {}
    for source in sources:
        base = re.sub(r"-(updates|backports|backports-sloppy|proposed-updates)$", "", source.suite)
        scheme = source.uri.split(":", 1)[0].lower()
        if "main" not in source.components or base not in DEBIAN_SUITES or scheme not in USABLE_SCHEMES:
            continue
        rank = 4 * (source.suite != suite) + 2 * (not _debian_keyring(source)) + (base != source.suite)
        key = source.uri.rstrip("/")
        if key not in likely or rank < likely[key][0]:
            likely[key] = (rank, source)
    return [source for _, source in sorted(likely.values(), key=lambda item: item[0])]


def _debian_keyring(source: AptSource) -> bool:
    return source.signed_by is None or "debian-archive" in source.signed_by


def parse_one_line(text: str) -> Iterator[AptSource]:
    """`deb [option=value ...] URI suite component...`"""
    pattern = re.compile(
        r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>.*)"
    )
    for line in text.splitlines():
        match = pattern.fullmatch(line.split("#", 1)[0].strip())
        if match is None:
            continue
        options = dict(word.split("=", 1) for word in (match["options"] or "").split() if "=" in word)
        signed_by = next((v.replace(",", " ") for k, v in options.items() if k.lower() == "signed-by"), None)
        yield AptSource(match["uri"], match["suite"], tuple(match["components"].split()), signed_by)


def parse_deb822(text: str) -> Iterator[AptSource]:
    """Stanzas of `Field: value`, with continuation lines; a stanza may name several URIs and suites."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t") and last:
                fields[last] += "\n" + line
            elif ":" in line:
                last, value = line.split(":", 1)
                last = last.strip().lower()
                fields[last] = value.strip()
        if fields.get("enabled", "yes").strip().lower() in ("no", "false", "without", "off", "disable", "0"):
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = tuple(fields.get("components", "").split())
                yield AptSource(uri, suite, components, fields.get("signed-by"))
