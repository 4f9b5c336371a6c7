/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What SVM of AMD's Zen 4 and Zen 5 has and Bochs lacks: the guest's own GIF (VGIF),
 * virtual NMIs (VNMI), and PMC virtualization (VPMC).  CPUID 8000_000A EDX tells of
 * each; without it the bits of the VMCB below are not looked at.
 * Source: AMD64 APM Vol. 2 (24593 rev 3.44), 15.21.10, 15.33, 15.39, Appendix B.
 *
 * VGIF.  With bit 25 of VMCB 060h, STGI and CLGI that are not intercepted change bit
 * 9, not the processor's GIF.  While it is clear, virtual interrupts and virtual NMIs
 * wait; what is physical does not.
 *
 * VNMI.  With bit 26 of VMCB 060h, which wants the intercept of NMIs:
 *
 *   - Bit 11 asks for an NMI, bit 12 masks it.  It is taken between two instructions
 *     when unmasked, V_GIF permits, and no interrupt shadow is in force: after a
 *     physical NMI, before any maskable interrupt, whatever EFLAGS.IF is.  Then bit
 *     11 is cleared and bit 12 set.  It does not raise the intercept of NMIs.
 *   - An NMI injected by VMRUN sets bit 12, masked or not.
 *   - An IRET that completes clears bit 12.  It does not touch the mask of physical
 *     NMIs, nor does an injected NMI.
 *   - #VMEXIT in the middle of the delivery of either kind reports the NMI in
 *     EXITINTINFO, with bit 12 clear.
 *   - #VMEXIT writes bits 9, 11 and 12 back.
 *
 * VPMC.  With bit 3 of VMCB 0B8h, the processor swaps the PMU's registers (struct
 * pmu_vpmc).  An overflow in the guest sets bit 11 of VMCB 060h, be what it may in
 * LVTPC: there is no AVIC here, so the guest's LVTPC has no say.  Without VNMI the
 * interrupt is lost.  Where the manual leaves something open, the quirks "vpmc-*"
 * have the other ways.
 *
 * A VMRUN that is refused (exit codes -1 and -4) leaves the VMCB's save area as it is.
 */
#ifndef MACHINE_SVM_VIRT_H
#define MACHINE_SVM_VIRT_H

#include "pmu.h"

/* CPUID 8000_000A EDX */
#define SVM_VIRT_VPMC	(1 << 8)
#define SVM_VIRT_CLEAN	(1 << 5)	/* clean bits: with the quirks "vpmc-clean" and "msrpm-clean" */
#define SVM_VIRT_VGIF	(1 << 16)
#define SVM_VIRT_VNMI	(1 << 25)

/* VMCB 060h, 32 bits */
#define SVM_INT_CTL		0x060
#define SVM_INT_V_IRQ		(1 << 8)
#define SVM_INT_V_GIF		(1 << 9)
#define SVM_INT_V_NMI		(1 << 11)
#define SVM_INT_V_NMI_MASK	(1 << 12)
#define SVM_INT_V_GIF_ENABLE	(1 << 25)
#define SVM_INT_V_NMI_ENABLE	(1 << 26)

/* VMCB 0B8h */
#define SVM_VIRT_EXT		0x0b8
#define SVM_VIRT_EXT_VPMC	(1 << 3)

#define SVM_CLEAN		0x0c0
#define SVM_CLEAN_MAPS		(1 << 1)	/* addresses of the I/O and MSR permission maps */

/* The save area, in the VMCB's page. */
#define SVM_VPMC_CTL(n)		(0x4e0 + 16 * (n))
#define SVM_VPMC_CTR(n)		(0x4e8 + 16 * (n))
#define SVM_VPMC_IRPERF		0x5c0
#define SVM_VPMC_STATUS		0x5c8
#define SVM_VPMC_GLOBAL_CTL	0x5d0

#define SVM_VMEXIT_INVALID_PMC	(-4)

/* Of the guest that runs. */
struct svm_virt {
  Bit32u int_ctl;		/* as loaded; V_GIF and V_NMI_MASK as they are now */
  bool vgif, vnmi, vpmc;	/* enabled by this VMCB */

  /* The quirk "vpmc-clean": what the processor keeps of the VMCB that ran last. */
  bool cached;
  Bit64u cached_vmcb;
  bool cached_vpmc;
  struct pmu_vpmc cache;

  /* The quirk "msrpm-clean": the MSR permission map of the VMCB that ran last. */
  Bit64u msrpm_vmcb;
  Bit8u msrpm[0x1800];
};

#endif /* MACHINE_SVM_VIRT_H */
