/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MACHINE_PMU_TESTS_COMMON_H
#define MACHINE_PMU_TESTS_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pmu.h"

#define BIT(n)		(1ull << (n))
#define MASK48		(BIT(48) - 1)

#define SEL_USR		BIT(16)
#define SEL_OS		BIT(17)
#define SEL_EDGE	BIT(18)
#define SEL_PC		BIT(19)
#define SEL_INT		BIT(20)
#define SEL_ANY		BIT(21)
#define SEL_EN		BIT(22)
#define SEL_INV		BIT(23)
#define SEL_CMASK(n)	((uint64_t)(n) << 24)
#define SEL_GUESTONLY	BIT(40)
#define SEL_HOSTONLY	BIT(41)
#define SEL_ON		(SEL_USR | SEL_OS | SEL_EN)

/* A PMU and what it told its glue. */
struct fix {
	struct pmu pmu;
	unsigned int pmis;
	unsigned int virtual_pmis;
	unsigned int rearms;
	uint64_t pmi_step;	/* of the last PMI */
};

static void on_pmi(void *opaque)
{
	struct fix *f = opaque;

	f->pmis++;
	f->pmi_step = f->pmu.feed.steps;
}

static void on_virtual_pmi(void *opaque)
{
	struct fix *f = opaque;

	f->virtual_pmis++;
}

static void on_rearm(void *opaque)
{
	struct fix *f = opaque;

	f->rearms++;
}

static const struct pmu_ops fix_ops = {
	.pmi = on_pmi,
	.virtual_pmi = on_virtual_pmi,
	.rearm = on_rearm,
};

static inline void fix_init(struct fix *f, const char *model)
{
	const struct pmu_model *m = pmu_model_find(model);

	memset(f, 0, sizeof(*f));
	assert_non_null(m);
	pmu_init(&f->pmu, m, &fix_ops, f);
}

static inline void wr(struct fix *f, uint32_t msr, uint64_t val)
{
	assert_true(pmu_wrmsr_valid(&f->pmu, msr, val));
	assert_int_equal(pmu_wrmsr(&f->pmu, msr, val), PMU_OK);
}

static inline uint64_t rd(struct fix *f, uint32_t msr)
{
	uint64_t val = 0xdeadbeefdeadbeef;

	assert_int_equal(pmu_rdmsr(&f->pmu, msr, &val), PMU_OK);
	return val;
}

static inline uint64_t rdpmc(struct fix *f, uint32_t ecx)
{
	uint64_t val = 0xdeadbeefdeadbeef;

	assert_int_equal(pmu_rdpmc(&f->pmu, ecx, &val), PMU_OK);
	return val;
}

/* A refused write: #GP, foretold, and the register is as before. */
static inline void wr_gp(struct fix *f, uint32_t msr, uint64_t val)
{
	uint64_t before = 0, after = 0;
	enum pmu_result readable = pmu_rdmsr(&f->pmu, msr, &before);

	assert_false(pmu_wrmsr_valid(&f->pmu, msr, val));
	assert_int_equal(pmu_wrmsr(&f->pmu, msr, val), PMU_GP);
	assert_int_equal(pmu_rdmsr(&f->pmu, msr, &after), readable);
	assert_int_equal(before, after);
}

static inline void rd_gp(struct fix *f, uint32_t msr)
{
	uint64_t val = 0x5a5a;

	assert_int_equal(pmu_rdmsr(&f->pmu, msr, &val), PMU_GP);
	assert_int_equal(val, 0x5a5a);
}

static inline void rdpmc_gp(struct fix *f, uint32_t ecx)
{
	uint64_t val = 0x5a5a;

	assert_int_equal(pmu_rdpmc(&f->pmu, ecx, &val), PMU_GP);
	assert_int_equal(val, 0x5a5a);
}

/* Every bit on its own: accepted if in @valid, else refused. */
static inline void sweep_bits(struct fix *f, uint32_t msr, uint64_t valid)
{
	unsigned int i;

	for (i = 0; i < 64; i++) {
		if (valid & BIT(i))
			wr(f, msr, BIT(i));
		else
			wr_gp(f, msr, BIT(i));
	}
	wr(f, msr, valid);
	wr(f, msr, 0);
}

/* @steps steps that all retire, and sync. */
static inline void run(struct fix *f, uint64_t steps)
{
	f->pmu.feed.steps += steps;
	f->pmu.feed.retired += steps;
	pmu_sync(&f->pmu);
}

#endif /* MACHINE_PMU_TESTS_COMMON_H */
