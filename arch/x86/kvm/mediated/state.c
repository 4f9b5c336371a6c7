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
 *  SHARED: from load on, also in guest mode, until perf or KVM needs the registers.  The
 *	    counters that the vCPU makes use of are in hardware, and direct.  Its status and
 *	    GLOBAL_CTRL are in struct kvm_pmu, and trap.
 *  STALE and SHARED_STALE: from kvm_arch_vcpu_put() on.  As HOST, but copies of the values
 *	    are in the registers still.  A vCPU that is disarmed runs without touching them:
 *	    nothing of them is enabled in guest mode.
 *
 * With AMD's PMC virtualization the vCPU's values are in the VMCB from a load on, on whatever
 * CPU, until KVM evicts them to struct kvm_pmu; see svm/vpmc.c.
 *
 * Nothing counts for the guest outside guest mode: on Intel GLOBAL_CTRL is switched by
 * VM-entry and VM-exit, on AMD the selectors have GuestOnly set.
 */
#include "x86.h"
#include "mediated/internal.h"

static void kvm_mediated_pmu_evicted(u64 regs);

/* Have trap what has to trap as of now: what is direct may have been something else. */
static void set_direct(struct kvm_vcpu *vcpu, bool alone)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	u64 direct = kvm_mediated_pmu_may_be_direct(vcpu, alone);

	if (direct == mediated->direct)
		return;

	mediated->direct = direct;
	kvm_pmu_call(mediated_recalc)(vcpu);
}

/* The vCPU's values are not in the registers, or not all of them are. */
static void load_registers(struct kvm_vcpu *vcpu, struct x86_guest_pmu_grant *grant)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	bool shared = x86_guest_pmu()->state == X86_GUEST_PMU_SHARED;
	u64 same = 0;

	switch (grant->from) {
	case X86_GUEST_PMU_STALE:
	case X86_GUEST_PMU_SHARED_STALE:
		same = kvm_mediated_pmu_take_stale(vcpu, grant->from);
		vcpu->stat.pmu_loads++;
		break;
	case X86_GUEST_PMU_SHARED:
		/* It has been cleared. */
		if (!shared)
			mediated->loaded_fixed_ctr_ctrl = 0;
		fallthrough;
	case X86_GUEST_PMU_PARKED:
		kvm_mediated_pmu_prove_held(vcpu, grant->missing);
		break;
	default:
		vcpu->stat.pmu_loads++;
		break;
	}

	set_direct(vcpu, grant->exclusive && !(grant->status & ~kvm_mediated_pmu_status_bits));

	if (grant->from == X86_GUEST_PMU_PARKED ||
	    (grant->from == X86_GUEST_PMU_SHARED && shared)) {
		/* It goes on, with more registers. */
		kvm_pmi_resume(vcpu);
		kvm_pmi_controls_change(vcpu);
		kvm_mediated_pmu_write_regs(vcpu, grant->missing, 0);
	} else if (shared) {
		kvm_pmi_load_shared(vcpu);
		kvm_mediated_pmu_write_regs(vcpu, grant->missing, same);
	} else {
		vcpu->stat.pmu_conflicts += grant->conflict;
		if (grant->from <= X86_GUEST_PMU_HOST)
			kvm_mediated_pmu_prove_off(vcpu, false);
		kvm_mediated_pmu_write_regs(vcpu, grant->missing, same);
		kvm_mediated_pmu_load_status(vcpu, grant->status);
		kvm_pmu_call(mediated_load)(vcpu);
		kvm_pmi_load(vcpu, grant->status);
	}

	kvm_mediated_pmu_prove_guest(vcpu, grant->missing);
}

/* Not for this VM-entry any more. */
static void count_idle_entries(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;

	if (!mediated->wants.enabled &&
	    ++mediated->idle_entries >= KVM_MEDIATED_PMU_IDLE_ENTRIES)
		kvm_make_request(KVM_REQ_PMU, vcpu);
}

/*
 * VM-entry and VM-exit switch the registers, and the values are in the VMCB.  Returns false
 * if that is not so for this VM-entry; then they are in struct kvm_pmu.
 */
static bool load_vmcb(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	bool moves = !mediated->vmcb;

	if (!kvm_pmu_call(vpmc_load)(vcpu))
		return false;

	count_idle_entries(vcpu);
	if (moves) {
		set_direct(vcpu, true);
		kvm_pmu_ask_selectors(vcpu_to_pmu(vcpu),
				      mediated->direct & KVM_MEDIATED_PMU_SELECTORS);
	}
	if (mediated->changed & mediated->has)
		kvm_mediated_pmu_write_controls(vcpu);
	kvm_mediated_pmu_prove_vmcb(vcpu);
	return true;
}

/* The PMU is not as the last VM-exit has left it, or the vCPU wants something else of it. */
static noinline void load_changes(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	const struct x86_guest_pmu *guest = x86_guest_pmu();
	struct x86_guest_pmu_grant grant;

	count_idle_entries(vcpu);

	/* The guest's own bits, before get looks for others. */
	if (guest->state == X86_GUEST_PMU_SHARED && mediated->wants.enabled & ~guest->regs)
		kvm_pmi_leave_shared(vcpu);

	if (x86_guest_pmu_get(&mediated->wants, &grant, kvm_mediated_pmu_evicted)) {
		load_registers(vcpu, &grant);
	} else {
		kvm_mediated_pmu_prove_held(vcpu, 0);
		kvm_pmi_resume(vcpu);
		/* The registers are the same, but more of them may be used. */
		set_direct(vcpu, mediated->direct & KVM_MEDIATED_PMU_STATUS);
		kvm_mediated_pmu_write_controls(vcpu);
	}

	kvm_pmu_call(mediated_resume)(vcpu, guest);
}

/* If the state is another one than at the last VM-entry then LVTPC is not loaded, either. */
static __always_inline bool is_unchanged(struct kvm_vcpu *vcpu,
					 const struct x86_guest_pmu *guest)
{
	const struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	u64 not_direct = mediated->wants.used & ~mediated->direct;

	return mediated->wants.enabled && kvm_pmi_lvtpc_is_loaded(vcpu) &&
	       !((not_direct | mediated->changed) & guest->regs) &&
	       mediated->fixed_ctr_ctrl == mediated->loaded_fixed_ctr_ctrl;
}

static __always_inline void load(struct kvm_vcpu *vcpu)
{
	struct x86_guest_pmu *guest = x86_guest_pmu();

	if (likely(is_unchanged(vcpu, guest) &&
		   x86_guest_pmu_resume(guest, &vcpu_to_pmu(vcpu)->mediated->wants))) {
		kvm_mediated_pmu_prove_held(vcpu, 0);
		kvm_mediated_pmu_prove_guest(vcpu, 0);
		kvm_pmu_call(mediated_resume)(vcpu, guest);
	} else {
		load_changes(vcpu);
	}
}

/* A function of its own, for its part of the stack. */
static noinline void load_vmcb_or_registers(struct kvm_vcpu *vcpu)
{
	if (!load_vmcb(vcpu))
		load(vcpu);
}

void __kvm_mediated_pmu_load(struct kvm_vcpu *vcpu)
{
	lockdep_assert_irqs_disabled();

	kvm_mediated_pmu_prove_eviction(vcpu, true);
	kvm_mediated_pmu_prove_stale();

	if (static_branch_unlikely(&kvm_vpmc_key))
		load_vmcb_or_registers(vcpu);
	else
		load(vcpu);
}

/* See x86_guest_pmu_evict_t. */
static void kvm_mediated_pmu_evicted(u64 regs)
{
	struct kvm_vcpu *vcpu = kvm_get_running_vcpu();
	enum x86_guest_pmu_state state = x86_guest_pmu()->state;

	kvm_mediated_pmu_prove_stale();

	if (state == X86_GUEST_PMU_STALE || state == X86_GUEST_PMU_SHARED_STALE) {
		kvm_mediated_pmu_clear_stale(regs);
		return;
	}

	if (state != X86_GUEST_PMU_GUEST)
		kvm_mediated_pmu_prove_held(vcpu, 0);

	kvm_mediated_pmu_save_controls(vcpu);

	/* If perf wants some of the counters, then it writes all of these. */
	kvm_mediated_pmu_save_regs(vcpu, regs, state != X86_GUEST_PMU_GUEST);

	if (state == X86_GUEST_PMU_PARKED)
		kvm_mediated_pmu_prove_off(vcpu, true);
}

static __always_inline void put(struct kvm_vcpu *vcpu)
{
	struct x86_guest_pmu *guest = x86_guest_pmu();

	lockdep_assert_irqs_disabled();

	if (kvm_mediated_pmu_vmcb(vcpu)) {
		kvm_pmu_call(vpmc_put)(vcpu);
	} else if (guest->state == X86_GUEST_PMU_GUEST) {
		kvm_pmu_call(mediated_stop)(vcpu);
		if (!x86_guest_pmu_park(guest))
			x86_guest_pmu_put(X86_GUEST_PMU_PARKED, kvm_mediated_pmu_evicted);
	}

	kvm_mediated_pmu_prove_eviction(vcpu, false);
}

void __kvm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	put(vcpu);
}

/* VM-exit of an armed vCPU: the inner loop goes on, or the guest gives the PMU back. */
fastpath_t __kvm_mediated_pmu_exit(struct kvm_vcpu *vcpu, fastpath_t fastpath)
{
	if (fastpath == EXIT_FASTPATH_NONE &&
	    !(vcpu_to_pmu(vcpu)->mediated->direct & KVM_MEDIATED_PMU_RDPMC))
		fastpath = kvm_mediated_pmu_fastpath_read(vcpu);

	if (fastpath != EXIT_FASTPATH_REENTER_GUEST)
		put(vcpu);

	return fastpath;
}

/* perf may be faster, on an interrupt; so may the scheduler. */
void __kvm_mediated_pmu_evict(struct kvm_vcpu *vcpu)
{
	guard(irqsave)();

	if (kvm_mediated_pmu_vmcb(vcpu))
		kvm_pmu_call(vpmc_evict)(vcpu);
	else if (kvm_mediated_pmu_is_here(vcpu))
		x86_guest_pmu_evict();
}

/*
 * The vCPU leaves this CPU.  From PARKED to STALE, from SHARED to SHARED_STALE: save the
 * values, but do not clean up behind it.
 */
void __kvm_mediated_pmu_leave(struct kvm_vcpu *vcpu)
{
	guard(irqsave)();

	if (!kvm_mediated_pmu_is_here(vcpu))
		return;

	kvm_mediated_pmu_prove_held(vcpu, 0);
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
