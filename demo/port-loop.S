/* SPDX-License-Identifier: GPL-2.0 */
/*
 * port-loop: EXITS VM-exits that the VMM deals with, so that KVM_RUN returns: reads of a
 * port that no device has.  In window WINDOW.
 */
#include "region.h"

	.text
	.globl	_start
_start:
	mov	$172, %eax		/* iopl */
	mov	$3, %edi
	syscall
	window	OPEN
	mov	$EXITS, %esi
1:	in	$0xed, %al
	dec	%esi
	jnz	1b
	window	CLOSE
	exit_0

	.section .note.GNU-stack, "", @progbits
