# shellcheck shell=sh
# With --quirk tfa: a processor whose transactions need counter 3 whenever the host does
# not use it.  Its guests cannot have all of the PMU, so they have none of it.
kvm_load enable_mediated_pmu=1
is "$(kvm_param enable_mediated_pmu)" N "enable_mediated_pmu=1 is refused"
reason="enable_mediated_pmu=1 refused: counter 3 is needed for TSX (TSX_FORCE_ABORT)"
is "$(dmesg | grep -oF "$reason" | sort -u)" "$reason" "a reason is given"
l2 'pmu-selfcount instructions branches'
is $? 0 "a guest has the emulated PMU"
