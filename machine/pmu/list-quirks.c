// SPDX-License-Identifier: GPL-2.0
/*
 * list-quirks			print the table of quirks
 * list-quirks MODEL QUIRK...	check them: status 2 and a line for the first
 *				that a processor of that model cannot have
 */
#include <stdio.h>

#include "pmu.h"

static void print(const struct pmu_quirk *q)
{
	static const char *const vendors[] = { "", " (Intel)", " (AMD)", " (amd-zen5)" };
	char arg[40];
	int n, i;

	n = snprintf(arg, sizeof(arg), "%s", q->name);
	if (q->kind == PMU_QUIRK_STEPS)
		snprintf(arg + n, sizeof(arg) - n, "=N");
	else if (q->kind == PMU_QUIRK_BITS)
		snprintf(arg + n, sizeof(arg) - n, "[=MASK]");
	else if (q->kind == PMU_QUIRK_CHOICE)
		for (i = 0; i < 4 && q->values[i]; i++)
			n += snprintf(arg + n, sizeof(arg) - n, "%c%s", i ? '|' : '=', q->values[i]);
	printf("%-24s%-7s%s%s\n", arg, q->row ? q->row : "", q->help, vendors[q->vendor]);
}

int main(int argc, char **argv)
{
	const struct pmu_model *model;
	struct pmu_quirks quirks = { 0 };
	const struct pmu_quirk *q;
	char why[200];
	int i;

	if (argc < 2) {
		for (q = pmu_quirk_table; q->name; q++)
			print(q);
		return 0;
	}

	model = pmu_model_find(argv[1]);
	if (!model) {
		fprintf(stderr, "no model '%s'\n", argv[1]);
		return 2;
	}
	for (i = 2; i < argc; i++) {
		if (!pmu_quirks_parse(&quirks, model, argv[i], why, sizeof(why))) {
			fprintf(stderr, "%s\n", why);
			return 2;
		}
	}

	return 0;
}
