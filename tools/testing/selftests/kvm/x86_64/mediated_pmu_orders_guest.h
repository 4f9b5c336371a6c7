/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest of mediated_pmu_orders_test: it does the steps that the host has put
 * into its memory, without an exit where a step does not ask for one, and notes
 * what it reads and each interrupt.
 */
#ifndef SELFTEST_KVM_MEDIATED_PMU_ORDERS_GUEST_H
#define SELFTEST_KVM_MEDIATED_PMU_ORDERS_GUEST_H

#include "mediated_pmu_orders_nested.h"

#define PMI_VECTOR	0x41
/* Below PMIs, which end HLT even if the timer expires at the same time. */
#define TIMER_VECTOR	0x39
#define INT_VECTOR	0x61

/* The guest waits for more steps. */
#define DONE_PORT	0x43

#define MAX_ENTRIES	256

#define HLT_OPCODE	0xf4

/*
 * What ends a HLT that nothing else does, in nanoseconds.  The guest may not have come
 * to its HLT by then, for it is slow while its memory is mapped: again and again, and
 * after twice the time, as its handler may be slow, too.
 */
#define TIMER_COUNT	500000

/* What the handler of an interrupt found. */
struct entry {
	/* The step, and whether it was done. */
	uint32_t step;
	bool done;
	/* It comes right behind a HLT. */
	bool hlt;
	/* It interrupted another handler, or any other function. */
	bool nested;
	uint8_t vector;
	uint64_t ctrl;
	uint64_t status;
	uint64_t lvtpc;
	uint64_t value[BARE_SLOTS];
	uint64_t witness;
};

static struct shared {
	struct shared *self;

	/* From the host: steps, and how many of them are to be done now. */
	uint32_t nr_ops;
	struct step ops[MAX_STEPS];

	/* 2 * the step that is being done, + 1 when it has had its effect. */
	uint32_t pos;
	/* The instruction behind the one that has the effect. */
	uint64_t effect_rip;
	uint32_t next;

	uint64_t rsp;
	uint32_t lvtpc;
	uint32_t handler;
	uint32_t timer_count;
	/* Slots that count. */
	uint32_t selected;
	bool interrupts_on;

	uint64_t result[MAX_STEPS];
	uint32_t nr_entries;
	struct entry entry[MAX_ENTRIES];
} shared[NR_VCPUS];

/* How long to wait for PMIs. */
static uint32_t wait_rounds;

static int nr_slots(void)
{
	return pmu.nr_fixed ? 4 : 3;
}

/* The first two, the last general one and the fixed one that counts instructions. */
static __always_inline int slot_pmc(int slot)
{
	return slot < 2 ? slot : slot == 2 ? pmu.nr_gp - 1 : pmu.nr_gp;
}

static __always_inline uint64_t slots_to_global(uint32_t slots)
{
	uint64_t bits = 0;
	int i;

	for (i = 0; i < (pmu.nr_fixed ? 4 : 3); i++) {
		if (slots & BIT(i))
			bits |= pmc_global_bit(slot_pmc(i));
	}
	return bits;
}

/*
 * Where VM-entries count (AMD), nobody knows how many there are.  A counter that
 * no step touches, the witness, is enabled whenever slots are, and counts what they
 * do: it says how many there were, and all slots have to agree with it.
 */
static __always_inline bool have_witness(void)
{
	return pmu.entry_insns;
}

static __always_inline int witness_pmc(void)
{
	return pmu.nr_gp - 2;
}

static __always_inline uint64_t guest_read_witness(void)
{
	return have_witness() ? rdmsr(pmc_msr(witness_pmc())) : 0;
}

/* GLOBAL_CTRL */
static __always_inline uint64_t slots_to_ctrl(uint32_t slots)
{
	uint64_t bits = slots_to_global(slots);

	return bits && have_witness() ? bits | pmc_global_bit(witness_pmc()) : bits;
}

static uint32_t lvtpc_value(uint32_t lvtpc)
{
	return (lvtpc & LVTPC_NMI ? APIC_DM_NMI : PMI_VECTOR) |
	       (lvtpc & LVTPC_MASKED ? APIC_LVT_MASKED : 0);
}

/* Returns what GLOBAL_CTRL is to be then. */
static noinline uint64_t guest_handle(struct ex_regs *regs, uint64_t ctrl)
{
	bool is_pmi = regs->vector == NMI_VECTOR || regs->vector == PMI_VECTOR;
	struct shared *s;
	struct entry *e;
	int i;

	asm volatile("mov %%gs:0, %0" : "=r"(s));

	if (s->nr_entries == MAX_ENTRIES) {
		/* A flood. */
		x2apic_write_reg(APIC_LVTPC, APIC_LVT_MASKED);
		guest_pmu_reset();
		ctrl = 0;
	} else {
		e = &s->entry[s->nr_entries++];
		e->step = s->pos / 2;
		e->done = s->pos % 2 || regs->rip == s->effect_rip;
		/* The stack pointer comes behind what is known of the stack. */
		e->nested = *(uint64_t *)(regs + 1) != s->rsp;
		e->hlt = *(uint8_t *)(regs->rip - 1) == HLT_OPCODE;
		e->vector = regs->vector;
		e->ctrl = ctrl;
		e->status = rdmsr(pmu_global_status_msr());
		e->lvtpc = x2apic_read_reg(APIC_LVTPC);
		for (i = 0; i < nr_slots(); i++)
			e->value[i] = rdmsr(pmc_msr(slot_pmc(i)));
		e->witness = guest_read_witness();

		if (is_pmi && s->handler & HANDLER_UNMASKS &&
		    s->handler & HANDLER_UNMASKS_FIRST && e->lvtpc != s->lvtpc)
			x2apic_write_reg(APIC_LVTPC, s->lvtpc);
		if (is_pmi && s->handler & HANDLER_ACKS)
			wrmsr(pmu_global_clear_msr(), e->status);
		if (is_pmi && s->handler & HANDLER_UNMASKS &&
		    !(s->handler & HANDLER_UNMASKS_FIRST) && e->lvtpc != s->lvtpc)
			x2apic_write_reg(APIC_LVTPC, s->lvtpc);
	}

	if (regs->vector == TIMER_VECTOR) {
		s->timer_count *= 2;
		x2apic_write_reg(APIC_TMICT, s->timer_count);
	}
	if (regs->vector == TIMER_VECTOR || regs->vector == PMI_VECTOR)
		x2apic_write_reg(APIC_EOI, 0);
	return ctrl;
}

/*
 * All interrupts.  What is counted of it, i.e. what comes before the counters are
 * disabled and after they are enabled again, is the same each time.
 */
static void guest_handler(struct ex_regs *regs)
{
	uint64_t ctrl = rdmsr(pmu_global_ctrl_msr());

	wrmsr(pmu_global_ctrl_msr(), 0);
	ctrl = guest_handle(regs, ctrl);
	wrmsr(pmu_global_ctrl_msr(), ctrl);
}

/* An instruction with the effect of a step, see struct shared. */
#define EFFECT(_insn)		"lea 1f(%%rip), %%r11\n\t"		\
				"mov %%r11, %[rip]\n\t"			\
				_insn "\n\t"				\
				"1: orl $1, %[pos]\n\t"

static __always_inline void effect_wrmsr(struct shared *s, uint32_t msr, uint64_t value)
{
	uint32_t a = value, d = value >> 32;

	asm volatile(EFFECT("wrmsr")
		     : [rip]"=m"(s->effect_rip), [pos]"+m"(s->pos)
		     : "c"(msr), "a"(a), "d"(d) : "r11", "cc", "memory");
}

static __always_inline uint64_t effect_rdmsr(struct shared *s, uint32_t msr)
{
	uint32_t a, d;

	asm volatile(EFFECT("rdmsr")
		     : [rip]"=m"(s->effect_rip), [pos]"+m"(s->pos), "=&a"(a), "=&d"(d)
		     : "c"(msr) : "r11", "cc", "memory");
	return (uint64_t)d << 32 | a;
}

static __always_inline uint64_t effect_rdpmc(struct shared *s, uint32_t index)
{
	uint32_t a, d;

	asm volatile(EFFECT("rdpmc")
		     : [rip]"=m"(s->effect_rip), [pos]"+m"(s->pos), "=&a"(a), "=&d"(d)
		     : "c"(index) : "r11", "cc", "memory");
	return (uint64_t)d << 32 | a;
}

/* As GUEST_MEASURE(), with a @_tail after the loops. */
#define GUEST_REGION(_slots, _loops, _block, _tail)			\
do {									\
	register uint64_t r12 asm("r12") = pmu_global_ctrl_msr();	\
	register uint64_t r13 asm("r13") = (_loops);			\
	uint64_t on = slots_to_ctrl(_slots), a = (uint32_t)on;	\
	uint64_t d = on >> 32, c = r12;					\
									\
	asm volatile("wrmsr\n\t"					\
		     "mov %%r13d, %%r8d\n\t"				\
		     "1:\n\t"						\
		     _block						\
		     "dec %%r8d\n\t"					\
		     "jnz 1b\n\t"					\
		     _tail						\
		     "mov %%r12d, %%ecx\n\t"				\
		     "xor %%eax, %%eax\n\t"				\
		     "xor %%edx, %%edx\n\t"				\
		     "wrmsr\n\t"					\
		     : "+a"(a), "+d"(d), "+c"(c)			\
		     : "r"(r12), "r"(r13)				\
		     : "rbx", "r8", "cc", "memory");			\
} while (0)

#define BLOCK_SOFT_INT	"int $" __stringify(INT_VECTOR) "\n\t"
#define BLOCK_SMI	"mov $0x830, %%ecx\n\t"		\
			"mov $0x44200, %%eax\n\t"	\
			"xor %%edx, %%edx\n\t"		\
			"wrmsr\n\t"
#define TAIL_HLT	"sti\n\t hlt\n\t"

/* How many instructions GUEST_REGION() counts. */
static uint64_t region_insns(const struct step *s)
{
	switch (s->kind) {
	case STEP_RUN:
		return MEASURED_INSNS(BLOCK_PLAIN_INSNS, s->b);
	case STEP_CPUID:
		return MEASURED_INSNS(BLOCK_CPUID_INSNS, s->b);
	case STEP_IO:
		return MEASURED_INSNS(BLOCK_IO_INSNS, 1);
	case STEP_HLT:
		return MEASURED_INSNS(BLOCK_PLAIN_INSNS, s->b) + 2;
	case STEP_SMI:
		/* And the RSM. */
		return MEASURED_INSNS(4, 1) + 1;
	case STEP_INT:
		return MEASURED_INSNS(1, 1);
	case STEP_L2:
	case STEP_L2IO:
		return l2_insns(s);
	default:
		return 0;
	}
}

/* Of how many VM-exits in it KVM has no choice. */
static uint64_t region_exits(const struct step *s)
{
	switch (s->kind) {
	case STEP_CPUID:
		return s->b;
	case STEP_IO:
	case STEP_HLT:
	case STEP_SMI:
		return 1;
	case STEP_L2:
		return 2;
	case STEP_L2IO:
		return 3;
	default:
		return 0;
	}
}

static __always_inline void __guest_select(struct shared *s, uint32_t slot, bool counts, bool intr)
{
	uint64_t value = 0;

	if (pmc_is_fixed(slot_pmc(slot))) {
		if (counts)
			value = FIXED_PMC_KERNEL | (intr ? FIXED_PMC_ENABLE_PMI : 0);
		effect_wrmsr(s, MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(0, value));
		return;
	}
	if (counts)
		value = pmu_instructions() | (intr ? SELECT_OS_PMI : SELECT_OS);
	effect_wrmsr(s, pmc_selector_msr(slot_pmc(slot)), value);
}

static __always_inline void guest_select(struct shared *s, uint32_t slot, bool counts, bool intr)
{
	__guest_select(s, slot, counts, intr);
	s->selected = (s->selected & ~BIT(slot)) | (counts ? BIT(slot) : 0);
	/* It counts when a slot does, so that the PMU is idle when it would be. */
	if (have_witness())
		wrmsr(pmc_selector_msr(witness_pmc()),
		      s->selected ? pmu_instructions() | SELECT_OS : 0);
}

static __always_inline void guest_l2(struct shared *s, const struct step *op)
{
	bool io = op->kind == STEP_L2IO;
	uint64_t rip = l1_region(slots_to_ctrl(op->a), io ? 1 : op->b, io ? l2_io : l2_loops,
				 s->rsp, s->interrupts_on);

	GUEST_ASSERT_EQ(rip, (uint64_t)(io ? l2_io_end : l2_loops_end));
}

static __always_inline uint64_t guest_step(struct shared *s, const struct step *op)
{
	uint32_t eax, ebx, ecx, edx, i, j;

	switch (op->kind) {
	case STEP_RESET:
		asm volatile("cli");
		s->handler = HANDLER_ACKS | HANDLER_UNMASKS;
		s->lvtpc = lvtpc_value(0);
		x2apic_write_reg(APIC_LVTPC, s->lvtpc);
		wrmsr(pmu_global_ctrl_msr(), 0);
		for (i = 0; i < nr_slots(); i++) {
			guest_select(s, i, false, false);
			wrmsr(pmc_msr(slot_pmc(i)), 0);
		}
		if (have_witness())
			wrmsr(pmc_msr(witness_pmc()), 0);
		wrmsr(pmu_global_clear_msr(), slots_to_global(-1));
		if (!pmu.intel)
			wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME);
		s->interrupts_on = true;
		asm volatile("sti");
		break;
	case STEP_SELECT:
		guest_select(s, op->a, true, op->b);
		break;
	case STEP_STOP:
		guest_select(s, op->a, false, false);
		break;
	case STEP_SET:
		effect_wrmsr(s, pmc_msr(slot_pmc(op->a)), -(uint64_t)op->b & COUNTER_MASK);
		break;
	case STEP_RUN:
		GUEST_REGION(op->a, op->b, BLOCK_PLAIN, "");
		break;
	case STEP_CPUID:
		GUEST_REGION(op->a, op->b, BLOCK_CPUID, "");
		break;
	case STEP_IO:
		GUEST_REGION(op->a, 1, BLOCK_IO, "");
		break;
	case STEP_SMI:
		GUEST_REGION(op->a, 1, BLOCK_SMI, "");
		break;
	case STEP_INT:
		GUEST_REGION(op->a, 1, BLOCK_SOFT_INT, "");
		break;
	case STEP_L2:
	case STEP_L2IO:
		guest_l2(s, op);
		break;
	case STEP_HLT:
		s->interrupts_on = true;
		x2apic_write_reg(APIC_LVTT, APIC_LVT_TIMER_PERIODIC | TIMER_VECTOR);
		s->timer_count = TIMER_COUNT;
		x2apic_write_reg(APIC_TMICT, s->timer_count);
		GUEST_REGION(op->a, op->b, BLOCK_PLAIN, TAIL_HLT);
		x2apic_write_reg(APIC_TMICT, 0);
		break;
	case STEP_LVTPC:
		s->lvtpc = lvtpc_value(op->a);
		effect_wrmsr(s, APIC_BASE_MSR + (APIC_LVTPC >> 4), s->lvtpc);
		break;
	case STEP_ACK:
		effect_wrmsr(s, pmu_global_clear_msr(), slots_to_global(-1));
		break;
	case STEP_CLI:
		s->interrupts_on = false;
		asm volatile("cli");
		break;
	case STEP_STI:
		s->interrupts_on = true;
		asm volatile("sti\n\t nop");
		break;
	case STEP_STATUS:
		return effect_rdmsr(s, pmu_global_status_msr());
	case STEP_READ:
		return effect_rdmsr(s, pmc_msr(slot_pmc(op->a)));
	case STEP_RDPMC:
		return effect_rdpmc(s, pmc_rdpmc_index(slot_pmc(op->a)));
	case STEP_HANDLER:
		s->handler = op->a;
		break;
	case STEP_WAIT:
		for (i = 0; i < wait_rounds; i++) {
			cpuid(0, &eax, &ebx, &ecx, &edx);
			for (j = 0; j < 100; j++)
				asm volatile("pause" ::: "memory");
		}
		break;
	case STEP_EXIT:
		asm volatile(BLOCK_IO ::: "eax", "memory");
		break;
	}
	/* No function is called, see struct entry. */
	return is_region(op->kind) ? guest_read_witness() : 0;
}

static void guest_code(uint64_t id)
{
	struct shared *s = &shared[id];

	s->self = s;
	wrmsr(MSR_GS_BASE, (uint64_t)s);
	x2apic_enable();
	x2apic_write_reg(APIC_TDCR, 0xb);
	if (has_l2(id))
		l1_prepare();
	asm volatile("mov %%rsp, %0" : "=m"(s->rsp));
	for (;;) {
		while (READ_ONCE(s->next) >= READ_ONCE(s->nr_ops))
			asm volatile("inb $" __stringify(DONE_PORT) ", %%al" ::: "eax", "memory");
		WRITE_ONCE(s->pos, 2 * s->next);
		s->result[s->next] = guest_step(s, &s->ops[s->next]);
		WRITE_ONCE(s->pos, 2 * s->next + 1);
		s->next++;
	}
}

#endif /* SELFTEST_KVM_MEDIATED_PMU_ORDERS_GUEST_H */
