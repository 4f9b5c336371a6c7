# shellcheck shell=sh
# A million operations of mediated_pmu_fuzz_test, ten seeds, in the mode that KVM
# was loaded in.  The quick suite has 20,000, of seed 1.
kvm_mode_is_as_given
for seed in 2 3 4 5 6 7 8 9 10 11; do
	# Without the watchdog values stay in hardware from exit to entry.
	echo $((seed % 2)) >/proc/sys/kernel/nmi_watchdog
	selftest mediated_pmu_fuzz_test -s $seed -n 100000
done
# And a hundred thousand overflows of two vCPUs that share a processor.
[ $mode = N ] || selftest mediated_pmu_pmi_test -n 100000 -r two_vcpus.by_turns
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
