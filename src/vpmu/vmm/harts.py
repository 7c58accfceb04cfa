"""Harts and what plays the levels above them: engine, physical PMU, the host's perf, a vCPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vpmu.errors import MachineError
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.pmu import PhysicalPmu
from vpmu.hart.standing import StandingAnswers
from vpmu.kvm.pmu import VcpuPmu
from vpmu.kvm.vcpu import Vcpu
from vpmu.perf.description import HostPmuDescription
from vpmu.perf.event import PerfProvider
from vpmu.perf.host_pmu import HostPmuPerf
from vpmu.profiles.behaviours import B
from vpmu.profiles.opensbi_behaviours import OB
from vpmu.profiles.profiles import Profile
from vpmu.sbi.dispatch import ecall
from vpmu.see.guest_hart import GuestHart
from vpmu.see.pmu import SbiPmu
from vpmu.see.standing import Standing
from vpmu.see.vcpu_api import MP_STATE_RUNNABLE
from vpmu.trace.recorder import Recorder
from vpmu.vmm.levels import Levels

MAX_HARTS = 64


def new_vcpu(
    number: int,
    memory: PhysicalMemory,
    profile: Profile,
    host: HostPmuDescription,
    vcpus: Sequence[GuestHart],
    recorder: Recorder,
    *,
    engine: str,
    perf: str,
    refuse: Mapping[str, int | str],
    starve: int,
    levels: Levels,
    isa: frozenset[str] = frozenset(),
    pmp: int = 0,
) -> GuestHart:
    """A hart of this host and the vCPU on it. For the arguments see Machine."""
    overflow = offers_sscofpmf(profile, host)
    hart: Hart
    bare = levels.answers is None
    if levels.whole:
        from vpmu.hart.whole import WholeHart

        hart = WholeHart(
            number,
            memory,
            isa=isa,
            engine=engine,
            traps_retire=host.ecall_retires,
            firmware=bare,
            pmp=pmp if bare else 0,
            counters=sum(1 << index for index in host.counters.indices),
        )
        overflow = host.counters.sscofpmf
    else:
        hart = Hart(number, memory, engine=engine, lcofi=overflow, traps_retire=host.ecall_retires, isa=isa)
    pmu = PhysicalPmu(hart, host.counters, whole=levels.whole)
    provider: PerfProvider
    if perf == "host":
        from vpmu.perf.linux import LinuxPerf

        provider = LinuxPerf(recorder=recorder, hart_id=number)
    else:
        provider = HostPmuPerf(pmu, host, refuse=refuse, starve=starve, recorder=recorder, hart_id=number)

    def scountovf() -> int | None:
        if host.scountovf == "traps" or not host.counters.sscofpmf:
            return None
        if host.scountovf == "virtual":
            return vcpu.pmu.overflow_flags
        return pmu.overflow_flags if host.scountovf == "unmasked" else 0

    def make_pmu(raise_overflow: Callable[[], None]) -> SbiPmu:
        """Of who answers the image: KVM or the specification on the host's perf, or firmware on the hart."""
        if bare:
            from vpmu.firmware.no_sbi import NoSbiPmu

            return NoSbiPmu(profile, memory, raise_overflow, recorder, number)
        if not profile.has(OB.OPENSBI_CSR_DIRECT):
            return VcpuPmu(profile, provider, memory, raise_overflow, recorder, number, nested=levels.whole)
        from vpmu.firmware.opensbi_pmu import OpenSbiPmu

        if not isinstance(provider, HostPmuPerf):
            raise MachineError("perf of a profile of OpenSBI", expected="model", got=perf)
        return OpenSbiPmu(profile, provider, memory, raise_overflow, recorder, number)

    kind: type[GuestHart] = Vcpu
    if bare:
        from vpmu.firmware.bare import BareHart

        kind = BareHart
    elif levels.whole:
        from vpmu.firmware.supervisor import Supervisor

        kind = Supervisor
    vcpu = kind(
        number, hart, memory, profile, provider, ecall, vcpus, recorder,
        pmu=make_pmu, lcofi=overflow, scountovf=scountovf,
    )  # fmt: skip
    if isinstance(vcpu, Vcpu):
        vcpu.standing = Standing(vcpu, StandingAnswers(hart, host.counters.cycle_costs))
    if not vcpu.pmu.csrs_trap:
        from vpmu.hart.published import PublishedCounters

        # scountovf as OpenSBI's quirks leave it is its model's to say
        table = PublishedCounters(hart, host.counters.cycle_costs, overflow=bare)
        vcpu.published = table
        pmu.publish(table)
    if bare:
        attach_csrs(vcpu, provider, pmu, host)
    return vcpu


def offers_sscofpmf(profile: Profile, host: HostPmuDescription) -> bool:
    """Whether a guest has Sscofpmf: above firmware as its hart has it; under KVM on a host with Ssaia, since
    nothing else can raise the interrupt in a guest (__kvm_riscv_isa_check_host, brought by 16b0bde9a37c).
    """
    if not host.counters.sscofpmf or profile.has(OB.OPENSBI_CSR_DIRECT):
        return host.counters.sscofpmf
    return host.ssaia and profile.has(B.OVERFLOW_INTERRUPT)


def attach_csrs(vcpu: GuestHart, provider: PerfProvider, pmu: PhysicalPmu, host: HostPmuDescription) -> None:
    """Give a hart with firmware on it the CSRs of its PMU."""
    from vpmu.firmware.bare import BareHart
    from vpmu.hart.pmu_csrs import PmuCsrs
    from vpmu.vmm.pmu_node import selectors

    assert isinstance(vcpu, BareHart)
    assert isinstance(provider, HostPmuPerf)
    vcpu.csrs = PmuCsrs(pmu, selectors(host))
    vcpu.mp_state = MP_STATE_RUNNABLE
    provider.unclaimed = vcpu.overflowed
