// SPDX-License-Identifier: GPL-2.0
/*
 * pmu-selfcount [--rdpmc] [--kernel] [--near M] [-n N] [EVENT...]
 *
 * Open each event on this process, run the block of known counts and print
 *
 *	EVENT COUNT EXPECTED ok|WRONG
 *
 * EXPECTED is "-" for an event whose count is not a matter of the program alone.
 * The count is that of N rounds less that of one round, so what the start and
 * the stop of the counter add falls out, and must be exact to the unit; with
 * --rdpmc it is the difference of two RDPMC in user mode, nothing taken off.
 * --kernel counts kernel mode too: never exact.  In a guest of an AMD CPU each
 * VM-entry may count: that is measured first, and a few more are right then, one in M
 * instructions, 20000 if not given.
 * Exit status: 0 all right, 1 some count is wrong, 2 an event cannot be opened or was not counting all the time.
 *
 * Events: instructions branches cycles ref-cycles branch-misses
 * cache-references cache-misses, and rHEX.
 */
#include <linux/perf_event.h>
#include "block.h"

#ifndef __NR_perf_event_open
#error "no perf_event_open"
#endif

static const struct {
	const char *name;
	unsigned int config;
} names[] = {
	{ "cycles", PERF_COUNT_HW_CPU_CYCLES },
	{ "instructions", PERF_COUNT_HW_INSTRUCTIONS },
	{ "cache-references", PERF_COUNT_HW_CACHE_REFERENCES },
	{ "cache-misses", PERF_COUNT_HW_CACHE_MISSES },
	{ "branches", PERF_COUNT_HW_BRANCH_INSTRUCTIONS },
	{ "branch-misses", PERF_COUNT_HW_BRANCH_MISSES },
	{ "ref-cycles", PERF_COUNT_HW_REF_CPU_CYCLES },
};

static unsigned long word;
static int with_kernel;

static int event_open(const char *name, struct perf_event_attr *attr)
{
	char *end = NULL;
	size_t i;

	memset(attr, 0, sizeof(*attr));
	attr->size = sizeof(*attr);
	attr->disabled = 1;
	attr->pinned = 1;
	attr->exclude_kernel = !with_kernel;
	attr->exclude_hv = 1;
	attr->read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;

	if (name[0] == 'r') {
		attr->type = PERF_TYPE_RAW;
		attr->config = strtoul(name + 1, &end, 16);
	}
	if (!end || *end) {
		for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (!strcmp(name, names[i].name))
				break;
		if (i == sizeof(names) / sizeof(names[0])) {
			fprintf(stderr, "pmu-selfcount: unknown event '%s'\n", name);
			exit(2);
		}
		attr->type = PERF_TYPE_HARDWARE;
		attr->config = names[i].config;
	}
	return my_syscall5(__NR_perf_event_open, attr, 0, -1, -1, 0);
}

/* One measurement; exits when the event was not on a counter throughout. */
static unsigned long long measure(const char *name, int fd, unsigned long n)
{
	unsigned long long before[3] = {}, after[3];

	if (read(fd, before, sizeof(before)) < 0)
		before[0] = 0;
	work_ioctl(fd, n, &word);
	if (read(fd, after, sizeof(after)) != sizeof(after)) {
		fprintf(stderr, "pmu-selfcount: %s: read: event in error state (no counter)\n", name);
		exit(2);
	}
	if (after[1] != after[2]) {
		fprintf(stderr, "pmu-selfcount: %s: enabled %llu ns, running %llu ns\n",
			name, after[1], after[2]);
		exit(2);
	}
	return after[0] - before[0];
}

static unsigned long long measure_rdpmc(const char *name, int fd, unsigned long n)
{
	struct perf_event_mmap_page *page;
	unsigned long long delta;
	unsigned int seq;

	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED) {
		perror("pmu-selfcount: mmap");
		exit(2);
	}
	ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
	/* The counter may move to another index: then count again. */
	do {
		seq = *(volatile unsigned int *)&page->lock;
		if (!page->cap_user_rdpmc || !page->index) {
			fprintf(stderr, "pmu-selfcount: %s: no RDPMC in user mode\n", name);
			exit(2);
		}
		delta = work_rdpmc(n, &word, page->index - 1);
	} while (seq != *(volatile unsigned int *)&page->lock);
	ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
	munmap(page, 4096);
	return delta & ((1ULL << 48) - 1);
}

/*
 * What does a VM-entry add to the count?  In a guest CPUID exits; without a
 * hypervisor, or one that counts no entries, it is an instruction like any other.
 */
#define ENTRIES		1000

static unsigned long long count_cpuids(int fd, unsigned long n)
{
	unsigned long long before[3] = {}, after[3] = {};

	if (read(fd, before, sizeof(before)) < 0)
		before[0] = 0;
	ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
	asm volatile("1:	xor %%eax, %%eax\n"
		     "	cpuid\n"
		     "	dec %%rsi\n"
		     "	jnz 1b" : "+S"(n) : : "rax", "rbx", "rcx", "rdx", "cc");
	ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
	if (read(fd, after, sizeof(after)) != sizeof(after))
		return 0;
	return after[0] - before[0];
}

static int is_amd(void)
{
	unsigned int a = 0, b, c = 0, d;

	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b == 0x68747541;		/* "Auth" */
}

static unsigned int entry_adds(int fd, int branches)
{
	long long few = count_cpuids(fd, 1), many = count_cpuids(fd, 1 + ENTRIES);
	long long more = many - few - (branches ? 1 : 4) * ENTRIES;

	return more > 0 ? (more + ENTRIES / 2) / ENTRIES : 0;
}

/* What the count must be, or 0 when the program alone does not say. */
static int expected(const struct perf_event_attr *attr, int rdpmc, unsigned long n,
		    unsigned long long *val)
{
	int insns = attr->type == PERF_TYPE_HARDWARE ?
		    attr->config == PERF_COUNT_HW_INSTRUCTIONS : attr->config == 0xc0;
	int branches = attr->type == PERF_TYPE_HARDWARE ?
		       attr->config == PERF_COUNT_HW_BRANCH_INSTRUCTIONS :
		       attr->config == 0xc4 || attr->config == 0xc2;

	if (with_kernel)
		return 0;
	if (insns)
		*val = rdpmc ? WORK_INSNS(n) + WORK_RDPMC_INSNS : WORK_INSNS(n) - WORK_INSNS(1);
	else if (branches)
		*val = rdpmc ? WORK_BRANCHES(n) + WORK_RDPMC_BRANCHES :
			       WORK_BRANCHES(n) - WORK_BRANCHES(1);
	return insns || branches;
}

int main(int argc, char **argv)
{
	static char *defaults[] = { "instructions", "branches", NULL };
	struct perf_event_attr attr;
	unsigned long n = 100000, near = 20000;
	unsigned long long val, want = 0, spare;
	int rdpmc = 0, ret = 0, i, fd, known;
	char **event;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--rdpmc")) {
			rdpmc = 1;
		} else if (!strcmp(argv[i], "--kernel")) {
			with_kernel = 1;
		} else if (!strcmp(argv[i], "-n") && i + 1 < argc) {
			n = strtoul(argv[++i], NULL, 10);
		} else if (!strcmp(argv[i], "--near") && i + 1 < argc) {
			near = strtoul(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "pmu-selfcount: unknown option '%s'\n", argv[i]);
			return 2;
		}
	}
	/* Touch what the block touches: no page fault in the measured part. */
	work_block(1, &word);

	for (event = i < argc ? argv + i : defaults; *event; event++) {
		fd = event_open(*event, &attr);
		if (fd < 0) {
			fprintf(stderr, "pmu-selfcount: %s: cannot open: error %d\n", *event, -fd);
			ret = 2;
			continue;
		}
		known = expected(&attr, rdpmc, n, &want);
		spare = known && is_amd() ? entry_adds(fd, want < WORK_INSNS(n) / 2) : 0;
		/* Interrupts of the host: some thousand instructions apart, at least. */
		spare *= 10 + want / near;
		if (rdpmc) {
			val = measure_rdpmc(*event, fd, n);
		} else {
			val = measure(*event, fd, 1);
			val = measure(*event, fd, n) - val;
		}
		close(fd);

		if (!known) {
			printf("%s %llu - ok\n", *event, val);
		} else {
			/* The single round that is taken off may have met entries, too. */
			int good = val <= want + spare && val + (rdpmc ? 0 : spare) >= want;

			printf("%s %llu %llu %s\n", *event, val, want, good ? "ok" : "WRONG");
			if (!good && !ret)
				ret = 1;
		}
	}
	return ret;
}
