"""The Debian guest that was fetched; and a small signed Debian archive in a folder, to test fetching through
the real APT without a network.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vpmu.vmm.linux.cache import Cache, default_root
from vpmu.vmm.linux.fetch import DebianGuest, debian_guest
from vpmu.vmm.linux.sources import AptSource

TOOLS = ("apt-get", "apt-cache", "apt-config", "dpkg-deb", "gpg", "gpgv")
BUSYBOX = b"\x7fELF\x02\x01 \xae [\0[[\0" + b"\0".join(
    b"ash cat cttyhack dmesg echo ls mount poweroff seq setsid sh sleep stty true uname".split()
) + b"\0\xff\x01tail"  # fmt: skip
KERNEL = b"MZ" + bytes(0x36) + b"RSC\x05" + b"kernel" * 100


def elf(needed: list[str], interpreter: str | None = None) -> bytes:
    """A RISC-V ELF with just what a dynamic linker reads first."""
    base = 0x10000
    names, strings = [], b"\0"
    for name in needed:
        names.append(len(strings))
        strings += name.encode() + b"\0"
    headers = 3 if interpreter else 2
    interp = (interpreter or "").encode() + b"\0"
    at = 64 + 56 * headers
    interp_at, strings_at = at, at + len(interp)
    dynamic_at = strings_at + len(strings)
    tags = [(1, name) for name in names] + [(5, base + strings_at), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    total = dynamic_at + len(dynamic)
    out = b"\x7fELF\x02\x01\x01" + bytes(9)
    out += struct.pack("<HHIQQQIHHHHHH", 3, 243, 1, base, 64, 0, 5, 64, 56, headers, 0, 0, 0)
    out += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, total, total, 4096)
    out += struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, base + dynamic_at, 0, len(dynamic), len(dynamic), 8)
    if interpreter:
        out += struct.pack("<IIQQQQQQ", 3, 4, interp_at, base + interp_at, 0, len(interp), len(interp), 1)
    return out + interp + strings + dynamic


@dataclass
class LocalArchive:
    """A Debian archive of suite trixie with made-up packages, signed with a key of its own."""

    folder: Path
    home: Path
    keyring: Path
    stanzas: list[str] = field(default_factory=list)

    @property
    def source(self) -> AptSource:
        return AptSource(f"file:{self.folder}", "bookworm", ("main",), str(self.keyring))

    def add(
        self, name: str, files: Mapping[str, bytes | str], *, version: str = "1:1.0-1", section: str = "libs",
        depends: str = "", architecture: str = "riscv64",
    ) -> Path:  # fmt: skip
        """Build a package; a str instead of bytes is a symlink's target."""
        tree = self.folder / "build" / name
        shutil.rmtree(tree, ignore_errors=True)
        (tree / "DEBIAN").mkdir(parents=True)
        control = (f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nSection: {section}\n"
                   "Maintainer: Nobody <nobody@example.org>\nDescription: made up\n")  # fmt: skip
        control += f"Depends: {depends}\n" if depends else ""
        (tree / "DEBIAN/control").write_text(control)
        for path, data in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, str):
                (tree / path).symlink_to(data)
            else:
                (tree / path).write_bytes(data)
        deb = self.folder / "pool" / f"{name}_{version.split(':')[-1]}_{architecture}.deb"
        deb.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb],
                       check=True, capture_output=True)  # fmt: skip
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        file = f"Filename: pool/{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
        self.stanzas.append(control + file)
        return deb

    def publish(self, name: str = "trixie", codename: str = "trixie") -> None:
        """Write the index of the suite that the archive serves as `name`, and sign it."""
        suite = self.folder / "dists" / name
        (suite / "main/binary-riscv64").mkdir(parents=True, exist_ok=True)
        index = "\n".join(self.stanzas).encode()
        lines = ["Origin: Debian", "Suite: stable", f"Codename: {codename}", "Architectures: riscv64",
                 "Components: main", "Date: Sat, 01 Jan 2022 00:00:00 UTC", "SHA256:"]  # fmt: skip
        for name, data in (("Packages", index), ("Packages.gz", gzip.compress(index, mtime=0))):
            (suite / "main/binary-riscv64" / name).write_bytes(data)
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-riscv64/{name}")
        release = suite / "Release"
        release.write_text("\n".join(lines) + "\n")
        signed = str(suite / "InRelease")
        sign = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--clearsign", "-o", signed]
        subprocess.run([*sign, release], check=True, capture_output=True)


@pytest.fixture(scope="module")
def debian() -> DebianGuest:
    """The fetched guest; a test run does not download it."""
    if Cache(default_root() / "debian-trixie").current() is None:
        pytest.skip("no Debian guest in the cache: vpmu fetch debian")
    return debian_guest()


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """(gpg home, exported keyring)."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    # gpg-agent's socket path must be short
    home = tmp_path_factory.mktemp("k")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "test@example.org", "ed25519", "sign", "never"],
                   check=True, capture_output=True)  # fmt: skip
    keyring = home / "keyring.gpg"
    subprocess.run([*gpg, "--output", str(keyring), "--export"], check=True, capture_output=True)
    yield home, keyring
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=False, capture_output=True)


@pytest.fixture
def archive(tmp_path: Path, signing_key: tuple[Path, Path]) -> LocalArchive:
    """The archive with everything that a guest needs, and some packages that it does not."""
    made = LocalArchive(tmp_path / "archive", *signing_key)
    lib = "usr/lib/riscv64-linux-gnu"
    release = "6.99.1+deb13-riscv64"
    made.add("linux-image-riscv64", {}, section="kernel", depends=f"linux-image-{release} (= 1:1.0-1)")
    kernel = {"boot/System.map": b"", f"boot/vmlinux-{release}": KERNEL}
    made.add(f"linux-image-{release}", kernel, section="kernel")
    made.add("busybox-static", {"usr/bin/busybox": BUSYBOX}, section="shells")
    perf = {"usr/bin/perf": elf(["libtop.so.2", "libc.so.6"], "/lib/ld-test.so.1")}
    made.add("linux-perf", perf, section="kernel", depends="libtop2, libc6 (>= 0.5), interpreter, libunused1")
    top: dict[str, bytes | str] = {
        f"{lib}/libtop.so.2": "libtop.so.2.7",
        f"{lib}/libtop.so.2.7": elf(["libdeep.so.1"]),
    }
    made.add("libtop2", top, depends="libdeep1")
    made.add("libdeep1", {f"{lib}/libdeep.so.1": elf(["libc.so.6"])}, depends="libc6")
    libc = {f"{lib}/libc.so.6": elf(["ld-test.so.1"]), f"{lib}/ld-test.so.1": elf([])}
    made.add("libc6", {**libc, "usr/lib/ld-test.so.1": "riscv64-linux-gnu/ld-test.so.1"})
    made.add("libunused1", {f"{lib}/libunused.so.1": elf([])})
    made.add("interpreter", {"usr/bin/interpreter": b"big"}, section="python")
    made.publish()
    return made
