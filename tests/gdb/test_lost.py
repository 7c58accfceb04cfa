"""Debuggers that are lost, too many, or none: one line, and nothing is lost."""

from __future__ import annotations

import random
import socket
import time

import pytest

from vpmu.errors import MachineError, UsageError
from vpmu.faults.read import plan_of
from vpmu.gdb.listener import Address, Listener, parse_address
from vpmu.vmm.machine import Machine

from .client import Client, Served, serving


def _machine(payload: str = "hello") -> Machine:
    machine = Machine()
    machine.load(payload)
    return machine


def test_who_comes_second_is_sent_away(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(_machine()) as (served, debugger):
        second = socket.create_connection(
            (served.server.address.host, served.server.address.port), timeout=10
        )
        assert second.recv(1) == b""
        second.close()
        assert debugger.ask(b"?").startswith(b"T05")
    assert "was sent away" in capsys.readouterr().err


@pytest.mark.parametrize("rubbish", [b"GET / HTTP/1.1\r\n\r\n", b"$$$$", b"#00" * 50, b"$g#ff", b"}" * 4096])
def test_nonsense_is_left_out(rubbish: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(_machine()) as (_, debugger):
        debugger.socket.sendall(rubbish)
        assert debugger.ask(b"qC") == b"QC1"
    lines = capsys.readouterr().err.splitlines()
    assert sum("expected packets" in line for line in lines) <= 1


def test_gone_in_mid_packet_and_back_again(capsys: pytest.CaptureFixture[str]) -> None:
    served = Served(_machine())
    served.start()
    first = Client(served.server.address)
    first.ask(b"s")
    first.socket.sendall(b"$vCont;c")
    first.close()
    second = _again(served)
    assert second.position == 1
    assert second.ask(b"D") == b"OK"  # the guest goes on by itself
    assert served.wait().stop == "shutdown"
    second.close()
    assert "the guest waits at instruction 1 for another one" in capsys.readouterr().err


def _again(served: Served) -> Client:
    """Another debugger, once the server has seen that the one before is gone."""
    for _ in range(100):
        client = Client(served.server.address)
        try:
            client.ask(b"?")
        except OSError:
            client.close()
            time.sleep(0.02)
            continue
        return client
    raise AssertionError("nobody is let in")


def _goes_on(machine: Machine, since: int = 0) -> None:
    """Wait until the guest has run further than `since` nanoseconds: it takes as long as the host likes."""
    for _ in range(1000):
        if machine.vcpus[0].hart.get("time_ns") > since:
            return
        time.sleep(0.02)
    raise AssertionError("the guest does not run")


def test_gone_while_the_guest_goes() -> None:
    machine = _endless()
    served = Served(machine)
    served.start()
    first = Client(served.server.address)
    first.send(b"c")
    _goes_on(machine)
    first.close()
    second = _again(served)  # it went on, and stops for this one
    position = second.position
    assert position > 0
    stopped_at = machine.vcpus[0].hart.get("time_ns")
    second.send(b"c")
    _goes_on(machine, stopped_at)
    second.socket.sendall(b"\x03")
    assert second.answer().startswith(b"T02")
    assert second.position > position
    second.kill()
    assert served.wait().stop == "killed"
    second.close()


def _endless() -> Machine:
    machine = Machine()
    machine.load(bytes.fromhex("6f000000"))  # j .
    return machine


def test_a_port_in_use_and_no_address_are_one_line() -> None:
    listener = Listener(Address("127.0.0.1", 0))
    with pytest.raises(
        UsageError, match=r"no debugger can come to 127\.0\.0\.1:\d+: .* address already in use"
    ):
        Listener(listener.address)
    listener.close()
    for text in ("", "x", ":65536", "a:b:1", "1.2.3.4:", ":-1"):
        with pytest.raises(UsageError, match="address for gdb: expected PORT, :PORT or HOST:PORT"):
            parse_address(text)
    with pytest.raises(UsageError, match="no debugger can come to 203"):
        Listener(parse_address("203.0.113.1:0"))  # an address of no machine (RFC 5737)


def test_it_listens_on_the_loopback_address_unless_told_otherwise() -> None:
    assert (
        parse_address("1234")
        == parse_address(":1234")
        == parse_address("tcp::1234")
        == Address("127.0.0.1", 1234)
    )
    assert parse_address("0.0.0.0:1") == Address("0.0.0.0", 1)
    assert parse_address("[::1]:1") == Address("::1", 1)


def test_points_in_no_memory_and_beyond_the_beginning() -> None:
    with serving(_machine()) as (_, debugger):
        for packet in (
            b"Z0,10,4",
            b"Z2,10,8",
            b"Z0,80000001,4",
            b"Z2,80200000,ffffffff",
            b"m10,4",
            b"M10,1:00",
        ):
            assert debugger.ask(packet) == b"E14"
        assert debugger.ask(b"m87fffffc,10") == debugger.ask(b"m87fffffc,4")  # as far as there is memory
        assert b"replaylog:begin;" in debugger.ask(b"bc")
        assert b"replaylog:begin;" in debugger.ask(b"bs")
        assert debugger.monitor("goto -1") == "usage: number: expected 0 or more, got -1\n"
        assert debugger.ask(b"vCont;c").startswith(b"T05")


def test_a_budget_that_is_too_small_is_said_at_once() -> None:
    from vpmu.debug.names import Names
    from vpmu.gdb.debugged import Debugged

    machine = _machine()
    server = Debugged(machine, Address("127.0.0.1", 0), Names(lambda: None), waits=True, budget=1)
    with pytest.raises(MachineError, match="budget of memory for time travel is too small"):
        machine.run()
    server.close()
    assert machine.run().stop == "shutdown"


def test_a_run_with_faults_goes_back_to_them_and_is_not_changed() -> None:
    machine = _machine("failing-event")
    machine.inject(plan_of("perf.create:event=cycles,errno=EBUSY"))
    with serving(machine) as (served, debugger):
        assert b"ReverseContinue+" in debugger.ask(b"qSupported:swbreak+")
        debugger.monitor("catch fault")
        assert debugger.ask(b"c").startswith(b"T05")
        assert "fault at perf.create" in debugger.said
        position = debugger.position
        assert "fired 1 times" in debugger.monitor("faults")
        assert debugger.ask(b"P5=0000000000000000") == debugger.ask(b"M80200000,1:00") == b"E01"
        debugger.monitor("uncatch")
        assert b"replaylog:end;" in debugger.ask(b"c")
        debugger.monitor("catch fault perf.create")
        assert debugger.ask(b"bc").startswith(b"T05")
        assert debugger.position == position
        assert "fired 1 times" in debugger.monitor("faults")
        debugger.monitor("uncatch")
        assert b"replaylog:end;" in debugger.ask(b"c")
        assert debugger.ask(b"c") == b"W00"
        assert served.wait().stop == "shutdown"


def test_a_run_that_cannot_be_done_again_goes_one_way() -> None:
    machine = Machine(perf="host")
    machine.load("hello")
    with serving(machine) as (served, debugger):
        assert b"ReverseContinue" not in debugger.ask(b"qSupported:swbreak+")
        assert debugger.ask(b"bc") == b""
        pc = debugger.pc
        assert debugger.ask(b"Z0,%x,4" % (pc + 8)) == b"OK"
        assert debugger.ask(b"c").startswith(b"T05")
        assert debugger.pc == pc + 8
        debugger.ask(b"s")
        assert "cannot go back" in debugger.monitor("sbi")
        assert debugger.ask(b"c") == b"W00"
        assert served.wait().stop == "shutdown"


@pytest.mark.parametrize("payload", ["overflow", "snapshot"])
def test_steps_at_random_land_on_the_state_of_a_straight_run(payload: str) -> None:
    chosen = random.Random(payload)
    straight: dict[int, str] = {}
    end = _machine(payload).run().instructions
    with serving(_machine(payload)) as (served, debugger):
        debugger.monitor("catch sbi")
        seen = {}
        for _ in range(40):
            match chosen.randrange(5):
                case 0:
                    debugger.monitor(f"goto {chosen.randrange(end)}")
                    debugger.ask(b"c")
                case 1:
                    debugger.ask(b"s")
                case 2:
                    debugger.ask(b"bs")
                case 3:
                    debugger.ask(b"c")
                    debugger.ask(b"bs")  # before the call: behind it is no position
                case _:
                    debugger.ask(b"bc")
                    debugger.ask(b"bs")
            seen[debugger.position] = served.machine.state_hash()
        machine = _machine(payload)
        for position in sorted(seen):
            if position:
                machine.run(position - machine.instructions)
            straight[position] = machine.state_hash()
        assert seen == straight
