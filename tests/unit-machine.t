#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The PMU in the emulator, on bare metal, no kernel.
cd "$(dirname "$0")/.." || exit
O=${BUILD:-$PWD/build}/bochs exec tests/renumber machine/bochs/tests/run
