// SPDX-License-Identifier: GPL-2.0
/*
 * Unit cases of the accounting, on bare metal: counts must be exact.  TAP on
 * COM1, then power off.  Runs on every PMU model but amd-v1.  Built for one
 * setting of quirks: VMRUN_INSNS and VMRUN_BRANCHES are what VMRUN adds to the
 * guest's counts, VMENTRY what VM-entry and VM-exit of VMX each add to both,
 * FAULTS and IRETS what a fault and an IRET count more.  The others say that the
 * quirk of that name is on.
 */
#include "bare.h"

#ifndef VMRUN_INSNS
#define VMRUN_INSNS 1
#define VMRUN_BRANCHES 0
#endif
#ifndef UNMASK
#define UNMASK 0
#endif
#ifndef SKID
#define SKID 0
#endif

#ifndef VMENTRY
#define VMENTRY 0
#endif
#ifndef FAULTS
#define FAULTS 0
#define IRETS 0
#endif
#ifndef MSRPM
#define MSRPM 0
#endif
#ifndef SAVE_CTRL
#define SAVE_CTRL 0
#endif
#ifndef LEAF_23H
#define LEAF_23H 0
#endif
#ifndef FIXED_77H
#define FIXED_77H 0
#endif

extern u8 guest_npf[], int_to_kernel[], pmi_start[], guest_cpuid[], guest_wrmsr[], guest_lmsw[], vmx_exit[], h_db[],
	user_tf[], guest_hlt[], guest_sti_hlt[], guest_paging[], guest_paging_on[];

static bool icelake;

/* Counters: 0 instructions at CPL 0, 1 at CPL 3, 2 branches, 3 steps, 4 conditional branches. */

enum { K, U, B, C, J, NR };

static void program(u64 more)
{
	u32 instr = 0xc0, br = amd ? 0xc2 : 0xc4, cyc = amd ? 0x76 : 0x3c;
	u32 cond = amd ? 0xd1 : icelake ? 0x11c4 : 0x01c4;
	u64 sel[NR] = { SEL(instr, OS), SEL(instr, USR), SEL(br, OS | USR), SEL(cyc, OS | USR),
			SEL(cond, OS | USR) };
	unsigned int i;

	g_msr = amd ? 0xc0000301 : 0x38f;
	wrmsr(g_msr, 0);
	for (i = 0; i < NR; i++) {
		wrmsr(amd ? 0xc0010200 + 2 * i : 0x186 + i, sel[i] | more);
		wrmsr(amd ? 0xc0010201 + 2 * i : 0xc1 + i, 0);
	}
	g_on = 0x1f;
}

static void expect(const char *name, u64 k, u64 u, u64 b)
{
	u64 got[NR];
	unsigned int i;

	for (i = 0; i < NR; i++)
		got[i] = rdpmc(i);
	is(name, "kernel instructions", got[K], k);
	is(name, "user instructions", got[U], u);
	is(name, "branches", got[B], b);
	ok(got[K] == k && got[U] == u && got[B] == b && got[C] + 2 * VMENTRY >= k + u, name);
}

#define STOP 4		/* instructions that END adds */

#define CASES(X) \
	X(empty,		0, 0, 0) \
	X(nops,			100, 0, 0) \
	X(rep_movsb,		4, 0, 0) \
	X(rep_movsb_0,		2, 0, 0) \
	X(rep_stosb_down,	5, 0, 0) \
	X(repe_scasb,		4, 0, 0) \
	X(rep_fault,		11, 0, 1) \
	X(loop,			101, 0, 100) \
	X(branches,		17, 0, 11) \
	X(int,			2, 0, 2) \
	X(int3,			2, 0, 2) \
	X(ud2,			2, 0, 1) \
	X(load_fault,		5, 0, 1) \
	X(wrmsr_fault,		7, 0, 1) \
	X(cpuid_rdtsc,		3, 0, 0) \
	X(single_step,		11, 0, 4) \
	X(sysret_syscall,	5, 11, 2) \
	X(iret_int,		8, 6, 2) \
	X(user_fault,		11, 4, 3) \
	X(hlt,			7, 0, 1) \
	X(pushf_mov_ss,		3, 0, 0) \
	X(rdpmc,		3, 0, 0)

#define DECLARE(name, k, u, b) void case_##name(void);
CASES(DECLARE)
void case_sysret_tf(void);
void case_pmi(void);
void case_vmlaunch(void);
void case_vmresume(void);
void case_vmrun(void);

static void cond_branches(const char *name, void (*run)(void), u64 count)
{
	program(0);
	run();
	is(name, "conditional branches", rdpmc(J), count);
	ok(rdpmc(J) == count, name);
}

/* SYSRET sets TF and traps, SYSCALL clears it and does not. */
static void syscall_tf(void)
{
	const char *name = "SYSRET to TF traps at once, SYSCALL that clears TF does not";

	db_count = 0;
	gate(1, h_db, 0);
	program(0);
	case_sysret_tf();
	gate(1, h_iret, 0);
	is(name, "traps", db_count, 2);
	ok(db_count == 2 && db_rip[0] == (u64)user_tf && db_rip[1] == (u64)user_tf + 1, name);
}

static void simple_cases(void)
{
#define RUN(name, k, u, b) \
	program(0); \
	case_##name(); \
	expect(#name, STOP + (k), u, b);
	CASES(RUN)
	cond_branches("conditional branches: JZ, JNZ, JRCXZ", case_branches, 3);
	cond_branches("conditional branches: LOOP", case_loop, 100);
	syscall_tf();
}

static void pmi_case(const char *name, u32 lvtpc, u64 start, u64 rip, u32 count)
{
	bool masked;

	program(0);
	wrmsr(amd ? 0xc0010200 : 0x186, SEL(0xc0, OS | INT));
	wrmsr(amd ? 0xc0010201 : 0xc1, start);
	pmi_rip = pmi_count = 0;
	LVTPC = lvtpc;
	asm volatile("sti");
	case_pmi();
	asm volatile("cli");
	masked = LVTPC & 0x10000;
	is(name, "PMIs", pmi_count, count);
	if (count)
		is(name, "PMI at", pmi_rip - (u64)pmi_start, rip);
	ok(pmi_count == count && (!count || pmi_rip == (u64)pmi_start + rip) &&
	   (!count || masked == !amd) && (rdmsr(amd ? 0xc0000300 : 0x38e) & 1), name);
	wrmsr(amd ? 0xc0000302 : 0x390, 1);
}

static void pmi_cases(void)
{
	pmi_case("PMI behind the 50th instruction", 0x50, -50ull & 0xffffffffffff, 50, 1);
	pmi_case("PMI behind the first instruction", 0x50, -1ull & 0xffffffffffff, 1, 1);
	pmi_case("PMI as NMI", 0x400, -77ull & 0xffffffffffff, 77, 1);
	pmi_case("masked PMI is lost", 0x10050, -50ull & 0xffffffffffff, 0, 0);
}

/* Counter 0 overflows while LVTPC is masked, which is then unmasked. */
static void unmask_case(void)
{
	const char *name = UNMASK ? "unmasking LVTPC with a status bit raises a PMI" :
				    "unmasking LVTPC with a status bit is silent";

	program(0);
	wrmsr(amd ? 0xc0010200 : 0x186, SEL(0xc0, OS | INT));
	wrmsr(amd ? 0xc0010201 : 0xc1, -50ull & 0xffffffffffff);
	pmi_count = 0;
	LVTPC = 0x10050;
	case_pmi();
	asm volatile("sti");
	LVTPC = 0x50;
	asm volatile("nop; cli");
	is(name, "PMIs", pmi_count, UNMASK);
	ok(pmi_count == UNMASK, name);
	wrmsr(amd ? 0xc0000302 : 0x390, 1);
	pmi_count = 0;
	LVTPC = 0x10050;
	LVTPC = 0x50;
	asm volatile("sti; nop; cli");
	ok(!pmi_count, "unmasking LVTPC without a status bit is silent");
}

/* A PMI held up by more steps than there ever are wakes a halted processor. */
static void halt_case(void)
{
	program(0);
	wrmsr(amd ? 0xc0010200 : 0x186, SEL(0xc0, OS | INT));
	wrmsr(amd ? 0xc0010201 : 0xc1, -50ull & 0xffffffffffff);
	pmi_count = 0;
	LVTPC = 0x50;
	asm volatile("sti");
	case_pmi();
	ok(!pmi_count, "skid holds the PMI up");
	asm volatile("hlt; cli");
	ok(pmi_count == 1, "a PMI on its way ends HLT");
	wrmsr(amd ? 0xc0000302 : 0x390, 1);
}

static void refusal(void)
{
	/* The #GP handler skips the two bytes of RDMSR. */
	static const u32 absent_intel[] = { 0xc0000300, 0xc0010200, 0xc0011030, 0x3f1 };
	static const u32 absent_amd[] = { 0x38f, 0x345, 0x309, 0xc1, 0x186, 0xc001020c };
	unsigned int i, n = amd ? 6 : 4;
	bool good = true;

	for (i = 0; i < n; i++) {
		u32 msr = amd ? absent_amd[i] : absent_intel[i], a = 0x5a5a5a5a, d = 0;

		asm volatile("mov $2, %%r12d; rdmsr" : "+a"(a), "+d"(d) : "c"(msr) : "r12");
		good &= a == 0x5a5a5a5a;
	}
	ok(good, "absent registers raise #GP");
}

static void svm_run(const char *name, u64 more, u64 exit, u64 k, u64 b)
{
	program(more);
	case_vmrun();
	asm volatile("stgi");
	is(name, "exit code", get64(0x070), exit);
	expect(name, k, 0, b);
}

/* The tick of VMRUN alone makes the counter overflow: a PMI, as soon as the guest is there. */
static void svm_vmrun_overflow(void)
{
	const char *name = "VMRUN itself overflows the guest's counter";

	svm_setup(guest_cpuid);
	put32(0x00c, 1u << 0 | 1u << 18 | 1u << 28);	/* INTR, CPUID, MSRPM */
	put32(0x060, 1u << 24);				/* V_INTR_MASKING */
	program(GUESTONLY);
	wrmsr(0xc0010200, SEL(0xc0, OS | INT) | GUESTONLY);
	wrmsr(0xc0010201, -1ull & 0xffffffffffff);
	pmi_count = 0;
	LVTPC = 0x50;
	asm volatile("clgi; sti");
	case_vmrun();
	asm volatile("stgi; nop; cli");
	is(name, "exit code", get64(0x070), 0x60);
	/* Else the first instruction of the guest does it. */
	is(name, "instructions of the guest", get64(0x578) - (u64)guest_cpuid, !VMRUN_INSNS);
	ok(get64(0x070) == 0x60 && pmi_count == 1 && rdpmc(0) == 0 &&
	   get64(0x578) == (u64)guest_cpuid + !VMRUN_INSNS, name);
	wrmsr(0xc0000302, 1);
}

/*
 * A guest with nested paging, in protected mode, turns its own paging on and by that
 * enters long mode; the hypervisor wants to know of writes to CR0 that change it.
 */
static void svm_paging(void)
{
	svm_setup(guest_paging);
	put32(0x00c, 1u << 5 | 1u << 18 | 1u << 28);
	put64(0x090, 1);		/* nested paging */
	put64(0x0b0, cr(3));
	put64(0x668, 0x0007040600070406);	/* PAT */
	seg(0x410, 0x18, 0xc9b);
	put64(0x4d0, rdmsr(0xc0000080) & ~(1ull << 10));
	put64(0x558, 0x31);
	svm_run("paging on, CR0 intercepted: guest", GUESTONLY, 0x65,
		VMRUN_INSNS + 1, VMRUN_BRANCHES);
	ok(get64(0x578) == (u64)guest_paging + 5 && get64(0x558) == 0x31 && !(get64(0x4d0) & 1 << 10),
	   "paging on, CR0 intercepted: nothing has changed");
	put64(0x578, (u64)guest_paging_on);
	put64(0x558, 0x80000031);
	put64(0x4d0, get64(0x4d0) | 1 << 10);
	svm_run("paging on, by the hypervisor: guest", GUESTONLY, 0x72,
		VMRUN_INSNS + 5, VMRUN_BRANCHES);

	/* Of the rules for that none is about the type of the TSS. */
	asm volatile("vmsave %0" :: "a"(vmcb) : "memory");
	put16(0x492, 0x83);
	asm volatile("vmload %0" :: "a"(vmcb) : "memory");
	put64(0x578, (u64)guest_paging);
	put64(0x558, 0x31);
	put64(0x4d0, get64(0x4d0) & ~(1ull << 10));
	put32(0x00c, 1u << 18 | 1u << 28);
	svm_run("paging on, by the guest: guest", GUESTONLY, 0x72,
		VMRUN_INSNS + 7, VMRUN_BRANCHES);
	ok(get64(0x558) == 0x80000031 && get64(0x4d0) & 1 << 10, "paging on, by the guest: in long mode");
	put16(0x492, 0x8b);
	asm volatile("vmload %0" :: "a"(vmcb) : "memory");
}

/* A nested page fault: the instruction has not retired. */
static void svm_npf(void)
{
	svm_setup(guest_npf);
	put32(0x00c, 1u << 18 | 1u << 28);
	put64(0x090, 1);
	put64(0x0b0, cr(3));
	put64(0x668, 0x0007040600070406);
	seg(0x410, 0x18, 0xc9b);
	put64(0x4d0, rdmsr(0xc0000080) & ~(1ull << 10));
	put64(0x558, 0x31);
	svm_run("nested page fault: guest", GUESTONLY, 0x400, VMRUN_INSNS + FAULTS, VMRUN_BRANCHES);
}

/* A permission map that changes while VMCB clean bit 1 says that nothing has. */
static void svm_msrpm(void)
{
	u32 bit = (g_msr & 0x1fff) * 2 + 1;

	svm_setup(guest_wrmsr);
	msrpm[2048 + bit / 8] |= 1 << bit % 8;
	svm_run("WRMSR intercepted: guest", GUESTONLY, 0x7c, VMRUN_INSNS + 3, VMRUN_BRANCHES);
	msrpm[2048 + bit / 8] &= ~(1 << bit % 8);
	put32(0x0c0, 1u << 1);
	put64(0x578, (u64)guest_wrmsr);
	svm_run("WRMSR no more intercepted, clean bit set: guest", GUESTONLY, MSRPM ? 0x7c : 0x72,
		VMRUN_INSNS + (MSRPM ? 3 : 4), VMRUN_BRANCHES);
	is("clean bit set", "exit code", get64(0x070), MSRPM ? 0x7c : 0x72);
	ok(get64(0x070) == (MSRPM ? 0x7c : 0x72), "clean bit set: exit code");
	put32(0x0c0, 0);
	put64(0x578, (u64)guest_wrmsr);
	svm_run("WRMSR no more intercepted, clean bit clear: guest", GUESTONLY, 0x72,
		VMRUN_INSNS + 4, VMRUN_BRANCHES);
	ok(get64(0x070) == 0x72, "clean bit clear: exit code");
}

static void svm_cases(void)
{
	svm_on();
	svm_npf();
	svm_msrpm();
	if (MSRPM || FAULTS || IRETS)
		return;

	svm_setup(guest_cpuid);
	svm_run("VMRUN, exit by CPUID: host and guest", 0, 0x72, 3 + STOP + 10, VMRUN_BRANCHES);
	svm_setup(guest_cpuid);
	svm_run("VMRUN, exit by CPUID: host", HOSTONLY, 0x72, 3 + STOP - VMRUN_INSNS, 0);
	svm_setup(guest_cpuid);
	svm_run("VMRUN, exit by CPUID: guest", GUESTONLY, 0x72, VMRUN_INSNS + 10, VMRUN_BRANCHES);
	put64(0x578, get64(0x578) + 2);
	svm_run("exit by HLT: guest", GUESTONLY, 0x78, VMRUN_INSNS + 7, VMRUN_BRANCHES);

	svm_setup(guest_cpuid);
	put64(0x0a8, 0x80000000 | 0x40);	/* external interrupt 40h, handler is IRETQ */
	svm_run("injected interrupt: guest", GUESTONLY, 0x72, VMRUN_INSNS + 11, VMRUN_BRANCHES + 1);
	svm_setup(guest_cpuid);
	put64(0x0a8, 0x80000000 | 0x40);
	svm_run("injected interrupt: host", HOSTONLY, 0x72, 3 + STOP - VMRUN_INSNS, 0);

	svm_setup(guest_cpuid);		/* the guest's IF is clear, the host's is set */
	put32(0x00c, 1u << 0 | 1u << 18 | 1u << 28);
	put32(0x060, 1u << 24);
	asm volatile("clgi; sti");
	self_ipi();
	svm_run("interrupt that waits exits at once: guest", GUESTONLY, 0x60, VMRUN_INSNS, VMRUN_BRANCHES);
	asm volatile("nop; cli");

	svm_setup(guest_cpuid);
	put32(0x058, 0);
	svm_run("VMRUN refused: host", HOSTONLY, -1ull, 3 + STOP, 0);

	svm_setup(guest_wrmsr);
	svm_run("guest stops by WRMSR, itself counted", GUESTONLY, 0x72, VMRUN_INSNS + 4, VMRUN_BRANCHES);

	svm_vmrun_overflow();

	svm_setup(guest_cpuid);		/* single step of the first NOP */
	put32(0x008, 1u << 1);
	put64(0x570, 0x102);
	svm_run("intercepted #DB: guest", GUESTONLY, 0x41, VMRUN_INSNS + 1, VMRUN_BRANCHES);
	is("intercepted #DB", "DR6", get64(0x568), 0xffff4ff0);
	ok(get64(0x568) == 0xffff4ff0, "intercepted #DB: DR6 in the VMCB has BS");

	svm_setup(guest_lmsw);
	put32(0x00c, get64(0x008) >> 32 | 1u << 5);
	svm_run("LMSW raises the selective intercept of CR0 writes", GUESTONLY, 0x65,
		VMRUN_INSNS + 1, VMRUN_BRANCHES);
	svm_setup(guest_lmsw);
	svm_run("LMSW without it", GUESTONLY, 0x78, VMRUN_INSNS + 2, VMRUN_BRANCHES);

	/* Halts with IF clear; by V_INTR_MASKING the host's IF counts. */
	svm_setup(guest_hlt);
	put32(0x00c, 1u << 0 | 1u << 18 | 1u << 28);
	put32(0x060, 1u << 24);
	asm volatile("clgi; sti");
	timer(0x51);
	svm_run("interrupt exits from HLT with IF clear: guest", GUESTONLY, 0x60,
		VMRUN_INSNS + 1, VMRUN_BRANCHES);
	asm volatile("nop; cli");

	svm_setup(guest_sti_hlt);
	put32(0x00c, 1u << 18 | 1u << 28);
	put32(0x060, 1u << 24 | 1u << 20 | 1u << 16 | 1u << 8);	/* V_IRQ, of priority 1 */
	put32(0x064, 0x40);
	svm_run("virtual interrupt ends HLT: guest", GUESTONLY, 0x72,
		VMRUN_INSNS + 14, VMRUN_BRANCHES + 1);

	svm_paging();

	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~(1ull << 12));
	program(GUESTONLY | HOSTONLY);
	case_nops();
	expect("nothing counts with GuestOnly or HostOnly and SVME off", 0, 0, 0);
}

/* VMX. */

static u8 vmxon_page[4096] __attribute__((aligned(4096)));
static u8 vmcs_page[4096] __attribute__((aligned(4096)));
static u8 msr_bitmap[4096] __attribute__((aligned(4096)));
static struct { u32 index, zero; u64 val; } store_list[2] __attribute__((aligned(16)));

static void vmwrite(u64 field, u64 val)
{
	asm volatile("vmwrite %1, %0" :: "r"(field), "r"(val) : "cc");
}

static u64 vmread(u64 field)
{
	u64 val;

	asm volatile("vmread %1, %0" : "=r"(val) : "r"(field) : "cc");
	return val;
}

static u32 adjust(u32 want, u32 msr)
{
	u64 cap = rdmsr(msr);

	return (want | (u32)cap) & (cap >> 32);
}

static bool vmx_has_save;

static void vmx_setup(const void *rip, u64 guest_ctrl, u64 host_ctrl)
{
	u64 ptr = (u64)vmcs_page;
	unsigned int i;

	for (i = 0; i < sizeof(vmcs_page); i++)
		vmcs_page[i] = 0;
	*(u32 *)vmcs_page = rdmsr(0x480);
	asm volatile("vmclear %0; vmptrld %0" :: "m"(ptr) : "cc");

	vmx_has_save = rdmsr(0x483) >> 32 & 1 << 30;
	vmwrite(0x4000, adjust(0, 0x481));
	vmwrite(0x4002, adjust(1 << 7 | 1 << 28, 0x482));	/* HLT exits, MSR bitmaps */
	vmwrite(0x400c, adjust(1 << 2 | 1 << 9 | 1 << 12 | 1 << 30 | 1 << 21, 0x483));
	vmwrite(0x4012, adjust(1 << 2 | 1 << 9 | 1 << 13, 0x484));
	vmwrite(0x4004, 0);
	vmwrite(0x4006, 0);
	vmwrite(0x4008, 0);
	vmwrite(0x400a, 0);
	vmwrite(0x400e, 0);
	vmwrite(0x4010, 0);
	vmwrite(0x4014, 0);
	vmwrite(0x4016, 0);
	vmwrite(0x2004, (u64)msr_bitmap);
	vmwrite(0x2800, -1ull);
	vmwrite(0x2802, 0);
	vmwrite(0x2808, guest_ctrl);
	vmwrite(0x2c04, host_ctrl);
	vmwrite(0x2c02, rdmsr(0xc0000080));

	for (i = 0; i < 6; i++) {	/* ES CS SS DS FS GS */
		u32 sel = i == 1 ? 0x08 : i > 3 ? 0 : 0x10;

		vmwrite(0x800 + 2 * i, sel);
		vmwrite(0xc00 + 2 * i, sel);
		vmwrite(0x4800 + 2 * i, 0xffffffff);
		vmwrite(0x4814 + 2 * i, i == 1 ? 0xa09b : i > 3 ? 0x10000 : 0xc093);
		vmwrite(0x6806 + 2 * i, 0);
	}
	vmwrite(0x80c, 0);		/* LDTR */
	vmwrite(0x480c, 0xffff);
	vmwrite(0x4820, 0x10000);
	vmwrite(0x6812, 0);
	vmwrite(0x80e, 0x40);		/* TR */
	vmwrite(0x480e, 0x67);
	vmwrite(0x4822, 0x8b);
	vmwrite(0x6814, (u64)tss);
	vmwrite(0xc0c, 0x40);
	vmwrite(0x6c0a, (u64)tss);
	vmwrite(0x4810, gdtr.limit);
	vmwrite(0x6816, gdtr.base);
	vmwrite(0x6c0c, gdtr.base);
	vmwrite(0x4812, sizeof(idt) - 1);
	vmwrite(0x6818, (u64)idt);
	vmwrite(0x6c0e, (u64)idt);
	vmwrite(0x4824, 0);
	vmwrite(0x4826, 0);
	vmwrite(0x6822, 0);
	vmwrite(0x6800, cr(0));
	vmwrite(0x6802, cr(3));
	vmwrite(0x6804, cr(4));
	vmwrite(0x6c00, cr(0));
	vmwrite(0x6c02, cr(3));
	vmwrite(0x6c04, cr(4));
	vmwrite(0x681a, 0x400);
	vmwrite(0x681c, 0x380000);
	vmwrite(0x681e, (u64)rip);
	vmwrite(0x6820, 2);
	vmwrite(0x6c16, (u64)vmx_exit);
}

static void vmx_run(const char *name, void (*run)(void), u64 on, u64 exit, u64 k, u64 b)
{
	/* If the guest counts, it counts its entry, and its exit if it does then. */
	unsigned int more = vmread(0x2808) ? VMENTRY * 2 : 0;

	if (run == case_vmlaunch && vmread(0x681e) == (u64)guest_wrmsr)
		more /= 2;
	if (exit >> 31 || !more)
		more = 0;
	k += more;
	b += more;
	program(0);
	g_on = on;
	run();
	wrmsr(g_msr, 0);
	is(name, "exit reason", vmread(0x4402), exit);
	expect(name, k, 0, b);
}

/*
 * Posted interrupts: the notification is there when the guest is entered, or comes
 * while it halts.
 */
static u8 apic_page[4096] __attribute__((aligned(4096)));
static struct { u32 pir[8], on, rest[7]; } pid __attribute__((aligned(64)));

#define NOTIFICATION 0x52

static void posted_setup(const void *rip, u64 flags, u8 rvi)
{
	unsigned int i;

	vmx_setup(rip, 0xf, 0);
	vmwrite(0x4000, adjust(1 << 0 | 1 << 7, 0x481));	/* external interrupts exit, posted */
	vmwrite(0x4002, adjust(1 << 21 | 1 << 28 | 1u << 31, 0x482));	/* TPR shadow, HLT does not exit */
	vmwrite(0x401e, adjust(1 << 9, 0x48b));		/* virtual-interrupt delivery */
	vmwrite(0x400c, vmread(0x400c) | 1 << 15);	/* acknowledge at exit */
	vmwrite(0x2012, (u64)apic_page);
	vmwrite(0x2016, (u64)&pid);
	vmwrite(0x0002, NOTIFICATION);
	for (i = 0; i < 8; i++) {
		*(u32 *)(apic_page + 0x100 + 16 * i) = 0;
		*(u32 *)(apic_page + 0x200 + 16 * i) = 0;
		pid.pir[i] = 0;
	}
	for (i = 0; i < 4; i++)
		vmwrite(0x201c + 2 * i, 0);
	vmwrite(0x401c, 0);
	vmwrite(0x0810, rvi);
	*(u32 *)(apic_page + 0x200 + rvi / 32 * 16) = rvi ? 1u << rvi % 32 : 0;
	vmwrite(0x6820, flags);
}

static void post(u8 vector)
{
	pid.pir[vector / 32] |= 1u << vector % 32;
	pid.on = 1;
}

static void notify(void)
{
	LAPIC_REG(0x300) = 0x40000 | NOTIFICATION;
}

/* Nothing is left in the descriptor and in the real APIC, and this in the guest's. */
static void posted_is(const char *name, u64 status, u32 virr)
{
	bool good = vmread(0x0810) == status && *(u32 *)(apic_page + 0x220) == virr && !pid.on;
	unsigned int i;

	for (i = 0; i < 8; i++)
		good &= !pid.pir[i] && !LAPIC_REG(0x100 + 16 * i) && !LAPIC_REG(0x200 + 16 * i);
	is(name, "guest interrupt status", vmread(0x0810), status);
	ok(good, name);
}

static void posted_cases(void)
{
	posted_setup(guest_cpuid, 0x202, 0);
	post(0x40);
	notify();
	vmx_run("posted interrupt: guest", case_vmlaunch, 0, 10, 11, 1);
	posted_is("posted interrupt: is in service", 0x4000, 0);

	/* A hypervisor takes it from the descriptor just before the entry. */
	posted_setup(guest_cpuid, 0x202, 0);
	pid.on = 1;
	notify();
	vmx_run("notification of nothing: guest", case_vmlaunch, 0, 10, 10, 0);
	posted_is("notification of nothing: nothing in service", 0, 0);

	posted_setup(guest_cpuid, 2, 0x48);
	post(0x40);
	notify();
	vmx_run("posted interrupt below one that waits: guest", case_vmlaunch, 0, 10, 10, 0);
	posted_is("posted interrupt below one that waits: both wait", 0x48, 0x101);

	posted_setup(guest_hlt, 0x202, 0);
	post(0x40);
	timer(NOTIFICATION);
	vmx_run("posted interrupt ends HLT: guest", case_vmlaunch, 0, 10, 13, 1);
	posted_is("posted interrupt ends HLT: is in service", 0x4000, 0);

	posted_setup(guest_hlt + 1, 0x202, 0x40);
	vmwrite(0x4826, 1);
	vmx_run("virtual interrupt of a guest that is entered halted: guest", case_vmlaunch, 0, 10, 12, 1);

	posted_setup(guest_sti_hlt, 2, 0x40);
	vmx_run("virtual interrupt ends HLT: guest", case_vmlaunch, 0, 10, 14, 1);

	posted_setup(guest_hlt, 2, 0);
	timer(0x51);
	vmx_run("interrupt exits from HLT with IF clear: guest", case_vmlaunch, 0, 1, 1, 0);
	LAPIC_REG(0xb0) = 0;		/* acknowledged at exit */
}

static void vmx_cases(void)
{
	u64 ptr = (u64)vmxon_page;

	wrmsr(0x3a, rdmsr(0x3a) | 5);
	asm volatile("mov %0, %%cr4" :: "r"(cr(4) | 1 << 13));
	*(u32 *)vmxon_page = rdmsr(0x480);
	asm volatile("vmxon %0" :: "m"(ptr) : "cc");

	vmx_setup(guest_cpuid, 0xf, 0xf);
	vmx_run("VMLAUNCH, exit by CPUID: host and guest", case_vmlaunch, 0xf, 10, 4 + STOP + 10, 0);
	vmx_setup(guest_cpuid, 0, 0xf);
	vmx_run("VMLAUNCH, exit by CPUID: host", case_vmlaunch, 0xf, 10, 4 + STOP, 0);
	vmx_setup(guest_cpuid, 0xf, 0);
	vmx_run("VMLAUNCH, exit by CPUID: guest", case_vmlaunch, 0, 10, 10, 0);
	vmwrite(0x681e, vmread(0x681e) + 2);
	vmx_run("VMRESUME, exit by HLT: guest", case_vmresume, 0, 12, 7, 0);

	vmx_setup(guest_cpuid, 0xf, 0);
	vmwrite(0x4016, 0x80000040);
	vmwrite(0x6820, 0x202);
	vmx_run("injected interrupt: guest", case_vmlaunch, 0, 10, 11, 1);
	vmx_setup(guest_cpuid, 0, 0xf);
	vmwrite(0x4016, 0x80000040);
	vmwrite(0x6820, 0x202);
	vmx_run("injected interrupt: host", case_vmlaunch, 0xf, 10, 4 + STOP, 0);

	vmx_setup(guest_cpuid, 0xf, 0);	/* the guest's IF is clear */
	vmwrite(0x4000, adjust(1, 0x481));
	self_ipi();
	vmx_run("interrupt that waits exits at once: guest", case_vmlaunch, 0, 1, 0, 0);
	asm volatile("sti; nop; cli");

	posted_cases();

	vmx_setup(guest_wrmsr, 0xf, 0);
	store_list[0].index = 0x38f;
	store_list[0].val = 0x1234;
	store_list[1].index = 0xc1;
	store_list[1].val = 0x1234;
	vmwrite(0x2006, (u64)store_list);
	vmwrite(0x400e, 2);
	vmx_run("guest stops by WRMSR, itself counted", case_vmlaunch, 0, 10, 4, 0);
	ok(vmread(0x2808) == (vmx_has_save && !SAVE_CTRL ? 0 : 0xf), "GLOBAL_CTRL is saved where the control exists");
	ok(store_list[0].val == 0 && store_list[1].val == 4 + VMENTRY, "MSR-store list has the guest's values");

	vmx_setup(guest_cpuid, 1ull << 20, 0xf);
	vmx_run("reserved bit in guest GLOBAL_CTRL", case_vmlaunch, 0xf, 0x80000021, 4 + STOP, 0);
	vmx_setup(guest_cpuid, 0xf, 1ull << 20);
	program(0);
	case_vmlaunch();
	is("reserved bit in host GLOBAL_CTRL", "error", vmread(0x4400), 8);
	expect("reserved bit in host GLOBAL_CTRL", 4 + STOP, 0, 1);
}

/* The registers that CPUID hides or tells of. */
static void shape_cases(void)
{
	u32 a = 0x23, b, c = 1, d, r[4];

	cpuid(0xa, r);
	ok((r[0] >> 8 & 0xff) == (LEAF_23H ? 6 : 8), "leaf 0Ah: counters");
	ok(r[2] == (FIXED_77H ? 0x77 : icelake ? 0xf : 7), "leaf 0Ah: fixed counters");
	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	ok(!LEAF_23H || (a == 0xff && b == (FIXED_77H ? 0x77 : icelake ? 0xf : 7)), "leaf 23h");
	cpuid(0, r);
	ok(!LEAF_23H || r[0] >= 0x23, "leaf 0: there is a leaf 23h");
	a = 7;
	c = 1;
	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	ok((a >> 8 & 1) == LEAF_23H, "leaf 7: and it says so");
	a = 0x5a5a5a5a;
	if (FIXED_77H)
		wrmsr(0x30f, 0x123456789a);
	asm volatile("mov $2, %%r12d; rdmsr" : "+a"(a), "=d"(d) : "c"(0x30f) : "r12");
	ok(!FIXED_77H || (a == 0x3456789a && d == 0x12), "fixed counter 6");
	a = 0x5a5a5a5a;
	asm volatile("mov $2, %%r12d; rdmsr" : "+a"(a), "=d"(d) : "c"(0x30c) : "r12");
	ok((a == 0x5a5a5a5a) == !icelake, "fixed counter 3");
}

/* Instructions that fault, and the handlers' IRET. */
static void fault_cases(void)
{
	program(0);
	case_nops();
	expect("neither faults nor IRET", STOP + 100, 0, 0);
	program(0);
	case_int();
	expect("int: IRET", STOP + 2 + IRETS, 0, 2);
	program(0);
	case_ud2();
	expect("ud2: a fault and IRET", STOP + 2 + FAULTS + IRETS, 0, 1);
	program(0);
	case_load_fault();
	expect("load_fault: a fault and IRET", STOP + 5 + FAULTS + IRETS, 0, 1);
}

int main(void);
int main(void)
{
	u32 r[4];

	setup();
	cpuid(1, r);
	icelake = (r[0] & 0xf0ff0) == 0x706e0;
	puts("TAP version 13\n");
	if (SKID) {
		halt_case();
		off();
	}
	if (!amd)
		shape_cases();
	fault_cases();
	if (FAULTS || IRETS) {
		svm_cases();
		off();
	}
	simple_cases();
	pmi_cases();
	unmask_case();
	refusal();
	outl(0x5ee0, 1 << 24 | 7);
	case_nops();
	outl(0x5ee0, 2 << 24 | 7);
	if (amd)
		svm_cases();
	else
		vmx_cases();
	off();
}
