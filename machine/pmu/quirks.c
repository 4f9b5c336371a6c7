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
		"skid", NULL, PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(skid), .hostile = PMU_HOSTILE_CHANGES, .most = 400, .help =
		"a PMI comes N steps after the overflow, whatever runs then"
	}, {
		"late", "B19", PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(late), .hostile = PMU_HOSTILE_CHANGES, .most = 2000, .help =
		"a PMI of guest mode comes N steps after the next VM-exit, or in guest mode after N (at least 500) steps without one"
	}, {
		"empty-pmi", "row19", PMU_QUIRK_STEPS, PMU_QUIRK_AMD, OFFSET(empty_pmi), .hostile = PMU_HOSTILE_CHANGES, .least = 20, .most = 200, .help =
		"N steps after each PMI there is another, which no overflow stands behind"
	}, {
		/* Those of who sets up no traces would be NMIs that nobody knows. */
		"stray", "row18", PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(stray), .help =
		"each N steps of a guest whose counters count there is an interrupt by LVTPC, without a status bit, as of branch traces"
	}, {
		"unmask", "B3", PMU_QUIRK_FLAG, PMU_QUIRK_ANY, OFFSET(unmask), .hostile = PMU_HOSTILE_ON, .help =
		"clearing LVTPC's mask while the status bit of a counter with INT is set raises a PMI"
	}, {
		"status-set", "B4", PMU_QUIRK_FLAG, PMU_QUIRK_ANY, OFFSET(status_set), .hostile = PMU_HOSTILE_ON, .help =
		"setting a counter's status bit by GLOBAL_STATUS_SET raises a PMI"
	}, {
		"metrics-round", "B5", PMU_QUIRK_FLAG, PMU_QUIRK_METRICS, OFFSET(metrics_round), .hostile = PMU_HOSTILE_ON, .help =
		"PERF_METRICS loses 1/255 of each part with each write and each read"
	}, {
		"metrics-alone", "B7", PMU_QUIRK_FLAG, PMU_QUIRK_METRICS, OFFSET(metrics_alone), .hostile = PMU_HOSTILE_ON, .help =
		"PERF_METRICS goes by bit 48 of GLOBAL_CTRL alone: it counts without fixed counter 3"
	}, {
		"drift", "B10", PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(drift), .hostile = PMU_HOSTILE_CHANGES, .most = 2000, .help =
		"the last 3 cache events of a guest reach their counter N steps after the VM-exit"
	}, {
		"status-amd", "B13", PMU_QUIRK_BITS, PMU_QUIRK_AMD, OFFSET(status_amd),
		.val = BIT(14) | BIT(60), .hostile = PMU_HOSTILE_ON, .help =
		"each overflow also sets reserved bits of GLOBAL_STATUS: 14 and 60"
	}, {
		/* 59 stops all counters: only if asked for. */
		"status-intel", "B14", PMU_QUIRK_BITS, PMU_QUIRK_INTEL, OFFSET(status_intel),
		.val = BIT(55) | BIT(58) | BIT(60) | BIT(61) | BIT(62) | BIT(63), .hostile = PMU_HOSTILE_ON, .help =
		"each overflow also sets bits 55, 58 and 60 to 63 of GLOBAL_STATUS, or those of a mask"
	}, {
		"trace-status", "row13", PMU_QUIRK_FLAG, PMU_QUIRK_INTEL, OFFSET(trace_status), .help =
		"bit 55 of GLOBAL_STATUS, of processor traces, is not reserved: software can set and clear it"
	}, {
		"vmrun", "B1", PMU_QUIRK_CHOICE, PMU_QUIRK_AMD, OFFSET(vmrun),
		.values = { "guest", "host", "branch" }, .hostile = PMU_HOSTILE_ON, .help =
		"VMRUN counts as an instruction of the guest (as without the quirk), of the host, or as an instruction and branch of the guest"
	}, {
		"guest-only", "B26", PMU_QUIRK_STEPS, PMU_QUIRK_AMD, OFFSET(guest_only), .hostile = PMU_HOSTILE_CHANGES, .least = 1, .most = 8, .help =
		"counters of instructions with GuestOnly also count the host's last N before VMRUN"
	}, {
		"uncore", NULL, PMU_QUIRK_FLAG, PMU_QUIRK_AMD, OFFSET(uncore), .hostile = PMU_HOSTILE_ON, .help =
		"RDPMC also reads the counters of the data fabric and the L3 cache, which all share; they count steps"
	}, {
		"tfa", "B15", PMU_QUIRK_FLAG, PMU_QUIRK_INTEL, OFFSET(tfa), .help =
		"CPUID has TSX_FORCE_ABORT: transactions use counter 3 (there are none)"
	}, {
		"vpmc-ctl", NULL, PMU_QUIRK_FLAG, PMU_QUIRK_VPMC, OFFSET(vpmc_ctl), .hostile = PMU_HOSTILE_ON, .help =
		"VMRUN with virtual counters fails with exit code -4 while the host's GLOBAL_CTL is not 0"
	}, {
		"vpmc-alone", NULL, PMU_QUIRK_CHOICE, PMU_QUIRK_VPMC, OFFSET(vpmc_alone),
		.values = { "lost", "invalid" }, .hostile = PMU_HOSTILE_ON, .help =
		"VMRUN with virtual counters but without virtual NMI: the PMI is lost (as without the quirk), or exit code -1"
	}, {
		"vpmc-clean", NULL, PMU_QUIRK_BITS, PMU_QUIRK_VPMC, OFFSET(vpmc_clean),
		.val = BIT(10), .hostile = PMU_HOSTILE_ON, .help =
		"VMRUN with VMCB clean bit 10 (or all of a mask) set takes the virtual counters as the last #VMEXIT left them, not from the VMCB"
	}, {
		"vpmc-swap", NULL, PMU_QUIRK_CHOICE, PMU_QUIRK_VPMC, OFFSET(vpmc_swap),
		.values = { "reset", "keep" }, .hostile = PMU_HOSTILE_ON, .help =
		"after #VMEXIT with virtual counters the host's selectors, counters and GLOBAL_CTL have their reset values (as without the quirk), or are as before VMRUN"
	}, {
		"vpmc-refused", NULL, PMU_QUIRK_FLAG, PMU_QUIRK_VPMC, OFFSET(vpmc_refused), .hostile = PMU_HOSTILE_ON, .help =
		"a VMRUN with virtual counters that is refused resets the host's counters, too"
	}, {
		"vmentry", "B2", PMU_QUIRK_CHOICE, PMU_QUIRK_INTEL, OFFSET(vmentry),
		.values = { "entry", "exit", "both", "branch" }, .hostile = PMU_HOSTILE_ON, .help =
		"each VM-entry, VM-exit, or both, counts as one more instruction of the guest, or as an instruction and a branch"
	}, {
		"metrics-residue", "B6", PMU_QUIRK_FLAG, PMU_QUIRK_METRICS, OFFSET(metrics_residue),
		.hostile = PMU_HOSTILE_ON, .help =
		"what is less than 1/255 of PERF_METRICS' first part outlives writes of it and of fixed counter 3"
	}, {
		"status-metrics", "B8", PMU_QUIRK_FLAG, PMU_QUIRK_METRICS, OFFSET(metrics_gp),
		.hostile = PMU_HOSTILE_ON, .help =
		"bit 48 of GLOBAL_STATUS_SET is reserved: #GP"
	}, {
		"merge", "B9", PMU_QUIRK_CHOICE, PMU_QUIRK_AMD, OFFSET(merge),
		.values = { "host", "alone" }, .hostile = PMU_HOSTILE_ON, .help =
		"a pair of counters, by Merge, counts whatever its GuestOnly and HostOnly say, or is none where Merge has either"
	}, {
		"switch-cycles", "B11", PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(switch_cycles),
		.hostile = PMU_HOSTILE_CHANGES, .least = 1, .most = 1000, .help =
		"each VM-entry and each VM-exit adds N cycles to the guest's"
	}, {
		"faults", "B12", PMU_QUIRK_CHOICE, PMU_QUIRK_AMD, OFFSET(faults),
		.values = { "nested", "all", "iret", "both" }, .hostile = PMU_HOSTILE_CHANGES, .help =
		"an instruction that meets a nested page fault, or any exception, counts already then, or IRET does not count, or both of that"
	}, {
		"leaf-23h", "B16", PMU_QUIRK_FLAG, PMU_QUIRK_INTEL, OFFSET(hidden),
		.hostile = PMU_HOSTILE_ON, .help =
		"CPUID leaf 0Ah hides the last two counters, which leaf 23h has; from reset on they are set to count instructions"
	}, {
		"metrics-8", "B17", PMU_QUIRK_FLAG, PMU_QUIRK_METRICS, OFFSET(metrics_8),
		.hostile = PMU_HOSTILE_ON, .help =
		"PERF_METRICS has eight parts: bits 63:32 are those of the second level, each half of one of the first"
	}, {
		"fixed-77h", "B18", PMU_QUIRK_FLAG, PMU_QUIRK_FIXED3, OFFSET(fixed_77),
		.hostile = PMU_HOSTILE_ON, .help =
		"the fixed counters are 0 to 2 and 4 to 6"
	}, {
		/* This one and the next two break KVM's means, with a mediated PMU or not. */
		"halt-loses", "B20", PMU_QUIRK_FLAG, PMU_QUIRK_ANY, OFFSET(halt), .help =
		"when the host halts, counters that do not count there lose their values"
	}, {
		"msrpm-clean", "B21", PMU_QUIRK_FLAG, PMU_QUIRK_AMD, OFFSET(msrpm), .help =
		"VMRUN with VMCB clean bit 1 set takes the contents of the MSR permission map, too, as they were"
	}, {
		"save-ctrl", "B22", PMU_QUIRK_STEPS, PMU_QUIRK_SAVE, OFFSET(save_ctrl), .help =
		"each Nth VM-exit that is to save GLOBAL_CTRL does not"
	}, {
		"smi", "B23", PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(smi),
		.hostile = PMU_HOSTILE_CHANGES, .least = 2000, .most = 50000, .help =
		"each N steps 200 instructions of system management count, 20 of them branches, unless FREEZE_WHILE_SMM is set"
	}, {
		"freeze", "B24", PMU_QUIRK_FLAG, PMU_QUIRK_V2, OFFSET(freeze),
		.hostile = PMU_HOSTILE_ON, .help =
		"a guest's PMI freezes the counters, by bit 59 of GLOBAL_STATUS, whatever DEBUGCTL says"
	}, {
		"svme", "B25", PMU_QUIRK_FLAG, PMU_QUIRK_AMD, OFFSET(svme),
		.hostile = PMU_HOSTILE_ON, .help =
		"without EFER.SVME, counters with GuestOnly or HostOnly count instead of standing still"
	}, {
		"change", NULL, PMU_QUIRK_STEPS, PMU_QUIRK_ANY, OFFSET(change), .help =
		"at some of the VM-exits, which N says, those quirks go off, come back or take other values that may change in a run"
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

/* A number and nothing else; strtoull() takes blanks and signs. */
static bool parse_number(const char *str, int base, uint64_t *val)
{
	char *end;

	if (!str || *str < '0' || *str > '9')
		return false;
	errno = 0;
	*val = strtoull(str, &end, base);
	return !errno && !*end && (!base || *val <= UINT32_MAX);
}

/* The value after the '=', or NULL. */
static bool parse_value(const struct pmu_quirk *q, const char *str, uint64_t *val)
{
	unsigned int i;

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

	return parse_number(str, q->kind == PMU_QUIRK_BITS ? 0 : 10, val);
}

static struct pmu_quirk_val *value_of(struct pmu_quirks *quirks, const struct pmu_quirk *q)
{
	return (struct pmu_quirk_val *)((char *)quirks + q->offset);
}

static bool is_for(const struct pmu_quirk *q, const struct pmu_model *model)
{
	switch (q->vendor) {
	case PMU_QUIRK_ANY:
		return true;
	case PMU_QUIRK_INTEL:
		return model->vendor == PMU_INTEL;
	case PMU_QUIRK_AMD:
		return model->vendor == PMU_AMD;
	case PMU_QUIRK_VPMC:
		return model->vpmc;
	case PMU_QUIRK_V2:
		return model->vendor == PMU_AMD && model->version >= 2;
	case PMU_QUIRK_SAVE:
		return model->vmx_save_global_ctrl;
	case PMU_QUIRK_METRICS:
		return model->perf_metrics;
	case PMU_QUIRK_FIXED3:
		return model->vendor == PMU_INTEL && !model->perf_metrics;
	}
	return false;
}

static unsigned int nr_values(const struct pmu_quirk *q)
{
	unsigned int n = 0;

	while (n < 4 && q->values[n])
		n++;
	return n;
}

/* SplitMix64. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* One half of what may be in such a set.  A new row of the table changes no others. */
static void hostile(struct pmu_quirks *quirks, const struct pmu_model *model, uint64_t seed)
{
	const struct pmu_quirk *q;

	for (q = pmu_quirk_table; q->name; q++) {
		uint64_t state = seed, random;
		struct pmu_quirk_val *v = value_of(quirks, q);
		const char *c;

		for (c = q->name; *c; c++)
			state = (state ^ *c) * 0x100000001b3;
		random = next_random(&state);
		if (q->hostile == PMU_HOSTILE_NEVER || !is_for(q, model) || random & 1)
			continue;
		v->on = true;
		v->val = q->val;
		random = next_random(&state);
		if (q->kind == PMU_QUIRK_STEPS)
			v->val = q->least + random % (q->most - q->least + 1);
		else if (q->kind == PMU_QUIRK_CHOICE)
			v->val = random % nr_values(q);
	}
	quirks->change.on = true;
	quirks->change.val = seed;
}

void pmu_quirks_change(struct pmu_quirks *quirks, const struct pmu_quirks *base, uint64_t *state)
{
	const struct pmu_quirk *q;

	for (q = pmu_quirk_table; q->name; q++) {
		struct pmu_quirk_val *v = value_of(quirks, q);
		uint64_t random, most;

		*v = *value_of((struct pmu_quirks *)base, q);
		if (q->hostile != PMU_HOSTILE_CHANGES || !v->on)
			continue;
		random = next_random(state);
		most = v->val;
		v->on = random & 3;
		random >>= 2;
		if (q->kind == PMU_QUIRK_STEPS && most > q->least)
			v->val = q->least + random % (most - q->least + 1);
		else if (q->kind == PMU_QUIRK_CHOICE)
			v->val = random % nr_values(q);
	}
}

bool pmu_quirks_print(const struct pmu_quirks *quirks, char *text, size_t size)
{
	const struct pmu_quirk *q;
	size_t len = 0;

	*text = 0;
	for (q = pmu_quirk_table; q->name && len < size; q++) {
		const struct pmu_quirk_val *v = value_of((struct pmu_quirks *)quirks, q);

		if (!v->on)
			continue;
		len += snprintf(text + len, size - len, "%s%s", len ? "," : "", q->name);
		if (len >= size)
			break;
		if (q->kind == PMU_QUIRK_STEPS)
			len += snprintf(text + len, size - len, "=%llu", (unsigned long long)v->val);
		else if (q->kind == PMU_QUIRK_BITS)
			len += snprintf(text + len, size - len, "=%#llx", (unsigned long long)v->val);
		else if (q->kind == PMU_QUIRK_CHOICE)
			len += snprintf(text + len, size - len, "=%s", q->values[v->val]);
	}

	return len < size;
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

	if (!strncmp(text, "hostile", 7) && (!text[7] || text[7] == '=')) {
		if (!parse_number(str ? str + 1 : NULL, 10, &val)) {
			snprintf(why, size, "quirk '%s': hostile wants a number, the seed", text);
			return false;
		}
		hostile(quirks, model, val);
		return true;
	}
	if (*text == '-' && !str) {
		q = find(text + 1, strlen(text + 1));
		if (!q) {
			snprintf(why, size, "no quirk '%s'", text + 1);
			return false;
		}
		*value_of(quirks, q) = (struct pmu_quirk_val){ 0 };
		return true;
	}
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
	if (!is_for(q, model)) {
		snprintf(why, size, "quirk '%s': not on %s", text, model->name);
		return false;
	}

	v = value_of(quirks, q);
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
