// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU, AMD's part: see arch/x86/kvm/mediated/ for the whole.
 *
 * SVM does not switch GLOBAL_CTL, so the guest's value is in hardware for some
 * instructions of the host before VMRUN and after #VMEXIT, or all the time if the PMU is
 * shared with perf.  Nothing counts there because each selector in hardware has GuestOnly
 * set and HostOnly clear.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <asm/msr-index.h>
#include <asm/perf_guest.h>

#include "x86.h"
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
	u64 regs = kvm_mediated_pmu_direct_regs(vcpu);
	struct vcpu_svm *svm = to_svm(vcpu);
	bool core, direct;
	int i;

	if (!static_branch_unlikely(&kvm_mediated_pmu_key))
		return;

	core = regs && vcpu_to_pmu(vcpu)->mediated->has_other_msrs;

	for (i = 0; i < KVM_MAX_NR_AMD_GP_COUNTERS; i++) {
		direct = regs & BIT_ULL(i);

		if (i < AMD64_NUM_COUNTERS)
			set_msr_interception(vcpu, svm->msrpm, MSR_K7_PERFCTR0 + i,
					     direct, direct);
		set_msr_interception(vcpu, svm->msrpm, MSR_F15H_PERF_CTR + 2 * i,
				     direct && core, direct && core);

		direct = direct && kvm_mediated_pmu_selectors_are_direct(vcpu);
		if (i < AMD64_NUM_COUNTERS)
			set_msr_interception(vcpu, svm->msrpm, MSR_K7_EVNTSEL0 + i,
					     direct, direct);
		set_msr_interception(vcpu, svm->msrpm, MSR_F15H_PERF_CTL + 2 * i,
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

/* What is direct has changed, and this VM-entry has to follow. */
void svm_mediated_pmu_recalc(struct kvm_vcpu *vcpu)
{
	u32 *msrpm = to_svm(vcpu)->nested.msrpm;
	int i;

	svm_mediated_pmu_recalc_intercepts(vcpu);

	if (!is_guest_mode(vcpu))
		return;

	/* To merge with L1's bitmap may sleep.  Until that is done, all traps. */
	for (i = 0; i < KVM_MAX_NR_AMD_GP_COUNTERS; i++) {
		if (i < AMD64_NUM_COUNTERS)
			set_msr_interception(vcpu, msrpm, MSR_K7_PERFCTR0 + i, 0, 0);
		set_msr_interception(vcpu, msrpm, MSR_F15H_PERF_CTR + 2 * i, 0, 0);
	}
	set_msr_interception(vcpu, msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0, 0);
	set_msr_interception(vcpu, msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 0, 0);
	set_msr_interception(vcpu, msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, 0, 0);

	kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
}

/* To state GUEST: the values of counters and the status are loaded. */
void svm_mediated_pmu_load(struct kvm_vcpu *vcpu)
{
	if (vcpu_to_pmu(vcpu)->global_ctrl)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, vcpu_to_pmu(vcpu)->global_ctrl);
}

/* In state SHARED GLOBAL_CTL traps, and has the bits of perf, too. */
void svm_mediated_pmu_resume(struct kvm_vcpu *vcpu, const struct x86_guest_pmu *guest)
{
	if (guest->state == X86_GUEST_PMU_SHARED)
		x86_guest_pmu_set_ctrl(vcpu_to_pmu(vcpu)->global_ctrl & guest->regs);
}

/* The guest may have changed GLOBAL_CTL. */
void svm_mediated_pmu_sync(struct kvm_vcpu *vcpu)
{
	struct vmcb_save_area *vmcb = kvm_mediated_pmu_vmcb(vcpu);

	if (vmcb) {
		vcpu_to_pmu(vcpu)->global_ctrl = vmcb->pmc_global_ctl;
		return;
	}

	if (kvm_mediated_pmu_global_is_direct(vcpu))
		rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, vcpu_to_pmu(vcpu)->global_ctrl);
}

/* Save GLOBAL_CTL and clear it. */
void svm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	svm_mediated_pmu_sync(vcpu);
	if (vcpu_to_pmu(vcpu)->global_ctrl)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
}

/* Has the guest exited because of a read that may be one of its PMU? */
enum kvm_mediated_pmu_exit svm_mediated_pmu_exit(struct kvm_vcpu *vcpu)
{
	struct vmcb_control_area *control = &to_svm(vcpu)->vmcb->control;

	/* L1 may want to have it; and the instruction is not to be decoded. */
	if (is_guest_mode(vcpu) || !nrips || !control->next_rip)
		return KVM_MEDIATED_PMU_EXIT_OTHER;

	switch (control->exit_code) {
	case SVM_EXIT_MSR:
		return control->exit_info_1 ? KVM_MEDIATED_PMU_EXIT_OTHER :
					      KVM_MEDIATED_PMU_EXIT_RDMSR;
	case SVM_EXIT_RDPMC:
		return KVM_MEDIATED_PMU_EXIT_RDPMC;
	default:
		return KVM_MEDIATED_PMU_EXIT_OTHER;
	}
}
