/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of the PMU share that have a guest with a guest of its own:
 * L1, which prepares L2 and runs it, on Intel and on AMD.
 */
#ifndef SELFTEST_KVM_MEDIATED_PMU_NESTED_H
#define SELFTEST_KVM_MEDIATED_PMU_NESTED_H

#include "mediated_pmu.h"
#include "svm_util.h"
#include "vmx.h"

#define AMD64_EVENTSEL_GUESTONLY	BIT_ULL(40)
#define AMD64_EVENTSEL_HOSTONLY		BIT_ULL(41)

/* AMD's bitmap has two pages, Intel's one. */
#define MSR_BITMAP_SIZE		8192

/* What L1 needs to run L2; from the VMM. */
static struct {
	struct vmx_pages *vmx;
	struct svm_test_data *svm;
	uint8_t *msr_bitmap;
	uint64_t msr_bitmap_gpa;
	bool on;
	bool launched;
} l1;

static uint64_t l2_stack[1024];

/* L2: exit to L1. */
static inline void l2_exit(void)
{
	if (pmu.intel)
		vmcall();
	else
		vmmcall();
}

/* The VM-exits of L2 that these tests know. */
enum l2_exit { L2_CALL, L2_RDMSR, L2_WRMSR, L2_RDPMC, L2_INTR, L2_NMI };

static inline uint64_t exit_reason(enum l2_exit what)
{
	static const uint8_t intel[] = {
		[L2_CALL] = EXIT_REASON_VMCALL,
		[L2_RDMSR] = EXIT_REASON_MSR_READ,
		[L2_WRMSR] = EXIT_REASON_MSR_WRITE,
		[L2_RDPMC] = EXIT_REASON_RDPMC,
		[L2_INTR] = EXIT_REASON_EXTERNAL_INTERRUPT,
		[L2_NMI] = EXIT_REASON_EXCEPTION_NMI,
	};
	static const uint8_t amd[] = {
		[L2_CALL] = SVM_EXIT_VMMCALL,
		[L2_RDMSR] = SVM_EXIT_MSR,
		[L2_WRMSR] = SVM_EXIT_MSR,
		[L2_RDPMC] = SVM_EXIT_RDPMC,
		[L2_INTR] = SVM_EXIT_INTR,
		[L2_NMI] = SVM_EXIT_NMI,
	};

	return pmu.intel ? intel[what] : amd[what];
}

/* L1: prepare L2, which has all of the PMU that L1 has. */
static inline void l1_setup(void *l2_code)
{
	/* As if called. */
	void *rsp = &l2_stack[ARRAY_SIZE(l2_stack) - 1];
	struct svm_test_data *svm = l1.svm;
	struct vmx_pages *vmx = l1.vmx;
	uint32_t exec;

	memset(l1.msr_bitmap, 0, MSR_BITMAP_SIZE);

	if (!pmu.intel) {
		generic_svm_setup(svm, l2_code, rsp);
		svm->vmcb->control.msrpm_base_pa = l1.msr_bitmap_gpa;
		svm->vmcb->control.intercept |= BIT_ULL(INTERCEPT_MSR_PROT);
		return;
	}

	if (!l1.on)
		GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	l1.on = true;
	l1.launched = false;
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_code, rsp);

	exec = vmreadz(CPU_BASED_VM_EXEC_CONTROL);
	exec |= CPU_BASED_USE_MSR_BITMAPS;
	exec &= ~(CPU_BASED_RDPMC_EXITING | CPU_BASED_UNCOND_IO_EXITING);
	GUEST_ASSERT(!vmwrite(CPU_BASED_VM_EXEC_CONTROL, exec));
	GUEST_ASSERT(!vmwrite(MSR_BITMAP, l1.msr_bitmap_gpa));
}

/* L2's registers while L1 runs, and the other way round. */
static uint64_t other_gprs[15];

#define SWAP_GPRS							\
	"xchg %%rax, %c[gprs]+0x00(%%rip)\n\t"				\
	"xchg %%rcx, %c[gprs]+0x08(%%rip)\n\t"				\
	"xchg %%rdx, %c[gprs]+0x10(%%rip)\n\t"				\
	"xchg %%rbx, %c[gprs]+0x18(%%rip)\n\t"				\
	"xchg %%rbp, %c[gprs]+0x20(%%rip)\n\t"				\
	"xchg %%rsi, %c[gprs]+0x28(%%rip)\n\t"				\
	"xchg %%rdi, %c[gprs]+0x30(%%rip)\n\t"				\
	"xchg %%r8, %c[gprs]+0x38(%%rip)\n\t"				\
	"xchg %%r9, %c[gprs]+0x40(%%rip)\n\t"				\
	"xchg %%r10, %c[gprs]+0x48(%%rip)\n\t"				\
	"xchg %%r11, %c[gprs]+0x50(%%rip)\n\t"				\
	"xchg %%r12, %c[gprs]+0x58(%%rip)\n\t"				\
	"xchg %%r13, %c[gprs]+0x60(%%rip)\n\t"				\
	"xchg %%r14, %c[gprs]+0x68(%%rip)\n\t"				\
	"xchg %%r15, other_gprs+0x70(%%rip)\n\t"

static inline bool l1_vmx_enter(void)
{
	bool failed = false;

	asm volatile("vmwrite %%rsp, %[host_rsp]\n\t"
		     "lea 2f(%%rip), %%rcx\n\t"
		     "vmwrite %%rcx, %[host_rip]\n\t"
		     "cmpb $0, %b[launched]\n\t"
		     SWAP_GPRS
		     "jne 1f\n\t"
		     "vmlaunch\n\t"
		     "jmp 3f\n\t"
		     "1: vmresume\n\t"
		     "3:" SWAP_GPRS
		     "movb $1, %b[failed]\n\t"
		     "jmp 4f\n\t"
		     "2:" SWAP_GPRS
		     "4:"
		     : [failed]"+&r"(failed)
		     : [host_rsp]"r"((uint64_t)HOST_RSP),
		       [host_rip]"r"((uint64_t)HOST_RIP),
		       [launched]"r"(l1.launched),
		       [gprs]"i"(other_gprs)
		     : "rcx", "cc", "memory");
	l1.launched = true;

	return !failed;
}

/* L1: run L2 until it exits, for the reason that is returned. */
static inline uint64_t l1_run(void)
{
	if (!pmu.intel) {
		run_guest(l1.svm->vmcb, l1.svm->vmcb_gpa);
		return l1.svm->vmcb->control.exit_code;
	}

	__GUEST_ASSERT(l1_vmx_enter(), "VM-entry failed, error %lu",
		       vmreadz(VM_INSTRUCTION_ERROR));
	return vmreadz(VM_EXIT_REASON);
}

static inline void l1_skip_l2(int bytes)
{
	if (pmu.intel)
		vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) + bytes);
	else
		l1.svm->vmcb->save.rip += bytes;
}

/* L1: run L2 until its next l2_exit(). */
static inline void l1_run_to_call(void)
{
	uint64_t reason = l1_run();

	__GUEST_ASSERT(reason == exit_reason(L2_CALL), "L2 exits with reason %#lx", reason);
	l1_skip_l2(3);
}

/* VMM: memory for one L2. */
static inline void nested_vm_prepare(struct kvm_vm *vm)
{
	vm_vaddr_t gva;

	if (pmu.intel) {
		vcpu_alloc_vmx(vm, &gva);
		l1.vmx = (void *)gva;
	} else {
		vcpu_alloc_svm(vm, &gva);
		l1.svm = (void *)gva;
	}

	gva = vm_vaddr_alloc_pages(vm, MSR_BITMAP_SIZE / getpagesize());
	l1.msr_bitmap = (void *)gva;
	l1.msr_bitmap_gpa = addr_gva2gpa(vm, gva);
	TEST_ASSERT_EQ(addr_gva2gpa(vm, gva + getpagesize()),
		       l1.msr_bitmap_gpa + getpagesize());

	sync_global_to_guest(vm, l1);
}

static inline struct kvm_vm *nested_vm_create(struct kvm_vcpu **vcpu, void *guest_code)
{
	struct kvm_vm *vm = pmu_vm_create(vcpu, guest_code);

	nested_vm_prepare(vm);
	return vm;
}

static inline void run_nested(void *guest_code, uint64_t arg)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = nested_vm_create(&vcpu, guest_code);
	vcpu_args_set(vcpu, 1, arg);
	pmu_run_to_done(vcpu);
	kvm_vm_free(vm);
}

static inline void nested_require(void)
{
	__TEST_REQUIRE(kvm_cpu_has(pmu.intel ? X86_FEATURE_VMX : X86_FEATURE_SVM) &&
		       kvm_has_cap(KVM_CAP_NESTED_STATE),
		       "KVM has no nested virtualization");
}

#endif /* SELFTEST_KVM_MEDIATED_PMU_NESTED_H */
