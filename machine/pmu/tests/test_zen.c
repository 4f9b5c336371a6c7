// SPDX-License-Identifier: GPL-2.0
/*
 * What amd-zen4 and amd-zen5 have more than amd-v2: counters of the data fabric and
 * the L3 cache, IRPerfCount, and PMC virtualization with its quirks.
 */
#include "amd_regs.h"
#include "common.h"

#define DEBUGCTL	0x1d9
#define IRPERF		0xc00000e9
#define HWCR		0xc0010015
#define L3_CTL(n)	(0xc0010230 + 2 * (n))
#define L3_CTR(n)	(0xc0010231 + 2 * (n))
#define DF_CTL(n)	(0xc0010240 + 2 * (n))
#define DF_CTR(n)	(0xc0010241 + 2 * (n))

static void quirks(struct fix *f, const char *text)
{
	char why[200] = "";

	if (!pmu_quirks_parse(&f->pmu.quirks, f->pmu.model, text, why, sizeof(why)))
		fail_msg("%s", why);
}

static void models(void **state)
{
	const struct pmu_model *v2 = pmu_model_find("amd-v2");
	const struct pmu_model *zen4 = pmu_model_find("amd-zen4");
	const struct pmu_model *zen5 = pmu_model_find("amd-zen5");
	const struct pmu_model *m;
	uint32_t r[4];

	(void)state;
	assert_true(!v2->uncore && !v2->irperf && !v2->vnmi && !v2->vpmc && !v2->signature);
	assert_true(zen4->uncore && zen4->irperf && zen4->vnmi && !zen4->vpmc);
	assert_true(zen5->uncore && zen5->irperf && zen5->vnmi && zen5->vpmc);
	/* Family: extended + base. */
	assert_int_equal((zen4->signature >> 20) + (zen4->signature >> 8 & 0xf), 0x19);
	assert_int_equal((zen5->signature >> 20) + (zen5->signature >> 8 & 0xf), 0x1a);
	for (m = pmu_models; m->name; m++)
		assert_true(!m->brand == !m->signature && (!m->brand || strlen(m->brand) < 48));

	pmu_cpuid_80000022(zen5, r);
	assert_int_equal(r[0], 0x5);
	assert_int_equal(r[1], 6 | 16 << 10);
	assert_int_equal(r[2] | r[3], 0);
}

/* The number of RDPMC for each register. */
static void uncore(void **state)
{
	struct fix f;
	uint64_t val;
	unsigned int n;

	(void)state;
	fix_init(&f, "amd-zen4");
	run(&f, 1000);
	for (n = 6; n <= 0x1b; n++)
		assert_int_equal(rdpmc(&f, n), 1000);
	rdpmc_gp(&f, 0x1c);

	for (n = 0; n < 6; n++) {
		wr(&f, L3_CTL(n), 0);
		wr(&f, L3_CTR(n), 0x100 + n);
	}
	for (n = 0; n < 16; n++) {
		wr(&f, DF_CTL(n), 0);
		wr(&f, DF_CTR(n), 0x200 + n);
	}
	run(&f, 50);
	for (n = 0; n < 6; n++) {
		assert_int_equal(rdpmc(&f, 0xa + n), 0x100 + n);
		assert_int_equal(rd(&f, L3_CTR(n)), 0x100 + n);
	}
	for (n = 0; n < 16; n++) {
		assert_int_equal(rdpmc(&f, n < 4 ? 6 + n : 0xc + n), 0x200 + n);
		assert_int_equal(rd(&f, DF_CTR(n)), 0x200 + n);
	}

	/* Only while enabled, from where it is. */
	wr(&f, DF_CTL(5), SEL_EN | 0x1f);
	assert_int_equal(rd(&f, DF_CTL(5)), SEL_EN | 0x1f);
	run(&f, 7);
	assert_int_equal(rd(&f, DF_CTR(5)), 0x205 + 7);
	wr(&f, DF_CTR(5), -3ull);
	run(&f, 5);
	assert_int_equal(rd(&f, DF_CTR(5)), 2);
	wr(&f, DF_CTL(5), 0);
	run(&f, 5);
	assert_int_equal(rd(&f, DF_CTR(5)), 2);
	assert_int_equal(rd(&f, DF_CTR(6)), 0x206);
	assert_int_equal(rd(&f, L3_CTR(5)), 0x105);
	/* There is no PMI of theirs, and no status. */
	assert_int_equal(f.pmis, 0);
	assert_int_equal(rd(&f, STATUS), 0);

	fix_init(&f, "amd-v2");
	assert_int_equal(pmu_rdmsr(&f.pmu, DF_CTR(0), &val), PMU_UNKNOWN);
	rdpmc_gp(&f, 6);
}

static void irperf(void **state)
{
	struct fix f;
	uint64_t val;

	(void)state;
	fix_init(&f, "amd-zen5");
	run(&f, 10);
	assert_int_equal(rd(&f, IRPERF), 0);
	wr(&f, HWCR, BIT(24) | BIT(30));
	assert_int_equal(rd(&f, HWCR), BIT(24) | BIT(30));
	/* Everywhere, whatever GLOBAL_CTL says; instructions, not steps. */
	wr(&f, GLOBAL_CTL, 0);
	run(&f, 10);
	pmu_set_mode(&f.pmu, false, true, true);
	run(&f, 10);
	pmu_set_mode(&f.pmu, true, false, true);
	f.pmu.feed.steps += 10;
	f.pmu.feed.retired += 7;
	pmu_sync(&f.pmu);
	assert_int_equal(rd(&f, IRPERF), 27);
	wr(&f, IRPERF, -5ull);
	run(&f, 6);
	assert_int_equal(rd(&f, IRPERF), 1);
	assert_int_equal(f.pmis, 0);

	/* Read-only by HWCR[27]: the write is dropped. */
	wr(&f, HWCR, BIT(27) | BIT(30));
	wr(&f, IRPERF, 77);
	assert_int_equal(rd(&f, IRPERF), 1);
	wr(&f, HWCR, 0);
	run(&f, 10);
	assert_int_equal(rd(&f, IRPERF), 1);

	pmu_reset(&f.pmu);
	assert_int_equal(rd(&f, IRPERF), 0);

	fix_init(&f, "amd-v2");
	assert_int_equal(pmu_rdmsr(&f.pmu, IRPERF, &val), PMU_UNKNOWN);
	assert_int_equal(pmu_rdmsr(&f.pmu, HWCR, &val), PMU_UNKNOWN);
}

/* PMC virtualization: the whole of VMRUN and #VMEXIT, as the glue does it. */

static void host_regs(struct fix *f)
{
	unsigned int n;

	for (n = 0; n < 6; n++) {
		wr(f, CTL(n), SEL_OS | SEL_EN | SEL_HOSTONLY | 0xc0 | n << 8);
		wr(f, CTR(n), 0x1000 + n);
	}
	wr(f, GLOBAL_CTL, 0x2a);
	wr(f, STATUS_SET, BIT(3));
	wr(f, IRPERF, 0x77);
}

static void vmrun(struct fix *f, const struct pmu_vpmc *regs)
{
	pmu_vpmc_enter(&f->pmu, regs);
	pmu_set_mode(&f->pmu, true, false, true);
}

static void vmexit(struct fix *f, struct pmu_vpmc *regs)
{
	memset(regs, 0xff, sizeof(*regs));
	pmu_vpmc_leave(&f->pmu, regs);
	pmu_set_mode(&f->pmu, false, false, true);
}

static void init(struct fix *f)
{
	fix_init(f, "amd-zen5");
	pmu_set_mode(&f->pmu, false, false, true);
}

static void swap(void **state)
{
	struct pmu_vpmc regs = { .status = BIT(4), .irperf = 0x500, .global_ctl = 0x5 };
	struct fix f;
	unsigned int n;

	(void)state;
	init(&f);
	wr(&f, CTL(0), SEL_OS | SEL_EN | 0xc0);
	run(&f, 3);
	host_regs(&f);
	run(&f, 4);		/* counter 0 is not on by GLOBAL_CTL */
	for (n = 0; n < 6; n++) {
		regs.ctl[n] = SEL_OS | SEL_EN | 0xc0;
		regs.ctr[n] = 0x2000 + n;
	}
	vmrun(&f, &regs);
	assert_int_equal(rd(&f, GLOBAL_CTL), 0x5);
	assert_int_equal(rd(&f, STATUS), BIT(4));
	assert_int_equal(rd(&f, IRPERF), 0x500);
	for (n = 0; n < 6; n++)
		assert_int_equal(rd(&f, CTR(n)), 0x2000 + n);
	wr(&f, HWCR, BIT(30));
	run(&f, 10);
	wr(&f, CTL(3), SEL_USR);
	wr(&f, STATUS_SET, BIT(5));
	vmexit(&f, &regs);
	wr(&f, HWCR, 0);

	assert_int_equal(regs.global_ctl, 0x5);
	assert_int_equal(regs.status, BIT(4) | BIT(5));
	assert_int_equal(regs.irperf, 0x50a);
	for (n = 0; n < 6; n++) {
		assert_int_equal(regs.ctr[n], 0x2000 + n + (n == 0 || n == 2 ? 10 : 0));
		assert_int_equal(regs.ctl[n], n == 3 ? SEL_USR : SEL_OS | SEL_EN | 0xc0);
	}
	/* The host has its status and IRPerfCount, and reset values. */
	assert_int_equal(rd(&f, GLOBAL_CTL), 0x3f);
	assert_int_equal(rd(&f, STATUS), BIT(3));
	assert_int_equal(rd(&f, IRPERF), 0x77);
	for (n = 0; n < 6; n++)
		assert_int_equal(rd(&f, CTL(n)) | rd(&f, CTR(n)), 0);
	run(&f, 100);
	for (n = 0; n < 6; n++)
		assert_int_equal(rd(&f, CTR(n)), 0);
}

static void swap_keep(void **state)
{
	struct pmu_vpmc regs = { .ctl = { SEL_OS | SEL_EN | 0xc0 }, .global_ctl = 1 };
	struct fix f;
	unsigned int n;

	(void)state;
	init(&f);
	quirks(&f, "vpmc-swap=keep");
	host_regs(&f);
	vmrun(&f, &regs);
	run(&f, 10);
	vmexit(&f, &regs);
	assert_int_equal(regs.ctr[0], 10);
	assert_int_equal(rd(&f, GLOBAL_CTL), 0x2a);
	assert_int_equal(rd(&f, STATUS), BIT(3));
	for (n = 0; n < 6; n++) {
		assert_int_equal(rd(&f, CTL(n)), SEL_OS | SEL_EN | SEL_HOSTONLY | 0xc0 | n << 8);
		assert_int_equal(rd(&f, CTR(n)), 0x1000 + n);
	}

	quirks(&f, "vpmc-swap=reset");
	vmrun(&f, &regs);
	vmexit(&f, &regs);
	assert_int_equal(rd(&f, GLOBAL_CTL), 0x3f);
	assert_int_equal(rd(&f, CTL(1)), 0);
}

static void refused(void **state)
{
	struct fix f;

	(void)state;
	init(&f);
	host_regs(&f);
	pmu_vpmc_refused(&f.pmu);
	assert_int_equal(rd(&f, GLOBAL_CTL), 0x2a);
	assert_int_equal(rd(&f, CTR(5)), 0x1005);
	quirks(&f, "vpmc-refused");
	pmu_vpmc_refused(&f.pmu);
	assert_int_equal(rd(&f, GLOBAL_CTL), 0x3f);
	assert_int_equal(rd(&f, CTR(5)) | rd(&f, CTL(5)), 0);
	assert_int_equal(rd(&f, STATUS), BIT(3));
	assert_int_equal(rd(&f, IRPERF), 0x77);
}

/* Bits that no register has do not get in. */
static void reserved(void **state)
{
	struct pmu_vpmc regs;
	struct fix f;
	unsigned int n;

	(void)state;
	init(&f);
	memset(&regs, 0xff, sizeof(regs));
	vmrun(&f, &regs);
	vmexit(&f, &regs);
	for (n = 0; n < 6; n++) {
		assert_int_equal(regs.ctl[n], 0xffd7ffffull | 0xfull << 32 | SEL_GUESTONLY | SEL_HOSTONLY);
		assert_int_equal(regs.ctr[n], MASK48);
	}
	assert_int_equal(regs.irperf, MASK48);
	assert_int_equal(regs.global_ctl, 0x3f);
	assert_int_equal(regs.status, 0x3f | BIT(58) | BIT(59));
}

static const struct pmu_vpmc overflows_in_10 = {
	.ctl = { SEL_OS | SEL_EN | SEL_INT | 0xc0 },
	.ctr = { -10ull & MASK48 },
	.global_ctl = 1,
};

static void pmi(void **state)
{
	struct pmu_vpmc regs = overflows_in_10;
	struct fix f;

	(void)state;
	init(&f);
	vmrun(&f, &regs);
	assert_int_equal(pmu_deadline(&f.pmu), 10);
	run(&f, 9);
	assert_int_equal(f.virtual_pmis, 0);
	run(&f, 1);
	assert_int_equal(f.virtual_pmis, 1);
	assert_int_equal(f.pmis, 0);
	vmexit(&f, &regs);
	assert_int_equal(regs.status, 1);
	assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);

	/* A status bit that is loaded raises none; nor does one of the host. */
	vmrun(&f, &regs);
	run(&f, 10);
	vmexit(&f, &regs);
	assert_int_equal(f.virtual_pmis, 1);
	assert_int_equal(f.pmis, 0);

	/* Without INT there is a status bit only. */
	regs = overflows_in_10;
	regs.ctl[0] &= ~SEL_INT;
	vmrun(&f, &regs);
	run(&f, 20);
	vmexit(&f, &regs);
	assert_int_equal(regs.status, 1);
	assert_int_equal(f.virtual_pmis, 1);

	/* Without VPMC it is LVTPC's, as ever. */
	wr(&f, CTL(0), overflows_in_10.ctl[0]);
	wr(&f, CTR(0), overflows_in_10.ctr[0]);
	pmu_set_mode(&f.pmu, true, false, true);
	run(&f, 10);
	assert_int_equal(f.pmis, 1);
	assert_int_equal(f.virtual_pmis, 1);
}

/* DebugCtl is not swapped: a frozen guest is, by its status. */
static void freeze(void **state)
{
	struct pmu_vpmc regs = overflows_in_10;
	struct fix f;

	(void)state;
	init(&f);
	wr(&f, DEBUGCTL, BIT(12));
	vmrun(&f, &regs);
	run(&f, 10);
	run(&f, 10);
	vmexit(&f, &regs);
	assert_int_equal(regs.ctr[0], 0);
	assert_int_equal(regs.status, BIT(59) | 1);
	assert_int_equal(rd(&f, STATUS), 0);
	assert_int_equal(rd(&f, DEBUGCTL), BIT(12));
	vmrun(&f, &regs);
	run(&f, 10);
	wr(&f, STATUS_CLR, BIT(59));
	run(&f, 10);
	vmexit(&f, &regs);
	assert_int_equal(regs.ctr[0], 10);
}

/* A guest's PMI that is held up comes at #VMEXIT, and never to the host. */
static void held_up(void **state)
{
	static const char *const texts[] = { "late=1000", "skid=1000" };
	struct pmu_vpmc regs;
	struct fix f;
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		init(&f);
		quirks(&f, texts[i]);
		regs = overflows_in_10;
		vmrun(&f, &regs);
		run(&f, 50);
		assert_int_equal(f.virtual_pmis, 0);
		pmu_vpmc_leave(&f.pmu, &regs);
		assert_int_equal(f.virtual_pmis, 1);
		pmu_set_mode(&f.pmu, false, false, true);
		run(&f, 10000);
		assert_int_equal(f.virtual_pmis, 1);
		assert_int_equal(f.pmis, 0);
	}

	/* One of the host comes to the host, while the guest runs. */
	init(&f);
	quirks(&f, "skid=20");
	wr(&f, CTL(0), SEL_OS | SEL_EN | SEL_INT | 0xc0);
	wr(&f, CTR(0), -5ull & MASK48);
	run(&f, 5);
	memset(&regs, 0, sizeof(regs));
	vmrun(&f, &regs);
	run(&f, 19);
	assert_int_equal(f.pmis, 0);
	run(&f, 1);
	assert_int_equal(f.pmis, 1);
	assert_int_equal(f.virtual_pmis, 0);
	/* Or after it. */
	vmexit(&f, &regs);
	wr(&f, CTL(0), SEL_OS | SEL_EN | SEL_INT | 0xc0);
	wr(&f, CTR(0), -5ull & MASK48);
	wr(&f, GLOBAL_CTL, 1);
	run(&f, 5);
	vmrun(&f, &regs);
	run(&f, 5);
	vmexit(&f, &regs);
	assert_int_equal(f.pmis, 1);
	run(&f, 15);
	assert_int_equal(f.pmis, 2);
	assert_int_equal(f.virtual_pmis, 0);
}

/* The second one, of nothing, goes where the first has gone. */
static void empty_pmi(void **state)
{
	struct pmu_vpmc regs = overflows_in_10;
	struct fix f;

	(void)state;
	init(&f);
	quirks(&f, "empty-pmi=30");
	vmrun(&f, &regs);
	run(&f, 10);
	run(&f, 29);
	assert_int_equal(f.virtual_pmis, 1);
	run(&f, 1);
	assert_int_equal(f.virtual_pmis, 2);
	wr(&f, CTR(0), -10ull & MASK48);
	run(&f, 10);
	assert_int_equal(f.virtual_pmis, 3);
	vmexit(&f, &regs);
	assert_int_equal(f.virtual_pmis, 4);
	run(&f, 1000);
	assert_int_equal(f.virtual_pmis, 4);
	assert_int_equal(f.pmis, 0);

	/* Both are held up. */
	init(&f);
	quirks(&f, "empty-pmi=30,late=1000");
	regs = overflows_in_10;
	vmrun(&f, &regs);
	run(&f, 20);
	assert_int_equal(f.virtual_pmis, 0);
	vmexit(&f, &regs);
	assert_int_equal(f.virtual_pmis, 2);
	run(&f, 1000);
	assert_int_equal(f.virtual_pmis, 2);
	assert_int_equal(f.pmis, 0);

	/* The host's, due in the guest. */
	init(&f);
	quirks(&f, "empty-pmi=30");
	wr(&f, CTL(0), SEL_OS | SEL_EN | SEL_INT | 0xc0);
	wr(&f, CTR(0), -10ull & MASK48);
	run(&f, 10);
	assert_int_equal(f.pmis, 1);
	memset(&regs, 0, sizeof(regs));
	vmrun(&f, &regs);
	run(&f, 30);
	assert_int_equal(f.pmis, 2);
	assert_int_equal(f.virtual_pmis, 0);
}

/* Increments that are late do not cross over. */
static void drift(void **state)
{
	struct pmu_vpmc regs = {
		.ctl = { SEL_OS | SEL_EN | 0xff60 },
		.global_ctl = 1,
	};
	struct fix f;

	(void)state;
	init(&f);
	quirks(&f, "drift=20");
	wr(&f, CTL(0), regs.ctl[0]);
	wr(&f, CTR(0), 100);
	vmrun(&f, &regs);
	f.pmu.feed.cache_refs += 50;
	run(&f, 10);
	vmexit(&f, &regs);
	assert_int_equal(regs.ctr[0], 50);
	wr(&f, CTL(0), regs.ctl[0]);
	run(&f, 100);
	assert_int_equal(rd(&f, CTR(0)), 0);

	/* Not to a host's counter that counts the same, either. */
	quirks(&f, "vpmc-swap=keep");
	regs.ctr[0] = 0;
	wr(&f, CTR(0), 100);
	vmrun(&f, &regs);
	f.pmu.feed.cache_refs += 50;
	run(&f, 10);
	vmexit(&f, &regs);
	assert_int_equal(regs.ctr[0], 50);
	assert_int_equal(rd(&f, CTR(0)), 100);

	/* Nor do those of a guest without, whose counter is then put away. */
	wr(&f, CTR(0), 100);
	pmu_set_mode(&f.pmu, true, false, true);
	f.pmu.feed.cache_refs += 50;
	run(&f, 10);
	pmu_set_mode(&f.pmu, false, false, true);
	assert_int_equal(rd(&f, CTR(0)), 147);
	regs.ctr[0] = 7;
	vmrun(&f, &regs);
	run(&f, 100);
	vmexit(&f, &regs);
	assert_int_equal(regs.ctr[0], 7);
	assert_int_equal(rd(&f, CTR(0)), 150);
}

/* A condition that the host's counter has met is not met yet in the guest's. */
static void edge(void **state)
{
	struct pmu_vpmc regs = {
		.ctl = { SEL_ON | SEL_EDGE | SEL_CMASK(1) | 0x76 },
		.global_ctl = 1,
	};
	struct fix f;

	(void)state;
	init(&f);
	wr(&f, CTL(0), regs.ctl[0]);
	run(&f, 10);
	assert_int_equal(rd(&f, CTR(0)), 1);
	vmrun(&f, &regs);
	run(&f, 10);
	vmexit(&f, &regs);
	assert_int_equal(regs.ctr[0], 1);
}

/* The quirks are for processors that have it. */
static void not_here(void **state)
{
	static const char *const texts[] = {
		"vpmc-ctl", "vpmc-alone=lost", "vpmc-clean", "vpmc-swap=keep", "vpmc-refused",
	};
	static const char *const names[] = { "amd-v2", "amd-zen4", "intel-8+3" };
	struct pmu_quirks q;
	unsigned int i, n;
	char why[200], want[200];

	(void)state;
	for (i = 0; i < 5; i++) {
		for (n = 0; n < 3; n++) {
			assert_false(pmu_quirks_parse(&q, pmu_model_find(names[n]), texts[i], why, sizeof(why)));
			snprintf(want, sizeof(want), "not on %s", names[n]);
			assert_non_null(strstr(why, want));
		}
		assert_true(pmu_quirks_parse(&q, pmu_model_find("amd-zen5"), texts[i], why, sizeof(why)));
	}
	assert_false(pmu_quirks_parse(&q, pmu_model_find("amd-zen5"), "vpmc-swap", why, sizeof(why)));
	memset(&q, 0, sizeof(q));
	assert_true(pmu_quirks_parse(&q, pmu_model_find("amd-zen5"), "vpmc-clean", why, sizeof(why)));
	assert_int_equal(q.vpmc_clean.val, BIT(10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(models),
		cmocka_unit_test(uncore),
		cmocka_unit_test(irperf),
		cmocka_unit_test(swap),
		cmocka_unit_test(swap_keep),
		cmocka_unit_test(refused),
		cmocka_unit_test(reserved),
		cmocka_unit_test(pmi),
		cmocka_unit_test(freeze),
		cmocka_unit_test(held_up),
		cmocka_unit_test(empty_pmi),
		cmocka_unit_test(drift),
		cmocka_unit_test(edge),
		cmocka_unit_test(not_here),
	};

	return cmocka_run_group_tests_name("zen", tests, NULL, NULL);
}
