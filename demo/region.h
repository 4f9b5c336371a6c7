/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The numbers of the demo's workloads, known by construction: see region.S and
 * around.c.  demo/run reads them here.
 */
#define PORT		0x5ee0		/* of the machine log, machine/pmu/LOG.md */
#define OPEN		1
#define CLOSE		2
#define WINDOW		0x1000

#define ROUNDS		100000
#define PASSES		3
#define LINES		4096
#define REGION_INSNS	(3 + 7 * ROUNDS + 1 + 1 + PASSES * (4 + 4 * LINES) + 3)
#define REGION_BRANCHES	(1 + 3 * ROUNDS + 1 + PASSES * (1 + LINES))
#define OUTSIDE_INSNS	6
#define OUTSIDE_BRANCHES 1

#define BESIDE_INSNS	8

#define EXITS		2000

#define STR(x)		STR_(x)
#define STR_(x)		#x

#ifdef __ASSEMBLER__
/* Window WINDOW of the machine log: OPEN or CLOSE. */
.macro window what
	mov	$PORT, %edx
	mov	$(\what << 24 | WINDOW), %eax
	out	%eax, %dx
.endm

.macro exit_0
	mov	$60, %eax
	xor	%edi, %edi
	syscall
.endm
#endif
