#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""tools/mediated-pmu-silicon on the machine: it finds each quirk that it says it can, by the row's
name, and nothing where there is none.
silicon.t [MODEL[@QUIRK]...] [-- ARGUMENT-OF-MACHINE/RUN...]"""
import json
import os
import re
import subprocess

from machinetest import BUILD, TOP, main, ok

# What the rows say that are not "as assumed", by quirk.
FOUND = {
    "vmrun=host": {"B1": ("differs", r"0\.\d\d instructions, 0\.00 branches")},
    "vmrun=branch": {"B1": ("differs", r"1\.\d\d instructions, 1\.0\d branches")},
    "guest-only=8": {"B1": ("differs", r"9\.0\d instructions"), "B26": ("UNSAFE", r"9\.\d\d for each VM-entry")},
    "vmentry=entry": {"B2": ("differs", r"1\.0\d instructions, 0\.00 branches")},
    "vmentry=branch": {"B2": ("differs", r"2\.0\d instructions, 2\.0\d branches")},
    "metrics-round": {"B5": ("differs", "0x3f404040 became 0x2b2c2c2c")},
    "metrics-residue": {"B6": ("UNSAFE", "after many slots")},
    "status-metrics": {"B8": ("UNSAFE", "#GP")},
    "drift=3000": {"B10": ("differs", "by at most [123]$")},
    "switch-cycles=70": {"B11": ("differs", "14[0-9] more")},
    "faults=nested": {"B12": ("differs", r"\+0.00 instructions for a fault, \+1.00 for a nested page fault, \+0.00 ")},
    "faults=all": {"B12": ("differs", r"\+1.00 instructions for a fault, \+1.00 for a nested page fault, \+0.00 ")},
    "faults=iret": {"B12": ("differs", r"\+0.00 instructions for a fault, [-+]0.00 for a nested page fault, -1.00 ")},
    "tfa": {"B15": ("differs", "TSX_FORCE_ABORT")},
    "leaf-23h": {"B16": ("UNSAFE", "6 general, fixed 0x7; leaf 23h: 8, 0x7")},
    "metrics-8": {"B17": ("differs", "eight")},
    "fixed-77h": {"B18": ("differs", "0x77")},
}
ROWS = {"amd": {"B1", "B10", "B11", "B12", "B26"}, "intel": {"B2", "B10", "B11", "B12", "B15", "B16", "B18", "B26"}}
METRICS = {"B5", "B6", "B8", "B17"}

MODELS = ["intel-8+4", "amd-v2", "intel-8+4@metrics-residue", "amd-v2@guest-only=8"]
if os.environ.get("ALL"):
    MODELS += ["intel-8+3", "amd-v1", "amd-zen5"]
    MODELS += [f"{'amd-v2' if row in ('B1', 'B12') else 'intel-8+3' if row in ('B2', 'B10', 'B11', 'B15', 'B16', 'B18') else 'intel-8+4'}@{quirk}"
               for quirk, rows in FOUND.items() for row in list(rows)[:1] if quirk not in ("guest-only=8", "metrics-residue")]


def test(arg, extra):
    model, _, quirk = arg.partition("@")
    out = os.path.join(BUILD, "check", "logs", "silicon@" + arg)
    run = subprocess.run([os.path.join(TOP, "machine", "run"), "--model", model, "--no-points", "--out", out,
                          "--script", os.path.join(TOP, "tests", "silicon.sh"), "--timeout", "200",
                          "--file", os.path.join(BUILD, "tools", "mediated-pmu-silicon"),
                          *(["--quirk", quirk] if quirk else []), *extra],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.findall(r"^silicon (\d) (\d+) (\{.*\})$", run.stdout, re.M)
    ok(run.returncode == 0 and len(found) == 2, f"{arg}: the run", *run.stdout.splitlines()[-20:])
    wanted = FOUND[quirk] if quirk else {}
    unsafe = any(verdict == "UNSAFE" for verdict, _ in wanted.values())
    for parameter, status, text in found:
        label = f"{arg}, enable_mediated_pmu={parameter}"
        said = json.loads(text)
        rows = {row["row"]: row for row in said["rows"]}
        ok(set(rows) == ROWS[model.split("-")[0]] | (METRICS if "+4" in model else set()), f"{label}: the rows", str(set(rows)))
        for name, row in rows.items():
            verdict, pattern = wanted.get(name, ("as assumed", ""))
            ok(row["verdict"] == verdict and re.search(pattern, row["found"]), f"{label}: {name}: {verdict}: {row['found']}",
               row["verdict"])
        ok(said["safe"] == (not unsafe) and int(status) == unsafe, f"{label}: safe: {not unsafe}", f"{said['safe']}, status {status}")


def build():
    os.makedirs(os.path.join(BUILD, "tools"), exist_ok=True)
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", os.path.join(BUILD, "tools", "mediated-pmu-silicon"),
                    os.path.join(TOP, "tools", "mediated-pmu-silicon.c"), "-lm"], check=True)


build()
main(test, MODELS)
