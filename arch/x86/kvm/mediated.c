// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU: the guest has the hardware counters while it runs.
 *
 * The treaty.  A CPU's PMU is in one of four states.
 *
 *  HOST:  the registers are perf's.  The guest's values are in struct kvm_pmu,
 *	   exact and complete; KVM may read and change them at will.
 *  GUEST: from kvm_mediated_pmu_load() to kvm_mediated_pmu_put(), both with
 *	   interrupts off and around the inner run loop of vcpu_enter_guest().
 *	   The registers are the vCPU's.  The values in struct kvm_pmu are stale
 *	   and nobody may look at them, with the exceptions below.
 *
 *  PARKED: from kvm_mediated_pmu_put() to the next load.  The registers still are
 *	the vCPU's, and all is as in GUEST, but nothing counts.  If perf has events on
 *	this CPU, then only those counters and their selectors are that none of these
 *	events is on (kvm_pmu.beside); the rest of the registers is as in HOST.  An
 *	eviction, which saves the values and leads to HOST, comes before
 *	 - perf enables the PMU for an event: x86_pmu_enable(), which all it does
 *	   goes through, be it an event that is installed or scheduled in, rotation,
 *	   a cgroup's switch, the watchdog or a CPU that comes back.  Only the NMI
 *	   handler does not.  It restarts events that are on counters, or it finds
 *	   that the PMU is not perf's, and leaves it alone;
 *	 - perf clears what events of the past have left in counters, for tasks that
 *	   may use RDPMC: perf_clear_dirty_counters();
 *	 - KVM looks at one of the values, see kvm_mediated_pmu_evict();
 *	 - the vCPU leaves the CPU or KVM_RUN ends, see LEFT.
 *	If perf's events want more than counters (PEBS, metrics), a put goes to HOST.
 *
 *  LEFT: from kvm_arch_vcpu_put() to whatever needs the PMU next.  All is as in
 *	HOST, without events of perf on the CPU, but the values that have been saved
 *	in struct kvm_pmu still are in the counters, selectors, FIXED_CTR_CTRL and
 *	PERF_METRICS.  GLOBAL_CTRL is 0 and no counter's status bit is set.  The next
 *	load of a vCPU with the same registers, be it the same one or another,
 *	writes what differs.  A vCPU that runs without the PMU leaves all as it is:
 *	as perf has no events here, GLOBAL_CTRL is 0 in guest mode as well.  An
 *	eviction zeroes the registers, and leads to HOST, before
 *	 - perf does what it is an eviction from PARKED for, which is also before any
 *	   task may use RDPMC; where user space may already, kvm_arch_vcpu_put()
 *	   leads to HOST;
 *	 - a VM is destroyed;
 *	 - virtualization is disabled on the CPU: CPU hotplug, suspend, reboot and KVM's
 *	   own end.  A crash kernel finds the guest's selectors, with GLOBAL_CTRL 0, or
 *	   AMD's GuestOnly.
 *	Beside perf's events, kvm_arch_vcpu_put() leads to HOST.
 *
 * A vCPU none of whose counters is on, i.e. enabled and allowed, has no use for the
 * PMU.  After a number of VM-entries it is disarmed: it runs in state HOST (or
 * LEFT, if that is what it finds).  All that the guest can reach of the PMU traps
 * then, RDPMC included, and is served from struct kvm_pmu.  perf's events stay as
 * they are; those that exclude guests are kept out of guest mode in the way of
 * KVM's other PMU, by a switch of GLOBAL_CTRL at VM-entry and VM-exit, or AMD's
 * HostOnly.  (The hard lockup detector's event goes on in guest mode, as it does
 * there.)  Any write of the guest to its PMU arms the vCPU, and so does what
 * switches a counter on from elsewhere.
 *
 * In state GUEST, for each register of the guest:
 *
 *  counters (gp, fixed): read and written by the guest directly, through MSRs
 *	and, if the guest's PMU is shaped like the host's, RDPMC.  All counters
 *	the guest can reach hold its values, so that no host value can be read.
 *	A counter that the guest does not have may hold a host value; its MSR
 *	always traps, and so does RDPMC then.
 *  PERF_METRICS: like counters, for a guest that has it.  It goes with fixed
 *	counter 3, of slots: it counts only while that does, so that what the
 *	event filter says of one holds for both, and it is always written second,
 *	because that counter's value says how many slots the metrics stand for.
 *	For a guest that does not have it, it may hold a host value; its MSR
 *	traps, and so does RDPMC then.
 *  event selectors, FIXED_CTR_CTRL: always trap, in order that the event filter
 *	and the reserved bits hold.  What the guest wrote, and reads, is in
 *	pmc->eventsel and pmu->fixed_ctr_ctrl, which are always valid.  What
 *	hardware gets is in pmc->eventsel_hw and pmu->fixed_ctr_ctrl_hw: only
 *	what is enabled and allowed by the filter, anything else is 0.  They are
 *	recalculated in kvm_mediated_pmu_reprogram(), i.e. when KVM_REQ_PMU is
 *	handled, which is always done before the next load; what is parked is then
 *	brought up to date.  The exit fastpath does it all in state GUEST.
 *  GLOBAL_CTRL, GLOBAL_STATUS and the registers to clear bits of it: direct if the
 *	guest has them and its PMU is shaped like the host's, else they trap.  AMD's
 *	to set bits traps: it can set bits that freeze counters, e.g., which are not
 *	the guest's to have.
 *	Nothing counts for the guest outside guest mode: on Intel GLOBAL_CTRL is
 *	switched by VM-entry and VM-exit, so that pmu->global_ctrl is valid in
 *	PARKED too; on AMD the selectors have GuestOnly set.
 *  LVTPC: the physical one holds PERF_GUEST_MEDIATED_PMI_VECTOR and the mask bit
 *	of the guest's virtual one, which traps.
 *
 * An overflow in guest mode sets the hardware's status bit, which the guest
 * finds in GLOBAL_STATUS, and raises the vector, which ends guest mode.  If
 * the interrupt finds the values parked, it requests KVM_REQ_PMI, which
 * becomes whatever the guest's LVTPC asks for.  If they are saved first, that
 * sees the new status bit and makes the request; the interrupt itself, which
 * may be late, is counted and forgotten, unless no new status bit went before
 * it.  An instruction that KVM emulates is added to the counter where its value is,
 * be it in memory or in hardware.
 *
 * See arch/x86/events/guest.c for what perf guarantees and expects at load and
 * put.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/hash.h>
#include <linux/kvm_host.h>
#include <linux/perf_event.h>
#include <linux/perf_guest.h>
#include <linux/smp.h>

#include <asm/perf_event.h>
#include <asm/perf_guest.h>
#include <asm/tlbflush.h>

#include "irq.h"
#include "lapic.h"
#include "mediated.h"
#include "pmu.h"
#include "x86.h"

bool __read_mostly kvm_mediated_pmu;
EXPORT_SYMBOL_GPL(kvm_mediated_pmu);

/* State LEFT: what is in this CPU's registers. */
struct kvm_mediated_pmu_left {
	bool	valid;
	bool	has_perf_metrics;
	u64	counters;	/* a bit for each that is the guest's, maybe none */
	u64	fixed_ctr_ctrl;
	u64	perf_metrics;
	u64	counter[X86_PMC_IDX_MAX];
	u64	eventsel[INTEL_PMC_IDX_FIXED];
};

static DEFINE_PER_CPU(struct kvm_mediated_pmu_left, kvm_mediated_pmu_left);

/*
 * Decide whether PMUs are mediated.  @param is the vendor module's parameter, it
 * is updated to what is in effect; @objection is what the vendor's hardware
 * lacks, or NULL.
 */
void kvm_mediated_pmu_hardware_setup(bool *param, const char *objection)
{
	if (*param) {
		if (!enable_pmu)
			objection = "the PMU is disabled (enable_pmu=0) or not supported";
		else if (!objection && !kvm_host_pmu.mediated)
			objection = "perf cannot hand this PMU to guests";

		if (objection) {
			pr_warn("enable_mediated_pmu=1 refused: %s\n", objection);
			*param = false;
		}
	}

	kvm_mediated_pmu = *param;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_hardware_setup);

/*
 * Reserve the host's PMU for @kvm, which is about to get a vCPU.  Called with
 * kvm->lock held.
 */
int kvm_mediated_pmu_reserve(struct kvm *kvm)
{
	int r;

	lockdep_assert_held(&kvm->lock);

	if (!kvm_mediated_pmu || !kvm->arch.enable_pmu ||
	    kvm->arch.mediated_pmu_reserved)
		return 0;

	/* PMIs cannot be delivered without a local APIC in the kernel. */
	if (!irqchip_in_kernel(kvm)) {
		kvm->arch.enable_pmu = false;
		return 0;
	}

	r = perf_guest_reserve();
	if (r) {
		pr_warn_ratelimited("no mediated PMU for the VM: system-wide or per-task perf events that include guests are active; close them or exclude guests (perf's :H modifier)\n");
		return r;
	}

	kvm->arch.mediated_pmu_reserved = true;
	return 0;
}

static bool kvm_mediated_pmu_is_left(int cpu, void *unused)
{
	return READ_ONCE(per_cpu(kvm_mediated_pmu_left.valid, cpu));
}

static void kvm_mediated_pmu_evict_left(void *unused)
{
	if (__this_cpu_read(kvm_mediated_pmu_left.valid))
		x86_perf_guest_evict();
}

void kvm_mediated_pmu_release(struct kvm *kvm)
{
	if (!kvm->arch.mediated_pmu_reserved)
		return;

	/* No value of the VM is to outlive it. */
	on_each_cpu_cond(kvm_mediated_pmu_is_left, kvm_mediated_pmu_evict_left, NULL, true);

	kvm->arch.mediated_pmu_reserved = false;
	perf_guest_release();
}

/*
 * Compare with the raw capabilities of the host, not with what KVM supports: a
 * bit of GLOBAL_CTRL, or an index of RDPMC, that the guest does not have must
 * not exist in hardware either.  PERF_METRICS has one of each: to zero the
 * register for a guest without would hide the host's value, but not its being
 * there.
 */
static bool kvm_mediated_pmu_is_shaped_like_host(struct kvm_pmu *pmu)
{
	return pmu->nr_arch_gp_counters == kvm_host_pmu.num_counters_gp &&
	       pmu->nr_arch_fixed_counters == kvm_host_pmu.num_counters_fixed &&
	       pmu->has_perf_metrics == !!kvm_host_pmu.num_metrics;
}

bool kvm_mediated_pmu_global_is_direct(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	return kvm_mediated_pmu_is_armed(vcpu) &&
	       kvm_pmu_has_perf_global_ctrl(pmu) &&
	       kvm_mediated_pmu_is_shaped_like_host(pmu);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_global_is_direct);

bool kvm_mediated_pmu_rdpmc_is_direct(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	if (!kvm_mediated_pmu_is_armed(vcpu) ||
	    !kvm_mediated_pmu_is_shaped_like_host(pmu))
		return false;

	/* The backdoor's pseudo counters are read with RDPMC. */
	if (enable_vmware_backdoor)
		return false;

	/*
	 * So are AMD's counters of the northbridge or data fabric, and of the L3 cache.
	 * They count for all cores, and there is one intercept for all of RDPMC.
	 */
	if (boot_cpu_has(X86_FEATURE_PERFCTR_NB) || boot_cpu_has(X86_FEATURE_PERFCTR_LLC))
		return false;

	return pmu->counter_bitmask[KVM_PMC_GP] ==
			BIT_ULL(kvm_host_pmu.bit_width_gp) - 1 &&
	       (!pmu->nr_arch_fixed_counters ||
		pmu->counter_bitmask[KVM_PMC_FIXED] ==
			BIT_ULL(kvm_host_pmu.bit_width_fixed) - 1);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_rdpmc_is_direct);

/*
 * Does a selector of AMD count in what the vCPU does now?  With SVM enabled, the
 * two bits confine a counter to L1 (HostOnly) or L2 (GuestOnly), both set are as
 * good as none; without, either stops it.  To hardware L1 and L2 are the same.
 */
bool kvm_mediated_pmu_mode_matches(struct kvm_pmc *pmc)
{
	u64 mode = pmc_is_gp(pmc) ? pmc->eventsel & kvm_pmu_ops.EVENTSEL_MODE : 0;
	struct kvm_vcpu *vcpu = pmc->vcpu;

	if (!mode)
		return true;

	if (!(vcpu->arch.efer & EFER_SVME))
		return false;

	return mode & (is_guest_mode(vcpu) ? AMD64_EVENTSEL_GUESTONLY :
					     AMD64_EVENTSEL_HOSTONLY);
}

/* @vcpu went from L1 to L2 or back, or has switched SVM on or off. */
void kvm_mediated_pmu_mode_changed(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_pmc *pmc;
	int i;

	if (!kvm_mediated_pmu || bitmap_empty(pmu->pmc_has_mode, X86_PMC_IDX_MAX))
		return;

	kvm_for_each_pmc(pmu, pmc, i, pmu->pmc_has_mode)
		kvm_pmu_request_counter_reprogram(pmc);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_mode_changed);

/*
 * Recalculate what hardware gets for @pmc.  @allowed is the event filter's
 * verdict.
 */
void kvm_mediated_pmu_reprogram(struct kvm_pmc *pmc, bool allowed)
{
	struct kvm_pmu *pmu = pmc_to_pmu(pmc);
	bool on = allowed && pmc_speculative_in_use(pmc) &&
		  kvm_mediated_pmu_mode_matches(pmc);

	__assign_bit(pmc->idx, pmu->pmc_is_on, on);

	if (pmc_is_fixed(pmc)) {
		int i = pmc->idx - KVM_FIXED_PMC_BASE_IDX;
		u64 mask = intel_fixed_bits_by_idx(i, INTEL_FIXED_BITS_MASK);

		pmu->fixed_ctr_ctrl_hw &= ~mask;
		if (on)
			pmu->fixed_ctr_ctrl_hw |= pmu->fixed_ctr_ctrl & mask;
		return;
	}

	__assign_bit(pmc->idx, pmu->pmc_has_mode,
		     pmc->eventsel & kvm_pmu_ops.EVENTSEL_MODE);
	pmc->eventsel_hw = on ? (pmc->eventsel & ~kvm_pmu_ops.EVENTSEL_HW_CLEAR) |
				kvm_pmu_ops.EVENTSEL_HW_SET : 0;
	pmu->selectors_changed = true;
}

/*
 * A guest that profiles switches its counters on and off a lot, e.g. at each of
 * its context switches, and to arm a vCPU costs about as much as some VM-exits:
 * stay armed for a while.  To prove something is easier with more changes.
 */
#define KVM_MEDIATED_PMU_IDLE_ENTRIES \
	(IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU) ? 3 : 256)

/*
 * Called when KVM_REQ_PMU is handled, i.e. before the next VM-entry.  What traps
 * follows before that entry, too, as that request is handled later.
 */
void kvm_mediated_pmu_arm_or_disarm(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	bool armed;

	if (pmu->written || !bitmap_empty(pmu->pmc_is_on, X86_PMC_IDX_MAX)) {
		pmu->idle_entries = 0;
		pmu->written = false;
		armed = true;
	} else {
		armed = pmu->armed &&
			pmu->idle_entries < KVM_MEDIATED_PMU_IDLE_ENTRIES;
	}

	/* Not from the exit fastpath; the next load asks again. */
	if (kvm_mediated_pmu_in_fastpath(vcpu))
		return;

	if (armed == pmu->armed)
		return;

	kvm_mediated_pmu_evict(vcpu);
	pmu->armed = armed;
	pmu->idle_entries = 0;
	kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
}

static u32 rdpmc_index(int i)
{
	if (i >= KVM_FIXED_PMC_BASE_IDX)
		return INTEL_PMC_FIXED_RDPMC_BASE | (i - KVM_FIXED_PMC_BASE_IDX);

	return i;
}

static u32 counter_msr(int i)
{
	if (i >= KVM_FIXED_PMC_BASE_IDX)
		return MSR_CORE_PERF_FIXED_CTR0 + (i - KVM_FIXED_PMC_BASE_IDX);

	return kvm_pmu_ops.GP_COUNTER_BASE + i * kvm_pmu_ops.GP_MSR_STRIDE;
}

static u32 gp_eventsel_msr(int i)
{
	return kvm_pmu_ops.GP_EVENTSEL_BASE + i * kvm_pmu_ops.GP_MSR_STRIDE;
}

static bool pmc_has_pmi(struct kvm_pmc *pmc)
{
	struct kvm_pmu *pmu = pmc_to_pmu(pmc);

	if (pmc_is_fixed(pmc))
		return fixed_ctrl_field(pmu->fixed_ctr_ctrl,
					pmc->idx - KVM_FIXED_PMC_BASE_IDX) &
		       INTEL_FIXED_0_ENABLE_PMI;

	return pmc->eventsel & ARCH_PERFMON_EVENTSEL_INT;
}

/* Whatever CPUID says to the guest, a counter is as wide as the host's. */
static u64 pmc_hw_bitmask(struct kvm_pmc *pmc)
{
	int width = pmc_is_fixed(pmc) ? kvm_host_pmu.bit_width_fixed :
					kvm_host_pmu.bit_width_gp;

	return BIT_ULL(width) - 1;
}

/* Counters that perf has displaced are not. */
static bool pmc_is_in_hardware(struct kvm_pmc *pmc)
{
	struct kvm_pmu *pmu = pmc_to_pmu(pmc);

	return pmu->in_hardware &&
	       !(pmu->beside && pmu->displaced & BIT_ULL(pmc->idx));
}

static u64 __kvm_mediated_pmu_read_counter(struct kvm_pmc *pmc)
{
	u64 counter = pmc->counter;

	lockdep_assert_irqs_disabled();

	if (pmc_is_in_hardware(pmc))
		rdpmcl(rdpmc_index(pmc->idx), counter);

	return counter;
}

/* For RDPMC where it exits: the value is left where it is. */
u64 kvm_mediated_pmu_read_counter(struct kvm_pmc *pmc)
{
	guard(irqsave)();

	return __kvm_mediated_pmu_read_counter(pmc) & pmc_bitmask(pmc);
}

/*
 * Count one event that KVM emulated, where the value is: in memory, or in hardware.
 * Nothing counts by itself in either place.  Called with interrupts off.
 */
void kvm_mediated_pmu_incr_counter(struct kvm_pmc *pmc)
{
	struct kvm_pmu *pmu = pmc_to_pmu(pmc);
	u64 counter = __kvm_mediated_pmu_read_counter(pmc);

	counter = (counter + 1) & pmc_hw_bitmask(pmc);

	if (pmc_is_in_hardware(pmc))
		wrmsrl(counter_msr(pmc->idx), counter);
	else
		pmc->counter = counter;

	if (counter)
		return;

	if (kvm_pmu_has_perf_global_ctrl(pmu)) {
		if (pmu->in_hardware && !pmu->beside) {
			/* Nothing raises an interrupt for a bit that is set so. */
			wrmsrl(kvm_pmu_ops.GLOBAL_STATUS_SET, BIT_ULL(pmc->idx));
			pmu->loaded_status |= BIT_ULL(pmc->idx);
		} else {
			pmu->global_status |= BIT_ULL(pmc->idx);
		}
	}

	if (pmc_has_pmi(pmc))
		kvm_make_request(KVM_REQ_PMI, pmc->vcpu);
}

/*
 * The counters that raise an interrupt if they overflow in hardware.  The metrics
 * have no control for that, they always do.
 */
static u64 kvm_mediated_pmu_pmi_mask(struct kvm_pmu *pmu)
{
	u64 mask = pmu->has_perf_metrics ? GLOBAL_STATUS_PERF_METRICS_OVF : 0;
	struct kvm_pmc *pmc;
	int i;

	kvm_for_each_pmc(pmu, pmc, i, pmu->all_valid_pmc_idx) {
		if (pmc_has_pmi(pmc))
			mask |= BIT_ULL(i);
	}

	return mask;
}

/*
 * An interrupt was raised while the values are in hardware.  The status bits of now
 * are known from then on, and the processor may have masked LVTPC.  Returns whether
 * there was a new one that raises interrupts.
 */
static bool kvm_mediated_pmu_pmi_seen(struct kvm_pmu *pmu)
{
	u64 status, overflows;

	rdmsrl(kvm_pmu_ops.GLOBAL_STATUS, status);
	overflows = status & ~pmu->loaded_status;
	pmu->loaded_status |= status;
	pmu->lvtpc_used = true;

	return overflows & kvm_mediated_pmu_pmi_mask(pmu);
}

/*
 * A counter of the guest that runs, or has just run, here has overflowed.  If
 * the put did not see it, e.g. because the status bit was set before, then it
 * is for whoever is loaded.
 */
void kvm_mediated_pmu_handle_pmi(void)
{
	struct kvm_vcpu *vcpu = kvm_get_running_vcpu();
	bool wanted = !x86_perf_guest_claim_pmi();

	if (!vcpu || !kvm_vcpu_has_mediated_pmu(vcpu))
		return;

	if (vcpu_to_pmu(vcpu)->in_hardware && !vcpu_to_pmu(vcpu)->beside)
		wanted |= kvm_mediated_pmu_pmi_seen(vcpu_to_pmu(vcpu));

	if (wanted)
		kvm_make_request(KVM_REQ_PMI, vcpu);
}

/*
 * Deliver a PMI that is requested to the local APIC.  For user space that is
 * about to read the vCPU's state: requests are not part of it.
 */
void kvm_mediated_pmu_flush_pmi(struct kvm_vcpu *vcpu)
{
	if (kvm_vcpu_has_mediated_pmu(vcpu) &&
	    kvm_check_request(KVM_REQ_PMI, vcpu))
		kvm_pmu_deliver_pmi(vcpu);
}

static u64 kvm_mediated_pmu_counters(struct kvm_pmu *pmu)
{
	BUILD_BUG_ON(X86_PMC_IDX_MAX > BITS_PER_LONG_LONG);

	return *(u64 *)pmu->all_valid_pmc_idx;
}

/*
 * CONFIG_KVM_PROVE_MEDIATED_PMU: what the treaty says about hardware, checked.
 *
 * Nothing may be enabled by the host.  With @zero, nothing may be left of the
 * guest, either.
 */
static void kvm_mediated_pmu_prove_off(struct kvm_pmu *pmu, bool zero)
{
	struct kvm_pmc *pmc;
	u64 val;
	int i;

	if (!IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU))
		return;

	for (i = 0; i < kvm_host_pmu.num_counters_gp; i++) {
		rdmsrl(gp_eventsel_msr(i), val);
		WARN_ONCE(val & ARCH_PERFMON_EVENTSEL_ENABLE,
			  "selector %d is enabled: 0x%llx", i, val);
	}

	if (kvm_host_pmu.num_counters_fixed) {
		rdmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, val);
		WARN_ONCE(val, "FIXED_CTR_CTRL is 0x%llx", val);
		rdmsrl(MSR_CORE_PERF_GLOBAL_CTRL, val);
	} else {
		rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, val);
	}
	WARN_ONCE(val, "GLOBAL_CTRL is 0x%llx", val);

	if (!zero)
		return;

	kvm_for_each_pmc(pmu, pmc, i, pmu->all_valid_pmc_idx) {
		rdpmcl(rdpmc_index(i), val);
		WARN_ONCE(val, "counter %d of the guest is left: 0x%llx", i, val);
	}

	if (pmu->has_perf_metrics) {
		rdpmcl(INTEL_PMC_FIXED_RDPMC_METRICS, val);
		WARN_ONCE(val, "PERF_METRICS of the guest is left: 0x%llx", val);
	}
}

/* Nobody has touched what is parked. */
static void kvm_mediated_pmu_prove_parked(struct kvm_pmu *pmu)
{
	struct kvm_pmc *pmc;
	u64 val;
	int i;

	if (!IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU))
		return;

	kvm_for_each_pmc(pmu, pmc, i, pmu->all_valid_pmc_idx) {
		if (!pmc_is_gp(pmc) || (pmu->beside && pmu->displaced & BIT_ULL(i)))
			continue;

		rdmsrl(gp_eventsel_msr(i), val);
		WARN_ONCE((val | pmc->eventsel_loaded) & ARCH_PERFMON_EVENTSEL_ENABLE &&
			  val != pmc->eventsel_loaded,
			  "parked selector %d is 0x%llx, not 0x%llx", i, val,
			  pmc->eventsel_loaded);
	}

	if (!kvm_host_pmu.num_counters_fixed || pmu->beside)
		return;

	rdmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, val);
	WARN_ONCE(val != pmu->fixed_ctr_ctrl_loaded,
		  "parked FIXED_CTR_CTRL is 0x%llx, not 0x%llx", val,
		  pmu->fixed_ctr_ctrl_loaded);
	rdmsrl(MSR_CORE_PERF_GLOBAL_CTRL, val);
	WARN_ONCE(val, "GLOBAL_CTRL is 0x%llx while parked", val);
}

/* Nobody has touched what was left behind, nor has it counted for anybody. */
static void kvm_mediated_pmu_prove_left(struct kvm_mediated_pmu_left *left)
{
	u64 val;
	int i;

	if (!IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU))
		return;

	for_each_set_bit(i, (unsigned long *)&left->counters, X86_PMC_IDX_MAX) {
		rdpmcl(rdpmc_index(i), val);
		WARN_ONCE(val != left->counter[i],
			  "counter %d that was left is 0x%llx, not 0x%llx", i, val,
			  left->counter[i]);
		if (i >= INTEL_PMC_IDX_FIXED)
			continue;

		rdmsrl(gp_eventsel_msr(i), val);
		WARN_ONCE((val | left->eventsel[i]) & ARCH_PERFMON_EVENTSEL_ENABLE &&
			  val != left->eventsel[i],
			  "selector %d that was left is 0x%llx, not 0x%llx", i, val,
			  left->eventsel[i]);
	}

	if (kvm_host_pmu.num_counters_fixed) {
		rdmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, val);
		WARN_ONCE(val != left->fixed_ctr_ctrl,
			  "FIXED_CTR_CTRL that was left is 0x%llx, not 0x%llx", val,
			  left->fixed_ctr_ctrl);
		rdmsrl(MSR_CORE_PERF_GLOBAL_CTRL, val);
	} else {
		rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, val);
	}
	WARN_ONCE(val, "GLOBAL_CTRL is 0x%llx while values are left", val);
	rdmsrl(kvm_pmu_ops.GLOBAL_STATUS, val);
	WARN_ONCE(val & left->counters, "GLOBAL_STATUS is 0x%llx while values are left", val);

	if (left->has_perf_metrics) {
		rdpmcl(INTEL_PMC_FIXED_RDPMC_METRICS, val);
		WARN_ONCE(val != left->perf_metrics,
			  "PERF_METRICS that was left is 0x%llx, not 0x%llx", val,
			  left->perf_metrics);
	}
}

/* An eviction may come any time, so let many come. */
static void kvm_mediated_pmu_prove_eviction(struct kvm_vcpu *vcpu, bool at_load)
{
	if (IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU) &&
	    (vcpu_to_pmu(vcpu)->parked || __this_cpu_read(kvm_mediated_pmu_left.valid)) &&
	    !hash_32(2 * (u32)vcpu->stat.exits + at_load, 2))
		x86_perf_guest_evict();
}

/* What the guest can reach is the guest's; of @counters the values are known. */
static void kvm_mediated_pmu_prove_guest(struct kvm_pmu *pmu, u64 counters)
{
	struct kvm_pmc *pmc;
	u64 val, want;
	int i;

	if (!IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU))
		return;

	for (i = 0; i < kvm_host_pmu.num_counters_gp; i++) {
		want = test_bit(i, pmu->all_valid_pmc_idx) ? pmu->gp_counters[i].eventsel_hw : 0;
		rdmsrl(gp_eventsel_msr(i), val);
		WARN_ONCE((val | want) & ARCH_PERFMON_EVENTSEL_ENABLE && val != want,
			  "selector %d is 0x%llx, not 0x%llx", i, val, want);
	}

	kvm_for_each_pmc(pmu, pmc, i, (unsigned long *)&counters) {
		rdpmcl(rdpmc_index(i), val);
		WARN_ONCE(val != pmc->counter, "counter %d is 0x%llx, not 0x%llx",
			  i, val, pmc->counter);
	}

	if (pmu->has_perf_metrics) {
		rdpmcl(INTEL_PMC_FIXED_RDPMC_METRICS, val);
		WARN_ONCE(val != pmu->perf_metrics,
			  "PERF_METRICS is 0x%llx, not 0x%llx", val, pmu->perf_metrics);
	}
}

/* Which registers have their value in struct kvm_pmu at any time? */
bool kvm_mediated_pmu_is_control(u32 msr)
{
	if (in_range(msr, MSR_P6_EVNTSEL0, KVM_MAX_NR_INTEL_GP_COUNTERS) ||
	    in_range(msr, MSR_K7_EVNTSEL0, AMD64_NUM_COUNTERS))
		return true;

	/* Selectors and counters by turns. */
	if (in_range(msr, MSR_F15H_PERF_CTL, 2 * KVM_MAX_NR_AMD_GP_COUNTERS))
		return !((msr - MSR_F15H_PERF_CTL) & 1);

	return msr == MSR_ARCH_PERFMON_FIXED_CTR_CTRL ||
	       msr == MSR_CORE_PERF_GLOBAL_CTRL;
}

static void kvm_mediated_pmu_set_lvtpc(struct kvm_vcpu *vcpu)
{
	u32 lvtpc = kvm_lapic_get_reg(vcpu->arch.apic, APIC_LVTPC);
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	u64 status;

	if (!pmu->lvtpc_used && pmu->lvtpc_loaded == (lvtpc & APIC_LVT_MASKED))
		return;

	/* What has overflowed until now raises no interrupt any more. */
	rdmsrl(kvm_pmu_ops.GLOBAL_STATUS, status);
	pmu->loaded_status = lvtpc & APIC_LVT_MASKED ? ~0ull : status;
	pmu->lvtpc_loaded = lvtpc & APIC_LVT_MASKED;
	pmu->lvtpc_used = false;
	x86_perf_guest_set_lvtpc(lvtpc);
}

static void kvm_mediated_pmu_write_selectors(struct kvm_pmu *pmu)
{
	struct kvm_pmc *pmc;
	int i;

	if (!pmu->selectors_changed)
		return;

	kvm_for_each_pmc(pmu, pmc, i, pmu->all_valid_pmc_idx) {
		if (pmc->eventsel_loaded == pmc->eventsel_hw)
			continue;

		pmc->eventsel_loaded = pmc->eventsel_hw;
		wrmsrl(gp_eventsel_msr(i), pmc->eventsel_hw);
	}
	pmu->selectors_changed = false;
}

/* What hardware gets has changed maybe: write the difference. */
static void kvm_mediated_pmu_write_controls(struct kvm_vcpu *vcpu)
{
	kvm_mediated_pmu_write_selectors(vcpu_to_pmu(vcpu));
	kvm_pmu_call(mediated_resume)(vcpu);
}

/* From PARKED to GUEST: only what has changed since is written. */
static void kvm_mediated_pmu_resume(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	pmu->parked = false;
	x86_perf_guest_unpark();
	kvm_mediated_pmu_prove_parked(pmu);

	kvm_mediated_pmu_set_lvtpc(vcpu);

	kvm_mediated_pmu_write_controls(vcpu);
}

/*
 * The exit fastpath's part of a write of the guest: handle one of a register that
 * always traps, or of GLOBAL_CTRL where it does.  Called with interrupts off, in
 * state GUEST, and stays there.  Returns false if there is more to it than that;
 * then nothing is changed.
 */
bool __kvm_mediated_pmu_fastpath_set_msr(struct kvm_vcpu *vcpu, u32 msr, u64 data)
{
	struct msr_data info = { .index = msr, .data = data };
	bool valid;

	if (!kvm_mediated_pmu_is_control(msr) ||
	    !kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE))
		return false;

	/*
	 * Has the guest this register?  kvm_pmu_is_valid_msr() may search CPUID, which
	 * takes too long with interrupts off.
	 */
	if (msr == MSR_CORE_PERF_GLOBAL_CTRL || msr == MSR_ARCH_PERFMON_FIXED_CTR_CTRL)
		valid = kvm_host_pmu.num_counters_fixed &&
			kvm_pmu_has_perf_global_ctrl(vcpu_to_pmu(vcpu));
	else
		valid = kvm_pmu_call(msr_idx_to_pmc)(vcpu, msr);

	if (!valid)
		return false;

	/* It is direct, but traps: whatever the reason is, it is not ours. */
	if (msr == MSR_CORE_PERF_GLOBAL_CTRL && kvm_mediated_pmu_global_is_direct(vcpu))
		return false;

	kvm_pmu_call(mediated_sync)(vcpu);

	if (kvm_pmu_set_msr(vcpu, &info)) {
		/* It will be seen again. */
		vcpu->stat.pmu_trapped_writes--;
		return false;
	}

	if (kvm_check_request(KVM_REQ_PMU, vcpu))
		kvm_pmu_handle_event(vcpu);

	kvm_mediated_pmu_write_controls(vcpu);
	return true;
}

/* Called by x86_perf_guest_evict() on the CPU where values have been left. */
static void kvm_mediated_pmu_clear_left(void)
{
	struct kvm_mediated_pmu_left *left = this_cpu_ptr(&kvm_mediated_pmu_left);
	int i;

	kvm_mediated_pmu_prove_left(left);

	if (left->fixed_ctr_ctrl) {
		wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, 0);
		left->fixed_ctr_ctrl = 0;
	}

	for_each_set_bit(i, (unsigned long *)&left->counters, X86_PMC_IDX_MAX) {
		if (i < KVM_FIXED_PMC_BASE_IDX && left->eventsel[i]) {
			wrmsrl(gp_eventsel_msr(i), 0);
			left->eventsel[i] = 0;
		}
		if (left->counter[i]) {
			wrmsrl(counter_msr(i), 0);
			left->counter[i] = 0;
		}
	}

	if (left->perf_metrics) {
		wrmsrl(MSR_PERF_METRICS, 0);
		left->perf_metrics = 0;
	}

	kvm_mediated_pmu_prove_left(left);

	x86_perf_guest_zeroed(left->counters);
	WRITE_ONCE(left->valid, false);
}

/*
 * On the way from LEFT to GUEST: for a vCPU whose PMU has the same registers, the
 * values of the last one are as good as zeros.  If not, go on from HOST, and return
 * false.
 */
static bool kvm_mediated_pmu_take_over(struct kvm_pmu *pmu)
{
	struct kvm_mediated_pmu_left *left = this_cpu_ptr(&kvm_mediated_pmu_left);
	struct kvm_pmc *pmc;
	int i;

	if (!left->valid)
		return false;

	if (left->counters != kvm_mediated_pmu_counters(pmu) ||
	    left->has_perf_metrics != pmu->has_perf_metrics) {
		x86_perf_guest_evict();
		return false;
	}

	kvm_mediated_pmu_prove_left(left);
	WRITE_ONCE(left->valid, false);

	/* To be written if they are not the same. */
	kvm_for_each_pmc(pmu, pmc, i, pmu->all_valid_pmc_idx) {
		if (pmc_is_gp(pmc))
			pmc->eventsel_loaded = left->eventsel[i];
	}
	pmu->selectors_changed = true;
	pmu->fixed_ctr_ctrl_loaded = left->fixed_ctr_ctrl;

	return true;
}

void __kvm_mediated_pmu_load(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu_left *left = this_cpu_ptr(&kvm_mediated_pmu_left);
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	u64 missing, not_zero, written = 0;
	struct kvm_pmc *pmc;
	bool taken;
	u32 lvtpc;
	int i;

	lockdep_assert_irqs_disabled();

	/* Not for this VM-entry any more. */
	if (bitmap_empty(pmu->pmc_is_on, X86_PMC_IDX_MAX) &&
	    ++pmu->idle_entries >= KVM_MEDIATED_PMU_IDLE_ENTRIES)
		kvm_make_request(KVM_REQ_PMU, vcpu);

	kvm_mediated_pmu_prove_eviction(vcpu, true);

	if (pmu->parked && !pmu->beside) {
		kvm_mediated_pmu_resume(vcpu);
		return;
	}

	/* Cannot be, see kvm_mediated_pmu_reserve(). */
	if (KVM_BUG_ON(!lapic_in_kernel(vcpu) ||
		       !vcpu->kvm->arch.mediated_pmu_reserved, vcpu->kvm))
		return;

	lvtpc = kvm_lapic_get_reg(vcpu->arch.apic, APIC_LVTPC);
	pmu->loaded_status = lvtpc & APIC_LVT_MASKED ? ~0ull : pmu->global_status;
	pmu->lvtpc_loaded = lvtpc & APIC_LVT_MASKED;
	pmu->lvtpc_used = false;

	taken = kvm_mediated_pmu_take_over(pmu);
	x86_perf_guest_enter(lvtpc);

	if (pmu->beside) {
		kvm_mediated_pmu_prove_parked(pmu);
		missing = pmu->displaced;
		pmu->parked = false;
		pmu->beside = false;
	} else {
		if (!taken)
			kvm_mediated_pmu_prove_off(pmu, false);
		missing = kvm_mediated_pmu_counters(pmu);
		vcpu->stat.pmu_loads++;
	}

	/*
	 * Many a counter is idle and 0 on both sides, or this CPU's last vCPU is back.
	 * Selectors that the guest does not use need no write: perf leaves none enabled,
	 * and the guest cannot read them.
	 */
	not_zero = x86_perf_guest_not_zero();
	kvm_for_each_pmc(pmu, pmc, i, (unsigned long *)&missing) {
		if (taken ? pmc->counter != left->counter[i] :
			    pmc->counter || not_zero & BIT_ULL(i)) {
			wrmsrl(counter_msr(i), pmc->counter);
			written |= BIT_ULL(i);
		}
	}
	kvm_mediated_pmu_write_selectors(pmu);

	kvm_pmu_call(mediated_load)(vcpu, taken, written);
	pmu->in_hardware = true;
	kvm_mediated_pmu_prove_guest(pmu, missing);
}

/* Save those of @counters; with @zero, leave nothing of them behind. */
static void kvm_mediated_pmu_save_counters(struct kvm_pmu *pmu, u64 counters, bool zero)
{
	struct kvm_pmc *pmc;
	int i;

	kvm_for_each_pmc(pmu, pmc, i, (unsigned long *)&counters) {
		if (pmc->eventsel_loaded) {
			wrmsrl(gp_eventsel_msr(i), 0);
			pmc->eventsel_loaded = 0;
			pmu->selectors_changed = true;
		}

		rdpmcl(rdpmc_index(i), pmc->counter);
		if (pmc->counter && zero)
			wrmsrl(counter_msr(i), 0);
	}

	if (!zero)
		return;

	/* Saved by mediated_put(), to be written after the counter of slots. */
	if (pmu->perf_metrics)
		wrmsrl(MSR_PERF_METRICS, 0);

	x86_perf_guest_zeroed(counters);
}

/* Has the guest overflows that raise an interrupt?  If so, it is told. */
static bool kvm_mediated_pmu_overflows(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	u64 overflows = pmu->hw_status & ~pmu->loaded_status;

	if (!overflows || !(overflows & kvm_mediated_pmu_pmi_mask(pmu)))
		return false;

	kvm_make_request(KVM_REQ_PMI, vcpu);
	return true;
}

static void kvm_mediated_pmu_zero_fixed_ctr_ctrl(struct kvm_pmu *pmu)
{
	if (pmu->fixed_ctr_ctrl_loaded) {
		wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, 0);
		pmu->fixed_ctr_ctrl_loaded = 0;
	}
}

static void kvm_mediated_pmu_save(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	kvm_pmu_call(mediated_put)(vcpu);
	kvm_mediated_pmu_zero_fixed_ctr_ctrl(pmu);
	kvm_mediated_pmu_save_counters(pmu, kvm_mediated_pmu_counters(pmu), true);
	pmu->in_hardware = false;
	kvm_mediated_pmu_prove_off(pmu, true);

	x86_perf_guest_exit(kvm_mediated_pmu_overflows(vcpu));
}

/* Called by x86_perf_guest_evict(), on the CPU that the vCPU is loaded on. */
static void kvm_mediated_pmu_evicted(void)
{
	struct kvm_vcpu *vcpu = kvm_get_running_vcpu();
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	kvm_mediated_pmu_prove_parked(pmu);
	pmu->parked = false;

	if (!pmu->beside) {
		kvm_mediated_pmu_save(vcpu);
		return;
	}

	pmu->beside = false;
	kvm_mediated_pmu_save_counters(pmu, kvm_mediated_pmu_counters(pmu) & ~pmu->displaced,
				       true);
	pmu->in_hardware = false;
}

/* From GUEST to PARKED, beside perf's events; if that cannot be, nothing is done. */
static bool kvm_mediated_pmu_park_beside(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	u64 wanted = x86_perf_guest_wanted();
	u64 counters = kvm_mediated_pmu_counters(pmu);

	if (wanted == ~0ull)
		return false;

	kvm_pmu_call(mediated_put)(vcpu);
	kvm_mediated_pmu_zero_fixed_ctr_ctrl(pmu);

	/* perf is going to write them all. */
	pmu->displaced = wanted & counters;
	kvm_mediated_pmu_save_counters(pmu, pmu->displaced, false);
	pmu->parked = true;
	pmu->beside = true;

	x86_perf_guest_exit_beside(kvm_mediated_pmu_overflows(vcpu),
				   counters & ~wanted, kvm_mediated_pmu_evicted);
	return true;
}

/* perf may be faster, on an interrupt; so may the scheduler. */
void __kvm_mediated_pmu_evict(struct kvm_vcpu *vcpu)
{
	guard(irqsave)();

	if (vcpu_to_pmu(vcpu)->parked)
		x86_perf_guest_evict();
}

/*
 * From PARKED to LEFT: save the values, for the vCPU may go to another CPU, but do
 * not clean up behind it.
 */
void __kvm_mediated_pmu_leave(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu_left *left;
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_pmc *pmc;
	int i;

	guard(irqsave)();

	/* perf may have been faster, on an interrupt. */
	if (!pmu->parked)
		return;

	/* Not before user space that may read counters now; nor is it worth it beside. */
	if (pmu->beside || cr4_read_shadow() & X86_CR4_PCE) {
		x86_perf_guest_evict();
		return;
	}

	kvm_mediated_pmu_prove_parked(pmu);
	pmu->parked = false;
	kvm_pmu_call(mediated_put)(vcpu);

	left = this_cpu_ptr(&kvm_mediated_pmu_left);
	WRITE_ONCE(left->valid, true);
	left->counters = kvm_mediated_pmu_counters(pmu);
	kvm_for_each_pmc(pmu, pmc, i, pmu->all_valid_pmc_idx) {
		rdpmcl(rdpmc_index(i), pmc->counter);
		left->counter[i] = pmc->counter;
		if (pmc_is_gp(pmc)) {
			left->eventsel[i] = pmc->eventsel_loaded;
			pmc->eventsel_loaded = 0;
		}
	}
	pmu->selectors_changed = true;
	left->fixed_ctr_ctrl = pmu->fixed_ctr_ctrl_loaded;
	pmu->fixed_ctr_ctrl_loaded = 0;
	left->has_perf_metrics = pmu->has_perf_metrics;
	left->perf_metrics = pmu->perf_metrics;

	pmu->in_hardware = false;
	x86_perf_guest_unpark();
	x86_perf_guest_exit_beside(kvm_mediated_pmu_overflows(vcpu), 0,
				   kvm_mediated_pmu_clear_left);
}

/* KVM is about to be gone from this CPU, or the CPU is. */
void kvm_mediated_pmu_disable_cpu(void)
{
	guard(irqsave)();
	x86_perf_guest_evict();
	x86_perf_guest_forget();
}

void __kvm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	lockdep_assert_irqs_disabled();

	/* The VM is bugged, see the load. */
	if (!pmu->in_hardware)
		return;

	kvm_pmu_call(mediated_stop)(vcpu);

	if (x86_perf_guest_park(kvm_mediated_pmu_evicted))
		pmu->parked = true;
	else if (!kvm_mediated_pmu_park_beside(vcpu))
		kvm_mediated_pmu_save(vcpu);

	kvm_mediated_pmu_prove_eviction(vcpu, false);
}

/* VM-entry without the PMU, while perf has events on the CPU: see the treaty. */
void kvm_mediated_pmu_enter_unloaded(struct kvm_vcpu *vcpu)
{
	if (!kvm_vcpu_has_mediated_pmu(vcpu))
		return;

	vcpu_to_pmu(vcpu)->host_counts = true;
	x86_perf_guest_enter_unloaded();
}

void kvm_mediated_pmu_exit_unloaded(struct kvm_vcpu *vcpu)
{
	vcpu_to_pmu(vcpu)->host_counts = false;
	x86_perf_guest_exit_unloaded();
}
