/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_PERF_GUEST_H
#define _ASM_X86_PERF_GUEST_H

#include <linux/perf_guest.h>
#include <linux/percpu-defs.h>

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
};

/*
 * Save the guest's values of the registers in @regs and leave these registers
 * disabled and 0, with no overflow status of them; in state STALE the values are
 * saved already.  Called with interrupts off.
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
 * @regs:	the registers that hold values of a guest; 0 in states INIT and HOST
 * @evict:	saves and clears them
 */
struct x86_guest_pmu {
	enum x86_guest_pmu_state	state;
	u64				regs;
	x86_guest_pmu_evict_t		evict;
};

/*
 * @missing:	the registers that do not hold the guest's values, and are the caller's
 *		to write
 * @status:	GLOBAL_STATUS as it was found
 * @exclusive:	no facility of the host other than the PMU sets bits of GLOBAL_STATUS
 */
struct x86_guest_pmu_grant {
	u64	missing;
	u64	status;
	bool	exclusive;
};

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

bool x86_guest_pmu_capable(void);
bool x86_guest_pmu_nmi(void);
bool x86_guest_pmu_stays(void);
void x86_guest_pmu_reset(void);
void x86_guest_pmu_forget(void);

const struct x86_guest_pmu *x86_guest_pmu(void);
enum x86_guest_pmu_state x86_guest_pmu_get(u64 regs, struct x86_guest_pmu_grant *grant);
void x86_guest_pmu_put(enum x86_guest_pmu_state to, x86_guest_pmu_evict_t evict);
void x86_guest_pmu_evict(void);
void x86_guest_pmu_set_lvtpc(u32 lvtpc);

#else

static inline bool x86_guest_pmu_capable(void)
{
	return false;
}

static inline bool x86_guest_pmu_nmi(void)
{
	return false;
}

static inline bool x86_guest_pmu_stays(void)
{
	return false;
}

static inline void x86_guest_pmu_evict(void) { }
static inline void x86_guest_pmu_reset(void) { }
static inline void x86_guest_pmu_forget(void) { }

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _ASM_X86_PERF_GUEST_H */
