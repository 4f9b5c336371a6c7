// SPDX-License-Identifier: GPL-2.0
/*
 * Hand-over of a CPU's core PMU between perf and a guest.
 *
 * perf's events stay scheduled in while a guest owns the PMU: they keep their
 * place in the lists and their counter assignment, and are merely stopped with
 * their counts up to date.  Nothing of perf's context machinery has to run, and
 * no lock has to be taken, because all of it runs with interrupts off on the CPU
 * whose PMU changes hands, where nothing but an NMI can look at the PMU.
 *
 * What is true when a guest gets the PMU, x86_perf_guest_enter():
 *  - no counter runs: every selector is disabled, FIXED_CTR_CTRL and GLOBAL_CTRL
 *    are 0;
 *  - selectors hold whatever perf left in them, and so do counters, but for those
 *    that x86_perf_guest_not_zero() knows to be 0;
 *  - an overflow raises PERF_GUEST_MEDIATED_PMI_VECTOR, or nothing if the guest
 *    has masked its LVTPC; perf ignores NMIs.
 *
 * The guest's side says what overflow status it found: x86_perf_guest_found().
 *
 * What has to be true when it is given back, x86_perf_guest_exit():
 *  - no counter runs, every selector and FIXED_CTR_CTRL that the guest's values
 *    were loaded into is 0, so is GLOBAL_CTRL;
 *  - no overflow status bit of the guest is set.
 *
 * The hypervisor need not give all back.  If perf has no event on the CPU, then all
 * may stay as it is, x86_perf_guest_park().  If it has, then the counters that they
 * are not on may, x86_perf_guest_exit_beside(): they stand still, because perf
 * leaves their bits of GLOBAL_CTRL out, or because their selectors have GuestOnly.
 * In either case they are evicted before perf does anything new.
 *
 * An interrupt may be late.  If the overflow is seen when the PMU is given back,
 * then its interrupt is still to come, maybe as an NMI because LVTPC is perf's
 * by then.  It is known to be a guest's, who has been told already: whoever sees
 * it first claims it with x86_perf_guest_claim_pmi(), and that is all.
 *
 * The same goes for an overflow of perf's that is seen when a guest gets the
 * PMU.  Its count is right, but its NMI comes too late to find the event running.
 * That is rare: NMIs have to be blocked, e.g. because an SVM guest was last left
 * in its own NMI handler, or the PMU has to be slow.
 *
 * What has not come after a while never will: perf may have taken it for another
 * one's, and an NMI of some other source is not to be claimed.
 */
#include <linux/export.h>
#include <linux/jiffies.h>
#include <linux/perf_event.h>
#include <linux/perf_guest.h>

#include <asm/apic.h>
#include <asm/irq_vectors.h>
#include <asm/msr.h>
#include <asm/perf_guest.h>

#include "perf_event.h"

DEFINE_PER_CPU(bool, x86_perf_guest_owner);
DEFINE_PER_CPU(x86_perf_guest_evict_t, x86_perf_guest_parked);
EXPORT_PER_CPU_SYMBOL_GPL(x86_perf_guest_parked);
DEFINE_PER_CPU(int, x86_perf_guest_host_events);
EXPORT_PER_CPU_SYMBOL_GPL(x86_perf_guest_host_events);
/* Counters that perf has left to a guest while its own events run. */
static DEFINE_PER_CPU(u64, x86_perf_guest_beside);
static DEFINE_PER_CPU(bool, x86_perf_guest_no_strays);
/* Were there events of perf's to stop for the guest? */
static DEFINE_PER_CPU(bool, x86_perf_guest_stopped_events);

/*
 * Late interrupts: of a guest's overflow, and of one of perf's.  Those that meet
 * are one, so more than one latched and one in service cannot be on their way.
 */
enum { DUE_GUEST, DUE_PERF, NR_DUE };
#define MAX_DUE	2

struct x86_perf_guest_due {
	unsigned int	nr;
	unsigned long	until;
};

static DEFINE_PER_CPU(struct x86_perf_guest_due, x86_perf_guest_due[NR_DUE]);

/*
 * Can the core PMU be handed to guests?  The overflow status has to be among
 * what can be saved and restored, i.e. there has to be a register to set its
 * bits.  Guests cannot be told of the two kinds of cores of a hybrid CPU.
 */
bool __init x86_perf_guest_capable(void)
{
	switch (boot_cpu_data.x86_vendor) {
	case X86_VENDOR_INTEL:
		return x86_pmu.version >= 4 && !is_hybrid();
	case X86_VENDOR_AMD:
	case X86_VENDOR_HYGON:
		return x86_pmu.version >= 2;
	default:
		return false;
	}
}

/*
 * Stop perf's events in place.  An event that perf itself has stopped, e.g.
 * because it was throttled, is brought up to date as well, as the guest will
 * overwrite its counter.  PERF_HES_ARCH marks those that are to stay stopped,
 * as it does in x86_pmu_enable().  Returns how many of them exclude guests.
 */
static int x86_perf_guest_stop_events(struct cpu_hw_events *cpuc)
{
	int i, nr = 0;

	perf_pmu_disable(x86_get_pmu(smp_processor_id()));

	for (i = 0; i < cpuc->n_events; i++) {
		struct perf_event *event = cpuc->event_list[i];

		if (event->hw.state & PERF_HES_STOPPED)
			event->hw.state |= PERF_HES_ARCH;

		event->pmu->stop(event, PERF_EF_UPDATE);
		nr += event->attr.exclude_guest;
	}

	return nr;
}

static void x86_perf_guest_start_events(struct cpu_hw_events *cpuc)
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
 * perf keeps track of the controls that it has written itself.  Make sure, once
 * per CPU, that firmware or a previous kernel left nothing enabled in the others,
 * where a guest's GLOBAL_CTRL could make it count.
 */
static void x86_perf_guest_zero_strays(struct cpu_hw_events *cpuc)
{
	int i;

	if (__this_cpu_read(x86_perf_guest_no_strays))
		return;

	cpuc->not_zero = ~0ull;

	for_each_set_bit(i, x86_pmu.cntr_mask, X86_PMC_IDX_MAX)
		wrmsrl(x86_pmu_config_addr(i), 0);

	if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL) {
		wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, 0);
		cpuc->active_fixed_ctrl_val = 0;
	}

	__this_cpu_write(x86_perf_guest_no_strays, true);
}

static void x86_perf_guest_zero_controls(struct cpu_hw_events *cpuc, bool global_is_zero)
{
	if (boot_cpu_data.x86_vendor != X86_VENDOR_INTEL) {
		if (!global_is_zero)
			wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
		return;
	}

	if (!global_is_zero)
		wrmsrl(MSR_CORE_PERF_GLOBAL_CTRL, 0);

	/*
	 * Stopping an event on a fixed counter leaves it enabled in the register
	 * until the PMU is enabled again, which it is not for a guest.
	 */
	if (cpuc->active_fixed_ctrl_val) {
		wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, 0);
		cpuc->active_fixed_ctrl_val = 0;
	}
}

/**
 * x86_perf_guest_enter - hand this CPU's core PMU to a guest
 * @guest_lvtpc: the guest's virtual LVTPC; only its mask bit is used
 *
 * See the opening comment for what the caller finds.  There must be a
 * reservation, see perf_guest_reserve().  This is also the way back from
 * x86_perf_guest_exit_beside(), for the guest whose counters were left.
 *
 * Context: Interrupts off until x86_perf_guest_exit().
 */
void x86_perf_guest_enter(u32 guest_lvtpc)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	int enabled, nr = 0;

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(x86_perf_guest_owns_pmu()))
		return;

	/*
	 * A PMU without events may be enabled still.  Tell perf that it is not,
	 * so that it is enabled again when there is something to count.
	 */
	__this_cpu_write(x86_perf_guest_stopped_events, cpuc->n_events);
	__this_cpu_write(x86_perf_guest_parked, NULL);
	enabled = cpuc->enabled;
	if (cpuc->n_events)
		nr = x86_perf_guest_stop_events(cpuc);
	else
		cpuc->enabled = 0;
	WARN_ON_ONCE(nr != __this_cpu_read(x86_perf_guest_host_events));

	/*
	 * GLOBAL_CTRL is 0 if perf has stopped its events just now, or has not enabled
	 * anything since a guest was here.
	 */
	x86_perf_guest_zero_controls(cpuc, enabled ? cpuc->n_events :
				     __this_cpu_read(x86_perf_guest_no_strays));
	x86_perf_guest_zero_strays(cpuc);

	if (cpuc->n_events)
		perf_guest_clock_stop();

	/*
	 * As a rule, the NMI of a host event that overflowed before it was
	 * stopped is taken by now: writing GLOBAL_CTRL serializes.
	 */
	__this_cpu_write(x86_perf_guest_owner, true);
	barrier();

	x86_perf_guest_set_lvtpc(guest_lvtpc);
}
EXPORT_SYMBOL_GPL(x86_perf_guest_enter);

/**
 * x86_perf_guest_set_lvtpc - follow the guest's virtual LVTPC
 * @guest_lvtpc: as for x86_perf_guest_enter()
 *
 * Context: Interrupts off, while a guest has this CPU's PMU.
 */
void x86_perf_guest_set_lvtpc(u32 guest_lvtpc)
{
	apic_write(APIC_LVTPC, PERF_GUEST_MEDIATED_PMI_VECTOR |
			       APIC_DM_FIXED | (guest_lvtpc & APIC_LVT_MASKED));
}
EXPORT_SYMBOL_GPL(x86_perf_guest_set_lvtpc);

/*
 * Are values of a guest in this CPU's PMU, and none of perf's beside them?  If perf
 * has no event, what x86_pmu_enable() would have run are the guest's selectors.
 */
bool x86_perf_guest_is_alone(void)
{
	if (x86_perf_guest_owns_pmu())
		return true;

	return __this_cpu_read(x86_perf_guest_parked) &&
	       !__this_cpu_read(x86_perf_guest_beside);
}

/**
 * x86_perf_guest_forget - do not rely on what is in this CPU's core PMU
 *
 * For when the CPU goes or sleeps, and where AMD's perf enables the PMU whether it
 * has events or not, i.e. with amd_pmu_enable_virt() and amd_pmu_disable_virt().
 *
 * Context: Interrupts off, without values of a guest in there.
 */
void x86_perf_guest_forget(void)
{
	lockdep_assert_irqs_disabled();

	__this_cpu_write(x86_perf_guest_no_strays, false);
}
EXPORT_SYMBOL_GPL(x86_perf_guest_forget);

/**
 * x86_perf_guest_park - leave the guest's values in this CPU's core PMU for now
 * @evict: saves them and calls x86_perf_guest_exit(); called with interrupts off
 *
 * For a VM-exit that will soon be followed by a VM-entry of the same vCPU: if
 * perf has no event on this CPU the PMU stays as it is, in place of
 * x86_perf_guest_exit().  Nothing may count.  What comes first ends it: the next
 * entry, with x86_perf_guest_unpark(); or a call of @evict, when perf needs the
 * PMU or the hypervisor asks for it with x86_perf_guest_evict().  It has to do
 * so before user space runs on this CPU, which may be allowed to use RDPMC.
 *
 * Context: Interrupts off since x86_perf_guest_enter() or x86_perf_guest_unpark().
 * Return: false if perf has events here, then nothing is changed.
 */
bool x86_perf_guest_park(x86_perf_guest_evict_t evict)
{
	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(!x86_perf_guest_owns_pmu()) ||
	    __this_cpu_read(x86_perf_guest_stopped_events))
		return false;

	__this_cpu_write(x86_perf_guest_parked, evict);

	return true;
}
EXPORT_SYMBOL_GPL(x86_perf_guest_park);

/**
 * x86_perf_guest_unpark - the guest whose values are parked goes on
 *
 * Context: Interrupts off until x86_perf_guest_exit() or x86_perf_guest_park().
 */
void x86_perf_guest_unpark(void)
{
	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(!__this_cpu_read(x86_perf_guest_parked)))
		return;

	__this_cpu_write(x86_perf_guest_parked, NULL);
}
EXPORT_SYMBOL_GPL(x86_perf_guest_unpark);

/*
 * perf is about to enable the PMU, or the hypervisor wants the values back.  An
 * event that perf has added meanwhile is not on a counter yet.
 */
void __x86_perf_guest_evict(void)
{
	x86_perf_guest_evict_t evict = __this_cpu_read(x86_perf_guest_parked);

	x86_perf_guest_unpark();
	evict();
	WARN_ON_ONCE(x86_perf_guest_owns_pmu() || __this_cpu_read(x86_perf_guest_beside));
}
EXPORT_SYMBOL_GPL(__x86_perf_guest_evict);

static void x86_perf_guest_expect(int who)
{
	struct x86_perf_guest_due *due = this_cpu_ptr(&x86_perf_guest_due[who]);

	/* An NMI may claim at any point. */
	if (time_after(jiffies, due->until))
		due->nr = 0;
	due->until = jiffies + HZ / 10;
	if (due->nr < MAX_DUE)
		this_cpu_inc(x86_perf_guest_due[who].nr);
}

static bool x86_perf_guest_claim_one(int who)
{
	struct x86_perf_guest_due *due = this_cpu_ptr(&x86_perf_guest_due[who]);
	unsigned int nr = READ_ONCE(due->nr);

	if (nr && time_after(jiffies, due->until)) {
		due->nr = 0;
		return false;
	}

	do {
		if (!nr)
			return false;
	} while (!this_cpu_try_cmpxchg(x86_perf_guest_due[who].nr, &nr, nr - 1));

	return true;
}

/**
 * x86_perf_guest_found - tell what perf has left in the overflow status
 * @status: GLOBAL_STATUS as found by the guest, before it is changed
 *
 * Context: Interrupts off, after x86_perf_guest_enter().
 */
void x86_perf_guest_found(u64 status)
{
	u64 counters = x86_pmu.cntr_mask64 |
		       x86_pmu.fixed_cntr_mask64 << INTEL_PMC_IDX_FIXED;

	if (x86_pmu.intel_cap.perf_metrics)
		counters |= GLOBAL_STATUS_PERF_METRICS_OVF;

	if (status & counters)
		x86_perf_guest_expect(DUE_PERF);
}
EXPORT_SYMBOL_GPL(x86_perf_guest_found);

/**
 * x86_perf_guest_claim_pmi - was this interrupt to be expected?
 *
 * Context: Interrupts off, or NMI.
 * Return: whether it belongs to an overflow that x86_perf_guest_exit() or
 * x86_perf_guest_found() was told of.
 */
bool x86_perf_guest_claim_pmi(void)
{
	return x86_perf_guest_claim_one(DUE_GUEST) || x86_perf_guest_claim_one(DUE_PERF);
}
EXPORT_SYMBOL_GPL(x86_perf_guest_claim_pmi);

/**
 * x86_perf_guest_not_zero - which counters may hold something?
 *
 * What perf has not used since x86_perf_guest_zeroed() is 0 still.
 *
 * Context: Interrupts off, after x86_perf_guest_enter().
 * Return: A bit for each counter, fixed ones from INTEL_PMC_IDX_FIXED on.
 */
u64 x86_perf_guest_not_zero(void)
{
	return __this_cpu_read(cpu_hw_events.not_zero);
}
EXPORT_SYMBOL_GPL(x86_perf_guest_not_zero);

/* The counters of perf's events; ~0 if one of them is not only about counters. */
static u64 x86_perf_guest_used_by_host(struct cpu_hw_events *cpuc)
{
	u64 used = 0;
	int i;

	for (i = 0; i < cpuc->n_events; i++) {
		/* With the counter of slots go the metrics. */
		if (cpuc->assign[i] >= INTEL_PMC_IDX_FIXED_SLOTS)
			return ~0ull;
		used |= x86_pmu_event_counters(&cpuc->event_list[i]->hw, cpuc->assign[i]);
	}

	return used;
}

/**
 * x86_perf_guest_wanted - which counters does perf want back now?
 *
 * For x86_perf_guest_exit_beside().
 *
 * Context: Interrupts off since x86_perf_guest_enter().
 * Return: A bit for each counter, or ~0 if it wants all that the PMU has.
 */
u64 x86_perf_guest_wanted(void)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	int i;

	/*
	 * PEBS has more registers than these, and its buffer is the host's.  As its
	 * events are stopped, cpuc->pebs_enabled does not tell.
	 */
	for (i = 0; i < cpuc->n_events; i++) {
		if (cpuc->event_list[i]->attr.precise_ip)
			return ~0ull;
	}

	return x86_perf_guest_used_by_host(cpuc);
}
EXPORT_SYMBOL_GPL(x86_perf_guest_wanted);

/**
 * x86_perf_guest_zeroed - counters of the guest have been saved and are 0
 * @counters: a bit for each of them
 *
 * If they had been left to the guest they are not any more.
 *
 * Context: Interrupts off.  Before x86_perf_guest_exit(), or in the callback that
 * was given to x86_perf_guest_exit_beside().
 */
void x86_perf_guest_zeroed(u64 counters)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);

	lockdep_assert_irqs_disabled();

	cpuc->not_zero &= ~counters;
	cpuc->intel_ctrl_guest_mask &= ~__this_cpu_read(x86_perf_guest_beside);
	__this_cpu_write(x86_perf_guest_beside, 0);
}
EXPORT_SYMBOL_GPL(x86_perf_guest_zeroed);

/**
 * x86_perf_guest_exit_beside - take back only the counters that perf wants
 * @pmi_due: as for x86_perf_guest_exit()
 * @counters: those that still are the guest's, none of which is wanted, see
 *	      x86_perf_guest_wanted(); they and their selectors stay as they are
 * @evict: saves them and calls x86_perf_guest_zeroed(); called with interrupts off
 *
 * For the rest of the registers it is an x86_perf_guest_exit().  What comes first
 * ends it: the next x86_perf_guest_enter(), of the same guest; or an eviction, as
 * for x86_perf_guest_park().
 *
 * With perf wanting nothing, the hypervisor may also leave registers that nobody
 * needs as they are, for whichever guest comes next, with @counters 0 as all have
 * been saved.  FIXED_CTR_CTRL is one of them then.  User space may run meanwhile,
 * unless it may use RDPMC: perf evicts before it may, and if it may already, then
 * the hypervisor has to.
 *
 * Context: Interrupts off since x86_perf_guest_enter().
 */
void x86_perf_guest_exit_beside(bool pmi_due, u64 counters, x86_perf_guest_evict_t evict)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);

	/* On AMD this is of no effect. */
	counters &= ~cpuc->intel_ctrl_guest_mask;
	cpuc->intel_ctrl_guest_mask |= counters;
	__this_cpu_write(x86_perf_guest_beside,
			 __this_cpu_read(x86_perf_guest_beside) | counters);

	x86_perf_guest_exit(pmi_due);

	/* From here on perf has to ask. */
	__this_cpu_write(x86_perf_guest_parked, evict);
}
EXPORT_SYMBOL_GPL(x86_perf_guest_exit_beside);

/**
 * x86_perf_guest_exit - take this CPU's core PMU back from a guest
 * @pmi_due: the guest has an overflow whose interrupt was not masked
 *
 * See the opening comment for what the caller has to leave.
 *
 * Context: Interrupts off since x86_perf_guest_enter().
 */
void x86_perf_guest_exit(bool pmi_due)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(!x86_perf_guest_owns_pmu()))
		return;

	/* Events go on where they were, without being assigned again. */
	cpuc->not_zero |= x86_perf_guest_used_by_host(cpuc);

	if (pmi_due)
		x86_perf_guest_expect(DUE_GUEST);

	__this_cpu_write(x86_perf_guest_owner, false);
	barrier();

	apic_write(APIC_LVTPC, APIC_DM_NMI);

	if (__this_cpu_read(x86_perf_guest_stopped_events)) {
		perf_guest_clock_start();
		x86_perf_guest_start_events(cpuc);
	}
}
EXPORT_SYMBOL_GPL(x86_perf_guest_exit);

/**
 * x86_perf_guest_enter_unloaded - a guest that does not count is about to run
 *
 * The PMU stays perf's.  What keeps events that exclude guests out of guest mode
 * is hardware: the hypervisor's switch of GLOBAL_CTRL, see perf_guest_get_msrs(),
 * or HostOnly.  Only the host clock is stopped, which nothing but such events makes
 * use of: to be called only if x86_perf_guest_has_host_events().
 *
 * Context: Interrupts off until x86_perf_guest_exit_unloaded().
 */
void x86_perf_guest_enter_unloaded(void)
{
	lockdep_assert_irqs_disabled();

	perf_guest_clock_stop();
}
EXPORT_SYMBOL_GPL(x86_perf_guest_enter_unloaded);

/**
 * x86_perf_guest_exit_unloaded - the guest that does not count has run
 *
 * Context: Interrupts off since x86_perf_guest_enter_unloaded().
 */
void x86_perf_guest_exit_unloaded(void)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	int i;

	lockdep_assert_irqs_disabled();

	perf_guest_clock_start();

	/* User space that reads times from the page takes the TSC for the clock. */
	for (i = 0; i < cpuc->n_events; i++) {
		if (cpuc->event_list[i]->attr.exclude_guest)
			perf_event_update_userpage(cpuc->event_list[i]);
	}
}
EXPORT_SYMBOL_GPL(x86_perf_guest_exit_unloaded);
