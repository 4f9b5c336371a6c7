/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VGIF, VNMI and VPMC: see svm_virt.h.
 */
#define NEED_CPU_REG_SHORTCUTS 1
#include "bochs.h"
#include "cpu.h"
#define LOG_THIS BX_CPU_THIS_PTR

#include "svm.h"

/* What CPUID 8000_000A EDX has more than the CPU model says. */
Bit32u BX_CPU_C::svm_virt_features(void) const
{
  const struct pmu_model *model = pmug.pmu.model;
  Bit32u features = 0;

  if (! pmug.on) return 0;
  if (model->vnmi) features |= SVM_VIRT_VGIF | SVM_VIRT_VNMI;
  if (model->vpmc) features |= SVM_VIRT_VPMC;
  if (pmug.pmu.quirks.vpmc_clean.on || pmug.pmu.quirks.msrpm.on) features |= SVM_VIRT_CLEAN;
  return features;
}

/* VMRUN: read the controls. */
void BX_CPU_C::svm_virt_load(void)
{
  const struct pmu_quirks *quirks = &pmug.pmu.quirks;
  Bit32u features = svm_virt_features();

  svmv.int_ctl = vmcb_read32(SVM_INT_CTL);
  svmv.vgif = (features & SVM_VIRT_VGIF) && (svmv.int_ctl & SVM_INT_V_GIF_ENABLE);
  svmv.vnmi = (features & SVM_VIRT_VNMI) && (svmv.int_ctl & SVM_INT_V_NMI_ENABLE);
  svmv.vpmc = (features & SVM_VIRT_VPMC) && (vmcb_read32(SVM_VIRT_EXT) & SVM_VIRT_EXT_VPMC);

  if (quirks->msrpm.on) {
    if (svmv.msrpm_vmcb != vmcbptr || ! (vmcb_read32(SVM_CLEAN) & SVM_CLEAN_MAPS)) {
      bx_phy_address addr = vmcb_read64(SVM_CONTROL64_MSRPM_BASE_PHY_ADDR) & ~BX_CONST64(0xfff);
      for (unsigned n = 0; n < sizeof(svmv.msrpm); n += 8)
        access_read_physical(addr + n, 8, &svmv.msrpm[n]);
    }
    svmv.msrpm_vmcb = vmcbptr;
  }

  if (quirks->vpmc_clean.on) {
    Bit32u clean = (Bit32u) quirks->vpmc_clean.val;

    /* Whatever else has run is all that the processor knows. */
    if (svmv.cached_vmcb != vmcbptr || (vmcb_read32(SVM_CLEAN) & clean) != clean) svmv.cached = false;
    if (svmv.cached) svmv.vpmc = svmv.cached_vpmc;
  }
}

/* And, when the intercepts are read, too, check them: 0, or the exit code of a refused VMRUN. */
int BX_CPU_C::svm_virt_check(void)
{
  const struct pmu_quirks *quirks = &pmug.pmu.quirks;

  if (svmv.vnmi && ! SVM_INTERCEPT(SVM_INTERCEPT0_NMI)) {
    BX_ERROR(("VMRUN: V_NMI_ENABLE without intercept of NMIs"));
    return SVM_VMEXIT_INVALID;
  }
  if (svmv.vpmc && ! svmv.vnmi && quirks->vpmc_alone.val == PMU_VPMC_INVALID) {
    BX_ERROR(("VMRUN: PMC virtualization without virtual NMI"));
    return SVM_VMEXIT_INVALID;
  }
  if (svmv.vpmc && quirks->vpmc_ctl.on && pmu_global_ctrl(&pmug.pmu)) {
    BX_ERROR(("VMRUN: PMC virtualization while the host's GLOBAL_CTL is not 0"));
    return SVM_VMEXIT_INVALID_PMC;
  }
  return 0;
}

/* VMRUN is refused, by the checks above or by others. */
void BX_CPU_C::svm_virt_refused(void)
{
  if (! svmv.vpmc) return;
  svmv.vpmc = false;
  pmu_feed_totals();
  pmu_vpmc_refused(&pmug.pmu);
}

/* The processor has entered the guest. */
void BX_CPU_C::svm_virt_enter(void)
{
  if (svmv.vnmi && (svmv.int_ctl & SVM_INT_V_NMI)) signal_event(BX_EVENT_SVM_VIRTUAL_NMI);
  svm_virt_masks();
}

/* #VMEXIT in the middle of the delivery of an NMI, which EXITINTINFO tells of. */
void BX_CPU_C::svm_virt_exit_in_nmi(void)
{
  if (svmv.vnmi) svmv.int_ctl &= ~SVM_INT_V_NMI_MASK;
}

/* #VMEXIT stores the guest's state; a refused VMRUN does not come here. */
void BX_CPU_C::svm_virt_exit(void)
{
  Bit32u int_ctl = svmv.int_ctl & ~SVM_INT_V_IRQ;

  if (is_pending(BX_EVENT_SVM_VIRQ_PENDING)) int_ctl |= SVM_INT_V_IRQ;
  if (svmv.vnmi) {
    int_ctl &= ~SVM_INT_V_NMI;
    if (is_pending(BX_EVENT_SVM_VIRTUAL_NMI)) int_ctl |= SVM_INT_V_NMI;
  }
  vmcb_write8(SVM_CONTROL_VIRQ, int_ctl >> 8);
  clear_event(BX_EVENT_SVM_VIRQ_PENDING | BX_EVENT_SVM_VIRTUAL_NMI);
  svmv.vgif = svmv.vnmi = false;
}

/* V_GIF or V_NMI_MASK has changed.  What else masks V_IRQ is handleInterruptMaskChange()'s. */
void BX_CPU_C::svm_virt_masks(void)
{
  if (svm_vgif_clear()) mask_event(BX_EVENT_SVM_VIRQ_PENDING);
  if (svm_vgif_clear() || (svmv.int_ctl & SVM_INT_V_NMI_MASK))
    mask_event(BX_EVENT_SVM_VIRTUAL_NMI);
  else
    unmask_event(BX_EVENT_SVM_VIRTUAL_NMI);
}

/* STGI, CLGI in a guest with VGIF. */
void BX_CPU_C::svm_virt_set_gif(bool gif)
{
  if (gif)
    svmv.int_ctl |= SVM_INT_V_GIF;
  else
    svmv.int_ctl &= ~SVM_INT_V_GIF;
  handleInterruptMaskChange();
  svm_virt_masks();
}

void BX_CPU_C::svm_virt_nmi_masked(bool masked)
{
  if (masked)
    svmv.int_ctl |= SVM_INT_V_NMI_MASK;
  else
    svmv.int_ctl &= ~SVM_INT_V_NMI_MASK;
  svm_virt_masks();
}

/* Between two instructions: the guest takes its virtual NMI. */
void BX_CPU_C::svm_virt_nmi(void)
{
  clear_event(BX_EVENT_SVM_VIRTUAL_NMI);
  svm_virt_nmi_masked(true);
  pmu_log_hw(PMU_LOG_VNMI);
  BX_CPU_THIS_PTR EXT = 1; /* external event */
  BX_INSTR_HWINTERRUPT(BX_CPU_ID, 2, BX_CPU_THIS_PTR sregs[BX_SEG_REG_CS].selector.value, RIP);
  interrupt(2, BX_NMI, 0, 0);
  BX_CPU_THIS_PTR prev_rip = RIP; // commit new RIP
}

/* VPMC. */

/* Between the host's last step and the guest's first. */
void BX_CPU_C::svm_vpmc_enter(void)
{
  struct pmu_vpmc regs;

  if (! svmv.vpmc) return;

  if (svmv.cached) {
    regs = svmv.cache;
  }
  else {
    for (unsigned n = 0; n < 6; n++) {
      regs.ctl[n] = vmcb_read64(SVM_VPMC_CTL(n));
      regs.ctr[n] = vmcb_read64(SVM_VPMC_CTR(n));
    }
    regs.irperf = vmcb_read64(SVM_VPMC_IRPERF);
    regs.status = vmcb_read64(SVM_VPMC_STATUS);
    regs.global_ctl = vmcb_read32(SVM_VPMC_GLOBAL_CTL);
  }
  pmu_vpmc_enter(&pmug.pmu, &regs);
  pmu_log_hw(PMU_LOG_VPMC_ENTRY);
}

/* The guest's last step is over: store its registers. */
void BX_CPU_C::svm_vpmc_exit(void)
{
  struct pmu_vpmc regs;

  if (svmv.vpmc) {
    pmu_vpmc_leave(&pmug.pmu, &regs);
    for (unsigned n = 0; n < 6; n++) {
      vmcb_write64(SVM_VPMC_CTL(n), regs.ctl[n]);
      vmcb_write64(SVM_VPMC_CTR(n), regs.ctr[n]);
    }
    vmcb_write64(SVM_VPMC_IRPERF, regs.irperf);
    vmcb_write64(SVM_VPMC_STATUS, regs.status);
    vmcb_write32(SVM_VPMC_GLOBAL_CTL, (Bit32u) regs.global_ctl);
    pmu_log_hw(PMU_LOG_VPMC_EXIT);
    svmv.cache = regs;
  }
  svmv.cached = pmug.pmu.quirks.vpmc_clean.on;
  svmv.cached_vmcb = vmcbptr;
  svmv.cached_vpmc = svmv.vpmc;
  svmv.vpmc = false;
}

/* A counter of such a guest has overflowed. */
void BX_CPU_C::svm_vpmc_pmi(void)
{
  if (svmv.vnmi) signal_event(BX_EVENT_SVM_VIRTUAL_NMI);
  pmu_log_hw(svmv.vnmi ? PMU_LOG_VPMC_PMI : PMU_LOG_VPMC_LOST);
}
