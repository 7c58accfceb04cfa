"""The transport and the disk behind it, as a driver sees them."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from vpmu import Machine
from vpmu.errors import FileError, MachineError, UsageError
from vpmu.vmm import devicetree
from vpmu.vmm.p9.folder import Share
from vpmu.vmm.snapshot import Snapshot
from vpmu.vmm.virtio.image import BLOCK, Disk, Image, total_of

from .virtio_driver import BUFFERS, DESCRIPTORS, DEVICE, DRIVER, RAM, SIZE, Driver

IN, OUT, FLUSH, GET_ID, DISCARD = 0, 1, 4, 8, 11
OK, IOERR, UNSUPP = 0, 1, 2
QUEUE = {"size": 16, "ready": 1, "descriptors": 0, "driver": 0, "device": 0, "seen": 0, "used": 0}
WRONG = (("size", 3), ("seen", 1 << 16), ("ready", 2))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Ten blocks, the last of them not whole, each sector with its number in it."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(struct.pack("<I", sector) * 128 for sector in range(10 * 8 - 3)))
    return path


def machine(*disks: Disk | str, **options: object) -> Machine:
    return Machine(memory=1 << 20, disks=[str(d) if isinstance(d, Path) else d for d in disks], **options)  # type: ignore[arg-type]


def sector(number: int) -> bytes:
    return struct.pack("<I", number) * 128


def test_identity_features_and_configuration(image: Path) -> None:
    driver = Driver(machine(str(image)))
    assert [driver.read(at) for at in (0, 4, 8)] == [0x74726976, 2, 2]
    driver.write(0x14, 1)
    assert driver.read(0x10) & 1  # VIRTIO_F_VERSION_1
    assert driver.read(0x100, 8) == 77
    assert driver.read(0x34) == 256
    driver.write(0x30, 1)
    assert (driver.read(0x34), driver.read(0x44)) == (0, 0)
    assert driver.read(0xB0) == 0xFFFFFFFF  # no shared memory


def test_features_that_were_not_offered_are_refused(image: Path) -> None:
    one = machine(str(image))
    assert not Driver(one, features=1 << 32 | 1 << 40).accepted
    assert not Driver(one, features=0).accepted  # not without VERSION_1
    assert Driver(one).accepted


def test_an_interrupt_comes_and_goes(image: Path) -> None:
    one = machine(str(image))
    assert one.plic is not None
    driver = Driver(one)
    irq = 1 << devicetree.VIRTIO_IRQ
    driver.block(IN, 0, room=512)
    assert driver.read(0x60) == 1
    assert one.plic._line == irq
    driver.write(0x64, 1)
    assert (driver.read(0x60), one.plic._line) == (0, 0)
    one.memory.write(DRIVER, b"\1\0")  # VIRTQ_AVAIL_F_NO_INTERRUPT
    driver.block(IN, 0, room=512)
    assert (driver.read(0x60), one.plic._line) == (0, 0)


def test_what_is_written_lies_on_top(image: Path) -> None:
    before = image.read_bytes()
    driver = Driver(machine(str(image)))
    assert driver.block(IN, 5, room=1024) == (OK, sector(5) + sector(6))
    assert driver.block(OUT, 7, b"a" * 1024) == (OK, b"")
    assert driver.block(IN, 6, room=2048) == (OK, sector(6) + b"a" * 1024 + sector(9))
    assert driver.block(OUT, 76, b"z" * 512) == (OK, b"")  # in the block that is not whole
    assert driver.block(IN, 75, room=1024) == (OK, sector(75) + b"z" * 512)
    assert driver.block(FLUSH, 0) == (OK, b"")
    assert image.read_bytes() == before


def test_what_is_beyond_the_end_or_odd_or_unknown(image: Path) -> None:
    driver = Driver(machine(str(image)))
    assert driver.block(IN, 76, room=1024) == (IOERR, bytes(1024))
    assert driver.block(OUT, 77, b"a" * 512)[0] == IOERR
    assert driver.block(OUT, (1 << 64) - 1, b"a" * 512)[0] == IOERR
    assert driver.block(IN, 0, room=100)[0] == IOERR
    assert driver.block(DISCARD, 0, bytes(16))[0] == UNSUPP
    assert driver.block(GET_ID, 0, room=20) == (OK, b"vpmu".ljust(20, b"\0"))


def test_read_only_and_writing_through(image: Path) -> None:
    before = image.read_bytes()
    driver = Driver(machine(Disk(str(image), "ro")))
    assert driver.read(0x10) >> 5 & 1  # VIRTIO_BLK_F_RO
    assert driver.block(OUT, 0, b"a" * 512)[0] == IOERR
    assert image.read_bytes() == before
    del driver
    driver = Driver(machine(Disk(str(image), "write")))
    assert driver.block(OUT, 1, b"a" * 512)[0] == OK
    assert driver.block(FLUSH, 0)[0] == OK
    assert image.read_bytes() == before[:512] + b"a" * 512 + before[1024:]


def test_an_image_that_became_shorter_is_an_error_of_the_disk(image: Path) -> None:
    driver = Driver(machine(str(image)))
    image.write_bytes(image.read_bytes()[:1024])
    assert driver.block(IN, 0, room=1024)[0] == OK
    assert driver.block(IN, 1, room=1024)[0] == IOERR


@pytest.mark.parametrize("block_size", [512, 4096, 12800])
def test_an_image_with_writes_is_what_a_file_would_be(block_size: int, image: Path) -> None:
    """Against a plain array of bytes, at random."""
    rng, model = random.Random(block_size), bytearray(image.read_bytes())
    one = Image(Disk(str(image)))
    for _ in range(300):
        at = rng.randrange(one.sectors) * 512
        size = min(rng.randrange(1, block_size // 512 + 1) * 512, one.size - at)
        if rng.random() < 0.5:
            data = rng.randbytes(size)
            one.write(at, data)
            model[at : at + size] = data
        else:
            assert one.read(at, size) == bytes(model[at : at + size])
    assert one.read(0, one.size) == bytes(model)
    assert one.sum == total_of(one.written)


# ------------------------------------------------------------ a driver that is not to be trusted


@pytest.mark.parametrize(
    ("gpa", "size", "flags", "following"),
    [
        (BUFFERS, 16, 1, 0),  # a loop
        (BUFFERS, 16, 1, SIZE),  # out of the table
        (0x1000, 16, 0, 0),  # not in memory
        (RAM + (1 << 20) - 8, 16, 0, 0),
        ((1 << 64) - 8, 16, 0, 0),
        (BUFFERS, (1 << 32) - 1, 0, 0),
        (BUFFERS, 8, 0, 0),  # no header, no status
        (BUFFERS, 24, 4, 0),  # an indirect table of one and a half
        (DESCRIPTORS, 16, 4, 0),  # one that is in itself
        (0, 1 << 20, 4, 0),
    ],
)
def test_a_broken_queue_asks_for_a_reset(
    gpa: int, size: int, flags: int, following: int, image: Path
) -> None:
    driver = Driver(machine(str(image)))
    driver.describe(0, gpa, size, flags, following)
    driver.offer(0)
    assert driver.read(0x70) & 0x40  # DEVICE_NEEDS_RESET
    assert driver.read(0x60) == 2
    driver.offer(0)  # nothing more is done
    assert Driver(driver.machine).block(IN, 3, room=512) == (OK, sector(3))


@pytest.mark.parametrize("slot", [0, 1])
def test_random_drivers(slot: int, image: Path) -> None:
    """Whatever is written to registers and rings of a disk and of a share: no traceback, no end of time, and
    the files are as they were.
    """
    before, rng = image.read_bytes(), random.Random(13)
    one = machine(str(image), shares=[Share(str(image.parent), "t")])
    for _ in range(150):
        driver = Driver(one, slot, features=1 << 32 | rng.getrandbits(32) & 1 << 28)
        for _ in range(20):
            match rng.randrange(4):
                case 0:
                    driver.write(
                        rng.randrange(0, 0x120, 4), rng.choice((0, 1, 8, 15, 255, rng.getrandbits(32)))
                    )
                case 1:
                    for number in range(SIZE):
                        gpa = rng.choice((BUFFERS, DESCRIPTORS, DEVICE, rng.getrandbits(64), RAM + 0xFFFF0))
                        size = rng.choice((0, 1, 16, 512, 0x10000, rng.getrandbits(32)))
                        driver.describe(number, gpa, size, rng.randrange(8), rng.randrange(SIZE + 2))
                case 2:
                    where = rng.choice((DRIVER, DEVICE, DESCRIPTORS))
                    one.memory.write(where + rng.randrange(64), rng.randbytes(8))
                case 3:
                    driver.offer(rng.randrange(SIZE + 2))
                    driver.read(rng.randrange(0, 0x140), rng.choice((1, 2, 4, 8)))
    assert image.read_bytes() == before
    assert [path.name for path in image.parent.iterdir()] == [image.name]


# ------------------------------------------------------------ snapshots and hashes


def test_a_disk_goes_back_with_its_machine(image: Path, tmp_path: Path) -> None:
    one = machine(str(image))
    driver = Driver(one)
    driver.block(OUT, 3, b"a" * 512)
    snapshot, digest = one.snapshot(), one.state_hash()
    driver.block(OUT, 3, b"b" * 512)
    assert one.state_hash() != digest
    one.restore(snapshot)
    assert one.state_hash() == digest
    snapshot.save(tmp_path / "s")
    for other in (one, snapshot.machine(), Snapshot.load(tmp_path / "s").machine()):
        assert other.state_hash() == digest
        again = Driver.__new__(Driver)
        again.machine, again.base, again.index, again.seen = other, driver.base, 1, 1
        assert again.block(IN, 2, room=1024) == (OK, sector(2) + b"a" * 512)


def test_another_image_is_another_machine(image: Path, tmp_path: Path) -> None:
    """The content counts, not where it lies."""
    other = tmp_path / "other.img"
    other.write_bytes(image.read_bytes())
    snapshot = machine(str(image)).snapshot()
    same = machine(str(other))
    same.restore(snapshot)
    assert same.state_hash() == machine(str(image)).state_hash()
    other.write_bytes(sector(1) + image.read_bytes()[512:])
    different = machine(str(other))
    with pytest.raises(MachineError, match="virtio devices"):
        different.restore(snapshot)
    assert different.state_hash() != same.state_hash()


def test_holes_are_no_content(tmp_path: Path) -> None:
    """A sparse file and a full one with the same bytes."""
    data = bytes(3 << 20) + b"x" * 4096 + bytes(2 << 20)
    (tmp_path / "full").write_bytes(data)
    with (tmp_path / "sparse").open("wb") as stream:
        stream.seek(3 << 20)
        stream.write(b"x" * 4096)
        stream.truncate(len(data))
    full, sparse = Image(Disk(str(tmp_path / "full"))), Image(Disk(str(tmp_path / "sparse")))
    assert full.digest() == sparse.digest()


def test_a_disk_that_is_written_does_not_go_back(image: Path) -> None:
    with pytest.raises(MachineError, match="writes on top"):
        machine(Disk(str(image), "write")).snapshot()


def test_a_snapshot_file_is_no_way_to_files_of_the_host(image: Path, tmp_path: Path) -> None:
    """Whoever made it up: it opens nothing for writing, and shares nothing."""
    snapshot = machine(str(image)).snapshot()
    for argument, value in (("disks", ((str(image), "write"),)), ("shares", ((str(tmp_path), "t", False),))):
        made = machine(str(image)).snapshot()
        made.arguments = {**snapshot.arguments, argument: value}
        if argument == "shares":
            with pytest.raises(MachineError, match="without shares"):
                made.save(tmp_path / "s")
            continue
        made.save(tmp_path / "s")
        with pytest.raises(FileError, match="change files of this host"):
            Snapshot.load(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", -1), ("interrupt", 1 << 40), ("queues", []), ("queues", [{}]),
        *(("queues", [{**QUEUE, name: value}]) for name, value in WRONG),
        ("backend", {"written": {}}),
        ("backend", {"written": {0: b"short"}, "sum": 0}),
        ("backend", {"written": {0: bytes(BLOCK)}, "sum": 1}),
        ("backend", {"written": {99: bytes(BLOCK)}, "sum": total_of({99: bytes(BLOCK)})}),
    ],
)  # fmt: skip
def test_nonsense_in_a_snapshot_file(name: str, value: object, image: Path, tmp_path: Path) -> None:
    snapshot = machine(str(image)).snapshot()
    snapshot.devices["virtio"][0][name] = value  # type: ignore[index]
    snapshot.save(tmp_path / "s")
    target = machine(str(image))
    before = target.state_hash()
    with pytest.raises(FileError, match="makes no sense"):
        target.restore(Snapshot.load(tmp_path / "s"))
    assert target.state_hash() == before


# ------------------------------------------------------------ what is no disk


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a disk image"), (b"x" * 511, "times 512 bytes, got 511"), (b"x" * 4097, "got 4097"),
        (b"QFI\xfb" + bytes(508), "qemu-img convert.*got qcow2"), (b"\x1f\x8b" + bytes(510), "got gzip"),
        (b"KDMV" + bytes(508), "got VMDK"), (b"\x7fELF" + bytes(508), "got ELF"),
    ],
)  # fmt: skip
def test_files_that_are_no_image(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(content)
    with pytest.raises(FileError, match=message):
        machine(str(tmp_path / "i"))


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        machine(str(tmp_path / "none"))
    for folder in (str(tmp_path), Disk(str(tmp_path), "write"), "/dev/null"):
        with pytest.raises(FileError, match=r"directory|not a disk image"):
            machine(folder)
    with pytest.raises(FileError):
        machine("a\0b")


def test_how_a_disk_is_named(tmp_path: Path) -> None:
    assert Disk.parse("a.img") == Disk("a.img", "copy")
    assert Disk.parse("a,b.img,ro") == Disk("a,b.img", "ro")
    assert Disk.parse("a.img,write") == Disk("a.img", "write")
    assert Disk.parse("a.img,rw") == Disk("a.img,rw")  # a name
    for text in ("", ",ro"):
        with pytest.raises(UsageError, match="IMAGE"):
            Disk.parse(text)
    (tmp_path / "i").write_bytes(bytes(512))
    with pytest.raises(UsageError, match="mode of a disk"):
        machine(Disk(str(tmp_path / "i"), "rw"))


def test_nobody_writes_under_anothers_feet(image: Path) -> None:
    readers = [machine(str(image)), machine(Disk(str(image), "ro"))]
    with pytest.raises(FileError, match="in use"):
        machine(Disk(str(image), "write"))
    del readers[:]
    writer = machine(Disk(str(image), "write"))
    with pytest.raises(FileError, match="in use"):
        machine(str(image))
    assert writer.board.virtio


def test_slots_are_counted(image: Path) -> None:
    assert len(machine(*[str(image)] * 7).board.virtio) == 7
    with pytest.raises(MachineError, match="at most 7"):
        machine(*[str(image)] * 8)


def test_the_tree_names_devices_only_where_there_are_any(image: Path) -> None:
    assert b"virtio,mmio" not in devicetree.build(plic=True)
    tree = devicetree.build(plic=True, virtio=2)
    assert tree.count(b"virtio,mmio") == 2
    assert b"virtio_mmio@10002000" in tree
    assert devicetree.build(plic=True, virtio=0) == devicetree.build(plic=True)
