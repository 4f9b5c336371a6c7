# SPDX-License-Identifier: GPL-2.0
"""Figures of a run of the machine, for those who make tables of them: what the script printed and
the windows of the machine log, step by step.

A script for `machine/run --script` says with "@ N NAME" in its output, and with mark N in the log,
to which step the lines and the windows that follow belong (step() in machine/image/lib.sh)."""
import json
import os
import re
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
BUILD = os.environ.get("BUILD", os.path.join(TOP, "build"))
START = time.monotonic()


def note(text):
    print(f"# [{time.monotonic() - START:5.0f} s] {text}", flush=True)


NAMES = {0x0c1: "PMC", 0x186: "PERFEVTSEL", 0x309: "FIXED_CTR", 0x38d: "FIXED_CTR_CTRL",
         0x38e: "GLOBAL_STATUS", 0x38f: "GLOBAL_CTRL", 0x390: "GLOBAL_OVF_CTRL", 0x391: "GLOBAL_STATUS_SET",
         0x4c1: "A_PMC", 0x834: "LVTPC", 0xc0000300: "GLOBAL_STATUS", 0xc0000301: "GLOBAL_CTL",
         0xc0000302: "GLOBAL_STATUS_CLR", 0xc0000303: "GLOBAL_STATUS_SET", 0x345: "PERF_CAPABILITIES"}


# Exits after which KVM finishes the guest's instruction itself: it retires, but not in the
# processor, so the oracle does not have it.  tests/exits.t compares with KVM's own tables.
FINISHED = {
    "intel": {
        0x0a, 0x0c, 0x0d, 0x0e, 0x0f,		# CPUID, HLT, INVD, INVLPG, RDPMC
        0x12, 0x13, 0x15, 0x16, 0x17, 0x19,	# VMCALL, VMCLEAR, VMPTRLD, VMPTRST, VMREAD, VMWRITE
        0x1a, 0x1b, 0x1c,			# VMXOFF, VMXON, control registers
        0x1e, 0x1f, 0x20,			# I/O, RDMSR, WRMSR
        0x24, 0x27, 0x28, 0x2c,			# MWAIT, MONITOR, PAUSE, an access to the local APIC
        0x2e, 0x2f, 0x31,			# GDTR and IDTR, LDTR and TR, EPT misconfiguration (MMIO)
        0x32, 0x35, 0x36, 0x37, 0x3a,		# INVEPT, INVVPID, WBINVD, XSETBV, INVPCID
    },
    "amd": {
        *range(0x00, 0x20), 0x65,		# control registers, CR0 by LMSW
        0x6f, 0x72, 0x73, 0x76, 0x77, 0x78,	# RDPMC, CPUID, RSM, INVD, PAUSE, HLT
        0x79, 0x7a, 0x7b, 0x7c,			# INVLPG, INVLPGA, I/O, MSRs
        0x80, 0x81, 0x82, 0x83, 0x84, 0x85,	# VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI
        0x89, 0x8a, 0x8b, 0x8d, 0xa2,		# WBINVD, MONITOR, MWAIT, XSETBV, INVPCID
    },
}


def pmu_register(msr):
    """Its name when @msr is one of the PMU's registers or LVTPC, counters by kind; else None."""
    if msr in NAMES and msr not in (0x0c1, 0x186, 0x309, 0x4c1):
        return NAMES[msr]
    for base, count in ((0x0c1, 8), (0x186, 8), (0x309, 4), (0x4c1, 8)):
        if base <= msr < base + count:
            return NAMES[base] + "n"
    if 0xc0010200 <= msr <= 0xc001020b:
        return "PERF_CTRn" if msr & 1 else "PERF_CTLn"
    if 0xc0010000 <= msr <= 0xc0010007:
        return "PERF_CTLn" if msr < 0xc0010004 else "PERF_CTRn"
    return None


def records(out):
    """The complete records of the machine log that a run with --out OUT left, in turn; none without a log."""
    path = os.path.join(out, "machine.jsonl")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            yield from (json.loads(line) for line in f if line.endswith("}\n"))


def is_window(record):
    """Is it a closed window's, over all processors?"""
    return record.get("event") == "close" and record.get("per") == "all"


class Step:
    """@lines that the script printed, and of the windows closed in it the records over all processors,
    by number, in turn; in @by_cpu the last of each processor, by number and processor."""

    def __init__(self):
        self.lines, self.closed, self.by_cpu = [], {}, {}


class Run:
    """The machine runs @script as @model; poll() until it has ended, then parse() gives @steps by
    name.  @words are for machine/run."""

    step_class = Step

    def __init__(self, model, script, out, words):
        self.model, self.out = model, os.path.join(out, model)
        self.vendor = "amd" if model.startswith("amd") else "intel"
        self.steps, self.status, self.text = {}, None, ""
        subprocess.run(["rm", "-rf", self.out], check=True)
        output = os.path.join(out, model + ".txt")
        with open(output, "wb") as f:
            self.process = subprocess.Popen(
                [os.path.join(TOP, "machine", "run"), "--model", model, "--script", script, "--no-points",
                 "--out", self.out] + words, stdout=f, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.stdout = open(output, encoding="utf-8", errors="replace")  # pylint: disable=consider-using-with

    def poll(self):
        """Is it still running?  Says how far it is."""
        self.status = self.process.poll()
        for line in self.stdout.readlines():
            self.text += line
            if match := re.fullmatch(r"@ \d+ (\S+)\n", line):
                self.progress(match[1])
        if self.status is not None:
            note(f"{self.model}: ended")
        return self.status is None

    def progress(self, name):
        note(f"{self.model}: {name}")

    def parse(self):
        names, step = {}, None
        for line in self.text.splitlines():
            if match := re.fullmatch(r"@ (\d+) (\S+)", line):
                step = self.steps[match[2]] = names[int(match[1])] = self.step_class()
            elif step:
                step.lines.append(line)
        step = None
        for record in records(self.out):
            if record.get("event") == "mark":
                step = names.get(record["window"], step)	# mwindow makes marks of its own
            elif is_window(record) and step:
                step.closed.setdefault(record["window"], []).append(record)
            elif record.get("event") == "close" and step:
                step.by_cpu[record["window"], record["per"]] = record


def wait(runs):
    """Until all have ended, then parse them."""
    running = runs
    while running:
        time.sleep(0.2)
        running = [run for run in running if run.poll()]
    for run in runs:
        run.parse()


def accesses(tables):
    """{way: accesses to the PMU's registers}; @tables are of the machine log, {way: {register: [done, refused]}}."""
    return {way: sum(n for index, (n, _) in tables[way].items() if way == "rdpmc" or pmu_register(int(index, 16)))
            for way in ("rdmsr", "wrmsr", "rdpmc")}


def accesses_by_register(tables):
    """{"RDMSR register": accesses}, and "RDPMC"; as accesses()."""
    found = {}
    for way in ("rdmsr", "wrmsr", "rdpmc"):
        for index, (n, _) in tables[way].items():
            register = "" if way == "rdpmc" else pmu_register(int(index, 16))
            if register is not None:
                key = f"{way.upper()} {register}".strip()
                found[key] = found.get(key, 0) + n
    return found


def peer(model):
    """{scene: {"accesses", "instructions", "exits": as given, or None}} of the other public implementation:
    Documentation/project/bench/peer.tsv, which tells the conditions."""
    with open(os.path.join(TOP, "Documentation", "project", "bench", "peer.tsv"), encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f if not line.startswith("#")]
    head = rows[0][2:]
    return {row[1]: {key: None if cell == "-" else float(cell) if "." in cell else int(cell) for key, cell in zip(head, row[2:])}
            for row in rows[1:] if row[0] == model and row[1] != "off"}


RDPMC_EXITS = ("0xf", "0x6f")	# Intel's and AMD's


def pmu_exits(record):
    """{"RDMSR or WRMSR register": exits} in a window, and "RDPMC"."""
    found = {"RDPMC": n for reason, n in record["exits"].items() if reason in RDPMC_EXITS}
    for way, msrs in record["msr_exits"].items():
        for msr, n in msrs.items():
            if register := pmu_register(int(msr, 16)):
                key = f"{way.upper()}MSR {register}"
                found[key] = found.get(key, 0) + n
    return found


def print_table(title, head, rows, file):
    def cell(value):
        if value is None:
            return "<lost>"
        if isinstance(value, float):
            return f"{value:.1f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    lines = [[cell(value) for value in row] for row in (head, *rows)]
    width = [max(map(len, column)) for column in zip(*lines)]
    print(title, file=file)
    for line in lines:
        print("   " + line[0].ljust(width[0]) + "".join(f"  {value:>{max(w, 9)}}" for value, w in zip(line[1:], width[1:])),
              file=file)
    print(file=file)
