# shellcheck shell=sh
# Debian's perf and the fourth fixed counter: topdown metrics in a guest that has all
# of the host's PMU, and beside it in the host.  QEMU hides the metrics from its
# guests unless they need not migrate.

kvm_load enable_mediated_pmu=1 mediated_pmu_metrics=1 || bail "KVM does not load"
is "$(kvm_param enable_mediated_pmu) $(kvm_param mediated_pmu_metrics)" "Y Y" "enable_mediated_pmu, mediated_pmu_metrics"

events='{slots,topdown-retiring,topdown-bad-spec,topdown-fe-bound,topdown-be-bound}'
# A slot is a quarter of a cycle.  Of the four parts of them, each is known to 1/255.
topdown() { # FILE
	awk -F, '
		$3 ~ /^(slots|topdown)/ { sub(":.*", "", $3); v[$3] = $1 }
		END {
			sum = v["topdown-retiring"] + v["topdown-bad-spec"] + v["topdown-fe-bound"] + v["topdown-be-bound"]
			printf "slots %d, retiring %d, bad-spec %d, fe-bound %d, be-bound %d\n", v["slots"],
			       v["topdown-retiring"], v["topdown-bad-spec"], v["topdown-fe-bound"], v["topdown-be-bound"]
			one = v["slots"] / 255
			exit !(one > 1000 && sum > v["slots"] - 4 * one && sum < v["slots"] + 4 * one &&
			       v["topdown-retiring"] > v["slots"] / 5 && v["topdown-retiring"] < v["slots"] / 3.5)
		}' "$1"
}

guest_start t --cpu host,pmu=on,migratable=off
guest t "perf stat -x, -e '$events' work-loop 300000 2>&1" >/tmp/guest.out
check "topdown metrics in the guest" topdown /tmp/guest.out || cat /tmp/guest.out
guest t "perf stat --topdown -a work-loop 300000 2>&1" >/tmp/guest.out
# Retiring and backend-bound; perf 6.1 has the two others between them, 6.12 behind.
check "perf stat --topdown in the guest" grep -qE '^ *2[0-9.]*% *0.0% *0.0% *7[0-9.]*%|^ *2[0-9.]* +7[0-9.]* +0.0 +0.0 *$' /tmp/guest.out || cat /tmp/guest.out
sed 's/^/# /' /tmp/guest.out

# Once more, as the first write of the first time has the PMU loaded.
guest t pmu-selfcount --rdpmc >/tmp/guest.out
is $? 0 "a program that counts itself: exact, by RDPMC"
# Beside an event of the host GLOBAL_CTRL traps.
echo 0 >/proc/sys/kernel/nmi_watchdog
guest t pmu-selfcount >/tmp/guest.out
writes=$(kvm_stat t pmu_trapped_writes)
guest t pmu-selfcount >/tmp/guest.out
is $? 0 "a program that counts itself: exact, by read()"
# Selectors and FIXED_CTR_CTRL.  With the metrics hidden there are 20 of GLOBAL_CTRL, too.
writes=$(($(kvm_stat t pmu_trapped_writes) - writes))
check "its writes that trap, $writes, are not of GLOBAL_CTRL" [ "$writes" -le 16 ]

echo 1 >/proc/sys/kernel/nmi_watchdog

# Host and guest by turns, both with the same registers.
guest_begin t "perf stat -x, -e '$events' work-loop 3000000 2>&1"
perf stat -x, -e "$(echo "$events" | sed 's/\([a-z]\)\([,}]\)/\1:H\2/g')" -o /tmp/host.out work-loop 3000000
check "topdown metrics in the host beside a guest's" topdown /tmp/host.out || cat /tmp/host.out
guest_end t >/tmp/guest.out
check "topdown metrics in the guest beside the host's" topdown /tmp/guest.out || cat /tmp/guest.out
guest_stop t
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
