# shellcheck shell=sh
# perf in the host while a guest with a mediated PMU is busy on the same CPU.
# Called by tests/host.t, which compares what is printed as "window ..." with the
# machine log.  With two processors: one of them goes away and comes back meanwhile.

LOOPS=100000
INSNS=$((7 * LOOPS)) BRANCHES=$((3 * LOOPS))
CG=/tmp/cgroup
MUX=/sys/bus/event_source/devices/cpu/perf_event_mux_interval_ms
# What RDPMC takes, and more events than there are counters.
case $MODEL in
intel-8+4*) indices="0 1 2 3 4 5 6 7 40000000 40000001 40000002 40000003" ;;
intel*) indices="0 1 2 3 4 5 6 7 40000000 40000001 40000002" ;;
*) indices="0 1 2 3 4 5" ;;
esac
case $MODEL in
# None of these fits a fixed counter.
intel*) by_turns="r00c4 r81d0 r82d0 r00c4 r81d0 r82d0 r00c4 r81d0 r82d0 r00c4" ;;
*) by_turns="r00c2 r0129 r0229 r00c2 r0129 r0229 r00c2 r0129 r0229 r00c2" ;;
esac

# The guest's counters are in use all the time, in both modes, and its programs count
# themselves over and over.  Host events that come and go interrupt it often: where
# VM-entries count there are many.
busy='pmu-selfcount --near 200 -n 30000 && pmu-selfcount --near 200 --rdpmc -n 30000'
busy_start() {
	echo 0 >$CG/vm/cgroup.procs
	guest_start g
	echo 0 >$CG/cgroup.procs
	# shellcheck disable=SC2154 # of guest_start
	qemu=$guest_pid
	guest_busy g "$busy"
}

busy_stop() {
	kill -0 "$qemu"
	is $? 0 "the guest is there to the end"
	kill "$qemu"
	wait "$qemu"
	rm -r /tmp/guest.g
}

# The guest is at work all the time, and prints in the midst of it.
guest_prints() {
	rm -f /tmp/printed
	guest g "for i in \$(seq 20); do work-loop 2200000; seq 20 >/dev/ttyS0; done" >/tmp/printed &
	printing=$!
	# From when it does.
	for _ in $(seq 60); do
		[ ! -s /tmp/printed ] || break
		sleep 0.05
	done
}

# What perf stat OPTION... COMMAND N counts more if N is LOOPS + 1 rather than 1: in
# user mode that is the block, and nothing else.  Prints a line for each event.
# No shell runs in between, which would do more for one process number than for another.
more() { # OPTION... COMMAND, its last word a number
	perf stat -x, -o /tmp/stat.one "$@" 0000001 &&
		perf stat -x, -o /tmp/stat.many "$@" "0$((LOOPS + 1))" || return
	grep , /tmp/stat.one | cut -d, -f1 >/tmp/stat.less
	grep , /tmp/stat.many | cut -d, -f1 | paste -d' ' - /tmp/stat.less |
		while read -r many one; do echo $((many - one)); done
}
lines() { for l_ in "$@"; do echo "$l_"; done; }

# A perf that includes guests, until told to end.
mkfifo /tmp/on /tmp/off /tmp/old
including_start() {
	perf stat -x, -a -e instructions:GH -o /tmp/including sh -c 'echo >/tmp/on; read -r l </tmp/off' &
	including=$!
	read -r _ </tmp/on
}
including_end() {
	echo >/tmp/off
	wait $including
	including=$(cut -d, -f1 /tmp/including | tail -n 1)
}
all_guests() { perf stat -x, -a -e instructions:GH true 2>&1 | cut -d, -f1 | tail -n 1; }

# Events of the host and counters of the guest share the PMU, unless they collide: with
# the NMI watchdog and the guest's four, AMD has one left.
apart="cpu:instructions:uD cpu:instructions:kD cpu:branches:kD"
case $MODEL in amd*) apart=cpu:instructions:kD ;; esac
conflicts() { cat /sys/kernel/debug/kvm/*-*/pmu_conflicts | head -n 1; }

# How many of 16 pinned events of a task get a counter?
counters_free() {
	perf stat -x, $(for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do echo "-e cycles:uDH"; done) true 2>&1 |
		grep -c '^[0-9]'
}
watchdog() { echo "$1" >/proc/sys/kernel/nmi_watchdog; }
nmis() { awk '$1 == "NMI:" { print $2 }' /proc/interrupts; }

# An event alone and in a group, with the one or the other as its leader: times follow
# from the event's own attributes.
clocks="cpu:cpu-clock:G cpu:cpu-clock: cpu:cpu-clock:G cpu:cpu-clock:S cpu:branches:uS \
	cpu:cpu-clock: cpu:cpu-clock:GS cpu:branches:uS cpu:branches:u cpu:cpu-clock:GS cpu:cpu-clock:S"

clocks_window() { # ID
	guest_prints
	# shellcheck disable=SC2086
	host-count quiet "$1" $((LOOPS / 10)) 15 cpu:instructions:uD $clocks
	wait $printing
}

# The same beside a guest that counts nothing.
idle_window() { # ID MEDIATED CPU
	kvm_mediated "$2"
	guest_start g --cpu "$3"
	clocks_window "$1"
	kill "$guest_pid"
	wait "$guest_pid"
	rm -r /tmp/guest.g
}

# One CPU, all on it.
beside() {
	# For comparison: nothing takes the counters away, kernel mode is exact too.
	host-count quiet 100 $((LOOPS / 10)) 5 cpu:instructions:uD cpu:instructions:kD cpu:branches:uD cpu:branches:kD

	# Who comes first has it, even if it comes before the module.
	kvm_mediated N
	including_start
	kvm_mediated "${MEDIATED:-Y}"
	guest_boot refused
	refused=$guest_pid
	# It takes some seconds; one that runs must not go on.
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		kill -0 $refused 2>/dev/null || break
		sleep 1
	done
	kill $refused 2>/dev/null
	wait $refused
	check "no guest while perf counts guests: $(head -n 1 /tmp/guest.refused/qemu)" grep -qi "device or resource busy" /tmp/guest.refused/qemu
	including_end
	check "... and perf has counted: $including" [ "$including" -gt 1000 ]

	# Events in turns since before the module, and one that needs no counter.
	twelve=
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do twelve="$twelve cpu:branches:u"; done
	kvm_mediated N
	# shellcheck disable=SC2086
	host-count old-pages off 40 cpu:cpu-clock: $twelve </tmp/old >/tmp/old-pages 2>&1 &
	old_pages=$!
	exec 3>/tmp/old
	sleep 0.1
	kvm_mediated "${MEDIATED:-Y}"

	busy_start
	mark guest
	echo >&3
	wait $old_pages
	is $? 0 "pages of events since before KVM was there: $(tail -n 1 /tmp/old-pages)"
	exec 3>&-


	# A task's events: alone, pinned, of what it forks; those of a cgroup.
	both=$(lines $INSNS $BRANCHES)
	is "$(more -e instructions:uH,branches:uH,instructions:uDH,branches:uDH work-loop)" "$(lines "$both" "$both")" \
		"events of a task, and pinned ones: exact"
	is "$(more -e instructions:uH,branches:uH host-count children)" "$(lines $((3 * INSNS)) $((3 * BRANCHES)))" \
		"events of a task and its children: exact"
	is "$(more --no-inherit -e instructions:uH,branches:uH host-count children)" "$both" \
		"events of a task without its children: exact"
	guest_exact g "events of tasks"
	is "$(more -a -e instructions:uH,branches:uH --for-each-cgroup work,vm in_cgroup work | head -n 2)" "$both" \
		"events of a cgroup: exact"
	guest_exact g "events of a cgroup"
	mark perf

	# More events than counters.  Pinned is what the truth is.
	turns="-e r00c0:uDH"
	for e in $by_turns; do turns="$turns -e $e:uH"; done
	# shellcheck disable=SC2086
	perf stat -x, -o /tmp/turns $turns work-loop 2000000
	check "events by turns, of a task: to five percent, each had its turn" scaled 14000000
	guest_exact g "events by turns"
	mark turns

	# For the oracle's steps to be the guest's time it must do no REP, i.e. clear no pages:
	# it counts itself no more for a while.  Its main thread works too: it prints.  What
	# all tasks have together is what the CPU has.
	guest g 'kill -STOP $(cat /tmp/rounds.pid)'
	read -r shell _ </proc/self/stat
	threads="self:instructions:u $shell:instructions:u"
	for t in /proc/"$qemu"/task/*; do threads="$threads ${t##*/}:instructions:u"; done
	guest_prints
	# shellcheck disable=SC2086
	host-count quiet 110 $((LOOPS / 10)) 15 cpu:instructions:uD cpu:instructions:kD cpu:cycles:uD cpu:branches:u cpu:cpu-clock:G cpu:cpu-clock: \
		$printing:instructions:u $threads
	wait $printing

	# Cgroups: what is not the VM's is the other's.
	echo 0 >$CG/work/cgroup.procs
	guest_prints
	host-count quiet 120 $((LOOPS / 10)) 15 cpu:instructions:u cpu:cpu-clock:G cpu:cpu-clock: \
		$CG/vm:instructions:u $CG/vm:cpu-clock:G $CG/vm:cpu-clock: \
		$CG/work:instructions:u $CG/work:cpu-clock:G $CG/work:cpu-clock:
	wait $printing
	echo 0 >$CG/cgroup.procs
	clocks_window 180
	# Events of the CPU alone: perf disables the PMU for those of tasks and cgroups, when
	# the task changes, and the kernel's instructions meanwhile are not counted.
	guest_prints
	conflicts=$(conflicts)
	# shellcheck disable=SC2086
	host-count quiet 190 $((LOOPS / 10)) 15 $apart
	echo "conflicts $(($(conflicts) - conflicts))"
	wait $printing
	mark windows

	# The watchdog goes and comes.
	free=$(counters_free)
	watchdog 0
	is "$(counters_free)" $((free + 1)) "NMI watchdog off: it had a counter"
	is "$(more -e instructions:uH,branches:uH work-loop)" "$both" \
		"NMI watchdog off: exact"
	# By turns, of a CPU; the watchdog would be one more to share the counters.
	echo 1 >$MUX
	guest_prints
	# shellcheck disable=SC2086
	host-count window 130 200000 15 cpu:branches:uD cpu:cpu-clock:G cpu:cpu-clock: $twelve
	wait $printing
	echo 4 >$MUX
	guest g 'kill -CONT $(cat /tmp/rounds.pid)'
	guest_exact g "NMI watchdog off"

	# shellcheck disable=SC2086
	check "RDPMC in user mode: exact, and no value of the guest" host-count rdpmc 15 $LOOPS $indices
	check "the page of a CPU's events" host-count pages on 40 cpu:instructions:u cpu:branches:u
	# shellcheck disable=SC2086
	check "the page of a CPU's events, by turns" host-count pages on 40 $twelve
	# shellcheck disable=SC2086
	check "the page of a CPU's events that wait for their turn" host-count pages off 40 $twelve
	guest_exact g "RDPMC in user mode"
	mark rdpmc

	echo 1 >/proc/sys/kernel/watchdog_thresh
	watchdog 1
	is "$(counters_free)" "$free" "NMI watchdog on again: it has a counter"
	# Once for each 1 s of the host, whatever the guest does meanwhile, which has to be
	# two seconds' worth at least.
	nmi=$(nmis)
	mwindow run 140 sh -c "work-loop 16000000; sleep 7"
	echo "ticks $(($(nmis) - nmi))"
	guest_exact g "NMI watchdog on again"
	mark watchdog

	busy_stop
	including_start
	including_end
	check "perf counts guests again when they are gone: $including" [ "$including" -gt 1000 ]

	# A guest without a PMU, and one that does not use its own; then with the parameter off.
	idle_window 150 "${MEDIATED:-Y}" host,pmu=off
	idle_window 160 "${MEDIATED:-Y}" host,pmu=on
	idle_window 170 N host,pmu=on
	mark others
	is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
}

# Two CPUs, one of which comes and goes.
guest_to() { for t in /proc/"$qemu"/task/*; do taskset -p "$1" "${t##*/}" >/dev/null; done; }
online() { echo "$1" >/sys/devices/system/cpu/cpu1/online; }

# How many counters of CPU 1 hold something?
counters_used() {
	case $MODEL in
	intel*) set -- $(seq 193 200) $(seq 777 779) ;;
	*) set -- $(seq $((0xc0010201)) 2 $((0xc001020b))) ;;
	esac
	for msr; do
		dd if=/dev/cpu/1/msr bs=8 count=1 iflag=skip_bytes skip="$msr" 2>/dev/null | od -An -t x8
	done | grep -c '[1-9a-f]'
}

# The VM's cgroup on the guest's CPU: events that exclude guests have lost the guest's
# time, the others have not, and none has more time than there was.  With lockdep and
# KASAN the host has more than half of it.
cgroup_times() { # MILLISECONDS
	awk -F, -v most="$1" '
		$4 == "vm" { time[$3] = $5 }
		END {
			hard = time["instructions:uH"]; soft = time["cpu-clock:H"]; all = time["cpu-clock:GH"]
			printf "enabled %d ns, of which %d and %d ns not for guests\n", all, hard, soft
			# perf enables and reads one after the other, and may lose the CPU in between.
			spare = hard / 100 + 8000000
			exit !(hard > 0) || hard > all * 4 / 5 || all > most * 1000000 ||
				soft > hard + spare || soft < hard - spare
		}' /tmp/cgroup.out
}

hotplug() {
	selftest mediated_pmu_reserve_test
	busy_start
	guest_to 2
	mark guest
	sleep 0.3
	guest_exact g "a CPU for the guest"
	# From another CPU: it finds the guest running, or its values parked.  They are not
	# where the watchdog has an event.
	watchdog 0
	check "events come and go on the guest's CPU" host-count come-and-go 1 200
	guest_exact g "events come and go on its CPU"
	# KVM_PROVE_MEDIATED_PMU takes them away one time in four.
	for i in 1 2 3 4 5 6 7 8; do
		guest_to 1
		sleep 0.3
		used=$(counters_used)
		[ "$used" = 0 ] || break
		guest_to 2
		sleep 0.3
	done
	check "the guest goes to another CPU, and leaves values behind, at move $i" [ "$used" -gt 0 ]
	online 0
	online 1
	is "$(counters_used)" 0 "its last CPU goes and comes: nothing of it is there"
	guest_to 2
	guest_exact g "it is back there"
	watchdog 1

	# Events of all CPUs, of a task and of a cgroup, while the CPU goes and comes.
	taskset 2 sh -c 'while :; do sleep 0.1; done' &
	sleeper=$!
	(exec perf stat -x, -a -e instructions:uDH,cycles:DH -o /tmp/all.out until_end 1) &
	all=$!
	(exec perf stat -x, -e instructions:uH -o /tmp/task.out -p $sleeper until_end 2) &
	task=$!
	(exec perf stat -x, -C 1 -e instructions:uH,cpu-clock:GH,cpu-clock:H -G vm,vm,vm -o /tmp/cgroup.out until_end 3) &
	cgroup=$!
	until [ -e /tmp/until.1 ] && [ -e /tmp/until.2 ] && [ -e /tmp/until.3 ]; do sleep 0.1; done
	sleep 0.5
	start=$(cut -d' ' -f1 /proc/uptime | tr -d .)
	online 0
	is "$(cat /sys/devices/system/cpu/online)" 0 "the guest's CPU goes"
	guest_exact g "its CPU is gone"
	both=$(lines $INSNS $BRANCHES)
	is "$(more -e instructions:uH,branches:uH work-loop)" "$both" "its CPU is gone: events of a task are exact"
	online 1
	is "$(cat /sys/devices/system/cpu/online)" 0-1 "the CPU is back"
	guest_to 2
	guest_exact g "its CPU is back"
	# taskset in between would do more for one run than for another.
	taskset -p 2 $$ >/dev/null
	is "$(more -e instructions:uH,branches:uH work-loop)" "$both" "its CPU is back: events of a task on it are exact"
	taskset -p 3 $$ >/dev/null
	end=$(cut -d' ' -f1 /proc/uptime | tr -d .)
	touch /tmp/end
	wait $all $task $cgroup
	kill $sleeper
	is "$(cat /tmp/all.out /tmp/task.out | grep -c '^[1-9]')" 3 "events of all CPUs and of a task have seen it go"
	check "times of the VM's cgroup, of events that have seen it go" cgroup_times $((10 * (end - start) + 3000))

	# New ones, on the CPU that was away.
	perf stat -x, -C 1 -e instructions:uH,cpu-clock:GH,cpu-clock:H -G vm,vm,vm -o /tmp/cgroup.out sleep 0.5
	check "times of the VM's cgroup, on the CPU that is back" cgroup_times 1000
	is "$(all_guests)" "<not supported>" "perf cannot count guests beside one"
	busy_stop
	check "perf counts guests again when they are gone, on both CPUs" \
		perf stat -x, -a -A -e instructions:GH -o /tmp/cgroup.out sleep 0.1
	is "$(grep -c '^CPU[01],[0-9]' /tmp/cgroup.out)" 2 "... there is a count of each"
	is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
}

scaled() { # INSTRUCTIONS
	awk -F, -v want="$1" -v loops=2000000 '
		BEGIN {
			n["r00c0:uDH"] = 7; n["r00c2:uH"] = n["r00c4:uH"] = 3
			n["r81d0:uH"] = n["r82d0:uH"] = n["r0129:uH"] = n["r0229:uH"] = 2
		}
		$3 in n {
			off = 100 * ($1 - n[$3] * loops) / (n[$3] * loops)
			printf "%s %d, %+.2f %%, on a counter %s %% of the time\n", $3, $1, off, $5
			pinned = $3 ~ /D/
			if (off < -5 || off > 5 || (pinned ? $5 != 100 : $5 < 20 || $5 >= 100))
				bad = 1
			rows++
		}
		END { exit bad || rows != 11 }' /tmp/turns
}


# Version 1: version 2 gives cgroups no perf_event state before another controller is
# enabled, and here is none.
mount -t cgroup -o perf_event cgroup $CG || bail "no cgroups"
mkdir $CG/vm $CG/work
mkdir /tmp/bin
cat >/tmp/bin/in_cgroup <<EOT
#!/bin/sh
echo 0 >$CG/\$1/cgroup.procs
exec work-loop \$2
EOT
cat >/tmp/bin/until_end <<EOT
#!/bin/sh
touch /tmp/until.\$1
until [ -e /tmp/end ]; do sleep 0.1; done
EOT
chmod 755 /tmp/bin/*
PATH=/tmp/bin:$PATH
kvm_mediated "${MEDIATED:-Y}"
is "$(kvm_param enable_mediated_pmu)" Y "enable_mediated_pmu"
if [ "$CPUS" = 1 ]; then beside; else hotplug; fi
