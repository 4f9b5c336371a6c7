// SPDX-License-Identifier: GPL-2.0
/*
 * Test that an instruction which KVM emulates, alone or together with the VMM,
 * counts like one that the processor executes: as one instruction, and as a branch
 * if it is one.
 *
 * All of it is tested with enable_mediated_pmu=0 too.
 */
#include "mediated_pmu.h"

#define MMIO_GVA	0xd0000000ull
/* Of the first PIC, which is in the kernel; unlike IO_PORT. */
#define PIC_MASK_PORT	0x21
/* What SCASB looks for, and where it is. */
#define NEEDLE		0x42
#define NEEDLE_OFFSET	5

static uint8_t buffer[4096];

/*
 * @ctrl := @on; RCX := @n; @block; @ctrl := 0.  As with GUEST_MEASURE(), one of the
 * two WRMSRs counts.  RSI and RDI are for @block, and so are R8 and R9.
 */
#define GUEST_MEASURE_STRING(_ctrl, _on, _n, _rsi, _rdi, _block)	\
do {									\
	register uint64_t r12 asm("r12") = (_ctrl);			\
	register uint64_t r13 asm("r13") = (_n);			\
	uint64_t value = (_on), a = (uint32_t)value;			\
	uint64_t d = value >> 32, c = r12, s = (_rsi), t = (_rdi);	\
									\
	asm volatile("wrmsr\n\t"					\
		     "mov %%r13, %%rcx\n\t"				\
		     _block						\
		     "mov %%r12d, %%ecx\n\t"				\
		     "xor %%eax, %%eax\n\t"				\
		     "xor %%edx, %%edx\n\t"				\
		     "wrmsr\n\t"					\
		     : "+a"(a), "+d"(d), "+c"(c), "+S"(s), "+D"(t)	\
		     : "r"(r12), "r"(r13)				\
		     : "r8", "r9", "cc", "memory");			\
} while (0)

#define STRING_INSNS(_block_insns)	(1 + (_block_insns) + 4)

enum insn {
	STOS, MOVS, OUTS, OUTS_KERNEL, INS, INS_KERNEL, STOS_MMIO, MOVS_TO_MMIO,
	MOVS_FROM_MMIO, LODS_MMIO, SCAS_MMIO, CMPS_MMIO, ENTER, LEAVE, NR_INSNS,
};

static void guest_measure(enum insn insn, uint32_t ctrl, uint64_t on, uint64_t n)
{
	const uint64_t mem = (uint64_t)buffer, mmio = MMIO_GVA;

	switch (insn) {
	case STOS:
		GUEST_MEASURE_STRING(ctrl, on, n, 0, mem, "rep stosb\n\t");
		break;
	case MOVS:
		GUEST_MEASURE_STRING(ctrl, on, n, mem + 1, mem, "rep movsb\n\t");
		break;
	case OUTS:
		GUEST_MEASURE_STRING(ctrl, on, n, mem, 0,
				     "mov $" __stringify(IO_PORT) ", %%edx\n\t"
				     "rep outsb\n\t");
		break;
	case OUTS_KERNEL:
		GUEST_MEASURE_STRING(ctrl, on, n, mem, 0,
				     "mov $" __stringify(PIC_MASK_PORT) ", %%edx\n\t"
				     "rep outsb\n\t");
		break;
	case INS:
		GUEST_MEASURE_STRING(ctrl, on, n, 0, mem,
				     "mov $" __stringify(IO_PORT) ", %%edx\n\t"
				     "rep insb\n\t");
		break;
	case INS_KERNEL:
		GUEST_MEASURE_STRING(ctrl, on, n, 0, mem,
				     "mov $" __stringify(PIC_MASK_PORT) ", %%edx\n\t"
				     "rep insb\n\t");
		break;
	case STOS_MMIO:
		GUEST_MEASURE_STRING(ctrl, on, n, 0, mmio, "rep stosb\n\t");
		break;
	case MOVS_TO_MMIO:
		GUEST_MEASURE_STRING(ctrl, on, n, mem, mmio, "rep movsb\n\t");
		break;
	case MOVS_FROM_MMIO:
		GUEST_MEASURE_STRING(ctrl, on, n, mmio, mem, "rep movsb\n\t");
		break;
	case LODS_MMIO:
		GUEST_MEASURE_STRING(ctrl, on, n, mmio, 0, "rep lodsb\n\t");
		break;
	case SCAS_MMIO:
		GUEST_MEASURE_STRING(ctrl, on, n, 0, mmio,
				     "mov $" __stringify(NEEDLE) ", %%eax\n\t"
				     "repne scasb\n\t");
		break;
	case CMPS_MMIO:
		GUEST_MEASURE_STRING(ctrl, on, n, mem, mmio, "repe cmpsb\n\t");
		break;
	case ENTER:
		/* The stack is MMIO meanwhile; interrupts are off. */
		GUEST_MEASURE_STRING(ctrl, on, n, 0, mmio + 0x800,
				     "mov %%rbp, %%r9\n\t"
				     "mov %%rsp, %%r8\n\t"
				     "mov %%rdi, %%rsp\n\t"
				     "enter $0, $0\n\t"
				     "mov %%r8, %%rsp\n\t"
				     "mov %%r9, %%rbp\n\t");
		break;
	case LEAVE:
		GUEST_MEASURE_STRING(ctrl, on, n, 0, mmio + 0x800,
				     "mov %%rbp, %%r9\n\t"
				     "mov %%rsp, %%r8\n\t"
				     "mov %%rdi, %%rbp\n\t"
				     "leave\n\t"
				     "mov %%r8, %%rsp\n\t"
				     "mov %%r9, %%rbp\n\t");
		break;
	default:
		GUEST_FAIL("No such instruction");
	}
}

static uint64_t insns_of(enum insn insn)
{
	switch (insn) {
	case OUTS:
	case OUTS_KERNEL:
	case INS:
	case INS_KERNEL:
	case SCAS_MMIO:
		return STRING_INSNS(2);
	case ENTER:
	case LEAVE:
		return STRING_INSNS(6);
	default:
		return STRING_INSNS(1);
	}
}

static const char *name_of(enum insn insn)
{
	static const char * const names[NR_INSNS] = {
		[STOS] = "REP STOSB",
		[MOVS] = "REP MOVSB",
		[OUTS] = "REP OUTSB to the VMM",
		[OUTS_KERNEL] = "REP OUTSB to the kernel",
		[INS] = "REP INSB from the VMM",
		[INS_KERNEL] = "REP INSB from the kernel",
		[STOS_MMIO] = "REP STOSB to MMIO",
		[MOVS_TO_MMIO] = "REP MOVSB to MMIO",
		[MOVS_FROM_MMIO] = "REP MOVSB from MMIO",
		[LODS_MMIO] = "REP LODSB from MMIO",
		[SCAS_MMIO] = "REPNE SCASB in MMIO",
		[CMPS_MMIO] = "REPE CMPSB with MMIO",
		[ENTER] = "ENTER with a stack in MMIO",
		[LEAVE] = "LEAVE with a stack in MMIO",
	};

	return names[insn];
}

/* At most; each may add to the count. */
static uint64_t exits_of(enum insn insn, uint64_t n)
{
	switch (insn) {
	case OUTS:
	case STOS_MMIO:
	case MOVS_TO_MMIO:
		return n;
	default:
		return n / 1024 + 1;
	}
}

static uint64_t nr_wrong;

static void guest_check(enum insn insn, uint64_t n, const char *event, int c, uint64_t want,
			uint64_t each)
{
	uint64_t count = rdmsr(pmc_msr(c));

	if (count >= want && count <= want + (exits_of(insn, n) + SPARE_ENTRIES) * each)
		return;

	GUEST_PRINTF("# %s, RCX %lu: %lu %s, wanted %lu\n", name_of(insn), n, count, event, want);
	nr_wrong++;
}

static void guest_count(enum insn insn, uint64_t n)
{
	guest_pmu_reset();
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), pmu_global_mask());
	guest_measure(insn, pmc_selector_msr(0), pmu_instructions() | SELECT_OS, n);
	guest_check(insn, n, "instructions", 0, insns_of(insn), pmu.entry_insns);

	wrmsr(pmc_msr(0), 0);
	guest_measure(insn, pmc_selector_msr(0), pmu_branches() | SELECT_OS, n);
	guest_check(insn, n, "branches", 0, 0, pmu.entry_branches);

	/* KVM knows the ring of what it emulates. */
	wrmsr(pmc_msr(0), 0);
	guest_measure(insn, pmc_selector_msr(0), pmu_instructions() | SELECT_USR, n);
	guest_check(insn, n, "instructions of ring 3", 0, 0, 0);

	if (!pmu.nr_fixed)
		return;

	wrmsr(pmu_global_ctrl_msr(), 0);
	wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL));
	guest_measure(insn, pmu_global_ctrl_msr(), pmc_global_bit(pmu.nr_gp), n);
	guest_check(insn, n, "instructions of fixed counter 0", pmu.nr_gp, insns_of(insn),
		    pmu.entry_insns);
}

static void guest_strings(void)
{
	static const int lengths[] = { 0, 1, 2, 3, 40 };
	enum insn insn;
	int i;

	for (insn = STOS; insn < ENTER; insn++) {
		for (i = 0; i < ARRAY_SIZE(lengths); i++)
			guest_count(insn, lengths[i]);
	}

	/* The emulator has the guest execute it again after each 1024 iterations. */
	guest_count(STOS, 3000);
	guest_count(OUTS_KERNEL, 1024);
	guest_count(OUTS_KERNEL, 3000);
	guest_count(INS_KERNEL, 1024);
	guest_count(INS_KERNEL, 3000);
	GUEST_SYNC(nr_wrong);
	GUEST_DONE();
}

static void guest_frames(void)
{
	guest_count(ENTER, 0);
	guest_count(LEAVE, 0);
	GUEST_SYNC(nr_wrong);
	GUEST_DONE();
}

/* The VMM's devices: ports and MMIO that read as 0, but for SCASB's needle. */
static bool is_device_access(struct kvm_run *run)
{
	if (run->exit_reason == KVM_EXIT_IO)
		return run->io.port == IO_PORT;
	if (run->exit_reason != KVM_EXIT_MMIO)
		return false;

	memset(run->mmio.data, 0, sizeof(run->mmio.data));
	if (run->mmio.phys_addr == MMIO_GVA + NEEDLE_OFFSET)
		run->mmio.data[0] = NEEDLE;
	return true;
}

static void run_emulated(void *guest_code)
{
	struct kvm_vcpu *vcpu;
	uint64_t wrong = -1;
	struct kvm_vm *vm;
	struct ucall uc;

	vm = pmu_vm_create(&vcpu, guest_code);
	virt_map(vm, MMIO_GVA, MMIO_GVA, 1);

	for (;;) {
		vcpu_run(vcpu);
		if (is_device_access(vcpu->run))
			continue;

		switch (get_ucall(vcpu, &uc)) {
		case UCALL_PRINTF:
			printf("%s", uc.buffer);
			continue;
		case UCALL_SYNC:
			wrong = uc.args[1];
			continue;
		case UCALL_DONE:
			break;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			TEST_FAIL("Unexpected exit %u", vcpu->run->exit_reason);
		}
		break;
	}
	kvm_vm_free(vm);
	TEST_ASSERT(!wrong, "%lu counts are wrong", wrong);
}

TEST(rep_string_is_one_instruction)
{
	run_emulated(guest_strings);
}

TEST(enter_and_leave_are_no_branches)
{
	run_emulated(guest_frames);
}

int main(int argc, char *argv[])
{
	pmu_detect();

	return test_harness_run(argc, argv);
}
