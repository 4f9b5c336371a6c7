# shellcheck shell=sh
# What perf costs the host without guests: for demo/perf-cost, which takes the figures
# from the machine log.
echo 0 >/proc/sys/kernel/nmi_watchdog
for mode in ${MODES:-off on}; do
	case $mode in on) kvm_mediated Y ;; *) kvm_mediated N ;; esac || bail "KVM does not load"
	for what in switch read fork sample; do
		for events in 0 1 4; do
			[ "$what $events" != "sample 4" ] || continue
			case $what in fork) times=300 ;; *) times=1000 ;; esac
			step "$mode/$what/$events/$times"
			perf-cost $what 3 $times $events || not_ok "perf-cost $what"
		done
	done
done
