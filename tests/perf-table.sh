# shellcheck shell=sh
# What users of perf on the host get beside VMs: the table of
# Documentation/virt/kvm/x86/mediated-pmu.rst, cell by cell, from what the tools themselves
# print.  With software.cpio, for PAPI.

CG=/tmp/cgroup
POLICY=/proc/sys/kernel/perf_guest_policy
mount -t cgroup -o perf_event cgroup $CG || bail "no cgroups"
mkdir -p $CG/vm
mkdir /tmp/sw
(cd /tmp/sw && cpio -i -d </machine/files/software.cpio 2>/dev/null) || bail "no software.cpio"

# Each row: a name; the exclude_guest that the tool sets (- if it has no event of the core
# PMU); what comes out with no VM, with one that runs, and with one that starts meanwhile,
# for refuse and for yield.  With the parameter off it is the first of these, always.
#  counts    the tool counts or samples, all the time that it could
#  yields    it does, and says that it was not running part of the time
#  fails     the tool says that the event is not supported
#  no-vm     the tool counts, and the VM is not started
table='
stat		1	counts	counts	counts	counts	counts
stat-a		1	counts	counts	counts	counts	counts
stat-u		1	counts	counts	counts	counts	counts
stat-a-u	1	counts	counts	counts	counts	counts
stat-H		1	counts	counts	counts	counts	counts
stat-a-H	1	counts	counts	counts	counts	counts
stat-G		0	counts	counts	counts	counts	counts
stat-a-G	0	counts	fails	no-vm	yields	yields
stat-a-GH	0	counts	fails	no-vm	yields	yields
stat-a-D	0	counts	counts	no-vm	yields	yields
stat-p		1	counts	counts	counts	counts	counts
stat-p-GH	0	counts	fails	yields	yields	yields
stat-cgroup	1	counts	counts	counts	counts	counts
stat-cgroup-GH	0	counts	fails	no-vm	yields	yields
record		1	counts	counts	counts	counts	counts
record-a	1	counts	counts	counts	counts	counts
record-a-GH	0	counts	fails	no-vm	counts	counts
kvm-record	0	counts	counts	no-vm	counts	counts
kvm-stat	-	counts	counts	counts	counts	counts
trace		-	counts	counts	counts	counts	counts
bench		-	counts	counts	counts	counts	counts
newer		0	counts	counts	counts	counts	counts
newer-a		0	counts	fails	no-vm	yields	yields
agent		0	counts	fails	no-vm	yields	yields
agent-H		1	counts	counts	counts	counts	counts
papi		0	counts	counts	counts	counts	counts
'

# What a row runs for as long as it takes, $1: a command that a shell gets.
in_time() { # NAME COMMAND
	i=instructions
	case $1 in
	stat)		perf stat -x, -e $i sh -c "$2" ;;
	stat-a)		perf stat -x, -a -e $i sh -c "$2" ;;
	stat-u)		perf stat -x, -e $i:u sh -c "$2" ;;
	stat-a-u)	perf stat -x, -a -e $i:u sh -c "$2" ;;
	stat-H)		perf stat -x, -e $i:H sh -c "$2" ;;
	stat-a-H)	perf stat -x, -a -e $i:H sh -c "$2" ;;
	stat-G)		perf stat -x, -e $i:G sh -c "$2" ;;
	stat-a-G)	perf stat -x, -a -e $i:G sh -c "$2" ;;
	stat-a-GH)	perf stat -x, -a -e $i:GH sh -c "$2" ;;
	stat-a-D)	perf stat -x, -a -e $i:D sh -c "$2" ;;
	stat-p)		perf stat -x, -e $i -p "$target" sh -c "$2" ;;
	stat-p-GH)	perf stat -x, -e $i:GH -p "$target" sh -c "$2" ;;
	stat-cgroup)	perf stat -x, -a -e $i -G vm sh -c "$2" ;;
	stat-cgroup-GH)	perf stat -x, -a -e $i:GH -G vm sh -c "$2" ;;
	record)		perf record -q -o /tmp/data -e cycles -c 100003 sh -c "$2" ;;
	record-a)	perf record -q -o /tmp/data -a -e cycles -c 1000003 sh -c "$2" ;;
	record-a-GH)	perf record -q -o /tmp/data -a -e cycles:GH -c 1000003 sh -c "$2" ;;
	kvm-record)	perf kvm --host --guest record -q -o /tmp/data -a -e cycles -c 1000003 sh -c "$2" ;;
	kvm-stat)	perf kvm stat record -q -o /tmp/data -a sh -c "$2" ;;
	trace)		perf trace --no-syscalls -e sched:sched_switch -o /tmp/data sh -c "$2" ;;
	bench)		perf bench sched pipe -l 100 && sh -c "$2" ;;
	newer)		perf-open self 1 $i:u "$2" ;;
	newer-a)	perf-open cpu 1 $i: "$2" ;;
	agent)		perf-open cpu 9 $i:D "$2" ;;
	agent-H)	perf-open cpu 9 $i:DH "$2" ;;
	papi)		sh -c "$2" && papi ;;
	esac
}
papi() { PATH=/tmp/sw/usr/bin:$PATH LD_LIBRARY_PATH=/tmp/sw/usr/lib/x86_64-linux-gnu papi_command_line PAPI_TOT_INS PAPI_BR_INS; }

# What came out, in /tmp/out, with the status $2.
outcome() { # NAME STATUS
	if grep -q "not supported\|returned with 95\|errno=95\|doesn't support sampling" /tmp/out; then
		echo fails
		return
	fi
	case $1 in
	stat*)
		awk -F, -v pct="$(case $1 in *cgroup*) echo 6 ;; *) echo 5 ;; esac)" '$1 ~ /^[0-9]+$/ { n++; if ($pct < 99) bad = 1 } /<not counted>/ { n++; bad = 1 }
			END { print !n ? "nothing" : bad ? "yields" : "counts" }' /tmp/out ;;
	newer* | agent*)
		awk '/no counter/ { next } { n++; if ($3 < $2 * 0.99) bad = 1 } END { print !n ? "nothing" : bad ? "yields" : "counts" }' /tmp/out ;;
	record* | kvm-record)
		[ "$(perf script -D -i /tmp/data 2>/dev/null | grep -a -c PERF_RECORD_SAMPLE)" -gt 3 ] && echo counts || echo nothing ;;
	papi)
		[ "$2" = 0 ] && grep -q 'PAPI_TOT_INS :[^0-9]*[1-9]' /tmp/out && echo counts || echo nothing ;;
	*)
		[ "$2" = 0 ] && echo counts || echo nothing ;;
	esac
}

cell() { # NAME WHAT WANT GOT
	is "$4" "$3" "$1: $2" || diag "$(head -n 20 /tmp/out)"
}

field() { # NAME COLUMN
	echo "$table" | awk -v name="$1" -v column="$2" '$1 == name { print $column }'
}
names=$(echo "$table" | awk 'NF { print $1 }')

work='sleep 0.3; work-loop 300000'
run_row() { # NAME
	in_time "$1" "$work" >/tmp/out 2>&1
	outcome "$1" $?
}

# A VM that counts all the time, in a cgroup of its own.
vm_start() {
	echo 0 >$CG/vm/cgroup.procs
	guest_start g
	echo 0 >$CG/cgroup.procs
	# shellcheck disable=SC2154 # of guest_start
	target=$guest_pid
	guest g 'perf stat -a -o /tmp/all -e cycles,instructions,branches sleep 100000 >/dev/null 2>&1 &
		while :; do work-loop 1000000; done &'
}
vm_end() {
	kill "$target"
	wait "$target"
	rm -r /tmp/guest.g
}

# The tool runs first, then a VM starts, and counts.
starting() { # NAME
	rm -f /tmp/end
	in_time "$1" 'touch /tmp/began; until [ -e /tmp/end ]; do sleep 0.1; done' >/tmp/out 2>&1 &
	tool=$!
	until [ -e /tmp/began ] || ! kill -0 $tool 2>/dev/null; do sleep 0.1; done
	rm -f /tmp/began
	echo 0 >$CG/vm/cgroup.procs
	guest_boot g
	echo 0 >$CG/cgroup.procs
	target=$guest_pid
	if guest_end g >/tmp/boot; then
		guest g 'perf stat -e cycles,instructions work-loop 1500000 >/dev/null 2>&1'
		vm=yes
	else
		vm=no
	fi
	touch /tmp/end
	wait $tool
	status=$?
	case $vm in
	yes)
		outcome "$1" $status
		vm_end ;;
	no)
		wait "$target"
		grep -qi 'device or resource busy' /tmp/guest.g/qemu && echo no-vm || echo "no VM: $(head -n 1 /tmp/guest.g/qemu)"
		rm -r /tmp/guest.g ;;
	esac
}

# The attribute that the tool sets.
target=self
read -r target _ </proc/self/stat
for name in $names; do
	want=$(field "$name" 2)
	case $name in
	stat*)
		(perf() {
			shift
			command perf stat -vv "$@"
		}
		in_time "$name" true) >/tmp/out 2>&1
		got=$(grep -c 'exclude_guest  *1' /tmp/out)
		[ "$got" = 0 ] || got=1 ;;
	record* | kvm-record)
		in_time "$name" true >/tmp/out 2>&1
		# The first event; a dummy may follow.
		perf evlist -v -i /tmp/data 2>&1 | head -n 1 >/tmp/out
		got=$(grep -c 'exclude_guest: 1' /tmp/out)
		grep -q '^cycles' /tmp/out || got=none ;;
	*)
		continue ;;
	esac
	cell "$name" "exclude_guest" "$want" "$got"
done

for mode in "${MODES:-off refuse yield}"; do for mode in $mode; do
	case $mode in
	off) kvm_mediated N ;;
	*) kvm_mediated Y; echo $mode >$POLICY ;;
	esac
	case $mode in
	refuse) running=4 starts=5 ;;
	yield) running=6 starts=7 ;;
	*) running=3 starts=3 ;;
	esac

	# Instead of QEMU, and of what is in its cgroup.
	echo 0 >$CG/vm/cgroup.procs
	sh -c 'while :; do work-loop 1000000; done' &
	target=$!
	echo 0 >$CG/cgroup.procs
	for name in $names; do
		cell "$name" "$mode, no VM" "$(field "$name" 3)" "$(run_row "$name")"
	done
	kill $target
	vm_start
	for name in $names; do
		got=$(run_row "$name")
		# Beside an emulated PMU the guest's events are the host's, and have their turns.
		[ "$mode" != off ] || [ "$got" != yields ] || got=counts
		cell "$name" "$mode, a VM that counts" "$(field "$name" $running)" "$got"
	done
	vm_end
	mark $mode
	case $mode in off) continue ;; esac
	for name in $names; do
		case $name in stat-p*) continue ;; esac
		starting "$name" >/tmp/got
		cell "$name" "$mode, a VM starts" "$(field "$name" $starts)" "$(cat /tmp/got)"
	done
	mark $mode-starting
done; done
