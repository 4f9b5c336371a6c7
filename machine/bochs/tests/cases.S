/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The cases.  START enables the counters and STOP disables them; between the
 * WRMSRs only what stands there is counted, and STOP's own four instructions.
 */
#define LAPIC		0xfee00000
#define FAULT_PAGE	0x40000000

	.macro	START
	mov	g_msr, %ecx
	mov	g_on, %eax
	mov	g_on + 4, %edx
	wrmsr
	.endm

	.macro	STOP
	mov	g_msr, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	.endm

	.macro	CASE name
	.globl	case_\name
case_\name:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	START
	.endm

	.macro	END
	STOP
	.Lout\@:
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.endm

	.macro	NOPS n
	.rept	\n
	nop
	.endr
	.endm

	.text
	CASE	empty
	END

	CASE	nops
	NOPS	100
	END

	CASE	rep_movsb		/* in bulk */
	mov	$buffer, %esi
	mov	$buffer + 2048, %edi
	mov	$1000, %ecx
	rep movsb
	END

	CASE	rep_movsb_0
	xor	%ecx, %ecx
	rep movsb
	END

	CASE	rep_stosb_down		/* one by one */
	mov	$buffer + 1000, %edi
	mov	$1000, %ecx
	std
	rep stosb
	cld
	END

	CASE	repe_scasb		/* ends early */
	mov	$buffer + 100, %edi
	mov	$1000, %ecx
	xor	%eax, %eax
	repe scasb
	END

	CASE	rep_fault		/* half of it faults, goes on elsewhere */
	mov	$buffer, %esi
	mov	$FAULT_PAGE - 10, %edi
	mov	$20, %ecx
	std				/* no bulk */
	cld
	mov	$2, %r12d
	rep movsb
	nop
	nop
	END

	CASE	loop
	mov	$100, %ecx
1:	loop	1b
	END

	CASE	branches
	xor	%eax, %eax
	jz	1f			/* taken */
	ud2
1:	jnz	1b			/* not taken */
	jmp	2f
	ud2
2:	call	3f
	jmp	4f
3:	ret
4:	mov	$5f, %eax
	jmp	*%rax
	ud2
5:	mov	$3b, %eax
	call	*%rax
	xor	%ecx, %ecx
	jrcxz	6f
	ud2
6:	push	$0x08			/* far return */
	push	$7f
	lretq
7:
	END

	CASE	int
	int	$0x40
	END

	CASE	int3
	int3
	END

	CASE	ud2
	ud2
	END

	CASE	load_fault
	mov	$3, %r12d
	mov	$FAULT_PAGE, %ebx
	mov	(%ebx), %eax		/* 3 bytes */
	END

	CASE	wrmsr_fault
	mov	$2, %r12d
	mov	$0x3f1, %ecx		/* on no model */
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	END

	CASE	cpuid_rdtsc
	xor	%eax, %eax
	cpuid
	rdtsc
	END

	CASE	single_step
	pushfq
	orq	$0x100, (%rsp)
	popfq
	nop
	pushfq
	andq	$~0x100, (%rsp)
	popfq
	END

	CASE	sysret_syscall
	mov	%rsp, saved_rsp
	mov	$user_syscall, %ecx
	mov	$2, %r11d
	sysretq
user_syscall:
	NOPS	10
	syscall
	.globl	syscall_entry
syscall_entry:
	mov	saved_rsp, %rsp
	END

	CASE	sysret_tf		/* ends as sysret_syscall */
	mov	%rsp, saved_rsp
	mov	$user_tf, %ecx
	mov	$0x102, %r11d
	sysretq
	.globl	user_tf
user_tf:
	nop
	syscall

	CASE	iret_int
	mov	%rsp, saved_rsp
	push	$0x2b
	push	$0x3e0000
	push	$2
	push	$0x33
	push	$user_int
	iretq
user_int:
	NOPS	5
	int	$0x41
	.globl	int_to_kernel
int_to_kernel:
	mov	saved_rsp, %rsp
	END

	CASE	user_fault		/* and back by the handler's IRET */
	mov	%rsp, saved_rsp
	push	$0x2b
	push	$0x3e0000
	push	$2
	push	$0x33
	push	$user_pf
	iretq
user_pf:
	mov	$3, %r12d
	mov	$FAULT_PAGE, %ebx
	mov	(%ebx), %eax
	nop
	int	$0x41
	ud2

	CASE	hlt			/* the interrupt is there already: STI's shadow lets HLT in */
	mov	$0x40051, %eax
	movabs	%eax, LAPIC + 0x300
	sti
	hlt
	cli
	END

	CASE	pushf_mov_ss
	mov	%ss, %eax
	mov	%eax, %ss
	nop
	END

	CASE	rdpmc
	xor	%ecx, %ecx
	rdpmc
	rdpmc
	END

	CASE	pmi			/* counter 0 overflows at instruction 50 */
	.globl	pmi_start
pmi_start:
	NOPS	200
	END

	/* VMX and SVM: one round trip; what the guest does is up to guest_rip. */
	CASE	vmlaunch
	mov	$0x6c14, %ebx		/* host RSP */
	vmwrite	%rsp, %rbx
	vmlaunch
	jmp	1f
	.globl	vmx_exit
vmx_exit:
	nop
1:
	END

	CASE	vmresume
	mov	$0x6c14, %ebx
	vmwrite	%rsp, %rbx
	vmresume
	jmp	1b

	CASE	vmrun
	mov	$vmcb, %eax
	vmrun	%rax
	nop
	END

	.globl	guest_cpuid
guest_cpuid:
	NOPS	10
	cpuid
	NOPS	7
	hlt
	.globl	guest_wrmsr
guest_wrmsr:
	mov	g_msr, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	NOPS	20
	cpuid
	.globl	guest_lmsw
guest_lmsw:
	smsw	%eax
	lmsw	%ax
	hlt

	.globl	guest_sti_hlt, guest_hlt
guest_sti_hlt:
	sti
guest_hlt:
	hlt
	NOPS	11
	cpuid
	.globl	guest_paging, guest_paging_on
	.code32
guest_paging:
	mov	$0x80000031, %eax
	mov	%eax, %cr0
guest_paging_on:
	NOPS	5
	cpuid
	.code64

	.code32
	.globl	guest_npf
guest_npf:
	mov	FAULT_PAGE, %eax	/* which nested paging has not */
	cpuid
	.code64

	/* Handlers. */
	.globl	h_iret, h_skip2, h_fault, h_eoi, h_pmi, h_nmi, h_bad, h_db
h_iret:	iretq
h_skip2:addq	$2, (%rsp)
	iretq
h_fault:add	$8, %rsp
	add	%r12, (%rsp)
	iretq
h_eoi:	movabs	%eax, LAPIC + 0xb0
	iretq
h_pmi:	popq	pmi_rip
	pushq	pmi_rip
	incl	pmi_count
	movabs	%eax, LAPIC + 0xb0
	iretq
h_nmi:	popq	pmi_rip
	pushq	pmi_rip
	incl	pmi_count
	iretq
h_db:	push	%rax
	push	%rbx
	mov	db_count, %eax
	mov	16(%rsp), %rbx
	and	$7, %eax
	mov	%rbx, db_rip(, %rax, 8)
	incl	db_count
	pop	%rbx
	pop	%rax
	iretq
h_bad:	mov	(%rsp), %rdi
	mov	8(%rsp), %rsi
	jmp	bad_event

	.bss
	.balign	4096
	.globl	buffer, vmcb
buffer:	.skip	4096
vmcb:	.skip	4096
	.globl	saved_rsp, pmi_rip, pmi_count, g_msr, g_on, db_rip, db_count
saved_rsp:	.quad 0
pmi_rip:	.quad 0
g_on:		.quad 0
g_msr:		.long 0
pmi_count:	.long 0
db_count:	.long 0
	.balign	8
db_rip:		.skip 64
