// SPDX-License-Identifier: GPL-2.0
/*
 * papi-count N EVENT...: PAPI counts all of the events at once around the block
 * of known counts: "EVENT COUNT", the count of N rounds less that of one.
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

static void count(int set, unsigned long n, long long *value)
{
	check("start", PAPI_start(set));
	work_block(n, &word);
	check("stop", PAPI_stop(set, value));
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
