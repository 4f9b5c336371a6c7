/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Members of BX_CPU_C, included in the middle of the class; svm_virt.h explains
 * them, svm_virt.cc has the bodies.
 */
  struct svm_virt svmv;

  Bit32u svm_virt_features(void) const;
  void svm_virt_load(void);
  int svm_virt_check(void);
  void svm_virt_refused(void);
  void svm_virt_enter(void);
  void svm_virt_exit_in_nmi(void);
  void svm_virt_exit(void);
  void svm_virt_masks(void);
  void svm_virt_set_gif(bool gif);
  void svm_virt_nmi(void);
  void svm_virt_nmi_masked(bool masked);

  void svm_vpmc_enter(void);
  void svm_vpmc_exit(void);
  void svm_vpmc_pmi(void);

  BX_CPP_INLINE bool svm_vgif_on(void) const { return in_svm_guest && svmv.vgif; }
  BX_CPP_INLINE bool svm_vnmi_on(void) const { return in_svm_guest && svmv.vnmi; }
  /* Do virtual interrupts wait for the guest's STGI? */
  BX_CPP_INLINE bool svm_vgif_clear(void) const { return svm_vgif_on() && ! (svmv.int_ctl & SVM_INT_V_GIF); }
