// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU, AMD's PMC virtualization (VPMC): see arch/x86/kvm/mediated/ for the whole.
 *
 * With VPMC_ENABLE_MASK in the VMCB, VMRUN loads selectors, counters, GLOBAL_CTL and
 * GLOBAL_STATUS from the save area and #VMEXIT stores them there.  An overflow becomes a
 * virtual NMI of the guest, without an exit and whatever the guest's LVTPC says.
 *
 * Where the values are.  Each VM-entry of an armed vCPU decides, svm_vpmc_load():
 *
 *  by VPMC:  in vmcb01, from that VM-entry on until KVM evicts them to struct kvm_pmu; KVM
 *	      looks at counters, the status and GLOBAL_CTL where they are.  The bit in
 *	      vmcb01 is set.  The vCPU may go to another CPU, there is nothing to switch.
 *  without:  as on CPUs that do not have VPMC.  The bit is clear, and so are the fields.
 *
 * It is done without
 *  - while the guest's LVTPC is not an NMI that is not masked: a virtual NMI would be wrong;
 *  - in L2: a virtual NMI would not exit to L1.  The bit is never set in vmcb02;
 *  - for SEV-ES guests, which have a bit of their own.
 *
 * What #VMEXIT leaves to the host.  GLOBAL_STATUS is the host's again, selectors and counters
 * are 0 and GLOBAL_CTL has all bits set: by the manual, that is.  Do not rely on it: perf's
 * counters are always written, and what GLOBAL_CTL is after a #VMEXIT is found out, once.
 *
 * A VMRUN may fail while the host's GLOBAL_CTL is not 0, with exit code
 * SVM_EXIT_INVALID_PMC.  The manual does not say so for such guests.  The first one that
 * fails is done again with GLOBAL_CTL clear, and so are all others from then on.
 *
 * No clean bit is known to cover these fields: when KVM writes one, all of them are cleared.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <asm/msr-index.h>
#include <asm/perf_guest.h>

#include "x86.h"
#include "lapic.h"
#include "mediated/mediated.h"
#include "pmu.h"
#include "svm.h"

/* CPUID 0x8000000A EDX. */
#define VPMC_CPUID_BIT		BIT(8)

/* Does VMRUN need a GLOBAL_CTL of 0? */
static bool vpmc_ctl_must_be_0 __read_mostly;

/* What GLOBAL_CTL is after a #VMEXIT, if it was 0 before VMRUN; SAME: not known yet. */
static enum x86_guest_pmu_ctl vpmc_ctl_after __read_mostly = X86_GUEST_PMU_CTL_SAME;

/* It is known, and nothing to mind: GLOBAL_CTL is reset, and may be anything before. */
static bool vpmc_is_simple __read_mostly;

/* @param is the module's parameter, it is updated to what is in effect. */
void __init svm_vpmc_hardware_setup(bool *param)
{
	bool has = boot_cpu_data.extended_cpuid_level >= 0x8000000a &&
		   cpuid_edx(0x8000000a) & VPMC_CPUID_BIT;

	if (!*param)
		return;

	*param = false;
	if (!has || !static_key_enabled(&kvm_mediated_pmu_key))
		return;

	/* If there are both then hardware uses AVIC, and that honours LVTPC. */
	if (enable_apicv) {
		pr_info("PMC virtualization is not used: AVIC is (avic=1)\n");
		return;
	}

	if (!vnmi) {
		pr_info("PMC virtualization is not used: it needs virtual NMIs (vnmi=1)\n");
		return;
	}

	/* The fields are there for as many counters as the architecture has. */
	if (kvm_host_pmu.num_counters_gp > ARRAY_SIZE(((struct vmcb_save_area *)0)->pmc))
		return;

	*param = true;
	static_branch_enable(&kvm_vpmc_key);
	pr_info("PMC virtualization enabled\n");
}

/* No vCPU is left. */
void svm_vpmc_hardware_unsetup(void)
{
	if (static_key_enabled(&kvm_vpmc_key))
		static_branch_disable(&kvm_vpmc_key);
}

static bool vpmc_is_possible(struct kvm_vcpu *vcpu)
{
	u32 lvtpc = kvm_lapic_get_reg(vcpu->arch.apic, APIC_LVTPC);

	return (lvtpc & (APIC_LVT_MASKED | APIC_MODE_MASK)) == APIC_DM_NMI &&
	       vcpu->arch.apic_base & MSR_IA32_APICBASE_ENABLE && !is_guest_mode(vcpu) &&
	       !sev_es_guest(vcpu->kvm);
}

/* KVM has written to the fields. */
void svm_vpmc_changed(struct kvm_vcpu *vcpu)
{
	vmcb_mark_all_dirty(to_svm(vcpu)->vmcb01.ptr);
}

/* From struct kvm_pmu to the VMCB. */
static void vpmc_move_in(struct kvm_vcpu *vcpu)
{
	struct vmcb *vmcb = to_svm(vcpu)->vmcb01.ptr;
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct vmcb_save_area *save = &vmcb->save;
	int i;

	for (i = 0; i < pmu->nr_arch_gp_counters; i++)
		save->pmc[i].ctr = pmu->gp_counters[i].counter & pmc_bitmask(&pmu->gp_counters[i]);
	/* Selectors follow, when it is known whether they are direct. */
	pmu->mediated->changed |= pmu->mediated->has;

	save->pmc_global_status = pmu->global_status & kvm_mediated_pmu_status_bits;
	save->pmc_global_ctl = pmu->global_ctrl & kvm_mediated_pmu_status_bits;

	vmcb->control.virt_ext |= VPMC_ENABLE_MASK;
	svm_vpmc_changed(vcpu);

	WRITE_ONCE(pmu->mediated->vmcb, save);
	vcpu->stat.pmu_loads++;
}

/*
 * From the VMCB to struct kvm_pmu.  Called outside guest mode, with interrupts off; an NMI
 * may look at a counter meanwhile.
 */
void svm_vpmc_evict(struct kvm_vcpu *vcpu)
{
	struct vmcb *vmcb = to_svm(vcpu)->vmcb01.ptr;
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct vmcb_save_area *save = &vmcb->save;
	int i;

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(x86_guest_pmu()->swapped && kvm_get_running_vcpu() == vcpu))
		return;

	if (kvm_mediated_pmu_selectors_are_direct(vcpu))
		kvm_mediated_pmu_sync_selectors(vcpu);
	kvm_pmu_ask_selectors(pmu, false);

	for (i = 0; i < pmu->nr_arch_gp_counters; i++) {
		WRITE_ONCE(pmu->gp_counters[i].counter, save->pmc[i].ctr);
		if (save->pmc[i].ctr)
			pmu->mediated->wants.all |= BIT_ULL(i);
	}

	/* A guest without the global registers has all counters on, and sees no status. */
	if (kvm_pmu_has_perf_global_ctrl(pmu)) {
		pmu->global_ctrl = save->pmc_global_ctl & ~pmu->global_ctrl_rsvd;
		pmu->global_status = save->pmc_global_status & ~pmu->global_status_rsvd;
	}

	barrier();
	WRITE_ONCE(pmu->mediated->vmcb, NULL);

	/* Nothing that a VMRUN without VPMC could object to. */
	memset(save->pmc, 0, sizeof(save->pmc));
	save->pmc_global_status = 0;
	save->pmc_global_ctl = 0;
	pmu->mediated->changed |= pmu->mediated->has;

	vmcb->control.virt_ext &= ~VPMC_ENABLE_MASK;
	svm_vpmc_changed(vcpu);
}

/* The VMCB is about to be freed; the vCPU does not run any more. */
void svm_vpmc_forget(struct kvm_vcpu *vcpu)
{
	if (vcpu_to_pmu(vcpu)->mediated)
		WRITE_ONCE(vcpu_to_pmu(vcpu)->mediated->vmcb, NULL);
}

/* VM-entry.  Returns false if it is to be done without VPMC. */
bool svm_vpmc_load(struct kvm_vcpu *vcpu)
{
	struct vcpu_svm *svm = to_svm(vcpu);

	if (unlikely(!vpmc_is_possible(vcpu))) {
		if (kvm_mediated_pmu_vmcb(vcpu))
			svm_vpmc_evict(vcpu);
		return false;
	}

	/* If the vCPU's values are in the registers, this evicts them. */
	svm->vpmc_ctl = X86_GUEST_PMU_CTL_SAME;
	if (!x86_guest_pmu_swap_out_vacant(x86_guest_pmu()))
		svm->vpmc_ctl = x86_guest_pmu_swap_out();
	svm->vpmc_ctl_known = true;

	if (unlikely(!kvm_mediated_pmu_vmcb(vcpu)))
		vpmc_move_in(vcpu);

	return true;
}

/* What did VMRUN leave in GLOBAL_CTL?  If it has not failed then it will again. */
static void vpmc_find_ctl(struct vcpu_svm *svm)
{
	u64 ctl;

	rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, ctl);
	svm->vpmc_ctl = ctl ? X86_GUEST_PMU_CTL_RESET : X86_GUEST_PMU_CTL_ZERO;
	if (svm_is_vmrun_failure(svm->vmcb->control.exit_code))
		return;

	WRITE_ONCE(vpmc_ctl_after, svm->vpmc_ctl);
	if (svm->vpmc_ctl == X86_GUEST_PMU_CTL_RESET)
		WRITE_ONCE(vpmc_is_simple, !vpmc_ctl_must_be_0);
}

/* VM-exit: the host's counters are to count again. */
void svm_vpmc_put(struct kvm_vcpu *vcpu)
{
	struct x86_guest_pmu *guest = x86_guest_pmu();
	struct vcpu_svm *svm = to_svm(vcpu);

	if (!guest->swapped)
		return;

	if (unlikely(!svm->vpmc_ctl_known))
		vpmc_find_ctl(svm);

	if (svm->vpmc_ctl != X86_GUEST_PMU_CTL_RESET || !x86_guest_pmu_swap_in_vacant(guest))
		x86_guest_pmu_swap_in(svm->vpmc_ctl);
}

/* VMRUN with VPMC, if there is something to mind.  Returns whether GLOBAL_CTL was 0. */
static noinstr bool vpmc_run_carefully(struct vcpu_svm *svm, bool spec_ctrl_intercepted)
{
	enum x86_guest_pmu_ctl after = READ_ONCE(vpmc_ctl_after);
	bool was_0;

	if ((READ_ONCE(vpmc_ctl_must_be_0) || after == X86_GUEST_PMU_CTL_SAME) &&
	    svm->vpmc_ctl != X86_GUEST_PMU_CTL_ZERO) {
		native_wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
		svm->vpmc_ctl = X86_GUEST_PMU_CTL_ZERO;
	}
	was_0 = svm->vpmc_ctl == X86_GUEST_PMU_CTL_ZERO;

	__svm_vcpu_run(svm, spec_ctrl_intercepted);

	/* One that fails may reset GLOBAL_CTL, or not. */
	svm->vpmc_ctl_known = after != X86_GUEST_PMU_CTL_SAME &&
			      !svm_is_vmrun_failure(svm->vmcb->control.exit_code);
	if (!svm->vpmc_ctl_known)
		svm->vpmc_ctl = X86_GUEST_PMU_CTL_SAME;
	else if (after == X86_GUEST_PMU_CTL_RESET)
		svm->vpmc_ctl = X86_GUEST_PMU_CTL_RESET;

	return was_0;
}

/* VMRUN with VPMC. */
noinstr void svm_vpmc_vcpu_run(struct vcpu_svm *svm, bool spec_ctrl_intercepted)
{
	bool was_0 = svm->vpmc_ctl == X86_GUEST_PMU_CTL_ZERO;

	if (unlikely(!READ_ONCE(vpmc_is_simple))) {
		was_0 = vpmc_run_carefully(svm, spec_ctrl_intercepted);
	} else {
		__svm_vcpu_run(svm, spec_ctrl_intercepted);
		if (likely(!svm_is_vmrun_failure(svm->vmcb->control.exit_code))) {
			svm->vpmc_ctl = X86_GUEST_PMU_CTL_RESET;
			return;
		}
		svm->vpmc_ctl_known = false;
	}

	if (likely(svm->vmcb->control.exit_code != (u32)SVM_EXIT_INVALID_PMC) || was_0)
		return;

	/* Once more, and only once. */
	WRITE_ONCE(vpmc_ctl_must_be_0, true);
	WRITE_ONCE(vpmc_is_simple, false);
	svm->vpmc_ctl = X86_GUEST_PMU_CTL_SAME;
	vpmc_run_carefully(svm, spec_ctrl_intercepted);
}

/* The fields, as hardware would take them. */
void svm_vpmc_dump(struct kvm_vcpu *vcpu)
{
	struct vmcb_save_area *save = kvm_mediated_pmu_vmcb(vcpu);
	int i;

	if (!save)
		return;

	for (i = 0; i < ARRAY_SIZE(save->pmc); i++)
		pr_err("PERF_CTL%d: %016llx PERF_CTR%d: %016llx\n",
		       i, save->pmc[i].ctl, i, save->pmc[i].ctr);
	pr_err("PERF_CTR_GLOBAL_STS: %016llx PERF_CTR_GLOBAL_CTL: %08x\n",
	       save->pmc_global_status, save->pmc_global_ctl);
}
