#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The PMU model's own unit tests.
cd "$(dirname "$0")/.." || exit
export CMOCKA_MESSAGE_OUTPUT=tap
exec tests/renumber make -s -C machine/pmu check O="${BUILD:-$PWD/build}/pmu"
