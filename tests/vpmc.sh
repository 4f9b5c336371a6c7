# shellcheck shell=sh
# PMC virtualization, on a model that has it: kvm_amd's parameter, and what it follows from.
# For machine/run, which looks for what to bring: selftest mediated_pmu_vpmc_test.
said() { dmesg | grep -c "$1"; }

# VPMC, WHY, TEXT that is said once, KVM's parameters
loaded() {
	vpmc=$1 why=$2 text=$3
	shift 3
	before=$(said "$text")
	kvm_load "$@"
	is "$(kvm_param vpmc)" "$vpmc" "vpmc=$vpmc $why"
	is "$(($(said "$text") - before))" 1 "the log tells"
}

loaded Y "by default, if PMUs are mediated" "PMC virtualization enabled" enable_mediated_pmu=1
is "$(kvm_param direct_selectors)" Y "direct_selectors=Y with it"
selftest mediated_pmu_vpmc_test
kvm_load enable_mediated_pmu=1 direct_selectors=0
is "$(kvm_param vpmc) $(kvm_param direct_selectors)" "Y N" "vpmc=Y with direct_selectors=0"
selftest mediated_pmu_vpmc_test
for parameters in "enable_mediated_pmu=1 vpmc=0" "enable_mediated_pmu=0" "enable_mediated_pmu=1 enable_pmu=0"; do
	before=$(said "PMC virtualization")
	# shellcheck disable=SC2086 # words
	kvm_load $parameters
	is "$(kvm_param vpmc)" N "vpmc=N with $parameters"
	is "$(kvm_param direct_selectors)" N "direct_selectors=N with $parameters"
	is "$(($(said "PMC virtualization") - before))" 0 "nothing to tell"
done
loaded N "without virtual NMIs" "PMC virtualization is not used: it needs virtual NMIs" enable_mediated_pmu=1 vnmi=0
# The machine has no AVIC, so no guest here.
loaded N "with AVIC" "PMC virtualization is not used: AVIC is" enable_mediated_pmu=1 avic=1 force_avic=1
is "$(kvm_param enable_mediated_pmu)" Y "PMUs are mediated all the same"
# What is saved with the one is restored with the other.
for pair in "1 0" "0 1"; do
	kvm_load enable_mediated_pmu=1 "vpmc=${pair% *}"
	selftest mediated_pmu_vpmc_test -o /tmp/state
	kvm_load enable_mediated_pmu=1 "vpmc=${pair#* }"
	selftest mediated_pmu_vpmc_test -i /tmp/state
done
kvm_load enable_mediated_pmu=1 vpmc=0
before=$(said "PMC virtualization")
kvm_load enable_mediated_pmu=1
is "$(kvm_param vpmc)" Y "and back"
