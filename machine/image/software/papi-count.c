// SPDX-License-Identifier: GPL-2.0
/*
 * papi-count N EVENT...: PAPI counts all of the events at once around the block
 * of known counts: "EVENT COUNT", the count of N rounds less that of one.
 *
 * PAPI reads a running event after the other with RDPMC, again if it was interrupted,
 * and what that takes counts too.  So each is the least of three.
 */
#include <stdio.h>
#include <stdlib.h>
#include <papi.h>
#include "block.h"

static unsigned long word;

static void check(const char *what, int status)
{
	if (status == PAPI_OK)
		return;
	fprintf(stderr, "papi-count: %s: %s\n", what, PAPI_strerror(status));
	exit(1);
}

static void count(int set, unsigned long n, long long *least)
{
	long long value[16];
	int i, try;

	for (i = 0; i < 16; i++)
		least[i] = -1;
	for (try = 0; try < 3; try++) {
		check("start", PAPI_start(set));
		work_block(n, &word);
		check("stop", PAPI_stop(set, value));
		for (i = 0; i < PAPI_num_events(set); i++)
			if (least[i] < 0 || value[i] < least[i])
				least[i] = value[i];
	}
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	long long one[16], many[16];
	int set = PAPI_NULL, i;

	if (PAPI_library_init(PAPI_VER_CURRENT) != PAPI_VER_CURRENT)
		check("no such version", PAPI_EINVAL);
	check("event set", PAPI_create_eventset(&set));
	for (i = 2; i < argc && i < 18; i++)
		check(argv[i], PAPI_add_named_event(set, argv[i]));
	/* The first time is for what is found out only then. */
	count(set, 1, one);
	count(set, 1, one);
	count(set, n, many);
	for (i = 2; i < argc && i < 18; i++)
		printf("%s %lld\n", argv[i], many[i - 2] - one[i - 2]);
	return 0;
}
