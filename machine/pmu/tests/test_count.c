// SPDX-License-Identifier: GPL-2.0
/* What counts, when, and how much. */
#include "common.h"

#define GLOBAL_CTRL	0x38f
#define INTEL_ALL(f)	(0xff | ((BIT((f)->pmu.model->nr_fixed)) - 1) << 32)

/* A growth in which every number differs, so that a mix-up shows. */
static const struct pmu_feed growth = {
	.steps = 1000, .retired = 900, .branches = 130, .branches_cond = 97, .branches_taken = 70,
	.branch_misses = 11, .cache_refs = 450, .cache_misses = 23, .loads = 310,
	.stores = 140,
};

static void feed(struct fix *f)
{
	struct pmu_feed *to = &f->pmu.feed;

	to->steps += growth.steps;
	to->retired += growth.retired;
	to->branches += growth.branches;
	to->branches_cond += growth.branches_cond;
	to->branches_taken += growth.branches_taken;
	to->branch_misses += growth.branch_misses;
	to->cache_refs += growth.cache_refs;
	to->cache_misses += growth.cache_misses;
	to->loads += growth.loads;
	to->stores += growth.stores;
}

/* What counter 0 with that selector makes of one growth. */
static uint64_t count(const char *model, uint64_t sel)
{
	struct fix f;

	fix_init(&f, model);
	if (f.pmu.model->vendor == PMU_INTEL) {
		wr(&f, 0x186, sel);
		feed(&f);
		return rd(&f, 0xc1);
	}
	wr(&f, 0xc0010200, sel);
	feed(&f);
	return rd(&f, 0xc0010201);
}

static void events_intel(void **state)
{
	static const struct {
		unsigned int event;	/* umask << 8 | event */
		uint64_t count;
	} events[] = {
		{ 0x003c, 1000 }, { 0x013c, 1000 }, { 0x00c0, 900 }, { 0x00c4, 130 },
		{ 0x00c5, 11 }, { 0x4f2e, 450 }, { 0x412e, 23 },
		{ 0x81d0, 310 }, { 0x82d0, 140 }, { 0x83d0, 450 },
		/* Not modelled. */
		{ 0x0000, 0 }, { 0x01c0, 0 }, { 0x023c, 0 }, { 0x20c4, 0 }, { 0x80d0, 0 },
		{ 0x04a4, 0 }, { 0x0076, 0 }, { 0x00c2, 0 },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		assert_int_equal(count("intel-8+3", SEL_ON | events[i].event), events[i].count);
		assert_int_equal(count("intel-8+4", SEL_ON | events[i].event), events[i].count);
		/* Without EN, or with neither USR nor OS, nothing. */
		assert_int_equal(count("intel-8+3", SEL_USR | SEL_OS | events[i].event), 0);
		assert_int_equal(count("intel-8+3", SEL_EN | events[i].event), 0);
	}
	/* Slots do not need the fixed counter for them. */
	assert_int_equal(count("intel-8+3", SEL_ON | 0x01a4), 4000);
	assert_int_equal(count("intel-8+4", SEL_ON | 0x01a4), 4000);
	/* Conditional branches have the number of the processor's microarchitecture. */
	assert_int_equal(count("intel-8+3", SEL_ON | 0x01c4), 97);
	assert_int_equal(count("intel-8+3", SEL_ON | 0x11c4), 0);
	assert_int_equal(count("intel-8+4", SEL_ON | 0x11c4), 97);
	assert_int_equal(count("intel-8+4", SEL_ON | 0x01c4), 0);
}

static void events_amd(void **state)
{
	static const struct {
		uint64_t event;		/* as in the selector */
		uint64_t count;
	} events[] = {
		{ 0x0076, 1000 }, { 0x00c0, 900 }, { 0x00c2, 130 }, { 0x00c4, 70 },
		{ 0x00c3, 11 }, { 0x00d1, 97 }, { 0xff60, 450 }, { 0x0964, 23 }, { BIT(32) | 0x0120, 1000 },
		{ 0x0129, 310 }, { 0x0229, 140 }, { 0x0329, 450 }, { 0x0429, 0 },
		/* Not modelled. */
		{ 0x00a9, 0 }, { 0x0000, 0 }, { 0x0120, 0 }, { BIT(32) | 0x00c2, 0 },
		{ BIT(33) | 0x00c0, 0 }, { 0x0029, 0 }, { 0x0829, 0 }, { 0x003c, 0 },
	};
	static const char *const models[] = { "amd-v2", "amd-v1" };
	unsigned int i, m;

	(void)state;
	for (m = 0; m < 2; m++)
		for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
			assert_int_equal(count(models[m], SEL_ON | events[i].event),
					 events[i].count);
			assert_int_equal(count(models[m], SEL_USR | SEL_OS | events[i].event), 0);
			assert_int_equal(count(models[m], SEL_EN | events[i].event), 0);
		}
}

static void events_fixed(void **state)
{
	static const uint64_t counts[4] = { 900, 1000, 1000, 4000 };
	unsigned int i;
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+4");
	wr(&f, GLOBAL_CTRL, INTEL_ALL(&f));
	wr(&f, 0x38d, 0x3333);
	feed(&f);
	for (i = 0; i < 4; i++)
		assert_int_equal(rd(&f, 0x309 + i), counts[i]);

	/* Neither ring: nothing. */
	wr(&f, 0x38d, 0x8888);
	feed(&f);
	for (i = 0; i < 4; i++)
		assert_int_equal(rd(&f, 0x309 + i), counts[i]);
}

static void qualifiers(void **state)
{
	static const struct {
		unsigned int event;
		uint64_t bits;
		uint64_t count;
	} rules[] = {
		/* INV without CMASK has no meaning. */
		{ 0x00c4, SEL_INV, 130 },
		{ 0x003c, SEL_INV, 1000 },
		/* A step has at least one event, or less than one. */
		{ 0x00c0, SEL_CMASK(1), 900 },
		{ 0x00c0, SEL_CMASK(1) | SEL_INV, 100 },
		{ 0x00c4, SEL_CMASK(1), 130 },
		{ 0x00c4, SEL_CMASK(1) | SEL_INV, 870 },
		{ 0x003c, SEL_CMASK(1), 1000 },
		{ 0x003c, SEL_CMASK(1) | SEL_INV, 0 },
		/* Never two, so always less than two. */
		{ 0x00c0, SEL_CMASK(2), 0 },
		{ 0x00c0, SEL_CMASK(2) | SEL_INV, 1000 },
		{ 0x003c, SEL_CMASK(2), 0 },
		{ 0x003c, SEL_CMASK(255) | SEL_INV, 1000 },
		/* Four slots, always. */
		{ 0x01a4, SEL_CMASK(1), 1000 },
		{ 0x01a4, SEL_CMASK(4), 1000 },
		{ 0x01a4, SEL_CMASK(5), 0 },
		{ 0x01a4, SEL_CMASK(4) | SEL_INV, 0 },
		{ 0x01a4, SEL_CMASK(5) | SEL_INV, 1000 },
		/* Edges of what never changes: one. */
		{ 0x003c, SEL_EDGE, 1 },
		{ 0x003c, SEL_EDGE | SEL_CMASK(1), 1 },
		{ 0x003c, SEL_EDGE | SEL_CMASK(2), 0 },
		{ 0x003c, SEL_EDGE | SEL_CMASK(2) | SEL_INV, 1 },
		/* Otherwise the rarer kind of step stands for the edges. */
		{ 0x00c0, SEL_EDGE, 100 },
		{ 0x00c0, SEL_EDGE | SEL_CMASK(1) | SEL_INV, 100 },
		{ 0x00c4, SEL_EDGE, 130 },
		{ 0x00c4, SEL_EDGE | SEL_CMASK(1) | SEL_INV, 130 },
		{ 0x00c4, SEL_EDGE | SEL_CMASK(2) | SEL_INV, 1 },
		/* Several a step: only "at least one". */
		{ 0x81d0, SEL_CMASK(1), 310 },
		{ 0x81d0, SEL_CMASK(2), 0 },
		{ 0x81d0, SEL_CMASK(1) | SEL_INV, 0 },
		{ 0x412e, SEL_EDGE, 23 },
		/* Not modelled stays not modelled. */
		{ 0x0001, SEL_CMASK(1) | SEL_INV, 0 },
		/* Pin control and PMI change no count. */
		{ 0x00c0, SEL_PC | SEL_INT, 900 },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		assert_int_equal(count("intel-8+4", SEL_ON | rules[i].event | rules[i].bits),
				 rules[i].count);
}

/* An edge of "cycles" each time counting starts. */
static void edge_level(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	fix_init(&f, "intel-8+3");
	wr(&f, 0x186, SEL_USR | SEL_EN | SEL_EDGE | SEL_CMASK(1) | 0x3c);
	run(&f, 10);
	assert_int_equal(rd(&f, 0xc1), 0);
	for (i = 1; i < 5; i++) {
		pmu_set_mode(&f.pmu, false, true, false);
		assert_int_equal(rd(&f, 0xc1), i - 1);
		run(&f, 1);
		assert_int_equal(rd(&f, 0xc1), i);
		run(&f, 9);
		/* An unrelated write is no new start. */
		wr(&f, 0x187, SEL_ON | 0xc0);
		run(&f, 9);
		assert_int_equal(rd(&f, 0xc1), i);
		pmu_set_mode(&f.pmu, false, false, false);
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc1), i);
	}
}

static void rings(void **state)
{
	static const uint64_t sels[4] = { 0, SEL_OS, SEL_USR, SEL_USR | SEL_OS };
	unsigned int i, guest, user, mode;
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+4");
	wr(&f, GLOBAL_CTRL, INTEL_ALL(&f));
	for (i = 0; i < 4; i++)
		wr(&f, 0x186 + i, SEL_EN | sels[i] | 0xc0);
	/* OS, USR, both, neither. */
	wr(&f, 0x38d, 0x0321);

	for (mode = 0; mode < 4; mode++) {
		guest = mode & 1;
		user = mode >> 1;
		for (i = 0; i < 4; i++) {
			wr(&f, 0x4c1 + i, 0);
			wr(&f, 0x309 + i, 0);
		}
		pmu_set_mode(&f.pmu, guest, user, false);
		run(&f, 5);
		assert_int_equal(rd(&f, 0xc1), 0);
		assert_int_equal(rd(&f, 0xc2), user ? 0 : 5);
		assert_int_equal(rd(&f, 0xc3), user ? 5 : 0);
		assert_int_equal(rd(&f, 0xc4), 5);
		assert_int_equal(rd(&f, 0x309), user ? 0 : 5);
		assert_int_equal(rd(&f, 0x30a), user ? 5 : 0);
		assert_int_equal(rd(&f, 0x30b), 5);
		assert_int_equal(rd(&f, 0x30c), 0);
	}
}

/* GLOBAL_CTRL gates each counter for itself; on the AMD model without it EN does. */
static void global_gate(void **state)
{
	unsigned int i, n;
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+4");
	for (i = 0; i < 8; i++)
		wr(&f, 0x186 + i, SEL_ON | 0xc0);
	wr(&f, 0x38d, 0x3333);
	for (i = 0; i < 12; i++) {
		uint32_t msr = i < 8 ? 0xc1 + i : 0x309 + i - 8;

		wr(&f, GLOBAL_CTRL, i < 8 ? BIT(i) : BIT(32 + i - 8));
		run(&f, 4);
		assert_int_equal(rd(&f, msr), i < 11 ? 4 : 16);
		wr(&f, GLOBAL_CTRL, 0);
		run(&f, 4);
		assert_int_equal(rd(&f, msr), i < 11 ? 4 : 16);
	}

	fix_init(&f, "amd-v2");
	for (i = 0; i < 6; i++)
		wr(&f, 0xc0010200 + 2 * i, SEL_ON | 0xc0);
	for (i = 0; i < 6; i++) {
		wr(&f, 0xc0000301, BIT(i));
		run(&f, 4);
		for (n = 0; n < 6; n++)
			assert_int_equal(rd(&f, 0xc0010201 + 2 * n), n <= i ? 4 : 0);
	}

	fix_init(&f, "amd-v1");
	wr(&f, 0xc0010000, SEL_ON | 0xc0);
	run(&f, 4);
	assert_int_equal(rd(&f, 0xc0010004), 4);
	wr(&f, 0xc0010000, SEL_USR | SEL_OS | 0xc0);
	run(&f, 4);
	assert_int_equal(rd(&f, 0xc0010004), 4);
}

static void oracle(void **state)
{
	unsigned int guest, user;
	struct fix f;

	(void)state;
	fix_init(&f, "amd-v1");
	for (guest = 0; guest < 2; guest++)
		for (user = 0; user < 2; user++) {
			unsigned int i;

			pmu_set_mode(&f.pmu, guest, user, false);
			for (i = 0; i < 1 + guest + 2 * user; i++)
				feed(&f);
		}
	pmu_sync(&f.pmu);

	for (guest = 0; guest < 2; guest++)
		for (user = 0; user < 2; user++) {
			const struct pmu_feed *at = &f.pmu.oracle.at[guest][user];
			uint64_t k = 1 + guest + 2 * user;

			assert_int_equal(at->steps, k * growth.steps);
			assert_int_equal(at->retired, k * growth.retired);
			assert_int_equal(at->branches, k * growth.branches);
			assert_int_equal(at->branches_cond, k * growth.branches_cond);
			assert_int_equal(at->branches_taken, k * growth.branches_taken);
			assert_int_equal(at->branch_misses, k * growth.branch_misses);
			assert_int_equal(at->cache_refs, k * growth.cache_refs);
			assert_int_equal(at->cache_misses, k * growth.cache_misses);
			assert_int_equal(at->loads, k * growth.loads);
			assert_int_equal(at->stores, k * growth.stores);
		}
}

static void want(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+3");
	assert_int_equal(f.pmu.want, 0);
	wr(&f, 0x186, SEL_USR | SEL_EN | 0xc5);
	wr(&f, 0x187, SEL_OS | SEL_EN | 0x412e);
	assert_int_equal(f.pmu.want, PMU_WANT_ANY | PMU_WANT_CACHE);
	pmu_set_mode(&f.pmu, false, true, false);
	assert_int_equal(f.pmu.want, PMU_WANT_ANY | PMU_WANT_BRANCH_MISSES);
	assert_true(f.rearms >= 2);
	wr(&f, 0x188, SEL_ON | 0x81d0);
	assert_int_equal(f.pmu.want, PMU_WANT_ANY | PMU_WANT_BRANCH_MISSES | PMU_WANT_MEM);
	wr(&f, 0x188, SEL_ON | 0xc0);
	wr(&f, 0x186, 0);
	assert_int_equal(f.pmu.want, PMU_WANT_ANY);
	wr(&f, GLOBAL_CTRL, 0);
	assert_int_equal(f.pmu.want, 0);
	/* Nothing is wanted of an event that is not modelled. */
	wr(&f, 0x186, SEL_ON | 0x01);
	wr(&f, GLOBAL_CTRL, 1);
	assert_int_equal(f.pmu.want, 0);
}

static void metrics(void **state)
{
	struct fix f;
	uint64_t m;

	(void)state;
	fix_init(&f, "intel-8+4");
	wr(&f, 0x38d, 0x3000);
	wr(&f, 0x30c, 0);
	wr(&f, 0x329, 0);

	/* Half of the steps retire: one of eight slots, 255/8 rounded down. */
	wr(&f, GLOBAL_CTRL, BIT(35) | BIT(48));
	f.pmu.feed.steps += 1000;
	f.pmu.feed.retired += 500;
	m = rd(&f, 0x329);
	assert_int_equal(m, (255ull - 31) << 24 | 31);
	assert_int_equal(rdpmc(&f, 1u << 29), m);
	assert_int_equal(rdpmc(&f, 1u << 30 | 3), 4000);

	/* Saved and restored, it goes on where it was: 1/8, then nothing retires. */
	wr(&f, 0x30c, 4000);
	assert_int_equal(rd(&f, 0x329), 0);
	wr(&f, 0x329, m);
	assert_int_equal(rd(&f, 0x329), m);
	f.pmu.feed.steps += 1000;
	assert_int_equal(rd(&f, 0x329), (255ull - 15) << 24 | 15);

	/* The counter alone does not move it. */
	wr(&f, GLOBAL_CTRL, BIT(35));
	f.pmu.feed.steps += 1000;
	f.pmu.feed.retired += 1000;
	assert_int_equal(rd(&f, 0x329), (255ull - 15) << 24 | 15);
	assert_int_equal(rd(&f, 0x30c), 12000);

	/* Its own bit without the counter does not, either. */
	wr(&f, GLOBAL_CTRL, BIT(48));
	f.pmu.feed.steps += 1000;
	assert_int_equal(rd(&f, 0x329), (255ull - 15) << 24 | 15);
	assert_int_equal(rd(&f, 0x30c), 12000);

	/* Everything retires that can: a quarter. */
	wr(&f, 0x30c, 0);
	wr(&f, 0x329, 0);
	wr(&f, GLOBAL_CTRL, BIT(35) | BIT(48));
	run(&f, 77);
	assert_int_equal(rd(&f, 0x329), (255ull - 63) << 24 | 63);

	/* Nonsense in, still no more than the whole out. */
	wr(&f, 0x30c, 1000);
	wr(&f, 0x329, 0xffffffff);
	run(&f, 1);
	m = rd(&f, 0x329);
	assert_int_equal((m & 0xff) + (m >> 8 & 0xff) + (m >> 16 & 0xff) + (m >> 24), 255);
}

static void predictor(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	fix_init(&f, "intel-8+3");
	wr(&f, 0x186, SEL_ON | 0xc5);

	/* A loop of 100 rounds: wrong at the first and at the last. */
	for (i = 0; i < 99; i++)
		pmu_branch(&f.pmu, 0x1000, 0xff0, true);
	assert_int_equal(rd(&f, 0xc1), 1);
	pmu_branch(&f.pmu, 0x1000, 0xff0, false);
	assert_int_equal(rd(&f, 0xc1), 2);
	/* Once more: still taken for a loop. */
	pmu_branch(&f.pmu, 0x1000, 0xff0, true);
	assert_int_equal(rd(&f, 0xc1), 2);

	/* Never taken, never wrong. */
	for (i = 0; i < 50; i++)
		pmu_branch(&f.pmu, 0x2004, 0x1, false);
	assert_int_equal(rd(&f, 0xc1), 2);

	/* An indirect branch is wrong when the target changes. */
	wr(&f, 0xc1, 0);
	for (i = 0; i < 10; i++)
		pmu_branch(&f.pmu, 0x3110, 0x5000, true);
	assert_int_equal(rd(&f, 0xc1), 1);
	for (i = 0; i < 10; i++)
		pmu_branch(&f.pmu, 0x3110, 0x6000 + i % 2, true);
	assert_int_equal(rd(&f, 0xc1), 11);
}

static void cache(void **state)
{
	struct fix f;
	unsigned int i, k;

	(void)state;
	fix_init(&f, "amd-v2");
	wr(&f, 0xc0010200, SEL_ON | 0xff60);
	wr(&f, 0xc0010202, SEL_ON | 0x0964);

	/* One line, any byte of it: one miss. */
	for (i = 0; i < 64; i++)
		pmu_mem(&f.pmu, 0x10000 + i, i & 1);
	assert_int_equal(rd(&f, 0xc0010201), 64);
	assert_int_equal(rd(&f, 0xc0010203), 1);

	/* Eight lines fit a set, nine by turns never hit. */
	wr(&f, 0xc0010203, 0);
	for (k = 0; k < 3; k++)
		for (i = 0; i < 8; i++)
			pmu_mem(&f.pmu, 0x40 + i * 4096, false);
	assert_int_equal(rd(&f, 0xc0010203), 8);
	for (k = 0; k < 3; k++)
		for (i = 0; i < 9; i++)
			pmu_mem(&f.pmu, 0x80 + i * 4096, false);
	assert_int_equal(rd(&f, 0xc0010203), 8 + 27);

	/* The least recently used goes. */
	wr(&f, 0xc0010203, 0);
	for (i = 0; i < 8; i++)
		pmu_mem(&f.pmu, 0xc0 + i * 4096, false);
	pmu_mem(&f.pmu, 0xc0, false);
	pmu_mem(&f.pmu, 0xc0 + 8 * 4096, false);
	pmu_mem(&f.pmu, 0xc0, false);
	assert_int_equal(rd(&f, 0xc0010203), 9);
	pmu_mem(&f.pmu, 0xc0 + 1 * 4096, false);
	assert_int_equal(rd(&f, 0xc0010203), 10);

	/* The line at address 0 is a line, not an empty way. */
	wr(&f, 0xc0010203, 0);
	pmu_mem(&f.pmu, 0, false);
	pmu_mem(&f.pmu, 0, false);
	assert_int_equal(rd(&f, 0xc0010203), 1);
}

/* Ten rounds of CLFLUSH of the same line must give references and misses. */
static void flush(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	fix_init(&f, "intel-8+3");
	wr(&f, 0x186, SEL_ON | 0x4f2e);
	wr(&f, 0x187, SEL_ON | 0x412e);

	pmu_mem(&f.pmu, 0x1234, false);
	for (i = 0; i < 10; i++)
		pmu_flush(&f.pmu, 0x1200);
	assert_int_equal(rd(&f, 0xc1), 11);
	assert_int_equal(rd(&f, 0xc2), 1 + 9);

	/* Only that line went, from wherever in the set it was. */
	for (i = 0; i < 8; i++)
		pmu_mem(&f.pmu, 0x40 + i * 4096, false);
	pmu_flush(&f.pmu, 0x40 + 3 * 4096);
	wr(&f, 0xc2, 0);
	for (i = 0; i < 8; i++)
		if (i != 3)
			pmu_mem(&f.pmu, 0x40 + i * 4096, false);
	assert_int_equal(rd(&f, 0xc2), 0);
	pmu_mem(&f.pmu, 0x40 + 3 * 4096, false);
	assert_int_equal(rd(&f, 0xc2), 1);
	/* No load, no store. */
	assert_int_equal(f.pmu.feed.loads, 1 + 8 + 8);
	assert_int_equal(f.pmu.feed.stores, 0);
}

static void load_op_store(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f, "amd-v2");
	wr(&f, 0xc0010200, SEL_ON | 0x0129);
	wr(&f, 0xc0010202, SEL_ON | 0x0229);
	wr(&f, 0xc0010204, SEL_ON | 0x0429);

	/* mov $0, m; mov m, %eax; incl m */
	pmu_mem(&f.pmu, 0x1000, true);
	pmu_mem(&f.pmu, 0x1000, false);
	assert_int_equal(rd(&f, 0xc0010205), 0);
	pmu_mem(&f.pmu, 0x1000, false);
	pmu_mem(&f.pmu, 0x1000, true);
	assert_int_equal(rd(&f, 0xc0010201), 2);
	assert_int_equal(rd(&f, 0xc0010203), 2);
	assert_int_equal(rd(&f, 0xc0010205), 1);

	/* A second store, or one elsewhere, is none. */
	pmu_mem(&f.pmu, 0x1000, true);
	pmu_mem(&f.pmu, 0x1000, false);
	pmu_mem(&f.pmu, 0x1004, true);
	assert_int_equal(rd(&f, 0xc0010205), 1);
	/* Without a cache event the cache stays out of it. */
	assert_int_equal(f.pmu.feed.cache_refs, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_intel),
		cmocka_unit_test(events_amd),
		cmocka_unit_test(events_fixed),
		cmocka_unit_test(qualifiers),
		cmocka_unit_test(edge_level),
		cmocka_unit_test(rings),
		cmocka_unit_test(global_gate),
		cmocka_unit_test(oracle),
		cmocka_unit_test(want),
		cmocka_unit_test(metrics),
		cmocka_unit_test(predictor),
		cmocka_unit_test(cache),
		cmocka_unit_test(flush),
		cmocka_unit_test(load_op_store),
	};

	return cmocka_run_group_tests_name("count", tests, NULL, NULL);
}
