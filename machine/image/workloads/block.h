/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The block of known counts.  From its first instruction to its RET, both
 * included, work_block(n, p), n >= 1, executes in user mode
 *	WORK_INSNS(n) instructions,
 *	WORK_BRANCHES(n) of them branches (JNZ, CALL, RET),
 *	WORK_LOADS(n) loads and WORK_STORES(n) stores, stack included,
 * and touches two cache lines of data: *p and the stack below the caller.
 */
#define WORK_INSNS(n)		(7ULL * (n) + 1)
#define WORK_BRANCHES(n)	(3ULL * (n) + 1)
#define WORK_LOADS(n)		(2ULL * (n) + 1)	/* *p, RET of the inner call; last RET */
#define WORK_STORES(n)		(2ULL * (n))		/* *p, CALL */

#ifndef __ASSEMBLER__
void work_block(unsigned long n, unsigned long *p);

/* The same between two RDPMC of counter @ecx: the difference of both. */
unsigned long long work_rdpmc(unsigned long n, unsigned long *p, unsigned int ecx);

/*
 * ioctl(fd, ENABLE), work_block(), ioctl(fd, DISABLE), one after the other,
 * with the same few instructions between each, whatever n.
 */
void work_ioctl(int fd, unsigned long n, unsigned long *p);
#endif

/*
 * work_rdpmc() counts, besides the block: from after the first RDPMC to the
 * second one.  An RDPMC reads before it retires, so the first one counts, the
 * second does not.
 */
#define WORK_RDPMC_INSNS	7
#define WORK_RDPMC_BRANCHES	1

/*
 * work_ioctl() counts in user mode, besides the block, from the SYSCALL that
 * enables (returns into user mode after it) to the one that disables: these
 * and, if the machine counts SYSCALL where it came from, one more of each.
 */
#define WORK_IOCTL_INSNS	6
#define WORK_IOCTL_BRANCHES	1
