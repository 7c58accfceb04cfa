"""A Debian root with systemd as a disk image, made of Debian's packages, whose scripts do not run: what they
would make is made here. `python tests/linux/debian_root.py` fetches the packages; tests do not.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
import time
from pathlib import Path

from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.cache import Cache, suite_cache
from vpmu.vmm.linux.packages import packages

PACKAGES = (
    "base-files", "base-passwd", "bash", "coreutils", "libpam-modules", "libpam-runtime", "login", "mount",
    "passwd", "systemd", "systemd-sysv", "udev", "util-linux",
)  # fmt: skip
FOLDERS = (
    "dev", "proc", "sys", "run", "tmp", "root", "home", "mnt", "srv", "etc/pam.d", "var/lib", "var/log",
    "var/tmp", "var/cache", "usr/bin", "usr/lib",
)  # fmt: skip
LINKS = {"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "usr/sbin": "bin"}
PAM = (
    "{0} [success=1 default=ignore] pam_unix.so nullok",
    "{0} requisite pam_deny.so",
    "{0} required pam_permit.so",
)


def there() -> bool:
    """The packages are in the cache, and so is what makes an image."""
    digest = hashlib.sha256(",".join(sorted(PACKAGES)).encode()).hexdigest()[:16]
    cached = Cache(suite_cache("packages", "trixie", None).folder / digest).current()
    return cached is not None and shutil.which("mkfs.ext4") is not None


def image(folder: Path) -> Path:
    """The image, in `folder`."""
    top = folder / "root"
    for name in FOLDERS:
        (top / name).mkdir(parents=True, exist_ok=True)
    for name, target in LINKS.items():
        (top / name).symlink_to(target)
    for entry in cpio.read(packages(PACKAGES).archive.read_bytes()):
        path = top / entry.name
        if stat.S_ISDIR(entry.mode):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISLNK(entry.mode):
            path.symlink_to(entry.data.decode())
        else:
            path.write_bytes(entry.data)
            path.chmod(stat.S_IMODE(entry.mode))
    masters = top / "usr/share/base-passwd"
    (top / "etc/passwd").write_bytes((masters / "passwd.master").read_bytes().replace(b"root:*:", b"root:x:"))
    (top / "etc/group").write_bytes((masters / "group.master").read_bytes())
    (top / "etc/shadow").write_text("root::20000:0:99999:7:::\n")
    (top / "etc/hostname").write_text("disk\n")
    (top / "etc/machine-id").write_text("")
    (top / "usr/bin/sh").symlink_to("bash")
    for kind in ("auth", "account", "password"):
        (top / f"etc/pam.d/common-{kind}").write_text("".join(f"{line.format(kind)}\n" for line in PAM))
    (top / "etc/pam.d/common-session").write_text("session required pam_unix.so\n")
    for name in ("etc/.updated", "var/.updated"):  # systemd need not rebuild what was made of /usr
        (top / name).write_text("")
    made = folder / "debian.img"
    with made.open("wb") as stream:
        stream.truncate(192 << 20)
    tools = ["mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", str(top), str(made)]
    subprocess.run(tools, check=True, capture_output=True)
    shutil.rmtree(top)
    return made


if __name__ == "__main__":
    started = time.time()
    print(f"{len(packages(PACKAGES).versions)} packages, {time.time() - started:.0f} s")
