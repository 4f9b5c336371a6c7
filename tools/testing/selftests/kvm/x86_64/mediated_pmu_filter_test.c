// SPDX-License-Identifier: GPL-2.0
/*
 * Test that the event filter holds in whatever order a filter is installed, a
 * counter is written, enabled by its control and by GLOBAL_CTRL, and L2 is entered.
 *
 * All of it is tested with enable_mediated_pmu=0 too.
 */
#include "mediated_pmu_nested.h"

#define LOOPS		3
/* A counter that runs although it must not overflows at once. */
#define NEAR_OVERFLOW	(COUNTER_MASK - 2)

enum op { INSTALL, COUNTER, CONTROL, GLOBAL, NEST, NR_OPS };
#define NR_ORDERS	(5 * 4 * 3 * 2)

/* What the guest asks the VMM for, beside operations. */
#define REMOVE		NR_OPS

static struct {
	bool fixed;
	/* Registers are written by the VMM, as if it restored them. */
	bool by_vmm;
	/* Counts instructions, which are denied; and something that is not. */
	int denied;
	int other;
	int index;
	int next;
	uint8_t order[NR_OPS];
} test;

/* The @index-th permutation of all operations. */
static void guest_set_order(int index)
{
	uint32_t left = BIT(NR_OPS) - 1;
	int i, op, skip;

	test.index = index;
	test.next = 0;
	for (i = 0; i < NR_OPS; i++) {
		skip = index % (NR_OPS - i);
		index /= NR_OPS - i;
		for (op = 0; !(left & BIT(op)) || skip--; op++)
			;
		left &= ~BIT(op);
		test.order[i] = op;
	}
}

/* The registers of an operation and their values. */
static int writes_of(enum op op, bool fixed, uint32_t *msr, uint64_t *value)
{
	const int denied = fixed ? pmu.nr_gp : 0;

	switch (op) {
	case COUNTER:
		msr[0] = pmc_msr(denied);
		value[0] = NEAR_OVERFLOW;
		return 1;
	case CONTROL:
		if (fixed) {
			msr[0] = MSR_CORE_PERF_FIXED_CTR_CTRL;
			value[0] = FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL) |
				   FIXED_PMC_CTRL(1, FIXED_PMC_KERNEL);
			return 1;
		}
		msr[0] = pmc_selector_msr(denied);
		value[0] = pmu_instructions() | SELECT_OS;
		msr[1] = pmc_selector_msr(denied + 1);
		value[1] = pmu_branches() | SELECT_OS;
		return 2;
	case GLOBAL:
		msr[0] = pmu_global_ctrl_msr();
		value[0] = pmu_global_mask();
		return pmu.global;
	default:
		return 0;
	}
}

static void guest_do(enum op op)
{
	uint64_t value[2];
	uint32_t msr[2];
	int i, nr;

	if (op == INSTALL || test.by_vmm) {
		GUEST_SYNC(op);
		return;
	}

	nr = writes_of(op, test.fixed, msr, value);
	for (i = 0; i < nr; i++)
		wrmsr(msr[i], value[i]);
}

/* The rest of the order; or up to the entry of L2. */
static void guest_go_on(void)
{
	enum op op;

	while (test.next < NR_OPS) {
		op = test.order[test.next++];
		if (op == NEST)
			return;
		guest_do(op);
	}
}

static void guest_check(int level, bool allowed)
{
	const uint64_t want = allowed ? RUNNING_INSNS(LOOPS) : 0;
	const uint8_t *o = test.order;
	uint64_t before, delta, after;

	if (pmu.global)
		wrmsr(pmu_global_clear_msr(), pmu_global_mask());
	before = rdmsr(pmc_msr(test.denied));
	delta = guest_running_delta(pmc_rdpmc_index(test.denied), LOOPS) & COUNTER_MASK;
	after = rdmsr(pmc_msr(test.denied));

	__GUEST_ASSERT(pmu_counted_insns(delta, want, LOOPS),
		       "L%u, order %u%u%u%u%u, counter %u, %s: counted %lu, wanted %lu", level,
		       o[0], o[1], o[2], o[3], o[4], test.denied,
		       allowed ? "allowed" : "denied", delta, want);
	if (!allowed) {
		__GUEST_ASSERT(before == after,
			       "L%u, order %u%u%u%u%u, counter %u, denied: from %#lx to %#lx",
			       level, o[0], o[1], o[2], o[3], o[4], test.denied, before, after);
		if (pmu.global)
			GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()) &
					pmc_global_bit(test.denied), 0);
	}

	/* The filter says nothing of this one. */
	delta = guest_running_delta(pmc_rdpmc_index(test.other), LOOPS);
	__GUEST_ASSERT(delta, "L%u, order %u%u%u%u%u: counter %u stands still", level,
		       o[0], o[1], o[2], o[3], o[4], test.other);
}

static void l2_filtered(void)
{
	for (;;) {
		guest_go_on();
		guest_check(2, false);
		l2_exit();
	}
}

static void l1_filtered(bool fixed, bool by_vmm)
{
	int i;

	test.fixed = fixed;
	test.by_vmm = by_vmm;
	test.denied = fixed ? pmu.nr_gp : 0;
	test.other = test.denied + 1;

	l1_setup(l2_filtered);
	for (i = 0; i < NR_ORDERS; i++) {
		GUEST_SYNC(REMOVE);
		guest_pmu_reset();
		guest_set_order(i);
		guest_go_on();
		l1_run_to_call();
		guest_check(1, false);

		/* All is as it was, and only the filter changes. */
		GUEST_SYNC(REMOVE);
		guest_check(1, true);
		GUEST_SYNC(INSTALL);
		guest_check(1, false);
	}
	GUEST_DONE();
}

static void vmm_do(struct kvm_vcpu *vcpu, enum op op, bool fixed)
{
	uint64_t value[2];
	uint32_t msr[2];
	int i, nr;

	nr = writes_of(op, fixed, msr, value);
	for (i = 0; i < nr; i++)
		vcpu_set_msr(vcpu, msr[i], value[i]);
}

static void __run_filtered(bool fixed, bool by_vmm, uint32_t action)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t stage;

	vm = nested_vm_create(&vcpu, l1_filtered);
	vcpu_args_set(vcpu, 2, fixed, by_vmm);
	while ((stage = pmu_run(vcpu)) != -1ull) {
		if (stage == REMOVE)
			pmu_set_filter(vm, KVM_PMU_EVENT_DENY, 0, 0);
		else if (stage != INSTALL)
			vmm_do(vcpu, stage, fixed);
		else if (action == KVM_PMU_EVENT_DENY)
			pmu_set_filter(vm, action, pmu_instructions(), BIT(0));
		else
			pmu_set_filter(vm, action, pmu_branches(), ~1u);
	}
	kvm_vm_free(vm);
}

static void run_filtered(bool fixed, bool by_vmm)
{
	if (fixed && pmu.nr_fixed < 2)
		return;

	__run_filtered(fixed, by_vmm, KVM_PMU_EVENT_DENY);
	__run_filtered(fixed, by_vmm, KVM_PMU_EVENT_ALLOW);
}

TEST(filter_in_every_order)
{
	run_filtered(false, false);
}

TEST(filter_in_every_order_of_the_vmm)
{
	run_filtered(false, true);
}

TEST(filter_of_fixed_counters_in_every_order)
{
	run_filtered(true, false);
}

TEST(filter_of_fixed_counters_in_every_order_of_the_vmm)
{
	run_filtered(true, true);
}

int main(int argc, char *argv[])
{
	pmu_detect();
	nested_require();

	return test_harness_run(argc, argv);
}
