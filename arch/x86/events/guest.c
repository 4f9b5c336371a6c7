// SPDX-License-Identifier: GPL-2.0
/*
 * Hand-over of a CPU's core PMU between perf and a guest.
 *
 * perf's events stay scheduled in while a guest owns the PMU.  They keep their
 * place in the lists and their counter, and are merely stopped with their counts up
 * to date.  None of perf's context machinery runs and no lock is taken: all of it
 * runs with interrupts off on the CPU whose PMU changes hands, where nothing but an
 * NMI can look at the PMU.
 *
 * A CPU's PMU is in one of these states, all changes of which are made here:
 *
 * ======  ======================  ==============  ==============================
 * state   the registers hold      what counts     left by
 * ======  ======================  ==============  ==============================
 * HOST    values of perf's        perf's events   get: GUEST
 *         events
 * GUEST   the guest's values      the guest, in   put: PARKED if perf has no
 *                                 guest mode      events here, else SHARED or
 *                                                 HOST
 * PARKED  the guest's values      nothing         get of the same guest: GUEST;
 *                                                 put: STALE;
 *                                                 eviction: HOST
 * SHARED  the guest's values in   perf's events   get of the same guest: GUEST;
 *         the counters that       on their own    eviction: HOST
 *         perf does not use,      counters
 *         perf's in the others
 * STALE   a guest's values that   nothing: perf   get: GUEST;
 *         are saved already       has no events   eviction: HOST
 * ======  ======================  ==============  ==============================
 *
 * INIT is HOST before a guest has had the PMU for the first time, or after perf has
 * written registers that none of its events use: what is enabled in registers
 * without an event is not known.
 *
 * What get guarantees: no counter runs, which means that every selector is disabled
 * and that FIXED_CTR_CTRL and GLOBAL_CTRL are 0, except for the registers that still
 * hold the guest's own values; perf ignores NMIs.
 *
 * What put and evict expect of the hypervisor's callback: the registers that it is
 * asked for are saved, 0 and disabled, no status bit of the guest is set, and
 * FIXED_CTR_CTRL and GLOBAL_CTRL are 0.
 *
 * An eviction comes before
 *  - perf enables the PMU for an event, in x86_pmu_enable(), by which every way
 *    goes: an event that is installed or scheduled in, rotation, the switch of a
 *    cgroup, the watchdog, a CPU that comes online.  Only the NMI handler does not
 *    go by there.  It restarts events that are on counters already, or it finds that
 *    the PMU is a guest's and leaves it alone;
 *  - perf clears counters for a task that may use RDPMC, perf_clear_dirty_counters();
 *  - the hypervisor uses one of the values, or the vCPU leaves the CPU (it may put
 *    the PMU into state STALE instead).
 *
 * Whose an interrupt is that comes after its counter has changed hands is decided in
 * one place, the hypervisor's record of PMIs: perf_guest_handle_mediated_pmi().
 */
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/perf_event.h>
#include <linux/perf_guest.h>

#include <asm/apic.h>
#include <asm/intel_pt.h>
#include <asm/irq_vectors.h>
#include <asm/msr.h>
#include <asm/perf_guest.h>

#include "perf_event.h"

/* How long to wait for the NMI of an overflow that is seen already, in us. */
#define X86_GUEST_PMU_NMI_WAIT	50

/*
 * Can the core PMU be handed to guests?  The overflow status has to be among what
 * can be saved and restored, i.e. there has to be a register to set its bits.
 * Guests cannot be told of the two kinds of cores of a hybrid CPU.
 */
bool __init x86_guest_pmu_capable(void)
{
	switch (boot_cpu_data.x86_vendor) {
	case X86_VENDOR_INTEL:
		/*
		 * Microcode uses counter 3 for transactions, unless perf has one
		 * of its own events there, and has them all abort meanwhile.
		 */
		if (x86_pmu.flags & PMU_FL_TFA && !boot_cpu_has(X86_FEATURE_RTM_ALWAYS_ABORT))
			return false;

		return x86_pmu.version >= 4 && !is_hybrid();
	case X86_VENDOR_AMD:
	case X86_VENDOR_HYGON:
		return x86_pmu.version >= 2;
	default:
		return false;
	}
}

static bool is_intel(void)
{
	return boot_cpu_data.x86_vendor == X86_VENDOR_INTEL;
}

static struct x86_guest_pmu *this_guest_pmu(void)
{
	return this_cpu_ptr(&cpu_hw_events.guest);
}

/* The transitions of the table above, plus those of a CPU that goes or comes. */
static const u8 x86_guest_pmu_next[] = {
#define TO(state)	BIT(X86_GUEST_PMU_##state)
	[X86_GUEST_PMU_INIT]	= TO(GUEST),
	[X86_GUEST_PMU_HOST]	= TO(GUEST) | TO(INIT),
	[X86_GUEST_PMU_GUEST]	= TO(PARKED) | TO(SHARED) | TO(HOST),
	[X86_GUEST_PMU_PARKED]	= TO(GUEST) | TO(STALE) | TO(HOST),
	[X86_GUEST_PMU_SHARED]	= TO(GUEST) | TO(HOST),
	[X86_GUEST_PMU_STALE]	= TO(GUEST) | TO(HOST),
#undef TO
};

/* The one place where the state changes.  NMIs look at it. */
static void x86_guest_pmu_set(struct x86_guest_pmu *guest, enum x86_guest_pmu_state to,
			      u64 regs, x86_guest_pmu_evict_t evict)
{
	lockdep_assert_irqs_disabled();

	if (IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU)) {
		WARN_ONCE(!(x86_guest_pmu_next[guest->state] & BIT(to)),
			  "guest PMU: state %d after %d", to, guest->state);
		WARN_ON_ONCE(!regs != (to == X86_GUEST_PMU_HOST || to == X86_GUEST_PMU_INIT));
	}

	guest->regs = regs;
	guest->evict = evict;
	barrier();
	WRITE_ONCE(guest->state, to);
	barrier();
}

/* Does a guest own all registers and LVTPC?  Then NMIs are not perf's to handle. */
static bool x86_guest_pmu_owns(void)
{
	enum x86_guest_pmu_state state = __this_cpu_read(cpu_hw_events.guest.state);

	return state == X86_GUEST_PMU_GUEST || state == X86_GUEST_PMU_PARKED;
}

/* Called in NMI context, and with interrupts off. */
bool x86_guest_pmu_nmi(void)
{
	return x86_guest_pmu_owns();
}

/*
 * Can the guest's values stay if perf, which has no event, enables the PMU?  They
 * cannot in state SHARED: some of the counters were those of events that are gone.
 */
bool x86_guest_pmu_stays(void)
{
	return x86_guest_pmu_owns() ||
	       __this_cpu_read(cpu_hw_events.guest.state) == X86_GUEST_PMU_STALE;
}

/* This CPU's PMU may have anything enabled from now on; no guest has it. */
void x86_guest_pmu_forget(void)
{
	struct x86_guest_pmu *guest = this_guest_pmu();

	guard(irqsave)();

	if (guest->state == X86_GUEST_PMU_HOST)
		x86_guest_pmu_set(guest, X86_GUEST_PMU_INIT, 0, NULL);
	WARN_ON_ONCE(guest->state != X86_GUEST_PMU_INIT);
}

/*
 * This CPU comes online or goes offline.  What a guest had here is gone: the
 * hypervisor has disabled virtualization on the CPU before.
 */
void x86_guest_pmu_reset(void)
{
	x86_guest_pmu_evict();
	x86_guest_pmu_forget();
}

/**
 * x86_guest_pmu - the state of this CPU's PMU
 *
 * Context: The answer holds as long as neither interrupts nor preemption come in
 *	    between.
 * Return: A structure that only perf may change.
 */
const struct x86_guest_pmu *x86_guest_pmu(void)
{
	return raw_cpu_ptr(&cpu_hw_events.guest);
}
EXPORT_SYMBOL_GPL(x86_guest_pmu);

static u64 x86_guest_pmu_status(void)
{
	u64 status;

	rdmsrl(is_intel() ? MSR_CORE_PERF_GLOBAL_STATUS :
			    MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, status);
	return status;
}

static u64 x86_guest_pmu_counters(void)
{
	return x86_pmu.cntr_mask64 | x86_pmu.fixed_cntr_mask64 << INTEL_PMC_IDX_FIXED;
}

/*
 * PERF_HES_ARCH marks those events that are to stay stopped, e.g. because they were
 * throttled, as it does in x86_pmu_enable().  These are brought up to date as well,
 * as the guest will overwrite their counters.  Returns GLOBAL_STATUS.
 */
static u64 x86_guest_pmu_stop_events(struct cpu_hw_events *cpuc)
{
	int i, us;
	u64 status;

	perf_pmu_disable(x86_get_pmu(smp_processor_id()));
	status = x86_guest_pmu_status();

	/*
	 * The NMI of an overflow may come late.  Once its event is stopped there would
	 * be no sample for it, so wait for it here, as AMD's perf does when it disables
	 * the PMU; the handler clears the status bits.  In the unlikely case that it
	 * does not come, have another one do its work.
	 */
	for (us = 0; is_intel() && us < 2 * X86_GUEST_PMU_NMI_WAIT; us++) {
		if (likely(!(status & x86_guest_pmu_counters())))
			break;
		if (us == X86_GUEST_PMU_NMI_WAIT)
			__apic_send_IPI(smp_processor_id(), NMI_VECTOR);
		udelay(1);
		status = x86_guest_pmu_status();
	}

	for (i = 0; i < cpuc->n_events; i++) {
		struct perf_event *event = cpuc->event_list[i];

		if (event->hw.state & PERF_HES_STOPPED)
			event->hw.state |= PERF_HES_ARCH;

		event->pmu->stop(event, PERF_EF_UPDATE);
	}

	return status;
}

static void x86_guest_pmu_start_events(struct cpu_hw_events *cpuc)
{
	int i;

	for (i = 0; i < cpuc->n_events; i++) {
		struct perf_event *event = cpuc->event_list[i];

		/*
		 * An event that stays stopped may be started without a reload
		 * later, so its counter has to be right from now on.
		 */
		if (event->hw.state & PERF_HES_ARCH)
			static_call(x86_pmu_set_period)(event);
		else
			event->pmu->start(event, PERF_EF_RELOAD);
	}

	perf_pmu_enable(x86_get_pmu(smp_processor_id()));
}

/*
 * perf keeps track of the controls that it has written itself.  Firmware or a
 * previous kernel may have left something enabled in the others, where a guest's
 * GLOBAL_CTRL would make it count.
 */
static void x86_guest_pmu_zero_controls(struct cpu_hw_events *cpuc, bool global_is_zero)
{
	bool init = cpuc->guest.state == X86_GUEST_PMU_INIT;
	int i;

	if (!global_is_zero)
		wrmsrl(is_intel() ? MSR_CORE_PERF_GLOBAL_CTRL :
				    MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);

	/*
	 * Stopping an event on a fixed counter leaves it enabled in the register
	 * until the PMU is enabled again, which it is not for a guest.
	 */
	if (is_intel() && (init || cpuc->active_fixed_ctrl_val)) {
		wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, 0);
		cpuc->active_fixed_ctrl_val = 0;
	}

	if (!init)
		return;

	for_each_set_bit(i, x86_pmu.cntr_mask, X86_PMC_IDX_MAX)
		wrmsrl(x86_pmu_config_addr(i), 0);
}

/* The registers of perf's events; all if one of them needs more than counters. */
static u64 x86_guest_pmu_wanted_by_host(struct cpu_hw_events *cpuc)
{
	u64 wanted = 0;
	int i;

	for (i = 0; i < cpuc->n_events; i++) {
		/*
		 * PEBS has more registers than these, and its buffer is the host's.  As
		 * the events are stopped, cpuc->pebs_enabled does not tell.  With the
		 * counter of slots go the metrics.
		 */
		if (cpuc->event_list[i]->attr.precise_ip ||
		    cpuc->assign[i] >= INTEL_PMC_IDX_FIXED_SLOTS)
			return X86_GUEST_PMU_ALL;

		wanted |= x86_pmu_event_counters(&cpuc->event_list[i]->hw, cpuc->assign[i]);
	}

	return wanted;
}

static noinline void x86_guest_pmu_take(u64 regs, struct x86_guest_pmu_grant *grant)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	enum x86_guest_pmu_state from = cpuc->guest.state;
	struct x86_guest_pmu *guest = &cpuc->guest;
	bool global_is_zero;

	grant->missing = from == X86_GUEST_PMU_SHARED ? regs & ~guest->regs : regs;

	/*
	 * A PMU without events may be enabled still.  Tell perf that it is not, so that
	 * it is enabled again when there is something to count.  GLOBAL_CTRL is 0 if
	 * perf has stopped its events just now, or has not enabled anything since a
	 * guest was here.
	 */
	if (cpuc->n_events) {
		global_is_zero = cpuc->enabled || from != X86_GUEST_PMU_INIT;
		grant->status = x86_guest_pmu_stop_events(cpuc);
		perf_guest_clock_stop();
	} else {
		global_is_zero = !cpuc->enabled && from != X86_GUEST_PMU_INIT;
		cpuc->enabled = 0;
		grant->status = x86_guest_pmu_status();
	}
	x86_guest_pmu_zero_controls(cpuc, global_is_zero);

	/* Not before perf's events are stopped: NMIs enable what is not in the mask. */
	if (from == X86_GUEST_PMU_SHARED)
		cpuc->intel_ctrl_guest_mask &= ~guest->regs;

	grant->exclusive = !is_intel() ||
			   !(intel_pt_is_active() || intel_bts_is_active());

	x86_guest_pmu_set(guest, X86_GUEST_PMU_GUEST, regs, NULL);
}

/**
 * x86_guest_pmu_get - hand this CPU's core PMU to a guest
 * @regs: the registers that the guest is to have, see X86_GUEST_PMU_METRICS
 * @grant: tells what the caller has to do with them
 *
 * In states PARKED and SHARED this must be the guest that they are about.  See the
 * opening comment for what is guaranteed.  LVTPC stays perf's until
 * x86_guest_pmu_set_lvtpc().  There must be a reservation, see perf_guest_reserve().
 *
 * Context: Interrupts off until x86_guest_pmu_put().
 * Return: The state until now.  If that was PARKED then @grant is not filled in, and
 *	   the caller has nothing to load.
 */
enum x86_guest_pmu_state x86_guest_pmu_get(u64 regs, struct x86_guest_pmu_grant *grant)
{
	struct x86_guest_pmu *guest = this_guest_pmu();
	enum x86_guest_pmu_state from = guest->state;

	lockdep_assert_irqs_disabled();

	if (likely(from == X86_GUEST_PMU_PARKED))
		x86_guest_pmu_set(guest, X86_GUEST_PMU_GUEST, regs, guest->evict);
	else if (!WARN_ON_ONCE(from == X86_GUEST_PMU_GUEST))
		x86_guest_pmu_take(regs, grant);

	return from;
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_get);

/**
 * x86_guest_pmu_set_lvtpc - follow the guest's virtual LVTPC
 * @lvtpc: only the mask bit is used
 *
 * Context: Interrupts off, in state GUEST.
 */
void x86_guest_pmu_set_lvtpc(u32 lvtpc)
{
	apic_write(APIC_LVTPC, PERF_GUEST_MEDIATED_PMI_VECTOR |
			       APIC_DM_FIXED | (lvtpc & APIC_LVT_MASKED));
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_set_lvtpc);

/* The guest's values are out of the registers, or out of those that perf wants. */
static void x86_guest_pmu_give_back(enum x86_guest_pmu_state to, u64 regs,
				    x86_guest_pmu_evict_t evict)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	enum x86_guest_pmu_state from = cpuc->guest.state;

	if (from == X86_GUEST_PMU_SHARED)
		cpuc->intel_ctrl_guest_mask &= ~cpuc->guest.regs;
	/* Keep perf from enabling those that are the guest's.  AMD has no such mask. */
	if (to == X86_GUEST_PMU_SHARED)
		cpuc->intel_ctrl_guest_mask |= regs;

	x86_guest_pmu_set(&cpuc->guest, to, regs, evict);

	if (from == X86_GUEST_PMU_GUEST || from == X86_GUEST_PMU_PARKED)
		apic_write(APIC_LVTPC, APIC_DM_NMI);

	/* Only get has stopped events; one that perf adds meanwhile is not on a counter. */
	if (from == X86_GUEST_PMU_GUEST && cpuc->n_events) {
		perf_guest_clock_start();
		x86_guest_pmu_start_events(cpuc);
	}
}

/* From GUEST, and perf has events, or from PARKED to STALE. */
static noinline void x86_guest_pmu_put_slow(enum x86_guest_pmu_state to,
					    x86_guest_pmu_evict_t evict)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	u64 regs = cpuc->guest.regs, wanted;

	if (to == X86_GUEST_PMU_STALE) {
		x86_guest_pmu_give_back(to, regs, evict);
		/* User space may read counters now: perf evicts only before it may. */
		if (cr4_read_shadow() & X86_CR4_PCE)
			x86_guest_pmu_evict();
		return;
	}

	wanted = x86_guest_pmu_wanted_by_host(cpuc) & regs;
	evict(wanted);
	regs &= ~wanted;
	if (regs)
		x86_guest_pmu_give_back(X86_GUEST_PMU_SHARED, regs, evict);
	else
		x86_guest_pmu_give_back(X86_GUEST_PMU_HOST, 0, NULL);
}

/**
 * x86_guest_pmu_put - the guest leaves guest mode, or its vCPU leaves the CPU
 * @to: X86_GUEST_PMU_PARKED, from state GUEST: leave as much as possible in the
 *	registers, for a VM-entry of the same guest that will follow soon.  Nothing
 *	may count.  The result is PARKED if perf has no events here, else SHARED or
 *	HOST, and then @evict has been called for the registers that perf wants.
 *	X86_GUEST_PMU_STALE, from state PARKED: all values are saved, and what is left
 *	of them may stay.
 * @evict: is called later if somebody else needs the registers
 *
 * Context: Interrupts off, since x86_guest_pmu_get() for PARKED.
 */
void x86_guest_pmu_put(enum x86_guest_pmu_state to, x86_guest_pmu_evict_t evict)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);

	lockdep_assert_irqs_disabled();

	if (likely(to == X86_GUEST_PMU_PARKED && !cpuc->n_events))
		x86_guest_pmu_set(&cpuc->guest, to, cpuc->guest.regs, evict);
	else
		x86_guest_pmu_put_slow(to, evict);
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_put);

/**
 * x86_guest_pmu_evict - have the values of a guest out of this CPU's registers
 *
 * Does nothing in state HOST, which is the result.  Not to be called in state GUEST,
 * nor by NMIs.
 *
 * Context: Interrupts off.
 */
void x86_guest_pmu_evict(void)
{
	struct x86_guest_pmu *guest = this_guest_pmu();

	if (likely(!guest->regs))
		return;

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(guest->state == X86_GUEST_PMU_GUEST))
		return;

	guest->evict(guest->regs);
	x86_guest_pmu_give_back(X86_GUEST_PMU_HOST, 0, NULL);
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_evict);
