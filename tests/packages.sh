# shellcheck shell=sh
# On Debian with the packages installed (tests/packages.t): it has booted from what apt has
# installed, with the initramfs that initramfs-tools has made.
case $MODEL in
intel*) module=kvm_intel ;;
*) module=kvm_amd ;;
esac
is "$(uname -r)" "$(cat /machine/files/release)" "the packaged kernel runs"
is "$(sed -n 's,^/dev/[^ ]* / \([^ ]*\) .*,\1,p' /proc/mounts)" squashfs "the root file system is the image's"
is "$(sed 's/ .*//' /proc/modules | grep -cE '^(ata_piix|sd_mod|squashfs)$')" 3 "the initramfs has loaded its modules"
is "$(find /sys/module -maxdepth 1 -name 'kvm*' | wc -l)" 0 "KVM is not loaded yet"
mediated-pmu-check --json >/tmp/before
is $? 1 "mediated-pmu-check before: something is to be done"
check "modprobe $module" modprobe $module
is "$(cat /sys/module/$module/parameters/enable_mediated_pmu)" Y "the parameter comes from /etc/modprobe.d"
check "mediated-pmu-check: VMs get a mediated PMU" mediated-pmu-check
is "$(perf version | sed 's/-g.*//')" "perf version $(uname -r | sed 's/-.*//')" "perf is the kernel's"
# A program of known counts: from 1 to 100001 rounds 7 instructions and 3 branches more each.
count='for n in 1 100001; do
	perf stat -x, -e instructions:u,branches:u -o /tmp/out work-loop $n
	sed -n "s/^\([0-9]*\),,\([a-z]*\):u,.*/\2 \1/p" /tmp/out
done | awk "{ n = \$2 - last[\$1]; last[\$1] = \$2; if (NR > 2) print \$1, n }"'
want="instructions 700000
branches 300000"
is "$(eval "$count")" "$want" "perf in the host counts exactly"
is "$(l2 "$count")" "$want" "perf in a guest of Debian's QEMU counts exactly"
mediated-pmu-selftests --as-is mediated_pmu_filter_test mediated_pmu_reserve_test >/tmp/selftests 2>&1
is $? 0 "mediated-pmu-selftests"
diag "$(cat /tmp/selftests)"
is "$(grep -c '^ok.*enable_mediated_pmu=Y$' /tmp/selftests)" 2 "both tests have passed, mediated"
check "back: the module goes" modprobe -r $module
check "back: without the parameter" modprobe $module enable_mediated_pmu=0
is "$(cat /sys/module/$module/parameters/enable_mediated_pmu)" N "the parameter is off"
