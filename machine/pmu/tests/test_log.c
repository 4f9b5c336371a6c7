// SPDX-License-Identifier: GPL-2.0
/* The machine log: what each call adds to which window's record. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common.h"
#include "log.h"

#define NR_CPUS		2
#define MAX_LINES	64

static struct fix cpus[NR_CPUS];
static struct pmu *pmus[NR_CPUS];
static char path[] = "/tmp/test_log.XXXXXX";
static struct pmu_log *log_;
static char *lines[MAX_LINES];
static unsigned int nr_lines;

static int setup(void **state)
{
	unsigned int i;
	int fd;

	(void)state;
	strcpy(path + strlen(path) - 6, "XXXXXX");
	fd = mkstemp(path);
	if (fd < 0)
		return -1;
	close(fd);
	for (i = 0; i < NR_CPUS; i++) {
		fix_init(&cpus[i], "intel-8+3");
		pmus[i] = &cpus[i].pmu;
	}
	log_ = pmu_log_open(path, NR_CPUS);
	return log_ ? 0 : -1;
}

static void drop_lines(void)
{
	while (nr_lines)
		free(lines[--nr_lines]);
}

static int teardown(void **state)
{
	(void)state;
	pmu_log_close(log_);
	drop_lines();
	unlink(path);
	return 0;
}

/* As the file is now: every record must be there without a close. */
static void read_lines(void)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t size = 0;

	assert_non_null(f);
	drop_lines();
	while (getline(&line, &size, f) > 0) {
		assert_true(nr_lines < MAX_LINES);
		assert_int_equal(line[strlen(line) - 1], '\n');
		lines[nr_lines++] = strdup(line);
	}
	free(line);
	fclose(f);
}

/* A strict little JSON reader: objects, arrays, strings and unsigned numbers. */
static const char *json(const char *p);

static const char *json_string(const char *p)
{
	assert_int_equal(*p, '"');
	for (p++; *p != '"'; p++)
		assert_true(*p >= ' ' && *p != '\\');
	return p + 1;
}

static const char *json_list(const char *p, char end)
{
	if (*++p == end)
		return p + 1;
	for (;;) {
		if (end == '}') {
			p = json_string(p);
			assert_int_equal(*p, ':');
			p++;
		}
		p = json(p);
		if (*p == end)
			return p + 1;
		assert_int_equal(*p, ',');
		p++;
	}
}

static const char *json(const char *p)
{
	if (*p == '{')
		return json_list(p, '}');
	if (*p == '[')
		return json_list(p, ']');
	if (*p == '"')
		return json_string(p);
	assert_true(*p >= '0' && *p <= '9');
	while (*p >= '0' && *p <= '9')
		p++;
	return p;
}

static void has(const char *line, const char *what)
{
	if (!strstr(line, what))
		fail_msg("no %s in %s", what, line);
}

static void has_not(const char *line, const char *what)
{
	if (strstr(line, what))
		fail_msg("%s in %s", what, line);
}

static void port(unsigned int cpu, unsigned int op, uint32_t id)
{
	unsigned int i;

	for (i = 0; i < NR_CPUS; i++)
		pmu_sync(pmus[i]);
	pmu_log_port(log_, cpu, op << 24 | id, pmus);
}

static void check_json(void)
{
	unsigned int i;

	for (i = 0; i < nr_lines; i++)
		assert_string_equal(json(lines[i]), "\n");
}

static void open_fails(void **state)
{
	(void)state;
	errno = 0;
	assert_null(pmu_log_open("/nonexistent/dir/log", 1));
	assert_int_equal(errno, ENOENT);
	pmu_log_close(NULL);
}

static void empty_window(void **state)
{
	(void)state;
	port(1, PMU_LOG_OPEN, 7);
	port(0, PMU_LOG_CLOSE, 7);
	read_lines();
	check_json();
	assert_int_equal(nr_lines, 2 + NR_CPUS);
	has(lines[0], "{\"window\":7,\"event\":\"open\",\"cpu\":1,\"cpus\":2,\"per\":\"all\"}");
	has(lines[1], "{\"window\":7,\"event\":\"close\",\"cpu\":0,\"cpus\":2,\"per\":\"all\",");
	has(lines[1], "\"access\":{\"host\":{\"rdmsr\":{},\"wrmsr\":{},\"rdpmc\":{}},"
		      "\"guest\":{\"rdmsr\":{},\"wrmsr\":{},\"rdpmc\":{}}},\"entries\":0,"
		      "\"exits\":{},\"msr_exits\":{\"rd\":{},\"wr\":{}},"
		      "\"roundtrip\":{\"count\":0,\"host_instructions\":0,"
			"\"commonest\":{\"count\":0,\"host_instructions\":0}},"
		      "\"switch\":{\"count\":0,\"host_instructions\":0,"
			"\"commonest\":{\"count\":0,\"host_instructions\":0},"
			"\"rdmsr\":{},\"wrmsr\":{},\"rdpmc\":{}},"
		      "\"pmi\":{\"host\":0,\"guest\":0,\"host_masked\":0,\"guest_masked\":0},"
		      "\"oracle\":{\"host\":{\"kernel\":{\"retired\":0,\"steps\":0,");
	has(lines[2], "\"per\":0,");
	has(lines[3], "\"per\":1,");
}

static void accesses(void **state)
{
	unsigned int i;

	(void)state;
	/* Before the window: not in it. */
	pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x10, false);
	pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x38e, false);
	port(0, PMU_LOG_OPEN, 1);
	for (i = 0; i < 3; i++)
		pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x38e, false);
	pmu_log_access(log_, 1, false, PMU_LOG_RDMSR, 0x38e, false);
	pmu_log_access(log_, 1, true, PMU_LOG_WRMSR, 0xc0010200, false);
	pmu_log_access(log_, 1, true, PMU_LOG_WRMSR, 0xc0010200, true);
	pmu_log_access(log_, 1, false, PMU_LOG_WRMSR, 0x834, true);
	pmu_log_access(log_, 1, true, PMU_LOG_RDPMC, 0x40000001, false);
	pmu_log_access(log_, 1, true, PMU_LOG_RDPMC, 0, true);
	port(0, PMU_LOG_CLOSE, 1);
	pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x38e, false);

	read_lines();
	check_json();
	has(lines[1], "\"host\":{\"rdmsr\":{\"0x38e\":[4,0]},\"wrmsr\":{\"0x834\":[0,1]},"
		      "\"rdpmc\":{}}");
	has(lines[1], "\"guest\":{\"rdmsr\":{},\"wrmsr\":{\"0xc0010200\":[1,1]},"
		      "\"rdpmc\":{\"0x0\":[0,1],\"0x40000001\":[1,0]}}");
	has_not(lines[1], "\"0x10\"");
	has_not(lines[1], "lost");
	has(lines[2], "\"rdmsr\":{\"0x38e\":[3,0]}");
	has_not(lines[2], "\"0x834\"");
	has(lines[3], "\"rdmsr\":{\"0x38e\":[1,0]}");
	has(lines[3], "\"0x834\":[0,1]");
}

static void exits_and_round_trips(void **state)
{
	struct pmu_feed feed = { .retired = 1000 };

	(void)state;
	port(0, PMU_LOG_OPEN, 1);
	/* The first entry ends no round trip. */
	pmu_log_entry(log_, 0, &feed, 0x1000);
	feed.retired += 10;
	pmu_log_exit(log_, 0, &feed, 12, 0, false);
	feed.retired += 300;
	pmu_log_entry(log_, 0, &feed, 0x1000);
	feed.retired += 10;
	/* VMX: the reason tells, whatever @wr says. */
	pmu_log_exit(log_, 0, &feed, 32, 0x38f, false);
	feed.retired += 50;
	pmu_log_entry(log_, 0, &feed, 0x1000);
	pmu_log_exit(log_, 0, &feed, 31, 0xc1, true);
	/* Not back yet: another processor's entry is not this one's. */
	pmu_log_entry(log_, 1, &feed, 0x1000);
	/* SVM: @wr tells. */
	pmu_log_exit(log_, 1, &feed, 0x7c, 0xc0010200, true);
	pmu_log_exit(log_, 1, &feed, 0x7c, 0xc0010200, false);
	/* SVM's reasons 1fh and 20h are not VMX's. */
	pmu_log_exit(log_, 1, &feed, 0x20, 0, false);
	pmu_log_exit(log_, 1, &feed, 0xffffffff, 0, false);
	port(0, PMU_LOG_CLOSE, 1);

	read_lines();
	check_json();
	has(lines[1], "\"entries\":4,");
	has(lines[1], "\"exits\":{\"0xc\":1,\"0x1f\":1,\"0x20\":2,\"0x7c\":2,\"0xffffffff\":1}");
	has(lines[1], "\"msr_exits\":{\"rd\":{\"0xc1\":1,\"0xc0010200\":1},"
		      "\"wr\":{\"0x38f\":1,\"0xc0010200\":1}}");
	/* Of those that are as common, the shortest. */
	has(lines[1], "\"roundtrip\":{\"count\":2,\"host_instructions\":350,"
		      "\"commonest\":{\"count\":1,\"host_instructions\":50}}");
	has(lines[2], "\"entries\":3,");
	has(lines[3], "\"entries\":1,");
	has(lines[3], "\"roundtrip\":{\"count\":0,\"host_instructions\":0,"
		      "\"commonest\":{\"count\":0,\"host_instructions\":0}}");
}

static void switches(void **state)
{
	struct pmu_feed feed = { .retired = 1000 };

	(void)state;
	pmu_log_entry(log_, 0, &feed, 0x1000);
	pmu_log_access(log_, 0, true, PMU_LOG_RDMSR, 0xc1, false);
	pmu_log_exit(log_, 0, &feed, 12, 0, false);
	/* Before the window opens, but of a round trip that ends in it. */
	pmu_log_access(log_, 0, false, PMU_LOG_WRMSR, 0x38f, false);
	port(0, PMU_LOG_OPEN, 1);
	pmu_log_access(log_, 0, false, PMU_LOG_WRMSR, 0x38f, false);
	pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x38e, true);
	pmu_log_access(log_, 0, false, PMU_LOG_RDPMC, 2, false);
	feed.retired += 70;
	pmu_log_entry(log_, 0, &feed, 0x2000);
	/* Guests' accesses are no part of it, nor those of a round trip to the same. */
	pmu_log_access(log_, 0, true, PMU_LOG_RDMSR, 0xc1, false);
	pmu_log_exit(log_, 0, &feed, 12, 0, false);
	pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x38e, false);
	feed.retired += 5;
	pmu_log_entry(log_, 0, &feed, 0x2000);
	pmu_log_exit(log_, 0, &feed, 12, 0, false);
	/* Another processor's guest is another matter. */
	pmu_log_entry(log_, 1, &feed, 0x3000);
	feed.retired += 30;
	pmu_log_entry(log_, 0, &feed, 0x1000);
	/* The first entry of a processor switches from nothing. */
	pmu_log_exit(log_, 1, &feed, 12, 0, false);
	pmu_log_entry(log_, 1, &feed, 0x3000);
	port(0, PMU_LOG_CLOSE, 1);

	read_lines();
	check_json();
	has(lines[1], "\"roundtrip\":{\"count\":4,");
	has(lines[1], "\"switch\":{\"count\":2,\"host_instructions\":100,"
		      "\"commonest\":{\"count\":1,\"host_instructions\":30},"
		      "\"rdmsr\":{\"0x38e\":[0,1]},\"wrmsr\":{\"0x38f\":[2,0]},"
		      "\"rdpmc\":{\"0x2\":[1,0]}}");
	has(lines[1], "\"rdmsr\":{\"0x38e\":[1,1]},\"wrmsr\":{\"0x38f\":[1,0]}");
	has(lines[3], "\"switch\":{\"count\":0,\"host_instructions\":0,"
		      "\"commonest\":{\"count\":0,\"host_instructions\":0},"
		      "\"rdmsr\":{},\"wrmsr\":{},\"rdpmc\":{}}");
}

static void pmis(void **state)
{
	(void)state;
	port(0, PMU_LOG_OPEN, 1);
	pmu_log_pmi(log_, 0, false, 0x400);
	pmu_log_pmi(log_, 0, false, 0x10400);
	pmu_log_pmi(log_, 1, true, 0xf5);
	port(0, PMU_LOG_CLOSE, 1);
	read_lines();
	check_json();
	has(lines[1], "\"pmi\":{\"host\":2,\"guest\":1,\"host_masked\":1,\"guest_masked\":0}");
	has(lines[3], "\"pmi\":{\"host\":0,\"guest\":1,");
}

static void oracles(void **state)
{
	(void)state;
	run(&cpus[0], 1000);
	port(0, PMU_LOG_OPEN, 1);
	run(&cpus[0], 5);
	pmu_set_mode(pmus[0], true, true, false);
	cpus[0].pmu.feed.branches += 3;
	run(&cpus[0], 7);
	pmu_set_mode(pmus[1], false, true, false);
	run(&cpus[1], 11);
	port(0, PMU_LOG_MARK, 9);
	port(0, PMU_LOG_CLOSE, 1);

	read_lines();
	check_json();
	/* The mark: absolute. */
	assert_int_equal(nr_lines, 1 + 2 * (1 + NR_CPUS));
	has(lines[1], "{\"window\":9,\"event\":\"mark\",\"cpu\":0,\"cpus\":2,\"per\":\"all\","
		      "\"oracle\":{\"host\":{\"kernel\":{\"retired\":1005,\"steps\":1005,");
	has(lines[2], "\"per\":0,\"oracle\":{\"host\":{\"kernel\":{\"retired\":1005,");
	has(lines[3], "\"per\":1,\"oracle\":{\"host\":{\"kernel\":{\"retired\":0,");
	/* The window: a difference. */
	has(lines[4], "\"host\":{\"kernel\":{\"retired\":5,\"steps\":5,");
	has(lines[4], "\"user\":{\"retired\":11,\"steps\":11,\"branches\":0,");
	has(lines[4], "\"user\":{\"retired\":7,\"steps\":7,\"branches\":3,"
		      "\"branches_cond\":0,\"branches_taken\":0,\"branch_misses\":0,\"cache_refs\":0,"
		      "\"cache_misses\":0,\"loads\":0,\"stores\":0}}}}\n");
	has(lines[6], "\"user\":{\"retired\":11,");
	has_not(lines[6], "\"retired\":5,");
}

/* Windows may overlap and be opened again. */
static void overlap(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		port(0, PMU_LOG_OPEN, 1);
		pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x1, false);
		port(0, PMU_LOG_OPEN, 0xffffff);
		pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x2, false);
		port(0, PMU_LOG_CLOSE, 1);
		pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x3, false);
		port(0, PMU_LOG_CLOSE, 0xffffff);

		read_lines();
		check_json();
		assert_int_equal(nr_lines, (i + 1) * 8);
		has(lines[i * 8 + 2], "\"rdmsr\":{\"0x1\":[1,0],\"0x2\":[1,0]}");
		has(lines[i * 8 + 5], "{\"window\":16777215,");
		has(lines[i * 8 + 5], "\"rdmsr\":{\"0x2\":[1,0],\"0x3\":[1,0]}");
	}
}

static void errors(void **state)
{
	(void)state;
	port(1, PMU_LOG_CLOSE, 5);
	port(1, PMU_LOG_OPEN, 5);
	pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x1, false);
	port(1, PMU_LOG_OPEN, 5);
	pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x1, false);
	port(1, PMU_LOG_CLOSE, 5);
	port(1, 0, 5);
	port(1, 0xff, 6);

	read_lines();
	check_json();
	assert_int_equal(nr_lines, 4 + 1 + NR_CPUS + 1);
	has(lines[0], "{\"window\":5,\"cpu\":1,\"error\":\"close of a closed window\"}");
	has(lines[2], "{\"window\":5,\"cpu\":1,\"error\":\"open of an open window\"}");
	/* The second open has changed nothing. */
	has(lines[3], "\"rdmsr\":{\"0x1\":[2,0]}");
	has(lines[6], "{\"window\":5,\"cpu\":1,\"error\":\"unknown operation\"}");
	has(lines[7], "{\"window\":6,\"cpu\":1,\"error\":\"unknown operation\"}");
}

/* A program that reads all MSRs there can be does not eat all memory. */
static void many(void **state)
{
	uint32_t i;

	(void)state;
	/* Some are in before the flood and must be found behind it. */
	pmu_log_access(log_, 0, true, PMU_LOG_RDMSR, 0x38e, false);
	port(0, PMU_LOG_OPEN, 1);
	for (i = 0; i < 200000; i++)
		pmu_log_access(log_, 0, false, PMU_LOG_WRMSR, i * 2654435761u, true);
	pmu_log_access(log_, 0, true, PMU_LOG_RDMSR, 0x38e, false);
	port(0, PMU_LOG_CLOSE, 1);
	read_lines();
	check_json();
	has(lines[1], "\"guest\":{\"rdmsr\":{\"0x38e\":[1,0]}");
	/* Three quarters of 65536, less the one from before; the rest is lost. */
	has(lines[1], "\"lost\":150849,");
}

/* What the processor does by itself is no access; not at all there if there is nothing. */
static void hardware(void **state)
{
	(void)state;
	pmu_log_hw(log_, 0, PMU_LOG_VPMC_ENTRY);
	port(0, PMU_LOG_OPEN, 1);
	port(0, PMU_LOG_CLOSE, 1);
	port(0, PMU_LOG_OPEN, 2);
	pmu_log_hw(log_, 0, PMU_LOG_VPMC_ENTRY);
	pmu_log_hw(log_, 1, PMU_LOG_VPMC_ENTRY);
	pmu_log_hw(log_, 0, PMU_LOG_VPMC_EXIT);
	pmu_log_hw(log_, 0, PMU_LOG_VPMC_PMI);
	pmu_log_hw(log_, 0, PMU_LOG_VPMC_LOST);
	pmu_log_hw(log_, 1, PMU_LOG_VNMI);
	port(0, PMU_LOG_CLOSE, 2);
	read_lines();
	check_json();
	assert_null(strstr(lines[1], "hardware"));
	has(lines[2 + NR_CPUS + 1], "\"hardware\":{\"vpmc_entries\":2,\"vpmc_exits\":1,\"vpmc_pmis\":1,"
	    "\"vpmc_pmis_lost\":1,\"virtual_nmis\":1}");
	has(lines[2 + NR_CPUS + 2], "\"hardware\":{\"vpmc_entries\":1,\"vpmc_exits\":1,\"vpmc_pmis\":1,"
	    "\"vpmc_pmis_lost\":1,\"virtual_nmis\":0}");
	has(lines[2 + NR_CPUS + 1], "\"access\":{\"host\":{\"rdmsr\":{},\"wrmsr\":{},\"rdpmc\":{}}");
}

/* A window left open at the end is freed. */
static void left_open(void **state)
{
	(void)state;
	pmu_log_access(log_, 0, false, PMU_LOG_RDMSR, 0x1, false);
	port(0, PMU_LOG_OPEN, 1);
	port(0, PMU_LOG_OPEN, 2);
	read_lines();
	assert_int_equal(nr_lines, 2);
}

#define log_test(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_fails),
		log_test(empty_window),
		log_test(accesses),
		log_test(exits_and_round_trips),
		log_test(switches),
		log_test(pmis),
		log_test(oracles),
		log_test(overlap),
		log_test(errors),
		log_test(many),
		log_test(hardware),
		log_test(left_open),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
