// SPDX-License-Identifier: GPL-2.0
/*
 * work-loop N [MS]: run the block of known counts, sleep MS milliseconds and
 * exit, for a counter that is measured from outside (perf stat).  In user mode
 * the whole process executes an overhead that depends on nothing but the
 * number of digits, so
 *	count(N) - count(1) = 7 (N - 1) instructions, 3 (N - 1) branches,
 * to the unit.
 */
#include "block.h"

int main(int argc, char **argv)
{
	static unsigned long word;

	work_block(argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000, &word);
	if (argc > 2)
		msleep(strtoul(argv[2], NULL, 10));
	return 0;
}
