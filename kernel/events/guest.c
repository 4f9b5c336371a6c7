// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive use of a PMU by guests: reservation and the host clock.
 *
 * Reservation.  "Include-guest" events, i.e. events of a capable PMU without
 * attr.exclude_guest, and reservations exclude each other system-wide: a
 * reservation fails with -EBUSY while such an event exists, and creating one
 * fails with -EOPNOTSUPP while a reservation exists.  An event that cannot have
 * what it asks for is refused; it is never silently left without a counter.
 *
 * The one exception is the hard lockup detector.  Its event has to watch the
 * host, not guests, and it does not mind being stopped in guest mode, because
 * a CPU in guest mode is one interrupt away from the host.  Such an event
 * "yields": it neither blocks a reservation nor is blocked by one, and it is
 * stopped for guest mode just as exclude_guest events are.
 *
 * Host clock.  While a guest owns a CPU's PMU, events of that PMU do not count,
 * so that time must not go into their enabled and running times either, else
 * scaling by enabled / running is skewed.  The host clock of a CPU is perf's
 * clock less the time that the CPU's PMU was a guest's: it stands still while a
 * guest owns the PMU.  Contexts and cgroups keep their time in both clocks and
 * each event uses the one that fits, see perf_guest_event_stops().  Nothing has
 * to be visited when the PMU changes hands.
 */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/perf_guest.h>
#include <linux/sched/clock.h>

/*
 * Each side bumps its own count without a lock unless it is zero.  The step
 * from 0 to 1 is done under the mutex after a look at the other side's count,
 * so that at most one of the two can be non-zero.
 */
static DEFINE_MUTEX(perf_guest_mutex);
static atomic_t nr_include_guest_events = ATOMIC_INIT(0);
static atomic_t nr_guest_reservations = ATOMIC_INIT(0);

static perf_overflow_handler_t perf_guest_yielding_handler;

/**
 * perf_guest_reserved - is a PMU reserved for guests now?
 *
 * Context: Any.  The answer may be out of date as soon as it is given.
 */
bool perf_guest_reserved(void)
{
	return atomic_read(&nr_guest_reservations);
}

static int perf_guest_count(atomic_t *mine, atomic_t *theirs, int error)
{
	if (atomic_inc_not_zero(mine))
		return 0;

	guard(mutex)(&perf_guest_mutex);

	if (atomic_read(theirs))
		return error;

	atomic_inc(mine);
	return 0;
}

static void perf_guest_uncount(atomic_t *mine)
{
	WARN_ON_ONCE(atomic_dec_if_positive(mine) < 0);
}

/**
 * perf_guest_reserve - reserve capable PMUs for use by a guest
 *
 * While at least one reservation stands, no event of a PMU with
 * PERF_PMU_CAP_MEDIATED_VPMU can count in guest mode, and the hand-over of such
 * a PMU to a guest is allowed.  Reservations nest.
 *
 * Context: Process context, may sleep.
 * Return: 0, or -EBUSY if an event that includes guests exists.
 */
int perf_guest_reserve(void)
{
	might_sleep();

	return perf_guest_count(&nr_guest_reservations,
				&nr_include_guest_events, -EBUSY);
}
EXPORT_SYMBOL_GPL(perf_guest_reserve);

/**
 * perf_guest_release - undo one successful perf_guest_reserve()
 *
 * Context: Any.
 */
void perf_guest_release(void)
{
	perf_guest_uncount(&nr_guest_reservations);
}
EXPORT_SYMBOL_GPL(perf_guest_release);

static bool perf_guest_yielding(struct perf_event *event)
{
	perf_overflow_handler_t handler = READ_ONCE(perf_guest_yielding_handler);

	return handler && event->overflow_handler == handler;
}

/* Would @event count in guest mode if there was no reservation? */
static bool is_include_guest_event(struct perf_event *event)
{
	return perf_guest_capable(event) && !event->attr.exclude_guest &&
	       !perf_guest_yielding(event);
}

/*
 * Account a new event, as the last step of its allocation.  Pairs with
 * perf_guest_unaccount_event().  Returns 0 or -EOPNOTSUPP.
 */
int perf_guest_account_event(struct perf_event *event)
{
	if (!is_include_guest_event(event))
		return 0;

	return perf_guest_count(&nr_include_guest_events,
				&nr_guest_reservations, -EOPNOTSUPP);
}

void perf_guest_unaccount_event(struct perf_event *event)
{
	if (is_include_guest_event(event))
		perf_guest_uncount(&nr_include_guest_events);
}

/*
 * Let events with that overflow handler yield, see the opening comment.  There
 * is room for one handler; it must be set before the first event with it is
 * created and stays for good.
 */
void perf_guest_set_yielding(perf_overflow_handler_t handler)
{
	WARN_ON_ONCE(perf_guest_yielding_handler &&
		     perf_guest_yielding_handler != handler);
	WRITE_ONCE(perf_guest_yielding_handler, handler);
}

/*
 * The host clock of one CPU.
 *
 * @guest_time is the time the PMU was a guest's, in ns, up to the last give
 * back.  @stopped_at is the host clock's value while it stands still, else 0.
 * Written with interrupts off on the CPU itself.  Readers need no lock: going
 * to the guest is one store; coming back is two, in an order that keeps the
 * clock standing until both are done.
 */
struct perf_guest_clock {
	u64	guest_time;
	u64	stopped_at;
};

static DEFINE_PER_CPU(struct perf_guest_clock, perf_guest_clock);

/**
 * perf_guest_clock_stop - a guest gets this CPU's PMU; stop the host clock
 *
 * To be called by the architecture's hand-over, after the last host event was
 * stopped.
 *
 * Context: Interrupts off.
 */
void perf_guest_clock_stop(void)
{
	struct perf_guest_clock *clock = this_cpu_ptr(&perf_guest_clock);
	u64 now = local_clock();

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(clock->stopped_at))
		return;

	/* A clock stopped at 0 would read as running. */
	WRITE_ONCE(clock->stopped_at, max(now - clock->guest_time, 1ULL));
}

/**
 * perf_guest_clock_start - this CPU's PMU is perf's again; start the host clock
 *
 * Context: Interrupts off.
 */
void perf_guest_clock_start(void)
{
	struct perf_guest_clock *clock = this_cpu_ptr(&perf_guest_clock);

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(!clock->stopped_at))
		return;

	WRITE_ONCE(clock->guest_time, local_clock() - clock->stopped_at);
	/* Pairs with smp_rmb() in perf_guest_host_clock(). */
	smp_wmb();
	WRITE_ONCE(clock->stopped_at, 0);
}

/*
 * The host clock of @cpu at the time @now of perf's clock, in ns.  Safe in NMI
 * context.  On another CPU, where the PMU may change hands meanwhile, the value
 * is one that was true at some moment during the call.
 */
static u64 perf_guest_host_clock(int cpu, u64 now)
{
	struct perf_guest_clock *clock = per_cpu_ptr(&perf_guest_clock, cpu);
	u64 guest_time, stopped_at;

	do {
		guest_time = READ_ONCE(clock->guest_time);
		/* Pairs with smp_wmb() in perf_guest_clock_start(). */
		smp_rmb();
		stopped_at = READ_ONCE(clock->stopped_at);
		/* A pair that belongs together has both reads between writes. */
		smp_rmb();
	} while (unlikely(guest_time != READ_ONCE(clock->guest_time)));

	return stopped_at ?: now - guest_time;
}

/*
 * Account the time since the last update to @host, or, if !@adv, just start to, on
 * this CPU.  @now is perf's clock.  The caller holds the lock of the context that
 * @host belongs to, with interrupts off.
 */
void perf_host_time_update(struct perf_host_time *host, u64 now, bool adv)
{
	/* The context may be active elsewhere: one of its events is read from here. */
	int cpu = adv ? host->cpu : smp_processor_id();

	now = perf_guest_host_clock(cpu, now);

	if (adv) {
		/* Since @now the PMU may have gone to a guest and come back there. */
		now += max_t(s64, host->timestamp - now, 0);
		host->time += now - host->timestamp;
	}
	host->timestamp = now;

	WRITE_ONCE(host->cpu, cpu);
	WRITE_ONCE(host->timeoffset, host->time - host->timestamp);
}

/* Host time as of the last update. */
u64 perf_host_time(struct perf_host_time *host)
{
	return host->time;
}

/* Host time at @now of perf's clock, while the context is active.  NMI safe. */
u64 perf_host_time_now(struct perf_host_time *host, u64 now)
{
	return perf_guest_host_clock(READ_ONCE(host->cpu), now) +
	       READ_ONCE(host->timeoffset);
}
