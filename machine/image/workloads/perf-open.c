// SPDX-License-Identifier: GPL-2.0
/*
 * Events with just the attributes that are asked for, as a newer perf, an agent or a library
 * would have them.
 *
 * perf-open cpu|self|PID N EVENT COMMAND
 *	Open EVENT N times for each CPU, for COMMAND and its children, or for thread PID.  Run
 *	COMMAND with a shell.  Print "COUNT ENABLED RUNNING" of each event.  If one is refused,
 *	print why and run nothing; exit status 1.
 *
 * EVENT is NAME:FLAGS.  NAME: instructions branches cycles.  FLAGS: u, k for one mode, D for
 * pinned, H for one that excludes guests, G for one that excludes the host, S for one that
 * samples.
 */
#include <linux/perf_event.h>

#define MAX_EVENTS	64

static int event_open(const char *event, int pid, int cpu)
{
	const char *flags = strchr(event, ':');
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
		.inherit = cpu < 0 && !pid,
	};

	flags = flags ? flags : "";
	attr.config = !strncmp(event, "branches", 8) ? PERF_COUNT_HW_BRANCH_INSTRUCTIONS :
		      !strncmp(event, "cycles", 6) ? PERF_COUNT_HW_CPU_CYCLES : PERF_COUNT_HW_INSTRUCTIONS;
	attr.exclude_kernel = !!strchr(flags, 'u');
	attr.exclude_user = !!strchr(flags, 'k');
	attr.pinned = !!strchr(flags, 'D');
	attr.exclude_guest = !!strchr(flags, 'H');
	attr.exclude_host = !!strchr(flags, 'G');
	attr.sample_period = strchr(flags, 'S') ? 100003 : 0;

	return syscall(__NR_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

int main(int argc, char *argv[], char **envp)
{
	int fds[MAX_EVENTS], nr = 0, cpu, i, each_cpu, pid, status = 0;
	char *words[] = { "sh", "-c", argv[4], NULL };
	unsigned long long value[3];
	pid_t child;

	if (argc != 5)
		return 2;
	each_cpu = !strcmp(argv[1], "cpu");
	pid = each_cpu ? -1 : atoi(argv[1]);

	for (cpu = 0; cpu < (each_cpu ? MAX_EVENTS : 1); cpu++) {
		for (i = 0; i < atoi(argv[2]) && nr < MAX_EVENTS; i++) {
			fds[nr] = event_open(argv[3], pid, each_cpu ? cpu : -1);
			/* No such CPU. */
			if (fds[nr] < 0 && cpu && (errno == ENODEV || errno == EINVAL))
				break;
			if (fds[nr] < 0) {
				printf("refused: %s\n", strerror(errno));
				return 1;
			}
			nr++;
		}
	}

	child = fork();
	if (!child) {
		execve("/bin/sh", words, envp);
		exit(127);
	}
	waitpid(child, &status, 0);

	for (i = 0; i < nr; i++) {
		if (read(fds[i], value, sizeof(value)) == sizeof(value))
			printf("%llu %llu %llu\n", value[0], value[1], value[2]);
		else
			printf("no counter\n");
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
