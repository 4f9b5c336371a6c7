// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU: where the value of a register is, and how it is moved.
 *
 * A counter's value is in hardware, in the VMCB or in pmc->counter, nowhere else and never
 * in two of them as far as anybody may rely on it: kvm_mediated_pmu_holds() and
 * kvm_mediated_pmu_vmcb() tell which.  If the guest
 * does not make use of a counter, i.e. has only written to it, then it is in pmc->counter,
 * and hardware has a copy for RDPMC.  What the
 * guest wrote to an event selector or to FIXED_CTR_CTRL, and reads from it, is always
 * in pmc->eventsel and pmu->fixed_ctr_ctrl; hardware gets what setup.c makes of it.
 * GLOBAL_CTRL is in pmu->global_ctrl except in guest mode and, until
 * kvm_mediated_pmu_sync(), in state GUEST.  GLOBAL_STATUS is in hardware in states GUEST
 * and PARKED.  In state SHARED it is in pmu->global_status, to which new bits are taken by
 * kvm_pmi_take_status().
 *
 * PERF_METRICS goes with fixed counter 3, of slots.  It counts only while that does, so
 * what the event filter says of one holds for both.  It is read before that counter and
 * written after it, because the counter says how many slots the metrics stand for.
 */
#include <asm/svm.h>

#include "x86.h"
#include "mediated/internal.h"

/* The bits of GLOBAL_STATUS that a guest's counters can set. */
u64 __read_mostly kvm_mediated_pmu_status_bits;
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_status_bits);

struct kvm_mediated_pmu_stale __percpu *kvm_mediated_pmu_stale;

/* Which registers have the value that the guest wrote in struct kvm_pmu at any time? */
bool kvm_mediated_pmu_is_control(u32 msr)
{
	if (in_range(msr, MSR_P6_EVNTSEL0, KVM_MAX_NR_INTEL_GP_COUNTERS) ||
	    in_range(msr, MSR_K7_EVNTSEL0, AMD64_NUM_COUNTERS))
		return true;

	/* Selectors and counters by turns. */
	if (in_range(msr, MSR_F15H_PERF_CTL, 2 * KVM_MAX_NR_AMD_GP_COUNTERS))
		return !((msr - MSR_F15H_PERF_CTL) & 1);

	return msr == MSR_ARCH_PERFMON_FIXED_CTR_CTRL ||
	       msr == MSR_CORE_PERF_GLOBAL_CTRL;
}

/* Which registers have the guest's GLOBAL_STATUS, or change it? */
bool kvm_mediated_pmu_is_status(u32 msr)
{
	switch (msr) {
	case MSR_CORE_PERF_GLOBAL_STATUS:
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL:
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS:
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR:
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET:
		return true;
	default:
		return false;
	}
}

/*
 * Is the value of @pmc in this CPU's hardware or in the VMCB, and only there?  The vCPU is
 * the one that runs here, or its values are in memory.
 */
bool kvm_mediated_pmu_holds(struct kvm_pmc *pmc)
{
	const struct x86_guest_pmu *guest = x86_guest_pmu();

	if (kvm_mediated_pmu_vmcb(pmc->vcpu))
		return true;

	return guest->state < X86_GUEST_PMU_STALE && kvm_get_running_vcpu() == pmc->vcpu &&
	       guest->regs & pmc_to_pmu(pmc)->mediated->wants.used & BIT_ULL(pmc->idx);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_holds);

/* The guest or user space has written to @pmc, whose value is in memory. */
void __kvm_mediated_pmu_written(struct kvm_pmc *pmc)
{
	guard(irqsave)();

	if (kvm_mediated_pmu_is_here(pmc->vcpu) && x86_guest_pmu()->regs & BIT_ULL(pmc->idx))
		wrmsrl(counter_msr(pmc->idx), pmc->counter);
	else if (pmc->counter)
		kvm_mediated_pmu_wants(pmc->vcpu, BIT_ULL(pmc->idx));
}

/* In states PARKED and SHARED, does an access to @msr need what is in hardware? */
static bool access_needs_eviction(struct kvm_vcpu *vcpu, u32 msr)
{
	struct kvm_pmc *pmc = kvm_pmu_call(msr_idx_to_pmc)(vcpu, msr);

	if (pmc)
		return kvm_mediated_pmu_holds(pmc);

	if (x86_guest_pmu()->state != X86_GUEST_PMU_SHARED)
		return true;

	if (kvm_mediated_pmu_is_status(msr))
		kvm_pmi_take_status(vcpu);
	else if (msr != MSR_AMD64_PERF_CNTR_GLOBAL_CTL)
		return true;

	return false;
}

void __kvm_mediated_pmu_evict_for_msr(struct kvm_vcpu *vcpu, u32 msr)
{
	guard(irqsave)();

	if (kvm_mediated_pmu_vmcb(vcpu))
		kvm_pmu_call(vpmc_evict)(vcpu);
	else if (kvm_mediated_pmu_is_here(vcpu) && access_needs_eviction(vcpu, msr))
		x86_guest_pmu_evict();
}

/* The value without moving it.  Called with interrupts off, or in NMI context. */
u64 kvm_mediated_pmu_peek(struct kvm_pmc *pmc)
{
	struct vmcb_save_area *vmcb = kvm_mediated_pmu_vmcb(pmc->vcpu);
	u64 counter = READ_ONCE(pmc->counter);

	if (vmcb)
		counter = READ_ONCE(vmcb->pmc[pmc->idx].ctr);
	else if (kvm_mediated_pmu_holds(pmc))
		rdpmcl(counter_rdpmc_index(pmc->idx), counter);

	return counter;
}

/* For RDPMC where it exits: the value stays where it is. */
u64 kvm_mediated_pmu_read_counter(struct kvm_pmc *pmc)
{
	guard(irqsave)();

	return kvm_mediated_pmu_peek(pmc) & pmc_bitmask(pmc);
}

/* Whatever CPUID says to the guest, a counter is as wide as the host's. */
static u64 pmc_hw_bitmask(struct kvm_pmc *pmc)
{
	int width = pmc_is_fixed(pmc) ? kvm_host_pmu.bit_width_fixed :
					kvm_host_pmu.bit_width_gp;

	return BIT_ULL(width) - 1;
}

/* Have pmu->global_ctrl valid.  Called with interrupts off. */
void kvm_mediated_pmu_sync(struct kvm_vcpu *vcpu)
{
	enum x86_guest_pmu_state state = x86_guest_pmu()->state;

	if (kvm_mediated_pmu_is_armed(vcpu) &&
	    (state == X86_GUEST_PMU_GUEST || state == X86_GUEST_PMU_PARKED ||
	     kvm_mediated_pmu_vmcb(vcpu)))
		kvm_pmu_call(mediated_sync)(vcpu);
}

/*
 * Count one event that KVM emulated, where the value is.  Nothing counts by itself
 * in either place.  Called with interrupts off.
 */
void kvm_mediated_pmu_incr_counter(struct kvm_pmc *pmc)
{
	struct vmcb_save_area *vmcb = kvm_mediated_pmu_vmcb(pmc->vcpu);
	u64 counter = kvm_mediated_pmu_peek(pmc);

	lockdep_assert_irqs_disabled();

	counter = (counter + 1) & pmc_hw_bitmask(pmc);

	if (vmcb) {
		vmcb->pmc[pmc->idx].ctr = counter;
		kvm_pmu_call(vpmc_changed)(pmc->vcpu);
	} else if (kvm_mediated_pmu_holds(pmc)) {
		wrmsrl(counter_msr(pmc->idx), counter);
	} else {
		pmc->counter = counter;
	}

	if (!counter)
		kvm_pmi_set_status(pmc->vcpu, BIT_ULL(pmc->idx));
}

/*
 * The instruction that is being emulated has written to a control of @pmc.  Did @pmc count
 * before, at this CPL?  As hardware does, it counts the instruction that disables it, not
 * the one that enables it.
 */
bool kvm_mediated_pmu_was_counting(struct kvm_pmc *pmc)
{
	struct kvm_mediated_pmu *mediated = pmc_to_pmu(pmc)->mediated;
	bool os, usr;

	if (!(mediated->wants.enabled & BIT_ULL(pmc->idx)))
		return false;

	if (pmc_is_fixed(pmc)) {
		u8 ctrl = fixed_ctrl_field(mediated->fixed_ctr_ctrl,
					   pmc->idx - KVM_FIXED_PMC_BASE_IDX);

		os = ctrl & INTEL_FIXED_0_KERNEL;
		usr = ctrl & INTEL_FIXED_0_USER;
	} else {
		os = mediated->selector[pmc->idx] & ARCH_PERFMON_EVENTSEL_OS;
		usr = mediated->selector[pmc->idx] & ARCH_PERFMON_EVENTSEL_USR;
	}

	return kvm_x86_call(get_cpl)(pmc->vcpu) ? usr : os;
}

/*
 * The guest may have changed its event selectors in the VMCB: have them in struct kvm_pmu, as
 * if it had exited with each write.  Called outside guest mode.
 */
void kvm_mediated_pmu_sync_selectors(struct kvm_vcpu *vcpu)
{
	struct vmcb_save_area *vmcb = vcpu_to_pmu(vcpu)->mediated->vmcb;
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_pmc *pmc = pmu->gp_counters;
	int i;

	for (i = 0; i < pmu->nr_arch_gp_counters; i++, pmc++) {
		if (likely(vmcb->pmc[i].ctl == pmc->eventsel))
			continue;

		pmc->eventsel = vmcb->pmc[i].ctl & ~pmu->reserved_bits;
		kvm_mediated_pmu_reprogram(pmc, true);
	}
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_sync_selectors);

/* Selectors that have changed, to the VMCB: the guest's own if it can read them there. */
static void write_vmcb(struct kvm_vcpu *vcpu, struct vmcb_save_area *vmcb)
{
	bool direct = kvm_mediated_pmu_selectors_are_direct(vcpu);
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_mediated_pmu *mediated = pmu->mediated;
	u64 changed = mediated->changed & mediated->has;
	int i;

	for_each_counter(i, changed)
		vmcb->pmc[i].ctl = direct ? counter_pmc(pmu, i)->eventsel :
					    mediated->selector[i];

	mediated->changed &= ~changed;
	kvm_pmu_call(vpmc_changed)(vcpu);
}

static void write_controls(struct kvm_mediated_pmu *mediated)
{
	const struct x86_guest_pmu *guest = x86_guest_pmu();
	u64 changed = mediated->changed & guest->regs;
	int i;

	for_each_counter(i, changed) {
		if (mediated->loaded_selector[i] == mediated->selector[i])
			continue;

		mediated->loaded_selector[i] = mediated->selector[i];
		wrmsrl(selector_msr(i), mediated->selector[i]);
	}
	mediated->changed &= ~changed;

	if (mediated->fixed_ctr_ctrl == mediated->loaded_fixed_ctr_ctrl)
		return;

	if (guest->state == X86_GUEST_PMU_SHARED)
		x86_guest_pmu_set_ctrl(mediated->fixed_ctr_ctrl);
	else
		wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, mediated->fixed_ctr_ctrl);
	mediated->loaded_fixed_ctr_ctrl = mediated->fixed_ctr_ctrl;
}

/* What hardware is to get has changed, or may have: write the difference. */
void kvm_mediated_pmu_write_controls(struct kvm_vcpu *vcpu)
{
	struct vmcb_save_area *vmcb = kvm_mediated_pmu_vmcb(vcpu);

	if (vmcb) {
		write_vmcb(vcpu, vmcb);
		return;
	}

	kvm_pmi_controls_change(vcpu);
	write_controls(vcpu_to_pmu(vcpu)->mediated);
}

/*
 * Load @regs, which do not hold the vCPU's values.  Those of @same hold what
 * kvm_mediated_pmu_stale tells of, and only differences are written.  Selectors that
 * the guest does not use need no write: perf leaves none enabled, and the guest cannot
 * read them.
 */
void kvm_mediated_pmu_write_regs(struct kvm_vcpu *vcpu, u64 regs, u64 same)
{
	struct kvm_mediated_pmu_stale *stale = this_cpu_ptr(kvm_mediated_pmu_stale);
	u64 counters = regs & ~X86_GUEST_PMU_METRICS;
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_pmc *pmc;
	int i;

	for_each_counter(i, counters) {
		pmc = counter_pmc(pmu, i);
		if (!(same & BIT_ULL(i)) || pmc->counter != stale->counter[counter_slot(i)])
			wrmsrl(counter_msr(i), pmc->counter);
	}

	if (regs & X86_GUEST_PMU_METRICS)
		wrmsrl(MSR_PERF_METRICS, pmu->mediated->metrics);

	write_controls(pmu->mediated);
}

/* To state GUEST: load the status where it was @found, and leave bits of others alone. */
void kvm_mediated_pmu_load_status(struct kvm_vcpu *vcpu, u64 found)
{
	u64 want = vcpu_to_pmu(vcpu)->global_status & kvm_mediated_pmu_status_bits;

	found &= kvm_mediated_pmu_status_bits;
	if (found & ~want)
		wrmsrl(kvm_pmu_ops.GLOBAL_STATUS_CLR, found & ~want);
	/* LVTPC is perf's, and not masked: an interrupt that is late would be lost. */
	if (want & ~found)
		kvm_pmi_write_status(vcpu, want & ~found);
}

/*
 * Save GLOBAL_CTRL and the status, of which the guest sees only what it has, and clear
 * them, except for bits of others.
 */
static u64 save_status(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	u64 found, status;

	/* Bit 48 of GLOBAL_CTRL may be enough to have them count. */
	if (kvm_host_pmu.num_metrics && kvm_mediated_pmu_global_is_direct(vcpu) &&
	    !(x86_guest_pmu()->regs & X86_GUEST_PMU_METRICS))
		wrmsrl(MSR_PERF_METRICS, 0);

	kvm_pmu_call(mediated_put)(vcpu);

	rdmsrl(kvm_pmu_ops.GLOBAL_STATUS, found);
	status = found & kvm_mediated_pmu_status_bits;
	/* Some are of others.  On AMD that is the one of LBRs, and one freezes counters. */
	if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL)
		found = status;
	else
		found &= ~GLOBAL_STATUS_LBRS_FROZEN;
	if (found)
		wrmsrl(kvm_pmu_ops.GLOBAL_STATUS_CLR, found);

	pmu->global_status = kvm_pmu_has_perf_global_ctrl(pmu) ?
			     status & ~pmu->global_status_rsvd : 0;
	return status;
}

/*
 * Save the status, and stop all counters that are not stopped by their selectors.  In
 * state SHARED that is Intel's fixed counters.
 */
void kvm_mediated_pmu_save_controls(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;

	if (x86_guest_pmu()->state == X86_GUEST_PMU_SHARED) {
		kvm_pmi_leave_shared(vcpu);
		if (mediated->loaded_fixed_ctr_ctrl)
			x86_guest_pmu_set_ctrl(0);
	} else {
		kvm_pmi_saved(vcpu, save_status(vcpu));
		if (mediated->loaded_fixed_ctr_ctrl)
			wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, 0);
	}
	mediated->loaded_fixed_ctr_ctrl = 0;
}

/* Have the values of @regs in memory.  What the guest does not make use of is there. */
static void read_regs(struct kvm_vcpu *vcpu, u64 regs)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	u64 used = regs & mediated->wants.used;
	u64 counters = used & ~X86_GUEST_PMU_METRICS;
	int i;

	if (used & X86_GUEST_PMU_METRICS)
		rdpmcl(INTEL_PMC_FIXED_RDPMC_METRICS, mediated->metrics);

	for_each_counter(i, counters)
		rdpmcl(counter_rdpmc_index(i), counter_pmc(vcpu_to_pmu(vcpu), i)->counter);
}

/* Save @regs and disable them; with @clear, leave no value behind either. */
void kvm_mediated_pmu_save_regs(struct kvm_vcpu *vcpu, u64 regs, bool clear)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	u64 counters = regs & ~X86_GUEST_PMU_METRICS;
	u64 selectors = counters & (BIT_ULL(INTEL_PMC_IDX_FIXED) - 1);
	int i;

	for_each_counter(i, selectors) {
		if (!mediated->loaded_selector[i])
			continue;

		wrmsrl(selector_msr(i), 0);
		mediated->loaded_selector[i] = 0;
		mediated->changed |= BIT_ULL(i);
	}

	read_regs(vcpu, regs);
	if (!clear)
		return;

	for_each_counter(i, counters) {
		if (counter_pmc(vcpu_to_pmu(vcpu), i)->counter)
			wrmsrl(counter_msr(i), 0);
	}

	if (regs & X86_GUEST_PMU_METRICS && mediated->metrics)
		wrmsrl(MSR_PERF_METRICS, 0);
}

/*
 * From PARKED to STALE, or from SHARED to SHARED_STALE: save all values, for the vCPU may
 * go to another CPU.
 */
void kvm_mediated_pmu_make_stale(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu_stale *stale = this_cpu_ptr(kvm_mediated_pmu_stale);
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	u64 regs = x86_guest_pmu()->regs, counters = regs & ~X86_GUEST_PMU_METRICS;
	int i;

	if (x86_guest_pmu()->state == X86_GUEST_PMU_SHARED)
		kvm_pmi_leave_shared(vcpu);
	else
		kvm_pmi_saved(vcpu, save_status(vcpu));

	read_regs(vcpu, regs);

	for_each_counter(i, counters)
		stale->counter[counter_slot(i)] = counter_pmc(vcpu_to_pmu(vcpu), i)->counter;

	memcpy(stale->selector, mediated->loaded_selector, sizeof(stale->selector));
	memset(mediated->loaded_selector, 0, sizeof(mediated->loaded_selector));
	mediated->changed |= counters & (BIT_ULL(INTEL_PMC_IDX_FIXED) - 1);
	stale->fixed_ctr_ctrl = mediated->loaded_fixed_ctr_ctrl;
	mediated->loaded_fixed_ctr_ctrl = 0;

	stale->regs = regs;
	stale->selectors = mediated->wants.used & counters & (BIT_ULL(INTEL_PMC_IDX_FIXED) - 1);
	WRITE_ONCE(stale->kvm, vcpu->kvm);
}

static void clear_stale(struct kvm_mediated_pmu_stale *stale, u64 regs)
{
	u64 counters = regs & ~X86_GUEST_PMU_METRICS;
	int i;

	for_each_counter(i, counters) {
		if (stale->selectors & BIT_ULL(i))
			wrmsrl(selector_msr(i), 0);
		wrmsrl(counter_msr(i), 0);
	}

	if (regs & X86_GUEST_PMU_METRICS)
		wrmsrl(MSR_PERF_METRICS, 0);

	stale->regs &= ~regs;
	stale->selectors &= ~regs;
}

/*
 * From STALE or SHARED_STALE to GUEST or SHARED.  If the values are those of another VM then
 * all of them are overwritten, whatever they are.  Returns the registers whose values may
 * stay.
 */
u64 kvm_mediated_pmu_take_stale(struct kvm_vcpu *vcpu, enum x86_guest_pmu_state from)
{
	struct kvm_mediated_pmu_stale *stale = this_cpu_ptr(kvm_mediated_pmu_stale);
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	bool shared = x86_guest_pmu()->state == X86_GUEST_PMU_SHARED;
	u64 regs = x86_guest_pmu()->regs;
	u64 selectors = regs & stale->selectors;
	bool same = stale->kvm == vcpu->kvm;
	int i;

	WRITE_ONCE(stale->kvm, NULL);

	mediated->changed |= selectors;
	for_each_counter(i, selectors)
		mediated->loaded_selector[i] = same ? stale->selector[i] : ~mediated->selector[i];

	/* From SHARED_STALE to GUEST, FIXED_CTR_CTRL has been cleared. */
	if (stale->regs >> INTEL_PMC_IDX_FIXED && (shared || from == X86_GUEST_PMU_STALE)) {
		if (shared && !same)
			x86_guest_pmu_set_ctrl(0);
		if (shared)
			mediated->loaded_fixed_ctr_ctrl = x86_guest_pmu()->ctrl;
		else
			mediated->loaded_fixed_ctr_ctrl = same ? stale->fixed_ctr_ctrl :
							  ~mediated->fixed_ctr_ctrl;
	}

	clear_stale(stale, stale->regs & ~regs);

	return same ? stale->regs : 0;
}

/* In states STALE and SHARED_STALE: leave nothing in @regs. */
void kvm_mediated_pmu_clear_stale(u64 regs)
{
	struct kvm_mediated_pmu_stale *stale = this_cpu_ptr(kvm_mediated_pmu_stale);

	if (stale->regs >> INTEL_PMC_IDX_FIXED) {
		if (x86_guest_pmu()->state == X86_GUEST_PMU_SHARED_STALE)
			x86_guest_pmu_set_ctrl(x86_guest_pmu()->ctrl &
					       ~x86_guest_pmu_fixed_fields(regs));
		else
			wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, 0);
	}

	clear_stale(stale, regs);
	if (!stale->regs)
		WRITE_ONCE(stale->kvm, NULL);
}
