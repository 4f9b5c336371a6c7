// SPDX-License-Identifier: GPL-2.0
/* The registers of the AMD models, each rule with what it allows and refuses. */
#include "amd_regs.h"
#include "common.h"

static const char *const models[] = { "amd-v2", "amd-v1", "amd-zen4", "amd-zen5" };

#define NR_MODELS	4

#define for_each_model(i, f)							\
	for (i = 0; i < NR_MODELS && (fix_init(f, models[i]), true); i++)

/* No PC (19), no ANY (21), nothing above the host/guest bits. */
#define CTL_BITS	(0xffd7ffffull | 0xfull << 32 | SEL_GUESTONLY | SEL_HOSTONLY)

static bool is_v2(const struct fix *f)
{
	return f->pmu.model->version == 2;
}

static void cpuid(void **state)
{
	const struct pmu_quirks none = { 0 };
	uint32_t r[4];

	(void)state;
	pmu_cpuid_80000022(pmu_model_find("amd-v2"), r);
	assert_int_equal(r[0], 0x5);
	assert_int_equal(r[1], 6);
	assert_int_equal(r[2] | r[3], 0);

	memset(r, 0xff, sizeof(r));
	pmu_cpuid_80000022(pmu_model_find("amd-v1"), r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);

	memset(r, 0xff, sizeof(r));
	pmu_cpuid_0a(pmu_model_find("amd-v2"), &none, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
}

static void reset_values(void **state)
{
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		unsigned int pass;

		for (pass = 0; pass < 2; pass++) {
			for (n = 0; n < 6; n++) {
				assert_int_equal(rd(&f, CTL(n)), 0);
				assert_int_equal(rd(&f, CTR(n)), 0);
				wr(&f, CTL(n), SEL_ON | 0xc0);
				wr(&f, CTR(n), 5);
			}
			if (is_v2(&f)) {
				assert_int_equal(rd(&f, GLOBAL_CTL), 0x3f);
				assert_int_equal(rd(&f, STATUS), 0);
				wr(&f, GLOBAL_CTL, 1);
				wr(&f, STATUS_SET, 1);
			}
			assert_int_equal(rd(&f, 0x1d9), 0);
			wr(&f, 0x1d9, 1);
			pmu_reset(&f.pmu);
		}
	}
}

static void ctl(void **state)
{
	struct fix f;
	unsigned int i, n, b;

	(void)state;
	for_each_model(i, &f) {
		for (n = 0; n < 6; n++) {
			/* Reserved bits do not fault, they are dropped. */
			for (b = 0; b < 64; b++) {
				wr(&f, CTL(n), BIT(b));
				assert_int_equal(rd(&f, CTL(n)), BIT(b) & CTL_BITS);
			}
			wr(&f, CTL(n), ~0ull);
			assert_int_equal(rd(&f, CTL(n)), CTL_BITS);
		}
	}
}

static void ctr(void **state)
{
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		for (n = 0; n < 6; n++) {
			wr(&f, CTR(n), 0x800000000000 + n);
			assert_int_equal(rd(&f, CTR(n)), 0x800000000000 + n);
			assert_int_equal(rdpmc(&f, n), 0x800000000000 + n);
			/* No sign extension, and what is beyond the width is dropped. */
			wr(&f, CTR(n), 0x80000000);
			assert_int_equal(rd(&f, CTR(n)), 0x80000000);
			wr(&f, CTR(n), 0xabcd000000000001);
			assert_int_equal(rd(&f, CTR(n)), 1);
		}
	}
}

static void k7_aliases(void **state)
{
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		for (n = 0; n < 4; n++) {
			wr(&f, 0xc0010000 + n, 0xc0 + n);
			assert_int_equal(rd(&f, CTL(n)), 0xc0 + n);
			wr(&f, 0xc0010004 + n, 0x100 + n);
			assert_int_equal(rd(&f, CTR(n)), 0x100 + n);
			wr(&f, CTL(n), 0x76);
			assert_int_equal(rd(&f, 0xc0010000 + n), 0x76);
			wr(&f, CTR(n), 7);
			assert_int_equal(rd(&f, 0xc0010004 + n), 7);
		}
		/* Counters 4 and 5 have none. */
		assert_int_equal(rd(&f, CTL(4)) | rd(&f, CTR(4)), 0);
		assert_int_equal(rd(&f, CTL(5)) | rd(&f, CTR(5)), 0);
		assert_int_equal(pmu_wrmsr(&f.pmu, 0xc0010008, 0), PMU_UNKNOWN);
	}
}

static void global(void **state)
{
	uint64_t settable = 0x3f | BIT(58) | BIT(59);
	struct fix f;
	unsigned int b;

	(void)state;
	fix_init(&f, "amd-v2");

	for (b = 0; b < 64; b++) {
		wr(&f, GLOBAL_CTL, BIT(b));
		assert_int_equal(rd(&f, GLOBAL_CTL), BIT(b) & 0x3f);
	}

	/* Read-only, but no fault. */
	wr(&f, STATUS, ~0ull);
	assert_int_equal(rd(&f, STATUS), 0);

	for (b = 0; b < 64; b++) {
		wr(&f, STATUS_SET, BIT(b));
		assert_int_equal(rd(&f, STATUS), BIT(b) & settable);
		wr(&f, STATUS_CLR, ~BIT(b));
		assert_int_equal(rd(&f, STATUS), BIT(b) & settable);
		wr(&f, STATUS_CLR, BIT(b));
		assert_int_equal(rd(&f, STATUS), 0);
	}
	assert_int_equal(rd(&f, STATUS_SET), 0);
	assert_int_equal(rd(&f, STATUS_CLR), 0);
	assert_int_equal(f.pmis, 0);
}

static void global_absent(void **state)
{
	struct fix f;
	uint32_t msr;

	(void)state;
	fix_init(&f, "amd-v1");
	for (msr = STATUS; msr <= STATUS_SET; msr++) {
		rd_gp(&f, msr);
		wr_gp(&f, msr, 0);
	}
}

static void debugctl(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	for_each_model(i, &f) {
		sweep_bits(&f, 0x1d9, 0x83f | (is_v2(&f) ? BIT(12) : 0));
		wr(&f, 0x1d9, 3);
		assert_int_equal(rd(&f, 0x1d9), 3);
	}
}

static void absent(void **state)
{
	static const uint32_t foreign[] = {
		0xc1, 0x4c1, 0x186, 0x309, 0x329, 0x345, 0x38d, 0x38e, 0x38f, 0x390, 0x391, 0x392,
		0x3f1, 0xc0000304, 0xc00102ff, 0xc001020c, 0xc00101ff, 0xc000ffff, 0xc0000080,
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
	}
}

static void rdpmc_index(void **state)
{
	static const uint32_t bad[] = {
		0x1c, 1u << 29, 1u << 30, 1u << 31, 0xffffffff, 6, 7, 9, 0xa, 0xf, 0x10, 0x1b,
	};
	struct fix f;
	unsigned int i, n;

	(void)state;
	for_each_model(i, &f) {
		for (n = 0; n < 6; n++)
			rdpmc(&f, n);
		/* From 6 to 1bh are counters that the Zen models have, test_zen.c. */
		for (n = 0; n < (f.pmu.model->uncore ? 5 : sizeof(bad) / sizeof(bad[0])); n++)
			rdpmc_gp(&f, bad[n]);
	}
}

/* What all processors share is read with RDPMC, too. */
static void rdpmc_uncore(void **state)
{
	struct fix f;
	uint32_t n;

	(void)state;
	fix_init(&f, "amd-v2");
	f.pmu.quirks.uncore.on = true;
	run(&f, 1000);
	for (n = 6; n <= 0x1b; n++)
		assert_int_equal(rdpmc(&f, n), 1000);
	rdpmc_gp(&f, 0x1c);
	assert_int_equal(rdpmc(&f, 5), 0);
}

/* Linux from boot to the first PMI. */
static void linux_driver(void **state)
{
	struct fix f;
	unsigned int i, n;
	uint64_t val;

	(void)state;
	for_each_model(i, &f) {
		for (n = 0; n < 6; n++)
			assert_int_equal(rd(&f, CTL(n)) & SEL_EN, 0);
		val = rd(&f, CTR(5)) ^ 0xffff;
		wr(&f, CTR(5), val);
		assert_int_equal(rd(&f, CTR(5)), val);

		if (is_v2(&f)) {
			wr(&f, GLOBAL_CTL, 0);
			wr(&f, STATUS_CLR, 0x3f | BIT(58));
		}
		wr(&f, CTR(0), -100ull & MASK48);
		wr(&f, CTL(0), SEL_ON | SEL_INT | 0xc0);
		if (is_v2(&f))
			wr(&f, GLOBAL_CTL, 0x3f);
		run(&f, 100);
		assert_int_equal(f.pmis, 1);
		assert_int_equal(rd(&f, CTR(0)), 0);
		if (is_v2(&f)) {
			wr(&f, GLOBAL_CTL, 0);
			assert_int_equal(rd(&f, STATUS), 1);
			wr(&f, STATUS_CLR, 1);
			assert_int_equal(rd(&f, STATUS), 0);
		} else {
			rd_gp(&f, STATUS);
		}
	}
}

/* Who counts under which host/guest bits, mode and EFER.SVME. */
static void host_guest(void **state)
{
	static const struct {
		uint64_t sel;
		/* [svme][guest] */
		bool counts[2][2];
	} rules[] = {
		{ 0,				{ { true, true }, { true, true } } },
		{ SEL_GUESTONLY,		{ { false, false }, { false, true } } },
		{ SEL_HOSTONLY,			{ { false, false }, { true, false } } },
		{ SEL_GUESTONLY | SEL_HOSTONLY,	{ { false, false }, { true, true } } },
	};
	unsigned int i, r, m;
	struct fix f;

	(void)state;
	for_each_model(i, &f) {
		for (r = 0; r < 4; r++) {
			for (m = 0; m < 8; m++) {
				bool guest = m & 1, user = m & 2, svme = m & 4;

				pmu_set_mode(&f.pmu, guest, user, svme);
				wr(&f, CTL(3), SEL_ON | 0xc0 | rules[r].sel);
				wr(&f, CTR(3), 0);
				run(&f, 7);
				assert_int_equal(rd(&f, CTR(3)),
						 rules[r].counts[svme][guest] ? 7 : 0);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpuid),
		cmocka_unit_test(reset_values),
		cmocka_unit_test(ctl),
		cmocka_unit_test(ctr),
		cmocka_unit_test(k7_aliases),
		cmocka_unit_test(global),
		cmocka_unit_test(global_absent),
		cmocka_unit_test(debugctl),
		cmocka_unit_test(absent),
		cmocka_unit_test(rdpmc_index),
		cmocka_unit_test(rdpmc_uncore),
		cmocka_unit_test(linux_driver),
		cmocka_unit_test(host_guest),
	};

	return cmocka_run_group_tests_name("amd", tests, NULL, NULL);
}
