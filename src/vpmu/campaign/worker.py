"""A worker of a campaign: takes numbers of runs on standard input, gives results on standard output, as
JSON lines.

The first line is the plan and the folder for snapshots; every further one is a list of numbers. Before each
run it says which one it begins, so that the coordinator knows which run a dying worker took with it. The
machine is made before that: booting Linux is not part of the time that a run may take.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from pathlib import Path

from .plan import CampaignPlan
from .run import Runner
from .store import line


def main() -> None:
    """Work until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's
    gc.set_threshold(20_000, 50, 100)  # as the command line has it: what a run allocates has no cycles
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may write where the answers go
    said = sys.stdin.readline()
    if not said:
        return  # the plan was none
    first = json.loads(said)
    folder = None if first["folder"] is None else Path(first["folder"])
    runner = Runner(CampaignPlan.from_object(first["plan"]), folder)

    for text in sys.stdin:
        for number in json.loads(text):
            if not runner.is_ready(number):
                answers.flush()
                runner.make_ready(number)
            answers.write(b'{"begins": %d}\n' % number)
            answers.flush()  # with the result before it: the coordinator is woken once a run
            answers.write(line(runner.run(number)))
        answers.write(b'{"wants": true}\n')
        answers.flush()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(1)  # the coordinator is gone: nobody waits for what is still to be written
