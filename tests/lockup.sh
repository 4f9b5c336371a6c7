# shellcheck shell=sh
# A hard lockup in host code while a VM with a mediated PMU exists: the NMI watchdog
# has to find it.  Called by tests/lockup.t, does not return.
kvm_load enable_mediated_pmu=1
echo 1 >/proc/sys/kernel/watchdog_thresh
echo 1 >/proc/sys/kernel/hardlockup_panic
l2 --mediated 'perf stat -a -e cycles,instructions,branches -o /tmp/all sh -c "while :; do :; done"' >/dev/null &
loads=0
until [ "$loads" -gt 100 ]; do
	sleep 0.2
	loads=$(cat /sys/kernel/debug/kvm/*-*/pmu_loads 2>/dev/null | head -n 1)
	loads=${loads:-0}
done
diag "loads: $loads"
diag "watchdog: $(cat /proc/sys/kernel/nmi_watchdog)"
diag "provoked now"
echo HARDLOCKUP >/sys/kernel/debug/provoke-crash/DIRECT
