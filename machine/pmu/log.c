// SPDX-License-Identifier: GPL-2.0
/*
 * The machine log.  See log.h for the contract and LOG.md for the format.
 *
 * Each processor has one table of counters which only ever grow; a window is a
 * copy of the tables at its opening, and its record the difference at its close.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

/* What a counter in the table counts; part of its key. */
enum kind {
	KIND_RDMSR,		/* as enum pmu_log_access */
	KIND_WRMSR,
	KIND_RDPMC,
	KIND_EXIT,
	KIND_MSR_EXIT_RD,
	KIND_MSR_EXIT_WR,
	KIND_ROUNDTRIP,		/* the index is its length */
	KIND_SWITCH,		/* the same for those from one vCPU to another */
	KIND_SWITCH_RDMSR,	/* accesses in these */
	KIND_SWITCH_WRMSR,
	KIND_SWITCH_RDPMC,
};

#define KEY_USED		(1ull << 63)

struct slot {
	uint64_t key;		/* 0 when free */
	uint64_t ok;
	uint64_t fault;
};

/*
 * L1 may touch any of 2^32 MSR numbers.  Counts beyond this many different ones
 * are only counted as lost.
 */
#define MAX_SLOTS		(1u << 16)
#define MIN_SLOTS		64

/* Longer round trips, in instructions, are not told apart. */
#define MAX_ROUNDTRIP		(1u << 14)
#define MAX_SWITCH		(1u << 15)

struct table {
	struct slot *slots;
	uint32_t size;		/* a power of two */
	uint32_t used;
};

struct counts {
	struct table table;
	uint64_t lost;
	uint64_t entries;
	uint64_t roundtrips;
	uint64_t roundtrip_retired;
	uint64_t switches;
	uint64_t switch_retired;
	uint64_t pmi[2];	/* [guest] */
	uint64_t pmi_masked[2];
	uint64_t hw[PMU_LOG_NR_HW];
	struct pmu_oracle oracle;	/* filled in when a port write needs it */
};

struct cpu {
	struct counts now;
	bool exited;		/* exit_retired and since_exit are valid */
	uint64_t exit_retired;
	uint64_t vcpu;		/* that was entered last */
	struct counts since_exit;	/* accesses of the host, no more */
};

struct window {
	struct window *next;
	uint32_t id;
	struct counts *at_open;	/* one for each processor */
};

struct pmu_log {
	FILE *file;
	unsigned int nr_cpus;
	struct cpu *cpus;
	struct window *windows;
};

/* Tables. */

static uint64_t make_key(enum kind kind, bool guest, uint32_t index)
{
	return KEY_USED | (uint64_t)kind << 40 | (uint64_t)guest << 32 | index;
}

static enum kind key_kind(uint64_t key)
{
	return key >> 40 & 0xff;
}

static bool key_guest(uint64_t key)
{
	return key >> 32 & 1;
}

/* The key's slot, or the free one where it belongs; NULL in an empty table. */
static struct slot *lookup(const struct table *t, uint64_t key)
{
	uint32_t i;

	if (!t->size)
		return NULL;

	i = (key * 0x9e3779b97f4a7c15ull) >> 40;
	for (;; i++) {
		struct slot *s = &t->slots[i & (t->size - 1)];

		if (s->key == key || !s->key)
			return s;
	}
}

static bool grow(struct table *t, uint32_t max)
{
	struct table new = { .size = t->size ? 2 * t->size : MIN_SLOTS, .used = t->used };
	uint32_t i;

	if (new.size > max)
		return false;
	new.slots = calloc(new.size, sizeof(*new.slots));
	if (!new.slots)
		return false;

	for (i = 0; i < t->size; i++)
		if (t->slots[i].key)
			*lookup(&new, t->slots[i].key) = t->slots[i];

	free(t->slots);
	*t = new;
	return true;
}

static void count_some(struct counts *c, uint64_t key, uint64_t ok, uint64_t fault)
{
	struct table *t = &c->table;
	struct slot *s = lookup(t, key);

	if (!s || !s->key) {
		/* At most three quarters full, so that a lookup ends. */
		if (4 * (t->used + 1) > 3 * t->size && !grow(t, MAX_SLOTS)) {
			c->lost += ok + fault;
			return;
		}
		s = lookup(t, key);
		s->key = key;
		t->used++;
	}

	s->ok += ok;
	s->fault += fault;
}

static void count(struct counts *c, uint64_t key, bool fault)
{
	count_some(c, key, !fault, fault);
}

static int compare_slots(const void *a, const void *b)
{
	const struct slot *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/*
 * Add, or with @negative take away, all of @from.  False when out of memory; the
 * bound is on what is counted, not on sums.
 */
static bool add_table(struct table *to, const struct table *from, bool negative)
{
	uint32_t i;

	for (i = 0; i < from->size; i++) {
		const struct slot *f = &from->slots[i];
		struct slot *s;

		if (!f->key)
			continue;
		s = lookup(to, f->key);
		if (!s || !s->key) {
			if (4 * (to->used + 1) > 3 * to->size && !grow(to, UINT32_MAX / 4))
				return false;
			s = lookup(to, f->key);
			s->key = f->key;
			to->used++;
		}
		s->ok += negative ? -f->ok : f->ok;
		s->fault += negative ? -f->fault : f->fault;
	}

	return true;
}

/* As add_table().  Unsigned arithmetic wraps, so the order does not matter. */
static bool add_counts(struct counts *to, const struct counts *from, bool negative)
{
	uint64_t sign = negative ? -1ull : 1;
	int guest, user, i;

	to->lost += sign * from->lost;
	to->entries += sign * from->entries;
	to->roundtrips += sign * from->roundtrips;
	to->roundtrip_retired += sign * from->roundtrip_retired;
	to->switches += sign * from->switches;
	to->switch_retired += sign * from->switch_retired;

	for (i = 0; i < PMU_LOG_NR_HW; i++)
		to->hw[i] += sign * from->hw[i];

	for (guest = 0; guest < 2; guest++) {
		to->pmi[guest] += sign * from->pmi[guest];
		to->pmi_masked[guest] += sign * from->pmi_masked[guest];
		for (user = 0; user < 2; user++) {
			const struct pmu_feed *f = &from->oracle.at[guest][user];
			struct pmu_feed *t = &to->oracle.at[guest][user];

			t->steps += sign * f->steps;
			t->retired += sign * f->retired;
			t->branches += sign * f->branches;
			t->branches_cond += sign * f->branches_cond;
			t->branches_taken += sign * f->branches_taken;
			t->branch_misses += sign * f->branch_misses;
			t->cache_refs += sign * f->cache_refs;
			t->cache_misses += sign * f->cache_misses;
			t->loads += sign * f->loads;
			t->stores += sign * f->stores;
		}
	}

	return add_table(&to->table, &from->table, negative);
}

/* Open and close. */

struct pmu_log *pmu_log_open(const char *path, unsigned int nr_cpus)
{
	struct pmu_log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;

	log->nr_cpus = nr_cpus;
	log->cpus = calloc(nr_cpus, sizeof(*log->cpus));
	if (log->cpus)
		log->file = fopen(path, "w");
	if (!log->file) {
		free(log->cpus);
		free(log);
		return NULL;
	}

	return log;
}

static void free_window(struct pmu_log *log, struct window *w)
{
	unsigned int cpu;

	for (cpu = 0; cpu < log->nr_cpus; cpu++)
		free(w->at_open[cpu].table.slots);
	free(w->at_open);
	free(w);
}

void pmu_log_close(struct pmu_log *log)
{
	unsigned int cpu;

	if (!log)
		return;

	while (log->windows) {
		struct window *w = log->windows;

		log->windows = w->next;
		free_window(log, w);
	}
	for (cpu = 0; cpu < log->nr_cpus; cpu++) {
		free(log->cpus[cpu].now.table.slots);
		free(log->cpus[cpu].since_exit.table.slots);
	}
	free(log->cpus);
	fclose(log->file);
	free(log);
}

/* Counting. */

void pmu_log_access(struct pmu_log *log, unsigned int cpu, bool guest,
		    enum pmu_log_access what, uint32_t index, bool faulted)
{
	struct cpu *c = &log->cpus[cpu];

	count(&c->now, make_key((enum kind)what, guest, index), faulted);
	if (c->exited)
		count(&c->since_exit, make_key(KIND_SWITCH_RDMSR + what, false, index), faulted);
}

/* A round trip has ended with another vCPU than it began with. */
static void count_switch(struct cpu *c, uint64_t retired)
{
	const struct table *t = &c->since_exit.table;
	uint32_t i;

	c->now.switches++;
	c->now.switch_retired += retired;
	if (retired < MAX_SWITCH)
		count(&c->now, make_key(KIND_SWITCH, false, retired), false);
	c->now.lost += c->since_exit.lost;
	for (i = 0; i < t->size; i++)
		if (t->slots[i].key)
			count_some(&c->now, t->slots[i].key, t->slots[i].ok, t->slots[i].fault);
}

void pmu_log_entry(struct pmu_log *log, unsigned int cpu, const struct pmu_feed *feed,
		   uint64_t vcpu)
{
	struct cpu *c = &log->cpus[cpu];
	uint64_t from = c->vcpu;
	uint64_t retired;

	c->now.entries++;
	c->vcpu = vcpu;
	if (!c->exited)
		return;

	c->exited = false;
	retired = feed->retired - c->exit_retired;
	c->now.roundtrips++;
	c->now.roundtrip_retired += retired;
	if (retired < MAX_ROUNDTRIP)
		count(&c->now, make_key(KIND_ROUNDTRIP, false, retired), false);
	if (from != vcpu)
		count_switch(c, retired);
}

/* Exit reasons for MSR accesses: VMX tells reads from writes, SVM does not. */
#define VMX_RDMSR	31
#define VMX_WRMSR	32
#define SVM_MSR		0x7c

void pmu_log_exit(struct pmu_log *log, unsigned int cpu, const struct pmu_feed *feed,
		  uint32_t reason, uint32_t msr, bool wr)
{
	struct cpu *c = &log->cpus[cpu];

	c->exited = true;
	c->exit_retired = feed->retired;
	if (c->since_exit.table.used) {
		memset(c->since_exit.table.slots, 0,
		       c->since_exit.table.size * sizeof(*c->since_exit.table.slots));
		c->since_exit.table.used = 0;
	}
	c->since_exit.lost = 0;
	count(&c->now, make_key(KIND_EXIT, true, reason), false);

	if (reason == VMX_RDMSR || reason == VMX_WRMSR) {
		/* For SVM these are CR and DR accesses, which have no MSR. */
		if (!msr)
			return;
		wr = reason == VMX_WRMSR;
	} else if (reason != SVM_MSR) {
		return;
	}
	count(&c->now, make_key(wr ? KIND_MSR_EXIT_WR : KIND_MSR_EXIT_RD, true, msr), false);
}

#define LVT_MASKED	(1u << 16)

void pmu_log_pmi(struct pmu_log *log, unsigned int cpu, bool guest, uint32_t lvtpc)
{
	struct counts *c = &log->cpus[cpu].now;

	c->pmi[guest]++;
	c->pmi_masked[guest] += !!(lvtpc & LVT_MASKED);
}

void pmu_log_hw(struct pmu_log *log, unsigned int cpu, enum pmu_log_hw what)
{
	log->cpus[cpu].now.hw[what]++;
}

/* Records. */

static void print_slots(FILE *f, const struct slot *slots, uint32_t nr, const char *name,
			enum kind kind, bool guest)
{
	bool access = kind <= KIND_RDPMC || kind >= KIND_SWITCH_RDMSR, first = true;
	uint32_t i;

	fprintf(f, "\"%s\":{", name);
	for (i = 0; i < nr; i++) {
		const struct slot *s = &slots[i];

		if (key_kind(s->key) != kind || key_guest(s->key) != guest)
			continue;
		if (!s->ok && !s->fault)
			continue;
		fprintf(f, "%s\"0x%" PRIx32 "\":", first ? "" : ",", (uint32_t)s->key);
		if (access)
			fprintf(f, "[%" PRIu64 ",%" PRIu64 "]", s->ok, s->fault);
		else
			fprintf(f, "%" PRIu64, s->ok);
		first = false;
	}
	fputc('}', f);
}

/* The three ways to access registers, each a kind of its own. */
static void print_accesses(FILE *f, const struct slot *slots, uint32_t nr,
			   enum kind rdmsr, enum kind wrmsr, enum kind rdpmc, bool guest)
{
	print_slots(f, slots, nr, "rdmsr", rdmsr, guest);
	fputc(',', f);
	print_slots(f, slots, nr, "wrmsr", wrmsr, guest);
	fputc(',', f);
	print_slots(f, slots, nr, "rdpmc", rdpmc, guest);
}

/* Their number, their sum and the commonest length, the shortest if there are several. */
static void print_trips(FILE *f, const struct slot *slots, uint32_t nr, enum kind kind,
			uint64_t trips, uint64_t retired)
{
	const struct slot *commonest = NULL;
	uint32_t i;

	for (i = 0; i < nr; i++)
		if (key_kind(slots[i].key) == kind &&
		    slots[i].ok > (commonest ? commonest->ok : 0))
			commonest = &slots[i];

	fprintf(f, "{\"count\":%" PRIu64 ",\"host_instructions\":%" PRIu64, trips, retired);
	fprintf(f, ",\"commonest\":{\"count\":%" PRIu64 ",\"host_instructions\":%" PRIu32 "}",
		commonest ? commonest->ok : 0, commonest ? (uint32_t)commonest->key : 0);
}

static void print_feed(FILE *f, const char *name, const struct pmu_feed *feed)
{
	fprintf(f, "\"%s\":{\"retired\":%" PRIu64 ",\"steps\":%" PRIu64
		",\"branches\":%" PRIu64 ",\"branches_cond\":%" PRIu64
		",\"branches_taken\":%" PRIu64
		",\"branch_misses\":%" PRIu64 ",\"cache_refs\":%" PRIu64
		",\"cache_misses\":%" PRIu64 ",\"loads\":%" PRIu64 ",\"stores\":%" PRIu64 "}",
		name, feed->retired, feed->steps, feed->branches, feed->branches_cond,
		feed->branches_taken, feed->branch_misses, feed->cache_refs, feed->cache_misses, feed->loads,
		feed->stores);
}

static void print_oracle(FILE *f, const struct pmu_oracle *o)
{
	fputs(",\"oracle\":{\"host\":{", f);
	print_feed(f, "kernel", &o->at[PMU_HOST][PMU_KERNEL]);
	fputc(',', f);
	print_feed(f, "user", &o->at[PMU_HOST][PMU_USER]);
	fputs("},\"guest\":{", f);
	print_feed(f, "kernel", &o->at[PMU_GUEST][PMU_KERNEL]);
	fputc(',', f);
	print_feed(f, "user", &o->at[PMU_GUEST][PMU_USER]);
	fputs("}}", f);
}

/* @per: the processor, or -1 for all. */
static void print_head(struct pmu_log *log, uint32_t id, const char *event,
		       unsigned int cpu, int per)
{
	fprintf(log->file, "{\"window\":%" PRIu32 ",\"event\":\"%s\",\"cpu\":%u,\"cpus\":%u",
		id, event, cpu, log->nr_cpus);
	if (per < 0)
		fputs(",\"per\":\"all\"", log->file);
	else
		fprintf(log->file, ",\"per\":%d", per);
}

static void print_end(struct pmu_log *log)
{
	fputs("}\n", log->file);
	fflush(log->file);
}

static void print_error(struct pmu_log *log, uint32_t id, unsigned int cpu, const char *what)
{
	fprintf(log->file, "{\"window\":%" PRIu32 ",\"cpu\":%u,\"error\":\"%s\"", id, cpu, what);
	print_end(log);
}

/* All of a record but its head.  Sorts @c's table, which is of no use after. */
/* What the processor did by itself; nothing, if that is none at all. */
static void print_hw(FILE *f, const struct counts *c)
{
	static const char *const names[PMU_LOG_NR_HW] = {
		[PMU_LOG_VPMC_ENTRY] = "vpmc_entries",
		[PMU_LOG_VPMC_EXIT] = "vpmc_exits",
		[PMU_LOG_VPMC_PMI] = "vpmc_pmis",
		[PMU_LOG_VPMC_LOST] = "vpmc_pmis_lost",
		[PMU_LOG_VNMI] = "virtual_nmis",
	};
	uint64_t any = 0;
	int i;

	for (i = 0; i < PMU_LOG_NR_HW; i++)
		any |= c->hw[i];
	if (!any)
		return;

	fputs(",\"hardware\":", f);
	for (i = 0; i < PMU_LOG_NR_HW; i++)
		fprintf(f, "%c\"%s\":%" PRIu64, i ? ',' : '{', names[i], c->hw[i]);
	fputc('}', f);
}

static void print_counts(struct pmu_log *log, struct counts *c)
{
	static const char *const worlds[2] = { "host", "guest" };
	struct slot *slots = c->table.slots;
	FILE *f = log->file;
	uint32_t nr = 0, i;
	int guest;

	for (i = 0; i < c->table.size; i++)
		if (slots[i].key)
			slots[nr++] = slots[i];
	if (nr)
		qsort(slots, nr, sizeof(*slots), compare_slots);

	fputs(",\"access\":{", f);
	for (guest = 0; guest < 2; guest++) {
		fprintf(f, "%s\"%s\":{", guest ? "," : "", worlds[guest]);
		print_accesses(f, slots, nr, KIND_RDMSR, KIND_WRMSR, KIND_RDPMC, guest);
		fputc('}', f);
	}
	fprintf(f, "},\"entries\":%" PRIu64 ",", c->entries);
	print_slots(f, slots, nr, "exits", KIND_EXIT, true);
	fputs(",\"msr_exits\":{", f);
	print_slots(f, slots, nr, "rd", KIND_MSR_EXIT_RD, true);
	fputc(',', f);
	print_slots(f, slots, nr, "wr", KIND_MSR_EXIT_WR, true);
	fputs("},\"roundtrip\":", f);
	print_trips(f, slots, nr, KIND_ROUNDTRIP, c->roundtrips, c->roundtrip_retired);
	fputs("},\"switch\":", f);
	print_trips(f, slots, nr, KIND_SWITCH, c->switches, c->switch_retired);
	fputc(',', f);
	print_accesses(f, slots, nr, KIND_SWITCH_RDMSR, KIND_SWITCH_WRMSR, KIND_SWITCH_RDPMC,
		       false);
	fputc('}', f);
	fprintf(f, ",\"pmi\":{\"host\":%" PRIu64 ",\"guest\":%" PRIu64
		",\"host_masked\":%" PRIu64 ",\"guest_masked\":%" PRIu64 "}",
		c->pmi[PMU_HOST], c->pmi[PMU_GUEST],
		c->pmi_masked[PMU_HOST], c->pmi_masked[PMU_GUEST]);
	print_hw(f, c);
	if (c->lost)
		fprintf(f, ",\"lost\":%" PRIu64, c->lost);
	print_oracle(f, &c->oracle);
}

/* Windows. */

static struct window **find_window(struct pmu_log *log, uint32_t id)
{
	struct window **w;

	for (w = &log->windows; *w; w = &(*w)->next)
		if ((*w)->id == id)
			break;

	return w;
}

static void open_window(struct pmu_log *log, unsigned int cpu, uint32_t id)
{
	struct window *w;
	unsigned int i;

	if (*find_window(log, id)) {
		print_error(log, id, cpu, "open of an open window");
		return;
	}

	w = calloc(1, sizeof(*w));
	if (w)
		w->at_open = calloc(log->nr_cpus, sizeof(*w->at_open));
	if (!w || !w->at_open) {
		free(w);
		print_error(log, id, cpu, "out of memory");
		return;
	}

	w->id = id;
	for (i = 0; i < log->nr_cpus; i++) {
		if (add_counts(&w->at_open[i], &log->cpus[i].now, false))
			continue;
		free_window(log, w);
		print_error(log, id, cpu, "out of memory");
		return;
	}
	w->next = log->windows;
	log->windows = w;

	print_head(log, id, "open", cpu, -1);
	print_end(log);
}

/* The record of the processors from @first to @last. */
static void print_window(struct pmu_log *log, const struct window *w, unsigned int cpu,
			 unsigned int first, unsigned int last, int per)
{
	struct counts sum = { 0 };
	bool ok = true;
	unsigned int i;

	for (i = first; i <= last; i++)
		ok = ok && add_counts(&sum, &log->cpus[i].now, false) &&
		     add_counts(&sum, &w->at_open[i], true);

	if (ok) {
		print_head(log, w->id, "close", cpu, per);
		print_counts(log, &sum);
		print_end(log);
	} else {
		print_error(log, w->id, cpu, "out of memory");
	}
	free(sum.table.slots);
}

static void close_window(struct pmu_log *log, unsigned int cpu, uint32_t id)
{
	struct window **link = find_window(log, id), *w = *link;
	unsigned int i;

	if (!w) {
		print_error(log, id, cpu, "close of a closed window");
		return;
	}

	print_window(log, w, cpu, 0, log->nr_cpus - 1, -1);
	for (i = 0; i < log->nr_cpus; i++)
		print_window(log, w, cpu, i, i, i);

	*link = w->next;
	free_window(log, w);
}

static void mark(struct pmu_log *log, unsigned int cpu, uint32_t id)
{
	struct counts sum = { 0 }, one;
	unsigned int i;

	for (i = 0; i < log->nr_cpus; i++) {
		one = (struct counts){ .oracle = log->cpus[i].now.oracle };
		add_counts(&sum, &one, false);
	}

	print_head(log, id, "mark", cpu, -1);
	print_oracle(log->file, &sum.oracle);
	print_end(log);
	for (i = 0; i < log->nr_cpus; i++) {
		print_head(log, id, "mark", cpu, i);
		print_oracle(log->file, &log->cpus[i].now.oracle);
		print_end(log);
	}
}

void pmu_log_port(struct pmu_log *log, unsigned int cpu, uint32_t val,
		  struct pmu *const pmus[])
{
	uint32_t id = val & 0xffffff;
	unsigned int i;

	for (i = 0; i < log->nr_cpus; i++)
		log->cpus[i].now.oracle = pmus[i]->oracle;

	switch (val >> 24) {
	case PMU_LOG_OPEN:
		open_window(log, cpu, id);
		break;
	case PMU_LOG_CLOSE:
		close_window(log, cpu, id);
		break;
	case PMU_LOG_MARK:
		mark(log, cpu, id);
		break;
	default:
		print_error(log, id, cpu, "unknown operation");
		break;
	}
}
