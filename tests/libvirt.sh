# shellcheck shell=sh disable=SC2154
# libvirt, as Debian has it, in L1: <pmu state='on'/> and 'off' in a domain's XML, and a
# domain that says nothing of its CPU.
# Its driver runs within virsh and virt-qemu-run (qemu:///embed), there is no daemon.
# It asks QEMU and /dev/kvm what they can do, as anywhere else.

cp /etc/passwd /etc/group /tmp
echo "libvirt-qemu:x:0:0::/tmp:/bin/sh" >>/tmp/passwd
printf 'libvirt-qemu:x:0:\nkvm:x:0:\n' >>/tmp/group
mount --bind /tmp/passwd /etc/passwd
mount --bind /tmp/group /etc/group
mkdir -p /tmp/libvirt/etc
cat >/tmp/libvirt/etc/qemu.conf <<'EOT'
user = "+0"
group = "+0"
dynamic_ownership = 0
security_driver = "none"
namespaces = [ ]
cgroup_controllers = [ ]
stdio_handler = "file"
EOT

# What the guest runs: it is not over before the host has looked.
cat >/tmp/command <<'EOT'
for n in 0000001 0100001; do
	perf stat -x, -e instructions:u,branches:u work-loop $n 2>&1
done
dmesg | grep -i 'performance events:'
echo COUNTED
sleep 3
EOT
cp /machine/l2/initrd /tmp/initrd
(cd /tmp && echo command | cpio -o -H newc 2>/dev/null) >>/tmp/initrd

domain() { # NAME, state of the PMU, <cpu> or nothing
	cat <<-EOT
		<domain type='kvm'>
		  <name>pmu-$1</name>
		  <memory unit='MiB'>256</memory>
		  <vcpu>1</vcpu>
		  <os>
		    <type arch='x86_64' machine='pc'>hvm</type>
		    <kernel>/machine/l2/kernel</kernel>
		    <initrd>/tmp/initrd</initrd>
		    <cmdline>console=ttyS0 loglevel=5 panic=-1 reboot=t nokaslr</cmdline>
		  </os>
		  <features><acpi/><pmu state='$2'/></features>
		  $3
		  <on_reboot>destroy</on_reboot>
		  <devices>
		    <emulator>/usr/bin/qemu-system-x86_64</emulator>
		    <serial type='file'><source path='/tmp/serial.$1'/></serial>
		    <memballoon model='none'/>
		  </devices>
		</domain>
	EOT
}

# The guest's output is in $1, once it says COUNTED: does the host count, without and
# with guests?  "yes no alive", for example; alive is the guest, all the time.
host_counts() {
	for tenth in $(seq 600); do
		# shellcheck disable=SC2086 # a glob
		! grep -q "^COUNTED" $1 2>/dev/null || break
		sleep 0.1
	done
	[ "$tenth" -lt 600 ] || diag "the guest did not get so far"
	for event in instructions:H instructions:GH; do
		perf stat -x, -a -e $event sleep 0.1 2>&1
	done | awk -F, '/instructions/ { print ($1 + 0 > 0 ? "yes" : "no") }' >/tmp/host_counts
	find /sys/kernel/debug/kvm -maxdepth 1 -name '*-*' -exec echo alive ';' >>/tmp/host_counts
	xargs </tmp/host_counts
}

# instructions and branches of 100000 rounds in the output $1.
rounds() {
	tr -d '\r' <"$1" | awk -F, '
		/instructions:u/ { if (i != "") i = $1 - i; else i = $1 }
		/branches:u/ { if (b != "") b = $1 - b; else b = $1 }
		END { print i, b }'
}

# The flags that libvirt makes of a domain go to $flags.
becomes() { # NAME STATE CPU PATTERN WHAT
	domain "$1" "$2" "$3" >/tmp/$1.xml
	virsh -q -c "qemu:///embed?root=/tmp/libvirt" domxml-to-native qemu-argv /tmp/$1.xml >/tmp/$1.argv 2>/tmp/$1.err
	status=$?
	flags=$(sed -n 's/.* \(-accel [^ ]* -cpu [^ ]*\) .*/\1/p' /tmp/$1.argv)
	diag "libvirt: $flags"
	# shellcheck disable=SC2254 # a pattern
	case $flags, in
	"-accel kvm -cpu "$4) ok "$5" ;;
	*) not_ok "$5"; diag "virsh: status $status"; diag "$(cat /tmp/$1.err)" ;;
	esac
	mark $1
}

# A domain with a PMU, run by libvirt.
run() { # NAME WHAT
	timeout 100 virt-qemu-run --root=/tmp/libvirt /tmp/$1.xml >/tmp/$1.out 2>&1 &
	is "$(host_counts /tmp/serial.$1)" "yes no alive" \
		"$2: the host counts itself, and cannot count guests"
	wait $!
	is $? 0 "$2: libvirt has run it to its end"
	is "$(rounds /tmp/serial.$1)" "700000 300000" "$2: perf stat is exact"
	diag "$(grep -i 'performance events:' /tmp/serial.$1)"
	[ "$tap_failed" = 0 ] || diag "$(tail -n 20 /tmp/$1.out /tmp/serial.$1)"
	mark run-$1
}

kvm_mediated Y || bail "KVM does not load with enable_mediated_pmu=1"
becomes default on "" "qemu64,pmu=on,*" "without <cpu>, <pmu state='on'/> becomes qemu64,pmu=on"
run default "a domain without <cpu>"
for state in on off; do
	becomes $state $state "<cpu mode='host-passthrough'/>" "*,pmu=$state,*" "<pmu state='$state'/> becomes pmu=$state"
	[ $state = off ] || run $state "a domain with it"
done

# Off, with the flags that libvirt gives.
l2 --mediated --cpu "${flags#*-cpu }" "$(cat /tmp/command)" >/tmp/off.out &
counts=$(host_counts '/tmp/l2.*/console')
is "${counts%% *} ${counts##* }" "yes alive" "a guest without: the host counts itself"
# QEMU 7.2 does not tell KVM (KVM_CAP_PMU_CAPABILITY): the PMU is reserved for this one, too.
diag "the host may count guests meanwhile: $(echo "$counts" | cut -d' ' -f2)"
wait $!
is $? 0 "a guest without: came to its end"
is "$(grep -c '^<not supported>' /tmp/off.out)" 4 "a guest without: perf stat says <not supported>"
check "a guest without: its kernel found no PMU" grep -i "performance events:.*no PMU" /tmp/off.out
[ "$tap_failed" = 0 ] || diag "$(cat /tmp/off.out)"
