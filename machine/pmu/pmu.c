// SPDX-License-Identifier: GPL-2.0
/*
 * Model of a core PMU.  See pmu.h for the contract and EVENTS.md for what each
 * event, CMASK, INV and EDGE yield and where they are approximations.
 *
 * How counting works.  Between two syncs neither the mode nor a register
 * changes, so every counter that counts in the current mode grows by a linear
 * function of the growth of the feed.  Register writes decode the selectors
 * into priv->cand[], one entry for each counter that counts in some mode; mode
 * changes pick from these the ones that count now into priv->active[].  A sync
 * then walks only the active ones.
 *
 * Because the growth is linear, it does not matter how often a sync happens:
 * values depend on the fed totals, mode changes and register accesses alone.
 * Only the moment at which an overflow is noticed depends on syncs, and the
 * deadline makes sure there is one no later than the overflow can happen.
 */
#include <string.h>

#include "pmu.h"

#define BIT(n)			(1ull << (n))
#define WIDTH_MASK		(BIT(PMU_WIDTH) - 1)

/* PERFEVTSELn, PERF_CTLn. */
#define SEL_EVENT		0xffull
#define SEL_UMASK		0xff00ull
#define SEL_USR			BIT(16)
#define SEL_OS			BIT(17)
#define SEL_EDGE		BIT(18)
#define SEL_PC			BIT(19)
#define SEL_INT			BIT(20)
#define SEL_EN			BIT(22)
#define SEL_INV			BIT(23)
#define SEL_CMASK		0xff000000ull
#define SEL_AMD_EVENT_HI	(0xfull << 32)
#define SEL_AMD_GUESTONLY	BIT(40)
#define SEL_AMD_HOSTONLY	BIT(41)
#define SEL_AMD_MERGE		(SEL_AMD_EVENT_HI | SEL_EVENT)
#define MERGE_MASK		0xffffull	/* of the odd counter: the upper bits of a pair */

/* AnyThread (21) is deprecated, and thus reserved. */
#define SEL_INTEL_VALID		(SEL_EVENT | SEL_UMASK | SEL_USR | SEL_OS | SEL_EDGE | \
				 SEL_PC | SEL_INT | SEL_EN | SEL_INV | SEL_CMASK)
/* No pin control (19) on AMD.  CMASK has seven bits, but the eighth is kept. */
#define SEL_AMD_VALID		(SEL_EVENT | SEL_UMASK | SEL_USR | SEL_OS | SEL_EDGE | \
				 SEL_INT | SEL_EN | SEL_INV | SEL_CMASK |	\
				 SEL_AMD_EVENT_HI | SEL_AMD_GUESTONLY | SEL_AMD_HOSTONLY)

/* FIXED_CTR_CTRL, per counter. */
#define FIXED_OS		BIT(0)
#define FIXED_USR		BIT(1)
#define FIXED_PMI		BIT(3)
#define FIXED_VALID		(FIXED_OS | FIXED_USR | FIXED_PMI)
#define FIXED_BITS		4

#define FIXED_SLOTS		3

/* GLOBAL_STATUS and GLOBAL_CTRL. */
#define GLOBAL_FIXED_SHIFT	32
#define GLOBAL_METRICS		BIT(48)
#define STATUS_TRACE		BIT(55)
#define STATUS_LBR_FRZ		BIT(58)
#define STATUS_CTR_FRZ		BIT(59)
#define STATUS_UNCORE		BIT(61)
#define STATUS_OVF_BUF		BIT(62)
#define STATUS_COND_CHGD	BIT(63)
#define INUSE_PMI		BIT(63)

#define PERF_CAP_FW_WRITES	BIT(13)
#define PERF_CAP_METRICS	BIT(15)

#define DEBUGCTL_FREEZE_PMC	BIT(12)
#define DEBUGCTL_FREEZE_SMM	BIT(14)
/*
 * LBR, BTF, TR, BTS, BTINT, BTS_OFF_OS, BTS_OFF_USR, the two freeze bits and
 * FREEZE_WHILE_SMM are kept though nothing but freeze-on-PMI is modelled:
 * software sets them without asking.
 */
#define DEBUGCTL_INTEL_VALID	(0x3ull | 0x1fc0ull | BIT(14))
#define DEBUGCTL_AMD_VALID	(0x3full | BIT(11))

#define MSR_PMC0		0xc1
#define MSR_PERFEVTSEL0		0x186
#define MSR_DEBUGCTL		0x1d9
#define MSR_FIXED_CTR0		0x309
#define MSR_PERF_METRICS	0x329
#define MSR_PERF_CAPABILITIES	0x345
#define MSR_FIXED_CTR_CTRL	0x38d
#define MSR_GLOBAL_STATUS	0x38e
#define MSR_GLOBAL_CTRL		0x38f
#define MSR_GLOBAL_STATUS_RESET	0x390
#define MSR_GLOBAL_STATUS_SET	0x391
#define MSR_GLOBAL_INUSE	0x392
#define MSR_PEBS_ENABLE		0x3f1
#define MSR_PEBS_DATA_CFG	0x3f2
#define MSR_A_PMC0		0x4c1

#define MSR_AMD_IRPERF		0xc00000e9
#define MSR_AMD_GLOBAL_STATUS	0xc0000300
#define MSR_AMD_GLOBAL_CTL	0xc0000301
#define MSR_AMD_STATUS_CLR	0xc0000302
#define MSR_AMD_STATUS_SET	0xc0000303
#define MSR_K7_EVNTSEL0		0xc0010000
#define MSR_K7_PERFCTR0		0xc0010004
#define MSR_AMD_HWCR		0xc0010015
#define MSR_AMD_PERF_CTL0	0xc0010200
#define MSR_AMD_L3_CTL0		0xc0010230
#define MSR_AMD_DF_CTL0		0xc0010240
#define NR_K7			4

/* HWCR: IRPerfCount is read-only, and counts. */
#define HWCR_IRPERF_LOCK	BIT(27)
#define HWCR_IRPERF_EN		BIT(30)

/* AMD: 6 to 9 and 10h to 1bh are the data fabric's, 0ah to 0fh the L3 cache's (APM3, RDPMC). */
#define RDPMC_AMD_DF		0x06
#define RDPMC_AMD_L3		0x0a
#define RDPMC_AMD_DF4		0x10
#define RDPMC_AMD_LAST		0x1b
#define NR_DF_LOW		4
#define RDPMC_FIXED		(1u << 30)
#define RDPMC_METRICS		(1u << 29)

/* Indices into a feed seen as an array. */
enum field {
	F_STEPS,
	F_RETIRED,
	F_BRANCHES,
	F_COND,
	F_TAKEN,
	F_BRANCH_MISSES,
	F_CACHE_REFS,
	F_CACHE_MISSES,
	F_LOADS,
	F_STORES,
	F_FEED_NR,
	F_RMW = F_FEED_NR,	/* not fed, see pmu_mem() */
	F_ZERO,			/* always 0: an unused operand */
	F_NR,
};

_Static_assert(sizeof(struct pmu_feed) == F_FEED_NR * sizeof(uint64_t),
	       "enum field must mirror struct pmu_feed");

/* How a counter grows with the feed. */
enum form {
	FORM_NONE,		/* not at all */
	FORM_SUM,		/* mult * (f[0] + f[1] + f[2]) */
	FORM_COMPL,		/* steps - f[0] */
	FORM_ONCE,		/* one edge when counting starts */
};

#define NR_COUNTERS		(PMU_MAX_GP + PMU_MAX_FIXED)

/*
 * Most loads, stores and cache accesses of one step together, for the deadline.
 * An instruction that makes more (an XSAVE, say) can raise its PMI late.
 */
#define MAX_ACCESSES		16

struct cand {
	uint8_t idx;		/* counter: gp below PMU_MAX_GP, fixed from there on */
	uint8_t form;
	uint8_t f[3];
	uint8_t mult;
	uint8_t rate;		/* most events one step can yield */
	uint8_t modes;		/* bit mode_index(): counts in that mode */
	uint8_t pair;		/* and in these the next counter has the upper bits */
	bool pmi;
	uint32_t want;
};

#define PREDICTOR_SIZE		1024
#define TARGETS_SIZE		64
#define CACHE_SETS		64
#define CACHE_WAYS		8

/*
 * PMIs on their way.  A PMI takes further overflows of its own world along; the
 * two worlds' are apart, as one may be held up for long.
 */
enum pending {
	PENDING_HOST = PMU_HOST,
	PENDING_GUEST = PMU_GUEST,
	PENDING_EMPTY,		/* the quirk's second one, which no overflow stands behind */
	PENDING_STRAY,		/* the quirk's, due while the guest counts; always by LVTPC */
	NR_PENDING,
};

struct __attribute__((may_alias)) priv {
	struct cand cand[NR_COUNTERS];
	uint8_t active[NR_COUNTERS];	/* indices into cand[] */
	uint32_t nr_cand;
	uint32_t nr_active;
	uint32_t level;			/* bit idx: FORM_ONCE has had its edge */
	bool metrics;			/* PERF_METRICS goes on just now */

	uint32_t pending;		/* bit enum pending: on its way, ... */
	uint64_t pending_due[NR_PENDING]; /* ... delivered at that step */
	bool held;			/* PENDING_GUEST: a VM-exit sets pending_due anew */
	bool empty_virtual;		/* PENDING_EMPTY: of a guest with a virtual PMU */

	/* Of the quirk "drift": increments that are late, bit idx of drifting. */
	uint32_t drifting;
	uint64_t drift_due;
	uint64_t drift_sel[PMU_MAX_GP];
	uint8_t drift[PMU_MAX_GP];
	uint64_t grown[PMU_MAX_GP];	/* in guest mode, since it was entered or the counter written */

	uint64_t exit_retired;		/* at the last VM-exit */
	uint64_t lost;			/* quirk "faults": retired, but not to be counted */

	/* Of the quirk "change". */
	struct pmu_quirks base;
	uint64_t change;		/* 0: not begun */
	uint32_t change_in;		/* VM-exits */

	/* PERF_METRICS: slots the written value stands for, and growth since. */
	uint64_t metrics_base;
	uint64_t metrics_slots;
	uint64_t metrics_retiring;
	uint64_t metrics_residue;	/* quirk "metrics-residue": slots, retiring, of before */

	/* Not in the feed: a load and then a store of the same address. */
	uint64_t rmw_synced;

	/* Targets are those of the last taken branch at that address. */
	struct {
		uint64_t ip, target;
	} targets[TARGETS_SIZE];
	/* Two-bit saturating counters; taken from 2 on. */
	uint8_t direction[PREDICTOR_SIZE];

	/* Line number + 1, most recently used first; 0 is an empty way. */
	uint64_t cache[CACHE_SETS][CACHE_WAYS];
};

_Static_assert(sizeof(struct priv) <= sizeof(struct pmu_priv),
	       "struct pmu_priv is too small");
_Static_assert(_Alignof(struct priv) <= _Alignof(struct pmu_priv),
	       "struct pmu_priv is not aligned enough");

const struct pmu_model pmu_models[] = {
	{
		.name = "intel-8+3",
		.vendor = PMU_INTEL, .version = 5, .nr_gp = 8, .nr_fixed = 3,
		.event_cond = 0x01c4,
		.vmx_save_global_ctrl = true,
	}, {
		.name = "intel-8+3-nosave",
		.vendor = PMU_INTEL, .version = 5, .nr_gp = 8, .nr_fixed = 3,
		.event_cond = 0x01c4,
	}, {
		.name = "intel-8+4",
		.vendor = PMU_INTEL, .version = 5, .nr_gp = 8, .nr_fixed = 4,
		.event_cond = 0x11c4,
		.perf_metrics = true, .vmx_save_global_ctrl = true,
	}, {
		.name = "intel-8+4-nosave",
		.vendor = PMU_INTEL, .version = 5, .nr_gp = 8, .nr_fixed = 4,
		.event_cond = 0x11c4,
		.perf_metrics = true,
	}, {
		.name = "amd-v2",
		.vendor = PMU_AMD, .version = 2, .nr_gp = 6,
	}, {
		.name = "amd-v1",
		.vendor = PMU_AMD, .version = 1, .nr_gp = 6,
	}, {
		.name = "amd-zen4",	/* family 19h model 11h */
		.vendor = PMU_AMD, .version = 2, .nr_gp = 6,
		.uncore = true, .irperf = true, .vnmi = true,
		.signature = 0x00a10f11, .brand = "AMD Zen 4 in the machine",
	}, {
		.name = "amd-zen5",	/* family 1Ah model 44h */
		.vendor = PMU_AMD, .version = 2, .nr_gp = 6,
		.uncore = true, .irperf = true, .vnmi = true, .vpmc = true,
		.signature = 0x00b40f40, .brand = "AMD Zen 5 in the machine",
	}, {
		.name = NULL,
	}
};

const struct pmu_model *pmu_model_find(const char *name)
{
	const struct pmu_model *m;

	for (m = pmu_models; m->name; m++)
		if (!strcmp(m->name, name))
			return m;

	return NULL;
}

static uint32_t fixed_bitmap_of(const struct pmu_model *model, const struct pmu_quirks *quirks)
{
	return quirks->fixed_77.on ? PMU_FIXED_77 : (1u << model->nr_fixed) - 1;
}

void pmu_cpuid_0a(const struct pmu_model *model, const struct pmu_quirks *quirks, uint32_t regs[4])
{
	unsigned int nr_gp = model->nr_gp - (quirks->hidden.on ? PMU_HIDDEN : 0);
	const uint32_t nr_events = 8;

	memset(regs, 0, 4 * sizeof(regs[0]));
	if (model->vendor != PMU_INTEL)
		return;

	regs[0] = model->version | nr_gp << 8 | PMU_WIDTH << 16 | nr_events << 24;
	/* All eight events exist, slots too where no fixed counter is for them. */
	regs[1] = 0;
	regs[2] = fixed_bitmap_of(model, quirks);
	/* Those without a gap: three of PMU_FIXED_77, too. */
	regs[3] = model->nr_fixed | PMU_WIDTH << 5 | 1u << 15;
}

void pmu_cpuid_23(const struct pmu_model *model, const struct pmu_quirks *quirks, uint32_t subleaf,
		  uint32_t regs[4])
{
	memset(regs, 0, 4 * sizeof(regs[0]));
	if (!quirks->hidden.on)
		return;

	if (subleaf == 0) {
		regs[0] = 1u << 0 | 1u << 1;
	} else if (subleaf == 1) {
		regs[0] = (1u << model->nr_gp) - 1;
		regs[1] = fixed_bitmap_of(model, quirks);
	}
}

void pmu_cpuid_80000022(const struct pmu_model *model, uint32_t regs[4])
{
	memset(regs, 0, 4 * sizeof(regs[0]));
	if (model->vendor != PMU_AMD || model->version < 2)
		return;

	/* PerfMonV2 and freeze-on-PMI, no LBR stack. */
	regs[0] = 1u << 0 | 1u << 2;
	regs[1] = model->nr_gp | (model->uncore ? PMU_NR_DF << 10 : 0);
}

static struct priv *priv_of(struct pmu *pmu)
{
	return (struct priv *)&pmu->priv;
}

static bool is_intel(const struct pmu *pmu)
{
	return pmu->model->vendor == PMU_INTEL;
}

/* GLOBAL_* and freezing exist. */
static bool has_global(const struct pmu *pmu)
{
	return pmu->model->version >= 2;
}

static bool has_uncore(const struct pmu *pmu)
{
	return pmu->model->uncore || pmu->quirks.uncore.on;
}

static uint64_t gp_mask(const struct pmu *pmu)
{
	return BIT(pmu->model->nr_gp) - 1;
}

static bool has_fixed(const struct pmu *pmu, unsigned int n)
{
	return fixed_bitmap_of(pmu->model, &pmu->quirks) & BIT(n);
}

static uint64_t fixed_mask(const struct pmu *pmu)
{
	return (uint64_t)fixed_bitmap_of(pmu->model, &pmu->quirks) << GLOBAL_FIXED_SHIFT;
}

static uint64_t metrics_mask(const struct pmu *pmu)
{
	return pmu->model->perf_metrics ? GLOBAL_METRICS : 0;
}

/* The bits of GLOBAL_CTRL. */
static uint64_t global_valid(const struct pmu *pmu)
{
	return gp_mask(pmu) | fixed_mask(pmu) | metrics_mask(pmu);
}

/* The counters' bits of GLOBAL_STATUS. */
static uint64_t overflow_mask(const struct pmu *pmu)
{
	return gp_mask(pmu) | fixed_mask(pmu);
}

/* Status bits that appear with an overflow and are no counter's. */
static uint64_t status_strange(const struct pmu *pmu)
{
	const struct pmu_quirk_val *q = is_intel(pmu) ? &pmu->quirks.status_intel :
							&pmu->quirks.status_amd;

	return q->on ? q->val : 0;
}

/*
 * The bits of GLOBAL_STATUS that can be set by software.  Of the ones that are
 * there by version (LBR_FRZ, CTR_FRZ, uncore, buffer) only CTR_FRZ does
 * anything; the ones for PT and SGX are reserved as the models have neither, but
 * for the quirk "trace-status".
 */
static uint64_t status_set_valid(const struct pmu *pmu)
{
	if (!is_intel(pmu))
		return gp_mask(pmu) | STATUS_LBR_FRZ | STATUS_CTR_FRZ;

	return (global_valid(pmu) & ~(pmu->quirks.metrics_gp.on ? GLOBAL_METRICS : 0)) |
	       STATUS_LBR_FRZ | STATUS_CTR_FRZ | STATUS_UNCORE | STATUS_OVF_BUF |
	       (pmu->quirks.trace_status.on ? STATUS_TRACE : 0) |
	       (status_strange(pmu) & ~STATUS_COND_CHGD);
}

/* CondChgd can be cleared, but not set; with the quirk "status-metrics" so can bit 48. */
static uint64_t status_reset_valid(const struct pmu *pmu)
{
	return status_set_valid(pmu) | (is_intel(pmu) ? STATUS_COND_CHGD | metrics_mask(pmu) : 0);
}

static uint64_t fixed_ctrl_valid(const struct pmu *pmu)
{
	uint64_t mask = 0;
	unsigned int i;

	for (i = 0; i < PMU_MAX_FIXED; i++)
		if (has_fixed(pmu, i))
			mask |= FIXED_VALID << (i * FIXED_BITS);

	return mask;
}

static uint64_t debugctl_valid(const struct pmu *pmu)
{
	if (is_intel(pmu))
		return DEBUGCTL_INTEL_VALID;

	return DEBUGCTL_AMD_VALID | (has_global(pmu) ? DEBUGCTL_FREEZE_PMC : 0);
}

static uint64_t *counter(struct pmu *pmu, unsigned int idx)
{
	return idx < PMU_MAX_GP ? &pmu->gp[idx] : &pmu->fixed[idx - PMU_MAX_GP];
}

/* The counter's bit in GLOBAL_STATUS and GLOBAL_CTRL. */
static uint64_t global_bit(unsigned int idx)
{
	return idx < PMU_MAX_GP ? BIT(idx) : BIT(GLOBAL_FIXED_SHIFT + idx - PMU_MAX_GP);
}

/* Bit number in cand->modes. */
static unsigned int mode_index(bool guest, bool user, bool svme)
{
	return guest | user << 1 | svme << 2;
}

/* Events. */

/* What one step can yield of an event. */
enum event_class {
	EV_NONE,		/* never anything */
	EV_CONST,		/* always the same number */
	EV_BIT,			/* 0 or 1, most often 0 */
	EV_DENSE,		/* 0 or 1, most often 1 */
	EV_MULTI,		/* any number */
};

struct event {
	enum event_class class;
	uint8_t f[3];
	uint8_t mult;
	uint32_t want;
};

static struct event event1(enum event_class class, uint8_t f, uint32_t want)
{
	return (struct event){ class, { f, F_ZERO, F_ZERO }, 1, want };
}

static struct event event_none(void)
{
	return event1(EV_NONE, F_ZERO, 0);
}

static struct event event_slots(void)
{
	struct event ev = event1(EV_CONST, F_STEPS, 0);

	ev.mult = PMU_SLOTS_PER_CYCLE;
	return ev;
}

static struct event event_mem(bool loads, bool stores, bool rmw)
{
	return (struct event){
		EV_MULTI,
		{ loads ? F_LOADS : F_ZERO, stores ? F_STORES : F_ZERO, rmw ? F_RMW : F_ZERO },
		1, PMU_WANT_MEM,
	};
}

static struct event decode_intel(const struct pmu_model *model, uint64_t sel)
{
	if ((sel & (SEL_EVENT | SEL_UMASK)) == model->event_cond)
		return event1(EV_BIT, F_COND, 0);

	switch (sel & (SEL_EVENT | SEL_UMASK)) {
	case 0x003c:		/* core cycles */
	case 0x013c:		/* reference cycles */
		return event1(EV_CONST, F_STEPS, 0);
	case 0x00c0:
		return event1(EV_DENSE, F_RETIRED, 0);
	case 0x00c4:
		return event1(EV_BIT, F_BRANCHES, 0);
	case 0x00c5:
		return event1(EV_BIT, F_BRANCH_MISSES, PMU_WANT_BRANCH_MISSES);
	case 0x4f2e:
		return event1(EV_MULTI, F_CACHE_REFS, PMU_WANT_CACHE);
	case 0x412e:
		return event1(EV_MULTI, F_CACHE_MISSES, PMU_WANT_CACHE);
	case 0x01a4:
		return event_slots();
	case 0x81d0:
		return event_mem(true, false, false);
	case 0x82d0:
		return event_mem(false, true, false);
	case 0x83d0:
		return event_mem(true, true, false);
	default:
		return event_none();
	}
}

static struct event decode_amd(uint64_t sel)
{
	unsigned int event = (sel & SEL_EVENT) | (sel & SEL_AMD_EVENT_HI) >> 24;
	unsigned int umask = (sel & SEL_UMASK) >> 8;

	switch (event << 8 | umask) {
	case 0x07600:		/* core cycles */
	case 0x12001:		/* reference cycles */
		return event1(EV_CONST, F_STEPS, 0);
	case 0x0c000:
		return event1(EV_DENSE, F_RETIRED, 0);
	case 0x0c200:
		return event1(EV_BIT, F_BRANCHES, 0);
	case 0x0c300:
		return event1(EV_BIT, F_BRANCH_MISSES, PMU_WANT_BRANCH_MISSES);
	case 0x0c400:
		return event1(EV_BIT, F_TAKEN, 0);
	case 0x0d100:
		return event1(EV_BIT, F_COND, 0);
	case 0x060ff:
		return event1(EV_MULTI, F_CACHE_REFS, PMU_WANT_CACHE);
	case 0x06409:
		return event1(EV_MULTI, F_CACHE_MISSES, PMU_WANT_CACHE);
	default:
		break;
	}

	/* Dispatched loads, stores and load-op-stores: any mix of the three bits. */
	if (event == 0x029 && umask && umask < 8)
		return event_mem(umask & 1, umask & 2, umask & 4);

	return event_none();
}

/*
 * Apply EDGE, INV and CMASK.  The condition on one step is "events >= CMASK",
 * or "events < CMASK" with INV; without CMASK the counter takes all events and
 * INV has no meaning.  EDGE counts the steps on which the condition becomes
 * true, and without CMASK takes CMASK as 1.
 */
static void qualify(struct cand *c, const struct event *ev, uint64_t sel)
{
	unsigned int cmask = (sel & SEL_CMASK) >> 24;
	bool edge = sel & SEL_EDGE, inv = sel & SEL_INV;
	bool always;

	c->form = FORM_NONE;
	c->mult = 1;
	c->want = ev->want;
	memcpy(c->f, ev->f, sizeof(c->f));

	if (ev->class == EV_NONE)
		return;

	if (!cmask && !edge) {
		c->form = FORM_SUM;
		c->mult = ev->mult;
		c->rate = ev->class == EV_MULTI ? MAX_ACCESSES : ev->mult;
		return;
	}

	if (!cmask) {
		cmask = 1;
		inv = false;
	}

	c->rate = 1;
	if (ev->class == EV_MULTI) {
		/* How a step's events are spread is not known. */
		if (cmask == 1 && !inv) {
			c->form = FORM_SUM;
			c->rate = MAX_ACCESSES;
		}
		return;
	}

	if (ev->class != EV_CONST && cmask == 1) {
		/*
		 * Two edges have at least one step of the rarer kind between
		 * them, so the number of these stands for the edges.
		 */
		if (edge)
			inv = ev->class == EV_DENSE;
		c->form = inv ? FORM_COMPL : FORM_SUM;
		return;
	}

	/* What is left is a condition that never changes. */
	always = (ev->class == EV_CONST && ev->mult >= cmask) != inv;
	if (!always)
		return;
	c->form = edge ? FORM_ONCE : FORM_SUM;
	c->f[0] = F_STEPS;
	c->f[1] = F_ZERO;
	c->f[2] = F_ZERO;
	c->want = 0;
}

/* The modes, as in cand->modes, in which the privilege bits let it count. */
static unsigned int privilege_modes(bool os, bool usr)
{
	unsigned int modes = 0, m;

	for (m = 0; m < 8; m++)
		if (m & 2 ? usr : os)
			modes |= 1u << m;

	return modes;
}

/* With either bit set the counter runs under EFER.SVME only. */
static unsigned int hg_modes(const struct pmu *pmu, uint64_t sel)
{
	bool guest_only = sel & SEL_AMD_GUESTONLY, host_only = sel & SEL_AMD_HOSTONLY;
	unsigned int modes = 0, m;

	if (!guest_only && !host_only)
		return 0xff;

	for (m = 0; m < 8; m++)
		if (m & 4 ? (m & 1 ? guest_only : host_only) : pmu->quirks.svme.on)
			modes |= 1u << m;

	return modes;
}

/*
 * AMD's large increments: the odd counter's event is Merge, and it takes what the
 * even one before it carries.  In which modes?
 */
static unsigned int pair_modes(const struct pmu *pmu, unsigned int n)
{
	uint64_t sel;

	if (is_intel(pmu) || n & 1 || n + 1 >= pmu->model->nr_gp)
		return 0;
	sel = pmu->eventsel[n + 1];
	if ((sel & SEL_AMD_MERGE) != SEL_AMD_MERGE || !(sel & SEL_EN))
		return 0;

	if (pmu->quirks.merge.on && pmu->quirks.merge.val == PMU_MERGE_HOST)
		return 0xff;
	if (pmu->quirks.merge.on && sel & (SEL_AMD_GUESTONLY | SEL_AMD_HOSTONLY))
		return 0;
	return hg_modes(pmu, sel);
}

static bool decode_gp(const struct pmu *pmu, unsigned int n, struct cand *c)
{
	uint64_t sel = pmu->eventsel[n];
	struct event ev;

	if (!(sel & SEL_EN))
		return false;

	if (is_intel(pmu)) {
		ev = decode_intel(pmu->model, sel);
		c->modes = 0xff;
	} else {
		ev = decode_amd(sel);
		c->modes = hg_modes(pmu, sel);
	}
	c->pair = pair_modes(pmu, n);
	if (c->pair && pmu->quirks.merge.on && pmu->quirks.merge.val == PMU_MERGE_HOST)
		c->modes |= c->pair;
	c->modes &= privilege_modes(sel & SEL_OS, sel & SEL_USR);
	c->pmi = sel & SEL_INT;
	qualify(c, &ev, sel);
	return true;
}

static bool decode_fixed(const struct pmu *pmu, unsigned int n, struct cand *c)
{
	/* The last three, of topdown metrics: bad speculation, front end, retiring. */
	static const uint8_t fields[PMU_MAX_FIXED] = {
		F_RETIRED, F_STEPS, F_STEPS, F_STEPS, F_ZERO, F_ZERO, F_RETIRED
	};
	uint64_t ctrl = pmu->fixed_ctrl >> (n * FIXED_BITS);

	c->form = FORM_SUM;
	c->f[0] = fields[n];
	c->f[1] = F_ZERO;
	c->f[2] = F_ZERO;
	c->mult = n == FIXED_SLOTS ? PMU_SLOTS_PER_CYCLE : 1;
	c->rate = c->mult;
	c->want = 0;
	c->pair = 0;
	c->modes = privilege_modes(ctrl & FIXED_OS, ctrl & FIXED_USR);
	c->pmi = ctrl & FIXED_PMI;
	return true;
}

/* The step of the next one of the quirk "smi": at multiples of its period. */
static uint64_t smi_after(struct pmu *pmu)
{
	uint64_t period = pmu->quirks.smi.val;

	if (!pmu->quirks.smi.on || !period || !priv_of(pmu)->nr_cand)
		return UINT64_MAX;
	return (pmu->synced.steps / period + 1) * period;
}

/* Set the deadline from the counters' values, and tell the glue what changed. */
static void rearm(struct pmu *pmu, uint32_t want)
{
	struct priv *p = priv_of(pmu);
	uint64_t deadline = UINT64_MAX;
	unsigned int i;

	for (i = 0; i < p->nr_active; i++) {
		const struct cand *c = &p->cand[p->active[i]];
		uint64_t left, due;

		if (!c->pmi || (c->form == FORM_ONCE && p->level & 1u << c->idx))
			continue;
		left = WIDTH_MASK + 1 - *counter(pmu, c->idx);
		due = pmu->synced.steps + (c->rate == 1 ? left : (left + c->rate - 1) / c->rate);
		if (due < deadline)
			deadline = due;
	}

	for (i = 0; i < NR_PENDING; i++)
		if (p->pending & 1u << i && p->pending_due[i] < deadline)
			deadline = p->pending_due[i];
	if (p->drifting && p->drift_due < deadline)
		deadline = p->drift_due;
	if (smi_after(pmu) < deadline)
		deadline = smi_after(pmu);

	if (deadline == pmu->deadline && want == pmu->want)
		return;

	pmu->deadline = deadline;
	pmu->want = want;
	if (pmu->ops && pmu->ops->rearm)
		pmu->ops->rearm(pmu->opaque);
}

/* The mode, or what can count, has changed: find what counts now. */
static void activate(struct pmu *pmu)
{
	unsigned int mode = mode_index(pmu->guest, pmu->user, pmu->svme);
	struct priv *p = priv_of(pmu);
	uint32_t want = 0, idxs = 0;
	unsigned int i;

	p->nr_active = 0;
	p->metrics = false;

	for (i = 0; i < p->nr_cand; i++) {
		const struct cand *c = &p->cand[i];

		if (!(c->modes & 1u << mode))
			continue;
		p->active[p->nr_active++] = i;
		want |= c->want | PMU_WANT_ANY;
		idxs |= 1u << c->idx;
		if (c->idx == PMU_MAX_GP + FIXED_SLOTS)
			p->metrics = pmu->global_ctrl & metrics_mask(pmu);
	}

	if (pmu->quirks.metrics_alone.on && pmu->global_ctrl & metrics_mask(pmu)) {
		p->metrics = true;
		want |= PMU_WANT_ANY;
	}

	/* A condition that is not being looked at is false. */
	p->level &= idxs;

	if (!pmu->quirks.stray.on || !pmu->guest || !p->nr_active) {
		p->pending &= ~(1u << PENDING_STRAY);
	} else if (!(p->pending & 1u << PENDING_STRAY)) {
		p->pending |= 1u << PENDING_STRAY;
		p->pending_due[PENDING_STRAY] = pmu->synced.steps + pmu->quirks.stray.val;
	}

	rearm(pmu, want);
}

/* A register has changed: find what can count in any mode. */
static void rebuild(struct pmu *pmu)
{
	struct priv *p = priv_of(pmu);
	unsigned int idx;

	p->nr_cand = 0;
	for (idx = 0; idx < NR_COUNTERS; idx++) {
		struct cand *c = &p->cand[p->nr_cand];
		bool enabled;

		if (has_global(pmu) && (!(pmu->global_ctrl & global_bit(idx)) ||
					pmu->global_status & STATUS_CTR_FRZ))
			continue;

		if (idx < PMU_MAX_GP)
			enabled = idx < pmu->model->nr_gp && decode_gp(pmu, idx, c);
		else
			enabled = has_fixed(pmu, idx - PMU_MAX_GP) &&
				  decode_fixed(pmu, idx - PMU_MAX_GP, c);
		if (!enabled || !c->modes || c->form == FORM_NONE)
			continue;

		c->idx = idx;
		p->nr_cand++;
	}

	activate(pmu);
}

/* Counting. */

/* Add @n to the counter.  True if it overflowed and wants a PMI. */
static bool advance(struct pmu *pmu, const struct cand *c, uint64_t n)
{
	uint64_t *ctr = counter(pmu, c->idx);

	n += *ctr;
	*ctr = n & WIDTH_MASK;
	if (n <= WIDTH_MASK)
		return false;

	if (c->pair & 1u << mode_index(pmu->guest, pmu->user, pmu->svme)) {
		uint64_t *upper = &pmu->gp[c->idx + 1], sum = (*upper & MERGE_MASK) + (n >> PMU_WIDTH);

		*upper = (*upper & ~MERGE_MASK) | (sum & MERGE_MASK);
		if (sum <= MERGE_MASK)
			return false;
	}

	if (has_global(pmu))
		pmu->global_status |= global_bit(c->idx) | status_strange(pmu);
	return c->pmi;
}

static bool counts_cache(const struct cand *c)
{
	return c->form == FORM_SUM && (c->f[0] == F_CACHE_REFS || c->f[0] == F_CACHE_MISSES);
}

/*
 * Add the growth to the active counters.  True if one of them overflowed that
 * wants a PMI.
 */
static bool account(struct pmu *pmu, const uint64_t *d)
{
	struct priv *p = priv_of(pmu);
	bool pmi = false;
	unsigned int i;

	for (i = 0; i < p->nr_active; i++) {
		const struct cand *c = &p->cand[p->active[i]];
		uint64_t n = 0;

		switch (c->form) {
		case FORM_SUM:
			n = c->mult * (d[c->f[0]] + d[c->f[1]] + d[c->f[2]]);
			break;
		case FORM_COMPL:
			n = d[F_STEPS] - d[c->f[0]];
			break;
		case FORM_ONCE:
			if (d[F_STEPS] && !(p->level & 1u << c->idx)) {
				p->level |= 1u << c->idx;
				n = 1;
			}
			break;
		}

		if (pmu->quirks.drift.on && pmu->guest && counts_cache(c))
			p->grown[c->idx] += n;
		pmi |= advance(pmu, c, n);
	}

	if (p->metrics) {
		p->metrics_slots += PMU_SLOTS_PER_CYCLE * d[F_STEPS];
		p->metrics_retiring += d[F_RETIRED];
	}

	return pmi;
}

/* A PMI is wanted in the current mode: now, or when the quirks say. */
static void pend(struct pmu *pmu)
{
	enum pending which = pmu->guest ? PENDING_GUEST : PENDING_HOST;
	const struct pmu_quirks *q = &pmu->quirks;
	struct priv *p = priv_of(pmu);
	uint64_t wait = q->skid.val;

	/* One of the same world that is on its way takes this one along. */
	if (p->pending & 1u << which)
		return;

	if (which == PENDING_GUEST) {
		p->held = q->late.on;
		if (p->held)
			wait = q->late.val > PMU_LATE_BOUND ? q->late.val : PMU_LATE_BOUND;
	}
	p->pending |= 1u << which;
	p->pending_due[which] = pmu->synced.steps + wait;
}

/* Does it go to the guest itself?  The host's goes to LVTPC, whoever runs. */
static bool is_virtual(struct pmu *pmu, enum pending which)
{
	switch (which) {
	case PENDING_GUEST:
		return pmu->vpmc;
	case PENDING_EMPTY:
		return priv_of(pmu)->empty_virtual;
	default:
		return false;
	}
}

static void deliver_one(struct pmu *pmu, enum pending which)
{
	struct priv *p = priv_of(pmu);

	if (!(p->pending & 1u << which) || pmu->synced.steps < p->pending_due[which])
		return;

	p->pending &= ~(1u << which);
	if (which == PENDING_STRAY) {
		p->pending |= 1u << which;
		p->pending_due[which] = pmu->synced.steps + pmu->quirks.stray.val;
	} else if (which != PENDING_EMPTY) {
		bool freeze = pmu->debugctl & DEBUGCTL_FREEZE_PMC ||
			      (pmu->quirks.freeze.on && which == PENDING_GUEST);

		if (has_global(pmu) && freeze && !(pmu->global_status & STATUS_CTR_FRZ)) {
			pmu->global_status |= STATUS_CTR_FRZ;
			rebuild(pmu);
		}
		if (pmu->quirks.empty_pmi.on) {
			p->pending |= 1u << PENDING_EMPTY;
			p->empty_virtual = is_virtual(pmu, which);
			p->pending_due[PENDING_EMPTY] = pmu->synced.steps + pmu->quirks.empty_pmi.val;
		}
	}
	if (is_virtual(pmu, which)) {
		if (pmu->ops && pmu->ops->virtual_pmi)
			pmu->ops->virtual_pmi(pmu->opaque);
	} else if (pmu->ops && pmu->ops->pmi) {
		pmu->ops->pmi(pmu->opaque);
	}
}

static void deliver(struct pmu *pmu)
{
	deliver_one(pmu, PENDING_HOST);
	deliver_one(pmu, PENDING_GUEST);
	deliver_one(pmu, PENDING_EMPTY);
	deliver_one(pmu, PENDING_STRAY);
}

/* Quirk "drift": guest mode is left, and the last increments are not there yet. */
static void drift_off(struct pmu *pmu)
{
	struct priv *p = priv_of(pmu);
	unsigned int i;

	for (i = 0; i < p->nr_active; i++) {
		const struct cand *c = &p->cand[p->active[i]];
		uint64_t n = PMU_DRIFT_MAX, *ctr = counter(pmu, c->idx);

		if (!counts_cache(c))
			continue;
		if (n > p->grown[c->idx])
			n = p->grown[c->idx];
		/* What has wrapped has: its status is set. */
		if (n > *ctr)
			n = *ctr;
		if (!n)
			continue;
		*ctr -= n;
		p->drift[c->idx] = n;
		p->drift_sel[c->idx] = pmu->eventsel[c->idx];
		p->drifting |= 1u << c->idx;
	}
	memset(p->grown, 0, sizeof(p->grown));
	p->drift_due = pmu->synced.steps + pmu->quirks.drift.val;
}

/*
 * ... and now they are.  They do not ask whether the counter is on or what was
 * written to it in the meantime, but another event does not get them.
 */
static bool drift_in(struct pmu *pmu)
{
	struct priv *p = priv_of(pmu);
	bool pmi = false;
	unsigned int i;

	for (i = 0; i < PMU_MAX_GP; i++) {
		struct cand c = { .idx = i, .pmi = pmu->eventsel[i] & SEL_INT };

		if (p->drifting & 1u << i && pmu->eventsel[i] == p->drift_sel[i])
			pmi |= advance(pmu, &c, p->drift[i]);
	}
	p->drifting = 0;

	return pmi;
}

/*
 * Quirk "guest-only": guest mode is entered, and counters of instructions that
 * count there only have seen the host's last ones.
 */
static bool count_before_entry(struct pmu *pmu)
{
	unsigned int host = mode_index(false, false, true), guest = mode_index(true, false, true);
	struct priv *p = priv_of(pmu);
	uint64_t n = pmu->synced.retired - p->exit_retired;
	bool pmi = false;
	unsigned int i;

	if (n > pmu->quirks.guest_only.val)
		n = pmu->quirks.guest_only.val;

	for (i = 0; i < p->nr_cand; i++) {
		const struct cand *c = &p->cand[i];

		if (c->form == FORM_SUM && c->f[0] == F_RETIRED &&
		    c->modes & 1u << guest && !(c->modes & 1u << host))
			pmi |= advance(pmu, c, n);
	}

	return pmi;
}

/*
 * Counts that hardware should not have, of all counters that count in @mode.  True if
 * one of them overflowed that wants a PMI.
 */
static bool miscount(struct pmu *pmu, unsigned int mode, uint64_t steps, uint64_t retired,
		     uint64_t branches)
{
	const uint64_t d[F_NR] = { [F_STEPS] = steps, [F_RETIRED] = retired, [F_BRANCHES] = branches };
	struct priv *p = priv_of(pmu);
	bool pmi = false;
	unsigned int i;

	for (i = 0; i < p->nr_cand; i++) {
		const struct cand *c = &p->cand[i];

		if (c->modes & 1u << mode && c->form == FORM_SUM)
			pmi |= advance(pmu, c, c->mult * (d[c->f[0]] + d[c->f[1]] + d[c->f[2]]));
	}

	return pmi;
}

/* And what follows from it, between two syncs. */
static void miscount_now(struct pmu *pmu, uint64_t steps, uint64_t retired, uint64_t branches)
{
	uint64_t status = pmu->global_status;

	if (miscount(pmu, mode_index(pmu->guest, pmu->user, pmu->svme), steps, retired, branches))
		pend(pmu);
	if (pmu->global_status & ~status & STATUS_CTR_FRZ)
		rebuild(pmu);
	deliver(pmu);
	rearm(pmu, pmu->want);
}

/* Quirks "vmentry" and "switch-cycles": the guest is entered, or about to be left. */
static void count_switch(struct pmu *pmu, bool entered)
{
	const struct pmu_quirk_val *vmentry = &pmu->quirks.vmentry;
	bool insn = vmentry->on && vmentry->val != (entered ? PMU_VMENTRY_EXIT : PMU_VMENTRY_ENTRY);
	bool branch = vmentry->on && vmentry->val == PMU_VMENTRY_BRANCH;
	uint64_t cycles = pmu->quirks.switch_cycles.on ? pmu->quirks.switch_cycles.val : 0;

	if (insn || cycles)
		miscount_now(pmu, cycles, insn, branch);
}

/* Quirk "smi": code of system management, in the world that it has interrupted. */
static bool count_smis(struct pmu *pmu, uint64_t nr)
{
	if (is_intel(pmu) && pmu->debugctl & DEBUGCTL_FREEZE_SMM)
		return false;
	return miscount(pmu, mode_index(pmu->guest, false, pmu->svme), nr * PMU_SMI_STEPS,
			nr * PMU_SMI_STEPS, nr * PMU_SMI_BRANCHES);
}

/* Quirk "change", at a VM-exit: from time to time others are in force. */
static void change_quirks(struct pmu *pmu)
{
	struct priv *p = priv_of(pmu);

	if (!p->change) {
		p->base = pmu->quirks;
		p->change = pmu->quirks.change.val + 1;
		p->change_in = 1;
	}
	if (--p->change_in)
		return;
	pmu_quirks_change(&pmu->quirks, &p->base, &p->change);
	p->change_in = 1 + p->change % 64;
}

/* The growth since the last sync, into the oracle and @d. */
static void take(struct pmu *pmu, uint64_t *d)
{
	struct pmu_feed *at = &pmu->oracle.at[pmu->guest][pmu->user];
	struct priv *p = priv_of(pmu);

	d[F_STEPS] = pmu->feed.steps - pmu->synced.steps;
	d[F_RETIRED] = pmu->feed.retired - pmu->synced.retired;
	d[F_BRANCHES] = pmu->feed.branches - pmu->synced.branches;
	d[F_COND] = pmu->feed.branches_cond - pmu->synced.branches_cond;
	d[F_TAKEN] = pmu->feed.branches_taken - pmu->synced.branches_taken;
	d[F_BRANCH_MISSES] = pmu->feed.branch_misses - pmu->synced.branch_misses;
	d[F_CACHE_REFS] = pmu->feed.cache_refs - pmu->synced.cache_refs;
	d[F_CACHE_MISSES] = pmu->feed.cache_misses - pmu->synced.cache_misses;
	d[F_LOADS] = pmu->feed.loads - pmu->synced.loads;
	d[F_STORES] = pmu->feed.stores - pmu->synced.stores;
	d[F_RMW] = pmu->rmw - p->rmw_synced;
	d[F_ZERO] = 0;

	at->steps += d[F_STEPS];
	at->retired += d[F_RETIRED];
	at->branches += d[F_BRANCHES];
	at->branches_cond += d[F_COND];
	at->branches_taken += d[F_TAKEN];
	at->branch_misses += d[F_BRANCH_MISSES];
	at->cache_refs += d[F_CACHE_REFS];
	at->cache_misses += d[F_CACHE_MISSES];
	at->loads += d[F_LOADS];
	at->stores += d[F_STORES];

	if (pmu->hwcr & HWCR_IRPERF_EN)
		pmu->irperf = (pmu->irperf + d[F_RETIRED]) & WIDTH_MASK;

	pmu->synced = pmu->feed;
	p->rmw_synced = pmu->rmw;
}

void pmu_sync(struct pmu *pmu)
{
	struct priv *p = priv_of(pmu);
	uint64_t d[F_NR], status = pmu->global_status, smis = 0, lost = p->lost;
	bool pmi;

	if (pmu->feed.steps >= smi_after(pmu))
		smis = pmu->feed.steps / pmu->quirks.smi.val - pmu->synced.steps / pmu->quirks.smi.val;
	take(pmu, d);
	p->lost = 0;
	if (!p->nr_active && !p->metrics && !p->pending && !p->drifting && !smis)
		return;

	if (lost > d[F_RETIRED]) {
		p->lost = lost - d[F_RETIRED];
		lost = d[F_RETIRED];
	}
	d[F_RETIRED] -= lost;
	pmi = account(pmu, d);
	if (smis)
		pmi |= count_smis(pmu, smis);
	if (p->drifting && pmu->synced.steps >= p->drift_due)
		pmi |= drift_in(pmu);
	/* Only by the quirk "status-intel". */
	if (pmu->global_status & ~status & STATUS_CTR_FRZ)
		rebuild(pmu);
	if (pmi)
		pend(pmu);
	deliver(pmu);
	rearm(pmu, pmu->want);
}

void pmu_set_mode(struct pmu *pmu, bool guest, bool user, bool svme)
{
	struct priv *p = priv_of(pmu);
	bool left, entered, pmi = false;

	pmu_sync(pmu);

	if (is_intel(pmu))
		svme = false;
	if (guest == pmu->guest && user == pmu->user && svme == pmu->svme)
		return;

	left = pmu->guest && !guest;
	entered = guest && !pmu->guest;
	if (left) {
		if (p->drifting && drift_in(pmu))
			pend(pmu);
		if (pmu->quirks.drift.on)
			drift_off(pmu);
		if (p->held && p->pending & 1u << PENDING_GUEST) {
			p->held = false;
			p->pending_due[PENDING_GUEST] = pmu->synced.steps + pmu->quirks.late.val;
		}
		p->exit_retired = pmu->synced.retired;
		if (pmu->quirks.change.on)
			change_quirks(pmu);
	} else if (entered && pmu->quirks.guest_only.on) {
		pmi = count_before_entry(pmu);
	}

	pmu->guest = guest;
	pmu->user = user;
	pmu->svme = svme;
	if (pmi)
		pend(pmu);

	/* Nothing counts in any mode: nothing to find, and nothing is active. */
	if (!p->nr_cand && !p->metrics && !p->pending && !p->drifting)
		return;

	/* First, as the deadline depends on what is still to be delivered. */
	deliver(pmu);
	activate(pmu);
	if (entered)
		count_switch(pmu, true);
}

void pmu_vmexit(struct pmu *pmu)
{
	pmu_sync(pmu);
	if (pmu->guest)
		count_switch(pmu, false);
}

void pmu_fault(struct pmu *pmu, enum pmu_fault what)
{
	const struct pmu_quirk_val *q = &pmu->quirks.faults;

	if (!q->on)
		return;

	if (what == PMU_FAULT_IRET) {
		priv_of(pmu)->lost += q->val == PMU_FAULTS_IRET || q->val == PMU_FAULTS_BOTH;
	} else if (what == PMU_FAULT_NESTED ? q->val != PMU_FAULTS_IRET :
					      q->val == PMU_FAULTS_ALL || q->val == PMU_FAULTS_BOTH) {
		pmu_sync(pmu);
		miscount_now(pmu, 0, 1, 0);
	}
}

static void metrics_restart(struct pmu *pmu, uint64_t val, uint64_t base);

/* Quirk "halt-loses": what does not count in the host is not there after a deep sleep. */
static void lose_values(struct pmu *pmu)
{
	const unsigned int host = 0x55;		/* of cand->modes */
	struct priv *p = priv_of(pmu);
	uint32_t keep = 0;
	unsigned int i;

	for (i = 0; i < p->nr_cand; i++)
		if (p->cand[i].modes & host)
			keep |= 1u << p->cand[i].idx;
	for (i = 0; i < NR_COUNTERS; i++)
		if (!(keep & 1u << i))
			*counter(pmu, i) = 0;
	memset(p->grown, 0, sizeof(p->grown));
	if (!(keep & 1u << (PMU_MAX_GP + FIXED_SLOTS)))
		metrics_restart(pmu, 0, 0);
	rearm(pmu, pmu->want);
}

void pmu_halted(struct pmu *pmu)
{
	struct priv *p = priv_of(pmu);
	unsigned int i;

	pmu_sync(pmu);
	if (pmu->quirks.halt.on && !pmu->guest)
		lose_values(pmu);
	if (!p->pending)
		return;

	for (i = 0; i < PENDING_STRAY; i++)
		p->pending_due[i] = pmu->synced.steps;
	deliver(pmu);
	rearm(pmu, pmu->want);
}

/* PERF_METRICS. */

/*
 * Four fractions of 255: retiring, bad speculation, front end, back end.  What
 * software wrote stands for the slots that FIXED_CTR3 held then; since then one
 * slot retires per retired instruction, and the others are the back end's.
 */
static uint64_t metrics_value(struct pmu *pmu)
{
	struct priv *p = priv_of(pmu);
	uint64_t slots = p->metrics_base + p->metrics_slots;
	uint64_t val = 0, rest = 255;
	unsigned int i;

	if (!p->metrics_slots)
		return pmu->metrics;

	for (i = 0; i < 3; i++) {
		uint64_t base = pmu->metrics >> (8 * i) & 0xff, part;
		unsigned __int128 sum = (unsigned __int128)base * p->metrics_base;

		if (i == 0)
			sum += (unsigned __int128)255 * (p->metrics_retiring + p->metrics_residue);
		part = sum / slots;
		/* Software may have written fractions of more than the whole. */
		if (part > rest)
			part = rest;
		rest -= part;
		val |= part << (8 * i);
	}

	val |= rest << 24;
	/* The second level: half of each of the first. */
	if (pmu->quirks.metrics_8.on)
		val |= (val >> 1 & 0x7f7f7f7f) << 32;
	return val;
}

/* Quirk "metrics-round": each fraction that is not 0 comes out one less. */
static uint64_t metrics_round(const struct pmu *pmu, uint64_t val)
{
	unsigned int i;

	if (!pmu->quirks.metrics_round.on)
		return val;

	for (i = 0; i < 8; i++)
		if (val >> (8 * i) & 0xff)
			val -= BIT(8 * i);

	return val;
}

static void metrics_restart(struct pmu *pmu, uint64_t val, uint64_t base)
{
	struct priv *p = priv_of(pmu);

	/* What one part of 255 does not show: the fraction of the retiring slots. */
	if (pmu->quirks.metrics_residue.on) {
		uint64_t slots = p->metrics_base + p->metrics_slots;
		uint64_t part = (pmu->metrics & 0xff) * (unsigned __int128)p->metrics_base / 255 +
				p->metrics_retiring + p->metrics_residue;

		p->metrics_residue = slots / 255 ? part % (slots / 255) : part;
	}

	pmu->metrics = val;
	p->metrics_base = base;
	p->metrics_slots = 0;
	p->metrics_retiring = 0;
}

/* Registers. */

enum reg {
	REG_UNKNOWN,		/* not the PMU's */
	REG_ABSENT,		/* the PMU's, but this model has it not */
	REG_SEL,
	REG_PMC,		/* Intel: writes take 32 bits */
	REG_A_PMC,
	REG_CTR,		/* AMD */
	REG_FIXED,
	REG_FIXED_CTRL,
	REG_STATUS,
	REG_CTRL,
	REG_STATUS_RESET,
	REG_STATUS_SET,
	REG_INUSE,
	REG_METRICS,
	REG_CAPABILITIES,
	REG_DEBUGCTL,
	REG_HWCR,
	REG_IRPERF,
	REG_UNCORE_CTL,		/* n: L3 first, then DF */
	REG_UNCORE_CTR,
};

static bool in_range(uint32_t msr, uint32_t first, uint32_t nr, unsigned int *n)
{
	*n = msr - first;
	return msr >= first && msr - first < nr;
}

static enum reg find_intel(const struct pmu *pmu, uint32_t msr, unsigned int *n)
{
	if (in_range(msr, MSR_PMC0, pmu->model->nr_gp, n))
		return REG_PMC;
	if (in_range(msr, MSR_A_PMC0, pmu->model->nr_gp, n))
		return REG_A_PMC;
	if (in_range(msr, MSR_PERFEVTSEL0, pmu->model->nr_gp, n))
		return REG_SEL;
	if (in_range(msr, MSR_FIXED_CTR0, PMU_MAX_FIXED, n) && has_fixed(pmu, *n))
		return REG_FIXED;
	if (in_range(msr, MSR_FIXED_CTR0, PMU_USUAL_FIXED, n))
		return REG_ABSENT;

	switch (msr) {
	case MSR_DEBUGCTL:
		return REG_DEBUGCTL;
	case MSR_PERF_METRICS:
		return pmu->model->perf_metrics ? REG_METRICS : REG_ABSENT;
	case MSR_PERF_CAPABILITIES:
		return REG_CAPABILITIES;
	case MSR_FIXED_CTR_CTRL:
		return REG_FIXED_CTRL;
	case MSR_GLOBAL_STATUS:
		return REG_STATUS;
	case MSR_GLOBAL_CTRL:
		return REG_CTRL;
	case MSR_GLOBAL_STATUS_RESET:
		return REG_STATUS_RESET;
	case MSR_GLOBAL_STATUS_SET:
		return REG_STATUS_SET;
	case MSR_GLOBAL_INUSE:
		return REG_INUSE;
	case MSR_PEBS_ENABLE:
	case MSR_PEBS_DATA_CFG:
		return REG_ABSENT;
	default:
		return REG_UNKNOWN;
	}
}

static enum reg find_amd(const struct pmu *pmu, uint32_t msr, unsigned int *n)
{
	if (in_range(msr, MSR_AMD_PERF_CTL0, 2 * pmu->model->nr_gp, n)) {
		bool is_ctr = *n & 1;

		*n /= 2;
		return is_ctr ? REG_CTR : REG_SEL;
	}
	if (in_range(msr, MSR_AMD_DF_CTL0, 2 * PMU_NR_DF, n) && has_uncore(pmu)) {
		bool is_ctr = *n & 1;

		*n = PMU_NR_L3 + *n / 2;
		return is_ctr ? REG_UNCORE_CTR : REG_UNCORE_CTL;
	}
	if (in_range(msr, MSR_AMD_L3_CTL0, 2 * PMU_NR_L3, n) && has_uncore(pmu)) {
		bool is_ctr = *n & 1;

		*n /= 2;
		return is_ctr ? REG_UNCORE_CTR : REG_UNCORE_CTL;
	}
	if (in_range(msr, MSR_K7_EVNTSEL0, NR_K7, n))
		return REG_SEL;
	if (in_range(msr, MSR_K7_PERFCTR0, NR_K7, n))
		return REG_CTR;

	switch (msr) {
	case MSR_DEBUGCTL:
		return REG_DEBUGCTL;
	case MSR_AMD_GLOBAL_STATUS:
		return has_global(pmu) ? REG_STATUS : REG_ABSENT;
	case MSR_AMD_GLOBAL_CTL:
		return has_global(pmu) ? REG_CTRL : REG_ABSENT;
	case MSR_AMD_STATUS_CLR:
		return has_global(pmu) ? REG_STATUS_RESET : REG_ABSENT;
	case MSR_AMD_STATUS_SET:
		return has_global(pmu) ? REG_STATUS_SET : REG_ABSENT;
	case MSR_AMD_HWCR:
		return pmu->model->irperf ? REG_HWCR : REG_UNKNOWN;
	case MSR_AMD_IRPERF:
		return pmu->model->irperf ? REG_IRPERF : REG_UNKNOWN;
	default:
		return REG_UNKNOWN;
	}
}

static enum reg find(const struct pmu *pmu, uint32_t msr, unsigned int *n)
{
	return is_intel(pmu) ? find_intel(pmu, msr, n) : find_amd(pmu, msr, n);
}

/*
 * The bits a write of that register may have set.  AMD's PMU faults on no
 * value: it drops reserved bits and writes to read-only registers.
 */
static bool write_ok(const struct pmu *pmu, enum reg reg, uint64_t val)
{
	switch (reg) {
	case REG_DEBUGCTL:
		return !(val & ~debugctl_valid(pmu));
	case REG_UNKNOWN:
	case REG_ABSENT:
		return false;
	default:
		break;
	}

	if (!is_intel(pmu))
		return true;

	switch (reg) {
	case REG_SEL:
		return !(val & ~SEL_INTEL_VALID);
	case REG_PMC:
		return true;
	case REG_A_PMC:
	case REG_FIXED:
		return !(val & ~WIDTH_MASK);
	case REG_FIXED_CTRL:
		return !(val & ~fixed_ctrl_valid(pmu));
	case REG_CTRL:
		return !(val & ~global_valid(pmu));
	case REG_STATUS_RESET:
		return !(val & ~status_reset_valid(pmu));
	case REG_STATUS_SET:
		return !(val & ~status_set_valid(pmu));
	case REG_METRICS:
		return !(val >> 32) || pmu->quirks.metrics_8.on;
	default:
		/* Read-only. */
		return false;
	}
}

/* False for what is no register of this model, too. */
bool pmu_wrmsr_valid(const struct pmu *pmu, uint32_t msr, uint64_t val)
{
	unsigned int n;

	return write_ok(pmu, find(pmu, msr, &n), val);
}

static uint64_t inuse(const struct pmu *pmu)
{
	uint64_t val = 0;
	unsigned int i;

	for (i = 0; i < pmu->model->nr_gp; i++) {
		if (pmu->eventsel[i] & SEL_EVENT)
			val |= BIT(i);
		if (pmu->eventsel[i] & SEL_INT)
			val |= INUSE_PMI;
	}
	for (i = 0; i < PMU_MAX_FIXED; i++) {
		uint64_t ctrl = pmu->fixed_ctrl >> (i * FIXED_BITS);

		if (ctrl & (FIXED_OS | FIXED_USR))
			val |= BIT(GLOBAL_FIXED_SHIFT + i);
		if (ctrl & FIXED_PMI)
			val |= INUSE_PMI;
	}

	return val;
}

/*
 * Counters of the data fabric and of the L3 cache count steps while enabled.  What
 * is kept of one that counts is its value less the steps so far.
 */
static uint64_t uncore_steps(const struct pmu *pmu, unsigned int n)
{
	return pmu->uncore_ctl[n] & SEL_EN ? pmu->synced.steps : 0;
}

static uint64_t uncore_value(const struct pmu *pmu, unsigned int n)
{
	return (pmu->uncore_ctr[n] + uncore_steps(pmu, n)) & WIDTH_MASK;
}

static void uncore_set(struct pmu *pmu, unsigned int n, uint64_t ctl, uint64_t val)
{
	pmu->uncore_ctl[n] = ctl;
	pmu->uncore_ctr[n] = val - uncore_steps(pmu, n);
}

enum pmu_result pmu_rdmsr(struct pmu *pmu, uint32_t msr, uint64_t *val)
{
	unsigned int n;
	enum reg reg = find(pmu, msr, &n);

	pmu_sync(pmu);

	switch (reg) {
	case REG_UNKNOWN:
		return PMU_UNKNOWN;
	case REG_ABSENT:
		return PMU_GP;
	case REG_SEL:
		*val = pmu->eventsel[n];
		break;
	case REG_PMC:
	case REG_A_PMC:
	case REG_CTR:
		*val = pmu->gp[n];
		break;
	case REG_FIXED:
		*val = pmu->fixed[n];
		break;
	case REG_FIXED_CTRL:
		*val = pmu->fixed_ctrl;
		break;
	case REG_STATUS:
		*val = pmu->global_status;
		break;
	case REG_CTRL:
		*val = pmu->global_ctrl;
		break;
	case REG_STATUS_RESET:
	case REG_STATUS_SET:
		*val = 0;
		break;
	case REG_INUSE:
		*val = inuse(pmu);
		break;
	case REG_METRICS:
		*val = metrics_round(pmu, metrics_value(pmu));
		break;
	case REG_CAPABILITIES:
		*val = PERF_CAP_FW_WRITES | (pmu->model->perf_metrics ? PERF_CAP_METRICS : 0);
		break;
	case REG_DEBUGCTL:
		*val = pmu->debugctl;
		break;
	case REG_HWCR:
		*val = pmu->hwcr;
		break;
	case REG_IRPERF:
		*val = pmu->irperf;
		break;
	case REG_UNCORE_CTL:
		*val = pmu->uncore_ctl[n];
		break;
	case REG_UNCORE_CTR:
		*val = uncore_value(pmu, n);
		break;
	}

	return PMU_OK;
}

enum pmu_result pmu_wrmsr(struct pmu *pmu, uint32_t msr, uint64_t val)
{
	unsigned int n;
	enum reg reg = find(pmu, msr, &n);
	uint64_t set;

	pmu_sync(pmu);

	if (reg == REG_UNKNOWN)
		return PMU_UNKNOWN;
	if (!write_ok(pmu, reg, val))
		return PMU_GP;

	switch (reg) {
	case REG_SEL:
		pmu->eventsel[n] = is_intel(pmu) ? val : val & SEL_AMD_VALID;
		break;
	case REG_PMC:
		pmu->gp[n] = (uint64_t)(int64_t)(int32_t)(uint32_t)val & WIDTH_MASK;
		priv_of(pmu)->grown[n] = 0;
		break;
	case REG_A_PMC:
	case REG_CTR:
		pmu->gp[n] = val & WIDTH_MASK;
		priv_of(pmu)->grown[n] = 0;
		break;
	case REG_FIXED:
		pmu->fixed[n] = val;
		if (n == FIXED_SLOTS)
			metrics_restart(pmu, 0, 0);
		break;
	case REG_FIXED_CTRL:
		pmu->fixed_ctrl = val;
		break;
	case REG_CTRL:
		pmu->global_ctrl = val & global_valid(pmu);
		break;
	case REG_STATUS_RESET:
		pmu->global_status &= ~val;
		break;
	case REG_STATUS_SET:
		set = val & status_set_valid(pmu) & ~pmu->global_status;
		pmu->global_status |= set;
		if (pmu->quirks.status_set.on && set & overflow_mask(pmu)) {
			pend(pmu);
			deliver(pmu);
		}
		break;
	case REG_METRICS:
		metrics_restart(pmu, metrics_round(pmu, val), pmu->fixed[FIXED_SLOTS]);
		break;
	case REG_DEBUGCTL:
		pmu->debugctl = val;
		break;
	case REG_HWCR:
		pmu->hwcr = val;
		break;
	case REG_IRPERF:
		if (!(pmu->hwcr & HWCR_IRPERF_LOCK))
			pmu->irperf = val & WIDTH_MASK;
		break;
	case REG_UNCORE_CTL:
		uncore_set(pmu, n, val, uncore_value(pmu, n));
		break;
	case REG_UNCORE_CTR:
		uncore_set(pmu, n, pmu->uncore_ctl[n], val & WIDTH_MASK);
		break;
	default:
		/* AMD's GLOBAL_STATUS: dropped. */
		break;
	}

	rebuild(pmu);
	return PMU_OK;
}

enum pmu_result pmu_rdpmc(struct pmu *pmu, uint32_t ecx, uint64_t *val)
{
	pmu_sync(pmu);

	if (ecx < pmu->model->nr_gp) {
		*val = pmu->gp[ecx];
		return PMU_OK;
	}
	if (!is_intel(pmu)) {
		unsigned int n;

		if (!has_uncore(pmu) || ecx > RDPMC_AMD_LAST)
			return PMU_GP;
		if (ecx >= RDPMC_AMD_DF4)
			n = PMU_NR_L3 + NR_DF_LOW + ecx - RDPMC_AMD_DF4;
		else if (ecx >= RDPMC_AMD_L3)
			n = ecx - RDPMC_AMD_L3;
		else
			n = PMU_NR_L3 + ecx - RDPMC_AMD_DF;
		*val = uncore_value(pmu, n);
		return PMU_OK;
	}

	if (ecx >= RDPMC_FIXED && ecx - RDPMC_FIXED < PMU_MAX_FIXED && has_fixed(pmu, ecx - RDPMC_FIXED)) {
		*val = pmu->fixed[ecx - RDPMC_FIXED];
		return PMU_OK;
	}
	if (ecx == RDPMC_METRICS && pmu->model->perf_metrics) {
		*val = metrics_round(pmu, metrics_value(pmu));
		return PMU_OK;
	}

	return PMU_GP;
}

/* Local APIC. */

/* The status bits of counters that want a PMI at overflow. */
static uint64_t status_pmi(const struct pmu *pmu)
{
	uint64_t mask = 0;
	unsigned int i;

	for (i = 0; i < pmu->model->nr_gp; i++)
		if (pmu->eventsel[i] & SEL_INT)
			mask |= BIT(i);
	for (i = 0; i < PMU_MAX_FIXED; i++)
		if (pmu->fixed_ctrl >> (i * FIXED_BITS) & FIXED_PMI)
			mask |= BIT(GLOBAL_FIXED_SHIFT + i);

	return pmu->global_status & mask;
}

void pmu_lvtpc_unmasked(struct pmu *pmu)
{
	if (!pmu->quirks.unmask.on)
		return;

	pmu_sync(pmu);
	if (!status_pmi(pmu))
		return;

	pend(pmu);
	deliver(pmu);
	rearm(pmu, pmu->want);
}

/* AMD's PMC virtualization. */

static void vpmc_get(const struct pmu *pmu, struct pmu_vpmc *regs)
{
	memcpy(regs->ctl, pmu->eventsel, sizeof(regs->ctl));
	memcpy(regs->ctr, pmu->gp, sizeof(regs->ctr));
	regs->irperf = pmu->irperf;
	regs->status = pmu->global_status;
	regs->global_ctl = pmu->global_ctrl;
}

static void vpmc_set(struct pmu *pmu, const struct pmu_vpmc *regs)
{
	unsigned int i;

	for (i = 0; i < pmu->model->nr_gp; i++) {
		pmu->eventsel[i] = regs->ctl[i] & SEL_AMD_VALID;
		pmu->gp[i] = regs->ctr[i] & WIDTH_MASK;
	}
	pmu->irperf = regs->irperf & WIDTH_MASK;
	pmu->global_status = regs->status & (status_set_valid(pmu) | status_strange(pmu));
	pmu->global_ctrl = regs->global_ctl & global_valid(pmu);
	memset(priv_of(pmu)->grown, 0, sizeof(priv_of(pmu)->grown));
	priv_of(pmu)->level = 0;
}

/* Of @regs, the host's at VMRUN, what the host finds after #VMEXIT. */
static void vpmc_reset_host(const struct pmu *pmu, struct pmu_vpmc *regs)
{
	if (pmu->quirks.vpmc_swap.on && pmu->quirks.vpmc_swap.val == PMU_VPMC_KEEP)
		return;

	memset(regs->ctl, 0, sizeof(regs->ctl));
	memset(regs->ctr, 0, sizeof(regs->ctr));
	regs->global_ctl = gp_mask(pmu);
}

void pmu_vpmc_enter(struct pmu *pmu, const struct pmu_vpmc *guest)
{
	struct priv *p = priv_of(pmu);
	bool pmi = false;

	pmu_sync(pmu);
	/* What is late reaches the host's counter before it is put away. */
	if (p->drifting)
		pmi = drift_in(pmu);
	if (pmi)
		pend(pmu);
	vpmc_get(pmu, &pmu->vpmc_host);
	pmu->vpmc = true;
	vpmc_set(pmu, guest);
	rebuild(pmu);
}

void pmu_vpmc_leave(struct pmu *pmu, struct pmu_vpmc *guest)
{
	struct priv *p = priv_of(pmu);
	unsigned int i;

	pmu_sync(pmu);
	for (i = 0; i < NR_PENDING; i++)
		if (is_virtual(pmu, i))
			p->pending_due[i] = pmu->synced.steps;
	deliver(pmu);
	/* The one that the quirk "empty-pmi" has added just now. */
	if (p->empty_virtual && p->pending & 1u << PENDING_EMPTY) {
		p->pending_due[PENDING_EMPTY] = pmu->synced.steps;
		deliver(pmu);
	}
	p->held = false;
	p->empty_virtual = false;

	vpmc_get(pmu, guest);
	vpmc_reset_host(pmu, &pmu->vpmc_host);
	pmu->vpmc = false;
	vpmc_set(pmu, &pmu->vpmc_host);
	rebuild(pmu);
}

void pmu_vpmc_refused(struct pmu *pmu)
{
	struct pmu_vpmc regs;

	if (!pmu->quirks.vpmc_refused.on)
		return;

	pmu_sync(pmu);
	vpmc_get(pmu, &regs);
	vpmc_reset_host(pmu, &regs);
	vpmc_set(pmu, &regs);
	rebuild(pmu);
}

/* Start and reset. */

void pmu_reset(struct pmu *pmu)
{
	struct priv *p = priv_of(pmu);
	uint64_t d[F_NR];
	unsigned int i;

	take(pmu, d);

	memset(pmu->gp, 0, sizeof(pmu->gp));
	memset(pmu->eventsel, 0, sizeof(pmu->eventsel));
	/* As firmware may leave them: who reads one that CPUID hides reads something. */
	for (i = 0; pmu->quirks.hidden.on && i < PMU_HIDDEN; i++)
		pmu->eventsel[pmu->model->nr_gp - 1 - i] = 0xc0 | SEL_USR | SEL_OS | SEL_EN;
	memset(pmu->fixed, 0, sizeof(pmu->fixed));
	pmu->fixed_ctrl = 0;
	pmu->global_ctrl = has_global(pmu) ? gp_mask(pmu) : 0;
	pmu->global_status = 0;
	pmu->debugctl = 0;
	metrics_restart(pmu, 0, 0);
	pmu->hwcr = 0;
	pmu->irperf = 0;
	pmu->vpmc = false;
	/* As firmware may leave them: all count, so that who reads one reads something. */
	for (i = 0; i < PMU_NR_L3 + PMU_NR_DF; i++) {
		pmu->uncore_ctl[i] = SEL_EN;
		pmu->uncore_ctr[i] = 0;
	}

	p->pending = 0;
	p->lost = 0;
	p->metrics_residue = 0;
	p->drifting = 0;
	memset(p->grown, 0, sizeof(p->grown));
	pmu->last_load = UINT64_MAX;
	pmu->last_line = UINT64_MAX;
	memset(p->targets, 0, sizeof(p->targets));
	memset(p->direction, 1, sizeof(p->direction));
	memset(p->cache, 0, sizeof(p->cache));

	rebuild(pmu);
}

void pmu_init(struct pmu *pmu, const struct pmu_model *model,
	      const struct pmu_ops *ops, void *opaque)
{
	memset(pmu, 0, sizeof(*pmu));
	pmu->model = model;
	pmu->ops = ops;
	pmu->opaque = opaque;
	pmu->deadline = UINT64_MAX;
	pmu_reset(pmu);
}

/* Predictor and cache. */

/*
 * The direction comes from a table of two-bit counters, the target of a branch
 * predicted taken from a tagged table of last targets.  A branch the target
 * table does not know is a direct one for all the predictor can tell, and its
 * target is then as good as known.  An indirect branch met first is a miss all
 * the same, as every counter starts at "not taken".
 */
void pmu_branch(struct pmu *pmu, uint64_t ip, uint64_t target, bool taken)
{
	struct priv *p = priv_of(pmu);
	uint8_t *dir = &p->direction[(ip ^ ip >> 10) % PREDICTOR_SIZE];
	unsigned int t = (ip ^ ip >> 6) % TARGETS_SIZE;
	bool miss = (*dir >= 2) != taken;

	if (taken) {
		if (p->targets[t].ip == ip && p->targets[t].target != target)
			miss = true;
		p->targets[t].ip = ip;
		p->targets[t].target = target;
		if (*dir < 3)
			++*dir;
	} else if (*dir) {
		--*dir;
	}

	pmu->feed.branch_misses += miss;
}

/*
 * Look the line up and bring it to the front, those before it move back by one;
 * true on a hit.  One pass, as most accesses hit one of the first.
 */
static inline bool cache_touch(struct priv *p, uint64_t line)
{
	uint64_t *set = p->cache[line % CACHE_SETS];
	uint64_t moved = ++line, next;	/* 0 is an empty way */
	unsigned int way;

	for (way = 0; way < CACHE_WAYS; way++) {
		next = set[way];
		set[way] = moved;
		if (next == line)
			return true;
		moved = next;
	}
	return false;
}

/* Look the line up and drop it; true if it was there. */
static bool cache_drop(struct priv *p, uint64_t line)
{
	uint64_t *set = p->cache[line % CACHE_SETS];
	unsigned int way;

	line++;
	for (way = 0; way < CACHE_WAYS && set[way] != line; way++)
		;
	if (way == CACHE_WAYS)
		return false;
	memmove(&set[way], &set[way + 1], (CACHE_WAYS - 1 - way) * sizeof(*set));
	set[CACHE_WAYS - 1] = 0;
	return true;
}

void pmu_cache_access(struct pmu *pmu, uint64_t paddr)
{
	uint64_t line = paddr >> PMU_LINE_SHIFT;

	pmu->feed.cache_refs++;
	pmu->feed.cache_misses += !cache_touch(priv_of(pmu), line);
	pmu->last_line = line;
}

void pmu_mem_bulk(struct pmu *pmu, uint64_t paddr, uint32_t nr, uint32_t size, bool write)
{
	uint64_t line, last = (paddr + (uint64_t)nr * size - 1) >> PMU_LINE_SHIFT;

	if (!nr)
		return;

	if (write) {
		pmu->feed.stores += nr;
		pmu->last_load = UINT64_MAX;
	} else {
		pmu->feed.loads += nr;
		pmu->last_load = paddr + (uint64_t)(nr - 1) * size;
	}

	if (!(pmu->want & PMU_WANT_CACHE))
		return;
	pmu->feed.cache_refs += nr;
	for (line = paddr >> PMU_LINE_SHIFT; line <= last; line++)
		pmu->feed.cache_misses += !cache_touch(priv_of(pmu), line);
	pmu->last_line = last;
}

void pmu_flush(struct pmu *pmu, uint64_t paddr)
{
	pmu->feed.cache_refs++;
	pmu->feed.cache_misses += !cache_drop(priv_of(pmu), paddr >> PMU_LINE_SHIFT);
	pmu->last_line = UINT64_MAX;
}
