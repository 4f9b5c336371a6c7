// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts of a core PMU that is handed over to a guest: LVTPC, and what perf's NMI
 * handler and the guests' vector find.  Whose an interrupt is that comes after its counter
 * has changed hands is decided by the hypervisor's record of PMIs, see
 * perf_guest_handle_mediated_pmi().
 */
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/perf_event.h>
#include <linux/perf_guest.h>

#include <asm/apic.h>
#include <asm/hardirq.h>
#include <asm/intel_pt.h>
#include <asm/irq_vectors.h>

#include "guest.h"

/* How long to wait for an interrupt that may not come, in us. */
#define X86_GUEST_PMU_PROBE_WAIT	5

/*
 * An NMI in state SHARED.  Guest mode is over, so that no counter of the guest runs: take
 * all of its status bits, once.  They are cleared before LVTPC is unmasked, because some
 * hardware raises the interrupt anew otherwise.
 */
enum x86_guest_nmi x86_guest_pmu_take_status(void)
{
	struct x86_guest_pmu *guest = this_guest_pmu();
	u64 status, taken;
	bool part;

	if (guest->state != X86_GUEST_PMU_SHARED)
		return X86_GUEST_NMI_NONE;

	status = x86_guest_pmu_status();
	taken = status & guest->regs;
	if (!taken)
		return X86_GUEST_NMI_NONE;

	/*
	 * Intel's LVTPC is masked: one of perf's events that overflows now raises no
	 * interrupt.  Let none run until it is unmasked, and see whether one has.
	 */
	if (is_intel()) {
		wrmsrl(MSR_CORE_PERF_GLOBAL_CTRL, 0);
		wrmsrl(MSR_CORE_PERF_GLOBAL_OVF_CTRL, taken);
		apic_write(APIC_LVTPC, APIC_DM_NMI);
		status = x86_guest_pmu_status();
		/* Interrupts of branch traces have no status bit. */
		part = status || intel_bts_is_active();
	} else {
		/* Also what is not of counters, such as a bit that freezes them. */
		status &= ~GLOBAL_STATUS_LBRS_FROZEN;
		wrmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
		       taken | (status & ~x86_guest_pmu_counters()));
		amd_pmu_expect_late_nmi();
		part = (status & x86_guest_pmu_counters()) != taken;
	}

	inc_irq_stat(perf_guest_mediated_pmis);
	/* If perf's events have overflowed, too, then another NMI may be under way. */
	perf_guest_handle_mediated_pmi(taken, part);
	if (part)
		return X86_GUEST_NMI_PART;

	if (is_intel() && this_cpu_read(cpu_hw_events.enabled))
		wrmsrl(MSR_CORE_PERF_GLOBAL_CTRL, guest->host_ctrl);
	return X86_GUEST_NMI_ALL;
}

/**
 * x86_guest_pmu_set_lvtpc - follow the guest's virtual LVTPC
 * @lvtpc: only the mask bit is used
 *
 * Context: Interrupts off, in state GUEST.
 */
void x86_guest_pmu_set_lvtpc(u32 lvtpc)
{
	apic_write(APIC_LVTPC, PERF_GUEST_MEDIATED_PMI_VECTOR |
			       APIC_DM_FIXED | (lvtpc & APIC_LVT_MASKED));
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_set_lvtpc);

/*
 * The interrupt for a guest's overflows has come.  It may be that of the host's traces:
 * PT's has a status bit, for BTS its buffer tells.  The PMU may be perf's again.  Called
 * with interrupts off.  Returns whether it was theirs, and theirs only.
 */
bool x86_guest_pmu_handle_trace(void)
{
	bool handled = false;
	u64 status;

	if (!is_intel() || !(intel_pt_is_active() || intel_bts_is_active()))
		return false;

	status = x86_guest_pmu_status();
	if (status & GLOBAL_STATUS_TRACE_TOPAPMI) {
		wrmsrl(MSR_CORE_PERF_GLOBAL_OVF_CTRL, GLOBAL_STATUS_TRACE_TOPAPMI);
		if (!perf_guest_handle_intel_pt_intr())
			intel_pt_interrupt();
		handled = true;
	}

	intel_bts_disable_local();
	if (intel_bts_interrupt())
		handled = true;
	intel_bts_enable_local();

	if (!handled || status & x86_guest_pmu_counters())
		return false;

	/* It was not masked, but is by now.  If perf has the PMU again then this is done. */
	if (x86_guest_pmu_owns())
		x86_guest_pmu_set_lvtpc(0);
	return true;
}

static void x86_guest_pmu_probe_evicted(u64 regs) { }

/**
 * x86_guest_pmu_probe_status_set - does setting a bit of GLOBAL_STATUS raise a PMI?
 *
 * AMD's manual says that it does not, Intel's says nothing.  To be called before guests
 * make use of it.
 *
 * Context: Interrupts off, no PMU of a guest that runs.
 * Return: Whether it does.  Then there is an interrupt now, by the guests' vector.
 */
bool x86_guest_pmu_probe_status_set(void)
{
	static const struct x86_guest_pmu_request alone = { .enabled = X86_GUEST_PMU_ALL };
	u32 set = is_intel() ? MSR_CORE_PERF_GLOBAL_STATUS_SET :
			       MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET;
	u32 clear = is_intel() ? MSR_CORE_PERF_GLOBAL_OVF_CTRL :
				 MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR;
	struct x86_guest_pmu_grant grant;
	bool raises;

	lockdep_assert_irqs_disabled();

	x86_guest_pmu_evict();
	x86_guest_pmu_get(&alone, &grant, x86_guest_pmu_probe_evicted);
	x86_guest_pmu_set_lvtpc(0);

	/* It may depend on the counter's own control. */
	wrmsrl(x86_pmu_config_addr(0), ARCH_PERFMON_EVENTSEL_INT);
	wrmsrl(clear, BIT_ULL(0));
	wrmsrl(set, BIT_ULL(0));
	udelay(X86_GUEST_PMU_PROBE_WAIT);
	raises = lapic_vector_set_in_irr(PERF_GUEST_MEDIATED_PMI_VECTOR);
	wrmsrl(clear, BIT_ULL(0));
	wrmsrl(x86_pmu_config_addr(0), 0);

	x86_guest_pmu_put(X86_GUEST_PMU_PARKED, x86_guest_pmu_probe_evicted);
	x86_guest_pmu_evict();

	return raises;
}
EXPORT_SYMBOL_GPL(x86_guest_pmu_probe_status_set);
