// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU: KVM's half of the hand-over.  See arch/x86/events/guest.c for the states
 * of a CPU's PMU.
 *
 *  HOST:   the vCPU's values are in struct kvm_pmu, exact and complete.  KVM may read
 *	    and change them at will.
 *  GUEST:  from kvm_mediated_pmu_load() to kvm_mediated_pmu_put(), both with interrupts
 *	    off and around the inner loop of vcpu_enter_guest().  The registers are the
 *	    vCPU's.
 *  PARKED: until the next load of the vCPU, which writes what has changed only.  KVM may
 *	    look at a single counter where it is, or evict all.
 *  SHARED: the same, but only for the counters that perf's events do not use.  The status,
 *	    FIXED_CTR_CTRL and GLOBAL_CTRL are in struct kvm_pmu.
 *  STALE:  from kvm_arch_vcpu_put() on.  As HOST, but copies of the values are in the
 *	    registers still.  A vCPU that is disarmed runs without touching them: perf has
 *	    no events here, so nothing is enabled in guest mode.
 *
 * Nothing counts for the guest outside guest mode: on Intel GLOBAL_CTRL is switched by
 * VM-entry and VM-exit, on AMD the selectors have GuestOnly set.
 */
#include "x86.h"
#include "mediated/internal.h"

/* The vCPU's values are not in the registers, or not all of them are. */
static noinline void load_registers(struct kvm_vcpu *vcpu, enum x86_guest_pmu_state from,
				    struct x86_guest_pmu_grant *grant)
{
	struct kvm_mediated_pmu_stale *stale = this_cpu_ptr(kvm_mediated_pmu_stale);
	bool same = false;

	if (from == X86_GUEST_PMU_STALE) {
		kvm_mediated_pmu_prove_stale();
		same = stale->kvm == vcpu->kvm &&
		       stale->regs == vcpu_to_pmu(vcpu)->mediated->regs;
		kvm_mediated_pmu_take_stale(vcpu, same);
	} else if (from == X86_GUEST_PMU_SHARED) {
		kvm_mediated_pmu_prove_held(vcpu);
	} else {
		kvm_mediated_pmu_prove_off(vcpu, false);
	}

	if (from != X86_GUEST_PMU_SHARED)
		vcpu->stat.pmu_loads++;

	kvm_mediated_pmu_write_regs(vcpu, grant->missing, same);
	kvm_pmu_call(mediated_load)(vcpu, grant);
	kvm_pmi_load(vcpu, grant->status);
	kvm_pmu_call(mediated_resume)(vcpu);

	kvm_mediated_pmu_prove_guest(vcpu, grant->missing);
}

void __kvm_mediated_pmu_load(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	struct x86_guest_pmu_grant grant;
	enum x86_guest_pmu_state from;

	lockdep_assert_irqs_disabled();

	/* Not for this VM-entry any more. */
	if (!mediated->enabled && ++mediated->idle_entries >= KVM_MEDIATED_PMU_IDLE_ENTRIES)
		kvm_make_request(KVM_REQ_PMU, vcpu);

	kvm_mediated_pmu_prove_eviction(vcpu, true);

	from = x86_guest_pmu_get(mediated->regs, &grant);
	if (unlikely(from != X86_GUEST_PMU_PARKED)) {
		load_registers(vcpu, from, &grant);
		return;
	}

	kvm_mediated_pmu_prove_held(vcpu);
	kvm_pmi_resume(vcpu);
	kvm_mediated_pmu_write_controls(vcpu);
}

/* See x86_guest_pmu_evict_t. */
static void kvm_mediated_pmu_evicted(u64 regs)
{
	struct kvm_vcpu *vcpu = kvm_get_running_vcpu();

	switch (x86_guest_pmu()->state) {
	case X86_GUEST_PMU_STALE:
		kvm_mediated_pmu_prove_stale();
		kvm_mediated_pmu_clear_stale();
		return;
	case X86_GUEST_PMU_SHARED:
		kvm_mediated_pmu_prove_held(vcpu);
		kvm_mediated_pmu_save_regs(vcpu, regs, true);
		return;
	case X86_GUEST_PMU_PARKED:
		kvm_mediated_pmu_prove_held(vcpu);
		fallthrough;
	default:
		break;
	}

	kvm_mediated_pmu_save_controls(vcpu);

	/* If perf wants some of the counters, then it writes all of these. */
	if (regs != vcpu_to_pmu(vcpu)->mediated->regs) {
		kvm_mediated_pmu_save_regs(vcpu, regs, false);
		return;
	}

	kvm_mediated_pmu_save_regs(vcpu, regs, true);
	kvm_mediated_pmu_prove_off(vcpu, true);
}

void __kvm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	lockdep_assert_irqs_disabled();

	kvm_pmu_call(mediated_stop)(vcpu);
	x86_guest_pmu_put(X86_GUEST_PMU_PARKED, kvm_mediated_pmu_evicted);

	kvm_mediated_pmu_prove_eviction(vcpu, false);
}

/* perf may be faster, on an interrupt; so may the scheduler. */
void __kvm_mediated_pmu_evict(struct kvm_vcpu *vcpu)
{
	enum x86_guest_pmu_state state;

	guard(irqsave)();

	state = x86_guest_pmu()->state;
	if ((state == X86_GUEST_PMU_PARKED || state == X86_GUEST_PMU_SHARED) &&
	    kvm_get_running_vcpu() == vcpu)
		x86_guest_pmu_evict();
}

/*
 * The vCPU leaves this CPU.  From PARKED to STALE: save the values, but do not clean
 * up behind it.  Beside perf's events it is not worth it.
 */
void __kvm_mediated_pmu_leave(struct kvm_vcpu *vcpu)
{
	guard(irqsave)();

	if (x86_guest_pmu()->state != X86_GUEST_PMU_PARKED) {
		__kvm_mediated_pmu_evict(vcpu);
		return;
	}

	kvm_mediated_pmu_prove_held(vcpu);
	kvm_mediated_pmu_make_stale(vcpu);
	x86_guest_pmu_put(X86_GUEST_PMU_STALE, kvm_mediated_pmu_evicted);
}

/* KVM is about to be gone from this CPU, or the CPU is. */
void kvm_mediated_pmu_disable_cpu(void)
{
	guard(irqsave)();

	x86_guest_pmu_evict();
	kvm_pmi_forget_cpu();
}
