# shellcheck shell=sh
# PMIs of guests that are late, or come with other oddities of hardware, see the
# suites.  pmi=ARGUMENT,... on the command line is what the test is told of them, e.g.
# pmi=-d,2000 with --quirk late=2000.  With the NMI watchdog the host has an event.
kvm_mode_is_as_given
arguments=$(cmdline pmi | tr , ' ')
for watchdog in 1 0; do
	echo $watchdog >/proc/sys/kernel/nmi_watchdog
	# shellcheck disable=SC2086
	selftest mediated_pmu_pmi_test $arguments
done
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
