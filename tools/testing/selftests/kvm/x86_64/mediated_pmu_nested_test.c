// SPDX-License-Identifier: GPL-2.0
/*
 * Test the PMU of a guest (L1) that has a guest of its own (L2): they share one
 * PMU, as far as L1 lets L2 have it.
 *
 * What does not depend on how KVM makes a PMU is tested with
 * enable_mediated_pmu=0 too.
 */
#include "mediated_pmu_nested.h"

#define LOOPS		20
#define PMI_VECTOR	0x41
#define NOT_EXACT	"the PMIs of an emulated PMU are not exact"

/*
 * The NMI watchdog of the host may have a counter for itself, which a PMU that is
 * emulated with perf events then lacks.
 */
static int nr_usable_gp(void)
{
	return pmu.mediated || pmu.intel ? pmu.nr_gp : pmu.nr_gp - 1;
}

/* Counts */

enum block { PLAIN, RDMSR, IO, NR_BLOCKS };

static void guest_measure(enum block block, uint32_t ctrl, uint64_t on)
{
	switch (block) {
	case PLAIN:
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_PLAIN);
		break;
	case RDMSR:
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_RDMSR);
		break;
	case IO:
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_IO);
		break;
	default:
		GUEST_FAIL("No such block");
	}
}

static uint64_t block_insns(enum block block)
{
	static const uint8_t insns[] = {
		[PLAIN] = BLOCK_PLAIN_INSNS,
		[RDMSR] = BLOCK_RDMSR_INSNS,
		[IO] = BLOCK_IO_INSNS,
	};

	return MEASURED_INSNS(insns[block], LOOPS);
}

static uint64_t block_exits(enum block block)
{
	return block == PLAIN ? 0 : LOOPS;
}

/* In L1 and L2: has counter @c counted @want, on top of @from? */
static void __guest_check_counter(int level, enum block block, int c, uint64_t from, uint64_t want,
				  uint64_t min_exits, uint64_t max_exits, uint64_t each)
{
	uint64_t count = rdmsr(pmc_msr(c));

	__GUEST_ASSERT(__pmu_counted(count - from, want, min_exits, max_exits, each),
		       "L%u, block %u, counter %u: counted %lu, wanted %lu, and %lu for each VM-entry",
		       level, block, c, count - from, want, each);
	GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), count);
}

static void guest_check_insns(int level, enum block block, int c, uint64_t want)
{
	__guest_check_counter(level, block, c, 0, want, block_exits(block), block_exits(block),
			      pmu.entry_insns);
}

static void guest_check_branches(int level, enum block block, int c, uint64_t want)
{
	__guest_check_counter(level, block, c, 0, want, block_exits(block), block_exits(block),
			      pmu.entry_branches);
}

static void guest_count_blocks(int level)
{
	const uint64_t branches = MEASURED_BRANCHES(0, LOOPS);
	enum block block;
	int c;

	for (block = 0; block < NR_BLOCKS; block++) {
		for (c = 0; c < nr_usable_gp(); c++) {
			guest_pmu_reset();
			if (pmu.global)
				wrmsr(pmu_global_ctrl_msr(), pmc_global_bit(c));

			guest_measure(block, pmc_selector_msr(c),
				      pmu_instructions() | SELECT_OS);
			guest_check_insns(level, block, c, block_insns(block));

			wrmsr(pmc_msr(c), 0);
			guest_measure(block, pmc_selector_msr(c), pmu_branches() | SELECT_OS);
			guest_check_branches(level, block, c, branches);

			wrmsr(pmc_msr(c), 0);
			guest_measure(block, pmc_selector_msr(c),
				      pmu_instructions() | SELECT_USR);
			guest_check_insns(level, block, c, 0);
		}

		if (!pmu.global)
			continue;

		guest_pmu_reset();
		for (c = 0; c < nr_usable_gp(); c++)
			wrmsr(pmc_selector_msr(c), SELECT_OS |
			      (c & 1 ? pmu_branches() : pmu_instructions()));
		if (pmu.nr_fixed)
			wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL));
		guest_measure(block, pmu_global_ctrl_msr(), pmu_global_mask());
		for (c = 0; c < nr_usable_gp(); c++) {
			if (c & 1)
				guest_check_branches(level, block, c, branches);
			else
				guest_check_insns(level, block, c, block_insns(block));
		}
		if (pmu.nr_fixed)
			guest_check_insns(level, block, pmu.nr_gp, block_insns(block));
	}
}

static void l2_count_blocks(void)
{
	for (;;) {
		guest_count_blocks(2);
		l2_exit();
	}
}

static void l1_count_blocks(bool msr_bitmap)
{
	int i;

	l1_setup(l2_count_blocks);
	/* AMD: without a bitmap L1 intercepts nothing. */
	if (!msr_bitmap)
		l1.svm->vmcb->control.intercept &= ~BIT_ULL(INTERCEPT_MSR_PROT);

	for (i = 0; i < 2; i++) {
		guest_count_blocks(1);
		l1_run_to_call();
	}
	guest_count_blocks(1);
	GUEST_DONE();
}

TEST(l2_counts_like_l1)
{
	run_nested(l1_count_blocks, true);
	if (!pmu.intel)
		run_nested(l1_count_blocks, false);
}

/* What L1 has directly, L2 has directly. */

#define ACCESSES	2000

static void guest_access(void)
{
	uint32_t global_ctrl = pmu_global_ctrl_msr();
	uint64_t fixed = 0;
	int i, c;

	/* Beside events of the host a guest has those counters that it has enabled. */
	for (c = 0; c < pmu_nr_counters(); c++) {
		if (pmc_is_fixed(c))
			fixed |= FIXED_PMC_CTRL(c - pmu.nr_gp, FIXED_PMC_KERNEL);
		else
			wrmsr(pmc_selector_msr(c), SELECT_NOTHING);
	}
	if (pmu.nr_fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, fixed);
	GUEST_SYNC(0);
	for (i = 0, c = 0; i < ACCESSES; i++, c = (c + 1) % pmu_nr_counters()) {
		wrmsr(pmc_msr(c), i);
		GUEST_ASSERT_EQ(rdmsr(pmc_msr(c)), i);
	}
	GUEST_SYNC(1);
	for (i = 0, c = 0; i < ACCESSES; i++, c = (c + 1) % pmu_nr_counters())
		_rdpmc(pmc_rdpmc_index(c));
	GUEST_SYNC(2);
	for (i = 0; i < ACCESSES; i++) {
		wrmsr(global_ctrl, i & 1);
		GUEST_ASSERT_EQ(rdmsr(global_ctrl), i & 1);
	}
	GUEST_SYNC(3);
	for (i = 0; i < ACCESSES; i++) {
		GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()), 0);
		wrmsr(pmu_global_clear_msr(), 1);
	}
	GUEST_SYNC(4);
	guest_pmu_reset();
}

static void l2_access(void)
{
	guest_access();
	l2_exit();
}

static void l1_access(void)
{
	guest_pmu_reset();
	guest_access();
	l1_setup(l2_access);
	l1_run_to_call();
	GUEST_DONE();
}

TEST(l2_has_direct_access)
{
	static const char * const names[] = { "counters", "RDPMC", "GLOBAL_CTRL", "GLOBAL_STATUS" };
	uint64_t exits, now, l1_exits[ARRAY_SIZE(names)];
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int level, i;

	if (!pmu.mediated)
		SKIP(return, "each access to an emulated PMU exits");

	/* By VPMC L1 may have more than L2, which always has a PMU that KVM switches. */
	pmu.vpmc = false;
	vm = nested_vm_create(&vcpu, l1_access);
	for (level = 1; level <= 2; level++) {
		TEST_ASSERT_EQ(pmu_run(vcpu), 0);
		exits = vcpu_stat(vcpu, "exits");
		for (i = 0; i < ARRAY_SIZE(names); i++) {
			TEST_ASSERT_EQ(pmu_run(vcpu), i + 1);
			now = vcpu_stat(vcpu, "exits");
			exits = now - exits;
			if (level == 1)
				l1_exits[i] = exits;

			/*
			 * Interrupts of the host are exits as well.  But for counters
			 * it depends on the PMU what L1 has directly.
			 */
			TEST_ASSERT(exits < (i ? l1_exits[i] : 0) + ACCESSES / 4,
				    "%s: %lu exits in %u accesses of L%d, %lu in L1",
				    names[i], exits, ACCESSES, level, l1_exits[i]);
			exits = now;
		}
	}
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

/* What the status has of the host is neither for L1 nor for L2. */
static void l2_status_bits(void)
{
	for (;;) {
		guest_beside_status_bits(pmu.intel ? BIT_ULL(62) : BIT_ULL(58));
		GUEST_SYNC(2);
	}
}

static void l1_status_bits(void)
{
	l1_setup(l2_status_bits);
	l1_run_to_call();
}

TEST(l2_leaves_status_bits_of_the_host_alone)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	if (!pmu.mediated)
		SKIP(return, "a PMU emulated has no bits of the host");

	kvm_pin_this_task_to_pcpu(0);
	TEST_REQUIRE(host_msr_fd() >= 0);
	vm = nested_vm_create(&vcpu, l1_status_bits);
	run_beside_status_bits(vcpu, false);
	kvm_vm_free(vm);
}

/*
 * Values: L1, L2 and the VMM take turns to check what the one before has left,
 * and to change some of it.
 */

/* How many values of GLOBAL_CTRL have a successor each: all pairs of three. */
static uint64_t turn_global_ctrl(uint64_t turn)
{
	static const uint8_t value[] = { 0, 1, 1, 2, 0, 2, 2, 1, 0, 0, 1, 0, 2 };
	uint64_t v = value[turn % ARRAY_SIZE(value)];

	return v == 2 ? pmu_global_mask() : v;
}

static uint64_t turn_value(int c, uint64_t turn)
{
	return (0x123400000000ull + c * 0x10101010101ull + turn * 0x3070503ull) & COUNTER_MASK;
}

/* Never enabled: the counters stand still. */
static uint64_t turn_selector(int c, uint64_t turn)
{
	return RAW_EVENT((0xc0 + c), (turn & 0xf)) | ARCH_PERFMON_EVENTSEL_OS |
	       (turn & 1 ? ARCH_PERFMON_EVENTSEL_INT : 0);
}

static uint64_t turn_fixed_ctrl(uint64_t turn)
{
	return FIXED_PMC_CTRL((turn % pmu.nr_fixed), FIXED_PMC_ENABLE_PMI);
}

static uint64_t turn_metrics(uint64_t turn)
{
	return 0x5a4b3c2d + turn * 0x1030507;
}

/* Which of the values are written in @turn: only GLOBAL_CTRL, the rest, all, none. */
static bool turn_writes_global(uint64_t turn)
{
	return (turn / 2 + turn) % 4 != 1;
}

static bool turn_writes_rest(uint64_t turn)
{
	return turn % 3 != 1;
}

static uint64_t turn_last(uint64_t turn, bool (*writes)(uint64_t turn))
{
	while (turn && !writes(turn))
		turn--;
	return turn;
}

/* Written at the end of @turn, or before. */
static void guest_check_turn(int level, uint64_t turn)
{
	uint64_t rest = turn_last(turn, turn_writes_rest);
	uint64_t global = turn_last(turn, turn_writes_global);
	uint64_t got;
	int c;

	for (c = 0; c < pmu_nr_counters(); c++) {
		got = rdmsr(pmc_msr(c));
		__GUEST_ASSERT(got == turn_value(c, rest),
			       "L%u after turn %lu, counter %u: %#lx, not %#lx",
			       level, turn, c, got, turn_value(c, rest));
		GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), got);
		if (!pmc_is_fixed(c))
			GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(c)), turn_selector(c, rest));
	}
	if (pmu.nr_fixed)
		GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_FIXED_CTR_CTRL), turn_fixed_ctrl(rest));
	if (pmu_has_metrics()) {
		GUEST_ASSERT_EQ(rdmsr(MSR_PERF_METRICS), turn_metrics(rest));
		GUEST_ASSERT_EQ(_rdpmc(INTEL_RDPMC_METRICS), turn_metrics(rest));
	}
	if (!pmu.global)
		return;

	got = rdmsr(pmu_global_ctrl_msr());
	__GUEST_ASSERT(got == turn_global_ctrl(global),
		       "L%u after turn %lu, GLOBAL_CTRL: %#lx, not %#lx",
		       level, turn, got, turn_global_ctrl(global));
}

static void guest_write_turn(uint64_t turn)
{
	int c;

	if (turn_writes_rest(turn)) {
		for (c = 0; c < pmu_nr_counters(); c++) {
			wrmsr(pmc_msr(c), turn_value(c, turn));
			if (!pmc_is_fixed(c))
				wrmsr(pmc_selector_msr(c), turn_selector(c, turn));
		}
		if (pmu.nr_fixed)
			wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, turn_fixed_ctrl(turn));
		if (pmu_has_metrics())
			wrmsr(MSR_PERF_METRICS, turn_metrics(turn));
	}
	if (pmu.global && turn_writes_global(turn))
		wrmsr(pmu_global_ctrl_msr(), turn_global_ctrl(turn));
}

static uint64_t now;

/* Some turns are the VMM's: it is called from L1 and from L2. */
#define VMM_TURN	5

static void guest_take_turn(int level)
{
	guest_check_turn(level, now++);
	guest_write_turn(now);
	guest_check_turn(level, now);
	if (now % VMM_TURN == level) {
		now++;
		GUEST_SYNC(now);
	}
}

static void l2_turns(void)
{
	for (;;) {
		guest_take_turn(2);
		l2_exit();
	}
}

static void l1_turns(void)
{
	int i;

	l1_setup(l2_turns);
	guest_pmu_reset();
	now = 0;
	guest_write_turn(now);
	for (i = 0; i < 50; i++) {
		/* Sometimes L2 has two turns in a row. */
		if (i % 7 != 3)
			guest_take_turn(1);
		l1_run_to_call();
	}
	guest_check_turn(1, now);
	GUEST_DONE();
}

/*
 * KVM may take an idle PMU away from L1 just when it enters L2.  What L2 then reads
 * with RDPMC has to be the guest's values still.
 */
static uint64_t idle_value(int c)
{
	return 0x1234500 + c;
}

static void l2_idle(void)
{
	int c;

	for (;;) {
		for (c = 0; c < pmu_nr_counters(); c++)
			GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), idle_value(c));
		l2_exit();
	}
}

/* Exits that have nothing to do with the PMU. */
static void guest_idle(int exits)
{
	uint32_t eax, ebx, ecx, edx;

	while (exits--)
		cpuid(0, &eax, &ebx, &ecx, &edx);
}

static void l1_idle(void)
{
	int exits, c;

	l1_setup(l2_idle);
	guest_pmu_reset();
	for (c = 0; c < pmu_nr_counters(); c++)
		wrmsr(pmc_msr(c), idle_value(c));

	/* It takes 256 VM-entries, some of which are those of VMREAD and VMWRITE; or 3. */
	for (exits = 0; exits < 260; exits = exits == 6 ? 236 : exits + 1) {
		guest_idle(300);
		l1_run_to_call();

		/* The write makes the PMU be loaded again. */
		wrmsr(pmc_selector_msr(0), 0);
		guest_idle(exits);
		l1_run_to_call();
	}
	GUEST_DONE();
}

TEST(idle_in_l1_until_l2_runs)
{
	run_nested(l1_idle, 0);
}

static void vmm_check_turn(struct kvm_vcpu *vcpu, uint64_t turn)
{
	uint64_t rest = turn_last(turn, turn_writes_rest);
	int c;

	for (c = 0; c < pmu_nr_counters(); c++) {
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmc_msr(c)), turn_value(c, rest));
		if (!pmc_is_fixed(c))
			TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmc_selector_msr(c)),
				       turn_selector(c, rest));
	}
	if (pmu.nr_fixed)
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL),
			       turn_fixed_ctrl(rest));
	if (pmu_has_metrics())
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_PERF_METRICS), turn_metrics(rest));
	if (pmu.global)
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmu_global_ctrl_msr()),
			       turn_global_ctrl(turn_last(turn, turn_writes_global)));
}

static void vmm_write_turn(struct kvm_vcpu *vcpu, uint64_t turn)
{
	int c;

	if (turn_writes_rest(turn)) {
		for (c = 0; c < pmu_nr_counters(); c++) {
			vcpu_set_msr(vcpu, pmc_msr(c), turn_value(c, turn));
			if (!pmc_is_fixed(c))
				vcpu_set_msr(vcpu, pmc_selector_msr(c), turn_selector(c, turn));
		}
		if (pmu.nr_fixed)
			vcpu_set_msr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL, turn_fixed_ctrl(turn));
		if (pmu_has_metrics())
			vcpu_set_msr(vcpu, MSR_PERF_METRICS, turn_metrics(turn));
	}
	if (pmu.global && turn_writes_global(turn))
		vcpu_set_msr(vcpu, pmu_global_ctrl_msr(), turn_global_ctrl(turn));
}

TEST(values_carry_over)
{
	struct kvm_vcpu *vcpu;
	int nr_vmm_turns = 0;
	struct kvm_vm *vm;
	uint64_t stage;

	vm = nested_vm_create(&vcpu, l1_turns);
	while ((stage = pmu_run(vcpu)) != -1ull) {
		vmm_check_turn(vcpu, stage - 1);
		vmm_write_turn(vcpu, stage);
		vmm_check_turn(vcpu, stage);
		nr_vmm_turns++;
	}
	TEST_ASSERT(nr_vmm_turns > 10, "The VMM had %d turns only", nr_vmm_turns);
	kvm_vm_free(vm);
}

/* An L2 of known length; VMCALL and VMMCALL do not retire. */
#define KNOWN_LOOPS	33

#define L2_KNOWN							\
	"1: mov $" __stringify(KNOWN_LOOPS) ", %ecx\n\t"		\
	"2: nop\n\t nop\n\t"						\
	"dec %ecx\n\t"							\
	"jnz 2b\n\t"

static void __attribute__((naked)) l2_known_vmx(void)
{
	asm(L2_KNOWN "vmcall\n\t jmp 1b\n\t");
}

static void __attribute__((naked)) l2_known_svm(void)
{
	asm(L2_KNOWN "vmmcall\n\t jmp 1b\n\t");
}

/* All rounds but the first begin with the JMP. */
static uint64_t l2_known_insns(int round)
{
	return 1 + 4 * KNOWN_LOOPS + !!round;
}

/* VMX can load GLOBAL_CTRL with VM-entry and VM-exit. */
static uint64_t entry_global_ctrl;
static uint64_t exit_global_ctrl;

static void l1_setup_load_controls(void *l2_code, bool entry, bool exit)
{
	l1_setup(l2_code);

	entry_global_ctrl = pmc_global_bit(0);
	if (pmu.nr_fixed)
		entry_global_ctrl |= pmc_global_bit(pmu.nr_gp);
	exit_global_ctrl = pmc_global_bit(2);

	GUEST_ASSERT(rdmsr(MSR_IA32_VMX_ENTRY_CTLS) >> 32 & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
	GUEST_ASSERT(rdmsr(MSR_IA32_VMX_EXIT_CTLS) >> 32 & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL);

	if (entry)
		vmwrite(VM_ENTRY_CONTROLS, vmreadz(VM_ENTRY_CONTROLS) |
					   VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
	if (exit)
		vmwrite(VM_EXIT_CONTROLS, vmreadz(VM_EXIT_CONTROLS) |
					  VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL);
	vmwrite(GUEST_IA32_PERF_GLOBAL_CTRL, entry_global_ctrl);
	vmwrite(HOST_IA32_PERF_GLOBAL_CTRL, exit_global_ctrl);
}

/*
 * A PMU in which no counter is enabled is not loaded, even if each VM-entry of L2 and
 * each VM-exit to L1 loads GLOBAL_CTRL.
 */
#define IDLE_ROUNDS	20

static void l2_counts_nothing(void)
{
	for (;;)
		l2_exit();
}

static void l1_counts_nothing(void)
{
	uint64_t idle = pmu.intel ? 0 : AMD64_EVENTSEL_GUESTONLY | ARCH_PERFMON_EVENTSEL_OS;
	int i, times;

	guest_pmu_reset();
	if (pmu.intel)
		l1_setup_load_controls(l2_counts_nothing, true, true);
	else
		l1_setup(l2_counts_nothing);

	for (times = 0; times < 2; times++) {
		wrmsr(pmc_selector_msr(0), SELECT_NOTHING);
		GUEST_SYNC(0);
		for (i = 0; i < IDLE_ROUNDS; i++) {
			l1_run_to_call();
			GUEST_SYNC(1);
		}

		wrmsr(pmc_selector_msr(0), idle);
		/* The idle PMU is kept for 256 VM-entries. */
		for (i = 0; i < 300; i++)
			l1_run_to_call();
		GUEST_SYNC(2);
		for (i = 0; i < IDLE_ROUNDS; i++) {
			l1_run_to_call();
			GUEST_SYNC(3);
		}
	}
	GUEST_DONE();
}

TEST(idle_is_not_loaded_by_nested_entries)
{
	struct kvm_vcpu *vcpu;
	uint64_t loads;
	struct kvm_vm *vm;
	int i, times;

	if (!pmu.mediated)
		SKIP(return, "PMUs are not mediated");

	vm = nested_vm_create(&vcpu, l1_counts_nothing);
	for (times = 0; times < 2; times++) {
		/* In use: loaded again after each exit to user space. */
		TEST_ASSERT_EQ(pmu_run(vcpu), 0);
		loads = vcpu_stat(vcpu, "pmu_loads");
		for (i = 0; i < IDLE_ROUNDS; i++)
			TEST_ASSERT_EQ(pmu_run(vcpu), 1);
		loads = vcpu_stat(vcpu, "pmu_loads") - loads;
		TEST_ASSERT(loads >= IDLE_ROUNDS, "%lu loads in %u rounds", loads, IDLE_ROUNDS);

		TEST_ASSERT_EQ(pmu_run(vcpu), 2);
		loads = vcpu_stat(vcpu, "pmu_loads");
		for (i = 0; i < IDLE_ROUNDS; i++)
			TEST_ASSERT_EQ(pmu_run(vcpu), 3);
		loads = vcpu_stat(vcpu, "pmu_loads") - loads;
		TEST_ASSERT(!loads, "%lu loads in %u rounds, of an idle PMU", loads, IDLE_ROUNDS);
	}
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

/* L1 and L2 write GLOBAL_CTRL as they like, and lose it. */
static uint64_t l2_wants, l2_leaves;

static void l2_load_controls(void)
{
	for (;;) {
		GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), l2_wants);
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, l2_leaves);
		GUEST_SYNC(l2_leaves);
		GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), l2_leaves);
		l2_exit();
	}
}

static void l1_try_load_controls(bool entry, bool exit)
{
	uint64_t l1_leaves, l1_wants;
	int i;

	guest_pmu_reset();
	l1_setup_load_controls(l2_load_controls, entry, exit);
	for (i = 0; i < 13; i++) {
		l1_leaves = turn_global_ctrl(i);
		l2_leaves = turn_global_ctrl(i / 2 + 5);
		l2_wants = entry ? entry_global_ctrl : l1_leaves;
		l1_wants = exit ? exit_global_ctrl : l2_leaves;
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, l1_leaves);
		l1_run_to_call();
		GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), l1_wants);
	}
}

static void l1_load_controls(void)
{
	uint64_t reason;
	int i;

	l1_try_load_controls(true, true);
	l1_try_load_controls(true, false);
	l1_try_load_controls(false, true);
	l1_try_load_controls(false, false);

	/* Enabled by VM-entry and disabled by VM-exit: all that is L2, and only that. */
	guest_pmu_reset();
	l1_setup_load_controls(l2_known_vmx, true, true);
	wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
	wrmsr(pmc_selector_msr(1), pmu_instructions() | SELECT_OS);
	if (pmu.nr_fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL));
	for (i = 0; i < 5; i++) {
		wrmsr(pmc_msr(0), 0);
		if (pmu.nr_fixed)
			wrmsr(pmc_msr(pmu.nr_gp), 0);
		l1_run_to_call();
		guest_check_insns(2, PLAIN, 0, l2_known_insns(i));
		guest_check_insns(2, PLAIN, 1, 0);
		if (pmu.nr_fixed)
			guest_check_insns(2, PLAIN, pmu.nr_gp, l2_known_insns(i));
	}

	/* A reserved bit fails the entry; such an entry loads the exit's value. */
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
	vmwrite(GUEST_IA32_PERF_GLOBAL_CTRL, entry_global_ctrl | BIT_ULL(63));
	reason = l1_run();
	GUEST_ASSERT_EQ(reason, EXIT_REASON_FAILED_VMENTRY | EXIT_REASON_INVALID_STATE);
	GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), exit_global_ctrl);

	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
	vmwrite(GUEST_IA32_PERF_GLOBAL_CTRL, entry_global_ctrl);
	vmwrite(HOST_IA32_PERF_GLOBAL_CTRL, BIT_ULL(63));
	GUEST_ASSERT(!l1_vmx_enter());
	GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), 0);
	GUEST_DONE();
}

TEST(global_ctrl_load_controls)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t stage;

	if (!pmu.intel)
		SKIP(return, "SVM does not load GLOBAL_CTL");

	vm = nested_vm_create(&vcpu, l1_load_controls);
	while ((stage = pmu_run(vcpu)) != -1ull)
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_CORE_PERF_GLOBAL_CTRL), stage);
	kvm_vm_free(vm);
}

/* What L1 intercepts exits to L1, and does nothing before. */

static void l1_intercept_msr(uint32_t msr)
{
	uint32_t index, base;

	if (pmu.intel) {
		/* Reads, of MSRs below 0x2000 and from 0xc0000000 on; writes of these. */
		base = msr >= 0xc0000000 ? 1024 : 0;
		index = msr & 0x1fff;
		l1.msr_bitmap[base + index / 8] |= 1 << index % 8;
		l1.msr_bitmap[2048 + base + index / 8] |= 1 << index % 8;
		return;
	}

	/* Two bits each. */
	base = msr >= 0xc0010000 ? 4096 : msr >= 0xc0000000 ? 2048 : 0;
	index = (msr & 0x1fff) * 2;
	l1.msr_bitmap[base + index / 8] |= 3 << index % 8;
}

static struct {
	uint32_t msr[4 * MAX_COUNTERS];
	int nr_msrs;
	bool rdpmc;
	/* What L2 does now, with @msr[i]. */
	enum l2_exit what;
	int i;
} intercepted;

static void add_intercepted(uint32_t msr)
{
	if (msr)
		intercepted.msr[intercepted.nr_msrs++] = msr;
}

static void l2_intercepted(void)
{
	int c;

	for (intercepted.i = 0; intercepted.i < intercepted.nr_msrs; intercepted.i++) {
		WRITE_ONCE(intercepted.what, L2_RDMSR);
		rdmsr(intercepted.msr[intercepted.i]);
		WRITE_ONCE(intercepted.what, L2_WRMSR);
		wrmsr(intercepted.msr[intercepted.i], 0);
	}
	if (intercepted.rdpmc) {
		WRITE_ONCE(intercepted.what, L2_RDPMC);
		for (c = 0; c < pmu_nr_counters(); c++)
			_rdpmc(pmc_rdpmc_index(c));
	}

	/* None of these does. */
	WRITE_ONCE(intercepted.what, L2_CALL);
	if (intercepted.nr_msrs < MAX_COUNTERS) {
		GUEST_ASSERT_EQ(rdmsr(pmc_msr(0)), turn_value(0, 12));
		GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(0)), turn_selector(0, 12));
		GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(1)), turn_selector(1, 12));
		wrmsr(pmc_msr(0), turn_value(0, 12));
		wrmsr(pmc_selector_msr(0), turn_selector(0, 12));
	}
	if (!intercepted.rdpmc)
		GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(1)), turn_value(1, 12));
	l2_exit();
}

static void l1_intercepts(bool all)
{
	int exits = 0, c, i;
	uint64_t reason;

	l1_setup(l2_intercepted);
	memset(&intercepted, 0, sizeof(intercepted));
	guest_pmu_reset();
	guest_write_turn(12);

	if (all) {
		for (c = 0; c < pmu_nr_counters(); c++) {
			add_intercepted(pmc_msr(c));
			add_intercepted(pmc_alias_msr(c));
			if (!pmc_is_fixed(c))
				add_intercepted(pmc_selector_msr(c));
		}
		if (pmu.nr_fixed)
			add_intercepted(MSR_CORE_PERF_FIXED_CTR_CTRL);
		if (pmu_has_metrics())
			add_intercepted(MSR_PERF_METRICS);
		intercepted.rdpmc = true;
		memset(l1.msr_bitmap, 0xff, MSR_BITMAP_SIZE);
	} else {
		add_intercepted(pmc_msr(1));
	}
	if (pmu.global) {
		add_intercepted(pmu_global_ctrl_msr());
		add_intercepted(pmu_global_status_msr());
		add_intercepted(pmu_global_clear_msr());
	}
	for (i = 0; i < intercepted.nr_msrs; i++)
		l1_intercept_msr(intercepted.msr[i]);

	if (intercepted.rdpmc && pmu.intel)
		vmwrite(CPU_BASED_VM_EXEC_CONTROL,
			vmreadz(CPU_BASED_VM_EXEC_CONTROL) | CPU_BASED_RDPMC_EXITING);
	else if (intercepted.rdpmc)
		l1.svm->vmcb->control.intercept |= BIT_ULL(INTERCEPT_RDPMC);

	for (;; exits++) {
		reason = l1_run();
		__GUEST_ASSERT(reason == exit_reason(intercepted.what),
			       "L2's exit for access %u to MSR %#x: reason %#lx",
			       intercepted.what, intercepted.msr[intercepted.i], reason);
		if (intercepted.what == L2_CALL)
			break;
		if (reason == SVM_EXIT_MSR && !pmu.intel)
			GUEST_ASSERT_EQ(l1.svm->vmcb->control.exit_info_1,
					intercepted.what == L2_WRMSR);
		/* RCX */
		if (intercepted.what != L2_RDPMC && pmu.intel)
			GUEST_ASSERT_EQ(other_gprs[1], intercepted.msr[intercepted.i]);
		l1_skip_l2(2);
	}
	GUEST_ASSERT_EQ(exits, 2 * intercepted.nr_msrs +
			       (intercepted.rdpmc ? pmu_nr_counters() : 0));
	guest_check_turn(1, 12);
	GUEST_DONE();
}

TEST(l1_intercepts_hold)
{
	run_nested(l1_intercepts, true);
	run_nested(l1_intercepts, false);
}

/* The event filter */

static void guest_sync_deltas(int level)
{
	uint64_t insns = guest_running_delta(pmc_rdpmc_index(0), LOOPS);
	uint64_t branches = guest_running_delta(pmc_rdpmc_index(1), LOOPS);
	uint64_t fixed = 0;

	if (pmu.nr_fixed)
		fixed = guest_running_delta(pmc_rdpmc_index(pmu.nr_gp), LOOPS);
	GUEST_SYNC_ARGS(level, insns, branches, fixed, 0);
}

static void l2_filtered(void)
{
	int i;

	for (;;) {
		/* The filter changes while L2 is active. */
		for (i = 0; i < 3; i++)
			guest_sync_deltas(2);
		l2_exit();
	}
}

static void l1_filtered(void)
{
	l1_setup(l2_filtered);
	guest_start_filtered();
	for (;;) {
		guest_sync_deltas(1);
		l1_run_to_call();
	}
}

/* Returns the level that has counted. */
static int check_filtered(struct kvm_vcpu *vcpu, bool insns, bool branches, bool fixed)
{
	struct ucall uc;

	if (pmu_run(vcpu) == -1ull)
		TEST_FAIL("L1 is done");
	get_ucall(vcpu, &uc);
	TEST_ASSERT(pmu_counted_insns(uc.args[2], insns ? RUNNING_INSNS(LOOPS) : 0, LOOPS),
		    "L%lu, instructions: %lu", uc.args[1], uc.args[2]);
	TEST_ASSERT(pmu_counted_branches(uc.args[3], branches ? RUNNING_BRANCHES(LOOPS) : 0, LOOPS),
		    "L%lu, branches: %lu", uc.args[1], uc.args[3]);
	TEST_ASSERT(pmu_counted_insns(uc.args[4], fixed && pmu.nr_fixed ? RUNNING_INSNS(LOOPS) : 0,
				      LOOPS),
		    "L%lu, fixed counter 0: %lu", uc.args[1], uc.args[4]);
	return uc.args[1];
}

TEST(filter_holds_in_l2)
{
	int levels[3] = { };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i;

	vm = nested_vm_create(&vcpu, l1_filtered);
	/* Three filters, and four rounds of L1 and L2: each meets each. */
	for (i = 0; i < 8; i++) {
		levels[check_filtered(vcpu, true, true, true)]++;
		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, pmu_instructions(), BIT(0));
		levels[check_filtered(vcpu, false, true, false)]++;
		pmu_set_filter(vm, KVM_PMU_EVENT_ALLOW, pmu_instructions(), 0);
		levels[check_filtered(vcpu, true, false, false)]++;
		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, 0, 0);
	}
	TEST_ASSERT(levels[1] >= 6 && levels[2] >= 18, "%d rounds of L1, %d of L2",
		    levels[1], levels[2]);
	kvm_vm_free(vm);
}

/* The MSR filter */

static int denied_counter;

static void guest_check_denied(int level)
{
	int denied = READ_ONCE(denied_counter), c;
	uint64_t value;
	uint8_t vector;

	for (c = 0; c < pmu_nr_counters(); c++) {
		value = 0;
		vector = rdmsr_safe(pmc_msr(c), &value);
		__GUEST_ASSERT(vector == (c == denied ? GP_VECTOR : 0),
			       "L%u, counter %u is denied, RDMSR %u: vector %u",
			       level, denied, c, vector);
		if (!vector)
			GUEST_ASSERT_EQ(value, turn_value(c, 12));

		/* Writes and RDPMC are not. */
		vector = wrmsr_safe(pmc_msr(c), turn_value(c, 12));
		__GUEST_ASSERT(!vector, "L%u, counter %u is denied, WRMSR %u: vector %u",
			       level, denied, c, vector);
		GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), turn_value(c, 12));
	}
}

static void l2_msr_filter(void)
{
	int i;

	for (;;) {
		for (i = 0; i < 3; i++) {
			guest_check_denied(2);
			GUEST_SYNC(2);
		}
		l2_exit();
	}
}

static void l1_msr_filter(bool msr_bitmap)
{
	l1_setup(l2_msr_filter);
	if (!msr_bitmap)
		l1.svm->vmcb->control.intercept &= ~BIT_ULL(INTERCEPT_MSR_PROT);
	guest_pmu_reset();
	guest_write_turn(12);
	for (;;) {
		guest_check_denied(1);
		GUEST_SYNC(1);
		l1_run_to_call();
	}
}

static void deny_counter(struct kvm_vm *vm, int c)
{
	uint8_t none = 0;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
	};

	if (c >= 0)
		filter.ranges[0] = (struct kvm_msr_filter_range) {
			.flags = KVM_MSR_FILTER_READ,
			.base = pmc_msr(c),
			.nmsrs = 1,
			.bitmap = &none,
		};
	vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter);
	denied_counter = c;
	sync_global_to_guest(vm, denied_counter);
}

static void run_msr_filter(bool msr_bitmap)
{
	int levels[3] = { };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int c;

	vm = nested_vm_create(&vcpu, l1_msr_filter);
	vcpu_args_set(vcpu, 1, msr_bitmap);
	for (c = 0; c < pmu_nr_counters(); c++) {
		/* From one to the next, or with none in between. */
		if (c % 3 != 1) {
			deny_counter(vm, -1);
			levels[pmu_run(vcpu)]++;
		}
		deny_counter(vm, c);
		levels[pmu_run(vcpu)]++;
	}
	deny_counter(vm, -1);
	for (c = 0; c < 4; c++)
		levels[pmu_run(vcpu)]++;
	TEST_ASSERT(levels[1] && levels[2], "%d rounds of L1, %d of L2", levels[1], levels[2]);
	kvm_vm_free(vm);
}

TEST(msr_filter_while_l2_runs)
{
	run_msr_filter(true);
	if (!pmu.intel)
		run_msr_filter(false);
}

/* Save and restore while L2 is active and its counters count. */

#define SAVE_LOOPS	4
/* A VM that is restored has to fault its memory in again. */
#define SAVE_EXITS	(SAVE_LOOPS * 50)

static void l2_saved(void)
{
	const uint64_t want = MEASURED_INSNS(BLOCK_IO_INSNS, SAVE_LOOPS);
	int c;

	for (;;) {
		guest_pmu_reset();
		if (!pmu.global) {
			GUEST_MEASURE(pmc_selector_msr(0), pmu_instructions() | SELECT_OS,
				      SAVE_LOOPS, BLOCK_IO);
			__guest_check_counter(2, IO, 0, 0, want, SAVE_LOOPS, SAVE_EXITS,
					      pmu.entry_insns);
			l2_exit();
			continue;
		}

		for (c = 0; c < nr_usable_gp(); c++) {
			wrmsr(pmc_msr(c), turn_value(c, 0));
			wrmsr(pmc_selector_msr(c), pmu_instructions() | SELECT_OS);
		}
		if (pmu.nr_fixed)
			wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL));
		/* All but counter 1. */
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask() & ~BIT_ULL(1),
			      SAVE_LOOPS, BLOCK_IO);
		for (c = 0; c < nr_usable_gp(); c++)
			__guest_check_counter(2, IO, c, turn_value(c, 0), c == 1 ? 0 : want,
					      SAVE_LOOPS, SAVE_EXITS, pmu.entry_insns);
		if (pmu.nr_fixed)
			__guest_check_counter(2, IO, pmu.nr_gp, 0, want, SAVE_LOOPS, SAVE_EXITS,
					      pmu.entry_insns);
		l2_exit();
	}
}

static void l1_saved(bool load_controls)
{
	const uint64_t want = MEASURED_INSNS(BLOCK_IO_INSNS, SAVE_LOOPS);

	if (load_controls)
		l1_setup_load_controls(l2_saved, true, true);
	else
		l1_setup(l2_saved);
	l1_run_to_call();

	/* It is still one PMU. */
	GUEST_ASSERT(__pmu_counted(rdmsr(pmc_msr(0)) - (pmu.global ? turn_value(0, 0) : 0),
				   want, SAVE_LOOPS, SAVE_EXITS, pmu.entry_insns));
	if (load_controls)
		GUEST_ASSERT_EQ(rdmsr(pmu_global_ctrl_msr()), exit_global_ctrl);
	GUEST_DONE();
}

static struct kvm_vcpu *save_and_restore(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	struct kvm_x86_state *state = vcpu_save_state(vcpu);
	uint64_t counter[MAX_COUNTERS], selector[MAX_COUNTERS];
	uint64_t global = 0, fixed_ctrl = 0, metrics = 0;
	int c;

	TEST_ASSERT(state->nested.flags & KVM_STATE_NESTED_GUEST_MODE, "L2 is not active");
	for (c = 0; c < pmu_nr_counters(); c++) {
		counter[c] = vcpu_get_msr(vcpu, pmc_msr(c));
		if (!pmc_is_fixed(c))
			selector[c] = vcpu_get_msr(vcpu, pmc_selector_msr(c));
	}
	if (pmu.global)
		global = vcpu_get_msr(vcpu, pmu_global_ctrl_msr());
	if (pmu.nr_fixed)
		fixed_ctrl = vcpu_get_msr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL);
	if (pmu_has_metrics())
		metrics = vcpu_get_msr(vcpu, MSR_PERF_METRICS);

	kvm_vm_release(vm);
	vcpu = vm_recreate_with_one_vcpu(vm);
	vcpu_load_state(vcpu, state);
	kvm_x86_state_cleanup(state);

	for (c = 0; c < pmu_nr_counters(); c++) {
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmc_msr(c)), counter[c]);
		if (!pmc_is_fixed(c))
			TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmc_selector_msr(c)), selector[c]);
	}
	if (pmu.global)
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmu_global_ctrl_msr()), global);
	if (pmu.nr_fixed)
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL), fixed_ctrl);
	if (pmu_has_metrics())
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_PERF_METRICS), metrics);
	return vcpu;
}

static void run_saved(bool load_controls)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct ucall uc;
	int i;

	vm = nested_vm_create(&vcpu, l1_saved);
	vcpu_args_set(vcpu, 1, load_controls);
	for (i = 0;; i++) {
		vcpu_run(vcpu);
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
		if (vcpu->run->io.port != IO_PORT)
			break;
		vcpu = save_and_restore(vm, vcpu);
	}
	TEST_ASSERT_EQ(i, SAVE_LOOPS);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("Unexpected ucall %lu", uc.cmd);
	}
	kvm_vm_free(vm);
}

TEST(state_saved_in_l2)
{
	run_saved(false);
}

/*
 * VM-entry has loaded GLOBAL_CTRL, L2 has changed it since: to restore an L2 that
 * is active is no VM-entry.
 */
TEST(state_saved_in_l2_after_load)
{
	if (!pmu.intel)
		SKIP(return, "SVM does not load GLOBAL_CTL");

	run_saved(true);
}

/* AMD: a selector may confine its counter to L1 or L2. */

enum { NO_MODE, BOTH_MODES, GUEST_ONLY, HOST_ONLY, NR_MODES };

static void guest_check_modes(uint64_t l1_insns, uint64_t l2_insns, uint64_t exits)
{
	uint64_t count[NR_MODES], sum;
	int c;

	for (c = 0; c < NR_MODES; c++)
		count[c] = rdmsr(pmc_msr(c));
	__GUEST_ASSERT(pmu_counted_insns(count[GUEST_ONLY], l2_insns, exits),
		       "GuestOnly: %lu, wanted %lu", count[GUEST_ONLY], l2_insns);
	__GUEST_ASSERT(pmu_counted_insns(count[HOST_ONLY], l1_insns, exits),
		       "HostOnly: %lu, wanted %lu", count[HOST_ONLY], l1_insns);
	sum = count[GUEST_ONLY] + count[HOST_ONLY];
	__GUEST_ASSERT(count[NO_MODE] == sum, "No bit: %lu, wanted %lu", count[NO_MODE], sum);
	__GUEST_ASSERT(count[BOTH_MODES] == sum, "Both bits: %lu, wanted %lu",
		       count[BOTH_MODES], sum);
}

static void guest_setup_modes(void)
{
	const uint64_t select = pmu_instructions() | SELECT_OS;

	guest_pmu_reset();
	wrmsr(pmc_selector_msr(NO_MODE), select);
	wrmsr(pmc_selector_msr(BOTH_MODES), select | AMD64_EVENTSEL_GUESTONLY |
					    AMD64_EVENTSEL_HOSTONLY);
	wrmsr(pmc_selector_msr(GUEST_ONLY), select | AMD64_EVENTSEL_GUESTONLY);
	wrmsr(pmc_selector_msr(HOST_ONLY), select | AMD64_EVENTSEL_HOSTONLY);

	GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(GUEST_ONLY)), select | AMD64_EVENTSEL_GUESTONLY);
	GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(HOST_ONLY)), select | AMD64_EVENTSEL_HOSTONLY);
}

/* L2 enables and disables the counters itself, and has emulated instructions. */
static void l2_modes(void)
{
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_PLAIN);
	guest_check_modes(0, block_insns(PLAIN), block_exits(PLAIN));
	l2_exit();
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_RDMSR);
	guest_check_modes(0, block_insns(RDMSR), block_exits(RDMSR));
	l2_exit();
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_IO);
	guest_check_modes(0, block_insns(IO), block_exits(IO));
	l2_exit();
	GUEST_FAIL("No more");
}

static void l1_modes(void)
{
	uint64_t efer, l1_insns = 0, count, vmrun;
	int i, c;

	l1_setup(l2_modes);
	for (i = 0; i < 3; i++) {
		guest_setup_modes();
		l1_run_to_call();
	}

	/* L1 alone, with SVM enabled. */
	guest_setup_modes();
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_PLAIN);
	guest_check_modes(block_insns(PLAIN), 0, block_exits(PLAIN));
	guest_setup_modes();
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_RDMSR);
	guest_check_modes(block_insns(RDMSR), 0, block_exits(RDMSR));

	/*
	 * Enabled all the time while L1 runs L2: that takes L1 as many instructions
	 * each time.  VMRUN is one of them, or is counted as L2's first.
	 */
	l1_setup(l2_known_svm);
	for (i = 0; i < 5; i++) {
		guest_setup_modes();
		wrmsr(pmu_global_ctrl_msr(), pmu_global_mask());
		run_guest(l1.svm->vmcb, l1.svm->vmcb_gpa);
		wrmsr(pmu_global_ctrl_msr(), 0);

		GUEST_ASSERT_EQ(l1.svm->vmcb->control.exit_code, SVM_EXIT_VMMCALL);
		l1_skip_l2(3);
		vmrun = rdmsr(pmc_msr(GUEST_ONLY)) - l2_known_insns(i);
		__GUEST_ASSERT(vmrun <= 1 + SPARE_ENTRIES * pmu.entry_insns,
			       "Round %u, GuestOnly: %lu, wanted %lu, or one more",
			       i, rdmsr(pmc_msr(GUEST_ONLY)), l2_known_insns(i));
		count = rdmsr(pmc_msr(HOST_ONLY));
		if (!i)
			l1_insns = count + vmrun;
		__GUEST_ASSERT(count && pmu_same_insns(count + vmrun, l1_insns),
			       "Round %u, HostOnly: %lu, and %lu for VMRUN, the first time %lu",
			       i, count, vmrun, l1_insns);
		guest_check_modes(count, l2_known_insns(i) + vmrun, 0);
	}

	/* Without SVM the two bits stop a counter. */
	efer = rdmsr(MSR_EFER);
	for (i = 0; i < 2; i++) {
		guest_setup_modes();
		wrmsr(MSR_EFER, efer & ~EFER_SVME);
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_RDMSR);
		GUEST_ASSERT(pmu_counted_insns(rdmsr(pmc_msr(NO_MODE)), block_insns(RDMSR),
					       block_exits(RDMSR)));
		for (c = NO_MODE + 1; c < NR_MODES; c++)
			GUEST_ASSERT_EQ(rdmsr(pmc_msr(c)), 0);

		wrmsr(MSR_EFER, efer);
		wrmsr(pmc_msr(NO_MODE), 0);
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_PLAIN);
		guest_check_modes(block_insns(PLAIN), 0, block_exits(PLAIN));
	}
	GUEST_DONE();
}

/*
 * Without SVM in its CPUID a guest does not have the bits.  Where selectors are direct it
 * can set them, and HostOnly stops a counter.
 */
static void guest_no_modes(void)
{
	const uint64_t select = pmu_instructions() | SELECT_OS;

	guest_pmu_reset();
	wrmsr(pmc_selector_msr(0), select | AMD64_EVENTSEL_GUESTONLY);
	wrmsr(pmc_selector_msr(1), select | AMD64_EVENTSEL_HOSTONLY);
	if (pmu.direct_selectors)
		wrmsr(pmc_selector_msr(1), select);
	else
		GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(0)), select);
	GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(1)), select);
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_RDMSR);
	guest_check_insns(1, RDMSR, 0, block_insns(RDMSR));
	guest_check_insns(1, RDMSR, 1, block_insns(RDMSR));
	GUEST_DONE();
}

TEST(host_guest_only)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	if (pmu.intel || !pmu.mediated)
		SKIP(return, "HostOnly and GuestOnly are of AMD's mediated PMU");

	run_nested(l1_modes, 0);

	vm = pmu_vm_create(&vcpu, guest_no_modes);
	vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_SVM);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

/* PMIs while L2 runs */

#define V_NMI_ENABLE		BIT(26)
#define X86_FEATURE_VNMI	KVM_X86_CPU_FEATURE(0x8000000A, 0, EDX, 25)

static struct {
	bool nmi;
	bool intercepted;
	/* AMD: L1 has virtual NMIs on for L2. */
	bool vnmi;
	uint64_t count;
	uint64_t exits;
	uint64_t status;
	uint64_t nth;
	uint64_t counter;
	int c;
} pmi;

#define PLAIN_INSNS	MEASURED_INSNS(BLOCK_PLAIN_INSNS, LOOPS)

static void guest_set_lvtpc(void)
{
	x2apic_write_reg(APIC_LVTPC, pmi.nmi ? APIC_DM_NMI : PMI_VECTOR);
}

static void guest_pmi_handler(struct ex_regs *regs)
{
	GUEST_ASSERT_EQ(regs->vector, pmi.nmi ? NMI_VECTOR : PMI_VECTOR);
	pmi.count++;
	pmi.status |= rdmsr(pmu_global_status_msr());
	wrmsr(pmu_global_clear_msr(), pmi.status);
	guest_set_lvtpc();
	if (!pmi.nmi)
		x2apic_write_reg(APIC_EOI, 0);
}

/* A PMI that is late comes with an exit to L0, or after a while. */
static void guest_wait(void)
{
	int i;

	for (i = 0; i < 1000; i++)
		asm volatile("pause" ::: "memory");
	rdmsr(MSR_IA32_APICBASE);
	asm volatile("nop\n\t nop" ::: "memory");
}

static void l2_overflow(void)
{
	int i;

	asm volatile("sti");
	for (;;) {
		guest_pmu_reset();
		if (pmc_is_fixed(pmi.c))
			wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL,
			      FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL | FIXED_PMC_ENABLE_PMI));
		else
			wrmsr(pmc_selector_msr(pmi.c), pmu_instructions() | SELECT_OS_PMI);
		wrmsr(pmc_msr(pmi.c), -pmi.nth & COUNTER_MASK);
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmc_global_bit(pmi.c), LOOPS, BLOCK_PLAIN);
		for (i = 0; i < 1000; i++)
			asm volatile("pause" ::: "memory");
		/* An exit to L0, for a PMI that comes with it. */
		rdmsr(MSR_IA32_APICBASE);
		pmi.counter = rdmsr(pmc_msr(pmi.c));
		l2_exit();
	}
}

/* L1 takes what made L2 exit; what comes of it is seen in the handler. */
static void l1_take_pmi(void)
{
	pmi.exits++;
	if (!pmu.intel)
		stgi();
	if (!pmi.nmi)
		asm volatile("sti; nop; nop; cli");
	/* The VM-exit has acknowledged it, what is left to do is the handler's. */
	else if (pmu.intel)
		asm volatile("int $" __stringify(NMI_VECTOR));
}

static void l1_overflow(void)
{
	struct svm_test_data *svm = l1.svm;
	uint64_t reason, handler;
	int c, i;

	x2apic_enable();
	guest_set_lvtpc();
	/* Of l1_take_pmi(); once before it is counted, see mediated_pmu_test.c. */
	if (pmi.nmi && pmu.intel)
		asm volatile("int $" __stringify(NMI_VECTOR));

	l1_setup(l2_overflow);
	if (pmi.intercepted && pmu.intel)
		vmwrite(PIN_BASED_VM_EXEC_CONTROL, vmreadz(PIN_BASED_VM_EXEC_CONTROL) |
			(pmi.nmi ? PIN_BASED_NMI_EXITING : PIN_BASED_EXT_INTR_MASK));
	else if (pmi.intercepted)
		svm->vmcb->control.intercept |=
			BIT_ULL(pmi.nmi ? INTERCEPT_NMI : INTERCEPT_INTR);
	if (pmi.vnmi)
		svm->vmcb->control.int_ctl |= V_NMI_ENABLE;

	for (c = 0; c <= pmu.nr_gp && c < pmu_nr_counters(); c++) {
		if (c && !pmc_is_fixed(c))
			continue;
		handler = 0;
		for (i = 0; i < 12; i++) {
			pmi.c = c;
			/* Not with the last two: it may come when all is over. */
			pmi.nth = i ? 1 + 7 * i : 1;
			pmi.count = 0;
			pmi.exits = 0;
			pmi.status = 0;

			for (;;) {
				reason = l1_run();
				if (reason == exit_reason(L2_CALL))
					break;
				__GUEST_ASSERT(reason == exit_reason(pmi.nmi ? L2_NMI : L2_INTR) &&
					       pmi.intercepted,
					       "L2 exits with reason %#lx", reason);
				l1_take_pmi();
			}
			l1_skip_l2(3);
			if (!pmu.intel)
				stgi();
			asm volatile("sti; nop; nop; cli");

			__GUEST_ASSERT(pmi.count == 1 && pmi.exits == pmi.intercepted &&
				       pmi.status == pmc_global_bit(c),
				       "Counter %u, instruction %lu: %lu PMIs, %lu exits, status %#lx",
				       c, pmi.nth, pmi.count, pmi.exits, pmi.status);

			/* What the handler or L1 adds while the counter is enabled. */
			if (!i)
				handler = pmi.counter - (PLAIN_INSNS - pmi.nth);
			__GUEST_ASSERT(pmu_same_insns(pmi.counter, PLAIN_INSNS - pmi.nth + handler),
				       "Counter %u, instruction %lu: %lu after it, wanted %lu + %lu",
				       c, pmi.nth, pmi.counter, PLAIN_INSNS - pmi.nth, handler);
		}
	}
	GUEST_DONE();
}

static void run_pmi_in(void *l1_code, bool nmi, bool intercepted, bool vnmi)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	pmi.nmi = nmi;
	pmi.intercepted = intercepted;
	pmi.vnmi = vnmi;
	vm = nested_vm_create(&vcpu, l1_code);
	vm_install_exception_handler(vm, PMI_VECTOR, guest_pmi_handler);
	vm_install_exception_handler(vm, NMI_VECTOR, guest_pmi_handler);
	sync_global_to_guest(vm, pmi);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

static void run_pmi(bool nmi, bool intercepted)
{
	run_pmi_in(l1_overflow, nmi, intercepted, false);
}

TEST(pmi_in_l2_to_l2)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(false, false);
	run_pmi(true, false);
}

TEST(pmi_in_l2_to_l1)
{
	if (!pmu.mediated)
		SKIP(return, NOT_EXACT);

	run_pmi(false, true);
	run_pmi(true, true);
	if (!pmu.intel && kvm_cpu_has(X86_FEATURE_VNMI))
		run_pmi_in(l1_overflow, true, true, true);
}

/* An overflow anywhere on the way from L1 to L2 and back is one NMI of L1, GIF or not. */
#define AROUND_INSNS	150

static void l2_calls(void)
{
	for (;;)
		l2_exit();
}

static void l1_overflow_around(void)
{
	uint64_t reason, count;

	x2apic_enable();
	guest_set_lvtpc();
	l1_setup(l2_calls);
	l1.svm->vmcb->control.intercept |= BIT_ULL(INTERCEPT_NMI);
	if (pmi.vnmi)
		l1.svm->vmcb->control.int_ctl |= V_NMI_ENABLE;

	for (pmi.nth = 1; pmi.nth <= AROUND_INSNS; pmi.nth++) {
		guest_pmu_reset();
		pmi.count = 0;
		pmi.status = 0;
		wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS_PMI);
		wrmsr(pmc_msr(0), -pmi.nth & COUNTER_MASK);
		wrmsr(pmu_global_ctrl_msr(), pmc_global_bit(0));
		for (;;) {
			/* What comes now waits, and L2 exits with it. */
			asm volatile("clgi");
			reason = l1_run();
			if (reason != exit_reason(L2_NMI))
				break;
			l1_take_pmi();
		}
		GUEST_ASSERT_EQ(reason, exit_reason(L2_CALL));
		l1_skip_l2(3);
		stgi();
		wrmsr(pmu_global_ctrl_msr(), 0);
		guest_wait();
		count = rdmsr(pmc_msr(0));
		__GUEST_ASSERT(pmi.count == (count <= COUNTER_MASK / 2),
			       "Instruction %lu: %lu PMIs, the counter is %#lx", pmi.nth, pmi.count,
			       count);
		GUEST_ASSERT_EQ(pmi.status, pmi.count ? pmc_global_bit(0) : 0);
	}
	/* The last ones are after it all. */
	GUEST_ASSERT(pmi.nth > AROUND_INSNS);
	GUEST_DONE();
}

TEST(nmi_around_l2)
{
	if (!pmu.mediated || pmu.intel)
		SKIP(return, "it is about NMIs that are of AMD's mediated PMU");

	run_pmi_in(l1_overflow_around, true, true, false);
	if (kvm_cpu_has(X86_FEATURE_VNMI))
		run_pmi_in(l1_overflow_around, true, true, true);
}

int main(int argc, char *argv[])
{
	pmu_detect();
	nested_require();

	return test_harness_run(argc, argv);
}
