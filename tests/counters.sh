# shellcheck shell=sh
# The kernel's own pmu_counters_test, unmodified, in the mode that KVM was loaded
# in.  With forced emulation it does all it does without, and then again with
# emulated instructions.
case " $KVM_PARAMS " in
*" enable_mediated_pmu=1 "*) mode=Y ;;
*) mode=N ;;
esac
is "$(kvm_param enable_mediated_pmu)" $mode "enable_mediated_pmu=$mode"
is "$(kvm_param force_emulation_prefix)" 1 "instructions can be emulated"
selftest pmu_counters_test
