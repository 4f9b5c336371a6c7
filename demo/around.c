// SPDX-License-Identifier: GPL-2.0
/*
 * around EVENT...: what a counter says of user and kernel mode together.
 *
 * For each event (instructions, branches, cycles) on this processor, whoever
 * runs: RDPMC, open window WINDOW of the machine log, work in both modes, close
 * the window, RDPMC; print "EVENT DIFFERENCE".  Between the two RDPMC and outside
 * the window are BESIDE_INSNS instructions and no branch.
 */
#include <linux/perf_event.h>
#include "region.h"

unsigned long long around(unsigned int index);
void around_work(void);

/* System calls, page faults, and a sleep: the timer is set, the processor halts. */
void around_work(void)
{
	struct timespec ts = { 0, 20 * 1000 * 1000 };
	const size_t size = 64 * 4096;
	size_t i;
	char *p;

	for (i = 0; i < 200; i++)
		my_syscall0(__NR_getppid);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < size; i += 4096)
		p[i]++;
	munmap(p, size);
	my_syscall2(__NR_nanosleep, &ts, NULL);
}

__asm__ (
"	.globl	around\n"
"around:\n"
"	push	%rbx\n"
"	push	%rbp\n"
"	push	%r12\n"
"	mov	%edi, %ebp\n"
"	mov	%edi, %ecx\n"
"	rdpmc\n"				/* 1: it reads, then retires */
"	shl	$32, %rdx\n"			/* 2 */
"	or	%rdx, %rax\n"			/* 3 */
"	mov	%rax, %rbx\n"			/* 4 */
"	mov	$" STR(PORT) ", %edx\n"		/* 5 */
"	mov	$(" STR(OPEN) " << 24 | " STR(WINDOW) "), %eax\n"	/* 6 */
"	out	%eax, %dx\n"			/* 7; the window is open now */
"	call	around_work\n"
"	mov	$" STR(PORT) ", %edx\n"
"	mov	$(" STR(CLOSE) " << 24 | " STR(WINDOW) "), %eax\n"
"	out	%eax, %dx\n"			/* the window's last */
"	mov	%ebp, %ecx\n"			/* 8 */
"	rdpmc\n"				/* does not see itself */
"	shl	$32, %rdx\n"
"	or	%rdx, %rax\n"
"	sub	%rbx, %rax\n"
"	pop	%r12\n"
"	pop	%rbp\n"
"	pop	%rbx\n"
"	ret\n");

static unsigned long long measure(int config, const char **error)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = config, .pinned = 1,
	};
	volatile struct perf_event_mmap_page *page;
	unsigned long long val = 0;
	unsigned int index;
	int fd;

	*error = NULL;
	fd = my_syscall5(__NR_perf_event_open, &attr, -1, 0, -1, 0);
	page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED) {
		*error = "cannot-open";
		return 0;
	}
	index = page->index;
	if (!page->cap_user_rdpmc || !index) {
		*error = "no-counter";
	} else {
		around(index - 1);	/* all that the measurement itself touches */
		val = around(index - 1) & ((1ULL << 48) - 1);
		if (page->index != index)
			*error = "moved";
	}
	munmap((void *)page, 4096);
	close(fd);
	return val;
}

int main(int argc, char **argv)
{
	unsigned long long val;
	const char *error;
	int i;

	for (i = 1; i < argc; i++) {
		val = measure(!strcmp(argv[i], "branches") ? PERF_COUNT_HW_BRANCH_INSTRUCTIONS :
			      !strcmp(argv[i], "cycles") ? PERF_COUNT_HW_CPU_CYCLES :
			      PERF_COUNT_HW_INSTRUCTIONS, &error);
		if (error)
			printf("%s %s\n", argv[i], error);
		else
			printf("%s %llu\n", argv[i], val);
	}
	return 0;
}
