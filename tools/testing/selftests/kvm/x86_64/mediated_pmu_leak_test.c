// SPDX-License-Identifier: GPL-2.0
/*
 * Test that nothing leaks between host and guests by way of the PMU: each of them
 * has canaries in its registers, and nobody else may ever see one, or have his
 * own counts changed.
 *
 * What must not leak, and where that is tested; without a file's name, it is
 * in this one.
 *
 *  - The host's GLOBAL_CTRL must not enable counters of a guest:
 *	global_ctrl_of_the_host_enables_nothing
 *  - A guest's counters, selectors and status must not be in hardware when a task
 *    may read counters, or when the guest is no more:
 *	nothing_of_a_guest_stays_in_hardware
 *  - Counters that a guest was not given, but that hold values of the host, must
 *    not be readable by any name or index:
 *	host_values_in_counters_the_guest_lacks; and, for writes, for the bits of
 *	GLOBAL_CTRL and for what is left to work,
 *	mediated_pmu_test: absent_counters_fault_beside_host_events
 *  - What the host does between two entries must not be counted for the guest,
 *    even where hardware does not switch all counters at once:
 *	host_mode_is_not_counted_for_the_guest
 *  - What the event filter denies must not be counted by way of another counter
 *    or of AnyThread:
 *	denied_events_do_not_count_with_anythread; and
 *	mediated_pmu_test: filter_of_running_counters, filter_before_counters
 *  - A PMI of the guest must not become an NMI of the host, nor the other way
 *    around:
 *	mediated_pmu_pmi_test: guest_pmis_and_host_samples_do_not_mix
 *  - An emulated instruction must be counted once, and only in the ring that it
 *    was executed in:
 *	emulated_in_ring_3_counts_once_and_only_there; for ring 0
 *	mediated_pmu_test: counts_emulated_cpuid_once and the like
 *  - The host's LBR, PEBS, DEBUGCTL and PERF_METRICS must not be readable:
 *	other_msrs_of_the_host_are_hidden; PERF_METRICS by guests of any shape
 *	host_values_in_counters_the_guest_lacks
 *  - Values of events of the host that are not there any more must not be readable:
 *	guest_sees_nothing_of_events_that_come_back; of slots and metrics, where the guest
 *	has RDPMC directly but neither of them
 *	spare_counter_and_metrics_are_zero
 *  - Values of one guest must not be readable by the next one:
 *	guest_sees_nothing_of_the_guest_before;
 *	for values that both write, mediated_pmu_test: values_of_vcpus_do_not_mix
 *  - Status bits that are not of counters must neither be readable nor be cleared:
 *	guest_leaves_status_bits_of_the_host_alone;
 *	mediated_pmu_nested_test: l2_leaves_status_bits_of_the_host_alone
 *  - What one guest has left in registers must not change what the VM-entry of
 *    another one does, and thus how long it takes:
 *	entry_depends_on_no_values_of_the_guest_before
 *  - Nothing of a guest, neither counts nor time, must be in events of the host:
 *	guest_values_do_not_get_into_host_events,
 *	guest_metrics_do_not_get_into_host_events; and
 *	mediated_pmu_reserve_test: host_events_count_no_guest_instructions,
 *	host_events_times_leave_guest_time_out, host_events_scale_right
 *
 * Two threads of a core are not tested.
 */
#include "mediated_pmu.h"

#define NOT_MEDIATED	"PMUs are not mediated"
#define LOOPS		20
#define PMI_VECTOR	0x41

#ifndef MSR_CORE_PERF_GLOBAL_INUSE
#define MSR_CORE_PERF_GLOBAL_INUSE	0x392
#endif

/* The upper half of what the host has in counters, and of what guests have. */
#define HOST_CANARY	0xc0de
#define GUEST_CANARY	0x5eed

static uint64_t host_canary(void)
{
	return (uint64_t)HOST_CANARY << 32;
}

static uint64_t guest_canary(int c)
{
	return (uint64_t)GUEST_CANARY << 32 | c << 24;
}

/* The same for PERF_METRICS, which may be shorter. */
#define HOST_METRICS	(HOST_CANARY * 0x10001ull)
#define GUEST_METRICS	(GUEST_CANARY * 0x10001ull)

/* Is there such an MSR, and something in it? */
static bool host_has(uint32_t msr)
{
	uint64_t value;

	return host_rdmsr_safe(msr, &value) && value;
}

static bool require_mediated_and_msrs(void)
{
	kvm_pin_this_task_to_pcpu(0);
	TEST_REQUIRE(host_msr_fd() >= 0);
	return pmu.mediated;
}

/*
 * Events of the host in all counters that are free.  The period makes counters
 * start, and start again after each VM-exit, at a value that is easy to tell.
 */
struct host_events {
	int fd[2 * MAX_COUNTERS];
	int nr;
};

static void host_events_open(struct host_events *events, uint64_t period, uint64_t flags)
{
	static const uint64_t config[] = {
		PERF_COUNT_HW_INSTRUCTIONS, PERF_COUNT_HW_CPU_CYCLES,
		PERF_COUNT_HW_REF_CPU_CYCLES, PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
	};
	struct perf_value v;
	int i, fd;

	events->nr = 0;
	for (i = 0; i < 2 * MAX_COUNTERS; i++) {
		fd = __perf_open(config[i % ARRAY_SIZE(config)],
				 EVENT_EXCLUDE_GUEST | EVENT_PINNED | flags, period, 0, -1);
		if (fd < 0)
			continue;
		/* An event that finds no counter is in an error state. */
		if (read(fd, &v, sizeof(v)) == sizeof(v))
			events->fd[events->nr++] = fd;
		else
			close(fd);
	}
	TEST_ASSERT(events->nr >= 3, "Only %d host events have a counter", events->nr);
}

static void host_events_close(struct host_events *events)
{
	struct perf_value v;
	int i;

	for (i = 0; i < events->nr; i++) {
		v = perf_read(events->fd[i]);
		TEST_ASSERT(v.count && v.running == v.enabled,
			    "Host event %d: count %lu, enabled %lu, running %lu",
			    i, v.count, v.enabled, v.running);
		close(events->fd[i]);
	}
}

static int nr_host_canaries(void)
{
	int c, nr = 0;

	for (c = 0; c < pmu_nr_counters(); c++)
		nr += host_rdmsr(pmc_msr(c)) >> 32 == HOST_CANARY;
	return nr;
}

/*
 * The counter of slots needs another event than the above; its value stays when it
 * is gone.  PERF_METRICS gets a value behind perf's back: nobody uses it.
 */
static void set_host_metrics_canary(void)
{
	struct perf_value v;
	int fd;

	if (pmu.host_fixed <= FIXED_SLOTS)
		return;

	fd = __perf_open(0x0400, EVENT_RAW | EVENT_EXCLUDE_GUEST | EVENT_PINNED,
			 (1ull << 48) - host_canary(), 0, -1);
	TEST_ASSERT(fd >= 0 && read(fd, &v, sizeof(v)) == sizeof(v),
		    "No event for the host's counter of slots");
	close(fd);
	TEST_ASSERT_EQ(host_rdmsr(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS) >> 32,
		       HOST_CANARY);

	if (pmu.host_metrics) {
		TEST_ASSERT(host_wrmsr(MSR_PERF_METRICS, HOST_METRICS),
			    "Cannot write the host's PERF_METRICS");
		/* perf has their bit of GLOBAL_CTRL set, whatever it counts. */
		if (pmu.metrics_alone)
			TEST_ASSERT(host_rdmsr(MSR_PERF_METRICS), "The host's PERF_METRICS is 0");
		else
			TEST_ASSERT_EQ(host_rdmsr(MSR_PERF_METRICS), HOST_METRICS);
	}
}

/* There may be an event of others, e.g. the NMI watchdog's. */
static void check_host_canaries(struct host_events *events)
{
	int nr;

	set_host_metrics_canary();
	nr = nr_host_canaries();
	TEST_ASSERT(nr >= pmu_nr_counters() - 1 && nr >= events->nr,
		    "%d canaries in %u counters, %d events", nr, pmu_nr_counters(), events->nr);
}

static void host_burn(uint64_t loops)
{
	asm volatile("1: dec %0\n\t jnz 1b" : "+r"(loops) : : "cc");
}

/* Run until the next GUEST_SYNC(); false if it was GUEST_DONE(). */
static bool run(struct kvm_vcpu *vcpu)
{
	return pmu_run(vcpu) != -1ull;
}

/* Guest: nothing but zeros */

static void guest_rdpmc_is_zero(uint32_t index, bool mine)
{
	uint64_t value = 0;
	uint8_t vector;

	vector = rdpmc_safe(index, &value);
	/* With RDPMC direct, what the CPU has and the guest has not reads 0, too. */
	if (!mine && !vector && pmu_is_spare_index(index))
		mine = true;
	__GUEST_ASSERT(mine ? !vector && !value : vector == GP_VECTOR,
		       "RDPMC %#x of %s counter: vector %u, value %#lx", index,
		       mine ? "own" : "no", vector, value);
}

static void guest_rdmsr_is(uint32_t msr, bool mine, uint64_t want)
{
	uint64_t value = 0;
	uint8_t vector;

	vector = rdmsr_safe(msr, &value);
	/* Some MSRs of old can be read as 0 even where there is no counter. */
	__GUEST_ASSERT(mine ? !vector && value == want : vector == GP_VECTOR || !value,
		       "RDMSR %#x of %s counter: vector %u, value %#lx, wanted %#lx", msr,
		       mine ? "own" : "no", vector, value, want);
}

/*
 * All that a guest can name, in a PMU that it has not touched, but for a selector
 * that makes KVM load the PMU; nothing is written.
 */
static uint64_t selector_0;

static void guest_all_is_zero(void)
{
	/* What KVM gives to a guest at reset. */
	uint64_t global_ctrl = BIT_ULL(pmu.nr_gp) - 1;
	uint32_t i;

	for (i = 0; i < 64; i++)
		guest_rdpmc_is_zero(i, i < pmu.nr_gp);
	for (i = 0; i < 64; i++) {
		guest_rdpmc_is_zero(BIT(30) | i, i < pmu.nr_fixed);
		guest_rdpmc_is_zero(BIT(29) | i, !i && pmu_has_metrics());
		guest_rdpmc_is_zero(BIT(31) | i, false);
		guest_rdpmc_is_zero(BIT(31) | BIT(30) | i, false);
		/* The first three give clocks of the host: VMware's backdoor. */
		if (i > 2)
			guest_rdpmc_is_zero(BIT(16) | i, false);
	}
	guest_rdpmc_is_zero(-1u, false);

	if (pmu.intel) {
		for (i = 0; i < 8; i++) {
			guest_rdmsr_is(MSR_IA32_PERFCTR0 + i, i < pmu.nr_gp, 0);
			guest_rdmsr_is(MSR_IA32_PMC0 + i, i < pmu.nr_gp, 0);
			guest_rdmsr_is(MSR_CORE_PERF_FIXED_CTR0 + i, i < pmu.nr_fixed, 0);
			guest_rdmsr_is(MSR_P6_EVNTSEL0 + i, i < pmu.nr_gp,
				       i ? 0 : selector_0);
		}
		guest_rdmsr_is(MSR_PERF_METRICS, pmu_has_metrics(), 0);
		guest_rdmsr_is(MSR_CORE_PERF_FIXED_CTR_CTRL, pmu.global, 0);
		guest_rdmsr_is(MSR_CORE_PERF_GLOBAL_CTRL, pmu.global, global_ctrl);
		guest_rdmsr_is(MSR_CORE_PERF_GLOBAL_STATUS, pmu.global, 0);
		guest_rdmsr_is(MSR_CORE_PERF_GLOBAL_OVF_CTRL, pmu.global, 0);
		guest_rdmsr_is(MSR_INTEL_GLOBAL_STATUS_SET, false, 0);
		guest_rdmsr_is(MSR_CORE_PERF_GLOBAL_INUSE, false, 0);
		return;
	}

	for (i = 0; i < 4; i++) {
		guest_rdmsr_is(MSR_K7_PERFCTR0 + i, i < pmu.nr_gp, 0);
		guest_rdmsr_is(MSR_K7_EVNTSEL0 + i, i < pmu.nr_gp, i ? 0 : selector_0);
	}
	for (i = 0; i < 16; i++) {
		guest_rdmsr_is(MSR_F15H_PERF_CTR + 2 * i, pmu.core && i < pmu.nr_gp, 0);
		guest_rdmsr_is(MSR_F15H_PERF_CTL + 2 * i, pmu.core && i < pmu.nr_gp,
			       i ? 0 : selector_0);
	}
	guest_rdmsr_is(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, pmu.global, global_ctrl);
	guest_rdmsr_is(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, pmu.global, 0);
}

static uint64_t nr_pmis;

static void guest_pmi_handler(struct ex_regs *regs)
{
	nr_pmis++;
	x2apic_write_reg(APIC_LVTPC, PMI_VECTOR);
	x2apic_write_reg(APIC_EOI, 0);
}

static void guest_watch(void)
{
	uint32_t eax, ebx, ecx, edx;
	int i;

	x2apic_enable();
	x2apic_write_reg(APIC_LVTPC, PMI_VECTOR);
	asm volatile("sti");
	for (;;) {
		guest_all_is_zero();
		/* Again, when the PMU has changed hands without a way out to the VMM. */
		cpuid(0, &eax, &ebx, &ecx, &edx);
		guest_all_is_zero();
		for (i = 0; i < 1000; i++)
			asm volatile("pause" ::: "memory");
		GUEST_ASSERT_EQ(READ_ONCE(nr_pmis), 0);
		GUEST_SYNC(0);

		/* By turns as a guest that does not use its PMU, and one that does. */
		if (pmu.nr_gp) {
			selector_0 ^= SELECT_NOTHING;
			wrmsr(pmc_selector_msr(0), selector_0);
		}
		/* It is not taken at once for one that does not. */
		for (i = 0; !selector_0 && i < 300; i++)
			cpuid(0, &eax, &ebx, &ecx, &edx);
	}
}

/* The PMUs that guests may be given. */
static int shapes(struct pmu *shape)
{
	const struct pmu intel[] = {
		{ .nr_gp = pmu.nr_gp, .nr_fixed = pmu.nr_fixed, .global = true,
		  .metrics = pmu.metrics },
		{ .nr_gp = pmu.nr_gp, .nr_fixed = pmu.nr_fixed, .global = true },
		{ .nr_gp = pmu.nr_gp, .nr_fixed = 2, .global = true,
		  .metrics = pmu.metrics },
		{ .nr_gp = 2, .nr_fixed = pmu.nr_fixed, .global = true,
		  .metrics = pmu.metrics },
		{ .nr_gp = 1, .nr_fixed = 0, .global = true },
		/* Version 1 has neither GLOBAL_CTRL nor fixed counters. */
		{ .nr_gp = 3 },
	};
	const struct pmu amd[] = {
		{ .nr_gp = pmu.nr_gp, .core = pmu.core, .global = pmu.global },
		{ .nr_gp = 4 },
		{ .nr_gp = 6, .core = true },
		{ .nr_gp = 4, .core = true, .global = true },
		{ .nr_gp = 1, .core = true, .global = true },
	};
	const int nr = pmu.intel ? ARRAY_SIZE(intel) : pmu.global ? ARRAY_SIZE(amd) : 2;
	int i;

	for (i = 0; i < nr; i++) {
		shape[i] = pmu.intel ? intel[i] : amd[i];
		shape[i].intel = pmu.intel;
		shape[i].mediated = pmu.mediated;
		shape[i].host_gp = pmu.host_gp;
		shape[i].host_fixed = pmu.host_fixed;
		shape[i].host_metrics = pmu.host_metrics;
		shape[i].metrics_alone = pmu.metrics_alone;
	}
	return nr;
}

#define MAX_SHAPES	6

static struct kvm_vm *watcher_create(struct kvm_vcpu **vcpu, struct pmu *shape)
{
	struct kvm_vm *vm = pmu_vm_create_shaped(vcpu, guest_watch, shape);

	vm_install_exception_handler(vm, PMI_VECTOR, guest_pmi_handler);
	return vm;
}

static struct kvm_vm *watcher_create_without_pmu(struct kvm_vcpu **vcpu)
{
	const struct pmu all = pmu, none = { .intel = pmu.intel };
	struct kvm_vm *vm = vm_create(1);

	vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
	*vcpu = vm_vcpu_add(vm, 0, guest_watch);
	pmu = none;
	sync_global_to_guest(vm, pmu);
	pmu = all;
	vm_install_exception_handler(vm, PMI_VECTOR, guest_pmi_handler);
	return vm;
}

/* Guest: canaries in every register */

#define FILL_SELECT	(SELECT_OS_PMI | ARCH_PERFMON_EVENTSEL_USR)

/* The metrics must not count; on most CPUs it is enough that slots do not. */
static uint64_t fill_global_mask(void)
{
	return pmu_global_mask() & ~(pmu.metrics_alone ? GLOBAL_METRICS : 0);
}

/* All counters count, and those that count instructions overflow at once. */
static void guest_fill(void)
{
	int c;

	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), 0);
	for (c = 0; c < pmu_nr_counters(); c++) {
		wrmsr(pmc_msr(c), guest_canary(c));
		if (!pmc_is_fixed(c))
			wrmsr(pmc_selector_msr(c), pmu_branches() | FILL_SELECT);
	}
	/*
	 * Slots are not counted, so the metrics stay.  Zeroing that counter may zero
	 * them as well; but if it is zero, nobody does.
	 */
	if (pmu_has_metrics()) {
		wrmsr(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS, 0);
		wrmsr(MSR_PERF_METRICS, GUEST_METRICS);
	}
	if (pmu.nr_fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL,
		      FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL | FIXED_PMC_ENABLE_PMI) |
		      (pmu.nr_fixed > 1 ? FIXED_PMC_CTRL(1, FIXED_PMC_KERNEL) : 0));
	wrmsr(pmc_selector_msr(0), pmu_instructions() | FILL_SELECT);
	wrmsr(pmc_msr(0), COUNTER_MASK);
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), fill_global_mask());
	asm volatile("nop; nop; nop; nop");
}

/* What a guest finds when it comes back must be its own. */
static void guest_check_filled(void)
{
	uint64_t value;
	int c;

	for (c = 0; c < pmu_nr_counters(); c++) {
		bool zero = !c || (pmu_has_metrics() && c == pmu.nr_gp + FIXED_SLOTS);

		value = rdmsr(pmc_msr(c));
		__GUEST_ASSERT(value >> 32 == (zero ? 0 : GUEST_CANARY),
			       "counter %u: %#lx", c, value);
		if (!pmc_is_fixed(c))
			GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(c)),
					(c ? pmu_branches() : pmu_instructions()) | FILL_SELECT);
	}
	if (pmu_has_metrics()) {
		GUEST_ASSERT_EQ(rdmsr(MSR_PERF_METRICS), GUEST_METRICS);
		GUEST_ASSERT_EQ(_rdpmc(INTEL_RDPMC_METRICS), GUEST_METRICS);
	}
	if (pmu.global) {
		GUEST_ASSERT_EQ(rdmsr(pmu_global_ctrl_msr()), fill_global_mask());
		GUEST_ASSERT(rdmsr(pmu_global_status_msr()) & BIT_ULL(0));
		wrmsr(pmu_global_clear_msr(), pmu_global_mask());
	}
}

/* The PMI of the overflow stays pending for ever, in this guest. */
static void guest_fill_and_leave(void)
{
	x2apic_enable();
	asm volatile("cli");
	for (;;) {
		x2apic_write_reg(APIC_LVTPC, PMI_VECTOR);
		guest_fill();
		GUEST_SYNC(0);
		guest_check_filled();
	}
}

/* One CPU, VM by VM */

/*
 * GLOBAL_CTRL of a host whose counters all run, or whose perf has enabled the PMU for
 * nothing, must not be what a guest starts with: it would enable counters that the
 * guest has disabled there.
 */
static void guest_globally_disabled(void)
{
	const uint64_t ctrl = pmu_global_ctrl_msr();
	int c;

	/* The first access: it is direct only afterwards. */
	wrmsr(ctrl, 0);
	for (c = 0; c < pmu.nr_gp; c++)
		wrmsr(pmc_selector_msr(c), pmu_instructions() | SELECT_OS);
	GUEST_ASSERT_EQ(rdmsr(ctrl), 0);
	if (pmu.nr_fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL));
	for (;;) {
		GUEST_MEASURE(ctrl, 0, LOOPS, BLOCK_PLAIN);
		GUEST_MEASURE(ctrl, 0, LOOPS, BLOCK_CPUID);
		GUEST_MEASURE(ctrl, 0, LOOPS, BLOCK_IO);
		GUEST_ASSERT_EQ(rdmsr(ctrl), 0);
		for (c = 0; c < pmu_nr_counters(); c++)
			GUEST_ASSERT_EQ(rdmsr(pmc_msr(c)), 0);
		GUEST_SYNC(0);
	}
}

TEST(global_ctrl_of_the_host_enables_nothing)
{
	struct pmu shape[MAX_SHAPES];
	struct host_events events;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i, round, nr;

	if (!require_mediated_and_msrs())
		SKIP(return, NOT_MEDIATED);

	vm = pmu_vm_create(&vcpu, guest_globally_disabled);
	TEST_ASSERT(run(vcpu), "The guest is done");
	kvm_vm_free(vm);

	host_events_open(&events, 0, 0);
	nr = shapes(shape);
	for (i = 0; i < nr; i++) {
		if (!shape[i].global)
			continue;
		vm = pmu_vm_create_shaped(&vcpu, guest_globally_disabled, &shape[i]);
		for (round = 0; round < 5; round++) {
			TEST_ASSERT(host_rdmsr(pmu_global_ctrl_msr()), "The host counts nothing");
			TEST_ASSERT(run(vcpu), "The guest is done");
		}
		kvm_vm_free(vm);
	}
	host_events_close(&events);
}

static void check_nothing_counts(uint64_t ctrl_before)
{
	uint64_t ctrl = host_rdmsr(pmu_global_ctrl_msr());

	/* Either nothing or, if there was reason to enable the PMU, perf's own. */
	TEST_ASSERT(!ctrl || ctrl == ctrl_before, "GLOBAL_CTRL is %#lx, was %#lx",
		    ctrl, ctrl_before);
	TEST_ASSERT_EQ(host_rdmsr(pmu_global_status_msr()), 0);
}

/* Every register of the core PMU; nobody but the guest uses it. */
static void check_hardware_after(struct pmu *shape, uint64_t ctrl_before,
				 uint64_t *value_before)
{
	uint64_t value;
	int c;

	check_nothing_counts(ctrl_before);
	if (pmu.nr_fixed)
		TEST_ASSERT_EQ(host_rdmsr(MSR_CORE_PERF_FIXED_CTR_CTRL), 0);

	/*
	 * A write to the counter of slots may change the host's metrics, also perf's when
	 * it zeroes its own counters for a task that may read them.  Where their bit of
	 * GLOBAL_CTRL is enough they count for the host whenever perf counts anything.
	 */
	if (pmu.host_metrics && !pmu.metrics_alone) {
		value = host_rdmsr(MSR_PERF_METRICS);
		TEST_ASSERT(!value || (!shape->metrics && value == HOST_METRICS),
			    "PERF_METRICS is %#lx", value);
	}

	for (c = 0; c < pmu_nr_counters(); c++) {
		bool theirs = pmc_is_fixed(c) ? c - pmu.nr_gp < shape->nr_fixed :
						c < shape->nr_gp;

		value = host_rdmsr(pmc_msr(c));
		TEST_ASSERT(!value || (!theirs && value == value_before[c]),
			    "Counter %d%s is %#lx, was %#lx", c,
			    theirs ? " of the guest" : "", value, value_before[c]);
		if (pmc_is_fixed(c))
			continue;
		value = host_rdmsr(pmc_selector_msr(c));
		TEST_ASSERT(theirs ? !value : !(value & ARCH_PERFMON_EVENTSEL_ENABLE),
			    "Selector %d%s is %#lx", c, theirs ? " of the guest" : "", value);
	}
}

/* Have this task read the event @fd with RDPMC, if it wants to: until it is unmapped. */
static void *allow_rdpmc(int fd)
{
	void *page = mmap(NULL, getpagesize(), PROT_READ, MAP_SHARED, fd, 0);

	TEST_ASSERT(page != MAP_FAILED, __KVM_SYSCALL_ERROR("mmap", -1));
	return page;
}

/*
 * The guest's counters run, some have overflowed, and then it leaves.  Nothing may
 * count from then on.  As soon as a task may read counters the host finds nothing
 * of the guest in the registers; neither does it where the task may already, nor
 * when the guest is no more.
 */
TEST(nothing_of_a_guest_stays_in_hardware)
{
	uint64_t value_before[MAX_COUNTERS], ctrl_before;
	struct pmu shape[MAX_SHAPES];
	int i, c, round, nr, event;
	struct kvm_vcpu *vcpu, *other_vcpu;
	struct kvm_vm *vm, *other;
	bool watchdog;
	void *page;

	if (!require_mediated_and_msrs())
		SKIP(return, NOT_MEDIATED);

	/* What is in hardware then is of nobody else. */
	watchdog = set_nmi_watchdog('0');
	event = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_GUEST, 0, -1);
	TEST_ASSERT(event >= 0, __KVM_SYSCALL_ERROR("perf_event_open", event));
	ioctl(event, PERF_EVENT_IOC_DISABLE, 0);
	munmap(allow_rdpmc(event), getpagesize());

	ctrl_before = host_rdmsr(pmu_global_ctrl_msr());
	nr = shapes(shape);
	for (i = 0; i < nr; i++) {
		set_host_metrics_canary();
		for (c = 0; c < pmu_nr_counters(); c++)
			value_before[c] = host_rdmsr(pmc_msr(c));
		vm = pmu_vm_create_shaped(&vcpu, guest_fill_and_leave, &shape[i]);
		for (round = 0; round < 6; round++) {
			if (round & 1)
				page = allow_rdpmc(event);
			TEST_ASSERT(run(vcpu), "The guest is done");
			check_nothing_counts(ctrl_before);
			if (!(round & 1))
				page = allow_rdpmc(event);
			check_hardware_after(&shape[i], ctrl_before, value_before);
			munmap(page, getpagesize());
		}
		TEST_ASSERT(run(vcpu), "The guest is done");
		kvm_vm_free(vm);
		check_hardware_after(&shape[i], ctrl_before, value_before);
	}

	/* The one that comes second has fewer registers. */
	other = pmu_vm_create(&other_vcpu, guest_fill_and_leave);
	for (i = 0; i < nr; i++) {
		vm = pmu_vm_create_shaped(&vcpu, guest_fill_and_leave, &shape[i]);
		TEST_ASSERT(run(other_vcpu), "The guest is done");
		TEST_ASSERT(run(vcpu), "The guest is done");
		check_nothing_counts(ctrl_before);
		page = allow_rdpmc(event);
		check_hardware_after(&pmu, ctrl_before, value_before);
		munmap(page, getpagesize());
		kvm_vm_free(vm);
	}
	kvm_vm_free(other);
	close(event);
	if (watchdog)
		set_nmi_watchdog('1');
}

static void watch(struct kvm_vcpu *vcpu, struct host_events *events)
{
	int round;

	for (round = 0; round < 3; round++) {
		if (events)
			check_host_canaries(events);
		TEST_ASSERT(run(vcpu), "The guest is done");
	}
}

/*
 * The guest makes use of all counters, and perf's event gives way.  Then it makes use of
 * one only, which it says in the exit fastpath, and perf gets a counter back at the next
 * VM-exit.  That one is not the guest's any more, nor is the status.
 */
static void guest_ends_conflict(void)
{
	uint64_t value;
	int c, round;

	guest_pmu_reset();
	for (c = 0; c < pmu.nr_gp; c++) {
		wrmsr(pmc_msr(c), c);
		wrmsr(pmc_selector_msr(c), SELECT_NOTHING);
	}
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), pmu_global_mask());
	GUEST_SYNC(0);

	for (c = 1; c < pmu.nr_gp; c++)
		wrmsr(pmc_selector_msr(c), 0);

	for (round = 0; round < 3; round++) {
		asm volatile("cpuid" : : "a" (0) : "ebx", "ecx", "edx");
		for (c = 1; c < pmu.nr_gp; c++) {
			GUEST_ASSERT_EQ(rdpmc_safe(pmc_rdpmc_index(c), &value), 0);
			GUEST_ASSERT_EQ(value, c);
		}
		if (pmu.global)
			GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()), 0);
	}
	GUEST_DONE();
}

TEST(host_values_after_a_conflict)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int fd;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	kvm_pin_this_task_to_pcpu(0);
	vm = pmu_vm_create(&vcpu, guest_ends_conflict);
	fd = __perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_GUEST | EVENT_PINNED,
			 host_canary(), 0, -1);
	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd));
	TEST_ASSERT(run(vcpu), "The guest is done");
	TEST_ASSERT(!run(vcpu), "The guest is not done");
	if (!pmu.vpmc)
		TEST_ASSERT(vcpu_stat(vcpu, "pmu_conflicts"), "There was no conflict");
	TEST_ASSERT(perf_read(fd).count > 100, "The host's event does not count");
	close(fd);
	kvm_vm_free(vm);
}

/*
 * The host's counters hold values that are easy to tell.  A guest that has fewer
 * counters, or none, tries every MSR and every index of RDPMC.  The host looks
 * whether the values are in hardware indeed.
 */
TEST(host_values_in_counters_the_guest_lacks)
{
	const uint64_t period = (1ull << 48) - host_canary();
	struct pmu shape[MAX_SHAPES];
	struct host_events events;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i, nr;

	if (!require_mediated_and_msrs())
		SKIP(return, NOT_MEDIATED);

	host_events_open(&events, period, 0);
	nr = shapes(shape);
	for (i = 0; i < nr; i++) {
		vm = watcher_create(&vcpu, &shape[i]);
		watch(vcpu, &events);
		kvm_vm_free(vm);
	}
	vm = watcher_create_without_pmu(&vcpu);
	watch(vcpu, &events);
	kvm_vm_free(vm);
	host_events_close(&events);

	/* perf leaves the values of events that are gone. */
	check_host_canaries(&events);
	vm = watcher_create_without_pmu(&vcpu);
	watch(vcpu, NULL);
	kvm_vm_free(vm);
	check_host_canaries(&events);
	vm = watcher_create(&vcpu, &shape[nr - 1]);
	watch(vcpu, NULL);
	kvm_vm_free(vm);
}

/*
 * AMD's GLOBAL_CTL is not switched by hardware, so counters of the guest are
 * enabled in it when the host runs.  The VMM does a lot between any two
 * instructions of the guest, for which nothing may be counted, in either ring.
 */
#define NR_HOST_MODE	4

static void guest_host_mode(void)
{
	const uint64_t both = SELECT_OS | ARCH_PERFMON_EVENTSEL_USR;
	const uint64_t cycles = pmu.intel ? INTEL_ARCH_CPU_CYCLES : AMD_ZEN_CORE_CYCLES;
	const uint64_t select[NR_HOST_MODE] = {
		pmu_instructions() | both, pmu_branches() | both,
		pmu_instructions() | SELECT_USR, cycles | both,
	};
	int c;

	for (;;) {
		guest_pmu_reset();
		for (c = 0; c < NR_HOST_MODE; c++)
			wrmsr(pmc_selector_msr(c), select[c]);
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_IO);
		/* What confines it to the guest is the host's business. */
		for (c = 0; c < NR_HOST_MODE; c++)
			GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(c)), select[c]);
		GUEST_ASSERT(pmu_counted_insns(rdmsr(pmc_msr(0)),
					       MEASURED_INSNS(BLOCK_IO_INSNS, LOOPS), LOOPS));
		GUEST_ASSERT(pmu_counted_branches(rdmsr(pmc_msr(1)),
						  MEASURED_BRANCHES(0, LOOPS), LOOPS));
		GUEST_ASSERT_EQ(rdmsr(pmc_msr(2)), 0);
		GUEST_SYNC(rdmsr(pmc_msr(3)));
	}
}

/* The cycles that the guest has counted, with the VMM busy at each exit. */
static uint64_t cycles_of_guest(struct kvm_vcpu *vcpu, uint64_t burn)
{
	struct ucall uc;

	for (;;) {
		vcpu_run(vcpu);
		host_burn(burn);
		if (vcpu->run->exit_reason == KVM_EXIT_IO && vcpu->run->io.port == IO_PORT)
			continue;
		switch (get_ucall(vcpu, &uc)) {
		case UCALL_SYNC:
			return uc.args[1];
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			TEST_FAIL("Unexpected exit %u", vcpu->run->exit_reason);
		}
	}
}

TEST(host_mode_is_not_counted_for_the_guest)
{
	const uint64_t burn = 200000;
	struct kvm_vcpu *vcpu;
	uint64_t idle, busy;
	struct kvm_vm *vm;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	vm = pmu_vm_create(&vcpu, guest_host_mode);
	cycles_of_guest(vcpu, 1);
	idle = cycles_of_guest(vcpu, 1);
	busy = cycles_of_guest(vcpu, burn);
	TEST_ASSERT(busy < idle + burn, "%lu cycles with an idle VMM, %lu with a busy one",
		    idle, busy);
	kvm_vm_free(vm);
}

/*
 * An event is denied.  It must not be counted by way of another counter, of bits
 * that change what is counted, or with AnyThread, which counts what the other
 * thread of the core does, be that the host or another guest.
 */
static void guest_denied(void)
{
	static const uint64_t modifiers[] = {
		0, ARCH_PERFMON_EVENTSEL_USR, 1 << 24 /* CMASK */,
		1 << 24 | ARCH_PERFMON_EVENTSEL_EDGE, 2 << 24 | ARCH_PERFMON_EVENTSEL_INV,
		ARCH_PERFMON_EVENTSEL_ANY, ARCH_PERFMON_EVENTSEL_ANY | 1 << 24,
	};
	uint64_t select, old;
	uint8_t vector;
	int c, i;

	for (c = 0; c < pmu.nr_gp; c++) {
		for (i = 0; i < ARRAY_SIZE(modifiers); i++) {
			guest_pmu_reset();
			old = rdmsr(pmc_selector_msr(c));
			select = pmu_instructions() | SELECT_OS | modifiers[i];
			vector = wrmsr_safe(pmc_selector_msr(c), select);
			if (!(select & ARCH_PERFMON_EVENTSEL_ANY)) {
				GUEST_ASSERT_EQ(vector, 0);
				GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(c)), select);
			} else if (pmu.intel) {
				/* It is refused there, and AMD has none: the bit is dropped. */
				GUEST_ASSERT_EQ(vector, GP_VECTOR);
				GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(c)), old);
			} else {
				GUEST_ASSERT_EQ(vector, 0);
				GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(c)),
						select & ~ARCH_PERFMON_EVENTSEL_ANY);
			}
			GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS,
				      BLOCK_CPUID);
			__GUEST_ASSERT(!rdmsr(pmc_msr(c)), "counter %u, selector %#lx: %lu", c,
				       select, rdmsr(pmc_msr(c)));
		}
	}

	for (c = 0; c < pmu.nr_fixed; c++) {
		guest_pmu_reset();
		select = FIXED_PMC_CTRL((uint64_t)c, FIXED_PMC_KERNEL | FIXED_PMC_USER);
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, select);
		vector = wrmsr_safe(MSR_CORE_PERF_FIXED_CTR_CTRL, select |
				    FIXED_PMC_CTRL((uint64_t)c, FIXED_PMC_ANYTHREAD));
		GUEST_ASSERT_EQ(vector, GP_VECTOR);
		GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_FIXED_CTR_CTRL), select);
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_CPUID);
		__GUEST_ASSERT(!rdmsr(pmc_msr(pmu.nr_gp + c)), "fixed counter %u: %lu", c,
			       rdmsr(pmc_msr(pmu.nr_gp + c)));
	}
	GUEST_DONE();
}

TEST(denied_events_do_not_count_with_anythread)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	if (!pmu.global)
		SKIP(return, "no GLOBAL_CTRL to enable counters with");

	vm = pmu_vm_create(&vcpu, guest_denied);
	pmu_set_filter(vm, KVM_PMU_EVENT_DENY, pmu_instructions(), -1u);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

/*
 * Ring 3 of a guest, which selftests know nothing of: two segments, a stack to come
 * back on, and pages it may use.  It ends with a HLT, which faults there.
 */
#define USER_CS		0x33
#define USER_DS		0x3b
#define STACK_SIZE	4096

static uint8_t ring0_stack[STACK_SIZE] __aligned(16);
static uint8_t ring3_stack[STACK_SIZE] __aligned(16);
static uint64_t ring0_rsp, ring0_rip;

static void guest_back_to_ring_0(struct ex_regs *regs)
{
	/* RSP and SS are behind RFLAGS. */
	uint64_t *frame = &regs->rip;

	GUEST_ASSERT_EQ(regs->cs, USER_CS);
	frame[0] = ring0_rip;
	frame[1] = 0x8;
	frame[2] = 0x2;
	frame[3] = ring0_rsp;
	frame[4] = 0x10;
}

static void guest_setup_ring_3(uint64_t tss)
{
	uint64_t *gdt = (uint64_t *)get_gdt().address;

	gdt[USER_CS / 8] = 0x00affb000000ffff;
	gdt[USER_DS / 8] = 0x00cff3000000ffff;
	memcpy((void *)(tss + 4), &(uint64_t){ (uint64_t)ring0_stack + STACK_SIZE }, 8);
}

/* IOPL is 3, so that INB is for KVM and the VMM, not for the guest. */
#define GUEST_RING_3(_loops, _block)						\
do {										\
	register uint64_t r12 asm("r12") = (_loops);				\
	register uint64_t r13 asm("r13") = (uint64_t)ring3_stack + STACK_SIZE;	\
										\
	asm volatile("mov %%rsp, %[rsp]\n\t"					\
		     "lea 3f(%%rip), %%rax\n\t"					\
		     "mov %%rax, %[rip]\n\t"					\
		     "sub $256, %%rsp\n\t"					\
		     "pushq $" __stringify(USER_DS) "\n\t"			\
		     "pushq %%r13\n\t"						\
		     "pushq $0x3002\n\t"					\
		     "pushq $" __stringify(USER_CS) "\n\t"			\
		     "lea 1f(%%rip), %%rax\n\t"					\
		     "pushq %%rax\n\t"						\
		     "iretq\n\t"						\
		     "1: mov %%r12d, %%r8d\n\t"					\
		     "2:\n\t"							\
		     _block							\
		     "dec %%r8d\n\t"						\
		     "jnz 2b\n\t"						\
		     "hlt\n\t"							\
		     "3:\n\t"							\
		     : [rsp]"=m"(ring0_rsp), [rip]"=m"(ring0_rip)		\
		     : "r"(r12), "r"(r13)					\
		     : "rax", "rbx", "rcx", "rdx", "r8", "cc", "memory");	\
} while (0)

enum ring_3_block { R3_PLAIN, R3_CPUID, R3_IO, NR_R3_BLOCKS };

static void guest_ring_3_counts(enum ring_3_block block, uint64_t loops, uint64_t *counts)
{
	const uint64_t select[4] = {
		pmu_instructions() | SELECT_USR, pmu_instructions() | SELECT_OS,
		pmu_branches() | SELECT_USR, pmu_branches() | SELECT_OS,
	};
	int c;

	guest_pmu_reset();
	for (c = 0; c < 4; c++)
		wrmsr(pmc_selector_msr(c), select[c]);
	wrmsr(pmu_global_ctrl_msr(), 0xf);
	switch (block) {
	case R3_PLAIN:
		GUEST_RING_3(loops, BLOCK_PLAIN);
		break;
	case R3_CPUID:
		GUEST_RING_3(loops, BLOCK_CPUID);
		break;
	default:
		GUEST_RING_3(loops, BLOCK_IO);
		break;
	}
	wrmsr(pmu_global_ctrl_msr(), 0);
	for (c = 0; c < 4; c++)
		counts[c] = rdmsr(pmc_msr(c));
}

/*
 * The way there and back is the same for any number of loops, so what more loops
 * add is known, in each ring.
 */
static void guest_ring_3(uint64_t tss)
{
	static const uint64_t insns[NR_R3_BLOCKS] = {
		[R3_PLAIN] = BLOCK_PLAIN_INSNS,
		[R3_CPUID] = BLOCK_CPUID_INSNS,
		[R3_IO] = BLOCK_IO_INSNS,
	};
	uint64_t few[4], many[4], exits, want;
	int64_t more[4];
	int block, c;

	guest_setup_ring_3(tss);
	/* Take the exits for missing pages. */
	guest_ring_3_counts(R3_PLAIN, 1, few);

	for (block = 0; block < NR_R3_BLOCKS; block++) {
		guest_ring_3_counts(block, 1, few);
		guest_ring_3_counts(block, 1 + LOOPS, many);
		for (c = 0; c < 4; c++)
			more[c] = many[c] - few[c];
		want = LOOPS * (insns[block] + 2);
		exits = block == R3_PLAIN ? 0 : LOOPS;

		/* In which ring a VM-entry counts is the CPU's affair. */
		__GUEST_ASSERT(more[0] >= (int64_t)want - SPARE_ENTRIES * pmu.entry_insns &&
			       pmu_counted_insns(more[0] + more[1], want, exits),
			       "block %u: %ld instructions more in ring 3 and %ld in ring 0, wanted %lu",
			       block, more[0], more[1], want);
		__GUEST_ASSERT(more[2] >= LOOPS - SPARE_ENTRIES * pmu.entry_branches &&
			       pmu_counted_branches(more[2] + more[3], LOOPS, exits),
			       "block %u: %ld branches more in ring 3 and %ld in ring 0, wanted %u",
			       block, more[2], more[3], LOOPS);
		__GUEST_ASSERT(pmu.entry_insns || !more[1],
			       "block %u: %ld instructions more in ring 0", block, more[1]);
		__GUEST_ASSERT(pmu.entry_branches || !more[3],
			       "block %u: %ld branches more in ring 0", block, more[3]);
	}
	GUEST_DONE();
}

/* All pages are for ring 3 as well. */
static void let_ring_3_in(struct kvm_vm *vm, uint64_t table, int level)
{
	uint64_t *pte = addr_gpa2hva(vm, table);
	int i;

	for (i = 0; i < 512; i++) {
		if (!(pte[i] & PTE_PRESENT_MASK))
			continue;
		pte[i] |= PTE_USER_MASK;
		if (level > 1 && !(pte[i] & PTE_LARGE_MASK))
			let_ring_3_in(vm, pte[i] & PHYSICAL_PAGE_MASK, level - 1);
	}
}

/*
 * Counters that KVM counts up for an instruction that it emulates must be those
 * that count the ring which the guest is in.
 */
TEST(emulated_in_ring_3_counts_once_and_only_there)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	if (!pmu.global)
		SKIP(return, "no GLOBAL_CTRL to enable counters with");

	vm = pmu_vm_create(&vcpu, guest_ring_3);
	vm_install_exception_handler(vm, GP_VECTOR, guest_back_to_ring_0);
	let_ring_3_in(vm, vm->pgd, 4);
	vcpu_args_set(vcpu, 1, vm->arch.tss);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

/*
 * The rest of what CPUs have to watch programs with, of which guests of a mediated
 * PMU have nothing: first MSR and how many.
 */
static const struct msr_range {
	uint32_t first;
	uint32_t nr;
} intel_hidden[] = {
	{ 0x1a6, 2 },	/* OFFCORE_RSP */
	{ 0x1c8, 2 },	/* LBR_SELECT, LBR_TOS */
	{ 0x1d9, 1 },	/* DEBUGCTL */
	{ 0x1db, 4 },	/* LASTBRANCH, LASTINT */
	{ 0x040, 32 },	/* LBR_FROM, LBR_TO of old */
	{ 0x060, 32 },
	{ 0x680, 32 },	/* LBR_FROM */
	{ 0x6c0, 32 },	/* LBR_TO */
	{ 0xdc0, 32 },	/* LBR_INFO */
	{ 0x14ce, 2 },	/* architectural LBR */
	{ 0x1200, 32 },
	{ 0x1500, 32 },
	{ 0x1600, 32 },
	{ 0x329, 1 },	/* PERF_METRICS */
	{ 0x30c, 1 },	/* fixed counter 3 */
	{ 0x391, 2 },	/* GLOBAL_STATUS_SET, GLOBAL_INUSE */
	{ 0x3f1, 2 },	/* PEBS_ENABLE, PEBS_DATA_CFG */
	{ 0x3f6, 2 },	/* PEBS_LD_LAT, PEBS_FRONTEND */
	{ 0x600, 1 },	/* DS_AREA */
	{ 0x570, 4 },	/* Processor Trace */
}, amd_hidden[] = {
	{ 0x1d9, 1 },		/* DEBUGCTL */
	{ 0x1db, 4 },		/* LASTBRANCH, LASTINT */
	{ 0xc000010e, 2 },	/* LBR_SELECT, DBG_EXTN_CFG */
	{ 0xc0010300, 32 },	/* LBR_FROM, LBR_TO */
	{ 0xc0010230, 12 },	/* L3 */
	{ 0xc0010240, 8 },	/* northbridge */
	{ 0xc0011030, 14 },	/* IBS */
};

static void guest_hidden(void)
{
	const struct msr_range *range = pmu.intel ? intel_hidden : amd_hidden;
	const int nr = pmu.intel ? ARRAY_SIZE(intel_hidden) : ARRAY_SIZE(amd_hidden);
	uint32_t eax, ebx, ecx, edx, i;
	uint64_t value;
	uint8_t vector;
	int r, round;

	for (round = 0; round < 2; round++) {
		for (r = 0; r < nr; r++) {
			for (i = 0; i < range[r].nr; i++) {
				value = 0;
				vector = rdmsr_safe(range[r].first + i, &value);
				__GUEST_ASSERT(vector == GP_VECTOR || !value,
					       "RDMSR %#x: %#lx", range[r].first + i, value);
			}
		}
		for (i = 0; i < 32; i++) {
			vector = rdpmc_safe(BIT(29) | i, &value);
			__GUEST_ASSERT(!i && pmu_has_metrics() ? !vector && !value :
				       vector == GP_VECTOR, "RDPMC %#x: %#lx",
				       (uint32_t)BIT(29) | i, value);
		}
		/* No LBR, PEBS, DS or PT in what the guest is told, either. */
		cpuid(1, &eax, &ebx, &ecx, &edx);
		if (pmu.intel && ecx & BIT(15))
			GUEST_ASSERT_EQ(rdmsr(MSR_IA32_PERF_CAPABILITIES) &
					(PMU_CAP_LBR_FMT | GENMASK(11, 6) |
					 (pmu.metrics ? 0 : PMU_CAP_METRICS)), 0);
	}
	GUEST_DONE();
}

static const char freeze_on_smi[] = "/sys/bus/event_source/devices/cpu/freeze_on_smi";

static bool set_freeze_on_smi(char value)
{
	int fd = open(freeze_on_smi, O_RDWR);
	bool done = fd >= 0 && write(fd, &value, 1) == 1;

	if (fd >= 0)
		close(fd);
	return done;
}

/*
 * Have the host use fixed counter 3 and PERF_METRICS, where perf knows of them:
 * slots, and what became of them.
 */
#define NR_TOPDOWN	5

static bool open_topdown(int *fd)
{
	static const uint16_t config[NR_TOPDOWN] = {
		0x0400, 0x8000, 0x8100, 0x8200, 0x8300,
	};
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_RAW,
		.exclude_guest = true,
		.read_format = PERF_FORMAT_GROUP,
	};
	int i;

	/* Where there are no metrics, these may be events of another kind. */
	if (access("/sys/bus/event_source/devices/cpu/events/topdown-retiring", F_OK))
		return false;

	/* All of them from the same moment on: to open one takes a while. */
	for (i = 0; i < NR_TOPDOWN; i++) {
		attr.config = config[i];
		attr.disabled = !i;
		fd[i] = syscall(__NR_perf_event_open, &attr, 0, -1, i ? fd[0] : -1,
				PERF_FLAG_FD_CLOEXEC);
		if (fd[i] < 0)
			break;
	}
	if (i == NR_TOPDOWN) {
		ioctl(fd[0], PERF_EVENT_IOC_ENABLE, 0);
		return true;
	}

	while (i--)
		close(fd[i]);
	return false;
}

static void close_topdown(int *fd)
{
	int i;

	for (i = 0; i < NR_TOPDOWN; i++)
		close(fd[i]);
}

TEST(other_msrs_of_the_host_are_hidden)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int topdown[NR_TOPDOWN];
	bool metrics = false;
	bool frozen;

	if (!require_mediated_and_msrs())
		SKIP(return, NOT_MEDIATED);

	/* What can be had of canaries: one bit of DEBUGCTL, and the metrics. */
	frozen = set_freeze_on_smi('1');
	TEST_ASSERT(!frozen || host_rdmsr(MSR_IA32_DEBUGCTLMSR), "The host's DEBUGCTL is 0");
	if (pmu.intel)
		metrics = open_topdown(topdown);
	host_burn(100000);
	if (!metrics)
		set_host_metrics_canary();
	printf("# canaries: DEBUGCTL %d, metrics %d, fixed counter 3 %d\n", frozen,
	       pmu.intel && host_has(MSR_PERF_METRICS),
	       pmu.intel && host_has(MSR_CORE_PERF_FIXED_CTR0 + 3));

	vm = pmu_vm_create(&vcpu, guest_hidden);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);

	if (metrics)
		close_topdown(topdown);
	if (frozen) {
		/* The guest has not changed it. */
		TEST_ASSERT(host_rdmsr(MSR_IA32_DEBUGCTLMSR), "The host's DEBUGCTL is 0");
		set_freeze_on_smi('0');
	}
}

/*
 * VM A leaves with all its counters running, overflown, and with a PMI pending;
 * then VM B runs on the same CPU.  B has never touched its PMU: it must be as it
 * is after a reset, and no PMI may come.
 */
TEST(guest_sees_nothing_of_the_guest_before)
{
	struct kvm_vcpu *a_vcpu, *vcpu[MAX_SHAPES + 1];
	struct kvm_vm *a, *vm[MAX_SHAPES + 1];
	struct pmu shape[MAX_SHAPES];
	int i, round, nr;

	kvm_pin_this_task_to_pcpu(0);
	nr = shapes(shape);
	/* It has all there is to be had. */
	pmu_ask_for_metrics();
	a = pmu_vm_create(&a_vcpu, guest_fill_and_leave);
	for (i = 0; i < nr; i++)
		vm[i] = watcher_create(&vcpu[i], &shape[i]);
	vm[nr] = watcher_create_without_pmu(&vcpu[nr]);

	for (round = 0; round < 4; round++) {
		for (i = 0; i <= nr; i++) {
			TEST_ASSERT(run(a_vcpu), "The first guest is done");
			TEST_ASSERT(run(vcpu[i]), "The second guest is done");
		}
	}

	for (i = 0; i <= nr; i++)
		kvm_vm_free(vm[i]);
	kvm_vm_free(a);
}

/*
 * Fixed counter 3 and PERF_METRICS have values of perf's events, or of another guest, and
 * nobody uses them now.  A guest that lacks either has RDPMC and GLOBAL_CTRL directly: it
 * finds 0, and sets bits that enable nothing.
 */
enum leaver { TOPDOWN_EVENTS, LAST_VALUES, OTHER_GUEST, NR_LEAVERS };

#define NR_SPARE_ROUNDS		4

static void guest_read_spare(void)
{
	static const uint32_t index[] = { INTEL_RDPMC_FIXED | FIXED_SLOTS, INTEL_RDPMC_METRICS };
	uint64_t value;
	uint8_t vector;
	int i;

	for (i = 0; i < ARRAY_SIZE(index); i++) {
		if (!pmu_is_spare_index(index[i]))
			continue;
		value = -1;
		vector = rdpmc_safe(index[i], &value);
		__GUEST_ASSERT(!vector && !value, "RDPMC %#x: vector %u, value %#lx", index[i],
			       vector, value);
	}
}

static void guest_spare(void)
{
	const uint64_t ctrl = pmu_global_mask() | pmu_spare_bits();
	uint32_t eax, ebx, ecx, edx;
	int i;

	guest_pmu_reset();
	wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
	GUEST_SYNC(0);
	for (;;) {
		/* The PMU changes hands on the way. */
		cpuid(0, &eax, &ebx, &ecx, &edx);
		guest_read_spare();

		for (i = 0; i < NR_SPARE_ROUNDS; i++) {
			GUEST_ASSERT_EQ(wrmsr_safe(MSR_CORE_PERF_GLOBAL_CTRL, ctrl), 0);
			asm volatile("nop; nop; nop; nop; nop; nop; nop; nop");
			/* A CPU of which bit 48 is enough has the guest's own there meanwhile. */
			if (!pmu.metrics_alone)
				guest_read_spare();
			/* Not the counter itself, nor the metrics, nor a way to enable it. */
			if (pmu.nr_fixed == FIXED_SLOTS) {
				GUEST_ASSERT_EQ(rdmsr_safe(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS,
							   &(uint64_t){ 0 }), GP_VECTOR);
				GUEST_ASSERT_EQ(wrmsr_safe(MSR_CORE_PERF_FIXED_CTR_CTRL,
							   FIXED_PMC_CTRL(FIXED_SLOTS, 2ull)),
						GP_VECTOR);
			}
			GUEST_ASSERT_EQ(rdmsr_safe(MSR_PERF_METRICS, &(uint64_t){ 0 }), GP_VECTOR);
			GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), pmu_global_mask());
		}
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_CORE_PERF_GLOBAL_CTRL, ctrl), 0);
		asm volatile("nop; nop; nop; nop; nop; nop; nop; nop");
		GUEST_SYNC(1);
		GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), pmu_global_mask());
		GUEST_ASSERT_EQ(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS) & pmu_spare_bits(), 0);
	}
}

static void guest_counts_slots(void)
{
	for (;;) {
		guest_pmu_reset();
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(FIXED_SLOTS, FIXED_PMC_KERNEL));
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), LOOPS, BLOCK_CPUID);
		GUEST_ASSERT(rdmsr(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS));
		GUEST_ASSERT(rdmsr(MSR_PERF_METRICS));
		GUEST_SYNC(0);
	}
}

static void leave_values(enum leaver leaver, struct kvm_vcpu *other)
{
	int fd[NR_TOPDOWN];

	switch (leaver) {
	case TOPDOWN_EVENTS:
		TEST_ASSERT(open_topdown(fd), "No topdown events");
		host_burn(10000);
		close_topdown(fd);
		TEST_ASSERT(host_rdmsr(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS),
			    "perf's slots leave no value");
		break;
	case LAST_VALUES:
		set_host_metrics_canary();
		break;
	default:
		TEST_ASSERT(run(other), "The other guest is done");
	}
}

static void check_spare(struct kvm_vcpu *vcpu, uint64_t spare, uint64_t mask)
{
	uint64_t ctrl = vcpu_get_msr(vcpu, MSR_CORE_PERF_GLOBAL_CTRL);
	uint64_t status = vcpu_get_msr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS);

	TEST_ASSERT_EQ(ctrl, mask);
	TEST_ASSERT_EQ(status & spare, 0);
	/* What has been saved can be restored, and no more than that. */
	vcpu_set_msr(vcpu, MSR_CORE_PERF_GLOBAL_CTRL, ctrl);
	vcpu_set_msr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS, status);
	TEST_ASSERT(!_vcpu_set_msr(vcpu, MSR_CORE_PERF_GLOBAL_CTRL, ctrl | spare),
		    "Bits %#lx of GLOBAL_CTRL can be set", spare);
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_PERF_METRICS), 0);
}

TEST(spare_counter_and_metrics_are_zero)
{
	struct kvm_vcpu *vcpu, *other_vcpu;
	uint64_t spare, mask;
	struct kvm_vm *vm, *other;
	bool watchdog, for_all;
	enum leaver leaver;
	int i, round;

	if (!require_mediated_and_msrs())
		SKIP(return, NOT_MEDIATED);
	for_all = pmu.metrics;
	if (!pmu_ask_for_metrics())
		return;

	/* RDPMC is direct while the host has no event. */
	watchdog = set_nmi_watchdog('0');
	other = pmu_vm_create(&other_vcpu, guest_counts_slots);
	for (i = 0; i < 3; i++) {
		/* A VMM may ask for all, or get all without, and give the guest less. */
		pmu.asks = i || for_all;
		pmu.nr_fixed = i < 2 ? FIXED_SLOTS : FIXED_SLOTS + 1;
		pmu.metrics = false;
		spare = pmu_spare_bits();
		mask = pmu_global_mask();
		TEST_ASSERT_EQ(spare, GLOBAL_METRICS | (i < 2 ? BIT_ULL(32 + FIXED_SLOTS) : 0));
		vm = pmu_vm_create(&vcpu, guest_spare);
		TEST_ASSERT_EQ(pmu_run(vcpu), 0);

		for (leaver = 0; leaver < NR_LEAVERS; leaver++) {
			for (round = 0; round < 3; round++) {
				leave_values(leaver, other_vcpu);
				TEST_ASSERT_EQ(pmu_run(vcpu), 1);
				check_spare(vcpu, spare, mask);
			}
		}
		kvm_vm_free(vm);
		if (!pmu.metrics_alone)
			TEST_ASSERT_EQ(host_rdmsr(MSR_PERF_METRICS), 0);
		TEST_ASSERT_EQ(host_rdmsr(MSR_CORE_PERF_FIXED_CTR0 + FIXED_SLOTS), 0);
	}
	kvm_vm_free(other);
	if (watchdog)
		set_nmi_watchdog('1');
}

/*
 * Events of the host come and go beside a guest that has its PMU, always the same
 * on the same counters: what they have left there is not for the guest to see.
 */
TEST(guest_sees_nothing_of_events_that_come_back)
{
	struct host_events events;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i, round;
	bool watchdog;

	kvm_pin_this_task_to_pcpu(0);
	watchdog = set_nmi_watchdog('0');
	vm = watcher_create(&vcpu, &pmu);
	host_events_open(&events, 0, 0);
	for (round = 0; round < 8; round++) {
		for (i = 0; i < events.nr; i++)
			ioctl(events.fd[i], round & 1 ? PERF_EVENT_IOC_ENABLE :
							PERF_EVENT_IOC_DISABLE, 0);
		host_burn(1000);
		TEST_ASSERT(run(vcpu), "The guest is done");
		TEST_ASSERT(run(vcpu), "The guest is done");
	}
	host_events_close(&events);
	kvm_vm_free(vm);
	if (watchdog)
		set_nmi_watchdog('1');
}

/* Write to every counter there may be, whether it is the guest's or not. */
static void guest_scribble(uint64_t value)
{
	uint32_t i;

	for (;;) {
		guest_pmu_reset();
		for (i = 0; i < 8; i++) {
			if (pmu.intel) {
				wrmsr_safe(MSR_IA32_PERFCTR0 + i, value);
				wrmsr_safe(MSR_IA32_PMC0 + i, value);
				wrmsr_safe(MSR_CORE_PERF_FIXED_CTR0 + i, value);
				wrmsr_safe(MSR_P6_EVNTSEL0 + i, pmu_instructions() | FILL_SELECT);
				wrmsr_safe(MSR_PERF_METRICS, value >> 32);
			} else {
				wrmsr_safe(MSR_F15H_PERF_CTR + 2 * i, value);
				wrmsr_safe(MSR_F15H_PERF_CTL + 2 * i,
					   pmu_instructions() | FILL_SELECT);
			}
		}
		for (i = 0; i < 4 && !pmu.intel; i++)
			wrmsr_safe(MSR_K7_PERFCTR0 + i, value);
		wrmsr_safe(pmu_global_ctrl_msr(), -1ull);
		wrmsr_safe(pmu_global_ctrl_msr(), pmu_global_mask());
		GUEST_SYNC(0);
	}
}

/* The least and the most that any event of the host has counted, and instructions. */
static uint64_t count_beside_scribbler(struct pmu *shape, uint64_t value)
{
	struct host_events events;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t count;
	int i;

	vm = pmu_vm_create_shaped(&vcpu, guest_scribble, shape);
	vcpu_args_set(vcpu, 1, value);
	run(vcpu);

	host_events_open(&events, 0, EVENT_EXCLUDE_KERNEL);
	count = perf_read(events.fd[0]).count;
	for (i = 0; i < 10; i++)
		run(vcpu);
	count = perf_read(events.fd[0]).count - count;

	for (i = 0; i < events.nr; i++)
		TEST_ASSERT(perf_read(events.fd[i]).count < 1ull << 32,
			    "Event %d of the host has counted %lu", i,
			    perf_read(events.fd[i]).count);
	host_events_close(&events);
	kvm_vm_free(vm);
	return count;
}

/*
 * A guest writes to all counters and has them count.  The host's events are in the
 * same ones, and what they count must not depend on what the guest writes.
 */
TEST(guest_values_do_not_get_into_host_events)
{
	struct pmu shape[MAX_SHAPES];
	uint64_t small, big;
	int i, nr;

	/* An emulated PMU leaves no counters for host events, or gets none. */
	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	kvm_pin_this_task_to_pcpu(0);
	nr = shapes(shape);
	for (i = 0; i < nr; i++) {
		if (!shape[i].global)
			continue;
		small = count_beside_scribbler(&shape[i], 0);
		big = count_beside_scribbler(&shape[i], guest_canary(0));
		TEST_ASSERT(small > 100, "%lu instructions are too few for ten runs", small);
		TEST_ASSERT(big < small + 100 && small < big + 100,
			    "The host's instructions in user mode: %lu, with big values in the guest %lu",
			    small, big);
	}
}

/*
 * The same for slots and metrics.  How many slots a cycle has depends on the CPU,
 * but all that the guest writes is far off; and metrics are fractions of slots.
 */
TEST(guest_metrics_do_not_get_into_host_events)
{
	struct {
		uint64_t nr;
		uint64_t count[NR_TOPDOWN];
	} topdown;
	int fd[NR_TOPDOWN], cycles_fd, i, round, nr;
	struct pmu shape[MAX_SHAPES];
	struct kvm_vcpu *vcpu;
	uint64_t cycles, sum;
	struct kvm_vm *vm;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	kvm_pin_this_task_to_pcpu(0);
	if (!pmu.intel || !open_topdown(fd))
		return;
	close_topdown(fd);

	nr = shapes(shape);
	for (i = 0; i < nr; i++) {
		if (!shape[i].global)
			continue;
		vm = pmu_vm_create_shaped(&vcpu, guest_scribble, &shape[i]);
		vcpu_args_set(vcpu, 1, guest_canary(0));
		run(vcpu);

		TEST_ASSERT(open_topdown(fd), "No topdown events any more");
		cycles_fd = perf_open(PERF_COUNT_HW_CPU_CYCLES, EVENT_EXCLUDE_GUEST, 0, -1);
		TEST_ASSERT(cycles_fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", cycles_fd));
		for (round = 0; round < 10; round++) {
			run(vcpu);
			host_burn(10000);
		}
		TEST_ASSERT(read(fd[0], &topdown, sizeof(topdown)) == sizeof(topdown),
			    "Cannot read topdown events");
		cycles = perf_read(cycles_fd).count;
		close(cycles_fd);
		close_topdown(fd);
		kvm_vm_free(vm);

		sum = topdown.count[1] + topdown.count[2] + topdown.count[3] + topdown.count[4];
		TEST_ASSERT(topdown.count[0] > cycles / 2 && topdown.count[0] < cycles * 32,
			    "%lu slots in %lu cycles", topdown.count[0], cycles);
		TEST_ASSERT(sum > topdown.count[0] / 10 * 9 && sum < topdown.count[0] / 10 * 11,
			    "Metrics of %lu slots, of %lu all in all", sum, topdown.count[0]);
		TEST_ASSERT(topdown.count[1], "No slot retires");
	}
}

/*
 * Values that differ, of counters that are all in use.  None counts in ring 0, so that
 * they stay what they are.
 */
enum { AS_OTHER, ZERO, COUNTERS, SELECTORS, FIXED_CONTROL, STATUS, METRICS, NR_DIFFERENCES };

static uint64_t difference;

static void guest_write_difference(void)
{
	uint64_t fixed = FIXED_PMC_USER | (difference == FIXED_CONTROL ? FIXED_PMC_ENABLE_PMI : 0);
	uint64_t all = 0;
	int c;

	wrmsr(pmu_global_ctrl_msr(), pmu_global_mask());
	wrmsr(pmu_global_clear_msr(), pmu_global_mask());
	if (difference == STATUS) {
		wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
		wrmsr(pmc_msr(0), COUNTER_MASK);
		asm volatile("nop; nop; nop; nop");
	}
	for (c = 0; c < pmu_nr_counters(); c++) {
		if (pmc_is_fixed(c))
			all |= FIXED_PMC_CTRL(c - pmu.nr_gp, fixed);
		else
			wrmsr(pmc_selector_msr(c), SELECT_USR |
			      (difference == SELECTORS ? pmu_branches() : pmu_instructions()));
		wrmsr(pmc_msr(c), difference == ZERO ? 0 :
		      guest_canary(c) + (difference == COUNTERS));
	}
	if (pmu_has_metrics())
		wrmsr(MSR_PERF_METRICS, difference == METRICS ? 0 : GUEST_METRICS);
	if (pmu.nr_fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, all);
}

static void guest_leaves_values(void)
{
	for (;;) {
		guest_write_difference();
		GUEST_SYNC(0);
	}
}

static void guest_enters(void)
{
	guest_write_difference();
	for (;;)
		asm volatile(BLOCK_IO ::: "eax");
}

static int open_tracing(const char *name, int flags)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/tracing/%s", name);
	fd = open(path, flags);
	TEST_ASSERT(fd >= 0, "%s: %s", path, strerror(errno));
	return fd;
}

static void set_tracing(const char *name, const char *value)
{
	int fd = open_tracing(name, O_WRONLY | O_TRUNC);

	TEST_ASSERT(write(fd, value, strlen(value)) == strlen(value), "%s: %s", name,
		    strerror(errno));
	close(fd);
}

static bool is_pmu_msr(uint32_t msr)
{
	int c;

	for (c = 0; c < pmu_nr_counters(); c++) {
		if (msr == pmc_msr(c) || msr == pmc_alias_msr(c) ||
		    (!pmc_is_fixed(c) && msr == pmc_selector_msr(c)))
			return true;
	}
	return msr == pmu_global_ctrl_msr() || msr == pmu_global_status_msr() ||
	       msr == pmu_global_clear_msr() ||
	       msr == (pmu.intel ? MSR_INTEL_GLOBAL_STATUS_SET : MSR_AMD64_GLOBAL_STATUS_SET) ||
	       (pmu.intel && (msr == MSR_CORE_PERF_FIXED_CTR_CTRL || msr == MSR_PERF_METRICS));
}

/* The host's accesses to the PMU from here to the next exit of @vcpu, as text. */
static char *run_traced(struct kvm_vcpu *vcpu)
{
	static const char * const events[] = { "read_msr: ", "write_msr: ", "rdpmc: " };
	const size_t size = 1 << 20;
	char *trace = malloc(size + 1), *found = malloc(size), *line, *at, *next = trace;
	size_t len = 0, used = 0;
	uint64_t stage;
	ssize_t n;
	int fd, i;

	/* On the heap, as guests get a copy of all static data. */
	TEST_ASSERT(trace && found, "No memory");
	set_tracing("trace", "\n");
	set_tracing("tracing_on", "1");
	pmu_step(vcpu, &stage);
	set_tracing("tracing_on", "0");

	fd = open_tracing("trace", O_RDONLY);
	while ((n = read(fd, trace + len, size - len)) > 0)
		len += n;
	close(fd);
	TEST_ASSERT(len < size, "Too many accesses");
	trace[len] = 0;

	found[0] = 0;
	while ((line = strsep(&next, "\n"))) {
		for (i = 0; i < ARRAY_SIZE(events); i++) {
			uint32_t msr;

			at = strstr(line, events[i]);
			if (!at || sscanf(at + strlen(events[i]), "%x", &msr) != 1)
				continue;
			if (i == ARRAY_SIZE(events) - 1 || is_pmu_msr(msr))
				used += snprintf(found + used, size - used, " %.2s:%x", events[i],
						 msr);
		}
	}
	free(trace);
	return found;
}

static int nr_accesses(const char *found)
{
	int nr = 0;

	while ((found = strchr(found, ':'))) {
		nr++;
		found++;
	}
	return nr;
}

/* The accesses of B's VM-entry and VM-exit; at most so many @with_vpmc. */
static void check_entries(struct kvm_vm *a, struct kvm_vcpu *a_vcpu, struct kvm_vcpu *b_vcpu,
			  int with_vpmc)
{
	char *found, *least, *first = NULL, reads_back[16];
	int round, rounds = 5;
	uint64_t value;

	/* KVM_PROVE_MEDIATED_PMU does, and evicts values one time of four. */
	snprintf(reads_back, sizeof(reads_back), "re:%x", pmc_selector_msr(0));

	for (value = 0; value < NR_DIFFERENCES; value++) {
		difference = value;
		sync_global_to_guest(a, difference);

		/* A tick of the host may have the vCPU leave in between. */
		least = NULL;
		for (round = 0; round < rounds; round++) {
			TEST_ASSERT(run(a_vcpu), "The guest is done");
			found = run_traced(b_vcpu);
			if (strstr(found, reads_back))
				rounds = 40;
			if (least && strlen(found) >= strlen(least)) {
				free(found);
				continue;
			}
			free(least);
			least = found;
		}

		if (!first) {
			/* That they are there at all: each counter is written, and read. */
			if (!pmu.vpmc)
				TEST_ASSERT(strlen(least) > 2 * 5 * pmu_nr_counters(),
					    "Accesses:%s", least);
			else
				TEST_ASSERT(nr_accesses(least) <= with_vpmc,
					    "At most %d, where hardware switches the PMU:%s",
					    with_vpmc, least);
			first = least;
			continue;
		}
		TEST_ASSERT(!strcmp(first, least), "Difference %lu:%s\ninstead of%s", value, least,
			    first);
		free(least);
	}
	free(first);
}

TEST(entry_depends_on_no_values_of_the_guest_before)
{
	struct kvm_vcpu *a_vcpu, *b_vcpu;
	struct kvm_vm *a, *b;
	bool watchdog;
	uint64_t stage;
	int event;

	if (!require_mediated_and_msrs())
		SKIP(return, NOT_MEDIATED);

	if (access("/sys/kernel/tracing/events/msr", F_OK))
		SKIP(return, "there are no tracepoints of MSRs");

	watchdog = set_nmi_watchdog('0');
	set_tracing("tracing_on", "0");
	set_tracing("events/msr/enable", "1");

	a = pmu_vm_create(&a_vcpu, guest_leaves_values);
	b = pmu_vm_create(&b_vcpu, guest_enters);
	pmu_step(b_vcpu, &stage);
	check_entries(a, a_vcpu, b_vcpu, 0);

	event = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_GUEST | EVENT_PINNED, 0, -1);
	TEST_ASSERT(event >= 0, __KVM_SYSCALL_ERROR("perf_event_open", event));
	/* GLOBAL_CTL, and the event's counter, twice, and selector. */
	check_entries(a, a_vcpu, b_vcpu, 4);
	TEST_ASSERT(perf_read(event).count, "The host's event does not count");
	close(event);

	set_tracing("events/msr/enable", "0");
	set_tracing("tracing_on", "1");
	kvm_vm_free(a);
	kvm_vm_free(b);
	if (watchdog)
		set_nmi_watchdog('1');
}

static void guest_status_bits(uint64_t bits)
{
	for (;;) {
		guest_beside_status_bits(bits);
		GUEST_SYNC(2);
	}
}

TEST(guest_leaves_status_bits_of_the_host_alone)
{
	const uint64_t bits = pmu.intel ? BIT_ULL(55) | BIT_ULL(58) | GENMASK_ULL(62, 61) :
					  BIT_ULL(58);
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	bool watchdog;
	int event;

	if (!require_mediated_and_msrs())
		SKIP(return, NOT_MEDIATED);

	watchdog = set_nmi_watchdog('0');
	vm = pmu_vm_create(&vcpu, guest_status_bits);
	vcpu_args_set(vcpu, 1, bits);
	run_beside_status_bits(vcpu, true);

	event = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_GUEST | EVENT_PINNED, 0, -1);
	TEST_ASSERT(event >= 0, __KVM_SYSCALL_ERROR("perf_event_open", event));
	run_beside_status_bits(vcpu, false);
	TEST_ASSERT(perf_read(event).count, "The host's event does not count");
	close(event);
	run_beside_status_bits(vcpu, true);
	kvm_vm_free(vm);
	if (watchdog)
		set_nmi_watchdog('1');
}

int main(int argc, char *argv[])
{
	pmu_detect();

	return test_harness_run(argc, argv);
}
