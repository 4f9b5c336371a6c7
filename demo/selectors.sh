# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What runs in L1 for demo/selectors: a guest that measures more events than it has
# counters, once for each way that its event selectors can go.  Steps are WAY/CONDITION.

twenty=cycles,instructions,branches,branch-misses,cache-references,cache-misses,r00c4,r0129,r0229,r0120
twenty=$twenty,r00c2,r00c3,r0076,r01c0,r0041,r0060,r0064,r0143,r0185,r00d1

for way in off mediated vpmc-trapped vpmc-direct; do
	case $way in
	off) parameters=enable_mediated_pmu=0 ;;
	mediated) parameters="enable_mediated_pmu=1 vpmc=0" ;;
	vpmc-trapped) parameters="enable_mediated_pmu=1 direct_selectors=0" ;;
	vpmc-direct) parameters=enable_mediated_pmu=1 ;;
	esac
	# shellcheck disable=SC2086 # words
	kvm_load $parameters || bail "KVM does not load with $parameters"
	condition quiet
	step "$way/start"
	guest_start a
	for condition in quiet stock; do
		condition $condition
		# Warm.
		in_guest a "perf stat -x, -o /tmp/stat -e $twenty work-loop 10000"
		step "$way/$condition"
		mwindow open 3
		in_guest a "perf stat -x, -o /tmp/stat -e $twenty work-loop 10000000"
		mwindow close 3
	done
	kill "$(cat /tmp/guest.a/pid)"
	wait
done
