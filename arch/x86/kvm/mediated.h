/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_MEDIATED_H
#define __KVM_X86_MEDIATED_H

#include <linux/kvm_host.h>

#include <asm/perf_guest.h>

#include "pmu.h"

extern bool __read_mostly kvm_mediated_pmu;

/*
 * A vCPU without a PMU, in a VM that has none, is not mediated even if the rest
 * of the host is.
 */
static inline bool kvm_vcpu_has_mediated_pmu(struct kvm_vcpu *vcpu)
{
	return kvm_mediated_pmu && vcpu_to_pmu(vcpu)->version;
}

/* Is the PMU loaded at VM-entry, i.e. may the guest have it directly? */
static inline bool kvm_mediated_pmu_is_armed(struct kvm_vcpu *vcpu)
{
	return kvm_vcpu_has_mediated_pmu(vcpu) && vcpu_to_pmu(vcpu)->armed;
}

void kvm_mediated_pmu_hardware_setup(bool *param, const char *objection);
void kvm_mediated_pmu_handle_pmi(void);

int kvm_mediated_pmu_reserve(struct kvm *kvm);
void kvm_mediated_pmu_release(struct kvm *kvm);

void kvm_mediated_pmu_flush_pmi(struct kvm_vcpu *vcpu);

bool kvm_mediated_pmu_global_is_direct(struct kvm_vcpu *vcpu);
bool kvm_mediated_pmu_rdpmc_is_direct(struct kvm_vcpu *vcpu);

bool kvm_mediated_pmu_mode_matches(struct kvm_pmc *pmc);
void kvm_mediated_pmu_mode_changed(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_reprogram(struct kvm_pmc *pmc, bool allowed);
u64 kvm_mediated_pmu_read_counter(struct kvm_pmc *pmc);
void kvm_mediated_pmu_incr_counter(struct kvm_pmc *pmc);
void kvm_mediated_pmu_arm_or_disarm(struct kvm_vcpu *vcpu);

void __kvm_mediated_pmu_evict(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_leave(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_disable_cpu(void);
bool kvm_mediated_pmu_is_control(u32 msr);

void __kvm_mediated_pmu_load(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_put(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_enter_unloaded(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_exit_unloaded(struct kvm_vcpu *vcpu);

/*
 * Only a mediated PMU is armed, and has host_counts set, so that a guest that does not
 * use its PMU pays no more than one that has the other PMU, or none.
 */
static inline void kvm_mediated_pmu_load(struct kvm_vcpu *vcpu)
{
	if (vcpu_to_pmu(vcpu)->armed)
		__kvm_mediated_pmu_load(vcpu);
	else if (x86_perf_guest_has_host_events())
		kvm_mediated_pmu_enter_unloaded(vcpu);
}

static inline void kvm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	if (vcpu_to_pmu(vcpu)->armed)
		__kvm_mediated_pmu_put(vcpu);
	else if (vcpu_to_pmu(vcpu)->host_counts)
		kvm_mediated_pmu_exit_unloaded(vcpu);
}

/* Have the values in struct kvm_pmu: they may be parked in hardware. */
static inline void kvm_mediated_pmu_evict(struct kvm_vcpu *vcpu)
{
	if (vcpu_to_pmu(vcpu)->parked)
		__kvm_mediated_pmu_evict(vcpu);
}

/* The same for an access to @msr, but for those that are valid in there anyway. */
static inline void kvm_mediated_pmu_evict_for_msr(struct kvm_vcpu *vcpu, u32 msr)
{
	if (vcpu_to_pmu(vcpu)->parked && !kvm_mediated_pmu_is_control(msr))
		__kvm_mediated_pmu_evict(vcpu);
}

/* The vCPU leaves this CPU: have its values in struct kvm_pmu. */
static inline void kvm_mediated_pmu_leave(struct kvm_vcpu *vcpu)
{
	if (vcpu_to_pmu(vcpu)->parked)
		__kvm_mediated_pmu_leave(vcpu);
}

/* The guest writes to a PMU that is not loaded: it is going to use it. */
static inline void kvm_mediated_pmu_written(struct kvm_vcpu *vcpu)
{
	if (kvm_vcpu_has_mediated_pmu(vcpu) && !vcpu_to_pmu(vcpu)->armed) {
		vcpu_to_pmu(vcpu)->written = true;
		kvm_make_request(KVM_REQ_PMU, vcpu);
	}
}

/* In state GUEST: the exit fastpath, as nobody else runs then. */
static inline bool kvm_mediated_pmu_in_fastpath(struct kvm_vcpu *vcpu)
{
	return vcpu_to_pmu(vcpu)->in_hardware && !vcpu_to_pmu(vcpu)->parked;
}

bool __kvm_mediated_pmu_fastpath_set_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data);

static inline bool kvm_mediated_pmu_fastpath_set_msr(struct kvm_vcpu *vcpu, u32 msr,
						     u64 data)
{
	return kvm_mediated_pmu_in_fastpath(vcpu) &&
	       __kvm_mediated_pmu_fastpath_set_msr(vcpu, msr, data);
}

#endif /* __KVM_X86_MEDIATED_H */
