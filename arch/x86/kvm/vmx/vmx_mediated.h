/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_VMX_VMX_MEDIATED_H
#define __KVM_X86_VMX_VMX_MEDIATED_H

#include "mediated/mediated.h"
#include "vmx.h"

const char *vmx_mediated_pmu_objection(void);
void vmx_mediated_pmu_add_caps(bool *param);
void vmx_mediated_pmu_recalc_intercepts(struct kvm_vcpu *vcpu);
void vmx_mediated_pmu_recalc(struct kvm_vcpu *vcpu);
void vmx_mediated_pmu_unset_controls(struct vcpu_vmx *vmx);
void vmx_mediated_pmu_resume(struct kvm_vcpu *vcpu, const struct x86_guest_pmu *guest);
void vmx_mediated_pmu_stop(struct kvm_vcpu *vcpu);
void vmx_mediated_pmu_sync(struct kvm_vcpu *vcpu);
enum kvm_mediated_pmu_exit vmx_mediated_pmu_exit(struct kvm_vcpu *vcpu);
bool vmx_mediated_pmu_is_msr(u32 msr);

/* For loaded_vmcs->guest_global_ctrl: not a value that can be loaded. */
#define VMX_NO_GLOBAL_CTRL	(~0ull)

/*
 * Without the VM-exit control to save GLOBAL_CTRL, the guest's value is found in
 * the list of MSRs that are stored on VM-exit.  Copy it to where VM-entry loads
 * it from, before the fastpath enters the guest again.
 */
static inline void vmx_mediated_pmu_after_exit(struct vcpu_vmx *vmx)
{
	u64 global_ctrl;

	if (!static_branch_unlikely(&kvm_mediated_pmu_key) || !vmx->global_ctrl_is_stored)
		return;

	global_ctrl = vmx->msr_autostore.guest.val[vmx->global_ctrl_slot].value;
	if (global_ctrl == vmx->loaded_vmcs->guest_global_ctrl)
		return;

	vmx->loaded_vmcs->guest_global_ctrl = global_ctrl;
	vmcs_write64(GUEST_IA32_PERF_GLOBAL_CTRL, global_ctrl);
}

#endif /* __KVM_X86_VMX_VMX_MEDIATED_H */
