// SPDX-License-Identifier: GPL-2.0
/* The quirks, each by its name as the table has it. */
#include "regs.h"

#define METRICS		0x329

/* Switch @text on, on top of what is on. */
static void quirks(struct fix *f, const char *text)
{
	char why[200] = "";

	if (!pmu_quirks_parse(&f->pmu.quirks, f->pmu.model, text, why, sizeof(why)))
		fail_msg("%s", why);
}

static void guest(struct fix *f, bool guest)
{
	pmu_set_mode(&f->pmu, guest, false, true);
}

/* The table itself: names, values, refusals. */
static void table(void **state)
{
	static const struct {
		const char *model, *text, *why;
	} bad[] = {
		{ "amd-v2", "nosuch", "no quirk 'nosuch'" },
		{ "amd-v2", "lat", "no quirk 'lat'" },
		{ "amd-v2", "B2", "no quirk 'B2'" },
		{ "amd-v2", "=3", "no quirk '=3'" },
		{ "amd-v2", "late", "quirk 'late': late wants a number of steps" },
		{ "amd-v2", "late=", "quirk 'late=': late wants a number of steps" },
		{ "amd-v2", "late=-1", "quirk 'late=-1': late wants a number of steps" },
		{ "amd-v2", "late=1x", "quirk 'late=1x': late wants a number of steps" },
		{ "amd-v2", "late=4294967296", "quirk 'late=4294967296': late wants a number of steps" },
		{ "amd-v2", "unmask=1", "quirk 'unmask=1': unmask has no value" },
		{ "amd-v2", "vmrun", "quirk 'vmrun': vmrun wants one of its values" },
		{ "amd-v2", "B1=both", "quirk 'B1=both': vmrun wants one of its values" },
		{ "amd-v2", "status-amd=x", "quirk 'status-amd=x': status-amd takes a mask of bits" },
		{ "amd-v2", "B5", "quirk 'B5': not on amd-v2" },
		{ "amd-v2", "trace-status", "quirk 'trace-status': not on amd-v2" },
		{ "amd-v2", "tfa", "quirk 'tfa': not on amd-v2" },
		{ "amd-v2", "stray", "quirk 'stray': stray wants a number of steps" },
		{ "intel-8+3", "skid=1,late=2,uncore", "quirk 'uncore': not on intel-8+3" },
	};
	const struct pmu_quirk *q, *r;
	struct pmu_quirks none = { 0 };
	char why[200];
	unsigned int i;
	struct fix f;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fix_init(&f, bad[i].model);
		assert_false(pmu_quirks_parse(&f.pmu.quirks, f.pmu.model, bad[i].text, why,
					      sizeof(why)));
		assert_string_equal(why, bad[i].why);
	}

	for (q = pmu_quirk_table; q->name; q++) {
		assert_true(q->help && q->help[0] && !strchr(q->help, '\n'));
		for (r = q + 1; r->name; r++) {
			assert_string_not_equal(q->name, r->name);
			assert_int_not_equal(q->offset, r->offset);
			if (q->row && r->row)
				assert_string_not_equal(q->row, r->row);
		}
	}

	fix_init(&f, "amd-v2");
	quirks(&f, "");
	assert_memory_equal(&f.pmu.quirks, &none, sizeof(none));
	quirks(&f, "late=0,vmrun=host B13=0x4000  B3");
	assert_true(f.pmu.quirks.late.on);
	assert_int_equal(f.pmu.quirks.late.val, 0);
	assert_int_equal(f.pmu.quirks.vmrun.val, PMU_VMRUN_HOST);
	assert_int_equal(f.pmu.quirks.status_amd.val, 0x4000);
	assert_true(f.pmu.quirks.unmask.on);
	assert_false(f.pmu.quirks.skid.on);
	quirks(&f, "vmrun=branch,B13");
	assert_int_equal(f.pmu.quirks.vmrun.val, PMU_VMRUN_BRANCH);
	assert_int_equal(f.pmu.quirks.status_amd.val, BIT(14) | BIT(60));
	quirks(&f, "vmrun=guest");
	assert_int_equal(f.pmu.quirks.vmrun.val, PMU_VMRUN_GUEST);
}

static void skid(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		quirks(&f, "skid=30");
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		assert_int_equal(f.pmis, 0);
		if (r->status)
			assert_int_equal(rd(&f, r->status), BIT(2));
		assert_int_equal(pmu_deadline(&f.pmu), 40);
		run(&f, 29);
		assert_int_equal(f.pmis, 0);
		/* What counts on its way is lost to nobody, and it comes though disabled. */
		assert_int_equal(rd(&f, r->ctr), 29);
		wr(&f, r->sel, 0);
		assert_int_equal(pmu_deadline(&f.pmu), 40);
		run(&f, 1);
		assert_int_equal(f.pmis, 1);
		assert_int_equal(f.pmi_step, 40);
		assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
		run(&f, 100);
		assert_int_equal(f.pmis, 1);

		/* A second overflow neither holds the first one's PMI up nor adds one. */
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		wr(&f, r->ctr, -20ull & MASK48);
		run(&f, 20);
		assert_int_equal(f.pmis, 1);
		run(&f, 10);
		assert_int_equal(f.pmis, 2);
		run(&f, 100);
		assert_int_equal(f.pmis, 2);
		wr(&f, r->sel, 0);

		/* Reset takes one on its way along. */
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		pmu_reset(&f.pmu);
		assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
		run(&f, 100);
		assert_int_equal(f.pmis, 2);
	}
}

static void late(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		quirks(&f, "late=20");

		/* Raised by the host: at once. */
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		assert_int_equal(f.pmis, 1);

		/* Raised by the guest: not before the exit, and some more. */
		guest(&f, true);
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		pmu_set_mode(&f.pmu, true, true, true);
		run(&f, PMU_LATE_BOUND - 1);
		assert_int_equal(f.pmis, 1);
		wr(&f, r->sel, 0);
		guest(&f, false);
		assert_int_equal(f.pmis, 1);
		assert_int_equal(pmu_deadline(&f.pmu), f.pmu.feed.steps + 20);
		run(&f, 19);
		assert_int_equal(f.pmis, 1);
		run(&f, 1);
		assert_int_equal(f.pmis, 2);
		assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
		run(&f, 10000);
		assert_int_equal(f.pmis, 2);

		/* Guest mode is entered again before: the steps go on there. */
		guest(&f, true);
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		wr(&f, r->sel, 0);
		guest(&f, false);
		run(&f, 5);
		guest(&f, true);
		run(&f, 14);
		assert_int_equal(f.pmis, 2);
		run(&f, 1);
		assert_int_equal(f.pmis, 3);
		guest(&f, false);

		/* With no steps after the exit: right at it, and nothing is left due. */
		quirks(&f, "late=0");
		guest(&f, true);
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		wr(&f, r->sel, 0);
		assert_int_equal(f.pmis, 3);
		guest(&f, false);
		assert_int_equal(f.pmis, 4);
		assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
	}
}

/* A guest that does not exit gets its PMI all the same. */
static void late_bound(void **state)
{
	static const struct {
		const char *quirk;
		unsigned int bound;
	} bounds[] = { { "late=0", PMU_LATE_BOUND }, { "late=200", PMU_LATE_BOUND }, { "late=2000", 2000 } };
	const struct regs *r;
	unsigned int i;
	struct fix f;

	(void)state;
	for (i = 0; i < 3; i++) {
		for_each_model(r, &f) {
			quirks(&f, bounds[i].quirk);
			guest(&f, true);
			arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
			run(&f, 10);
			assert_int_equal(pmu_deadline(&f.pmu), 10 + bounds[i].bound);
			run(&f, bounds[i].bound - 1);
			assert_int_equal(f.pmis, 0);
			run(&f, 1);
			assert_int_equal(f.pmis, 1);
			assert_true(f.pmu.guest);

			/* And only once. */
			wr(&f, r->sel, 0);
			guest(&f, false);
			run(&f, 10000);
			assert_int_equal(f.pmis, 1);
			assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
		}
	}
}

/* A guest's PMI on its way and one of the host are two, each at its own time. */
static void worlds_apart(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		quirks(&f, "late=50");
		guest(&f, true);
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		guest(&f, false);

		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 30);
		run(&f, 29);
		assert_int_equal(f.pmis, 0);
		run(&f, 1);
		assert_int_equal(f.pmis, 1);	/* the host's */
		run(&f, 19);
		assert_int_equal(f.pmis, 1);
		run(&f, 1);
		assert_int_equal(f.pmis, 2);	/* the guest's */

		/* Of one world they merge. */
		guest(&f, true);
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		wr(&f, r->sel, 0);
		guest(&f, false);
		run(&f, 10000);
		assert_int_equal(f.pmis, 3);

		/* Both due in one sync: two messages. */
		fix_init(&f, r->model);
		quirks(&f, "late=20,skid=20");
		guest(&f, true);
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		guest(&f, false);
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 1);
		run(&f, 1);
		wr(&f, r->sel, 0);
		run(&f, 1000);
		assert_int_equal(f.pmis, 2);
	}
}

/* A halted processor takes no steps: what is on its way arrives. */
static void halted(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		quirks(&f, "late=5000");
		guest(&f, true);
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		wr(&f, r->sel, 0);
		guest(&f, false);
		run(&f, 10);
		assert_int_equal(f.pmis, 0);
		pmu_halted(&f.pmu);
		assert_int_equal(f.pmis, 1);
		assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
		pmu_halted(&f.pmu);
		assert_int_equal(f.pmis, 1);
	}
}

static void empty_pmi(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		if (f.pmu.model->vendor != PMU_AMD)
			continue;
		quirks(&f, "empty-pmi=40");
		if (r->status)
			wr(&f, DEBUGCTL, BIT(12));
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		assert_int_equal(f.pmis, 1);
		wr(&f, r->sel, 0);
		if (r->status)
			wr(&f, r->reset, BIT(2) | BIT(59));
		run(&f, 39);
		assert_int_equal(f.pmis, 1);
		run(&f, 1);
		assert_int_equal(f.pmis, 2);
		/* Nothing stands behind it: no status, nothing frozen, and no third one. */
		if (r->status)
			assert_int_equal(rd(&f, r->status), 0);
		assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);
		run(&f, 1000);
		assert_int_equal(f.pmis, 2);
	}
}

/* Interrupts that no overflow stands behind, while the guest's counters count. */
static void stray(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		quirks(&f, "stray=40");

		/* Not in the host, nor for a guest that counts nothing. */
		arm(&f, r, SEL_ON | r->cycles, 0);
		run(&f, 1000);
		wr(&f, r->sel, 0);
		guest(&f, true);
		run(&f, 1000);
		assert_int_equal(f.pmis, 0);
		assert_int_equal(pmu_deadline(&f.pmu), UINT64_MAX);

		arm(&f, r, SEL_ON | r->cycles, 0);
		run(&f, 39);
		assert_int_equal(f.pmis, 0);
		run(&f, 1);
		assert_int_equal(f.pmis, 1);
		run(&f, 40);
		run(&f, 40);
		assert_int_equal(f.pmis, 3);
		if (r->status)
			assert_int_equal(rd(&f, r->status), 0);
		assert_int_equal(rd(&f, r->ctr), 120);

		/* It stays behind when the guest is left. */
		run(&f, 30);
		guest(&f, false);
		run(&f, 1000);
		assert_int_equal(f.pmis, 3);
		guest(&f, true);
		run(&f, 39);
		assert_int_equal(f.pmis, 3);
		run(&f, 1);
		assert_int_equal(f.pmis, 4);
	}
}

static void unmask(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		if (!r->status)
			continue;

		/* Silent without the quirk. */
		arm(&f, r, SEL_ON | SEL_INT | r->cycles, 10);
		run(&f, 10);
		pmu_lvtpc_unmasked(&f.pmu);
		assert_int_equal(f.pmis, 1);

		quirks(&f, "unmask");
		pmu_lvtpc_unmasked(&f.pmu);
		assert_int_equal(f.pmis, 2);
		/* Each time, whatever the counter does now. */
		wr(&f, r->ctrl, 0);
		pmu_lvtpc_unmasked(&f.pmu);
		assert_int_equal(f.pmis, 3);
		/* Not for a counter without INT, nor for any other bit. */
		wr(&f, r->sel, SEL_ON | r->cycles);
		wr(&f, r->set, BIT(58));
		pmu_lvtpc_unmasked(&f.pmu);
		assert_int_equal(f.pmis, 3);
		wr(&f, r->sel, SEL_ON | SEL_INT | r->cycles);
		wr(&f, r->reset, BIT(2));
		pmu_lvtpc_unmasked(&f.pmu);
		assert_int_equal(f.pmis, 3);
	}

	fix_init(&f, "intel-8+3");
	quirks(&f, "unmask");
	wr(&f, SET, BIT(33));
	wr(&f, 0x38d, 0x3b0);
	pmu_lvtpc_unmasked(&f.pmu);
	assert_int_equal(f.pmis, 1);
	wr(&f, 0x38d, 0xb30);
	pmu_lvtpc_unmasked(&f.pmu);
	assert_int_equal(f.pmis, 1);
}

static void status_set(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		if (!r->status)
			continue;
		quirks(&f, "status-set");
		wr(&f, r->set, BIT(2));
		assert_int_equal(f.pmis, 1);
		assert_int_equal(rd(&f, r->status), BIT(2));
		/* Only a bit that was clear, and only a counter's. */
		wr(&f, r->set, BIT(2) | BIT(58));
		assert_int_equal(f.pmis, 1);
		wr(&f, r->set, BIT(0) | BIT(2));
		assert_int_equal(f.pmis, 2);
	}
}

static void metrics_round(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+4");
	quirks(&f, "metrics-round");
	wr(&f, 0x30c, 1000);
	wr(&f, METRICS, 0x80010040);
	/* One less as written, another one as read; 0 stays, and reads leave it alone. */
	assert_int_equal(rd(&f, METRICS), 0x7e00003e);
	assert_int_equal(rd(&f, METRICS), 0x7e00003e);
	assert_int_equal(rdpmc(&f, 1u << 29), 0x7e00003e);
	wr(&f, METRICS, rd(&f, METRICS));
	assert_int_equal(rd(&f, METRICS), 0x7c00003c);
}

static void metrics_alone(void **state)
{
	struct fix f;
	int quirk;

	(void)state;
	for (quirk = 0; quirk < 2; quirk++) {
		fix_init(&f, "intel-8+4");
		if (quirk)
			quirks(&f, "metrics-alone");
		wr(&f, 0x30c, 1000);
		wr(&f, METRICS, 0x80);
		/* Fixed counter 3 is on in GLOBAL_CTRL, but not in FIXED_CTR_CTRL. */
		wr(&f, 0x38f, BIT(48) | BIT(35));
		guest(&f, true);
		run(&f, 1000);
		wr(&f, 0x38f, 0);
		assert_int_equal(rd(&f, 0x30c), 1000);
		assert_int_equal(rd(&f, METRICS) != 0x80, quirk);
	}
}

/* Registers of counter 2, for cache references and misses. */
static void drift(void **state)
{
	static const uint64_t refs[] = { 0x4f2e, 0x4f2e, 0xff60, 0xff60 };
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		uint64_t sel = SEL_ON | SEL_INT | refs[r - all];

		quirks(&f, "drift=15");
		arm(&f, r, sel, 0);
		guest(&f, true);
		f.pmu.feed.cache_refs += 100;
		run(&f, 10);
		/* In guest mode nothing is to be seen of it. */
		assert_int_equal(rd(&f, r->ctr), 100);
		guest(&f, false);
		assert_int_equal(rd(&f, r->ctr), 97);
		/* Off or on, they come. */
		if (r->ctrl)
			wr(&f, r->ctrl, 0);
		run(&f, 14);
		assert_int_equal(rd(&f, r->ctr), 97);
		run(&f, 1);
		assert_int_equal(rd(&f, r->ctr), 100);
		run(&f, 100);
		assert_int_equal(rd(&f, r->ctr), 100);
		assert_int_equal(f.pmu.oracle.at[PMU_GUEST][PMU_KERNEL].cache_refs, 100);
		if (r->ctrl)
			wr(&f, r->ctrl, BIT(2));

		/* No more than there were, and none that a write has overtaken. */
		guest(&f, true);
		f.pmu.feed.cache_refs += 50;
		run(&f, 10);
		wr(&f, r->ctr, 1000);
		f.pmu.feed.cache_refs += 2;
		run(&f, 10);
		guest(&f, false);
		assert_int_equal(rd(&f, r->ctr), 1000);
		/* To whatever value stands there then ... */
		wr(&f, r->ctr, 5);
		run(&f, 15);
		assert_int_equal(rd(&f, r->ctr), 7);

		/* ... but not to another event. */
		guest(&f, true);
		f.pmu.feed.cache_refs += 50;
		run(&f, 10);
		guest(&f, false);
		wr(&f, r->sel, 0);
		wr(&f, r->ctr, 0);
		run(&f, 100);
		assert_int_equal(rd(&f, r->ctr), 0);

		/* An overflow is late with them, and the host's to see. */
		arm(&f, r, sel, 10);
		guest(&f, true);
		f.pmu.feed.cache_refs += 9;
		run(&f, 10);
		guest(&f, false);
		wr(&f, r->ctr, -1ull & MASK48);
		assert_int_equal(f.pmis, 0);
		run(&f, 15);
		assert_int_equal(f.pmis, 1);
		if (r->status)
			assert_int_equal(rd(&f, r->status), BIT(2));

		/* Events of other kinds are there at once. */
		arm(&f, r, SEL_ON | r->cycles, 0);
		guest(&f, true);
		run(&f, 10);
		guest(&f, false);
		assert_int_equal(rd(&f, r->ctr), 10);
	}
}

static void status_amd(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f, "amd-v2");
	quirks(&f, "status-amd");
	wr(&f, 0xc0010205, MASK48);
	wr(&f, 0xc0010204, SEL_ON | 0x76);
	assert_int_equal(rd(&f, 0xc0000300), 0);
	run(&f, 1);
	assert_int_equal(rd(&f, 0xc0000300), BIT(2) | BIT(14) | BIT(60));
	wr(&f, 0xc0000302, BIT(2));
	assert_int_equal(rd(&f, 0xc0000300), BIT(14) | BIT(60));
	wr(&f, 0xc0000302, -1ull);
	assert_int_equal(rd(&f, 0xc0000300), 0);
	/* Only hardware sets them. */
	wr(&f, 0xc0000303, -1ull);
	assert_int_equal(rd(&f, 0xc0000300), 0x3f | BIT(58) | BIT(59));
}

static void status_intel(void **state)
{
	const uint64_t bits = BIT(55) | BIT(58) | BIT(60) | BIT(61) | BIT(62) | BIT(63);
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+3");
	wr_gp(&f, RESET, BIT(55));
	wr_gp(&f, SET, BIT(60));

	quirks(&f, "status-intel");
	wr(&f, 0x4c3, MASK48);
	wr(&f, 0x188, SEL_ON | 0x3c);
	run(&f, 1);
	assert_int_equal(rd(&f, STATUS), BIT(2) | bits);
	run(&f, 10);
	assert_int_equal(rd(&f, 0xc3), 10);
	/* Bits that appear can be cleared, and all but 63 be set. */
	wr(&f, RESET, BIT(2) | bits);
	assert_int_equal(rd(&f, STATUS), 0);
	wr(&f, SET, BIT(55) | BIT(60));
	wr_gp(&f, SET, BIT(63));

	/* Asked for by itself: 59, which stops the counters. */
	fix_init(&f, "intel-8+3");
	quirks(&f, "B14=0x800000000000000");
	wr(&f, 0x4c3, MASK48);
	wr(&f, 0x188, SEL_ON | 0x3c);
	run(&f, 1);
	assert_int_equal(rd(&f, STATUS), BIT(2) | BIT(59));
	run(&f, 10);
	assert_int_equal(rd(&f, 0xc3), 0);
	wr(&f, RESET, BIT(59));
	run(&f, 10);
	assert_int_equal(rd(&f, 0xc3), 10);
}

static void trace_status(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+3");
	wr_gp(&f, SET, BIT(55));
	quirks(&f, "trace-status");
	wr(&f, SET, BIT(55));
	assert_int_equal(rd(&f, STATUS), BIT(55));
	wr(&f, 0x4c3, MASK48);
	wr(&f, 0x188, SEL_ON | 0x3c);
	run(&f, 1);
	assert_int_equal(rd(&f, STATUS), BIT(2) | BIT(55));
	wr(&f, RESET, BIT(2) | BIT(55));
	wr(&f, 0x4c3, MASK48);
	run(&f, 1);
	/* An overflow does not set it. */
	assert_int_equal(rd(&f, STATUS), BIT(2));
}

static void guest_only(void **state)
{
	static const struct {
		uint64_t sel;
		unsigned int more;
	} cases[] = {
		{ SEL_ON | SEL_GUESTONLY | 0xc0, 8 },
		{ SEL_OS | SEL_EN | SEL_GUESTONLY | 0xc0, 8 },
		/* Not of the host's kernel, not apart from it, or another event. */
		{ SEL_USR | SEL_EN | SEL_GUESTONLY | 0xc0, 0 },
		{ SEL_ON | 0xc0, 0 },
		{ SEL_ON | SEL_GUESTONLY | SEL_HOSTONLY | 0xc0, 0 },
		{ SEL_ON | SEL_GUESTONLY | 0x76, 0 },
		{ SEL_USR | SEL_OS | SEL_GUESTONLY | 0xc0, 0 },
	};
	struct fix f, ref;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fix_init(&f, "amd-v2");
		fix_init(&ref, "amd-v2");
		quirks(&f, "guest-only=8");
		guest(&f, false);
		guest(&ref, false);
		run(&f, 1000);
		run(&ref, 1000);
		wr(&f, 0xc0010204, cases[i].sel);
		wr(&ref, 0xc0010204, cases[i].sel);
		guest(&f, true);
		guest(&ref, true);
		run(&f, 100);
		run(&ref, 100);
		assert_int_equal(rd(&f, 0xc0010205), rd(&ref, 0xc0010205) + cases[i].more);
	}

	/* No more than the host has done since the exit. */
	fix_init(&f, "amd-v2");
	quirks(&f, "guest-only=8");
	guest(&f, true);
	wr(&f, 0xc0010204, SEL_ON | SEL_INT | SEL_GUESTONLY | 0xc0);
	guest(&f, false);
	run(&f, 3);
	guest(&f, true);
	assert_int_equal(rd(&f, 0xc0010205), 3);

	/* An overflow by them is the guest's, at its entry. */
	guest(&f, false);
	wr(&f, 0xc0010205, -5ull & MASK48);
	run(&f, 100);
	assert_int_equal(f.pmis, 0);
	guest(&f, true);
	assert_int_equal(f.pmis, 1);
	assert_int_equal(rd(&f, 0xc0010205), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(skid),
		cmocka_unit_test(late),
		cmocka_unit_test(late_bound),
		cmocka_unit_test(worlds_apart),
		cmocka_unit_test(halted),
		cmocka_unit_test(empty_pmi),
		cmocka_unit_test(stray),
		cmocka_unit_test(unmask),
		cmocka_unit_test(status_set),
		cmocka_unit_test(metrics_round),
		cmocka_unit_test(metrics_alone),
		cmocka_unit_test(drift),
		cmocka_unit_test(status_amd),
		cmocka_unit_test(status_intel),
		cmocka_unit_test(trace_status),
		cmocka_unit_test(guest_only),
	};

	return cmocka_run_group_tests_name("quirks", tests, NULL, NULL);
}
