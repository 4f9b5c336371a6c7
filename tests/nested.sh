# shellcheck shell=sh
# A hypervisor in a guest.  L1 is the machine's host, with a mediated PMU; L2 is the guest
# with KVM, L3 its guests.  L2 runs them, and its perf counts beside them,
#	with the parameter off, as the base has it;
#	on AMD with the parameter on: L2 mediates L3's PMU, and L1 that of L2.  Intel's
#	KVM does not offer L2 what it needs for that.
# For machine/run, which looks for what to bring: selftest pmu_event_filter_test,
# selftest vmx_pmu_caps_test, selftest mediated_pmu_test, selftest mediated_pmu_pmi_test,
# selftest state_test.

tests="pmu_event_filter_test mediated_pmu_test mediated_pmu_pmi_test"
modes=off
case $MODEL,$OLD in
intel*) tests="$tests vmx_pmu_caps_test" ;;
# Without PerfMonV2, which QEMU 7.2 does not offer, nothing can be mediated in L2.
amd*,) modes="off on" ;;
esac
# What takes longest is left out, but with nested=all on the kernel's command line.
not="counts_beside_host_events absent_counters_fault_beside_host_events none_of_1000_is_lost"
not="$not guest_pmis_and_host_samples_do_not_mix by_turns as_threads"
not="$not emulated_overflow_raises_one_interrupt emulated_overflow_raises_one_nmi"
not="$not migrates_while_overflowing_interrupt migrates_while_overflowing_nmi"
case ${nested:-} in all) not= ;; esac
# How late the machine makes PMIs, as in tests/pmi.sh.
pmi_arguments=$(cmdline pmi | tr , ' ')
mkdir -p /tmp/more/nested
for kvm_mod in $KVM_MODULES; do cp "/machine/modules/$kvm_mod.ko" /tmp/more/nested; done
for test in $tests state_test; do cp "/machine/selftests/$test" /tmp/more/nested; done

# In L2; its output is looked at below.
cat >/tmp/nested <<EOT
run_tests() { # MODE, tests to leave out
	mode=\$1 not=\$2
	echo "\$mode parameter \$(cat /sys/module/kvm_*/parameters/enable_mediated_pmu)"
	for test in $tests; do
		args=
		case \$test in mediated*) for n in \$not; do args="\$args -T \$n"; done ;; esac
		case \$test in *_pmi_test) args="$pmi_arguments \$args" ;; esac
		/nested/\$test \$args >/tmp/out 2>&1
		status=\$?
		echo "\$mode \$test \$status"
		[ \$status = 0 ] || cat /tmp/out
	done
	# What its perf counts of itself, beside guests or not: exact.
	for n in 0000001 0100001; do
		perf stat -x, -e instructions:uH,branches:uH work-loop \$n 2>&1 | sed "s/^/\$mode alone \$n,/"
		rm -f /tmp/enough
		(until [ -e /tmp/enough ]; do /nested/pmu_event_filter_test >/dev/null 2>&1; done) &
		sleep 0.2
		perf stat -x, -e instructions:uH,branches:uH work-loop \$n 2>&1 | sed "s/^/\$mode beside \$n,/"
		# To its end: with a guest of a mediated PMU, no event that includes guests is opened.
		touch /tmp/enough
		wait
	done
}
for m in $KVM_MODULES; do insmod /nested/\$m.ko || echo "nested: \$m refused"; done
run_tests off
# Its guests and the rest are all there is; nothing counts twice, and the entry once.
perf stat -x, -a -e '{instructions:kH,instructions:kG,instructions:k}' /nested/state_test 2>&1 >/dev/null |
	sed 's/^/sum,/'
if [ "$modes" = "off on" ]; then
	rmmod kvm_amd && insmod /nested/kvm_amd.ko enable_mediated_pmu=1 || echo "nested: kvm_amd refused"
	run_tests on "$not"
fi
pmu-selfcount 2>&1 && echo "nested selfcount 0"
dmesg | grep -ci 'NMI received for unknown reason' | sed 's/^/nested unknown /'
EOT

run_nested() {
	l2 --mediated --mem 384 --timeout 1500 --files /tmp/more \
		--append "nmi_watchdog=0" "$(cat /tmp/nested)" >/tmp/nested.out 2>&1
}
check "a guest with KVM comes up and ends" run_nested
sed 's/^/# L2: /' /tmp/nested.out
value() { sed -n "s/^$1 //p" /tmp/nested.out | head -n 1; }
field() { awk -F, -v what="$1" -v event="$2" '$1 == what && $4 == event { print $2 }' /tmp/nested.out; }

is "$(kvm_param enable_mediated_pmu)" Y "the parameter is on in L1"
# On AMD the entries of L2 count as instructions of it.
exact() { # EVENT COUNT WANT
	off=$(($2 - $3)) most=0
	# shellcheck disable=SC2154 # near, of lib.sh
	[ "$1" = branches ] || [ "$near" = 0 ] || most=$(($3 / near))
	echo "$2, $off too many"
	[ "${off#-}" -le $most ]
}
for mode in $modes; do
	case $mode in
	off) want=N ;;
	on) want=Y ;;
	esac
	is "$(value "$mode parameter")" "$want" "... $mode in L2"
	for test in $tests; do is "$(value "$mode $test")" 0 "$mode: $test in L2"; done
	for how in alone beside; do
		for event in instructions:7 branches:3; do
			count=$(($(field "$mode $how 0100001" "${event%:*}:uH") - $(field "$mode $how 0000001" "${event%:*}:uH")))
			check "$mode: L2's perf, $how: ${event%:*} exact" exact "${event%:*}" $count $((${event#*:} * 100000))
		done
	done
done
host=$(field sum instructions:kH) guests=$(field sum instructions:kG) all=$(field sum instructions:k)
diag "host $host, guests $guests, all $all"
check "L2's perf sees its guests" [ "$guests" -gt 2000 ]
case $MODEL,$OLD in
intel*|amd*,) is "$((host + guests))" "$all" "L2's perf: itself and its guests are all there is" ;;
*)
	# Without GLOBAL_CTL, which QEMU 7.2 does not offer, its perf starts one counter after
	# the other.  There are more than 200 entries: one instruction for each would be seen.
	missed=$((all - host - guests))
	check "L2's perf: itself and its guests are all there is, but for $missed" [ "${missed#-}" -lt 100 ] ;;
esac
is "$(value "nested selfcount")" 0 "L2's programs count themselves"
is "$(value "nested unknown")" 0 "no unknown NMI in L2"
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI in L1"
