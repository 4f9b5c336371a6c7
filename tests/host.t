#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""perf in the host beside a busy guest, against the machine's own counts.
host.t [MODEL[xCPUS][@QUIRK]...] [-- ARGUMENT-OF-MACHINE/RUN...]

tests/host.sh does it, and checks what needs no oracle; here is the rest."""
import os
import re
import subprocess

from machinetest import BUILD, TOP, main, ok, windows

MODELS = ["intel-8+3", "amd-v2", "intel-8+3x2", "amd-v2x2"]
if os.environ.get("ALL"):
    MODELS += ["intel-8+4", "amd-v2x2@vmrun=host", "amd-zen5"]
    MODELS += [f"{model}@{quirk}" for model in ("intel-8+3", "amd-v2x2") for quirk in ("late=2000", "skid=200")]
STEP = 10		# ns of the machine's clock
# Instructions from where the first host event stops for a guest to where the last
# one counts again.  An event cannot count them; at most this many, each time.
SWITCH = 8000
# Those between which the clock of the times stands: less, the events are outside.
CLOCK = 3000
# Events are read one after the other: their times may differ by as many ns.
NEAR = 2000
# More of them than there are counters, if there are many.
BY_TURNS = "cpu:branches:u"
ORACLE = {"instructions": "retired", "branches": "branches", "cycles": "steps"}


class Window:
    """A window less the empty one with the same events."""

    def __init__(self, ident, perf, log):
        self.events = []
        for (event, real), (_, empty) in zip(perf[ident], perf[ident + 1]):
            self.events.append((event, [a - b for a, b in zip(real, empty)]))
        self.real, self.empty = log[ident], log[ident + 1]
        self.entries = self.real["entries"]
        self.steps = sum(self.oracle(mode, "steps") for mode in ("user", "kernel"))
        self.guest = sum(self.real["oracle"]["guest"][mode]["steps"] for mode in ("user", "kernel"))

    def oracle(self, mode, key):
        return self.real["oracle"]["host"][mode][key] - self.empty["oracle"]["host"][mode][key]

    def get(self, name):
        found = [value for event, value in self.events if event == name]
        if not found:
            raise KeyError(name)
        return found[0]


def counts(model, what, window, stops):
    """Each event of the CPU against the oracle.  @stops: perf disables the PMU now and then, see host.sh."""
    for event, (count, _, _) in window.events:
        target, name, flags = (event + "::").split(":")[:3]
        if target != "cpu" or name not in ORACLE or flags == "":
            continue
        mode = "kernel" if "k" in flags else "user"
        true = window.oracle(mode, ORACLE[name])
        # A step that an interrupt takes may fall to either mode, see oracle.t.
        near = 2 if name == "cycles" else 0
        label = f"{model}: {what}: {event}"
        if mode == "kernel" and stops:
            missed = (true - count) / window.entries
            ok(0 < missed <= SWITCH, f"{label} is the oracle's {true}, less {missed:.0f} instructions "
               f"for each of {window.entries} entries", f"perf {count}")
        else:
            ok(abs(count - true) <= near, f"{label} is the oracle's {true}", f"perf {count}")


def times(label, window, target, guests=True):
    """Those of events of @target, each by its own attributes: guest time is left out of all that
    exclude guests, and nothing else is."""
    own = [(event, value) for event, value in window.events if event.startswith(target + ":")]
    including = [value for event, value in own if "G" in event[len(target):].split(":")[2]]
    excluding = [(event, value) for event, value in own if "G" not in event[len(target):].split(":")[2]]
    full = including[0][1]
    least = window.guest * STEP if guests else 0
    left_out = [full - value[1] for _, value in excluding]
    ok(all(least - NEAR <= n <= least + window.entries * CLOCK * STEP if guests else abs(n) <= NEAR for n in left_out),
       f"{label}: time_enabled of {len(excluding)} events that exclude guests leaves out the guest's {least} ns and "
       f"{max(left_out) - least} more, for {window.entries} entries",
       *(f"{event}: {full} - {value[1]} = {full - value[1]} ns" for event, value in excluding))
    ok(all(abs(value[1] - full) <= NEAR for value in including),
       f"{label}: that of {len(including)} events that do not exclude them leaves nothing out", str(including))
    by_turns = sum(event == BY_TURNS for event, _ in own) > 4
    on_counter = [value for event, value in own if event != BY_TURNS or not by_turns]
    ok(all(value[1] == value[2] for value in on_counter), f"{label}: time_running is time_enabled", str(on_counter))


def test(arg, extra):
    model, cpus, quirk = re.fullmatch(r"(.*?)(?:x(\d))?(?:@(.*))?", arg).groups()
    label = model + (f", {cpus} CPUs" if cpus else "") + (f", {quirk}" if quirk else "")
    out = os.path.join(BUILD, "check", "logs", "host@" + arg)
    run = subprocess.Popen([os.path.join(TOP, "machine", "run"), "--model", model, "--script",
                            os.path.join(TOP, "tests", "host.sh"), "--no-skip", "--out", out,
                            "--timeout", "400", *(["--cpus", cpus] if cpus else []), *(["--quirk", quirk] if quirk else []), *extra],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    perf, conflicts, ticks = {}, None, None
    for line in run.stdout:
        line = line.rstrip("\n")
        if match := re.match(r"(not )?ok \d+ - (?!machine: )(.*)", line):
            ok(not match[1] and "# SKIP" not in line, f"{label}: {match[2]}")
        elif match := re.fullmatch(r"window (\d+) (\S+) (\d+) (\d+) (\d+)", line):
            perf.setdefault(int(match[1]), []).append((match[2], [int(n) for n in match.groups()[2:]]))
        elif match := re.fullmatch(r"conflicts (\d+)", line):
            conflicts = int(match[1])
        elif match := re.fullmatch(r"ticks (\d+)", line):
            ticks = int(match[1])
        elif line.startswith("#"):
            print(line, flush=True)
        elif not re.match(r"1\.\.|TAP version", line):
            print("# " + line, flush=True)
    ok(run.wait() == 0, f"{label}: the run")
    if cpus:
        return

    log = windows(out)
    try:
        alone, tasks, cgroups, turns, groups, shared, without, idle, off = (
            Window(n, perf, log) for n in (100, 110, 120, 130, 180, 190, 150, 160, 170))
        watchdog = log[140]
    except KeyError as missing:
        ok(False, f"{label}: windows", f"no window {missing}")
        return

    beside = (tasks, cgroups, turns, groups, shared, without, idle, off)
    ok(alone.entries == 0 and all(w.entries > 50 and w.guest > 2000000 for w in beside),
       f"{label}: the guest was busy in windows", *(f"{w.entries} entries, {w.guest} steps" for w in beside))
    counts(label, "before there are guests", alone, False)
    counts(label, "beside a guest", tasks, True)
    counts(label, "beside a guest, with cgroups", cgroups, True)
    ok(conflicts == 0, f"{label}: events of the CPU and the guest's do not collide", f"{conflicts} conflicts")
    # Where hardware switches the PMU, it loses what events of the host count.
    counts(label, "beside a guest, of the CPU", shared, model == "amd-zen5")

    # What tasks have is what the CPU has, and so is what cgroups have.
    cpu = tasks.get("cpu:instructions:uD")[0]
    own = [value[0] for event, value in tasks.events if re.match(r"(self|\d+):instructions:u", event)]
    ok(len(own) > 3 and sum(own) == cpu and sum(n > 0 for n in own) >= 3,
       f"{label}: all tasks together have the CPU's instructions:u, QEMU's too", f"{own}, {cpu}")
    cpu, cpu_clock = cgroups.get("cpu:instructions:u"), cgroups.get("cpu:cpu-clock:G")
    vm, vm_clock = cgroups.get("/tmp/cgroup/vm:instructions:u"), cgroups.get("/tmp/cgroup/vm:cpu-clock:G")
    work, work_clock = cgroups.get("/tmp/cgroup/work:instructions:u"), cgroups.get("/tmp/cgroup/work:cpu-clock:G")
    ok(vm[0] > 0 and vm[0] + work[0] == cpu[0], f"{label}: all cgroups together have the CPU's instructions:u",
       f"{vm[0]} + {work[0]}, {cpu[0]}")

    # Times.
    for what, window, target in (("a CPU", tasks, "cpu"), ("a CPU, with cgroups", cgroups, "cpu"),
                                 ("a cgroup with a VM", cgroups, "/tmp/cgroup/vm"), ("a CPU, by turns", turns, "cpu"),
                                 ("in groups", groups, "cpu"), ("beside a guest without a PMU", without, "cpu"),
                                 ("beside a guest that counts nothing", idle, "cpu")):
        times(f"{label}: {what}", window, target)
    times(f"{label}: parameter off", off, "cpu", False)
    # No guest is in this cgroup.  The events are read one after the other.
    ok(abs(work[1] - work_clock[1]) <= 100, f"{label}: time_enabled of another cgroup leaves nothing out",
       f"{work[1]}, {work_clock[1]}")
    # The rest is threads of the kernel; a moment at each switch is counted twice (6.12 does).
    rest, rest_clock = (each[0][1] - each[1][1] - each[2][1] for each in ((cpu, vm, work), (cpu_clock, vm_clock, work_clock)))
    ok(abs(rest - rest_clock) <= 1000 and abs(rest) < cpu[1] / 20,
       f"{label}: times of the cgroups make up the CPU's, but for {rest} ns", f"cpu-clock: {rest_clock} ns")

    # By turns.
    true = turns.oracle("user", "branches")
    each = [value for event, value in turns.events if event == BY_TURNS]
    ok(turns.get("cpu:branches:uD")[0] == true, f"{label}: by turns: the pinned one is the oracle's {true}")
    scaled = [int(count * enabled / running) for count, enabled, running in each]
    # Ten times 14 ms of work, a turn is 1 ms: each is some turns more or less on its counter.
    ok(len(each) == 12 and all(abs(n - true) <= true * 10 / 100 for n in scaled),
       f"{label}: by turns: scaled to the truth, to ten percent", str(scaled))
    free = {"intel": 7, "amd": 5}[model[:model.index("-")]]
    # Between two turns there is nobody's time.  They are read one after the other, so the
    # time that they share is that from before the first reading to after the last.
    share = sum(value[2] for event, value in perf[130] if event == BY_TURNS)
    share /= dict(perf[130])["all"][1]
    ok(free * 0.98 <= share <= free and all(running < enabled for _, enabled, running in each),
       f"{label}: by turns: {share:.3f} of {free} counters in use, each in turn", str(each))

    # The watchdog's period is a second of cycles; one may have begun before.
    host = sum(watchdog["oracle"]["host"][mode]["steps"] for mode in ("user", "kernel"))
    guest = sum(watchdog["oracle"]["guest"][mode]["steps"] for mode in ("user", "kernel"))
    least = (host - SWITCH * watchdog["entries"]) // 100000000
    ok(ticks is not None and least <= ticks <= host // 100000000 + 1 < (host + guest) // 100000000,
       f"{label}: the watchdog's {ticks} ticks are for {host} cycles of the host, not {guest} of the guest")


main(test, MODELS)
