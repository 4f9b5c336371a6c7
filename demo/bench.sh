# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What runs in L1 for the bench, on one model of the machine; see demo/bench, which
# takes the figures from the machine log.  Steps are MODE/CONDITION/SCENE: the mode is
# off, on, or base for a kernel that has no such parameter; the condition is stock, with
# the NMI watchdog on as every distribution has it, or quiet, with no host event at all.

case $MODEL in
intel*)
	six=cycles,instructions,branches,branch-misses,cache-references,cache-misses
	ten=$six,ref-cycles,r81d0,r82d0,r83d0 ;;
*)
	six=cycles,instructions,branches,branch-misses,cache-references,cache-misses
	ten=$six,r00c4,r0129,r0229,r0120 ;;
esac
four=$(each "$four_events")
# The same the other way around.
ruof=$(each "$(echo "$four_events" | tr , '\n' | tac | tr '\n' , | sed 's/,$//')")

# A guest that has not used its PMU yet exits 2,000 times in each.
each_exit() { # MODE/CONDITION GUEST
	step "$1/unused"
	in_guest "$2" cpuid-loop
	# In steps after the first, the guest's kernel has been there before.
	step "$1/one"
	in_guest "$2" "perf stat -x, -e cycles cpuid-loop"
	# CPUID is emulated: KVM has to count it.
	step "$1/emulated"
	in_guest "$2" "perf stat -x, -e instructions cpuid-loop"
	step "$1/four"
	in_guest "$2" "perf stat -x, -e $four_events cpuid-loop"
	step "$1/return"
	in_guest "$2" "perf stat -x, -e $four_events port-loop"
	# It takes a while for KVM to see that all is over.
	step "$1/over"
	in_guest "$2" cpuid-loop
	step "$1/idle"
	in_guest "$2" cpuid-loop
	step "$1/selector"
	in_guest "$2" "selector-loop $first_selector"
	step "$1/flapping"
	in_guest "$2" "selector-loop $first_selector 300"

	step "$1/host"
	rm -f /tmp/ready /tmp/end
	mkfifo /tmp/ready /tmp/end
	perf stat -x, -a -e branches:DH -o /tmp/stat sh -c 'echo >/tmp/ready; read -r l </tmp/end' &
	host=$!
	read -r _ </tmp/ready
	in_guest "$2" "perf stat -x, -e $four_events cpuid-loop"
	echo >/tmp/end
	wait $host
}

commands() { # MODE/CONDITION GUEST
	# Warm: the first use of each counter is an exit more.
	in_guest "$2" "perf stat -x, -e $ten true >/dev/null 2>&1"
	step "$1/ten"
	mwindow open 3
	in_guest "$2" "perf stat -x, -e $ten true"
	mwindow close 3
	step "$1/interval"
	mwindow open 3
	in_guest "$2" "perf stat -x, -e cycles,instructions -I 1000 -a sleep 10"
	mwindow close 3
	# With the legacy vPMU it takes a minute: once is enough, where it is compared with
	# others.
	[ "$1" != off/stock ] || return 0
	# A processor of 100 MHz: this is as 7500 a second to one of 3 GHz.  1000, with the
	# legacy vPMU, would leave it no time for anything else.
	step "$1/record"
	mwindow open 3
	in_guest "$2" "perf record -q -F 250 -o /tmp/perf.data -e $six work-loop 5000000"
	mwindow close 3
}

# vCPUs that are always busy, all with four counters.  Under this policy each has the
# processor for a tick, and nothing but what measures comes in between.
by_turns() { # MODE SCENE GUEST...
	by_mode=$1 by_scene=$2
	shift 2
	echo 10 >/proc/sys/kernel/sched_rr_timeslice_ms
	chrt -r -p 2 $$
	for g in "$@"; do chrt -a -r -p 1 "$(cat /tmp/guest.$g/pid)"; done
	for condition in quiet stock; do
		condition $condition
		step "$by_mode/$condition/$by_scene"
		mwindow open 3
		sleep 0.5
		mwindow close 3
	done
	chrt -o -p 0 $$
	echo 0 >/proc/sys/kernel/sched_rr_timeslice_ms
	step "$by_mode/$by_scene/stop"
	for g in "$@"; do kill "$(cat /tmp/guest.$g/pid)"; done
	wait
}

measure() { # off|on|base
	condition stock
	step "$1/start"
	guest_start a
	each_exit "$1/stock" a
	# Without the VM-exit control to save GLOBAL_CTRL, off is the same as with it.
	case $1/$MODEL in base/* | off/*-nosave)
		kill "$(cat /tmp/guest.a/pid)"
		wait
		return ;;
	esac
	commands "$1/stock" a

	condition quiet
	step "$1/start-b"
	guest_start b
	each_exit "$1/quiet" b
	commands "$1/quiet" b

	# Guests that have not used more than these four counters.
	kill "$(cat /tmp/guest.a/pid)" "$(cat /tmp/guest.b/pid)"
	wait
	guest_start a
	guest_start b
	loop="work-loop 2000000000"
	busy() { echo "until [ \$(pidof work-loop | wc -w) = $1 ]; do sleep 0.1; done; sleep 0.5"; }
	step "$1/busy"
	in_guest a "perf stat -x, -a -o /tmp/stat $four $loop & $(busy 1)"
	# The same in another order: all selectors differ.
	in_guest b "perf stat -x, -a -o /tmp/stat $ruof $loop & $(busy 1)"
	by_turns "$1" switch a b

	step "$1/start-c"
	guest_start c --cpus 2
	step "$1/busy-c"
	in_guest c "$loop & perf stat -x, -a -o /tmp/stat $four $loop & $(busy 2)"
	by_turns "$1" twins c
}

for mode in ${MODES:-off on}; do
	case $mode in
	on) kvm_mediated Y ;;
	*) kvm_mediated N ;;
	esac || bail "KVM does not load for mode $mode"
	measure "$mode"
done
