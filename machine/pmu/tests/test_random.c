// SPDX-License-Identifier: GPL-2.0
/*
 * Random programs, with fixed seeds.  A simple model beside the library, which
 * looks at every single step, must agree with it, and how often the library is
 * synced must not matter.
 */
#include <stdlib.h>

#include "common.h"

static uint64_t seed;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint64_t below(uint64_t n)
{
	return rnd() % n;
}

/* One step of the program that is being counted. */
static void step(struct pmu_feed *feed)
{
	uint64_t x = rnd();

	feed->steps++;
	if (x % 10 == 0)
		return;
	feed->retired++;
	if ((x >> 8) % 5 == 0) {
		feed->branches++;
		feed->branches_cond += (x >> 20) % 3 != 0;
		feed->branches_taken += (x >> 16) % 2;
		feed->branch_misses += (x >> 24) % 16 == 0;
	}
	feed->loads += (x >> 32) % 3;
	feed->stores += (x >> 40) % 2;
	feed->cache_refs += (x >> 48) % 3;
	feed->cache_misses += (x >> 48) % 16 == 0;
}

static uint64_t random_selector(bool intel)
{
	static const uint64_t intel_events[] = {
		0x3c, 0x13c, 0xc0, 0xc4, 0xc5, 0x4f2e, 0x412e, 0x1a4, 0x81d0, 0x82d0, 0x83d0, 0x01,
		0x1c4, 0x11c4,
	};
	static const uint64_t amd_events[] = {
		0x76, BIT(32) | 0x120, 0xc0, 0xc2, 0xc3, 0xc4, 0xff60, 0x964, 0x129, 0x329, 0xa9,
		0xd1,
	};
	uint64_t sel;

	if (intel)
		sel = intel_events[below(sizeof(intel_events) / sizeof(intel_events[0]))];
	else
		sel = amd_events[below(sizeof(amd_events) / sizeof(amd_events[0]))] |
		      below(4) << 40;
	sel |= (rnd() & (SEL_USR | SEL_OS | SEL_INT)) | SEL_EN;
	if (below(3) == 0)
		sel |= (rnd() & (SEL_EDGE | SEL_INV)) | SEL_CMASK(below(6));
	return sel;
}

/* A random write, the same to all of the PMUs. */
static void random_write(struct fix *f, unsigned int nr)
{
	bool intel = f->pmu.model->vendor == PMU_INTEL;
	unsigned int n = below(f->pmu.model->nr_gp), i;
	uint64_t val = rnd() & MASK48;
	uint32_t msr;

	if (below(2))
		val = -below(3000) & MASK48;

	switch (below(8)) {
	case 0:
	case 1:
		msr = intel ? 0x186 + n : 0xc0010200 + 2 * n;
		val = random_selector(intel);
		break;
	case 2:
	case 3:
		msr = intel ? 0x4c1 + n : 0xc0010201 + 2 * n;
		break;
	case 4:
		if (!intel)
			return;
		msr = 0x309 + below(f->pmu.model->nr_fixed);
		break;
	case 5:
		if (!intel)
			return;
		msr = 0x38d;
		val &= f->pmu.model->nr_fixed == 4 ? 0xbbbb : 0xbbb;
		break;
	case 6:
		if (f->pmu.model->version < 2)
			return;
		msr = intel ? 0x38f : 0xc0000301;
		val = rnd() | rnd();
		val &= intel ? 0xff | 7ull << 32 | (f->pmu.model->perf_metrics ? 0x1000800000000 : 0)
			     : 0x3f;
		break;
	default:
		if (f->pmu.model->version < 2)
			return;
		msr = intel ? 0x390 : 0xc0000302;
		val = 0xff | (intel ? 7ull << 32 : 0);
		break;
	}

	for (i = 0; i < nr; i++)
		wr(&f[i], msr, val);
}

static void assert_same(struct fix *a, struct fix *b)
{
	assert_memory_equal(a->pmu.gp, b->pmu.gp, sizeof(a->pmu.gp));
	assert_memory_equal(a->pmu.fixed, b->pmu.fixed, sizeof(a->pmu.fixed));
	assert_memory_equal(&a->pmu.oracle, &b->pmu.oracle, sizeof(a->pmu.oracle));
	assert_int_equal(a->pmu.global_status, b->pmu.global_status);
	assert_int_equal(a->pmu.deadline, b->pmu.deadline);
	assert_int_equal(a->pmu.want, b->pmu.want);
	if (a->pmu.model->perf_metrics)
		assert_int_equal(rd(a, 0x329), rd(b, 0x329));
}

static const char *const models[] = { "intel-8+3", "intel-8+4", "amd-v2", "amd-v1", "amd-zen5" };

/* One PMU is synced only when it must be, the other all the time. */
static void split_feeds(void **state)
{
	static struct fix f[2];
	unsigned int m, round, i, n;

	(void)state;
	for (m = 0; m < 5; m++) {
		seed = 0x1234567 + m;
		fix_init(&f[0], models[m]);
		fix_init(&f[1], models[m]);

		for (round = 0; round < 20000; round++) {
			bool guest = rnd() & 1, user = rnd() & 1, svme = rnd() % 4;

			n = below(60);
			for (i = 0; i < n; i++) {
				step(&f[0].pmu.feed);
				f[1].pmu.feed = f[0].pmu.feed;
				if (below(4) == 0)
					pmu_sync(&f[1].pmu);
			}
			pmu_sync(&f[0].pmu);
			pmu_sync(&f[1].pmu);
			assert_same(&f[0], &f[1]);
			assert_true(!f[0].pmis == !f[1].pmis);

			if (below(3) == 0) {
				pmu_set_mode(&f[0].pmu, guest, user, svme);
				pmu_set_mode(&f[1].pmu, guest, user, svme);
			}
			if (below(3) == 0)
				random_write(f, 2);
			assert_same(&f[0], &f[1]);
		}
		/* The test is worth nothing if nothing overflowed. */
		assert_true(f[0].pmis > 20);
	}
}

/* A counter by definition: looks at one step at a time. */
struct ref {
	uint64_t value;
	bool level;
};

static bool ref_on(const struct pmu *pmu, unsigned int n)
{
	uint64_t sel = pmu->eventsel[n];

	if (!(sel & SEL_EN) || !(sel & (pmu->user ? SEL_USR : SEL_OS)))
		return false;
	if (pmu->model->version >= 2 && !(pmu->global_ctrl & BIT(n)))
		return false;
	if (pmu->model->vendor == PMU_AMD && sel & (SEL_GUESTONLY | SEL_HOSTONLY))
		return pmu->svme && sel & (pmu->guest ? SEL_GUESTONLY : SEL_HOSTONLY);
	return true;
}

static uint64_t ref_events(const struct pmu *pmu, uint64_t sel, const struct pmu_feed *d)
{
	if (pmu->model->vendor == PMU_INTEL) {
		switch (sel & 0xffff) {
		case 0x3c:
		case 0x13c:
			return d->steps;
		case 0xc0:
			return d->retired;
		case 0xc4:
			return d->branches;
		case 0x1c4:		/* Skylake */
			return pmu->model->nr_fixed == 3 ? d->branches_cond : 0;
		case 0x11c4:		/* Ice Lake */
			return pmu->model->nr_fixed == 4 ? d->branches_cond : 0;
		case 0xc5:
			return d->branch_misses;
		case 0x4f2e:
			return d->cache_refs;
		case 0x412e:
			return d->cache_misses;
		case 0x1a4:
			return 4 * d->steps;
		case 0x81d0:
			return d->loads;
		case 0x82d0:
			return d->stores;
		case 0x83d0:
			return d->loads + d->stores;
		}
		return 0;
	}

	switch (sel & 0xf0000ffff) {
	case 0x76:
	case BIT(32) | 0x120:
		return d->steps;
	case 0xc0:
		return d->retired;
	case 0xc2:
		return d->branches;
	case 0xc3:
		return d->branch_misses;
	case 0xc4:
		return d->branches_taken;
	case 0xd1:
		return d->branches_cond;
	case 0xff60:
		return d->cache_refs;
	case 0x964:
		return d->cache_misses;
	case 0x129:
		return d->loads;
	case 0x329:
		return d->loads + d->stores;
	}
	return 0;
}

static bool is_multi(uint64_t sel)
{
	uint64_t event = sel & 0xff;

	return event == 0x2e || event == 0xd0 || event == 0x60 || event == 0x64 || event == 0x29;
}

static bool is_none(const struct pmu *pmu, uint64_t sel)
{
	static const struct pmu_feed one = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

	return !ref_events(pmu, sel, &one);
}

/* One step's contribution; only for what EVENTS.md says is exact. */
static uint64_t ref_step(const struct pmu *pmu, struct ref *ref, uint64_t sel,
			 const struct pmu_feed *d)
{
	uint64_t n = ref_events(pmu, sel, d);
	unsigned int cmask = sel >> 24 & 0xff;
	bool cond;

	if (!cmask)
		return n;
	cond = sel & SEL_INV ? n < cmask : n >= cmask;
	if (sel & SEL_EDGE) {
		bool rises = cond && !ref->level;

		ref->level = cond;
		return rises;
	}
	return cond;
}

/* CMASK on exact events and EDGE on what never changes are exact; nothing else. */
static bool exact(const struct pmu *pmu, uint64_t sel)
{
	unsigned int cmask = sel >> 24 & 0xff;
	uint64_t event = sel & 0xff;
	bool constant = event == 0x3c || event == 0x76 || event == 0x20 || event == 0xa4;

	if (is_none(pmu, sel))
		return !(sel & SEL_INV) || !cmask;
	if (sel & SEL_EDGE)
		return cmask && !is_multi(sel) && (constant || cmask > 1);
	return !cmask || !is_multi(sel);
}

static void step_by_step(void **state)
{
	static struct fix f;
	struct ref ref[8];
	unsigned int m, round, i, k, n;

	(void)state;
	for (m = 0; m < 5; m++) {
		bool intel;
		uint64_t checks = 0, sels[PMU_MAX_GP];

		seed = 0xfeed + m;
		fix_init(&f, models[m]);
		memset(ref, 0, sizeof(ref));
		intel = f.pmu.model->vendor == PMU_INTEL;

		for (round = 0; round < 20000; round++) {
			n = below(60);
			for (i = 0; i < n; i++) {
				struct pmu_feed old = f.pmu.feed, d;

				step(&f.pmu.feed);
				d = (struct pmu_feed){
					.steps = 1,
					.retired = f.pmu.feed.retired - old.retired,
					.branches = f.pmu.feed.branches - old.branches,
					.branches_cond = f.pmu.feed.branches_cond - old.branches_cond,
					.branches_taken = f.pmu.feed.branches_taken - old.branches_taken,
					.branch_misses = f.pmu.feed.branch_misses - old.branch_misses,
					.cache_refs = f.pmu.feed.cache_refs - old.cache_refs,
					.cache_misses = f.pmu.feed.cache_misses - old.cache_misses,
					.loads = f.pmu.feed.loads - old.loads,
					.stores = f.pmu.feed.stores - old.stores,
				};
				for (k = 0; k < f.pmu.model->nr_gp; k++)
					if (ref_on(&f.pmu, k))
						ref[k].value += ref_step(&f.pmu, &ref[k],
									 f.pmu.eventsel[k], &d);
			}
			pmu_sync(&f.pmu);
			for (k = 0; k < f.pmu.model->nr_gp; k++) {
				if (!exact(&f.pmu, f.pmu.eventsel[k])) {
					ref[k].value = f.pmu.gp[k];
					continue;
				}
				assert_int_equal(f.pmu.gp[k], ref[k].value & MASK48);
				checks += f.pmu.gp[k] != 0;
			}

			if (below(3) == 0)
				pmu_set_mode(&f.pmu, rnd() & 1, rnd() & 1, rnd() % 4);
			memcpy(sels, f.pmu.eventsel, sizeof(sels));
			if (below(3) == 0)
				random_write(&f, 1);
			for (k = 0; k < f.pmu.model->nr_gp; k++) {
				ref[k].value = f.pmu.gp[k];
				/* One that replaces another starts a new condition by way of 0. */
				if (f.pmu.eventsel[k] != sels[k]) {
					uint32_t msr = intel ? 0x186 + k : 0xc0010200 + 2 * k;
					uint64_t sel = f.pmu.eventsel[k];

					wr(&f, msr, 0);
					wr(&f, msr, sel);
					ref[k].level = false;
				}
				if (!ref_on(&f.pmu, k))
					ref[k].level = false;
			}
			/* A new selector starts a new condition. */
			if (below(3) == 0) {
				k = below(f.pmu.model->nr_gp);
				wr(&f, intel ? 0x186 + k : 0xc0010200 + 2 * k, 0);
				ref[k].level = false;
			}
		}
		assert_true(checks > 1000);
	}
}

/*
 * Several counters race to overflow.  Synced at deadlines alone, the first PMI
 * comes at the step at which the first of them really overflows.
 */
static void first_pmi(void **state)
{
	static const uint64_t events[] = { 0x3c, 0xc0, 0xc4, 0xc5, 0x81d0, 0x1a4 };
	static struct fix f;
	unsigned int round, k;

	(void)state;
	for (round = 0; round < 2000; round++) {
		uint64_t left[4], expected = 0;
		unsigned int late = below(4);

		seed = 77 + round;
		fix_init(&f, "intel-8+4");
		for (k = 0; k < 4; k++) {
			uint64_t event = events[below(6)];

			left[k] = 1 + below(2000);
			wr(&f, 0x4c1 + k, -left[k] & MASK48);
			wr(&f, 0x186 + k, SEL_ON | SEL_INT | event);
		}

		while (!f.pmis) {
			struct pmu_feed old = f.pmu.feed;

			step(&f.pmu.feed);
			for (k = 0; k < 4 && !expected; k++) {
				uint64_t sel = f.pmu.eventsel[k], n;
				struct pmu_feed d = {
					.steps = 1,
					.retired = f.pmu.feed.retired - old.retired,
					.branches = f.pmu.feed.branches - old.branches,
					.branch_misses = f.pmu.feed.branch_misses - old.branch_misses,
					.loads = f.pmu.feed.loads - old.loads,
				};

				n = ref_events(&f.pmu, sel, &d);
				if (n >= left[k])
					expected = f.pmu.feed.steps;
				left[k] -= n < left[k] ? n : left[k];
			}
			/* The glue may be up to @late steps late; the PMI is then, too. */
			if (f.pmu.feed.steps >= f.pmu.deadline + late)
				pmu_sync(&f.pmu);
		}
		assert_in_range(f.pmi_step, expected, expected + late);
	}
}

/* Every number of a register, every value: no crash, and valid() tells the truth. */
static void fuzz_registers(void **state)
{
	static const uint32_t bases[] = {
		0xc0, 0x180, 0x1d0, 0x300, 0x320, 0x340, 0x388, 0x390, 0x3f0, 0x4c0,
		0xc00002f8, 0xc0010000, 0xc00101f8, 0xc0010208,
	};
	static struct fix f;
	unsigned int m, i;

	(void)state;
	for (m = 0; m < 5; m++) {
		seed = 99 + m;
		fix_init(&f, models[m]);
		for (i = 0; i < 200000; i++) {
			uint32_t msr = bases[below(sizeof(bases) / sizeof(bases[0]))] + below(16);
			uint64_t val = rnd() & rnd() & (below(2) ? -1ull : 0xffffffff), got = 0;
			bool valid = pmu_wrmsr_valid(&f.pmu, msr, val);
			enum pmu_result r = pmu_wrmsr(&f.pmu, msr, val);

			assert_int_equal(valid, r == PMU_OK);
			if (r == PMU_OK)
				assert_int_equal(pmu_rdmsr(&f.pmu, msr, &got), PMU_OK);
			else if (r == PMU_UNKNOWN)
				assert_int_equal(pmu_rdmsr(&f.pmu, msr, &got), PMU_UNKNOWN);
			if (below(4) == 0)
				step(&f.pmu.feed);
			if (below(16) == 0)
				pmu_set_mode(&f.pmu, rnd() & 1, rnd() & 1, rnd() & 1);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_feeds),
		cmocka_unit_test(step_by_step),
		cmocka_unit_test(first_pmi),
		cmocka_unit_test(fuzz_registers),
	};

	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
