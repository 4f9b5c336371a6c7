# shellcheck shell=sh
# Other people's software in a guest, as Debian has it: perf (stat, stat -I,
# record, report, test), PAPI, libpfm4.  With the guest of build/image/l2-software.cpio
# and, for L1 itself, software.cpio.
#
# The same is done, and what came out is in the table at the end,
#	on bare metal, i.e. in L1: the known value, where the program does not say;
#	in a guest with the legacy vPMU, while the host counts nothing;
#	in the same guest while the host has pinned all its counters;
#	in a guest with the mediated PMU while the host has pinned all its counters.
# Only the last has to be right.

papi_insns=
case $MODEL in
intel*)
	# With the NMI watchdog all of them.
	host_events="cycles instructions ref-cycles branches branch-misses cache-references r81d0 r82d0 r83d0 r00c4"
	# None of these fits a fixed counter.
	mux="r00c4 r81d0 r82d0 r00c4 r81d0 r82d0 r00c4 r81d0 r82d0 r00c4"
	pfm_insns=INST_RETIRED:ANY_P pfm_branches=BR_INST_RETIRED:ALL_BRANCHES
	case $MODEL in
	intel-8+3*) writes_self=4 pfm_pmu=skx papi_counters=11 ;;
	# Debian's PAPI has no preset for this one, and takes the number from a list.
	*) writes_self=4 pfm_pmu=icl papi_counters=20 papi_insns=$pfm_insns papi_branches=$pfm_branches ;;
	esac ;;
*)
	# Half of them for what VM-entries add.  With GLOBAL_CTL, which QEMU 7.2 does not offer,
	# perf does not write selectors to stop and start them all.
	writes_self=8
	[ -z "$OLD" ] || writes_self=12
	host_events="cycles instructions branches branch-misses r0129"
	mux="r00c0 r00c2 r0129 r0229 r00c0 r00c2 r0129 r0229 r00c0 r00c2"
	pfm_insns=RETIRED_INSTRUCTIONS pfm_branches=RETIRED_BRANCH_INSTRUCTIONS
	pfm_pmu=amd64_fam17h_zen1 papi_counters=6 ;;
esac
preset=No
[ "$papi_insns" ] || preset=Yes papi_insns=PAPI_TOT_INS papi_branches=PAPI_BR_INS
LOOPS=2000000		# 14 million instructions: 0.15 s, some 40 turns of the events
TOLERANCE=5		# percent, of a count that is scaled
PERIOD=100003
# Of `perf test` those that use hardware counters, which pmu_trapped_writes tells, and
# which of them or of their parts have to pass.  "Read samples using the mmap interface"
# has nothing to do with counters and wants CONFIG_FTRACE_SYSCALLS; "Perf time to TSC"
# wants a clock without kvmclock.  Left out are "Setup struct perf_event_attr", whose
# files Debian does not ship; "Number of exit events of a simple workload", which gives up
# after 1000 samples of period 1, in L1 too; and "Object code reading", which is minutes
# of objdump.  All others use software events, tracepoints, breakpoints, or none.
PERF_TESTS="mmap interface tests
PERF_RECORD_* events & perf_sample fields
Use a dummy software event to keep tracking
Track with sched_switch
Convert perf time to TSC"
PERF_TESTS_OK="User space counter reading of instructions
User space counter reading of cycles
PERF_RECORD_* events & perf_sample fields
Use a dummy software event to keep tracking
Track with sched_switch
TSC support"

# Is $1 the count $2 of a guest?  AMD counts VMRUN in it, and how often the host
# interrupts so many instructions is not known.
entries() { case $MODEL in amd*) echo $((10 + $1 / 20000)) ;; *) echo 0 ;; esac }
counted() {
	counted_off=$(($1 - $2))
	[ "${counted_off#-}" -le "$(entries "$2")" ]
}

# The counters of KVM for guest $1 before and after commands $2: what they add is
# in $loads, $pmis and $writes.
stats_around() {
	loads=$(kvm_stat "$1" pmu_loads) pmis=$(kvm_stat "$1" pmu_pmis) writes=$(kvm_stat "$1" pmu_trapped_writes)
	guest "$1" "$2"
	around_status=$?
	loads=$(($(kvm_stat "$1" pmu_loads) - loads)) pmis=$(($(kvm_stat "$1" pmu_pmis) - pmis))
	writes=$(($(kvm_stat "$1" pmu_trapped_writes) - writes))
	return $around_status
}

# The host wants all counters for itself; :H, as guests are not its matter.
host_pin() {
	pin=
	for event in $host_events; do pin="$pin -e $event:DH"; done
	# shellcheck disable=SC2086
	perf stat -x, -a -o /tmp/host.out $pin sh -c 'echo >/tmp/host.on; read -r line </tmp/host.end' &
	host_pid=$!
	read -r line </tmp/host.on
}
host_unpin() { echo >/tmp/host.end; wait $host_pid; }
mkfifo /tmp/host.on /tmp/host.end

# A guest with next to nothing in it; takes commands, too.
small_initrd() {
	mkdir -p /tmp/small/bin /tmp/small/usr/bin /tmp/small/dev /tmp/small/tmp /tmp/small/proc
	cp /usr/bin/busybox /machine/bin/work-loop /machine/bin/pmu-selfcount /machine/bin/mexit /tmp/small/bin
	for applet in sh stty cat mount; do ln -s busybox "/tmp/small/bin/$applet"; done
	cat >/tmp/small/init <<-'EOT'
		#!/bin/sh
		export PATH=/bin
		mount -t devtmpfs dev /dev
		sh /command
		mexit --reboot
	EOT
	chmod 755 /tmp/small/init
	cp /machine/bin/take-commands /tmp/small/usr/bin
	(cd /tmp/small && find . | cpio -o -H newc 2>/dev/null) >/tmp/small.cpio
}

# What is measured.  Each prints "KEY VALUE" and runs in a guest, or here.
functions='
stat() {
	perf stat -x, -e instructions:u,branches:u work-loop 0000001 2>&1 | awk -F, "{ print \"one-\" \$3, \$1 }"
	perf stat -x, -e instructions:u,branches:u work-loop 0100001 2>&1 | awk -F, "{ print \$3, \$1 }"
}
mux() { # loops, events
	loops=$1; shift
	perf stat -x, $(printf -- "-e %s:u " "$@") work-loop "$loops" 2>&1 | awk -F, "{ print \"mux-\" NR, \$3, \$5, \$1 }"
}
whole() { perf stat -x, -e instructions:u "$@" 2>&1 >/dev/null | cut -d, -f1; }
# perf leaves its last interval out if the command ends while it prints the one
# before: the work is done by then, and only the process ends.
interval() {
	echo "interval-one $(whole work-loop 0000001 120)"
	perf stat -x, -I 50 --summary -e instructions:u work-loop "$1" 120 2>&1 | awk -F, "
		\$1 ~ /summary/ { whole = \$2; next }
		\$4 == \"instructions:u\" { n++; sum += \$2 }
		END { print \"intervals\", n + 0; print \"interval-sum\", sum + 0; print \"interval-whole\", whole + 0 }"
}
nmis() { awk "\$1 == \"NMI:\" { print \$2 }" /proc/interrupts; }
record() { # key event period command...
	key=$1 event=$2 period=$3; shift 3
	nmi=$(nmis)
	# S: each sample has the counter in it, of which perf report prints the last.
	perf record -q -B -N -o /tmp/p -e "${event}S" -c "$period" "$@" >/dev/null 2>&1
	echo "$key-nmis $(($(nmis) - nmi))"
	perf report -i /tmp/p --stdio -F sample,sym 2>/dev/null | awk -v key="$key" "
		/^# Samples:/ { print key \"-samples\", \$3 }
		/^# Event count/ { print key \"-count\", \$5 }
		/^# Total Lost Samples:/ { print key \"-lost\", \$5 }
		/^ / && NF == 3 && !top { top = 1; print key \"-top\", \$3; print key \"-top-samples\", \$1 }"
}
papi_tool() {
	papi_command_line "$1" | awk "\$2 == \":\" && \$3 + 0 > 0 { print \"papi_command_line\", \$3 }"
}
libraries() {
	papi-count 100001 "$3" "$4" | sed s/^/papi-/
	pfm-count 100001 "$1" "$2" | sed "/^PMU/ { s/ /-/; s/\$/ yes/; }"
}
'

here() { (cd /tmp && export PATH="/tmp/sw/usr/bin:$PATH" LD_LIBRARY_PATH=/tmp/sw/usr/lib/x86_64-linux-gnu && eval "$functions$1"); }
there() { guest a "$1"; }
# measure CASE here|there PART...: rows of the table.
measure() {
	case_=$1 run=$2; shift 2
	: >"/tmp/rows.$case_"
	for part in "$@"; do $run "$part" >>"/tmp/rows.$case_"; done
}
number() { number_=$(value mediated "$1"); echo "${number_:-0}"; }
value() { awk -v key="$2" '$1 == key { print $NF; exit }' "/tmp/rows.$1" 2>/dev/null; }

stat_i="interval $LOOPS"
mux="mux $LOOPS instructions branches $mux"
record_u="record user instructions:u $PERIOD hot 400000"
libraries="libraries $pfm_insns $pfm_branches $papi_insns $papi_branches"
papi_tool="papi_tool $papi_insns"

mkdir /tmp/sw
(cd /tmp/sw && cpio -i -d </machine/files/software.cpio 2>/dev/null) || bail "no software.cpio"
small_initrd
measure metal here "$papi_tool"
mark metal

kvm_mediated N || bail "KVM does not load"
guest_start a
there "$functions"
measure legacy there stat "$stat_i" "$libraries"
mark legacy
host_pin
measure busy there stat "$stat_i" "$mux" "$libraries" "$record_u"
host_unpin
guest_stop a
mark legacy-busy

kvm_mediated "${MEDIATED:-Y}" || bail "KVM does not load with enable_mediated_pmu=1"
is "$(kvm_param enable_mediated_pmu)" Y "enable_mediated_pmu"
guest_start a
there "$functions"
host_pin
measure mediated there stat "$stat_i" "$mux" "$libraries" "$papi_tool"
mark mediated

# perf stat.
rounds() { echo $(($(number "$1") - $(number "one-$1"))); }
check "perf stat: exact: $(rounds instructions:u)" counted "$(rounds instructions:u)" $((7 * 100000))
is "$(rounds branches:u)" $((3 * 100000)) "perf stat: branches are exact"
check "perf stat -I: exact: $(number interval-whole)" \
	counted "$(number interval-whole)" "$(($(number interval-one) + 7 * (LOOPS - 1)))"
check "perf stat -I: the intervals' counts make the whole, but for its end: $(($(number interval-whole) - $(number interval-sum)))" \
	[ "$(($(number interval-whole) - $(number interval-sum)))" -ge 0 -a \
	  "$(($(number interval-whole) - $(number interval-sum)))" -le 32 ]
check "perf stat -I: more than two intervals" [ "$(number intervals)" -gt 2 ]

# Events by turns: 12 where 8, or 6, counters are.  AMD calls what Intel calls otherwise.
by_turns() {
	awk -v loops="$LOOPS" -v tolerance="$TOLERANCE" '
		BEGIN {
			n["instructions:u"] = n["r00c0:u"] = 7; n["branches:u"] = n["r00c2:u"] = n["r00c4:u"] = 3
			n["r81d0:u"] = n["r82d0:u"] = n["r0129:u"] = n["r0229:u"] = 2
		}
		/^mux-/ {
			true = n[$2] * loops; off = 100 * ($4 - true) / true
			printf "%s %d, in truth %d: %+.2f %%, on a counter %s %% of the time\n", $2, $4, true, off, $3
			if (off < -tolerance || off > tolerance || $3 < 20 || $3 >= 100)
				bad = 1
			turns++
		}
		END { exit bad || turns != 12 }' /tmp/rows.mediated
}
check "perf stat with more events than counters: within $TOLERANCE %, each had its turn" by_turns

# PAPI and libpfm4.
there "papi_avail | awk '\$1 == \"PAPI_TOT_INS\" { print \"papi_avail\", \$3 }'
	papi_component_avail | sed -n 's/.*Native: .*Counters:/papi_component_avail/p' | head -n 1" >>/tmp/rows.mediated
is "$(value mediated papi_avail) $(value mediated papi_component_avail)" "$preset $papi_counters" \
	"PAPI: PAPI_TOT_INS, $preset; number of counters"
check "PAPI: $papi_insns counts exactly" counted "$(number "papi-$papi_insns")" 700000
is "$(value mediated "papi-$papi_branches")" 300000 "PAPI: $papi_branches counts exactly"
# PAPI asks the kernel more with a clock other than kvmclock: two instructions.
off=$(($(number papi_command_line) - $(value metal papi_command_line)))
check "papi_command_line $papi_insns: $(value mediated papi_command_line), on bare metal $(value metal papi_command_line)" \
	[ "${off#-}" -le $((16 + $(entries "$(number papi_command_line)"))) ]
is "$(value mediated "PMU-$pfm_pmu")" yes "libpfm4 detects $pfm_pmu"
check "libpfm4: $pfm_insns counts exactly" counted "$(number "$pfm_insns")" 700000
is "$(value mediated "$pfm_branches")" 300000 "libpfm4: $pfm_branches counts exactly"

# perf record, with a second guest at work that has a PMU and does not use it.
guest_start b --mem 64 --initrd /tmp/small.cpio
mark two
guest b "work-loop 1000"
b_exits=$(kvm_stat b exits) b_loads=$(kvm_stat b pmu_loads) b_pmis=$(kvm_stat b pmu_pmis) b_writes=$(kvm_stat b pmu_trapped_writes)
guest_begin b "work-loop 30000000"
profile() { # key event period command...
	stats_around a "record $*" >>/tmp/rows.mediated
	diag "perf record -e $2: pmu_pmis +$pmis, pmu_trapped_writes +$writes, pmu_loads +$loads"
	samples=$(number "$1-samples")
	check "perf record -e $2: samples" [ "$samples" -gt 90 ]
	is "$(value mediated "$1-lost") $(($(number "$1-count") / $3))" "0 $samples" \
		"perf record -e $2: none lost, the last of $samples samples has read $samples periods"
	is "$(value mediated "$1-nmis") $pmis" "$samples $samples" \
		"perf record -e $2: as many NMIs in the guest and PMIs by KVM"
}
profile user instructions:u $PERIOD hot 400000
during=$(($(kvm_stat b exits) - b_exits))
profile kernel cycles:k 20011 hot 200 kernel
guest_end b
b_status=$?
counted=$(number user-samples)
whole=$(there "whole hot 400000" | tr -cd 0-9)
# Another run, so not as many VM-entries.
check "perf record: $counted samples are the count $whole by the period" \
	[ "$counted" -ge $(((whole - $(entries "$whole")) / PERIOD)) -a "$counted" -le $(((whole + $(entries "$whole")) / PERIOD)) ]
is "$(value mediated user-top)" hot_function "perf report: the hot function is on top"
share=$(($(number user-top-samples) * 5 - 4 * counted))
check "perf report: it has four fifths of the samples, to one" [ "${share#-}" -le 5 ]
is "$(value mediated kernel-top)" chacha_permute "perf report: in the kernel the cipher is on top"
b_writes=$(($(kvm_stat b pmu_trapped_writes) - b_writes)) b_pmis=$(($(kvm_stat b pmu_pmis) - b_pmis))
check "the other guest ran meanwhile: $during exits" [ "$during" -gt 10 ]
is "$(($(kvm_stat b pmu_loads) - b_loads))" 0 "the other guest: its PMU was not loaded once"
is "$b_status $b_writes $b_pmis" "0 0 0" "the other guest: ended well, not a write to its PMU, no PMI"
guest b pmu-selfcount >/tmp/b.out
is "$?" 0 "the other guest: its PMU is as new, counts exactly"
guest_stop b
mark profiles

# The stats of KVM: the same each time, where the guest does the same.  If something
# else of the guest comes in between, perf takes the event off its counter and puts it
# on again: the least of forty, of which few may be needed.  Beside events of the host more
# traps, GLOBAL_CTRL for one.
host_unpin
echo 0 >/proc/sys/kernel/nmi_watchdog
again=
for try in $(seq 40); do
	stats_around a "pmu-selfcount -n 1000 instructions" >/dev/null
	diag "a program that counts itself, time $try: pmu_trapped_writes +$writes, pmu_pmis +$pmis, pmu_loads +$loads"
	[ "$loads" -gt 0 ] || again="$again$writes $pmis, no loads
"
	again="$again$writes $pmis
"
	[ "$writes $pmis" != "$writes_self 0" ] || break
done
is "$(printf %s "$again" | sort -n | head -n 1)" "$writes_self 0" \
	"pmu_trapped_writes: $writes_self for a program that counts itself twice, no PMI"
stats_around a "work-loop 100000" >/dev/null
is "$writes $pmis" "0 0" "pmu_trapped_writes: none for one that does not"
echo 1 >/proc/sys/kernel/nmi_watchdog
host_pin

# perf test.  Some of it samples as fast as it may: with the kernel's own limit.
numbers=$(perf test list 2>&1 | awk -v tests="$PERF_TESTS" '
	BEGIN { n = split(tests, names, "\n"); for (i = 1; i <= n; i++) wanted[names[i]] }
	{ name = $0; sub(/^[^:]*: /, "", name) }
	name in wanted { printf "%d ", $1 }')
there "echo 25 >/proc/sys/kernel/perf_cpu_time_max_percent; for i in $numbers; do perf test \$i 2>&1; done" >/tmp/perf-test
diag "$(cat /tmp/perf-test)"
# Debian 13's perf says what runs, too.
while read -r name; do
	is "$(awk -v name="$name" '
		{ test = $0; sub(/^ *[0-9.]*: */, "", test); sub(/ *: [^:]*$/, "", test) }
		test == name && !/ Running \([0-9]+ active\)$/ { print $NF }' /tmp/perf-test)" Ok "perf test: $name"
done <<EOT
$PERF_TESTS_OK
EOT
host_unpin
guest_stop a

# The host has had its counters all the time.
sed 1,2d /tmp/host.out >/tmp/host.rows
diag "$(cat /tmp/host.rows)"
is "$(awk -F, '$1 + 0 > 0 && $5 == 100' /tmp/host.rows | wc -l)" "$(echo "$host_events" | wc -w)" \
	"the host's own events: all on a counter, all the time"
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI in the host"

row() { # what, known value, key
	printf '# %-44s %11s %11s %11s %11s\n' "$1" "$2" "$(cell legacy "$3")" "$(cell busy "$3")" "$(cell mediated "$3")"
}
cell() { cell_=$(value "$1" "$2"); echo "${cell_:--}"; }
printf '# %-44s %11s %11s %11s %11s\n' "" "" "" "legacy," "mediated," "in the guest" known legacy "host counts" "host counts"
one() { number "one-$1"; }
row "perf stat -e instructions:u" $((700000 + $(one instructions:u))) instructions:u
row "perf stat -e branches:u" $((300000 + $(one branches:u))) branches:u
row "perf stat -I 50 -e instructions:u, sum" $((7 * (LOOPS - 1) + $(number interval-one))) interval-sum
row "perf stat, 12 events: instructions:u, scaled" $((7 * LOOPS)) mux-1
row "perf stat, 12 events: branches:u, scaled" $((3 * LOOPS)) mux-2
row "perf record -e instructions:u -c $PERIOD" "$counted" user-samples
row "perf report: samples in hot_function" $((counted * 4 / 5)) user-top-samples
row "PAPI: $papi_insns" 700000 "papi-$papi_insns"
row "PAPI: $papi_branches" 300000 "papi-$papi_branches"
row "papi_command_line $papi_insns" "$(value metal papi_command_line)" papi_command_line
row "libpfm4: $pfm_insns" 700000 "$pfm_insns"
row "libpfm4: $pfm_branches" 300000 "$pfm_branches"
