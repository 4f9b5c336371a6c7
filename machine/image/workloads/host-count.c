// SPDX-License-Identifier: GPL-2.0
/*
 * What perf(1) cannot do in the host, beside guests.
 *
 * host-count window ID LOOPS MS EVENT...
 *	Read each event, open window ID of the machine log, ten times run the block of
 *	known counts LOOPS times and sleep MS milliseconds, close it, read again; print
 *		window ID EVENT COUNT ENABLED RUNNING
 *	for each event, the differences, and the like for "all": the first event's, from
 *	before the first reading to after the last.  Before that, the same with an empty window
 *	ID + 1: from it comes what a read adds between its own moment and the window's.
 *
 * host-count quiet ID LOOPS MS EVENT...
 *	The same, each window again, up to 20 times, until no interrupt came between the
 *	first and the last read at either end: for events of kernel mode, and times.
 *
 * host-count rdpmc ROUNDS LOOPS [INDEX...]
 *	Count this process with RDPMC and the page, as <linux/perf_event.h> says, and
 *	with read(); print "ok" or what is wrong.  INDEX is for RDPMC of counters that
 *	hold nothing of this process: must be 0.
 *
 * host-count pages on|off ROUNDS EVENT...
 *	Compare each event's page with read(), when it is on a counter, or when not.
 *
 * host-count old-pages on|off ROUNDS EVENT...
 *	The same, but wait for a byte from standard input once the pages are there.
 *
 * host-count come-and-go CPU TIMES
 *	Open an event of that CPU, which must count, and close it, again and again; each
 *	time have what it left in its counter cleared, as for tasks that may use RDPMC.
 *
 * host-count children LOOPS
 *	The block in this process, in a child, and in a child of that.
 *
 * EVENT is TARGET:NAME:FLAGS.  TARGET: cpu, i.e. CPU 0; self; a thread's number; a
 * cgroup's directory.  NAME: instructions branches cycles cpu-clock.  FLAGS: u, k for
 * one mode, D for pinned, G for one that does not exclude guests, S for one in the group
 * of the last without S.
 */
#include <linux/perf_event.h>
#include "block.h"
#include "log.h"

#define MAX_EVENTS	32

struct value {
	unsigned long long count, enabled, running;
};

struct event {
	const char *name;
	int fd, software;
	struct perf_event_mmap_page *page;
	struct value before, after;
};

static struct event events[MAX_EVENTS];
static struct value last;
static int nr_events;
static unsigned long word;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "host-count: %s: %s\n", what, why);
	exit(2);
}

static void event_open(const char *spec)
{
	struct event *event = &events[nr_events];
	struct perf_event_attr attr;
	char target[128], *name, *flags;
	int pid = -1, cpu = 0, perf_flags = 0, leader = -1;
	static int last_leader = -1;

	if (nr_events == MAX_EVENTS)
		die(spec, "too many events");
	strlcpy(target, spec, sizeof(target));
	name = strchr(target, ':');
	if (!name)
		die(spec, "not TARGET:NAME:FLAGS");
	*name++ = 0;
	flags = strchr(name, ':');
	if (!flags)
		die(spec, "not TARGET:NAME:FLAGS");
	*flags++ = 0;

	memset(&attr, 0, sizeof(attr));
	attr.size = sizeof(attr);
	attr.exclude_guest = !strchr(flags, 'G');
	attr.exclude_kernel = !!strchr(flags, 'u');
	attr.exclude_user = !!strchr(flags, 'k');
	attr.pinned = !!strchr(flags, 'D');
	attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
	if (!strcmp(name, "cpu-clock")) {
		event->software = 1;
		attr.type = PERF_TYPE_SOFTWARE;
		attr.config = PERF_COUNT_SW_CPU_CLOCK;
	} else if (!strcmp(name, "cycles")) {
		attr.config = PERF_COUNT_HW_CPU_CYCLES;
	} else if (!strcmp(name, "instructions")) {
		attr.config = PERF_COUNT_HW_INSTRUCTIONS;
	} else if (!strcmp(name, "branches")) {
		attr.config = PERF_COUNT_HW_BRANCH_INSTRUCTIONS;
	} else {
		die(spec, "unknown event");
	}

	if (target[0] == '/') {
		pid = open(target, O_RDONLY, 0);
		if (pid < 0)
			die(spec, "no such cgroup");
		perf_flags = PERF_FLAG_PID_CGROUP;
	} else if (!strcmp(target, "self")) {
		pid = 0;
		cpu = -1;
	} else if (strcmp(target, "cpu")) {
		pid = strtoul(target, NULL, 10);
		cpu = -1;
	}
	if (strchr(flags, 'S'))
		leader = last_leader;
	event->name = spec;
	event->fd = my_syscall5(__NR_perf_event_open, &attr, pid, cpu, leader, perf_flags);
	if (event->fd < 0) {
		fprintf(stderr, "host-count: %s: cannot open: error %d\n", spec, -event->fd);
		exit(2);
	}
	if (leader < 0)
		last_leader = event->fd;
	nr_events++;
}

static void read_all(int after)
{
	int i;

	for (i = 0; i < nr_events; i++)
		if (my_syscall3(__NR_read, events[i].fd, after ? &events[i].after : &events[i].before,
				sizeof(struct value)) != sizeof(struct value))
			die(events[i].name, "no counter");
	if (after)
		read(events[0].fd, &last, sizeof(last));
}

static void out32(unsigned int op, unsigned int id)
{
	__asm__ volatile ("outl %0, %1"
			  : : "a"(op << 24 | id), "d"((unsigned short)PMU_LOG_PORT) : "memory");
}

static unsigned long long rdtsc(void)
{
	unsigned int low, high;

	__asm__ volatile ("rdtsc" : "=a"(low), "=d"(high));
	return (unsigned long long)high << 32 | low;
}

/*
 * Not inlined: each window has the same instructions beside it.  Returns the time
 * that was counted beside it, in ticks of the TSC.
 */
static __attribute__((noinline)) unsigned long long window(unsigned int id, unsigned long loops, unsigned int ms)
{
	unsigned long long start, beside;
	int i;

	start = rdtsc();
	read_all(0);
	beside = rdtsc() - start;
	out32(PMU_LOG_OPEN, id);
	for (i = 0; loops && i < 10; i++) {
		work_block(loops, &word);
		msleep(ms);
	}
	out32(PMU_LOG_CLOSE, id);
	start = rdtsc();
	read_all(1);
	return beside + rdtsc() - start;
}

/* No interrupt takes as few ticks of the TSC. */
#define INTERRUPT	500

static unsigned long long least(unsigned long long a, unsigned long long b)
{
	return a < b ? a : b;
}

static void window_print_value(unsigned int id, const char *name, const struct value *before, const struct value *after)
{
	printf("window %u %s %llu %llu %llu\n", id, name, after->count - before->count,
	       after->enabled - before->enabled, after->running - before->running);
}

static void window_print(unsigned int id)
{
	int i;

	for (i = 0; i < nr_events; i++)
		window_print_value(id, events[i].name, &events[i].before, &events[i].after);
	window_print_value(id, "all", &events[0].before, &last);
}

static unsigned long long rdpmc(unsigned int index)
{
	unsigned int low, high;

	__asm__ volatile ("rdpmc" : "=a"(low), "=d"(high) : "c"(index));
	return (unsigned long long)high << 32 | low;
}

static int page_retries;
static int page_timed;	/* the page that was read last says how time goes on */

/* What <linux/perf_event.h> tells programs to do. */
static __attribute__((noinline)) struct value page_read(struct perf_event_mmap_page *page, int *on_counter)
{
	unsigned long long cyc, offset, delta, pmc;
	unsigned int seq, mult, shift, index;
	struct value v;

	for (;; page_retries++) {
		seq = *(volatile unsigned int *)&page->lock;
		__asm__ volatile ("" ::: "memory");
		v.enabled = page->time_enabled;
		v.running = page->time_running;
		page_timed = page->cap_user_time;
		cyc = rdtsc();
		offset = page->time_offset;
		mult = page->time_mult;
		shift = page->time_shift;
		index = page->index;
		v.count = page->offset;
		if (index) {
			pmc = rdpmc(index - 1);
			pmc <<= 64 - page->pmc_width;
			v.count += (long long)pmc >> (64 - page->pmc_width);
		}
		__asm__ volatile ("" ::: "memory");
		if (seq == *(volatile unsigned int *)&page->lock)
			break;
	}
	*on_counter = !!index;
	/* Without the means to tell the time since: what it was. */
	if (!page_timed)
		return v;
	delta = offset + (cyc >> shift) * mult + (((cyc & ((1ULL << shift) - 1)) * mult) >> shift);
	v.enabled += delta;
	if (index)
		v.running += delta;
	return v;
}

static void map_all(void)
{
	int i;

	for (i = 0; i < nr_events; i++) {
		events[i].page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, events[i].fd, 0);
		if (events[i].page == MAP_FAILED)
			die(events[i].name, "no page");
		if (!events[i].page->cap_user_rdpmc && !events[i].software)
			die(events[i].name, "page without RDPMC");
	}
}

/* The page's arithmetic may be off by a nanosecond to either side. */
static int between(const char *what, const char *name, unsigned long long low, unsigned long long val,
		   unsigned long long high, unsigned int near)
{
	if (val + near >= low && val <= high + near)
		return 1;
	printf("%s: %s by the page is %llu, by read() %llu before and %llu after\n", name, what, val, low, high);
	return 0;
}

static int page_check(struct event *e, int *on_counter)
{
	struct value low, v, high;

	read(e->fd, &low, sizeof(low));
	v = page_read(e->page, on_counter);
	read(e->fd, &high, sizeof(high));
	/* An event that waits for its turn need not have a clock to go on with. */
	if (!page_timed && !*on_counter)
		low.enabled = low.running = 0;
	/* Software events have no counter that the page could go on with. */
	if (e->software)
		v.count = low.count;
	return between("count", e->name, low.count, v.count, high.count, 0) &
	       between("time_enabled", e->name, low.enabled, v.enabled, high.enabled, 2) &
	       between("time_running", e->name, low.running, v.running, high.running, 2);
}

/* Not inlined: the same instructions, whatever @loops. */
static __attribute__((noinline)) unsigned long long span(int i, unsigned long loops)
{
	int on_counter;
	unsigned long long before = page_read(events[i].page, &on_counter).count;

	work_block(loops, &word);
	return page_read(events[i].page, &on_counter).count - before;
}

static int test_rdpmc(int rounds, unsigned long loops, char **indices)
{
	static const unsigned int per_loop[] = { 7, 3 };
	unsigned long long one[2], delta, val;
	int i, round, on_counter, bad = 0, compared = 0;
	char **index;

	event_open("self:instructions:u");
	event_open("self:branches:u");
	map_all();
	work_block(1, &word);
	/* The second time the pages are there. */
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 2; i++) {
			page_retries = 0;
			one[i] = span(i, 1);
			if (page_retries)
				round--;
		}
	}
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < 2; i++) {
			page_retries = 0;
			delta = span(i, loops);
			/* What another try costs is not known. */
			if (!page_retries) {
				compared++;
				if (delta - one[i] != per_loop[i] * (loops - 1)) {
					printf("%s: %llu, wanted %llu\n", events[i].name, delta - one[i],
					       per_loop[i] * (loops - 1ULL));
					bad++;
				}
			}
			bad += !page_check(&events[i], &on_counter);
		}
		for (index = indices; *index; index++) {
			unsigned int ecx = strtoul(*index, NULL, 16);

			if (ecx == events[0].page->index - 1 || ecx == events[1].page->index - 1)
				continue;
			val = rdpmc(ecx);
			if (val) {
				printf("counter %x holds %llx, which is not this process's\n", ecx, val);
				bad++;
			}
		}
	}
	printf("%d compared, %d wrong\n", compared, bad);
	return bad || compared < rounds;
}

/* Only those that are on a counter, or only those that are not. */
static int test_pages(int rounds, int which, int wait)
{
	int i, round, right, on_counter, compared = 0, bad = 0;
	char c;

	map_all();
	if (wait && read(0, &c, 1) != 1)
		die("old-pages", "nothing to wait for");
	for (round = 0; round < rounds; round++) {
		work_block(20000, &word);
		if (round % 4 == 3)
			msleep(1);
		for (i = 0; i < nr_events; i++) {
			right = page_check(&events[i], &on_counter);
			if (on_counter != which)
				continue;
			compared++;
			bad += !right;
		}
	}
	printf("%d compared, %d wrong\n", compared, bad);
	return bad || !compared;
}

static int children(unsigned long loops)
{
	int depth, status = 0;
	pid_t pid = 0;

	for (depth = 0; depth < 3 && !pid; depth++) {
		work_block(loops, &word);
		pid = depth < 2 ? fork() : 1;
	}
	if (pid > 1)
		waitpid(pid, &status, 0);
	return pid < 0 || status;
}

static int come_and_go(int cpu, unsigned int times)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .config = PERF_COUNT_HW_BRANCH_INSTRUCTIONS, .pinned = 1, .exclude_guest = 1,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};
	struct value v;
	int fd, rdpmc;

	rdpmc = open("/sys/bus/event_source/devices/cpu/rdpmc", O_WRONLY);
	if (rdpmc < 0)
		die("come-and-go", "no rdpmc file");
	for (; times; times--) {
		fd = my_syscall5(__NR_perf_event_open, &attr, -1, cpu, -1, 0);
		if (fd < 0)
			die("come-and-go", "cannot open");
		/* The guest goes on meanwhile; pinned means that no count is an error. */
		work_block(times % 2000, &word);
		if (read(fd, &v, sizeof(v)) != sizeof(v) || v.enabled != v.running)
			die("come-and-go", "no counter");
		close(fd);
		work_block(times * 7 % 2000, &word);
		/* All CPUs let any task read counters: what that event has left is cleared first. */
		if (write(rdpmc, "2", 1) != 1 || write(rdpmc, "1", 1) != 1)
			die("come-and-go", "rdpmc cannot be written");
	}
	close(rdpmc);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long long limit = -1ULL;
	unsigned long loops;
	unsigned int id;
	int i;

	if (argc > 5 && (!strcmp(argv[1], "window") || !strcmp(argv[1], "quiet"))) {
		id = strtoul(argv[2], NULL, 10);
		loops = strtoul(argv[3], NULL, 10);
		if (my_syscall1(__NR_iopl, 3) < 0)
			die("iopl", "refused");
		for (i = 5; i < argc; i++)
			event_open(argv[i]);
		work_block(1, &word);
		/* The first is for pages that are not there, and to know what one takes. */
		for (i = 0; i < 5; i++)
			limit = least(limit, window(id + 2, 0, 0) + INTERRUPT);
		for (i = 1; i >= 0; i--) {
			int tries = argv[1][0] == 'q' ? 20 : 1;

			/* Each begins with a time slice of its own. */
			do {
				msleep(20);
			} while (window(id + i, i ? 0 : loops, i ? 0 : strtoul(argv[4], NULL, 10)) >= limit &&
				 --tries);
			window_print(id + i);
		}
		return 0;
	}
	if (argc > 3 && !strcmp(argv[1], "rdpmc"))
		return test_rdpmc(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10), argv + 4);
	if (argc > 3 && !strcmp(argv[1], "come-and-go"))
		return come_and_go(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
	if (argc > 2 && !strcmp(argv[1], "children"))
		return children(strtoul(argv[2], NULL, 10));
	if (argc > 4 && (!strcmp(argv[1], "pages") || !strcmp(argv[1], "old-pages"))) {
		for (i = 4; i < argc; i++)
			event_open(argv[i]);
		return test_pages(strtoul(argv[3], NULL, 10), !strcmp(argv[2], "on"), argv[1][0] == 'o');
	}
	die("usage", "see the source");
	return 2;
}
