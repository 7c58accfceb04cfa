"""The mirror comes from the machine's own APT sources, in either format."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpmu.vmm.linux.apt import diagnose
from vpmu.vmm.linux.sources import AptSource, debian_sources, parse_deb822, parse_one_line, read_sources

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_one_line_format() -> None:
    text = f"""
# deb http://off.example/debian bookworm main
deb http://a.example/debian bookworm main contrib # comment
deb-src http://a.example/debian bookworm main
deb [arch=amd64,arm64 signed-by={KEYRING}] https://b.example/debian/ trixie main
deb [ trusted=yes ] cdrom:[Debian]/ trixie main
"""
    assert list(parse_one_line(text))[:2] == [
        AptSource("http://a.example/debian", "bookworm", ("main", "contrib"), None),
        AptSource("https://b.example/debian/", "trixie", ("main",), KEYRING),
    ]


def test_deb822_format() -> None:
    text = f"""
Types: deb deb-src
# a comment inside
URIs: http://a.example/debian http://b.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: {KEYRING}

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb-src
URIs: http://src.example/debian
Suites: trixie
Components: main
"""
    found = list(parse_deb822(text))
    assert {(s.uri, s.suite) for s in found} == {
        (f"http://{host}.example/debian", f"bookworm{more}") for host in "ab" for more in ("", "-updates")
    }
    assert {s.signed_by for s in found} == {KEYRING}


def test_a_key_inside_the_stanza_is_taken_over_verbatim() -> None:
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEX\n -----END PGP PUBLIC KEY BLOCK-----"
    text = f"Types: deb\nURIs: http://a/\nSuites: trixie\nComponents: main\nSigned-By:{key}\n"
    [source] = parse_deb822(text)
    stanza = source.stanza("trixie", "riscv64")
    assert f"Signed-By: {key}\n" in stanza
    assert list(parse_deb822(stanza)) == [source], "our stanza says the same"


def test_the_likeliest_archive_comes_first_and_each_once() -> None:
    def source(uri: str, suite: str, signed_by: str | None = KEYRING, component: str = "main") -> AptSource:
        return AptSource(uri, suite, (component,), signed_by)

    other = source("http://other.example/linux/debian", "bookworm", "/usr/share/keyrings/other.gpg")
    updates = source("http://a.example/debian", "bookworm-updates")
    plain = source("http://a.example/debian/", "bookworm")
    same = source("http://b.example/debian", "trixie")
    ignored = [
        source("http://s.example/debian-security", "bookworm-security"),
        source("http://u.example/ubuntu", "noble"),
        source("http://c.example/debian", "bookworm", component="contrib"),
        source("cdrom:[Debian]/", "trixie"),
    ]
    assert debian_sources([*ignored, other, updates, plain, same], "trixie") == [same, plain, other]


@pytest.mark.parametrize("name", ["x.sources", "x.list"])
def test_an_empty_file_names_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    assert read_sources(tmp_path / name) == []


@pytest.mark.parametrize(
    ("errors", "meaning"),
    [
        ("W: GPG error: x InRelease: The following signatures couldn't be verified because the public key "
         "is not available: NO_PUBKEY 0E98\nE: The repository 'x' is not signed.", "signature"),
        ("E: Failed to fetch x  Temporary failure resolving 'mirror.example'", "no connection"),
        ("E: Failed to fetch x  Could not connect to mirror.example:80 - connect (111: Connection refused)",
         "no connection"),
        ("E: Failed to fetch x.deb  403  Forbidden [IP: 192.0.2.1 80]", "refused the download"),
        ("E: Write error - write (28: No space left on device)", "disk is full"),
        ("E: Failed to fetch x.deb  Hash Sum mismatch\n   Hashes of expected:", "do not match its index"),
        ("E: List directory /r/partial is missing. - Acquire (30: Read-only file system)", "be written"),
        ("W: odd\nE: Something new", "APT failed: Something new"),
        ("", "exit status 100"),
    ],
)  # fmt: skip
def test_what_apt_says_is_explained(errors: str, meaning: str) -> None:
    line = diagnose(errors, 100)
    assert meaning in line
    assert "\n" not in line
