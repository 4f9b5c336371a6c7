#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The demo's tables as assertions.
cd "$(dirname "$0")/.." || exit
exec demo/run --check --models amd-v2 --out "${BUILD:-$PWD/build}/check/logs/demo-amd"
