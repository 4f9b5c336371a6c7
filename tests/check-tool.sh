# shellcheck shell=sh
# mediated-pmu-check in L1 and in guests, for tests/check-tool.t: lines "json NAME STATUS
# OBJECT", and a window for each way that the host can be in while a guest uses its PMU.
# Called with the tool in /machine/files.  $CHECK_TOOL=short (kernel command line): no guests.
tool=/machine/files/mediated-pmu-check
short=$(cmdline check_tool)

# What a system of Debian has, and this one does not.
mkdir -p /tmp/files/usr/bin
cp $tool /tmp/files/usr/bin/

say() { # NAME [ARGUMENT...]
	said_name=$1
	shift
	$tool --json "$@" >/tmp/tool.json 2>/tmp/tool.err
	said_status=$?
	echo "json $said_name $said_status $(tr -d '\n' </tmp/tool.json)"
	diag "$(cat /tmp/tool.err)"
}
say_guest() { # NAME OPTION...
	said_name=$1
	shift
	l2 "$@" --files /tmp/files 'mediated-pmu-check --json >/tmp/json 2>/tmp/err; echo "status $?"; tr -d "\n" </tmp/json; echo; cat /tmp/err' >/tmp/said
	echo "json $said_name $(sed -n 's/^status //p' /tmp/said) $(grep '^{' /tmp/said)"
	diag "$(grep -v '^{\|^status' /tmp/said)"
}

wait_for_holder() {
	until find /proc/$holder/fd -type l -exec readlink {} \; | grep -q perf_event; do sleep 0.1; done
}

kvm_load enable_mediated_pmu=0
say off
kvm_load enable_mediated_pmu=1
say on
$tool >/tmp/text
echo "text $? $(grep -c . /tmp/text)"
diag "$(cat /tmp/text)"
echo 0 >/proc/sys/kernel/nmi_watchdog
say quiet
kvm_load enable_pmu=0 enable_mediated_pmu=1
say no-pmu
[ -z "$short" ] || exit 0

kvm_load enable_mediated_pmu=1
# Events of the host.
perf stat -a -e cycles:H sleep 1000 >/dev/null 2>&1 &
holder=$!
wait_for_holder
echo "holder $holder"
say holder
kill $holder
wait $holder

# A guest that uses all of its registers while nothing else counts, and beside the watchdog.
# Its events have used their counters before the window opens.
# There are counters left for the host: in a conflict it is not "beside".
use="perf stat -e cycles,instructions,branches work-loop 20000 >/dev/null 2>&1
	perf record -q -o /tmp/data -e instructions,branches -c 2000 work-loop 20000 >/dev/null 2>&1"
kvm_load enable_mediated_pmu=1
guest_start g
pid=$(cat /tmp/guest.g/pid)
echo "vm $pid"
for way in alone:0 beside:1; do
	echo "${way#*:}" >/proc/sys/kernel/nmi_watchdog
	in_guest g "$use"
	step "${way%:*}"
	mwindow open 1
	in_guest g "$use"
	mwindow close 1
	say "${way%:*}"
done
guest_stop g
# What includes guests is in the way of the next VM, which the log tells.
perf stat -a -e cycles:GH sleep 1000 >/dev/null 2>&1 &
holder=$!
wait_for_holder
l2 true >/dev/null 2>&1
is $? 125 "a VM is refused beside an event that includes guests"
kill $holder
wait $holder
say refused

say_guest guest
say_guest guest-without --cpu host,pmu=off
case $MODEL in
intel*) say_guest guest-named --cpu Skylake-Server,pmu=on ;;
*) say_guest guest-named --cpu EPYC,pmu=on ;;
esac
