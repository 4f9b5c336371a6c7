/* SPDX-License-Identifier: GPL-2.0 */
/* What the guests of svm.c execute, their handlers, and the ways into them. */
	.macro	NOPS n
	.rept	\n
	nop
	.endr
	.endm

	/* vmrun_once(): a round trip; all that a guest may change is saved here. */
	.text
	.globl	vmrun_once
vmrun_once:
	push	%rbx
	push	%rbp
	push	%r12
	mov	$vmcb, %eax
	vmrun	%rax
	.globl	vmrun_end
vmrun_end:
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	/*
	 * vmrun_in_nmi(): the same in the handler of an NMI of the host, and then an
	 * NMI, which has to wait: nmi_waited is nmi_count before the handler's IRET.
	 */
	.globl	vmrun_in_nmi
vmrun_in_nmi:
	movl	$1, nmi_stay
	mov	$0x4400, %eax		/* NMI to APIC 0: itself */
	movabs	%eax, 0xfee00300
1:	jmp	1b
2:	call	vmrun_once
	stgi
	mov	$0x4400, %eax		/* NMI to APIC 0: itself */
	movabs	%eax, 0xfee00300
	NOPS	3
	mov	nmi_count, %eax
	mov	%eax, nmi_waited
	mov	%rsp, %rax
	pushq	$0x10
	push	%rax
	pushfq
	pushq	$0x08
	pushq	$3f
	iretq
3:	nop
	ret

	/* The host's handler of NMIs. */
	.globl	h_nmi_host
h_nmi_host:
	cmpl	$0, nmi_stay
	jne	4f
	incl	nmi_count
	iretq
4:	movl	$0, nmi_stay
	mov	24(%rsp), %rsp
	jmp	2b

	/* Guests. */
	.globl	g_nops, g_nops_end
g_nops:	NOPS	20
g_nops_end:
	cpuid
	NOPS	20
	cpuid
	.globl	g_clgi, g_clgi_off, g_clgi_on
g_clgi:	clgi
	NOPS	5
g_clgi_off:
	cpuid
	NOPS	5
	stgi
g_clgi_on:
	NOPS	5
	cpuid
	/* Ends up in EBX, ECX, EDX: RDPMC, RDMSR, and writes. */
	.globl	g_read
g_read:	xor	%ecx, %ecx
	rdpmc
	mov	%eax, %ebx
	mov	$0xc0010201, %ecx
	rdmsr
	mov	%eax, g_rdmsr
	mov	%ebx, g_rdpmc
	mov	$0xc0010203, %ecx	/* CTR1 */
	mov	$0x1234, %eax
	xor	%edx, %edx
	wrmsr
	mov	$0xc0000302, %ecx	/* STATUS_CLR */
	mov	$2, %eax
	wrmsr
	mov	$0xc0000301, %ecx	/* GLOBAL_CTL */
	mov	$0x15, %eax
	wrmsr
	cpuid

	/* Their handlers: rip, how many, in which order. */
	.globl	g_nmi, g_nmi_cpuid, g_nmi_bad, g_int
	.macro	NOTE	what
	push	%rax
	mov	8(%rsp), %rax
	mov	%rax, \what\()_rip
	incl	g_order
	mov	g_order, %eax
	mov	%eax, \what\()_order
	incl	\what\()_count
	pop	%rax
	.endm
g_nmi:	NOTE	g_nmi
	iretq
g_nmi_cpuid:
	NOTE	g_nmi
	cpuid
	iretq
g_nmi_bad:				/* an IRET that faults */
	NOTE	g_nmi
	movq	$0x100, 8(%rsp)
	iretq
g_int:	NOTE	g_int
	iretq

	/* The same in protected mode, with gates of 32 and of 16 bits. */
	.globl	g_nmi_32, g_nmi_16
	.code32
g_nmi_32:
	incl	g_nmi_count
	iretl
g_nmi_16:
	incl	g_nmi_count
	iretw
	.code64

	.bss
	.globl	nmi_count, nmi_waited, g_rdmsr, g_rdpmc
	.globl	g_nmi_rip, g_nmi_count, g_nmi_order, g_int_rip, g_int_count, g_int_order, g_order
	.balign	8
g_nmi_rip:	.quad 0
g_int_rip:	.quad 0
nmi_count:	.long 0
nmi_waited:	.long 0
nmi_stay:	.long 0
g_nmi_count:	.long 0
g_nmi_order:	.long 0
g_int_count:	.long 0
g_int_order:	.long 0
g_order:	.long 0
g_rdmsr:	.long 0
g_rdpmc:	.long 0
