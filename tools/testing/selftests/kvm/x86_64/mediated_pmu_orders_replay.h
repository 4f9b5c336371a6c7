/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Compare what a guest of mediated_pmu_orders_test has noted with the reference
 * model, step by step.
 */
#ifndef SELFTEST_KVM_MEDIATED_PMU_ORDERS_REPLAY_H
#define SELFTEST_KVM_MEDIATED_PMU_ORDERS_REPLAY_H

#include "bare_metal_pmu.h"
#include "mediated_pmu_orders_guest.h"

/* What is wrong with a sequence, which a shorter one has to share, and where. */
static const char *failure;
static char failure_at[128];

static void fail(const char *what)
{
	if (!failure) {
		failure = what;
		failure_at[0] = 0;
	}
}

/* May PMIs be late?  See struct bare. */
static uint32_t late;
static bool acked_may_be_lost;

/* Instructions that a handler costs, and those until it has disabled the counters. */
static uint64_t handler_insns, handler_prologue;

static uint64_t nr_pmis;

struct replay {
	struct bare bare;
	bool selected[BARE_SLOTS];
	bool denied;
	/* LVTPC as it was written last, and the handler. */
	uint32_t lvtpc, handler;
	struct entry *e, *end;
	int v, step;
	const struct step *op;

	/* Where VM-entries count: the witness, see have_witness(), */
	uint64_t witness;
	/* how many there were in this step, and of those the ones it did not ask for. */
	uint64_t entries, unasked;
	/* An interrupt has come somewhere in so many instructions. */
	uint64_t band;
};

/* What VM-entries add beside those that a step asks for, as the host has interrupts. */
#define STEP_SPARE	(SPARE_ENTRIES * pmu.entry_insns)
#define HANDLER_SPARE	(10 * pmu.entry_insns)

/* And details for whoever looks into it. */
static void __printf(3, 4)
fail_replay(struct replay *r, const char *what, const char *fmt, ...)
{
	va_list args;
	int len;

	if (failure)
		return;
	failure = what;
	len = snprintf(failure_at, sizeof(failure_at), ", vCPU %c, its step %u: ",
		       'a' + r->v, r->step);
	va_start(args, fmt);
	vsnprintf(failure_at + len, sizeof(failure_at) - len, fmt, args);
	va_end(args);
}

static uint64_t status_to_slots(struct replay *r, uint64_t status)
{
	uint64_t slots = 0, rest = status;
	int i;

	for (i = 0; i < nr_slots(); i++) {
		if (status & pmc_global_bit(slot_pmc(i))) {
			slots |= BIT_ULL(i);
			rest &= ~pmc_global_bit(slot_pmc(i));
		}
	}
	if (rest)
		fail_replay(r, "GLOBAL_STATUS has bits of nobody", "%#lx", status);
	return slots;
}

static void compare(struct replay *r, int slot, uint64_t value)
{
	if (value != r->bare.slot[slot].value)
		fail_replay(r, "a wrong count", "slot %d, %#lx, wanted %#lx", slot, value,
			    r->bare.slot[slot].value);
}

static void compare_witness(struct replay *r, uint64_t value)
{
	if (value != r->witness)
		fail_replay(r, "a wrong count", "witness, %#lx, wanted %#lx", value, r->witness);
}

static void compare_status(struct replay *r, uint64_t status)
{
	if (status_to_slots(r, status) != r->bare.status)
		fail_replay(r, "a wrong GLOBAL_STATUS", "%#lx, wanted slots %#lx", status,
			    r->bare.status);
}

static int counting_slot(struct replay *r, uint64_t slots)
{
	int i;

	for (i = 0; i < nr_slots(); i++) {
		if (slots & BIT(i) && r->bare.slot[i].counts)
			return i;
	}
	return -1;
}

static bool witness_counts(struct replay *r, uint64_t slots)
{
	int i;

	for (i = 0; i < nr_slots(); i++) {
		if (r->selected[i])
			return have_witness() && slots && !r->denied;
	}
	return false;
}

static void replay_run(struct replay *r, uint64_t slots, uint64_t n)
{
	if (witness_counts(r, slots))
		r->witness = (r->witness + n) & COUNTER_MASK;
	bare_run(&r->bare, slots, n);
}

/* Either before or after a PMI is taken. */
static void replay_run_beside_pmi(struct replay *r, uint64_t slots, uint64_t n)
{
	if (witness_counts(r, slots))
		r->witness = (r->witness + n) & COUNTER_MASK;
	bare_run_beside_pmi(&r->bare, slots, n);
}

/*
 * How many VM-entries there were in a step: what the witness has counted in it, that
 * of its instructions and handlers aside.
 */
static void replay_find_entries(struct replay *r, uint64_t witness)
{
	int64_t least = region_exits(r->op) * pmu.entry_insns, spare = STEP_SPARE;
	int64_t n = (witness - r->witness) & COUNTER_MASK;
	struct entry *e;

	n -= region_insns(r->op);
	for (e = r->e; e < r->end && e->step == r->step; e++) {
		if (!e->ctrl)
			continue;
		n -= handler_insns;
		spare += HANDLER_SPARE;
	}
	if (n < least || n > least + spare)
		fail_replay(r, "a wrong count", "%ld too many, %ld to %ld VM-entries", n, least,
			    least + spare);
	r->entries = n;
	r->unasked = n - least;
}

/*
 * As replay_to_entry(), with VM-entries among the instructions.  Those that no step
 * asked for may have come while the interrupt was on its way to its handler, or in
 * the handler before it stopped the counters.
 */
static uint64_t replay_witness_to_entry(struct replay *r, struct entry *e, uint64_t slots,
					uint64_t left)
{
	uint64_t n = (e->witness - r->witness) & COUNTER_MASK;
	uint64_t skip = e->ctrl ? handler_prologue : 0, uncertain;

	if (e->ctrl && e->ctrl != slots_to_ctrl(slots))
		fail_replay(r, "a wrong GLOBAL_CTRL", "%#lx", e->ctrl);
	if (n < skip || n > skip + left + r->entries)
		fail_replay(r, "a wrong count at an interrupt", "%ld of %lu, and %lu VM-entries",
			    (int64_t)((n - skip) << 16) >> 16, left, r->entries);
	if (failure)
		return left;
	n -= skip;
	if (!e->ctrl) {
		/* It is either before the region or after it. */
		replay_run(r, slots, n);
		return n ? 0 : left;
	}
	uncertain = n < r->unasked ? n : r->unasked;
	r->band += uncertain;
	replay_run(r, slots, n - uncertain);
	return left;
}

/* @left instructions until @slots are disabled: run up to the interrupt. */
static uint64_t replay_to_entry(struct replay *r, struct entry *e, uint64_t slots, uint64_t left)
{
	int c = counting_slot(r, slots);
	uint64_t n;

	if (witness_counts(r, slots))
		return replay_witness_to_entry(r, e, slots, left);
	if (c < 0)
		return left;

	n = (e->value[c] - r->bare.slot[c].value) & COUNTER_MASK;
	if (!e->ctrl) {
		/* It is either before the region or after it. */
		n = n ? left : 0;
	} else {
		n = (n - handler_prologue) & COUNTER_MASK;
		if (e->ctrl != slots_to_global(slots))
			fail_replay(r, "a wrong GLOBAL_CTRL", "%#lx", e->ctrl);
		if (n > left) {
			fail_replay(r, "a wrong count at an interrupt", "slot %d, %ld of %lu",
				    c, (int64_t)(n << 16) >> 16, left);
			n = left;
		}
	}
	replay_run(r, slots, n);
	return left - n;
}

/* Take a PMI, @slots are enabled. */
static void replay_pmi(struct replay *r, struct entry *e, uint64_t slots, uint64_t left)
{
	bool masked = e->lvtpc & APIC_LVT_MASKED;
	bool nmi = e->vector == NMI_VECTOR;
	uint64_t band = r->band;
	const char *error;

	for (; !r->bare.pmi[nmi].may && band; band--)
		replay_run(r, slots, 1);
	error = bare_take_pmi(&r->bare, nmi, masked);
	if (error)
		fail_replay(r, error, "vector %u, LVTPC %#lx, status %#lx, %lu left", e->vector,
			    e->lvtpc, e->status, left);
	replay_run_beside_pmi(r, slots, band);
	replay_run(r, slots, handler_prologue - 1);
}

/* An interrupt.  Returns what of @left instructions is to be done after it. */
static uint64_t replay_entry(struct replay *r, uint64_t slots, uint64_t left)
{
	struct entry *e = r->e++;
	int i;

	/*
	 * If writes of GLOBAL_CTRL are emulated, the one that enables is counted
	 * and not the one that disables: one more has been done than it seems.
	 */
	r->band = 1;
	left = replay_to_entry(r, e, slots, left);
	if (!e->ctrl)
		slots = 0;

	if (e->vector == NMI_VECTOR || e->vector == PMI_VECTOR) {
		nr_pmis++;
		replay_pmi(r, e, slots, left);
	} else {
		if (e->vector == TIMER_VECTOR && e->hlt && bare_pmi_is_owed(&r->bare))
			fail_replay(r, "a HLT is not ended by its PMI", "status %#lx", e->status);
		replay_run(r, slots, r->band - 1 + handler_prologue);
	}

	compare_status(r, e->status);
	for (i = 0; i < nr_slots(); i++)
		compare(r, i, e->value[i]);
	compare_witness(r, e->witness);

	if (e->vector == NMI_VECTOR || e->vector == PMI_VECTOR) {
		if (r->handler & HANDLER_ACKS)
			bare_ack(&r->bare);
		if (r->handler & HANDLER_UNMASKS && e->lvtpc != lvtpc_value(r->lvtpc))
			bare_write_lvtpc(&r->bare, r->lvtpc & LVTPC_NMI, r->lvtpc & LVTPC_MASKED);
	}
	replay_run(r, slots, handler_insns - handler_prologue);
	return left;
}

static void replay_effect(struct replay *r, const struct step *s, uint64_t result)
{
	struct bare *b = &r->bare;
	const char *error;

	switch (s->kind) {
	case STEP_RESET:
		bare_reset(b, pmu.intel, late);
		b->acked_may_be_lost = acked_may_be_lost;
		memset(r->selected, 0, sizeof(r->selected));
		r->witness = 0;
		r->lvtpc = 0;
		r->handler = HANDLER_ACKS | HANDLER_UNMASKS;
		break;
	case STEP_SELECT:
	case STEP_STOP:
		r->selected[s->a] = s->kind == STEP_SELECT;
		b->slot[s->a].counts = r->selected[s->a] && !r->denied;
		b->slot[s->a].intr = s->kind == STEP_SELECT && s->b;
		break;
	case STEP_SET:
		b->slot[s->a].value = -(uint64_t)s->b & COUNTER_MASK;
		break;
	case STEP_LVTPC:
		r->lvtpc = s->a;
		bare_write_lvtpc(b, s->a & LVTPC_NMI, s->a & LVTPC_MASKED);
		break;
	case STEP_ACK:
		bare_ack(b);
		break;
	case STEP_CLI:
		b->interrupts_on = false;
		break;
	case STEP_STI:
		b->interrupts_on = true;
		break;
	case STEP_STATUS:
		compare_status(r, result);
		break;
	case STEP_READ:
	case STEP_RDPMC:
		compare(r, s->a, result);
		break;
	case STEP_HANDLER:
		r->handler = s->a;
		break;
	case STEP_WAIT:
		error = bare_settle(b);
		if (error)
			fail_replay(r, error, "status %#lx", b->status);
		break;
	}
}

static void replay_step(struct replay *r, const struct step *s, uint64_t result)
{
	uint64_t left = region_insns(s), slots = left ? s->a : 0;

	r->op = s;
	if (witness_counts(r, slots))
		replay_find_entries(r, result);
	if (s->kind == STEP_HLT)
		r->bare.interrupts_on = true;

	/* Interrupts before the effect of the step, or in it, and after it. */
	while (!failure && r->e < r->end && r->e->step == r->step &&
	       (left || !r->e->done || s->kind == STEP_WAIT))
		left = replay_entry(r, slots, left);
	if (witness_counts(r, slots))
		left = (result - r->witness) & COUNTER_MASK;
	replay_run(r, slots, left);
	if (slots)
		compare_witness(r, result);
	replay_effect(r, s, result);
	while (!failure && r->e < r->end && r->e->step == r->step)
		replay_entry(r, 0, 0);
}

/*
 * What vCPU @v noted about its ones of all @steps.  Returns false if that cannot be
 * compared, as an interrupt interrupted the handler of another.
 */
static bool replay(int v, struct shared *s, const struct step *steps, int nr)
{
	struct replay r = {
		.v = v,
		.e = s->entry,
		.end = s->entry + s->nr_entries,
	};
	struct entry *e;
	int i, c;

	if (s->nr_entries == MAX_ENTRIES) {
		fail_replay(&r, "a flood of interrupts", "%u", s->nr_entries);
		return true;
	}
	for (e = r.e; e < r.end; e++) {
		if (e->nested)
			return false;
	}

	for (i = 0; i < nr && !failure; i++) {
		if (steps[i].kind == STEP_FILTER && vm_of(steps[i].vcpu) == vm_of(v)) {
			r.denied = steps[i].a;
			for (c = 0; c < nr_slots(); c++)
				r.bare.slot[c].counts = r.selected[c] && !r.denied;
		}
		if (steps[i].kind >= FIRST_HOST_STEP || steps[i].vcpu != v)
			continue;
		replay_step(&r, &steps[i], s->result[r.step]);
		r.step++;
	}
	return true;
}

#endif /* SELFTEST_KVM_MEDIATED_PMU_ORDERS_REPLAY_H */
