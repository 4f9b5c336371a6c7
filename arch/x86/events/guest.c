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
 * A CPU's PMU is in one of these states.  All changes are made here, but for those between
 * GUEST and PARKED that are all there is to do, which are inline functions:
 *
 * ======  ======================  ==============  ==============================
 * state   the registers hold      what counts     left by
 * ======  ======================  ==============  ==============================
 * HOST    values of perf's        perf's events   get: SHARED, if no event of
 *         events                                  perf uses a counter that the
 *                                                 guest has enabled, else GUEST
 * GUEST   the guest's values      the guest, in   put: PARKED if perf has no
 *                                 guest mode      events here, else SHARED or
 *                                                 HOST
 * PARKED  the guest's values      nothing         get of the same guest: GUEST;
 *                                                 put: STALE;
 *                                                 eviction: HOST
 * SHARED  the guest's values in   perf's events   get of the same guest: SHARED,
 *         counters that no event  outside guest   or GUEST if the guest has
 *         of perf uses, perf's    mode, the       enabled a counter that perf
 *         in the others           guest in it     uses; put: SHARED_STALE;
 *                                                 eviction: HOST
 * STALE   a guest's values that   nothing: perf   get: GUEST;
 *         are saved already       has no events   eviction: HOST
 * SHARED_ the guest's values, as  perf's events   get: SHARED, GUEST as in HOST;
 * STALE   in SHARED, but they                     eviction: HOST
 *         are saved already
 * ======  ======================  ==============  ==============================
 *
 * INIT is HOST before a guest has had the PMU for the first time, or after perf has
 * written registers that none of its events use: what is enabled in registers
 * without an event is not known.
 *
 * State GUEST.  What get guarantees: no counter runs, which means that every selector
 * is disabled and that FIXED_CTR_CTRL and GLOBAL_CTRL are 0, except for the registers
 * that still hold the guest's own values; counters that the guest has not asked for
 * are 0, so that it may have RDPMC directly; perf ignores NMIs.
 *
 * State SHARED lasts through VM-entry and VM-exit, which cost no access to the PMU.
 * Hardware tells guest mode apart.  On Intel, VM-entry and VM-exit switch GLOBAL_CTRL:
 * VM-exit loads @host_ctrl, and perf never writes the bits of the guest's counters.  On
 * AMD, GLOBAL_CTL has the bits of both, while the selectors of perf's events have
 * HostOnly set, those of events that include guests, too, and those of the guest
 * GuestOnly.  Intel's FIXED_CTR_CTRL has the fields
 * of both.  LVTPC is perf's.  So is GLOBAL_STATUS, i.e. the guest must not have it
 * directly: perf's NMI handler takes the guest's bits out before it looks at its own.
 *
 * In state SHARED_STALE nobody makes the guest's counters count.  On Intel GLOBAL_CTRL has
 * their bits neither outside guest mode nor in it: perf's masks have them for VM-entries of
 * guests without the PMU.  On AMD GLOBAL_CTL does not have their bits.
 *
 * PMC virtualization (AMD).  Hardware switches the registers itself, and keeps the guest's
 * values in memory: the state is GUEST around VM-entry and VM-exit, and HOST otherwise,
 * x86_guest_pmu_swap_out() and x86_guest_pmu_swap_in().  No register holds a value of the
 * guest then.  It does not keep perf's values, so perf's events are read before VM-entry
 * and written after VM-exit.  LVTPC stays perf's.
 *
 * What put and evict expect of the hypervisor's callback: the registers that it is
 * asked for are saved, 0 and disabled, and no status bit of the guest is set.  In state
 * GUEST, FIXED_CTR_CTRL and GLOBAL_CTRL are 0; in states SHARED and SHARED_STALE so is the
 * guest's part of FIXED_CTR_CTRL.
 *
 * An eviction comes before
 *  - perf enables the PMU for an event, in x86_pmu_enable(), by which every way
 *    goes: an event that is installed or scheduled in, rotation, the switch of a
 *    cgroup, the watchdog, a CPU that comes online.  In states SHARED and SHARED_STALE,
 *    only if the event needs what the guest has.  Only the NMI handler does not go by
 *    there.  It restarts events that are on counters already, or it finds that the PMU
 *    is a guest's and leaves it alone;
 *  - perf clears counters for a task that may use RDPMC, perf_clear_dirty_counters();
 *  - the hypervisor uses one of the values, or the vCPU leaves the CPU (it may put
 *    the PMU into state STALE or SHARED_STALE instead).
 *
 * perf's events are stopped and started in guest_events.c, interrupts are in guest_pmi.c.
 */
#include <linux/export.h>
#include <linux/perf_event.h>
#include <linux/perf_guest.h>

#include <asm/apic.h>
#include <asm/intel_pt.h>
#include <asm/msr.h>
#include <asm/perf_guest.h>

#include "guest.h"

/* What the hypervisor may see of struct cpu_hw_events. */
DEFINE_PER_CPU(struct x86_guest_pmu *, x86_guest_pmu_ptr);
EXPORT_PER_CPU_SYMBOL_GPL(x86_guest_pmu_ptr);

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

/* The transitions of the table above, plus those of a CPU that goes or comes. */
static const u8 x86_guest_pmu_next[] = {
#define TO(state)	BIT(X86_GUEST_PMU_##state)
	[X86_GUEST_PMU_INIT]	= TO(GUEST),
	[X86_GUEST_PMU_HOST]	= TO(GUEST) | TO(SHARED) | TO(INIT),
	[X86_GUEST_PMU_GUEST]	= TO(PARKED) | TO(SHARED) | TO(HOST),
	[X86_GUEST_PMU_PARKED]	= TO(GUEST) | TO(STALE) | TO(HOST),
	[X86_GUEST_PMU_SHARED]	= TO(GUEST) | TO(SHARED) | TO(SHARED_STALE) | TO(HOST),
	[X86_GUEST_PMU_STALE]	= TO(GUEST) | TO(HOST),
	[X86_GUEST_PMU_SHARED_STALE] = TO(GUEST) | TO(SHARED) | TO(SHARED_STALE) | TO(HOST),
#undef TO
};

/* Change the state, and what goes with it.  NMIs look at it. */
static void x86_guest_pmu_set(struct x86_guest_pmu *guest, enum x86_guest_pmu_state to,
			      u64 regs, x86_guest_pmu_evict_t evict)
{
	lockdep_assert_irqs_disabled();

	if (IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU)) {
		WARN_ONCE(!(x86_guest_pmu_next[guest->state] & BIT(to)),
			  "guest PMU: state %d after %d", to, guest->state);
		WARN_ON_ONCE(regs && (to == X86_GUEST_PMU_HOST || to == X86_GUEST_PMU_INIT));
	}

	guest->regs = regs;
	guest->evict = evict;
	guest->vacant = false;
	x86_guest_pmu_set_state(guest, to);
}

/*
 * Does a guest own all registers and LVTPC?  Then NMIs are not perf's to handle.
 * Called in NMI context, and with interrupts off.
 */
bool x86_guest_pmu_owns(void)
{
	enum x86_guest_pmu_state state = __this_cpu_read(cpu_hw_events.guest.state);

	return state == X86_GUEST_PMU_GUEST || state == X86_GUEST_PMU_PARKED;
}

/* May a guest be counting beside perf's events?  Then these stand still in guest mode. */
bool x86_guest_pmu_is_shared(void)
{
	return __this_cpu_read(cpu_hw_events.guest.state) == X86_GUEST_PMU_SHARED;
}

/* The registers that a guest has beside perf's events: perf is to do without. */
u64 x86_guest_pmu_shared_regs(void)
{
	struct x86_guest_pmu *guest = this_guest_pmu();

	return x86_guest_pmu_is_beside(guest) ? guest->regs : 0;
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
	struct x86_guest_pmu *guest = this_guest_pmu();

	guest->nr_events = this_cpu_ptr(&cpu_hw_events.n_events);
	this_cpu_write(x86_guest_pmu_ptr, guest);

	x86_guest_pmu_evict();
	x86_guest_pmu_forget();
}

/*
 * An event that does not count outside guest mode is in the masks from when it is started,
 * which may be later.
 */
static u64 x86_guest_pmu_host_ctrl(struct cpu_hw_events *cpuc)
{
	return hybrid(cpuc->pmu, intel_ctrl) & ~cpuc->intel_ctrl_guest_mask &
	       ~x86_guest_pmu_guest_only(cpuc);
}

/*
 * Keep perf from enabling counters that are a guest's, @regs, and if they are @stale
 * VM-entries without the PMU, too.  AMD has no such masks.
 */
static void x86_guest_pmu_set_masks(struct cpu_hw_events *cpuc, u64 regs, bool stale)
{
	u64 old = x86_guest_pmu_is_beside(&cpuc->guest) ? cpuc->guest.regs : 0;

	cpuc->intel_ctrl_guest_mask = (cpuc->intel_ctrl_guest_mask & ~old) | regs;
	cpuc->intel_ctrl_host_mask = (cpuc->intel_ctrl_host_mask & ~old) | (stale ? regs : 0);
}

/* Enter state SHARED, or have more registers in it. */
static void x86_guest_pmu_set_shared(struct cpu_hw_events *cpuc, u64 regs, u64 ctrl,
				     x86_guest_pmu_evict_t evict)
{
	x86_guest_pmu_set_masks(cpuc, regs, false);
	cpuc->guest.host_ctrl = x86_guest_pmu_host_ctrl(cpuc);
	cpuc->guest.ctrl = ctrl;
	x86_guest_pmu_set(&cpuc->guest, X86_GUEST_PMU_SHARED, regs, evict);
}

/* In state SHARED_STALE: others than @regs are not worth keeping. */
static void x86_guest_pmu_keep_stale(struct cpu_hw_events *cpuc, u64 regs)
{
	struct x86_guest_pmu *guest = &cpuc->guest;
	u64 others = guest->regs & ~regs;

	if (guest->state != X86_GUEST_PMU_SHARED_STALE || !others)
		return;

	guest->evict(others);
	x86_guest_pmu_set_masks(cpuc, guest->regs & regs, true);
	x86_guest_pmu_set(guest, X86_GUEST_PMU_SHARED_STALE, guest->regs & regs, guest->evict);
}

/* Perf has events here, which run.  If they can go on then the state is SHARED. */
static bool x86_guest_pmu_share(struct cpu_hw_events *cpuc,
				const struct x86_guest_pmu_request *request,
				struct x86_guest_pmu_grant *grant,
				x86_guest_pmu_evict_t evict)
{
	struct x86_guest_pmu *guest = &cpuc->guest;
	u64 host, regs, added;

	/* What is enabled without an event is not known. */
	if (guest->state == X86_GUEST_PMU_INIT)
		return false;

	host = x86_guest_pmu_wanted_by_host(cpuc);
	if (host == X86_GUEST_PMU_ALL || request->enabled & host)
		return false;

	regs = request->used & ~host;
	x86_guest_pmu_keep_stale(cpuc, regs);
	regs |= guest->regs;
	added = regs & ~guest->regs;
	grant->missing = guest->state == X86_GUEST_PMU_SHARED ? added : regs;

	if (guest->state == X86_GUEST_PMU_HOST)
		guest->ctrl = 0;
	if (guest->state != X86_GUEST_PMU_SHARED)
		x86_guest_pmu_confine_events(cpuc, true);

	/* On AMD, bits of the new ones may be set or not: have them written. */
	x86_guest_pmu_set_shared(cpuc, regs, !is_intel() && added ? X86_GUEST_PMU_ALL :
								    guest->ctrl, evict);

	/* Before the guest's selectors are enabled. */
	if (is_intel() && added)
		wrmsrl(MSR_CORE_PERF_GLOBAL_CTRL, guest->host_ctrl);

	return true;
}

/* All of the PMU becomes the guest's. */
static void x86_guest_pmu_take(struct cpu_hw_events *cpuc, u64 regs,
			       struct x86_guest_pmu_grant *grant)
{
	struct x86_guest_pmu *guest = &cpuc->guest;
	bool init = guest->state == X86_GUEST_PMU_INIT;
	bool global_is_zero;

	x86_guest_pmu_keep_stale(cpuc, regs);

	grant->missing = regs;
	if (guest->state == X86_GUEST_PMU_PARKED || guest->state == X86_GUEST_PMU_SHARED)
		grant->missing &= ~guest->regs;
	grant->conflict = cpuc->n_events;

	/*
	 * A PMU without events may be enabled still.  Tell perf that it is not, so that
	 * it is enabled again when there is something to count.  GLOBAL_CTRL is 0 if
	 * perf has stopped its events just now, or has not enabled anything since a
	 * guest was here.
	 */
	if (cpuc->n_events) {
		global_is_zero = cpuc->enabled || !init;
		grant->status = x86_guest_pmu_stop_events(cpuc);
		perf_guest_clock_stop();
	} else {
		global_is_zero = !cpuc->enabled && !init;
		cpuc->enabled = 0;
		grant->status = x86_guest_pmu_status();
	}

	/* Not before perf's events are stopped: NMIs enable what is not in the mask. */
	if (x86_guest_pmu_is_beside(guest)) {
		x86_guest_pmu_set_masks(cpuc, 0, false);
		/* Written below. */
		cpuc->fixed_ctrl_val &= ~x86_guest_pmu_fixed_fields(guest->regs);
	}

	x86_guest_pmu_zero_controls(cpuc, global_is_zero);
	x86_guest_pmu_zero_others(cpuc, regs);

	grant->exclusive = !cpuc->n_events &&
			   !(is_intel() && (intel_pt_is_active() || intel_bts_is_active()));

	x86_guest_pmu_set(guest, X86_GUEST_PMU_GUEST, regs, NULL);
}

static noinline void x86_guest_pmu_get_slow(const struct x86_guest_pmu_request *request,
					    struct x86_guest_pmu_grant *grant,
					    x86_guest_pmu_evict_t evict)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);

	/* Perf has nothing to share any more. */
	if (cpuc->guest.state == X86_GUEST_PMU_SHARED && !cpuc->n_events)
		x86_guest_pmu_evict();

	*grant = (struct x86_guest_pmu_grant) { .from = cpuc->guest.state };

	if (!cpuc->n_events || !x86_guest_pmu_share(cpuc, request, grant, evict))
		x86_guest_pmu_take(cpuc, request->all, grant);
}

/**
 * x86_guest_pmu_get - hand this CPU's core PMU, or a part of it, to a guest
 * @request: the registers that the guest is to have, see X86_GUEST_PMU_METRICS
 * @grant: tells what the caller has to do with them
 * @evict: is called later, in state SHARED, if somebody else needs the registers
 *
 * In states PARKED and SHARED this must be the guest that they are about.  The state is
 * GUEST or SHARED then, see the opening comment for what is guaranteed.  In state GUEST
 * LVTPC stays perf's until x86_guest_pmu_set_lvtpc().  There must be a reservation, see
 * perf_guest_reserve().
 *
 * Context: Interrupts off; in state GUEST, until x86_guest_pmu_put().
 * Return: Has the caller something to load?  If not then @grant is not filled in.
 */
bool x86_guest_pmu_get(const struct x86_guest_pmu_request *request,
		       struct x86_guest_pmu_grant *grant, x86_guest_pmu_evict_t evict)
{
	struct x86_guest_pmu *guest = this_guest_pmu();

	lockdep_assert_irqs_disabled();

	if (x86_guest_pmu_resume(guest, request))
		return false;

	if (!WARN_ON_ONCE(guest->state == X86_GUEST_PMU_GUEST))
		x86_guest_pmu_get_slow(request, grant, evict);

	if (guest->state == X86_GUEST_PMU_SHARED)
		x86_guest_pmu_prove_confined(this_cpu_ptr(&cpu_hw_events));

	return true;
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_get);

/**
 * x86_guest_pmu_set_ctrl - set the guest's part of the register that both use
 * @ctrl: the guest's bits of GLOBAL_CTL, on AMD, or its fields of FIXED_CTR_CTRL, on
 *	Intel, of registers that it has
 *
 * Context: Interrupts off, in state SHARED or SHARED_STALE.  Does nothing if it is set
 *	    already.
 */
void x86_guest_pmu_set_ctrl(u64 ctrl)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	u64 fields, old, new;

	lockdep_assert_irqs_disabled();

	if (cpuc->guest.ctrl == ctrl)
		return;

	WRITE_ONCE(cpuc->guest.ctrl, ctrl);
	if (!is_intel()) {
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
		       x86_guest_pmu_global_ctl(x86_pmu.cntr_mask64));
		return;
	}

	/* An NMI may stop one of perf's events meanwhile, e.g. to throttle it. */
	fields = x86_guest_pmu_fixed_fields(cpuc->guest.regs);
	do {
		old = this_cpu_read(cpu_hw_events.fixed_ctrl_val);
		do {
			new = (old & ~fields) | ctrl;
		} while (!this_cpu_try_cmpxchg(cpu_hw_events.fixed_ctrl_val, &old, new));

		WRITE_ONCE(cpuc->active_fixed_ctrl_val, new);
		wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, new);
	} while (this_cpu_read(cpu_hw_events.fixed_ctrl_val) != new);
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_set_ctrl);

/* AMD's GLOBAL_CTL, where perf wants @host.  Called in NMI context, too. */
u64 x86_guest_pmu_global_ctl(u64 host)
{
	struct x86_guest_pmu *guest = this_guest_pmu();

	if (!x86_guest_pmu_is_beside(guest))
		return host;

	return (host & ~guest->regs) | (READ_ONCE(guest->ctrl) & guest->regs);
}

/* The guest's values are saved: the state is HOST, STALE or SHARED_STALE. */
static void x86_guest_pmu_give_back(enum x86_guest_pmu_state to, u64 regs,
				    x86_guest_pmu_evict_t evict)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	enum x86_guest_pmu_state from = cpuc->guest.state;

	if (x86_guest_pmu_is_beside(&cpuc->guest))
		x86_guest_pmu_set_masks(cpuc, regs, true);

	x86_guest_pmu_set(&cpuc->guest, to, regs, evict);

	if (from == X86_GUEST_PMU_PARKED)
		apic_write(APIC_LVTPC, APIC_DM_NMI);
	else if (from == X86_GUEST_PMU_SHARED)
		x86_guest_pmu_confine_events(cpuc, false);
}

/* From GUEST, and perf has events: the result is SHARED. */
static noinline void x86_guest_pmu_put_beside(x86_guest_pmu_evict_t evict)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	u64 regs = cpuc->guest.regs, wanted;

	wanted = x86_guest_pmu_wanted_by_host(cpuc) & regs;
	evict(wanted);
	/* Its values are there still.  Most of them are about to be overwritten. */
	x86_guest_pmu_zero(wanted & ~x86_guest_pmu_host_counters(cpuc));
	x86_guest_pmu_set_shared(cpuc, regs & ~wanted, 0, evict);
	x86_guest_pmu_confine_events(cpuc, true);

	apic_write(APIC_LVTPC, APIC_DM_NMI);
	perf_guest_clock_start();
	x86_guest_pmu_start_events(cpuc);
}

/*
 * perf is about to enable the PMU: get values of a guest out of its way.  Whatever perf
 * wants of the PMU, it comes by here first.  Called with interrupts off.
 *
 * Returns false if perf has no events, and the PMU is to stay a guest's.
 */
bool x86_guest_pmu_make_room(void)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	struct x86_guest_pmu *guest = &cpuc->guest;

	switch (guest->state) {
	case X86_GUEST_PMU_INIT:
	case X86_GUEST_PMU_HOST:
		guest->vacant = false;
		return true;
	case X86_GUEST_PMU_SHARED:
	case X86_GUEST_PMU_SHARED_STALE:
		if (!cpuc->n_added)
			return true;

		if (x86_guest_pmu_wanted_by_host(cpuc) & guest->regs) {
			x86_guest_pmu_evict();
		} else if (guest->state == X86_GUEST_PMU_SHARED) {
			x86_guest_pmu_confine_events(cpuc, true);
			guest->host_ctrl = x86_guest_pmu_host_ctrl(cpuc);
		}
		return true;
	default:
		if (!cpuc->n_events)
			return false;

		if (cpuc->n_added)
			x86_guest_pmu_evict();
		return true;
	}
}

/**
 * x86_guest_pmu_put - the guest leaves guest mode, or its vCPU leaves the CPU
 * @to: X86_GUEST_PMU_PARKED, from state GUEST: leave as much as possible in the
 *	registers, for a VM-entry of the same guest that will follow soon.  Nothing
 *	may count.  The result is PARKED if perf has no events here, else SHARED, and
 *	then @evict has been called for the registers that perf wants.
 *	X86_GUEST_PMU_STALE, from state PARKED or SHARED: all values are saved, and what
 *	is left of them may stay.  The result is STALE, or SHARED_STALE from SHARED.
 * @evict: is called later if somebody else needs the registers
 *
 * Context: Interrupts off, since x86_guest_pmu_get() for PARKED.
 */
void x86_guest_pmu_put(enum x86_guest_pmu_state to, x86_guest_pmu_evict_t evict)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);

	lockdep_assert_irqs_disabled();

	if (to == X86_GUEST_PMU_STALE) {
		if (cpuc->guest.state == X86_GUEST_PMU_SHARED) {
			to = X86_GUEST_PMU_SHARED_STALE;
			/* GuestOnly does not tell guests apart. */
			if (!is_intel())
				x86_guest_pmu_set_ctrl(0);
		}
		x86_guest_pmu_give_back(to, cpuc->guest.regs, evict);
		/* User space may read counters now: perf evicts only before it may. */
		if (cr4_read_shadow() & X86_CR4_PCE)
			x86_guest_pmu_evict();
	} else if (likely(!cpuc->n_events)) {
		x86_guest_pmu_set(&cpuc->guest, to, cpuc->guest.regs, evict);
	} else {
		x86_guest_pmu_put_beside(evict);
	}
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_put);

/**
 * x86_guest_pmu_swap_out - hardware is about to switch the registers itself
 *
 * AMD's PMC virtualization: VM-entry loads the guest's values from memory, VM-exit stores
 * them there.  What perf had in selectors, counters and GLOBAL_CTL is lost, GLOBAL_STATUS
 * and LVTPC are kept.  The state is GUEST; perf's events do not count.
 *
 * Context: Interrupts off, until x86_guest_pmu_swap_in().
 * Return: What GLOBAL_CTL is now.
 */
enum x86_guest_pmu_ctl x86_guest_pmu_swap_out(void)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	enum x86_guest_pmu_ctl ctl = X86_GUEST_PMU_CTL_SAME;
	struct x86_guest_pmu *guest = &cpuc->guest;

	x86_guest_pmu_evict();

	if (cpuc->n_events) {
		/* LBRs would go on with the guest's branches. */
		if (cpuc->lbr_users)
			x86_guest_pmu_stop_events(cpuc);
		else
			x86_guest_pmu_hold_events(cpuc);
		perf_guest_clock_stop();
		ctl = X86_GUEST_PMU_CTL_ZERO;
	}

	/* State HOST tells that nothing is enabled but for perf's events. */
	if (guest->state == X86_GUEST_PMU_INIT) {
		x86_guest_pmu_zero_controls(cpuc, cpuc->n_events);
		cpuc->enabled = 0;
		ctl = X86_GUEST_PMU_CTL_ZERO;
	}

	guest->swapped = true;
	x86_guest_pmu_set(guest, X86_GUEST_PMU_GUEST, 0, NULL);

	return ctl;
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_swap_out);

/**
 * x86_guest_pmu_swap_in - guest mode is over, after x86_guest_pmu_swap_out()
 * @ctl: what GLOBAL_CTL is now
 *
 * The state is HOST; perf's events go on where they were.
 *
 * Context: Interrupts off, since x86_guest_pmu_swap_out().
 */
void x86_guest_pmu_swap_in(enum x86_guest_pmu_ctl ctl)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	struct x86_guest_pmu *guest = &cpuc->guest;

	if (WARN_ON_ONCE(guest->state != X86_GUEST_PMU_GUEST || !guest->swapped))
		return;

	/* NMIs are perf's again as soon as the state is HOST: not without the counters. */
	if (cpuc->n_events && !cpuc->lbr_users)
		x86_guest_pmu_reload_events(cpuc);

	/* What perf believes is what is. */
	if (cpuc->n_events)
		cpuc->enabled = !cpuc->lbr_users;
	else if (ctl != X86_GUEST_PMU_CTL_SAME)
		cpuc->enabled = ctl == X86_GUEST_PMU_CTL_RESET;

	guest->swapped = false;
	x86_guest_pmu_set(guest, X86_GUEST_PMU_HOST, 0, NULL);

	if (!cpuc->n_events) {
		guest->vacant = ctl == X86_GUEST_PMU_CTL_RESET;
		return;
	}

	perf_guest_clock_start();
	if (cpuc->lbr_users) {
		x86_guest_pmu_start_events(cpuc);
		return;
	}
	x86_guest_pmu_resume_events(cpuc);
	if (ctl != X86_GUEST_PMU_CTL_RESET)
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, x86_pmu.cntr_mask64);
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_swap_in);

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

	if (likely(guest->state <= X86_GUEST_PMU_HOST))
		return;

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(guest->state == X86_GUEST_PMU_GUEST))
		return;

	guest->evict(guest->regs);
	x86_guest_pmu_give_back(X86_GUEST_PMU_HOST, 0, NULL);
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_evict);
