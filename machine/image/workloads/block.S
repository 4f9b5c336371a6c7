/* SPDX-License-Identifier: GPL-2.0 */
/* See block.h.  Count the lines again after any change here. */
	.text

	.globl	work_block
	.type	work_block, @function
	.p2align 6
work_block:
1:	mov	(%rsi), %rax
	add	$1, %rax
	mov	%rax, (%rsi)
	call	2f
	dec	%rdi
	jnz	1b
	ret
2:	ret
	.size	work_block, . - work_block

	.globl	work_rdpmc
	.type	work_rdpmc, @function
	.p2align 6
work_rdpmc:
	mov	%edx, %ecx
	rdpmc			/* counts from here: 1 */
	shl	$32, %rdx	/* 2 */
	or	%rdx, %rax	/* 3 */
	mov	%rax, %r8	/* 4 */
	call	work_block	/* 5, the branch */
	nop			/* 6 */
	nop			/* 7 */
	rdpmc			/* to here */
	shl	$32, %rdx
	or	%rdx, %rax
	sub	%r8, %rax
	ret
	.size	work_rdpmc, . - work_rdpmc

	.set	ENABLE, 0x2400	/* PERF_EVENT_IOC_ENABLE */
	.set	DISABLE, 0x2401
	.set	NR_ioctl, 16

	.globl	work_ioctl
	.type	work_ioctl, @function
	.p2align 6
work_ioctl:
	push	%rbx
	push	%r12
	mov	%edi, %ebx
	mov	%rdx, %r12
	mov	%rsi, %r9
	mov	$ENABLE, %esi
	xor	%edx, %edx
	mov	$NR_ioctl, %eax
	syscall
	mov	%r9, %rdi	/* 1 */
	mov	%r12, %rsi	/* 2 */
	call	work_block	/* 3, the branch */
	mov	%ebx, %edi	/* 4 */
	mov	$DISABLE, %esi	/* 5 */
	mov	$NR_ioctl, %eax	/* 6; RDX is 0 still */
	syscall
	pop	%r12
	pop	%rbx
	ret
	.size	work_ioctl, . - work_ioctl

	.section .note.GNU-stack, "", @progbits
