"""In place of an SBI PMU, where M mode is software on the hart: no call of a supervisor reaches Python."""

from __future__ import annotations

from ..see.pmu import IllegalCounter, SbiPmu
from ..spec.sbi import SbiError, SbiRet


class NoSbiPmu(SbiPmu):
    """The hart's firmware answers SBI calls itself; `available` is False."""

    layer = "firmware"
    csrs_trap = False

    def _none(self) -> SbiRet:
        return self.refuse(SbiError.NOT_SUPPORTED, "function", "M mode is software on the hart")

    def counter_get_info(self, counter_idx: int) -> SbiRet:
        return self._none()

    def counter_config_matching(
        self, base: int, mask: int, flags: int, event_idx: int, event_data: int
    ) -> SbiRet:
        return self._none()

    def counter_start(self, base: int, mask: int, flags: int, initial_value: int) -> SbiRet:
        return self._none()

    def counter_stop(self, base: int, mask: int, flags: int) -> SbiRet:
        return self._none()

    def counter_fw_read(self, counter_idx: int) -> SbiRet:
        return self._none()

    def counter_fw_read_hi(self, counter_idx: int) -> SbiRet:
        return self._none()

    def snapshot_set_shmem(self, lo: int, hi: int, flags: int) -> SbiRet:
        return self._none()

    def event_get_info(self, lo: int, hi: int, num_entries: int, flags: int) -> SbiRet:
        return self._none()

    def incr_fw(self, code: int) -> None:
        """Nobody counts it here."""

    def read_csr(
        self,
        csr: int,
        *,
        writes: bool,
        sbi_enabled: bool = True,
        user_mode: bool = False,
        scounteren: int = 7,
    ) -> int:
        raise IllegalCounter("the hart answers")

    def read_csr_counter(self, idx: int) -> int:
        raise IllegalCounter("the hart answers")

    @property
    def overflow_flags(self) -> int:
        return 0

    def counter_mask(self, idx: int) -> int | None:
        return None

    def reset(self) -> None:
        """There is nothing."""

    def renewed(self) -> NoSbiPmu:
        return self
