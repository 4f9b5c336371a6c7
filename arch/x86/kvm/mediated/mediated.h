/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_MEDIATED_H
#define __KVM_X86_MEDIATED_H

#include <linux/irq_work.h>
#include <linux/jump_label.h>
#include <linux/kvm_host.h>

#include <asm/perf_guest.h>

#include "irq.h"
#include "pmu.h"

/* On while PMUs are mediated, i.e. enable_mediated_pmu=1 is in effect. */
DECLARE_STATIC_KEY_FALSE(kvm_mediated_pmu_key);

/* On while hardware may switch the PMU, i.e. kvm_amd's vpmc=1 is in effect. */
DECLARE_STATIC_KEY_FALSE(kvm_vpmc_key);

/* Has the CPU counters that are not among those of kvm_host_pmu? */
extern bool __read_mostly kvm_mediated_pmu_has_hidden;

/* May event selectors be direct, where hardware switches them and nothing is to be denied? */
extern bool __read_mostly kvm_mediated_pmu_direct_selectors;

/*
 * @request tells vCPUs of a new filter.  Guests that select events themselves have done so
 * for the last time once they have left guest mode: wait for that.
 */
static inline unsigned int kvm_mediated_pmu_filter_request(unsigned int request)
{
	return request | (kvm_mediated_pmu_direct_selectors ? KVM_REQUEST_WAIT : 0);
}

/* Are fixed counter 3 and PERF_METRICS offered to all VMs? */
extern bool __read_mostly kvm_mediated_pmu_metrics;

#define PMU_CAP_PERF_METRICS	BIT_ULL(PERF_CAP_METRICS_IDX)

/* How many fixed counters can a VM have, @metrics: that has asked for all? */
static inline int kvm_pmu_nr_fixed(bool metrics)
{
	return metrics ? kvm_pmu_cap.num_counters_fixed :
			 min(kvm_pmu_cap.num_counters_fixed, KVM_USUAL_NR_FIXED_COUNTERS);
}

/* The flags of KVM_CAP_PMU_CAPABILITY that can be set. */
static inline u64 kvm_pmu_valid_caps(void)
{
	if (!enable_pmu)
		return 0;

	return KVM_PMU_CAP_DISABLE | (kvm_pmu_cap.num_metrics ? KVM_PMU_CAP_METRICS : 0);
}

/* PERF_CAPABILITIES that a vCPU of @kvm can have. */
static inline u64 kvm_pmu_supported_perf_cap(struct kvm *kvm)
{
	return kvm_caps.supported_perf_cap |
	       (kvm->arch.enable_pmu_metrics ? PMU_CAP_PERF_METRICS : 0);
}

/* What pmi.c knows of a vCPU, see there. */
struct kvm_pmi_record {
	u64		reported;	/* status bits that need no PMI any more */
	u64		with_pmi;	/* counters that could raise a PMI since then */
	u64		without_pmi;	/* counters that could overflow silently since then */
	atomic64_t	taken;		/* in state SHARED, status bits that an NMI found */
	u32		lvtpc;		/* the physical one, see pmi.c */
	struct irq_work	wakeup;
	struct kvm_vcpu	*vcpu;
};

/*
 * Of struct kvm_mediated_pmu, @direct: event selectors; RDPMC; GLOBAL_CTRL; GLOBAL_STATUS
 * and the register that clears bits of it.
 */
#define KVM_MEDIATED_PMU_SELECTORS BIT_ULL(60)
#define KVM_MEDIATED_PMU_RDPMC	BIT_ULL(61)
#define KVM_MEDIATED_PMU_GLOBAL	BIT_ULL(62)
#define KVM_MEDIATED_PMU_STATUS	BIT_ULL(63)

/*
 * A vCPU's mediated PMU.  The values of its registers are in struct kvm_pmu, unless
 * they are in hardware or in the VMCB, see kvm_mediated_pmu_holds().
 */
struct kvm_mediated_pmu {
	/* The VMCB that has them, or NULL: see svm/vpmc.c. */
	struct vmcb_save_area *vmcb;

	/* KVM_RUN has seen to the VM's reservation. */
	bool	settled;

	/* The registers that the guest has. */
	u64	has;

	/*
	 * Has it the other MSRs of the same counters, too: those for full-width writes on
	 * Intel, those of the core extension on AMD?
	 */
	bool	has_other_msrs;

	/*
	 * What is asked of perf.  A counter is used from when it is first enabled; then
	 * until the vCPU is disarmed, if it has not been enabled since it was armed.
	 * Those of @all that are not used have been written to.
	 */
	struct x86_guest_pmu_request wants;
	u64	enabled_since;

	/* Counters that the event filter denies. */
	u64	denied;

	/*
	 * What the guest accesses directly: counters and metrics, and the bits below.
	 * Set at load, according to what perf has granted.
	 */
	u64	direct;

	/* VM-entries since a counter was enabled. */
	u16	idle_entries;

	/*
	 * Counters that the instruction which is being emulated switches on or off, and
	 * which of them by GLOBAL_CTRL.  It counts under the old settings.
	 */
	u64	written;
	u64	flipped;

	/* Counters that are enabled and allowed with a PMI, and in L1 or L2 only. */
	u64	pmi;
	u64	has_mode;

	/*
	 * Event selectors and FIXED_CTR_CTRL as hardware is to get them: what is not
	 * enabled or not allowed is 0.  Then what hardware has got of them, 0 when it
	 * has none of this vCPU's; and the selectors that may differ.
	 */
	u64	selector[KVM_MAX_NR_GP_COUNTERS];
	u64	fixed_ctr_ctrl;
	u64	loaded_selector[KVM_MAX_NR_GP_COUNTERS];
	u64	loaded_fixed_ctr_ctrl;
	u64	changed;

	/* PERF_METRICS, if the guest has it. */
	u64	metrics;

	struct kvm_pmi_record record;
};

/*
 * A vCPU without a PMU, in a VM that has none, is not mediated even if the rest
 * of the host is.
 */
static inline bool kvm_vcpu_has_mediated_pmu(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvm_mediated_pmu_key) &&
	       vcpu_to_pmu(vcpu)->mediated && vcpu_to_pmu(vcpu)->version;
}

/* The save area of the VMCB, if the values of the vCPU are in there, or NULL. */
static inline struct vmcb_save_area *kvm_mediated_pmu_vmcb(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvm_vpmc_key) && vcpu_to_pmu(vcpu)->mediated ?
	       READ_ONCE(vcpu_to_pmu(vcpu)->mediated->vmcb) : NULL;
}

/* Does VM-entry hand over the PMU, i.e. may the guest have it directly? */
static inline bool kvm_mediated_pmu_is_armed(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvm_mediated_pmu_key) &&
	       vcpu_to_pmu(vcpu)->use == KVM_MEDIATED_PMU_ARMED;
}

static inline bool kvm_mediated_pmu_rdpmc_is_direct(struct kvm_vcpu *vcpu)
{
	return kvm_mediated_pmu_is_armed(vcpu) &&
	       vcpu_to_pmu(vcpu)->mediated->direct & KVM_MEDIATED_PMU_RDPMC;
}

static inline bool kvm_mediated_pmu_global_is_direct(struct kvm_vcpu *vcpu)
{
	return kvm_mediated_pmu_is_armed(vcpu) &&
	       vcpu_to_pmu(vcpu)->mediated->direct & KVM_MEDIATED_PMU_GLOBAL;
}

/* Event selectors: then the guest's are in the VMCB, see kvm_mediated_pmu_sync_selectors(). */
static inline bool kvm_mediated_pmu_selectors_are_direct(struct kvm_vcpu *vcpu)
{
	return kvm_mediated_pmu_vmcb(vcpu) && kvm_mediated_pmu_is_armed(vcpu) &&
	       vcpu_to_pmu(vcpu)->mediated->direct & KVM_MEDIATED_PMU_SELECTORS;
}

/* GLOBAL_STATUS and the register that clears bits of it. */
static inline bool kvm_mediated_pmu_status_is_direct(struct kvm_vcpu *vcpu)
{
	return kvm_mediated_pmu_is_armed(vcpu) &&
	       vcpu_to_pmu(vcpu)->mediated->direct & KVM_MEDIATED_PMU_STATUS;
}

static inline bool kvm_pmu_has_perf_metrics(struct kvm_pmu *pmu)
{
	return pmu->mediated && pmu->mediated->has & X86_GUEST_PMU_METRICS;
}

/*
 * PERF_METRICS, if the event filter denies fixed counter 3: do not rely on it that the
 * counter's being off stops them.
 */
static inline u64 kvm_mediated_pmu_denied(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;

	return mediated->denied & BIT_ULL(INTEL_PMC_IDX_FIXED_SLOTS) ?
	       mediated->has & X86_GUEST_PMU_METRICS : 0;
}

/*
 * PMIs cannot be delivered without a local APIC in the kernel.  A VM without gets no
 * PMU, whatever KVM_GET_SUPPORTED_CPUID, which knows no VM, has told the VMM.
 */
static inline bool kvm_mediated_pmu_is_withheld(struct kvm *kvm)
{
	return static_branch_unlikely(&kvm_mediated_pmu_key) && !irqchip_in_kernel(kvm);
}

/* setup.c */
void kvm_mediated_pmu_hardware_setup(bool *param, const char *objection);
void kvm_mediated_pmu_hardware_unsetup(void);
int kvm_mediated_pmu_reserve(struct kvm *kvm);
void kvm_mediated_pmu_release(struct kvm *kvm);
int kvm_mediated_pmu_settle(struct kvm_vcpu *vcpu);
int kvm_mediated_pmu_create(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_destroy(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_disarm(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_add_counters(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_reset(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_set_metrics(struct kvm_vcpu *vcpu, u64 metrics);
u64 kvm_mediated_pmu_direct_regs(struct kvm_vcpu *vcpu);
bool kvm_mediated_pmu_mode_matches(struct kvm_pmc *pmc);
void kvm_mediated_pmu_mode_changed(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_reprogram(struct kvm_pmc *pmc, bool allowed);
void kvm_mediated_pmu_arm_or_disarm(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_in_use(struct kvm_vcpu *vcpu);

/* Between KVM_MEDIATED_PMU_IDLE_ENTRIES without a counter enabled, stay armed. */
#define KVM_MEDIATED_PMU_IDLE_ENTRIES \
	(IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU) ? 3 : 256)

/* regs.c */
extern u64 __read_mostly kvm_mediated_pmu_status_bits;

bool kvm_mediated_pmu_is_control(u32 msr);
bool kvm_mediated_pmu_is_status(u32 msr);
bool kvm_mediated_pmu_holds(struct kvm_pmc *pmc);
void __kvm_mediated_pmu_written(struct kvm_pmc *pmc);
u64 kvm_mediated_pmu_peek(struct kvm_pmc *pmc);
u64 kvm_mediated_pmu_read_counter(struct kvm_pmc *pmc);
void kvm_mediated_pmu_incr_counter(struct kvm_pmc *pmc);
bool kvm_mediated_pmu_was_counting(struct kvm_pmc *pmc);
void kvm_mediated_pmu_sync(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_sync_selectors(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_evict_for_msr(struct kvm_vcpu *vcpu, u32 msr);

/* fastpath.c */
bool __kvm_mediated_pmu_fastpath_set_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data);
void __kvm_mediated_pmu_fastpath_end(struct kvm_vcpu *vcpu);

/* state.c */
void __kvm_mediated_pmu_load(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_put(struct kvm_vcpu *vcpu);
fastpath_t __kvm_mediated_pmu_exit(struct kvm_vcpu *vcpu, fastpath_t fastpath);
void __kvm_mediated_pmu_leave(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_evict(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_disable_cpu(void);

/* pmi.c */
void kvm_pmi_init(struct kvm_vcpu *vcpu);
void kvm_pmi_destroy(struct kvm_vcpu *vcpu);
void kvm_pmi_load(struct kvm_vcpu *vcpu, u64 found);
void kvm_pmi_load_shared(struct kvm_vcpu *vcpu);
void kvm_pmi_controls_change(struct kvm_vcpu *vcpu);
void kvm_pmi_saved(struct kvm_vcpu *vcpu, u64 status);
void kvm_pmi_take_status(struct kvm_vcpu *vcpu);
void kvm_pmi_set_status(struct kvm_vcpu *vcpu, u64 bits);
void kvm_pmi_flush(struct kvm_vcpu *vcpu);
bool kvm_pmi_handle(u64 taken, bool explained);
void kvm_pmi_forget_cpu(void);
bool kvm_pmi_suspects(int cpu, struct kvm *kvm);

/* The beginning of KVM_RUN, by the thread that runs the vCPU. */
static inline int kvm_mediated_pmu_run(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	int r;

	if (!static_branch_unlikely(&kvm_mediated_pmu_key) || !pmu->mediated)
		return 0;

	if (unlikely(!pmu->mediated->settled)) {
		r = kvm_mediated_pmu_settle(vcpu);
		if (r)
			return r;
	}

	if (pmu->version)
		perf_guest_mark_thread(&vcpu->kvm->arch.mediated_pmu.reservation);

	return 0;
}

/*
 * Hooks around the inner loop of vcpu_enter_guest().  A guest that does not use its
 * PMU pays no more than one that has the other PMU, or none.
 */
static inline void kvm_mediated_pmu_load(struct kvm_vcpu *vcpu)
{
	if (kvm_mediated_pmu_is_armed(vcpu))
		__kvm_mediated_pmu_load(vcpu);
}

static inline fastpath_t kvm_mediated_pmu_exit(struct kvm_vcpu *vcpu, fastpath_t fastpath)
{
	return kvm_mediated_pmu_is_armed(vcpu) ? __kvm_mediated_pmu_exit(vcpu, fastpath) :
						 fastpath;
}

static inline void kvm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	if (kvm_mediated_pmu_is_armed(vcpu))
		__kvm_mediated_pmu_put(vcpu);
}

/*
 * pmc->counter has been written.  RDPMC, where it is direct, reads that from hardware,
 * which has 0 in counters that the guest has never used.
 */
static inline void kvm_mediated_pmu_written(struct kvm_pmc *pmc)
{
	if (kvm_vcpu_has_mediated_pmu(pmc->vcpu))
		__kvm_mediated_pmu_written(pmc);
}

/* Have the values in struct kvm_pmu: they may be in hardware. */
static inline void kvm_mediated_pmu_evict(struct kvm_vcpu *vcpu)
{
	if (kvm_mediated_pmu_is_armed(vcpu))
		__kvm_mediated_pmu_evict(vcpu);
}

/* The same for an access to @msr, but for those that are valid in there anyway. */
static inline void kvm_mediated_pmu_evict_for_msr(struct kvm_vcpu *vcpu, u32 msr)
{
	if (kvm_mediated_pmu_is_armed(vcpu) &&
	    (!kvm_mediated_pmu_is_control(msr) || kvm_mediated_pmu_selectors_are_direct(vcpu)))
		__kvm_mediated_pmu_evict_for_msr(vcpu, msr);
}

/* The vCPU leaves this CPU: have its values in struct kvm_pmu. */
static inline void kvm_mediated_pmu_leave(struct kvm_vcpu *vcpu)
{
	if (kvm_mediated_pmu_is_armed(vcpu))
		__kvm_mediated_pmu_leave(vcpu);
}

static inline bool kvm_mediated_pmu_fastpath_set_msr(struct kvm_vcpu *vcpu, u32 msr,
						     u64 data)
{
	return kvm_mediated_pmu_is_armed(vcpu) &&
	       __kvm_mediated_pmu_fastpath_set_msr(vcpu, msr, data);
}

/* The instruction of kvm_mediated_pmu_fastpath_set_msr() has retired. */
static inline void kvm_mediated_pmu_fastpath_end(struct kvm_vcpu *vcpu)
{
	if (kvm_mediated_pmu_is_armed(vcpu) && vcpu_to_pmu(vcpu)->mediated->written)
		__kvm_mediated_pmu_fastpath_end(vcpu);
}

#endif /* __KVM_X86_MEDIATED_H */
