// SPDX-License-Identifier: GPL-2.0
/*
 * selector-loop MSR [CPUIDS]: write an event selector EXITS times, by turns enabled
 * for user mode and 0, in window WINDOW; after each write, CPUIDS exits of CPUID.
 */
#include "region.h"

static void port(unsigned int value)
{
	__asm__ volatile("outl %0, %%dx" : : "a"(value), "d"(PORT));
}

int main(int argc, char **argv)
{
	/* Retired branches, of either vendor: none of them matters. */
	unsigned long long value[2] = { 0, 0x4100c4 };
	int msr, cpuids, fd, i, j;

	if (argc < 2) {
		fprintf(stderr, "usage: selector-loop MSR [CPUIDS]\n");
		return 2;
	}
	msr = atoi(argv[1]);
	cpuids = argc > 2 ? atoi(argv[2]) : 0;
	fd = open("/dev/cpu/0/msr", O_RDWR);
	if (fd < 0) {
		perror("selector-loop: /dev/cpu/0/msr");
		return 1;
	}
	port(OPEN << 24 | WINDOW);
	for (i = 1; i <= EXITS / (1 + cpuids); i++) {
		if (my_syscall4(__NR_pwrite64, fd, &value[i & 1], 8, (long)(unsigned int)msr) != 8) {
			fprintf(stderr, "selector-loop: MSR %#x cannot be written\n", msr);
			return 1;
		}
		for (j = 0; j < cpuids; j++)
			__asm__ volatile("xor %%eax, %%eax\n\tcpuid" : : : "eax", "ebx", "ecx", "edx");
	}
	port(CLOSE << 24 | WINDOW);
	return 0;
}
