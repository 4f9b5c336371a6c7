/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Model of a core PMU: Intel architectural perfmon v5 or AMD with and without
 * PerfMonV2.
 *
 * The model knows nothing of the emulator around it.  The emulator (the "glue")
 * feeds running totals and tells of mode changes; the model answers register
 * accesses and says when a PMI is due.  One struct pmu per logical processor;
 * no function takes a lock, and a struct pmu must not be used by two threads at
 * once.  Nothing here allocates, except pmu_log_*(), or reads a clock: the same
 * calls give the same values.
 *
 * Time.  The unit of everything is the "step": one attempt of the emulator to
 * execute an instruction.  A step retires one instruction, or none (it faulted,
 * it left through a VM-exit, or it was one iteration of a REP string
 * instruction which is not the last).  One step is one core cycle and one
 * reference cycle; that is the whole cost model.  A halted processor takes no
 * steps.  Slots are four per cycle.
 */
#ifndef MACHINE_PMU_H
#define MACHINE_PMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PMU_MAX_GP	8
#define PMU_MAX_FIXED	7	/* more than 4 by the quirk "fixed-77h" only */
#define PMU_USUAL_FIXED	4
#define PMU_NR_L3	6	/* AMD, with pmu_model.uncore */
#define PMU_NR_DF	16
#define PMU_WIDTH	48

/* Slots per core cycle, and of those retiring per retired instruction. */
#define PMU_SLOTS_PER_CYCLE	4

enum pmu_vendor { PMU_INTEL, PMU_AMD };

/* What a processor model advertises.  See pmu_models[] for the ones that exist. */
struct pmu_model {
	const char *name;	/* as given on the command line */
	enum pmu_vendor vendor;
	unsigned int version;	/* Intel: CPUID 0xA version (5); AMD: 2 = PerfMonV2, 1 = without */
	unsigned int nr_gp;	/* 8 on Intel, 6 on AMD */
	unsigned int nr_fixed;	/* 3 or 4 on Intel, 0 on AMD */
	unsigned int event_cond; /* Intel: umask and event of retired conditional branches */
	bool perf_metrics;	/* Intel with 4 fixed counters: PERF_METRICS (MSR 0x329) */
	bool vmx_save_global_ctrl; /* VM-exit control "save IA32_PERF_GLOBAL_CTRL" (used by the glue only) */
	bool uncore;		/* AMD: counters of the data fabric and of the L3 cache */
	bool irperf;		/* AMD: IRPerfCount, switched on by HWCR */
	bool vnmi;		/* AMD: virtual GIF and virtual NMI (the glue's) */
	bool vpmc;		/* AMD: the processor swaps the PMU at VMRUN and #VMEXIT */
	uint32_t signature;	/* CPUID 1 EAX: family, model, stepping; 0: the glue's own */
	const char *brand;	/* CPUID 8000_0002: less than 48 characters; with a signature */
};

/*
 * "intel-8+3", "intel-8+3-nosave", "intel-8+4", "intel-8+4-nosave", "amd-v2",
 * "amd-v1", "amd-zen4", "amd-zen5"; ends with an entry whose name is NULL.
 */
extern const struct pmu_model pmu_models[];

/* The model of that name, or NULL. */
const struct pmu_model *pmu_model_find(const char *name);

/*
 * Running totals, written by the glue, never reset while the processor exists.
 * All are plain counts since power-on.  @steps and @retired need to be up to
 * date only when a function below is called which says that it syncs.
 */
struct pmu_feed {
	uint64_t steps;
	uint64_t retired;	/* instructions retired */
	uint64_t branches;	/* branch instructions retired: near and far, taken or not,
				 * calls, returns, SYSCALL, IRET, INT n; not faults,
				 * interrupts or VM-exits
				 */
	uint64_t branches_cond;	/* of these the conditional ones, taken or not */
	uint64_t branches_taken;
	uint64_t branch_misses;	/* by the model's predictor, see pmu_branch() */
	uint64_t cache_refs;	/* by the model's cache, see pmu_mem() */
	uint64_t cache_misses;
	uint64_t loads;		/* data loads and stores, one per access */
	uint64_t stores;
};

/* Index into struct pmu_oracle: [guest][user]. */
enum { PMU_HOST = 0, PMU_GUEST = 1, PMU_KERNEL = 0, PMU_USER = 1 };

/* True counts, independent of any register. */
struct pmu_oracle {
	struct pmu_feed at[2][2];
};

enum pmu_result {
	PMU_OK,
	PMU_GP,			/* the access must raise #GP(0); nothing was changed */
	PMU_UNKNOWN,		/* not a register of this model's PMU */
};

struct pmu;

struct pmu_ops {
	/*
	 * An enabled overflow interrupt is due: send LVTPC's message.  On Intel the
	 * glue then sets LVTPC's mask bit, on AMD it does not.  Called once for each
	 * PMI that is due: more than once per pmu_sync() only if quirks held one up.
	 */
	void (*pmi)(void *opaque);
	/*
	 * The same for an overflow of a guest whose PMU the processor swaps, see
	 * pmu_vpmc_enter(): LVTPC has no part in it.  Called between that and the end
	 * of pmu_vpmc_leave() only.  NULL if the model has no vpmc.
	 */
	void (*virtual_pmi)(void *opaque);
	/*
	 * The deadline (pmu_deadline()) or what the model wants to be told
	 * (pmu->want) changed.  May be NULL.
	 */
	void (*rearm)(void *opaque);
};

/* Bits of pmu->want: what is needed by an enabled counter just now. */
#define PMU_WANT_BRANCH_MISSES	(1u << 0)	/* glue must call pmu_branch() */
#define PMU_WANT_CACHE		(1u << 1)	/* glue must call pmu_mem() */
#define PMU_WANT_MEM		(1u << 2)	/* glue must count loads and stores: pmu_mem() does */
#define PMU_WANT_ANY		(1u << 3)	/* at least one counter is counting */

/*
 * Misbehaviour, as real hardware has it or may have it; all off by default.
 * quirks.c has the one table of their names, with what each does.
 */
struct pmu_quirk_val {
	bool on;
	uint64_t val;
};

struct pmu_quirks {
	struct pmu_quirk_val skid, late, empty_pmi, stray;
	struct pmu_quirk_val unmask, status_set;
	struct pmu_quirk_val status_amd, status_intel;
	struct pmu_quirk_val metrics_round, metrics_alone, drift, guest_only;
	struct pmu_quirk_val metrics_residue, metrics_gp, metrics_8, fixed_77;
	struct pmu_quirk_val hidden;	/* CPUID is the glue's */
	struct pmu_quirk_val merge;	/* enum pmu_merge */
	struct pmu_quirk_val svme, freeze, halt, smi, switch_cycles;
	struct pmu_quirk_val vmentry;	/* enum pmu_vmentry */
	struct pmu_quirk_val faults;	/* enum pmu_faults */
	struct pmu_quirk_val msrpm, save_ctrl; /* the glue's */
	struct pmu_quirk_val change;
	struct pmu_quirk_val vmrun;	/* enum pmu_vmrun; the glue's */
	struct pmu_quirk_val trace_status;
	struct pmu_quirk_val uncore, tfa; /* tfa: the glue's */
	/* The glue's, but for vpmc_swap and vpmc_refused. */
	struct pmu_quirk_val vpmc_ctl, vpmc_alone, vpmc_clean, vpmc_swap, vpmc_refused;
};

/* Whose the step of VMRUN is: as the processor is, the guest's. */
enum pmu_vmrun { PMU_VMRUN_GUEST, PMU_VMRUN_HOST, PMU_VMRUN_BRANCH };

/* What Intel's counters count at VM-entry and VM-exit; without the quirk nothing. */
enum pmu_vmentry { PMU_VMENTRY_ENTRY, PMU_VMENTRY_EXIT, PMU_VMENTRY_BOTH, PMU_VMENTRY_BRANCH };

/* Which instructions AMD's counters of instructions get wrong. */
enum pmu_faults { PMU_FAULTS_NESTED, PMU_FAULTS_ALL, PMU_FAULTS_IRET, PMU_FAULTS_BOTH };

/* A selector of Merge with GuestOnly or HostOnly; as the processor is, it goes by them. */
enum pmu_merge { PMU_MERGE_HOST, PMU_MERGE_ALONE };

/* VMRUN that swaps the PMU without a way for the guest's PMI: as the processor is, it is lost. */
enum pmu_vpmc_alone { PMU_VPMC_LOST, PMU_VPMC_INVALID };

/* What the host finds after a #VMEXIT that swaps the PMU: as the processor is, reset values. */
enum pmu_vpmc_swap { PMU_VPMC_RESET, PMU_VPMC_KEEP };

enum pmu_quirk_kind {
	PMU_QUIRK_FLAG,		/* NAME */
	PMU_QUIRK_STEPS,	/* NAME=N */
	PMU_QUIRK_BITS,		/* NAME, or NAME=MASK */
	PMU_QUIRK_CHOICE,	/* NAME=one of @values */
};

/* PMU_QUIRK_VPMC: models with pmu_model.vpmc. */
enum pmu_quirk_for {
	PMU_QUIRK_ANY,
	PMU_QUIRK_INTEL,
	PMU_QUIRK_AMD,
	PMU_QUIRK_VPMC,		/* with PMC virtualization */
	PMU_QUIRK_V2,		/* AMD with PerfMonV2 */
	PMU_QUIRK_SAVE,		/* with the control that saves GLOBAL_CTRL */
	PMU_QUIRK_METRICS,	/* with PERF_METRICS */
	PMU_QUIRK_FIXED3,	/* Intel with three fixed counters */
};

enum pmu_quirk_hostile {
	PMU_HOSTILE_NEVER,
	PMU_HOSTILE_ON,		/* may be in it: a processor is so, or it is not */
	PMU_HOSTILE_CHANGES,	/* and comes, goes and changes its value in a run */
};

struct pmu_quirk {
	const char *name;
	const char *row;	/* another name: its row in the list of doubts about silicon, or NULL */
	enum pmu_quirk_kind kind;
	enum pmu_quirk_for vendor;
	size_t offset;		/* of its value in struct pmu_quirks */
	uint64_t val;		/* PMU_QUIRK_BITS: the default */
	const char *values[4];	/* PMU_QUIRK_CHOICE: value 0, 1 ... */
	/* Of a set that "hostile" makes. */
	enum pmu_quirk_hostile hostile;
	uint32_t least, most;	/* PMU_QUIRK_STEPS: its values there */
	const char *help;	/* one line */
};

/* Ends with an entry whose name is NULL. */
extern const struct pmu_quirk pmu_quirk_table[];

/*
 * Switch on what @text names, of a processor of @model: quirks with commas or
 * blanks between, each by its name or by its row.  "hostile=SEED" stands for a set
 * that the seed alone says, and "-NAME" for that quirk switched off again.  False,
 * with the reason in @why, for what is not in the table, has a value it cannot have,
 * or is no quirk of such a processor; @quirks may have changed then.
 */
bool pmu_quirks_parse(struct pmu_quirks *quirks, const struct pmu_model *model,
		      const char *text, char *why, size_t size);

/* @quirks, as text for pmu_quirks_parse(); false if it is longer than @size. */
bool pmu_quirks_print(const struct pmu_quirks *quirks, char *text, size_t size);

/*
 * The next value of those of @quirks that change, each off or not above its value in
 * @base.  @state goes on.
 */
void pmu_quirks_change(struct pmu_quirks *quirks, const struct pmu_quirks *base, uint64_t *state);

/*
 * A PMI that "late" holds back comes in guest mode if there is no VM-exit for
 * this many steps, or for the quirk's own number if that is larger.
 */
#define PMU_LATE_BOUND		500

/* What one of the quirk "smi" adds to each counter: steps and instructions; branches. */
#define PMU_SMI_STEPS		200
#define PMU_SMI_BRANCHES	20

/* Counters that the quirk "leaf-23h" hides, and the bitmap of fixed ones of "fixed-77h". */
#define PMU_HIDDEN		2
#define PMU_FIXED_77		0x77

/* Most increments of a counter that "drift" makes late. */
#define PMU_DRIFT_MAX		3

/*
 * AMD's PMC virtualization (CPUID 8000_000A EDX[8]): what the processor loads from
 * the VMCB's save area at VMRUN and stores there at #VMEXIT when VMCB 0B8h bit 3 is
 * set.  Offsets in the VMCB's page: PERF_CTLn 4E0h + 10h * n, PERF_CTRn 4E8h + 10h *
 * n, INSTR_RETIRED_CTR 5C0h, PERF_CTR_GLOBAL_STS 5C8h, PERF_CTR_GLOBAL_CTL 5D0h (32
 * bits).  Source: AMD64 APM Vol. 2, 15.39 and Tables B-2 and B-4.
 */
#define PMU_VPMC_NR_REGS	15

struct pmu_vpmc {
	uint64_t ctl[6], ctr[6];
	uint64_t irperf;
	uint64_t status;
	uint64_t global_ctl;
};

/*
 * Storage of one PMU.  The layout is public only so that the glue can embed it
 * and feed it inline; read the registers with the functions below.
 */
struct pmu {
	struct pmu_feed feed;		/* written by the glue */
	uint32_t want;			/* read by the glue */
	uint64_t deadline;		/* read by the glue: as pmu_deadline() */

	const struct pmu_model *model;
	const struct pmu_ops *ops;
	void *opaque;
	struct pmu_quirks quirks;

	/* Mode of what runs now. */
	bool guest, user;
	bool svme;			/* AMD: EFER.SVME */

	struct pmu_feed synced;		/* feed at the last sync */
	struct pmu_oracle oracle;

	/* Registers. */
	uint64_t gp[PMU_MAX_GP];
	uint64_t eventsel[PMU_MAX_GP];
	uint64_t fixed[PMU_MAX_FIXED];
	uint64_t fixed_ctrl;
	uint64_t global_ctrl;
	uint64_t global_status;
	uint64_t debugctl;		/* as written; only bit 12 does anything */
	uint64_t metrics;
	uint64_t hwcr;			/* as written; only bits 27 and 30 do anything */
	uint64_t irperf;
	uint64_t uncore_ctl[PMU_NR_L3 + PMU_NR_DF];
	uint64_t uncore_ctr[PMU_NR_L3 + PMU_NR_DF]; /* less what they count since, see pmu.c */

	bool vpmc;			/* the registers above hold a guest's values */
	struct pmu_vpmc vpmc_host;	/* and these are the host's */

	/* Of pmu_mem(). */
	uint64_t last_load;		/* address */
	uint64_t last_line;		/* of the cache: a touch of it changes nothing */
	uint64_t rmw;			/* stores to the address just loaded */

	/* Derived state and the small predictor and cache: see pmu.c. */
	struct pmu_priv {
		uint64_t opaque[2048];
	} priv;
};

/* Power-on state.  @model, @ops and @opaque must outlive @pmu. */
void pmu_init(struct pmu *pmu, const struct pmu_model *model,
	      const struct pmu_ops *ops, void *opaque);

/* RESET#: registers take their reset values; feed and oracle go on.  (INIT changes nothing.) */
void pmu_reset(struct pmu *pmu);

/*
 * Account feed growth since the last sync to the current mode: oracle, then each
 * counter that counts in this mode; set overflow status; raise a PMI that is due.
 * Call when feed.steps >= pmu->deadline, at latest when the current trace ends,
 * and before anything that reads a value.  Every function below that says "syncs"
 * calls it; the glue must have updated feed.steps and feed.retired before.
 */
void pmu_sync(struct pmu *pmu);

/*
 * The step at which the next overflow or held-back PMI can be due at the
 * earliest; UINT64_MAX when none can.
 */
static inline uint64_t pmu_deadline(const struct pmu *pmu)
{
	return pmu->deadline;
}

/*
 * Mode change; syncs first, so the steps fed so far belong to the old mode.
 * @svme is ignored on Intel.
 */
void pmu_set_mode(struct pmu *pmu, bool guest, bool user, bool svme);

/*
 * A VM-exit begins; the mode is still the guest's.  Syncs, and quirks count what they
 * count of it.
 */
void pmu_vmexit(struct pmu *pmu);

/*
 * An instruction that AMD's counters may get wrong, by the quirk "faults": one that
 * has left by a nested page fault or by an exception, and IRET, which is about to
 * retire.  The first two sync.
 */
enum pmu_fault { PMU_FAULT_NESTED, PMU_FAULT_EXCEPTION, PMU_FAULT_IRET };
void pmu_fault(struct pmu *pmu, enum pmu_fault what);

/* RDMSR / WRMSR by software.  Sync. */
enum pmu_result pmu_rdmsr(struct pmu *pmu, uint32_t msr, uint64_t *val);
enum pmu_result pmu_wrmsr(struct pmu *pmu, uint32_t msr, uint64_t val);

/*
 * Would WRMSR of @val be accepted?  False also for what pmu_wrmsr() does not
 * know.  For VMCS checks.  No side effect.
 */
bool pmu_wrmsr_valid(const struct pmu *pmu, uint32_t msr, uint64_t val);

/*
 * RDPMC with that ECX; privilege (CR4.PCE) is the glue's matter.  Syncs.
 * Never returns PMU_UNKNOWN.
 */
enum pmu_result pmu_rdpmc(struct pmu *pmu, uint32_t ecx, uint64_t *val);

/*
 * CPUID leaf 0xA (Intel) or 0x80000022 (AMD): eax..edx in @regs.  All zero when
 * the model has no such leaf.  Leaf 0x23 (Intel) is there with the quirk "leaf-23h".
 */
void pmu_cpuid_0a(const struct pmu_model *model, const struct pmu_quirks *quirks, uint32_t regs[4]);
void pmu_cpuid_23(const struct pmu_model *model, const struct pmu_quirks *quirks, uint32_t subleaf,
		  uint32_t regs[4]);
void pmu_cpuid_80000022(const struct pmu_model *model, uint32_t regs[4]);

/*
 * A conditional or indirect branch at linear address @ip retired; @taken, to
 * @target.  Updates the predictor and feed.branch_misses.  Call only while
 * pmu->want has PMU_WANT_BRANCH_MISSES.  feed.branches is the glue's own to
 * count, always.
 */
void pmu_branch(struct pmu *pmu, uint64_t ip, uint64_t target, bool taken);

/* The cache's part of pmu_mem(), which alone calls it. */
void pmu_cache_access(struct pmu *pmu, uint64_t paddr);

#define PMU_LINE_SHIFT	6	/* lines of 64 bytes */

/*
 * A data access of the physical address @paddr.  An instruction that reads and
 * writes the same operand makes two: the load, then the store of the same
 * address.  Updates loads, stores and the cache.  Call only while pmu->want has
 * PMU_WANT_CACHE or PMU_WANT_MEM.
 */
static inline void pmu_mem(struct pmu *pmu, uint64_t paddr, bool write)
{
	/*
	 * An instruction that loads, computes and stores is not told from a load
	 * followed by a store of the same address by another one.
	 */
	if (write) {
		pmu->feed.stores++;
		pmu->rmw += pmu->last_load == paddr;
		pmu->last_load = UINT64_MAX;
	} else {
		pmu->feed.loads++;
		pmu->last_load = paddr;
	}

	if (!(pmu->want & PMU_WANT_CACHE))
		return;
	if (paddr >> PMU_LINE_SHIFT == pmu->last_line)
		pmu->feed.cache_refs++;
	else
		pmu_cache_access(pmu, paddr);
}

/*
 * The same for @nr accesses of @size bytes each, one behind the other from @paddr
 * on: a bulk string transfer, which is one step.
 */
void pmu_mem_bulk(struct pmu *pmu, uint64_t paddr, uint32_t nr, uint32_t size, bool write);

/*
 * CLFLUSH, CLFLUSHOPT of the line at @paddr: one cache reference, which misses
 * when the line is absent, and the line is gone.  Call only while pmu->want has
 * PMU_WANT_CACHE.
 */
void pmu_flush(struct pmu *pmu, uint64_t paddr);

/*
 * Software has cleared LVTPC's mask bit.  Does nothing without the quirk "unmask";
 * all else of the local APIC is the glue's.  Syncs.
 */
void pmu_lvtpc_unmasked(struct pmu *pmu);

/*
 * VMRUN with PMC virtualization: put the host's registers away and load those of
 * the guest; reserved bits are dropped.  What was fed so far belongs to the host.
 * Does not change the mode.  @pmu->model->vpmc must be set, @pmu->vpmc not.  Syncs.
 */
void pmu_vpmc_enter(struct pmu *pmu, const struct pmu_vpmc *guest);

/*
 * #VMEXIT of such a guest: the guest's registers go to @guest.  The host gets its
 * GLOBAL_STATUS and IRPerfCount back, and of the others the reset values (all with
 * the quirk "vpmc-swap=keep").  A PMI of the guest that quirks hold up comes now, by
 * virtual_pmi(): none of a guest's reaches the host.  Does not change the mode.
 * Syncs.
 */
void pmu_vpmc_leave(struct pmu *pmu, struct pmu_vpmc *guest);

/*
 * VMRUN with PMC virtualization was refused: nothing, or with the quirk
 * "vpmc-refused" the host's registers take the values they have after a #VMEXIT.
 * Syncs.
 */
void pmu_vpmc_refused(struct pmu *pmu);

/* The host's GLOBAL_CTL. */
static inline uint64_t pmu_global_ctrl(const struct pmu *pmu)
{
	return pmu->global_ctrl;
}

/*
 * The processor halts: no steps are taken until an interrupt wakes it, but a PMI
 * on its way goes on.  So it arrives now.  With the quirk "halt-loses" counters of a
 * host lose their values.  Syncs.
 */
void pmu_halted(struct pmu *pmu);

#ifdef __cplusplus
}
#endif

#endif /* MACHINE_PMU_H */
