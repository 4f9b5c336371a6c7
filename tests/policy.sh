# shellcheck shell=sh
# kernel.perf_guest_policy with real guests and tools: what is refused and what the log says
# of it, and that what is not refused counts right beside a guest that counts, too.

LOOPS=100000
INSNS=$((7 * LOOPS))
POLICY=/proc/sys/kernel/perf_guest_policy
TRACE=/sys/kernel/tracing

policy() { echo "$1" >$POLICY; }

# Instructions of LOOPS rounds of the block, by perf stat: less those of one.  No shell runs
# in between, which would do more for one process number than for another.
of_block() { # EVENT
	perf stat -x, -o /tmp/one -e "$1" work-loop 0000001
	perf stat -x, -o /tmp/many -e "$1" work-loop "0$((LOOPS + 1))"
	echo $(($(grep , /tmp/many | cut -d, -f1) - $(grep , /tmp/one | cut -d, -f1)))
}

# Does an event of "COUNT ENABLED RUNNING", in the file, run for 1 to 90 percent of its time?
yields() { awk '{ n++; print; if (!($2 > 0) || $3 < $2 / 100 || $3 > $2 * 9 / 10) bad = 1 } END { exit bad || !n }' "$1"; }
runs_always() { awk '{ n++; print; if (!($2 > 0) || $2 != $3) bad = 1 } END { exit bad || !n }' "$1"; }

# Each sample of /tmp/perf.data, by where it was taken.  perf script leaves out guests'.
samples() {
	perf script -D -i /tmp/perf.data 2>>/tmp/record | grep -a -o 'PERF_RECORD_SAMPLE(IP, 0x[0-9a-f]*' |
		sed 's/.*[45cd]$/guest/; s/^PERF.*/host/'
}

logged() { dmesg | grep -c "$1"; }

kvm_mediated Y
is "$(cat $POLICY)" refuse "the policy is to refuse"
echo 1 >$TRACE/events/perf_guest/perf_guest_refused/enable
: >$TRACE/trace

# 1. A program with an event of its own does not keep a VM from being started.
perf-open self 1 instructions: 'exec sleep 100000' &
program=$!
guest_start g
# shellcheck disable=SC2154 # of guest_start
qemu=$guest_pid
guest_busy g 'pmu-selfcount --near 200 -n 30000'
ok "a VM starts beside an event of a task that includes guests"
kill $program
guest_exact g "an event of a task"

# 2. Nor does a VM keep users from counting their programs.
is "$(of_block instructions:uGH)" $INSNS "a program's event that includes guests: exact beside a VM"
is "$(grep , /tmp/many | cut -d, -f5)" 100.00 "... and it is on a counter all the time"

# 3. What is refused, and who is told to be in the way.
is "$(perf-open cpu 1 instructions: true)" "refused: errno=95" "refuse: an event of a CPU"
check "... the log has the VM's process" sh -c "dmesg | grep '1 VM with a mediated PMU, one of qemu-system-x86.*\\[$qemu\\]'"
for t in /proc/"$qemu"/task/*; do
	grep -q KVM "$t/comm" && vcpu=${t##*/}
done
[ "$vcpu" ] || for t in /proc/"$qemu"/task/*; do vcpu=${t##*/}; done
refused=0
for t in /proc/"$qemu"/task/*; do
	[ "$(perf-open "${t##*/}" 1 instructions: true)" != "refused: errno=95" ] || refused=$((refused + 1))
done
is $refused 1 "refuse: an event of the thread that runs the vCPU, and of no other one of QEMU's"
check "... the log has it" sh -c "dmesg | grep 'the thread runs a vCPU with a mediated PMU, of qemu-system-x86.*\\[$qemu\\]'"
times=$(logged 'event that includes guests refused')
for _ in 1 2 3 4 5; do perf-open cpu 1 instructions: true >/dev/null; done
is "$(logged 'event that includes guests refused')" "$times" "... and not over and over"
check "the tracepoint has the same" sh -c "grep 'perf_guest_refused: what=event comm=qemu-system-x86 owner=$qemu nr=1' $TRACE/trace &&
	grep 'perf_guest_refused: what=thread comm=qemu-system-x86 owner=$qemu nr=1' $TRACE/trace"
guest_exact g "refusals"

# 4. yield: all are admitted, and give way.
policy yield
is "$(cat $POLICY)" yield "the policy is to yield"
perf-open cpu 1 instructions: 'sleep 1' >/tmp/cpu
check "yield: an event of a CPU runs when the guest does not" yields /tmp/cpu
guest_exact g "yield, a CPU"
perf-open "$qemu" 1 instructions: 'sleep 1' >/tmp/main
diag "QEMU's main thread: $(cat /tmp/main)"
for t in /proc/"$qemu"/task/*; do
	perf-open "${t##*/}" 1 instructions: 'sleep 0.3'
done >/tmp/threads
check "yield: one of QEMU's threads is the guest" sh -c "awk '\$2 && \$3 < \$2 * 0.9' /tmp/threads | grep ."
# All counters of the host's, each in the way of the guest's.
perf-open cpu 9 instructions:D 'sleep 1' >/tmp/nine
grep -v 'no counter' /tmp/nine >/tmp/some
check "yield: nine pinned ones, $(grep -c 'no counter' /tmp/nine) find no counter: all give way" yields /tmp/some
guest_exact g "yield, nine pinned events"
perf-open cpu 12 instructions:u 'sleep 1' >/tmp/turns
check "yield: a dozen by turns" yields /tmp/turns
guest_exact g "yield, a dozen"
# Guests only: none of this one's.
is "$(perf-open cpu 1 instructions:G 'sleep 0.5' | cut -d' ' -f1)" 0 "yield: an event that excludes the host sees nothing of a guest that counts"
# Also while others are in the guest's way, i.e. the whole PMU changes hands.
perf-open cpu 4 branches:D 'sleep 3' >/tmp/four &
sleep 0.3
is "$(perf-open cpu 1 instructions:GD 'sleep 0.5' | cut -d' ' -f1)" 0 "yield: nor beside events in the guest's way"
wait $!
guest_exact g "yield, guests only"

# What is sampled is the host.
perf record -q -a -e instructions:GH -c 100003 -o /tmp/perf.data sh -c 'sleep 0.5; exec work-loop 1000000' >/tmp/record 2>&1
samples >/tmp/samples
guests=$(grep -c guest /tmp/samples)
check "yield: $(wc -l </tmp/samples) samples" [ "$(wc -l </tmp/samples)" -gt 40 ] || diag "$(cat /tmp/record)"
is "$guests" 0 "... none is of a guest that counts"
guest_exact g "yield, samples"

# 5. To refuse again: what is open goes on.
mkfifo /tmp/go
perf-open cpu 1 instructions: 'read -r _ </tmp/go' >/tmp/open &
open=$!
sleep 0.5
policy refuse
sleep 0.5
is "$(perf-open cpu 1 instructions: true)" "refused: errno=95" "refuse again: an event of a CPU"
echo >/tmp/go
wait $open
check "refuse again: one that is open goes on" yields /tmp/open
kill "$qemu"
wait "$qemu"
rm -r /tmp/guest.g

# 6. perf stat qemu-system-x86_64: its events are older than the vCPU.
mkdir -p /tmp/wrap
cat >/tmp/wrap/qemu-system-x86_64 <<EOT
#!/bin/sh
exec perf stat -x, -o /tmp/stat -e instructions:GH,instructions:H /usr/bin/qemu-system-x86_64 "\$@"
EOT
chmod 755 /tmp/wrap/qemu-system-x86_64
out=$(PATH=/tmp/wrap:$PATH l2 'pmu-selfcount --near 200 -n 300000 >/tmp/o 2>&1; echo $?; cat /tmp/o')
is "$(echo "$out" | head -n 1)" 0 "perf stat QEMU: the guest's counts are exact"
diag "$(cat /tmp/stat)"
check "perf stat QEMU: what includes guests was not on a counter all the time" awk -F, '
	$3 == "instructions:GH" { gh = $5; n = $1 } $3 == "instructions:H" { h = $5 }
	END { exit !(n > 1000 && gh > 1 && gh < 99.5 && h > gh) }' /tmp/stat

# 7. A guest that counts nothing is counted, and sampled.
guest_start g
qemu=$guest_pid
policy yield
guest g 'work-loop 100000; while :; do work-loop 10000000; done &'
perf-open cpu 1 instructions:G 'sleep 1' >/tmp/idle
perf record -q -a -e instructions:GH -c 1000003 -o /tmp/perf.data sleep 1 >/tmp/record 2>&1
samples >/tmp/samples
check "yield: a guest that counts nothing is counted: $(cat /tmp/idle)" [ "$(cut -d' ' -f1 /tmp/idle)" -gt 1000000 ]
check "... and sampled: $(grep -c guest /tmp/samples) of $(wc -l </tmp/samples)" [ "$(grep -c guest /tmp/samples)" -gt 20 ] || diag "$(cat /tmp/record)"
policy refuse
kill "$qemu"
wait "$qemu"
rm -r /tmp/guest.g

# 8. A guest without a PMU.
guest_start g --cpu host,pmu=off
qemu=$guest_pid
got=$(perf-open cpu 1 instructions: 'sleep 0.2')
case $MODEL in
intel*)
	check "pmu=off: an event of a CPU is not refused: $got" [ "$got" != "refused: errno=95" ]
	# And the other way around.
	perf-open cpu 1 instructions: 'exec sleep 100000' &
	open=$!
	sleep 0.2
	guest g true
	is $? 0 "pmu=off: the guest runs on"
	for cpu in host,pmu=on host,pmu=off; do
		guest_boot refused --cpu $cpu
		refused=$guest_pid
		for _ in $(seq 100); do
			kill -0 "$refused" 2>/dev/null || break
			sleep 0.2
		done
		kill "$refused" 2>/dev/null
		wait "$refused"
		check "$cpu: a VM is refused: $(head -n 1 /tmp/guest.refused/qemu)" grep -qi "device or resource busy" /tmp/guest.refused/qemu
	done
	check "... the log has who is in the way" sh -c "dmesg | grep 'qemu-system-x86.*: mediated PMU for a VM refused: 1 event of CPUs or cgroups that include guests, one of perf-open\\[$open\\]'"
	kill $open
	wait $open ;;
*)
	# Its first four counters need no bit of CPUID.
	is "$got" "refused: errno=95" "pmu=off: an event of a CPU is refused, as the guest has counters" ;;
esac
guest_stop g

# 9. Off: nothing is refused, whatever the policy.
kvm_mediated N
guest_start g
perf-open cpu 1 instructions:u 'sleep 0.2' >/tmp/off
check "parameter off: an event of a CPU: $(cat /tmp/off)" runs_always /tmp/off
guest_stop g
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
