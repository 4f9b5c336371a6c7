# shellcheck shell=sh
# A processor that counts and interrupts as it likes, within what silicon may do: with
# --quirk hostile=SEED.  Counts are right but for what the quirks add, which is little of a
# program's own instructions; nothing is lost, nothing leaks, nothing warns.
kvm_mode_is_as_given
near=50
# Interrupts that nothing stands behind are the host's NMIs while it has events.
case $QUIRKS in
*stray=*) stray=1 ;;
*) stray= ;;
esac
echo 0 >/proc/sys/kernel/nmi_watchdog

# The loop has seven instructions; one of 40,000 is a sample, within two percent.
samples() { # WHO TEXT: lines of perf script
	samples_n=$(echo "$2" | grep -c work-loop)
	samples_want=$((2000000 * 7 / 40000))
	check "$1: $samples_n samples, wanted $samples_want" \
		[ $((samples_n * 50)) -ge $((samples_want * 49)) -a $((samples_n * 50)) -le $((samples_want * 51)) ]
}
record='perf record -q -o /tmp/perf.data -c 40000 -e instructions:u work-loop 2000000 >/dev/null 2>&1; perf script -F comm -i /tmp/perf.data 2>/dev/null'

guest_start g
mark up
check "a guest's counts" guest g "pmu-selfcount --near $near instructions branches && pmu-selfcount --near $near --rdpmc instructions branches"
samples "a guest" "$(guest g "$record")"

guest_busy g "pmu-selfcount --near $near && pmu-selfcount --near $near --rdpmc"
mark busy
check "beside it: the host's counts" pmu-selfcount --near "$near" instructions branches
samples "beside it: the host" "$(eval "$record")"
for _ in 1 2 3; do
	perf stat -a -e cycles,instructions,branches,cache-references,cache-misses work-loop 20000 >/dev/null 2>&1
done
guest_exact g "beside events of the host"
guest g "kill \$(cat /tmp/rounds.pid)"
mark ends
check "the guest ends" guest_stop g

# What nobody has asked for is 0, whoever ran before; and what is denied does not count.
# These tests are exact: less than two instructions of a VM-entry, and none on Intel.
case $QUIRKS in
*vmentry=*|*guest-only=*|*smi=*|*faults=*) ;;
*)
	case $QUIRKS in
	# The status is not 0 after a guest's PMI, and metrics are not what was written.
	*status-*|*metrics-*) ;;
	*) selftest mediated_pmu_leak_test -r global.nothing_of_a_guest_stays_in_hardware ;;
	esac
	for test in host_values_after_a_conflict guest_sees_nothing_of_events_that_come_back \
		global_ctrl_of_the_host_enables_nothing; do
		selftest mediated_pmu_leak_test -r global.$test
	done
	selftest mediated_pmu_filter_test ;;
esac
[ -n "$stray" ] || is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
