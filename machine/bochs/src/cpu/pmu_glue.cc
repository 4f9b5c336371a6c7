/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What joins the emulator and the PMU model: see pmu_glue.h.
 */
#define NEED_CPU_REG_SHORTCUTS 1
#include "bochs.h"
#include "cpu.h"
#define LOG_THIS BX_CPU_THIS_PTR

#include "apic.h"
#include "svm.h"
#include "cpuid.h"
#include "gui/siminterface.h"
#include "param_names.h"

#include <errno.h>
#include <new>

/*
 * Bochs leaves members of processors and devices uninitialized, the VMX
 * capabilities and timers among them, and then what the machine does depends on
 * what the heap held before.  The same image has to run the same way every time.
 */
void *operator new(size_t size)
{
  void *ptr = calloc(1, size ? size : 1);
  if (! ptr) throw std::bad_alloc();
  return ptr;
}

void *operator new(size_t size, std::align_val_t align)
{
  void *ptr = NULL;
  if (posix_memalign(&ptr, (size_t) align, size ? size : 1)) throw std::bad_alloc();
  return memset(ptr, 0, size);
}

void *operator new[](size_t size) { return operator new(size); }
void *operator new[](size_t size, std::align_val_t align) { return operator new(size, align); }
void operator delete(void *ptr) noexcept { free(ptr); }
void operator delete[](void *ptr) noexcept { free(ptr); }
void operator delete(void *ptr, size_t) noexcept { free(ptr); }
void operator delete[](void *ptr, size_t) noexcept { free(ptr); }
void operator delete(void *ptr, std::align_val_t) noexcept { free(ptr); }
void operator delete[](void *ptr, std::align_val_t) noexcept { free(ptr); }
void operator delete(void *ptr, size_t, std::align_val_t) noexcept { free(ptr); }
void operator delete[](void *ptr, size_t, std::align_val_t) noexcept { free(ptr); }

/* The main loop looks at the deadline once per trace, and per REP iteration. */
#define PMU_STOP_MARGIN (BX_MAX_TRACE_LENGTH + 2)

#define PMU_MSR_DEBUGCTL	0x1d9
#define PMU_MSR_GLOBAL_CTRL	0x38f
#define PMU_MSR_LVTPC		0x834

static const struct {
  const char *cpu;		/* as in bochsrc, also the name of the CPUID module */
  const char *pmu;		/* default, and the start of all names that fit */
} pmu_fits[] = {
  { "corei7_skylake_x", "intel-8+3" },
  { "corei7_icelake_u", "intel-8+4" },
  { "ryzen",            "amd-v2" },
};

static struct pmu_log *machine_log;

/* A fatal exit does not come by any place of ours, but exit() does. */
static struct log_closer {
  ~log_closer() { if (machine_log) pmu_log_close(machine_log); }
} log_closer;

static void pmu_op_pmi(void *opaque)
{
  ((BX_CPU_C *) opaque)->pmu_raise_pmi();
}

static void pmu_op_rearm(void *opaque)
{
  ((BX_CPU_C *) opaque)->pmu_rearm();
}

static void pmu_op_virtual_pmi(void *opaque)
{
  ((BX_CPU_C *) opaque)->svm_vpmc_pmi();
}

static const struct pmu_ops pmu_glue_ops = { pmu_op_pmi, pmu_op_virtual_pmi, pmu_op_rearm };

static void pmu_config_error(const char *fmt, const char *a, const char *b)
{
  fprintf(stderr, "machine: ");
  fprintf(stderr, fmt, a, b);
  fprintf(stderr, "\n");
  exit(2);
}

/* Once per processor, as soon as its CPUID module is known. */
void BX_CPU_C::pmu_setup(void)
{
  const char *cpu = cpuid->get_name(), *name = getenv("MACHINE_PMU");
  const struct pmu_model *model = NULL;
  const char *fit = NULL;

  icount = 0;
  memset(&pmug, 0, sizeof(pmug));
  pmug.stop = pmug.paid_icount = ~BX_CONST64(0);

  for (unsigned n = 0; n < sizeof(pmu_fits) / sizeof(pmu_fits[0]); n++)
    if (! strcmp(pmu_fits[n].cpu, cpu)) fit = pmu_fits[n].pmu;

  if (! name || ! *name)
    name = fit ? fit : "none";
  if (strcmp(name, "none")) {
    model = pmu_model_find(name);
    if (! model)
      pmu_config_error("MACHINE_PMU: no PMU model '%s'", name, "");
    if (! fit || strncmp(name, fit, model->vendor == PMU_AMD ? 4 : strlen(fit)))
      pmu_config_error("MACHINE_PMU: '%s' does not fit the CPU model '%s'", name, cpu);
  }

  const char *path = getenv("MACHINE_PMU_LOG");
  if (model && path && *path && ! machine_log) {
    machine_log = pmu_log_open(path, BX_SMP_PROCESSORS);
    if (! machine_log)
      pmu_config_error("MACHINE_PMU_LOG: %s: %s", path, strerror(errno));
  }

  if (! model) return;

  pmu_init(&pmug.pmu, model, &pmu_glue_ops, this);
  const char *quirks = getenv("MACHINE_PMU_QUIRKS");
  char why[200];
  if (quirks && ! pmu_quirks_parse(&pmug.pmu.quirks, model, quirks, why, sizeof(why)))
    pmu_config_error("MACHINE_PMU_QUIRKS: %s", why, "");
  pmug.on = true;
  pmu_rearm();
  BX_INFO(("PMU model %s", model->name));
}

void BX_CPU_C::pmu_hw_reset(void)
{
  if (! pmug.on) return;
  pmu_feed_totals();
  pmu_reset(&pmug.pmu);
  signal_event(BX_EVENT_PMU);
}

bool BX_CPU_C::pmu_save_global_ctrl_supported(void) const
{
  return pmug.on && pmug.pmu.model->vmx_save_global_ctrl;
}

/*
 * The CPUID modules stay as they are; here they are made to tell of the PMU
 * model, and of nothing in this field that is not modelled.  MONITOR/MWAIT go
 * too: an idle processor then halts, which the emulator passes over quickly.
 */
void BX_CPU_C::pmu_cpuid(Bit32u function, Bit32u subfunction, cpuid_function_t *leaf) const
{
  const struct pmu_model *model = pmug.pmu.model;
  char brand[48] = "";
  Bit32u regs[4];

  if (! pmug.on) return;

  switch (function) {
  case 0x00000000:
    if (pmug.pmu.quirks.hidden.on && leaf->eax < 0x23) leaf->eax = 0x23;
    break;

  case 0x00000001:
    if (model->signature) leaf->eax = model->signature;
    leaf->ecx &= ~BX_CPUID_STD1_ECX_MONITOR_MWAIT;
    if (model->vendor == PMU_INTEL) {
      leaf->ecx &= ~(BX_CPUID_STD1_ECX_DTES64 | BX_CPUID_STD1_ECX_DS_CPL);
      leaf->ecx |= BX_CPUID_STD1_ECX_PDCM;
      leaf->edx &= ~BX_CPUID_STD1_EDX_DEBUG_STORE;
    }
    break;

  case 0x00000005:
    leaf->eax = leaf->ebx = leaf->ecx = leaf->edx = 0;
    break;

  case 0x00000007:
    /* The MSR of that name takes any value, as all that the emulator has not. */
    if (pmug.pmu.quirks.tfa.on && ! subfunction)
      leaf->edx |= BX_CONST64(1) << 13;
    if (pmug.pmu.quirks.hidden.on) {
      if (! subfunction && ! leaf->eax) leaf->eax = 1;
      if (subfunction == 1) leaf->eax |= 1 << 8;
    }
    break;

  case 0x0000000a:
    if (model->vendor != PMU_INTEL) break;
    pmu_cpuid_0a(model, &pmug.pmu.quirks, regs);
    leaf->eax = regs[0]; leaf->ebx = regs[1];
    leaf->ecx = regs[2]; leaf->edx = regs[3];
    break;

  case 0x00000023:
    if (! pmug.pmu.quirks.hidden.on) break;
    pmu_cpuid_23(model, &pmug.pmu.quirks, subfunction, regs);
    leaf->eax = regs[0]; leaf->ebx = regs[1];
    leaf->ecx = regs[2]; leaf->edx = regs[3];
    break;

  /*
   * The TSC and the timer of the local APIC tick at the machine's rate: with
   * another rate than it finds, Linux arms that timer for a fraction of the time
   * that is left, over and over.
   */
  case 0x00000015:
    if (model->vendor != PMU_INTEL) break;
    leaf->eax = leaf->ebx = 1;
    leaf->ecx = (Bit32u) SIM->get_param_num(BXPN_IPS)->get();
    leaf->edx = 0;
    break;

  case 0x00000016:
    if (model->vendor != PMU_INTEL) break;
    leaf->eax = leaf->ebx = (Bit32u) SIM->get_param_num(BXPN_IPS)->get() / 1000000;
    break;

  case 0x80000000:
    if (model->vendor == PMU_AMD && model->version >= 2)
      leaf->eax = 0x80000022;
    break;

  case 0x80000001:
    if (model->signature) leaf->eax = model->signature;
    if (model->vendor == PMU_AMD) {
      leaf->ecx &= ~(BX_CPUID_EXT1_ECX_IBS | BX_CPUID_EXT1_ECX_PERFCTR_EXT_NB |
                     BX_CPUID_EXT1_ECX_PERFCTR_EXT_L2I);
      leaf->ecx |= BX_CPUID_EXT1_ECX_PERFCTR_EXT_CORE;
      if (model->uncore || pmug.pmu.quirks.uncore.on)
        leaf->ecx |= BX_CPUID_EXT1_ECX_PERFCTR_EXT_NB | BX_CPUID_EXT1_ECX_PERFCTR_EXT_L2I;
    }
    break;

  case 0x80000002:
  case 0x80000003:
  case 0x80000004:
    if (! model->brand) break;
    snprintf(brand, sizeof(brand), "%s", model->brand);
    memcpy(regs, brand + 16 * (function - 0x80000002), sizeof(regs));
    leaf->eax = regs[0]; leaf->ebx = regs[1];
    leaf->ecx = regs[2]; leaf->edx = regs[3];
    break;

  case 0x80000008:
    if (model->irperf) leaf->ebx |= 1 << 1;
    break;

  case 0x8000000a:
    leaf->edx |= svm_virt_features();
    break;

  case 0x8000001b:
    if (model->vendor == PMU_AMD)
      leaf->eax = leaf->ebx = leaf->ecx = leaf->edx = 0;
    break;

  /*
   * Nothing is speculated, so the processors of these families are free of SRSO (EAX)
   * and TSA (ECX).  Without the bits Linux looks for microcode that there is not.
   */
  case 0x80000021:
    if (! model->signature) break;
    leaf->eax |= 1 << 29;
    leaf->ecx |= 1 << 1 | 1 << 2 | 1 << 7;
    break;

  case 0x80000022:
    if (model->vendor != PMU_AMD || model->version < 2) break;
    pmu_cpuid_80000022(model, regs);
    leaf->eax = regs[0]; leaf->ebx = regs[1];
    leaf->ecx = regs[2]; leaf->edx = regs[3];
    break;
  }
}

/* @nr accesses of @size bytes within the page of @laddr, which the TLB has. */
void BX_CPU_C::pmu_bulk(bx_address laddr, Bit32u nr, Bit32u size, bool write)
{
  pmu_mem_bulk(&pmug.pmu, BX_DTLB_ENTRY_OF(laddr, 0)->ppf | PAGE_OFFSET(laddr), nr, size, write);
}

/* Bring the totals up to date: what is closed, and the step that was paid. */
void BX_CPU_C::pmu_feed_totals(void)
{
  struct pmu_feed *feed = &pmug.pmu.feed;
  bool paid = (pmug.paid_icount == icount);

  feed->steps = icount + paid;
  feed->retired = icount - pmug.nonretired + (paid && pmug.paid_retired);
  feed->branches_taken = pmug.cond_taken + pmug.uncond;
  feed->branches = feed->branches_taken + pmug.not_taken;
  feed->branches_cond = pmug.cond_taken + pmug.not_taken;
}

/* The step in flight belongs to what was in force up to now. */
void BX_CPU_C::pmu_close_step(bool retires)
{
  if (pmug.paid_icount != icount) {
    pmug.paid_icount = icount;
    pmug.paid_retired = retires;
  }
  pmu_feed_totals();
}

/* The model's deadline moved. */
void BX_CPU_C::pmu_rearm(void)
{
  Bit64u deadline = pmug.pmu.deadline;

  if (deadline != ~BX_CONST64(0))
    deadline = (deadline > PMU_STOP_MARGIN) ? deadline - PMU_STOP_MARGIN : 0;
  pmug.stop = deadline;
  if (icount >= pmug.stop) signal_event(BX_EVENT_PMU);
}

/* Between two instructions: tell the model of the mode, and let it catch up. */
void BX_CPU_C::pmu_boundary(void)
{
  struct pmu *pmu = &pmug.pmu;
  bool guest = in_vmx_guest || in_svm_guest;
  bool svme = efer.get_SVME();

  clear_event(BX_EVENT_PMU);
  if (! pmug.on) return;

  if (guest != pmu->guest || user_pl != pmu->user || svme != pmu->svme) {
    pmu_feed_totals();
    pmu_set_mode(pmu, guest, user_pl, svme);
  }
  else if (icount >= pmu->deadline) {
    pmu_feed_totals();
    pmu_sync(pmu);
  }
  if (icount >= pmug.stop) signal_event(BX_EVENT_PMU);
}

void BX_CPU_C::pmu_raise_pmi(void)
{
  Bit32u lvt = lapic->raise_perfmon(pmug.pmu.model->vendor == PMU_INTEL);

  if (machine_log)
    pmu_log_pmi(machine_log, bx_cpuid, pmug.pmu.guest, lvt);
}

/* Software has cleared LVTPC's mask bit, in the step in flight. */
void BX_CPU_C::pmu_unmasked(void)
{
  if (! pmug.on) return;
  pmu_feed_totals();
  pmu_lvtpc_unmasked(&pmug.pmu);
}

/* The instruction in flight faults or, for IRET, is about to retire. */
void BX_CPU_C::pmu_miscounts(enum pmu_fault what)
{
  if (! pmug.on) return;
  if (what != PMU_FAULT_IRET) pmu_feed_totals();
  pmu_fault(&pmug.pmu, what);
}

/* The processor halts, and may be halted already. */
void BX_CPU_C::pmu_halt(void)
{
  pmu_feed_totals();
  pmu_halted(&pmug.pmu);
}

/* false: #GP.  Only for numbers of pmu_is_msr(). */
bool BX_CPU_C::pmu_msr_read(Bit32u index, Bit64u *val)
{
  uint64_t val64 = 0;

  if (index == PMU_MSR_MISC_ENABLE) {
    *val = pmug.pmu.model->vendor == PMU_INTEL ? PMU_MISC_ENABLE : 0;
    return pmug.pmu.model->vendor == PMU_INTEL;
  }
  pmu_feed_totals();
  if (pmu_rdmsr(&pmug.pmu, index, &val64) != PMU_OK) return false;
  *val = val64;
  return true;
}

bool BX_CPU_C::pmu_msr_write(Bit32u index, Bit64u val)
{
  /* Nothing in it can be changed here. */
  if (index == PMU_MSR_MISC_ENABLE) return pmug.pmu.model->vendor == PMU_INTEL;

  /* What is refused does not retire, so it has to be known before. */
  if (! pmu_wrmsr_valid(&pmug.pmu, index, val)) return false;
  pmu_close_step(true);
  return pmu_wrmsr(&pmug.pmu, index, val) == PMU_OK;
}

bool BX_CPU_C::pmu_rdpmc_read(Bit32u index, Bit64u *val)
{
  uint64_t val64 = 0;

  pmu_feed_totals();
  if (pmu_rdpmc(&pmug.pmu, index, &val64) != PMU_OK) return false;
  *val = val64;
  return true;
}

/* An RDMSR, WRMSR or RDPMC instruction that did not exit. */
void BX_CPU_C::pmu_log_msr(enum pmu_log_access what, Bit32u index, bool faulted)
{
  if (machine_log && pmug.on)
    pmu_log_access(machine_log, bx_cpuid, in_vmx_guest || in_svm_guest, what, index, faulted);
}

/* The processor has done something with registers or interrupts by itself. */
void BX_CPU_C::pmu_log_hw(enum pmu_log_hw what)
{
  if (machine_log && pmug.on)
    ::pmu_log_hw(machine_log, bx_cpuid, what);
}

/* OUT of 32 bits to PMU_LOG_PORT; the OUT itself still belongs to before it. */
void BX_CPU_C::pmu_port_write(Bit32u val)
{
  struct pmu *pmus[BX_MAX_SMP_THREADS_SUPPORTED];

  if (! machine_log || ! pmug.on) return;
  pmu_close_step(true);
  for (unsigned n = 0; n < BX_SMP_PROCESSORS; n++) {
    BX_CPU(n)->pmu_feed_totals();
    pmus[n] = &BX_CPU(n)->pmug.pmu;
    pmu_sync(pmus[n]);
  }
  pmu_log_port(machine_log, bx_cpuid, val, pmus);
}

/*
 * VM-entry has loaded the guest; the step in flight is the host's last.  Or, of
 * VMRUN, the guest's first: it retires when the guest is there, and by its mode.
 */
void BX_CPU_C::pmu_enter_guest(void)
{
  const struct pmu_quirks *quirks = &pmug.pmu.quirks;
  bool guests;

  if (! pmug.on) return;
  guests = pmug.pmu.model->vendor == PMU_AMD && quirks->vmrun.val != PMU_VMRUN_HOST;
  if (guests)
    pmu_feed_totals();
  else
    pmu_close_step(true);
  svm_vpmc_enter();
  pmu_set_mode(&pmug.pmu, true, user_pl, efer.get_SVME());
  if (machine_log) pmu_log_entry(machine_log, bx_cpuid, &pmug.pmu.feed, in_vmx_guest ? vmcsptr : vmcbptr);
  if (! guests) return;

  if (quirks->vmrun.val == PMU_VMRUN_BRANCH) pmug.uncond++;
  pmu_close_step(true);
  pmu_sync(&pmug.pmu);
}

/*
 * A VM-exit begins.  The guest's registers, and the model, must be final before
 * any of them is saved.
 */
void BX_CPU_C::pmu_leave_guest(Bit32u reason, Bit32u msr, bool wr, bool retires)
{
  if (! pmug.on) return;
  pmu_close_step(retires);
  if (! in_vmx_guest && reason == SVM_VMEXIT_NPF) pmu_fault(&pmug.pmu, PMU_FAULT_NESTED);
  pmu_vmexit(&pmug.pmu);
  if (machine_log && pmug.pmu.guest)
    pmu_log_exit(machine_log, bx_cpuid, &pmug.pmu.feed, reason, msr, wr);
}

/* All guest state is saved: from here on it is the host, at CPL 0. */
void BX_CPU_C::pmu_enter_host(void)
{
  if (! pmug.on) return;
  pmu_feed_totals();
  pmu_set_mode(&pmug.pmu, false, false, efer.get_SVME());
}

bool BX_CPU_C::pmu_vmenter_check_host(void)
{
  if (! pmug.on || ! vmcs.vmexit_ctrls1.LOAD_PERF_GLOBAL_CTRL_MSR()) return true;
  pmug.host_global_ctrl = VMread64(VMCS_64BIT_HOST_IA32_PERF_GLOBAL_CTRL);
  return pmu_wrmsr_valid(&pmug.pmu, PMU_MSR_GLOBAL_CTRL, pmug.host_global_ctrl);
}

bool BX_CPU_C::pmu_vmenter_check_guest(void)
{
  if (! pmug.on) return true;
  if (vmcs.vmentry_ctrls.LOAD_DBG_CTRLS() &&
      ! pmu_wrmsr_valid(&pmug.pmu, PMU_MSR_DEBUGCTL, VMread64(VMCS_64BIT_GUEST_IA32_DEBUGCTL)))
    return false;
  if (vmcs.vmentry_ctrls.LOAD_PERF_GLOBAL_CTRL_MSR() &&
      ! pmu_wrmsr_valid(&pmug.pmu, PMU_MSR_GLOBAL_CTRL,
                        VMread64(VMCS_64BIT_GUEST_IA32_PERF_GLOBAL_CTRL)))
    return false;
  return true;
}

/* After the guest state is loaded, before the list of MSRs. */
void BX_CPU_C::pmu_vmenter_load(void)
{
  if (! pmug.on) return;
  pmu_close_step(true);
  if (vmcs.vmentry_ctrls.LOAD_DBG_CTRLS())
    pmu_wrmsr(&pmug.pmu, PMU_MSR_DEBUGCTL,
              VMread64(VMCS_64BIT_GUEST_IA32_DEBUGCTL));
  if (vmcs.vmentry_ctrls.LOAD_PERF_GLOBAL_CTRL_MSR())
    pmu_wrmsr(&pmug.pmu, PMU_MSR_GLOBAL_CTRL,
              VMread64(VMCS_64BIT_GUEST_IA32_PERF_GLOBAL_CTRL));
}

void BX_CPU_C::pmu_vmexit_begin(Bit32u reason)
{
  bool retires;

  if (! in_vmx_guest)		/* the entry itself failed */
    retires = true;
  else				/* from within an instruction that goes on to its commit? */
    retires = IS_TRAP_LIKE_VMEXIT((reason & 0xffff)) && ! pmug.between;

  reason &= 0xffff;
  bool is_msr = (reason == VMX_VMEXIT_RDMSR || reason == VMX_VMEXIT_WRMSR);
  pmu_leave_guest(reason, is_msr ? ECX : 0, reason == VMX_VMEXIT_WRMSR, retires);
}

/* With the rest of the guest state, before the list of MSRs. */
void BX_CPU_C::pmu_vmexit_save(void)
{
  uint64_t val = 0;

  if (! pmug.on) return;
  const struct pmu_quirk_val *fails = &pmug.pmu.quirks.save_ctrl;
  if (vmcs.vmexit_ctrls1.SAVE_PERF_GLOBAL_CTRL() &&
      ! (fails->on && fails->val && ++pmug.saves % fails->val == 0)) {
    pmu_rdmsr(&pmug.pmu, PMU_MSR_GLOBAL_CTRL, &val);
    VMwrite64(VMCS_64BIT_GUEST_IA32_PERF_GLOBAL_CTRL, val);
  }
  if (vmcs.vmexit_ctrls1.SAVE_DBG_CTRLS()) {
    pmu_rdmsr(&pmug.pmu, PMU_MSR_DEBUGCTL, &val);
    VMwrite64(VMCS_64BIT_GUEST_IA32_DEBUGCTL, val);
  }
}

/* With the host state, before the list of MSRs. */
void BX_CPU_C::pmu_vmexit_load(void)
{
  if (! pmug.on) return;
  pmu_enter_host();
  pmu_wrmsr(&pmug.pmu, PMU_MSR_DEBUGCTL, 0);
  if (vmcs.vmexit_ctrls1.LOAD_PERF_GLOBAL_CTRL_MSR())
    pmu_wrmsr(&pmug.pmu, PMU_MSR_GLOBAL_CTRL, pmug.host_global_ctrl);
}
