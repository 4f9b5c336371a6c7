/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The demo's workload.  It opens window WINDOW of the machine log, works, closes
 * the window and exits.  In user mode the process executes, by construction,
 *	in the window	REGION_INSNS instructions, REGION_BRANCHES of them branches,
 *	before and after	OUTSIDE_INSNS, OUTSIDE_BRANCHES
 * whatever happens around it: an instruction that faults and is executed again
 * retires once, and no instruction of the kernel is one of user mode.
 */
#include "../machine/image/workloads/block.h"
#include "region.h"

	.text
	.globl	_start
_start:
	mov	$PORT, %edx
	mov	$(OPEN << 24 | WINDOW), %eax
	out	%eax, %dx			/* 3, no branch: not in the window */

	mov	$ROUNDS, %edi
	lea	word(%rip), %rsi
	call	work_block			/* 3 + the block, 1 + its branches */

	/* Pass over more memory than a cache holds; the first pass faults. */
	mov	$PASSES, %ecx			/* 1 */
1:	lea	area(%rip), %rsi		/* each pass: 4 */
	mov	$LINES, %edi
2:	incq	(%rsi)				/* each line: 4 */
	add	$64, %rsi
	dec	%edi
	jnz	2b
	dec	%ecx
	jnz	1b

	mov	$PORT, %edx
	mov	$(CLOSE << 24 | WINDOW), %eax
	out	%eax, %dx			/* 3: in the window */

	mov	$60, %eax
	xor	%edi, %edi
	syscall					/* 3, and a branch: not in the window */

	.bss
	.p2align 12
word:	.skip	4096
area:	.skip	64 * LINES

	.section .note.GNU-stack, "", @progbits
