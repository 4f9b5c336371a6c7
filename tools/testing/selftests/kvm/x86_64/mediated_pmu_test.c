// SPDX-License-Identifier: GPL-2.0
/*
 * Test what a guest sees of its PMU's counters: exact counts, values that stay
 * its own, no counter but its own, and the event filter.
 *
 * Most of that holds for a PMU emulated with perf events as well, so the test
 * is of use with enable_mediated_pmu=0 too.
 */
#include "mediated_pmu.h"

#define LOOPS		25

/* Counts of a block, as measured in the guest. */
struct counts {
	uint64_t insns;
	uint64_t branches;
};

/* Instructions that the handler of an interrupt adds. */
static uint64_t irq_handler_insns;

static void guest_irq_handler(struct ex_regs *regs)
{
	x2apic_write_reg(APIC_EOI, 0);
}

enum block { PLAIN, CPUID, RDMSR, IO, INT, ICR_HLT, NR_BLOCKS };

static void guest_measure(enum block block, uint32_t ctrl, uint64_t on, uint32_t loops)
{
	switch (block) {
	case PLAIN:
		GUEST_MEASURE(ctrl, on, loops, BLOCK_PLAIN);
		break;
	case CPUID:
		GUEST_MEASURE(ctrl, on, loops, BLOCK_CPUID);
		break;
	case RDMSR:
		GUEST_MEASURE(ctrl, on, loops, BLOCK_RDMSR);
		break;
	case IO:
		GUEST_MEASURE(ctrl, on, loops, BLOCK_IO);
		break;
	case INT:
		GUEST_MEASURE(ctrl, on, loops, BLOCK_INT);
		break;
	case ICR_HLT:
		GUEST_MEASURE(ctrl, on, loops, BLOCK_ICR_HLT);
		break;
	default:
		GUEST_FAIL("No such block");
	}
}

static struct counts block_counts(enum block block, uint32_t loops)
{
	static const uint8_t insns[] = {
		[PLAIN] = BLOCK_PLAIN_INSNS,
		[CPUID] = BLOCK_CPUID_INSNS,
		[RDMSR] = BLOCK_RDMSR_INSNS,
		[IO] = BLOCK_IO_INSNS,
		[INT] = BLOCK_INT_INSNS,
		[ICR_HLT] = BLOCK_ICR_HLT_INSNS,
	};
	uint64_t handler = block == INT || block == ICR_HLT ? irq_handler_insns : 0;

	return (struct counts) {
		.insns = MEASURED_INSNS(insns[block] + handler, loops),
		.branches = MEASURED_BRANCHES(0, loops),
	};
}

/* Exits of one round, at least and at most; those of the handler are the handler's. */
static bool block_counted(enum block block, uint32_t loops, uint64_t count,
			  uint64_t want, uint64_t each)
{
	static const uint8_t min[] = { [CPUID] = 1, [RDMSR] = 1, [IO] = 1, [ICR_HLT] = 0 };
	static const uint8_t max[] = { [CPUID] = 1, [RDMSR] = 1, [IO] = 1, [ICR_HLT] = 4 };

	return __pmu_counted(count, want, min[block] * loops, max[block] * loops, each);
}

static void __guest_check_counter(enum block block, uint32_t loops, int c,
				  uint64_t want, uint64_t each)
{
	uint64_t count = rdmsr(pmc_msr(c));

	__GUEST_ASSERT(block_counted(block, loops, count, want, each),
		       "block %u, counter %u: counted %lu, wanted %lu, and %lu for each VM-entry",
		       block, c, count, want, each);
	GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), count);
}

static void guest_check_insns(enum block block, uint32_t loops, int c, uint64_t want)
{
	__guest_check_counter(block, loops, c, want, pmu.entry_insns);
}

static void guest_check_branches(enum block block, uint32_t loops, int c, uint64_t want)
{
	__guest_check_counter(block, loops, c, want, pmu.entry_branches);
}

/*
 * Whether an interrupt itself is a branch depends on the CPU: do not compare the
 * branches of blocks with interrupts.
 */
static bool has_interrupts(enum block block)
{
	return block == INT || block == ICR_HLT;
}

/*
 * The NMI watchdog of the host may have a counter for itself, which a PMU that is
 * emulated with perf events then lacks.
 */
static int nr_usable_gp(void)
{
	return pmu.mediated || pmu.intel ? pmu.nr_gp : pmu.nr_gp - 1;
}

/* One counter at a time, enabled and disabled by its selector. */
static void guest_test_by_selector(enum block block, uint32_t loops)
{
	struct counts want = block_counts(block, loops);
	int c;

	for (c = 0; c < nr_usable_gp(); c++) {
		guest_pmu_reset();
		if (pmu.global)
			wrmsr(pmu_global_ctrl_msr(), pmc_global_bit(c));

		guest_measure(block, pmc_selector_msr(c),
			      pmu_instructions() | SELECT_OS, loops);
		guest_check_insns(block, loops, c, want.insns);

		if (!has_interrupts(block)) {
			wrmsr(pmc_msr(c), 0);
			guest_measure(block, pmc_selector_msr(c),
				      pmu_branches() | SELECT_OS, loops);
			guest_check_branches(block, loops, c, want.branches);
		}

		/* The guest never leaves ring 0. */
		wrmsr(pmc_msr(c), 0);
		guest_measure(block, pmc_selector_msr(c),
			      pmu_instructions() | SELECT_USR, loops);
		guest_check_insns(block, loops, c, 0);
	}
}

/* All counters at once, enabled and disabled by GLOBAL_CTRL. */
static void guest_test_by_global_ctrl(enum block block, uint32_t loops)
{
	const uint64_t odd = has_interrupts(block) ? pmu_instructions() : pmu_branches();
	struct counts want = block_counts(block, loops);
	int c;

	if (!pmu.global)
		return;
	guest_pmu_reset();
	for (c = 0; c < nr_usable_gp(); c++)
		wrmsr(pmc_selector_msr(c), SELECT_OS | (c & 1 ? odd : pmu_instructions()));
	if (pmu.nr_fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL));

	guest_measure(block, pmu_global_ctrl_msr(), pmu_global_mask(), loops);

	for (c = 0; c < nr_usable_gp(); c++) {
		if (c & 1 && !has_interrupts(block))
			guest_check_branches(block, loops, c, want.branches);
		else
			guest_check_insns(block, loops, c, want.insns);
	}
	if (pmu.nr_fixed)
		guest_check_insns(block, loops, pmu.nr_gp, want.insns);
	for (c = pmu.nr_gp + 1; c < pmu_nr_counters(); c++)
		guest_check_insns(block, loops, c, 0);
}

/* What does the handler of one interrupt add, with the exits that it makes? */
static void guest_calibrate_handler(void)
{
	uint64_t insns;

	guest_pmu_reset();
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), pmc_global_bit(0));

	/*
	 * Take each interrupt once before anything is measured: an INT n that
	 * KVM has to inject again, because the first touch of the IDT or of the
	 * handler exits, does not retire.
	 */
	guest_measure(ICR_HLT, pmc_selector_msr(0), 0, 1);
	guest_measure(INT, pmc_selector_msr(0), 0, 1);

	irq_handler_insns = 0;
	wrmsr(pmc_msr(0), 0);
	guest_measure(INT, pmc_selector_msr(0), pmu_instructions() | SELECT_OS, LOOPS);
	insns = rdmsr(pmc_msr(0)) - block_counts(INT, LOOPS).insns;
	irq_handler_insns = insns / LOOPS;
	GUEST_ASSERT(insns - irq_handler_insns * LOOPS <= SPARE_ENTRIES * pmu.entry_insns);

	/* It saves and restores 15 registers and ends with IRET, at least. */
	GUEST_ASSERT(irq_handler_insns > 30);
}

static void guest_accuracy(enum block block)
{
	x2apic_enable();
	guest_calibrate_handler();

	guest_test_by_selector(block, 1);
	guest_test_by_selector(block, LOOPS);
	guest_test_by_global_ctrl(block, 1);
	guest_test_by_global_ctrl(block, LOOPS);
	GUEST_DONE();
}

static void run_accuracy(enum block block)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = pmu_vm_create(&vcpu, guest_accuracy);
	vm_install_exception_handler(vm, IRQ_VECTOR, guest_irq_handler);
	vcpu_args_set(vcpu, 1, block);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

TEST(counts_without_exits)
{
	run_accuracy(PLAIN);
}

TEST(counts_emulated_cpuid_once)
{
	run_accuracy(CPUID);
}

TEST(counts_emulated_rdmsr_once)
{
	run_accuracy(RDMSR);
}

TEST(counts_userspace_exits_once)
{
	run_accuracy(IO);
}

TEST(counts_fastpath_icr_and_hlt_once)
{
	run_accuracy(INT);
	run_accuracy(ICR_HLT);
}

/*
 * Have perf use as many counters as there are, for the host alone, and let some
 * of them overflow often: none of that may be seen in the guest.
 */
struct canaries {
	int fd[2 * MAX_COUNTERS];
	int nr;
};

static void canaries_open(struct canaries *canaries)
{
	static const uint64_t config[] = {
		PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_INSTRUCTIONS,
		PERF_COUNT_HW_REF_CPU_CYCLES, PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
	};
	int i, fd;

	canaries->nr = 0;
	for (i = 0; i < 2 * MAX_COUNTERS; i++) {
		fd = __perf_open(config[i % ARRAY_SIZE(config)],
				 EVENT_EXCLUDE_GUEST | EVENT_PINNED,
				 i < 4 ? 20011 + i : 0, 0, -1);
		if (fd < 0 && (errno == ENOENT || errno == EINVAL || errno == EOPNOTSUPP))
			continue;
		TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd));
		canaries->fd[canaries->nr++] = fd;
	}
}

static void canaries_close(struct canaries *canaries)
{
	struct perf_value v;
	int i, counting = 0;

	for (i = 0; i < canaries->nr; i++) {
		/* Pinned: it has counted all the time, or is in an error state. */
		if (read(canaries->fd[i], &v, sizeof(v)) == sizeof(v)) {
			TEST_ASSERT(v.count && v.running == v.enabled,
				    "Host event %d: count %lu, enabled %lu, running %lu",
				    i, v.count, v.enabled, v.running);
			counting++;
		}
		close(canaries->fd[i]);
	}
	TEST_ASSERT(counting >= 4, "Only %d host events had a counter", counting);
}

TEST(counts_beside_host_events)
{
	struct canaries canaries;
	int i;

	if (!pmu.mediated)
		SKIP(return, "host events take counters away from an emulated PMU");

	canaries_open(&canaries);
	for (i = 0; i < NR_BLOCKS; i++)
		run_accuracy(i);
	canaries_close(&canaries);
}

/* Values */

static uint64_t value_of(int c, int salt)
{
	return (0x5a0000000000ull + c * 0x10101010101ull + salt * 0x3070503ull) & COUNTER_MASK;
}

static uint64_t metrics_of(int salt)
{
	return (uint32_t)(0x40302010 + salt * 0x1050703);
}

static uint64_t selector_of(int c, int salt)
{
	/* Everything but enable. */
	return RAW_EVENT((0xc0 + c), (salt + 3)) | ARCH_PERFMON_EVENTSEL_OS |
	       (c & 1 ? ARCH_PERFMON_EVENTSEL_USR : 0) |
	       (c & 2 ? ARCH_PERFMON_EVENTSEL_INT : 0) |
	       (c & 4 ? ARCH_PERFMON_EVENTSEL_EDGE : 0) |
	       (uint64_t)(c + 1) << 24;
}

static void guest_write_values(int salt)
{
	int c;

	for (c = 0; c < pmu_nr_counters(); c++) {
		/* Alternate between the names, where there are two. */
		if (!pmu.intel && (c + salt) & 1 && pmc_alias_msr(c))
			wrmsr(pmc_alias_msr(c), value_of(c, salt));
		else
			wrmsr(pmc_msr(c), value_of(c, salt));
		if (!pmc_is_fixed(c))
			wrmsr(pmc_selector_msr(c), selector_of(c, salt));
	}
	if (pmu_has_metrics())
		wrmsr(MSR_PERF_METRICS, metrics_of(salt));
	if (pmu.nr_fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(1, FIXED_PMC_USER) |
		      FIXED_PMC_CTRL(2, salt & 1 ? FIXED_PMC_ENABLE_PMI : 0));
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), 0);
}

static void guest_check_values(int salt)
{
	uint64_t want;
	int c;

	for (c = 0; c < pmu_nr_counters(); c++) {
		want = value_of(c, salt);
		GUEST_ASSERT_EQ(rdmsr(pmc_msr(c)), want);
		GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), want);
		if (pmc_alias_msr(c))
			GUEST_ASSERT_EQ(rdmsr(pmc_alias_msr(c)), want);
		if (!pmc_is_fixed(c))
			GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(c)), selector_of(c, salt));
	}
	if (pmu_has_metrics()) {
		GUEST_ASSERT_EQ(rdmsr(MSR_PERF_METRICS), metrics_of(salt));
		GUEST_ASSERT_EQ(_rdpmc(INTEL_RDPMC_METRICS), metrics_of(salt));
	}
	if (pmu.nr_fixed)
		GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_FIXED_CTR_CTRL),
				FIXED_PMC_CTRL(1, FIXED_PMC_USER) |
				FIXED_PMC_CTRL(2, salt & 1 ? FIXED_PMC_ENABLE_PMI : 0));
	if (pmu.global)
		GUEST_ASSERT_EQ(rdmsr(pmu_global_ctrl_msr()), 0);
}

static void guest_keep_values(int salt)
{
	int round;

	guest_pmu_reset();
	for (round = 0; round < 10; round++) {
		guest_write_values(salt + round);
		guest_check_values(salt + round);
		GUEST_SYNC(salt + round);
		guest_check_values(salt + round);
		/* The VMM writes these. */
		GUEST_SYNC(-2ull);
		guest_check_values(salt + round + 100);
	}
	GUEST_DONE();
}

static void check_values(struct kvm_vcpu *vcpu, int salt)
{
	int c;

	for (c = 0; c < pmu_nr_counters(); c++) {
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmc_msr(c)), value_of(c, salt));
		if (pmc_alias_msr(c))
			TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmc_alias_msr(c)), value_of(c, salt));
		if (!pmc_is_fixed(c))
			TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmc_selector_msr(c)),
				       selector_of(c, salt));
	}
	if (pmu_has_metrics())
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_PERF_METRICS), metrics_of(salt));
}

static void set_values(struct kvm_vcpu *vcpu, int salt)
{
	int c;

	/* For the VMM, the order is of no importance. */
	if (pmu_has_metrics())
		vcpu_set_msr(vcpu, MSR_PERF_METRICS, metrics_of(salt));
	for (c = 0; c < pmu_nr_counters(); c++) {
		vcpu_set_msr(vcpu, pmc_msr(c), value_of(c, salt));
		if (!pmc_is_fixed(c))
			vcpu_set_msr(vcpu, pmc_selector_msr(c), selector_of(c, salt));
	}
	if (pmu.nr_fixed)
		vcpu_set_msr(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL,
			     FIXED_PMC_CTRL(1, FIXED_PMC_USER) |
			     FIXED_PMC_CTRL(2, salt & 1 ? FIXED_PMC_ENABLE_PMI : 0));
}

static bool keep_values_step(struct kvm_vcpu *vcpu, int *salt)
{
	uint64_t stage = pmu_run(vcpu);

	if (stage == -1ull)
		return false;
	if (stage == -2ull) {
		set_values(vcpu, *salt + 100);
		check_values(vcpu, *salt + 100);
	} else {
		*salt = stage;
		check_values(vcpu, *salt);
	}
	return true;
}

TEST(values_survive_exits)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int salt = 0;

	vm = pmu_vm_create(&vcpu, guest_keep_values);
	vcpu_args_set(vcpu, 1, 7);
	while (keep_values_step(vcpu, &salt))
		;
	kvm_vm_free(vm);
}

/* To another VM, as if it were on another host. */
TEST(values_survive_migration)
{
	struct kvm_x86_state *state;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int salt = 0;

	vm = pmu_vm_create(&vcpu, guest_keep_values);
	vcpu_args_set(vcpu, 1, 30);
	while (keep_values_step(vcpu, &salt)) {
		state = vcpu_save_state(vcpu);
		kvm_vm_release(vm);
		vcpu = vm_recreate_with_one_vcpu(vm);
		vcpu_load_state(vcpu, state);
		kvm_x86_state_cleanup(state);
	}
	kvm_vm_free(vm);
}

/* Use every @step-th counter, give it a value, and have it as long as there are runs. */
static void guest_keep_some(int step)
{
	int c;

	guest_pmu_reset();
	for (c = 0; c < pmu.nr_gp; c += step) {
		wrmsr(pmc_selector_msr(c), SELECT_NOTHING);
		wrmsr(pmc_msr(c), value_of(c, step));
	}
	for (;;) {
		GUEST_SYNC(0);
		for (c = 0; c < pmu.nr_gp; c++)
			GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)),
					c % step ? 0 : value_of(c, step));
	}
}

/* What one vCPU does not use is no concern of the next one. */
TEST(values_of_vcpus_that_use_different_counters)
{
	bool watchdog = set_nmi_watchdog('0');
	struct kvm_vcpu *vcpus[3];
	struct kvm_vm *vm;
	int i, round;

	kvm_pin_this_task_to_pcpu(0);
	vm = vm_create_with_vcpus(ARRAY_SIZE(vcpus), guest_keep_some, vcpus);
	sync_global_to_guest(vm, pmu);
	for (i = 0; i < ARRAY_SIZE(vcpus); i++)
		vcpu_args_set(vcpus[i], 1, i + 1);

	for (round = 0; round < 5; round++) {
		for (i = 0; i < ARRAY_SIZE(vcpus); i++)
			pmu_run(vcpus[i]);
	}
	kvm_vm_free(vm);
	if (watchdog)
		set_nmi_watchdog('1');
}

TEST(values_of_vcpus_do_not_mix)
{
	struct kvm_vcpu *vcpus[3];
	int salt[3] = { }, i, running;
	struct kvm_vm *vm, *vm2;

	/* Two of one VM and one of another, all of them on this thread's CPU. */
	kvm_pin_this_task_to_pcpu(0);
	vm = vm_create_with_vcpus(2, guest_keep_values, vcpus);
	sync_global_to_guest(vm, pmu);
	vm2 = pmu_vm_create(&vcpus[2], guest_keep_values);
	for (i = 0; i < 3; i++)
		vcpu_args_set(vcpus[i], 1, 20 * i);

	do {
		for (i = running = 0; i < 3; i++)
			running += keep_values_step(vcpus[i], &salt[i]);
	} while (running == 3);
	TEST_ASSERT_EQ(running, 0);

	kvm_vm_free(vm2);
	kvm_vm_free(vm);
}

static void keep_values(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int salt = 0;

	vm = pmu_vm_create(&vcpu, guest_keep_values);
	vcpu_args_set(vcpu, 1, 50);
	while (keep_values_step(vcpu, &salt))
		;
	kvm_vm_free(vm);
}

/*
 * A counter that the guest writes to, but has not enabled: what it reads is what it wrote
 * last, by RDPMC as well, which may be direct.  User space is not asked in between.  Once
 * enabled, it goes on from there.
 */
static void guest_write_before_use(void)
{
	static const uint64_t values[] = { 1, 0x123456789abc, 0, 0xffff };
	int c, i;

	guest_pmu_reset();
	/* With one of them enabled the PMU is in use. */
	wrmsr(pmc_selector_msr(0), SELECT_NOTHING);
	for (c = 1; c < pmu_nr_counters(); c++) {
		for (i = 0; i < ARRAY_SIZE(values); i++) {
			wrmsr(pmc_msr(c), values[i]);
			GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), values[i]);
			GUEST_ASSERT_EQ(rdmsr(pmc_msr(c)), values[i]);
		}
		if (pmc_is_fixed(c))
			continue;

		wrmsr(pmc_selector_msr(c), SELECT_NOTHING);
		GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), 0xffff);
		wrmsr(pmc_msr(c), 7);
		GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), 7);
		wrmsr(pmc_selector_msr(c), 0);
	}
	GUEST_DONE();
}

static void write_before_use(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = pmu_vm_create(&vcpu, guest_write_before_use);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

TEST(values_written_before_use)
{
	bool watchdog = set_nmi_watchdog('0');
	struct canaries canaries;

	write_before_use();
	if (watchdog)
		set_nmi_watchdog('1');
	if (!pmu.mediated)
		return;

	canaries_open(&canaries);
	write_before_use();
	canaries_close(&canaries);
}

TEST(values_beside_host_events)
{
	struct canaries canaries;
	int fd;

	if (!pmu.mediated)
		SKIP(return, "an emulated PMU's values are not in hardware");

	canaries_open(&canaries);
	keep_values();
	canaries_close(&canaries);

	if (pmu.intel)
		return;

	/* Floating point operations: perf takes two counters for them. */
	fd = perf_open(0x0003, EVENT_RAW | EVENT_EXCLUDE_GUEST | EVENT_PINNED, 0, -1);
	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd));
	keep_values();
	perf_read(fd);
	close(fd);
}

/*
 * A counter goes on over exits of all kinds and while other vCPUs run.  KVM, which emulates
 * INB, counts it as an instruction, and changes the counter for that; it is no branch.
 */
static void guest_count_on(uint64_t loops, bool branches)
{
	uint64_t event = branches ? pmu_branches() : pmu_instructions(), count;
	struct counts want;
	int round;

	guest_pmu_reset();
	for (round = 1; round <= 10; round++) {
		wrmsr(pmc_msr(0), value_of(0, round));
		if (pmu.global)
			wrmsr(pmu_global_ctrl_msr(), pmc_global_bit(0));
		guest_measure(IO, pmc_selector_msr(0), event | SELECT_OS, loops + round);
		want = block_counts(IO, loops + round);
		count = rdmsr(pmc_msr(0)) - value_of(0, round);
		GUEST_ASSERT(branches ?
			     pmu_counted_branches(count, want.branches, loops + round) :
			     pmu_counted_insns(count, want.insns, loops + round));
	}
	GUEST_DONE();
}

TEST(counts_of_vcpus_do_not_mix)
{
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vm;

	if (!pmu.mediated)
		SKIP(return, "perf events count all vCPUs that their task runs");

	kvm_pin_this_task_to_pcpu(0);
	vm = vm_create_with_vcpus(2, guest_count_on, vcpus);
	sync_global_to_guest(vm, pmu);
	vcpu_args_set(vcpus[0], 2, 3, 0);
	vcpu_args_set(vcpus[1], 2, 17, 0);

	pmu_run_by_turns(vcpus);
	kvm_vm_free(vm);
}

/* Exits of the kind that guest_count_on() has, with some branches in between. */
static void guest_without_pmu(void)
{
	int i, j;

	for (i = 0; i < 400; i++) {
		asm volatile(BLOCK_IO : : : "eax");
		for (j = 0; j < 100; j++)
			barrier();
	}
	GUEST_DONE();
}

/*
 * What a vCPU has left in the registers does not count for a guest that has no PMU, be it
 * alone there or beside an event of the host.
 */
TEST(counts_are_not_of_a_guest_without_a_pmu)
{
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vms[2];
	bool watchdog;
	int i;

	if (!pmu.mediated)
		SKIP(return, "perf events count all vCPUs that their task runs");

	kvm_pin_this_task_to_pcpu(0);
	for (i = 0; i < 2; i++) {
		watchdog = set_nmi_watchdog('0' + i);
		vms[0] = pmu_vm_create(&vcpus[0], guest_count_on);
		vcpu_args_set(vcpus[0], 2, 5, 1);
		vms[1] = vm_create(1);
		vm_enable_cap(vms[1], KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
		vcpus[1] = vm_vcpu_add(vms[1], 0, guest_without_pmu);

		pmu_run_by_turns(vcpus);

		kvm_vm_free(vms[0]);
		kvm_vm_free(vms[1]);
		set_nmi_watchdog('0' + watchdog);
	}
}

/* Counters that the guest does not have */

static void guest_check_rdpmc(uint32_t index, bool mine)
{
	uint64_t value = 0;
	uint8_t vector;

	vector = rdpmc_safe(index, &value);
	if (mine)
		__GUEST_ASSERT(!vector && !value, "RDPMC %#x: vector %u, value %#lx",
			       index, vector, value);
	else if (vector || !pmu_is_spare_index(index) || value)
		__GUEST_ASSERT(vector == GP_VECTOR,
			       "RDPMC %#x of no counter: vector %u, value %#lx",
			       index, vector, value);
}

/*
 * @zero: KVM has always let guests read some MSRs of old as 0, and drops writes,
 * even if there is no such counter.
 */
static void guest_check_msr(uint32_t msr, bool mine, bool zero)
{
	uint64_t value = 0;
	uint8_t vector;

	vector = rdmsr_safe(msr, &value);
	if (mine)
		__GUEST_ASSERT(!vector && !value, "RDMSR %#x: vector %u, value %#lx",
			       msr, vector, value);
	else
		__GUEST_ASSERT(vector == GP_VECTOR || (zero && !vector && !value),
			       "RDMSR %#x of no counter: vector %u, value %#lx",
			       msr, vector, value);

	vector = wrmsr_safe(msr, 0);
	__GUEST_ASSERT(!vector || !mine, "WRMSR %#x: vector %u", msr, vector);
	__GUEST_ASSERT(vector == GP_VECTOR || mine || zero,
		       "WRMSR %#x of no counter: vector %u", msr, vector);
}

/* A bit of GLOBAL_CTRL: is it the guest's, and if it is not, does it come to nothing? */
static void guest_check_global_bit(int bit)
{
	const uint32_t ctrl = pmu_global_ctrl_msr();
	uint32_t eax, ebx, ecx, edx;
	uint8_t vector = wrmsr_safe(ctrl, BIT_ULL(bit));
	bool mine = pmu_global_mask() & BIT_ULL(bit);

	if (mine) {
		__GUEST_ASSERT(!vector && rdmsr(ctrl) == BIT_ULL(bit), "GLOBAL_CTRL bit %u", bit);
	} else if (pmu_spare_bits() & BIT_ULL(bit) && !vector) {
		/* GLOBAL_CTRL is direct, and after a VM-exit the bit is gone. */
		cpuid(0, &eax, &ebx, &ecx, &edx);
		GUEST_ASSERT_EQ(rdmsr(ctrl), 0);
	} else {
		__GUEST_ASSERT(vector == GP_VECTOR || (!pmu.intel && !rdmsr(ctrl)),
			       "GLOBAL_CTRL bit %u of no counter: vector %u", bit, vector);
	}
	wrmsr(ctrl, 0);
}

static void guest_check_absent(void)
{
	bool fixed, mine;
	uint32_t i;

	for (i = 0; i < 64; i++)
		guest_check_rdpmc(i, i < pmu.nr_gp);
	for (i = 0; i < 32; i++) {
		fixed = pmu.intel && i < pmu.nr_fixed;
		guest_check_rdpmc(BIT(30) | i, fixed);
		guest_check_rdpmc(BIT(29) | i, !i && pmu_has_metrics());
		/* Fast reads of old. */
		guest_check_rdpmc(BIT(31) | i, false);
		guest_check_rdpmc(BIT(31) | BIT(30) | i, false);
	}
	guest_check_rdpmc(-1u, false);

	if (pmu.intel) {
		for (i = 0; i < 8; i++) {
			mine = i < pmu.nr_gp;
			guest_check_msr(MSR_IA32_PERFCTR0 + i, mine, i < 2);
			guest_check_msr(MSR_IA32_PMC0 + i, mine, false);
			guest_check_msr(MSR_P6_EVNTSEL0 + i, mine, i < 2);
		}
		for (i = 0; i < 8; i++)
			guest_check_msr(MSR_CORE_PERF_FIXED_CTR0 + i, i < pmu.nr_fixed, false);
		guest_check_msr(MSR_PERF_METRICS, pmu_has_metrics(), false);
		guest_check_msr(MSR_CORE_PERF_FIXED_CTR_CTRL, pmu.global, false);
		guest_check_msr(MSR_CORE_PERF_GLOBAL_CTRL, pmu.global, false);
		if (!pmu.global) {
			guest_check_msr(MSR_CORE_PERF_GLOBAL_STATUS, false, false);
			guest_check_msr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, false, false);
		}
		/* STATUS_SET and INUSE came with version 4. */
		guest_check_msr(MSR_INTEL_GLOBAL_STATUS_SET, false, false);
		guest_check_msr(MSR_INTEL_GLOBAL_STATUS_SET + 1, false, false);
	} else {
		for (i = 0; i < 4; i++) {
			mine = i < pmu.nr_gp;
			guest_check_msr(MSR_K7_PERFCTR0 + i, mine, true);
			guest_check_msr(MSR_K7_EVNTSEL0 + i, mine, true);
		}
		for (i = 0; i < 16; i++) {
			mine = pmu.core && i < pmu.nr_gp;
			guest_check_msr(MSR_F15H_PERF_CTR + 2 * i, mine, false);
			guest_check_msr(MSR_F15H_PERF_CTL + 2 * i, mine, false);
		}
		guest_check_msr(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, pmu.global, false);
		if (!pmu.global) {
			guest_check_msr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, false, false);
			guest_check_msr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, false, false);
			guest_check_msr(MSR_AMD64_GLOBAL_STATUS_SET, false, false);
		}
	}

	/* No bit of GLOBAL_CTRL but the own ones. */
	for (i = 0; i < 64 && pmu.global; i++)
		guest_check_global_bit(i);
}

/* Used by the VMM as well: what is absent is so for a VMM's KVM_SET_CPUID2. */
static void guest_absent(void)
{
	guest_pmu_reset();
	guest_check_absent();
	GUEST_SYNC(0);
	guest_check_absent();

	/* What is left works. */
	guest_test_by_selector(PLAIN, LOOPS);
	guest_test_by_global_ctrl(CPUID, LOOPS);
	GUEST_DONE();
}

static void __run_absent(const struct pmu *shape)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = pmu_vm_create_shaped(&vcpu, guest_absent, shape);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

static void run_absent(uint8_t nr_gp, uint8_t nr_fixed, bool core, bool global)
{
	struct pmu shape = pmu;

	shape.nr_gp = nr_gp;
	shape.nr_fixed = nr_fixed;
	shape.core = core;
	shape.global = global;
	__run_absent(&shape);

	/* PERF_METRICS is there or not, whatever counters there are. */
	if (shape.metrics && global) {
		shape.metrics = false;
		__run_absent(&shape);
	}
}

static void run_absent_all(void)
{
	run_absent(pmu.nr_gp, pmu.nr_fixed, pmu.core, pmu.global);
	if (pmu.intel) {
		run_absent(4, 1, false, true);
		run_absent(pmu.nr_gp, 2, false, true);
		run_absent(2, pmu.nr_fixed, false, true);
		run_absent(pmu.nr_gp, min_t(int, pmu.nr_fixed, FIXED_SLOTS), false, true);
		run_absent(1, 0, false, true);
		/* Version 1 has neither GLOBAL_CTRL nor fixed counters. */
		run_absent(pmu.nr_gp, 0, false, false);
		run_absent(3, 0, false, false);
	} else {
		if (pmu.global) {
			run_absent(4, 0, true, true);
			run_absent(1, 0, true, true);
		}
		run_absent(6, 0, true, false);
		run_absent(4, 0, false, false);
	}
}

TEST(absent_counters_fault)
{
	run_absent_all();
}

TEST(absent_counters_fault_beside_host_events)
{
	struct canaries canaries;

	if (!pmu.mediated)
		SKIP(return, "an emulated PMU's values are not in hardware");

	canaries_open(&canaries);
	run_absent_all();
	canaries_close(&canaries);
}

static void guest_no_pmu(void)
{
	uint32_t i;

	for (i = 0; i < 8; i++) {
		guest_check_rdpmc(i, false);
		guest_check_rdpmc(BIT(30) | i, false);
		if (pmu.intel) {
			guest_check_msr(MSR_IA32_PMC0 + i, false, false);
			guest_check_msr(MSR_CORE_PERF_FIXED_CTR0 + i, false, false);
		}
	}
	GUEST_DONE();
}

TEST(no_pmu_after_cap_disable)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_PMU_CAPABILITY));

	vm = vm_create(1);
	vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
	vcpu = vm_vcpu_add(vm, 0, guest_no_pmu);
	/* Nothing is direct: all has to fault. */
	pmu.host_fixed = 0;
	sync_global_to_guest(vm, pmu);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

/* The event filter */

/* Counters: instructions, branches and, if there is one, fixed 0. */
#define NR_FILTERED	3

static void guest_filtered(void)
{
	const int counters[NR_FILTERED] = { 0, 1, pmu.nr_gp };
	const int nr = pmu.nr_fixed ? 3 : 2;
	uint64_t delta[NR_FILTERED] = { };
	int i;

	guest_start_filtered();

	for (;;) {
		for (i = 0; i < nr; i++)
			delta[i] = guest_running_delta(pmc_rdpmc_index(counters[i]), LOOPS + i);

		/* The filter is not to be seen in the selectors. */
		GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(0)), pmu_instructions() | SELECT_OS);
		GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(1)), pmu_branches() | SELECT_OS);
		if (pmu.nr_fixed)
			GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_FIXED_CTR_CTRL),
					FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL));

		GUEST_SYNC_ARGS(0, delta[0], delta[1], delta[2], 0);
	}
}

/* To the next GUEST_SYNC_ARGS(), all arguments of which are wanted. */
static void run_to_sync(struct kvm_vcpu *vcpu, struct ucall *uc)
{
	vcpu_run(vcpu);
	switch (get_ucall(vcpu, uc)) {
	case UCALL_SYNC:
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(*uc);
		break;
	default:
		TEST_FAIL("Unexpected exit %u", vcpu->run->exit_reason);
	}
}

static void check_filtered(struct kvm_vcpu *vcpu, bool insns, bool branches, bool fixed)
{
	const int counters[NR_FILTERED] = { 0, 1, pmu.nr_gp };
	const bool allowed[NR_FILTERED] = { insns, branches, fixed };
	const uint64_t want[NR_FILTERED] = {
		RUNNING_INSNS(LOOPS), RUNNING_BRANCHES(LOOPS + 1), RUNNING_INSNS(LOOPS + 2),
	};
	const uint64_t each[NR_FILTERED] = {
		pmu.entry_insns, pmu.entry_branches, pmu.entry_insns,
	};
	const int nr = pmu.nr_fixed ? 3 : 2;
	uint64_t before[NR_FILTERED], after;
	struct ucall uc;
	int i;

	for (i = 0; i < nr; i++)
		before[i] = vcpu_get_msr(vcpu, pmc_msr(counters[i]));

	run_to_sync(vcpu, &uc);

	for (i = 0; i < nr; i++) {
		TEST_ASSERT(__pmu_counted(uc.args[2 + i], allowed[i] ? want[i] : 0,
					  LOOPS + i, LOOPS + i, each[i]),
			    "Counter %d, %sallowed: counted %lu in a block of %lu", i,
			    allowed[i] ? "" : "not ", uc.args[2 + i], want[i]);

		/* Nor does it count anything else, e.g. what KVM emulates. */
		after = vcpu_get_msr(vcpu, pmc_msr(counters[i]));
		TEST_ASSERT(allowed[i] ? after > before[i] + want[i] : after == before[i],
			    "Counter %d, %sallowed: was %lu, is %lu", i,
			    allowed[i] ? "" : "not ", before[i], after);
	}
}

/* The filter changes under counters that are never disabled. */
TEST(filter_of_running_counters)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i;

	vm = pmu_vm_create(&vcpu, guest_filtered);
	check_filtered(vcpu, true, true, true);

	for (i = 0; i < 3; i++) {
		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, pmu_instructions(), 0);
		check_filtered(vcpu, false, true, true);
		check_filtered(vcpu, false, true, true);

		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, pmu_branches(), BIT(0));
		check_filtered(vcpu, true, false, false);

		pmu_set_filter(vm, KVM_PMU_EVENT_ALLOW, pmu_instructions(), 0);
		check_filtered(vcpu, true, false, false);

		pmu_set_filter(vm, KVM_PMU_EVENT_ALLOW, pmu_branches(), BIT(0));
		check_filtered(vcpu, false, true, true);

		pmu_set_filter(vm, KVM_PMU_EVENT_ALLOW, 0, 0);
		check_filtered(vcpu, false, false, false);

		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, 0, 0);
		check_filtered(vcpu, true, true, true);
	}
	kvm_vm_free(vm);
}

static void guest_denied(bool denied)
{
	struct counts want = denied ? (struct counts) { } : block_counts(CPUID, LOOPS);
	int c;

	for (c = 0; c < nr_usable_gp(); c++) {
		guest_pmu_reset();
		if (pmu.global)
			wrmsr(pmu_global_ctrl_msr(), pmc_global_bit(c));
		guest_measure(CPUID, pmc_selector_msr(c), pmu_instructions() | SELECT_OS, LOOPS);
		guest_check_insns(CPUID, LOOPS, c, want.insns);

		/* The other event is not touched by the filter. */
		wrmsr(pmc_msr(c), 0);
		guest_measure(CPUID, pmc_selector_msr(c), pmu_branches() | SELECT_OS, LOOPS);
		guest_check_branches(CPUID, LOOPS, c, MEASURED_BRANCHES(0, LOOPS));
	}

	if (pmu.nr_fixed) {
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL));
		guest_measure(CPUID, pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS);
		guest_check_insns(CPUID, LOOPS, pmu.nr_gp, want.insns);
	}
	GUEST_DONE();
}

/* The filter is there before the counters are enabled. */
TEST(filter_before_counters)
{
	struct canaries canaries = { };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int denied;

	/* A counter that is not the guest's must not be left running for the host. */
	if (pmu.mediated)
		canaries_open(&canaries);

	for (denied = 0; denied < 2; denied++) {
		vm = pmu_vm_create(&vcpu, guest_denied);
		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, denied ? pmu_instructions() : 0,
			       denied ? BIT(0) : 0);
		vcpu_args_set(vcpu, 1, denied);
		pmu_run_to_done(vcpu);
		kvm_vm_free(vm);
	}

	if (pmu.mediated)
		canaries_close(&canaries);
}

/*
 * Fixed counter 3 counts slots, and PERF_METRICS says what became of them, in
 * fractions of 255.
 */
#define METRICS_BEFORE	0x60402010

static uint64_t guest_read_metrics(void)
{
	uint64_t value = rdmsr(MSR_PERF_METRICS);

	GUEST_ASSERT_EQ(_rdpmc(INTEL_RDPMC_METRICS), value);
	return value;
}

static void guest_check_slots_and_metrics(enum block block)
{
	uint64_t cycles = rdmsr(MSR_CORE_PERF_FIXED_CTR0 + 1);
	uint64_t slots = rdmsr(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS);
	uint64_t metrics = guest_read_metrics();
	uint32_t sum = 0, i;

	GUEST_ASSERT_EQ(_rdpmc(INTEL_RDPMC_FIXED | FIXED_SLOTS), slots);
	__GUEST_ASSERT(cycles && slots >= cycles, "block %u: %lu slots in %lu cycles",
		       block, slots, cycles);

	/* Of the first level, each is rounded; some are retiring. */
	for (i = 0; i < 4; i++)
		sum += metrics >> 8 * i & 0xff;
	__GUEST_ASSERT(sum >= 0xf0 && sum <= 0x10f && metrics & 0xff,
		       "block %u: metrics %#lx, sum %#x", block, metrics, sum);
}

static void guest_slots(void)
{
	const uint64_t all = pmu_global_mask();
	const uint32_t ctrl = pmu_global_ctrl_msr();
	const uint32_t slots = MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS;
	enum block block;

	for (block = PLAIN; block <= IO; block++) {
		guest_pmu_reset();
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(1, FIXED_PMC_KERNEL) |
		      FIXED_PMC_CTRL(FIXED_SLOTS, FIXED_PMC_KERNEL));
		guest_measure(block, ctrl, all, LOOPS);
		guest_check_slots_and_metrics(block);

		/* With GLOBAL_CTRL's bit for the metrics 0, only slots count, */
		wrmsr(slots, 0);
		wrmsr(MSR_PERF_METRICS, 0);
		guest_measure(block, ctrl, all & ~GLOBAL_METRICS, LOOPS);
		GUEST_ASSERT(rdmsr(slots));
		GUEST_ASSERT_EQ(guest_read_metrics(), 0);

		/* and without slots, nothing does, if the CPU does not say otherwise. */
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(1, FIXED_PMC_KERNEL));
		wrmsr(slots, value_of(0, 0));
		wrmsr(MSR_PERF_METRICS, METRICS_BEFORE);
		guest_measure(block, ctrl, all, LOOPS);
		GUEST_ASSERT_EQ(rdmsr(slots), value_of(0, 0));
		GUEST_ASSERT_EQ(guest_read_metrics() == METRICS_BEFORE, !pmu.metrics_alone);

		/* It overflows like any other. */
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL,
		      FIXED_PMC_CTRL(FIXED_SLOTS, FIXED_PMC_KERNEL));
		wrmsr(slots, COUNTER_MASK);
		wrmsr(MSR_PERF_METRICS, 0);
		wrmsr(pmu_global_clear_msr(), all);
		guest_measure(block, ctrl, all & ~GLOBAL_METRICS, LOOPS);
		GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()),
				BIT_ULL(32 + FIXED_SLOTS));
		GUEST_ASSERT(rdmsr(slots) < COUNTER_MASK);
	}
	GUEST_DONE();
}

static void run_slots(void)
{
	struct pmu shape = pmu;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = pmu_vm_create(&vcpu, guest_slots);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);

	/* RDPMC and the global registers trap. */
	shape.nr_gp = 2;
	vm = pmu_vm_create_shaped(&vcpu, guest_slots, &shape);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

TEST(slots_and_metrics_count)
{
	struct canaries canaries;

	/* Then absent_counters_fault says that there are none. */
	if (!pmu_ask_for_metrics())
		return;

	run_slots();
	canaries_open(&canaries);
	run_slots();
	canaries_close(&canaries);
}

/*
 * Each read and each write of PERF_METRICS may round: as long as the host's events need
 * neither slots nor metrics, exits cost none.
 */
#define MANY_EXITS	20000

static void guest_metrics_of_many_exits(void)
{
	guest_pmu_reset();
	wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(FIXED_SLOTS, FIXED_PMC_KERNEL));
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), MANY_EXITS, BLOCK_CPUID);
	GUEST_SYNC(guest_read_metrics());
	GUEST_DONE();
}

static uint64_t metrics_of_many_exits(uint64_t *loads)
{
	struct kvm_vcpu *vcpu;
	uint64_t metrics;
	struct kvm_vm *vm;

	vm = pmu_vm_create(&vcpu, guest_metrics_of_many_exits);
	metrics = pmu_run(vcpu);
	pmu_run_to_done(vcpu);
	*loads = vcpu_stat(vcpu, "pmu_loads");
	kvm_vm_free(vm);
	return metrics;
}

TEST(metrics_do_not_decay_beside_host_events)
{
	uint64_t alone, beside, loads;
	int i, fd, a, b;

	if (!pmu_ask_for_metrics())
		return;

	alone = metrics_of_many_exits(&loads);
	/* KVM_PROVE_MEDIATED_PMU evicts values at random, each of which may round. */
	if (loads > MANY_EXITS / 100) {
		TEST_ASSERT(alone & 0xff, "Nothing retires: %#lx", alone);
		return;
	}

	fd = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_GUEST | EVENT_PINNED, 0, -1);
	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd));
	beside = metrics_of_many_exits(&loads);
	TEST_ASSERT(perf_read(fd).count > MANY_EXITS, "The host's event does not count");
	close(fd);

	/*
	 * The vCPU leaves the CPU now and then, for which there is reason to round: by
	 * one when the metrics are read and by one when they are written.
	 */
	for (i = 0; i < 4; i++) {
		a = alone >> 8 * i & 0xff;
		b = beside >> 8 * i & 0xff;
		TEST_ASSERT(abs(a - b) <= 4, "Metrics %#lx, beside an event of the host %#lx",
			    alone, beside);
	}
	TEST_ASSERT(alone & 0xff, "Nothing retires: %#lx", alone);
}

static void guest_slots_filtered(void)
{
	for (;;) {
		guest_pmu_reset();
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL,
		      FIXED_PMC_CTRL(FIXED_SLOTS, FIXED_PMC_KERNEL));
		guest_measure(CPUID, pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS);
		GUEST_SYNC_ARGS(0, rdmsr(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS),
				guest_read_metrics(), 0, 0);
	}
}

/* The filter knows the counter.  What it says goes for the metrics, too. */
TEST(filter_of_slots_denies_metrics)
{
	static const struct {
		uint32_t action;
		uint32_t fixed_bitmap;
		bool allowed;
	} filters[] = {
		{ KVM_PMU_EVENT_DENY, 0, true },
		{ KVM_PMU_EVENT_DENY, BIT(FIXED_SLOTS), false },
		{ KVM_PMU_EVENT_DENY, BIT(FIXED_SLOTS) - 1, true },
		{ KVM_PMU_EVENT_ALLOW, BIT(FIXED_SLOTS) - 1, false },
		{ KVM_PMU_EVENT_ALLOW, BIT(FIXED_SLOTS), true },
		{ KVM_PMU_EVENT_ALLOW, 0, false },
	};
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct ucall uc;
	int i;

	if (!pmu_ask_for_metrics())
		return;

	vm = pmu_vm_create(&vcpu, guest_slots_filtered);
	for (i = 0; i < ARRAY_SIZE(filters); i++) {
		pmu_set_filter(vm, filters[i].action, 0, filters[i].fixed_bitmap);
		run_to_sync(vcpu, &uc);
		TEST_ASSERT(!!uc.args[2] == filters[i].allowed &&
			    !!uc.args[3] == filters[i].allowed,
			    "Filter %d, %sallowed: %lu slots, metrics %#lx", i,
			    filters[i].allowed ? "" : "not ", uc.args[2], uc.args[3]);
	}
	kvm_vm_free(vm);
}

#define GLOBAL_WRITES	200

/* Slots and metrics go on all the time, but for what the filter says. */
static void guest_slots_running(void)
{
	int i;

	guest_pmu_reset();
	wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(FIXED_SLOTS, FIXED_PMC_KERNEL));
	for (;;) {
		/* What it was, and what does not belong to the metrics, comes and goes. */
		for (i = 0; i < GLOBAL_WRITES; i++)
			wrmsr(pmu_global_ctrl_msr(), pmu_global_mask() & ~(uint64_t)(i & 1));
		guest_measure(PLAIN, pmc_selector_msr(0), pmu_instructions() | SELECT_OS, LOOPS);
		GUEST_ASSERT_EQ(rdmsr(pmu_global_ctrl_msr()), pmu_global_mask() & ~1ull);
		GUEST_SYNC_ARGS(0, rdmsr(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS),
				guest_read_metrics(), 0, 0);
	}
}

/*
 * A filter that denies slots comes while they and the metrics count.  The bit of the metrics
 * in GLOBAL_CTRL does not get to hardware from then on, i.e. that register traps: they may go
 * by that bit alone.
 */
TEST(filter_of_slots_stops_running_metrics)
{
	uint64_t slots = 0, metrics = 0, exits;
	struct kvm_vcpu *vcpu;
	bool watchdog, denied;
	struct kvm_vm *vm;
	struct ucall uc;
	int i;

	if (!pmu_ask_for_metrics())
		return;

	kvm_pin_this_task_to_pcpu(0);
	/* GLOBAL_CTRL traps beside an event of the host, too. */
	watchdog = set_nmi_watchdog('0');
	vm = pmu_vm_create(&vcpu, guest_slots_running);
	for (i = 0; i < 6; i++) {
		denied = i & 1;
		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, 0, denied ? BIT(FIXED_SLOTS) : 0);
		slots = vcpu_get_msr(vcpu, MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS);
		metrics = vcpu_get_msr(vcpu, MSR_PERF_METRICS);
		exits = vcpu_stat(vcpu, "exits");
		run_to_sync(vcpu, &uc);
		exits = vcpu_stat(vcpu, "exits") - exits;

		TEST_ASSERT((uc.args[2] == slots) == denied,
			    "Round %d: %lu slots, now %lu", i, slots, uc.args[2]);
		TEST_ASSERT(uc.args[3] && (!denied || uc.args[3] == metrics),
			    "Round %d: metrics %#lx, now %#lx", i, metrics, uc.args[3]);
		/* The first has what is done once. */
		TEST_ASSERT(denied ? exits >= GLOBAL_WRITES : !i || exits < GLOBAL_WRITES / 2,
			    "Round %d: %lu exits of %u writes of GLOBAL_CTRL", i, exits,
			    GLOBAL_WRITES);
	}
	kvm_vm_free(vm);
	if (watchdog)
		set_nmi_watchdog('1');
}

/* The metrics have overflowed, so the VMM says. */
static void guest_metrics_overflown(void)
{
	GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()), GLOBAL_METRICS);
	GUEST_SYNC(0);
	GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()), GLOBAL_METRICS);
	wrmsr(pmu_global_clear_msr(), GLOBAL_METRICS);
	GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()), 0);
	GUEST_DONE();
}

TEST(overflow_of_metrics_is_restored)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	if (!pmu_ask_for_metrics())
		return;

	vm = pmu_vm_create(&vcpu, guest_metrics_overflown);
	vcpu_set_msr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS, GLOBAL_METRICS);
	TEST_ASSERT_EQ(pmu_run(vcpu), 0);
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS), GLOBAL_METRICS);
	pmu_run_to_done(vcpu);
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS), 0);
	kvm_vm_free(vm);
}

/* What a VMM finds, and what it may write. */
static void check_metrics_for_vmm(struct kvm_vcpu *vcpu, bool has)
{
	const uint32_t msrs[] = {
		MSR_PERF_METRICS, MSR_CORE_PERF_GLOBAL_CTRL, MSR_CORE_PERF_GLOBAL_STATUS,
	};
	const uint64_t values[] = { METRICS_BEFORE, GLOBAL_METRICS, GLOBAL_METRICS };
	int i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		TEST_ASSERT(_vcpu_set_msr(vcpu, msrs[i], values[i]) == has,
			    "MSR %#x can%s be set to %#lx", msrs[i], has ? "not" : "",
			    values[i]);
		if (has)
			TEST_ASSERT_EQ(vcpu_get_msr(vcpu, msrs[i]), values[i]);
	}
	/* Whoever knows of it may save and restore what a guest without has. */
	if (!has && kvm_msr_is_in_save_restore_list(MSR_PERF_METRICS)) {
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_PERF_METRICS), 0);
		vcpu_set_msr(vcpu, MSR_PERF_METRICS, 0);
	}
}

TEST(metrics_of_vmm)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t caps;

	if (!pmu.intel)
		return;

	/* A VMM that saves what is listed saves what any of its VMs may have. */
	TEST_ASSERT_EQ(kvm_msr_is_in_save_restore_list(MSR_PERF_METRICS), pmu.host_metrics);
	TEST_ASSERT_EQ(kvm_msr_is_in_save_restore_list(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS),
		       pmu.host_fixed > FIXED_SLOTS);

	vm = pmu_vm_create(&vcpu, guest_slots);
	check_metrics_for_vmm(vcpu, pmu.metrics);

	caps = vcpu_get_msr(vcpu, MSR_IA32_PERF_CAPABILITIES);
	TEST_ASSERT_EQ(!!(caps & PMU_CAP_METRICS), pmu.metrics);
	if (pmu.metrics) {
		vcpu_set_msr(vcpu, MSR_IA32_PERF_CAPABILITIES, caps & ~PMU_CAP_METRICS);
		check_metrics_for_vmm(vcpu, false);

		/* It is as after a reset when it comes back, */
		vcpu_set_msr(vcpu, MSR_IA32_PERF_CAPABILITIES, caps);
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_PERF_METRICS), 0);
		check_metrics_for_vmm(vcpu, true);

		/* and is not there without fixed counter 3. */
		vcpu_set_cpuid_property(vcpu, X86_PROPERTY_PMU_NR_FIXED_COUNTERS, FIXED_SLOTS);
		check_metrics_for_vmm(vcpu, false);
	} else {
		TEST_ASSERT(!_vcpu_set_msr(vcpu, MSR_IA32_PERF_CAPABILITIES,
					   caps | PMU_CAP_METRICS),
			    "A guest can be given PERF_METRICS");
	}
	kvm_vm_free(vm);
}

static bool metrics_are_for_all(void)
{
	return !access("/sys/module/kvm_intel/parameters/mediated_pmu_metrics", R_OK) &&
	       get_kvm_intel_param_bool("mediated_pmu_metrics");
}

/*
 * A mediated PMU has what an emulated one always had, and may have what the host has: if
 * the VMM asks for it, or by the module's parameter.
 */
TEST(fixed_counters_and_metrics_of_the_host)
{
	uint8_t nr = this_cpu_property(X86_PROPERTY_PMU_NR_FIXED_COUNTERS);
	bool all = metrics_are_for_all();
	int caps = kvm_check_cap(KVM_CAP_PMU_CAPABILITY);
	bool metrics;

	TEST_ASSERT(caps & KVM_PMU_CAP_DISABLE && !(caps & ~(KVM_PMU_CAP_DISABLE |
							     KVM_PMU_CAP_METRICS)),
		    "KVM_CAP_PMU_CAPABILITY is %#x", caps);
	if (!pmu.mediated || !pmu.intel) {
		TEST_ASSERT(!(caps & KVM_PMU_CAP_METRICS), "PERF_METRICS can be asked for");
		TEST_ASSERT(!all && !pmu.metrics, "PERF_METRICS of an emulated PMU");
	}
	if (!pmu.intel)
		return;

	TEST_ASSERT_EQ(pmu.nr_fixed, min_t(int, nr, all ? 4 : 3));
	TEST_ASSERT(!all || nr > FIXED_SLOTS, "PERF_METRICS without fixed counter 3");
	if (!pmu.mediated || host_msr_fd() < 0)
		return;

	metrics = nr > FIXED_SLOTS && host_rdmsr(MSR_IA32_PERF_CAPABILITIES) & PMU_CAP_METRICS;
	TEST_ASSERT_EQ(!!(caps & KVM_PMU_CAP_METRICS), metrics);
	TEST_ASSERT_EQ(pmu.metrics, all && metrics);
}

static void guest_counts_fixed(int nr)
{
	uint64_t all = BIT_ULL(nr) - 1;

	GUEST_ASSERT_EQ(pmu.nr_fixed, nr);
	guest_pmu_reset();
	guest_check_absent();
	GUEST_ASSERT_EQ(wrmsr_safe(MSR_CORE_PERF_GLOBAL_CTRL, all << 32), 0);
	if (pmu_has_metrics())
		guest_slots();
	GUEST_DONE();
}

/* A VM with KVM_PMU_CAP_METRICS or without, to which the VMM gives four fixed counters. */
static void run_asking(uint64_t flags)
{
	const struct pmu before = pmu;
	bool metrics = flags & KVM_PMU_CAP_METRICS || metrics_are_for_all();
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t caps;
	int i;

	vm = vm_create(1);
	/* What there is not is refused, and has no effect. */
	for (i = 0; i < 64; i++) {
		if (BIT_ULL(i) & ~(KVM_PMU_CAP_DISABLE | KVM_PMU_CAP_METRICS))
			TEST_ASSERT(__vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY,
						    BIT_ULL(i) | KVM_PMU_CAP_METRICS) == -1 &&
				    errno == EINVAL, "Flag %d, errno %d", i, errno);
	}
	/* The last call says. */
	if (!flags)
		vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_METRICS);
	vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, flags);

	pmu.nr_fixed = metrics ? pmu.host_fixed : FIXED_SLOTS;
	pmu.metrics = metrics;
	vcpu = vm_vcpu_add(vm, 0, guest_counts_fixed);
	sync_global_to_guest(vm, pmu);
	vcpu_args_set(vcpu, 1, pmu.nr_fixed);

	TEST_ASSERT(__vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_METRICS) == -1 &&
		    errno == EINVAL, "The flag with a vCPU: errno %d", errno);

	vcpu_set_cpuid_property(vcpu, X86_PROPERTY_PMU_NR_FIXED_COUNTERS, pmu.host_fixed);
	caps = kvm_get_feature_msr(MSR_IA32_PERF_CAPABILITIES) | PMU_CAP_METRICS;
	TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, MSR_IA32_PERF_CAPABILITIES, caps), metrics);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
	pmu = before;
}

TEST(metrics_for_who_asks)
{
	struct kvm_vm *vm;

	if (!pmu.host_metrics) {
		vm = vm_create(1);
		TEST_ASSERT(__vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY,
					    KVM_PMU_CAP_METRICS) == -1 && errno == EINVAL,
			    "The flag without PERF_METRICS: errno %d", errno);
		kvm_vm_free(vm);
		return;
	}

	run_asking(KVM_PMU_CAP_METRICS);
	run_asking(0);
}

int main(int argc, char *argv[])
{
	pmu_detect();

	return test_harness_run(argc, argv);
}
