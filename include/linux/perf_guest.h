/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Exclusive use of a PMU by guests.
 *
 * A hypervisor that hands the hardware counters to a guest (a mediated PMU)
 * needs three things from perf: that events which would count nothing of what
 * they ask for are refused (reservation and policy); times that leave guest mode
 * out where events do not count it; and, per CPU, the counters themselves (the
 * hand-over, which is the architecture's part, e.g. <asm/perf_guest.h>).
 */
#ifndef _LINUX_PERF_GUEST_H
#define _LINUX_PERF_GUEST_H

#include <linux/jump_label.h>
#include <linux/percpu-defs.h>
#include <linux/perf_event.h>
#include <linux/sched.h>

/*
 * A reservation.  @owner: the process of the hypervisor.  @id: is never used again.
 */
struct perf_guest_reservation {
	struct list_head	entry;
	struct pid		*owner;
	u64			id;
};

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

DECLARE_STATIC_KEY_FALSE(perf_guest_key);

/*
 * Is there a hypervisor that hands PMUs to guests?  Everything that costs perf
 * anything depends on this.
 */
static __always_inline bool perf_guest_enabled(void)
{
	return static_branch_unlikely(&perf_guest_key);
}

/*
 * The time that a CPU was in some state, in ns.
 *
 * @time is that up to when it last left the state.  @began_at is the moment it
 * entered the state, less @time at that moment, else 0.
 */
struct perf_guest_clock {
	u64			time;
	u64			began_at;
};

/*
 * @nr_aware: events that care about guests, see perf_guest_event_is_aware(), in
 * contexts whose time runs on this CPU.  @mode: the time in guest mode.  It is kept
 * only while there are such events, because nothing else makes use of it.  @owned: the
 * time that a guest owned the PMU, or was in guest mode with a part of it.
 */
struct perf_guest_cpu {
	int			nr_aware;
	struct perf_guest_clock	mode;
	struct perf_guest_clock	owned;
};

DECLARE_PER_CPU(struct perf_guest_cpu, perf_guest_cpu);

/* For the hypervisor. */
void perf_guest_enable(void);
void perf_guest_disable(void);
int perf_guest_reserve(struct perf_guest_reservation *reservation);
void perf_guest_release(struct perf_guest_reservation *reservation);
void __perf_guest_enter(bool owned);
void __perf_guest_exit(void);

/* This thread is about to run a vCPU of @reservation. */
static inline void perf_guest_mark_thread(struct perf_guest_reservation *reservation)
{
	if (unlikely(current->perf_guest_id != reservation->id))
		WRITE_ONCE(current->perf_guest_id, reservation->id);
}

/* Does this CPU have events that care about guests?  Interrupts off. */
static inline bool perf_guest_has_host_events(void)
{
	return perf_guest_enabled() && __this_cpu_read(perf_guest_cpu.nr_aware);
}

/*
 * Guest mode begins, and ends, of any guest, whether it has a PMU or not.  @owned: it
 * has, at least a part of it, i.e. events of perf do not count in guest mode.
 * Interrupts are off from before the one call until after the other.
 */
static __always_inline void perf_guest_enter(bool owned)
{
	if (perf_guest_has_host_events())
		__perf_guest_enter(owned);
}

static __always_inline void perf_guest_exit(void)
{
	if (perf_guest_enabled() && __this_cpu_read(perf_guest_cpu.mode.began_at))
		__perf_guest_exit();
}

/* For the architecture's hand-over. */
void perf_guest_clock_stop(void);
void perf_guest_clock_start(void);

/* What the architecture may have to do for these. */
void arch_perf_guest_sync(void);
void arch_perf_guest_reserved(void);
void arch_perf_guest_exit(void);
void arch_perf_guest_sample(struct perf_event *event);

/* For perf and its in-kernel users. */
bool perf_guest_reserved(void);
int __perf_guest_account_event(struct perf_event *event);
void __perf_guest_unaccount_event(struct perf_event *event);
u64 perf_guest_host_time(struct perf_guest_time *guest, u64 time);
u64 perf_guest_time_now(struct perf_guest_time *guest, u64 now);
void perf_guest_time_sync(struct perf_guest_time *guest, u64 time, u64 now);
void perf_guest_time_update(struct perf_guest_time *guest, u64 time, u64 now, bool adv);
void perf_guest_running_update(struct perf_event *event, bool active);
u64 perf_guest_running_lost(struct perf_event *event, u64 now);
void perf_guest_sync_cpu(void *unused);

static inline bool perf_guest_capable(struct perf_event *event)
{
	return event->pmu &&
	       (event->pmu->capabilities & PERF_PMU_CAP_MEDIATED_VPMU);
}

/*
 * Does it matter to @event whether the CPU is in guest mode?  Those of the kernel that
 * yield do not mind, and nobody reads their times.
 */
static inline bool perf_guest_event_is_aware(struct perf_event *event)
{
	return event->attr.exclude_guest ||
	       (perf_guest_capable(event) && !event->guest_yields);
}

/* An interrupt says that @event has overflowed, which is about to be sampled. */
static inline void perf_guest_sample(struct perf_event *event)
{
	if (perf_guest_capable(event))
		arch_perf_guest_sample(event);
}

/* A new thread runs no vCPU. */
static inline void perf_guest_init_task(struct task_struct *task)
{
	if (perf_guest_enabled())
		task->perf_guest_id = 0;
}

static inline void perf_guest_set_yields(struct perf_event *event, bool yields)
{
	event->guest_yields = yields;
}

/*
 * Account a new event, which may be refused, and undo that.  Inherited events
 * count with their parent, which they hold a reference to.
 */
static inline int perf_guest_account_event(struct perf_event *event)
{
	return event->parent ? 0 : __perf_guest_account_event(event);
}

static inline void perf_guest_unaccount_event(struct perf_event *event)
{
	if (event->guest_counted)
		__perf_guest_unaccount_event(event);
}

/* Does time in guest mode not count as time of @event? */
static __always_inline bool perf_guest_event_stops(struct perf_event *event)
{
	return perf_guest_enabled() && event->attr.exclude_guest;
}

#else

static inline void perf_guest_enable(void) { }
static inline void perf_guest_disable(void) { }
static inline void perf_guest_enter(bool owned) { }
static inline void perf_guest_exit(void) { }

static inline bool perf_guest_enabled(void)
{
	return false;
}

static inline bool perf_guest_reserved(void)
{
	return false;
}

static inline void perf_guest_set_yields(struct perf_event *event, bool yields) { }

static inline int perf_guest_account_event(struct perf_event *event)
{
	return 0;
}

static inline void perf_guest_unaccount_event(struct perf_event *event) { }
static inline void perf_guest_sample(struct perf_event *event) { }
static inline void perf_guest_init_task(struct task_struct *task) { }

static inline bool perf_guest_event_stops(struct perf_event *event)
{
	return false;
}

static inline u64 perf_guest_host_time(struct perf_guest_time *guest, u64 time)
{
	return time;
}

static inline u64 perf_guest_time_now(struct perf_guest_time *guest, u64 now)
{
	return 0;
}

static inline void
perf_guest_time_update(struct perf_guest_time *guest, u64 time, u64 now, bool adv) { }

static inline void
perf_guest_running_update(struct perf_event *event, bool active) { }

static inline u64 perf_guest_running_lost(struct perf_event *event, u64 now)
{
	return 0;
}

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _LINUX_PERF_GUEST_H */
