/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The steps of mediated_pmu_orders_test: what there is, how a list of them is
 * written and read, and how one is made at random.
 */
#ifndef SELFTEST_KVM_MEDIATED_PMU_ORDERS_H
#define SELFTEST_KVM_MEDIATED_PMU_ORDERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare_metal_pmu.h"

/*
 * The vCPUs that take turns: one in a VM of its own, and two in another one, all
 * of them on one CPU.
 */
#define NR_VCPUS	3

/* Of a sequence, and of all that belongs to it. */
#define MAX_LENGTH	64
#define MAX_STEPS	1024

static inline int vm_of(int v)
{
	return !!v;
}

/* Each VM has memory for one L2. */
static inline bool has_l2(int v)
{
	return v < 2;
}

enum step_kind {
	/* Of the guest.  A slot is a counter, see slot_pmc(). */
	STEP_RESET,
	STEP_SELECT,		/* slot, INT: count instructions */
	STEP_STOP,		/* slot: count nothing */
	STEP_SET,		/* slot, n: overflow with the n-th instruction */
	STEP_RUN,		/* slots, n: enable them in GLOBAL_CTRL, n loops, disable */
	STEP_CPUID,		/* the same with CPUIDs, */
	STEP_IO,		/* slots: with one exit to user space, */
	STEP_HLT,		/* slots, n: n loops and a HLT, or */
	STEP_SMI,		/* slots: an SMI, or */
	STEP_INT,		/* slots: a software interrupt */
	STEP_L2,		/* slots, n: L2 runs n loops, */
	STEP_L2IO,		/* slots: or exits to user space; not of the third vCPU */
	STEP_LVTPC,		/* LVTPC_* */
	STEP_ACK,		/* clear GLOBAL_STATUS */
	STEP_CLI,
	STEP_STI,
	STEP_STATUS,		/* read GLOBAL_STATUS */
	STEP_READ,		/* slot: read it by RDMSR */
	STEP_RDPMC,		/* slot */
	STEP_HANDLER,		/* HANDLER_*: how PMIs are handled */
	STEP_WAIT,		/* as long as a PMI may take */
	STEP_EXIT,		/* to user space */

	/* Of the host. */
	STEP_EVENT,		/* EVENT_*: have an event that excludes guests */
	STEP_FILTER,		/* 1: deny instructions, 0: allow all */
	STEP_GETSET,		/* read all MSRs and write them back */
	STEP_MIGRATE,		/* save everything, restore it in a new VM */
	STEP_CPU,		/* n: move to another CPU */
	STEP_OFFLINE,		/* CPU 1, and online again */
	NR_STEP_KINDS
};

#define FIRST_HOST_STEP	STEP_EVENT

/* Are counters enabled in it? */
static __always_inline bool is_region(enum step_kind kind)
{
	return kind >= STEP_RUN && kind <= STEP_L2IO;
}

static inline bool is_of_l2(enum step_kind kind)
{
	return kind == STEP_L2 || kind == STEP_L2IO;
}

#define LVTPC_NMI	1
#define LVTPC_MASKED	2

#define HANDLER_ACKS		1
#define HANDLER_UNMASKS		2
#define HANDLER_UNMASKS_FIRST	4

enum { EVENT_NONE, EVENT_COUNTS, EVENT_SAMPLES, NR_EVENT_KINDS };

struct step {
	uint8_t kind;
	uint8_t vcpu;
	uint16_t a;
	uint32_t b;
};

static const struct {
	const char *name;
	uint8_t nr_args;
} step_kinds[NR_STEP_KINDS] = {
	[STEP_RESET]	= { "reset", 0 },
	[STEP_SELECT]	= { "select", 2 },
	[STEP_STOP]	= { "stop", 1 },
	[STEP_SET]	= { "set", 2 },
	[STEP_RUN]	= { "run", 2 },
	[STEP_CPUID]	= { "cpuid", 2 },
	[STEP_IO]	= { "io", 1 },
	[STEP_HLT]	= { "hlt", 2 },
	[STEP_SMI]	= { "smi", 1 },
	[STEP_INT]	= { "int", 1 },
	[STEP_L2]	= { "l2", 2 },
	[STEP_L2IO]	= { "l2io", 1 },
	[STEP_LVTPC]	= { "lvtpc", 1 },
	[STEP_ACK]	= { "ack", 0 },
	[STEP_CLI]	= { "cli", 0 },
	[STEP_STI]	= { "sti", 0 },
	[STEP_STATUS]	= { "status", 0 },
	[STEP_READ]	= { "read", 1 },
	[STEP_RDPMC]	= { "rdpmc", 1 },
	[STEP_HANDLER]	= { "handler", 1 },
	[STEP_WAIT]	= { "wait", 0 },
	[STEP_EXIT]	= { "exit", 0 },
	[STEP_EVENT]	= { "event", 1 },
	[STEP_FILTER]	= { "filter", 1 },
	[STEP_GETSET]	= { "getset", 0 },
	[STEP_MIGRATE]	= { "migrate", 0 },
	[STEP_CPU]	= { "cpu", 1 },
	[STEP_OFFLINE]	= { "offline", 0 },
};

/* "select:0:1", or "b/select:0:1" for the second vCPU. */
static inline void step_print(FILE *f, const struct step *s)
{
	if (s->vcpu)
		fprintf(f, "%c/", 'a' + s->vcpu);
	fputs(step_kinds[s->kind].name, f);
	if (step_kinds[s->kind].nr_args > 0)
		fprintf(f, ":%u", s->a);
	if (step_kinds[s->kind].nr_args > 1)
		fprintf(f, ":%u", s->b);
}

static inline void steps_print(FILE *f, const struct step *s, int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		if (i)
			fputc(' ', f);
		step_print(f, &s[i]);
	}
	fputs("\n", f);
}

static inline bool step_parse(struct step *s, const char *word)
{
	unsigned int a = 0, b = 0, nr = 0;
	char name[16];
	int i;

	memset(s, 0, sizeof(*s));
	if (word[0] && word[1] == '/') {
		s->vcpu = word[0] - 'a';
		if (s->vcpu >= NR_VCPUS)
			return false;
		word += 2;
	}
	nr = sscanf(word, "%15[a-z0-9]:%u:%u", name, &a, &b);
	for (i = 0; i < NR_STEP_KINDS; i++) {
		if (strcmp(step_kinds[i].name, name))
			continue;
		s->kind = i;
		s->a = a;
		s->b = b;
		return nr == 1u + step_kinds[i].nr_args && (has_l2(s->vcpu) || !is_of_l2(i));
	}
	return false;
}

/* Returns how many there are, or -1. */
static inline int steps_parse(struct step *s, char *text)
{
	char *word;
	int nr = 0;

	for (word = strtok(text, " "); word; word = strtok(NULL, " ")) {
		if (nr == MAX_STEPS - 128 || !step_parse(&s[nr++], word)) {
			fprintf(stderr, "No such step: %s\n", word);
			return -1;
		}
	}
	return nr;
}

/* Random numbers: xorshift64* */

static uint64_t rng;

static inline void rnd_seed(uint64_t seed)
{
	/* Neighbours shall have nothing in common; 0 does not move. */
	rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
	if (!rng)
		rng = 1;
}

static inline uint32_t rnd(uint32_t n)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return (rng * 0x2545f4914f6cdd1dull >> 32) % n;
}

/*
 * How often each kind comes; what is expensive is rare.  An INT is for -r only: it
 * may be counted or not if a VM-exit interrupts its delivery.
 */
static const uint8_t step_weights[NR_STEP_KINDS] = {
	[STEP_SELECT] = 80, [STEP_STOP] = 8, [STEP_SET] = 80, [STEP_RUN] = 96,
	[STEP_CPUID] = 32, [STEP_IO] = 32, [STEP_HLT] = 16, [STEP_SMI] = 4,
	[STEP_L2] = 16, [STEP_L2IO] = 16,
	[STEP_LVTPC] = 32, [STEP_ACK] = 20, [STEP_CLI] = 12, [STEP_STI] = 16,
	[STEP_STATUS] = 16, [STEP_READ] = 16, [STEP_RDPMC] = 16, [STEP_HANDLER] = 8,
	[STEP_WAIT] = 32, [STEP_EXIT] = 40, [STEP_EVENT] = 20, [STEP_FILTER] = 6,
	[STEP_GETSET] = 6, [STEP_MIGRATE] = 1, [STEP_CPU] = 8, [STEP_OFFLINE] = 1,
};

/* Of slots, the first are used most. */
static inline uint32_t rnd_slot(int nr_slots)
{
	return rnd(2) ? 0 : rnd(nr_slots);
}

static inline uint32_t rnd_slots(int nr_slots)
{
	return rnd(3) ? 1 : rnd(1 << nr_slots);
}

/* One of the steps from @first on. */
static inline void step_random(struct step *s, enum step_kind first, int nr_slots, uint8_t vcpu)
{
	uint32_t at, sum = 0;
	int i;

	for (i = first; i < NR_STEP_KINDS; i++)
		sum += step_weights[i];
	at = rnd(sum);
	for (i = first; at >= step_weights[i]; i++)
		at -= step_weights[i];

	memset(s, 0, sizeof(*s));
	s->kind = !has_l2(vcpu) && is_of_l2(i) ? STEP_RUN : i;
	s->vcpu = vcpu;
	switch (s->kind) {
	case STEP_SELECT:
		s->a = rnd_slot(nr_slots);
		s->b = !!rnd(4);
		break;
	case STEP_SET:
		s->a = rnd_slot(nr_slots);
		s->b = 1 + rnd(rnd(3) ? 60 : 400);
		break;
	case STEP_STOP:
	case STEP_READ:
	case STEP_RDPMC:
		s->a = rnd_slot(nr_slots);
		break;
	case STEP_RUN:
	case STEP_L2:
		s->a = rnd_slots(nr_slots);
		s->b = 1 + rnd(rnd(3) ? 24 : 100);
		break;
	case STEP_CPUID:
	case STEP_HLT:
		s->a = rnd_slots(nr_slots);
		s->b = 1 + rnd(12);
		break;
	case STEP_IO:
	case STEP_L2IO:
	case STEP_SMI:
		s->a = rnd_slots(nr_slots);
		break;
	case STEP_LVTPC:
		s->a = rnd(2) | (rnd(3) ? 0 : LVTPC_MASKED);
		break;
	case STEP_HANDLER:
		s->a = rnd(2) ? HANDLER_ACKS | HANDLER_UNMASKS : rnd(8);
		break;
	case STEP_EVENT:
		s->a = rnd(NR_EVENT_KINDS);
		break;
	case STEP_FILTER:
		s->a = !rnd(3);
		break;
	case STEP_CPU:
		s->a = rnd(2);
		break;
	}
}

#endif /* SELFTEST_KVM_MEDIATED_PMU_ORDERS_H */
