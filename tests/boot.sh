# shellcheck shell=sh
# The machine and its image do what they are for: L1 is up, KVM is there, perf
# and our own counting agree with what is known, a guest runs and ends.
is "$(lsmod | grep -c '^kvm_')" 1 "KVM is loaded"
is "$(nproc)" "$CPUS" "all processors are there"
check "counts are exact" pmu-selfcount
check "counts are exact with RDPMC" pmu-selfcount --rdpmc
check "a window of the machine log" mwindow run 1 true
is "$(l2 'uname -s; pmu-selfcount --rdpmc >/dev/null; echo $?')" "Linux
0" "a guest counts exactly"
is "$(l2 'exit 3' >/dev/null; echo $?)" 3 "a guest's exit status arrives"
