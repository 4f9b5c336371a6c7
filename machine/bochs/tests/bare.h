/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs on bare metal have in common: TAP on COM1, the processor, a VMCB. */
#ifndef MACHINE_BOCHS_TESTS_BARE_H
#define MACHINE_BOCHS_TESTS_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define LAPIC_REG(off) (*(volatile u32 *)(0xfee00000ul + (off)))
#define LVTPC LAPIC_REG(0x340)

/* Event selectors. */
#define SEL(ev, bits) ((ev) | (bits) | 1 << 22)
#define OS (1 << 17)
#define USR (1 << 16)
#define INT (1 << 20)
#define GUESTONLY (1ull << 40)
#define HOSTONLY (1ull << 41)

/* boot.S, cases.S */
extern u64 g_on, pmi_rip, db_rip[8];
extern u32 g_msr, pmi_count, db_count;
extern u8 vmcb[4096], msrpm[8192];
extern struct { u16 limit; u64 base; } __attribute__((packed)) gdtr;
extern u8 tss[104];
extern u8 h_iret[], h_nmi[], h_pmi[];

/* Of the processor this runs on; valid after setup(). */
extern bool amd;

struct gate { u16 lo, sel; u8 ist, type; u16 mid; u32 hi, zero; };
extern struct gate idt[256];

static inline void outb(u16 port, u8 val) { asm volatile("outb %0, %1" :: "a"(val), "Nd"(port)); }
static inline u8 inb(u16 port) { u8 val; asm volatile("inb %1, %0" : "=a"(val) : "Nd"(port)); return val; }
static inline void outl(u16 port, u32 val) { asm volatile("outl %0, %1" :: "a"(val), "Nd"(port)); }

static inline void wrmsr(u32 msr, u64 val)
{
	asm volatile("wrmsr" :: "c"(msr), "a"((u32)val), "d"((u32)(val >> 32)) : "memory");
}

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (u64)hi << 32;
}

static inline u64 rdpmc(u32 ecx)
{
	u32 lo, hi;

	asm volatile("rdpmc" : "=a"(lo), "=d"(hi) : "c"(ecx));
	return lo | (u64)hi << 32;
}

/* EAX, EBX, ECX, EDX of a leaf. */
static inline void cpuid(u32 leaf, u32 r[4])
{
	r[0] = leaf;
	r[2] = 0;
	asm volatile("cpuid" : "+a"(r[0]), "=b"(r[1]), "+c"(r[2]), "=d"(r[3]));
}

void puts(const char *s);
void ok(bool good, const char *name);
/* A comment if @got is not @want; says nothing else and fails nothing. */
void is(const char *name, const char *what, u64 got, u64 want);
/* Print the plan and power off. */
void off(void) __attribute__((noreturn));

void setup(void);
void gate(unsigned int vector, const void *handler, unsigned int dpl);
u64 cr(int n);
/* Vector 51h, now. */
void self_ipi(void);
/* An interrupt that comes while a guest halts. */
void timer(u8 vector);

/* The VMCB, by offsets in its page. */
static inline void put8(u32 off, u8 v) { vmcb[off] = v; }
static inline void put16(u32 off, u16 v) { *(u16 *)(vmcb + off) = v; }
static inline void put32(u32 off, u32 v) { *(u32 *)(vmcb + off) = v; }
static inline void put64(u32 off, u64 v) { *(u64 *)(vmcb + off) = v; }
static inline u32 get32(u32 off) { return *(u32 *)(vmcb + off); }
static inline u64 get64(u32 off) { return *(u64 *)(vmcb + off); }

void seg(u32 off, u16 sel, u16 attr);
void svm_on(void);
/* A guest at CPL 0 in the host's address space; CPUID and HLT exit. */
void svm_setup(const void *rip);

#endif /* MACHINE_BOCHS_TESTS_BARE_H */
