// SPDX-License-Identifier: GPL-2.0
/* The quirks, each by its name as the table has it. */
#include "regs.h"

#define METRICS		0x329

/* Switch @text on, on top of what is on; nothing if that is NULL. */
static void quirks(struct fix *f, const char *text)
{
	char why[200] = "";

	if (text && !pmu_quirks_parse(&f->pmu.quirks, f->pmu.model, text, why, sizeof(why)))
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
		{ "amd-v2", "B27", "no quirk 'B27'" },
		{ "amd-v2", "B2=both", "quirk 'B2=both': not on amd-v2" },
		{ "amd-v1", "freeze", "quirk 'freeze': not on amd-v1" },
		{ "intel-8+3-nosave", "B22=1", "quirk 'B22=1': not on intel-8+3-nosave" },
		{ "intel-8+3", "B8", "quirk 'B8': not on intel-8+3" },
		{ "intel-8+4", "B18", "quirk 'B18': not on intel-8+4" },
		{ "amd-v2", "hostile", "quirk 'hostile': hostile wants a number, the seed" },
		{ "amd-v2", "hostile=x", "quirk 'hostile=x': hostile wants a number, the seed" },
		{ "amd-v2", "hostile=1,-nosuch", "no quirk 'nosuch'" },
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
		quirks(&f, quirk ? "metrics-alone" : NULL);
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

/* A guest is left: what counts of that counts before the mode changes. */
static void leave(struct fix *f)
{
	pmu_vmexit(&f->pmu);
	guest(f, false);
}

static void vmentry(void **state)
{
	static const struct {
		const char *text;
		unsigned int entry, exit, branch;
	} cases[] = {
		{ NULL, 0, 0, 0 },
		{ "vmentry=entry", 1, 0, 0 },
		{ "B2=exit", 0, 1, 0 },
		{ "vmentry=both", 1, 1, 0 },
		{ "vmentry=branch", 1, 1, 1 },
	};
	unsigned int i;
	struct fix f;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned int both = cases[i].entry + cases[i].exit;

		fix_init(&f, "intel-8+3");
		quirks(&f, cases[i].text);
		wr(&f, 0x186, SEL_ON | 0xc0);
		wr(&f, 0x187, SEL_ON | 0xc4);
		wr(&f, 0x188, SEL_ON | 0x3c);
		wr(&f, 0x38d, 0x3);
		wr(&f, GLOBAL_CTRL, 0x7 | BIT(32));
		guest(&f, true);
		assert_int_equal(rd(&f, 0xc1), cases[i].entry);
		assert_int_equal(rd(&f, 0xc2), cases[i].branch * cases[i].entry);
		run(&f, 100);
		leave(&f);
		assert_int_equal(rd(&f, 0xc1), 100 + both);
		assert_int_equal(rd(&f, 0x309), 100 + both);
		assert_int_equal(rd(&f, 0xc2), cases[i].branch * both);
		assert_int_equal(rd(&f, 0xc3), 100);
		/* The truth is as it was, and the host has none of it. */
		assert_int_equal(f.pmu.oracle.at[PMU_GUEST][PMU_KERNEL].retired, 100);
		run(&f, 50);
		assert_int_equal(rd(&f, 0xc1), 150 + both);

		/* An overflow by them is a PMI, at the entry or as the guest is left. */
		f.pmis = 0;
		wr(&f, 0x186, SEL_ON | SEL_INT | 0xc0);
		wr(&f, 0x4c1, MASK48);
		guest(&f, true);
		assert_int_equal(f.pmis, cases[i].entry);
		wr(&f, 0x4c1, MASK48);
		leave(&f);
		assert_int_equal(f.pmis, both);
	}
}

static void switch_cycles(void **state)
{
	const struct regs *r;
	unsigned int quirk;
	struct fix f;

	(void)state;
	for (quirk = 0; quirk < 2; quirk++) {
		for_each_model(r, &f) {
			quirks(&f, quirk ? "B11=70" : NULL);
			arm(&f, r, SEL_ON | r->cycles, 0);
			guest(&f, true);
			assert_int_equal(rd(&f, r->ctr), 70 * quirk);
			run(&f, 100);
			leave(&f);
			assert_int_equal(rd(&f, r->ctr), 100 + 140 * quirk);
			arm(&f, r, SEL_ON | r->branches, 0);
			guest(&f, true);
			leave(&f);
			assert_int_equal(rd(&f, r->ctr), 0);
		}
	}

	/* Slots are four of a cycle. */
	fix_init(&f, "intel-8+4");
	quirks(&f, "switch-cycles=5");
	wr(&f, 0x38d, 0x3000);
	wr(&f, GLOBAL_CTRL, BIT(35));
	guest(&f, true);
	assert_int_equal(rd(&f, 0x30c), 20);
}

static void metrics_residue(void **state)
{
	struct fix f;
	int quirk;

	(void)state;
	for (quirk = 0; quirk < 2; quirk++) {
		fix_init(&f, "intel-8+4");
		quirks(&f, quirk ? "B6" : NULL);
		wr(&f, 0x38d, 0x3000);
		wr(&f, GLOBAL_CTRL, BIT(48) | BIT(35));
		/* One part of 255 is 160 slots; 10050 of 40800 are 62 parts and 130 slots. */
		f.pmu.feed.steps += 10200;
		f.pmu.feed.retired += 10050;
		pmu_sync(&f.pmu);
		assert_int_equal(rd(&f, METRICS) & 0xff, 62);
		wr(&f, GLOBAL_CTRL, 0);
		wr(&f, 0x30c, 0);
		wr(&f, METRICS, 0);
		assert_int_equal(rd(&f, METRICS), 0);
		/* Another guest, of which nothing retires. */
		wr(&f, GLOBAL_CTRL, BIT(48) | BIT(35));
		f.pmu.feed.steps += 100;
		pmu_sync(&f.pmu);
		assert_int_equal(rd(&f, METRICS) & 0xff, quirk ? 130 * 255 / 400 : 0);
	}

	pmu_reset(&f.pmu);
	wr(&f, 0x38d, 0x3000);
	wr(&f, GLOBAL_CTRL, BIT(48) | BIT(35));
	f.pmu.feed.steps += 100;
	pmu_sync(&f.pmu);
	assert_int_equal(rd(&f, METRICS) & 0xff, 0);
}

static void status_metrics(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+4");
	wr(&f, SET, BIT(48));
	assert_int_equal(rd(&f, STATUS), BIT(48));
	quirks(&f, "B8");
	wr_gp(&f, SET, BIT(48));
	wr_gp(&f, SET, BIT(48) | BIT(0));
	wr(&f, SET, BIT(0) | BIT(35));
	/* It can be cleared, and enabled. */
	wr(&f, RESET, BIT(48));
	wr(&f, GLOBAL_CTRL, BIT(48));
}

#define SEL_MERGE	(SEL_ON | 0xfull << 32 | 0xff)

static void merge(void **state)
{
	enum { NONE, HOST, ALONE };
	unsigned int quirk;
	struct fix f;

	(void)state;
	for (quirk = NONE; quirk <= ALONE; quirk++) {
		fix_init(&f, "amd-v2");
		if (quirk)
			quirks(&f, quirk == HOST ? "B9=host" : "merge=alone");
		guest(&f, true);

		/* A pair that always counts is one, with the quirks, too: 64 bits. */
		wr(&f, 0xc0010203, 0xfffe);
		wr(&f, 0xc0010201, -5ull & MASK48);
		wr(&f, 0xc0010202, SEL_MERGE);
		wr(&f, 0xc0010200, SEL_ON | SEL_INT | 0x76);
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc0010201), 5);
		assert_int_equal(rd(&f, 0xc0010203), 0xffff);
		assert_int_equal(f.pmis, 0);
		wr(&f, 0xc0010201, -5ull & MASK48);
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc0010203), 0);
		assert_int_equal(rd(&f, 0xc0000300), BIT(0));
		assert_int_equal(f.pmis, 1);
		wr(&f, 0xc0000302, BIT(0));

		/* One of guests only. */
		wr(&f, 0xc0010200, SEL_ON | SEL_INT | SEL_GUESTONLY | 0x76);
		wr(&f, 0xc0010202, SEL_MERGE | SEL_GUESTONLY);
		wr(&f, 0xc0010203, 7);
		wr(&f, 0xc0010201, -5ull & MASK48);
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc0010203), quirk == ALONE ? 7 : 8);
		assert_int_equal(rd(&f, 0xc0000300), quirk == ALONE);
		guest(&f, false);
		run(&f, 100);
		assert_int_equal(rd(&f, 0xc0010201), quirk == HOST ? 105 : 5);
		/* Only as a pair. */
		wr(&f, 0xc0010202, SEL_ON | 0x76);
		wr(&f, 0xc0010201, 0);
		run(&f, 100);
		assert_int_equal(rd(&f, 0xc0010201), 0);
	}
}

static void faults(void **state)
{
	static const struct {
		const char *text;
		unsigned int nested, exception, iret;
	} cases[] = {
		{ NULL, 0, 0, 0 },
		{ "faults=nested", 1, 0, 0 },
		{ "B12=all", 1, 1, 0 },
		{ "faults=iret", 0, 0, 1 },
		{ "faults=both", 1, 1, 1 },
	};
	unsigned int i;
	struct fix f;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fix_init(&f, "amd-v2");
		quirks(&f, cases[i].text);
		wr(&f, 0xc0010204, SEL_ON | SEL_INT | 0xc0);
		wr(&f, 0xc0010202, SEL_ON | 0x76);
		pmu_fault(&f.pmu, PMU_FAULT_NESTED);
		assert_int_equal(rd(&f, 0xc0010205), cases[i].nested);
		pmu_fault(&f.pmu, PMU_FAULT_EXCEPTION);
		assert_int_equal(rd(&f, 0xc0010205), cases[i].nested + cases[i].exception);

		/* IRET retires after this. */
		wr(&f, 0xc0010205, 0);
		pmu_fault(&f.pmu, PMU_FAULT_IRET);
		pmu_sync(&f.pmu);
		assert_int_equal(rd(&f, 0xc0010205), 0);
		run(&f, 1);
		assert_int_equal(rd(&f, 0xc0010205), 1 - cases[i].iret);
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc0010205), 11 - cases[i].iret);
		assert_int_equal(rd(&f, 0xc0010203), 11);
		assert_int_equal(f.pmu.oracle.at[PMU_HOST][PMU_KERNEL].retired, 11);

		/* Where it overflows it raises a PMI. */
		wr(&f, 0xc0010205, MASK48);
		pmu_fault(&f.pmu, PMU_FAULT_EXCEPTION);
		assert_int_equal(f.pmis, cases[i].exception);
	}
}

static void leaf_23h(void **state)
{
	struct pmu_quirks none = { 0 };
	uint32_t regs[4];
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+4");
	pmu_cpuid_23(f.pmu.model, &none, 1, regs);
	assert_int_equal(regs[0] | regs[1], 0);

	quirks(&f, "B16");
	pmu_cpuid_0a(f.pmu.model, &f.pmu.quirks, regs);
	assert_int_equal(regs[0] >> 8 & 0xff, 6);
	pmu_cpuid_23(f.pmu.model, &f.pmu.quirks, 0, regs);
	assert_int_equal(regs[0], 3);
	pmu_cpuid_23(f.pmu.model, &f.pmu.quirks, 1, regs);
	assert_int_equal(regs[0], 0xff);
	assert_int_equal(regs[1], 0xf);
	pmu_cpuid_23(f.pmu.model, &f.pmu.quirks, 2, regs);
	assert_int_equal(regs[0] | regs[1], 0);

	/* They are there, and go as soon as GLOBAL_CTRL lets them. */
	pmu_reset(&f.pmu);
	wr(&f, GLOBAL_CTRL, 0x3f);
	run(&f, 10);
	assert_int_equal(rdpmc(&f, 6) | rdpmc(&f, 7), 0);
	wr(&f, GLOBAL_CTRL, 0xc0);
	run(&f, 10);
	assert_int_equal(rdpmc(&f, 6), 10);
	assert_int_equal(rdpmc(&f, 7), 10);
}

static void metrics_8(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+4");
	wr_gp(&f, METRICS, BIT(32));
	quirks(&f, "B17");
	wr(&f, METRICS, 0x1122334455667788);
	assert_int_equal(rd(&f, METRICS), 0x1122334455667788);
	wr(&f, 0x30c, 0);
	wr(&f, METRICS, 0);
	wr(&f, 0x38d, 0x3000);
	wr(&f, GLOBAL_CTRL, BIT(48) | BIT(35));
	run(&f, 1000);
	assert_int_equal(rd(&f, METRICS), 0x6000001fc000003f);
	quirks(&f, "metrics-round");
	assert_int_equal(rd(&f, METRICS), 0x5f00001ebf00003e);
}

static void fixed_77h(void **state)
{
	uint32_t regs[4];
	unsigned int n;
	struct fix f;

	(void)state;
	fix_init(&f, "intel-8+3");
	wr_gp(&f, GLOBAL_CTRL, BIT(36));
	rdpmc_gp(&f, 1u << 30 | 4);

	quirks(&f, "B18");
	pmu_cpuid_0a(f.pmu.model, &f.pmu.quirks, regs);
	assert_int_equal(regs[2], 0x77);
	assert_int_equal(regs[3] & 0x1f, 3);
	rd_gp(&f, 0x30c);
	rdpmc_gp(&f, 1u << 30 | 3);
	wr_gp(&f, GLOBAL_CTRL, BIT(35));
	sweep_bits(&f, 0x38d, 0xbbb0bbb);
	wr(&f, 0x38d, 0x3330333);
	wr(&f, GLOBAL_CTRL, 0x77ull << 32);
	run(&f, 100);
	wr(&f, GLOBAL_CTRL, 0);
	for (n = 0; n < 7; n++) {
		/* Bad speculation and the front end get no slots. */
		if (n != 3)
			assert_int_equal(rd(&f, 0x309 + n), n == 4 || n == 5 ? 0 : 100);
	}
	assert_int_equal(rdpmc(&f, 1u << 30 | 6), 100);
	wr(&f, 0x30f, MASK48);
	wr(&f, 0x38d, 0xb000000);
	wr(&f, GLOBAL_CTRL, BIT(38));
	run(&f, 1);
	assert_int_equal(rd(&f, STATUS), BIT(38));
	assert_int_equal(f.pmis, 1);
}

static void halt_loses(void **state)
{
	const struct regs *r;
	struct fix f;
	int quirk;

	(void)state;
	for (quirk = 0; quirk < 2; quirk++) {
		for_each_model(r, &f) {
			bool lost = quirk;

			quirks(&f, quirk ? "B20" : NULL);
			guest(&f, false);
			wr(&f, r->ctr, 1234);
			pmu_halted(&f.pmu);
			assert_int_equal(rd(&f, r->ctr), lost ? 0 : 1234);

			/* What counts in the host stays, what counts in guests only does not. */
			wr(&f, r->ctr, 1234);
			wr(&f, r->sel, SEL_ON | r->cycles);
			pmu_halted(&f.pmu);
			assert_int_equal(rd(&f, r->ctr), 1234);
			if (f.pmu.model->vendor == PMU_AMD)
				wr(&f, r->sel, SEL_ON | SEL_GUESTONLY | r->cycles);
			else
				lost = false;
			pmu_halted(&f.pmu);
			assert_int_equal(rd(&f, r->ctr), lost ? 0 : 1234);
			/* A guest that halts by itself is no deep sleep. */
			wr(&f, r->sel, 0);
			wr(&f, r->ctr, 1234);
			guest(&f, true);
			pmu_halted(&f.pmu);
			assert_int_equal(rd(&f, r->ctr), 1234);
		}
	}
}

static void smi(void **state)
{
	const struct regs *r;
	struct fix f;

	(void)state;
	for_each_model(r, &f) {
		quirks(&f, "B23=1000");
		arm(&f, r, SEL_ON | r->cycles, 0);
		assert_int_equal(pmu_deadline(&f.pmu), 1000);
		run(&f, 999);
		assert_int_equal(rd(&f, r->ctr), 999);
		run(&f, 1);
		assert_int_equal(rd(&f, r->ctr), 1200);
		run(&f, 2500);
		assert_int_equal(rd(&f, r->ctr), 3500 + 3 * PMU_SMI_STEPS);
		assert_int_equal(f.pmu.oracle.at[PMU_HOST][PMU_KERNEL].steps, 3500);
		arm(&f, r, SEL_ON | r->branches, 0);
		run(&f, 1000);
		assert_int_equal(rd(&f, r->ctr), PMU_SMI_BRANCHES);
		/* Not user code, though that is what it interrupts. */
		arm(&f, r, SEL_USR | SEL_EN | r->cycles, 0);
		pmu_set_mode(&f.pmu, false, true, true);
		run(&f, 1000);
		assert_int_equal(rd(&f, r->ctr), 1000);
		if (f.pmu.model->vendor == PMU_INTEL) {
			wr(&f, DEBUGCTL, BIT(14));
			arm(&f, r, SEL_ON | r->cycles, 0);
			run(&f, 1000);
			assert_int_equal(rd(&f, r->ctr), 1000);
		}
	}
}

static void freeze(void **state)
{
	struct fix f;
	int quirk;

	(void)state;
	for (quirk = 0; quirk < 2; quirk++) {
		fix_init(&f, "amd-v2");
		quirks(&f, quirk ? "B24" : NULL);
		guest(&f, true);
		wr(&f, 0xc0010204, SEL_ON | SEL_INT | 0x76);
		wr(&f, 0xc0010205, MASK48);
		run(&f, 1);
		assert_int_equal(f.pmis, 1);
		assert_int_equal(rd(&f, 0xc0000300), BIT(2) | (quirk ? BIT(59) : 0));
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc0010205), quirk ? 0 : 10);
		/* It stays when the guest is left, until it is cleared. */
		guest(&f, false);
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc0010205), quirk ? 0 : 20);
		wr(&f, 0xc0000302, BIT(2) | BIT(59));
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc0010205), quirk ? 10 : 30);
		/* The host's own do not. */
		wr(&f, 0xc0010205, MASK48);
		run(&f, 1);
		assert_int_equal(f.pmis, 2);
		assert_int_equal(rd(&f, 0xc0000300), BIT(2));
	}
}

static void svme(void **state)
{
	struct fix f;
	int quirk;

	(void)state;
	for (quirk = 0; quirk < 2; quirk++) {
		fix_init(&f, "amd-v2");
		quirks(&f, quirk ? "B25" : NULL);
		wr(&f, 0xc0010204, SEL_ON | SEL_GUESTONLY | 0x76);
		wr(&f, 0xc0010202, SEL_ON | SEL_HOSTONLY | 0x76);
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc0010205), quirk ? 10 : 0);
		assert_int_equal(rd(&f, 0xc0010203), quirk ? 10 : 0);
		/* With SVME both are as ever. */
		guest(&f, false);
		run(&f, 10);
		assert_int_equal(rd(&f, 0xc0010205), quirk ? 10 : 0);
		assert_int_equal(rd(&f, 0xc0010203), quirk ? 20 : 10);
	}
}

/* Sets by a seed. */
static void hostile(void **state)
{
	static const char *const models[] = { "intel-8+3", "intel-8+4", "amd-v2", "amd-zen5" };
	struct pmu_quirks set, again;
	const struct pmu_quirk *q;
	char text[2000], why[200], word[40];
	unsigned int m, seed, on;
	struct fix f;

	(void)state;
	for (m = 0; m < 4; m++) {
		const struct pmu_model *model = pmu_model_find(models[m]);

		for (q = pmu_quirk_table; q->name; q++) {
			bool valid;

			/* Each that can be in one is in some, and not in all. */
			for (seed = 0, on = 0; seed < 64; seed++) {
				memset(&set, 0, sizeof(set));
				snprintf(word, sizeof(word), "hostile=%u", seed);
				assert_true(pmu_quirks_parse(&set, model, word, why, sizeof(why)));
				on += ((struct pmu_quirk_val *)((char *)&set + q->offset))->on;
			}
			snprintf(word, sizeof(word), "-%s,%s%s", q->name, q->name,
				 q->kind == PMU_QUIRK_STEPS ? "=1" : "");
			if (q->kind == PMU_QUIRK_CHOICE)
				snprintf(word, sizeof(word), "%s=%s", q->name, q->values[0]);
			valid = pmu_quirks_parse(&set, model, word, why, sizeof(why));
			if (!strcmp(q->name, "change"))
				assert_int_equal(on, 64);
			else if (!valid || q->hostile == PMU_HOSTILE_NEVER)
				assert_int_equal(on, 0);
			else
				assert_true(on > 8 && on < 56);
		}

		/* What is printed of one is that one. */
		for (seed = 0; seed < 64; seed++) {
			memset(&set, 0, sizeof(set));
			memset(&again, 0, sizeof(again));
			snprintf(word, sizeof(word), "hostile=%u", seed);
			assert_true(pmu_quirks_parse(&set, model, word, why, sizeof(why)));
			assert_true(pmu_quirks_print(&set, text, sizeof(text)));
			assert_true(pmu_quirks_parse(&again, model, text, why, sizeof(why)));
			assert_memory_equal(&set, &again, sizeof(set));
		}
	}

	assert_false(pmu_quirks_print(&set, text, 20));

	/* Without one of them, by either name, and with another value. */
	fix_init(&f, "amd-v2");
	quirks(&f, "skid=3,B12=iret,late=5,-skid,-B12,late=6");
	assert_true(pmu_quirks_print(&f.pmu.quirks, text, sizeof(text)));
	assert_string_equal(text, "late=6");
}

/* In a run some go, come back and take other values; the others stay. */
static void change(void **state)
{
	unsigned int i, off = 0, other = 0, irets = 0;
	struct fix f, g;

	(void)state;
	fix_init(&f, "amd-v2");
	quirks(&f, "late=2000,smi=5000,B12=nested,unmask,vmrun=branch,change=7");
	fix_init(&g, "amd-v2");
	g.pmu.quirks = f.pmu.quirks;
	for (i = 0; i < 10000; i++) {
		const struct pmu_quirks *q = &f.pmu.quirks;

		run(&f, 10);
		run(&g, 10);
		guest(&f, true);
		guest(&g, true);
		guest(&f, false);
		guest(&g, false);
		assert_memory_equal(q, &g.pmu.quirks, sizeof(*q));
		assert_true(q->late.val <= 2000);
		assert_true(q->smi.val >= 2000 && q->smi.val <= 5000);
		assert_true(q->unmask.on && q->vmrun.on && q->vmrun.val == PMU_VMRUN_BRANCH);
		assert_false(q->skid.on);
		off += !q->late.on;
		other += q->late.on && q->late.val != 2000;
		irets += q->faults.on && q->faults.val == PMU_FAULTS_IRET;
	}
	assert_true(off > 1000 && other > 4000 && irets > 1000);

	/* Never by itself. */
	fix_init(&f, "amd-v2");
	quirks(&f, "late=2000");
	for (i = 0; i < 1000; i++) {
		guest(&f, true);
		guest(&f, false);
		assert_true(f.pmu.quirks.late.on && f.pmu.quirks.late.val == 2000);
	}
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
		cmocka_unit_test(vmentry),
		cmocka_unit_test(switch_cycles),
		cmocka_unit_test(metrics_residue),
		cmocka_unit_test(status_metrics),
		cmocka_unit_test(merge),
		cmocka_unit_test(faults),
		cmocka_unit_test(leaf_23h),
		cmocka_unit_test(metrics_8),
		cmocka_unit_test(fixed_77h),
		cmocka_unit_test(halt_loses),
		cmocka_unit_test(smi),
		cmocka_unit_test(freeze),
		cmocka_unit_test(svme),
		cmocka_unit_test(hostile),
		cmocka_unit_test(change),
	};

	return cmocka_run_group_tests_name("quirks", tests, NULL, NULL);
}
