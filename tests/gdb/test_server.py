"""The server as a debugger meets it: packets, registers, memory, points, and the way back."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from vpmu.gdb.description import CSR, PC, PRIV, VIRT
from vpmu.payloads import path
from vpmu.vmm.elf import symbols
from vpmu.vmm.machine import Machine

from .client import serving


def _machine(payload: str = "hello", **options: object) -> Machine:
    machine = Machine(**options)  # type: ignore[arg-type]
    machine.load(payload)
    return machine


def _symbols(payload: str) -> dict[str, int]:
    return dict(symbols(path(payload).read_bytes()))


def test_attach_break_continue_exit() -> None:
    with serving(_machine()) as (served, debugger):
        assert debugger.ask(b"?").startswith(b"T05thread:1;")
        entry = debugger.pc
        assert entry == 0x8020_0000
        assert debugger.ask(b"Z0,%x,4" % (entry + 4)) == b"OK"
        assert debugger.ask(b"vCont;c").startswith(b"T05thread:1;")
        assert debugger.pc == entry + 4
        assert debugger.ask(b"z0,%x,4" % (entry + 4)) == b"OK"
        assert debugger.ask(b"s").startswith(b"T05")
        assert debugger.pc == entry + 8
        assert b"replaylog:end;" in debugger.ask(b"c")
        assert "the run is over: shutdown" in debugger.said
        assert debugger.ask(b"c") == b"W00"
        assert served.wait().stop == "shutdown"


def test_back_to_the_beginning_and_on() -> None:
    with serving(_machine()) as (served, debugger):
        assert b"replaylog:begin;" in debugger.ask(b"bs")
        end = debugger.ask(b"c")
        last = debugger.position
        assert b"replaylog:end;" in end
        assert last == _instructions()
        debugger.ask(b"bs")
        assert debugger.position == last - 1
        assert b"replaylog:begin;" in debugger.ask(b"bc")
        assert debugger.position == 0
        debugger.monitor(f"goto {last // 2}")
        debugger.ask(b"c")
        assert debugger.position == last // 2
        straight = _machine()
        straight.run(last // 2)
        assert served.machine.state_hash() == straight.state_hash()


def _instructions() -> int:
    return _machine().run().instructions


def test_a_watchpoint_is_exact_in_both_directions() -> None:
    """Forwards it is told before the access is done, backwards before it is undone."""
    with serving(_machine("counting")) as (_, debugger):
        debugger.monitor("goto 2000")
        debugger.ask(b"c")
        stack = debugger.register(2) & ~7
        debugger.monitor("goto 0")
        debugger.ask(b"c")
        assert debugger.ask(b"Z2,%x,8" % stack) == b"OK"
        seen = []
        for _ in range(4):
            assert b"watch:%x;" % stack in debugger.ask(b"c")
            seen.append((debugger.position, debugger.ask(b"m%x,8" % stack)))
        for position, _value in reversed(seen[:-1]):
            assert b"watch:%x;" % stack in debugger.ask(b"bc")
            assert debugger.position == position + 1
        debugger.ask(b"bs")
        assert (debugger.position, debugger.ask(b"m%x,8" % stack)) == seen[0]
        assert b"watch:%x;" % stack in debugger.ask(b"c")
        assert debugger.position == seen[0][0]


def test_catches_in_both_directions() -> None:
    with serving(_machine("overflow", host_pmu="sampling")) as (_, debugger):
        assert debugger.monitor("catch overflow") == "caught: overflow\n"
        met = []
        while b"replaylog:end" not in debugger.ask(b"c"):
            assert "overflows" in debugger.said
            debugger.said = ""
            met.append(debugger.position)
        assert len(met) > 1
        back = []
        while b"replaylog:begin" not in debugger.ask(b"bc"):
            back.append(debugger.position)
        assert back == met[::-1]


def test_the_description_is_what_gdb_reads() -> None:
    with serving(_machine()) as (_, debugger):
        text, at = b"", 0
        while True:
            part = debugger.ask(b"qXfer:features:read:target.xml:%x,400" % at)
            text, at = text + part[1:], at + len(part) - 1
            if part[:1] == b"l":
                break
        tree = ElementTree.fromstring(text)
        features = {one.get("name"): one for one in tree.findall("feature")}
        assert {"org.gnu.gdb.riscv.cpu", "org.gnu.gdb.riscv.fpu", "org.gnu.gdb.riscv.csr"} <= set(features)
        cpu = features["org.gnu.gdb.riscv.cpu"]
        assert [int(reg.get("regnum", "")) for reg in cpu] == list(range(33))
        names = {reg.get("name"): reg for one in features.values() for reg in one.findall("reg")}
        assert names["pc"].get("regnum") == str(PC)
        assert names["satp"].get("regnum") == str(CSR + 0x180)
        assert names["cycle"].get("regnum") == str(CSR + 0xC00)
        assert len(names) == len([reg for one in features.values() for reg in one.findall("reg")])


def test_a_debugger_without_xml_asks_for_each_register() -> None:
    """lldb, where it was built so."""
    with serving(_machine()) as (_, debugger):
        told = []
        while (answer := debugger.ask(b"qRegisterInfo%x" % len(told))) != b"E45":
            told.append(answer.decode())
        assert len(told) == 65
        assert told[PC].startswith("name:pc;bitsize:64;offset:256;")
        assert "generic:pc;" in told[PC]
        assert "name:ft0;" in told[33]
        assert "dwarf:32;" in told[33]


def test_registers_are_written() -> None:
    with serving(_machine()) as (served, debugger):
        for number, value in ((5, 0x1234_5678_9ABC_DEF0), (33, 0x4000_0000_0000_0000), (CSR + 0x140, 77)):
            assert debugger.ask(b"P%x=%s" % (number, value.to_bytes(8, "little").hex().encode())) == b"OK"
            assert debugger.register(number) == value
        hart = served.machine.vcpu(0).hart
        assert (hart.x(5), hart.get("sscratch")) == (0x1234_5678_9ABC_DEF0, 77)
        assert debugger.ask(b"P0=" + b"11" * 8) == b"OK"
        assert debugger.register(0) == 0
        assert debugger.register(PRIV) == 1
        assert debugger.register(VIRT) == 1
        assert debugger.ask(b"P%x=%s" % (VIRT, b"00" * 8)) == b"E01"
        assert debugger.ask(b"p%x" % (CSR + 0xC00)) == b"xx" * 8  # no event is bound to it
        debugger.ask(b"s")
        debugger.ask(b"bs")
        assert debugger.register(5) == 0x1234_5678_9ABC_DEF0


def test_memory_is_written_and_code_runs_as_it_is_then() -> None:
    with serving(_machine()) as (_, debugger):
        pc = debugger.pc
        before = debugger.ask(b"m%x,4" % pc)
        assert debugger.ask(b"M%x,4:93027002" % pc) == b"OK"  # addi t0, zero, 39
        debugger.ask(b"s")
        assert debugger.register(5) == 39
        debugger.ask(b"bs")
        assert debugger.ask(b"M%x,4:%s" % (pc, before)) == b"OK"
        assert b"replaylog:end;" in debugger.ask(b"c")


@pytest.mark.parametrize("harts", [1, 3])
def test_threads_are_harts(harts: int) -> None:
    with serving(_machine(harts=harts)) as (_, debugger):
        threads = debugger.ask(b"qfThreadInfo")
        assert threads == b"m" + b",".join(b"%x" % (number + 1) for number in range(harts))
        assert debugger.ask(b"qsThreadInfo") == b"l"
        assert debugger.ask(b"Hg%x" % harts) == b"OK"
        assert debugger.ask(b"Hg%x" % (harts + 1)) == b"E01"
        extra = bytes.fromhex(debugger.ask(b"qThreadExtraInfo,%x" % harts).decode()).decode()
        assert extra == f"hart {harts - 1}, VS mode"


def test_every_command_of_the_monitor_answers() -> None:
    with serving(_machine("counting")) as (_, debugger):
        debugger.ask(b"c")
        names = [line.split()[1] for line in debugger.monitor("help").splitlines()]
        assert len(names) > 10
        for name in names:
            assert debugger.monitor(name + " 1" * (name in ("goto", "phys"))).strip(), name
        calls = debugger.monitor("sbi 3").splitlines()
        assert len(calls) == 3
        assert "counter_config_matching" in debugger.monitor("sbi 100")
        assert debugger.monitor("phys 0x80200000 4").startswith("0x80200000: ")
        assert "did you mean" in debugger.monitor("positon")


def test_a_run_without_a_debugger_has_nothing_of_it() -> None:
    code = (
        "import sys; from vpmu.cli.main import main; main(['run', 'hello']); "
        "print(*[name for name in sys.modules if name.startswith(('vpmu.gdb', 'vpmu.travel', 'socket'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == []
    machine = _machine()
    assert not {"run", "restore", "snapshot", "console_input"} & vars(machine).keys()
    with serving(machine) as (served, debugger):
        debugger.ask(b"D")
        served.wait()
    assert not {"run", "restore", "snapshot", "console_input"} & vars(machine).keys()
