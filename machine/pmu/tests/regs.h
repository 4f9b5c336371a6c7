/* SPDX-License-Identifier: GPL-2.0 */
/* Tests that are the same for all models: registers by vendor. */
#ifndef MACHINE_PMU_TESTS_REGS_H
#define MACHINE_PMU_TESTS_REGS_H

#include "common.h"

#define STATUS		0x38e
#define GLOBAL_CTRL	0x38f
#define RESET		0x390
#define SET		0x391
#define DEBUGCTL	0x1d9

/* Registers by vendor, so that one test serves all models. */
struct regs {
	const char *model;
	uint32_t sel, ctr;	/* of counter 2 */
	uint32_t status, ctrl, reset, set;
	uint64_t cycles, branches;
};

static const struct regs all[] = {
	{ "intel-8+3", 0x188, 0x4c3, STATUS, GLOBAL_CTRL, RESET, SET, 0x3c, 0xc4 },
	{ "intel-8+4", 0x188, 0x4c3, STATUS, GLOBAL_CTRL, RESET, SET, 0x3c, 0xc4 },
	{ "amd-v2", 0xc0010204, 0xc0010205, 0xc0000300, 0xc0000301, 0xc0000302, 0xc0000303,
	  0x76, 0xc2 },
	{ "amd-v1", 0xc0010204, 0xc0010205, 0, 0, 0, 0, 0x76, 0xc2 },
};

#define for_each_model(r, f)							\
	for (r = all; r < all + 4 && (fix_init(f, r->model), true); r++)

/* Counter 2 overflows after @n events. */
static inline void arm(struct fix *f, const struct regs *r, uint64_t sel, uint64_t n)
{
	wr(f, r->ctr, -n & MASK48);
	wr(f, r->sel, sel);
}

#endif /* MACHINE_PMU_TESTS_REGS_H */
