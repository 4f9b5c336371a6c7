// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU: the exit fastpath.
 *
 * A guest that profiles accesses its PMU a lot, e.g. at each of its context switches and in
 * the handler of its PMIs.  Accesses that trap are handled with interrupts off, in states
 * GUEST and SHARED, and the inner loop of vcpu_enter_guest() enters the guest again.  What
 * needs more than that, such as a counter that hardware does not hold, leaves the loop.
 */
#include "x86.h"
#include "trace.h"
#include "mediated/internal.h"

/*
 * Is @msr one of the registers that always trap, or of those that trap in state SHARED
 * because perf has a part in them?  Then its value is in struct kvm_pmu.  And has the guest
 * this register?  kvm_pmu_is_valid_msr() may search CPUID, which takes too long with
 * interrupts off.
 */
static bool in_fastpath(struct kvm_vcpu *vcpu, u32 msr)
{
	bool shared = x86_guest_pmu()->state == X86_GUEST_PMU_SHARED;
	bool has_global = kvm_pmu_has_perf_global_ctrl(vcpu_to_pmu(vcpu));
	bool is_intel = kvm_host_pmu.num_counters_fixed;

	switch (msr) {
	case MSR_CORE_PERF_GLOBAL_CTRL:
		/* Direct, but it traps: whatever the reason is, it is not ours. */
		return is_intel && has_global && !kvm_mediated_pmu_global_is_direct(vcpu);
	case MSR_ARCH_PERFMON_FIXED_CTR_CTRL:
		return is_intel && has_global;
	case MSR_CORE_PERF_GLOBAL_STATUS:
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL:
		return is_intel && has_global && shared;
	case MSR_AMD64_PERF_CNTR_GLOBAL_CTL:
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS:
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR:
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET:
		return !is_intel && has_global && shared;
	default:
		return kvm_mediated_pmu_is_control(msr) &&
		       !kvm_mediated_pmu_selectors_are_direct(vcpu) &&
		       kvm_pmu_call(msr_idx_to_pmc)(vcpu, msr);
	}
}

/*
 * The exit fastpath's part of a write of the guest.  Called with interrupts off, in state
 * GUEST or SHARED.  Returns false if there is more to it than that; then nothing is
 * changed.
 */
bool __kvm_mediated_pmu_fastpath_set_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data)
{
	enum x86_guest_pmu_state state = x86_guest_pmu()->state;
	struct msr_data info = { .index = msr, .data = data };

	if ((state != X86_GUEST_PMU_GUEST && state != X86_GUEST_PMU_SHARED) ||
	    !in_fastpath(vcpu, msr) || !kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE))
		return false;

	if (state == X86_GUEST_PMU_GUEST)
		kvm_pmu_call(mediated_sync)(vcpu);

	if (kvm_pmu_set_msr(vcpu, &info)) {
		/* It will be seen again. */
		vcpu->stat.pmu_trapped_writes--;
		return false;
	}

	return true;
}

void __kvm_mediated_pmu_fastpath_end(struct kvm_vcpu *vcpu)
{
	if (kvm_check_request(KVM_REQ_PMU, vcpu))
		kvm_pmu_handle_event(vcpu);

	/* The next load has more to do than this, if there is one. */
	if (!kvm_mediated_pmu_is_armed(vcpu) || !vcpu_to_pmu(vcpu)->mediated->direct ||
	    (!kvm_mediated_pmu_vmcb(vcpu) &&
	     vcpu_to_pmu(vcpu)->mediated->wants.enabled & ~x86_guest_pmu()->regs)) {
		kvm_make_request(KVM_REQ_PMU, vcpu);
		return;
	}

	kvm_mediated_pmu_write_controls(vcpu);
	kvm_pmu_call(mediated_resume)(vcpu, x86_guest_pmu());
}

static bool guest_rdmsr(struct kvm_vcpu *vcpu, u64 *data)
{
	struct msr_data info = { .index = kvm_rcx_read(vcpu) };

	if (!in_fastpath(vcpu, info.index) ||
	    !kvm_msr_allowed(vcpu, info.index, KVM_MSR_FILTER_READ) ||
	    kvm_pmu_get_msr(vcpu, &info))
		return false;

	*data = info.data;
	trace_kvm_msr_read(info.index, info.data);
	return true;
}

static bool guest_rdpmc(struct kvm_vcpu *vcpu, u64 *data)
{
	u32 index = kvm_rcx_read(vcpu);

	/* The metrics may be in hardware, and have to be evicted to be read. */
	return !(index & INTEL_PMC_FIXED_RDPMC_METRICS) && !enable_vmware_backdoor &&
	       !kvm_pmu_rdpmc(vcpu, index, data);
}

static noinline fastpath_t read_register(struct kvm_vcpu *vcpu, enum kvm_mediated_pmu_exit exit)
{
	fastpath_t ret = EXIT_FASTPATH_NONE;
	u64 data;

	kvm_vcpu_srcu_read_lock(vcpu);

	if (exit == KVM_MEDIATED_PMU_EXIT_RDMSR ? guest_rdmsr(vcpu, &data) :
						  guest_rdpmc(vcpu, &data)) {
		kvm_rax_write(vcpu, (u32)data);
		kvm_rdx_write(vcpu, data >> 32);
		ret = kvm_skip_emulated_instruction(vcpu) ? EXIT_FASTPATH_REENTER_GUEST :
							    EXIT_FASTPATH_EXIT_USERSPACE;
	}

	kvm_vcpu_srcu_read_unlock(vcpu);

	return ret;
}

/* Reads of the guest that trap because the PMU is shared with perf, or is not like it. */
fastpath_t kvm_mediated_pmu_fastpath_read(struct kvm_vcpu *vcpu)
{
	enum kvm_mediated_pmu_exit exit = kvm_pmu_call(mediated_exit)(vcpu);

	return likely(exit == KVM_MEDIATED_PMU_EXIT_OTHER) ? EXIT_FASTPATH_NONE :
							     read_register(vcpu, exit);
}
