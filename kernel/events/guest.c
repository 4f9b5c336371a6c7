// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive use of a PMU by guests: policy and times.
 *
 * Policy.  At a switch to a guest every event of a capable PMU is stopped, or has a
 * counter of its own that stands still in guest mode, whatever its attributes.  An
 * "include-guest" event, one without attr.exclude_guest, thus yields: it counts while no
 * guest that counts itself has the PMU, and its times say so.  Nothing depends on a
 * refusal.  It is there to tell a user that a count would be wrong.
 *
 * With kernel.perf_guest_policy=refuse, a reservation and an include-guest event that
 * belongs to a CPU or to a cgroup collide: the reservation fails with -EBUSY while there
 * is such an event, and creating one fails with -EOPNOTSUPP while there is a
 * reservation.  An event of a task collides with nothing, for it is about one program,
 * except for a thread that runs vCPUs of a reservation: creating one for that thread
 * fails with -EOPNOTSUPP.  An event that is older than the thread's first vCPU, or is
 * inherited, yields.  So no user can keep VMs from running with events of tasks, and
 * running VMs do not keep users from profiling their own programs.
 *
 * With kernel.perf_guest_policy=yield nothing is refused.  The policy can change at any
 * time.  Events that exist when it becomes yield go on yielding for good.
 *
 * The hard lockup detector's event yields always, see
 * perf_event_create_yielding_counter(): it has to watch the host, not guests, and does
 * not mind being stopped in guest mode, because a CPU in guest mode is one interrupt away
 * from the host.
 *
 * Times.  They follow from an event's own attributes, whatever its group is, and
 * whatever PMU the guest has:
 *
 *   event			total_time_enabled	total_time_running
 *   exclude_guest, any PMU	not in guest mode	not in guest mode
 *   else, of a capable PMU	always			not while a guest owns the PMU
 *   else			always			always
 *
 * A guest owns the PMU from when perf's events are stopped until they are started again,
 * and while it is in guest mode with a part of the PMU.
 *
 * For the first row each CPU has a clock of its time in guest mode.  Contexts and
 * cgroups keep the part of their time that was not guest mode, and that is such an
 * event's time.  The second row needs the clock only while the
 * event is on a counter, so that the event itself keeps it.  Nothing has to be
 * visited when a guest is entered or left.
 *
 * Cost.  All of this sleeps behind perf_guest_key until a hypervisor says that it
 * will hand PMUs to guests, perf_guest_enable(), except that events which are no
 * children are counted, or listed if they collide, when they are created and freed.
 *
 * Before that no CPU has been in guest mode, as far as these clocks are
 * concerned.  Hence perf_guest_gen: a part or a moment kept under another value of
 * it says nothing, and is all of the time, or now.  The key goes off only when the
 * last event is freed that may have part of its time left out, because the part
 * would come back otherwise.
 */
#include <linux/atomic.h>
#include <linux/cleanup.h>
#include <linux/cpu.h>
#include <linux/export.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/perf_guest.h>
#include <linux/pid.h>
#include <linux/ratelimit.h>
#include <linux/sched/clock.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/sysctl.h>
#include <linux/workqueue.h>

#define CREATE_TRACE_POINTS
#include <trace/events/perf_guest.h>

DEFINE_STATIC_KEY_FALSE(perf_guest_key);
EXPORT_SYMBOL_GPL(perf_guest_key);

DEFINE_PER_CPU(struct perf_guest_cpu, perf_guest_cpu);
EXPORT_PER_CPU_SYMBOL_GPL(perf_guest_cpu);

/*
 * Events that exclude guests: the step from 0 to 1 is done under the mutex, so that
 * the key does not go off meanwhile.
 */
static DEFINE_MUTEX(perf_guest_mutex);
static atomic_t nr_exclude_guest_events = ATOMIC_INIT(0);
static int nr_hypervisors;
static unsigned int perf_guest_gen __read_mostly;

enum perf_guest_policy {
	PERF_GUEST_REFUSE,
	PERF_GUEST_YIELD,
};

/*
 * The lock protects the policy, and the lists of events and reservations that collide.
 * Unless the policy was PERF_GUEST_YIELD meanwhile, one of the lists is empty.
 */
static DEFINE_SPINLOCK(perf_guest_lock);
static enum perf_guest_policy perf_guest_policy = PERF_GUEST_REFUSE;
static LIST_HEAD(perf_guest_events);
static LIST_HEAD(perf_guest_reservations);
static int nr_guest_events;
static int nr_guest_reservations;

/**
 * perf_guest_reserved - is a PMU reserved for guests now?
 *
 * Context: Any.  The answer may be out of date as soon as it is given.
 */
bool perf_guest_reserved(void)
{
	return READ_ONCE(nr_guest_reservations);
}

/* Who is in whose way?  @owner is the process of one of the @nr that are. */
struct perf_guest_refusal {
	enum perf_guest_refused	what;
	struct pid		*owner;
	int			nr;
};

/* Say the same about the same owner not more often than that, and not of more owners. */
#define PERF_GUEST_TELL_INTERVAL	(10 * HZ)
#define PERF_GUEST_TELL_OWNERS		8

static bool perf_guest_may_tell(enum perf_guest_refused what, pid_t owner)
{
	static struct {
		enum perf_guest_refused what;
		pid_t owner;
		unsigned long until;
	} told[PERF_GUEST_TELL_OWNERS];
	static DEFINE_RATELIMIT_STATE(all, PERF_GUEST_TELL_INTERVAL, PERF_GUEST_TELL_OWNERS);
	int i, oldest = 0;

	guard(spinlock)(&perf_guest_lock);

	for (i = 0; i < PERF_GUEST_TELL_OWNERS; i++) {
		if (told[i].owner == owner && told[i].what == what &&
		    time_before(jiffies, told[i].until))
			return false;
		if (time_before(told[i].until, told[oldest].until))
			oldest = i;
	}

	if (!__ratelimit(&all))
		return false;

	told[oldest].what = what;
	told[oldest].owner = owner;
	told[oldest].until = jiffies + PERF_GUEST_TELL_INTERVAL;
	return true;
}

static void perf_guest_tell(struct perf_guest_refusal *refusal)
{
	struct task_struct *task = get_pid_task(refusal->owner, PIDTYPE_TGID);
	pid_t owner = pid_nr(refusal->owner);
	char comm[TASK_COMM_LEN] = "?", mine[TASK_COMM_LEN];

	if (task) {
		get_task_comm(comm, task);
		put_task_struct(task);
	}
	put_pid(refusal->owner);

	trace_perf_guest_refused(refusal->what, comm, owner, refusal->nr);

	if (!perf_guest_may_tell(refusal->what, owner))
		return;

	get_task_comm(mine, current);
	switch (refusal->what) {
	case PERF_GUEST_REFUSED_EVENT:
		pr_info("perf: %s[%d]: event that includes guests refused: %d VM%s with a mediated PMU, one of %s[%d]; exclude guests (perf's modifier H) or set kernel.perf_guest_policy=yield\n",
			mine, task_tgid_nr(current), refusal->nr, refusal->nr > 1 ? "s" : "",
			comm, owner);
		break;
	case PERF_GUEST_REFUSED_THREAD:
		pr_info("perf: %s[%d]: event that includes guests refused: the thread runs a vCPU with a mediated PMU, of %s[%d]; exclude guests (perf's modifier H) or set kernel.perf_guest_policy=yield\n",
			mine, task_tgid_nr(current), comm, owner);
		break;
	case PERF_GUEST_REFUSED_VM:
		pr_info("perf: %s[%d]: mediated PMU for a VM refused: %d event%s of CPUs or cgroups that include guests, one of %s[%d]; end it, exclude guests (perf's modifier H) or set kernel.perf_guest_policy=yield\n",
			mine, task_tgid_nr(current), refusal->nr, refusal->nr > 1 ? "s" : "",
			comm, owner);
		break;
	}
}

/*
 * The first reservation stands: the architecture may move events to counters that
 * guests do not make use of.
 */
void __weak arch_perf_guest_reserved(void) { }

/**
 * perf_guest_reserve - reserve capable PMUs for use by a guest
 * @reservation: what is to be remembered of it, until it is released
 *
 * While a reservation stands, PMUs with PERF_PMU_CAP_MEDIATED_VPMU may be handed over to
 * the guest.
 *
 * Context: Process context of the hypervisor, may sleep.  After perf_guest_enable().
 * Return: 0, or -EBUSY if an event collides with it.
 */
int perf_guest_reserve(struct perf_guest_reservation *reservation)
{
	struct perf_guest_refusal refusal = { .what = PERF_GUEST_REFUSED_VM };
	static u64 last_id;
	bool first;

	might_sleep();

	if (WARN_ON_ONCE(!perf_guest_enabled()))
		return -ENODEV;

	scoped_guard(spinlock, &perf_guest_lock) {
		refusal.nr = nr_guest_events;
		if (refusal.nr) {
			refusal.owner = get_pid(list_first_entry(&perf_guest_events,
								 struct perf_event,
								 guest_entry)->guest_owner);
			break;
		}

		first = !nr_guest_reservations;
		WRITE_ONCE(nr_guest_reservations, nr_guest_reservations + 1);
		list_add_tail(&reservation->entry, &perf_guest_reservations);
		reservation->owner = get_pid(task_tgid(current));
		reservation->id = ++last_id;
	}

	if (refusal.nr) {
		perf_guest_tell(&refusal);
		return -EBUSY;
	}

	if (first)
		arch_perf_guest_reserved();

	return 0;
}
EXPORT_SYMBOL_GPL(perf_guest_reserve);

/**
 * perf_guest_release - undo a successful perf_guest_reserve()
 * @reservation: the reservation
 *
 * Context: Process context.
 */
void perf_guest_release(struct perf_guest_reservation *reservation)
{
	scoped_guard(spinlock, &perf_guest_lock) {
		list_del(&reservation->entry);
		WRITE_ONCE(nr_guest_reservations, nr_guest_reservations - 1);
	}

	put_pid(reservation->owner);
}
EXPORT_SYMBOL_GPL(perf_guest_release);

static int perf_guest_set_policy(enum perf_guest_policy policy)
{
	struct perf_event *event, *next;

	guard(spinlock)(&perf_guest_lock);

	perf_guest_policy = policy;
	if (policy == PERF_GUEST_REFUSE)
		return 0;

	/* What there is yields, also when the policy is another one again. */
	list_for_each_entry_safe(event, next, &perf_guest_events, guest_entry)
		list_del_init(&event->guest_entry);
	nr_guest_events = 0;
	return 0;
}

#ifdef CONFIG_SYSCTL
static const char * const perf_guest_policies[] = {
	[PERF_GUEST_REFUSE]	= "refuse",
	[PERF_GUEST_YIELD]	= "yield",
};

static int perf_guest_policy_handler(const struct ctl_table *table, int write, void *buffer,
				     size_t *lenp, loff_t *ppos)
{
	char name[16];
	struct ctl_table string = { .data = name, .maxlen = sizeof(name) };
	int r;

	strscpy(name, perf_guest_policies[READ_ONCE(perf_guest_policy)]);

	r = proc_dostring(&string, write, buffer, lenp, ppos);
	if (r || !write)
		return r;

	r = sysfs_match_string(perf_guest_policies, name);
	return r < 0 ? r : perf_guest_set_policy(r);
}

static struct ctl_table perf_guest_sysctls[] = {
	{
		.procname	= "perf_guest_policy",
		.mode		= 0644,
		.proc_handler	= perf_guest_policy_handler,
	},
};

static int __init perf_guest_sysctl_init(void)
{
	register_sysctl_init("kernel", perf_guest_sysctls);
	return 0;
}
late_initcall(perf_guest_sysctl_init);
#endif

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

/* An event that includes guests, for a task: it collides if that runs vCPUs. */
static bool perf_guest_event_of_thread_collides(struct perf_event *event,
						struct perf_guest_refusal *refusal)
{
	struct perf_guest_reservation *reservation;
	u64 id = READ_ONCE(event->hw.target->perf_guest_id);

	lockdep_assert_held(&perf_guest_lock);

	if (!id)
		return false;

	list_for_each_entry(reservation, &perf_guest_reservations, entry) {
		if (reservation->id != id)
			continue;

		refusal->what = PERF_GUEST_REFUSED_THREAD;
		refusal->owner = get_pid(reservation->owner);
		refusal->nr = 1;
		return true;
	}

	return false;
}

/* The same for a CPU or a cgroup. */
static bool perf_guest_event_of_cpu_collides(struct perf_event *event,
					     struct perf_guest_refusal *refusal)
{
	lockdep_assert_held(&perf_guest_lock);

	if (nr_guest_reservations) {
		refusal->what = PERF_GUEST_REFUSED_EVENT;
		refusal->owner = get_pid(list_first_entry(&perf_guest_reservations,
							  struct perf_guest_reservation,
							  entry)->owner);
		refusal->nr = nr_guest_reservations;
		return true;
	}

	list_add_tail(&event->guest_entry, &perf_guest_events);
	nr_guest_events++;
	event->guest_owner = get_pid(task_tgid(current));
	event->guest_counted = true;
	return false;
}

int __perf_guest_account_event(struct perf_event *event)
{
	struct perf_guest_refusal refusal;
	bool collides = false;

	if (event->attr.exclude_guest) {
		if (!atomic_inc_not_zero(&nr_exclude_guest_events)) {
			guard(mutex)(&perf_guest_mutex);
			atomic_inc(&nr_exclude_guest_events);
		}
		event->guest_counted = true;
		return 0;
	}

	if (!perf_guest_capable(event) || event->guest_yields)
		return 0;

	scoped_guard(spinlock, &perf_guest_lock) {
		if (perf_guest_policy == PERF_GUEST_YIELD)
			break;
		if (event->attach_state & PERF_ATTACH_TASK)
			collides = perf_guest_event_of_thread_collides(event, &refusal);
		else
			collides = perf_guest_event_of_cpu_collides(event, &refusal);
	}

	if (!collides)
		return 0;

	perf_guest_tell(&refusal);
	return -EOPNOTSUPP;
}

void __perf_guest_unaccount_event(struct perf_event *event)
{
	int left;

	if (!event->attr.exclude_guest) {
		scoped_guard(spinlock, &perf_guest_lock) {
			if (list_empty(&event->guest_entry))
				break;
			list_del(&event->guest_entry);
			nr_guest_events--;
		}
		put_pid(event->guest_owner);
		return;
	}

	left = atomic_dec_if_positive(&nr_exclude_guest_events);
	WARN_ON_ONCE(left < 0);
	if (!left && perf_guest_enabled() && !READ_ONCE(nr_hypervisors))
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

void __perf_guest_enter(bool owned)
{
	struct perf_guest_cpu *cpu = this_cpu_ptr(&perf_guest_cpu);
	u64 now;

	lockdep_assert_irqs_disabled();

	/* The hand-over has done it. */
	if (cpu->mode.began_at)
		return;

	now = local_clock();
	perf_guest_clock_begin(&cpu->mode, now);
	if (owned)
		perf_guest_clock_begin(&cpu->owned, now);
}
EXPORT_SYMBOL_GPL(__perf_guest_enter);

/*
 * Bring up to date on this CPU what user space goes on with by itself, as the
 * architecture's clock has not stopped in guest mode.
 */
void __weak arch_perf_guest_exit(void) { }

void __perf_guest_exit(void)
{
	struct perf_guest_cpu *cpu = this_cpu_ptr(&perf_guest_cpu);
	u64 now = local_clock();

	lockdep_assert_irqs_disabled();

	perf_guest_clock_end(&cpu->mode, now);
	if (cpu->owned.began_at)
		perf_guest_clock_end(&cpu->owned, now);
	arch_perf_guest_exit();
}
EXPORT_SYMBOL_GPL(__perf_guest_exit);

/* What the architecture's interrupt handler is to know. */
void __weak arch_perf_guest_sample(struct perf_event *event) { }

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
	if (cpu->nr_aware && !cpu->mode.began_at)
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
