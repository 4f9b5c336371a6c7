# shellcheck shell=sh
# The kernel's own pmu_counters_test, unmodified, in the mode that KVM was loaded
# in.  With forced emulation it does all it does without, and then again with
# emulated instructions, which takes as long again.
kvm_mode_is_as_given
case " $KVM_PARAMS " in
*" force_emulation_prefix=1 "*) is "$(kvm_param force_emulation_prefix)" 1 "instructions can be emulated" ;;
esac
selftest pmu_counters_test
