// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU, AMD's part: see arch/x86/kvm/mediated/ for the whole.
 *
 * SVM does not switch GLOBAL_CTL, so the guest's value is in hardware for some
 * instructions of the host before VMRUN and after #VMEXIT.  Nothing counts there
 * because each selector in hardware has GuestOnly set and HostOnly clear.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <asm/msr-index.h>
#include <asm/perf_guest.h>

#include "x86.h"
#include "cpuid.h"
#include "mediated/mediated.h"
#include "pmu.h"
#include "svm.h"

/* What is missing in this CPU for a mediated PMU?  NULL if nothing is. */
const char *svm_mediated_pmu_objection(void)
{
	/* Without GLOBAL_STATUS_SET the status cannot be restored. */
	if (kvm_host_pmu.version < 2)
		return "PerfMonV2 is required";

	return NULL;
}

/* Recalculate which MSRs of the PMU trap, and whether RDPMC does. */
void svm_mediated_pmu_recalc_intercepts(struct kvm_vcpu *vcpu)
{
	bool armed = kvm_mediated_pmu_is_armed(vcpu);
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct vcpu_svm *svm = to_svm(vcpu);
	bool core, direct;
	int i;

	if (!static_branch_unlikely(&kvm_mediated_pmu_key))
		return;

	core = guest_cpuid_has(vcpu, X86_FEATURE_PERFCTR_CORE);

	for (i = 0; i < KVM_MAX_NR_AMD_GP_COUNTERS; i++) {
		direct = armed && i < pmu->nr_arch_gp_counters;

		if (i < AMD64_NUM_COUNTERS)
			set_msr_interception(vcpu, svm->msrpm, MSR_K7_PERFCTR0 + i,
					     direct, direct);
		set_msr_interception(vcpu, svm->msrpm, MSR_F15H_PERF_CTR + 2 * i,
				     direct && core, direct && core);
	}

	direct = kvm_mediated_pmu_global_is_direct(vcpu);
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
			     direct, direct);

	direct = kvm_mediated_pmu_status_is_direct(vcpu);
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,
			     direct, direct);
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
			     direct, direct);

	if (kvm_mediated_pmu_rdpmc_is_direct(vcpu))
		svm_clr_intercept(svm, INTERCEPT_RDPMC);
	else
		svm_set_intercept(svm, INTERCEPT_RDPMC);
}

/*
 * Bits of the status are set that are not of counters.  The guest is neither to read
 * nor to clear them: have it trap from this VM-entry on.
 */
static void svm_mediated_pmu_trap_status(struct kvm_vcpu *vcpu)
{
	struct vcpu_svm *svm = to_svm(vcpu);

	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 0, 0);
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, 0, 0);

	/* The merged bitmap of L2 is made anew only when L2 is entered from L1. */
	if (is_guest_mode(vcpu)) {
		set_msr_interception(vcpu, svm->nested.msrpm,
				     MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 0, 0);
		set_msr_interception(vcpu, svm->nested.msrpm,
				     MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, 0, 0);
	}
}

/* Values of counters are loaded: load the status and GLOBAL_CTL. */
void svm_mediated_pmu_load(struct kvm_vcpu *vcpu, struct x86_guest_pmu_grant *grant)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	u64 status = grant->status & kvm_mediated_pmu_status_bits;
	u64 want = vcpu_to_pmu(vcpu)->global_status & kvm_mediated_pmu_status_bits;
	bool traps = !grant->exclusive || status != grant->status;

	if (status & ~want)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, status & ~want);
	/*
	 * Should this raise a PMI, it is an NMI, as LVTPC is perf's.  LVTPC must not be
	 * masked for that: an interrupt that is late would be lost.
	 */
	if (want & ~status)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET, want & ~status);

	if (unlikely(traps != mediated->status_traps)) {
		mediated->status_traps = traps;
		if (traps)
			svm_mediated_pmu_trap_status(vcpu);
		else
			kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
	}

	if (vcpu_to_pmu(vcpu)->global_ctrl)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, vcpu_to_pmu(vcpu)->global_ctrl);
}

/* The guest may have changed GLOBAL_CTL. */
void svm_mediated_pmu_sync(struct kvm_vcpu *vcpu)
{
	if (kvm_mediated_pmu_global_is_direct(vcpu))
		rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, vcpu_to_pmu(vcpu)->global_ctrl);
}

/* Save GLOBAL_CTL and the status, and clear them, except for bits of others. */
u64 svm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	u64 status;

	svm_mediated_pmu_sync(vcpu);
	if (vcpu_to_pmu(vcpu)->global_ctrl)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);

	rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, status);
	status &= kvm_mediated_pmu_status_bits;
	if (status)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, status);

	return status;
}
