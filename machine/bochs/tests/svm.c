// SPDX-License-Identifier: GPL-2.0
/*
 * Unit cases of what SVM has on amd-zen4 and amd-zen5: a virtual GIF, virtual NMIs
 * and PMC virtualization.  On bare metal, TAP on COM1, then power off.  Built for
 * one setting of quirks: VPMC_CTL, VPMC_ALONE, VPMC_CLEAN, VPMC_KEEP and VPMC_REFUSED
 * say that the quirk is on, VMRUN_INSNS what VMRUN adds to the guest's count.
 *
 * Source of the rules: AMD64 APM Vol. 2 (24593 rev 3.44), 15.20, 15.21.10, 15.33 and
 * 15.39; where it leaves something open, machine/pmu/quirks.c says which way it is.
 */
#include "bare.h"

#ifndef VMRUN_INSNS
#define VMRUN_INSNS 1
#endif
#ifndef VPMC_CTL
#define VPMC_CTL 0
#endif
#ifndef VPMC_ALONE
#define VPMC_ALONE 0
#endif
#ifndef VPMC_CLEAN
#define VPMC_CLEAN 0
#endif
#ifndef VPMC_KEEP
#define VPMC_KEEP 0
#endif
#ifndef VPMC_REFUSED
#define VPMC_REFUSED 0
#endif
#ifndef LATE
#define LATE 0
#endif

void vmrun_once(void);
void vmrun_in_nmi(void);

extern u8 h_nmi_host[], g_nops[], g_nops_end[], g_clgi[], g_clgi_off[], g_clgi_on[], g_read[];
extern u8 g_nmi_32[], g_nmi_16[];
extern u8 g_nmi[], g_nmi_cpuid[], g_nmi_bad[], g_int[], guest_sti_hlt[], guest_hlt[];
extern u64 g_nmi_rip, g_int_rip;
extern u32 nmi_count, nmi_waited, g_nmi_count, g_nmi_order, g_int_count, g_int_order, g_order;
extern u32 g_rdmsr, g_rdpmc;

#define EXIT_INVALID	(-1ull)
#define EXIT_INVALID_PMC (-4ull)
#define EXIT_EXCEPTION	0x40
#define EXIT_INTR	0x60
#define EXIT_NMI	0x61
#define EXIT_VINTR	0x64
#define EXIT_CPUID	0x72
#define EXIT_STGI	0x84

#define GP		13

/* VMCB 00ch */
#define ON_INTR		(1u << 0)
#define ON_NMI		(1u << 1)
#define ON_VINTR	(1u << 4)
#define ON_CPUID	(1u << 18)
#define ON_MSR		(1u << 28)

/* VMCB 060h */
#define V_IRQ		(1u << 8)
#define V_GIF		(1u << 9)
#define V_NMI		(1u << 11)
#define V_NMI_MASK	(1u << 12)
#define V_PRIO		(1u << 16)
#define V_IGN_TPR	(1u << 20)
#define V_INTR_MASKING	(1u << 24)
#define V_GIF_ENABLE	(1u << 25)
#define V_NMI_ENABLE	(1u << 26)

#define INT_CTL		0x060
#define EXITCODE	0x070
#define EXITINTINFO	0x088
#define EVENTINJ	0x0a8
#define VIRT_EXT	0x0b8
#define CLEAN		0x0c0
#define RFLAGS		0x570
#define RIP		0x578

#define INJECT_NMI	0x80000200u
#define NMI_INFO	0x80000202u	/* of EXITINTINFO: with the vector */

static struct gate gidt[256];

static void guest_gate(unsigned int vector, const void *handler)
{
	struct gate old = idt[vector];

	gate(vector, handler, 0);
	gidt[vector] = idt[vector];
	idt[vector] = old;
}

/* A guest at @rip with an IDT of its own, @int_ctl in VMCB 060h. */
static void guest(const void *rip, u32 int_ctl)
{
	svm_setup(rip);
	put32(0x00c, ON_NMI | ON_CPUID | ON_MSR);
	put32(INT_CTL, int_ctl);
	put64(0x488, (u64)gidt);
	guest_gate(2, g_nmi);
	guest_gate(0x40, g_int);
	g_nmi_count = g_nmi_order = g_int_count = g_int_order = g_order = 0;
	g_nmi_rip = g_int_rip = 0;
	nmi_count = 0;
}

static void run(void)
{
	asm volatile("clgi");
	vmrun_once();
}

/* To APIC 0, which is this one's; with the shorthand for it there are no NMIs. */
static void self_nmi(void)
{
	LAPIC_REG(0x310) = 0;
	LAPIC_REG(0x300) = 0x4400;
}

/* The CPUID that a guest has exited at is over. */
static void skip(void)
{
	put64(RIP, get64(RIP) + 2);
}

/* Comments on all that is not as it should be; true if nothing is. */
static bool state(const char *name, u64 exit, u32 int_ctl, u32 nmis)
{
	is(name, "exit code", get64(EXITCODE), exit);
	is(name, "VMCB 060h", get32(INT_CTL), int_ctl);
	is(name, "virtual NMIs", g_nmi_count, nmis);
	return get64(EXITCODE) == exit && get32(INT_CTL) == int_ctl && g_nmi_count == nmis;
}

static void check(const char *name, u64 exit, u32 int_ctl, u32 nmis)
{
	ok(state(name, exit, int_ctl, nmis), name);
}

static bool nmi_at(const char *name, const u8 *rip)
{
	is(name, "RIP of the virtual NMI", g_nmi_rip, (u64)rip);
	return g_nmi_rip == (u64)rip;
}

static void cpuid_cases(bool vpmc)
{
	u32 r[4];

	cpuid(0x8000000a, r);
	ok((r[3] & (1u << 16 | 1u << 25)) == (1u << 16 | 1u << 25), "CPUID: VGIF, VNMI");
	ok(!(r[3] & (1u << 13 | 1u << 18 | 1u << 26 | 1u << 27)), "CPUID: no AVIC, x2AVIC, IBS");
	ok(!!(r[3] & 1u << 8) == vpmc, vpmc ? "CPUID: VPMC" : "CPUID: no VPMC");
	ok(!!(r[3] & 1u << 5) == VPMC_CLEAN, "CPUID: clean bits only where there is something to keep");
	cpuid(0x80000022, r);
	ok(r[1] == (6 | 16 << 10), "CPUID: six counters, 16 of the data fabric");
	cpuid(0x80000001, r);
	ok((r[2] & (1u << 23 | 1u << 24 | 1u << 28)) == (1u << 23 | 1u << 24 | 1u << 28) && !(r[2] & 1u << 10),
	   "CPUID: PerfCtrExtCore, NB, LLC, no IBS");
	ok((r[0] >> 20 & 0xff) + 0xf == (vpmc ? 0x1au : 0x19u), "CPUID: the family");
}

/* Counters that all processors share are there for RDPMC. */
static void uncore_cases(void)
{
	bool good = true;
	u32 i;

	for (i = 6; i <= 0x1b; i++)
		good &= rdpmc(i) != 0;
	ok(good, "RDPMC of the data fabric's and the L3 cache's counters");
	wrmsr(0xc0010230, 0);		/* L3 */
	wrmsr(0xc0010231, 77);
	wrmsr(0xc001025e, 0);		/* DF 15 */
	wrmsr(0xc001025f, 78);
	ok(rdpmc(0xa) == 77 && rdpmc(0x1b) == 78 && rdmsr(0xc0010231) == 77, "and their registers");
}

static void vnmi_cases(void)
{
	const u32 on = V_NMI_ENABLE;
	const char *name;

	guest(g_nops, on);
	run();
	check("virtual NMI: none", EXIT_CPUID, on, 0);

	name = "virtual NMI: taken at entry, whatever IF is; IRET ends it";
	guest(g_nops, on | V_NMI);
	run();
	ok(state(name, EXIT_CPUID, on, 1) & nmi_at(name, g_nops), name);

	name = "virtual NMI: masks while it is handled";
	guest(g_nops, on | V_NMI);
	guest_gate(2, g_nmi_cpuid);
	run();
	check(name, EXIT_CPUID, on | V_NMI_MASK, 1);
	name = "virtual NMI: a second waits for IRET, and is taken right after it";
	skip();
	put32(INT_CTL, get32(INT_CTL) | V_NMI);
	guest_gate(2, g_nmi);
	run();
	ok(state(name, EXIT_CPUID, on, 2) & nmi_at(name, g_nops), name);

	guest(g_nops, on | V_NMI | V_NMI_MASK);
	run();
	check("virtual NMI: waits while masked", EXIT_CPUID, on | V_NMI | V_NMI_MASK, 0);

	guest(g_nops, V_NMI);
	run();
	check("virtual NMI: nothing without V_NMI_ENABLE", EXIT_CPUID, V_NMI, 0);

	name = "virtual NMI: an IRET that faults does not unmask";
	guest(g_nops, on | V_NMI);
	guest_gate(2, g_nmi_bad);
	put32(0x008, 1u << GP);
	run();
	check(name, EXIT_EXCEPTION + GP, on | V_NMI_MASK, 1);

	name = "virtual NMI: waits for the end of an interrupt shadow";
	guest(g_nops, on | V_NMI);
	put8(0x068, 1);
	run();
	ok(state(name, EXIT_CPUID, on, 1) & nmi_at(name, g_nops + 1), name);

	name = "virtual NMI: before a virtual interrupt";
	guest(g_nops, on | V_NMI | V_IRQ | V_PRIO | V_IGN_TPR | V_INTR_MASKING);
	put32(0x064, 0x40);
	put64(RFLAGS, 0x202);
	run();
	is(name, "interrupts", g_int_count, 1);
	ok(state(name, EXIT_CPUID, on | V_PRIO | V_IGN_TPR | V_INTR_MASKING, 1) & (g_int_count == 1) &
	   (g_nmi_order == 1) & (g_int_order == 2), name);

	name = "virtual NMI: before a physical interrupt";
	guest(g_nops, on | V_NMI | V_INTR_MASKING);
	put32(0x00c, ON_INTR | ON_NMI | ON_CPUID | ON_MSR);
	asm volatile("clgi; sti");
	self_ipi();
	run();
	check(name, EXIT_INTR, on | V_NMI_MASK | V_INTR_MASKING, 0);
	asm volatile("stgi; nop; cli");

	/* It was taken, but the interrupt came before the first instruction of its handler. */
	run();
	check("virtual NMI: its handler goes on", EXIT_CPUID, on | V_INTR_MASKING, 1);
	asm volatile("stgi");

	name = "physical NMI: before a virtual one, which waits";
	guest(g_nops, on | V_NMI);
	asm volatile("clgi");
	self_nmi();
	run();
	ok(state(name, EXIT_NMI, on | V_NMI, 0) & (get64(RIP) == (u64)g_nops) & (nmi_count == 0), name);
	asm volatile("stgi; nop");
	ok(nmi_count == 1, "physical NMI: the host takes it");
	run();
	check("virtual NMI: taken after that", EXIT_CPUID, on, 1);
	asm volatile("stgi");

	name = "injected NMI: masks virtual ones";
	guest(g_nops, on | V_NMI);
	guest_gate(2, g_nmi_cpuid);
	put32(EVENTINJ, INJECT_NMI);
	run();
	check(name, EXIT_CPUID, on | V_NMI | V_NMI_MASK, 1);
	is("EVENTINJ after #VMEXIT", "EVENTINJ", get64(EVENTINJ), 0);
	ok(!get64(EVENTINJ), "EVENTINJ after #VMEXIT");
	asm volatile("stgi");
	self_nmi();
	asm volatile("nop");
	is(name, "NMIs of the host", nmi_count, 1);
	ok(nmi_count == 1, "injected NMI: masks no physical ones");

	name = "the guest's IRET does not end an NMI of the host";
	guest(g_nops, on | V_NMI);
	vmrun_in_nmi();
	is(name, "NMIs before IRET", nmi_waited, 0);
	is(name, "NMIs after IRET", nmi_count, 1);
	ok(state(name, EXIT_CPUID, on, 1) & (nmi_waited == 0) & (nmi_count == 1), name);

	name = "exit in the delivery of a virtual NMI: in EXITINTINFO, and not masked";
	guest(g_nops, on | V_NMI);
	put16(0x484, 0);		/* no IDT: #GP */
	put32(0x008, 1u << GP);
	run();
	is(name, "EXITINTINFO", get32(EXITINTINFO), NMI_INFO);
	ok(state(name, EXIT_EXCEPTION + GP, on, 0) & (get32(EXITINTINFO) == NMI_INFO), name);
	name = "and again, of an injected one";
	put32(EVENTINJ, INJECT_NMI);
	run();
	ok(state(name, EXIT_EXCEPTION + GP, on, 0) & (get32(EXITINTINFO) == NMI_INFO), name);
	name = "injected after that";
	put16(0x484, sizeof(gidt) - 1);
	put32(EVENTINJ, INJECT_NMI);
	run();
	ok(state(name, EXIT_CPUID, on, 1) & nmi_at(name, g_nops), name);
	asm volatile("stgi");

	name = "V_NMI_ENABLE without intercept of NMIs: refused, the guest's state is as it was";
	guest(g_nops, on | V_NMI);
	put32(0x00c, ON_CPUID | ON_MSR);
	put64(0x5f8, 0x1234567);	/* RAX */
	put32(EVENTINJ, INJECT_NMI);
	run();
	ok(state(name, EXIT_INVALID, on | V_NMI, 0) & (get64(RIP) == (u64)g_nops) &
	   (get64(0x5f8) == 0x1234567) & (get32(EVENTINJ) == INJECT_NMI) & (get64(0x550) == cr(3)), name);
	asm volatile("stgi");
}

/* IRET of 32 and 16 bits: protected mode without paging, two bytes of gate type. */
static void vnmi_protected(const char *name, const u8 *handler, u16 type)
{
	static u64 idt32[3];

	idt32[2] = ((u64)handler & 0xffff) | 0x18ull << 16 | (u64)type << 32 | (u64)handler >> 16 << 48;
	guest(g_nops, V_NMI_ENABLE | V_NMI);
	put16(0x484, sizeof(idt32) - 1);
	put64(0x488, (u64)idt32);
	seg(0x410, 0x18, 0xc9b);
	put64(0x4d0, rdmsr(0xc0000080) & ~(1ull << 8 | 1ull << 10));
	put64(0x558, 0x31);
	run();
	check(name, EXIT_CPUID, V_NMI_ENABLE, 1);
	asm volatile("stgi");
}

static void vgif_cases(void)
{
	const u32 on = V_GIF_ENABLE | V_NMI_ENABLE;
	const char *name;

	guest(g_clgi, on | V_GIF);
	run();
	check("CLGI clears V_GIF", EXIT_CPUID, on, 0);
	skip();
	run();
	check("STGI sets V_GIF", EXIT_CPUID, on | V_GIF, 0);

	name = "virtual NMI: waits for STGI";
	guest(g_clgi, on | V_GIF);
	run();
	skip();
	put32(INT_CTL, get32(INT_CTL) | V_NMI);
	run();
	ok(state(name, EXIT_CPUID, on | V_GIF, 1) & nmi_at(name, g_clgi_on), name);

	name = "virtual interrupt: waits for STGI";
	guest(g_clgi, on | V_GIF | V_PRIO | V_IGN_TPR | V_INTR_MASKING);
	put32(0x064, 0x40);
	put64(RFLAGS, 0x202);
	run();
	skip();
	put32(INT_CTL, get32(INT_CTL) | V_IRQ);
	run();
	is(name, "interrupt at", g_int_rip, (u64)g_clgi_on);
	ok(state(name, EXIT_CPUID, on | V_GIF | V_PRIO | V_IGN_TPR | V_INTR_MASKING, 0) &
	   (g_int_rip == (u64)g_clgi_on), name);

	name = "CLGI in an interrupt shadow: what it has held up waits on";
	guest(g_clgi, on | V_GIF | V_NMI | V_IRQ | V_PRIO | V_IGN_TPR | V_INTR_MASKING);
	put32(0x064, 0x40);
	put64(RFLAGS, 0x202);
	put8(0x068, 1);
	run();
	ok(state(name, EXIT_CPUID, on | V_NMI | V_IRQ | V_PRIO | V_IGN_TPR | V_INTR_MASKING, 0) &
	   (g_int_count == 0), name);

	name = "the intercept of virtual interrupts waits for STGI";
	guest(g_clgi, on | V_GIF | V_PRIO | V_IGN_TPR | V_INTR_MASKING);
	put32(0x00c, get32(0x00c) | ON_VINTR);
	put32(0x064, 0x40);
	put64(RFLAGS, 0x202);
	run();
	skip();
	put32(INT_CTL, get32(INT_CTL) | V_IRQ);
	run();
	is(name, "RIP", get64(RIP), (u64)g_clgi_on);
	ok(state(name, EXIT_VINTR, on | V_IRQ | V_GIF | V_PRIO | V_IGN_TPR | V_INTR_MASKING, 0) &
	   (get64(RIP) == (u64)g_clgi_on), name);

	name = "physical interrupts do not wait for STGI";
	guest(g_clgi_off, on | V_INTR_MASKING);
	put32(0x00c, ON_INTR | ON_NMI | ON_CPUID | ON_MSR);
	asm volatile("clgi; sti");
	self_ipi();
	run();
	check(name, EXIT_INTR, on | V_INTR_MASKING, 0);
	asm volatile("stgi; nop; cli");

	name = "STGI that is intercepted exits";
	guest(g_clgi, on | V_GIF);
	put32(0x010, 1 | 1 << 4);
	run();
	skip();
	run();
	check(name, EXIT_STGI, on, 0);
	asm volatile("stgi");
}

/* PMC virtualization. */

#define CTL(n)		(0xc0010200 + 2 * (n))
#define CTR(n)		(0xc0010201 + 2 * (n))
#define GLOBAL_STATUS	0xc0000300
#define GLOBAL_CTL	0xc0000301
#define STATUS_CLR	0xc0000302
#define STATUS_SET	0xc0000303
#define IRPERF		0xc00000e9
#define HWCR		0xc0010015

#define V_CTL(n)	(0x4e0 + 16 * (n))
#define V_CTR(n)	(0x4e8 + 16 * (n))
#define V_IRPERF	0x5c0
#define V_STATUS	0x5c8
#define V_GLOBAL_CTL	0x5d0

#define INSNS		SEL(0xc0, OS | USR)
#define MASK48		0xffffffffffff
#define NOPS		20

/* The host's registers, all different. */
static void host_regs(u64 global_ctl)
{
	unsigned int i;

	wrmsr(GLOBAL_CTL, 0);
	for (i = 0; i < 6; i++) {
		wrmsr(CTL(i), SEL(0xc2, OS) + i);
		wrmsr(CTR(i), 0x1000 + i);
	}
	wrmsr(STATUS_CLR, 0x3f);
	wrmsr(STATUS_SET, 1 << 3);
	wrmsr(HWCR, rdmsr(HWCR) & ~(1ull << 30));
	wrmsr(IRPERF, 0x7700);
	LVTPC = 0x10050;
	wrmsr(GLOBAL_CTL, global_ctl);
}

/* All as host_regs() has them. */
static bool host_kept(const char *name, u64 global_ctl)
{
	bool good = rdmsr(GLOBAL_CTL) == global_ctl && rdmsr(GLOBAL_STATUS) == 1 << 3;
	unsigned int i;

	for (i = 0; i < 6; i++)
		good &= rdmsr(CTL(i)) == (u64)(SEL(0xc2, OS) + i) && rdmsr(CTR(i)) == 0x1000 + i;
	if (!good)
		is(name, "host's registers", 0, 1);
	return good;
}

/* What a #VMEXIT leaves of host_regs(0). */
static bool host_after(const char *name)
{
	u64 ctl = rdmsr(GLOBAL_CTL), any = 0;
	unsigned int i;

	if (VPMC_KEEP)
		return host_kept(name, 0) && rdmsr(IRPERF) == 0x7700;
	wrmsr(GLOBAL_CTL, 0);
	for (i = 0; i < 6; i++)
		any |= rdmsr(CTL(i)) | rdmsr(CTR(i));
	is(name, "host's GLOBAL_CTL", ctl, 0x3f);
	is(name, "host's selectors and counters", any, 0);
	is(name, "host's GLOBAL_STATUS", rdmsr(GLOBAL_STATUS), 1 << 3);
	is(name, "host's IRPerfCount", rdmsr(IRPERF), 0x7700);
	return ctl == 0x3f && !any && rdmsr(GLOBAL_STATUS) == 1 << 3 && rdmsr(IRPERF) == 0x7700;
}

/* As guest(), with PMC virtualization and one counter of instructions on. */
static void vpmc_guest(const void *rip, u32 int_ctl, u64 sel, u64 val)
{
	guest(rip, int_ctl);
	put32(VIRT_EXT, 1 << 3);
	put64(V_CTL(0), sel);
	put64(V_CTR(0), val & MASK48);
	put32(V_GLOBAL_CTL, 1);
	host_regs(0);
}

static bool counted(const char *name, u64 ctr, u64 status)
{
	is(name, "counter 0 in the VMCB", get64(V_CTR(0)), ctr);
	is(name, "GLOBAL_STATUS in the VMCB", get64(V_STATUS), status);
	return get64(V_CTR(0)) == ctr && get64(V_STATUS) == status;
}

static void vpmc_swap_cases(void)
{
	const u32 on = V_NMI_ENABLE;
	const char *name;
	bool good;
	unsigned int i;

	name = "VPMC off: nothing is swapped";
	vpmc_guest(g_nops, on, INSNS, 5);
	put32(VIRT_EXT, 0);
	run();
	ok(state(name, EXIT_CPUID, on, 0) & counted(name, 5, 0) & host_kept(name, 0), name);

	name = "VPMC: the guest's registers count, and go back";
	vpmc_guest(g_nops, on, INSNS, 5);
	for (i = 1; i < 6; i++) {
		put64(V_CTL(i), 0x43ull << 16 | 0x1000000 * i);
		put64(V_CTR(i), 0x2000 + i);
	}
	put64(V_STATUS, 1 << 4);
	put64(V_IRPERF, 0x8800);
	outl(0x5ee0, 1 << 24 | 8);
	run();
	outl(0x5ee0, 2 << 24 | 8);
	good = state(name, EXIT_CPUID, on, 0) & counted(name, 5 + VMRUN_INSNS + NOPS, 1 << 4) & host_after(name);
	for (i = 1; i < 6; i++)
		good &= get64(V_CTL(i)) == (0x43ull << 16 | 0x1000000 * i) && get64(V_CTR(i)) == 0x2000 + i;
	ok(good && get32(V_GLOBAL_CTL) == 1 && get64(V_IRPERF) == 0x8800, name);
	name = "VPMC: and go on";
	skip();
	host_regs(0);
	run();
	ok(counted(name, 5 + 2 * (VMRUN_INSNS + NOPS), 1 << 4) & host_after(name), name);

	name = "VPMC: reserved bits do not come back";
	vpmc_guest(g_nops, on, INSNS | 1ull << 63 | 1 << 21, -1ull << 47);
	put64(V_CTR(0), ~MASK48 | 5);
	put64(V_STATUS, 1 << 12);
	put32(V_GLOBAL_CTL, 0xffff0001);
	put32(V_GLOBAL_CTL + 4, 0x5a5a5a5a);
	run();
	ok(counted(name, 5 + VMRUN_INSNS + NOPS, 0) & (get64(V_CTL(0)) == INSNS) &
	   (get64(V_GLOBAL_CTL) == (0x5a5a5a5aull << 32 | 1)), name);

	name = "VPMC: nothing counts with HostOnly";
	vpmc_guest(g_nops, on, INSNS | HOSTONLY, 5);
	run();
	ok(counted(name, 5, 0) & host_after(name), name);
	name = "VPMC: all counts with GuestOnly";
	vpmc_guest(g_nops, on, INSNS | GUESTONLY, 5);
	run();
	ok(counted(name, 5 + VMRUN_INSNS + NOPS, 0), name);

	name = "VPMC: the guest reads and writes its own registers";
	vpmc_guest(g_read, on, INSNS, 0x500);
	put64(V_STATUS, 6);
	run();
	is(name, "RDPMC", g_rdpmc, 0x500 + VMRUN_INSNS + 1);
	is(name, "RDMSR", g_rdmsr, 0x500 + VMRUN_INSNS + 4);
	ok((g_rdpmc == 0x500 + VMRUN_INSNS + 1) & (g_rdmsr == 0x500 + VMRUN_INSNS + 4) &
	   (get64(V_CTR(1)) == 0x1234) & (get64(V_STATUS) == 4) & (get32(V_GLOBAL_CTL) == 0x15) &
	   host_after(name), name);

	name = "VPMC: IRPerfCount, and the host's";
	vpmc_guest(g_nops, on, 0, 0);
	put64(V_IRPERF, 0x8800);
	wrmsr(HWCR, rdmsr(HWCR) | 1 << 30);
	run();
	good = get64(V_IRPERF) == 0x8800 + VMRUN_INSNS + NOPS;
	is(name, "the guest's", get64(V_IRPERF), 0x8800 + VMRUN_INSNS + NOPS);
	wrmsr(HWCR, rdmsr(HWCR) & ~(1ull << 30));
	ok(good & (rdmsr(IRPERF) > 0x7700) & (rdmsr(IRPERF) < 0x7700 + 100), name);
	asm volatile("stgi");
}

static void vpmc_pmi_cases(void)
{
	const u32 on = V_NMI_ENABLE;
	const char *name;

	if (LATE) {
		name = "VPMC: a PMI that is late is the guest's all the same";
		vpmc_guest(g_nops, on, INSNS | INT, -10);
		LVTPC = 0x400;
		run();
		asm volatile("stgi; nop");
		is(name, "NMIs of the host", nmi_count, 0);
		ok(state(name, EXIT_CPUID, on | V_NMI, 0) & (nmi_count == 0) &
		   counted(name, NOPS + VMRUN_INSNS - 10, 1), name);

		name = "VPMC: a PMI on its way ends HLT";
		vpmc_guest(guest_hlt, on, INSNS | INT, -1);
		run();
		ok(state(name, EXIT_CPUID, on, 1) & nmi_at(name, guest_hlt + 1), name);
		asm volatile("stgi");
		return;
	}

	name = "VPMC: an overflow is a virtual NMI, whatever LVTPC says";
	vpmc_guest(g_nops, on, INSNS | INT, -10);
	run();
	ok(state(name, EXIT_CPUID, on, 1) & nmi_at(name, g_nops + 10 - VMRUN_INSNS) &
	   counted(name, NOPS + VMRUN_INSNS - 10 + 9, 1) & (LVTPC == 0x10050), name);
	asm volatile("stgi; nop");
	ok(nmi_count == 0, "VPMC: and is none of the host's");

	name = "VPMC: no INT bit, no virtual NMI";
	vpmc_guest(g_nops, on, INSNS, -10);
	run();
	ok(state(name, EXIT_CPUID, on, 0) & counted(name, NOPS + VMRUN_INSNS - 10, 1), name);

	name = "VPMC: VMRUN itself can overflow";
	vpmc_guest(g_nops, on, INSNS | INT, -1);
	run();
	ok(state(name, EXIT_CPUID, on, 1) & nmi_at(name, g_nops + 1 - VMRUN_INSNS), name);

	name = "VPMC: the virtual NMI waits while masked";
	vpmc_guest(g_nops, on | V_NMI_MASK, INSNS | INT, -10);
	run();
	check(name, EXIT_CPUID, on | V_NMI_MASK | V_NMI, 0);

	name = "VPMC: a status bit that is loaded raises none";
	vpmc_guest(g_nops, on, INSNS | INT, 0);
	put64(V_STATUS, 1);
	run();
	ok(state(name, EXIT_CPUID, on, 0) & counted(name, NOPS + VMRUN_INSNS, 1), name);

	name = "VPMC: exit in the delivery";
	vpmc_guest(g_nops, on, INSNS | INT, -10);
	put16(0x484, 0);
	put32(0x008, 1u << GP);
	run();
	ok(state(name, EXIT_EXCEPTION + GP, on, 0) & (get32(EXITINTINFO) == NMI_INFO) &
	   counted(name, 0, 1), name);

	name = VPMC_ALONE ? "VPMC without VNMI: refused" : "VPMC without VNMI: the interrupt is lost";
	vpmc_guest(g_nops, 0, INSNS | INT, -10);
	run();
	if (VPMC_ALONE)
		ok(state(name, EXIT_INVALID, 0, 0) & counted(name, -10 & MASK48, 0) &
		   (get64(RIP) == (u64)g_nops), name);
	else
		ok(state(name, EXIT_CPUID, 0, 0) & counted(name, NOPS + VMRUN_INSNS - 10, 1), name);
	asm volatile("stgi; nop");
	ok(nmi_count == 0, "and the host gets none");
}

static void vpmc_refusal_cases(void)
{
	const u32 on = V_NMI_ENABLE;
	const char *name;

	name = VPMC_CTL ? "VPMC with the host's GLOBAL_CTL not 0: exit code -4" :
			  "VPMC with the host's GLOBAL_CTL not 0";
	vpmc_guest(g_nops, on, INSNS, 5);
	host_regs(1);
	wrmsr(CTL(0), 0);
	run();
	if (VPMC_CTL)
		ok(state(name, EXIT_INVALID_PMC, on, 0) & counted(name, 5, 0) & (get64(RIP) == (u64)g_nops), name);
	else
		ok(state(name, EXIT_CPUID, on, 0) & counted(name, 5 + VMRUN_INSNS + NOPS, 0), name);

	name = "host's GLOBAL_CTL not 0 without VPMC";
	guest(g_nops, on);
	host_regs(1);
	run();
	check(name, EXIT_CPUID, on, 0);

	name = VPMC_REFUSED ? "refused with VPMC: resets the host's registers" :
			      "refused with VPMC: leaves the host's registers";
	vpmc_guest(g_nops, on, INSNS, 5);
	put32(0x058, 0);		/* ASID */
	run();
	ok(state(name, EXIT_INVALID, on, 0) & counted(name, 5, 0) &
	   (VPMC_REFUSED ? host_after(name) : host_kept(name, 0)), name);
	asm volatile("stgi");
}

static void vpmc_clean_cases(void)
{
	const u32 on = V_NMI_ENABLE;
	const char *name;

	name = VPMC_CLEAN ? "clean bit 10: what the last exit left counts" : "clean bits do not matter";
	vpmc_guest(g_nops, on, INSNS, 5);
	run();
	skip();
	put64(V_CTR(0), 0x900);
	put32(CLEAN, 1 << 10);
	host_regs(0);
	run();
	ok(state(name, EXIT_CPUID, on, 0) &
	   counted(name, VPMC_CLEAN ? 5 + 2 * (NOPS + VMRUN_INSNS) : 0x900 + NOPS + VMRUN_INSNS, 0), name);

	name = "clean bit 10 clear: the VMCB counts";
	put64(RIP, (u64)g_nops);
	put64(V_CTR(0), 0x900);
	put32(CLEAN, ~(1u << 10));
	host_regs(0);
	run();
	ok(state(name, EXIT_CPUID, on, 0) & counted(name, 0x900 + NOPS + VMRUN_INSNS, 0), name);
	asm volatile("stgi");
}

int main(void);
int main(void)
{
	u32 r[4];
	bool vpmc;

	setup();
	gate(2, h_nmi_host, 0);
	puts("TAP version 13\n");
	cpuid(0x8000000a, r);
	vpmc = r[3] & 1 << 8;
	svm_on();
	cpuid_cases(vpmc);
	uncore_cases();
	vnmi_cases();
	vnmi_protected("virtual NMI: an IRET of 32 bits ends it", g_nmi_32, 0x8e00);
	vnmi_protected("virtual NMI: an IRET of 16 bits ends it", g_nmi_16, 0x8600);
	vgif_cases();
	if (vpmc) {
		vpmc_swap_cases();
		vpmc_pmi_cases();
		vpmc_refusal_cases();
		vpmc_clean_cases();
	}
	off();
}
