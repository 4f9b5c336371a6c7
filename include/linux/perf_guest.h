/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Exclusive use of a PMU by guests.
 *
 * A hypervisor that hands the hardware counters to a guest (a mediated PMU)
 * needs two things from perf: the promise that no host event wants to count
 * while the guest runs (reservation), and, per CPU, the counters themselves
 * (the hand-over, which is the architecture's part, e.g. <asm/perf_guest.h>).
 */
#ifndef _LINUX_PERF_GUEST_H
#define _LINUX_PERF_GUEST_H

#include <linux/perf_event.h>

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

int perf_guest_reserve(void);
void perf_guest_release(void);

/* For the architecture's hand-over. */
void perf_guest_clock_stop(void);
void perf_guest_clock_start(void);

/* For perf and its in-kernel users. */
bool perf_guest_reserved(void);
int perf_guest_account_event(struct perf_event *event);
void perf_guest_unaccount_event(struct perf_event *event);
void perf_guest_set_yielding(perf_overflow_handler_t handler);
void perf_host_time_update(struct perf_host_time *host, u64 now, bool adv);
u64 perf_host_time(struct perf_host_time *host);
u64 perf_host_time_now(struct perf_host_time *host, u64 now);

static inline bool perf_guest_capable(struct perf_event *event)
{
	return event->pmu &&
	       (event->pmu->capabilities & PERF_PMU_CAP_MEDIATED_VPMU);
}

/*
 * Is @event stopped while a guest owns its PMU?  Its times then are in the host
 * clock.  Include-guest events are not: they exist only while no guest can own
 * the PMU, where both clocks advance alike.
 */
static inline bool perf_guest_event_stops(struct perf_event *event)
{
	return event->attr.exclude_guest && perf_guest_capable(event);
}

#else

static inline bool perf_guest_reserved(void)
{
	return false;
}

static inline int perf_guest_account_event(struct perf_event *event)
{
	return 0;
}

static inline void perf_guest_unaccount_event(struct perf_event *event) { }
static inline void perf_guest_set_yielding(perf_overflow_handler_t handler) { }

static inline bool perf_guest_event_stops(struct perf_event *event)
{
	return false;
}

static inline void
perf_host_time_update(struct perf_host_time *host, u64 now, bool adv) { }

static inline u64 perf_host_time(struct perf_host_time *host)
{
	return 0;
}

static inline u64 perf_host_time_now(struct perf_host_time *host, u64 now)
{
	return 0;
}

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _LINUX_PERF_GUEST_H */
