#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""tools/mediated-pmu-check on the machine's models, in the host and in guests; what it says of the
way each register goes is compared with the machine's log.
check-tool.t [MODEL[@QUIRK]...] [-- ARGUMENT-OF-MACHINE/RUN...]"""
import json
import os
import re
import subprocess

from machinetest import BUILD, TOP, figures, main, ok

# With guests; the others only what the tool says in the host.
FULL = ["intel-8+3", "amd-v2"]
MODELS = FULL + ["amd-v1", "intel-8+4", "intel-8+3@tfa", "amd-v2@uncore"]
if os.environ.get("ALL"):
    MODELS += ["intel-8+3-nosave", "intel-8+4-nosave"]

# The machine log's names of the registers that guests use here.
REGISTERS = {
    "IA32_PMCn,PERFCTRn": ("PMCn", "A_PMCn"), "IA32_FIXED_CTRn": ("FIXED_CTRn",), "IA32_PERFEVTSELn": ("PERFEVTSELn",),
    "IA32_FIXED_CTR_CTRL": ("FIXED_CTR_CTRL",), "IA32_PERF_GLOBAL_CTRL": ("GLOBAL_CTRL",),
    "IA32_PERF_GLOBAL_STATUS": ("GLOBAL_STATUS",), "IA32_PERF_GLOBAL_OVF_CTRL": ("GLOBAL_OVF_CTRL",),
    "PERF_CTRn": ("PERF_CTRn",), "PERF_CTLn": ("PERF_CTLn",), "PerfCntrGlobalCtl": ("GLOBAL_CTL",),
    "PerfCntrGlobalStatus": ("GLOBAL_STATUS",), "PerfCntrGlobalStatusClr": ("GLOBAL_STATUS_CLR",), "LVTPC": ("LVTPC",),
}
# Linux does not use it on AMD.
UNUSED = {"PerfCntrGlobalStatusSet"}


def ways(record):
    """{register: (direct accesses, exits)} of the guest in a window; RDPMC is one of them."""
    direct, exits = {}, {}
    for key, n in figures.accesses_by_register(record["access"]["guest"]).items():
        direct[key.split()[-1]] = direct.get(key.split()[-1], 0) + n
    for key, n in figures.pmu_exits(record).items():
        exits[key.split()[-1]] = exits.get(key.split()[-1], 0) + n
    return {key: (direct.get(key, 0), exits.get(key, 0)) for key in set(direct) | set(exits)}


def compare(label, column, said, record):
    """The column of the tool's table against what the log has."""
    seen = ways(record)
    for row in said["registers"]:
        names = REGISTERS.get(row["name"], (row["name"],))
        direct, exits = (sum(seen.get(name, (0, 0))[i] for name in names) for i in (0, 1))
        why = f"{direct} direct accesses, {exits} exits"
        if row[column] == "none" or row["name"] in UNUSED:
            ok(direct == 0, f"{label}: {row['name']}: none", why)
        elif row[column] == "traps":
            ok(direct == 0 and exits > 0, f"{label}: {row['name']} traps", why)
        else:
            # The guest may be switched off and on between, and then the first access traps.
            ok(direct > 10 and exits <= direct / 10, f"{label}: {row['name']} is direct", why)


class Said:
    """What one run of the tool said."""

    def __init__(self, status, text):
        self.status, self.text = status, text
        self.all = json.loads(text)
        self.ids = [f["id"] for f in self.all["findings"]]

    def way(self, name, column="alone"):
        found = [row[column] for row in self.all["registers"] if row["name"] == name]
        return found[0] if found else None


def host(label, said, model, quirk):
    """What it says of the host alone."""
    impossible = model == "amd-v1" or quirk == "tfa"
    off, on, quiet, none = (said[name] for name in ("off", "on", "quiet", "no-pmu"))
    facts = on.all["facts"]
    ok(all(s.all["status"] == s.status for s in said.values()), f"{label}: the exit status is the one in the object")
    ok(facts["role"] == "host" and facts["series"] == "Y", f"{label}: a host, and the kernel has the series", str(facts))
    if impossible:
        ok([s.status for s in (off, on, quiet, none)] == [3, 3, 3, 3], f"{label}: not possible",
           str([s.status for s in (off, on, quiet, none)]))
        ok("cpu" in on.ids and facts["enable_mediated_pmu"] == "N", f"{label}: the CPU is why", str(on.ids))
        wanted = "PerfMonV2" if model == "amd-v1" else "TSX_FORCE_ABORT"
        ok(any(f["id"] == "cpu" and f["level"] == "cannot" and wanted in f["text"] for f in on.all["findings"]),
           f"{label}: {wanted} is named", str(on.all["findings"]))
        ok(all(row["alone"] == "traps" for row in on.all["registers"]), f"{label}: all registers trap")
        return
    ok((off.status, on.status, quiet.status, none.status) == (1, 0, 0, 1), f"{label}: exit status off, on, without watchdog, no PMU",
       str((off.status, on.status, quiet.status, none.status)))
    ok(off.ids.count("parameter") == 1 and "modprobe.d" in off.text and len(off.all["registers"]) == 1, f"{label}: off: what to do", str(off.ids))
    ok("watchdog" in on.ids and facts["watchdog"] == "perf" and facts["beside"] == 1, f"{label}: on: the watchdog shares", str(facts))
    ok("watchdog" not in quiet.ids and quiet.all["facts"]["beside"] == 0, f"{label}: without the watchdog nothing does", str(quiet.ids))
    ok(none.ids.count("parameter") == 1 and "enable_pmu=0" in none.text, f"{label}: the kernel's reason is given", str(none.all["findings"]))
    shape = {"intel-8+3": (5, 8, 3), "intel-8+4": (5, 8, 4), "amd-v2": (2, 6, 0)}[model.replace("-nosave", "")]
    ok((facts["version"], facts["counters"], facts["fixed_counters"]) == shape, f"{label}: version and counters are {shape}", str(facts))
    ok(facts["counter_width"] == 48 and facts["full_width_writes"] == "Y", f"{label}: 48 bits, full-width writes", str(facts))
    if model.startswith("intel"):
        save = "N" if model.endswith("-nosave") else "Y"
        ok(facts["save_global_ctrl"] == save, f"{label}: VM-exit saves GLOBAL_CTRL: {save}", str(facts))
        ok((on.way("fixed counter 3, PERF_METRICS") == "none") == (shape[2] == 4), f"{label}: the fourth counter is named where it is")
    ok(on.way("RDPMC") == ("traps" if quirk == "uncore" else "direct"), f"{label}: RDPMC", str(on.way("RDPMC")))


def guests(label, said, text, out, model):
    """What it says of a host with VMs, and in them."""
    vm, holder = (re.search(rf"^{name} (\d+)$", text, re.M)[1] for name in ("vm", "holder"))
    held = [h for h in said["holder"].all["holders"] if h["pid"] == int(holder)]
    ok(len(held) == 1 and held[0]["command"] == "perf" and held[0]["events"] >= 1 and said["holder"].all["facts"]["beside"] == 1,
       f"{label}: perf in the host holds events", str(said["holder"].all["holders"]))
    ok(not said["quiet"].all["holders"], f"{label}: nobody did before")
    for way in ("alone", "beside"):
        vms = said[way].all["vms"]
        ok(len(vms) == 1 and vms[0]["pid"] == int(vm) and vms[0]["cpu"] == "host,pmu=on" and vms[0]["loads"] > 0,
           f"{label}: {way}: the VM, its -cpu and that it has used its PMU", str(vms))
        ok(said[way].all["facts"]["beside"] == (way == "beside"), f"{label}: {way}: as it is now")
    names, current, windows = {}, None, {}
    for line in text.splitlines():
        if match := re.fullmatch(r"@ (\d+) (\S+)", line):
            names[int(match[1])] = match[2]
    for record in figures.records(out):
        if record.get("event") == "mark":
            current = names.get(record["window"], current)
        elif figures.is_window(record) and record["window"] == 1:
            windows[current] = record
    for way in ("alone", "beside"):
        if ok_window := way in windows:
            compare(f"{label}: {way}", way, said[way].all and said[way].all, windows[way])
        ok(ok_window, f"{label}: {way}: a window")
    ok("refused-vm" in said["refused"].ids, f"{label}: that a VM was refused is said", str(said["refused"].ids))
    ok("refused-vm" not in said["beside"].ids, f"{label}: not before")

    inside, without, named = (said[name] for name in ("guest", "guest-without", "guest-named"))
    facts = inside.all["facts"]
    ok(inside.status == 0 and facts["role"] == "guest" and facts["hypervisor"] == "KVM", f"{label}: in a guest", str(inside.all))
    ok((facts["version"], facts["counters"]) == ((2, 8) if model.startswith("intel") else (2, 6)), f"{label}: the guest's counters", str(facts))
    if model.startswith("intel"):
        ok(without.status == 1 and "no-pmu" in without.ids and "host,pmu=on" in without.text, f"{label}: a guest without PMU, and what to do", str(without.all))
        ok(named.status == 1 and "full-width" in named.ids and "full-width-write=on" in named.text, f"{label}: a named model, and what to do", str(named.all))
    else:
        for other, what in ((without, "pmu=off"), (named, "a named model")):
            ok(other.status == 1 and "perfmon-v2" in other.ids and "perfmon-v2=on" in other.text, f"{label}: {what}, and what to do", str(other.all))


def test(arg, extra):
    model, _, quirk = arg.partition("@")
    full = arg in FULL
    label = arg
    out = os.path.join(BUILD, "check", "logs", "check-tool@" + arg)
    run = subprocess.run([os.path.join(TOP, "machine", "run"), "--model", model, "--script", os.path.join(TOP, "tests", "check-tool.sh"),
                          "--no-points", "--out", out, "--timeout", "400", "--file", os.path.join(TOP, "tools", "mediated-pmu-check"),
                          *(["--quirk", quirk] if quirk else []), *([] if full else ["--cmdline", "check_tool=short"]), *extra],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print("".join(f"# {line}\n" for line in run.stdout.splitlines() if not line.startswith("json ")), end="", flush=True)
    ok(run.returncode == 0, f"{label}: the run", f"exit status {run.returncode}")
    said = {}
    for name, status, text in re.findall(r"^json (\S+) (\d+) (.*)$", run.stdout, re.M):
        try:
            said[name] = Said(int(status), text)
        except ValueError as why:
            ok(False, f"{label}: {name}: no JSON object", str(why), text)
            return
    try:
        host(label, said, model, quirk)
        if full:
            ok(re.search(r"^text 0 [1-9]\d+$", run.stdout, re.M), f"{label}: text, more than ten lines")
            guests(label, said, run.stdout, out, model)
    except (KeyError, IndexError, TypeError) as why:
        ok(False, f"{label}: all that is wanted was said", f"{type(why).__name__} {why}", str(list(said)))


main(test, MODELS)
