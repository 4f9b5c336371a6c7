// SPDX-License-Identifier: GPL-2.0
/*
 * perf's events on a CPU whose core PMU is handed over to a guest: stop and start them,
 * and which registers they have.  See guest.c for the states.
 */
#include <linux/delay.h>

#include <asm/apic.h>
#include <asm/irq_vectors.h>

#include "guest.h"

/* How long to wait for the NMI of an overflow that is seen already, in us. */
#define X86_GUEST_PMU_NMI_WAIT	50

u64 x86_guest_pmu_counters(void)
{
	return x86_pmu.cntr_mask64 | x86_pmu.fixed_cntr_mask64 << INTEL_PMC_IDX_FIXED;
}

/*
 * PERF_HES_ARCH marks those events that are to stay stopped, e.g. because they were
 * throttled, as it does in x86_pmu_enable().  These are brought up to date as well,
 * as the guest will overwrite their counters.  Returns GLOBAL_STATUS.
 */
u64 x86_guest_pmu_stop_events(struct cpu_hw_events *cpuc)
{
	int i, us;
	u64 status;

	perf_pmu_disable(x86_get_pmu(smp_processor_id()));
	status = x86_guest_pmu_status();

	/*
	 * The NMI of an overflow may come late.  Once its event is stopped there would
	 * be no sample for it, so wait for it here, as AMD's perf does when it disables
	 * the PMU; the handler clears the status bits.  In the unlikely case that it
	 * does not come, have another one do its work.
	 */
	for (us = 0; is_intel() && us < 2 * X86_GUEST_PMU_NMI_WAIT; us++) {
		if (likely(!(status & x86_guest_pmu_counters())))
			break;
		if (us == X86_GUEST_PMU_NMI_WAIT)
			__apic_send_IPI(smp_processor_id(), NMI_VECTOR);
		udelay(1);
		status = x86_guest_pmu_status();
	}

	for (i = 0; i < cpuc->n_events; i++) {
		struct perf_event *event = cpuc->event_list[i];

		if (event->hw.state & PERF_HES_STOPPED)
			event->hw.state |= PERF_HES_ARCH;

		event->pmu->stop(event, PERF_EF_UPDATE);
	}

	return status;
}

void x86_guest_pmu_start_events(struct cpu_hw_events *cpuc)
{
	int i;

	for (i = 0; i < cpuc->n_events; i++) {
		struct perf_event *event = cpuc->event_list[i];

		/*
		 * An event that stays stopped may be started without a reload
		 * later, so its counter has to be right from now on.
		 */
		if (event->hw.state & PERF_HES_ARCH)
			static_call(x86_pmu_set_period)(event);
		else
			event->pmu->start(event, PERF_EF_RELOAD);
	}

	perf_pmu_enable(x86_get_pmu(smp_processor_id()));
}

/*
 * AMD: hardware is about to lose perf's selectors and counters.  The events stay as they
 * are, but have their counts up to date and do not count.
 */
void x86_guest_pmu_hold_events(struct cpu_hw_events *cpuc)
{
	int i, us;

	/* NMIs leave it disabled. */
	cpuc->enabled = 0;
	barrier();
	wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);

	for (i = 0; i < cpuc->n_events; i++) {
		struct perf_event *event = cpuc->event_list[i];
		struct hw_perf_event *hwc = &event->hw;

		if (hwc->state & PERF_HES_UPTODATE)
			continue;

		/* As x86_guest_pmu_stop_events(): the NMI of an overflow may come late. */
		for (us = 0; us < 2 * X86_GUEST_PMU_NMI_WAIT; us++) {
			x86_perf_event_update(event);
			if (likely(hwc->state & PERF_HES_STOPPED ||
				   local64_read(&hwc->prev_count) &
				   BIT_ULL(x86_pmu.cntval_bits - 1)))
				break;
			if (us == X86_GUEST_PMU_NMI_WAIT)
				__apic_send_IPI(smp_processor_id(), NMI_VECTOR);
			udelay(1);
		}
	}
}

/* Hardware has lost them: write the counters of events that are held. */
void x86_guest_pmu_reload_events(struct cpu_hw_events *cpuc)
{
	int i;

	for (i = 0; i < cpuc->n_events; i++) {
		struct hw_perf_event *hwc = &cpuc->event_list[i]->hw;
		s64 count = local64_read(&hwc->prev_count);

		wrmsrl(hwc->event_base, count & x86_pmu.cntval_mask);
		/* As x86_perf_event_set_period() has it, for perf_event_update_userpage(). */
		local64_set(&hwc->prev_count, sign_extend64(count, x86_pmu.cntval_bits - 1));
		/* The upper bits, as x86_perf_event_set_period() has them. */
		if (is_counter_pair(hwc))
			wrmsrl(x86_pmu_event_addr(hwc->idx + 1), 0xffff);
	}
}

/* Then enable them.  Their times have stood still meanwhile. */
void x86_guest_pmu_resume_events(struct cpu_hw_events *cpuc)
{
	int i;

	for (i = 0; i < cpuc->n_events; i++) {
		struct perf_event *event = cpuc->event_list[i];

		if (!(event->hw.state & PERF_HES_STOPPED))
			__x86_pmu_enable_event(&event->hw, ARCH_PERFMON_EVENTSEL_ENABLE);
		perf_event_update_userpage(event);
	}
}

/*
 * perf keeps track of the controls that it has written itself.  Firmware or a
 * previous kernel may have left something enabled in the others, where a guest's
 * GLOBAL_CTRL would make it count.
 */
void x86_guest_pmu_zero_controls(struct cpu_hw_events *cpuc, bool global_is_zero)
{
	bool init = cpuc->guest.state == X86_GUEST_PMU_INIT;
	int i;

	if (!global_is_zero)
		wrmsrl(is_intel() ? MSR_CORE_PERF_GLOBAL_CTRL :
				    MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);

	/*
	 * Stopping an event on a fixed counter leaves it enabled in the register
	 * until the PMU is enabled again, which it is not for a guest.
	 */
	if (is_intel() && (init || cpuc->active_fixed_ctrl_val)) {
		wrmsrl(MSR_ARCH_PERFMON_FIXED_CTR_CTRL, 0);
		cpuc->active_fixed_ctrl_val = 0;
	}

	if (!init)
		return;

	for_each_set_bit(i, x86_pmu.cntr_mask, X86_PMC_IDX_MAX)
		wrmsrl(x86_pmu_config_addr(i), 0);
}

/* The counters that perf's events are on; the metrics go with the counter of slots. */
u64 x86_guest_pmu_host_counters(struct cpu_hw_events *cpuc)
{
	u64 counters = 0;
	int i;

	for (i = 0; i < cpuc->n_events; i++)
		counters |= x86_pmu_event_counters(&cpuc->event_list[i]->hw, cpuc->assign[i]);

	if (counters & BIT_ULL(INTEL_PMC_IDX_FIXED_SLOTS))
		counters |= X86_GUEST_PMU_METRICS;

	return counters;
}

void x86_guest_pmu_zero(u64 regs)
{
	u64 counters = regs & x86_guest_pmu_counters();
	int i;

	for_each_set_bit(i, (unsigned long *)&counters, X86_PMC_IDX_MAX)
		wrmsrl(i < INTEL_PMC_IDX_FIXED ? x86_pmu_event_addr(i) :
			x86_pmu_fixed_ctr_addr(i - INTEL_PMC_IDX_FIXED), 0);

	if (regs & X86_GUEST_PMU_METRICS && x86_pmu.intel_cap.perf_metrics)
		wrmsrl(MSR_PERF_METRICS, 0);
}

/*
 * What a guest has not asked for reads 0.  Counters that are not 0 are those of perf's
 * events, and those that perf knows as dirty.
 */
void x86_guest_pmu_zero_others(struct cpu_hw_events *cpuc, u64 regs)
{
	u64 *dirty = (u64 *)cpuc->dirty, counters;

	BUILD_BUG_ON(sizeof(cpuc->dirty) != sizeof(u64));

	/* perf always has the bit of the metrics in GLOBAL_CTRL: they may count. */
	counters = *dirty | x86_guest_pmu_host_counters(cpuc) | X86_GUEST_PMU_METRICS;
	if (cpuc->guest.state == X86_GUEST_PMU_INIT)
		counters = X86_GUEST_PMU_ALL;

	*dirty = 0;
	x86_guest_pmu_zero(counters & ~regs);
}

/* The registers of perf's events; all if one of them needs more than counters. */
u64 x86_guest_pmu_wanted_by_host(struct cpu_hw_events *cpuc)
{
	int i;

	for (i = 0; i < cpuc->n_events; i++) {
		/*
		 * PEBS has more registers than these, and its buffer is the host's.  As
		 * the events are stopped, cpuc->pebs_enabled does not tell.  With the
		 * counter of slots go the metrics.
		 */
		if (cpuc->event_list[i]->attr.precise_ip ||
		    cpuc->assign[i] >= INTEL_PMC_IDX_FIXED_SLOTS)
			return X86_GUEST_PMU_ALL;
	}

	return x86_guest_pmu_host_counters(cpuc);
}

/* The counters of perf's events that do not count outside guest mode. */
u64 x86_guest_pmu_guest_only(struct cpu_hw_events *cpuc)
{
	u64 counters = 0;
	int i;

	for (i = 0; i < cpuc->n_events; i++) {
		if (cpuc->event_list[i]->attr.exclude_host)
			counters |= BIT_ULL(cpuc->assign[i]);
	}

	return counters;
}

/*
 * Have perf's events stand still in guest mode by themselves, or no more.  On AMD those
 * that exclude guests are HostOnly already.  While the PMU is shared, those that include
 * guests are made so, and those that are GuestOnly are disabled.  The kernel's own stay
 * HostOnly, which costs nothing the next time.
 */
void x86_guest_pmu_confine_events(struct cpu_hw_events *cpuc, bool confine)
{
	int i;

	if (is_intel())
		return;

	for (i = 0; i < cpuc->n_events; i++) {
		struct perf_event *event = cpuc->event_list[i];
		struct hw_perf_event *hwc = &event->hw;

		if (hwc->config & AMD64_EVENTSEL_HOSTONLY)
			continue;

		if (event->guest_yields) {
			if (!confine)
				continue;
			hwc->config |= AMD64_EVENTSEL_HOSTONLY;
		}

		if (!(hwc->state & PERF_HES_STOPPED))
			__x86_pmu_enable_event(hwc, x86_guest_pmu_event_enable(hwc, confine));
	}
}

/* State SHARED, before guest mode: perf's events are going to stand still there. */
void x86_guest_pmu_prove_confined(struct cpu_hw_events *cpuc)
{
	u64 config, others = x86_pmu.cntr_mask64 & ~cpuc->guest.regs;
	int i;

	if (!IS_ENABLED(CONFIG_KVM_PROVE_MEDIATED_PMU))
		return;

	if (is_intel()) {
		/* VM-entry loads the guest's bits only. */
		WARN_ON_ONCE(cpuc->guest.host_ctrl &
			     (cpuc->guest.regs | x86_guest_pmu_guest_only(cpuc)));
		return;
	}

	for_each_set_bit(i, (unsigned long *)&others, X86_PMC_IDX_MAX) {
		rdmsrl(x86_pmu_config_addr(i), config);
		/* The upper half of a pair goes with the lower one. */
		WARN_ONCE(config & ARCH_PERFMON_EVENTSEL_ENABLE &&
			  config != x86_pmu.perf_ctr_pair_en &&
			  (!(config & AMD64_EVENTSEL_HOSTONLY) ||
			   config & AMD64_EVENTSEL_GUESTONLY),
			  "shared: selector %d of perf is 0x%llx", i, config);
	}
}
