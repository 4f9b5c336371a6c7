/* SPDX-License-Identifier: GPL-2.0 */
/*
 * L2 in a guest of mediated_pmu_orders_test: a few loops, or an exit to user space
 * from L2.  Interrupts are L2's own: it has the IDT and the stack of L1.
 */
#ifndef SELFTEST_KVM_MEDIATED_PMU_ORDERS_NESTED_H
#define SELFTEST_KVM_MEDIATED_PMU_ORDERS_NESTED_H

#include "mediated_pmu_nested.h"
#include "mediated_pmu_orders.h"

#define RFLAGS_IF	BIT(9)

/* What L2 runs.  CPUID exits to L1 on Intel and AMD, and changes nothing then. */
extern char l2_loops[], l2_loops_end[], l2_io[], l2_io_end[];

asm(".pushsection .text\n"
	"l2_loops:\n"
	BLOCK_PLAIN
	"dec %r8d\n\t"
	"jnz l2_loops\n"
	"l2_loops_end: cpuid\n"
	"l2_io: inb $" __stringify(IO_PORT) ", %al\n"
	"l2_io_end: cpuid\n"
	".popsection\n");

/*
 * What L1 adds to the loops or the I/O.  VMRESUME and CPUID exit, and so are no
 * instructions that retire; KVM emulates VMRUN and STGI, which are.
 */
static inline uint64_t l2_insns(const struct step *s)
{
	uint64_t insns = s->kind == STEP_L2 ? MEASURED_INSNS(BLOCK_PLAIN_INSNS, s->b) : 1 + 1 + 4;

	return pmu.intel ? insns : insns + 3;
}

/* Before there are PMIs. */
static void l1_prepare(void)
{
	l1_setup(l2_loops_end);
	if (pmu.intel) {
		GUEST_ASSERT(l1_vmx_enter());
		GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), EXIT_REASON_CPUID);
		return;
	}
	l1.svm->vmcb->control.intercept |= BIT_ULL(INTERCEPT_CPUID);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME);
}

/* A function would have to be called, see struct entry. */
static __always_inline void l1_vmwrite(uint64_t field, uint64_t value)
{
	asm volatile("vmwrite %1, %0" :: "r"(field), "rm"(value) : "cc", "memory");
}

/*
 * @ctrl enables counters; an L2 with interrupts on or off, which has @loops, is run
 * from @rip.  Returns where it came to.
 */
static __always_inline uint64_t l1_region(uint64_t ctrl, uint64_t loops, void *rip,
					  uint64_t rsp, bool interrupts_on)
{
	register uint64_t r12 asm("r12") = pmu_global_ctrl_msr();
	register uint64_t r13 asm("r13") = loops;
	const uint64_t flags = X86_EFLAGS_FIXED | (interrupts_on ? RFLAGS_IF : 0);
	uint64_t a = (uint32_t)ctrl, d = ctrl >> 32, c = r12;

	if (pmu.intel) {
		uint64_t guest_rip = GUEST_RIP;

		l1_vmwrite(GUEST_RIP, (uint64_t)rip);
		l1_vmwrite(GUEST_RSP, rsp);
		l1_vmwrite(GUEST_RFLAGS, flags);
		l1_vmwrite(HOST_RSP, rsp);
		asm volatile("lea 1f(%%rip), %%r9\n\t"
			     "vmwrite %%r9, %[host_rip]\n\t"
			     "wrmsr\n\t"
			     "mov %%r13d, %%r8d\n\t"
			     "vmresume\n\t"
			     "1: mov %%r12d, %%ecx\n\t"
			     "xor %%eax, %%eax\n\t"
			     "xor %%edx, %%edx\n\t"
			     "wrmsr\n\t"
			     "vmread %[guest_rip], %[guest_rip]\n\t"
			     : "+a"(a), "+d"(d), "+c"(c), [guest_rip]"+r"(guest_rip)
			     : "r"(r12), "r"(r13), [host_rip]"r"((uint64_t)HOST_RIP)
			     : "r8", "r9", "cc", "memory");
		/* VM-exit has disabled them. */
		if (interrupts_on)
			asm volatile("sti\n\t nop");
		return guest_rip;
	}

	register uint64_t r14 asm("r14") = l1.svm->vmcb_gpa;
	struct vmcb_save_area *save = &l1.svm->vmcb->save;

	/* As long as there are no such steps, SVM is off. */
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	save->rip = (uint64_t)rip;
	save->rsp = rsp;
	save->rflags = flags;
	asm volatile("wrmsr\n\t"
		     "mov %%r13d, %%r8d\n\t"
		     "mov %%r14, %%rax\n\t"
		     "vmrun %%rax\n\t"
		     "stgi\n\t"
		     "mov %%r12d, %%ecx\n\t"
		     "xor %%eax, %%eax\n\t"
		     "xor %%edx, %%edx\n\t"
		     "wrmsr\n\t"
		     : "+a"(a), "+d"(d), "+c"(c)
		     : "r"(r12), "r"(r13), "r"(r14)
		     : "r8", "cc", "memory");
	return save->rip;
}

#endif /* SELFTEST_KVM_MEDIATED_PMU_ORDERS_NESTED_H */
