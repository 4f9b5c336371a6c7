// SPDX-License-Identifier: GPL-2.0
/* See bare.h. */
#include "bare.h"

extern u8 h_skip2[], h_fault[], h_eoi[], h_bad[], int_to_kernel[], syscall_entry[];

bool amd;
static unsigned int nr, failed;

/* Output. */

static void put(char c)
{
	while (!(inb(0x3fd) & 0x20))
		;
	outb(0x3f8, c);
}

void puts(const char *s)
{
	while (*s)
		put(*s++);
}

static void putn(u64 n)
{
	char buf[21], *p = buf + 20;

	*p = 0;
	do
		*--p = '0' + n % 10;
	while (n /= 10);
	puts(p);
}

static void puth(u64 n)
{
	int i;

	puts("0x");
	for (i = 60; i >= 0; i -= 4)
		put("0123456789abcdef"[(n >> i) & 15]);
}

void ok(bool good, const char *name)
{
	puts(good ? "ok " : "not ok ");
	putn(++nr);
	puts(" - ");
	puts(name);
	puts("\n");
	failed += !good;
}

void is(const char *name, const char *what, u64 got, u64 want)
{
	if (got == want)
		return;
	puts("# ");
	puts(name);
	puts(": ");
	puts(what);
	puts(" is ");
	putn(got);
	puts(", not ");
	putn(want);
	puts("\n");
}

void off(void)
{
	const char *s;

	puts("1..");
	putn(nr);
	puts("\n");
	while (!(inb(0x3fd) & 0x40))
		;
	for (s = "Shutdown"; *s; s++)
		outb(0x8900, *s);
	for (;;)
		asm volatile("hlt");
}

void bad_event(u64 rip, u64 second);
void bad_event(u64 rip, u64 second)
{
	puts("Bail out! unexpected event, stack: ");
	puth(rip);
	put(' ');
	puth(second);
	put('\n');
	off();
}

/* Processor. */

struct gate idt[256];

void gate(unsigned int vector, const void *handler, unsigned int dpl)
{
	u64 addr = (u64)handler;

	idt[vector].lo = addr;
	idt[vector].sel = 8;
	idt[vector].type = 0x8e | dpl << 5;
	idt[vector].mid = addr >> 16;
	idt[vector].hi = addr >> 32;
}

void setup(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) idtr = { sizeof(idt) - 1, (u64)idt };
	unsigned int i;
	u32 r[4];

	outb(0x3f9, 0);		/* no interrupts; 115200 8n1, FIFO */
	outb(0x3fb, 0x83);
	outb(0x3f8, 1);
	outb(0x3f9, 0);
	outb(0x3fb, 3);
	outb(0x3fa, 7);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);

	for (i = 0; i < 256; i++)
		gate(i, h_bad, 0);
	gate(1, h_iret, 0);
	gate(2, h_nmi, 0);
	gate(3, h_iret, 3);
	gate(6, h_skip2, 0);
	gate(13, h_fault, 0);
	gate(14, h_fault, 0);
	gate(0x40, h_iret, 0);
	gate(0x41, int_to_kernel, 3);
	gate(0x50, h_pmi, 0);
	gate(0x51, h_eoi, 0);
	asm volatile("lidt %0" :: "m"(idtr));

	cpuid(0, r);
	amd = r[1] == 0x68747541;
	LAPIC_REG(0xf0) = 0x1ff;
	wrmsr(0xc0000081, 0x0020000800000000);
	wrmsr(0xc0000082, (u64)syscall_entry);
	wrmsr(0xc0000084, 0x300);
}

void self_ipi(void)
{
	LAPIC_REG(0x300) = 0x40051;
}

void timer(u8 vector)
{
	LAPIC_REG(0x3e0) = 0xb;
	LAPIC_REG(0x320) = vector;
	LAPIC_REG(0x380) = 5000;
}

/* SVM. */

u64 cr(int n)
{
	u64 v;

	if (n == 0)
		asm volatile("mov %%cr0, %0" : "=r"(v));
	else if (n == 3)
		asm volatile("mov %%cr3, %0" : "=r"(v));
	else
		asm volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

static u8 hsave[4096] __attribute__((aligned(4096)));
u8 msrpm[8192] __attribute__((aligned(4096)));

void seg(u32 off, u16 sel, u16 attr)
{
	put16(off, sel);
	put16(off + 2, attr);
	put32(off + 4, 0xffffffff);
	put64(off + 8, 0);
}

void svm_on(void)
{
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1 << 12);
	wrmsr(0xc0010117, (u64)hsave);
}

void svm_setup(const void *rip)
{
	unsigned int i;

	for (i = 0; i < sizeof(vmcb); i++)
		vmcb[i] = 0;
	put32(0x00c, 1u << 18 | 1u << 24 | 1u << 28);	/* CPUID, HLT, MSRPM */
	put32(0x010, 1);		/* VMRUN */
	put64(0x048, (u64)msrpm);
	put32(0x058, 1);		/* ASID */
	seg(0x400, 0x10, 0xc93);
	seg(0x410, 0x08, 0xa9b);
	seg(0x420, 0x10, 0xc93);
	seg(0x430, 0x10, 0xc93);
	put16(0x464, gdtr.limit);
	put64(0x468, gdtr.base);
	put16(0x484, sizeof(idt) - 1);
	put64(0x488, (u64)idt);
	put64(0x4d0, rdmsr(0xc0000080));
	put64(0x548, cr(4));
	put64(0x550, cr(3));
	put64(0x558, cr(0));
	put64(0x560, 0x400);
	put64(0x568, 0xffff0ff0);
	put64(0x570, 2);
	put64(0x578, (u64)rip);
	put64(0x5d8, 0x380000);
}
