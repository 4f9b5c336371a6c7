// SPDX-License-Identifier: GPL-2.0
/*
 * mediated-pmu-silicon: how this processor counts where manuals leave it open, or where
 * hardware is known to differ.  A line for each row of Documentation/project/silicon.md that
 * can be measured from user space.
 *
 * usage: mediated-pmu-silicon [--json] [--cpu N]
 *
 * Exit status:
 *   0  nothing was found that breaks a promise of a mediated PMU
 *   1  something was: the line says which
 *   2  usage
 *   4  not known: a row could not be measured for lack of rights, /dev/kvm or perf
 *
 * As root, in a few seconds.  No guest image is needed: the guest is some bytes of code, in a
 * VM without a PMU, and what counts in it is a perf event of this thread with exclude_host.
 * So the kernel need not have the series, nor the module its parameter.  Rows about registers
 * use /dev/cpu/N/msr (module msr), which taints the kernel if it says so.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/perf_event.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(n)		(1ull << (n))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Guest physical addresses. */
#define GDT		0x0800
#define IDT		0x1000
#define HANDLERS	0x1800
#define CODE		0x2000
#define STACK		0x4000
#define PAGES		0x100000
#define NR_PAGES	256
#define MEMORY		0x200000

#define LOOPS		1000
#define TRIES		5

#define MSR_CAPABILITIES	0x345
#define MSR_FIXED_CTR3		0x30c
#define MSR_METRICS		0x329
#define MSR_FIXED_CTR_CTRL	0x38d
#define MSR_GLOBAL_CTRL		0x38f
#define MSR_STATUS_RESET	0x390
#define MSR_STATUS_SET		0x391

static bool intel, json;
static int cpu = -1, msr_fd = -1;

/* Output. */

enum verdict {
	AS_ASSUMED,
	DIFFERS,	/* counts are off, the promises hold */
	UNSAFE,
	UNKNOWN,
};

static unsigned int nr_rows;
static bool any_unsafe, any_unknown;

static void __attribute__((format(printf, 4, 5)))
row(const char *name, const char *what, enum verdict verdict, const char *format, ...)
{
	static const char *const words[] = { "as assumed", "differs", "UNSAFE", "not measured" };
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);

	any_unsafe |= verdict == UNSAFE;
	any_unknown |= verdict == UNKNOWN;
	if (json)
		printf("%s\n  {\"row\": \"%s\", \"what\": \"%s\", \"verdict\": \"%s\", \"found\": \"%s\"}",
		       nr_rows ? "," : "", name, what, words[verdict], text);
	else
		printf("%-4s %-52s %-12s %s\n", name, what, words[verdict], text);
	nr_rows++;
	fflush(stdout);
}

/* perf */

struct event {
	int fd;
	struct perf_event_mmap_page *page;
};

static bool event_open(struct event *event, uint64_t config)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = config,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
		.disabled = 1, .pinned = 1, .exclude_host = 1,
	};

	event->fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	if (event->fd < 0)
		return false;
	event->page = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, event->fd, 0);
	return event->page != MAP_FAILED;
}

static void event_start(const struct event *event)
{
	ioctl(event->fd, PERF_EVENT_IOC_RESET, 0);
	ioctl(event->fd, PERF_EVENT_IOC_ENABLE, 0);
}

/* -1 if it was not on a counter all the time. */
static int64_t event_stop(const struct event *event)
{
	uint64_t values[3];

	ioctl(event->fd, PERF_EVENT_IOC_DISABLE, 0);
	if (read(event->fd, values, sizeof(values)) != sizeof(values) || values[1] != values[2])
		return -1;
	return values[0];
}

/* The guest: 32-bit code, flat, without paging. */

static int vcpu_fd = -1;
static struct kvm_run *run;
static uint8_t *memory;

static const uint8_t code_plain[] = {
	0x4e,				/* 1: dec %esi */
	0x75, 0xfd,			/* jnz 1b */
	0xf4,				/* hlt */
};
static const uint8_t code_cpuid[] = {
	0x31, 0xc0,			/* 1: xor %eax, %eax */
	0x0f, 0xa2,			/* cpuid: exits, does not retire */
	0x4e,				/* dec %esi */
	0x75, 0xf9,			/* jnz 1b */
	0xf4,
};
static const uint8_t code_int[] = {
	0xcd, 0x20,			/* 1: int $0x20, and IRET */
	0x4e,
	0x75, 0xfb,
	0xf4,
};
static const uint8_t code_fault[] = {
	0xf6, 0xf3,			/* 1: div %bl, which is 0: faults */
	0x4e,
	0x75, 0xfb,
	0xf4,
};
static const uint8_t code_touch[] = {
	0x8b, 0x07,			/* 1: mov (%edi), %eax */
	0x81, 0xc7, 0x00, 0x10, 0, 0,	/* add $0x1000, %edi */
	0x4e,
	0x75, 0xf5,
	0xf4,
};
static const uint8_t code_out[] = {
	0xe6, 0x80,			/* 1: out %al, $0x80: to user space */
	0x4e,
	0x75, 0xfb,
	0xf4,
};

/* At HANDLERS: IRET, and 16 bytes on what skips two bytes. */
static const uint8_t handlers[] = {
	0xcf, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0x83, 0x04, 0x24, 0x02,		/* addl $2, (%esp) */
	0xcf,
};

static void gate(unsigned int vector, uint32_t handler)
{
	uint8_t *g = memory + IDT + 8 * vector;

	memcpy(g, &(uint16_t){ handler }, 2);
	memcpy(g + 2, &(uint16_t){ 8 }, 2);
	memcpy(g + 4, &(uint16_t){ 0x8e00 }, 2);
	memcpy(g + 6, &(uint16_t){ handler >> 16 }, 2);
}

static void segment(struct kvm_segment *seg, unsigned int selector, unsigned int type)
{
	*seg = (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .db = 1,
		.s = 1, .g = 1,
	};
}

/* NULL, or what went wrong. */
static const char *vm_create(void)
{
	static const uint64_t gdt[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY };
	struct kvm_enable_cap no_pmu = { .cap = KVM_CAP_PMU_CAPABILITY, .args = { KVM_PMU_CAP_DISABLE } };
	struct kvm_sregs sregs;
	int kvm, vm, size;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return "/dev/kvm";
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return "KVM_CREATE_VM";
	/* As no PMU is wanted nothing is reserved, whatever the module's parameter says. */
	ioctl(vm, KVM_ENABLE_CAP, &no_pmu);
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return "memory";
	madvise(memory, MEMORY, MADV_NOHUGEPAGE);
	region.userspace_addr = (uintptr_t)memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		return "KVM_SET_USER_MEMORY_REGION";

	vcpu_fd = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vcpu_fd < 0 || size < 0)
		return "KVM_CREATE_VCPU";
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, 0);
	if (run == MAP_FAILED)
		return "struct kvm_run";

	memcpy(memory + GDT, gdt, sizeof(gdt));
	memcpy(memory + HANDLERS, handlers, sizeof(handlers));
	gate(0x20, HANDLERS);
	gate(0, HANDLERS + 16);

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs))
		return "KVM_GET_SREGS";
	segment(&sregs.cs, 8, 0xb);
	segment(&sregs.ds, 16, 3);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.gdt = (struct kvm_dtable){ .base = GDT, .limit = sizeof(gdt) - 1 };
	sregs.idt = (struct kvm_dtable){ .base = IDT, .limit = 0x7ff };
	sregs.cr0 |= 1;
	return ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) ? "KVM_SET_SREGS" : NULL;
}

static void burn(uint64_t loops)
{
	while (loops--)
		asm volatile("");
}

/* Run that code, with @host loops of the host at each exit to user space.  False if it did not end. */
static bool guest(const uint8_t *code, size_t size, unsigned int loops, unsigned int host)
{
	struct kvm_regs regs = { .rip = CODE, .rsp = STACK, .rflags = 2, .rsi = loops, .rdi = PAGES };

	memcpy(memory + CODE, code, size);
	if (ioctl(vcpu_fd, KVM_SET_REGS, &regs))
		return false;
	for (;;) {
		if (ioctl(vcpu_fd, KVM_RUN, 0) && errno != EINTR)
			return false;
		if (run->exit_reason == KVM_EXIT_HLT)
			return true;
		if (run->exit_reason != KVM_EXIT_IO && run->exit_reason != KVM_EXIT_INTR)
			return false;
		burn(host);
	}
}

#define GUEST(code, loops, host) guest(code, sizeof(code), loops, host)

/*
 * What @event counts more than @each for a loop: the least of some tries, as interrupts of the
 * host add VM-entries.  NAN if it could not be counted.
 */
static double excess(const struct event *event, const uint8_t *code, size_t size, unsigned int loops,
		     unsigned int host, unsigned int each)
{
	double least = NAN;
	unsigned int i;

	/* Once before, for page faults. */
	if (!guest(code, size, loops, host))
		return NAN;
	for (i = 0; i < TRIES; i++) {
		int64_t count;
		double more;

		event_start(event);
		if (!guest(code, size, loops, host))
			return NAN;
		count = event_stop(event);
		if (count < 0)
			return NAN;
		more = ((double)count - (double)loops * each) / loops;
		/* The one that is nearest to nothing. */
		if (isnan(least) || fabs(more) < fabs(least))
			least = more;
	}
	return least;
}

#define EXCESS(event, code, loops, host, each) excess(event, code, sizeof(code), loops, host, each)

static bool about(double value, double want)
{
	return fabs(value - want) < 0.1;
}

/* Exceptions and page faults; @entry: what an entry adds. */
static void faults(const struct event *insn, double entry)
{
	const char *what = "faults, nested page faults and IRET";
	double irets, fault, again, first = NAN;
	int i;

	irets = EXCESS(insn, code_int, LOOPS, 0, 4);
	fault = EXCESS(insn, code_fault, LOOPS, 0, 4) - irets;
	for (i = 0; i < TRIES; i++) {
		int64_t count;
		double more;

		madvise(memory + PAGES, NR_PAGES * 4096, MADV_DONTNEED);
		event_start(insn);
		if (!GUEST(code_touch, NR_PAGES, 0))
			break;
		count = event_stop(insn);
		if (count < 0)
			break;
		more = (double)count / NR_PAGES - 4;
		if (isnan(first) || fabs(more) < fabs(first))
			first = more;
	}
	again = EXCESS(insn, code_touch, NR_PAGES, 0, 4);
	/* Each of the pages is a VM-exit, too. */
	first -= again + entry;

	if (isnan(irets) || isnan(fault) || isnan(first))
		row("B12", what, UNKNOWN, "the guest did not end, or perf had no counter");
	else
		row("B12", what, about(irets, 0) && about(fault, 0) && about(first, 0) ? AS_ASSUMED : DIFFERS,
		    "%+.2f instructions for a fault, %+.2f for a nested page fault, %+.2f for INT and IRET",
		    fault, first, irets);
}

static void entries(void)
{
	const char *name = intel ? "B2" : "B1";
	double insns, branches, plain, cycles, burnt, quiet;
	struct event insn, branch, cycle;

	if (!event_open(&insn, PERF_COUNT_HW_INSTRUCTIONS) ||
	    !event_open(&branch, PERF_COUNT_HW_BRANCH_INSTRUCTIONS) ||
	    !event_open(&cycle, PERF_COUNT_HW_CPU_CYCLES)) {
		row(name, "what a VM-entry counts in the guest", UNKNOWN, "perf_event_open: %s", strerror(errno));
		return;
	}

	plain = EXCESS(&insn, code_plain, 1000000, 0, 2);
	insns = EXCESS(&insn, code_cpuid, LOOPS, 0, 3);
	branches = EXCESS(&branch, code_cpuid, LOOPS, 0, 1);
	if (isnan(plain) || isnan(insns) || isnan(branches) || !about(plain, 0)) {
		row(name, "what a VM-entry counts in the guest", UNKNOWN, "a loop without exits counts %.3f instructions more than 2", plain);
		return;
	}
	/* Of VMRUN one instruction is assumed, of VMX nothing. */
	row(name, "what a VM-entry and VM-exit count in the guest",
	    about(insns, intel ? 0 : 1) && about(branches, 0) ? AS_ASSUMED : DIFFERS,
	    "%.2f instructions, %.2f branches", insns, branches);

	cycles = EXCESS(&cycle, code_cpuid, LOOPS, 0, 0) - EXCESS(&cycle, code_plain, LOOPS, 0, 0);
	row("B11", "cycles of a VM-entry and VM-exit in the guest", isnan(cycles) ? UNKNOWN : fabs(cycles) < 20 ? AS_ASSUMED : DIFFERS,
	    "%.0f more than an iteration without", cycles);

	/* Host instructions: more of them, or more than VMRUN itself can be. */
	quiet = EXCESS(&insn, code_out, LOOPS / 4, 0, 2);
	burnt = EXCESS(&insn, code_out, LOOPS / 4, 10000, 2);
	if (isnan(quiet) || isnan(burnt))
		row("B26", "instructions of the host in the guest's count", UNKNOWN, "the guest did not end, or perf had no counter");
	else if (fabs(burnt - quiet) > 0.5 || insns > 2.5)
		row("B26", "instructions of the host in the guest's count", UNSAFE, "%.2f for each VM-entry, %.2f after 10,000 loops", quiet, burnt);
	else
		row("B26", "instructions of the host in the guest's count", AS_ASSUMED, "no more after 10,000 loops");

	faults(&insn, insns);

	close(insn.fd);
	close(branch.fd);
	close(cycle.fd);
}

/*
 * A counter of cache events that stands still is read as soon as user space can, and later.
 * What comes sooner after a VM-exit is not seen.
 */
static void late_events(void)
{
	const char *what = "a counter of cache events stands still after an exit";
	unsigned int i, moved = 0;
	uint64_t most = 0;
	struct event event;

	if (!event_open(&event, PERF_COUNT_HW_CACHE_REFERENCES)) {
		row("B10", what, UNKNOWN, "perf_event_open: %s", strerror(errno));
		return;
	}
	event_start(&event);
	if (!event.page->cap_user_rdpmc || !event.page->index) {
		row("B10", what, UNKNOWN, "RDPMC is not for user space, or perf had no counter");
		return;
	}
	for (i = 0; i < 200; i++) {
		uint64_t first, second;

		if (!GUEST(code_touch, NR_PAGES, 0))
			break;
		first = __builtin_ia32_rdpmc(event.page->index - 1);
		burn(20000);
		second = __builtin_ia32_rdpmc(event.page->index - 1);
		moved += first != second;
		if (second - first > most)
			most = second - first;
	}
	row("B10", what, moved ? DIFFERS : AS_ASSUMED, "grew later after %u of %u runs, by at most %llu",
	    moved, i, (unsigned long long)most);
	event_stop(&event);
	close(event.fd);
}

/* Registers. */

static bool rd(uint32_t msr, uint64_t *val)
{
	return pread(msr_fd, val, sizeof(*val), msr) == sizeof(*val);
}

static bool wr(uint32_t msr, uint64_t val)
{
	return pwrite(msr_fd, &val, sizeof(val), msr) == sizeof(val);
}

static void shape(void)
{
	uint32_t a, b, c, d, gp, fixed, all, all_fixed;

	if (!intel)
		return;

	__cpuid(0xa, a, b, c, d);
	gp = a >> 8 & 0xff;
	fixed = (BIT(d & 0x1f) - 1) | c;
	row("B18", "fixed counters without a gap", fixed & (fixed + 1) ? DIFFERS : AS_ASSUMED, "bitmap %#x", fixed);

	all = gp;
	all_fixed = fixed;
	__cpuid(0, a, b, c, d);
	if (a >= 0x23) {
		__cpuid_count(7, 1, a, b, c, d);
		if (a & BIT(8)) {
			__cpuid_count(0x23, 1, a, b, c, d);
			all = 32 - __builtin_clz(a | 1);
			all_fixed = b;
		}
	}
	row("B16", "leaf 0Ah has all counters", all > gp || all_fixed & ~fixed ? UNSAFE : AS_ASSUMED,
	    "%u general, fixed %#x; leaf 23h: %u, %#x", gp, fixed, all, all_fixed);

	__cpuid_count(7, 0, a, b, c, d);
	row("B15", "no counter is needed for transactions", d & BIT(13) ? DIFFERS : AS_ASSUMED,
	    d & BIT(13) ? "TSX_FORCE_ABORT: the parameter is refused" : "no TSX_FORCE_ABORT");
}

/* Parts of 255 of retiring, in about as many slots as it takes to do so. */
static bool metrics_run(uint64_t ctrl, unsigned int loops, unsigned int *retiring, uint64_t *slots)
{
	uint64_t val;
	bool good;

	good = wr(MSR_FIXED_CTR3, 0) && wr(MSR_METRICS, 0) && wr(MSR_GLOBAL_CTRL, ctrl | BIT(35) | BIT(48));
	burn(loops);
	good &= wr(MSR_GLOBAL_CTRL, ctrl) && rd(MSR_METRICS, &val) && rd(MSR_FIXED_CTR3, slots);
	*retiring = val & 0xff;
	return good;
}

static void metrics(void)
{
	const uint64_t want = 0x3f404040;
	uint64_t caps, ctrl, fixed, val = want, slots, start = 0, next = 0;
	unsigned int i, before = 0, after = 0, filler;
	bool good = true;

	if (!intel)
		return;
	if (msr_fd < 0) {
		row("B5", "PERF_METRICS reads back", UNKNOWN, "/dev/cpu/%d/msr: modprobe msr", cpu);
		return;
	}
	if (!rd(MSR_CAPABILITIES, &caps) || !(caps & BIT(15)))
		return;
	if (!rd(MSR_FIXED_CTR_CTRL, &fixed) || !rd(MSR_GLOBAL_CTRL, &ctrl) || fixed & 0xf000) {
		row("B5", "PERF_METRICS reads back", UNKNOWN, "fixed counter 3 is in use");
		return;
	}
	ctrl &= ~(BIT(35) | BIT(48));
	good &= wr(MSR_GLOBAL_CTRL, ctrl) && wr(MSR_FIXED_CTR3, 1000000);
	for (i = 0; i < 10 && good; i++)
		good = wr(MSR_METRICS, val) && rd(MSR_METRICS, &val);
	row("B5", "PERF_METRICS reads back what was written, 10 times", !good ? UNKNOWN : val == want ? AS_ASSUMED : DIFFERS,
	    "%#llx became %#llx", (unsigned long long)want, (unsigned long long)val);

	good = wr(MSR_METRICS, want | BIT(40));
	row("B17", "PERF_METRICS has four parts", good ? DIFFERS : AS_ASSUMED, good ? "eight" : "four");

	good = wr(MSR_STATUS_SET, BIT(48));
	wr(MSR_STATUS_RESET, BIT(48));
	row("B8", "status bit 48 can be set", good ? AS_ASSUMED : UNSAFE, good ? "yes" : "no: #GP");

	/* Few slots after few, and after many. */
	good = wr(MSR_FIXED_CTR_CTRL, fixed | 0x3000);
	good &= metrics_run(ctrl, 100, &filler, &slots) && metrics_run(ctrl, 100, &before, &start);
	good &= metrics_run(ctrl, 20000000, &filler, &slots) && metrics_run(ctrl, 100, &after, &next);
	wr(MSR_FIXED_CTR_CTRL, fixed);
	wr(MSR_FIXED_CTR3, 0);
	wr(MSR_METRICS, 0);
	row("B6", "PERF_METRICS begin at 0", !good ? UNKNOWN : after > before + 20 || before > after + 20 ? UNSAFE : AS_ASSUMED,
	    "%u parts of 255 retired in %llu slots, after many slots %u in %llu", before, (unsigned long long)start,
	    after, (unsigned long long)next);
}

int main(int argc, char **argv)
{
	uint32_t a, b, c, d;
	const char *why;
	cpu_set_t set;
	char path[40];
	int i;

	for (i = 1; i < argc; i++) {
		char *end;

		if (!strcmp(argv[i], "--json")) {
			json = true;
		} else if (!strcmp(argv[i], "--cpu") && i + 1 < argc) {
			cpu = strtol(argv[++i], &end, 10);
			if (*end || end == argv[i] || cpu < 0 || cpu >= CPU_SETSIZE) {
				fprintf(stderr, "mediated-pmu-silicon: no CPU '%s'\n", argv[i]);
				return 2;
			}
		} else {
			bool help = !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");

			fprintf(help ? stdout : stderr, "usage: mediated-pmu-silicon [--json] [--cpu N]\n");
			return help ? 0 : 2;
		}
	}

	__cpuid(0, a, b, c, d);
	intel = b == signature_INTEL_ebx;
	if (!intel && b != signature_AMD_ebx) {
		fprintf(stderr, "mediated-pmu-silicon: neither Intel nor AMD\n");
		return 2;
	}
	if (cpu < 0)
		cpu = sched_getcpu();
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		fprintf(stderr, "mediated-pmu-silicon: CPU %d: %s\n", cpu, strerror(errno));
		return 2;
	}
	snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
	msr_fd = open(path, O_RDWR);

	if (json)
		printf("{\"cpu\": %d, \"vendor\": \"%s\", \"rows\": [", cpu, intel ? "Intel" : "AMD");
	why = vm_create();
	if (why) {
		row(intel ? "B2" : "B1", "what a VM-entry counts in the guest", UNKNOWN, "%s: %s", why, strerror(errno));
	} else {
		entries();
		late_events();
	}
	shape();
	metrics();
	if (json)
		printf("\n], \"safe\": %s}\n", any_unsafe ? "false" : any_unknown ? "null" : "true");

	return any_unsafe ? 1 : any_unknown ? 4 : 0;
}
