# shellcheck shell=sh
# With --quirk stray=N: interrupts by LVTPC that no counter stands behind, as of branch
# traces.  With the NMI watchdog they would be NMIs of the host, which knows none.
kvm_mode_is_as_given
echo 0 >/proc/sys/kernel/nmi_watchdog
selftest mediated_pmu_pmi_test -s -r global.stray_interrupts_are_no_pmis
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
