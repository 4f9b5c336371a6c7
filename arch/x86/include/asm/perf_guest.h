/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_PERF_GUEST_H
#define _ASM_X86_PERF_GUEST_H

#include <linux/perf_guest.h>
#include <linux/percpu.h>

#include <asm/perf_event.h>

/*
 * What a CPU's core PMU holds.  See arch/x86/events/guest.c for the states and for
 * the transitions between them.
 */
enum x86_guest_pmu_state {
	X86_GUEST_PMU_INIT,
	X86_GUEST_PMU_HOST,
	X86_GUEST_PMU_GUEST,
	X86_GUEST_PMU_PARKED,
	X86_GUEST_PMU_SHARED,
	X86_GUEST_PMU_STALE,
	X86_GUEST_PMU_SHARED_STALE,
};

/*
 * Save the guest's values of the registers in @regs and leave these registers
 * disabled and 0, with no overflow status of them; in states STALE and SHARED_STALE the
 * values are saved already.  Called with interrupts off.
 */
typedef void (*x86_guest_pmu_evict_t)(u64 regs);

/*
 * Sets of registers: the bit of GLOBAL_CTRL for each counter, which includes its
 * event selector or control field, and one for PERF_METRICS.
 */
#define X86_GUEST_PMU_METRICS	BIT_ULL(48)
#define X86_GUEST_PMU_ALL	(~0ull)

/*
 * @state:	what the registers hold
 * @regs:	the registers that hold values of a guest; none in states INIT and HOST
 * @ctrl:	in states SHARED and SHARED_STALE, the guest's part of the control register
 *		that both use at the same time: GLOBAL_CTL on AMD, FIXED_CTR_CTRL on Intel
 * @host_ctrl:	in state SHARED on Intel, GLOBAL_CTRL outside guest mode
 * @swapped:	in state GUEST, hardware switches the registers at VM-entry and VM-exit; @regs
 *		is 0
 * @vacant:	in state HOST, and GUEST if @swapped: perf has no events here, and GLOBAL_CTL
 *		is what hardware has reset it to
 * @evict:	saves and clears @regs; NULL in state GUEST until the first VM-exit
 * @nr_events:	how many events perf has on this CPU
 */
struct x86_guest_pmu {
	enum x86_guest_pmu_state	state;
	u64				regs;
	u64				ctrl;
	u64				host_ctrl;
	bool				swapped;
	bool				vacant;
	x86_guest_pmu_evict_t		evict;
	const int			*nr_events;
};

/*
 * What a guest asks for.
 *
 * @all:	the registers that it gets if nothing of perf counts: @used, and others that
 *		may not be 0
 * @used:	those that it makes use of.  It gets them beside events of perf that use
 *		none of them.
 * @enabled:	those of @used that are enabled.  The others are not worth a conflict.
 */
struct x86_guest_pmu_request {
	u64	all;
	u64	used;
	u64	enabled;
};

/*
 * @from:	the state until now
 * @missing:	the registers that do not hold the guest's values, and are the caller's
 *		to write
 * @conflict:	in state GUEST, perf has events here that are stopped now
 * @status:	in state GUEST, GLOBAL_STATUS as it was found
 * @exclusive:	in state GUEST, nothing of the host sets bits of GLOBAL_STATUS or raises an
 *		interrupt by LVTPC: no event of perf, even stopped, and no trace
 */
struct x86_guest_pmu_grant {
	enum x86_guest_pmu_state from;
	u64	missing;
	u64	status;
	bool	conflict;
	bool	exclusive;
};

/* What the host's GLOBAL_CTL is when x86_guest_pmu_swap_in() is called. */
enum x86_guest_pmu_ctl {
	X86_GUEST_PMU_CTL_SAME,		/* as before x86_guest_pmu_swap_out() */
	X86_GUEST_PMU_CTL_ZERO,
	X86_GUEST_PMU_CTL_RESET,	/* all counters, as after RESET */
};

/* How much of an NMI was a guest's: perf has to look at its own part. */
enum x86_guest_nmi {
	X86_GUEST_NMI_NONE,
	X86_GUEST_NMI_PART,
	X86_GUEST_NMI_ALL,
};

/* Has a guest some of the registers, beside perf's events? */
static inline bool x86_guest_pmu_is_beside(const struct x86_guest_pmu *guest)
{
	return guest->state == X86_GUEST_PMU_SHARED ||
	       guest->state == X86_GUEST_PMU_SHARED_STALE;
}

/* The fields of FIXED_CTR_CTRL for the fixed counters among @regs. */
static inline u64 x86_guest_pmu_fixed_fields(u64 regs)
{
	unsigned long counters = (regs >> INTEL_PMC_IDX_FIXED) &
				 GENMASK_ULL(INTEL_PMC_MAX_FIXED - 1, 0);
	u64 fields = 0;
	int i;

	for_each_set_bit(i, &counters, INTEL_PMC_MAX_FIXED)
		fields |= intel_fixed_bits_by_idx(i, INTEL_FIXED_BITS_MASK);

	return fields;
}

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

bool x86_guest_pmu_capable(void);
bool x86_guest_pmu_owns(void);
bool x86_guest_pmu_is_shared(void);
bool x86_guest_pmu_make_room(void);
u64 x86_guest_pmu_shared_regs(void);
enum x86_guest_nmi x86_guest_pmu_take_status(void);
u64 x86_guest_pmu_global_ctl(u64 host);
bool x86_guest_pmu_handle_trace(void);
void x86_guest_pmu_reset(void);
void x86_guest_pmu_forget(void);

bool x86_guest_pmu_get(const struct x86_guest_pmu_request *request,
		       struct x86_guest_pmu_grant *grant, x86_guest_pmu_evict_t evict);
void x86_guest_pmu_put(enum x86_guest_pmu_state to, x86_guest_pmu_evict_t evict);
void x86_guest_pmu_evict(void);
enum x86_guest_pmu_ctl x86_guest_pmu_swap_out(void);
void x86_guest_pmu_swap_in(enum x86_guest_pmu_ctl ctl);
void x86_guest_pmu_set_ctrl(u64 ctrl);
void x86_guest_pmu_set_lvtpc(u32 lvtpc);
bool x86_guest_pmu_probe_status_set(void);

DECLARE_PER_CPU(struct x86_guest_pmu *, x86_guest_pmu_ptr);

/**
 * x86_guest_pmu - the state of this CPU's PMU
 *
 * Context: The answer holds as long as neither interrupts nor preemption come in
 *	    between.
 * Return: A structure that only perf may change, i.e. the functions below.
 */
static inline struct x86_guest_pmu *x86_guest_pmu(void)
{
	return raw_cpu_read(x86_guest_pmu_ptr);
}

/* Change the state alone.  NMIs look at it. */
static inline void x86_guest_pmu_set_state(struct x86_guest_pmu *guest,
					   enum x86_guest_pmu_state to)
{
	barrier();
	WRITE_ONCE(guest->state, to);
	barrier();
}

/*
 * The registers are those of the guest that is about to be entered, in states PARKED and
 * SHARED.  Is that enough?  Then the state is GUEST or SHARED, else x86_guest_pmu_get() has
 * to be called.  Called with interrupts off.
 */
static inline bool x86_guest_pmu_resume(struct x86_guest_pmu *guest,
					const struct x86_guest_pmu_request *request)
{
	switch (guest->state) {
	case X86_GUEST_PMU_PARKED:
		if (request->all & ~guest->regs)
			return false;
		x86_guest_pmu_set_state(guest, X86_GUEST_PMU_GUEST);
		return true;
	case X86_GUEST_PMU_SHARED:
		/* A counter that is used but not enabled may be perf's. */
		return *guest->nr_events && !(request->enabled & ~guest->regs);
	default:
		return false;
	}
}

/*
 * From GUEST to PARKED, after VM-exit.  If it returns false then x86_guest_pmu_put() has to
 * be called.  Called with interrupts off.
 */
static inline bool x86_guest_pmu_park(struct x86_guest_pmu *guest)
{
	/* It was taken from perf, which may have events here. */
	if (!guest->evict)
		return false;

	x86_guest_pmu_set_state(guest, X86_GUEST_PMU_PARKED);
	return true;
}

/*
 * On AMD, what to add to an event's selector to enable it.  @shared: in guest mode only the
 * guest counts.
 */
static inline u64 x86_guest_pmu_event_enable(struct hw_perf_event *hwc, bool shared)
{
	if (!shared)
		return ARCH_PERFMON_EVENTSEL_ENABLE;

	return hwc->config & AMD64_EVENTSEL_GUESTONLY ? 0 :
		ARCH_PERFMON_EVENTSEL_ENABLE | AMD64_EVENTSEL_HOSTONLY;
}

/*
 * The same for a PMU that hardware switches.  If they return false then
 * x86_guest_pmu_swap_out() and x86_guest_pmu_swap_in() have to be called.
 */
static inline bool x86_guest_pmu_swap_out_vacant(struct x86_guest_pmu *guest)
{
	if (!guest->vacant)
		return false;

	guest->swapped = true;
	WRITE_ONCE(guest->state, X86_GUEST_PMU_GUEST);
	return true;
}

static inline bool x86_guest_pmu_swap_in_vacant(struct x86_guest_pmu *guest)
{
	if (!guest->vacant)
		return false;

	guest->swapped = false;
	WRITE_ONCE(guest->state, X86_GUEST_PMU_HOST);
	return true;
}

#else

static inline bool x86_guest_pmu_capable(void)
{
	return false;
}

static inline bool x86_guest_pmu_owns(void)
{
	return false;
}

static inline u64 x86_guest_pmu_event_enable(struct hw_perf_event *hwc, bool shared)
{
	return ARCH_PERFMON_EVENTSEL_ENABLE;
}

static inline u64 x86_guest_pmu_shared_regs(void)
{
	return 0;
}

static inline bool x86_guest_pmu_is_shared(void)
{
	return false;
}

static inline bool x86_guest_pmu_make_room(void)
{
	return true;
}

static inline enum x86_guest_nmi x86_guest_pmu_take_status(void)
{
	return X86_GUEST_NMI_NONE;
}

static inline u64 x86_guest_pmu_global_ctl(u64 host)
{
	return host;
}

static inline void x86_guest_pmu_evict(void) { }
static inline void x86_guest_pmu_reset(void) { }
static inline void x86_guest_pmu_forget(void) { }

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _ASM_X86_PERF_GUEST_H */
