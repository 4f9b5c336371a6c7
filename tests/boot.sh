# shellcheck shell=sh
# The machine and its image do what they are for: L1 is up, KVM is there, perf
# and our own counting agree with what is known, a guest runs and ends.
is "$(lsmod | grep -c '^kvm_')" 1 "KVM is loaded"
if [ "$MODEL" != none ]; then
	check "counts are exact" pmu-selfcount
	check "counts are exact with RDPMC" pmu-selfcount --rdpmc
fi
mwindow run 1 true
is $? 0 "a window of the machine log"
got=$(l2 'uname -r; work-loop 1000; echo $?')
is "$got" "$(uname -r)
0" "a guest runs a command"
