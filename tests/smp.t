#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Guests with several processors against the machine's own counts.
smp.t [MODEL[xCPUS[vVCPUS]]...] [-- ARGUMENT-OF-MACHINE/RUN...]

tests/smp.sh does it, and checks what needs no oracle; here is the rest.  With ALL=1 (make
check-all) in all combinations."""
import os
import re
import subprocess

from machinetest import BUILD, TOP, figures, main, ok

MODELS = ["intel-8+3x2v2", "amd-v2x2v2"]
if os.environ.get("ALL"):
    MODELS += ["intel-8+3-nosavex2v2", "intel-8+4x2v2", "intel-8+4-nosavex2v2"]
    MODELS += [f"{model}x{cpus}v{vcpus}" for model in ("intel-8+3", "amd-v2")
               for cpus, vcpus in ((1, 2), (1, 4), (2, 4), (4, 2), (4, 4))]
# perf's own instructions beside what it runs differ by so many from run to run.
PERF_NEAR = 100
ORACLE = {"instructions": "retired", "branches": "branches"}


def windows(out):
    """The guests' user mode in each window that was closed, by (window, CPU or "all")."""
    return {(r["window"], r["per"]): r["oracle"]["guest"]["user"] for r in figures.records(out) if r.get("event") == "close"}


def less(log, window, empty, per, event):
    return log[window, per][ORACLE[event]] - log[empty, per][ORACLE[event]]


def test(arg, extra):
    model, cpus, vcpus = re.fullmatch(r"(.*?)(?:x(\d))?(?:v(\d))?", arg).groups()
    cpus, vcpus = int(cpus or 2), int(vcpus or 2)
    label = f"{model}, {vcpus} vCPUs on {cpus}"
    out = os.path.join(BUILD, "check", "logs", "smp@" + arg)
    run = subprocess.Popen([os.path.join(TOP, "machine", "run"), "--model", model, "--script",
                            os.path.join(TOP, "tests", "smp.sh"), "--no-skip", "--out", out, "--cpus", str(cpus),
                            "--cmdline", f"VCPUS={vcpus}", "--timeout", str(900 * max(1, vcpus // 2)), *extra],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    smp, perf = {}, {}
    for line in run.stdout:
        line = line.rstrip("\n")
        if match := re.match(r"(not )?ok \d+ - (?!machine: )(.*)", line):
            ok(not match[1] and "# SKIP" not in line, f"{label}: {match[2]}")
        elif match := re.fullmatch(r"smp (\d+) (\d+) (\d+) (\d+)", line):
            window, vcpu, *counts = map(int, match.groups())
            smp.setdefault(window, {})[vcpu] = dict(zip(ORACLE, counts))
        elif match := re.fullmatch(r"perf (\d+) (\d+) (\S+):u (\d+)", line):
            key = int(match[1]), match[3]
            perf[key] = perf.get(key, 0) + int(match[4])
        elif line.startswith("#"):
            print(line, flush=True)
        elif not re.match(r"1\.\.|TAP version", line):
            print("# " + line, flush=True)
    ok(run.wait() == 0, f"{label}: the run")

    log = windows(out)
    try:
        ok(len(smp) >= 5, f"{label}: windows are there", str(sorted(smp)))
        for window, by_vcpu in smp.items():
            for event in ORACLE:
                true = less(log, window, window + 1, "all", event)
                count = sum(counts[event] for counts in by_vcpu.values())
                ok(count == true, f"{label}: window {window}: {event} of all vCPUs are the oracle's {true}", str(by_vcpu))
        # Each vCPU has a CPU of its own.
        if vcpus == cpus:
            for vcpu, counts in smp[110].items():
                for event, count in counts.items():
                    true = less(log, 110, 111, vcpu, event)
                    ok(count == true, f"{label}: {event} of vCPU {vcpu} are the oracle's {true}", str(count))
        for n in (1, 3):
            for event in ORACLE:
                true = less(log, 130 + n, 120 + n, "all", event)
                count = perf[130 + n, event] - perf[120 + n, event]
                ok(abs(count - true) <= PERF_NEAR, f"{label}: perf stat -a -e {event}:u adds the oracle's {true}, {count - true:+d}")
    except KeyError as missing:
        ok(False, f"{label}: windows", f"no {missing}")


main(test, MODELS)
