# SPDX-License-Identifier: GPL-2.0
"""What the tests share that run the machine and look at its log: TAP, and the windows."""
import os
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "machine")]
import figures  # pylint: disable=wrong-import-position
from figures import BUILD, TOP  # noqa: F401 # pylint: disable=wrong-import-position,unused-import

points = failed = 0


def ok(holds, name, *why):
    """A point; WHY, a line each, is said if it does not hold."""
    global points, failed
    points += 1
    failed += not holds
    print(f"{'' if holds else 'not '}ok {points} - {name}", flush=True)
    if not holds:
        for line in why:
            print(f"#   {line}")


def windows(out):
    """The records of the windows, over all processors, that a run with --out OUT closed, by number;
    of those with the same number the last.  None of a run without a log."""
    return {record["window"]: record for record in figures.records(out) if figures.is_window(record)}


def main(test, models):
    """Command line [MODEL...] [-- ARGUMENT-OF-MACHINE/RUN...]: call test(MODEL, ARGUMENTS) for each
    of them, or of MODELS, and end with the status."""
    arguments = sys.argv[1:]
    extra = []
    if "--" in arguments:
        extra = arguments[arguments.index("--") + 1:]
        arguments = arguments[:arguments.index("--")]
    print("TAP version 13")
    for model in arguments or models:
        test(model, extra)
    print(f"1..{points}")
    sys.exit(1 if failed else 0)
