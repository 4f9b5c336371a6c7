/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What joins the emulator and the PMU model (machine/pmu): the accounting of
 * instructions, modes and branches, and the machine log.
 *
 * The rule
 * --------
 *
 * icount grows by one per *step*.  A step retires one instruction or none:
 *
 *   - BX_COMMIT_INSTRUCTION closes a step that retired its instruction.  HLT,
 *     MWAIT, INT n, SYSCALL, IRET, VMRUN, VMLAUNCH and a completed REP string
 *     instruction are all like that: one step at the commit, one instruction.
 *   - pmu_landing() closes a step at the setjmp() of the main loop, where
 *     faults, debug traps and VM-exits arrive.  It retires nothing: a faulting
 *     or exiting instruction has not retired, and a trap taken between two
 *     instructions has no instruction of its own.
 *   - Each iteration of a REP string instruction but the last closes a step
 *     which retires nothing, see pmu_rep_iteration(); so does a REP that is
 *     left unfinished for an event, see pmu_rep_unfinished().  The bulk
 *     transfers Bochs makes in place of many iterations are one iteration.
 *
 * @nonretired counts the steps that retire nothing, so that nothing at all is
 * added to the hot BX_COMMIT_INSTRUCTION.
 *
 * A step belongs, as a whole, to what was in force when it began: the privilege
 * level, host or guest mode, and what the PMU's registers said.  So SYSCALL
 * counts as a user instruction, IRET as a kernel one, VMLAUNCH as one of the
 * host, WRMSR of GLOBAL_CTRL by the old value (the WRMSR that enables is not
 * counted, the one that disables is), as hardware has it.  The step in which a
 * guest instruction exits is the guest's and retires nothing.
 *
 * VMRUN is the exception, as on hardware: its step belongs to the guest, at the
 * privilege level that it loads, whether the guest then comes to execute anything
 * or not (the quirk "vmrun" has the other ways).  A VMRUN that is refused leaves
 * the host as it was, and is the host's.
 *
 * Quirks that count what they should not ("vmentry", "switch-cycles", "faults", "smi")
 * change counters, not steps: the oracle is as without them.
 *
 * Two ways lead there:
 *
 *   - A change of CPL or of EFER.SVME is not told to the model when it happens,
 *     in the middle of a step, but at the next boundary: BX_EVENT_PMU makes
 *     the main loop come by handleAsyncEvent() before the next instruction, and
 *     pmu_boundary() compares what is with what the model was told last.
 *   - VM-entry, VM-exit and WRMSR must act on the model at once.  Then
 *     pmu_close_step() feeds the step in flight ahead of its close: @paid_icount
 *     notes the icount it was done at, which is how a second call in the same
 *     step, and pmu_landing(), know.
 *
 * Where VMRUN swaps the PMU's registers (svm_virt.h), it does so right before the
 * mode changes, and #VMEXIT right after the guest's last step is closed.  So VMRUN's
 * step is counted by the guest's registers where it is the guest's.
 *
 * VMLAUNCH, VMRESUME and VMRUN retire unless they fault or exit themselves, and
 * so also when the entry fails late and ends like an exit.  An exit in the same
 * step as the entry (an event injected that cannot be delivered) leaves no step
 * to the guest, but VMRUN's own.
 *
 * RDMSR and RDPMC see everything up to, and without, themselves.
 *
 * Overflow
 * --------
 *
 * @stop is the model's deadline less the longest trace.  From @stop on the main
 * loop goes one instruction at a time, so the PMI is raised right behind the
 * instruction (or the iteration of a REP) that made the counter overflow, and
 * is taken at that boundary if nothing blocks it.  Exception: with AMD's GIF
 * clear the PMI is raised up to a trace (32 instructions) late, which nobody
 * can see, since GIF blocks it.
 *
 * Branches
 * --------
 *
 * Counted by the macros of instrument/pmu/instrument.h, which stand at every
 * branch instruction, after the last thing that can fault.  VMLAUNCH, VMRESUME,
 * VMRUN (but see the quirk "vmrun") and RSM are no branches; nor are interrupts, exceptions and VM-exits.
 * Of near branches only Jcc, LOOP, JCXZ and indirect JMP and CALL go to the
 * predictor; returns and direct jumps are taken as predicted.
 *
 * Loads and stores
 * ----------------
 *
 * One per access of each instruction's data, two where it crosses a page; a
 * read-modify-write is one load and one store.  The page walker's accesses do
 * not count, those of an instruction that faults afterwards do.  A bulk REP
 * transfer is one step with all its accesses, the loads before the stores.
 *
 * Settings
 * --------
 *
 * Environment variables, read once:
 *   MACHINE_PMU       a name of pmu_models[], or "none"; must fit the CPU model.
 *                     Default: what the CPU model suggests.
 *   MACHINE_PMU_LOG   path of the machine log; no log without.
 *   MACHINE_PMU_QUIRKS names of pmu_quirk_table[], with their values and commas
 *                     between.
 *
 * The PMU's state is not part of Bochs' save and restore.
 */
#ifndef MACHINE_PMU_GLUE_H
#define MACHINE_PMU_GLUE_H

#include "pmu.h"
#include "log.h"
#include "svm_virt.h"

struct pmu_glue {
  Bit64u stop;			/* icount from which on to go step by step */
  Bit64u nonretired;		/* steps that retired nothing */
  Bit64u not_taken;		/* conditional branches not taken */
  Bit64u cond_taken;		/* and taken */
  Bit64u uncond;		/* all other branches */
  Bit64u paid_icount;		/* the step at this icount is fed already ... */
  bool paid_retired;		/* ... as one that retires, or not */
  bool between;			/* a trap-like VM-exit is being taken between instructions */
  bool on;			/* there is a PMU */
  Bit64u saves;			/* of GLOBAL_CTRL at VM-exits, for the quirk "save-ctrl" */
  Bit64u host_global_ctrl;	/* of the VMCS, as checked at entry */
  struct pmu pmu;
};

/* Fixed counters 4 to 6, by the quirk "fixed-77h". */
#define PMU_MSR_FIXED4 0x30d

#define PMU_MSR_HWCR 0xc0010015
#define PMU_MSR_IRPERF 0xc00000e9

/*
 * IA32_MISC_ENABLE (Intel): fast strings, performance monitoring available, BTS and
 * PEBS unavailable.  Without the first, Linux clears and copies pages by loops.
 */
#define PMU_MSR_MISC_ENABLE 0x1a0
#define PMU_MISC_ENABLE (1 << 0 | 1 << 7 | 1 << 11 | 1 << 12)

/* Is that the number of a performance monitoring register of either vendor? */
static inline bool pmu_msr_number(Bit32u index)
{
  if (index < 0x2000) {
    return (index >= 0x0c1 && index <= 0x0c8) ||
           (index >= 0x186 && index <= 0x18f) ||
           (index >= 0x309 && index <= 0x30c) ||
           (index >= 0x38d && index <= 0x392) ||
           (index >= 0x4c1 && index <= 0x4c8) ||
           index == PMU_MSR_MISC_ENABLE ||
           index == 0x1d9 || index == 0x329 || index == 0x345 ||
           index == 0x3f1 || index == 0x600;
  }
  return (index >= 0xc0000300 && index <= 0xc0000303) ||
         (index >= 0xc0010000 && index <= 0xc0010007) ||
         (index >= 0xc0010200 && index <= 0xc001020f) ||
         (index >= 0xc0010230 && index <= 0xc001025f) ||
         (index >= 0xc0011030 && index <= 0xc001103c);
}

#endif /* MACHINE_PMU_GLUE_H */
