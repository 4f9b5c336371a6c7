// SPDX-License-Identifier: GPL-2.0
/* The registers of the Intel models, each rule with what it allows and refuses. */
#include "common.h"

static const char *const models[] = {
	"intel-8+3", "intel-8+3-nosave", "intel-8+4", "intel-8+4-nosave",
};

#define NR_MODELS	(sizeof(models) / sizeof(models[0]))

#define for_each_model(i, f)							\
	for (i = 0; i < NR_MODELS && (fix_init(f, models[i]), true); i++)

#define METRICS(f)	((f)->pmu.model->perf_metrics ? BIT(48) : 0)
#define FIXED(f)	(((BIT((f)->pmu.model->nr_fixed)) - 1) << 32)

static void models_exist(void **state)
{
	const struct pmu_model *m;
	unsigned int nr = 0;

	(void)state;
	for (m = pmu_models; m->name; m++) {
		assert_ptr_equal(pmu_model_find(m->name), m);
		nr++;
	}
	assert_int_equal(nr, 8);
	assert_true(pmu_model_find("intel-8+3")->vmx_save_global_ctrl);
	assert_false(pmu_model_find("intel-8+3-nosave")->vmx_save_global_ctrl);
	assert_true(pmu_model_find("intel-8+4")->vmx_save_global_ctrl);
	assert_false(pmu_model_find("intel-8+4-nosave")->vmx_save_global_ctrl);
	assert_null(pmu_model_find("intel"));
	assert_null(pmu_model_find(""));
}

static void cpuid(void **state)
{
	const struct pmu_quirks none = { 0 };
	uint32_t r[4];

	(void)state;
	pmu_cpuid_0a(pmu_model_find("intel-8+3"), &none, r);
	assert_int_equal(r[0], 0x08300805);
	assert_int_equal(r[1], 0);		/* slots without a fixed counter */
	assert_int_equal(r[2], 0x7);
	assert_int_equal(r[3], 3 | 48 << 5 | 1 << 15);

	pmu_cpuid_0a(pmu_model_find("intel-8+4"), &none, r);
	assert_int_equal(r[0], 0x08300805);
	assert_int_equal(r[1], 0);
	assert_int_equal(r[2], 0xf);
	assert_int_equal(r[3], 4 | 48 << 5 | 1 << 15);

	memset(r, 0xff, sizeof(r));
	pmu_cpuid_80000022(pmu_model_find("intel-8+4"), r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
}

static void reset_values(void **state)
{
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		assert_int_equal(rd(&f, 0x38f), 0xff);
		assert_int_equal(rd(&f, 0x38e), 0);
		assert_int_equal(rd(&f, 0x38d), 0);
		assert_int_equal(rd(&f, 0x392), 0);
		assert_int_equal(rd(&f, 0x1d9), 0);
		for (n = 0; n < 8; n++) {
			assert_int_equal(rd(&f, 0x186 + n), 0);
			assert_int_equal(rd(&f, 0xc1 + n), 0);
		}

		for (n = 0; n < 8; n++) {
			wr(&f, 0x186 + n, SEL_ON | 0xc0);
			wr(&f, 0x4c1 + n, n + 1);
		}
		for (n = 0; n < f.pmu.model->nr_fixed; n++)
			wr(&f, 0x309 + n, n + 1);
		wr(&f, 0x38d, 0x333);
		wr(&f, 0x38f, FIXED(&f));
		wr(&f, 0x391, 1);
		wr(&f, 0x1d9, BIT(12));
		run(&f, 10);
		pmu_reset(&f.pmu);

		assert_int_equal(rd(&f, 0x38f), 0xff);
		assert_int_equal(rd(&f, 0x38e), 0);
		assert_int_equal(rd(&f, 0x38d), 0);
		assert_int_equal(rd(&f, 0x1d9), 0);
		for (n = 0; n < 8; n++) {
			assert_int_equal(rd(&f, 0x186 + n), 0);
			assert_int_equal(rd(&f, 0xc1 + n), 0);
		}
		for (n = 0; n < f.pmu.model->nr_fixed; n++)
			assert_int_equal(rd(&f, 0x309 + n), 0);
		/* Feed and oracle go on. */
		assert_int_equal(f.pmu.feed.steps, 10);
		assert_int_equal(f.pmu.oracle.at[PMU_HOST][PMU_KERNEL].steps, 10);
		assert_int_equal(f.pmu.want, 0);
	}
}

static void eventsel(void **state)
{
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		wr(&f, 0x38f, 0);
		for (n = 0; n < 8; n++) {
			/* All of the low half but ANY. */
			sweep_bits(&f, 0x186 + n, 0xffffffff & ~SEL_ANY);
			wr(&f, 0x186 + n, 0xffffffff & ~SEL_ANY);
			assert_int_equal(rd(&f, 0x186 + n), 0xffffffff & ~SEL_ANY);
			wr_gp(&f, 0x186 + n, SEL_ON | 0xc0 | SEL_ANY);
			wr_gp(&f, 0x186 + n, SEL_ON | 0xc0 | BIT(32));
		}
	}
}

static void counters_gp(void **state)
{
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		for (n = 0; n < 8; n++) {
			/* 32 bits, sign-extended to the width; the rest is ignored. */
			wr(&f, 0xc1 + n, 0x7fffffff);
			assert_int_equal(rd(&f, 0xc1 + n), 0x7fffffff);
			wr(&f, 0xc1 + n, 0x80000000);
			assert_int_equal(rd(&f, 0xc1 + n), 0xffff80000000);
			wr(&f, 0xc1 + n, 0x1234567800000042);
			assert_int_equal(rd(&f, 0xc1 + n), 0x42);
			wr(&f, 0xc1 + n, 0xffffffffffffffff);
			assert_int_equal(rd(&f, 0xc1 + n), MASK48);

			/* The alias shares the counter and takes all 48 bits. */
			wr(&f, 0x4c1 + n, 0x7fffffffffff - n);
			assert_int_equal(rd(&f, 0x4c1 + n), 0x7fffffffffff - n);
			assert_int_equal(rd(&f, 0xc1 + n), 0x7fffffffffff - n);
			assert_int_equal(rdpmc(&f, n), 0x7fffffffffff - n);
			wr(&f, 0x4c1 + n, 0x80000000);
			assert_int_equal(rd(&f, 0x4c1 + n), 0x80000000);
			sweep_bits(&f, 0x4c1 + n, MASK48);
		}
	}
}

static void counters_fixed(void **state)
{
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		for (n = 0; n < f.pmu.model->nr_fixed; n++) {
			sweep_bits(&f, 0x309 + n, MASK48);
			wr(&f, 0x309 + n, 0x800000000000 + n);
			assert_int_equal(rd(&f, 0x309 + n), 0x800000000000 + n);
			assert_int_equal(rdpmc(&f, 1u << 30 | n), 0x800000000000 + n);
		}
		for (; n < 4; n++) {
			wr_gp(&f, 0x309 + n, 0);
			rd_gp(&f, 0x309 + n);
			rdpmc_gp(&f, 1u << 30 | n);
		}
	}
}

static void fixed_ctrl(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	for_each_model(i, &f)
		/* OS, USR, PMI; no ANY, no absent counter. */
		sweep_bits(&f, 0x38d, f.pmu.model->nr_fixed == 4 ? 0xbbbb : 0xbbb);
}

static void global_ctrl(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	for_each_model(i, &f) {
		sweep_bits(&f, 0x38f, 0xff | FIXED(&f) | METRICS(&f));
		wr(&f, 0x38f, 0x5a);
		assert_int_equal(rd(&f, 0x38f), 0x5a);
	}
}

static void global_status(void **state)
{
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		uint64_t set = 0xff | FIXED(&f) | METRICS(&f) |
			       BIT(58) | BIT(59) | BIT(61) | BIT(62);

		/* Read-only, even for no change. */
		wr_gp(&f, 0x38e, 0);
		wr_gp(&f, 0x38e, 1);

		/* PT's bit 55 and SGX's bit 60 are not there; CondChgd cannot be set. */
		sweep_bits(&f, 0x391, set);
		assert_int_equal(rd(&f, 0x38e), set);
		/* ... but cleared. */
		sweep_bits(&f, 0x390, set | BIT(63));
		assert_int_equal(rd(&f, 0x38e), 0);
		assert_int_equal(rd(&f, 0x390), 0);
		assert_int_equal(rd(&f, 0x391), 0);

		/* Each bit is set and cleared alone; no PMI ever. */
		for (n = 0; n < 64; n++) {
			if (!(set & BIT(n)))
				continue;
			wr(&f, 0x391, BIT(n));
			assert_int_equal(rd(&f, 0x38e), BIT(n));
			wr(&f, 0x390, set & ~BIT(n));
			assert_int_equal(rd(&f, 0x38e), BIT(n));
			wr(&f, 0x390, BIT(n));
			assert_int_equal(rd(&f, 0x38e), 0);
		}
		assert_int_equal(f.pmis, 0);
	}
}

static void global_inuse(void **state)
{
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		wr_gp(&f, 0x392, 0);
		wr_gp(&f, 0x392, 1);

		for (n = 0; n < 8; n++) {
			wr(&f, 0x186 + n, 0xc0);
			assert_int_equal(rd(&f, 0x392), BIT(n));
			/* A umask or an enable is not an event. */
			wr(&f, 0x186 + n, SEL_ON | 0x100);
			assert_int_equal(rd(&f, 0x392), 0);
			wr(&f, 0x186 + n, SEL_INT);
			assert_int_equal(rd(&f, 0x392), BIT(63));
			wr(&f, 0x186 + n, 0);
		}
		for (n = 0; n < f.pmu.model->nr_fixed; n++) {
			wr(&f, 0x38d, 1ull << (4 * n));
			assert_int_equal(rd(&f, 0x392), BIT(32 + n));
			wr(&f, 0x38d, 2ull << (4 * n));
			assert_int_equal(rd(&f, 0x392), BIT(32 + n));
			wr(&f, 0x38d, 8ull << (4 * n));
			assert_int_equal(rd(&f, 0x392), BIT(63));
		}
	}
}

static void perf_capabilities(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	for_each_model(i, &f) {
		uint64_t val = rd(&f, 0x345);

		assert_int_equal(val, BIT(13) | (METRICS(&f) ? BIT(15) : 0));
		wr_gp(&f, 0x345, val);
		wr_gp(&f, 0x345, 0);
	}
}

static void debugctl(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	for_each_model(i, &f) {
		sweep_bits(&f, 0x1d9, 0x5fc3);
		wr(&f, 0x1d9, 0x4801);
		assert_int_equal(rd(&f, 0x1d9), 0x4801);
	}
}

static void perf_metrics(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	for_each_model(i, &f) {
		if (!METRICS(&f)) {
			rd_gp(&f, 0x329);
			wr_gp(&f, 0x329, 0);
			rdpmc_gp(&f, 1u << 29);
			continue;
		}
		sweep_bits(&f, 0x329, 0xffffffff);
		wr(&f, 0x329, 0x11223344);
		assert_int_equal(rd(&f, 0x329), 0x11223344);
		assert_int_equal(rdpmc(&f, 1u << 29), 0x11223344);
	}
}

static void absent(void **state)
{
	static const uint32_t foreign[] = {
		0x10, 0xc0, 0xc9, 0x185, 0x18e, 0x308, 0x4c0, 0x4c9, 0x38c, 0x393, 0x600,
		0x834, 0xc0000080, 0xc0000300, 0xc0000301, 0xc0010000, 0xc0010004, 0xc0010200,
	};
	struct fix f;
	unsigned int i, n;
	uint64_t val;

	(void)state;
	for_each_model(i, &f) {
		for (n = 0; n < sizeof(foreign) / sizeof(foreign[0]); n++) {
			assert_int_equal(pmu_rdmsr(&f.pmu, foreign[n], &val), PMU_UNKNOWN);
			assert_int_equal(pmu_wrmsr(&f.pmu, foreign[n], 0), PMU_UNKNOWN);
			assert_false(pmu_wrmsr_valid(&f.pmu, foreign[n], 0));
		}
		/* PEBS is the PMU's, and absent. */
		rd_gp(&f, 0x3f1);
		wr_gp(&f, 0x3f1, 0);
		rd_gp(&f, 0x3f2);
		wr_gp(&f, 0x3f2, 0);
	}
}

static void rdpmc_index(void **state)
{
	static const uint32_t bad[] = {
		8, 9, 0x10, 1u << 31, 1u << 31 | 1, 1u << 30 | 4, 1u << 30 | 1u << 31,
		1u << 29 | 1, 1u << 28, 3u << 29, 3u << 30, 0xffffffff,
	};
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		for (n = 0; n < 8; n++)
			rdpmc(&f, n);
		for (n = 0; n < sizeof(bad) / sizeof(bad[0]); n++)
			rdpmc_gp(&f, bad[n]);
	}
}

/* What Linux does from boot to the first PMI must meet no #GP. */
static void linux_driver(void **state)
{
	struct fix f;
	unsigned int i, n;
	uint64_t val;

	(void)state;
	for_each_model(i, &f) {
		/* Probing. */
		for (n = 0; n < 8; n++)
			assert_int_equal(rd(&f, 0x186 + n) & SEL_EN, 0);
		assert_int_equal(rd(&f, 0x38d) & 0x3333, 0);
		val = rd(&f, 0xc8) ^ 0xffff;
		wr(&f, 0xc8, val);
		assert_int_equal(rd(&f, 0xc8), val);

		/* Clearing. */
		wr(&f, 0x38f, 0);
		for (n = 0; n < 8; n++) {
			wr(&f, 0x186 + n, 0);
			wr(&f, 0x4c1 + n, 0);
		}
		for (n = 0; n < f.pmu.model->nr_fixed; n++)
			wr(&f, 0x309 + n, 0);
		rd(&f, 0x390);

		/* DEBUGCTL by read-modify-write: LBR and freezes, freeze in SMM. */
		wr(&f, 0x1d9, rd(&f, 0x1d9) | BIT(0) | BIT(11));
		wr(&f, 0x1d9, rd(&f, 0x1d9) | BIT(14));

		/* An event on GP 0 and one on fixed 0, up to the overflow and its ack. */
		wr(&f, 0x4c1, -100ull & MASK48);
		wr(&f, 0x186, SEL_ON | SEL_INT | 0xc0);
		wr(&f, 0x309, -100ull & MASK48);
		wr(&f, 0x38d, 0xb);
		wr(&f, 0x38f, 0xff | FIXED(&f) | METRICS(&f));
		run(&f, 100);
		assert_int_equal(f.pmis, 1);
		wr(&f, 0x38f, 0);
		val = rd(&f, 0x38e);
		assert_int_equal(val, BIT(0) | BIT(32));
		wr(&f, 0x390, val);
		assert_int_equal(rd(&f, 0x38e), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(models_exist),
		cmocka_unit_test(cpuid),
		cmocka_unit_test(reset_values),
		cmocka_unit_test(eventsel),
		cmocka_unit_test(counters_gp),
		cmocka_unit_test(counters_fixed),
		cmocka_unit_test(fixed_ctrl),
		cmocka_unit_test(global_ctrl),
		cmocka_unit_test(global_status),
		cmocka_unit_test(global_inuse),
		cmocka_unit_test(perf_capabilities),
		cmocka_unit_test(debugctl),
		cmocka_unit_test(perf_metrics),
		cmocka_unit_test(absent),
		cmocka_unit_test(rdpmc_index),
		cmocka_unit_test(linux_driver),
	};

	return cmocka_run_group_tests_name("intel", tests, NULL, NULL);
}
