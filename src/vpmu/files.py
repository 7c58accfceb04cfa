"""Files in and out: text and TOML are read here, with every refusal as one line, and files are written whole.

Written whole: beside the old one, synced, then renamed over it. A reader sees the old file or the new one, a
full disk leaves the old one, and what a killed writer leaves is removed by the next. Only what is written as
it comes (traces, journals) is not written this way.
"""

from __future__ import annotations

import errno
import marshal
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .errors import FileError

PART = ".part"
"""Ending of a file that is being written."""
MAX_TEXT, MAX_TOML = 256 << 20, 4 << 20
"""Bytes of a file that is text: what is longer is a mistake, or /dev/zero."""
_PACKAGE = os.path.dirname(__file__) + os.sep  # noqa: PTH120 - at every start
MAX_DEPTH = 32
"""Tables and lists inside one another in a TOML file."""


def read_bytes(
    path: str | Path, layer: str = "file", most: int = MAX_TEXT, kind: type[FileError] = FileError
) -> bytes:
    """The bytes of a file. FileError (`kind`): it cannot be read, or is larger than `most`."""
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise kind.from_os_error(path, error) from None
    except ValueError as error:  # a NUL in the name
        raise kind(repr(str(path)), str(error)) from None
    if len(data) > most:
        raise kind(path, "too large", expected=f"<= {most >> 20} MiB", got="more", layer=layer)
    return data


def read_text(
    path: str | Path, layer: str = "file", most: int = MAX_TEXT, kind: type[FileError] = FileError
) -> str:
    """The text of a file in UTF-8. FileError (`kind`), with the line where it is no text."""
    data = read_bytes(path, layer, most, kind)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line, got = data.count(b"\n", 0, error.start) + 1, f"byte {data[error.start]:#04x}"
        raise kind(path, "not a text file", line=line, expected="UTF-8", got=got, layer=layer) from None


def read_json(path: str | Path, layer: str = "file") -> Any:
    """The content of a JSON file. FileError."""
    import json

    text = read_text(path, layer)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise FileError(path, str(error)[:80], line=line, expected="JSON", layer=layer) from None


def read_toml(path: str | Path, layer: str = "file") -> tuple[dict[str, object], str]:
    """Content and text of a TOML file. FileError."""
    text = read_text(path, layer, MAX_TOML)
    if not str(path).startswith(_PACKAGE):
        return parse_toml(text, path, layer), text
    kept = _parsed_path(str(path))
    content = _load_parsed(kept, text)
    if content is None:
        content = parse_toml(text, path, layer)
        _keep_parsed(kept, text, content)
    return content, text


def _parsed_path(path: str) -> str:
    """Where the content of a TOML file of vpmu's own is kept, as Python keeps its own code: whoever can write
    there can write code. To import tomllib takes 4 ms, a tenth of a start.
    """
    folder, name = os.path.split(path)
    return f"{folder}/__pycache__/{name.removesuffix('.toml')}.{sys.implementation.cache_tag}.parsed"


def _load_parsed(kept: str, text: str) -> dict[str, object] | None:
    try:
        with open(kept, "rb") as stream:  # noqa: PTH123 - at every start
            of, content = marshal.load(stream)
    except (OSError, EOFError, ValueError, TypeError):
        return None
    return content if of == text and isinstance(content, dict) else None


def _keep_parsed(kept: str, text: str, content: dict[str, object]) -> None:
    """Where that can be; as Python does, not if it is asked not to."""
    if sys.dont_write_bytecode or sys.pycache_prefix is not None:
        return
    part = f"{kept}.{os.getpid()}"
    with suppress(OSError, ValueError):  # nobody may write there; a date, which marshal does not know
        data = marshal.dumps((text, content))
        Path(kept).parent.mkdir(exist_ok=True)
        Path(part).write_bytes(data)
        Path(part).replace(kept)


def parse_toml(text: str, path: str | Path, layer: str = "file") -> dict[str, object]:
    """The content of the text of a TOML file: integers fit 64 bits, as TOML has it, and depth is bounded, so
    that any value can be shown. FileError with the line.
    """
    import tomllib  # only here: its import costs milliseconds

    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        what = str(error) if found is None else str(error)[: found.start()]
        line = text.count("\n") + 1 if found is None else int(found[1])  # no place: at the end
        raise FileError(path, what, line=line, expected="TOML", layer=layer) from None
    except (RecursionError, ValueError) as error:  # a date or a number that Python does not have
        raise FileError(path, str(error), expected="TOML", layer=layer) from None
    level: list[object] = [content]
    for _ in range(MAX_DEPTH):
        tables = [value.values() if isinstance(value, dict) else value for value in level
                  if isinstance(value, dict | list)]  # fmt: skip
        level = [item for table in tables for item in table]
        if any(isinstance(item, int) and not -(1 << 63) <= item < 1 << 64 for item in level):
            raise FileError(path, "a number", expected="64 bits", got="more", layer=layer)
    if level:
        raise FileError(path, "too deep", expected=f"at most {MAX_DEPTH} levels", got="more", layer=layer)
    return content


def write_file(path: str | Path, content: str | bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file, whole or not at all; text as UTF-8, what UTF-8 has not by its number. FileError."""
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    with written(path) as stream:
        for part in (content,) if isinstance(content, bytes) else content:
            stream.write(part)


@contextmanager
def written(path: str | Path) -> Iterator[IO[bytes]]:
    """As `replacing`; FileError for what the operating system refuses."""
    try:
        with replacing(Path(path)) as stream:
            yield stream
    except OSError as error:
        raise FileError.from_os_error(path, error) from None
    except ValueError as error:  # a NUL in the name
        raise FileError(repr(str(path)), str(error)) from None


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content becomes the file `path` when the block ends well, and nothing otherwise.
    A link goes on pointing at the file; a device or a pipe is written to as it is. OSError.
    """
    target = path.resolve()
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        with target.open("wb") as device:
            yield device
        return
    _sweep(target)
    stream, part = _claim(target)
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _claim(target: Path) -> tuple[IO[bytes], Path]:
    """A new file beside `target`, held by a lock that ends with its writer."""
    import fcntl  # here: reading a file must not pay for it

    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666
    number = 0
    while True:
        part = target.with_name(f".{target.name[:200]}.{os.getpid()}-{number}{PART}")
        number += 1
        try:
            stream = os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode), "wb")
        except FileExistsError:
            continue
        with suppress(OSError):  # a file system without locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_nlink:  # nobody took it for a leftover before it was locked
            return stream, part
        stream.close()


def _sweep(target: Path) -> None:
    """Remove what writers of `target` left that were killed."""
    import fcntl

    head = f".{target.name[:200]}."
    for path in list(target.parent.iterdir()):
        if path.name.startswith(head) and path.name.endswith(PART):
            with suppress(OSError), path.open("rb") as stream:  # a writer holds it, or it is not ours
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # file systems that cannot
            raise
    finally:
        os.close(handle)
