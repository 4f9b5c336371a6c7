/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Branches and memory accesses for the PMU model: see cpu/pmu_glue.h.  The
 * macros stand in members of BX_CPU_C.  A branch costs one increment, counted
 * or not; an access one test of what is wanted.
 */

#define PMU_INSTR_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define PMU_INSTR_BRANCH(branch_eip, new_eip, taken) do {                      \
  if (PMU_INSTR_UNLIKELY(BX_CPU_THIS_PTR pmug.pmu.want & PMU_WANT_BRANCH_MISSES)) \
    pmu_branch(&BX_CPU_THIS_PTR pmug.pmu, (branch_eip), (new_eip), (taken));   \
} while (0)

/* branch resolution */
#define BX_INSTR_CNEAR_BRANCH_TAKEN(cpu_id, branch_eip, new_eip) do {          \
  BX_CPU_THIS_PTR pmug.cond_taken++;                                           \
  PMU_INSTR_BRANCH(branch_eip, new_eip, true);                                 \
} while (0)
#define BX_INSTR_CNEAR_BRANCH_NOT_TAKEN(cpu_id, branch_eip) do {               \
  BX_CPU_THIS_PTR pmug.not_taken++;                                            \
  PMU_INSTR_BRANCH(branch_eip, 0, false);                                      \
} while (0)
#define BX_INSTR_UCNEAR_BRANCH(cpu_id, what, branch_eip, new_eip) do {         \
  BX_CPU_THIS_PTR pmug.uncond++;                                               \
  if ((what) == BX_INSTR_IS_JMP_INDIRECT || (what) == BX_INSTR_IS_CALL_INDIRECT) \
    PMU_INSTR_BRANCH(branch_eip, new_eip, true);                               \
} while (0)
#define BX_INSTR_FAR_BRANCH(cpu_id, what, prev_cs, prev_eip, new_cs, new_eip) do { \
  BX_CPU_THIS_PTR pmug.uncond++;                                               \
  if ((what) == BX_INSTR_IS_IRET &&                                            \
      PMU_INSTR_UNLIKELY(BX_CPU_THIS_PTR pmug.pmu.quirks.faults.on))           \
    BX_CPU_THIS_PTR pmu_miscounts(PMU_FAULT_IRET);                             \
} while (0)

/* Faults; #DB, #BP and #OF are traps, more or less */
#define BX_INSTR_EXCEPTION(cpu_id, vector, error_code) do {                    \
  if (PMU_INSTR_UNLIKELY(BX_CPU_THIS_PTR pmug.pmu.quirks.faults.on) &&         \
      (vector) != 1 && (vector) != 3 && (vector) != 4)                         \
    BX_CPU_THIS_PTR pmu_miscounts(PMU_FAULT_EXCEPTION);                        \
} while (0)

/* linear memory access */
#define BX_INSTR_LIN_ACCESS(cpu_id, lin, phy, len, memtype, rw) do {           \
  if (PMU_INSTR_UNLIKELY(BX_CPU_THIS_PTR pmug.pmu.want & (PMU_WANT_CACHE | PMU_WANT_MEM))) { \
    if (((rw) & 3) != BX_WRITE)                                                \
      pmu_mem(&BX_CPU_THIS_PTR pmug.pmu, (phy), false);                        \
    if (((rw) & BX_WRITE) != 0) /* BX_RW has it too */                         \
      pmu_mem(&BX_CPU_THIS_PTR pmug.pmu, (phy), true);                         \
  }                                                                            \
} while (0)

#define BX_INSTR_CLFLUSH(cpu_id, laddr, paddr) do {                            \
  if (PMU_INSTR_UNLIKELY(BX_CPU_THIS_PTR pmug.pmu.want & PMU_WANT_CACHE))      \
    pmu_flush(&BX_CPU_THIS_PTR pmug.pmu, (paddr));                             \
} while (0)

/* nothing of the rest is of interest */
#define BX_INSTR_INIT_ENV()
#define BX_INSTR_EXIT_ENV()
#define BX_INSTR_INITIALIZE(cpu_id)
#define BX_INSTR_EXIT(cpu_id)
#define BX_INSTR_RESET(cpu_id, type)
#define BX_INSTR_HLT(cpu_id)
#define BX_INSTR_MWAIT(cpu_id, addr, len, flags)
#define BX_INSTR_DEBUG_PROMPT()
#define BX_INSTR_DEBUG_CMD(cmd)
#define BX_INSTR_OPCODE(cpu_id, i, opcode, len, is32, is64)
#define BX_INSTR_INTERRUPT(cpu_id, vector)
#define BX_INSTR_HWINTERRUPT(cpu_id, vector, cs, eip)
#define BX_INSTR_CACHE_CNTRL(cpu_id, what)
#define BX_INSTR_TLB_CNTRL(cpu_id, what, new_cr3)
#define BX_INSTR_PREFETCH_HINT(cpu_id, what, seg, offset)
#define BX_INSTR_BEFORE_EXECUTION(cpu_id, i)
#define BX_INSTR_AFTER_EXECUTION(cpu_id, i)
#define BX_INSTR_REPEAT_ITERATION(cpu_id, i)
#define BX_INSTR_PHY_ACCESS(cpu_id, phy, len, memtype, rw)
#define BX_INSTR_INP(addr, len)
#define BX_INSTR_INP2(addr, len, val)
#define BX_INSTR_OUTP(addr, len, val)
#define BX_INSTR_WRMSR(cpu_id, addr, value)
#define BX_INSTR_VMEXIT(cpu_id, reason, qualification)
