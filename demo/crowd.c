// SPDX-License-Identifier: GPL-2.0
/*
 * crowd turns VMS VCPUS COUNTERS	all vCPUs are busy without end, on CPU 0
 * crowd exits CPUS			a VM with one vCPU on each CPU, which executes CPUID
 *					without end
 * crowd life CPUS VMS			VMs with one vCPU come and go, on CPU 0
 *
 * The smallest possible VMM, for many VMs: each vCPU has a page of code, a thread, and
 * four counters, or COUNTERS, that are enabled for good and never 0.  Of Intel's, 9 to 11
 * are fixed ones.  It needs root, and KVM with a PMU.
 *
 * turns and exits: real-time threads, so that those on one CPU take turns, a tick each.
 * After a while window 3 of the machine log is open for WINDOW_MS.  Print for each VM
 *	crowd VM VCPUS BEFORE LOADS AFTER
 * LOADS is how often its PMU was loaded in the window, by the statistic pmu_loads.  BEFORE
 * and AFTER are the same for a moment before and after the window in which each KVM_RUN
 * returns once, so that a vCPU that has the PMU loads it: at least VCPUS.
 *
 * life: VM i is made in window 0x100 + i; its vCPU runs once on each CPU, from and back to
 * user space, and once more in window 0x200 + i; and VM i ends in 0x300 + i.  Print for each
 *	life VM CPUS MADE ENDED LOADS
 * MADE and ENDED are how many function call interrupts all CPUs had (CAL in
 * /proc/interrupts) while it was made and ended; LOADS is pmu_loads before its end.
 *
 * Exit status: 0; 1 something cannot be done; 2 usage.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "region.h"

#define MAX_VMS		32
#define MAX_VCPUS	32
#define MAX_CPUS	64
#define MAX_CPUID	256
#define CODE		0x1000		/* where the code is in the guest */
#define MAX_COUNTERS	11
#define NR_INTEL_GP	8
#define HOST_WINDOW	3
#define SETTLE_MS	200
#define WINDOW_MS	500
#define KICK_MS		100

/* 16-bit code. */
#define CODE_SIZE	6
/* 1: jmp 1b */
static const unsigned char busy[CODE_SIZE] = { 0xeb, 0xfe };
/* 1: xor %ax, %ax; cpuid; jmp 1b */
static const unsigned char exits[CODE_SIZE] = { 0x31, 0xc0, 0x0f, 0xa2, 0xeb, 0xfa };
/* 1: out %al, $0xed; jmp 1b */
static const unsigned char leaves[CODE_SIZE] = { 0xe6, 0xed, 0xeb, 0xfc };

struct vcpu {
	int fd, cpu;
	struct kvm_run *run;
	pthread_t thread;
};

static struct vm {
	int fd, nr_vcpus;
	void *memory;
	struct vcpu vcpus[MAX_VCPUS];
} vms[MAX_VMS];
static int nr_vms;

static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[MAX_CPUID];
} cpuid;

static int kvm, run_size, nr_counters = 4;
static volatile bool stop;

static void die(const char *what)
{
	fprintf(stderr, "crowd: ");
	perror(what);
	exit(1);
}

static void port(unsigned int op, unsigned int window)
{
	__asm__ volatile("outl %0, %%dx" : : "a"(op << 24 | window), "d"(PORT));
}

static int do_ioctl(int fd, unsigned long request, void *arg, const char *what)
{
	int ret = ioctl(fd, request, arg);

	if (ret < 0)
		die(what);
	return ret;
}
#define kvm_ioctl(fd, request, arg)	do_ioctl(fd, request, (void *)(arg), #request)

static void wait_ms(long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static void go_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void take_turns(int priority)
{
	struct sched_param param = { .sched_priority = priority };

	if (sched_setscheduler(0, SCHED_RR, &param))
		die("sched_setscheduler");
}

/* Function call interrupts so far, of all CPUs. */
static unsigned long calls(void)
{
	FILE *f = fopen("/proc/interrupts", "r");
	unsigned long sum = 0, n;
	char line[4096], *p, *end;

	if (!f)
		die("/proc/interrupts");
	while (fgets(line, sizeof(line), f)) {
		p = strstr(line, "CAL:");
		if (!p)
			continue;
		for (p += 4; n = strtoul(p, &end, 10), end != p; p = end)
			sum += n;
		fclose(f);
		return sum;
	}
	fprintf(stderr, "crowd: no CAL in /proc/interrupts\n");
	exit(1);
}

/* pmu_loads of all vCPUs of a VM. */
static long loads(struct vm *vm)
{
	char path[96];
	long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/pmu_loads", getpid(), vm->fd);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%ld", &n) != 1)
		die(path);
	fclose(f);
	return n;
}

static void make(struct vm *vm, int nr_vcpus)
{
	int i;

	vm->fd = kvm_ioctl(kvm, KVM_CREATE_VM, 0);
	kvm_ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000);
	kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0);
	for (i = 0; i < nr_vcpus; i++)
		vm->vcpus[i].fd = kvm_ioctl(vm->fd, KVM_CREATE_VCPU, (long)i);
	vm->nr_vcpus = nr_vcpus;
}

static void set_msr(int fd, unsigned int index, unsigned long long data)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = { .head.nmsrs = 1, .entry = { .index = index, .data = data } };

	if (kvm_ioctl(fd, KVM_SET_MSRS, &msr) != 1) {
		fprintf(stderr, "crowd: MSR %#x cannot be set to %#llx: no such counter?\n", index, data);
		exit(1);
	}
}

/*
 * Branches and cycles by turns, which any counter can count, of user and kernel mode (that
 * of the guest's code) or kernel mode.
 */
static void enable_counters(int fd)
{
	bool is_intel = cpuid.entries[0].ebx == 0x756e6547;	/* leaf 0: Genu */
	unsigned int event[2] = { is_intel ? 0xc4 : 0xc2, is_intel ? 0x3c : 0x76 };
	unsigned long long global = 0, fixed = 0;
	int i;

	for (i = 0; i < nr_counters; i++) {
		if (is_intel && i >= NR_INTEL_GP) {
			fixed |= 3ull << 4 * (i - NR_INTEL_GP);
			global |= 1ull << (32 + i - NR_INTEL_GP);
			continue;
		}
		/* PERFEVTSELn, or PERF_CTLn */
		set_msr(fd, is_intel ? 0x186u + i : 0xc0010200u + 2 * i,
			(i & 2 ? 0x420000 : 0x430000) | event[i & 1]);
		global |= 1ull << i;
	}
	if (fixed)
		set_msr(fd, 0x38d, fixed);			/* FIXED_CTR_CTRL */
	set_msr(fd, is_intel ? 0x38f : 0xc0000301, global);	/* GLOBAL_CTRL, GLOBAL_CTL */
}

static void prepare(struct vm *vm, const unsigned char *code)
{
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = CODE, .memory_size = 4096,
	};
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;
	struct vcpu *vcpu;
	int i;

	vm->memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vm->memory == MAP_FAILED)
		die("mmap");
	memcpy(vm->memory, code, CODE_SIZE);
	region.userspace_addr = (unsigned long)vm->memory;
	kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);

	for (i = 0; i < vm->nr_vcpus; i++) {
		struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };

		vcpu = &vm->vcpus[i];
		vcpu->run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
		if (vcpu->run == MAP_FAILED)
			die("mmap of a vCPU");
		kvm_ioctl(vcpu->fd, KVM_SET_CPUID2, &cpuid);
		kvm_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs);
		sregs.cs.base = 0;
		sregs.cs.selector = 0;
		kvm_ioctl(vcpu->fd, KVM_SET_SREGS, &sregs);
		kvm_ioctl(vcpu->fd, KVM_SET_REGS, &regs);
		kvm_ioctl(vcpu->fd, KVM_SET_MP_STATE, &state);
		enable_counters(vcpu->fd);
	}
}

/* KVM_RUN until a signal comes, again and again. */
static void *run_vcpu(void *arg)
{
	struct vcpu *vcpu = arg;

	go_to(vcpu->cpu);
	take_turns(1);
	while (!stop) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0 && errno == EINTR)
			continue;
		fprintf(stderr, "crowd: KVM_RUN: exit reason %u\n", vcpu->run->exit_reason);
		exit(1);
	}
	return NULL;
}

static void do_nothing(int signal)
{
	(void)signal;
}

/* Have each KVM_RUN return, and wait until all are back. */
static void kick_all(void)
{
	int i, j;

	for (i = 0; i < nr_vms; i++)
		for (j = 0; j < vms[i].nr_vcpus; j++)
			pthread_kill(vms[i].vcpus[j].thread, SIGUSR1);
	wait_ms(KICK_MS * (1 + nr_vms * vms[0].nr_vcpus / 4));
}

static void run_together(void)
{
	struct sigaction action = { .sa_handler = do_nothing };
	long at[MAX_VMS][6];
	int i, j, n = 0;

	sigaction(SIGUSR1, &action, NULL);
	go_to(0);
	take_turns(2);
	for (i = 0; i < nr_vms; i++)
		for (j = 0; j < vms[i].nr_vcpus; j++)
			if (pthread_create(&vms[i].vcpus[j].thread, NULL, run_vcpu, &vms[i].vcpus[j]))
				die("pthread_create");
	wait_ms(SETTLE_MS);

#define all_loads()	do { for (i = 0; i < nr_vms; i++) at[i][n] = loads(&vms[i]); n++; } while (0)
	all_loads();
	kick_all();
	all_loads();

	wait_ms(SETTLE_MS);
	all_loads();
	port(OPEN, HOST_WINDOW);
	wait_ms(WINDOW_MS);
	port(CLOSE, HOST_WINDOW);
	all_loads();

	all_loads();
	kick_all();
	all_loads();
#undef all_loads

	stop = true;
	kick_all();
	for (i = 0; i < nr_vms; i++) {
		for (j = 0; j < vms[i].nr_vcpus; j++)
			pthread_join(vms[i].vcpus[j].thread, NULL);
		printf("crowd %d %d %ld %ld %ld\n", i, vms[i].nr_vcpus, at[i][1] - at[i][0],
		       at[i][3] - at[i][2], at[i][5] - at[i][4]);
	}
}

static void turns(int nr, int nr_vcpus)
{
	for (nr_vms = 0; nr_vms < nr; nr_vms++) {
		make(&vms[nr_vms], nr_vcpus);
		prepare(&vms[nr_vms], busy);
	}
	run_together();
}

static void exits_on(int cpus)
{
	for (nr_vms = 0; nr_vms < cpus; nr_vms++) {
		make(&vms[nr_vms], 1);
		prepare(&vms[nr_vms], exits);
		vms[nr_vms].vcpus[0].cpu = nr_vms;
	}
	run_together();
}

static void run_on_all(struct vcpu *vcpu, int cpus)
{
	int cpu;

	for (cpu = 0; cpu < cpus; cpu++) {
		go_to(cpu);
		kvm_ioctl(vcpu->fd, KVM_RUN, 0);
		if (vcpu->run->exit_reason != KVM_EXIT_IO) {
			fprintf(stderr, "crowd: KVM_RUN: exit reason %u\n", vcpu->run->exit_reason);
			exit(1);
		}
	}
	go_to(0);
}

static void life(int cpus, int nr)
{
	unsigned long made[MAX_VMS], before;
	struct vm *vm;
	long loaded;

	go_to(0);
	for (vm = vms; vm < &vms[nr]; vm++) {
		before = calls();
		port(OPEN, 0x100 + (vm - vms));
		make(vm, 1);
		port(CLOSE, 0x100 + (vm - vms));
		made[vm - vms] = calls() - before;

		prepare(vm, leaves);
		run_on_all(&vm->vcpus[0], cpus);
		port(OPEN, 0x200 + (vm - vms));
		run_on_all(&vm->vcpus[0], cpus);
		port(CLOSE, 0x200 + (vm - vms));
	}

	for (vm = vms; vm < &vms[nr]; vm++) {
		loaded = loads(vm);
		munmap(vm->vcpus[0].run, run_size);
		before = calls();
		port(OPEN, 0x300 + (vm - vms));
		close(vm->vcpus[0].fd);
		close(vm->fd);
		port(CLOSE, 0x300 + (vm - vms));
		printf("life %d %d %lu %lu %ld\n", (int)(vm - vms), cpus, made[vm - vms],
		       calls() - before, loaded);
	}
}

static int number(const char *word, int max)
{
	char *end;
	long n = strtol(word, &end, 10);

	if (*end || n < 1 || n > max) {
		fprintf(stderr, "crowd: '%s' is not a number from 1 to %d\n", word, max);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	bool is_turns = !strcmp(mode, "turns") && argc == 5;
	bool is_exits = !strcmp(mode, "exits") && argc == 3;
	bool is_life = !strcmp(mode, "life") && argc == 4;

	if (!is_turns && !is_exits && !is_life) {
		fprintf(stderr, "usage: crowd turns VMS VCPUS COUNTERS | exits CPUS | life CPUS VMS\n");
		return 2;
	}
	kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0)
		die("/dev/kvm");
	if (iopl(3))
		die("iopl");
	run_size = kvm_ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	cpuid.head.nent = MAX_CPUID;
	kvm_ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);

	if (is_turns) {
		nr_counters = number(argv[4], MAX_COUNTERS);
		turns(number(argv[2], MAX_VMS), number(argv[3], MAX_VCPUS));
	} else if (is_exits) {
		exits_on(number(argv[2], MAX_VMS));
	} else {
		life(number(argv[2], MAX_CPUS), number(argv[3], MAX_VMS));
	}
	return 0;
}
