# shellcheck shell=sh
# L1's part of tests/oracle.t: what perf says is printed, "perf KEY EVENT COUNT",
# the machine log has the truth in the window of the same number.

# perf counts what mwindow runs, and a bit of mwindow: the same in each run.
workload() {
	# No pipe: its other end would start within the window.
	perf stat -x, -e "$2" -o /tmp/oracle.stat mwindow run "$1" work-loop "$3" >/dev/null 2>&1
	awk -F, -v key="$1" '$1 ~ /^[0-9]+$/ { print "perf", key, $3, $1 }' /tmp/oracle.stat
}

# Twice: the first is for pages and caches.
for pass in 1 2; do
	workload $pass$((pass))1 instructions:u,branches:u,cycles:u 000001
	workload $pass$((pass))2 instructions:u,branches:u,cycles:u 100001
done

# One sample for each full period of the whole, none lost.
perf record -q -o /tmp/perf.data -e instructions:u -c 10007 work-loop 200000 >/dev/null 2>&1
echo "samples $(perf script -i /tmp/perf.data -F event 2>/dev/null | wc -l)"
echo "whole $(perf stat -x, -e instructions:u work-loop 200000 2>&1 >/dev/null | cut -d, -f1)"

if [ "$(kvm_load enable_mediated_pmu=1 && kvm_param enable_mediated_pmu)" = Y ]; then
	# What is direct depends on it; host.t has a host that counts, too.
	echo 0 >/proc/sys/kernel/nmi_watchdog
	mwindow open 20
	# shellcheck disable=SC2016
	l2 --mediated '
		pmu-selfcount; echo "status $?"
		pmu-selfcount --rdpmc; echo "status $?"
		perf stat -x, -e instructions:u,branches:u work-loop 000001 2>&1 | sed s/^/one,/
		perf stat -x, -e instructions:u,branches:u work-loop 300001 2>&1 | sed s/^/many,/
		perf record -q -o /tmp/p -e instructions:u -c 10007 work-loop 200000 >/dev/null 2>&1
		echo "samples $(perf script -i /tmp/p -F event 2>/dev/null | wc -l)"
		echo "whole $(perf stat -x, -e instructions:u work-loop 200000 2>&1 >/dev/null | cut -d, -f1)"
	' | sed 's/^/l2 /'
	mwindow close 20
	echo "vpmi $(awk '$1 == "VPMI:" { print $2 }' /proc/interrupts)"
	is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
fi
