/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _X86_EVENTS_GUEST_H
#define _X86_EVENTS_GUEST_H

/* What the files of the hand-over to guests share with each other only. */

#include <linux/percpu.h>

#include <asm/msr.h>
#include <asm/perf_guest.h>

#include "perf_event.h"

static inline bool is_intel(void)
{
	return boot_cpu_data.x86_vendor == X86_VENDOR_INTEL;
}

static inline struct x86_guest_pmu *this_guest_pmu(void)
{
	return this_cpu_ptr(&cpu_hw_events.guest);
}

static inline u64 x86_guest_pmu_status(void)
{
	u64 status;

	rdmsrl(is_intel() ? MSR_CORE_PERF_GLOBAL_STATUS :
			    MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, status);
	return status;
}

/* guest_events.c */
u64 x86_guest_pmu_counters(void);
u64 x86_guest_pmu_stop_events(struct cpu_hw_events *cpuc);
void x86_guest_pmu_start_events(struct cpu_hw_events *cpuc);
void x86_guest_pmu_hold_events(struct cpu_hw_events *cpuc);
void x86_guest_pmu_reload_events(struct cpu_hw_events *cpuc);
void x86_guest_pmu_resume_events(struct cpu_hw_events *cpuc);
void x86_guest_pmu_zero_controls(struct cpu_hw_events *cpuc, bool global_is_zero);
u64 x86_guest_pmu_host_counters(struct cpu_hw_events *cpuc);
void x86_guest_pmu_zero(u64 regs);
void x86_guest_pmu_zero_others(struct cpu_hw_events *cpuc, u64 regs);
u64 x86_guest_pmu_wanted_by_host(struct cpu_hw_events *cpuc);
u64 x86_guest_pmu_guest_only(struct cpu_hw_events *cpuc);
void x86_guest_pmu_confine_events(struct cpu_hw_events *cpuc, bool confine);
void x86_guest_pmu_prove_confined(struct cpu_hw_events *cpuc);

#endif /* _X86_EVENTS_GUEST_H */
