// SPDX-License-Identifier: GPL-2.0
/*
 * pfm-count N EVENT...: libpfm4 finds the event by its name on the processor it
 * detects, the kernel counts it in user mode around the block of known counts:
 * "EVENT CODE COUNT", the count of N rounds less that of one.  First, a line
 * "PMU NAME" for each one that it detects.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/perf_event.h>
#include <perfmon/pfmlib_perf_event.h>
#include "block.h"

static unsigned long word;

static unsigned long long count(int fd, unsigned long n)
{
	unsigned long long before = 0, after = 0;

	if (read(fd, &before, sizeof(before)) != sizeof(before))
		exit(1);
	work_ioctl(fd, n, &word);
	if (read(fd, &after, sizeof(after)) != sizeof(after))
		exit(1);
	return after - before;
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	unsigned long long one;
	int i, fd, status;

	status = pfm_initialize();
	work_block(1, &word);
	for (i = PFM_PMU_NONE; i < PFM_PMU_MAX; i++) {
		pfm_pmu_info_t info = { .size = sizeof(info) };

		if (pfm_get_pmu_info(i, &info) == PFM_SUCCESS && info.is_present)
			printf("PMU %s\n", info.name);
	}
	for (i = 2; status == PFM_SUCCESS && i < argc; i++) {
		struct perf_event_attr attr = { .size = sizeof(attr) };
		pfm_perf_encode_arg_t arg = { .attr = &attr, .size = sizeof(arg) };

		status = pfm_get_os_event_encoding(argv[i], PFM_PLM3, PFM_OS_PERF_EVENT, &arg);
		if (status != PFM_SUCCESS)
			break;
		attr.disabled = 1;
		attr.pinned = 1;
		fd = perf_event_open(&attr, 0, -1, -1, 0);
		if (fd < 0) {
			perror(argv[i]);
			return 1;
		}
		one = count(fd, 1);
		printf("%s %llx %llu\n", argv[i], (unsigned long long)attr.config, count(fd, n) - one);
		close(fd);
	}
	if (status != PFM_SUCCESS)
		fprintf(stderr, "pfm-count: %s: %s\n", i < argc ? argv[i] : "libpfm4", pfm_strerror(status));
	return status != PFM_SUCCESS;
}
