/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small reference model of a PMU and of the local APIC's entry for it, as
 * software finds them on a processor of its own.  Written from the architecture
 * only: it knows nothing of VMs.
 *
 * Counters are in @slots, all of which count instructions.  What is exact on
 * hardware is exact here: counts, and which bits of GLOBAL_STATUS are set.  When
 * a PMI comes is not: the caller tells when software has taken one, and is told
 * whether there was a reason for it, and whether one has got lost.
 *
 *  - A status bit that rises while its counter's INT is set and LVTPC is not
 *    masked leads to a PMI.  Whatever rises before that one is taken shares it.
 *  - A counter that overflows while its bit is set already may raise a PMI.
 *  - There is no PMI without one of these.
 *  - On Intel, LVTPC gets masked when a PMI is delivered, on AMD it does not.
 *  - With @late, PMIs may take their time.  Then LVTPC may have been written in
 *    between: if it is masked, or delivers in another way, when the PMI arrives,
 *    that is what decides; and two that overflowed one after the other may come
 *    one after the other.
 */
#ifndef SELFTEST_KVM_BARE_METAL_PMU_H
#define SELFTEST_KVM_BARE_METAL_PMU_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BARE_SLOTS	4
#define BARE_MASK	((1ull << 48) - 1)

struct bare {
	bool intel;
	bool late;
	/* What is late may not come if its status is cleared before. */
	bool acked_may_be_lost;

	struct {
		uint64_t value;
		bool counts;
		bool intr;
	} slot[BARE_SLOTS];
	/* A bit for each slot. */
	uint64_t status;

	struct {
		bool nmi;
		bool masked;
		/* Is it known whether it is masked? */
		bool sure;
		/* Written since it is known that PMIs are on their way? */
		bool written;
	} lvtpc;
	bool interrupts_on;

	/* On their way, as fixed interrupts and as NMIs. */
	struct {
		/* One has to come. */
		bool owed;
		/* So many may come. */
		unsigned int may;
	} pmi[2];
};

static inline void bare_reset(struct bare *b, bool intel, bool late)
{
	memset(b, 0, sizeof(*b));
	b->intel = intel;
	b->late = late;
	b->lvtpc.sure = true;
	b->interrupts_on = true;
}

static inline void bare_overflow(struct bare *b, int slot, bool maybe_taken)
{
	bool rises = !(b->status & 1ull << slot);
	int how = b->lvtpc.nmi;

	b->status |= 1ull << slot;
	if (!b->slot[slot].intr)
		return;

	if (b->lvtpc.masked && b->lvtpc.sure) {
		/* It may be unmasked when this one arrives. */
		b->pmi[how].may += b->late;
		return;
	}

	b->pmi[how].may++;
	if (rises && !maybe_taken)
		b->pmi[how].owed = true;
	if (!b->intel)
		return;

	b->lvtpc.written = false;
	b->lvtpc.masked = rises && !maybe_taken && !b->late;
	b->lvtpc.sure = b->lvtpc.masked;
}

/* @n instructions; @mask has the slots that GLOBAL_CTRL enables. */
static inline void __bare_run(struct bare *b, uint64_t mask, uint64_t n, bool maybe_taken)
{
	int order[BARE_SLOTS], nr = 0, i, j;
	uint64_t left[BARE_SLOTS];

	for (i = 0; i < BARE_SLOTS; i++) {
		if (!(mask & 1ull << i) || !b->slot[i].counts)
			continue;
		left[i] = -b->slot[i].value & BARE_MASK;
		if (!left[i])
			left[i] = BARE_MASK + 1;
		b->slot[i].value = (b->slot[i].value + n) & BARE_MASK;
		if (left[i] > n)
			continue;
		/* What overflows first comes first. */
		for (j = nr++; j && left[order[j - 1]] > left[i]; j--)
			order[j] = order[j - 1];
		order[j] = i;
	}
	for (i = 0; i < nr; i++)
		bare_overflow(b, order[i], maybe_taken);
}

static inline void bare_run(struct bare *b, uint64_t mask, uint64_t n)
{
	__bare_run(b, mask, n, false);
}

/* The same, either before or after a PMI is taken. */
static inline void bare_run_beside_pmi(struct bare *b, uint64_t mask, uint64_t n)
{
	__bare_run(b, mask, n, true);
}

/* GLOBAL_STATUS is cleared. */
static inline void bare_ack(struct bare *b)
{
	b->status = 0;
	if (b->late && b->acked_may_be_lost) {
		b->pmi[0].owed = false;
		b->pmi[1].owed = false;
	}
}

static inline void bare_write_lvtpc(struct bare *b, bool nmi, bool masked)
{
	int old = b->lvtpc.nmi;

	/* One that has not arrived gets what it finds. */
	if (b->late && (masked || nmi != old)) {
		if (nmi != old)
			b->pmi[nmi].may += b->pmi[old].may;
		b->pmi[old].owed = false;
	}
	b->lvtpc.nmi = nmi;
	b->lvtpc.masked = masked;
	b->lvtpc.sure = true;
	b->lvtpc.written = true;
}

/*
 * A PMI is taken; LVTPC then reads as @masked or not.  Returns what is wrong, or
 * NULL.
 */
static inline const char *bare_take_pmi(struct bare *b, bool nmi, bool masked)
{
	bool sure = b->intel ? b->lvtpc.sure && !b->late : true;

	if (!b->pmi[nmi].may)
		return "a PMI without a reason";

	b->pmi[nmi].owed = false;
	b->pmi[nmi].may = b->late ? b->pmi[nmi].may - 1 : 0;

	if (sure && masked != b->lvtpc.masked)
		return masked ? "LVTPC is masked" : "LVTPC is not masked";
	if (b->intel && !b->lvtpc.written && !masked)
		return "LVTPC was not masked by its PMI";

	b->lvtpc.masked = masked;
	b->lvtpc.sure = true;
	return NULL;
}

/* Must HLT end by a PMI?  It enables interrupts. */
static inline bool bare_pmi_is_owed(struct bare *b)
{
	return b->pmi[1].owed || (b->interrupts_on && b->pmi[0].owed);
}

/* Nothing is on its way any more.  Returns what is wrong, or NULL. */
static inline const char *bare_settle(struct bare *b)
{
	if (bare_pmi_is_owed(b))
		return "a PMI is lost";

	b->pmi[1].may = 0;
	if (b->interrupts_on) {
		b->pmi[0].may = 0;
		if (!b->lvtpc.sure) {
			b->lvtpc.masked = false;
			b->lvtpc.sure = true;
		}
	}
	return NULL;
}

#endif /* SELFTEST_KVM_BARE_METAL_PMU_H */
