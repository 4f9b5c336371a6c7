// SPDX-License-Identifier: GPL-2.0
/*
 * Test what a mediated PMU means for the host: perf events of CPUs that include guests
 * and VMs with a PMU exclude each other, unless the policy is to yield; so do those of a
 * thread that runs vCPUs; events of tasks do not, and yield; and events that exclude
 * guests count the host, all of it, and nothing else.
 *
 * With enable_mediated_pmu=0, test that nothing of that is so.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "mediated_pmu.h"

#define NOT_MEDIATED	"PMUs are not mediated"

/* Events that include guests, one way or another. */
static const struct {
	const char *name;
	uint64_t config;
	uint64_t flags;
	pid_t pid;
	int cpu;
} including[] = {
	{ "cycles of a CPU", PERF_COUNT_HW_CPU_CYCLES, 0, -1, 0 },
	{ "cycles of a task", PERF_COUNT_HW_CPU_CYCLES, 0, 0, -1 },
	{ "user instructions", PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_KERNEL, 0, -1 },
	{ "guests only", PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_HOST, -1, 0 },
	{ "inherited", PERF_COUNT_HW_INSTRUCTIONS, EVENT_INHERIT, 0, -1 },
	{ "pinned", PERF_COUNT_HW_BRANCH_INSTRUCTIONS, EVENT_PINNED, 0, -1 },
	{ "raw", 0xc0, EVENT_RAW, 0, -1 },
	{ "user instructions of a CPU", PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_KERNEL, -1, 0 },
	{ "guests only, of a task", PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_HOST, 0, -1 },
	{ "a task on a CPU", PERF_COUNT_HW_INSTRUCTIONS, 0, 0, 0 },
};

/* Those of CPUs collide with VMs. */
static bool collides(int i)
{
	return including[i].pid == -1;
}

/* One of each kind. */
#define OF_A_CPU	0
#define OF_A_TASK	1

static int open_including(int i)
{
	return perf_open(including[i].config, including[i].flags, including[i].pid,
			 including[i].cpu);
}

/* Events that do not. */
static const struct {
	const char *name;
	uint64_t config;
	uint64_t flags;
	pid_t pid;
	int cpu;
} excluding[] = {
	{ "cycles of a CPU", PERF_COUNT_HW_CPU_CYCLES, EVENT_EXCLUDE_GUEST, -1, 0 },
	{ "cycles of a task", PERF_COUNT_HW_CPU_CYCLES, EVENT_EXCLUDE_GUEST, 0, -1 },
	{ "inherited", PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_GUEST | EVENT_INHERIT, 0, -1 },
	{ "software, of a CPU", PERF_COUNT_SW_CPU_CLOCK, EVENT_SOFTWARE, -1, 0 },
	{ "software, of a task", PERF_COUNT_SW_TASK_CLOCK, EVENT_SOFTWARE, 0, -1 },
};

static int open_excluding(int i)
{
	return perf_open(excluding[i].config, excluding[i].flags, excluding[i].pid,
			 excluding[i].cpu);
}

static struct kvm_vm *create_vm(bool irqchip)
{
	struct kvm_vm *vm = vm_create_barebones();

	if (irqchip)
		vm_ioctl(vm, KVM_CREATE_IRQCHIP, NULL);
	return vm;
}

/* Returns 0 or the error.  The vCPU lives as long as @vm. */
static int create_vcpu(struct kvm_vm *vm, unsigned long id)
{
	int fd = __vm_ioctl(vm, KVM_CREATE_VCPU, (void *)id);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

TEST(event_that_includes_guests_refuses_vcpus)
{
	struct kvm_vm *vm;
	int i, fd;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	for (i = 0; i < ARRAY_SIZE(including); i++) {
		fd = open_including(i);
		TEST_ASSERT(fd >= 0, "%s: %s", including[i].name, strerror(errno));

		/* A VM without vCPUs needs no PMU. */
		vm = create_vm(true);
		if (!collides(i)) {
			TEST_ASSERT(!create_vcpu(vm, 0), "%s", including[i].name);
			close(fd);
			kvm_vm_free(vm);
			continue;
		}
		TEST_ASSERT(create_vcpu(vm, 0) == EBUSY, "%s", including[i].name);
		TEST_ASSERT(create_vcpu(vm, 1) == EBUSY, "%s", including[i].name);

		/* The same VM may try again. */
		close(fd);
		TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
		kvm_vm_free(vm);
	}
}

TEST(vm_refuses_events_that_include_guests)
{
	struct kvm_vm *vm;
	int i, fd;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	vm = create_vm(true);
	fd = open_including(0);
	TEST_ASSERT(fd >= 0, "A VM without vCPUs has reserved the PMU already");
	close(fd);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);

	for (i = 0; i < ARRAY_SIZE(including); i++) {
		fd = open_including(i);
		if (!collides(i)) {
			TEST_ASSERT(fd >= 0, "%s: %s", including[i].name, strerror(errno));
			close(fd);
			continue;
		}
		TEST_ASSERT(fd < 0 && errno == EOPNOTSUPP, "%s: %s", including[i].name,
			    fd < 0 ? strerror(errno) : "could be opened");
	}
	for (i = 0; i < ARRAY_SIZE(excluding); i++) {
		fd = open_excluding(i);
		TEST_ASSERT(fd >= 0, "%s: %s", excluding[i].name, strerror(errno));
		close(fd);
	}

	kvm_vm_free(vm);
	for (i = 0; i < ARRAY_SIZE(including); i++) {
		fd = open_including(i);
		TEST_ASSERT(fd >= 0, "%s, VM is gone: %s", including[i].name, strerror(errno));
		close(fd);
	}
}

TEST(event_that_excludes_guests_refuses_nothing)
{
	int fds[ARRAY_SIZE(excluding)];
	struct kvm_vm *vm;
	int i;

	for (i = 0; i < ARRAY_SIZE(excluding); i++) {
		fds[i] = open_excluding(i);
		TEST_ASSERT(fds[i] >= 0, "%s: %s", excluding[i].name, strerror(errno));
	}
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
	kvm_vm_free(vm);
	for (i = 0; i < ARRAY_SIZE(excluding); i++)
		close(fds[i]);
}

TEST(last_vm_ends_the_reservation)
{
	struct kvm_vm *vms[3];
	int i, fd;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	for (i = 0; i < ARRAY_SIZE(vms); i++) {
		vms[i] = create_vm(true);
		TEST_ASSERT_EQ(create_vcpu(vms[i], 0), 0);
		TEST_ASSERT_EQ(create_vcpu(vms[i], 1), 0);
		/* A vCPU that there is already: the VM still counts once. */
		TEST_ASSERT_EQ(create_vcpu(vms[i], 1), EEXIST);
	}
	for (i = 0; i < ARRAY_SIZE(vms); i++) {
		fd = open_including(0);
		TEST_ASSERT(fd < 0 && errno == EOPNOTSUPP, "%d VMs are left", 3 - i);
		kvm_vm_free(vms[i]);
	}
	fd = open_including(0);
	TEST_ASSERT(fd >= 0, "no VM is left: %s", strerror(errno));
	close(fd);
}

TEST(refused_vm_leaves_nothing_behind)
{
	struct kvm_vm *vm;
	int fd, fd2;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	fd = open_including(OF_A_CPU);
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), EBUSY);

	fd2 = open_including(OF_A_CPU);
	TEST_ASSERT(fd2 >= 0, "after a refusal: %s", strerror(errno));
	close(fd2);
	kvm_vm_free(vm);
	fd2 = open_including(OF_A_CPU);
	TEST_ASSERT(fd2 >= 0, "after a refusal and the VM's end: %s", strerror(errno));
	close(fd2);
	close(fd);

	/* A failed perf_event_open() is not counted either. */
	TEST_ASSERT(perf_open(PERF_COUNT_HW_MAX, 0, -1, 0) < 0, "no such event");
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
	kvm_vm_free(vm);
}

TEST(events_of_tasks_refuse_nothing)
{
	struct kvm_vm *vm;
	int fd, status;
	pid_t child;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	/* The child gets an event of its own by inheritance. */
	fd = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_INHERIT, 0, -1);
	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd));
	child = fork();
	if (!child) {
		pause();
		_exit(0);
	}
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);

	/* Tasks with such events may go on to fork. */
	child = fork();
	if (!child)
		_exit(42);
	waitpid(child, &status, 0);
	TEST_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %x", status);
	close(fd);
	kvm_vm_free(vm);
}

static void guest_busy(uint64_t loops);
static void guest_busy_counting(uint64_t loops);

/* Can a task event that includes guests be opened for @pid?  0 or the error. */
static int try_including(pid_t pid)
{
	int fd = perf_open(PERF_COUNT_HW_INSTRUCTIONS, 0, pid, -1);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

struct other_thread {
	pid_t of_vcpu;
	int own, others;
};

static void *other_thread(void *arg)
{
	struct other_thread *t = arg;

	t->own = try_including(0);
	t->others = try_including(t->of_vcpu);
	return NULL;
}

TEST(thread_that_runs_a_vcpu_refuses_events)
{
	struct other_thread other = { .of_vcpu = gettid() };
	struct kvm_vm *vm, *without;
	struct kvm_vcpu *vcpu;
	int fd, status, start;
	pthread_t thread;
	pid_t child;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	vm = pmu_vm_create(&vcpu, guest_busy);
	vcpu_args_set(vcpu, 1, 1000);
	fd = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_INHERIT, 0, -1);
	TEST_ASSERT(fd >= 0, "before KVM_RUN: %s", strerror(errno));
	pmu_run(vcpu);

	/* This thread; by another one; another one. */
	TEST_ASSERT_EQ(try_including(0), EOPNOTSUPP);
	pthread_create(&thread, NULL, other_thread, &other);
	pthread_join(thread, NULL);
	TEST_ASSERT_EQ(other.others, EOPNOTSUPP);
	TEST_ASSERT_EQ(other.own, 0);

	/* A child runs no vCPU, and inherits the event that is there. */
	child = fork();
	if (!child)
		_exit(try_including(0));
	waitpid(child, &status, 0);
	TEST_ASSERT(WIFEXITED(status) && !WEXITSTATUS(status), "status %x", status);

	/* What excludes guests, and what is not of the core PMU, is as ever. */
	for (start = 0; start < ARRAY_SIZE(excluding); start++) {
		int fd2 = open_excluding(start);

		TEST_ASSERT(fd2 >= 0, "%s: %s", excluding[start].name, strerror(errno));
		close(fd2);
	}
	pmu_run(vcpu);
	close(fd);

	/* It is over with the VM, whatever other VMs there are. */
	without = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(without, 0), 0);
	kvm_vm_free(vm);
	TEST_ASSERT_EQ(try_including(0), 0);
	kvm_vm_free(without);
}

#define POLICY "/proc/sys/kernel/perf_guest_policy"

static void set_policy(const char *policy)
{
	char before[16] = { };
	int fd = open(POLICY, O_RDWR);

	TEST_ASSERT(fd >= 0, POLICY ": %s", strerror(errno));
	TEST_ASSERT(pwrite(fd, policy, strlen(policy), 0) == strlen(policy), "%s: %s",
		    policy, strerror(errno));
	TEST_ASSERT(pread(fd, before, sizeof(before) - 1, 0) == strlen(policy) + 1 &&
		    !strncmp(before, policy, strlen(policy)), "%s: reads %s", policy, before);
	close(fd);
}

TEST(policy_yield_refuses_nothing)
{
	int fds[ARRAY_SIZE(including)], fd, old;
	struct kvm_vm *vm, *later;
	struct kvm_vcpu *vcpu;
	int i;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	fd = open(POLICY, O_WRONLY);
	TEST_ASSERT(fd >= 0 && write(fd, "admit", 5) < 0 && errno == EINVAL, "admit: %s",
		    strerror(errno));
	close(fd);

	/* One that collided goes on, and yields. */
	old = open_including(OF_A_CPU);
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), EBUSY);
	kvm_vm_free(vm);
	set_policy("yield");
	vm = pmu_vm_create(&vcpu, guest_busy);
	vcpu_args_set(vcpu, 1, 1000);
	pmu_run(vcpu);
	for (i = 0; i < ARRAY_SIZE(including); i++) {
		fds[i] = open_including(i);
		TEST_ASSERT(fds[i] >= 0, "%s: %s", including[i].name, strerror(errno));
	}
	later = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(later, 0), 0);
	kvm_vm_free(later);

	/* What is open yields on. */
	set_policy("refuse");
	pmu_run(vcpu);
	TEST_ASSERT(open_including(OF_A_CPU) < 0 && errno == EOPNOTSUPP, "refuse again");
	TEST_ASSERT_EQ(try_including(0), EOPNOTSUPP);
	later = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(later, 0), 0);
	kvm_vm_free(later);
	kvm_vm_free(vm);

	/* Nor is it in the way later, and new ones are. */
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
	kvm_vm_free(vm);
	fd = open_including(OF_A_CPU);
	TEST_ASSERT(fd >= 0, "no VM: %s", strerror(errno));
	for (i = 0; i < ARRAY_SIZE(including); i++)
		close(fds[i]);
	close(old);
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), EBUSY);
	close(fd);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
	kvm_vm_free(vm);
}

TEST(vm_without_pmu_reserves_nothing)
{
	struct kvm_vm *vm;
	int fd, fd2;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_PMU_CAPABILITY));

	fd = open_including(OF_A_CPU);
	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd));
	vm = create_vm(true);
	vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
	fd2 = open_including(OF_A_CPU);
	TEST_ASSERT(fd2 >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd2));
	close(fd2);
	close(fd);
	kvm_vm_free(vm);
}

TEST(userspace_irqchip_has_no_pmu)
{
	const uint32_t msr = pmu.intel ? MSR_CORE_PERF_FIXED_CTR0 : pmc_msr(0);
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	uint64_t caps;
	bool told;
	int fd;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	/* With an APIC in the kernel, that MSR can be written. */
	vm = create_vm(true);
	vcpu = __vm_vcpu_add(vm, 0);
	vcpu_init_cpuid(vcpu, kvm_get_supported_cpuid());
	TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, msr, 1), 1);
	kvm_vm_free(vm);

	/* Without, there is no PMU, and hence nothing to reserve. */
	fd = open_including(0);
	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd));
	vm = create_vm(false);
	vcpu = __vm_vcpu_add(vm, 0);
	vcpu_init_cpuid(vcpu, kvm_get_supported_cpuid());
	TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, msr, 1), 0);

	/* The VMM may give the guest what KVM supports, and the guest does not see it. */
	if (pmu.intel) {
		TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL, 0), 1);
		caps = kvm_get_feature_msr(MSR_IA32_PERF_CAPABILITIES);
		TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, MSR_IA32_PERF_CAPABILITIES, caps), 1);
		TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, MSR_IA32_PERF_CAPABILITIES, BIT_ULL(63)), 0);
	}
	if (pmu.intel)
		told = vcpu_cpuid_has(vcpu, X86_FEATURE_PDCM) ||
		       vcpu_get_cpuid_entry(vcpu, 0xa)->eax;
	else
		told = vcpu_cpuid_has(vcpu, X86_FEATURE_PERFCTR_CORE) ||
		       vcpu_cpuid_has(vcpu, X86_FEATURE_AMD_PERFMON_V2);
	TEST_ASSERT(!told, "The guest is told of a PMU");
	kvm_vm_free(vm);
	close(fd);
}

/* As QEMU does for pmu=off: what it can take away by CPUID. */
static void take_pmu_away(struct kvm_vcpu *vcpu)
{
	if (pmu.intel)
		vcpu_set_cpuid_property(vcpu, X86_PROPERTY_PMU_VERSION, 0);
	else
		vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_AMD_PERFMON_V2);
}

TEST(vm_without_pmu_in_cpuid_drops_its_reservation)
{
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vm;
	int fd, i;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	/* It is not known before KVM_RUN. */
	vm = vm_create_with_vcpus(2, guest_busy, vcpus);
	sync_global_to_guest(vm, pmu);
	for (i = 0; i < 2; i++) {
		vcpu_args_set(vcpus[i], 1, 1000);
		take_pmu_away(vcpus[i]);
	}
	fd = open_including(OF_A_CPU);
	TEST_ASSERT(fd < 0 && errno == EOPNOTSUPP, "before KVM_RUN");

	pmu_run(vcpus[0]);
	fd = open_including(OF_A_CPU);
	/* AMD's first four counters need no bit. */
	if (!pmu.intel) {
		TEST_ASSERT(fd < 0 && errno == EOPNOTSUPP, "A guest has four counters");
		kvm_vm_free(vm);
		return;
	}
	TEST_ASSERT(fd >= 0, "no vCPU has a PMU: %s", strerror(errno));
	TEST_ASSERT_EQ(try_including(0), 0);
	pmu_run(vcpus[1]);
	pmu_run(vcpus[0]);

	/* More vCPUs may come, with a PMU or without. */
	TEST_ASSERT_EQ(create_vcpu(vm, 2), 0);
	kvm_vm_free(vm);
	close(fd);
}

/* The error of KVM_RUN, or 0. */
static int try_run(struct kvm_vcpu *vcpu)
{
	return __vcpu_run(vcpu) ? errno : 0;
}

TEST(vcpu_with_pmu_that_runs_later_reserves_again)
{
	const struct kvm_cpuid_entry2 *leaf;
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vm;
	int fd, fd2;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);
	/* CPUID has no say in that on AMD. */
	if (!pmu.intel)
		return;

	vm = vm_create_with_vcpus(2, guest_busy_counting, vcpus);
	sync_global_to_guest(vm, pmu);
	vcpu_args_set(vcpus[0], 1, 1000);
	vcpu_args_set(vcpus[1], 1, 1000);
	take_pmu_away(vcpus[0]);
	leaf = vcpu_get_cpuid_entry(vcpus[1], 0xa);
	TEST_ASSERT(leaf->eax & 0xff, "The other one has a PMU");

	/* One has a PMU, though it has not run. */
	vcpus[0]->run->immediate_exit = 1;
	TEST_ASSERT_EQ(try_run(vcpus[0]), EINTR);
	vcpus[0]->run->immediate_exit = 0;
	fd = open_including(OF_A_CPU);
	TEST_ASSERT(fd < 0 && errno == EOPNOTSUPP, "one vCPU has a PMU");
	take_pmu_away(vcpus[1]);
	vcpus[1]->run->immediate_exit = 1;
	TEST_ASSERT_EQ(try_run(vcpus[1]), EINTR);
	fd = open_including(OF_A_CPU);
	TEST_ASSERT(fd >= 0, "no vCPU has a PMU: %s", strerror(errno));

	/* It has not been in guest mode, and may have one after all. */
	vcpu_set_cpuid_property(vcpus[1], X86_PROPERTY_PMU_VERSION, 2);
	TEST_ASSERT_EQ(try_run(vcpus[1]), EBUSY);
	close(fd);
	TEST_ASSERT_EQ(try_run(vcpus[1]), EINTR);
	vcpus[1]->run->immediate_exit = 0;
	pmu_run(vcpus[1]);
	fd = open_including(OF_A_CPU);
	TEST_ASSERT(fd < 0 && errno == EOPNOTSUPP, "it runs");
	TEST_ASSERT_EQ(try_including(0), EOPNOTSUPP);
	fd2 = open_including(OF_A_CPU);
	TEST_ASSERT(fd2 < 0, "twice");
	kvm_vm_free(vm);
	fd = open_including(OF_A_CPU);
	TEST_ASSERT(fd >= 0, "VM is gone: %s", strerror(errno));
	close(fd);
}

/* The kernel's messages that are new. */
static bool log_has(int fd, const char *what)
{
	char line[2048];
	bool found = false;
	ssize_t n;

	while ((n = read(fd, line, sizeof(line) - 1)) > 0) {
		line[n] = 0;
		found |= !!strstr(line, what);
	}
	return found;
}

TEST(refusals_name_who_is_in_the_way)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), fd, status, ready[2];
	char want[128], c = 0;
	struct kvm_vm *vm;
	bool told, again;
	pid_t child;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	TEST_ASSERT(kmsg >= 0 && !pipe(ready), "/dev/kmsg: %s", strerror(errno));
	/* Not more than eight messages in ten seconds: forget those of other tests. */
	sleep(11);
	lseek(kmsg, 0, SEEK_END);

	/* A process with an event of a CPU, under a name of its own. */
	child = fork();
	if (!child) {
		FILE *f = fopen("/proc/self/comm", "w");

		fprintf(f, "watcher");
		fclose(f);
		TEST_ASSERT(open_including(OF_A_CPU) >= 0, "event");
		TEST_ASSERT(write(ready[1], &c, 1) == 1, "write");
		pause();
		_exit(0);
	}
	TEST_ASSERT(read(ready[0], &c, 1) == 1, "read");
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), EBUSY);
	snprintf(want, sizeof(want),
		 "1 event of CPUs or cgroups that include guests, one of watcher[%d];", child);
	told = log_has(kmsg, want);
	/* Not over and over. */
	TEST_ASSERT_EQ(create_vcpu(vm, 0), EBUSY);
	again = log_has(kmsg, want);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	TEST_ASSERT(told, "The log does not have \"%s\"", want);
	TEST_ASSERT(!again, "The log has it twice");

	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
	fd = open_including(OF_A_CPU);
	TEST_ASSERT(fd < 0, "a VM");
	snprintf(want, sizeof(want), "1 VM with a mediated PMU, one of mediated_pmu_re[%d];",
		 getpid());
	TEST_ASSERT(log_has(kmsg, want), "The log does not have \"%s\"", want);
	kvm_vm_free(vm);
	close(kmsg);
}

/* How many pinned events of this task find a counter? */
static int nr_free_counters(void)
{
	int fds[2 * MAX_COUNTERS], i, nr = 0;
	struct perf_value v;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = perf_open(PERF_COUNT_HW_CPU_CYCLES,
				   EVENT_EXCLUDE_GUEST | EVENT_PINNED, 0, -1);
		TEST_ASSERT(fds[i] >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fds[i]));
	}
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		nr += read(fds[i], &v, sizeof(v)) == sizeof(v);
		close(fds[i]);
	}
	return nr;
}

static bool switch_nmi_watchdog(int fd, bool on)
{
	return pwrite(fd, on ? "1" : "0", 1, 0) == 1;
}

TEST(nmi_watchdog_goes_together_with_vms)
{
	int fd = open("/proc/sys/kernel/nmi_watchdog", O_RDWR);
	struct kvm_vm *vm;
	char before = '0';
	int nr;

	if (fd < 0 || pread(fd, &before, 1, 0) != 1 || !switch_nmi_watchdog(fd, false))
		SKIP(return, "no NMI watchdog");
	nr = nr_free_counters();
	switch_nmi_watchdog(fd, true);
	if (nr_free_counters() != nr - 1) {
		switch_nmi_watchdog(fd, before == '1');
		SKIP(return, "the NMI watchdog does not use a counter");
	}

	/* First the watchdog, then the VM, */
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
	TEST_ASSERT_EQ(nr_free_counters(), nr - 1);
	switch_nmi_watchdog(fd, false);
	TEST_ASSERT_EQ(nr_free_counters(), nr);
	/* and the other way around. */
	switch_nmi_watchdog(fd, true);
	TEST_ASSERT_EQ(nr_free_counters(), nr - 1);
	kvm_vm_free(vm);

	switch_nmi_watchdog(fd, before == '1');
	close(fd);
}

TEST(not_mediated_all_go_together)
{
	int fds[ARRAY_SIZE(including)];
	struct kvm_vm *vm;
	int i;

	if (pmu.mediated)
		SKIP(return, "PMUs are mediated");

	for (i = 0; i < ARRAY_SIZE(including); i++) {
		fds[i] = open_including(i);
		TEST_ASSERT(fds[i] >= 0, "%s: %s", including[i].name, strerror(errno));
	}
	vm = create_vm(true);
	TEST_ASSERT_EQ(create_vcpu(vm, 0), 0);
	for (i = 0; i < ARRAY_SIZE(including); i++) {
		close(fds[i]);
		fds[i] = open_including(i);
		TEST_ASSERT(fds[i] >= 0, "%s: %s", including[i].name, strerror(errno));
		close(fds[i]);
	}
	kvm_vm_free(vm);
}

/* Counting the host */

static void guest_busy(uint64_t loops)
{
	for (;;) {
		uint64_t n = loops;

		asm volatile("1: dec %0\n\t jnz 1b" : "+r"(n) : : "cc");
		GUEST_SYNC(0);
	}
}

static void guest_busy_counting(uint64_t loops)
{
	guest_pmu_reset();
	wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), pmc_global_bit(0));
	guest_busy(loops);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* The instructions that the host executes to run the guest for @loops, @times. */
static uint64_t host_instructions(uint64_t loops, uint64_t flags, int times)
{
	struct perf_value before, after;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int fd, i;

	vm = pmu_vm_create(&vcpu, guest_busy);
	vcpu_args_set(vcpu, 1, loops);
	/* All pages there, all paths taken. */
	pmu_run(vcpu);

	fd = perf_open(PERF_COUNT_HW_INSTRUCTIONS,
		       EVENT_EXCLUDE_GUEST | EVENT_PINNED | flags, 0, -1);
	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fd));
	before = perf_read(fd);
	for (i = 0; i < times; i++)
		pmu_run(vcpu);
	after = perf_read(fd);
	close(fd);
	kvm_vm_free(vm);

	TEST_ASSERT_EQ(after.enabled, after.running);
	return after.count - before.count;
}

TEST(host_events_count_no_guest_instructions)
{
	uint64_t some, many;

	/* In user mode the host does the same for a short run and a long one. */
	some = host_instructions(10, EVENT_EXCLUDE_KERNEL, 10);
	many = host_instructions(500000, EVENT_EXCLUDE_KERNEL, 10);
	TEST_ASSERT(some > 100, "%lu instructions are too few for ten runs", some);
	TEST_ASSERT(many >= some && many - some < 100,
		    "%lu host user instructions with a short guest run, %lu with a long one",
		    some, many);

	/*
	 * In the kernel there are interrupts, with lockdep and KASAN on two CPUs of
	 * three million instructions, but not the guest's ten million.
	 */
	some = host_instructions(10, 0, 10);
	many = host_instructions(500000, 0, 10);
	TEST_ASSERT(some > 5000, "%lu instructions are too few for ten runs", some);
	TEST_ASSERT(many - some < 6000000,
		    "%lu host instructions with a short guest run, %lu with a long one",
		    some, many);
}

/*
 * Events of this task while it runs a guest.  The first three exclude guests, one of them
 * in a group with an event that does not.
 */
static void host_events_times(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	enum { HW, SW, SIBLING, LEADER, NR };
	struct perf_value v[NR], before[NR];
	uint64_t start, time;
	int fds[NR], i;

	vcpu_args_set(vcpu, 1, 1000000);
	pmu_run(vcpu);

	fds[HW] = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_GUEST, 0, -1);
	fds[SW] = perf_open(PERF_COUNT_SW_TASK_CLOCK, EVENT_EXCLUDE_GUEST | EVENT_SOFTWARE, 0, -1);
	fds[LEADER] = perf_open(PERF_COUNT_SW_TASK_CLOCK, EVENT_SOFTWARE, 0, -1);
	fds[SIBLING] = perf_open_group(PERF_COUNT_HW_BRANCH_INSTRUCTIONS, EVENT_EXCLUDE_GUEST,
				       0, 0, -1, fds[LEADER]);
	for (i = 0; i < NR; i++) {
		TEST_ASSERT(fds[i] >= 0, "event %d: %s", i, strerror(errno));
		before[i] = perf_read(fds[i]);
	}

	start = now_ns();
	for (i = 0; i < 5; i++)
		pmu_run(vcpu);
	time = now_ns() - start;

	for (i = 0; i < NR; i++) {
		v[i] = perf_read(fds[i]);
		v[i].enabled -= before[i].enabled;
		v[i].running -= before[i].running;
		close(fds[i]);

		/* The guest takes far more than half of the time. */
		if (pmu.mediated && i != LEADER)
			TEST_ASSERT(v[i].enabled < time / 2 && v[i].enabled > 0,
				    "event %d: enabled for %lu of %lu ns", i, v[i].enabled, time);
		else
			TEST_ASSERT(v[i].enabled > time / 10 * 8,
				    "event %d: enabled for %lu of %lu ns", i, v[i].enabled, time);
		TEST_ASSERT(v[i].running == v[i].enabled,
			    "event %d: running for %lu, enabled for %lu ns", i,
			    v[i].running, v[i].enabled);
	}

	kvm_vm_free(vm);
}

TEST(host_events_times_leave_guest_time_out)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = pmu_vm_create(&vcpu, guest_busy);

	host_events_times(vm, vcpu);
}

TEST(host_events_times_beside_a_guest_without_pmu)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_PMU_CAPABILITY));

	vm = vm_create(1);
	vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
	vcpu = vm_vcpu_add(vm, 0, guest_busy);
	host_events_times(vm, vcpu);
}

/*
 * An event that includes guests and one that excludes them, in one group, while this task
 * runs a guest whose counters are in use.  Both count the host, all of it and nothing else;
 * the one is enabled in guest mode, but does not run.  @nr more events are in the way of
 * the guest's counters.
 */
static void yielding_events(int nr, uint64_t flags)
{
	struct perf_value v[2], before[2];
	int fds[2], more[2 * MAX_COUNTERS], i;
	uint64_t start, time, diff;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	fds[0] = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_EXCLUDE_GUEST | EVENT_PINNED | flags,
			   0, -1);
	fds[1] = perf_open_group(PERF_COUNT_HW_INSTRUCTIONS, flags, 0, 0, -1, fds[0]);
	TEST_ASSERT(fds[0] >= 0 && fds[1] >= 0, "events: %s", strerror(errno));
	for (i = 0; i < nr; i++) {
		more[i] = perf_open(PERF_COUNT_HW_BRANCH_INSTRUCTIONS, EVENT_PINNED | flags, 0, -1);
		TEST_ASSERT(more[i] >= 0, "event %d: %s", i, strerror(errno));
	}

	vm = pmu_vm_create(&vcpu, guest_busy_counting);
	vcpu_args_set(vcpu, 1, 200000);
	pmu_run(vcpu);

	for (i = 0; i < 2; i++)
		before[i] = perf_read(fds[i]);
	start = now_ns();
	for (i = 0; i < 10; i++)
		pmu_run(vcpu);
	time = now_ns() - start;
	for (i = 0; i < 2; i++) {
		v[i] = perf_read(fds[i]);
		v[i].count -= before[i].count;
		v[i].enabled -= before[i].enabled;
		v[i].running -= before[i].running;
	}

	/* They are stopped and started one after the other. */
	diff = v[0].count > v[1].count ? v[0].count - v[1].count : v[1].count - v[0].count;
	TEST_ASSERT(v[0].count > 1000 && diff < v[0].count / 5 && diff < 200000,
		    "%d more: %lu without guests, %lu with guests", nr, v[0].count, v[1].count);
	TEST_ASSERT(v[1].enabled > time / 10 * 9, "%d more: enabled for %lu of %lu ns", nr,
		    v[1].enabled, time);
	/* The guest takes far more than half of the time. */
	TEST_ASSERT(v[1].running && v[1].running < v[1].enabled / 2,
		    "%d more: running for %lu of %lu ns", nr, v[1].running, v[1].enabled);
	/* Guest mode is what both have lost. */
	diff = v[0].running > v[1].running ? v[0].running - v[1].running :
					     v[1].running - v[0].running;
	TEST_ASSERT(diff < time / 10, "%d more: running for %lu and %lu of %lu ns", nr,
		    v[0].running, v[1].running, time);

	for (i = 0; i < nr; i++)
		close(more[i]);
	close(fds[1]);
	close(fds[0]);
	kvm_vm_free(vm);
}

TEST(events_that_include_guests_yield)
{
	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	/* In user mode, and in all; counter by counter, and in the guest's way. */
	yielding_events(0, EVENT_EXCLUDE_KERNEL);
	yielding_events(0, 0);
	yielding_events(pmu.nr_gp + pmu.nr_fixed - 2 - 1, 0);
}

/* While a guest that counts nothing runs, it is counted like any other code. */
TEST(events_that_include_guests_count_those_that_do_not_count)
{
	static const uint64_t loops = 500000, times = 10;
	struct perf_value v[3], before[3];
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int fds[3], i, with;

	for (with = 0; with < 2; with++) {
		fds[0] = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_PINNED, 0, -1);
		fds[1] = perf_open(PERF_COUNT_HW_INSTRUCTIONS, EVENT_PINNED | EVENT_EXCLUDE_HOST,
				   0, -1);
		/* KVM looks for such events only if there are any. */
		fds[2] = with ? perf_open(PERF_COUNT_HW_INSTRUCTIONS,
					  EVENT_PINNED | EVENT_EXCLUDE_GUEST, 0, -1) : -1;
		TEST_ASSERT(fds[0] >= 0 && fds[1] >= 0, "events: %s", strerror(errno));

		vm = pmu_vm_create(&vcpu, guest_busy);
		vcpu_args_set(vcpu, 1, loops);
		pmu_run(vcpu);
		for (i = 0; i < 2 + with; i++)
			before[i] = perf_read(fds[i]);
		for (i = 0; i < times; i++)
			pmu_run(vcpu);
		for (i = 0; i < 2 + with; i++) {
			v[i] = perf_read(fds[i]);
			v[i].count -= before[i].count;
			close(fds[i]);
		}
		TEST_ASSERT(v[0].count >= 2 * loops * times, "%lu instructions of host and guest",
			    v[0].count);
		TEST_ASSERT(v[1].count >= 2 * loops * times &&
			    v[1].count < 2 * loops * times + 500000,
			    "%lu instructions of the guest", v[1].count);
		if (with)
			TEST_ASSERT(v[2].count < loops * times, "%lu instructions of the host",
				    v[2].count);
		kvm_vm_free(vm);
	}
}

/*
 * The clock that stands still is that of the CPU which an event is on, whichever one
 * it is read from, if there is another.  Only a waiting event is read without a call
 * there.
 */
TEST(host_events_times_read_elsewhere)
{
	int fds[MAX_COUNTERS + 4], nr = pmu.nr_gp + 4, i;
	uint64_t start, time, waited = 0;
	struct kvm_vcpu *vcpu;
	struct perf_value v;
	struct kvm_vm *vm;

	kvm_pin_this_task_to_pcpu(0);
	vm = pmu_vm_create(&vcpu, guest_busy);
	vcpu_args_set(vcpu, 1, 1000000);
	for (i = 0; i < 20; i++)
		pmu_run(vcpu);

	kvm_pin_this_task_to_pcpu(sysconf(_SC_NPROCESSORS_ONLN) - 1);
	start = now_ns();
	for (i = 0; i < nr; i++) {
		fds[i] = perf_open(PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
				   EVENT_EXCLUDE_GUEST | EVENT_EXCLUDE_KERNEL, -1, 0);
		TEST_ASSERT(fds[i] >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fds[i]));
	}
	usleep(50000);

	for (i = 0; i < nr; i++) {
		v = perf_read(fds[i]);
		time = now_ns() - start;
		TEST_ASSERT(v.enabled <= time && v.running <= v.enabled,
			    "event %d: running %lu, enabled %lu of %lu ns", i, v.running,
			    v.enabled, time);
		TEST_ASSERT(v.enabled >= 50000000, "event %d: enabled %lu of %lu ns", i,
			    v.enabled, time);
		waited += v.running < v.enabled;
	}
	TEST_ASSERT(waited, "No event had to wait");

	for (i = 0; i < nr; i++)
		close(fds[i]);
	kvm_vm_free(vm);
}

/* Calls of functions on @cpu by other CPUs. */
static uint64_t nr_function_calls(int cpu)
{
	FILE *f = fopen("/proc/interrupts", "r");
	uint64_t nr = 0;
	char line[4096];
	bool found = false;
	char *s;
	int i;

	TEST_ASSERT(f, "/proc/interrupts: %s", strerror(errno));
	while (fgets(line, sizeof(line), f) && !found) {
		s = strstr(line, "CAL:");
		if (!s)
			continue;
		found = true;
		for (s += 4, i = 0; i <= cpu; i++)
			nr = strtoull(s, &s, 10);
	}
	fclose(f);
	TEST_ASSERT(found, "/proc/interrupts has no line CAL");
	return nr;
}

/* A process of its own with a VM on @cpu, that uses its PMU until it is killed. */
static pid_t run_vm_elsewhere(int cpu)
{
	struct kvm_vcpu *vcpu;
	int ready[2], i;
	pid_t child;
	char c = 0;

	TEST_ASSERT(!pipe(ready), "pipe: %s", strerror(errno));
	child = fork();
	TEST_ASSERT(child >= 0, __KVM_SYSCALL_ERROR("fork", child));
	if (!child) {
		kvm_pin_this_task_to_pcpu(cpu);
		pmu_vm_create(&vcpu, guest_busy_counting);
		vcpu_args_set(vcpu, 1, 100000);
		for (i = 0; ; i++) {
			pmu_run(vcpu);
			if (i == 20)
				TEST_ASSERT(write(ready[1], &c, 1) == 1, "write");
		}
	}
	TEST_ASSERT(read(ready[0], &c, 1) == 1, "The other VM does not run");
	close(ready[0]);
	close(ready[1]);
	return child;
}

/* When a VM ends, CPUs that hold nothing of it are left in peace. */
TEST(end_of_a_vm_interrupts_no_other_cpu)
{
	uint64_t nr, least = -1ull, value;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	pid_t child;
	int i, fd;

	if (!pmu.mediated)
		SKIP(return, NOT_MEDIATED);

	/* With one CPU there is nobody to interrupt. */
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;

	kvm_pin_this_task_to_pcpu(0);
	child = run_vm_elsewhere(1);

	/* Others may call functions there as well, but not each time. */
	for (i = 0; i < 10; i++) {
		vm = pmu_vm_create(&vcpu, guest_busy_counting);
		vcpu_args_set(vcpu, 1, 1000);
		pmu_run(vcpu);
		nr = nr_function_calls(1);
		kvm_vm_free(vm);
		nr = nr_function_calls(1) - nr;
		if (nr < least)
			least = nr;
	}
	TEST_ASSERT(!least, "At least %lu interrupts of another CPU for each VM that ends", least);

	/* They would have been seen. */
	fd = open("/dev/cpu/1/msr", O_RDONLY);
	nr = nr_function_calls(1);
	TEST_ASSERT(fd >= 0 && pread(fd, &value, sizeof(value), MSR_IA32_TSC) == sizeof(value),
		    "Cannot read an MSR of CPU 1: %s", strerror(errno));
	close(fd);
	TEST_ASSERT(nr_function_calls(1) > nr, "A function call of CPU 1 is not counted");

	kill(child, SIGKILL);
	waitpid(child, &i, 0);
	TEST_ASSERT(WIFSIGNALED(i) && WTERMSIG(i) == SIGKILL, "The other VM has ended: %#x", i);
}

static int set_rotation_ms(int ms)
{
	FILE *f = fopen("/sys/bus/event_source/devices/cpu/perf_event_mux_interval_ms", "r+");
	int before = 4;

	TEST_ASSERT(f, "perf_event_mux_interval_ms: %s", strerror(errno));
	TEST_ASSERT(fscanf(f, "%d", &before) == 1, "perf_event_mux_interval_ms has no number");
	rewind(f);
	fprintf(f, "%d\n", ms);
	fclose(f);
	return before;
}

/* More events than counters: what is scaled up must be near the truth. */
TEST(host_events_scale_right)
{
	int fds[MAX_COUNTERS], nr = pmu.nr_gp + 4, reference, rotation, i;
	uint64_t start, host_time = 0, scaled, want, counts = 0, running = 0;
	struct perf_value v, before[MAX_COUNTERS];
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	/* Else the guest's events are among those that take turns. */
	if (!pmu.mediated)
		SKIP(return, "host and guests share counters unless PMUs are mediated");

	vm = pmu_vm_create(&vcpu, guest_busy);
	vcpu_args_set(vcpu, 1, 200000);
	pmu_run(vcpu);

	rotation = set_rotation_ms(1);
	reference = perf_open(PERF_COUNT_HW_BRANCH_INSTRUCTIONS, EVENT_EXCLUDE_GUEST |
			      EVENT_EXCLUDE_KERNEL | EVENT_PINNED, 0, -1);
	TEST_ASSERT(reference >= 0, __KVM_SYSCALL_ERROR("perf_event_open", reference));
	for (i = 0; i < nr; i++) {
		fds[i] = perf_open(PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
				   EVENT_EXCLUDE_GUEST | EVENT_EXCLUDE_KERNEL, 0, -1);
		TEST_ASSERT(fds[i] >= 0, __KVM_SYSCALL_ERROR("perf_event_open", fds[i]));
	}

	/* To open them takes a while, without any work. */
	for (i = 0; i < nr; i++)
		before[i] = perf_read(fds[i]);
	want = perf_read(reference).count;

	/* Host and guest in turns, until each event has had its turns. */
	while (host_time < nr * 16 * 1000000ull) {
		uint64_t n = 200000;

		start = now_ns();
		asm volatile("1: dec %0\n\t jnz 1b" : "+r"(n) : : "cc");
		host_time += now_ns() - start;
		pmu_run(vcpu);
	}

	want = perf_read(reference).count - want;
	for (i = 0; i < nr; i++) {
		v = perf_read(fds[i]);
		v.count -= before[i].count;
		v.enabled -= before[i].enabled;
		v.running -= before[i].running;
		TEST_ASSERT(v.running && v.running < v.enabled,
			    "event %d: running %lu, enabled %lu", i, v.running, v.enabled);
		scaled = (double)v.count * v.enabled / v.running;
		counts += v.count;
		running += v.running;
		/*
		 * A turn may meet more or less of the loop than others do: the more so
		 * the longer the kernel takes between two rounds.
		 */
		TEST_ASSERT(scaled > want / 4 && scaled < want * 4,
			    "event %d: %lu in %lu of %lu ns is %lu, wanted about %lu",
			    i, v.count, v.running, v.enabled, scaled, want);
		close(fds[i]);
	}
	/* All turns together have met all of it. */
	scaled = (double)counts * v.enabled / running;
	TEST_ASSERT(scaled > want / 100 * 95 && scaled < want / 100 * 105,
		    "%lu in %lu ns of %lu ns each is %lu, wanted %lu",
		    counts, running, v.enabled, scaled, want);
	close(reference);
	set_rotation_ms(rotation);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	pmu_detect();

	return test_harness_run(argc, argv);
}
