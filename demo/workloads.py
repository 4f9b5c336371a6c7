# SPDX-License-Identifier: GPL-2.0
"""The programs that guests of the demo and of the bench run, and their numbers."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(HERE)
BUILD = os.environ.get("BUILD", os.path.join(TOP, "build"))
IMAGE = os.path.join(TOP, "machine", "image")
NOLIBC = os.path.join(BUILD, "linux", "tools", "include", "nolibc")


def constants():
    """The numbers of region.h."""
    with open(os.path.join(HERE, "region.h")) as f:
        text = f.read()
    names = re.findall(r"^#define\s+([A-Z_]+)\s+\S", text, re.M)
    out = subprocess.run(["gcc", "-E", "-P", "-include", os.path.join(HERE, "region.h"), "-"], check=True,
                         input="\n".join(f"{n.lower()} {n}" for n in names), capture_output=True, text=True).stdout
    value = {}
    for line in out.splitlines():
        name, _, expr = line.partition(" ")
        if re.fullmatch(r"[-+*() 0-9a-fx]+", expr):
            value[name.upper()] = eval(expr)  # pylint: disable=eval-used
    return value


def build(out):
    """The guest's initramfs with the demo's programs; returns the path."""
    root = os.path.join(out, "guest")
    os.makedirs(os.path.join(root, "usr", "bin"), exist_ok=True)
    for path, make in ((NOLIBC + "/nolibc.h", "tree"), (BUILD + "/image/l2.cpio", "image"),
                       (BUILD + "/bochs/bochs", "machine"), (BUILD + "/kernel/arch/x86/boot/bzImage", "kernel")):
        if not os.path.exists(path):
            print(f"{os.path.basename(sys.argv[0])}: {path} does not exist: make {make}", file=sys.stderr)
            sys.exit(2)
    static = ["gcc", "-static", "-nostdlib", "-s", "-I", HERE]
    nolibc = ["-Os", "-Wall", "-Wextra", "-fno-asynchronous-unwind-tables", "-fno-stack-protector",
              "-isystem", NOLIBC, "-include", NOLIBC + "/nolibc.h"]
    programs = (("region", ["region.S", IMAGE + "/workloads/block.S"]), ("cpuid-loop", ["cpuid-loop.S"]),
                ("port-loop", ["port-loop.S"]), ("around", nolibc + ["around.c", "-lgcc"]),
                ("selector-loop", nolibc + ["selector-loop.c", "-lgcc"]))
    for name, words in programs:
        subprocess.run(static + ["-o", os.path.join(root, "usr", "bin", name)] + words, cwd=HERE, check=True)
    files = "".join(f"usr/bin/{name}\n" for name, _ in programs)
    cpio = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, check=True,
                          input=files.encode(), capture_output=True).stdout
    initrd = os.path.join(out, "l2.cpio")
    with open(BUILD + "/image/l2.cpio", "rb") as f, open(initrd, "wb") as g:
        g.write(f.read() + cpio)
    return initrd
