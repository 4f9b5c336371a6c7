/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_VMX_VMX_MEDIATED_H
#define __KVM_X86_VMX_VMX_MEDIATED_H

#include "vmx.h"

const char *vmx_mediated_pmu_objection(void);
void vmx_mediated_pmu_add_caps(void);
void vmx_mediated_pmu_recalc_intercepts(struct kvm_vcpu *vcpu);
void vmx_mediated_pmu_load(struct kvm_vcpu *vcpu, bool status_is_zero, u64 written);
void vmx_mediated_pmu_put(struct kvm_vcpu *vcpu);
void vmx_mediated_pmu_resume(struct kvm_vcpu *vcpu);
void vmx_mediated_pmu_stop(struct kvm_vcpu *vcpu);
void vmx_mediated_pmu_sync(struct kvm_vcpu *vcpu);
bool vmx_mediated_pmu_is_msr(u32 msr);

/* For loaded_vmcs->guest_global_ctrl: not a value that can be loaded. */
#define VMX_NO_GLOBAL_CTRL	(~0ull)

void __vmx_mediated_pmu_unset_controls(struct vcpu_vmx *vmx);

/* Before a VM-entry without the PMU; an earlier one may have been with it. */
static inline void vmx_mediated_pmu_unset_controls(struct vcpu_vmx *vmx)
{
	if (vmx->loaded_vmcs->guest_global_ctrl != VMX_NO_GLOBAL_CTRL)
		__vmx_mediated_pmu_unset_controls(vmx);

	if (IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU))
		WARN_ON_ONCE(!(exec_controls_get(vmx) & CPU_BASED_RDPMC_EXITING));
}

/*
 * Without the VM-exit control to save GLOBAL_CTRL, the guest's value is found in
 * the list of MSRs that are stored on VM-exit.  Copy it to where VM-entry loads
 * it from, before the fastpath enters the guest again.
 */
static inline void vmx_mediated_pmu_after_exit(struct vcpu_vmx *vmx)
{
	u64 global_ctrl;

	if (!vmx->global_ctrl_is_stored)
		return;

	global_ctrl = vmx->msr_autostore.guest.val[vmx->global_ctrl_slot].value;
	if (global_ctrl == vmx->loaded_vmcs->guest_global_ctrl)
		return;

	vmx->loaded_vmcs->guest_global_ctrl = global_ctrl;
	vmcs_write64(GUEST_IA32_PERF_GLOBAL_CTRL, global_ctrl);
}

#endif /* __KVM_X86_VMX_VMX_MEDIATED_H */
