#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Processors that misbehave in many ways at once, see Documentation/project/silicon.md: a busy guest
and host on each, by tests/hostile.sh.
hostile.t [MODEL@SEED[-SEED]...] [-- ARGUMENT-OF-MACHINE/RUN...]"""
import os
import re
import subprocess

from machinetest import BUILD, TOP, main, ok

# Under these something does not hold yet: see the page, "Not held"; or a guest's counts are lost.
OPEN = ["status-set", "freeze"]
# And this one the programs here do not expect on Intel.
OPEN += ["vmentry"]

MODELS = ["intel-8+3@1", "amd-v2@2", "amd-zen5@3"]
if os.environ.get("ALL"):
    MODELS = [f"{model}@1-50" for model in ("intel-8+3", "intel-8+4", "amd-v2", "amd-zen5")]


def test(arg, extra):
    model, first, last = re.fullmatch(r"(.*)@(\d+)(?:-(\d+))?", arg).groups()
    for seed in range(int(first), int(last or first) + 1):
        label = f"{model}@{seed}"
        run = subprocess.run([os.path.join(TOP, "machine", "run"), "--model", model, "--script", os.path.join(TOP, "tests", "hostile.sh"),
                              "--no-skip", "--timeout", "400", "--kvm-param", "enable_mediated_pmu=1",
                              "--out", os.path.join(BUILD, "check", "logs", "hostile@" + label),
                              "--quirk", ",".join([f"hostile={seed}"] + ["-" + quirk for quirk in OPEN]), *extra],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        quirks = re.search(r" is --quirk (.*)", run.stdout)
        print(f"# {label}: {quirks[1] if quirks else 'no set'}", flush=True)
        for line in run.stdout.splitlines():
            if match := re.match(r"(not )?ok \d+ - (.*)", line):
                ok(not match[1], f"{label}: {match[2]}")
        ok(run.returncode == 0, f"{label}: the run", *run.stdout.splitlines()[-30:])


main(test, MODELS)
