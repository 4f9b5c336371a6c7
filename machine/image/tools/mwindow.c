// SPDX-License-Identifier: GPL-2.0
/*
 * Open and close windows of the machine log: mwindow open|close|mark ID, or
 * mwindow run ID COMMAND..., which keeps the window open while COMMAND runs and
 * exits with its status.  Root is needed, and CONFIG_X86_IOPL_IOPERM, unless the
 * machine lets anyone write to the port.
 */
#include "log.h"

#define iopl(level) my_syscall1(__NR_iopl, level)

static void out32(unsigned int op, unsigned int id)
{
	__asm__ volatile ("outl %0, %1"
			  : : "a"(op << 24 | id), "d"((unsigned short)PMU_LOG_PORT));
}

/* Find out in a child: the refusal is a signal.  A mark of window 0 harms nobody. */
static int port_refused(void)
{
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		out32(PMU_LOG_MARK, 0);
		exit(0);
	}
	return pid < 0 || waitpid(pid, &status, 0) < 0 || status;
}

static void exec_path(char **argv, char **envp)
{
	static const char *const dirs[] = { "/machine/bin/", "/usr/bin/", "/bin/" };
	char path[256];
	size_t i;

	if (strchr(argv[0], '/'))
		execve(argv[0], argv, envp);
	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		strlcpy(path, dirs[i], sizeof(path));
		strlcat(path, argv[0], sizeof(path));
		execve(path, argv, envp);
	}
	perror(argv[0]);
	exit(127);
}

static int run(char **argv, char **envp)
{
	int status = 127 << 8;
	pid_t pid;

	pid = fork();
	if (pid == 0)
		exec_path(argv, envp);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		perror("mwindow");
	return status & 0x7f ? 128 + (status & 0x7f) : (status >> 8) & 0xff;
}

int main(int argc, char **argv, char **envp)
{
	unsigned int id;
	int ret = 0;

	if (argc < 3) {
		fprintf(stderr, "usage: mwindow open|close|mark ID | run ID COMMAND...\n");
		return 2;
	}
	id = atoi(argv[2]) & 0xffffff;
	if (iopl(3) < 0 && port_refused()) {
		fprintf(stderr, "mwindow: no access to the port: root and CONFIG_X86_IOPL_IOPERM needed\n");
		return 2;
	}

	if (!strcmp(argv[1], "open")) {
		out32(PMU_LOG_OPEN, id);
	} else if (!strcmp(argv[1], "close")) {
		out32(PMU_LOG_CLOSE, id);
	} else if (!strcmp(argv[1], "mark")) {
		out32(PMU_LOG_MARK, id);
	} else if (!strcmp(argv[1], "run") && argc > 3) {
		/* Let whoever started this, perf perhaps, come to rest. */
		msleep(50);
		out32(PMU_LOG_OPEN, id);
		ret = run(argv + 3, envp);
		out32(PMU_LOG_CLOSE, id);
	} else {
		fprintf(stderr, "mwindow: unknown word '%s'\n", argv[1]);
		ret = 2;
	}
	return ret;
}
