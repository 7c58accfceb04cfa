"""Disks, shares and modules in the stock Debian guest. Needs what `vpmu fetch debian` and one boot with
`--modules ext4` bring; the whole Debian on a disk also what tests/linux/debian_root.py fetches.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.vmm.isa import FIRMWARE_ISA
from vpmu.vmm.linux import start
from vpmu.vmm.linux.boot import LinuxBoot
from vpmu.vmm.linux.cache import Cache, default_root
from vpmu.vmm.linux.fetch import debian_guest
from vpmu.vmm.linux.modules import modules_of
from vpmu.vmm.p9.folder import Share
from vpmu.vmm.snapshot import Snapshot
from vpmu.vmm.virtio.plug import images

from . import debian_root

pytestmark = pytest.mark.slow
Out = pytest.CaptureFixture[str]
SH = "#!/bin/sh\n"
FURTHER = 8_000_000
"""Instructions from a snapshot to where two runs are compared."""


@pytest.fixture(scope="module", autouse=True)
def modules() -> None:
    """The kernel and its modules; a test run does not download them."""
    guest, modules = (Cache(default_root() / f"{kind}-trixie").current() for kind in ("debian", "modules"))
    if guest is None:
        pytest.skip("no Debian guest in the cache: vpmu fetch debian")
    if modules is None or modules.release != guest.release:
        pytest.skip("no modules of its kernel in the cache: vpmu boot --modules ext4 --exec true")


@pytest.fixture
def ext4(tmp_path: Path) -> Path:
    """A disk with a file system and a file on it."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("on the disk\n")
    disk = tmp_path / "disk.img"
    with disk.open("wb") as stream:
        stream.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", str(tmp_path / "tree"), str(disk)], check=True)
    return disk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to share."""
    top = tmp_path / "shared"
    (top / "sub").mkdir(parents=True)
    (top / "f").write_text("of the host\n")
    (top / "run").write_text(f"{SH}echo ran in $PWD\n")
    (top / "run").chmod(0o755)
    (top / "out").symlink_to("/etc/group")
    return top


def boot(capfd: Out, *options: str) -> tuple[int, str, str]:
    capfd.readouterr()
    status = main(["boot", *options])
    return status, *capfd.readouterr()


@pytest.mark.parametrize("machine", [(), ("--smp", "2"), ("--isa", "rv64gch")])
def test_a_disk_is_read_and_its_file_stays(machine: tuple[str, ...], ext4: Path, capfd: Out) -> None:
    before = ext4.read_bytes()
    command = (
        "mkdir /m; mount /dev/vda /m; cat /m/a; dd if=/dev/urandom of=/m/b bs=64k count=20 2>/dev/null;"
        "md5sum < /m/b > /s; umount /m; echo 3 > /proc/sys/vm/drop_caches; mount /dev/vda /m;"
        "md5sum < /m/b | cmp - /s && echo same"
    )
    status, out, err = boot(capfd, *machine, "--disk", str(ext4), "--exec", command)
    assert (status, out) == (0, "on the disk\nsame\n"), err
    assert ext4.read_bytes() == before


def test_a_disk_that_is_written(ext4: Path, capfd: Out) -> None:
    command = "mkdir /m; mount /dev/vda /m; echo more > /m/b; umount /m"
    assert boot(capfd, "--disk", f"{ext4},write", "--exec", command)[0] == 0
    if shutil.which("debugfs") is not None:
        read = subprocess.run(["debugfs", "-R", "cat b", str(ext4)], check=True, capture_output=True)
        assert read.stdout == b"more\n"
    status, out, _ = boot(
        capfd, "--disk", f"{ext4},ro", "--exec", "mkdir /m; mount -o ro /dev/vda /m; cat /m/b"
    )
    assert (status, out) == (0, "more\n")
    status, _, err = boot(capfd, "--disk", f"{ext4},ro", "--exec", "echo x > /dev/vda")
    assert status == 1
    assert "Operation not permitted" in err or "Read-only" in err


@pytest.mark.parametrize("machine", [(), ("--profile", "opensbi-1.6")])
def test_a_share_is_both_sides(machine: tuple[str, ...], folder: Path, capfd: Out) -> None:
    command = (
        "cd shared && cat f && ./run && cmp out /etc/group && echo guest > new && mkdir d && mv new d/ &&"
        "ln -s d/new l && cat l && chmod 600 f && cp -r sub sub2 && rm -r sub &&"
        "seq 100000 > big && tail -n 1 big"
    )
    status, out, err = boot(capfd, *machine, "--share", str(folder), "--exec", command)
    assert (status, out) == (0, "of the host\nran in /root/shared\nguest\n100000\n"), err
    assert sorted(os.listdir(folder)) == ["big", "d", "f", "l", "out", "run", "sub2"]  # noqa: PTH208
    assert (folder / "d" / "new").read_text() == "guest\n"
    assert (folder / "big").read_text().split() == [str(number) for number in range(1, 100_001)]
    assert (folder / "f").stat().st_mode & 0o777 == 0o600
    assert (folder / "l").readlink() == Path("d/new")


def test_shares_and_disks_together_and_a_place(ext4: Path, folder: Path, tmp_path: Path, capfd: Out) -> None:
    (tmp_path / "two").mkdir()
    command = (
        "mkdir /m; mount /dev/vda /m; cp /m/a /srv/x/; cp /mnt/r/f /srv/x; echo no > /mnt/r/f; ls -1 /srv/x"
    )
    status, out, err = boot(
        capfd, "--disk", str(ext4), "--share", f"{tmp_path}/two:/srv/x", "--share", f"{folder}:/mnt/r,ro",
        "--exec", command,
    )  # fmt: skip
    assert (status, out) == (0, "a\nf\n"), err
    assert "Read-only file system" in err
    assert (tmp_path / "two" / "a").read_text() == "on the disk\n"
    assert (folder / "f").read_text() == "of the host\n"


def test_the_same_folder_gives_the_same_run(folder: Path, tmp_path: Path, capfd: Out) -> None:
    """On another day, in another place: to the instruction."""
    import json

    for path in (folder / "f", folder / "run", folder / "out", folder / "sub", folder):
        os.utime(path, ns=(5, 5), follow_symlinks=False)
    shutil.copytree(folder, tmp_path / "b" / "shared", symlinks=True)
    told = []
    for top in (folder, tmp_path / "b" / "shared"):
        command = "cd shared; ls -lai; echo x > y; rm f; ls -lai; stat y; df ."
        status, out, _ = boot(capfd, "--json", "--share", str(top), "--exec", command)
        answer = json.loads(out)
        told.append((status, answer["stdout"], answer["instructions"], answer["sbi_calls"]))
    assert told[0] == told[1]
    assert "shared" not in str(told[0][1]) or told[0][0] == 0


def test_modules_by_name(capfd: Out) -> None:
    status, out, err = boot(
        capfd, "--modules", "dummy,overlay", "--exec", "cut -d' ' -f1 /proc/modules; ls /vpmu"
    )
    assert (status, sorted(out.split())) == (0, ["dummy", "exec", "id", "init", "overlay", "start"]), err


def test_a_root_without_what_is_needed(ext4: Path, folder: Path, capfd: Out) -> None:
    for options, message in (
        (("--append", "root=/dev/vda", "--exec", "true"), "the root on /dev/vda has no /bin/sh"),
        (("--append", "root=/dev/vda"), "the root on /dev/vda has no /sbin/init"),
        (("--append", "root=/dev/vdb"), "/dev/vdb is not mounted as ext4"),
        (("--append", "root=/dev/vda rootfstype=vfat"), "/dev/vda is not mounted as vfat"),
        (("--append", "root=/dev/vda", "--share", f"{folder}:/srv"), "there is no folder /srv for the share"),
    ):
        status, _, err = boot(capfd, "--disk", str(ext4), *options)
        assert status == 1
        assert f"vpmu: guest: {message}" in err
        assert "hart 0" not in err


def test_what_does_not_fit(ext4: Path, capfd: Out) -> None:
    sid = default_root() / "debian-sid" / "Image"
    cases = [
        (("--modules", "nosuch"), "module: unknown module"),
        (("--initrd", str(default_root() / "debian-trixie" / "tiny.cpio"), "--modules", "ext4"), "--initrd"),
        (("--disk", str(ext4), "--append", "root=LABEL=x"), "expected a device"),
        *(
            (
                ("--disk", str(ext4), "--append", "root=/dev/vda", option, "/etc/hostname"),
                "with a root on a disk",
            )
            for option in ("--file", "--get")
        ),
        (("--share", str(ext4)), "cannot be shared"),
        (("--disk", str(ext4.parent)), "not a disk image"),
    ]
    if sid.exists():
        cases.append((("--kernel", str(sid), "--modules", "ext4"), "expected the kernel that they are of"))
    for options, message in cases:
        status, out, err = boot(capfd, *options, "--exec", "true")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err


@pytest.fixture(scope="module")
def debian_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole Debian."""
    if not debian_root.there():
        pytest.skip("no packages for a root in the cache, or no mkfs.ext4: python tests/linux/debian_root.py")
    return debian_root.image(tmp_path_factory.mktemp("root"))


def test_a_debian_on_a_disk_boots_to_its_login(debian_disk: Path, capfd: Out) -> None:
    before = debian_disk.read_bytes()
    _, out, err = boot(capfd, "--disk", str(debian_disk), "--append", "root=/dev/vda rw", "--timeout", "10s")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out)
    assert "Welcome to Debian GNU/Linux" in text, err
    assert "Reached target multi-user.target" in text
    assert re.search(r"^disk login: $", text.replace("\r", ""), re.MULTILINE), text[-500:]
    assert debian_disk.read_bytes() == before


def test_a_command_in_a_debian_on_a_disk(debian_disk: Path, folder: Path, capfd: Out) -> None:
    command = (
        "cat /etc/hostname; pwd; id -un; cat /srv/f; [ -c /dev/vda ] || [ -b /dev/vda ] && echo dev; exit 7"
    )
    status, out, err = boot(
        capfd, "--disk", str(debian_disk), "--append", "root=/dev/vda rw", "--share", f"{folder}:/srv",
        "--exec", command,
    )  # fmt: skip
    assert (status, out) == (7, "disk\n/root\nroot\nof the host\ndev\n"), err


@pytest.mark.parametrize("isa", [None, {"h"}])
def test_a_run_with_a_disk_and_a_share_goes_on_from_a_snapshot(
    isa: set[str] | None, ext4: Path, folder: Path, tmp_path: Path
) -> None:
    """In the middle of its writes: in this machine, in another one, and (without the share) from a file."""
    guest = debian_guest()
    found = modules_of(guest.release)
    command = (
        "mkdir /m; mount /dev/vda /m; for i in $(seq 60); do seq $i 500 > /m/$i; sync; "
        "[ -d s ] && cat s/f > /dev/null; done; echo 3 > /proc/sys/vm/drop_caches; md5sum /m/[0-9]*"
    )
    options = {} if isa is None else {"isa": {*FIRMWARE_ISA, *isa}, "profile": "opensbi-1.6"}
    for shares in ([Share(str(folder), "vpmu0")], []):
        mounts = [start.Mount("vpmu0", "/root/s")] * len(shares)
        names = (*start.FOR_DISKS, "ext4", *start.FOR_SHARES)
        archives = [found.archive(names), start.archive(None, mounts)]
        output = bytearray()
        boot = LinuxBoot(
            guest.kernel_image(), guest.initramfs(tiny=True), command=command, archives=archives, start=True,
            output=output.extend,
        )  # fmt: skip
        machine = boot.machine(disks=[str(ext4)], shares=shares, **options)
        while not boot.console.count(b"@vpmu-begin"):
            machine.run(max_instructions=20_000_000)
        machine.run(max_instructions=30_000_000)
        assert any(image.written for image in images(machine.board))
        snapshot, digest = machine.snapshot(), machine.state_hash()
        assert machine.run(max_instructions=FURTHER).stop == "budget"
        hashes = machine.state_hash()
        assert hashes != digest
        end = machine.run(max_instructions=2_000_000_000)
        assert (end.stop, output.count(b"/m/")) == ("exited", 60)
        others = [machine, snapshot.machine()]
        if not shares:
            snapshot.save(tmp_path / "s")
            others.append(Snapshot.load(tmp_path / "s").machine())
        for other in others:
            other.restore(snapshot)
            assert other.state_hash() == digest
            other.run(max_instructions=FURTHER)
            assert other.state_hash() == hashes
