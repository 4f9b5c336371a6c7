/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_PERF_GUEST_H
#define _ASM_X86_PERF_GUEST_H

#include <linux/perf_guest.h>
#include <linux/percpu-defs.h>

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

typedef void (*x86_perf_guest_evict_t)(void);

/* Does a guest own this CPU's core PMU? */
DECLARE_PER_CPU(bool, x86_perf_guest_owner);
/* Are values of a guest parked in it, and what gets them out? */
DECLARE_PER_CPU(x86_perf_guest_evict_t, x86_perf_guest_parked);
/* How many events on this CPU's core PMU exclude guests? */
DECLARE_PER_CPU(int, x86_perf_guest_host_events);

bool x86_perf_guest_capable(void);
void x86_perf_guest_enter(u32 guest_lvtpc);
void x86_perf_guest_found(u64 status);
u64 x86_perf_guest_not_zero(void);
u64 x86_perf_guest_wanted(void);
void x86_perf_guest_zeroed(u64 counters);
void x86_perf_guest_exit_beside(bool pmi_due, u64 counters, x86_perf_guest_evict_t evict);
void x86_perf_guest_exit(bool pmi_due);
void x86_perf_guest_enter_unloaded(void);
void x86_perf_guest_exit_unloaded(void);
bool x86_perf_guest_claim_pmi(void);
bool x86_perf_guest_park(x86_perf_guest_evict_t evict);
void x86_perf_guest_unpark(void);
bool x86_perf_guest_is_alone(void);
void x86_perf_guest_forget(void);
void x86_perf_guest_set_lvtpc(u32 guest_lvtpc);
void __x86_perf_guest_evict(void);

/*
 * Have the values of a parked guest out of the PMU, before it is used for
 * something else.  Interrupts must be off; NMIs must not do this.
 */
static inline void x86_perf_guest_evict(void)
{
	if (unlikely(__this_cpu_read(x86_perf_guest_parked)))
		__x86_perf_guest_evict();
}

static inline bool x86_perf_guest_owns_pmu(void)
{
	return __this_cpu_read(x86_perf_guest_owner);
}

/* If it has not, there is no need to call x86_perf_guest_enter_unloaded(). */
static inline bool x86_perf_guest_has_host_events(void)
{
	return __this_cpu_read(x86_perf_guest_host_events);
}

/* @n: 1 for an event that perf has added on this CPU, -1 for one that it deletes */
static inline void x86_perf_guest_count_event(bool exclude_guest, int n)
{
	if (exclude_guest)
		__this_cpu_add(x86_perf_guest_host_events, n);
}

#else

static inline bool x86_perf_guest_capable(void)
{
	return false;
}

static inline void x86_perf_guest_evict(void) { }

static inline bool x86_perf_guest_is_alone(void)
{
	return false;
}

static inline bool x86_perf_guest_owns_pmu(void)
{
	return false;
}

static inline void x86_perf_guest_count_event(bool exclude_guest, int n) { }

static inline bool x86_perf_guest_claim_pmi(void)
{
	return false;
}

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _ASM_X86_PERF_GUEST_H */
