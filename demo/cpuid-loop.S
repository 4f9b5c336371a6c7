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
	window	OPEN
	mov	$EXITS, %esi
	cmpl	$1, (%rsp)		/* argc */
	je	1f
	mov	$(10 * EXITS), %esi
1:	xor	%eax, %eax
	cpuid
	dec	%esi
	jnz	1b
	window	CLOSE
	exit_0

	.section .note.GNU-stack, "", @progbits
