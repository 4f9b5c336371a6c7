// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive use of a PMU by guests: reservation and times.
 *
 * Reservation.  "Include-guest" events, i.e. events of a capable PMU without
 * attr.exclude_guest, and reservations exclude each other system-wide: a
 * reservation fails with -EBUSY while such an event exists, and creating one
 * fails with -EOPNOTSUPP while a reservation exists.  An event that cannot have
 * what it asks for is refused; it is never silently left without a counter.
 *
 * The exception are events that yield, which only the kernel can create, see
 * perf_event_create_yielding_counter().  The hard lockup detector's is one: it
 * has to watch the host, not guests, and does not mind being stopped in guest
 * mode, because a CPU in guest mode is one interrupt away from the host.  Such an
 * event neither blocks a reservation nor is blocked by one.
 *
 * Times.  They follow from an event's own attributes, whatever its group is, and
 * whatever PMU the guest has:
 *
 *   event			total_time_enabled	total_time_running
 *   exclude_guest, any PMU	not in guest mode	not in guest mode
 *   else, of a capable PMU	always			not while a guest owns the PMU
 *   else			always			always
 *
 * For the first row each CPU has a clock of its time in guest mode.  Contexts and
 * cgroups keep the part of their time that was not guest mode, and that is such an
 * event's time.  The second row needs the clock only while the
 * event is on a counter, so that the event itself keeps it.  Nothing has to be
 * visited when a guest is entered or left.
 *
 * Cost.  All of this sleeps behind perf_guest_key until a hypervisor says that it
 * will hand PMUs to guests, perf_guest_enable(), except that events which are no
 * children are counted when they are created and freed.
 *
 * Before that no CPU has been in guest mode, as far as these clocks are
 * concerned.  Hence perf_guest_gen: a part or a moment kept under another value of
 * it says nothing, and is all of the time, or now.  The key goes off only when the
 * last event is freed that may have part of its time left out, because the part
 * would come back otherwise.
 */
#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/export.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/perf_guest.h>
#include <linux/sched/clock.h>
#include <linux/smp.h>
#include <linux/workqueue.h>

DEFINE_STATIC_KEY_FALSE(perf_guest_key);
EXPORT_SYMBOL_GPL(perf_guest_key);

DEFINE_PER_CPU(struct perf_guest_cpu, perf_guest_cpu);
EXPORT_PER_CPU_SYMBOL_GPL(perf_guest_cpu);

/*
 * Include-guest events and reservations: each side bumps its own count without a
 * lock unless it is zero.  The step from 0 to 1 is done under the mutex after a
 * look at the other side's count, so that at most one of the two can be non-zero.
 *
 * Events that exclude guests: the step from 0 to 1 is done under the mutex, too,
 * so that the key does not go off meanwhile.
 */
static DEFINE_MUTEX(perf_guest_mutex);
static atomic_t nr_include_guest_events = ATOMIC_INIT(0);
static atomic_t nr_exclude_guest_events = ATOMIC_INIT(0);
static atomic_t nr_guest_reservations = ATOMIC_INIT(0);
static int nr_hypervisors;
static unsigned int perf_guest_gen __read_mostly;

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

	if (theirs && atomic_read(theirs))
		return error;

	atomic_inc(mine);
	return 0;
}

static int perf_guest_uncount(atomic_t *mine)
{
	int left = atomic_dec_if_positive(mine);

	WARN_ON_ONCE(left < 0);
	return left;
}

/*
 * The first reservation stands: the architecture may move events to counters that
 * guests do not make use of.
 */
void __weak arch_perf_guest_reserved(void) { }

/**
 * perf_guest_reserve - reserve capable PMUs for use by a guest
 *
 * While at least one reservation stands, no event of a PMU with
 * PERF_PMU_CAP_MEDIATED_VPMU can count in guest mode, and the hand-over of such
 * a PMU to a guest is allowed.  Reservations nest.
 *
 * Context: Process context, may sleep.  After perf_guest_enable().
 * Return: 0, or -EBUSY if an event that includes guests exists.
 */
int perf_guest_reserve(void)
{
	bool first = !perf_guest_reserved();
	int r;

	might_sleep();

	if (WARN_ON_ONCE(!perf_guest_enabled()))
		return -ENODEV;

	r = perf_guest_count(&nr_guest_reservations, &nr_include_guest_events, -EBUSY);
	if (!r && first)
		arch_perf_guest_reserved();

	return r;
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

/* What else the architecture has to bring up to date on this CPU, see below. */
void __weak arch_perf_guest_sync(void) { }

/**
 * perf_guest_enable - a hypervisor will hand PMUs to guests
 *
 * From here on perf keeps account of what guests do.  Events that exist already
 * are included.  To be called before any guest runs, e.g. when the module is
 * loaded.
 *
 * Context: Process context, may sleep, without cpus_read_lock().
 */
void perf_guest_enable(void)
{
	guard(cpus_read_lock)();
	guard(mutex)(&perf_guest_mutex);

	if (nr_hypervisors++ || static_key_enabled(&perf_guest_key))
		return;

	/* Read without a lock, but there is no guest yet and all that depends on it is 0. */
	WRITE_ONCE(perf_guest_gen, perf_guest_gen + 1);
	static_branch_enable_cpuslocked(&perf_guest_key);
	on_each_cpu(perf_guest_sync_cpu, NULL, 1);
}
EXPORT_SYMBOL_GPL(perf_guest_enable);

static void perf_guest_try_to_sleep(struct work_struct *work)
{
	guard(cpus_read_lock)();
	guard(mutex)(&perf_guest_mutex);

	if (nr_hypervisors || !static_key_enabled(&perf_guest_key) ||
	    atomic_read(&nr_exclude_guest_events))
		return;

	/* Have events that include guests account what they still have to. */
	on_each_cpu(perf_guest_sync_cpu, NULL, 1);
	static_branch_disable_cpuslocked(&perf_guest_key);
}

static DECLARE_WORK(perf_guest_sleep_work, perf_guest_try_to_sleep);

/**
 * perf_guest_disable - undo one perf_guest_enable()
 *
 * No guest may run any more, or have reserved a PMU.
 *
 * Context: Process context, may sleep, without cpus_read_lock().
 */
void perf_guest_disable(void)
{
	scoped_guard(mutex, &perf_guest_mutex) {
		if (!WARN_ON_ONCE(nr_hypervisors <= 0))
			nr_hypervisors--;
		WARN_ON_ONCE(!nr_hypervisors && perf_guest_reserved());
	}

	perf_guest_try_to_sleep(NULL);
}
EXPORT_SYMBOL_GPL(perf_guest_disable);

int __perf_guest_account_event(struct perf_event *event)
{
	int r = 0;

	if (event->attr.exclude_guest)
		perf_guest_count(&nr_exclude_guest_events, NULL, 0);
	else if (perf_guest_capable(event) && !event->guest_yields)
		r = perf_guest_count(&nr_include_guest_events,
				     &nr_guest_reservations, -EOPNOTSUPP);
	else
		return 0;

	event->guest_counted = !r;
	return r;
}

void __perf_guest_unaccount_event(struct perf_event *event)
{
	if (!event->attr.exclude_guest)
		perf_guest_uncount(&nr_include_guest_events);
	else if (!perf_guest_uncount(&nr_exclude_guest_events) &&
		 perf_guest_enabled() && !READ_ONCE(nr_hypervisors))
		schedule_work(&perf_guest_sleep_work);
}

/*
 * The clocks are written with interrupts off on the CPU itself.  Readers need no
 * lock: to begin is one store; to end is two, in an order that lets the clock
 * read as running until both are done.
 */
static void perf_guest_clock_begin(struct perf_guest_clock *clock, u64 now)
{
	/* One that began at 0 would read as not running. */
	WRITE_ONCE(clock->began_at, max(now - clock->time, 1ULL));
}

static void perf_guest_clock_end(struct perf_guest_clock *clock, u64 now)
{
	WRITE_ONCE(clock->time, now - clock->began_at);
	/* Pairs with smp_rmb() in perf_guest_clock_read(). */
	smp_wmb();
	WRITE_ONCE(clock->began_at, 0);
}

/*
 * The clock at the time @now of perf's clock.  Safe in NMI context.  On another
 * CPU, where guests come and go meanwhile, the value is one that was true at some
 * moment during the call.
 */
static u64 perf_guest_clock_read(struct perf_guest_clock *clock, u64 now)
{
	u64 time, began_at;

	do {
		time = READ_ONCE(clock->time);
		/* Pairs with smp_wmb() in perf_guest_clock_end(). */
		smp_rmb();
		began_at = READ_ONCE(clock->began_at);
		/* A pair that belongs together has both reads between writes. */
		smp_rmb();
	} while (unlikely(time != READ_ONCE(clock->time)));

	if (!began_at)
		return time;

	/* It may have begun since @now. */
	return max_t(s64, now - began_at, time);
}

void __perf_guest_enter(void)
{
	struct perf_guest_clock *mode = this_cpu_ptr(&perf_guest_cpu.mode);

	lockdep_assert_irqs_disabled();

	/* The hand-over has done it. */
	if (!mode->began_at)
		perf_guest_clock_begin(mode, local_clock());
}
EXPORT_SYMBOL_GPL(__perf_guest_enter);

/*
 * Bring up to date on this CPU what user space goes on with by itself, as the
 * architecture's clock has not stopped in guest mode.
 */
void __weak arch_perf_guest_exit(void) { }

void __perf_guest_exit(void)
{
	lockdep_assert_irqs_disabled();

	perf_guest_clock_end(this_cpu_ptr(&perf_guest_cpu.mode), local_clock());
	arch_perf_guest_exit();
}
EXPORT_SYMBOL_GPL(__perf_guest_exit);

/**
 * perf_guest_clock_stop - a guest gets this CPU's PMU
 *
 * To be called by the architecture's hand-over, after the last host event was
 * stopped.  If guest mode follows, then it begins here as well, in order to read
 * the time only once.
 *
 * Context: Interrupts off.
 */
void perf_guest_clock_stop(void)
{
	struct perf_guest_cpu *cpu = this_cpu_ptr(&perf_guest_cpu);
	u64 now = local_clock();

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(cpu->owned.began_at))
		return;

	perf_guest_clock_begin(&cpu->owned, now);
	if (cpu->nr_excluding && !cpu->mode.began_at)
		perf_guest_clock_begin(&cpu->mode, now);
}

/**
 * perf_guest_clock_start - this CPU's PMU is perf's again, and guest mode over
 *
 * To be called before the first host event is started.
 *
 * Context: Interrupts off.
 */
void perf_guest_clock_start(void)
{
	struct perf_guest_cpu *cpu = this_cpu_ptr(&perf_guest_cpu);
	u64 now = local_clock();

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(!cpu->owned.began_at))
		return;

	perf_guest_clock_end(&cpu->owned, now);
	if (cpu->mode.began_at)
		perf_guest_clock_end(&cpu->mode, now);
}

static void perf_guest_time_start(struct perf_guest_time *guest, u64 time, u64 now)
{
	if (guest->gen != perf_guest_gen)
		WRITE_ONCE(guest->host_time, time);

	WRITE_ONCE(guest->cpu, smp_processor_id());
	WRITE_ONCE(guest->offset, time - guest->host_time -
		   perf_guest_clock_read(this_cpu_ptr(&perf_guest_cpu.mode), now));
	/* Pairs with the barrier in perf_guest_time_now(), which may be an NMI's. */
	barrier();
	WRITE_ONCE(guest->gen, perf_guest_gen);
}

/*
 * A context's time is @time at @now of perf's clock: update the part of it that was
 * not guest mode or, if !@adv, start to keep that on this CPU.  The caller holds the
 * context's lock, with interrupts off.
 */
void perf_guest_time_update(struct perf_guest_time *guest, u64 time, u64 now, bool adv)
{
	if (!adv) {
		perf_guest_time_start(guest, time, now);
	} else if (guest->gen == perf_guest_gen) {
		struct perf_guest_clock *mode = per_cpu_ptr(&perf_guest_cpu.mode, guest->cpu);

		/*
		 * The context may be active on another CPU, where guests may have come
		 * and gone since @now: time does not go back for that.
		 */
		time -= perf_guest_clock_read(mode, now) + guest->offset;
		WRITE_ONCE(guest->host_time, max_t(s64, time, guest->host_time));
	}
	/* Else perf_guest_enable() is about to visit the CPU where it is active. */
}

/* Start for a context that is active since before perf_guest_enable(). */
void perf_guest_time_sync(struct perf_guest_time *guest, u64 time, u64 now)
{
	if (guest->gen != perf_guest_gen)
		perf_guest_time_start(guest, time, now);
}

/* The part that was not guest mode of a context's @time, the last it was updated to. */
u64 perf_guest_host_time(struct perf_guest_time *guest, u64 time)
{
	return READ_ONCE(guest->gen) == perf_guest_gen ? READ_ONCE(guest->host_time) : time;
}

/* What was guest mode up to @now, while the context is active.  NMI safe. */
u64 perf_guest_time_now(struct perf_guest_time *guest, u64 now)
{
	struct perf_guest_clock *clock;

	if (READ_ONCE(guest->gen) != perf_guest_gen)
		return 0;

	barrier();
	clock = per_cpu_ptr(&perf_guest_cpu.mode, READ_ONCE(guest->cpu));
	return perf_guest_clock_read(clock, now) + READ_ONCE(guest->offset);
}

/*
 * @event's times have been updated.  If it does not exclude guests, take back what
 * a guest had of its time on the counter, where it was if @active.  That is on this
 * CPU, with interrupts on in between, hence no guest owns the PMU now.
 */
void perf_guest_running_update(struct perf_event *event, bool active)
{
	u64 owned;

	if (event->attr.exclude_guest || !perf_guest_capable(event))
		return;

	owned = this_cpu_read(perf_guest_cpu.owned.time);
	if (active && event->guest_gen == perf_guest_gen)
		event->total_time_running -= owned - event->guest_tstamp;

	event->guest_tstamp = owned;
	event->guest_gen = perf_guest_gen;
}

/* What that will take back, for an event on a counter, as of @now.  NMI safe. */
u64 perf_guest_running_lost(struct perf_event *event, u64 now)
{
	int cpu = READ_ONCE(event->oncpu);
	s64 lost;

	if (event->attr.exclude_guest || !perf_guest_capable(event) || cpu < 0 ||
	    event->guest_gen != perf_guest_gen)
		return 0;

	lost = perf_guest_clock_read(per_cpu_ptr(&perf_guest_cpu.owned, cpu), now) -
	       event->guest_tstamp;
	return max_t(s64, lost, 0);
}
