/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_MEDIATED_INTERNAL_H
#define __KVM_X86_MEDIATED_INTERNAL_H

/* What the files in this directory share with each other only. */

#include <linux/kvm_host.h>
#include <linux/perf_event.h>

#include <asm/msr.h>
#include <asm/perf_event.h>
#include <asm/perf_guest.h>

#include "lapic.h"
#include "mediated/mediated.h"
#include "pmu.h"

#define KVM_MEDIATED_PMU_NR_COUNTERS	(KVM_MAX_NR_GP_COUNTERS + KVM_MAX_NR_FIXED_COUNTERS)

/*
 * States STALE and SHARED_STALE: what is in this CPU's registers.  The values are those of
 * a vCPU of @kvm, and are used for vCPUs of the same VM only: another VM's VM-entry must
 * not take a time that depends on them.  Selectors that are not among @selectors are 0.
 */
struct kvm_mediated_pmu_stale {
	struct kvm	*kvm;
	u64		regs;
	u64		selectors;
	u64		fixed_ctr_ctrl;
	u64		selector[KVM_MAX_NR_GP_COUNTERS];
	u64		counter[KVM_MEDIATED_PMU_NR_COUNTERS];
};

extern struct kvm_mediated_pmu_stale __percpu *kvm_mediated_pmu_stale;

#define for_each_counter(i, regs)				\
	for_each_set_bit(i, (unsigned long *)&(regs),		\
			 INTEL_PMC_IDX_FIXED + KVM_MAX_NR_FIXED_COUNTERS)

/* Fixed counters follow the general purpose ones. */
static inline int counter_slot(int i)
{
	return i < INTEL_PMC_IDX_FIXED ? i : KVM_MAX_NR_GP_COUNTERS + i - INTEL_PMC_IDX_FIXED;
}

static inline u32 counter_rdpmc_index(int i)
{
	return i < INTEL_PMC_IDX_FIXED ? i : INTEL_PMC_FIXED_RDPMC_BASE | (i - INTEL_PMC_IDX_FIXED);
}

static inline u32 counter_msr(int i)
{
	if (i >= INTEL_PMC_IDX_FIXED)
		return MSR_CORE_PERF_FIXED_CTR0 + (i - INTEL_PMC_IDX_FIXED);

	return kvm_pmu_ops.GP_COUNTER_BASE + i * kvm_pmu_ops.GP_MSR_STRIDE;
}

static inline u32 selector_msr(int i)
{
	return kvm_pmu_ops.GP_EVENTSEL_BASE + i * kvm_pmu_ops.GP_MSR_STRIDE;
}

static inline struct kvm_pmc *counter_pmc(struct kvm_pmu *pmu, int i)
{
	return i < INTEL_PMC_IDX_FIXED ? &pmu->gp_counters[i] :
					 &pmu->fixed_counters[i - INTEL_PMC_IDX_FIXED];
}

/* Does this CPU hold values of @vcpu?  Called with interrupts off, outside guest mode. */
static inline bool kvm_mediated_pmu_is_here(struct kvm_vcpu *vcpu)
{
	enum x86_guest_pmu_state state = x86_guest_pmu()->state;

	return (state == X86_GUEST_PMU_PARKED || state == X86_GUEST_PMU_SHARED) &&
	       kvm_get_running_vcpu() == vcpu;
}

/* fastpath.c */
fastpath_t kvm_mediated_pmu_fastpath_read(struct kvm_vcpu *vcpu);

/* setup.c */
u64 kvm_mediated_pmu_may_be_direct(struct kvm_vcpu *vcpu, bool alone);
void kvm_mediated_pmu_wants(struct kvm_vcpu *vcpu, u64 regs);

/* regs.c */
void kvm_mediated_pmu_load_status(struct kvm_vcpu *vcpu, u64 found);
void kvm_mediated_pmu_write_regs(struct kvm_vcpu *vcpu, u64 regs, u64 same);
void kvm_mediated_pmu_write_controls(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_save_regs(struct kvm_vcpu *vcpu, u64 regs, bool clear);
void kvm_mediated_pmu_save_controls(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_make_stale(struct kvm_vcpu *vcpu);
u64 kvm_mediated_pmu_take_stale(struct kvm_vcpu *vcpu, enum x86_guest_pmu_state from);
void kvm_mediated_pmu_clear_stale(u64 regs);

/* pmi.c */
void kvm_pmi_reserved(void);
void kvm_pmi_write_status(struct kvm_vcpu *vcpu, u64 bits);
void kvm_pmi_leave_shared(struct kvm_vcpu *vcpu);
void __kvm_pmi_resume(struct kvm_vcpu *vcpu);

/*
 * Is the physical LVTPC what the vCPU's LVTPC makes of it?  The guest may have masked or
 * unmasked that, and an interrupt may have masked the physical one.
 */
static inline bool kvm_pmi_lvtpc_is_loaded(struct kvm_vcpu *vcpu)
{
	return (kvm_lapic_get_reg(vcpu->arch.apic, APIC_LVTPC) & APIC_LVT_MASKED) ==
	       vcpu_to_pmu(vcpu)->mediated->record.lvtpc;
}

/* The vCPU goes on with the PMU that it has. */
static inline void kvm_pmi_resume(struct kvm_vcpu *vcpu)
{
	if (!kvm_pmi_lvtpc_is_loaded(vcpu))
		__kvm_pmi_resume(vcpu);
}

/* prove.c */
#ifdef CONFIG_KVM_PROVE_MEDIATED_PMU
void kvm_mediated_pmu_prove_off(struct kvm_vcpu *vcpu, bool zero);
void kvm_mediated_pmu_prove_held(struct kvm_vcpu *vcpu, u64 missing);
void kvm_mediated_pmu_prove_guest(struct kvm_vcpu *vcpu, u64 regs);
void kvm_mediated_pmu_prove_stale(void);
void kvm_mediated_pmu_prove_vmcb(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_prove_eviction(struct kvm_vcpu *vcpu, bool at_load);
#else
static inline void kvm_mediated_pmu_prove_off(struct kvm_vcpu *vcpu, bool zero) {}
static inline void kvm_mediated_pmu_prove_held(struct kvm_vcpu *vcpu, u64 missing) {}
static inline void kvm_mediated_pmu_prove_guest(struct kvm_vcpu *vcpu, u64 regs) {}
static inline void kvm_mediated_pmu_prove_stale(void) {}
static inline void kvm_mediated_pmu_prove_vmcb(struct kvm_vcpu *vcpu) {}
static inline void kvm_mediated_pmu_prove_eviction(struct kvm_vcpu *vcpu, bool at_load) {}
#endif

#endif /* __KVM_X86_MEDIATED_INTERNAL_H */
