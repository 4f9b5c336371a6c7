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
	mov	$PORT, %edx
	mov	$(OPEN << 24 | WINDOW), %eax
	out	%eax, %dx
	mov	$EXITS, %esi
1:	in	$0xed, %al
	dec	%esi
	jnz	1b
	mov	$PORT, %edx
	mov	$(CLOSE << 24 | WINDOW), %eax
	out	%eax, %dx
	mov	$60, %eax
	xor	%edi, %edi
	syscall

	.section .note.GNU-stack, "", @progbits
