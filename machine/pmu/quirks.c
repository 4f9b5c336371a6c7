// SPDX-License-Identifier: GPL-2.0
/*
 * The one table of quirks: names, values, and what each does.  Everything that
 * takes, lists or checks quirks (machine/run, the emulator) goes by it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pmu.h"

#define OFFSET(field)		offsetof(struct pmu_quirks, field)
#define BIT(n)			(1ull << (n))

const struct pmu_quirk pmu_quirk_table[] = {
	{
		"skid", NULL, PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(skid), .help =
		"a PMI comes N steps after the overflow, whatever runs then"
	}, {
		"late", "B19", PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(late), .help =
		"a PMI of guest mode comes N steps after the next VM-exit, or in guest mode after N (at least 500) steps without one"
	}, {
		"empty-pmi", "row19", PMU_QUIRK_STEPS, PMU_QUIRK_AMD, OFFSET(empty_pmi), .help =
		"N steps after each PMI there is another, which no overflow stands behind"
	}, {
		"stray", "row18", PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(stray), .help =
		"each N steps of a guest whose counters count there is an interrupt by LVTPC, without a status bit, as of branch traces"
	}, {
		"unmask", "B3", PMU_QUIRK_FLAG, PMU_QUIRK_ANY, OFFSET(unmask), .help =
		"clearing LVTPC's mask while the status bit of a counter with INT is set raises a PMI"
	}, {
		"status-set", "B4", PMU_QUIRK_FLAG, PMU_QUIRK_ANY, OFFSET(status_set), .help =
		"setting a counter's status bit by GLOBAL_STATUS_SET raises a PMI"
	}, {
		"metrics-round", "B5", PMU_QUIRK_FLAG, PMU_QUIRK_INTEL, OFFSET(metrics_round), .help =
		"PERF_METRICS loses 1/255 of each part with each write and each read"
	}, {
		"metrics-alone", "B7", PMU_QUIRK_FLAG, PMU_QUIRK_INTEL, OFFSET(metrics_alone), .help =
		"PERF_METRICS goes by bit 48 of GLOBAL_CTRL alone: it counts without fixed counter 3"
	}, {
		"drift", "B10", PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(drift), .help =
		"the last 3 cache events of a guest reach their counter N steps after the VM-exit"
	}, {
		"status-amd", "B13", PMU_QUIRK_BITS, PMU_QUIRK_AMD, OFFSET(status_amd),
		.val = BIT(14) | BIT(60), .help =
		"each overflow also sets reserved bits of GLOBAL_STATUS: 14 and 60"
	}, {
		/* 59 stops all counters: only if asked for. */
		"status-intel", "B14", PMU_QUIRK_BITS, PMU_QUIRK_INTEL, OFFSET(status_intel),
		.val = BIT(55) | BIT(58) | BIT(60) | BIT(61) | BIT(62) | BIT(63), .help =
		"each overflow also sets bits 55, 58 and 60 to 63 of GLOBAL_STATUS, or those of a mask"
	}, {
		"trace-status", "row13", PMU_QUIRK_FLAG, PMU_QUIRK_INTEL, OFFSET(trace_status), .help =
		"bit 55 of GLOBAL_STATUS, of processor traces, is not reserved: software can set and clear it"
	}, {
		"vmrun", "B1", PMU_QUIRK_CHOICE, PMU_QUIRK_AMD, OFFSET(vmrun),
		.values = { "guest", "host", "branch" }, .help =
		"VMRUN counts as an instruction of the guest (as without the quirk), of the host, or as an instruction and branch of the guest"
	}, {
		"guest-only", "B26", PMU_QUIRK_STEPS, PMU_QUIRK_AMD, OFFSET(guest_only), .help =
		"counters of instructions with GuestOnly also count the host's last N before VMRUN"
	}, {
		"uncore", NULL, PMU_QUIRK_FLAG, PMU_QUIRK_AMD, OFFSET(uncore), .help =
		"RDPMC also reads the counters of the data fabric and the L3 cache, which all share; they count steps"
	}, {
		"tfa", "row20", PMU_QUIRK_FLAG, PMU_QUIRK_INTEL, OFFSET(tfa), .help =
		"CPUID has TSX_FORCE_ABORT: transactions use counter 3 (there are none)"
	}, {
		"vpmc-ctl", NULL, PMU_QUIRK_FLAG, PMU_QUIRK_VPMC, OFFSET(vpmc_ctl), .help =
		"VMRUN with virtual counters fails with exit code -4 while the host's GLOBAL_CTL is not 0"
	}, {
		"vpmc-alone", NULL, PMU_QUIRK_CHOICE, PMU_QUIRK_VPMC, OFFSET(vpmc_alone),
		.values = { "lost", "invalid" }, .help =
		"VMRUN with virtual counters but without virtual NMI: the PMI is lost (as without the quirk), or exit code -1"
	}, {
		"vpmc-clean", NULL, PMU_QUIRK_BITS, PMU_QUIRK_VPMC, OFFSET(vpmc_clean),
		.val = BIT(10), .help =
		"VMRUN with VMCB clean bit 10 (or all of a mask) set takes the virtual counters as the last #VMEXIT left them, not from the VMCB"
	}, {
		"vpmc-swap", NULL, PMU_QUIRK_CHOICE, PMU_QUIRK_VPMC, OFFSET(vpmc_swap),
		.values = { "reset", "keep" }, .help =
		"after #VMEXIT with virtual counters the host's selectors, counters and GLOBAL_CTL have their reset values (as without the quirk), or are as before VMRUN"
	}, {
		"vpmc-refused", NULL, PMU_QUIRK_FLAG, PMU_QUIRK_VPMC, OFFSET(vpmc_refused), .help =
		"a VMRUN with virtual counters that is refused resets the host's counters, too"
	}, {
		.name = NULL
	}
};

static const struct pmu_quirk *find(const char *name, size_t len)
{
	const struct pmu_quirk *q;

	for (q = pmu_quirk_table; q->name; q++) {
		if (strlen(q->name) == len && !memcmp(q->name, name, len))
			return q;
		if (q->row && strlen(q->row) == len && !memcmp(q->row, name, len))
			return q;
	}

	return NULL;
}

/* The value after the '=', or NULL. */
static bool parse_value(const struct pmu_quirk *q, const char *str, uint64_t *val)
{
	unsigned int i;
	char *end;

	*val = q->val;
	switch (q->kind) {
	case PMU_QUIRK_FLAG:
		return !str;
	case PMU_QUIRK_BITS:
		if (!str)
			return true;
		break;
	case PMU_QUIRK_STEPS:
		break;
	case PMU_QUIRK_CHOICE:
		for (i = 0; str && i < 4 && q->values[i]; i++) {
			*val = i;
			if (!strcmp(str, q->values[i]))
				return true;
		}
		return false;
	}

	/* strtoull() takes blanks and signs. */
	if (!str || *str < '0' || *str > '9')
		return false;
	errno = 0;
	*val = strtoull(str, &end, q->kind == PMU_QUIRK_BITS ? 0 : 10);
	return !errno && !*end && (q->kind == PMU_QUIRK_BITS || *val <= UINT32_MAX);
}

static bool parse_one(struct pmu_quirks *quirks, const struct pmu_model *model, char *text,
		      char *why, size_t size)
{
	static const char *const wants[] = {
		[PMU_QUIRK_FLAG] = "has no value",
		[PMU_QUIRK_STEPS] = "wants a number of steps",
		[PMU_QUIRK_BITS] = "takes a mask of bits",
		[PMU_QUIRK_CHOICE] = "wants one of its values",
	};
	char *str = strchr(text, '=');
	const struct pmu_quirk *q;
	struct pmu_quirk_val *v;
	uint64_t val;

	q = find(text, str ? (size_t)(str - text) : strlen(text));
	if (!q) {
		snprintf(why, size, "no quirk '%s'", text);
		return false;
	}
	if (str)
		str++;
	if (!parse_value(q, str, &val)) {
		snprintf(why, size, "quirk '%s': %s %s", text, q->name, wants[q->kind]);
		return false;
	}
	if ((q->vendor == PMU_QUIRK_INTEL && model->vendor != PMU_INTEL) ||
	    (q->vendor == PMU_QUIRK_AMD && model->vendor != PMU_AMD) ||
	    (q->vendor == PMU_QUIRK_VPMC && !model->vpmc)) {
		snprintf(why, size, "quirk '%s': not on %s", text, model->name);
		return false;
	}

	v = (struct pmu_quirk_val *)((char *)quirks + q->offset);
	v->on = true;
	v->val = val;
	return true;
}

bool pmu_quirks_parse(struct pmu_quirks *quirks, const struct pmu_model *model,
		      const char *text, char *why, size_t size)
{
	char *copy = strdup(text), *word, *rest = NULL;
	bool good = copy;

	if (!copy)
		snprintf(why, size, "out of memory");

	for (word = copy; good; word = NULL) {
		word = strtok_r(word, ", ", &rest);
		if (!word)
			break;
		good = parse_one(quirks, model, word, why, size);
	}

	free(copy);
	return good;
}
