"""A console that a walk does not speak twice through: what was sent once is not sent again."""

from __future__ import annotations

from collections.abc import Callable

from vpmu.vmm.console import Console


class OnceConsole:
    """Stands between a machine's console and who listens. `sent`: bytes of the run's output up to where the
    machine is; who takes the machine elsewhere sets it. `also` hear what is new, too.
    """

    def __init__(self, console: Console) -> None:
        self.sent = 0
        self.also: list[Callable[[bytes], None]] = []
        self._heard = 0
        console.listen_through(self._gate)

    def _gate(self, listener: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def hear(data: bytes) -> None:
            known = max(self._heard - self.sent, 0)
            self.sent += len(data)
            self._heard = max(self._heard, self.sent)
            if known < len(data):
                listener(data[known:])
                for also in self.also:
                    also(data[known:])

        return hear
