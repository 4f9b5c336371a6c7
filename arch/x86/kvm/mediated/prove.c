// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU: what is promised of hardware, checked.  CONFIG_KVM_PROVE_MEDIATED_PMU.
 */
#include <linux/hash.h>

#include <asm/svm.h>

#include "x86.h"
#include "mediated/internal.h"

static u64 read_global_ctrl(void)
{
	u64 val;

	rdmsrl(kvm_host_pmu.num_counters_fixed ? MSR_CORE_PERF_GLOBAL_CTRL :
						 MSR_AMD64_PERF_CNTR_GLOBAL_CTL, val);
	return val;
}

static void prove_counter(int i, u64 want, const char *what)
{
	u64 val;

	rdpmcl(counter_rdpmc_index(i), val);
	WARN_ONCE(val != want, "%s: counter %d is 0x%llx, not 0x%llx", what, i, val, want);
}

static void prove_selector(int i, u64 want, const char *what)
{
	u64 val;

	rdmsrl(selector_msr(i), val);
	WARN_ONCE((val | want) & ARCH_PERFMON_EVENTSEL_ENABLE && val != want,
		  "%s: selector %d is 0x%llx, not 0x%llx", what, i, val, want);
}

/* Beside perf's events, only the guest's fields count. */
static void prove_fixed_ctr_ctrl(u64 want, const char *what)
{
	const struct x86_guest_pmu *guest = x86_guest_pmu();
	u64 val;

	if (!kvm_host_pmu.num_counters_fixed)
		return;

	rdmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, val);
	if (x86_guest_pmu_is_beside(guest))
		val &= x86_guest_pmu_fixed_fields(guest->regs);
	WARN_ONCE(val != want, "%s: FIXED_CTR_CTRL is 0x%llx, not 0x%llx", what, val, want);
}

static void prove_metrics(u64 want, const char *what)
{
	u64 val;

	rdpmcl(INTEL_PMC_FIXED_RDPMC_METRICS, val);
	WARN_ONCE(val != want, "%s: PERF_METRICS is 0x%llx, not 0x%llx", what, val, want);
}

/*
 * Nothing is enabled, before a guest gets the PMU or after it has gone.  With @zero,
 * nothing is left of its values, either.
 */
void kvm_mediated_pmu_prove_off(struct kvm_vcpu *vcpu, bool zero)
{
	u64 regs = vcpu_to_pmu(vcpu)->mediated->has;
	int i;

	for (i = 0; i < kvm_host_pmu.num_counters_gp; i++)
		prove_selector(i, 0, "off");
	prove_fixed_ctr_ctrl(0, "off");
	WARN_ONCE(read_global_ctrl(), "off: GLOBAL_CTRL is 0x%llx", read_global_ctrl());

	if (!zero)
		return;

	for_each_counter(i, regs)
		prove_counter(i, 0, "off");
	if (regs & X86_GUEST_PMU_METRICS)
		prove_metrics(0, "off");
}

/* Outside guest mode nothing of the guest runs: GLOBAL_CTRL has none of its counters. */
static void prove_stopped(const char *what)
{
	u64 regs = x86_guest_pmu()->regs;

	/* AMD has GuestOnly for that. */
	if (x86_guest_pmu()->state == X86_GUEST_PMU_SHARED && !kvm_host_pmu.num_counters_fixed)
		return;

	if (x86_guest_pmu()->state != X86_GUEST_PMU_SHARED)
		regs = ~0ull;
	WARN_ONCE(read_global_ctrl() & regs, "%s: GLOBAL_CTRL is 0x%llx", what, read_global_ctrl());
}

/* Nobody has touched the registers that hold the vCPU's values: all but @missing. */
void kvm_mediated_pmu_prove_held(struct kvm_vcpu *vcpu, u64 missing)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	u64 regs = x86_guest_pmu()->regs & ~missing;
	u64 selectors = regs & (BIT_ULL(INTEL_PMC_IDX_FIXED) - 1);
	u64 copies = regs & ~mediated->wants.used & ~X86_GUEST_PMU_METRICS;
	int i;

	for_each_counter(i, selectors)
		prove_selector(i, mediated->loaded_selector[i], "held");
	for_each_counter(i, copies)
		prove_counter(i, counter_pmc(vcpu_to_pmu(vcpu), i)->counter, "copy");

	prove_fixed_ctr_ctrl(mediated->loaded_fixed_ctr_ctrl, "held");
	if (mediated->loaded_fixed_ctr_ctrl)
		prove_stopped("held");
}

/* What the guest can reach is the guest's; the values of @regs are in memory, too. */
void kvm_mediated_pmu_prove_guest(struct kvm_vcpu *vcpu, u64 regs)
{
	u64 others = kvm_mediated_pmu_status_bits & ~x86_guest_pmu()->regs;
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	int i;

	for (i = 0; i < kvm_host_pmu.num_counters_gp; i++) {
		if (x86_guest_pmu()->regs & BIT_ULL(i))
			prove_selector(i, mediated->selector[i], "guest");
		else if (x86_guest_pmu()->state == X86_GUEST_PMU_GUEST)
			prove_selector(i, 0, "guest");
	}
	prove_fixed_ctr_ctrl(mediated->fixed_ctr_ctrl, "guest");
	WARN_ON_ONCE(mediated->direct & mediated->has & ~x86_guest_pmu()->regs);
	if (x86_guest_pmu()->state == X86_GUEST_PMU_SHARED)
		WARN_ON_ONCE(mediated->direct & ~x86_guest_pmu()->regs);
	WARN_ON_ONCE(mediated->wants.enabled & ~x86_guest_pmu()->regs);

	if (x86_guest_pmu()->state == X86_GUEST_PMU_GUEST) {
		for_each_counter(i, others)
			prove_counter(i, 0, "others");
		if (others & X86_GUEST_PMU_METRICS)
			prove_metrics(0, "others");
	}

	for_each_counter(i, regs)
		prove_counter(i, counter_pmc(vcpu_to_pmu(vcpu), i)->counter, "guest");
	if (regs & X86_GUEST_PMU_METRICS)
		prove_metrics(mediated->metrics, "guest");
}

/* Nobody has touched stale registers, nor have they counted for anybody. */
void kvm_mediated_pmu_prove_stale(void)
{
	struct kvm_mediated_pmu_stale *stale = this_cpu_ptr(kvm_mediated_pmu_stale);
	u64 ctrl = stale->fixed_ctr_ctrl, running = ~0ull, status;
	int i;

	switch (x86_guest_pmu()->state) {
	case X86_GUEST_PMU_STALE:
		break;
	case X86_GUEST_PMU_SHARED_STALE:
		/* Some may have been cleared. */
		if (kvm_host_pmu.num_counters_fixed)
			ctrl = x86_guest_pmu()->ctrl;
		running = stale->regs;
		break;
	default:
		return;
	}

	WARN_ON_ONCE(stale->regs != x86_guest_pmu()->regs);
	for_each_counter(i, stale->regs) {
		prove_counter(i, stale->counter[counter_slot(i)], "stale");
		if (i < INTEL_PMC_IDX_FIXED)
			prove_selector(i, stale->selector[i], "stale");
	}
	prove_fixed_ctr_ctrl(ctrl, "stale");
	WARN_ONCE(read_global_ctrl() & running, "stale: GLOBAL_CTRL is 0x%llx",
		  read_global_ctrl());

	rdmsrl(kvm_pmu_ops.GLOBAL_STATUS, status);
	WARN_ONCE(status & stale->regs, "stale: GLOBAL_STATUS is 0x%llx", status);
}

/* VM-entry loads what is the guest's, and allowed; the registers have nothing of it. */
void kvm_mediated_pmu_prove_vmcb(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	u64 ctl, want;
	int i;

	for (i = 0; i < ARRAY_SIZE(mediated->vmcb->pmc); i++) {
		if (kvm_mediated_pmu_selectors_are_direct(vcpu))
			break;
		ctl = mediated->vmcb->pmc[i].ctl;
		want = mediated->has & BIT_ULL(i) ? mediated->selector[i] : 0;
		WARN_ONCE(ctl != want, "VMCB: selector %d is 0x%llx, not 0x%llx", i, ctl, want);
	}
	WARN_ON_ONCE(x86_guest_pmu()->state != X86_GUEST_PMU_GUEST ||
		     !x86_guest_pmu()->swapped || x86_guest_pmu()->regs);
	WARN_ON_ONCE(is_guest_mode(vcpu));
}

/* An eviction may come any time, so let many come. */
void kvm_mediated_pmu_prove_eviction(struct kvm_vcpu *vcpu, bool at_load)
{
	if (!hash_32(2 * (u32)vcpu->stat.exits + at_load, 2)) {
		x86_guest_pmu_evict();
		kvm_mediated_pmu_evict(vcpu);
	}
}
