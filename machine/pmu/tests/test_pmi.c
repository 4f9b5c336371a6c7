// SPDX-License-Identifier: GPL-2.0
/* Overflow, status, PMI, deadline and freezing. */
#include "regs.h"

static void overflow(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 100);
		assert_int_equal(pmu_deadline(&f.pmu), 100);
		run(&f, 99);
		assert_int_equal(f.pmis, 0);
		assert_int_equal(rd(&f, r->ctr), MASK48);
		if (r->status)
			assert_int_equal(rd(&f, r->status), 0);
		assert_int_equal(pmu_deadline(&f.pmu), 100);

		run(&f, 1);
		assert_int_equal(f.pmis, 1);
		assert_int_equal(rd(&f, r->ctr), 0);
		if (r->status) {
			assert_int_equal(rd(&f, r->status), BIT(2));
			wr(&f, r->reset, BIT(2));
			assert_int_equal(rd(&f, r->status), 0);
		}
		assert_int_equal(pmu_deadline(&f.pmu), 100 + BIT(48));

		/* It goes on from 0, and overflows again only when it wraps again. */
		run(&f, 50);
		assert_int_equal(rd(&f, r->ctr), 50);
		assert_int_equal(f.pmis, 1);
	}
}

/* Each overflow is a PMI of its own, with the status still set. */
static void overflow_again(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		unsigned int i;

		for (i = 1; i < 4; i++) {
			arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
			run(&f, 10);
			assert_int_equal(f.pmis, i);
		}
	}
}

/* Without INT: status, but neither PMI nor deadline. */
static void overflow_without_int(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		arm(&f, r, SEL_ON | r->cycles, 100);
		assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
		run(&f, 150);
		assert_int_equal(f.pmis, 0);
		assert_int_equal(rd(&f, r->ctr), 50);
		if (r->status)
			assert_int_equal(rd(&f, r->status), BIT(2));
	}
}

static void overflow_fixed(void **state)
{
	struct fix f;
	unsigned int i;

	(void)state;
	fix_init(&f, "intel-8+4");
	wr(&f, GLOBAL_CTRL, 0xfull << 32);
	for (i = 0; i < 4; i++) {
		unsigned int before = f.pmis;

		/* PMI bit clear: status only. */
		wr(&f, 0x309 + i, -40ull & MASK48);
		wr(&f, 0x38d, 3ull << (4 * i));
		run(&f, 40);
		assert_int_equal(f.pmis, before);
		assert_int_equal(rd(&f, STATUS), BIT(32 + i));
		wr(&f, RESET, BIT(32 + i));

		/* Four slots a step. */
		wr(&f, 0x309 + i, -40ull & MASK48);
		wr(&f, 0x38d, 0xbull << (4 * i));
		assert_int_equal(pmu_deadline(&f.pmu) - f.pmu.feed.steps, i == 3 ? 10 : 40);
		run(&f, i == 3 ? 9 : 39);
		assert_int_equal(f.pmis, before);
		run(&f, 1);
		assert_int_equal(f.pmis, before + 1);
		assert_int_equal(rd(&f, STATUS), BIT(32 + i));
		wr(&f, RESET, BIT(32 + i));
	}
}

/* Two counters at once: both bits, one PMI. */
static void overflow_together(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+3");
	wr(&f, GLOBAL_CTRL, BIT(0) | BIT(32));
	wr(&f, 0x4c1, MASK48);
	wr(&f, 0x309, MASK48);
	wr(&f, 0x186, SEL_ON | SEL_INT | 0x3c);
	wr(&f, 0x38d, 0xb);
	run(&f, 1);
	assert_int_equal(f.pmis, 1);
	assert_int_equal(rd(&f, STATUS), BIT(0) | BIT(32));
}

/* Of two that overflow at once one INT is enough, whichever it is. */
static void overflow_one_int(void **state)
{
	unsigned int with_int;
	struct fix f;

	(void)state;
	for (with_int = 0; with_int < 2; with_int++) {
		fix_init(&f, "amd-v2");
		wr(&f, 0xc0010201, MASK48);
		wr(&f, 0xc0010203, MASK48);
		wr(&f, 0xc0010200, SEL_ON | 0x76 | (with_int == 0 ? SEL_INT : 0));
		wr(&f, 0xc0010202, SEL_ON | 0x76 | (with_int == 1 ? SEL_INT : 0));
		run(&f, 1);
		assert_int_equal(f.pmis, 1);
		assert_int_equal(rd(&f, 0xc0000300), 3);
	}
}

/* The PMI comes at the sync of the register access that stops the counter. */
static void overflow_at_disable(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+3");
	wr(&f, 0x4c1, -10ull & MASK48);
	wr(&f, 0x186, SEL_ON | SEL_INT | 0x3c);
	f.pmu.feed.steps += 10;
	wr(&f, GLOBAL_CTRL, 0);
	assert_int_equal(f.pmis, 1);
	assert_int_equal(rd(&f, STATUS), 1);
	run(&f, 100);
	assert_int_equal(rd(&f, 0xc1), 0);
	assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
}

/* Status set by software raises no PMI, and stops nothing. */
static void status_set(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		if (!r->set)
			continue;
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 100);
		wr(&f, r->set, BIT(2));
		run(&f, 10);
		assert_int_equal(f.pmis, 0);
		assert_int_equal(rd(&f, r->status), BIT(2));
		run(&f, 90);
		assert_int_equal(f.pmis, 1);
	}
}

/*
 * A driver that syncs at deadlines alone meets the overflow at its exact step,
 * however the events are spread.
 */
static void deadline_is_exact(void **state)
{
	const struct regs *r;
	struct fix f;
	uint64_t x = 1;

	(void)state;
	for_each_model(r, &f) {
		uint64_t left = 5000, step, overflow_at = 0;
		unsigned int syncs = 0;

		arm(&f, r, SEL_ON | SEL_INT | r->branches, left);
		for (step = 1; !f.pmis; step++) {
			bool branch;

			assert_in_range(step, 0, 1000000);
			x = x * 6364136223846793005ull + 1442695040888963407ull;
			branch = (x >> 40) % 7 == 0;

			f.pmu.feed.steps++;
			f.pmu.feed.retired++;
			f.pmu.feed.branches += branch;
			left -= branch;
			if (!left && !overflow_at)
				overflow_at = step;
			if (f.pmu.feed.steps >= f.pmu.deadline) {
				pmu_sync(&f.pmu);
				syncs++;
				assert_true(f.pmu.deadline > f.pmu.feed.steps);
			}
		}
		assert_int_equal(f.pmi_step, overflow_at);
		/* And it takes few of them. */
		assert_true(syncs < 200);
	}
}

/* A write of the counter, the selector or the mode moves the deadline. */
static void deadline_moves(void **state)
{
	struct fix f;
	unsigned int rearms;

	(void)state;
	fix_init(&f, "intel-8+3");
	assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
	wr(&f, 0x186, SEL_USR | SEL_EN | SEL_INT | 0x3c);
	wr(&f, 0x4c1, -100ull & MASK48);
	/* Kernel mode: does not count now. */
	assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
	run(&f, 30);
	rearms = f.rearms;
	pmu_set_mode(&f.pmu, false, true, false);
	assert_int_equal(pmu_deadline(&f.pmu), 130);
	assert_true(f.rearms > rearms);
	run(&f, 30);
	pmu_set_mode(&f.pmu, true, false, false);
	assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
	run(&f, 30);
	pmu_set_mode(&f.pmu, true, true, false);
	assert_int_equal(pmu_deadline(&f.pmu), 160);
	wr(&f, 0x4c1, -5ull & MASK48);
	assert_int_equal(pmu_deadline(&f.pmu), 95);
	/* Sixteen accesses a step at most. */
	wr(&f, 0x186, SEL_ON | SEL_INT | 0x83d0);
	assert_int_equal(pmu_deadline(&f.pmu), 91);
	wr(&f, 0x186, 0);
	assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
}

static void freeze(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		if (!r->status)
			continue;
		/* Off: counts on. */
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		assert_int_equal(rd(&f, r->status), BIT(2));
		run(&f, 10);
		assert_int_equal(rd(&f, r->ctr), 10);
		wr(&f, r->reset, BIT(2));

		/* On: stops at the PMI, until the bit is cleared. */
		wr(&f, DEBUGCTL, BIT(12));
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		assert_int_equal(f.pmis, 2);
		assert_int_equal(rd(&f, r->status), BIT(2) | BIT(59));
		assert_int_equal(f.pmu.want, 0);
		run(&f, 10);
		assert_int_equal(rd(&f, r->ctr), 0);
		wr(&f, r->reset, BIT(2));
		run(&f, 10);
		assert_int_equal(rd(&f, r->ctr), 0);
		wr(&f, r->reset, BIT(59));
		run(&f, 10);
		assert_int_equal(rd(&f, r->ctr), 10);

		/* An overflow without PMI does not freeze. */
		arm(&f, r, SEL_ON | r->cycles, 10);
		run(&f, 20);
		assert_int_equal(rd(&f, r->status), BIT(2));
		assert_int_equal(rd(&f, r->ctr), 10);

		/* Software freezes, too, and DEBUGCTL does not matter for that. */
		wr(&f, DEBUGCTL, 0);
		wr(&f, r->set, BIT(59));
		run(&f, 10);
		assert_int_equal(rd(&f, r->ctr), 10);
		wr(&f, r->reset, BIT(59));
		run(&f, 10);
		assert_int_equal(rd(&f, r->ctr), 20);

		/* A frozen LBR is no frozen counter. */
		wr(&f, r->set, BIT(58));
		run(&f, 10);
		assert_int_equal(rd(&f, r->ctr), 30);
	}
}

/* Both callbacks may be missing. */
static void no_ops(void **state)
{
	static const struct pmu_ops none;
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+3");
	f.pmu.ops = &none;
	wr(&f, 0x4c1, MASK48);
	wr(&f, 0x186, SEL_ON | SEL_INT | 0x3c);
	run(&f, 1);
	assert_int_equal(rd(&f, STATUS), 1);
	assert_int_equal(f.pmis, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overflow),
		cmocka_unit_test(overflow_again),
		cmocka_unit_test(overflow_without_int),
		cmocka_unit_test(overflow_fixed),
		cmocka_unit_test(overflow_together),
		cmocka_unit_test(overflow_one_int),
		cmocka_unit_test(overflow_at_disable),
		cmocka_unit_test(status_set),
		cmocka_unit_test(deadline_is_exact),
		cmocka_unit_test(deadline_moves),
		cmocka_unit_test(freeze),
		cmocka_unit_test(no_ops),
	};

	return cmocka_run_group_tests_name("pmi", tests, NULL, NULL);
}
