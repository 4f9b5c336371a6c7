/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_PERF_GUEST_H
#define _ASM_X86_PERF_GUEST_H

#include <linux/perf_guest.h>
#include <linux/percpu-defs.h>

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

/* Does a guest own this CPU's core PMU? */
DECLARE_PER_CPU(bool, x86_perf_guest_owner);

bool x86_perf_guest_capable(void);
void x86_perf_guest_enter(u32 guest_lvtpc);
void x86_perf_guest_found(u64 status);
void x86_perf_guest_exit(bool pmi_due);
bool x86_perf_guest_claim_pmi(void);

static inline bool x86_perf_guest_owns_pmu(void)
{
	return __this_cpu_read(x86_perf_guest_owner);
}

#else

static inline bool x86_perf_guest_capable(void)
{
	return false;
}

static inline bool x86_perf_guest_owns_pmu(void)
{
	return false;
}

static inline bool x86_perf_guest_claim_pmi(void)
{
	return false;
}

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _ASM_X86_PERF_GUEST_H */
