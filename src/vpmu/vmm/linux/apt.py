"""APT with a private configuration: riscv64 packages of one Debian suite on any machine that has APT.

The machine's package state is neither read nor changed. Its mirror, its proxy and its trusted keys are used,
and APT itself checks the archive's signature and every file's hash.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpmu.vmm.linux.cache import FetchError
from vpmu.vmm.linux.sources import AptSource

ARCHITECTURE = "riscv64"

# The machine's hooks would refresh its own caches; its pins and default release mean other archives.
CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::NeverAutoRemove;
#clear APT::Default-Release;
APT::Architecture "riscv64";
#clear APT::Architectures;
APT::Architectures { "riscv64"; };
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Dir::State::status "/dev/null";
Dir::Etc::preferences "/dev/null";
"""

OUT_OF_STEP = r"Hash Sum mismatch|File has unexpected size|Mirror sync in progress"

# What APT says -> what it means to somebody who wants to boot a guest. The first pattern found wins.
DIAGNOSES: tuple[tuple[str, str], ...] = (
    (r"NO_PUBKEY|is not signed|EXPKEYSIG|BADSIG|KEYEXPIRED|signature.* invalid|couldn't be verified"
     r"|Missing key|Sub-process .*(gpgv|sqv).* returned|verification failed",
     "APT cannot verify the archive's signature with this machine's keys (see debian-archive-keyring)"),
    (r"No packages found|Unable to locate package|has no installation candidate",
     "the archive does not have the packages of a guest"),
    (r"No space left|enough free space", "the cache folder's disk is full"),
    (r"Read-only file system|Permission denied", "the cache folder cannot be written"),
    (r"Could not resolve|Temporary failure resolving|Could not connect|Cannot initiate the connection"
     r"|timed out|Connection (refused|failed|reset)|Unable to connect|Network is unreachable|No route to",
     "no connection to the Debian mirror"),
    (OUT_OF_STEP,
     "the mirror's files do not match its index (it may be changing right now: try again later)"),
    (r"\b(40[0-9]|5[0-9][0-9]) +\w+|does not have a Release file|File not found|No such file",
     "the mirror refused the download"),
)  # fmt: skip


class MirrorOutOfStep(FetchError):
    """The mirror's files are not those of the index that it serves under this name of the suite."""


@dataclass(frozen=True, slots=True)
class Package:
    """What the index says of one package; `size` is that of its file in bytes."""

    name: str
    version: str
    architecture: str
    section: str
    depends: str
    size: int

    @property
    def file_name(self) -> str:
        """As `apt-get download` names it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


class PrivateApt:
    """APT on one source, with all its state in `folder`; its processes hold `lock`, a file descriptor, open.

    APT ignores the death of who called it: the lock then stays until APT is done, too.
    """

    def __init__(self, folder: Path, source: AptSource, suite: str, lock: int | None = None) -> None:
        for tool in ("apt-get", "apt-cache", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise FetchError(f"fetching Debian needs APT, and {tool} is not on this machine")
        self.suite = suite
        self._held = () if lock is None else (lock,)
        self.folder = folder
        for name in ("lists/partial", "cache/archives/partial", "empty"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "debian.sources").write_text(source.stanza(suite, ARCHITECTURE), encoding="utf-8")
        (folder / "apt.conf").write_text(CONFIGURATION, encoding="utf-8")
        self._options = ["-c", str(folder / "apt.conf")]
        for key, value in {
            "Dir::Etc::sourcelist": folder / "debian.sources",
            "Dir::Etc::sourceparts": folder / "empty",
            "Dir::Etc::preferencesparts": folder / "empty",
            "Dir::State::Lists": folder / "lists",
            "Dir::Cache": folder / "cache",
        }.items():
            self._options += ["-o", f"{key}={value}"]
        if os.geteuid() == 0:
            # APT's download user cannot enter a private cache folder; the checks are the same without it.
            self._options += ["-o", "APT::Sandbox::User=root"]

    def update(self, progress: Callable[[float], None]) -> None:
        """Read the suite's signed index; FetchError when it cannot be had or trusted."""
        self._run(["apt-get", "update"], progress)

    def codename(self) -> str:
        """The release that the signed index which `update` has read is of: `trixie`, also under `stable`."""
        for index in sorted((self.folder / "lists").glob("*Release")):
            if match := re.search(r"^Codename: (\S+)$", index.read_text("utf-8", "replace"), re.MULTILINE):
                return match[1]
        return ""

    def show(self, names: Sequence[str]) -> list[Package]:
        """The candidate version of each package; FetchError when the index has none of one of them."""
        try:
            text = self._run(["apt-cache", "show", "--no-all-versions", *names])
        except FetchError as error:
            if "No packages found" not in error.what:  # that is said below, with names
                raise
            text = ""
        packages: list[Package] = []
        for stanza in text.split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.MULTILINE))
            if {"Package", "Version", "Size"} <= fields.keys():
                packages.append(Package(
                    name=fields["Package"], version=fields["Version"], size=int(fields["Size"]),
                    architecture=fields.get("Architecture", ""), section=fields.get("Section", ""),
                    depends=fields.get("Depends", ""),
                ))  # fmt: skip
        if missing := sorted(set(names) - {package.name for package in packages}):
            raise FetchError(f"suite {self.suite} has no {ARCHITECTURE} package {', '.join(missing)}")
        return packages

    def closure(self, name: str) -> list[str]:
        """Names of everything that APT would install for a package on an empty system, itself included."""
        output = self._run(["apt-get", "install", "--print-uris", "-y", "-qq", name])
        return [match[1] for match in re.finditer(r"^'[^']*' ([^_\s]+)_\S+ \d+", output, re.MULTILINE)]

    def download(
        self, packages: Sequence[Package], into: Path, progress: Callable[[float], None]
    ) -> list[Path]:
        """The packages' files, in the packages' order; files that are there and match the index are kept."""
        self._run(["apt-get", "download", *(f"{p.name}={p.version}" for p in packages)], progress, cwd=into)
        files = [into / package.file_name for package in packages]
        if missing := [path.name for path in files if not path.is_file()]:
            raise FetchError(f"APT brought no file {', '.join(missing)}")
        return files

    def _run(
        self, command: list[str], progress: Callable[[float], None] | None = None, cwd: Path | None = None
    ) -> str:
        """Standard output of one APT command; FetchError with a diagnosis when it fails."""
        status_read, status_write = os.pipe()
        arguments = [command[0], *self._options, "-o", f"APT::Status-Fd={status_write}", *command[1:]]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            try:
                process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd or self.folder,
                    pass_fds=(status_write, *self._held), env={**os.environ, "LC_ALL": "C", "LANGUAGE": "C"},
                )  # fmt: skip
            finally:
                os.close(status_write)
            try:
                with os.fdopen(status_read, encoding="utf-8", errors="replace") as status:
                    for line in status:
                        # dlstatus:FILE:PERCENT:DESCRIPTION
                        fields = line.split(":")
                        if progress and fields[0] == "dlstatus" and len(fields) > 2:
                            progress(float(fields[2]) / 100)
                process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
            out.seek(0)
            err.seek(0)
            output, errors = out.read(), err.read()
        if process.returncode != 0:
            kind = MirrorOutOfStep if re.search(OUT_OF_STEP, errors) else FetchError
            raise kind(diagnose(errors, process.returncode))
        return output


def diagnose(errors: str, status: int) -> str:
    """One line for what APT printed on standard error: our meaning, and its own first words."""
    lines = [line.strip() for line in errors.splitlines() if line.startswith(("E:", "W:", "Err:"))]
    for pattern, meaning in DIAGNOSES:
        for line in lines:
            if re.search(pattern, line):
                return f"{meaning} (APT says: {line[2:].strip()})"
    first = next((line for line in lines if line.startswith("E:")), None)
    return f"APT failed: {first[2:].strip()}" if first else f"APT failed with exit status {status}"
