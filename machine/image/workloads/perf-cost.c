// SPDX-License-Identifier: GPL-2.0
/*
 * perf-cost switch|read|fork|sample ID N [EVENTS]
 *
 * Do what makes perf work, N times in window ID of the machine log, with EVENTS events
 * of this task that exclude guests:
 *
 *	switch	hand a byte to another task, which has no events, and back: two context
 *		switches, one with events to take off and one to put them on
 *	read	read each event
 *	fork	make a child, which inherits the events, and wait for its end
 *	sample	take a sample: one event with a period of 20,000 instructions
 *
 * Whoever wants to know the costs of perf alone does the same with 0 EVENTS.
 */
#include <linux/perf_event.h>
#include "block.h"
#include "log.h"

#define MAX_EVENTS	8
#define PERIOD		20000

static unsigned long word;
static int fds[MAX_EVENTS], nr_events;

static void die(const char *what)
{
	fprintf(stderr, "perf-cost: %s\n", what);
	exit(2);
}

static void out32(unsigned int op, unsigned int id)
{
	__asm__ volatile ("outl %0, %1"
			  : : "a"(op << 24 | id), "d"((unsigned short)PMU_LOG_PORT) : "memory");
}

static void events_open(int nr, int inherit, int sample)
{
	/* Each fits any counter. */
	static const unsigned int config[] = {
		PERF_COUNT_HW_BRANCH_INSTRUCTIONS, PERF_COUNT_HW_INSTRUCTIONS,
		PERF_COUNT_HW_BRANCH_INSTRUCTIONS, PERF_COUNT_HW_CPU_CYCLES,
	};
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .exclude_guest = 1, .inherit = inherit,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};

	for (; nr_events < nr && nr_events < 4; nr_events++) {
		attr.config = config[nr_events];
		if (sample) {
			attr.config = PERF_COUNT_HW_INSTRUCTIONS;
			attr.sample_period = PERIOD;
			attr.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TIME;
			attr.exclude_kernel = 1;
			nr = 1;
		}
		fds[nr_events] = my_syscall5(__NR_perf_event_open, &attr, 0, -1, -1, 0);
		if (fds[nr_events] < 0)
			die("cannot open an event");
		if (sample && mmap(NULL, 9 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0) == MAP_FAILED)
			die("no buffer");
	}
}

/* Both ends are this processor's: it has only one, or taskset says so. */
static void switches(unsigned long n, unsigned int id, int nr)
{
	int there[2], back[2];
	unsigned long i;
	pid_t pid;
	char c = 0;

	if (pipe(there) || pipe(back))
		die("no pipe");
	pid = fork();
	if (!pid) {
		while (read(there[0], &c, 1) == 1 && c != 1)
			write(back[1], &c, 1);
		exit(0);
	}
	events_open(nr, 0, 0);
	for (i = 0; i < n + 10; i++) {
		if (i == 10)
			out32(PMU_LOG_OPEN, id);
		if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
			die("the other task is gone");
	}
	out32(PMU_LOG_CLOSE, id);
	c = 1;
	write(there[1], &c, 1);
	waitpid(pid, NULL, 0);
}

static void one(char what)
{
	unsigned long long values[3];
	pid_t pid;
	int i;

	switch (what) {
	case 'r':
		for (i = 0; i < nr_events; i++)
			if (read(fds[i], values, sizeof(values)) != sizeof(values))
				die("cannot read");
		break;
	case 'f':
		pid = fork();
		if (!pid)
			exit(0);
		waitpid(pid, NULL, 0);
		break;
	case 's':
		work_block(PERIOD / 7, &word);
		break;
	}
}

int main(int argc, char **argv)
{
	unsigned long n, i;
	unsigned int id;
	int nr;

	if (argc < 4)
		die("usage: see the source");
	id = strtoul(argv[2], NULL, 10);
	n = strtoul(argv[3], NULL, 10);
	nr = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
	if (my_syscall1(__NR_iopl, 3) < 0)
		die("iopl refused");
	if (!strcmp(argv[1], "switch")) {
		switches(n, id, nr);
		return 0;
	}
	events_open(nr, argv[1][0] == 'f', argv[1][0] == 's');
	for (i = 0; i < n + 10; i++) {
		if (i == 10)
			out32(PMU_LOG_OPEN, id);
		one(argv[1][0]);
	}
	out32(PMU_LOG_CLOSE, id);
	return 0;
}
