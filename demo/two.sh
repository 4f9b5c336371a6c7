# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What runs in L1 for the demo's guest of two vCPUs, on a machine of two CPUs.  As in
# machine.sh, demo/run knows by the steps what the figures belong to.

# In the guest: perf counts both vCPUs from enable to disable, which come between the
# opening of windows 1 and 2 and between their closing; in between is a process on each.
# shellcheck disable=SC2016
two='
tell() { echo "$1" >&7; read -r line <&8; }
rm -f /tmp/ctl /tmp/ack /tmp/end
mkfifo /tmp/ctl /tmp/ack /tmp/end
exec 7<>/tmp/ctl 8<>/tmp/ack
perf stat -x, -a -A -D -1 --control fd:7,8 -e instructions:u,branches:u cat /tmp/end 2>/tmp/out &
tell ping
mwindow open 1
tell enable
mwindow open 2
smp-count 0 $loops 10
mwindow close 2
tell disable
mwindow close 1
: >/tmp/end
wait
exec 7>&- 8>&-
cat /tmp/out'

for mode in ${MODES:-legacy mediated}; do
	case $mode in
	legacy) param=N ;;
	*) param=Y ;;
	esac
	step "$mode/start"
	kvm_mediated $param || bail "KVM does not load with enable_mediated_pmu=$param"
	echo "param $(kvm_param enable_mediated_pmu)"
	guest_start two --cpus 2 --qemu "-name two,debug-threads=on"
	# vCPU N is on CPU N.
	# shellcheck disable=SC2154 # of guest_start
	vcpus=$(for vcpu in 0 1; do grep -l "^CPU $vcpu/KVM" /proc/"$guest_pid"/task/*/comm | cut -d/ -f5; done)
	cpu=1
	for vcpu in $vcpus; do taskset -p $cpu "$vcpu" >/dev/null; cpu=2; done

	step "$mode/two"
	in_guest two "loops=50000; $two"

	# The same while the vCPUs change places every other millisecond.
	step "$mode/moving"
	# shellcheck disable=SC2086
	smp-count move /tmp/moved $vcpus >/tmp/moves &
	in_guest two "loops=50000; $two"
	: >/tmp/moved
	wait $!
	rm /tmp/moved
	echo "moves $(cat /tmp/moves)"

	step "$mode/stop"
	guest_stop two
done
