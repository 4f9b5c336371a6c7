# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What runs in L1 for the bench, on one model of the machine; see demo/bench, which
# takes the figures from the machine log.

case $MODEL in
intel*)
	six=cycles,instructions,branches,branch-misses,cache-references,cache-misses
	ten=$six,ref-cycles,r81d0,r82d0,r83d0 ;;
*)
	six=cycles,instructions,branches,branch-misses,cache-references,cache-misses
	ten=$six,r00c4,r0129,r0229,r0120 ;;
esac
each() { echo "$1" | sed 's/\([^,]*\)/-e \1/g; s/,/ /g'; }
four=$(each "$four_events")
# The same the other way around.
ruof=$(each "$(echo "$four_events" | tr , '\n' | tac | tr '\n' , | sed 's/,$//')")

# Into $loads: the loads of all vCPUs, 0 where KVM does not count them.  Without a
# process, as time passes until that runs.
count_loads() {
	loads=0
	for file in /sys/kernel/debug/kvm/*-*/pmu_loads; do
		[ -e "$file" ] || continue
		read -r n <"$file"
		loads=$((loads + n))
	done
}

measure() { # off|on
	step "$1/start"
	guest_start a
	step "$1/unused"
	in_guest a cpuid-loop long
	# In steps after the first, the guest's kernel has been there before.
	step "$1/one"
	in_guest a "perf stat -x, -e cycles cpuid-loop long"
	# CPUID is emulated: KVM has to count it.
	step "$1/emulated"
	in_guest a "perf stat -x, -e instructions cpuid-loop long"
	step "$1/four"
	in_guest a "perf stat -x, -e $four_events cpuid-loop long"
	# It takes a while for KVM to see that all is over.
	step "$1/over"
	in_guest a cpuid-loop long
	step "$1/idle"
	in_guest a cpuid-loop long

	# The hard lockup detector's event is one of the host's, on each CPU.
	step "$1/watchdog"
	echo 1 >/proc/sys/kernel/nmi_watchdog
	in_guest a cpuid-loop long
	echo 0 >/proc/sys/kernel/nmi_watchdog

	step "$1/selector"
	in_guest a "selector-loop $first_selector"
	step "$1/flapping"
	in_guest a "selector-loop $first_selector 300"

	step "$1/host"
	rm -f /tmp/ready /tmp/end
	mkfifo /tmp/ready /tmp/end
	perf stat -x, -a -e branches:DH -o /tmp/stat sh -c 'echo >/tmp/ready; read -r l </tmp/end' &
	host=$!
	read -r _ </tmp/ready
	in_guest a "perf stat -x, -e $four_events cpuid-loop long"
	echo >/tmp/end
	wait $host

	step "$1/ten"
	mwindow open 3
	in_guest a "perf stat -x, -e $ten true"
	mwindow close 3
	step "$1/interval"
	mwindow open 3
	in_guest a "perf stat -x, -e cycles,instructions -I 1000 -a sleep 10"
	mwindow close 3
	# A processor of 100 MHz: this is as 7500 a second to one of 3 GHz.  1000, with the
	# legacy vPMU, would leave it no time for anything else.
	step "$1/record"
	mwindow open 3
	in_guest a "perf record -q -F 250 -o /tmp/perf.data -e $six work-loop 5000000"
	mwindow close 3

	# Two vCPUs, both busy, both with four counters.  Under this policy each has the
	# processor for a tick, and nothing but what measures comes in between.
	step "$1/switch"
	guest_start b
	busy="work-loop 2000000000 & until pidof work-loop >/dev/null; do sleep 0.1; done; sleep 0.5"
	in_guest a "perf stat -x, -a -o /tmp/stat $four $busy"
	# The same in another order: all selectors differ.
	in_guest b "perf stat -x, -a -o /tmp/stat $ruof $busy"
	echo 10 >/proc/sys/kernel/sched_rr_timeslice_ms
	chrt -r -p 2 $$
	for g in a b; do chrt -a -r -p 1 "$(cat /tmp/guest.$g/pid)"; done
	mwindow open 3
	count_loads
	before=$loads
	sleep 1
	count_loads
	mwindow close 3
	echo "loads $((loads - before))"
	chrt -o -p 0 $$
	echo 0 >/proc/sys/kernel/sched_rr_timeslice_ms
	step "$1/stop"
	for g in a b; do kill "$(cat /tmp/guest.$g/pid)"; done
	wait
}

echo 0 >/proc/sys/kernel/nmi_watchdog
for mode in ${MODES:-off on}; do
	if [ "$mode" = on ]; then
		kvm_mediated Y
	else
		kvm_mediated N
	fi || bail "KVM does not load for mode $mode"
	measure "$mode"
done
