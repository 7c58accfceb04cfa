"""Files of the host in a Linux guest, and files of the guest on the host.

In: an archive behind the initramfs. Out: a tar archive on the console when the command has ended. Relative
paths of the guest are those of the command's folder, /root.
"""

from __future__ import annotations

import os
import shlex
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from vpmu.errors import FileError, UsageError, VpmuError
from vpmu.files import read_bytes, write_file
from vpmu.vmm.linux import cpio, elf
from vpmu.vmm.linux.execution import command_bytes
from vpmu.vmm.linux.files_out import FilesOut, sent

HOME = PurePosixPath("/root")
COMMAND = "vpmu/command"
"""The user's own command, where files come out after it."""
LAYER = "guest file"


@dataclass(frozen=True, slots=True)
class FileIn:
    """`--file HOST[:GUEST]`: a file or folder of the host, and where it lies in the guest."""

    host: Path
    guest: PurePosixPath

    @classmethod
    def parse(cls, text: str) -> FileIn:
        """As on the command line. UsageError where no path of the guest can be meant."""
        host, guest = text, ""
        while not os.path.lexists(host) and ":" in host:  # a host's name may have colons of its own
            host, _, last = host.rpartition(":")
            guest = f"{last}:{guest}" if guest else last
        if not host or "\0" in text:
            raise UsageError("--file", expected="HOST[:GUEST]", got=repr(text), layer=LAYER)
        name = Path(os.path.abspath(host)).name  # noqa: PTH100  # a link's own name, not its target's
        path = in_guest(guest or name)
        return cls(Path(host), path / name if guest.endswith("/") else path)


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """`--share FOLDER[:GUEST][,ro]`: a folder of the host, and where the guest has it."""

    host: Path
    guest: PurePosixPath
    readonly: bool

    @classmethod
    def parse(cls, text: str) -> SharedFolder:
        """As on the command line. UsageError where it is no folder, or the guest cannot have it there."""
        plain = text.removesuffix(",ro") if not os.path.lexists(text) else text
        try:
            file = FileIn.parse(plain)
        except UsageError as error:
            raise UsageError(
                "--share", expected="FOLDER[:GUEST][,ro]", got=error.got, layer="share"
            ) from None
        if not file.host.is_dir():
            got = "a file" if file.host.exists() else "nothing there"
            raise FileError(file.host, "cannot be shared", expected="a folder", got=got, layer="share")
        if file.guest == PurePosixPath("/") or set("\n\r\\") & set(str(file.guest)):
            raise UsageError("--share", expected="a place below the guest's root", got=repr(str(file.guest)),
                             layer="share")  # fmt: skip
        return cls(file.host, file.guest, plain != text)


@dataclass(frozen=True, slots=True)
class FileOut:
    """`--get GUEST[:HOST]`: a file or folder of the guest, and where it goes on the host."""

    guest: PurePosixPath
    host: Path

    @classmethod
    def parse(cls, text: str) -> FileOut:
        """As on the command line. UsageError where it names nothing."""
        guest, colon, host = text.partition(":")
        path = in_guest(guest) if guest and "\0" not in text else None
        if path is None or not path.name or (colon and not host):
            raise UsageError("--get", expected="GUEST[:HOST]", got=repr(text), layer=LAYER)
        target = Path(host or path.name)
        return cls(path, target / path.name if target.is_dir() and host else target)


def in_guest(text: str) -> PurePosixPath:
    """An absolute path of the guest without dots in it. UsageError for one above its root."""
    parts: list[str] = []
    for part in (HOME / text).parts[1:]:
        if part == "..":
            if not parts:
                raise UsageError(
                    "a path of the guest", expected="one below its root", got=repr(text), layer=LAYER
                )
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath("/", *parts)


def archive(files: Sequence[FileIn]) -> bytes:
    """The files as a cpio archive. FileError names a file that cannot be brought."""
    entries: dict[str, cpio.Entry] = {}
    for file in files:
        for entry in _entries(file.host, file.guest):
            entries[entry.name] = entry  # a later --file wins, as a later copy would
    return cpio.write(entries.values()) if entries else b""


def _entries(host: Path, guest: PurePosixPath) -> Iterator[cpio.Entry]:
    try:
        top = host.stat()  # what is named may be a link; links inside a folder stay links
        if stat.S_ISREG(top.st_mode):
            yield _regular(host, str(guest), top.st_mode)
            return
        if not stat.S_ISDIR(top.st_mode):
            raise FileError(host, "cannot be brought", expected="a file or a folder", layer=LAYER)
        for folder, folders, names in os.walk(host, onerror=_raise):
            inside = guest / Path(folder).relative_to(host)
            if inside != inside.parent:
                yield cpio.directory(str(inside), stat.S_IMODE(Path(folder).stat().st_mode))
            for name in sorted([*names, *(name for name in folders if (Path(folder) / name).is_symlink())]):
                path = Path(folder) / name
                mode = path.lstat().st_mode
                if stat.S_ISLNK(mode):
                    yield cpio.symlink(str(inside / name), os.readlink(path))  # noqa: PTH115  # as it stands
                elif stat.S_ISREG(mode):
                    yield _regular(path, str(inside / name), mode)
                else:
                    raise FileError(path, "cannot be brought", expected="a file, a folder or a link",
                                    layer=LAYER)  # fmt: skip
    except OSError as error:
        raise FileError.from_os_error(error.filename or host, error) from None


def _raise(error: OSError) -> None:
    raise error


def _regular(path: Path, guest: str, mode: int) -> cpio.Entry:
    data = read_bytes(path, LAYER, 1 << 30)
    if data.startswith(b"\x7fELF") and mode & 0o111 and not _is_ours(data):
        raise FileError(path, "cannot run in the guest", expected="a program for riscv64",
                        got="an ELF file for another machine", layer=LAYER)  # fmt: skip
    return cpio.file(guest, data, stat.S_IMODE(mode))


def _is_ours(data: bytes) -> bool:
    return data.startswith(elf.ELF64_LITTLE) and data[18:20] == elf.EM_RISCV.to_bytes(2, "little")


class Getting:
    """The files that are to come out of one run: the script that sends them, and `out`, which takes them and
    passes all else on to `output`.
    """

    def __init__(self, files: Sequence[FileOut], output: Callable[[bytes], None] | None = None) -> None:
        self.files, self.out = files, FilesOut(output)

    def script(self) -> str:
        """Runs COMMAND, then sends each file that is there; its exit status is the command's."""
        lines = [f"sh /{COMMAND}", "status=$?"]
        for number, file in enumerate(self.files):
            name, folder = shlex.quote(file.guest.name), shlex.quote(str(file.guest.parent))
            there = shlex.quote(str(file.guest))
            lines.append(
                f"if [ -e {there} ] || [ -L {there} ]; then tar -c -f - -C {folder} -- {name} | "
                f"{sent(str(number))}; fi"
            )
        return "\n".join([*lines, "exit $status"])

    def command(self, text: str) -> dict[str, bytes | Path]:
        """The file that the script runs, for the exec archive: the user's own command."""
        return {COMMAND: command_bytes(text) + b"\n"}

    def save(self) -> list[str]:
        """Write what came; a line for each that did not. VpmuError for what cannot be written."""
        self.out.close()
        missing = []
        for number, file in enumerate(self.files):
            data = self.out.file(str(number))
            if data is None:
                missing.append(f"{LAYER}: {file.guest} did not come out: no such file when the command ended")
            else:
                unpack(data, file)
        return missing


def unpack(data: bytes, file: FileOut) -> None:
    """Put what a guest sent in its place. A guest is not trusted: nothing is written outside of it.
    VpmuError names what is not written.
    """
    where = file.host
    try:
        with tarfile.open(fileobj=BytesIO(data)) as tar:
            for member in tar:
                below = PurePosixPath(member.name).relative_to(file.guest.name)
                target = where / below
                if ".." in below.parts or not _inside(where, target):
                    raise VpmuError(f"{file.guest}: not written, it leads outside: {member.name!r}",
                                    layer=LAYER)  # fmt: skip
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif member.isfile() and (stream := tar.extractfile(member)) is not None:
                    write_file(target, stream.read())
                    target.chmod(member.mode & 0o777 | stat.S_IRUSR | stat.S_IWUSR)
                elif member.issym() and _inside(where, target.parent / member.linkname):
                    target.unlink(missing_ok=True)
                    target.symlink_to(member.linkname)
                elif member.islnk():
                    first = where / PurePosixPath(member.linkname).relative_to(file.guest.name)
                    if not _inside(where, first):
                        raise ValueError(f"a link outside: {member.linkname!r}")
                    write_file(target, read_bytes(first))
                else:
                    raise VpmuError(f"{file.guest}: not written: {member.name!r} is no file, folder or link "
                                    "inside of it", layer=LAYER)  # fmt: skip
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise VpmuError(f"{file.guest} came damaged out of the guest: {error}", layer=LAYER) from None
    except OSError as error:
        raise FileError.from_os_error(error.filename or where, error) from None


def _inside(top: Path, target: Path) -> bool:
    """Whether a path stays at or below `top`, links that are there followed."""
    root = top.resolve() if not top.is_symlink() else top.parent.resolve() / top.name
    parent = target.parent.resolve() / target.name if target != top else root
    return parent.resolve().is_relative_to(root) or parent == root
