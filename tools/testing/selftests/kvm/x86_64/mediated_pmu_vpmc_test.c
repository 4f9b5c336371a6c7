// SPDX-License-Identifier: GPL-2.0
/*
 * Test a mediated PMU that hardware switches (AMD's PMC virtualization, kvm_amd.vpmc), and
 * the changes between that and one that KVM switches.  KVM does it while the guest's LVTPC
 * is an NMI that is not masked.
 *
 * -o FILE lets a guest count and saves the PMU's MSRs, -i FILE has another one go on from
 * there.  KVM may be loaded with another value of vpmc in between:
 *	mediated_pmu_vpmc_test -o /tmp/state; mediated_pmu_vpmc_test -i /tmp/state
 */
#include <pthread.h>

#include "mediated_pmu.h"

#define PMI_VECTOR	0x41
#define LVTPC_VECTOR	PMI_VECTOR
#define LVTPC_NMI	APIC_DM_NMI
#define LVTPC_MASKED	(APIC_DM_NMI | APIC_LVT_MASKED)
#define NO_VPMC		"hardware does not switch the PMU"

static void set_lvtpc(struct kvm_vcpu *vcpu, uint32_t lvtpc)
{
	struct kvm_lapic_state lapic;

	vcpu_ioctl(vcpu, KVM_GET_LAPIC, &lapic);
	*(uint32_t *)&lapic.regs[APIC_LVTPC] = lvtpc;
	vcpu_ioctl(vcpu, KVM_SET_LAPIC, &lapic);
}

/* All counters count instructions, in ring 0. */
static void guest_start_all(void)
{
	int c;

	guest_pmu_reset();
	for (c = 0; c < pmu.nr_gp; c++)
		wrmsr(pmc_selector_msr(c), pmu_instructions() | SELECT_OS);
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), pmu_global_mask());
}

static void guest_exits(void)
{
	guest_start_all();
	for (;;)
		GUEST_SYNC(0);
}

/* How often are the values loaded for @n KVM_RUN? */
static uint64_t loads(struct kvm_vcpu *vcpu, int n)
{
	uint64_t before;

	/* The first ones may be about the change. */
	pmu_run(vcpu);
	pmu_run(vcpu);
	before = vcpu_stat(vcpu, "pmu_loads");
	while (n--)
		pmu_run(vcpu);
	return vcpu_stat(vcpu, "pmu_loads") - before;
}

/* KVM_PROVE_MEDIATED_PMU evicts values more than one time of four, nobody else does. */
#define MAX_LOADS	60

/* Values stay in the VMCB, whoever else has the CPU. */
TEST(values_stay_where_they_are)
{
	struct kvm_vcpu *vcpu, *other;
	struct kvm_vm *vm, *other_vm;
	int i;

	if (!pmu.vpmc)
		SKIP(return, NO_VPMC);

	kvm_pin_this_task_to_pcpu(0);
	vm = pmu_vm_create(&vcpu, guest_exits);
	other_vm = pmu_vm_create(&other, guest_exits);
	for (i = 0; i < 3; i++) {
		set_lvtpc(vcpu, LVTPC_NMI);
		TEST_ASSERT(loads(vcpu, 100) <= MAX_LOADS, "Values do not stay in the VMCB");
		/* That KVM_RUN returns is enough else. */
		set_lvtpc(vcpu, i & 1 ? LVTPC_VECTOR : LVTPC_MASKED);
		TEST_ASSERT(loads(vcpu, 100) >= 100, "Values stay where KVM switches the PMU");
		TEST_ASSERT(loads(other, 100) <= MAX_LOADS, "Values do not stay in the VMCB");
	}
	kvm_vm_free(vm);
	kvm_vm_free(other_vm);
}

static struct {
	uint64_t nmis;
	uint64_t interrupts;
	uint64_t status;
} pmi;

static void guest_pmi_handler(struct ex_regs *regs)
{
	uint64_t status = rdmsr(pmu_global_status_msr());

	if (regs->vector == NMI_VECTOR) {
		pmi.nmis++;
	} else {
		pmi.interrupts++;
		x2apic_write_reg(APIC_EOI, 0);
	}
	pmi.status |= status;
	wrmsr(pmu_global_clear_msr(), status);
}

/* What LVTPC is to be next, and what to change in it for the one after that. */
uint32_t flip_lvtpc, flip_change;

#define BLOCK_FLIP		"mov $0x834, %%ecx\n\t"			\
				"mov flip_lvtpc(%%rip), %%eax\n\t"	\
				"xor %%edx, %%edx\n\t"			\
				"mov flip_change(%%rip), %%ebx\n\t"	\
				"xor %%ebx, flip_lvtpc(%%rip)\n\t"	\
				"wrmsr\n\t"				\
				"nop\n\t nop\n\t nop\n\t"
#define BLOCK_FLIP_INSNS	9
#define FLIP_LOOPS		8
#define FLIP_INSNS		(MEASURED_INSNS(BLOCK_FLIP_INSNS, FLIP_LOOPS) + \
				 FLIP_LOOPS * pmu.entry_insns)

static void guest_flip(uint64_t nth, uint32_t first, uint32_t second)
{
	flip_lvtpc = first;
	flip_change = first ^ second;
	memset(&pmi, 0, sizeof(pmi));
	x2apic_write_reg(APIC_LVTPC, second);
	wrmsr(pmc_msr(0), -nth & COUNTER_MASK);
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmc_global_bit(0), FLIP_LOOPS, BLOCK_FLIP);
}

/*
 * LVTPC is something else each 11 instructions, and each of them overflows in turn.  One
 * overflow is one PMI, or none if LVTPC is masked then.
 */
static void guest_flips(uint64_t first, uint64_t second, uint64_t rounds)
{
	bool may_be_masked = (first | second) & APIC_LVT_MASKED;
	uint64_t nth, nmis = 0, interrupts = 0, none = 0, i, pmis;
	int j;

	x2apic_enable();
	guest_pmu_reset();
	wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS_PMI);
	asm volatile("sti");
	for (i = 0; i < rounds; i++) {
		for (nth = 1; nth <= FLIP_INSNS - 2; nth++) {
			guest_flip(nth, first, second);
			/* Late ones come before the next exits are over. */
			for (j = 0; j < 3; j++)
				asm volatile(BLOCK_CPUID ::: "eax", "ebx", "ecx", "edx");
			pmis = pmi.nmis + pmi.interrupts;
			__GUEST_ASSERT(pmis == 1 || (may_be_masked && !pmis),
				       "%#lx or %#lx, overflow with instruction %lu: %lu PMIs",
				       first, second, nth, pmis);
			if (!pmis) {
				pmi.status = rdmsr(pmu_global_status_msr());
				wrmsr(pmu_global_clear_msr(), pmi.status);
			}
			GUEST_ASSERT_EQ(pmi.status, pmc_global_bit(0));
			nmis += pmi.nmis;
			interrupts += pmi.interrupts;
			none += !pmis;
		}
	}
	/* Both have their share, if PMIs are not too late. */
	GUEST_ASSERT(!!nmis == (first == LVTPC_NMI || second == LVTPC_NMI));
	GUEST_ASSERT(!!interrupts == (first == LVTPC_VECTOR || second == LVTPC_VECTOR));
	GUEST_ASSERT(!!none == may_be_masked);
	GUEST_DONE();
}

static void run_flips(uint32_t first, uint32_t second)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = pmu_vm_create(&vcpu, guest_flips);
	vm_install_exception_handler(vm, PMI_VECTOR, guest_pmi_handler);
	vm_install_exception_handler(vm, NMI_VECTOR, guest_pmi_handler);
	vcpu_args_set(vcpu, 3, (uint64_t)first, (uint64_t)second, 3ul);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

TEST(no_pmi_is_lost_when_lvtpc_changes)
{
	if (!pmu.mediated)
		SKIP(return, "the PMIs of an emulated PMU are not exact");

	run_flips(LVTPC_NMI, LVTPC_VECTOR);
	run_flips(LVTPC_NMI, LVTPC_MASKED);
	run_flips(LVTPC_VECTOR, LVTPC_VECTOR | APIC_LVT_MASKED);
}

/* The same values, whether hardware switches them or KVM does. */
#define PATTERN(c, i)	(0x123456789000ul + 0x1111 * (c) + (i))
#define MOVES		24
/* In a new VM all memory is mapped anew, in VM-exits. */
#define NEW_VM_EXITS	20

static void guest_moves(void)
{
	uint64_t all = MEASURED_INSNS(BLOCK_IO_INSNS, 3), count;
	int c, i;

	guest_pmu_reset();
	for (i = 0; i < MOVES; i++) {
		wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
		for (c = 0; c < pmu.nr_gp; c++)
			wrmsr(pmc_msr(c), PATTERN(c, i));
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmc_global_bit(0), 3, BLOCK_IO);
		for (c = 0; c < pmu.nr_gp; c++) {
			count = rdmsr(pmc_msr(c)) - PATTERN(c, i);
			if (!c)
				GUEST_ASSERT(__pmu_counted(count, all, 3, 3 + 3 * NEW_VM_EXITS,
							   pmu.entry_insns));
			else
				GUEST_ASSERT_EQ(count, 0);
			GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), rdmsr(pmc_msr(c)));
		}
		GUEST_ASSERT_EQ(rdmsr(pmu_global_ctrl_msr()), 0);
		GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(0)), pmu_instructions() | SELECT_OS);

		/* And a status bit. */
		wrmsr(pmc_msr(0), -2ul & COUNTER_MASK);
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmc_global_bit(0), 3, BLOCK_IO);
		GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()), pmc_global_bit(0));
		wrmsr(pmu_global_clear_msr(), pmc_global_bit(0));
		GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()), 0);
	}
	GUEST_DONE();
}

static void run_moving(bool new_vm)
{
	static const uint32_t lvtpcs[] = { LVTPC_NMI, LVTPC_MASKED, LVTPC_NMI, LVTPC_VECTOR };
	struct kvm_x86_state *state;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t stage = 0;
	int i;

	vm = pmu_vm_create(&vcpu, guest_moves);
	for (i = 0; stage != -1ull; i++) {
		pmu_step(vcpu, &stage);
		if (new_vm) {
			state = vcpu_save_state(vcpu);
			kvm_vm_release(vm);
			vcpu = vm_recreate_with_one_vcpu(vm);
			vcpu_load_state(vcpu, state);
			kvm_x86_state_cleanup(state);
		}
		set_lvtpc(vcpu, lvtpcs[i % ARRAY_SIZE(lvtpcs)]);
	}
	kvm_vm_free(vm);
}

TEST(values_survive_a_change)
{
	if (!pmu.mediated || !pmu.global)
		SKIP(return, "only if PMUs are mediated");

	run_moving(false);
	run_moving(true);
}

/* Whatever user space or the guest write, the vCPU runs. */
static void guest_writes_anything(void)
{
	uint64_t value;
	int c, i;

	for (i = 0; i < 65; i++) {
		value = i < 64 ? BIT_ULL(i) : -1ull;
		GUEST_SYNC(i);
		for (c = 0; c < pmu.nr_gp; c++) {
			wrmsr_safe(pmc_selector_msr(c), value | ARCH_PERFMON_EVENTSEL_ENABLE);
			wrmsr_safe(pmc_msr(c), value);
		}
		wrmsr_safe(pmu_global_ctrl_msr(), value);
		wrmsr_safe(pmu_global_clear_msr(), value);
		wrmsr_safe(MSR_AMD64_GLOBAL_STATUS_SET, value);
		asm volatile(BLOCK_CPUID ::: "eax", "ebx", "ecx", "edx");
	}
	GUEST_DONE();
}

TEST(no_value_keeps_the_vcpu_from_running)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t stage, value;
	int c;

	if (!pmu.mediated || !pmu.global || pmu.intel)
		SKIP(return, "the registers are of AMD's mediated PMU");

	vm = pmu_vm_create(&vcpu, guest_writes_anything);
	while ((stage = pmu_run(vcpu)) != -1ull) {
		value = stage < 64 ? BIT_ULL(stage) : -1ull;
		for (c = 0; c < pmu.nr_gp; c++) {
			_vcpu_set_msr(vcpu, pmc_selector_msr(c),
				      value | ARCH_PERFMON_EVENTSEL_ENABLE);
			_vcpu_set_msr(vcpu, pmc_msr(c), value);
			TEST_ASSERT(!(vcpu_get_msr(vcpu, pmc_msr(c)) & ~COUNTER_MASK),
				    "Counter %d has more than 48 bits", c);
		}
		_vcpu_set_msr(vcpu, pmu_global_ctrl_msr(), value);
		_vcpu_set_msr(vcpu, pmu_global_status_msr(), value);
		TEST_ASSERT(!(vcpu_get_msr(vcpu, pmu_global_status_msr()) & ~pmu_global_mask()),
			    "The status has bits that are not of counters");
	}
	kvm_vm_free(vm);
}

/* Selectors that do not exit */

#define NO_DIRECT	"event selectors exit"
/* The first write does, and those until hardware has the values. */
#define FEW_WRITES	20

static uint64_t selected[MAX_COUNTERS];

static void guest_select(int c, uint64_t event)
{
	selected[c] = event ? event | SELECT_OS : 0;
	wrmsr(pmc_selector_msr(c), selected[c]);
}

/* Counter @c counts instructions, some of which KVM emulates. */
static void guest_count_on(int c)
{
	uint64_t count;
	int i;

	for (i = 0; i < pmu.nr_gp; i++)
		guest_select(i, i == c ? pmu_instructions() : i == (c + 1) % pmu.nr_gp ?
			     pmu_branches() : 0);
	wrmsr(pmc_msr(c), 0);
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmc_global_bit(c), 3, BLOCK_CPUID);
	count = rdmsr(pmc_msr(c));
	__GUEST_ASSERT(pmu_counted_insns(count, MEASURED_INSNS(BLOCK_CPUID_INSNS, 3), 3),
		       "Counter %d: %lu instructions", c, count);
	for (i = 0; i < pmu.nr_gp; i++)
		GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(i)), selected[i]);
}

#define SELECT_ROUNDS	60

static void guest_selects(void)
{
	int i;

	guest_pmu_reset();
	for (i = 0; i < SELECT_ROUNDS; i++) {
		guest_count_on(i % pmu.nr_gp);
		GUEST_SYNC(i);
		/* User space has written to this one. */
		GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(i % pmu.nr_gp)),
				pmu_branches() | SELECT_OS);
	}
	GUEST_DONE();
}

/* User space finds what the guest has written without an exit, and the other way round. */
TEST(selectors_do_not_exit)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t stage, writes;
	int c;

	if (!pmu.direct_selectors)
		SKIP(return, NO_DIRECT);

	vm = pmu_vm_create(&vcpu, guest_selects);
	while ((stage = pmu_run(vcpu)) != -1ull) {
		sync_global_from_guest(vm, selected);
		for (c = 0; c < pmu.nr_gp; c++)
			TEST_ASSERT_EQ(vcpu_get_msr(vcpu, pmc_selector_msr(c)), selected[c]);
		vcpu_set_msr(vcpu, pmc_selector_msr(stage % pmu.nr_gp),
			     pmu_branches() | SELECT_OS);
	}
	writes = vcpu_stat(vcpu, "pmu_trapped_writes");
	TEST_ASSERT(writes <= FEW_WRITES, "%lu exits for writes of %u rounds", writes,
		    SELECT_ROUNDS);
	kvm_vm_free(vm);
}

static void guest_counts_once(void)
{
	uint64_t efer = rdmsr(MSR_EFER);
	int i;

	for (i = 0;; i++) {
		/* Twice with SVM, twice without. */
		wrmsr(MSR_EFER, i & 2 ? efer | EFER_SVME : efer & ~EFER_SVME);
		guest_select(0, pmu_instructions());
		guest_select(1, pmu_branches());
		wrmsr(pmc_msr(0), 0);
		wrmsr(pmc_msr(1), 0);
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmc_global_bit(0) | pmc_global_bit(1), 10,
			      BLOCK_PLAIN);
		GUEST_ASSERT_EQ(!!rdmsr(pmc_msr(1)), 1);
		GUEST_SYNC(rdmsr(pmc_msr(0)));
	}
}

/* Does the guest exit for its selectors?  It has counted @count instructions. */
static bool selectors_exit(struct kvm_vcpu *vcpu, uint64_t *count)
{
	uint64_t before;

	/* The first time may be about the change. */
	pmu_run(vcpu);
	before = vcpu_stat(vcpu, "pmu_trapped_writes");
	*count = pmu_run(vcpu);
	return vcpu_stat(vcpu, "pmu_trapped_writes") != before;
}

TEST(selectors_exit_while_something_is_denied)
{
	uint64_t count, want = MEASURED_INSNS(BLOCK_PLAIN_INSNS, 10);
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i;

	if (!pmu.direct_selectors)
		SKIP(return, NO_DIRECT);

	vm = pmu_vm_create(&vcpu, guest_counts_once);
	pmu_run(vcpu);
	pmu_run(vcpu);
	for (i = 0; i < 8; i++) {
		/* Rounds with SVM come first. */
		TEST_ASSERT(selectors_exit(vcpu, &count) == !(i & 1),
			    "Selectors %s, SVM is %s", i & 1 ? "exit" : "do not exit",
			    i & 1 ? "off" : "on");
		TEST_ASSERT(pmu_counted_insns(count, want, 0), "%lu instructions", count);
	}
	for (i = 0; i < 4; i++) {
		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, pmu_instructions(), 0);
		TEST_ASSERT(selectors_exit(vcpu, &count), "Selectors do not exit, with a filter");
		TEST_ASSERT_EQ(count, 0);
		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, 0, 0);
		TEST_ASSERT(!selectors_exit(vcpu, &count), "Selectors exit, without a filter");
		TEST_ASSERT(pmu_counted_insns(count, want, 0), "%lu instructions", count);
	}
	kvm_vm_free(vm);
}

/*
 * A filter that is installed while guests write selectors without exits: when the ioctl
 * returns, nothing that it denies counts any more.
 */
#define NR_RACERS	2
#define RACES		100

static struct racer {
	uint64_t rounds;
	uint64_t counted;
	uint64_t too_late;
} racers[NR_RACERS];
static uint64_t racing, denied;

static void guest_races(uint64_t id)
{
	struct racer *r = &racers[id];
	uint64_t before;

	guest_pmu_reset();
	while (READ_ONCE(racing)) {
		before = READ_ONCE(denied);
		wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
		wrmsr(pmc_msr(0), 0);
		GUEST_MEASURE(pmu_global_ctrl_msr(), pmc_global_bit(0), 10, BLOCK_PLAIN);
		if (rdmsr(pmc_msr(0)))
			(*(before ? &r->too_late : &r->counted))++;
		WRITE_ONCE(r->rounds, r->rounds + 1);
	}
	GUEST_DONE();
}

static void *run_racer(void *vcpu)
{
	pmu_run_to_done(vcpu);
	return NULL;
}

/* Have all of them done @n more of what @offset in struct racer counts. */
static void wait_for_racers(struct racer *r, size_t offset, uint64_t n)
{
	uint64_t from[NR_RACERS];
	int i;

	for (i = 0; i < NR_RACERS; i++)
		from[i] = READ_ONCE(*(uint64_t *)((char *)&r[i] + offset));
	for (i = 0; i < NR_RACERS; i++) {
		while (READ_ONCE(*(uint64_t *)((char *)&r[i] + offset)) < from[i] + n)
			usleep(10);
	}
}

TEST(filter_holds_when_the_ioctl_returns)
{
	struct kvm_vcpu *vcpus[NR_RACERS];
	uint64_t *is_racing, *is_denied;
	pthread_t threads[NR_RACERS];
	struct racer *r;
	struct kvm_vm *vm;
	int i;

	if (!pmu.mediated || !pmu.global)
		SKIP(return, "only if PMUs are mediated");

	vm = vm_create_with_vcpus(NR_RACERS, guest_races, vcpus);
	sync_global_to_guest(vm, pmu);
	r = addr_gva2hva(vm, (vm_vaddr_t)&racers);
	is_racing = addr_gva2hva(vm, (vm_vaddr_t)&racing);
	is_denied = addr_gva2hva(vm, (vm_vaddr_t)&denied);
	*is_racing = 1;
	for (i = 0; i < NR_RACERS; i++) {
		if (pmu.vpmc)
			set_lvtpc(vcpus[i], LVTPC_NMI);
		vcpu_args_set(vcpus[i], 1, (uint64_t)i);
		TEST_ASSERT(!pthread_create(&threads[i], NULL, run_racer, vcpus[i]), "No thread");
	}
	for (i = 0; i < RACES; i++) {
		wait_for_racers(r, offsetof(struct racer, counted), 2);
		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, pmu_instructions(), 0);
		WRITE_ONCE(*is_denied, 1);
		wait_for_racers(r, offsetof(struct racer, rounds), 2);
		WRITE_ONCE(*is_denied, 0);
		wait_for_racers(r, offsetof(struct racer, rounds), 2);
		pmu_set_filter(vm, KVM_PMU_EVENT_DENY, 0, 0);
	}
	WRITE_ONCE(*is_racing, 0);
	for (i = 0; i < NR_RACERS; i++) {
		pthread_join(threads[i], NULL);
		TEST_ASSERT(!r[i].too_late, "vCPU %d: %lu counts after the filter", i,
			    r[i].too_late);
	}
	kvm_vm_free(vm);
}

/* The PMU's MSRs, in a file. */
static struct {
	uint64_t selector[MAX_COUNTERS];
	uint64_t counter[MAX_COUNTERS];
	uint64_t ctrl;
	uint64_t status;
} state;

static void guest_counts_before(void)
{
	int c;

	guest_pmu_reset();
	for (c = 0; c < pmu.nr_gp; c++)
		wrmsr(pmc_msr(c), -c & COUNTER_MASK);
	wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
	wrmsr(pmc_selector_msr(2), pmu_branches() | SELECT_OS);
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), 3, BLOCK_IO);
	GUEST_SYNC(0);
}

static void guest_counts_after(void)
{
	uint64_t count;
	int c;

	for (c = 0; c < pmu.nr_gp; c++) {
		GUEST_ASSERT_EQ(rdmsr(pmc_msr(c)), state.counter[c]);
		GUEST_ASSERT_EQ(_rdpmc(pmc_rdpmc_index(c)), state.counter[c]);
		GUEST_ASSERT_EQ(rdmsr(pmc_selector_msr(c)), state.selector[c]);
	}
	GUEST_ASSERT_EQ(rdmsr(pmu_global_ctrl_msr()), state.ctrl);
	GUEST_ASSERT_EQ(rdmsr(pmu_global_status_msr()), state.status);

	GUEST_MEASURE(pmu_global_ctrl_msr(), pmu_global_mask(), 3, BLOCK_IO);
	count = rdmsr(pmc_msr(0)) - state.counter[0];
	GUEST_ASSERT(pmu_counted_insns(count, MEASURED_INSNS(BLOCK_IO_INSNS, 3), 3));
	GUEST_DONE();
}

static void save_or_restore(const char *path, bool save)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int fd, c;

	TEST_REQUIRE(pmu.mediated && pmu.global && !pmu.intel);

	fd = open(path, save ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0600);
	TEST_ASSERT(fd >= 0, "%s: %s", path, strerror(errno));
	if (!save)
		TEST_ASSERT_EQ(read(fd, &state, sizeof(state)), sizeof(state));

	vm = pmu_vm_create(&vcpu, save ? guest_counts_before : guest_counts_after);
	sync_global_to_guest(vm, state);
	if (save)
		TEST_ASSERT_EQ(pmu_run(vcpu), 0);
	for (c = 0; c < pmu.nr_gp; c++) {
		if (save) {
			state.counter[c] = vcpu_get_msr(vcpu, pmc_msr(c));
			state.selector[c] = vcpu_get_msr(vcpu, pmc_selector_msr(c));
		} else {
			vcpu_set_msr(vcpu, pmc_msr(c), state.counter[c]);
			vcpu_set_msr(vcpu, pmc_selector_msr(c), state.selector[c]);
		}
	}
	if (save) {
		state.ctrl = vcpu_get_msr(vcpu, pmu_global_ctrl_msr());
		state.status = vcpu_get_msr(vcpu, pmu_global_status_msr());
		/* Counter 2 overflowed. */
		TEST_ASSERT_EQ(state.status, pmc_global_bit(2));
		TEST_ASSERT(state.counter[0] >= MEASURED_INSNS(BLOCK_IO_INSNS, 3), "No count");
		TEST_ASSERT_EQ(write(fd, &state, sizeof(state)), sizeof(state));
	} else {
		vcpu_set_msr(vcpu, pmu_global_ctrl_msr(), state.ctrl);
		vcpu_set_msr(vcpu, pmu_global_status_msr(), state.status);
		pmu_run_to_done(vcpu);
	}
	close(fd);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	pmu_detect();

	if (argc == 3 && (!strcmp(argv[1], "-o") || !strcmp(argv[1], "-i"))) {
		save_or_restore(argv[2], argv[1][1] == 'o');
		return 0;
	}

	return test_harness_run(argc, argv);
}
