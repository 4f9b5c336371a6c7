# SPDX-License-Identifier: GPL-2.0
"""What demo/bench and demo/growth share: the cost of what a host does for its guests, from the machine log, and the
runs that it is measured in.

The scripts that run in L1 are made of cost.sh, which has the functions that both need, and of one's own."""
import os
import sys

import figures
from figures import TOP
from workloads import HERE

KEEP = os.path.join(TOP, "Documentation", "project", "bench")
GUEST_WINDOW, HOST_WINDOW = 0x1000, 3
# Cycles of one access: of the order of what is published for recent processors.  Nobody has measured them here.
CYCLES = {"rdmsr": 100, "wrmsr": 150, "rdpmc": 30}


class Figure:
    """What was measured of one scene: accesses by way, by register, host instructions of the commonest and on
    average, all of them each time; and how often that was."""

    def __init__(self, tables, times, commonest, instructions):
        self.times = times
        self.ways = {way: n / times for way, n in figures.accesses(tables).items()}
        self.registers = {name: n / times for name, n in figures.accesses_by_register(tables).items()}
        self.accesses = sum(self.ways.values())
        self.instructions, self.mean = commonest, round(instructions / times)
        self.cycles = round(sum(CYCLES[way] * n for way, n in self.ways.items()))


def figure(record, by_turns):
    """A Figure of a window: for each switch from one vCPU to another if @by_turns, else for each VM-exit that is
    followed by an entry.  ZeroDivisionError if there was none."""
    trip = record["switch" if by_turns else "roundtrip"]
    return Figure(trip if by_turns else record["access"]["host"], trip["count"], trip["commonest"]["host_instructions"],
                  trip["host_instructions"])


def script_for(name, settings, out):
    """The script for L1 in directory @out: @settings, a dictionary, as variables, cost.sh, demo/NAME.sh.  Returns its path."""
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, name + ".sh")
    with open(path, "w", encoding="utf-8") as g:
        g.write("".join(f"{key}='{value}'\n" for key, value in settings.items()))
        for part in ("cost.sh", name + ".sh"):
            with open(os.path.join(HERE, part), encoding="utf-8") as f:
                g.write(f.read())
    return path


def kernel_words():
    """Words for machine/run: the kernel that the environment's KERNEL and MODULES name."""
    return [word for name in ("KERNEL", "MODULES") if os.environ.get(name) for word in ("--" + name.lower(), os.environ[name])]


def run_all(jobs, at_once, run_class=figures.Run):
    """Run them, so many at once: what they count does not depend on it.  @jobs are arguments of figures.Run; returns
    the runs, parsed, in turn."""
    runs = []
    while jobs:
        now, jobs = [run_class(*job) for job in jobs[:at_once]], jobs[at_once:]
        figures.wait(now)
        runs += now
    return runs


def end(name, runs, bad=False):
    """Say which machines complained, and exit, with status 1 if one did, or @bad."""
    failed = [run for run in runs if run.status]
    for run in failed:
        print(f"# {name}: {run.model}: machine/run ended with status {run.status}, see {run.out}.txt")
    sys.exit(1 if failed or bad else 0)
