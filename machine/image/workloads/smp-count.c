// SPDX-License-Identifier: GPL-2.0
/*
 * smp-count ID LOOPS ROUNDS: count each CPU while a process for each of them works.
 * smp-count move FILE TID...: move threads from CPU to CPU, all to different ones, every
 * other millisecond, until FILE is there; print how often.
 *
 * For each CPU this process may use, count instructions and branches of everything in
 * user mode there, and start a child.  A child runs the block of known counts LOOPS times
 * on a CPU, then on the next, ROUNDS times; so each CPU has ROUNDS blocks, whatever their
 * order.  It is done twice, with one loop in window ID + 1 of the machine log and with
 * LOOPS + 1 in window ID: in user mode nothing but the blocks makes a difference.  Print
 *	smp ID CPU INSTRUCTIONS BRANCHES
 * for each CPU, the differences, which must be 7 * LOOPS * ROUNDS and 3 * LOOPS * ROUNDS
 * if nothing else runs.  With ID 0 only the children run, with LOOPS, and something else
 * may count them.  Exit status: 0 they are, 1 not, 2 something cannot be done.
 */
#include <linux/perf_event.h>
#include "block.h"
#include "log.h"

#define MAX_CPUS	8
#define NR_EVENTS	2

static const unsigned int config[NR_EVENTS] = {
	PERF_COUNT_HW_INSTRUCTIONS, PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
};

static const unsigned int per_loop[NR_EVENTS] = { 7, 3 };

static struct {
	int nr;
	int fd[NR_EVENTS];
	unsigned long long less[NR_EVENTS], count[NR_EVENTS];
} cpus[MAX_CPUS];
static int nr_cpus;
static unsigned long word;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void go_to(pid_t tid, int nr)
{
	unsigned long mask = 1UL << nr;

	if (my_syscall3(__NR_sched_setaffinity, tid, sizeof(mask), &mask) < 0)
		die("smp-count: sched_setaffinity");
}

static void find_cpus(void)
{
	unsigned long mask = 0;
	int nr;

	if (my_syscall3(__NR_sched_getaffinity, 0, sizeof(mask), &mask) < 0)
		die("smp-count: sched_getaffinity");
	for (nr = 0; nr < 64 && nr_cpus < MAX_CPUS; nr++)
		if (mask & 1UL << nr)
			cpus[nr_cpus++].nr = nr;
}

static void open_all(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .exclude_kernel = 1, .exclude_hv = 1, .pinned = 1,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};
	int cpu, i, fd;

	for (cpu = 0; cpu < nr_cpus; cpu++) {
		for (i = 0; i < NR_EVENTS; i++) {
			attr.config = config[i];
			fd = my_syscall5(__NR_perf_event_open, &attr, -1, cpus[cpu].nr, -1, 0);
			if (fd < 0) {
				fprintf(stderr, "smp-count: CPU %d: cannot open: error %d\n",
					cpus[cpu].nr, -fd);
				exit(2);
			}
			cpus[cpu].fd[i] = fd;
		}
	}
}

static void read_all(int after)
{
	unsigned long long value[3];
	int cpu, i;

	for (cpu = 0; cpu < nr_cpus; cpu++) {
		for (i = 0; i < NR_EVENTS; i++) {
			if (read(cpus[cpu].fd[i], value, sizeof(value)) != sizeof(value)) {
				fprintf(stderr, "smp-count: CPU %d: no counter\n", cpus[cpu].nr);
				exit(2);
			}
			if (value[1] != value[2]) {
				fprintf(stderr, "smp-count: CPU %d: enabled %llu ns, running %llu ns\n",
					cpus[cpu].nr, value[1], value[2]);
				exit(2);
			}
			cpus[cpu].count[i] = after ? value[0] - cpus[cpu].count[i] : value[0];
		}
	}
}

static void out32(unsigned int op, unsigned int id)
{
	__asm__ volatile ("outl %0, %1"
			  : : "a"(op << 24 | id), "d"((unsigned short)PMU_LOG_PORT) : "memory");
}

static void child(int cpu, unsigned long loops, unsigned int rounds)
{
	unsigned int round;

	for (round = 0; round < rounds; round++) {
		go_to(0, cpus[(cpu + round) % nr_cpus].nr);
		work_block(loops, &word);
	}
	exit(0);
}

static void children(unsigned long loops, unsigned int rounds)
{
	pid_t pid[MAX_CPUS];
	int cpu, status, bad = 0;

	for (cpu = 0; cpu < nr_cpus; cpu++) {
		pid[cpu] = fork();
		if (pid[cpu] < 0)
			die("smp-count: fork");
		if (!pid[cpu])
			child(cpu, loops, rounds);
	}
	for (cpu = 0; cpu < nr_cpus; cpu++) {
		waitpid(pid[cpu], &status, 0);
		bad |= status;
	}
	if (bad)
		exit(2);
}

/* Not inlined: the same instructions each time, but for @loops. */
static __attribute__((noinline))
void window(unsigned int id, unsigned long loops, unsigned int rounds)
{
	read_all(0);
	out32(PMU_LOG_OPEN, id);
	children(loops, rounds);
	out32(PMU_LOG_CLOSE, id);
	read_all(1);
}

static int move(const char *file, char **tids)
{
	unsigned int turns = 0, i;

	while (open(file, O_RDONLY) < 0) {
		for (i = 0; tids[i]; i++)
			go_to(atoi(tids[i]), cpus[(turns + i) % nr_cpus].nr);
		turns++;
		msleep(2);
	}
	printf("%u\n", turns);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long long want, got[NR_EVENTS];
	unsigned long loops;
	unsigned int id, rounds;
	int cpu, i, ret = 0;

	find_cpus();
	if (argc > 3 && !strcmp(argv[1], "move"))
		return move(argv[2], argv + 3);
	if (argc != 4) {
		fprintf(stderr, "usage: smp-count ID LOOPS ROUNDS | move FILE TID...\n");
		return 2;
	}
	id = strtoul(argv[1], NULL, 10);
	loops = strtoul(argv[2], NULL, 10);
	rounds = strtoul(argv[3], NULL, 10);
	go_to(0, cpus[0].nr);
	if (!id) {
		children(loops, rounds);
		return 0;
	}
	if (my_syscall1(__NR_iopl, 3) < 0)
		die("smp-count: iopl");

	open_all();
	window(id + 1, 1, rounds);	/* for the pages */
	window(id + 1, 1, rounds);
	for (cpu = 0; cpu < nr_cpus; cpu++)
		for (i = 0; i < NR_EVENTS; i++)
			cpus[cpu].less[i] = cpus[cpu].count[i];
	window(id, loops + 1, rounds);
	for (cpu = 0; cpu < nr_cpus; cpu++) {
		for (i = 0; i < NR_EVENTS; i++) {
			got[i] = cpus[cpu].count[i] - cpus[cpu].less[i];
			want = per_loop[i] * loops * rounds;
			ret |= got[i] != want;
		}
		printf("smp %u %d %llu %llu\n", id, cpus[cpu].nr, got[0], got[1]);
	}
	return ret;
}
