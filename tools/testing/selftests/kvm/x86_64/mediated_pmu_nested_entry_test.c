// SPDX-License-Identifier: GPL-2.0
/*
 * Test what becomes of the PMU of L1 and L2 when one is left for the other in an
 * unusual way: a VM-entry that VMfails, an SMI that interrupts L2.
 *
 * All of it is tested with enable_mediated_pmu=0 too.
 */
#include "mediated_pmu_nested.h"

#define LOOPS		10

/* VM-entries that VMfail */

#define BLOCK_VMLAUNCH	"vmlaunch\n\t"
#define BLOCK_VMRESUME	"vmresume\n\t"
/* Blocked by MOV SS. */
#define BLOCK_BLOCKED	"mov %%ss, %%ebx\n\t mov %%ebx, %%ss\n\t vmlaunch\n\t"

enum vmfail { NO_VMCS, NOT_LAUNCHED, BLOCKED, BAD_CONTROL, BAD_HOST_STATE, LAUNCHED, NR_VMFAILS };

static void l1_measure_vmfail(enum vmfail what, uint32_t ctrl, uint64_t on)
{
	switch (what) {
	case NOT_LAUNCHED:
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_VMRESUME);
		break;
	case BLOCKED:
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_BLOCKED);
		break;
	default:
		GUEST_MEASURE(ctrl, on, LOOPS, BLOCK_VMLAUNCH);
		break;
	}
}

static void l1_count_vmfail(enum vmfail what)
{
	const uint64_t insns = MEASURED_INSNS(what == BLOCKED ? 3 : 1, LOOPS);
	const uint64_t branches = MEASURED_BRANCHES(0, LOOPS);
	uint64_t count;

	guest_pmu_reset();
	wrmsr(pmu_global_ctrl_msr(), pmu_global_mask());
	l1_measure_vmfail(what, pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
	count = rdmsr(pmc_msr(0));
	__GUEST_ASSERT(count == insns, "VMfail %u: %lu instructions, wanted %lu", what, count,
		       insns);

	wrmsr(pmc_msr(0), 0);
	l1_measure_vmfail(what, pmc_selector_msr(0), pmu_branches() | SELECT_OS);
	count = rdmsr(pmc_msr(0));
	__GUEST_ASSERT(count == branches, "VMfail %u: %lu branches, wanted %lu", what, count,
		       branches);
}

/* No branch, and no other register of L1. */
static void __attribute__((naked)) l2_call(void)
{
	asm("vmcall");
}

/*
 * Count from before VMLAUNCH to behind the VM-exit.  VM-exit goes on behind it, so
 * that L1's code has no branch but the VM-entry.
 */
static uint64_t l1_count_entry(uint64_t event)
{
	const uint32_t ctrl = pmu_global_ctrl_msr();

	guest_pmu_reset();
	wrmsr(pmc_selector_msr(0), event | SELECT_OS);
	asm volatile("vmwrite %%rsp, %[host_rsp]\n\t"
		     "lea 1f(%%rip), %%rax\n\t"
		     "vmwrite %%rax, %[host_rip]\n\t"
		     "mov $1, %%eax\n\t"
		     "xor %%edx, %%edx\n\t"
		     "wrmsr\n\t"
		     "vmlaunch\n\t"
		     "ud2\n\t"
		     "1: xor %%eax, %%eax\n\t"
		     "wrmsr\n\t"
		     :: "c"(ctrl), [host_rsp]"r"((uint64_t)HOST_RSP),
			[host_rip]"r"((uint64_t)HOST_RIP)
		     : "rax", "rdx", "cc", "memory");
	return rdmsr(pmc_msr(0));
}

static void l1_vmfail(void)
{
	l1_setup(l2_call);

	GUEST_ASSERT(!vmclear(l1.vmx->vmcs_gpa));
	l1_count_vmfail(NO_VMCS);

	l1_setup(l2_call);
	l1_count_vmfail(NOT_LAUNCHED);
	l1_count_vmfail(BLOCKED);

	GUEST_ASSERT(!vmwrite(PIN_BASED_VM_EXEC_CONTROL, 0));
	l1_count_vmfail(BAD_CONTROL);

	l1_setup(l2_call);
	GUEST_ASSERT(!vmwrite(HOST_CS_SELECTOR, 0));
	l1_count_vmfail(BAD_HOST_STATE);

	/* An entry that succeeds is a branch, once. */
	l1_setup(l2_call);
	GUEST_ASSERT_EQ(l1_count_entry(pmu_branches()), 1);
	GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), EXIT_REASON_VMCALL);
	l1_count_vmfail(LAUNCHED);
	GUEST_DONE();
}

TEST(vmfail_is_no_branch)
{
	if (!pmu.intel)
		return;

	run_nested(l1_vmfail, 0);
}

/* SMIs while L2 runs */

#define SMRAM_GPA	0x1000000
#define SMRAM_MEMSLOT	((1 << 16) | 1)
#define SMRAM_PAGES	16
#define SMM_PORT	0xe
#define HANDLER_INSNS	3

/* Runs in real mode. */
static const uint8_t smi_handler[] = {
	0xb0, 0x00,		/* mov $0, %al */
	0xe4, SMM_PORT,		/* in $SMM_PORT, %al */
	0x0f, 0xaa,		/* rsm */
};

/* Each of them enables another counter. */
#define L2_GLOBAL_CTRL		BIT_ULL(0)
#define ENTRY_GLOBAL_CTRL	BIT_ULL(1)
#define EXIT_GLOBAL_CTRL	BIT_ULL(2)
#define L1_GLOBAL_CTRL		BIT_ULL(3)

/* AMD */
enum { NO_MODE, GUEST_ONLY, HOST_ONLY };

/*
 * The exits are the block's INB, and a number for each SMI: its own, the handler's,
 * and those for pages that are missing in SMM's address space.
 */
static bool counted_with_smis(uint64_t count, uint64_t want)
{
	return __pmu_counted(count, want + LOOPS * HANDLER_INSNS, LOOPS, 20 * LOOPS,
			     pmu.entry_insns);
}

static void l2_interrupted(void)
{
	const uint64_t want = MEASURED_INSNS(BLOCK_IO_INSNS, LOOPS);
	const uint32_t ctrl = pmu_global_ctrl_msr();
	uint64_t count, guest, host;
	int c;

	/* L2 changes GLOBAL_CTRL, and has its value after the SMI. */
	wrmsr(ctrl, L2_GLOBAL_CTRL);
	GUEST_SYNC(L2_GLOBAL_CTRL);
	GUEST_ASSERT_EQ(rdmsr(ctrl), L2_GLOBAL_CTRL);

	/* An SMI at each exit: all of L2 is counted, and the handler. */
	guest_pmu_reset();
	for (c = 0; c < 4; c++)
		wrmsr(pmc_selector_msr(c), pmu_instructions() | SELECT_OS);
	GUEST_MEASURE(ctrl, L2_GLOBAL_CTRL, LOOPS, BLOCK_IO);
	count = rdmsr(pmc_msr(0));
	__GUEST_ASSERT(counted_with_smis(count, want),
		       "%lu instructions, wanted %lu in L2 and %u in SMM", count, want,
		       LOOPS * HANDLER_INSNS);
	for (c = 1; c < 4; c++)
		GUEST_ASSERT_EQ(rdmsr(pmc_msr(c)), 0);

	if (pmu.intel || !pmu.mediated)
		goto out;

	/* Whose the handler's instructions are is not said.  L2's are L2's. */
	guest_pmu_reset();
	wrmsr(pmc_selector_msr(NO_MODE), pmu_instructions() | SELECT_OS);
	wrmsr(pmc_selector_msr(GUEST_ONLY),
	      pmu_instructions() | SELECT_OS | AMD64_EVENTSEL_GUESTONLY);
	wrmsr(pmc_selector_msr(HOST_ONLY),
	      pmu_instructions() | SELECT_OS | AMD64_EVENTSEL_HOSTONLY);
	GUEST_MEASURE(ctrl, pmu_global_mask(), LOOPS, BLOCK_IO);
	count = rdmsr(pmc_msr(NO_MODE));
	guest = rdmsr(pmc_msr(GUEST_ONLY));
	host = rdmsr(pmc_msr(HOST_ONLY));
	GUEST_ASSERT(counted_with_smis(count, want));
	__GUEST_ASSERT(guest >= want && guest + host <= count,
		       "%lu in L2, %lu in L1, wanted %lu in L2 and %lu in all", guest, host,
		       want, count);
out:
	l2_exit();
	GUEST_FAIL("No more");
}

static void l1_interrupted(bool load_at_entry, bool load_at_exit)
{
	l1_setup(l2_interrupted);
	guest_pmu_reset();
	if (load_at_entry) {
		vmwrite(VM_ENTRY_CONTROLS, vmreadz(VM_ENTRY_CONTROLS) |
					   VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
		vmwrite(GUEST_IA32_PERF_GLOBAL_CTRL, ENTRY_GLOBAL_CTRL);
	}
	if (load_at_exit) {
		vmwrite(VM_EXIT_CONTROLS, vmreadz(VM_EXIT_CONTROLS) |
					  VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL);
		vmwrite(HOST_IA32_PERF_GLOBAL_CTRL, EXIT_GLOBAL_CTRL);
	}

	wrmsr(pmu_global_ctrl_msr(), L1_GLOBAL_CTRL);
	l1_run_to_call();
	/* L2 has left 0, and a real exit loads L1's value. */
	GUEST_ASSERT_EQ(rdmsr(pmu_global_ctrl_msr()), load_at_exit ? EXIT_GLOBAL_CTRL : 0);
	GUEST_DONE();
}

static void inject_smi(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_events events;

	vcpu_events_get(vcpu, &events);
	events.smi.pending = 1;
	events.flags |= KVM_VCPUEVENT_VALID_SMM;
	vcpu_events_set(vcpu, &events);
}

/* To another VM, in SMM. */
static struct kvm_vcpu *migrate(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	struct kvm_x86_state *state = vcpu_save_state(vcpu);

	kvm_vm_release(vm);
	vcpu = vm_recreate_with_one_vcpu(vm);
	vcpu_load_state(vcpu, state);
	kvm_x86_state_cleanup(state);
	return vcpu;
}

static void run_interrupted(bool load_at_entry, bool load_at_exit, bool migrated)
{
	int nr_smis = 0, nr_handled = 0;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct ucall uc;
	uint64_t value;

	vm = nested_vm_create(&vcpu, l1_interrupted);
	vcpu_args_set(vcpu, 2, load_at_entry, load_at_exit);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SMRAM_GPA, SMRAM_MEMSLOT,
				    SMRAM_PAGES, 0);
	TEST_ASSERT_EQ(vm_phy_pages_alloc(vm, SMRAM_PAGES, SMRAM_GPA, SMRAM_MEMSLOT),
		       SMRAM_GPA);
	memset(addr_gpa2hva(vm, SMRAM_GPA), 0, SMRAM_PAGES * getpagesize());
	memcpy(addr_gpa2hva(vm, SMRAM_GPA) + 0x8000, smi_handler, sizeof(smi_handler));
	vcpu_set_msr(vcpu, MSR_IA32_SMBASE, SMRAM_GPA);

	for (;;) {
		vcpu_run(vcpu);
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);

		if (vcpu->run->io.port == IO_PORT) {
			inject_smi(vcpu);
			nr_smis++;
			continue;
		}

		if (vcpu->run->io.port == SMM_PORT) {
			TEST_ASSERT(vcpu->run->flags & KVM_RUN_X86_SMM, "Not in SMM");
			value = vcpu_get_msr(vcpu, pmu_global_ctrl_msr());
			nr_handled++;
			TEST_ASSERT(value & L2_GLOBAL_CTRL && !(value & ~pmu_global_mask()),
				    "GLOBAL_CTRL is %#lx in SMM", value);
			if (migrated)
				vcpu = migrate(vm, vcpu);
			continue;
		}

		switch (get_ucall(vcpu, &uc)) {
		case UCALL_SYNC:
			inject_smi(vcpu);
			nr_smis++;
			continue;
		case UCALL_DONE:
			break;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			TEST_FAIL("Unexpected ucall %lu", uc.cmd);
		}
		break;
	}
	TEST_ASSERT(nr_smis > LOOPS && nr_handled == nr_smis, "%d SMIs, %d handled",
		    nr_smis, nr_handled);
	kvm_vm_free(vm);
}

TEST(smi_in_l2_leaves_global_ctrl_alone)
{
	int i;

	if (!pmu.global)
		SKIP(return, "there is no GLOBAL_CTRL");

	for (i = 0; i < (pmu.intel ? 4 : 1); i++) {
		run_interrupted(i & 1, i & 2, false);
		run_interrupted(i & 1, i & 2, true);
	}
}

int main(int argc, char *argv[])
{
	pmu_detect();
	nested_require();

	return test_harness_run(argc, argv);
}
