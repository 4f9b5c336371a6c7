// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU, AMD's part: see arch/x86/kvm/mediated.c for the whole.
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
#include "mediated.h"
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

	if (!kvm_mediated_pmu)
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
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,
			     direct, direct);
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
			     direct, direct);

	if (kvm_mediated_pmu_rdpmc_is_direct(vcpu))
		svm_clr_intercept(svm, INTERCEPT_RDPMC);
	else
		svm_set_intercept(svm, INTERCEPT_RDPMC);
}

void svm_mediated_pmu_load(struct kvm_vcpu *vcpu, bool status_is_zero, u64 written)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	u64 status = 0, diff;

	if (!status_is_zero) {
		rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, status);
		x86_perf_guest_found(status);
	}
	diff = status ^ pmu->global_status;
	if (diff & status)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, diff & status);
	if (diff & pmu->global_status)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET, diff & pmu->global_status);

	if (pmu->global_ctrl)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, pmu->global_ctrl);
}

/* The guest may have changed GLOBAL_CTL. */
void svm_mediated_pmu_sync(struct kvm_vcpu *vcpu)
{
	if (kvm_mediated_pmu_global_is_direct(vcpu))
		rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, vcpu_to_pmu(vcpu)->global_ctrl);
}

void svm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	u64 status;

	svm_mediated_pmu_sync(vcpu);
	if (pmu->global_ctrl)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);

	/*
	 * Keep only bits that can be given back, here or on another host; the
	 * rest is not the guest's.
	 */
	rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, status);
	pmu->hw_status = status;
	pmu->global_status = status & ~pmu->global_status_rsvd;
	if (status)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, status);
}
