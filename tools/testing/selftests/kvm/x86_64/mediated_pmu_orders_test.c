// SPDX-License-Identifier: GPL-2.0
/*
 * Walk random orders of what guests, the host and the hardware may do to a PMU,
 * and compare with what a processor of its own would have shown: counts,
 * GLOBAL_STATUS, PMIs, and that HLT ends.  See bare_metal_pmu.h for the model and
 * mediated_pmu_orders.h for the steps.
 *
 * A seed stands for one list of steps, sequence by sequence.  A sequence that
 * fails is made shorter, each try in a new VM, and printed in a form that -r takes.
 */
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include "mediated_pmu_orders_replay.h"

static uint64_t seed = 1;
static bool verbose, quick;
/* The host's event does not exclude guests, and yields. */
static bool including;

static struct host_vcpu {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct shared *shared;
	/* In the midst of a step, at an exit to user space. */
	bool is_exiting;
	uint32_t nr_ops;
} vcpus[NR_VCPUS];

static int nr_cpus, cpu;
static int event_fd = -1;
static struct perf_event_mmap_page *samples;
static int kmsg_fd = -1;
static bool have_vms;
static bool filtered[2];
static sig_atomic_t nr_alarms;
static const struct itimerval every_second = {
	.it_interval.tv_sec = 1,
	.it_value.tv_sec = 1,
};

static uint64_t nr_sequences, nr_steps, nr_given_up, nr_samples;

static void handle_alarm(int sig)
{
	nr_alarms++;
}

/* SMM does nothing but RSM. */
#define SMBASE		0x1000000
#define SMRAM_SIZE	0x10000
#define SMRAM_SLOT	(BIT(16) | 1)

static void create_smram(struct kvm_vm *vm)
{
	static const uint8_t rsm[] = { 0x0f, 0xaa };

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SMBASE, SMRAM_SLOT,
				    SMRAM_SIZE / getpagesize(), 0);
	TEST_ASSERT(vm_phy_pages_alloc(vm, SMRAM_SIZE / getpagesize(), SMBASE,
				       SMRAM_SLOT) == SMBASE, "No SMRAM");
	memset(addr_gpa2hva(vm, SMBASE), 0, SMRAM_SIZE);
	memcpy(addr_gpa2hva(vm, SMBASE) + 0x8000, rsm, sizeof(rsm));
}

static struct kvm_vm *create_vm(int nr, int first)
{
	struct kvm_vcpu *vcpu[2];
	struct kvm_vm *vm;
	int i;

	vm = vm_create_with_vcpus(nr, guest_code, vcpu);
	sync_global_to_guest(vm, pmu);
	sync_global_to_guest(vm, wait_rounds);
	vm_install_exception_handler(vm, NMI_VECTOR, guest_handler);
	vm_install_exception_handler(vm, PMI_VECTOR, guest_handler);
	vm_install_exception_handler(vm, TIMER_VECTOR, guest_handler);
	vm_install_exception_handler(vm, INT_VECTOR, guest_handler);
	create_smram(vm);
	nested_vm_prepare(vm);
	for (i = 0; i < nr; i++) {
		vcpu_set_msr(vcpu[i], MSR_IA32_SMBASE, SMBASE);
		vcpu_args_set(vcpu[i], 1, (uint64_t)first + i);
		vcpus[first + i] = (struct host_vcpu) {
			.vm = vm,
			.vcpu = vcpu[i],
			.shared = addr_gva2hva(vm, (vm_vaddr_t)&shared[first + i]),
		};
	}
	return vm;
}

static void create_vms(void)
{
	create_vm(1, 0);
	create_vm(2, 1);
	memset(filtered, 0, sizeof(filtered));
	have_vms = true;
}

static void free_vms(void)
{
	if (!have_vms)
		return;
	kvm_vm_free(vcpus[0].vm);
	kvm_vm_free(vcpus[1].vm);
	have_vms = false;
}

/* Only KVM_RUN is to be interrupted: KVM_CREATE_VM, for one, fails with EINTR. */
static void let_alarms(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(how, &set, NULL);
}

static int run_vcpu(struct kvm_vcpu *vcpu)
{
	int r, error;

	let_alarms(SIG_UNBLOCK);
	r = __vcpu_run(vcpu);
	error = errno;
	let_alarms(SIG_BLOCK);
	errno = error;
	return r;
}

/* Run to the next exit to user space that a step asks for. */
static void enter(struct host_vcpu *v)
{
	int alarms = READ_ONCE(nr_alarms);
	struct kvm_run *run;
	int r;

	while (!failure) {
		r = run_vcpu(v->vcpu);
		run = v->vcpu->run;
		if (r < 0 && errno == EINTR) {
			if (READ_ONCE(nr_alarms) - alarms > 3)
				fail("a vCPU hangs");
			continue;
		}
		if (r < 0) {
			fail("KVM_RUN fails");
			return;
		}
		if (run->exit_reason != KVM_EXIT_IO ||
		    (run->io.port != IO_PORT && run->io.port != DONE_PORT)) {
			struct ucall uc;

			if (get_ucall(v->vcpu, &uc) == UCALL_ABORT)
				pr_info("%s", uc.buffer);
			fail("an unexpected exit");
			snprintf(failure_at, sizeof(failure_at), " %u (%s)", run->exit_reason,
				 exit_reason_str(run->exit_reason));
			return;
		}
		v->is_exiting = run->io.port == IO_PORT;
		return;
	}
}

/* Do what has been queued, up to an exit in the midst of a step. */
static void flush(struct host_vcpu *v)
{
	if (v->shared->nr_ops == v->nr_ops)
		return;
	v->shared->nr_ops = v->nr_ops;
	do
		enter(v);
	while (!failure && !v->is_exiting && v->shared->next < v->nr_ops);
}

/* And all of it. */
static void finish(struct host_vcpu *v)
{
	flush(v);
	while (!failure && v->is_exiting)
		enter(v);
}

#define PERIOD		20011
#define SAMPLE_PAGES	8

/*
 * SVM has no virtual NMIs here: from the injection of one to the guest's IRET the host
 * gets none either, whatever it does in between, and its samples are too late.
 */
static bool nmis_were_blocked(void)
{
	int i, v;

	for (v = 0; v < NR_VCPUS; v++) {
		for (i = 0; i < vcpus[v].shared->nr_entries; i++) {
			if (vcpus[v].shared->entry[i].vector == NMI_VECTOR)
				return !pmu.intel;
		}
	}
	return false;
}

/* One for each full period, but for one whose PMI is late when the event is disabled. */
static void check_samples(void)
{
	const uint64_t size = SAMPLE_PAGES * getpagesize();
	char *data = (char *)samples + getpagesize();
	struct perf_event_header header;
	uint64_t at, head, count, nr = 0, nr_guest = 0;
	uint16_t mode;

	ioctl(event_fd, PERF_EVENT_IOC_DISABLE, 0);
	count = perf_read(event_fd).count;
	head = __atomic_load_n(&samples->data_head, __ATOMIC_ACQUIRE);
	for (at = 0; at < head; at += header.size) {
		/* They are not overwritten, and those that find no room are counted. */
		memcpy(&header, data + at % size, sizeof(header));
		if (header.type != PERF_RECORD_SAMPLE)
			continue;
		nr++;
		mode = header.misc & PERF_RECORD_MISC_CPUMODE_MASK;
		nr_guest += mode == PERF_RECORD_MISC_GUEST_KERNEL ||
			    mode == PERF_RECORD_MISC_GUEST_USER;
	}
	nr_samples += nr;
	if (nr_guest && !including) {
		fail("host samples are taken for the guest's");
		snprintf(failure_at, sizeof(failure_at), ", %lu of %lu", nr_guest, nr);
	}
	if (nr > count / PERIOD ||
	    (nr < (count > late ? count - late : 0) / PERIOD && !nmis_were_blocked())) {
		fail("host samples are lost");
		snprintf(failure_at, sizeof(failure_at), ", %lu for %lu instructions", nr, count);
	}
}

static void host_event(int kind)
{
	if (samples) {
		check_samples();
		munmap(samples, (SAMPLE_PAGES + 1) * getpagesize());
		samples = NULL;
	}
	if (event_fd >= 0)
		close(event_fd);
	event_fd = -1;
	if (kind == EVENT_NONE)
		return;
	event_fd = __perf_open(PERF_COUNT_HW_INSTRUCTIONS,
			       (including ? 0 : EVENT_EXCLUDE_GUEST) | EVENT_PINNED,
			       kind == EVENT_SAMPLES ? PERIOD : 0, 0, -1);
	if (event_fd < 0) {
		fail("no event");
		return;
	}
	if (kind == EVENT_COUNTS)
		return;

	/* Samples have no place to go before: begin behind it. */
	ioctl(event_fd, PERF_EVENT_IOC_DISABLE, 0);
	samples = mmap(NULL, (SAMPLE_PAGES + 1) * getpagesize(), PROT_READ | PROT_WRITE,
		       MAP_SHARED, event_fd, 0);
	TEST_ASSERT(samples != MAP_FAILED, "mmap: %s", strerror(errno));
	ioctl(event_fd, PERF_EVENT_IOC_ENABLE, 0);
}

static void host_filter(int vm, bool deny)
{
	int i;

	if (filtered[vm] == deny)
		return;
	for (i = 0; i < NR_VCPUS; i++) {
		if (vm_of(i) == vm)
			finish(&vcpus[i]);
	}
	pmu_set_filter(vcpus[vm].vm, KVM_PMU_EVENT_DENY, deny ? pmu_instructions() : 0,
		       deny && pmu.nr_fixed);
	filtered[vm] = deny;
}

static void host_getset(struct host_vcpu *v)
{
	const struct kvm_msr_list *list = kvm_get_msr_index_list();
	struct kvm_msrs *msrs;
	uint32_t i;

	msrs = calloc(1, sizeof(*msrs) + list->nmsrs * sizeof(msrs->entries[0]));
	TEST_ASSERT(msrs, "No memory");
	for (i = 0; i < list->nmsrs; i++) {
		/* Those that say what VMX can do cannot be written in VMX operation. */
		if (list->indices[i] >= MSR_IA32_VMX_BASIC &&
		    list->indices[i] <= MSR_IA32_VMX_VMFUNC)
			continue;
		msrs->entries[msrs->nmsrs++].index = list->indices[i];
	}
	vcpu_msrs_get(v->vcpu, msrs);
	vcpu_msrs_set(v->vcpu, msrs);
	free(msrs);
}

static void host_migrate(void)
{
	struct host_vcpu *v = &vcpus[0];
	struct kvm_lapic_state lapic;
	struct kvm_x86_state *state;

	/* Saving the state completes I/O. */
	state = vcpu_save_state(v->vcpu);
	vcpu_ioctl(v->vcpu, KVM_GET_LAPIC, &lapic);
	kvm_vm_release(v->vm);

	v->vcpu = vm_recreate_with_one_vcpu(v->vm);
	vcpu_load_state(v->vcpu, state);
	vcpu_ioctl(v->vcpu, KVM_SET_LAPIC, &lapic);
	kvm_x86_state_cleanup(state);
	if (filtered[0])
		pmu_set_filter(v->vm, KVM_PMU_EVENT_DENY, pmu_instructions(), !!pmu.nr_fixed);
}

static void host_offline(void)
{
	static const char *path = "/sys/devices/system/cpu/cpu1/online";
	int i, fd = open(path, O_WRONLY);

	if (fd < 0)
		return;
	for (i = 0; i < 2; i++)
		TEST_ASSERT(write(fd, i ? "1" : "0", 1) == 1, "%s: %s", path, strerror(errno));
	close(fd);
	kvm_pin_this_task_to_pcpu(cpu);
}

static void host_step(const struct step *s)
{
	switch (s->kind) {
	case STEP_EVENT:
		host_event(s->a);
		break;
	case STEP_FILTER:
		host_filter(vm_of(s->vcpu), s->a);
		break;
	case STEP_GETSET:
		host_getset(&vcpus[s->vcpu]);
		break;
	case STEP_MIGRATE:
		host_migrate();
		break;
	case STEP_CPU:
		if (cpu != s->a % nr_cpus) {
			cpu = s->a % nr_cpus;
			kvm_pin_this_task_to_pcpu(cpu);
		}
		break;
	case STEP_OFFLINE:
		host_offline();
		break;
	}
}

/* What the kernel has to say about it. */
static void check_kmsg(void)
{
	char line[1024];
	ssize_t len;

	for (;;) {
		len = read(kmsg_fd, line, sizeof(line) - 1);
		if (len < 0 && errno == EPIPE)
			continue;
		if (len <= 0)
			return;
		line[len] = 0;
		if (strstr(line, "NMI received for unknown reason"))
			fail("an unknown NMI in the host");
		if (strstr(line, "WARNING:") || strstr(line, "BUG:"))
			fail("the host's kernel complains");
	}
}

/* Sequences */

/* To user space, from L1 or L2? */
static bool step_exits(const struct step *s)
{
	return s->kind == STEP_EXIT || s->kind == STEP_IO || s->kind == STEP_L2IO;
}

static void run_steps(const struct step *steps, int nr)
{
	int i, v;

	for (v = 0; v < NR_VCPUS; v++) {
		vcpus[v].shared->nr_ops = 0;
		vcpus[v].shared->next = 0;
		vcpus[v].shared->nr_entries = 0;
		vcpus[v].nr_ops = 0;
	}

	for (i = 0, v = 0; i < nr && !failure; i++) {
		struct host_vcpu *vcpu;

		if (steps[i].kind >= FIRST_HOST_STEP) {
			flush(&vcpus[v]);
			if (!failure)
				host_step(&steps[i]);
			continue;
		}
		if (steps[i].vcpu != v)
			flush(&vcpus[v]);
		v = steps[i].vcpu;
		vcpu = &vcpus[v];
		vcpu->shared->ops[vcpu->nr_ops++] = steps[i];
		if (step_exits(&steps[i]))
			flush(vcpu);
	}
	for (v = 0; v < NR_VCPUS && !failure; v++)
		finish(&vcpus[v]);
}

/*
 * What comes before each sequence and after it: a wait for what is on its way,
 * and one PMI of each kind, which must come whatever has been before.
 */
static const char * const before[] = { "filter:0", "b/filter:0" };
static const char * const before_each[] = { "reset" };
static const char * const after[] = { "filter:0", "b/filter:0", "event:0", "cpu:0" };
static const char * const after_each[] = {
	"sti", "handler:3", "wait", "lvtpc:0", "status", "read:0", "read:1", "ack",
	"select:0:1", "set:0:10", "run:1:10", "wait", "lvtpc:1",
	"set:0:10", "run:1:10", "wait", "status", "read:0", "read:1",
};

static int parse_words(struct step *to, const char * const *words, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		TEST_ASSERT(step_parse(&to[i], words[i]), "%s", words[i]);
	return nr;
}

/* For vCPU @v, or as they are. */
static int append(struct step *to, int nr, const struct step *steps, int nr_steps, int v)
{
	int i;

	memcpy(&to[nr], steps, nr_steps * sizeof(*steps));
	for (i = 0; v >= 0 && i < nr_steps; i++)
		to[nr + i].vcpu = v;
	return nr + nr_steps;
}

static int complete(struct step *all, const struct step *steps, int nr_own)
{
	static struct step list[4][32];
	static int nr_of[4];
	bool used[NR_VCPUS] = { };
	int i, v, nr = 0;

	if (!nr_of[0]) {
		nr_of[0] = parse_words(list[0], before, ARRAY_SIZE(before));
		nr_of[1] = parse_words(list[1], before_each, ARRAY_SIZE(before_each));
		nr_of[2] = parse_words(list[2], after, ARRAY_SIZE(after));
		nr_of[3] = parse_words(list[3], after_each, ARRAY_SIZE(after_each));
	}

	for (i = 0; i < nr_own; i++)
		used[steps[i].vcpu] |= steps[i].kind < FIRST_HOST_STEP;

	nr = append(all, nr, list[0], nr_of[0], -1);
	for (v = 0; v < NR_VCPUS; v++) {
		if (used[v])
			nr = append(all, nr, list[1], nr_of[1], v);
	}
	nr = append(all, nr, steps, nr_own, -1);
	nr = append(all, nr, list[2], nr_of[2], -1);
	for (v = 0; v < NR_VCPUS; v++) {
		if (used[v])
			nr = append(all, nr, list[3], nr_of[3], v);
	}
	return nr;
}

static void run_sequence(const struct step *steps, int nr_own)
{
	static struct step all[MAX_STEPS];
	int nr, v;

	failure = NULL;
	if (!have_vms)
		create_vms();

	nr = complete(all, steps, nr_own);
	run_steps(all, nr);
	for (v = 0; v < NR_VCPUS && !failure; v++) {
		if (!replay(v, vcpus[v].shared, all, nr))
			nr_given_up++;
	}
	check_kmsg();
	nr_sequences++;
	nr_steps += nr;

	if (failure) {
		host_event(EVENT_NONE);
		free_vms();
	}
}

static void make_sequence(struct step *steps, int nr, uint64_t its_seed)
{
	bool exits = false;
	int i, v = 0;

	rnd_seed(its_seed);
	for (i = 0; i < nr; i++) {
		/* The host does most where the guest lets it in the midst of a step. */
		if (exits && !rnd(3)) {
			step_random(&steps[i], FIRST_HOST_STEP, nr_slots(), v);
			continue;
		}
		if (!rnd(6))
			v = rnd(2) ? 0 : rnd(NR_VCPUS);
		step_random(&steps[i], 0, nr_slots(), v);
		exits = step_exits(&steps[i]);
	}
}

/* Does it fail in the same way, at least one time of @tries? */
static bool still_fails(const struct step *steps, int nr, const char *what, int tries)
{
	int i;

	for (i = 0; i < tries; i++) {
		free_vms();
		run_sequence(steps, nr);
		if (failure && !strcmp(failure, what))
			return true;
	}
	return false;
}

/* Leave out parts of so many steps. */
static int shrink_by(struct step *steps, int nr, int part, const char *what)
{
	static struct step less[MAX_STEPS];
	int i = 0;

	while (i + part <= nr) {
		memcpy(less, steps, i * sizeof(*steps));
		memcpy(&less[i], &steps[i + part], (nr - i - part) * sizeof(*steps));
		if (still_fails(less, nr - part, what, 3)) {
			nr -= part;
			memcpy(steps, less, nr * sizeof(*steps));
		} else {
			i += part;
		}
	}
	return nr;
}

static int shrink(struct step *steps, int nr, const char *what)
{
	int part, before;

	for (part = nr / 2; part > 1; part /= 2)
		nr = shrink_by(steps, nr, part, what);
	do {
		before = nr;
		nr = shrink_by(steps, nr, 1, what);
	} while (nr < before);
	return nr;
}

/*
 * A sequence of @length has failed.  If it does not by itself, it may need what was
 * left of those before it.
 */
#define MAX_BEFORE	4

static int find_cause(struct step *steps, int length, uint64_t its_seed, int nr_before)
{
	struct step own[MAX_LENGTH];
	const char *what = failure;
	int nr = length, i, j;

	for (i = 0; i <= nr_before && i <= MAX_BEFORE; i++) {
		for (j = i, nr = 0; j > 0; j--) {
			make_sequence(own, length, its_seed - j);
			nr += complete(&steps[nr], own, length);
		}
		make_sequence(&steps[nr], length, its_seed);
		nr += length;
		if (still_fails(steps, nr, what, 10)) {
			nr = shrink(steps, nr, what);
			/* For the details. */
			still_fails(steps, nr, what, 10);
			return nr;
		}
	}
	return 0;
}

/* What a handler costs: a software interrupt comes at a known place. */
static void __calibrate(void)
{
	static const char * const words[] = {
		"reset", "int:1", "select:0:0", "set:0:1000", "int:1", "read:0",
	};
	struct step steps[ARRAY_SIZE(words)];
	struct shared *s;
	struct entry *e;
	int nr;

	s = vcpus[0].shared;
	nr = parse_words(steps, words, ARRAY_SIZE(words));
	run_steps(steps, nr);
	TEST_ASSERT(!failure, "%s%s", failure, failure_at);

	/*
	 * The first one only gets memory mapped: if an INT has to be delivered
	 * again after a VM-exit, it may be counted or not.
	 */
	TEST_ASSERT(s->nr_entries >= 2, "%u interrupts for two INTs", s->nr_entries);
	e = &s->entry[s->nr_entries - 1];
	TEST_ASSERT(e->step == 4 && e->vector == INT_VECTOR, "No interrupt for an INT");

	/* MOV and INT come before it. */
	handler_prologue = (e->value[0] + 1000 - 2) & COUNTER_MASK;
	handler_insns = (s->result[5] + 1000 - region_insns(&steps[4])) & COUNTER_MASK;
	TEST_ASSERT(handler_prologue > 20 && handler_prologue < handler_insns &&
		    handler_insns < 500, "A handler of %lu instructions, %lu before it stops",
		    handler_insns, handler_prologue);
}

/*
 * VM-entries may be counted as well: there are none if it is the same twice, and if the
 * handler's accesses do not trap as they do beside an event of the host.
 */
static void calibrate(void)
{
	uint64_t insns, prologue, tries = 20;
	bool watchdog = set_nmi_watchdog('0');

	create_vms();
	do {
		insns = handler_insns;
		prologue = handler_prologue;
		__calibrate();
		TEST_ASSERT(tries--, "A handler costs something else each time");
	} while (handler_insns != insns || handler_prologue != prologue);

	if (watchdog)
		set_nmi_watchdog('1');
}

static void report(const struct step *steps, int nr, const char *how)
{
	printf("# %s: %s%s\n#   -r ", how, failure ?: "", failure ? failure_at : "");
	steps_print(stdout, steps, nr);
	fflush(stdout);
}

static void usage(const char *name, int status)
{
	printf("%s: random orders of what happens to a PMU\n"
	       " -s: where to begin (default 1)\n"
	       " -n: how many sequences (default 1000)\n"
	       " -l: of how many steps (default 16)\n"
	       " -d: PMIs may be late, by so many instructions (default 0)\n"
	       " -a: one that is late may get lost if its status is cleared before\n"
	       " -i: the host's event includes guests (kernel.perf_guest_policy=yield)\n"
	       " -k: end after so many sequences that fail (default 1)\n"
	       " -r: do these steps instead, -n times\n"
	       " -q: do not look for shorter ones\n"
	       " -v: print each sequence\n", name);
	exit(status);
}

int main(int argc, char *argv[])
{
	struct sigaction action = { .sa_handler = handle_alarm };
	uint64_t number = 1000, length = 16, nr_failed = 0, max_failed = 1, i;
	static struct step steps[MAX_STEPS];
	int64_t last_failed = -1;
	struct timespec start, now;
	bool given = false;
	int opt, nr = 0;

	while ((opt = getopt(argc, argv, "s:n:l:d:aik:qr:vh")) != -1) {
		switch (opt) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			number = strtoull(optarg, NULL, 0);
			break;
		case 'l':
			length = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			late = strtoul(optarg, NULL, 0);
			break;
		case 'a':
			acked_may_be_lost = true;
			break;
		case 'i':
			including = true;
			break;
		case 'q':
			quick = true;
			break;
		case 'k':
			max_failed = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			nr = steps_parse(steps, optarg);
			if (nr < 0)
				exit(1);
			given = true;
			break;
		case 'v':
			verbose = true;
			break;
		default:
			usage(argv[0], opt == 'h' ? 0 : 1);
		}
	}
	if (length < 1 || length > MAX_LENGTH)
		usage(argv[0], 1);

	pmu_detect();
	TEST_REQUIRE(pmu.mediated);
	TEST_REQUIRE(pmu.global);
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_X86_SMM));
	nested_require();
	nr_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	kvm_pin_this_task_to_pcpu(0);
	kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	TEST_ASSERT(kmsg_fd >= 0, "/dev/kmsg: %s", strerror(errno));
	lseek(kmsg_fd, 0, SEEK_END);
	sigaction(SIGALRM, &action, NULL);
	let_alarms(SIG_BLOCK);
	setitimer(ITIMER_REAL, &every_second, NULL);
	wait_rounds = 2 + late / 300;

	calibrate();
	printf("# Seed %lu, %lu sequences of %lu steps, PMIs up to %u instructions late\n"
	       "# A handler has %lu instructions, %lu of them before it stops the counters\n",
	       seed, number, length, late, handler_insns, handler_prologue);
	clock_gettime(CLOCK_MONOTONIC, &start);

	for (i = 0; i < number && nr_failed < max_failed; i++) {
		if (!given) {
			nr = length;
			make_sequence(steps, nr, seed + i);
		}
		if (verbose)
			report(steps, nr, "next");
		run_sequence(steps, nr);
		if (!failure)
			continue;
		nr_failed++;
		printf("# Seed %lu, sequence %lu\n", seed + i, i + 1);
		report(steps, nr, "fails");
		if (!given && !quick) {
			nr = find_cause(steps, length, seed + i, i - last_failed - 1);
			if (nr)
				report(steps, nr, "shrunk");
			else
				printf("# It does not fail again.\n");
		}
		last_failed = i;
		free_vms();
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("# %lu sequences, %lu steps, %lu PMIs, %lu host samples, %lu ms, %lu failed\n"
	       "# %lu not compared, as an interrupt interrupted the handler of another\n",
	       nr_sequences, nr_steps, nr_pmis, nr_samples,
	       (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000,
	       nr_failed, nr_given_up);
	free_vms();
	return !!nr_failed;
}
