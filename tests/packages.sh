# shellcheck shell=sh
# On Debian with the packages installed (tests/packages.t): it has booted from what apt has
# installed, with the initramfs that initramfs-tools has made.

# page NAME: a command of Documentation/project/packages.md.
tab=$(printf '\t')
page() { sed -n "s/^$1$tab//p" /machine/files/page | sed "s/kvm_intel/$module/g"; }
as_page() { check "$1: $(page "$2")" sh -c "$(page "$2")"; } # WHY NAME
case $MODEL in
intel*) module=kvm_intel ;;
*) module=kvm_amd ;;
esac
is "$(uname -r)" "$(cat /machine/files/release)" "the packaged kernel runs"
is "$(sed -n 's,^/dev/[^ ]* / \([^ ]*\) .*,\1,p' /proc/mounts)" squashfs "the root file system is the image's"
is "$(sed 's/ .*//' /proc/modules | grep -cE '^(ata_piix|sd_mod|squashfs)$')" 3 "the initramfs has loaded its modules"
is "$(find /sys/module -maxdepth 1 -name 'kvm*' | wc -l)" 0 "KVM is not loaded yet"
param() { cat /sys/module/$module/parameters/enable_mediated_pmu; }
# The root file system is read-only.
cp -a /etc/modprobe.d /tmp/
mount --bind /tmp/modprobe.d /etc/modprobe.d
modprobe $module
is "$(param)" N "without the option KVM is as it was"
sh -c "$(page json)" >/tmp/before
is $? 1 "mediated-pmu-check before: something is to be done"

as_page "switch on" option
as_page "switch on" reload
is "$(param)" Y "the parameter comes from /etc/modprobe.d"
as_page "VMs get a mediated PMU" check
is "$(perf version | sed 's/[.-]g.*//')" "perf version $(uname -r | sed 's/-.*//')" "perf is the kernel's"
check "a module of others is loaded" insmod /machine/files/hello.ko

# A program of known counts: 7 instructions and 3 branches more for each round more.  It reads its
# argument digit by digit, so that these are as many.
count='for n in 100000 200000; do
	perf stat -x, -e instructions:u,branches:u -o /tmp/out work-loop $n
	sed -n "s/^\([0-9]*\),,\([a-z]*\):u,.*/\2 \1/p" /tmp/out
done | awk "{ n = \$2 - last[\$1]; last[\$1] = \$2; if (NR > 2) print \$1, n }"'
want="instructions 700000
branches 300000"
is "$(eval "$count")" "$want" "perf in the host counts exactly"
# A guest may count some VM-entries on AMD, as $near says.
guest_counts() { # WHEN
	got=$(l2 "$count")
	[ "$near" = 0 ] || diag "$got"
	is "$(echo "$got" | awk -v most=$((near ? 700000 / near : 0)) '
		$1 == "instructions" && $2 >= 700000 - most && $2 <= 700000 + most { $2 = 700000 } { print }')" "$want" \
		"perf in a guest of Debian's QEMU counts exactly$1"
}
guest_counts

# The demo's worst case: the host has pinned its counters, each of them.
case $MODEL in
intel*) pinned="cycles:u instructions:u ref-cycles:u branches:u branch-misses:u cache-references:u r81d0:u r82d0:u instructions: r00c4:" ;;
*) pinned="cycles:u instructions:u branches:u instructions: r00c2:" ;;
esac
events=
for event in $pinned; do events="$events -e ${event}DH"; done
mkfifo /tmp/end
# shellcheck disable=SC2086 # words
perf stat -x, -a -o /tmp/host $events sh -c 'echo >/tmp/begun; cat /tmp/end' &
until [ -e /tmp/begun ]; do sleep 0.1; done
guest_counts " while the host has pinned $(echo "$pinned" | wc -w) events"
: >/tmp/end
wait $!
is "$(grep -c '^[1-9][0-9]*,' /tmp/host)" "$(echo "$pinned" | wc -w)" "all of the host's events count, too"
diag "$(cat /tmp/host)"

as_page "no hard lockup detector" watchdog
is "$(cat /proc/sys/kernel/nmi_watchdog)" 0 "it is off"
check "mediated-pmu-check knows" sh -c 'mediated-pmu-check --json | grep "\"watchdog\": *\"off\""'

as_page "selftests" selftests
# Whole, it takes some minutes here.
if [ -n "$(cmdline whole)" ]; then as_page "selftests" all-selftests; fi

as_page "go back" off
as_page "go back" reload-off
is "$(param)" N "the parameter is off"
mediated-pmu-selftests --as-is mediated_pmu_vpmc_test >/tmp/out
is $? 1 "selftests: where all of a test is skipped, none has passed"
is "$(tail -n 1 /tmp/out)" "# 0 passed, 0 failed, 1 skipped" "selftests: it is a skip"
