// SPDX-License-Identifier: GPL-2.0
/*
 * Let a guest and its VMM do random things to the guest's PMU, and compare with
 * a model of it: what is read is what was written, what is denied or absent
 * faults, what cannot count does not, and no counter has a value from elsewhere.
 *
 * A seed stands for one sequence of operations, whatever the hardware makes of
 * it.  Works for a PMU emulated with perf events as well, which however is not
 * expected to count exactly.
 */
#include <getopt.h>
#include <signal.h>
#include <sys/time.h>

#include "mediated_pmu.h"

#define DEFAULT_SEED		1
#define DEFAULT_OPERATIONS	20000

#define BATCH			64
#define MAX_BATCHES_PER_VM	16
#define LOOPS_MASK		0x3f

#define MSR_AMD64_GLOBAL_STATUS_CLR	MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR
#define AMD64_EVENTSEL_MODE		GENMASK_ULL(41, 40)

/* Operations of the guest */

enum op_kind { OP_RDMSR, OP_WRMSR, OP_RDPMC, OP_MEASURE, OP_CPUID, OP_LVTPC };

static struct op {
	uint32_t kind;
	/* MSR, RDPMC's index or the selector to measure with. */
	uint32_t index;
	/* To be written, or the number of loops. */
	uint64_t value;

	/* The guest's answer */
	uint64_t result;
	uint32_t nmis;
	uint8_t vector;
} ops[BATCH];

static uint32_t nr_ops;
static uint32_t nr_nmis;

static void guest_nmi_handler(struct ex_regs *regs)
{
	nr_nmis++;
}

static void guest_code(void)
{
	uint32_t eax, ebx, ecx, edx, nmis;
	uint64_t value;
	struct op *op;

	x2apic_enable();
	for (;;) {
		for (op = ops; op < &ops[READ_ONCE(nr_ops)]; op++) {
			nmis = READ_ONCE(nr_nmis);
			value = 0;
			op->vector = 0;
			switch (op->kind) {
			case OP_RDMSR:
				op->vector = rdmsr_safe(op->index, &value);
				break;
			case OP_WRMSR:
				op->vector = wrmsr_safe(op->index, op->value);
				break;
			case OP_RDPMC:
				op->vector = rdpmc_safe(op->index, &value);
				break;
			case OP_MEASURE:
				GUEST_MEASURE(op->index, pmu_instructions() | SELECT_OS,
					      op->value, BLOCK_PLAIN);
				break;
			case OP_CPUID:
				cpuid(0, &eax, &ebx, &ecx, &edx);
				break;
			case OP_LVTPC:
				x2apic_write_reg(APIC_LVTPC, op->value);
				break;
			default:
				GUEST_FAIL("No such operation");
			}
			op->result = value;
			op->nmis = READ_ONCE(nr_nmis) - nmis;
		}
		GUEST_SYNC(0);
	}
}

/* Random numbers: xorshift64* */

static uint64_t seed = DEFAULT_SEED;
static uint64_t rng;
static uint64_t nr_done;

static uint64_t rnd64(void)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545f4914f6cdd1dull;
}

static uint32_t rnd(uint32_t n)
{
	return (rnd64() >> 32) % n;
}

static bool one_in(uint32_t n)
{
	return !rnd(n);
}

#define FUZZ_ASSERT(_cond, _fmt, _args...)				\
	TEST_ASSERT(_cond, "Seed %lu, operation %lu: " _fmt, seed, nr_done, ##_args)

/* The model */

struct pmc {
	uint64_t value;
	/* Is the value known?  Not if it may have counted. */
	bool known;
	/* At most so much more, from VM-entries. */
	uint64_t spare;
	uint64_t selector;
};

#define MAX_FILTER_EVENTS	4
#define MAX_DENIED		4

static struct {
	/* The shape; see struct pmu for the rest. */
	uint8_t version;
	bool fw_writes;
	bool svm;
	uint64_t gp_mask;
	uint64_t fixed_mask;

	struct pmc pmc[MAX_COUNTERS];
	uint64_t fixed_ctrl;
	uint64_t global_ctrl;
	/* Bits that are not the guest's, but may be there until the next VM-exit. */
	uint64_t spare_bits;
	uint64_t metrics;
	/* Not if they may have changed. */
	bool metrics_known;
	/* Bits that may be set in GLOBAL_STATUS, and that must. */
	uint64_t status_may;
	uint64_t status_must;

	bool has_filter;
	bool filter_allows;
	int nr_filtered;
	struct {
		uint16_t event;
		uint8_t mask;
		uint8_t match;
	} filtered[MAX_FILTER_EVENTS];
	uint32_t filtered_fixed;

	int nr_denied;
	struct {
		uint32_t msr;
		bool read;
		bool write;
	} denied[MAX_DENIED];
} m;

/* What KVM supports; struct pmu has what the guest has. */
static struct pmu host_pmu;
static bool has_svm;

/* What an MSR is to the guest */
enum msr_kind { ABSENT, COUNTER, FW_COUNTER, FIXED, SELECTOR, FIXED_CTRL, GLOBAL_CTRL,
		STATUS, STATUS_CLR, STATUS_SET, METRICS };

static enum msr_kind msr_kind(uint32_t msr, int *c)
{
	*c = -1;

	if (pmu.intel) {
		if (msr >= MSR_IA32_PERFCTR0 && msr < MSR_IA32_PERFCTR0 + pmu.nr_gp) {
			*c = msr - MSR_IA32_PERFCTR0;
			return COUNTER;
		}
		if (msr >= MSR_IA32_PMC0 && msr < MSR_IA32_PMC0 + pmu.nr_gp && m.fw_writes) {
			*c = msr - MSR_IA32_PMC0;
			return FW_COUNTER;
		}
		if (msr >= MSR_P6_EVNTSEL0 && msr < MSR_P6_EVNTSEL0 + pmu.nr_gp) {
			*c = msr - MSR_P6_EVNTSEL0;
			return SELECTOR;
		}
		if (msr >= MSR_CORE_PERF_FIXED_CTR0 &&
		    msr < MSR_CORE_PERF_FIXED_CTR0 + pmu.nr_fixed) {
			*c = pmu.nr_gp + msr - MSR_CORE_PERF_FIXED_CTR0;
			return FIXED;
		}
		if (!pmu.global)
			return ABSENT;

		switch (msr) {
		case MSR_CORE_PERF_FIXED_CTR_CTRL:
			return FIXED_CTRL;
		case MSR_CORE_PERF_GLOBAL_CTRL:
			return GLOBAL_CTRL;
		case MSR_CORE_PERF_GLOBAL_STATUS:
			return STATUS;
		case MSR_CORE_PERF_GLOBAL_OVF_CTRL:
			return STATUS_CLR;
		case MSR_PERF_METRICS:
			return pmu_has_metrics() ? METRICS : ABSENT;
		}
		return ABSENT;
	}

	if (!m.version)
		return ABSENT;
	if (msr >= MSR_K7_PERFCTR0 && msr < MSR_K7_PERFCTR0 + min_t(int, pmu.nr_gp, 4)) {
		*c = msr - MSR_K7_PERFCTR0;
		return COUNTER;
	}
	if (msr >= MSR_K7_EVNTSEL0 && msr < MSR_K7_EVNTSEL0 + min_t(int, pmu.nr_gp, 4)) {
		*c = msr - MSR_K7_EVNTSEL0;
		return SELECTOR;
	}
	if (msr >= MSR_F15H_PERF_CTL && msr < MSR_F15H_PERF_CTL + 2 * pmu.nr_gp && pmu.core) {
		*c = (msr - MSR_F15H_PERF_CTL) / 2;
		return (msr - MSR_F15H_PERF_CTL) & 1 ? COUNTER : SELECTOR;
	}
	if (!pmu.global)
		return ABSENT;

	switch (msr) {
	case MSR_AMD64_PERF_CNTR_GLOBAL_CTL:
		return GLOBAL_CTRL;
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS:
		return STATUS;
	case MSR_AMD64_GLOBAL_STATUS_CLR:
		return STATUS_CLR;
	case MSR_AMD64_GLOBAL_STATUS_SET:
		return STATUS_SET;
	}
	return ABSENT;
}

/* KVM has always let guests read some MSRs as 0, and drops writes, if they are absent. */
static bool is_old(uint32_t msr)
{
	return pmu.intel ? msr == MSR_IA32_PERFCTR0 || msr == MSR_IA32_PERFCTR0 + 1 ||
			   msr == MSR_P6_EVNTSEL0 || msr == MSR_P6_EVNTSEL0 + 1 :
			   msr >= MSR_K7_EVNTSEL0 && msr < MSR_K7_PERFCTR0 + 4;
}

static uint64_t counter_mask(int c)
{
	return pmc_is_fixed(c) ? m.fixed_mask : m.gp_mask;
}

static bool is_denied(uint32_t msr, bool write)
{
	int i;

	for (i = 0; i < m.nr_denied; i++) {
		if (m.denied[i].msr == msr && (write ? m.denied[i].write : m.denied[i].read))
			return true;
	}
	return false;
}

static bool is_allowed(int c)
{
	uint16_t event = (m.pmc[c].selector & 0xff) | (m.pmc[c].selector >> 24 & 0xf00);
	uint8_t umask = m.pmc[c].selector >> 8;
	int i;

	if (!m.has_filter)
		return true;
	if (pmc_is_fixed(c))
		return !!(m.filtered_fixed & BIT(c - pmu.nr_gp)) == m.filter_allows;

	if (pmu.intel)
		event &= 0xff;
	for (i = 0; i < m.nr_filtered; i++) {
		if (m.filtered[i].event == event &&
		    (umask & m.filtered[i].mask) == m.filtered[i].match)
			return m.filter_allows;
	}
	return !m.filter_allows;
}

#define SELECT_MERGE	(0xf000000ffull | ARCH_PERFMON_EVENTSEL_ENABLE)

/* The guest is in ring 0 all the time, and never enables SVM. */
static bool may_count(int c)
{
	uint64_t s = m.pmc[c].selector;

	/*
	 * AMD's event Merge has an odd counter take what the one before it carries, also
	 * with an instruction that switches either off.  This is not modelled.
	 */
	if (!pmu.intel && c % 2 && (s & SELECT_MERGE) == SELECT_MERGE)
		return true;
	if (pmu.global && !(m.global_ctrl & pmc_global_bit(c)))
		return false;
	if (!is_allowed(c))
		return false;
	if (pmc_is_fixed(c))
		return m.fixed_ctrl >> 4 * (c - pmu.nr_gp) & FIXED_PMC_KERNEL;

	return s & ARCH_PERFMON_EVENTSEL_ENABLE && s & ARCH_PERFMON_EVENTSEL_OS &&
	       !(!pmu.intel && s & AMD64_EVENTSEL_MODE);
}

static bool may_count_metrics(void)
{
	return pmu_has_metrics() && m.global_ctrl & GLOBAL_METRICS &&
	       may_count(pmu.nr_gp + FIXED_SLOTS);
}

/* The guest runs. */
static void model_run(void)
{
	int c;

	if (may_count_metrics()) {
		m.metrics_known = false;
		m.status_may |= GLOBAL_METRICS;
	}

	for (c = 0; c < pmu_nr_counters(); c++) {
		if (may_count(c)) {
			m.pmc[c].known = false;
			m.status_may |= pmc_global_bit(c);
		}
	}
}

static void model_write_counter(int c, uint64_t value)
{
	m.pmc[c].value = value & counter_mask(c);
	m.pmc[c].known = true;
	m.pmc[c].spare = 0;
}

/* Bits of selectors that exist or not for reasons not modelled: TSX, PEBS. */
#define INTEL_SELECTOR_MAYBE	GENMASK_ULL(34, 32)
#define INTEL_SELECTOR_RSVD	(GENMASK_ULL(63, 35) | ARCH_PERFMON_EVENTSEL_ANY)
#define AMD_SELECTOR_RSVD	(GENMASK_ULL(63, 36) | BIT_ULL(19) | BIT_ULL(21))
/* Of FIXED_CTR_CTRL: PEBS. */
#define FIXED_CTRL_MAYBE	0x1111111100000000ull
/* Of GLOBAL_STATUS: what is not of a counter. */
#define STATUS_MAYBE		(BIT_ULL(55) | GENMASK_ULL(63, 58))

enum verdict { FAULTS, WORKS, MAY_FAULT };

/* What becomes of a write of @value by the guest, or by the VMM? */
static enum verdict write_verdict(uint32_t msr, uint64_t value, bool host)
{
	uint64_t global = pmu_global_mask(), fixed = 0;
	int c, i;

	if (!host && is_denied(msr, true))
		return FAULTS;

	switch (msr_kind(msr, &c)) {
	case ABSENT:
		/* The VMM may write 0 to what it may save. */
		return is_old(msr) || (host && !value) ? MAY_FAULT : FAULTS;
	case COUNTER:
		/* Hardware may refuse what KVM masks. */
		return pmu.intel || host || !(value & ~m.gp_mask) ? WORKS : MAY_FAULT;
	case FW_COUNTER:
		if (!(value & ~m.gp_mask))
			return WORKS;
		/* Hardware does not know that the guest's counters are narrower. */
		return host || value & ~COUNTER_MASK ? FAULTS : MAY_FAULT;
	case FIXED:
		return host || !(value & ~m.fixed_mask) ? WORKS : MAY_FAULT;
	case SELECTOR:
		if (!pmu.intel)
			return WORKS;
		if (value & INTEL_SELECTOR_RSVD)
			return FAULTS;
		return value & INTEL_SELECTOR_MAYBE ? MAY_FAULT : WORKS;
	case FIXED_CTRL:
		for (i = 0; i < pmu.nr_fixed; i++)
			fixed |= FIXED_PMC_CTRL(i, 0xbull);
		if (value & ~fixed & ~FIXED_CTRL_MAYBE)
			return FAULTS;
		return value & ~fixed ? MAY_FAULT : WORKS;
	case GLOBAL_CTRL:
		if (!(value & ~global))
			return WORKS;
		/* Not if the register is direct. */
		if (!host && !(value & ~global & ~pmu_spare_bits()))
			return MAY_FAULT;
		return pmu.intel ? FAULTS : host ? WORKS : MAY_FAULT;
	case STATUS:
		if (!host)
			return pmu.intel ? FAULTS : MAY_FAULT;
		if (value & ~global & ~STATUS_MAYBE)
			return FAULTS;
		return value & ~global ? MAY_FAULT : WORKS;
	case METRICS:
		/* There are at least four. */
		return value >> 32 ? MAY_FAULT : WORKS;
	case STATUS_CLR:
	case STATUS_SET:
		if (!(value & ~global))
			return WORKS;
		if (!pmu.intel)
			return host ? WORKS : MAY_FAULT;
		if (!host)
			global |= pmu_spare_bits();
		return value & ~global & ~STATUS_MAYBE ? FAULTS : MAY_FAULT;
	}
	return MAY_FAULT;
}

/* @value has been written. */
static void model_write(uint32_t msr, uint64_t value, bool host)
{
	uint64_t global = pmu_global_mask();
	int c;

	switch (msr_kind(msr, &c)) {
	case ABSENT:
		break;
	case COUNTER:
		if (pmu.intel && !host)
			value = (int32_t)value;
		fallthrough;
	case FW_COUNTER:
	case FIXED:
		model_write_counter(c, value);
		/* Hardware may start the metrics anew. */
		if (c == pmu.nr_gp + FIXED_SLOTS && !host)
			m.metrics_known = false;
		break;
	case METRICS:
		m.metrics = value;
		m.metrics_known = true;
		break;
	case SELECTOR:
		if (!pmu.intel)
			value &= ~(AMD_SELECTOR_RSVD &
				   ~(pmu.mediated && m.svm ? AMD64_EVENTSEL_MODE : 0));
		m.pmc[c].selector = value;
		break;
	case FIXED_CTRL:
		m.fixed_ctrl = value;
		break;
	case GLOBAL_CTRL:
		m.global_ctrl = value & global;
		m.spare_bits = host ? 0 : value & pmu_spare_bits();
		break;
	case STATUS:
		if (!host)
			break;
		m.status_may = value;
		m.status_must = value & global;
		break;
	case STATUS_CLR:
		if (host)
			break;
		m.status_may &= ~value;
		m.status_must &= ~value;
		break;
	case STATUS_SET:
		if (host)
			break;
		m.status_may |= value & global;
		m.status_must |= value & global;
		break;
	}
}

/* How much has been proven? */
static uint64_t nr_compared, nr_measured;

static const char *who(bool host)
{
	return host ? "VMM" : "guest";
}

static void check_counter(const char *what, uint32_t index, int c, uint64_t value)
{
	struct pmc *pmc = &m.pmc[c];

	/* A counter that is narrower than the hardware's may have more bits. */
	if (!pmu.mediated || counter_mask(c) == COUNTER_MASK)
		FUZZ_ASSERT(!(value & ~counter_mask(c)), "%s %#x: %#lx is too wide",
			    what, index, value);
	value &= counter_mask(c);
	if (pmc->known) {
		/* VM-entries may have added to it. */
		FUZZ_ASSERT(((value - pmc->value) & counter_mask(c)) <= pmc->spare,
			    "%s %#x, counter %d: %#lx, wanted %#lx; selector %#lx, FIXED_CTR_CTRL %#lx, GLOBAL_CTRL %#lx",
			    what, index, c, value, pmc->value, pmc->selector,
			    m.fixed_ctrl, m.global_ctrl);
		nr_compared++;
	}
	if (!may_count(c))
		model_write_counter(c, value);
}

static void check_metrics(const char *what, uint64_t value)
{
	if (m.metrics_known) {
		FUZZ_ASSERT(value == m.metrics, "%s: metrics %#lx, wanted %#lx", what,
			    value, m.metrics);
		nr_compared++;
	}
	m.metrics = value;
	m.metrics_known = !may_count_metrics();
}

/* @value has been read. */
static void check_read(uint32_t msr, uint64_t value, bool host)
{
	uint64_t want;
	int c;

	switch (msr_kind(msr, &c)) {
	case ABSENT:
		FUZZ_ASSERT(!value && (host || is_old(msr)), "%s reads absent MSR %#x: %#lx",
			    who(host), msr, value);
		return;
	case COUNTER:
	case FW_COUNTER:
	case FIXED:
		check_counter(host ? "VMM's RDMSR" : "guest's RDMSR", msr, c, value);
		return;
	case METRICS:
		check_metrics(who(host), value);
		return;
	case SELECTOR:
		want = m.pmc[c].selector;
		break;
	case FIXED_CTRL:
		want = m.fixed_ctrl;
		break;
	case GLOBAL_CTRL:
		want = m.global_ctrl;
		/* All of them or, when there was an exit, none. */
		if (!host && value == (want | m.spare_bits))
			want = value;
		else
			m.spare_bits = 0;
		break;
	case STATUS:
		FUZZ_ASSERT(!(value & ~m.status_may & ~STATUS_MAYBE) &&
			    !(~value & m.status_must),
			    "%s reads GLOBAL_STATUS %#lx, may be %#lx, must be %#lx",
			    who(host), value, m.status_may, m.status_must);
		return;
	default:
		return;
	}
	FUZZ_ASSERT(value == want, "%s reads MSR %#x: %#lx, wanted %#lx",
		    who(host), msr, value, want);
}

static void check_rdpmc(struct op *op)
{
	uint32_t i = op->index & ~INTEL_RDPMC_FIXED;
	int c = -1;

	if (op->index == INTEL_RDPMC_METRICS && pmu_has_metrics()) {
		FUZZ_ASSERT(!op->vector, "RDPMC %#x: vector %u", op->index, op->vector);
		check_metrics("RDPMC", op->result);
		return;
	}

	if (!(op->index & INTEL_RDPMC_FIXED)) {
		if (i < pmu.nr_gp)
			c = i;
	} else if (i < pmu.nr_fixed) {
		c = pmu.nr_gp + i;
	}

	/* KVM gives pseudo counters of VMware to guests whose RDPMC exits. */
	if (op->index >= 0x10000 && op->index <= 0x10002)
		return;
	/* If RDPMC is direct, what the guest has not, but the CPU, is 0. */
	if (pmu_is_spare_index(op->index) && !op->vector) {
		FUZZ_ASSERT(!op->result, "RDPMC %#x of no counter: %#lx", op->index, op->result);
		return;
	}
	if (c < 0) {
		FUZZ_ASSERT(op->vector == GP_VECTOR,
			    "RDPMC %#x of no counter: vector %u, value %#lx",
			    op->index, op->vector, op->result);
		return;
	}
	FUZZ_ASSERT(!op->vector, "RDPMC %#x: vector %u", op->index, op->vector);
	check_counter("RDPMC", op->index, c, op->result);
}

static void check_measure(struct op *op)
{
	uint64_t insns = MEASURED_INSNS(BLOCK_PLAIN_INSNS, op->value);
	bool was_known, counts, exact;
	struct pmc *pmc;
	int c;

	msr_kind(op->index, &c);
	pmc = &m.pmc[c];
	was_known = pmc->known;
	pmc->selector = pmu_instructions() | SELECT_OS;
	counts = may_count(c);
	exact = pmu.mediated && m.gp_mask == COUNTER_MASK && !op->nmis;
	if (counts) {
		pmc->known = was_known && exact;
		pmc->value = (pmc->value + insns) & m.gp_mask;
		pmc->spare += SPARE_ENTRIES * pmu.entry_insns;
		m.status_may |= pmc_global_bit(c);
		nr_measured += pmc->known;
	}
	pmc->selector = 0;
}

/* Go with the model through what the guest has done. */
static void check_ops(void)
{
	enum verdict verdict;
	struct op *op;

	model_run();
	for (op = ops; op < &ops[nr_ops]; op++, nr_done++) {
		switch (op->kind) {
		case OP_RDMSR:
			if (is_denied(op->index, false)) {
				FUZZ_ASSERT(op->vector == GP_VECTOR,
					    "RDMSR %#x is denied: vector %u",
					    op->index, op->vector);
				break;
			}
			if (op->vector) {
				int c;

				FUZZ_ASSERT(op->vector == GP_VECTOR &&
					    msr_kind(op->index, &c) == ABSENT,
					    "RDMSR %#x: vector %u", op->index, op->vector);
				break;
			}
			check_read(op->index, op->result, false);
			break;
		case OP_WRMSR:
			verdict = write_verdict(op->index, op->value, false);
			FUZZ_ASSERT(verdict == MAY_FAULT ||
				    op->vector == (verdict == FAULTS ? GP_VECTOR : 0),
				    "WRMSR %#x, %#lx: vector %u", op->index, op->value, op->vector);
			if (!op->vector)
				model_write(op->index, op->value, false);
			break;
		case OP_RDPMC:
			check_rdpmc(op);
			break;
		case OP_MEASURE:
			check_measure(op);
			break;
		}
		model_run();
	}
}

/* Generators */

static uint32_t rnd_msr(void)
{
	static const uint32_t intel[] = {
		MSR_CORE_PERF_FIXED_CTR_CTRL, MSR_CORE_PERF_GLOBAL_CTRL,
		MSR_CORE_PERF_GLOBAL_STATUS, MSR_CORE_PERF_GLOBAL_OVF_CTRL,
		MSR_CORE_PERF_FIXED_CTR_CTRL, MSR_CORE_PERF_GLOBAL_CTRL,
		MSR_INTEL_GLOBAL_STATUS_SET, MSR_INTEL_GLOBAL_STATUS_SET + 1,
		MSR_PERF_METRICS, MSR_PERF_METRICS,
	};
	static const uint32_t amd[] = {
		MSR_AMD64_PERF_CNTR_GLOBAL_CTL, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,
		MSR_AMD64_PERF_CNTR_GLOBAL_CTL, MSR_AMD64_GLOBAL_STATUS_CLR,
		MSR_AMD64_GLOBAL_STATUS_SET,
	};

	/* One more than there is, at least. */
	if (pmu.intel) {
		switch (rnd(6)) {
		case 0:
			return MSR_IA32_PERFCTR0 + rnd(host_pmu.nr_gp);
		case 1:
			return MSR_IA32_PMC0 + rnd(host_pmu.nr_gp + 1);
		case 2:
			return MSR_CORE_PERF_FIXED_CTR0 + rnd(host_pmu.nr_fixed + 2);
		case 3:
		case 4:
			return MSR_P6_EVNTSEL0 + rnd(host_pmu.nr_gp);
		default:
			return intel[rnd(ARRAY_SIZE(intel))];
		}
	}

	switch (rnd(4)) {
	case 0:
		return one_in(2) ? MSR_K7_PERFCTR0 + rnd(4) : MSR_K7_EVNTSEL0 + rnd(4);
	case 1:
	case 2:
		return MSR_F15H_PERF_CTL + rnd(2 * host_pmu.nr_gp + 4);
	default:
		return amd[rnd(ARRAY_SIZE(amd))];
	}
}

static uint64_t rnd_event(void)
{
	const uint64_t events[] = {
		pmu_instructions(), pmu_instructions(), pmu_branches(),
		pmu.intel ? INTEL_ARCH_CPU_CYCLES : AMD_ZEN_CORE_CYCLES,
		pmu.intel ? INTEL_ARCH_LLC_MISSES : AMD_ZEN_BRANCHES_MISPREDICTED,
		RAW_EVENT(rnd(256), rnd(256)),
	};

	return events[rnd(ARRAY_SIZE(events))];
}

static uint64_t rnd_value(uint32_t msr)
{
	uint64_t value;
	int c;

	switch (rnd(10)) {
	case 0:
		return 0;
	case 1:
		return BIT_ULL(rnd(64));
	case 2:
		return -1ull;
	case 3:
		return rnd64();
	case 4:
		return ~BIT_ULL(rnd(64));
	}

	/* Mostly what makes sense. */
	switch (msr_kind(msr, &c)) {
	case SELECTOR:
		value = rnd_event();
		if (!one_in(4))
			value |= ARCH_PERFMON_EVENTSEL_ENABLE;
		if (!one_in(4))
			value |= ARCH_PERFMON_EVENTSEL_OS;
		if (one_in(2))
			value |= ARCH_PERFMON_EVENTSEL_USR;
		if (one_in(3))
			value |= ARCH_PERFMON_EVENTSEL_INT;
		if (one_in(8))
			value |= BIT_ULL(rnd(64));
		if (one_in(8))
			value |= rnd64() & ARCH_PERFMON_EVENTSEL_CMASK;
		return value;
	case FIXED_CTRL:
		return rnd64() & 0xbbbb & (pmu.nr_fixed ? GENMASK_ULL(4 * pmu.nr_fixed - 1, 0) : 0);
	case GLOBAL_CTRL:
	case STATUS:
	case STATUS_CLR:
	case STATUS_SET:
		return rnd64() & pmu_global_mask();
	default:
		/* About to overflow, or anything. */
		return (one_in(2) ? -(uint64_t)rnd(500) : rnd64()) & COUNTER_MASK;
	}
}

static uint32_t rnd_rdpmc_index(void)
{
	switch (rnd(8)) {
	case 0:
		return one_in(2) ? INTEL_RDPMC_METRICS : BIT(rnd(32)) | rnd(4);
	case 1:
		return rnd64();
	case 2:
	case 3:
		return INTEL_RDPMC_FIXED | rnd(host_pmu.nr_fixed + 3);
	default:
		return rnd(host_pmu.nr_gp + 3);
	}
}

static void rnd_op(struct op *op)
{
	static const uint32_t lvtpc[] = {
		0x41, 0xfe, APIC_DM_NMI, 0x41 | APIC_LVT_MASKED, APIC_DM_NMI | APIC_LVT_MASKED,
	};
	int c;

	memset(op, 0, sizeof(*op));
	switch (rnd(17)) {
	case 0 ... 4:
		op->kind = OP_RDMSR;
		op->index = rnd_msr();
		return;
	case 5 ... 10:
		op->kind = OP_WRMSR;
		op->index = rnd_msr();
		op->value = rnd_value(op->index);
		return;
	case 11 ... 12:
		op->kind = OP_RDPMC;
		op->index = rnd_rdpmc_index();
		return;
	case 13:
		op->kind = OP_LVTPC;
		op->value = lvtpc[rnd(ARRAY_SIZE(lvtpc))];
		return;
	case 14 ... 15:
		/* Its WRMSRs must not fault. */
		op->index = pmc_selector_msr(rnd(pmu.nr_gp + 1));
		if (msr_kind(op->index, &c) == SELECTOR && !is_denied(op->index, true)) {
			op->kind = OP_MEASURE;
			op->value = 1 + (rnd64() & LOOPS_MASK);
			return;
		}
		fallthrough;
	default:
		op->kind = OP_CPUID;
	}
}

/* Operations of the VMM */

static void vmm_write(struct kvm_vcpu *vcpu)
{
	uint32_t msr = rnd_msr();
	uint64_t value = rnd_value(msr);
	enum verdict verdict = write_verdict(msr, value, true);
	bool works = _vcpu_set_msr(vcpu, msr, value) == 1;

	FUZZ_ASSERT(verdict == MAY_FAULT || works == (verdict == WORKS),
		    "VMM's WRMSR %#x, %#lx %s", msr, value, works ? "works" : "fails");
	if (works)
		model_write(msr, value, true);
}

static bool vmm_get_msr(struct kvm_vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} buffer = {
		.header.nmsrs = 1,
		.entry.index = msr,
	};
	int r = __vcpu_ioctl(vcpu, KVM_GET_MSRS, &buffer.header);

	FUZZ_ASSERT(r == 0 || r == 1, "KVM_GET_MSRS %#x: %d", msr, r);
	*value = buffer.entry.data;
	return r;
}

static void vmm_read(struct kvm_vcpu *vcpu, uint32_t msr)
{
	uint64_t value;
	int c;

	if (vmm_get_msr(vcpu, msr, &value))
		check_read(msr, value, true);
	else
		FUZZ_ASSERT(msr_kind(msr, &c) == ABSENT, "VMM cannot read MSR %#x", msr);
}

static void vmm_read_all(struct kvm_vcpu *vcpu)
{
	int c;

	for (c = 0; c < pmu_nr_counters(); c++) {
		if (pmu.intel || pmu.core || c < 4) {
			vmm_read(vcpu, pmc_msr(c));
			if (!pmc_is_fixed(c))
				vmm_read(vcpu, pmc_selector_msr(c));
		}
	}
	if (pmu.intel && pmu.global)
		vmm_read(vcpu, MSR_CORE_PERF_FIXED_CTR_CTRL);
	if (pmu_has_metrics())
		vmm_read(vcpu, MSR_PERF_METRICS);
	if (pmu.global) {
		vmm_read(vcpu, pmu_global_ctrl_msr());
		vmm_read(vcpu, pmu_global_status_msr());
	}
}

static void vmm_set_event_filter(struct kvm_vm *vm)
{
	struct {
		struct kvm_pmu_event_filter f;
		uint64_t events[MAX_FILTER_EVENTS];
	} filter = { };
	bool masked = one_in(3);
	uint64_t event;
	int i;

	m.has_filter = true;
	m.filter_allows = one_in(2);
	m.filtered_fixed = rnd(16);
	m.nr_filtered = rnd(MAX_FILTER_EVENTS + 1);

	filter.f.action = m.filter_allows ? KVM_PMU_EVENT_ALLOW : KVM_PMU_EVENT_DENY;
	filter.f.flags = masked ? KVM_PMU_EVENT_FLAG_MASKED_EVENTS : 0;
	filter.f.fixed_counter_bitmap = m.filtered_fixed;
	filter.f.nevents = m.nr_filtered;
	for (i = 0; i < m.nr_filtered; i++) {
		event = rnd_event();
		m.filtered[i].event = event & 0xff;
		m.filtered[i].mask = masked && one_in(2) ? rnd(256) : 0xff;
		m.filtered[i].match = event >> 8 & m.filtered[i].mask;
		filter.events[i] = masked ?
			KVM_PMU_ENCODE_MASKED_ENTRY(event & 0xff, m.filtered[i].mask,
						    m.filtered[i].match, false) :
			event & 0xffff;
	}
	vm_ioctl(vm, KVM_SET_PMU_EVENT_FILTER, &filter.f);

	/* And one that is refused and changes nothing. */
	filter.f.flags = BIT(rnd(31) + 1);
	FUZZ_ASSERT(__vm_ioctl(vm, KVM_SET_PMU_EVENT_FILTER, &filter.f) == -1 && errno == EINVAL,
		    "Event filter with flags %#x", filter.f.flags);
}

static void vmm_set_msr_filter(struct kvm_vm *vm)
{
	uint8_t none = 0;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
	};
	int i;

	m.nr_denied = one_in(2) ? 0 : 1 + rnd(MAX_DENIED);
	for (i = 0; i < m.nr_denied; i++) {
		m.denied[i].msr = rnd_msr();
		switch (rnd(3)) {
		case 0:
			m.denied[i].read = true;
			m.denied[i].write = false;
			break;
		case 1:
			m.denied[i].read = false;
			m.denied[i].write = true;
			break;
		default:
			m.denied[i].read = true;
			m.denied[i].write = true;
		}
		filter.ranges[i].flags = (m.denied[i].read ? KVM_MSR_FILTER_READ : 0) |
					 (m.denied[i].write ? KVM_MSR_FILTER_WRITE : 0);
		filter.ranges[i].base = m.denied[i].msr;
		filter.ranges[i].nmsrs = 1;
		filter.ranges[i].bitmap = &none;
	}
	vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter);
}

static void vmm_op(struct kvm_vcpu *vcpu)
{
	struct kvm_vm *vm = vcpu->vm;

	switch (rnd(16)) {
	case 0 ... 5:
		vmm_write(vcpu);
		break;
	case 6 ... 8:
		vmm_read(vcpu, rnd_msr());
		break;
	case 9 ... 10:
		vmm_set_event_filter(vm);
		break;
	case 11 ... 12:
		vmm_set_msr_filter(vm);
		break;
	case 13:
		/* Refused once there is a vCPU. */
		FUZZ_ASSERT(__vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE) == -1,
			    "KVM_CAP_PMU_CAPABILITY works with a vCPU");
		break;
	case 14:
		vcpu->run->immediate_exit = 1;
		break;
	default: {
		struct itimerval timer = { .it_value.tv_usec = 50 + rnd(2000) };

		setitimer(ITIMER_REAL, &timer, NULL);
	}
	}
	nr_done++;
}

static void run_batch(struct kvm_vcpu *vcpu)
{
	struct kvm_vm *vm = vcpu->vm;
	struct ucall uc;
	int i, r;

	nr_ops = 1 + rnd(BATCH);
	for (i = 0; i < nr_ops; i++)
		rnd_op(&ops[i]);
	sync_global_to_guest(vm, nr_ops);
	memcpy(addr_gva2hva(vm, (vm_vaddr_t)ops), ops, nr_ops * sizeof(ops[0]));

	do {
		r = __vcpu_run(vcpu);
		vcpu->run->immediate_exit = 0;
	} while (r == -1 && errno == EINTR);
	FUZZ_ASSERT(!r, "KVM_RUN: %d, errno %d (%s)", r, errno, strerror(errno));

	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		break;
	case UCALL_ABORT:
		pr_info("Seed %lu, operation %lu\n", seed, nr_done);
		REPORT_GUEST_ASSERT(uc);
		break;
	default:
		FUZZ_ASSERT(false, "Exit %u (%s)", vcpu->run->exit_reason,
			    exit_reason_str(vcpu->run->exit_reason));
	}
	memcpy(ops, addr_gva2hva(vm, (vm_vaddr_t)ops), nr_ops * sizeof(ops[0]));

	check_ops();
	vmm_read_all(vcpu);
}

/* A PMU of any shape */

static uint64_t rnd_width(void)
{
	static const uint8_t narrow[] = { 32, 40, 47 };

	return one_in(8) ? narrow[rnd(ARRAY_SIZE(narrow))] : 48;
}

static void rnd_shape_intel(struct kvm_vcpu *vcpu, bool asks)
{
	static const uint8_t versions[] = { 2, 2, 2, 2, 1, 0, 3, 5 };
	uint64_t width = rnd_width(), fixed_width = rnd_width(), caps;
	uint8_t nr_gp, nr_fixed, max_fixed = asks ? host_pmu.host_fixed : host_pmu.nr_fixed;
	bool usual = one_in(3);

	m.version = usual ? 2 : versions[rnd(ARRAY_SIZE(versions))];
	nr_gp = usual ? host_pmu.nr_gp : rnd(host_pmu.nr_gp + 3);
	nr_fixed = usual ? max_fixed : rnd(max_fixed + 3);

	vcpu_set_cpuid_property(vcpu, X86_PROPERTY_PMU_VERSION, m.version);
	vcpu_set_cpuid_property(vcpu, X86_PROPERTY_PMU_NR_GP_COUNTERS, nr_gp);
	vcpu_set_cpuid_property(vcpu, X86_PROPERTY_PMU_NR_FIXED_COUNTERS, nr_fixed);
	vcpu_set_cpuid_property(vcpu, X86_PROPERTY_PMU_GP_COUNTERS_BIT_WIDTH, width);
	vcpu_set_cpuid_property(vcpu, X86_PROPERTY_PMU_FIXED_COUNTERS_BIT_WIDTH, fixed_width);

	/* More than the hardware has, nobody has. */
	pmu.nr_gp = m.version ? min_t(int, nr_gp, host_pmu.nr_gp) : 0;
	pmu.nr_fixed = m.version > 1 ? min_t(int, nr_fixed, max_fixed) : 0;
	pmu.global = m.version > 1;
	m.gp_mask = GENMASK_ULL(width - 1, 0);
	m.fixed_mask = GENMASK_ULL(fixed_width - 1, 0);

	caps = vcpu_get_msr(vcpu, MSR_IA32_PERF_CAPABILITIES);
	if (asks)
		caps |= PMU_CAP_METRICS;
	if (one_in(4) || !m.version)
		caps &= ~PMU_CAP_FW_WRITES;
	if (one_in(4) || !m.version)
		caps &= ~PMU_CAP_METRICS;
	/* LBRs need perf events. */
	caps &= PMU_CAP_FW_WRITES | PMU_CAP_METRICS;
	vcpu_set_msr(vcpu, MSR_IA32_PERF_CAPABILITIES, caps);
	m.fw_writes = caps & PMU_CAP_FW_WRITES;
	pmu.metrics = caps & PMU_CAP_METRICS;
	if (one_in(6)) {
		vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_PDCM);
		m.fw_writes = false;
		pmu.metrics = false;
	}
	m.metrics_known = true;
}

static void rnd_shape_amd(struct kvm_vcpu *vcpu)
{
	uint8_t nr = one_in(2) ? host_pmu.nr_gp : rnd(16);

	pmu.core = host_pmu.core && !one_in(5);
	pmu.global = host_pmu.global && !one_in(4);
	if (host_pmu.core && !pmu.core)
		vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_PERFCTR_CORE);
	if (host_pmu.global) {
		vcpu_set_cpuid_property(vcpu, X86_PROPERTY_AMD_NR_COUNTERS, nr);
		if (!pmu.global)
			vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_AMD_PERFMON_V2);
	}
	if (!pmu.global)
		nr = pmu.core ? 6 : 4;
	pmu.nr_gp = min_t(int, nr, host_pmu.nr_gp);

	m.svm = has_svm;
	if (has_svm && one_in(4)) {
		vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_SVM);
		m.svm = false;
	}
	m.version = pmu.global ? 2 : 1;
	m.gp_mask = COUNTER_MASK;
}

static struct kvm_vcpu *rnd_vm(void)
{
	/* The same sequence whether there are PERF_METRICS to ask for or not. */
	bool asks = one_in(2) && host_pmu.host_metrics;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int c;

	memset(&m, 0, sizeof(m));
	pmu = host_pmu;

	vm = vm_create(1);
	vm_install_exception_handler(vm, NMI_VECTOR, guest_nmi_handler);
	if (one_in(12)) {
		vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
		vcpu = vm_vcpu_add(vm, 0, guest_code);
		pmu.nr_gp = 0;
		pmu.nr_fixed = 0;
		pmu.core = false;
		pmu.global = false;
		pmu.metrics = false;
	} else {
		if (asks)
			vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_METRICS);
		vcpu = vm_vcpu_add(vm, 0, guest_code);
		if (pmu.intel)
			rnd_shape_intel(vcpu, asks);
		else
			rnd_shape_amd(vcpu);
	}
	for (c = 0; c < pmu_nr_counters(); c++)
		m.pmc[c].known = true;
	if (pmu.nr_gp)
		m.global_ctrl = GENMASK_ULL(pmu.nr_gp - 1, 0);

	sync_global_to_guest(vm, pmu);
	nr_done++;
	return vcpu;
}

/* Have perf fill the host's counters with values that no guest may see. */
#define NR_CANARIES	(2 * MAX_COUNTERS)

static int canaries[NR_CANARIES];

static void canaries_open(void)
{
	static const uint64_t config[] = {
		PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_INSTRUCTIONS,
		PERF_COUNT_HW_REF_CPU_CYCLES, PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
	};
	int i, nr = 0;

	for (i = 0; i < NR_CANARIES; i++) {
		canaries[i] = __perf_open(config[i % ARRAY_SIZE(config)],
					  EVENT_EXCLUDE_GUEST | EVENT_PINNED,
					  i < 4 ? 50021 + i : 0, 0, -1);
		if (canaries[i] >= 0)
			nr++;
	}
	TEST_ASSERT(nr >= 4, "Only %d host events, errno %d", nr, errno);
}

static void canaries_close(void)
{
	int i;

	for (i = 0; i < NR_CANARIES; i++) {
		if (canaries[i] >= 0)
			close(canaries[i]);
	}
}

static void handle_alarm(int sig)
{
}

int main(int argc, char *argv[])
{
	struct sigaction alarm = { .sa_handler = handle_alarm };
	struct itimerval no_timer = { };
	uint64_t nr_operations = DEFAULT_OPERATIONS;
	struct kvm_vcpu *vcpu;
	int opt, batches, nr_vms = 0;
	bool poison;

	while ((opt = getopt(argc, argv, "s:n:h")) != -1) {
		switch (opt) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			nr_operations = strtoull(optarg, NULL, 0);
			break;
		default:
			pr_info("usage: %s [-h] [-s SEED] [-n OPERATIONS]\n"
				" -s: what to do (default %u)\n"
				" -n: how much of it (default %u)\n",
				argv[0], DEFAULT_SEED, DEFAULT_OPERATIONS);
			exit(opt == 'h' ? 0 : 1);
		}
	}

	pmu_detect();
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_PMU_EVENT_MASKED_EVENTS));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_PMU_CAPABILITY));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_X86_MSR_FILTER));
	host_pmu = pmu;
	has_svm = kvm_cpu_has(X86_FEATURE_SVM);

	pr_info("Seed %lu, %lu operations, %s PMU\n", seed, nr_operations,
		pmu.mediated ? "mediated" : "emulated");
	/* Neighbours shall have nothing in common; 0 does not move. */
	rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
	if (!rng)
		rng = 1;
	sigaction(SIGALRM, &alarm, NULL);

	while (nr_done < nr_operations) {
		poison = one_in(2) && host_pmu.mediated;
		if (poison)
			canaries_open();
		vcpu = rnd_vm();
		nr_vms++;
		/* All VMM-side operations work before the vCPU runs, too. */
		for (batches = 1 + rnd(MAX_BATCHES_PER_VM); batches; batches--) {
			while (!one_in(4))
				vmm_op(vcpu);
			run_batch(vcpu);
		}
		setitimer(ITIMER_REAL, &no_timer, NULL);
		kvm_vm_free(vcpu->vm);
		if (poison)
			canaries_close();
	}
	pr_info("%lu operations in %d VMs, %lu values compared, %lu counts measured\n",
		nr_done, nr_vms, nr_compared, nr_measured);
	return 0;
}
