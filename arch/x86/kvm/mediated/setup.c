// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU: who has one, which of its registers a guest accesses directly, and
 * what the event filter and the guest's own settings leave of its event selectors.
 *
 * A vCPU none of whose counters is enabled and allowed has no use for the PMU.  After
 * KVM_MEDIATED_PMU_IDLE_ENTRIES VM-entries it is disarmed: all that the guest can
 * reach of the PMU traps then, RDPMC included, and is served from struct kvm_pmu, and
 * VM-entry leaves the PMU to perf.  perf's events that exclude guests are kept out of
 * guest mode in the way of KVM's emulated PMU, by a switch of GLOBAL_CTRL at VM-entry
 * and VM-exit, or by AMD's HostOnly.  The guest's next write arms the vCPU, and so does
 * whatever else enables a counter.
 *
 * While a vCPU is armed, for each register of the guest:
 *
 *  counters and PERF_METRICS: direct if they hold the guest's values, i.e. if the guest
 *	makes use of them.  The others trap, and are in struct kvm_pmu.
 *  event selectors and FIXED_CTR_CTRL: trap, so that the event filter and the reserved
 *	bits hold.  Selectors are direct with AMD's PMC virtualization, if there is no
 *	filter: KVM finds them in the VMCB when it needs them.  What the guest has set of
 *	reserved bits is dropped when the selectors leave the VMCB.
 *  GLOBAL_CTRL and RDPMC: direct if the PMU is not shared with perf, and the guest's
 *	has the shape of the host's.
 *  GLOBAL_STATUS and the register that clears bits of it: likewise, and perf has no
 *	events here, which could have the next interrupt.
 *	AMD's register that sets status bits traps: it can set bits that freeze counters,
 *	which the guest does not have.
 *  LVTPC: the guest's is the local APIC's, which traps.  The physical one has a vector
 *	of its own and the guest's mask bit.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/perf_guest.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include "lapic.h"
#include "x86.h"
#include "mediated/internal.h"

DEFINE_STATIC_KEY_FALSE(kvm_mediated_pmu_key);
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_key);

DEFINE_STATIC_KEY_FALSE(kvm_vpmc_key);
EXPORT_SYMBOL_GPL(kvm_vpmc_key);

bool __read_mostly kvm_mediated_pmu_has_hidden;
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_has_hidden);

bool __read_mostly kvm_mediated_pmu_direct_selectors;
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_direct_selectors);

bool __read_mostly kvm_mediated_pmu_metrics;
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_metrics);

/*
 * Decide whether PMUs are mediated.  @param is the vendor module's parameter, it
 * is updated to what is in effect; @objection is what the vendor's hardware
 * lacks, or NULL.
 */
void kvm_mediated_pmu_hardware_setup(bool *param, const char *objection)
{
	if (!*param)
		return;

	if (!enable_pmu)
		objection = "the PMU is disabled (enable_pmu=0) or not supported";
	else if (!objection && !kvm_host_pmu.mediated)
		objection = "perf cannot hand this PMU to guests";

	if (!objection) {
		kvm_mediated_pmu_stale = alloc_percpu(struct kvm_mediated_pmu_stale);
		if (!kvm_mediated_pmu_stale)
			objection = "out of memory";
	}

	if (objection) {
		pr_warn("enable_mediated_pmu=1 refused: %s\n", objection);
		*param = false;
		return;
	}

	kvm_mediated_pmu_status_bits = BIT_ULL(kvm_host_pmu.num_counters_gp) - 1;
	kvm_mediated_pmu_status_bits |= kvm_host_pmu.fixed_mask << INTEL_PMC_IDX_FIXED;
	if (kvm_host_pmu.num_metrics)
		kvm_mediated_pmu_status_bits |= GLOBAL_STATUS_PERF_METRICS_OVF;

	perf_guest_enable();
	static_branch_enable(&kvm_mediated_pmu_key);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_hardware_setup);

/* There are no VMs, and virtualization is disabled on all CPUs. */
void kvm_mediated_pmu_hardware_unsetup(void)
{
	if (!static_key_enabled(&kvm_mediated_pmu_key))
		return;

	static_branch_disable(&kvm_mediated_pmu_key);
	perf_guest_disable();
	free_percpu(kvm_mediated_pmu_stale);
	kvm_mediated_pmu_stale = NULL;
}

/*
 * Protects kvm->arch.mediated_pmu of all VMs.  KVM_RUN, which holds vcpu->mutex, cannot
 * take kvm->lock.
 */
static DEFINE_MUTEX(kvm_mediated_pmu_mutex);

static int kvm_mediated_pmu_reserve_locked(struct kvm *kvm)
{
	struct kvm_mediated_pmu_vm *pmu = &kvm->arch.mediated_pmu;
	int r;

	lockdep_assert_held(&kvm_mediated_pmu_mutex);

	r = perf_guest_reserve(&pmu->reservation);
	if (!r)
		pmu->state = KVM_MEDIATED_PMU_RESERVED;

	return r;
}

/*
 * Reserve the host's PMU for @kvm, which is about to get a vCPU.  Whether that is to have
 * a PMU is not known yet: see kvm_mediated_pmu_settle().  Called with kvm->lock held.
 */
int kvm_mediated_pmu_reserve(struct kvm *kvm)
{
	int r;

	lockdep_assert_held(&kvm->lock);

	if (!static_branch_unlikely(&kvm_mediated_pmu_key) || !kvm->arch.enable_pmu)
		return 0;

	guard(mutex)(&kvm_mediated_pmu_mutex);

	if (kvm->arch.mediated_pmu.state != KVM_MEDIATED_PMU_NONE)
		return 0;

	if (kvm_mediated_pmu_is_withheld(kvm)) {
		pr_warn_ratelimited("no PMU for the VM: a mediated PMU needs the local APIC in the kernel (QEMU's kernel-irqchip=on or split)\n");
		kvm->arch.enable_pmu = false;
		return 0;
	}

	r = kvm_mediated_pmu_reserve_locked(kvm);
	if (!r)
		kvm_pmi_reserved();

	return r;
}

static bool kvm_mediated_pmu_is_wanted(struct kvm *kvm)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		if (READ_ONCE(vcpu_to_pmu(vcpu)->version))
			return true;
	}

	return false;
}

/*
 * @vcpu is about to run for the first time, and its CPUID does not change any more.  If it
 * has a PMU then the VM has a reservation from now on.  If no vCPU has one, as far as is
 * known, then there is no need for it.
 */
int kvm_mediated_pmu_settle(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu_vm *pmu = &vcpu->kvm->arch.mediated_pmu;
	int r;

	guard(mutex)(&kvm_mediated_pmu_mutex);

	if (vcpu_to_pmu(vcpu)->version) {
		if (pmu->state == KVM_MEDIATED_PMU_DROPPED) {
			r = kvm_mediated_pmu_reserve_locked(vcpu->kvm);
			if (r)
				return r;
		}
	} else if (pmu->state == KVM_MEDIATED_PMU_RESERVED &&
		   !kvm_mediated_pmu_is_wanted(vcpu->kvm)) {
		pmu->state = KVM_MEDIATED_PMU_DROPPED;
		perf_guest_release(&pmu->reservation);
	}

	vcpu_to_pmu(vcpu)->mediated->settled = true;
	return 0;
}

static bool kvm_mediated_pmu_knows(int cpu, void *kvm)
{
	return READ_ONCE(per_cpu_ptr(kvm_mediated_pmu_stale, cpu)->kvm) == kvm ||
	       kvm_pmi_suspects(cpu, kvm);
}

static void kvm_mediated_pmu_forget(void *kvm)
{
	if (this_cpu_ptr(kvm_mediated_pmu_stale)->kvm == kvm)
		x86_guest_pmu_evict();
	if (kvm_pmi_suspects(smp_processor_id(), kvm))
		kvm_pmi_forget_cpu();
}

/*
 * The VM's vCPUs do not run any more.  No value of theirs and no pointer to them
 * outlives them; CPUs that have neither are not disturbed.
 */
void kvm_mediated_pmu_release(struct kvm *kvm)
{
	struct kvm_mediated_pmu_vm *pmu = &kvm->arch.mediated_pmu;

	if (pmu->state != KVM_MEDIATED_PMU_RESERVED)
		return;

	on_each_cpu_cond(kvm_mediated_pmu_knows, kvm_mediated_pmu_forget, kvm, true);

	pmu->state = KVM_MEDIATED_PMU_NONE;
	perf_guest_release(&pmu->reservation);
}

int kvm_mediated_pmu_create(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	if (vcpu->kvm->arch.mediated_pmu.state == KVM_MEDIATED_PMU_NONE)
		return 0;

	pmu->mediated = kzalloc(sizeof(*pmu->mediated), GFP_KERNEL_ACCOUNT);
	if (!pmu->mediated)
		return -ENOMEM;

	kvm_pmi_init(vcpu);
	return 0;
}

void kvm_mediated_pmu_destroy(struct kvm_vcpu *vcpu)
{
	if (!vcpu_to_pmu(vcpu)->mediated)
		return;

	kvm_pmi_destroy(vcpu);
	kfree(vcpu_to_pmu(vcpu)->mediated);
	vcpu_to_pmu(vcpu)->mediated = NULL;
}

/* The guest's CPUID has changed, and with it which registers it has and which trap. */
void kvm_mediated_pmu_disarm(struct kvm_vcpu *vcpu)
{
	if (!vcpu_to_pmu(vcpu)->mediated)
		return;

	vcpu_to_pmu(vcpu)->use = KVM_MEDIATED_PMU_DISARMED;
	vcpu_to_pmu(vcpu)->mediated->settled = false;
	vcpu_to_pmu(vcpu)->mediated->has = 0;
	memset(&vcpu_to_pmu(vcpu)->mediated->wants, 0, sizeof(struct x86_guest_pmu_request));
	kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
}

void kvm_mediated_pmu_add_counters(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;

	BUILD_BUG_ON(X86_PMC_IDX_MAX > BITS_PER_LONG_LONG);

	if (!mediated)
		return;

	mediated->has |= *(u64 *)vcpu_to_pmu(vcpu)->all_valid_pmc_idx;
	/* At VM-entry it would be too late to search CPUID: interrupts are off. */
	mediated->has_other_msrs =
		kvm_pmu_is_valid_msr(vcpu, kvm_host_pmu.num_counters_fixed ?
					   MSR_IA32_PMC0 : MSR_F15H_PERF_CTR0);
}

void kvm_mediated_pmu_reset(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;

	if (!mediated)
		return;

	memset(&mediated->wants, 0, sizeof(mediated->wants));
	mediated->enabled_since = 0;
	mediated->denied = 0;
	mediated->pmi = 0;
	mediated->has_mode = 0;
	memset(mediated->selector, 0, sizeof(mediated->selector));
	mediated->changed = GENMASK_ULL(KVM_MAX_NR_GP_COUNTERS - 1, 0);
	mediated->fixed_ctr_ctrl = 0;
	mediated->metrics = 0;
}

/* The metrics go with fixed counter 3. */
static u64 with_metrics(struct kvm_mediated_pmu *mediated, u64 regs)
{
	if (regs & (BIT_ULL(INTEL_PMC_IDX_FIXED_SLOTS) | X86_GUEST_PMU_METRICS))
		regs |= mediated->has & (BIT_ULL(INTEL_PMC_IDX_FIXED_SLOTS) |
					 X86_GUEST_PMU_METRICS);

	return regs;
}

/* The values of @regs are not 0: RDPMC, if it is direct, is to read them. */
void kvm_mediated_pmu_wants(struct kvm_vcpu *vcpu, u64 regs)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;

	mediated->wants.all |= with_metrics(mediated, regs);
}

void kvm_mediated_pmu_set_metrics(struct kvm_vcpu *vcpu, u64 metrics)
{
	vcpu_to_pmu(vcpu)->mediated->metrics = metrics;
	if (metrics)
		kvm_mediated_pmu_wants(vcpu, X86_GUEST_PMU_METRICS);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_set_metrics);

/*
 * Compare with the raw capabilities of the host, not with what KVM supports: a
 * bit of GLOBAL_CTRL, or an index of RDPMC, that the guest does not have must
 * not exist in hardware either.
 *
 * The exception is what most VMMs do not know: fixed counter 3 and PERF_METRICS.  A guest
 * without either finds that bits 35 and 48 of GLOBAL_CTRL can be set, until the next
 * VM-exit, and count nothing, and that RDPMC reads 0.
 */
static bool kvm_mediated_pmu_is_shaped_like_host(struct kvm_pmu *pmu)
{
	return !kvm_mediated_pmu_has_hidden &&
	       pmu->nr_arch_gp_counters == kvm_host_pmu.num_counters_gp &&
	       (pmu->nr_arch_fixed_counters == kvm_host_pmu.num_counters_fixed ||
		(pmu->nr_arch_fixed_counters == KVM_USUAL_NR_FIXED_COUNTERS &&
		 kvm_host_pmu.num_counters_fixed == KVM_USUAL_NR_FIXED_COUNTERS + 1));
}

/* Does RDPMC, where it is direct, read nothing but the guest's counters? */
static bool kvm_mediated_pmu_may_rdpmc(struct kvm_pmu *pmu)
{
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

/*
 * May the guest have its event selectors directly?  KVM cannot sanitise them then.  To
 * hardware all of the guest is guest mode, so HostOnly and GuestOnly must not be in use.  A
 * guest that sets them later without SVM finds that GuestOnly does not stop a counter.
 */
static bool kvm_mediated_pmu_may_select(struct kvm_vcpu *vcpu)
{
	return kvm_mediated_pmu_direct_selectors && kvm_mediated_pmu_vmcb(vcpu) &&
	       !(vcpu->arch.efer & EFER_SVME) &&
	       !vcpu_to_pmu(vcpu)->mediated->has_mode &&
	       !rcu_access_pointer(vcpu->kvm->arch.pmu_event_filter);
}

/*
 * What may be direct now?  @alone: nothing but the guest's counters sets bits of
 * GLOBAL_STATUS or raises interrupts.  Else one that comes after the guest has cleared its
 * bit could be anybody's.  In state SHARED it is the counters only.
 */
u64 kvm_mediated_pmu_may_be_direct(struct kvm_vcpu *vcpu, bool alone)
{
	u64 direct = x86_guest_pmu()->regs & vcpu_to_pmu(vcpu)->mediated->wants.used;
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	if (kvm_mediated_pmu_vmcb(vcpu))
		direct = pmu->mediated->has;

	if (x86_guest_pmu()->state != X86_GUEST_PMU_GUEST || kvm_mediated_pmu_denied(vcpu) ||
	    !kvm_mediated_pmu_is_shaped_like_host(pmu))
		return direct;

	if (kvm_mediated_pmu_may_rdpmc(pmu))
		direct |= KVM_MEDIATED_PMU_RDPMC;
	if (!kvm_pmu_has_perf_global_ctrl(pmu))
		return direct;

	direct |= KVM_MEDIATED_PMU_GLOBAL | (alone ? KVM_MEDIATED_PMU_STATUS : 0);
	if (kvm_mediated_pmu_may_select(vcpu))
		direct |= KVM_MEDIATED_PMU_SELECTORS;

	return direct;
}

/* Counters and PERF_METRICS. */
u64 kvm_mediated_pmu_direct_regs(struct kvm_vcpu *vcpu)
{
	if (!kvm_mediated_pmu_is_armed(vcpu))
		return 0;

	return vcpu_to_pmu(vcpu)->mediated->direct & vcpu_to_pmu(vcpu)->mediated->has;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_direct_regs);

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
	int i;

	if (!kvm_vcpu_has_mediated_pmu(vcpu))
		return;

	/* The next load decides anew whether event selectors are direct. */
	if (kvm_mediated_pmu_vmcb(vcpu))
		kvm_mediated_pmu_evict(vcpu);

	for_each_counter(i, pmu->mediated->has_mode)
		kvm_pmu_request_counter_reprogram(counter_pmc(pmu, i));
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_mode_changed);

static void assign_bit_u64(int nr, u64 *mask, bool value)
{
	if (value)
		*mask |= BIT_ULL(nr);
	else
		*mask &= ~BIT_ULL(nr);
}

/*
 * Recalculate what hardware is to get for @pmc.  @allowed is the event filter's
 * verdict.  Called when KVM_REQ_PMU is handled, which is before the next VM-entry.
 */
void kvm_mediated_pmu_reprogram(struct kvm_pmc *pmc, bool allowed)
{
	struct kvm_mediated_pmu *mediated = pmc_to_pmu(pmc)->mediated;
	bool on = allowed && pmc_speculative_in_use(pmc) &&
		  kvm_mediated_pmu_mode_matches(pmc);
	u64 denied;
	bool pmi;

	kvm_pmu_recalc_emulation(pmc);

	if (pmc_is_fixed(pmc)) {
		int i = pmc->idx - KVM_FIXED_PMC_BASE_IDX;
		u64 mask = intel_fixed_bits_by_idx(i, INTEL_FIXED_BITS_MASK);
		u64 ctrl = pmc_to_pmu(pmc)->fixed_ctr_ctrl;

		mediated->fixed_ctr_ctrl &= ~mask;
		if (on)
			mediated->fixed_ctr_ctrl |= ctrl & mask;
		pmi = fixed_ctrl_field(ctrl, i) & INTEL_FIXED_0_ENABLE_PMI;
	} else {
		mediated->selector[pmc->idx] =
			on ? (pmc->eventsel & ~kvm_pmu_ops.EVENTSEL_HW_CLEAR) |
			     kvm_pmu_ops.EVENTSEL_HW_SET : 0;
		mediated->changed |= BIT_ULL(pmc->idx);
		assign_bit_u64(pmc->idx, &mediated->has_mode,
			       pmc->eventsel & kvm_pmu_ops.EVENTSEL_MODE);
		pmi = pmc->eventsel & ARCH_PERFMON_EVENTSEL_INT;
	}

	assign_bit_u64(pmc->idx, &mediated->wants.enabled, on);
	assign_bit_u64(pmc->idx, &mediated->pmi, on && pmi);

	/* What is direct changes with that, at the next load. */
	denied = mediated->denied;
	assign_bit_u64(pmc->idx, &mediated->denied, !allowed);
	if ((denied ^ mediated->denied) & BIT_ULL(INTEL_PMC_IDX_FIXED_SLOTS))
		mediated->direct = 0;

	mediated->enabled_since |= mediated->wants.enabled;
	mediated->wants.used |= with_metrics(mediated, mediated->wants.enabled);
	mediated->wants.all |= mediated->wants.used;
}

/*
 * Called when KVM_REQ_PMU is handled.  What traps follows before the VM-entry, too, as
 * the request for that is handled later.  A guest that profiles switches its counters
 * on and off a lot, e.g. at each of its context switches, and to arm a vCPU costs about
 * as much as some VM-exits: stay armed for a while.
 */
void kvm_mediated_pmu_arm_or_disarm(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	enum kvm_mediated_pmu_use use = vcpu_to_pmu(vcpu)->use;

	mediated->written = 0;
	mediated->flipped = 0;

	if (mediated->wants.enabled || use == KVM_MEDIATED_PMU_ARMING) {
		mediated->idle_entries = 0;
		use = KVM_MEDIATED_PMU_ARMED;
	} else if (mediated->idle_entries >= KVM_MEDIATED_PMU_IDLE_ENTRIES) {
		use = KVM_MEDIATED_PMU_DISARMED;
	}

	/* Not from the exit fastpath, where the PMU is loaded: the next load asks again. */
	if (use == vcpu_to_pmu(vcpu)->use || x86_guest_pmu()->state == X86_GUEST_PMU_GUEST)
		return;

	kvm_mediated_pmu_evict(vcpu);
	vcpu_to_pmu(vcpu)->use = use;
	mediated->idle_entries = 0;
	/* All traps.  The next load decides what is direct. */
	mediated->direct = 0;
	if (use == KVM_MEDIATED_PMU_DISARMED) {
		mediated->wants.used = with_metrics(mediated, mediated->enabled_since);
		mediated->enabled_since = 0;
	}
	kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
}

/*
 * The guest writes to its PMU, which traps: it is going to use it.  A PMU may have no
 * counter at all.
 */
void kvm_mediated_pmu_in_use(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	if (!kvm_vcpu_has_mediated_pmu(vcpu) ||
	    pmu->use != KVM_MEDIATED_PMU_DISARMED ||
	    !pmu->mediated->has)
		return;

	pmu->use = KVM_MEDIATED_PMU_ARMING;
	kvm_make_request(KVM_REQ_PMU, vcpu);
}
