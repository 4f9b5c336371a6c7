// SPDX-License-Identifier: GPL-2.0
/*
 * Test overflows of a guest's counters: status bits, PMIs, and both of them when
 * the vCPU is saved and restored in another VM in between.
 *
 * A PMU emulated with perf events is slower and less exact; what can be expected
 * of it nevertheless is tested with enable_mediated_pmu=0 too.
 *
 * The tests with two vCPUs on one CPU take 2000 overflows.  For more of them:
 *	mediated_pmu_pmi_test -n 100000 -r two_vcpus.by_turns
 *
 * PMIs are expected to be prompt: to come before the second instruction after the
 * one that overflows.  Where they are not, -d tells how late they may be, in
 * instructions:
 *	mediated_pmu_pmi_test -d 2000
 * What a handler adds to its counter is then known only if it ran in time.
 *
 * -s says that, while a guest counts, something raises interrupts by LVTPC that no
 * counter stands behind, as branch traces do:
 *	mediated_pmu_pmi_test -s -r global.stray_interrupts_are_no_pmis
 *
 * -u is for hardware that raises a PMI when LVTPC is unmasked while the status bit of a
 * counter with PMI is set: guests clear it before.
 *
 * -b is for hardware that sets bits of the status that are not of counters: until KVM
 * notices them a guest sees them.
 *
 * These come first, what follows is the harness's.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "mediated_pmu.h"

#define PMI_VECTOR	0x41
#define LOOPS		20
#define NOT_EXACT	"the PMIs of an emulated PMU are not exact"
#define OVERFLOWS	1000

/* Overflows of two vCPUs together, see -n. */
static uint64_t nr_overflows = 2000;

/* How late a PMI may be, see -d. */
static uint64_t pmi_delay;

/* Something else raises interrupts by LVTPC while guests count, see -s. */
static bool stray;

/* Unmasking LVTPC while a status bit is set raises a PMI, see -u. */
static bool unmask_raises;

enum delivery { VECTOR, NMI };

static enum delivery delivery;

/* Bits of the status that are not of counters may be set, see -b. */
static bool strange_bits;

/* What the handler has seen. */
static struct {
	uint64_t count;
	uint64_t status;
	/* R8 of the interrupted code: the loops it has left. */
	uint64_t loops_left;
	/* If not 0: the counter that is set back to that, negated. */
	uint64_t period;
} pmi;

static void guest_set_lvtpc(bool masked)
{
	x2apic_write_reg(APIC_LVTPC, (delivery == NMI ? APIC_DM_NMI : PMI_VECTOR) |
				     (masked ? APIC_LVT_MASKED : 0));
}

static uint64_t guest_status(void)
{
	return rdmsr(pmu_global_status_msr()) & (strange_bits ? pmu_global_mask() : -1ull);
}

/* From the overflow that is to end it to the HLT, and what follows, see guest_halts(). */
extern const char guest_before_hlt[], guest_hlt[], guest_after_hlt[];

static void guest_pmi_handler(struct ex_regs *regs)
{
	uint64_t lvtpc = x2apic_read_reg(APIC_LVTPC);

	/* Intel masks the entry when it delivers from it, AMD does not. */
	GUEST_ASSERT_EQ(!!(lvtpc & APIC_LVT_MASKED), pmu.intel);
	GUEST_ASSERT_EQ(regs->vector, delivery == NMI ? NMI_VECTOR : PMI_VECTOR);

	pmi.count++;
	pmi.loops_left = regs->r8;
	if (pmi.period)
		wrmsr(pmc_msr(0), -pmi.period & COUNTER_MASK);
	if (pmu.global) {
		pmi.status |= guest_status();
		wrmsr(pmu_global_clear_msr(), pmi.status);
		GUEST_ASSERT_EQ(guest_status(), 0);
	}
	guest_set_lvtpc(false);
	if (delivery == VECTOR)
		x2apic_write_reg(APIC_EOI, 0);

	/* There is no other PMI that could end it. */
	if (regs->rip >= (uint64_t)guest_before_hlt && regs->rip <= (uint64_t)guest_hlt)
		regs->rip = (uint64_t)guest_after_hlt;
}

/*
 * A PMI may take its time, on hardware, and some come only after the next exit.
 * See guest_prompt() for what must not need one.
 */
static void guest_wait_for_pmi(void)
{
	uint32_t eax, ebx, ecx, edx;
	uint64_t i;

	for (i = 0; i < 1000 + pmi_delay; i++)
		asm volatile("pause" ::: "memory");
	cpuid(0, &eax, &ebx, &ecx, &edx);
	for (i = 0; i < 1000 + pmi_delay; i++)
		asm volatile("pause" ::: "memory");
}

static void guest_forget_pmis(void)
{
	pmi.count = 0;
	pmi.status = 0;
}

static void guest_setup(void)
{
	x2apic_enable();
	guest_set_lvtpc(false);
	guest_pmu_reset();
	memset(&pmi, 0, sizeof(pmi));
	asm volatile("sti");
}

/* The register and the value that enable counter @c for instructions in ring 0. */
static uint32_t guest_prepare(int c, bool with_pmi, uint64_t *on)
{
	uint64_t select = pmu_instructions() | (with_pmi ? SELECT_OS_PMI : SELECT_OS);

	guest_pmu_reset();
	if (!pmu.global) {
		*on = select;
		return pmc_selector_msr(c);
	}
	if (pmc_is_fixed(c))
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL,
		      FIXED_PMC_CTRL(c - pmu.nr_gp, FIXED_PMC_KERNEL |
				     (with_pmi ? FIXED_PMC_ENABLE_PMI : 0)));
	else
		wrmsr(pmc_selector_msr(c), select);
	*on = pmc_global_bit(c);
	return pmu_global_ctrl_msr();
}

/*
 * Let counter @c count a block of MEASURED_INSNS(BLOCK_PLAIN_INSNS, LOOPS) and
 * overflow with the @nth of them.
 */
#define PLAIN_INSNS	MEASURED_INSNS(BLOCK_PLAIN_INSNS, LOOPS)
#define CPUID_INSNS	(MEASURED_INSNS(BLOCK_CPUID_INSNS, LOOPS) + LOOPS * pmu.entry_insns)

static uint64_t guest_overflow(int c, uint64_t nth, bool with_pmi, bool emulated)
{
	uint64_t on;
	uint32_t ctrl = guest_prepare(c, with_pmi, &on);

	guest_forget_pmis();
	wrmsr(pmc_msr(c), -nth & COUNTER_MASK);
	if (emulated)
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_CPUID);
	else
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_PLAIN);
	guest_wait_for_pmi();

	return rdmsr(pmc_msr(c));
}

/* Overflow without a PMI: @status must be there, and nothing else. */
static void guest_check_status(uint64_t status)
{
	GUEST_ASSERT_EQ(pmi.count, 0);
	if (!pmu.global)
		return;

	GUEST_ASSERT_EQ(guest_status(), status);
	wrmsr(pmu_global_clear_msr(), status);
	GUEST_ASSERT_EQ(guest_status(), 0);
}

static void guest_check_one_pmi(int c, uint64_t nth)
{
	__GUEST_ASSERT(pmi.count == 1, "counter %u, overflow with instruction %lu: %lu PMIs",
		       c, nth, pmi.count);
	if (pmu.global) {
		GUEST_ASSERT_EQ(pmi.status, pmc_global_bit(c));
		GUEST_ASSERT_EQ(guest_status(), 0);
	}
}

static bool guest_counts_instructions(int c)
{
	return c <= pmu.nr_gp && c < pmu_nr_counters();
}

/*
 * @extra is what a counter has counted on top of what followed the overflow: the
 * handler, which is always the same and counted as a whole.  With @maybe it is not
 * counted at all if the PMI was so late that the counter was disabled.
 */
static void guest_check_handler(uint64_t *handler, uint64_t extra, bool maybe, int c,
				uint64_t nth)
{
	const uint64_t spare = SPARE_ENTRIES * pmu.entry_insns;

	if (maybe && extra <= spare)
		return;

	if (!*handler)
		*handler = extra;
	__GUEST_ASSERT(pmu_same_insns(extra, *handler) && extra > 30 && extra < 1000,
		       "counter %u, overflow with instruction %lu: %ld counted by the handler, %lu before",
		       c, nth, extra, *handler);
}

static void guest_one_pmi_each(bool emulated)
{
	const uint64_t all = emulated ? CPUID_INSNS : PLAIN_INSNS;
	uint64_t value, handler;
	uint64_t nth;
	int c;

	guest_setup();
	for (c = 0; guest_counts_instructions(c); c++) {
		handler = 0;

		/* Not with the last two: the PMI may come when all is over. */
		for (nth = 1; nth <= all - 2; nth += nth < 12 ? 1 : 7) {
			value = guest_overflow(c, nth, true, emulated);
			guest_check_one_pmi(c, nth);
			guest_check_handler(&handler, value - (all - nth), pmi_delay, c, nth);
		}

		for (nth = all - 1; nth <= all; nth++) {
			guest_overflow(c, nth, true, emulated);
			guest_check_one_pmi(c, nth);
		}

		/* And one instruction short of it, whatever VM-entries add. */
		nth = all + 1 + SPARE_ENTRIES * pmu.entry_insns;
		value = guest_overflow(c, nth, true, emulated);
		GUEST_ASSERT(value <= COUNTER_MASK && value >= COUNTER_MASK + all + 1 - nth);
		guest_check_status(0);
	}
	GUEST_DONE();
}

/*
 * The PMI of a guest that does not exit must not wait for an exit: it comes while
 * nearly all of a long loop is still to be done.  With @cli it can be an NMI only.
 */
#define LONG_LOOPS	100000

static void guest_prompt(bool cli)
{
	uint32_t ctrl;
	uint64_t on;
	int i, c;

	guest_setup();
	if (cli)
		asm volatile("cli");
	for (c = 0; guest_counts_instructions(c); c++) {
		/* An exit for another reason may come at the right time, but not often. */
		for (i = 0; i < 5; i++) {
			ctrl = guest_prepare(c, true, &on);
			guest_forget_pmis();
			wrmsr(pmc_msr(c), -100ull & COUNTER_MASK);
			/* If somebody else is to run in between. */
			asm volatile(BLOCK_IO ::: "eax");
			GUEST_MEASURE(ctrl, on, LONG_LOOPS, BLOCK_PLAIN);
			guest_wait_for_pmi();
			guest_check_one_pmi(c, 100);
			__GUEST_ASSERT(pmi.loops_left > LONG_LOOPS / 10 * 9,
				       "counter %u: PMI with %lu of %u loops left",
				       c, pmi.loops_left, LONG_LOOPS);
		}
	}
	GUEST_DONE();
}

/* What came while LVTPC was masked is gone, except for @status. */
static void guest_unmask(uint64_t status)
{
	if (unmask_raises)
		guest_check_status(status);
	guest_set_lvtpc(false);
	guest_wait_for_pmi();
	guest_check_status(unmask_raises ? 0 : status);
}

static void guest_no_pmi_masked(void)
{
	uint64_t nth;
	int c;

	guest_setup();
	for (c = 0; guest_counts_instructions(c); c++) {
		for (nth = 1; nth <= PLAIN_INSNS; nth += 5) {
			guest_set_lvtpc(true);
			GUEST_ASSERT(pmu_same_insns(guest_overflow(c, nth, true, false),
						    PLAIN_INSNS - nth));
			guest_unmask(pmc_global_bit(c));
		}
	}
	GUEST_DONE();
}

static void guest_no_pmi_without_enable(void)
{
	uint64_t nth;
	int c;

	guest_setup();
	for (c = 0; guest_counts_instructions(c); c++) {
		for (nth = 1; nth <= CPUID_INSNS; nth += 3) {
			GUEST_ASSERT(pmu_same_insns(guest_overflow(c, nth, false, true),
						    CPUID_INSNS - nth));
			guest_check_status(pmc_global_bit(c));
		}
	}
	GUEST_DONE();
}

/* One of many: each instruction overflows in turn. */
static void guest_overflow_nr(uint64_t i)
{
	uint64_t nth = 1 + i % PLAIN_INSNS;

	guest_overflow(0, nth, true, i & 1);
	guest_check_one_pmi(0, nth);
}

static void guest_none_lost(void)
{
	uint64_t i;

	guest_setup();
	for (i = 0; i < OVERFLOWS; i++)
		guest_overflow_nr(i);
	GUEST_DONE();
}

/* As perf does it: the handler sets the counter back and it goes on. */
static void guest_periodic(void)
{
	uint64_t on, spins = 0;
	uint32_t ctrl;

	guest_setup();
	ctrl = guest_prepare(0, true, &on);
	pmi.period = 500;
	wrmsr(pmc_msr(0), -pmi.period & COUNTER_MASK);
	wrmsr(ctrl, on);
	while (READ_ONCE(pmi.count) < OVERFLOWS) {
		asm volatile("pause" ::: "memory");
		/* Each round is three instructions, at least. */
		GUEST_ASSERT(++spins < OVERFLOWS * (pmi.period + pmi_delay));
	}
	wrmsr(ctrl, 0);
	GUEST_ASSERT_EQ(pmi.status, pmu.global ? pmc_global_bit(0) : 0);
	GUEST_DONE();
}

static void guest_together(void)
{
	uint64_t bits = 0;
	uint64_t nth;
	int c;

	guest_setup();
	for (nth = 1; nth <= PLAIN_INSNS - 2; nth += 3) {
		guest_pmu_reset();
		guest_forget_pmis();
		for (c = 0, bits = 0; guest_counts_instructions(c); c++) {
			if (!pmc_is_fixed(c))
				wrmsr(pmc_selector_msr(c), pmu_instructions() | SELECT_OS_PMI);
			else
				wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL,
				      FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL | FIXED_PMC_ENABLE_PMI));
			wrmsr(pmc_msr(c), -nth & COUNTER_MASK);
			bits |= pmc_global_bit(c);
		}
		GUEST_MEASURE(pmu_global_ctrl_msr(), bits, LOOPS, BLOCK_PLAIN);
		guest_wait_for_pmi();
		GUEST_ASSERT_EQ(pmi.status, bits);
		GUEST_ASSERT_EQ(guest_status(), 0);
		/* One for all. */
		GUEST_ASSERT_EQ(pmi.count, 1);
	}
	GUEST_DONE();
}

static int nr_unknown_nmis(void)
{
	const int size = 1 << 20;
	char *log = malloc(size), *s = log;
	int len, nr = 0;

	/* On the heap, as guests get a copy of all static data. */
	TEST_ASSERT(log, "No memory");
	len = klogctl(3 /* SYSLOG_ACTION_READ_ALL */, log, size - 1);
	TEST_ASSERT(len >= 0, "syslog: %s", strerror(errno));
	log[len] = 0;
	while ((s = strstr(s, "NMI received for unknown reason"))) {
		nr++;
		s++;
	}
	free(log);
	return nr;
}

/* Interrupts of the host for overflows of guests; 0 if there is no such line. */
static uint64_t vpmi_count(void)
{
	FILE *f = fopen("/proc/interrupts", "r");
	unsigned long n, sum = 0;
	char line[4096], *s;
	int used;

	TEST_ASSERT(f, "/proc/interrupts: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		s = strstr(line, "VPMI:");
		if (!s)
			continue;
		for (s += 5; sscanf(s, " %lu%n", &n, &used) == 1; s += used)
			sum += n;
	}
	fclose(f);
	return sum;
}

static struct kvm_vm *pmi_vm_create(struct kvm_vcpu **vcpu, void *guest_code)
{
	struct kvm_vm *vm = pmu_vm_create(vcpu, guest_code);

	vm_install_exception_handler(vm, PMI_VECTOR, guest_pmi_handler);
	vm_install_exception_handler(vm, NMI_VECTOR, guest_pmi_handler);
	sync_global_to_guest(vm, delivery);
	sync_global_to_guest(vm, pmi_delay);
	sync_global_to_guest(vm, unmask_raises);
	sync_global_to_guest(vm, strange_bits);
	return vm;
}

static void run_pmi(void *guest_code, enum delivery how, uint64_t arg)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	delivery = how;
	vm = pmi_vm_create(&vcpu, guest_code);
	vcpu_args_set(vcpu, 1, arg);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

TEST(overflow_raises_one_interrupt)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(guest_one_pmi_each, VECTOR, false);
}

TEST(overflow_raises_one_nmi)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(guest_one_pmi_each, NMI, false);
}

TEST(emulated_overflow_raises_one_interrupt)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(guest_one_pmi_each, VECTOR, true);
}

TEST(emulated_overflow_raises_one_nmi)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(guest_one_pmi_each, NMI, true);
}

TEST(pmi_of_a_guest_that_does_not_exit)
{
	uint64_t before = vpmi_count();

	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(guest_prompt, VECTOR, false);
	run_pmi(guest_prompt, NMI, false);
	run_pmi(guest_prompt, NMI, true);
	TEST_ASSERT(vpmi_count() > before, "no interrupt on the PMIs' own vector");
}

/* Counts all the time, and masks LVTPC whenever it leaves. */
static void guest_masks_and_leaves(uint64_t times)
{
	guest_setup();
	wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS_PMI);
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), pmc_global_bit(0));
	while (times--) {
		guest_set_lvtpc(true);
		asm volatile(BLOCK_IO ::: "eax");
		guest_set_lvtpc(false);
	}
	GUEST_DONE();
}

TEST(pmi_after_a_guest_that_has_masked_its_own)
{
	struct kvm_vcpu *vcpu[2];
	struct kvm_vm *vm[2];

	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	kvm_pin_this_task_to_pcpu(0);
	delivery = VECTOR;
	vm[0] = pmi_vm_create(&vcpu[0], guest_masks_and_leaves);
	vcpu_args_set(vcpu[0], 1, 5 * MAX_COUNTERS);
	vm[1] = pmi_vm_create(&vcpu[1], guest_prompt);
	vcpu_args_set(vcpu[1], 1, false);
	pmu_run_by_turns(vcpu);
	kvm_vm_free(vm[0]);
	kvm_vm_free(vm[1]);
}

TEST(masked_lvtpc_raises_none)
{
	uint64_t before = vpmi_count();

	run_pmi(guest_no_pmi_masked, VECTOR, 0);
	run_pmi(guest_no_pmi_masked, NMI, 0);
	/* Not even in the host, unless LVTPC is perf's, beside an event of the host. */
	if (!nmi_watchdog_is_on())
		TEST_ASSERT_EQ(vpmi_count(), before);
}

TEST(counter_without_interrupt_raises_none)
{
	run_pmi(guest_no_pmi_without_enable, VECTOR, 0);
}

TEST(none_of_1000_is_lost)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(guest_none_lost, VECTOR, 0);
	run_pmi(guest_none_lost, NMI, 0);
}

TEST(periodic_1000)
{
	run_pmi(guest_periodic, VECTOR, 0);
	run_pmi(guest_periodic, NMI, 0);
}

TEST(overflows_together)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(guest_together, VECTOR, 0);
	run_pmi(guest_together, NMI, 0);
}

/* No PMI for an overflow that was there before the counter's PMI was enabled. */
static void guest_enables_pmi_later(void)
{
	uint64_t on;
	uint32_t ctrl;
	int i, c;

	guest_setup();
	for (i = 0; i < 4; i++) {
		for (c = 0; guest_counts_instructions(c); c++) {
			guest_overflow(c, 7, false, false);
			GUEST_ASSERT_EQ(pmi.count, 0);
			GUEST_ASSERT_EQ(guest_status(), pmc_global_bit(c));

			/* Disabled in GLOBAL_CTRL: nothing overflows any more. */
			if (pmc_is_fixed(c))
				wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL,
				      FIXED_PMC_CTRL(c - pmu.nr_gp, FIXED_PMC_KERNEL |
						     FIXED_PMC_ENABLE_PMI));
			else
				wrmsr(pmc_selector_msr(c), pmu_instructions() | SELECT_OS_PMI);
			guest_wait_for_pmi();
			asm volatile(BLOCK_IO ::: "eax", "memory");
			guest_wait_for_pmi();
			guest_check_status(pmc_global_bit(c));

			/* Nor is the next one, which has one, taken for it. */
			ctrl = guest_prepare(c, true, &on);
			wrmsr(pmc_msr(c), -7ull & COUNTER_MASK);
			GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_PLAIN);
			guest_wait_for_pmi();
			guest_check_one_pmi(c, 7);
		}
	}
	GUEST_DONE();
}

TEST(no_pmi_for_an_overflow_before_it_was_enabled)
{
	int unknown = nr_unknown_nmis();

	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(guest_enables_pmi_later, VECTOR, 0);
	run_pmi(guest_enables_pmi_later, NMI, 0);
	TEST_ASSERT_EQ(nr_unknown_nmis(), unknown);
}

/* What no status bit and no counter with a PMI account for is not the guest's. */
#define STRAY_LOOPS	100000

static void guest_counts_without_pmi(void)
{
	uint64_t on, count;
	uint32_t ctrl;
	int c;

	guest_setup();
	for (c = 0; guest_counts_instructions(c); c++) {
		ctrl = guest_prepare(c, false, &on);
		guest_forget_pmis();
		GUEST_MEASURE(ctrl, on, STRAY_LOOPS, BLOCK_PLAIN);
		count = rdmsr(pmc_msr(c));
		GUEST_ASSERT_EQ(pmi.count, 0);
		guest_wait_for_pmi();
		guest_check_status(0);
		/* Maybe an exit for each. */
		__GUEST_ASSERT(count - MEASURED_INSNS(BLOCK_PLAIN_INSNS, STRAY_LOOPS) <=
			       STRAY_LOOPS * pmu.entry_insns,
			       "counter %u: %lu instructions", c, count);
	}

	/* Nor do they take one away.  Here is not enough time for any. */
	for (c = 0; guest_counts_instructions(c); c++) {
		guest_overflow(c, 7, true, false);
		guest_check_one_pmi(c, 7);
	}
	GUEST_DONE();
}

TEST(stray_interrupts_are_no_pmis)
{
	int unknown = nr_unknown_nmis();
	uint64_t before, nr;
	int i;

	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	for (i = 0; i < 2; i++) {
		before = vpmi_count();
		run_pmi(guest_counts_without_pmi, i ? NMI : VECTOR, 0);
		nr = vpmi_count() - before;
		/* Beside an event of the host an NMI takes the place of the vector. */
		TEST_ASSERT(stray ? nr > 10 * pmu.nr_gp : nr <= MAX_COUNTERS,
			    "%lu interrupts on the PMIs' own vector", nr);
	}
	TEST_ASSERT_EQ(nr_unknown_nmis(), unknown);
}

/*
 * Two overflows of a counter one after the other, with nothing in between that
 * makes KVM look at the status: the handler has it cleared, which need not exit.
 */
static void guest_overflows_again(void)
{
	uint64_t on;
	uint32_t ctrl;
	int i;

	guest_setup();
	for (i = 0; i < 50; i++) {
		ctrl = guest_prepare(0, true, &on);
		guest_forget_pmis();
		wrmsr(pmc_msr(0), -20ull & COUNTER_MASK);
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_PLAIN);
		guest_wait_for_pmi();
		guest_check_one_pmi(0, 20);

		guest_forget_pmis();
		wrmsr(pmc_msr(0), -20ull & COUNTER_MASK);
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_PLAIN);
		asm volatile(BLOCK_IO ::: "eax", "memory");
		guest_wait_for_pmi();
		guest_check_one_pmi(0, 20);
	}
	GUEST_DONE();
}

TEST(second_overflow_raises_a_second_pmi)
{
	int unknown = nr_unknown_nmis();

	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(guest_overflows_again, VECTOR, 0);
	run_pmi(guest_overflows_again, NMI, 0);
	TEST_ASSERT_EQ(nr_unknown_nmis(), unknown);
}

/*
 * The PMI of an overflow right before HLT ends it: an interrupt that is pending, or
 * one that comes after the VM-exit.  An NMI may come before the HLT, which is then
 * left out: see guest_pmi_handler().
 */
/* Up to HLT and with it: MOV, the loop, STI, HLT. */
#define HLT_INSNS	(1 + 2 * 100 + 1 + 1)

static void guest_halts(void)
{
	uint64_t on, nth;
	uint32_t ctrl;

	guest_setup();
	for (nth = 180; nth <= HLT_INSNS; nth++) {
		asm volatile("cli");
		ctrl = guest_prepare(0, true, &on);
		guest_forget_pmis();
		wrmsr(pmc_msr(0), -nth & COUNTER_MASK);
		wrmsr(ctrl, on);
		asm volatile(".global guest_before_hlt, guest_hlt, guest_after_hlt\n\t"
			     "guest_before_hlt:\n\t"
			     "mov $100, %%ecx\n\t"
			     "1: dec %%ecx\n\t"
			     "jnz 1b\n\t"
			     "sti\n\t"
			     "guest_hlt:\n\t"
			     "hlt\n\t"
			     "guest_after_hlt:\n\t"
			     "cli\n\t"
			     ::: "ecx", "cc", "memory");
		wrmsr(ctrl, 0);
		asm volatile("sti");
		guest_check_one_pmi(0, nth);
		guest_wait_for_pmi();
		guest_check_one_pmi(0, nth);
		GUEST_SYNC(nth);
	}
	GUEST_DONE();
}

static void nothing(int signal)
{
}

static void run_halting(enum delivery how)
{
	/* An interrupt is later by microseconds. */
	const struct itimerval second = { .it_value.tv_sec = 1 }, never = { };
	struct sigaction sa = { .sa_handler = nothing };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct ucall uc;

	delivery = how;
	vm = pmi_vm_create(&vcpu, guest_halts);
	sigaction(SIGALRM, &sa, NULL);
	do {
		setitimer(ITIMER_REAL, &second, NULL);
		if (__vcpu_run(vcpu) < 0) {
			TEST_ASSERT_EQ(errno, EINTR);
			TEST_FAIL("HLT is not ended by its PMI");
		}
		setitimer(ITIMER_REAL, &never, NULL);
		if (get_ucall(vcpu, &uc) == UCALL_ABORT)
			REPORT_GUEST_ASSERT(uc);
	} while (uc.cmd == UCALL_SYNC);
	TEST_ASSERT_EQ(uc.cmd, UCALL_DONE);
	kvm_vm_free(vm);
}

TEST(pmi_ends_hlt)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_halting(VECTOR);
	run_halting(NMI);
}

/* Save and restore */

static struct kvm_vcpu *migrate(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	struct kvm_lapic_state lapic;
	struct kvm_x86_state *state;

	state = vcpu_save_state(vcpu);
	vcpu_ioctl(vcpu, KVM_GET_LAPIC, &lapic);
	kvm_vm_release(vm);

	vcpu = vm_recreate_with_one_vcpu(vm);
	vcpu_load_state(vcpu, state);
	vcpu_ioctl(vcpu, KVM_SET_LAPIC, &lapic);
	kvm_x86_state_cleanup(state);
	return vcpu;
}

/* Run to the end; go to another VM at every exit to user space. */
static void run_migrating(void *guest_code, enum delivery how)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct ucall uc;

	delivery = how;
	vm = pmi_vm_create(&vcpu, guest_code);
	for (;;) {
		vcpu_run(vcpu);
		if (vcpu->run->exit_reason != KVM_EXIT_IO ||
		    vcpu->run->io.port != IO_PORT) {
			switch (get_ucall(vcpu, &uc)) {
			case UCALL_SYNC:
				break;
			case UCALL_DONE:
				kvm_vm_free(vm);
				return;
			case UCALL_ABORT:
				REPORT_GUEST_ASSERT(uc);
				break;
			default:
				TEST_FAIL("Unexpected exit %u", vcpu->run->exit_reason);
			}
		}
		vcpu = migrate(vm, vcpu);
	}
}

/* In a new VM all memory is mapped anew, in VM-exits. */
#define NEW_VM_EXITS	20

static void guest_migrates_counting(void)
{
	const uint64_t all = MEASURED_INSNS(BLOCK_IO_INSNS, 3);
	uint64_t count, on;
	uint32_t ctrl;
	int c;

	guest_setup();
	for (c = 0; guest_counts_instructions(c); c++) {
		ctrl = guest_prepare(c, false, &on);
		wrmsr(pmc_msr(c), 0x5a1234567000ul);
		GUEST_MEASURE(ctrl, on, 3, BLOCK_IO);
		count = rdmsr(pmc_msr(c));
		__GUEST_ASSERT(__pmu_counted(count - 0x5a1234567000ul, all, 3,
					     3 + 3 * NEW_VM_EXITS, pmu.entry_insns),
			       "counter %u: counted %lu, wanted %lu, and %u for each VM-entry",
			       c, count - 0x5a1234567000ul, all, pmu.entry_insns);
		GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), count);
		guest_check_status(0);
	}
	GUEST_DONE();
}

TEST(migrates_while_counting)
{
	run_migrating(guest_migrates_counting, VECTOR);
}

static void guest_migrates_status(void)
{
	uint64_t count;
	int c;

	guest_setup();
	guest_set_lvtpc(true);
	for (c = 0; guest_counts_instructions(c); c++) {
		count = guest_overflow(c, 7, true, false);
		GUEST_ASSERT(pmu_same_insns(count, PLAIN_INSNS - 7));
		GUEST_SYNC(c);
		GUEST_ASSERT_EQ(rdmsr(pmc_msr(c)), count);
		if (pmu.global && !pmc_is_fixed(c))
			GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(c)),
					pmu_instructions() | SELECT_OS_PMI);
		/* The restore must not raise what was masked. */
		guest_unmask(pmc_global_bit(c));
		guest_set_lvtpc(true);
	}
	GUEST_DONE();
}

TEST(migrates_status)
{
	run_migrating(guest_migrates_status, VECTOR);
}

static void guest_migrates_pending(void)
{
	int c;

	guest_setup();
	for (c = 0; guest_counts_instructions(c); c++) {
		asm volatile("cli");
		guest_overflow(c, 7, true, false);
		GUEST_ASSERT_EQ(pmi.count, 0);
		GUEST_SYNC(c);
		GUEST_ASSERT_EQ(pmi.count, 0);
		asm volatile("sti");
		guest_wait_for_pmi();
		guest_check_one_pmi(c, 7);
	}
	GUEST_DONE();
}

TEST(migrates_pending_interrupt)
{
	run_migrating(guest_migrates_pending, VECTOR);
}

/*
 * The instruction that overflows is emulated by the VMM, which saves the state
 * right behind it.
 */
static void guest_migrates_overflowing(void)
{
	const uint64_t all = MEASURED_INSNS(BLOCK_IO_INSNS, 3);
	uint64_t nth, on;
	uint32_t ctrl;

	guest_setup();
	for (nth = 1; nth <= all; nth++) {
		ctrl = guest_prepare(0, true, &on);
		guest_forget_pmis();
		wrmsr(pmc_msr(0), -nth & COUNTER_MASK);
		GUEST_MEASURE(ctrl, on, 3, BLOCK_IO);
		guest_wait_for_pmi();
		guest_check_one_pmi(0, nth);
	}
	GUEST_DONE();
}

TEST(migrates_while_overflowing_interrupt)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_migrating(guest_migrates_overflowing, VECTOR);
}

TEST(migrates_while_overflowing_nmi)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_migrating(guest_migrates_overflowing, NMI);
}

/*
 * Two vCPUs on one CPU.  Each has PMIs of its own, counters of both overflow in
 * the same register, and the other one runs at any time, also between an overflow
 * and its PMI.  Each round is one overflow: it must raise one PMI, with the right
 * status bit, in its own guest, and the counter must have counted what is known.
 */
#define TURN_LOOPS	3
#define TURN_INSNS	MEASURED_INSNS(BLOCK_IO_INSNS, TURN_LOOPS)

static uint64_t guest_turn(int c, uint64_t nth)
{
	uint64_t before = pmi.count;
	int i;

	pmi.status = 0;
	wrmsr(pmc_msr(c), -nth & COUNTER_MASK);
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmc_global_bit(c), TURN_LOOPS, BLOCK_IO);

	/* It is there as a rule, else it may be late, but not that late. */
	for (i = 0; READ_ONCE(pmi.count) == before && i < 5; i++)
		guest_wait_for_pmi();

	return rdmsr(pmc_msr(c));
}

/* Every @step-th instruction in turn; also a counter that the other one has not. */
static void guest_take_turns(uint64_t nr, uint64_t step, uint64_t own)
{
	const int counters[2] = { 0, own };
	uint64_t handler = 0, extra, nth, i;
	int c;

	guest_setup();
	wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS_PMI);
	wrmsr(pmc_selector_msr(own), pmu_instructions() | SELECT_OS_PMI);

	for (i = 0; i < nr; i++) {
		/* Now and then the other one goes on from an LVTPC that is masked. */
		if (!(i % 4)) {
			guest_set_lvtpc(true);
			asm volatile(BLOCK_IO ::: "eax");
			guest_set_lvtpc(false);
		}

		c = counters[i & 1];
		/* Not with the last two: the PMI may come when all is over. */
		nth = 1 + i * step % (TURN_INSNS - 2);
		extra = guest_turn(c, nth) - (TURN_INSNS - nth);

		/* All PMIs there ever were, so that none comes unnoticed. */
		__GUEST_ASSERT(pmi.count == i + 1, "after %lu overflows there were %lu PMIs",
			       i + 1, pmi.count);
		GUEST_ASSERT_EQ(pmi.status, pmc_global_bit(c));
		GUEST_ASSERT_EQ(guest_status(), 0);

		/* The other one may have had the CPU until the counter was disabled. */
		guest_check_handler(&handler, extra, true, c, nth);
	}

	/* None is left over. */
	guest_wait_for_pmi();
	GUEST_ASSERT_EQ(pmi.count, nr);
	GUEST_DONE();
}

FIXTURE(two_vcpus)
{
	struct kvm_vm *vm[2];
	struct kvm_vcpu *vcpu[2];
};

/* They share nothing, not even the way their PMIs come. */
FIXTURE_SETUP(two_vcpus)
{
	const uint64_t step[2] = { 1, 5 };
	int i;

	if (!pmu.mediated)
		return;

	kvm_pin_this_task_to_pcpu(0);
	for (i = 0; i < 2; i++) {
		delivery = i ? NMI : VECTOR;
		self->vm[i] = pmi_vm_create(&self->vcpu[i], guest_take_turns);
		vcpu_args_set(self->vcpu[i], 3, nr_overflows / 2, step[i], 1ull + i);
	}
}

FIXTURE_TEARDOWN(two_vcpus)
{
	int i;

	for (i = 0; pmu.mediated && i < 2; i++)
		kvm_vm_free(self->vm[i]);
}

TEST_F_TIMEOUT(two_vcpus, by_turns, 3600)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	pmu_run_by_turns(self->vcpu);
}

static void *run_thread(void *vcpu)
{
	kvm_pin_this_task_to_pcpu(0);
	pmu_run_to_done(vcpu);
	return NULL;
}

/* The host's scheduler has them change anywhere. */
TEST_F_TIMEOUT(two_vcpus, as_threads, 3600)
{
	pthread_t threads[2];
	int i;

	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	for (i = 0; i < 2; i++)
		TEST_ASSERT(!pthread_create(&threads[i], NULL, run_thread, self->vcpu[i]),
			    "No thread");
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

/*
 * The host's overflows are NMIs, the guest's are interrupts of their own, and the
 * local APIC's one entry for both changes hands.  Neither may be taken for the
 * other: the guest sees its own and no more, the host samples no guest, and no
 * NMI comes that nobody knows.
 */
#define SAMPLE_PAGES	64

struct sampler {
	int fd;
	/* In instructions, more than an NMI itself takes. */
	uint64_t period;
	struct perf_event_mmap_page *page;
	uint64_t nr, nr_throttled;
};

/* One exit to user space, of a guest that does nothing else, in instructions. */
static uint64_t sampler_exit_cost(struct kvm_vcpu *vcpu)
{
	int fd = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_GUEST | EVENT_PINNED, 0, -1);
	uint64_t count;

	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd));
	pmu_run(vcpu);
	count = perf_read(fd).count;
	pmu_run(vcpu);
	count = perf_read(fd).count - count;
	close(fd);
	return count;
}

static void sampler_open(struct sampler *sampler, uint64_t period)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_HARDWARE,
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.sample_period = period,
		.sample_type = PERF_SAMPLE_IP,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED |
			       PERF_FORMAT_TOTAL_TIME_RUNNING,
		.exclude_guest = true,
		.pinned = true,
		.disabled = true,
	};

	memset(sampler, 0, sizeof(*sampler));
	sampler->period = period;
	sampler->fd = syscall(__NR_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	TEST_ASSERT(sampler->fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", sampler->fd));
	sampler->page = mmap(NULL, (SAMPLE_PAGES + 1) * getpagesize(), PROT_READ | PROT_WRITE,
			     MAP_SHARED, sampler->fd, 0);
	TEST_ASSERT(sampler->page != MAP_FAILED, "mmap: %s", strerror(errno));
	/* Samples have no place to go before. */
	ioctl(sampler->fd, PERF_EVENT_IOC_ENABLE, 0);
}

/* Guests run in ring 0, at addresses of this program. */
static void check_sample(struct perf_event_header *header, uint64_t ip)
{
	unsigned int mode = header->misc & PERF_RECORD_MISC_CPUMODE_MASK;

	TEST_ASSERT(mode == PERF_RECORD_MISC_USER || mode == PERF_RECORD_MISC_KERNEL,
		    "A sample at %#lx of mode %u", ip, mode);
	TEST_ASSERT((mode == PERF_RECORD_MISC_KERNEL) == (ip >> 63),
		    "A sample at %#lx, mode %u, is a guest's", ip, mode);
}

static void sampler_check(struct sampler *sampler)
{
	const uint64_t size = SAMPLE_PAGES * getpagesize();
	char *data = (char *)sampler->page + getpagesize();
	struct perf_event_header header;
	uint64_t head, ip;

	head = __atomic_load_n(&sampler->page->data_head, __ATOMIC_ACQUIRE);
	while (sampler->page->data_tail < head) {
		uint64_t at = sampler->page->data_tail;

		/* Records are multiples of 8 bytes, so that neither is split. */
		memcpy(&header, data + at % size, sizeof(header));
		if (header.type == PERF_RECORD_SAMPLE) {
			memcpy(&ip, data + (at + sizeof(header)) % size, sizeof(ip));
			check_sample(&header, ip);
			sampler->nr++;
		}
		if (header.type == PERF_RECORD_THROTTLE)
			sampler->nr_throttled++;
		TEST_ASSERT(header.type != PERF_RECORD_LOST, "Samples are lost");
		__atomic_store_n(&sampler->page->data_tail, at + header.size,
				 __ATOMIC_RELEASE);
	}
}

/*
 * An event that has many overflows, beside one whose NMIs come at any time for it: what
 * overflows while the other one's is handled has its sample, too, and at once.
 */
TEST(host_samples_beside_another_event)
{
	const uint64_t period = 5003 + 2 * pmi_delay;
	struct sampler samplers[2];
	uint64_t count, due;
	int i, j;

	/* A ratio that has one come anywhere in the period of the other. */
	sampler_open(&samplers[0], period);
	sampler_open(&samplers[1], period * 4618 / 1000);

	/* There is not room for all samples of a kernel that is slow. */
	for (i = 0; i < 20; i++) {
		for (j = 0; j < 500000; j++)
			barrier();
		sampler_check(&samplers[i % 2]);
	}

	for (i = 0; i < 2; i++)
		ioctl(samplers[i].fd, PERF_EVENT_IOC_DISABLE, 0);

	for (i = 0; i < 2; i++) {
		count = perf_read(samplers[i].fd).count;
		sampler_check(&samplers[i]);
		due = count / samplers[i].period;
		/* The last one may be late when the event is disabled. */
		TEST_ASSERT(samplers[i].nr <= due && samplers[i].nr + 1 >= due,
			    "%lu samples, not %lu, for %lu instructions, period %lu",
			    samplers[i].nr, due, count, samplers[i].period);
		munmap(samplers[i].page, (SAMPLE_PAGES + 1) * getpagesize());
		close(samplers[i].fd);
	}
}

static void guest_pmis_beside_samples(void)
{
	uint64_t i;

	guest_setup();
	GUEST_SYNC(0);
	GUEST_SYNC(0);
	for (i = 0; i < OVERFLOWS; i++) {
		guest_overflow_nr(i);
		/* Let the VMM look at its samples before there are too many. */
		if (i % 10 == 9)
			GUEST_SYNC(i);
	}
	GUEST_DONE();
}

TEST(guest_pmis_and_host_samples_do_not_mix)
{
	int unknown = nr_unknown_nmis();
	struct sampler sampler;
	struct kvm_vcpu *vcpu;
	uint64_t count;
	struct kvm_vm *vm;
	int i;

	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	for (i = 0; i < 2; i++) {
		delivery = i ? NMI : VECTOR;
		vm = pmi_vm_create(&vcpu, guest_pmis_beside_samples);
		/* With sanitizers and lockdep an exit costs some 20 times as much. */
		sampler_open(&sampler, max(3001ul, sampler_exit_cost(vcpu) / 2));
		while (pmu_run(vcpu) != -1ull)
			sampler_check(&sampler);
		ioctl(sampler.fd, PERF_EVENT_IOC_DISABLE, 0);
		count = perf_read(sampler.fd).count;
		sampler_check(&sampler);
		TEST_ASSERT(sampler.nr > OVERFLOWS / 4, "Only %lu samples of the host", sampler.nr);
		/*
		 * They have not gone to the guest instead, not even where it has
		 * NMIs as well, and none is lost because its NMI is late: but for
		 * the last one, as the event is disabled.  There are no virtual
		 * NMIs on SVM, which may keep them from the host in the guest's NMI
		 * handler.
		 */
		if (!sampler.nr_throttled && (pmu.intel || delivery == VECTOR))
			TEST_ASSERT(sampler.nr + !!pmi_delay >= count / sampler.period &&
				    sampler.nr <= count / sampler.period + 1,
				    "%lu samples of %lu instructions, one is to be every %lu",
				    sampler.nr, count, sampler.period);
		pr_info("# %lu samples of %lu instructions, one each %lu, %lu throttled\n",
			sampler.nr, count, sampler.period, sampler.nr_throttled);
		close(sampler.fd);
		kvm_vm_free(vm);
	}
	TEST_ASSERT_EQ(nr_unknown_nmis(), unknown);
}

int main(int argc, char *argv[])
{
	while (argc > 1) {
		bool *flag = !strcmp(argv[1], "-s") ? &stray :
			     !strcmp(argv[1], "-u") ? &unmask_raises :
			     !strcmp(argv[1], "-b") ? &strange_bits : NULL;

		if (flag) {
			*flag = true;
			argv[1] = argv[0];
			argc--;
			argv++;
			continue;
		}
		if (argc < 3)
			break;
		if (!strcmp(argv[1], "-n"))
			nr_overflows = atoi_positive("Number of overflows", argv[2]);
		else if (!strcmp(argv[1], "-d"))
			pmi_delay = atoi_positive("Delay of PMIs", argv[2]);
		else
			break;
		argv[2] = argv[0];
		argc -= 2;
		argv += 2;
	}

	pmu_detect();

	return test_harness_run(argc, argv);
}
