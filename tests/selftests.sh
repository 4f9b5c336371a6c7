# shellcheck shell=sh
# The KVM selftests that have to do with the PMU, the kernel's own and ours, with
# the parameter off and on.  $MODEL says what must run: nothing may be skipped but
# what is named here.

own="mediated_pmu_leak_test mediated_pmu_test mediated_pmu_pmi_test mediated_pmu_reserve_test mediated_pmu_nested_test mediated_pmu_fuzz_test"
own="$own mediated_pmu_emulation_test mediated_pmu_filter_test mediated_pmu_nested_entry_test mediated_pmu_vpmc_test"
# For machine/run, which looks for what to bring: selftest mediated_pmu_test,
# selftest mediated_pmu_pmi_test, selftest mediated_pmu_leak_test,
# selftest mediated_pmu_reserve_test, selftest mediated_pmu_nested_test,
# selftest mediated_pmu_fuzz_test, selftest mediated_pmu_emulation_test,
# selftest mediated_pmu_filter_test, selftest mediated_pmu_nested_entry_test,
# selftest mediated_pmu_vpmc_test.

# A point each: the test ran and passed, and skipped no part of itself when that
# would have been possible.  $own cannot do all in both modes.
selftest() {
	test_name="$1, enable_mediated_pmu=$mode"
	[ "$watchdog" = 1 ] || test_name="$test_name, without NMI watchdog"
	"/machine/selftests/$1" >/tmp/selftest.out 2>&1
	test_status=$?
	test_skips=0
	case " $own " in
	*" $1 "*)
		# Our tests say which of their parts are for the other mode.
		if [ "${mode%%,*}" = Y ]; then
			test_not="PMUs are mediated$|SVM does not load GLOBAL_CTL$|are of AMD's mediated PMU$"
			[ "$(kvm_param vpmc)" = Y ] || test_not="$test_not|hardware does not switch the PMU$|event selectors exit$"
			test_skips=$(grep '^ok.*# SKIP' /tmp/selftest.out | grep -vcE "$test_not")
		fi
		if [ $test_status != 0 ]; then
			sed -n 's/^not ok [0-9]* *[a-z]*\./failed in it: /p' /tmp/selftest.out | sed 's/^/# /'
		fi ;;
	esac
	if [ $test_status = 0 ] && [ "$test_skips" = 0 ]; then
		ok "$test_name"
		return
	fi
	sed 's/^/# /' /tmp/selftest.out
	not_ok "$test_name"
	diag "exit status $test_status, $test_skips parts skipped"
}

# What a mode loads KVM with.  All there is of the PMU is for every VM, where it may be.
with() {
	case $1,$MODEL in
	Y,intel-8+4*) echo enable_mediated_pmu=1 mediated_pmu_metrics=1 ;;
	*) echo "enable_mediated_pmu=$1" ;;
	esac
}

watchdog=1
for mode in N Y; do
	# shellcheck disable=SC2046 # words
	kvm_load $(with $mode)
	if [ "$MODEL" = amd-v1 ] && [ $mode = Y ]; then
		is "$(kvm_param enable_mediated_pmu)" N "enable_mediated_pmu=1 is refused"
		is "$(dmesg | grep -c 'enable_mediated_pmu=1 refused: PerfMonV2 is required')" 1 "a reason is given"
		continue
	fi
	is "$(kvm_param enable_mediated_pmu)" $mode "enable_mediated_pmu=$mode"

	# With the NMI watchdog the host has an event on each CPU, and values are loaded
	# and saved at each VM-entry and VM-exit; without they stay in hardware.
	for watchdog in 1 0; do
		[ "$mode$watchdog" != N0 ] || continue
		echo $watchdog >/proc/sys/kernel/nmi_watchdog
		selftest pmu_event_filter_test
		case $MODEL in intel*) selftest vmx_pmu_caps_test ;; esac
		# When KVM goes and comes, AMD's perf enables the PMU that guests have just had:
		# the first part of mediated_pmu_leak_test looks for that.
		# shellcheck disable=SC2046 # words
		[ $watchdog = 1 ] || kvm_load $(with $mode)
		for test in $own; do selftest "$test"; done
		is "$(cat /proc/sys/kernel/nmi_watchdog)" $watchdog "the NMI watchdog is as it was"
	done
	echo 1 >/proc/sys/kernel/nmi_watchdog
	# Some that have nothing to do with the PMU, but with MSRs, state and exits.
	selftest state_test
	selftest smm_test
	selftest userspace_msr_exit_test
	is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
done

# Three fixed counters, but for VMs that ask for four and PERF_METRICS.
refused() { # WHY, KVM's parameters
	why=$1
	shift
	said=$(dmesg | grep -c 'mediated_pmu_metrics=1 refused')
	kvm_load "$@"
	is "$(kvm_param mediated_pmu_metrics)" N "mediated_pmu_metrics=1 is refused $why"
	is "$(($(dmesg | grep -c 'mediated_pmu_metrics=1 refused') - said))" 1 "a reason is given"
}
case $MODEL in
intel-8+4*)
	is "$(kvm_param mediated_pmu_metrics)" Y "mediated_pmu_metrics=1"
	mode="Y, three fixed counters"
	for watchdog in 1 0; do
		echo $watchdog >/proc/sys/kernel/nmi_watchdog
		kvm_load enable_mediated_pmu=1
		is "$(kvm_param mediated_pmu_metrics)" N "mediated_pmu_metrics is off by default"
		for test in mediated_pmu_leak_test mediated_pmu_test mediated_pmu_fuzz_test vmx_pmu_caps_test; do
			selftest $test
		done
	done
	echo 1 >/proc/sys/kernel/nmi_watchdog
	is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
	refused "with the parameter off" mediated_pmu_metrics=1
	refused "with enable_pmu=0" enable_pmu=0 enable_mediated_pmu=1 mediated_pmu_metrics=1 ;;
intel*)
	refused "with three fixed counters" enable_mediated_pmu=1 mediated_pmu_metrics=1
	is "$(kvm_param enable_mediated_pmu)" Y "enable_mediated_pmu=1 is not" ;;
esac

kvm_load enable_pmu=0 enable_mediated_pmu=1
is "$(kvm_param enable_mediated_pmu)" N "enable_mediated_pmu=1 is refused with enable_pmu=0"
