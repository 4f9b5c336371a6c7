# shellcheck shell=sh
# The kernel's own pmu_counters_test, unmodified, in the mode that KVM was loaded
# in.  With forced emulation it does all it does without, and then again with
# emulated instructions, which takes as long again.
case " $KVM_PARAMS " in
*" enable_mediated_pmu=1 "*) mode=Y ;;
*) mode=N ;;
esac
is "$(kvm_param enable_mediated_pmu)" $mode "enable_mediated_pmu=$mode"
case " $KVM_PARAMS " in
*" force_emulation_prefix=1 "*) is "$(kvm_param force_emulation_prefix)" 1 "instructions can be emulated" ;;
esac
selftest pmu_counters_test
