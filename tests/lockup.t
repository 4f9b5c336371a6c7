#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A hard lockup of the host is still found while VMs with a mediated PMU run: the
# machine has to end with the watchdog's message and a panic.
cd "$(dirname "$0")/.." || exit
out=${BUILD:-$PWD/build}/check/logs
n=0
point() {
	n=$((n + 1))
	if "${@:2}"; then echo "ok $n - $1"; else echo "not ok $n - $1"; fi
}
[ $# -gt 0 ] || set -- intel-8+3 amd-v2
for model; do
	# The panic is what is wanted: the runner's status does not count.
	machine/run --model "$model" --script tests/lockup.sh --no-points --out "$out/lockup@$model" --timeout 200 >"$out.lockup" 2>&1
	sed 's/^/# /' "$out.lockup"
	point "$model: the VM ran on a mediated PMU" grep -q 'loads: [1-9]' "$out.lockup"
	point "$model: the lockup is provoked" grep -q 'provoked now' "$out.lockup"
	point "$model: the watchdog finds it" grep -q 'Watchdog detected hard LOCKUP\|hard LOCKUP' "$out/lockup@$model/serial.log"
	rm -f "$out.lockup"
done
echo "1..$n"
