# shellcheck shell=sh
# Random orders of what guests, the host and the hardware do to a PMU, compared with
# a model of one that nobody virtualizes.  orders=SEED,NUMBER,DELAY on the command
# line says where to begin, how many sequences, and how late the machine makes PMIs
# (--quirk late=N or skid=N), in steps.  Half of them run with the NMI watchdog.  Then
# some with events of the host that include guests, and yield.
kvm_mode_is_as_given
orders=$(cmdline orders)
seed=${orders%%,*}
delay=${orders##*,}
number=${orders#*,}
number=$((${number%,*} / 2))
for watchdog in 0 1; do
	echo $watchdog >/proc/sys/kernel/nmi_watchdog
	selftest mediated_pmu_orders_test -s "$seed" -n $number -d "$delay"
	seed=$((seed + number))
done
echo 0 >/proc/sys/kernel/nmi_watchdog
echo yield >/proc/sys/kernel/perf_guest_policy
selftest mediated_pmu_orders_test -i -s "$seed" -n $((number / 2)) -d "$delay"
echo refuse >/proc/sys/kernel/perf_guest_policy
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
