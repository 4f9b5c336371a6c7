/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cpuid-loop [long]: EXITS VM-exits that the hypervisor deals with in full, in
 * window WINDOW.  With an argument ten times as many: a tick of the host's clock
 * more or less costs each of EXITS some five of its instructions.
 */
#include "region.h"

	.text
	.globl	_start
_start:
	mov	$PORT, %edx
	mov	$(OPEN << 24 | WINDOW), %eax
	out	%eax, %dx
	mov	$EXITS, %esi
	cmpl	$1, (%rsp)		/* argc */
	je	1f
	mov	$(10 * EXITS), %esi
1:	xor	%eax, %eax
	cpuid
	dec	%esi
	jnz	1b
	mov	$PORT, %edx
	mov	$(CLOSE << 24 | WINDOW), %eax
	out	%eax, %dx
	mov	$60, %eax
	xor	%edi, %edi
	syscall

	.section .note.GNU-stack, "", @progbits
