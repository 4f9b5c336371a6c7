// SPDX-License-Identifier: GPL-2.0
/*
 * list-quirks			print the table of quirks
 * list-quirks MODEL QUIRK...	check them, and print what they come to: a line with
 *				commas.  Status 2 and a line for the first that a
 *				processor of that model cannot have
 */
#include <stdio.h>

#include "pmu.h"

static void print(const struct pmu_quirk *q)
{
	static const char *const vendors[] = {
		"", " (Intel)", " (AMD)", " (amd-zen5)", " (AMD with PerfMonV2)", " (Intel, not -nosave)",
		" (intel-8+4)", " (intel-8+3)"
	};
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
	printf("%-32s%-7s%s%s\n", arg, q->row ? q->row : "", q->help, vendors[q->vendor]);
}

int main(int argc, char **argv)
{
	const struct pmu_model *model;
	struct pmu_quirks quirks = { 0 };
	const struct pmu_quirk *q;
	char why[200], text[2000];
	int i;

	if (argc < 2) {
		for (q = pmu_quirk_table; q->name; q++)
			print(q);
		printf("%-32s%-7s%s\n", "hostile=SEED", "", "a set of these, and of their values, that SEED says; some change during the run");
		printf("%-32s%-7s%s\n", "-NAME", "", "without that one");
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

	if (!pmu_quirks_print(&quirks, text, sizeof(text))) {
		fprintf(stderr, "too many quirks\n");
		return 2;
	}
	puts(text);
	return 0;
}
