/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The machine log: what L1 did with its PMU, counted outside L1's reach.
 *
 * Counting goes on per processor from power-on.  Software opens and closes
 * windows with a write of 32 bits to I/O port PMU_LOG_PORT; a window's record
 * is the difference of the counters at close and open, summed and also per
 * processor.  Records go, one JSON object a line, to one file.
 */
#ifndef MACHINE_PMU_LOG_H
#define MACHINE_PMU_LOG_H

#include <stdint.h>
#include <stdio.h>

#include "pmu.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * OUT dx=PMU_LOG_PORT, eax = op << 24 | window id (24 bits).  The port is the
 * machine's own: user mode and a guest (L2) write it like anybody, no permission
 * is asked and there is no VM-exit.
 */
#define PMU_LOG_PORT	0x5ee0
#define PMU_LOG_OPEN	1
#define PMU_LOG_CLOSE	2
#define PMU_LOG_MARK	3	/* a record with the id and the absolute oracle counts */

enum pmu_log_access { PMU_LOG_RDMSR, PMU_LOG_WRMSR, PMU_LOG_RDPMC };

struct pmu_log;

/*
 * @path: the file, truncated; @nr_cpus: at least 1.  NULL (and errno) when the
 * file cannot be opened or memory is out.
 */
struct pmu_log *pmu_log_open(const char *path, unsigned int nr_cpus);
void pmu_log_close(struct pmu_log *log);

/*
 * One executed RDMSR, WRMSR (number) or RDPMC (ECX) in that mode; the glue calls
 * it for every MSR, PMU or not.  @is_lvtpc marks x2APIC 0x834 and is counted
 * like any MSR; xAPIC MMIO writes to LVTPC are reported as WRMSR of 0x834 too.
 * Accesses refused with #GP are counted apart.
 */
void pmu_log_access(struct pmu_log *log, unsigned int cpu, bool guest,
		    enum pmu_log_access what, uint32_t index, bool faulted);

/*
 * Guest mode entered: @feed is the processor's at that moment (up to date), @vcpu
 * the address of its VMCS or VMCB.
 * Guest mode left with the vendor's own reason code; @msr is the MSR for
 * MSR exits, else 0; @wr tells a WRMSR exit from a RDMSR one where the vendor's
 * reason does not (SVM).
 * From these the log derives the host instructions per round trip: the sum
 * and number of host instructions between an exit and the next entry, how
 * many the commonest round trip takes, and the accesses of those that end with
 * another @vcpu than they began with.
 */
void pmu_log_entry(struct pmu_log *log, unsigned int cpu, const struct pmu_feed *feed,
		   uint64_t vcpu);
void pmu_log_exit(struct pmu_log *log, unsigned int cpu, const struct pmu_feed *feed,
		  uint32_t reason, uint32_t msr, bool wr);

/* A PMI was raised by the PMU in that mode and with that LVTPC value (masked ones too). */
void pmu_log_pmi(struct pmu_log *log, unsigned int cpu, bool guest, uint32_t lvtpc);

/*
 * What the processor does by itself, without an access of software: VMRUN and
 * #VMEXIT that swap the PMU's PMU_VPMC_NR_REGS registers, an overflow in such a guest
 * that becomes a virtual NMI or, without VNMI, is lost; a virtual NMI that is taken,
 * whoever has asked for it.
 */
enum pmu_log_hw {
	PMU_LOG_VPMC_ENTRY,
	PMU_LOG_VPMC_EXIT,
	PMU_LOG_VPMC_PMI,
	PMU_LOG_VPMC_LOST,
	PMU_LOG_VNMI,
	PMU_LOG_NR_HW,
};

void pmu_log_hw(struct pmu_log *log, unsigned int cpu, enum pmu_log_hw what);

/*
 * A write to PMU_LOG_PORT on @cpu.  @pmus: the processors' PMUs, all synced by
 * the caller, for the oracle.  Opening an open window or closing a closed one
 * writes an {"error": ...} record and changes nothing.
 */
void pmu_log_port(struct pmu_log *log, unsigned int cpu, uint32_t val,
		  struct pmu *const pmus[]);

#ifdef __cplusplus
}
#endif

#endif /* MACHINE_PMU_LOG_H */
