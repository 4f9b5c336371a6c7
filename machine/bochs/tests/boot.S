/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An El Torito image without emulation, loaded at 7C00h: go to 64-bit mode with
 * the low 4 GB mapped one to one and open to user mode, and call main().
 */
	.code16
	.globl _start
_start:
	ljmp	$0, $1f
1:	cli
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	$0x7c00, %sp
	lgdtl	gdtr
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$0x18, $2f

	.code32
2:	mov	$0x20, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x400000, %esp
	/* page tables at 2 MB: PML4, PDPT, four PDs of 2 MB pages */
	mov	$0x200000, %edi
	xor	%eax, %eax
	mov	$(6 * 4096 / 4), %ecx
	rep stosl
	movl	$0x201007, 0x200000
	mov	$0x202007, %eax
	mov	$0x201000, %edi
	mov	$4, %ecx
3:	mov	%eax, (%edi)
	add	$0x1000, %eax
	add	$8, %edi
	loop	3b
	mov	$0x202000, %edi
	mov	$0x87, %eax
	mov	$2048, %ecx
4:	mov	%eax, (%edi)
	add	$0x200000, %eax
	add	$8, %edi
	loop	4b
	/* the page at 1 GB is for faults */
	movl	$0, 0x203000
	mov	$0x200000, %eax
	mov	%eax, %cr3
	mov	%cr4, %eax
	or	$0x120, %eax		/* PAE, PCE */
	mov	%eax, %cr4
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x101, %eax		/* LME, SCE */
	wrmsr
	mov	%cr0, %eax
	or	$0x80000020, %eax	/* PG, NE */
	mov	%eax, %cr0
	ljmpl	$0x08, $5f

	.code64
5:	mov	$0x10, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	xor	%ax, %ax
	mov	%ax, %fs
	mov	%ax, %gs
	mov	$__bss_start, %rdi
	mov	$__bss_end, %rcx
	sub	%rdi, %rcx
	xor	%eax, %eax
	rep stosb
	/* the TSS is in .bss: its descriptor is made here */
	mov	$tss, %rax
	mov	%ax, gdt_tss + 2
	shr	$16, %rax
	mov	%al, gdt_tss + 4
	mov	%ah, gdt_tss + 7
	movq	$0x3f0000, tss + 4	/* RSP0 */
	mov	$0x40, %ax
	ltr	%ax
	call	main
	hlt

	.balign	8
	.globl	gdt
gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* 08 kernel code */
	.quad	0x00cf93000000ffff	/* 10 kernel data */
	.quad	0x00cf9b000000ffff	/* 18 32-bit code */
	.quad	0x00cf93000000ffff	/* 20 32-bit data, base of SYSRET's selectors */
	.quad	0x00cff3000000ffff	/* 28 user data */
	.quad	0x00affb000000ffff	/* 30 user code */
	.quad	0
gdt_tss:.word	0x67, 0
	.byte	0, 0x89, 0, 0
	.quad	0
gdt_end:
	.globl	gdtr
gdtr:	.word	gdt_end - gdt - 1
	.quad	gdt

	.bss
	.balign	16
	.globl	tss
tss:	.skip	104
