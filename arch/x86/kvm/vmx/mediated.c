// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU, Intel's part: see arch/x86/kvm/mediated/ for the whole.
 *
 * GLOBAL_CTRL is switched by hardware.  VM-entry loads the guest's value from
 * the VMCS, VM-exit loads 0, or perf's value if the PMU is shared with perf, so
 * that the guest's counters stand still from the VM-exit on.
 * If the guest writes GLOBAL_CTRL directly, its value is saved on VM-exit, by
 * the control made for it or, on CPUs without, through the list of MSRs to be
 * stored.
 *
 * All that is set up in the current VMCS at each load, from what is in struct
 * kvm_pmu.  L1 and L2 share GLOBAL_CTRL as they share the other registers, and
 * this way it carries over from vmcs01 to vmcs02 and back.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <asm/msr-index.h>
#include <asm/perf_guest.h>

#include "x86.h"
#include "mediated/mediated.h"
#include "pmu.h"
#include "capabilities.h"
#include "nested.h"
#include "vmx.h"
#include "vmx_mediated.h"

/*
 * Does CPUID leaf 0x23 have counters that leaf 0xa, which perf goes by, has not?  Guests
 * that have GLOBAL_CTRL or RDPMC directly would have these, too.
 */
static bool has_hidden_counters(void)
{
	unsigned int eax, gp, fixed, ecx, edx;

	if (boot_cpu_data.cpuid_level < ARCH_PERFMON_EXT_LEAF ||
	    !boot_cpu_has(X86_FEATURE_ARCH_PERFMON_EXT))
		return false;

	cpuid_count(ARCH_PERFMON_EXT_LEAF, 0, &eax, &gp, &ecx, &edx);
	if (!(eax & BIT(ARCH_PERFMON_NUM_COUNTER_LEAF)))
		return false;

	cpuid_count(ARCH_PERFMON_EXT_LEAF, ARCH_PERFMON_NUM_COUNTER_LEAF,
		    &gp, &fixed, &ecx, &edx);
	return (u64)gp >> kvm_host_pmu.num_counters_gp || fixed & ~kvm_host_pmu.fixed_mask;
}

/* What is missing in this CPU for a mediated PMU?  NULL if nothing is. */
const char *vmx_mediated_pmu_objection(void)
{
	u64 perf_capabilities = 0;

	if (boot_cpu_has(X86_FEATURE_PDCM))
		rdmsrl(MSR_IA32_PERF_CAPABILITIES, perf_capabilities);

	/* Without GLOBAL_STATUS_SET the status cannot be restored. */
	if (kvm_host_pmu.version < 4)
		return "architectural perfmon version 4 or later is required";

	/* Without full-width writes counters cannot be restored. */
	if (!(perf_capabilities & PMU_CAP_FW_WRITES))
		return "full-width writes to counters are required";

	/* See x86_guest_pmu_capable(). */
	if (boot_cpu_has(X86_FEATURE_TSX_FORCE_ABORT) &&
	    !boot_cpu_has(X86_FEATURE_RTM_ALWAYS_ABORT))
		return "counter 3 is needed for TSX (TSX_FORCE_ABORT)";

	if (!cpu_has_load_perf_global_ctrl())
		return "VMX controls to load PERF_GLOBAL_CTRL are required";

	kvm_mediated_pmu_has_hidden = has_hidden_counters();
	return NULL;
}

/*
 * Add what only a mediated PMU can give to guests, where the CPU has it: fixed
 * counter 3 and, with it, PERF_METRICS.  A VM gets them if its VMM asks for them, or
 * all do by the module's parameter: a VMM that does not know them loses their values
 * at a migration.  @param is updated to what is in effect.
 */
void vmx_mediated_pmu_add_caps(bool *param)
{
	const u64 all = GENMASK_ULL(KVM_MAX_NR_INTEL_FIXED_COUTNERS - 1, 0);

	/* Guests are told how many there are, not which. */
	if (static_key_enabled(&kvm_mediated_pmu_key) && (kvm_host_pmu.fixed_mask & all) == all) {
		kvm_pmu_cap.num_counters_fixed = KVM_MAX_NR_INTEL_FIXED_COUTNERS;
		kvm_pmu_cap.num_metrics = kvm_host_pmu.num_metrics;
	} else if (*param) {
		pr_warn("mediated_pmu_metrics=1 refused: it needs enable_mediated_pmu=1 and a CPU with four fixed counters\n");
		*param = false;
	}

	kvm_mediated_pmu_metrics = *param;
}

/* Is @msr's interception controlled here, rather than by a shadow bitmap? */
bool vmx_mediated_pmu_is_msr(u32 msr)
{
	if (in_range(msr, MSR_IA32_PERFCTR0, KVM_MAX_NR_INTEL_GP_COUNTERS) ||
	    in_range(msr, MSR_IA32_PMC0, KVM_MAX_NR_INTEL_GP_COUNTERS) ||
	    in_range(msr, MSR_CORE_PERF_FIXED_CTR0, KVM_MAX_NR_INTEL_FIXED_COUTNERS))
		return true;

	switch (msr) {
	case MSR_PERF_METRICS:
	case MSR_CORE_PERF_GLOBAL_STATUS:
	case MSR_CORE_PERF_GLOBAL_CTRL:
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL:
		return true;
	default:
		return false;
	}
}

/*
 * Recalculate which MSRs of the PMU trap.  RDPMC's interception follows at the
 * next VM-entry.
 */
void vmx_mediated_pmu_recalc_intercepts(struct kvm_vcpu *vcpu)
{
	u64 direct = kvm_mediated_pmu_direct_regs(vcpu);
	bool fw_writes, intercept;
	int i;

	if (!static_branch_unlikely(&kvm_mediated_pmu_key))
		return;

	fw_writes = direct && vcpu_to_pmu(vcpu)->mediated->has_other_msrs;

	for (i = 0; i < KVM_MAX_NR_INTEL_GP_COUNTERS; i++) {
		intercept = !(direct & BIT_ULL(i));

		vmx_set_intercept_for_msr(vcpu, MSR_IA32_PERFCTR0 + i,
					  MSR_TYPE_RW, intercept);
		vmx_set_intercept_for_msr(vcpu, MSR_IA32_PMC0 + i,
					  MSR_TYPE_RW, intercept || !fw_writes);
	}

	for (i = 0; i < KVM_MAX_NR_INTEL_FIXED_COUTNERS; i++) {
		intercept = !(direct & BIT_ULL(INTEL_PMC_IDX_FIXED + i));

		vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_FIXED_CTR0 + i,
					  MSR_TYPE_RW, intercept);
	}

	vmx_set_intercept_for_msr(vcpu, MSR_PERF_METRICS, MSR_TYPE_RW,
				  !(direct & X86_GUEST_PMU_METRICS));

	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_CTRL, MSR_TYPE_RW,
				  !kvm_mediated_pmu_global_is_direct(vcpu));

	intercept = !kvm_mediated_pmu_status_is_direct(vcpu);
	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS,
				  MSR_TYPE_R, intercept);
	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL,
				  MSR_TYPE_RW, intercept);
}

/*
 * Have VM-exit store GLOBAL_CTRL in memory.  The list is shared with vmcs02,
 * for which TSC may be on it as well.
 */
static void vmx_mediated_pmu_store_global_ctrl(struct vcpu_vmx *vmx, u64 global_ctrl)
{
	struct vmx_msrs *store = &vmx->msr_autostore.guest;
	int slot = vmx_find_loadstore_msr_slot(store, MSR_CORE_PERF_GLOBAL_CTRL);

	if (slot < 0) {
		if (KVM_BUG_ON(store->nr == MAX_NR_LOADSTORE_MSRS, vmx->vcpu.kvm))
			return;

		slot = store->nr++;
		store->val[slot].index = MSR_CORE_PERF_GLOBAL_CTRL;
	}

	/* To be found if VM-entry fails and nothing is stored. */
	store->val[slot].value = global_ctrl;

	vmcs_write32(VM_EXIT_MSR_STORE_COUNT, store->nr);

	vmx->global_ctrl_slot = slot;
	vmx->global_ctrl_is_stored = true;
}

/*
 * The current VMCS was last used with the PMU loaded, and now it is not: RDPMC
 * traps, GLOBAL_CTRL is not stored.  Whether it is switched, and to what, is up to
 * atomic_switch_perf_msrs(), which runs next.
 */
void vmx_mediated_pmu_unset_controls(struct vcpu_vmx *vmx)
{
	struct vmx_msrs *store = &vmx->msr_autostore.guest;
	int slot = vmx_find_loadstore_msr_slot(store, MSR_CORE_PERF_GLOBAL_CTRL);

	exec_controls_setbit(vmx, CPU_BASED_RDPMC_EXITING);
	vm_exit_controls_clearbit(vmx, VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL);

	if (slot >= 0)
		store->val[slot] = store->val[--store->nr];
	/* The list is shared by all VMCSs, the count is not. */
	vmcs_write32(VM_EXIT_MSR_STORE_COUNT, store->nr);

	vmx->loaded_vmcs->guest_global_ctrl = VMX_NO_GLOBAL_CTRL;
}

static void vmx_mediated_pmu_trap(unsigned long *bitmap, u32 msr)
{
	vmx_set_msr_bitmap_read(bitmap, msr);
	vmx_set_msr_bitmap_write(bitmap, msr);
}

/* What is direct has changed, and this VM-entry has to follow. */
void vmx_mediated_pmu_recalc(struct kvm_vcpu *vcpu)
{
	unsigned long *bitmap = to_vmx(vcpu)->nested.vmcs02.msr_bitmap;
	int i;

	vmx_mediated_pmu_recalc_intercepts(vcpu);

	if (!is_guest_mode(vcpu) || !cpu_has_vmx_msr_bitmap())
		return;

	/* To merge with L1's bitmap may sleep.  Until that is done, all traps. */
	for (i = 0; i < KVM_MAX_NR_INTEL_GP_COUNTERS; i++) {
		vmx_mediated_pmu_trap(bitmap, MSR_IA32_PERFCTR0 + i);
		vmx_mediated_pmu_trap(bitmap, MSR_IA32_PMC0 + i);
	}
	for (i = 0; i < KVM_MAX_NR_INTEL_FIXED_COUTNERS; i++)
		vmx_mediated_pmu_trap(bitmap, MSR_CORE_PERF_FIXED_CTR0 + i);
	vmx_mediated_pmu_trap(bitmap, MSR_PERF_METRICS);
	vmx_mediated_pmu_trap(bitmap, MSR_CORE_PERF_GLOBAL_CTRL);
	vmx_mediated_pmu_trap(bitmap, MSR_CORE_PERF_GLOBAL_STATUS);
	vmx_mediated_pmu_trap(bitmap, MSR_CORE_PERF_GLOBAL_OVF_CTRL);

	kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
}

/* All that is not about the values of registers: what the VMCS says. */
void vmx_mediated_pmu_resume(struct kvm_vcpu *vcpu, const struct x86_guest_pmu *guest)
{
	u64 global_ctrl = vcpu_to_pmu(vcpu)->global_ctrl, host_ctrl = 0;
	u64 direct = vcpu_to_pmu(vcpu)->mediated->direct;
	struct vcpu_vmx *vmx = to_vmx(vcpu);

	/* The guest's counters count in guest mode only, the host's outside it only. */
	if (guest->state == X86_GUEST_PMU_SHARED)
		host_ctrl = guest->host_ctrl;

	if (!(direct & KVM_MEDIATED_PMU_GLOBAL))
		global_ctrl &= guest->regs & ~kvm_mediated_pmu_denied(vcpu);

	/* As at the last VM-entry?  L1 has a say in what traps for L2. */
	if (likely(vmx->loaded_vmcs->guest_global_ctrl == global_ctrl &&
		   vmx->loaded_vmcs->host_global_ctrl == host_ctrl &&
		   vmx->loaded_vmcs->direct == direct &&
		   !is_guest_mode(vcpu) && cpu_has_save_perf_global_ctrl()))
		return;

	vm_entry_controls_setbit(vmx, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
	vm_exit_controls_setbit(vmx, VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL);

	/* Without the PMU, perf's value was here. */
	if (vmx->loaded_vmcs->guest_global_ctrl == VMX_NO_GLOBAL_CTRL ||
	    vmx->loaded_vmcs->host_global_ctrl != host_ctrl) {
		vmx->loaded_vmcs->host_global_ctrl = host_ctrl;
		vmcs_write64(HOST_IA32_PERF_GLOBAL_CTRL, host_ctrl);
	}

	if (vmx->loaded_vmcs->guest_global_ctrl != global_ctrl) {
		vmx->loaded_vmcs->guest_global_ctrl = global_ctrl;
		vmcs_write64(GUEST_IA32_PERF_GLOBAL_CTRL, global_ctrl);
	}
	vmx->loaded_vmcs->direct = direct;

	if (kvm_mediated_pmu_rdpmc_is_direct(vcpu) &&
	    !(is_guest_mode(vcpu) &&
	      nested_cpu_has(get_vmcs12(vcpu), CPU_BASED_RDPMC_EXITING)))
		exec_controls_clearbit(vmx, CPU_BASED_RDPMC_EXITING);
	else
		exec_controls_setbit(vmx, CPU_BASED_RDPMC_EXITING);

	if (!kvm_mediated_pmu_global_is_direct(vcpu))
		return;

	if (cpu_has_save_perf_global_ctrl())
		vm_exit_controls_setbit(vmx, VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL);
	else
		vmx_mediated_pmu_store_global_ctrl(vmx, global_ctrl);
}

/*
 * GLOBAL_CTRL is not in hardware outside guest mode: VM-exit, if there was one,
 * loaded 0, and counters stand still.  Find the guest's value.
 */
static void vmx_mediated_pmu_read_global_ctrl(struct vcpu_vmx *vmx)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(&vmx->vcpu);

	/* It is in struct kvm_pmu, and may have been written just now. */
	if (!kvm_mediated_pmu_global_is_direct(&vmx->vcpu))
		return;

	if (vm_exit_controls_get(vmx) & VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL)
		vmx->loaded_vmcs->guest_global_ctrl =
			vmcs_read64(GUEST_IA32_PERF_GLOBAL_CTRL);
	/* The CPU may have a fixed counter 3 and PERF_METRICS that the guest has not. */
	pmu->global_ctrl = vmx->loaded_vmcs->guest_global_ctrl & ~pmu->global_ctrl_rsvd;
}

/* In state PARKED that has been done, and the value may have changed since. */
void vmx_mediated_pmu_sync(struct kvm_vcpu *vcpu)
{
	if (x86_guest_pmu()->state == X86_GUEST_PMU_GUEST)
		vmx_mediated_pmu_read_global_ctrl(to_vmx(vcpu));
}

void vmx_mediated_pmu_stop(struct kvm_vcpu *vcpu)
{
	vmx_mediated_pmu_read_global_ctrl(to_vmx(vcpu));
	to_vmx(vcpu)->global_ctrl_is_stored = false;
}

/* Has the guest exited because of a read that may be one of its PMU? */
enum kvm_mediated_pmu_exit vmx_mediated_pmu_exit(struct kvm_vcpu *vcpu)
{
	/* L1 may want to have it. */
	if (is_guest_mode(vcpu))
		return KVM_MEDIATED_PMU_EXIT_OTHER;

	switch (to_vmx(vcpu)->exit_reason.full) {
	case EXIT_REASON_MSR_READ:
		return KVM_MEDIATED_PMU_EXIT_RDMSR;
	case EXIT_REASON_RDPMC:
		return KVM_MEDIATED_PMU_EXIT_RDPMC;
	default:
		return KVM_MEDIATED_PMU_EXIT_OTHER;
	}
}
