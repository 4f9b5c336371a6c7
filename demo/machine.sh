# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What runs in L1 for the demo, on one model of the machine.  It takes no figure
# itself: "@ N NAME" in the output and mark N in the machine log tell demo/run to
# which step the lines, and the windows, that follow belong.

# Host perf with every counter pinned, from host_pin to host_unpin.  Its counters
# start between the opening of windows 1 and 2 and stop between their closing.
host_pin() {
	rm -f /tmp/ctl /tmp/ack /tmp/end
	mkfifo /tmp/ctl /tmp/ack /tmp/end
	exec 7<>/tmp/ctl 8<>/tmp/ack
	perf stat -x, -a -D -1 --control fd:7,8 "$@" cat /tmp/end 2>/tmp/host.err &
	host_pid=$!
	host_tell ping
	mwindow open 1
	host_tell enable
	mwindow open 2
}

host_tell() {
	echo "$1" >&7
	read -t 60 -r line <&8 || { cat /tmp/host.err; bail "host perf does not answer"; }
}

host_unpin() {
	mwindow close 2
	host_tell disable
	mwindow close 1
	: >/tmp/end
	wait $host_pid
	exec 7>&- 8>&-
	sed "s/^/host /" /tmp/host.err
}

case $MODEL in
intel*)
	host_events="cycles:u instructions:u ref-cycles:u branches:u branch-misses:u cache-references:u r81d0:u r82d0:u instructions: r00c4:"
	ten=cycles,instructions,ref-cycles,branches,branch-misses,cache-references,cache-misses,r81d0,r82d0,r83d0 ;;
*)
	host_events="cycles:u instructions:u branches:u instructions: r00c2:"
	ten=cycles,instructions,branches,branch-misses,cache-references,cache-misses,r00c4,r0129,r0229,r0120 ;;
esac
user=cycles:u,instructions:u,branches:u,cache-misses:u

measure() {
	case $1 in
	legacy) param=N modifier=D ;;
	*) param=Y modifier=DH ;;	# DH: what includes guests is refused then
	esac
	pin=
	for event in $host_events; do pin="$pin -e $event$modifier"; done

	step "$mode/start"
	kvm_mediated $param || bail "KVM does not load with enable_mediated_pmu=$param"
	echo "param $(kvm_param enable_mediated_pmu)"
	guest_start demo

	# The guest has not used its PMU yet; the host has no event but its NMI
	# watchdog, and then not even that.
	step "$mode/idle-watchdog"
	in_guest demo "cpuid-loop"
	echo 0 >/proc/sys/kernel/nmi_watchdog
	step "$mode/idle"
	in_guest demo "cpuid-loop"
	step "$mode/active"
	in_guest demo "perf stat -x, -e $four_events cpuid-loop"
	echo 1 >/proc/sys/kernel/nmi_watchdog
	step "$mode/active-watchdog"
	in_guest demo "perf stat -x, -e $four_events cpuid-loop"
	step "$mode/selector-watchdog"
	in_guest demo "selector-loop $first_selector"

	# The host counts nothing.  Beside an event of the host more of the PMU traps.
	echo 0 >/proc/sys/kernel/nmi_watchdog
	# As a real-time task nothing else in the guest runs in the window: neither perf
	# itself, which would go on before it waits for region, nor a daemon.
	step "$mode/best-user"
	in_guest demo "chrt -f 1 perf stat -x, -e $user region"

	step "$mode/best-both"
	in_guest demo "around instructions branches cycles"

	# The first use of each counter is one exit more.
	in_guest demo "perf stat -x, -e $ten true >/dev/null 2>&1"
	step "$mode/ten"
	mwindow open 3
	in_guest demo "perf stat -x, -e $ten true"
	mwindow close 3

	step "$mode/interval"
	mwindow open 3
	in_guest demo "perf stat -x, -e cycles,instructions -I 1000 -a sleep 10"
	mwindow close 3

	echo 1 >/proc/sys/kernel/nmi_watchdog

	step "$mode/worst"
	echo "pinned $(echo "$host_events" | wc -w)"
	# shellcheck disable=SC2086
	host_pin $pin
	in_guest demo "chrt -f 1 perf stat -x, -e $user region"
	host_unpin

	step "$mode/stop"
	guest_stop demo
}

for mode in ${MODES:-legacy mediated}; do measure "$mode"; done
