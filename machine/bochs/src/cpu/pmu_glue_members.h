/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Members of BX_CPU_C, included in the middle of the class; pmu_glue.h explains
 * them, pmu_glue.cc has the bodies.
 */
  struct pmu_glue pmug;

  void pmu_setup(void);
  void pmu_hw_reset(void);
  bool pmu_save_global_ctrl_supported(void) const;
  void pmu_cpuid(Bit32u function, Bit32u subfunction, cpuid_function_t *leaf) const;

  /* The step in flight did not retire its instruction, if it had one. */
  BX_CPP_INLINE void pmu_landing(void) {
    if (!(pmug.paid_icount == icount && pmug.paid_retired)) pmug.nonretired++;
    pmug.between = false;
    icount++;
  }
  BX_CPP_INLINE void pmu_rep_iteration(void) {
    pmug.nonretired++;
    if (++icount >= pmug.stop) signal_event(BX_EVENT_PMU);
  }
  BX_CPP_INLINE void pmu_rep_unfinished(void) { pmug.nonretired++; }

  /* At the end of a trace: is the model due? */
  BX_CPP_INLINE bool pmu_due(void) const { return icount >= pmug.stop; }

  /* Are accesses of interest? */
  BX_CPP_INLINE bool pmu_wants_accesses(void) const {
    return (pmug.pmu.want & (PMU_WANT_CACHE | PMU_WANT_MEM)) != 0;
  }

  void pmu_bulk(bx_address laddr, Bit32u nr, Bit32u size, bool write);
  void pmu_boundary(void);
  void pmu_feed_totals(void);
  void pmu_close_step(bool retires);
  void pmu_rearm(void);
  void pmu_raise_pmi(void);
  void pmu_unmasked(void);
  void pmu_halt(void);

  /* Without a deadline no PMI is on its way. */
  BX_CPP_INLINE void pmu_halting(void) {
    if (pmug.stop != ~BX_CONST64(0) || pmug.pmu.quirks.halt.on) pmu_halt();
  }

  void pmu_miscounts(enum pmu_fault what);

  /* HWCR and IRPerfCount are taken over where there is an IRPerfCount only. */
  BX_CPP_INLINE bool pmu_is_msr(Bit32u index) const {
    return pmu_msr_number(index) ||
           (index >= PMU_MSR_FIXED4 && index < PMU_MSR_FIXED4 + 3 && pmug.pmu.quirks.fixed_77.on) ||
           ((index == PMU_MSR_HWCR || index == PMU_MSR_IRPERF) && pmug.pmu.model->irperf);
  }

  bool pmu_msr_read(Bit32u index, Bit64u *val);
  bool pmu_msr_write(Bit32u index, Bit64u val);
  bool pmu_rdpmc_read(Bit32u index, Bit64u *val);
  void pmu_log_msr(enum pmu_log_access what, Bit32u index, bool faulted);
  void pmu_log_hw(enum pmu_log_hw what);
  void pmu_port_write(Bit32u val);

  void pmu_enter_guest(void);
  void pmu_leave_guest(Bit32u reason, Bit32u msr, bool wr, bool retires);
  void pmu_enter_host(void);

  bool pmu_vmenter_check_host(void);
  bool pmu_vmenter_check_guest(void);
  void pmu_vmenter_load(void);
  void pmu_vmexit_begin(Bit32u reason);
  void pmu_vmexit_save(void);
  void pmu_vmexit_load(void);
