/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cpuid-loop [long|forever]: EXITS VM-exits that the hypervisor deals with in full, in
 * window WINDOW.  long: ten times as many; a tick of the host's clock more or less costs
 * each of EXITS some five of its instructions.  forever: until it is killed, without a
 * window.
 */
#include "region.h"

	.text
	.globl	_start
_start:
	cmpl	$1, (%rsp)		/* argc */
	je	1f
	mov	16(%rsp), %rax		/* argv[1] */
	cmpb	$'f', (%rax)
	je	3f
1:	window	OPEN
	mov	$EXITS, %esi
	cmpl	$1, (%rsp)
	je	2f
	mov	$(10 * EXITS), %esi
2:	xor	%eax, %eax
	cpuid
	dec	%esi
	jnz	2b
	window	CLOSE
	exit_0

3:	xor	%eax, %eax
	cpuid
	jmp	3b

	.section .note.GNU-stack, "", @progbits
