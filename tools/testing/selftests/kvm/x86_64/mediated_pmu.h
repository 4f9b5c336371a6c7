/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of the (mediated) PMU share: one view of the PMUs of Intel and
 * AMD, and measured blocks, the instructions and branches of which are known.
 */
#ifndef SELFTEST_KVM_MEDIATED_PMU_H
#define SELFTEST_KVM_MEDIATED_PMU_H

#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <x86intrin.h>

#include "apic.h"
#include "kselftest_harness.h"
#include "kvm_util.h"
#include "pmu.h"
#include "processor.h"
#include "test_util.h"

/* Half a minute is not enough with sanitizers, on an emulator. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT		300

#define APIC_LVTPC			0x340

#define MSR_AMD64_GLOBAL_STATUS_SET	0xc0000303
#define MSR_INTEL_GLOBAL_STATUS_SET	0x391

/* PERF_METRICS, in GLOBAL_CTRL and GLOBAL_STATUS, and in PERF_CAPABILITIES. */
#define GLOBAL_METRICS			BIT_ULL(48)
#define PMU_CAP_METRICS			BIT_ULL(15)
/* The fixed counter that they belong to, which counts slots. */
#define FIXED_SLOTS			3

#define X86_FEATURE_PERFCTR_CORE	KVM_X86_CPU_FEATURE(0x80000001, 0, ECX, 23)
#define X86_FEATURE_AMD_PERFMON_V2	KVM_X86_CPU_FEATURE(0x80000022, 0, EAX, 0)
#define X86_PROPERTY_AMD_NR_COUNTERS	KVM_X86_CPU_PROPERTY(0x80000022, 0, EBX, 0, 3)

#define COUNTER_MASK			GENMASK_ULL(47, 0)

/* An I/O port nobody listens to: an access exits to the VMM and is resumed. */
#define IO_PORT				0x42

#define MAX_COUNTERS			(8 + 8)

/*
 * The PMU of the guest.  Counters are numbered gp first, then fixed.  Set by
 * pmu_detect() for what KVM supports, and copied into each VM.
 */
struct pmu {
	bool mediated;
	bool intel;
	/* Is there GLOBAL_CTRL, with all that belongs to it? */
	bool global;
	/* AMD's counters beyond the first four, with MSRs of their own. */
	bool core;
	/* PERF_CAPABILITIES has PERF_METRICS, but see pmu_has_metrics(). */
	bool metrics;
	uint8_t nr_gp;
	uint8_t nr_fixed;
	/*
	 * Of the CPU, while PMUs are mediated; guests may have less, and not all VMs get
	 * fixed counter 3 and PERF_METRICS that do not ask for them, as with @asks.
	 */
	uint8_t host_gp;
	uint8_t host_fixed;
	bool host_metrics;
	bool asks;
	/* The CPU's PERF_METRICS go by bit 48 of GLOBAL_CTRL alone. */
	bool metrics_alone;
	/* AMD: hardware switches it while LVTPC is an NMI, and that is how VMs begin. */
	bool vpmc;
	/* And selectors do not exit, if nothing is denied. */
	bool direct_selectors;
	/* What each VM-entry adds to counts of the guest, see pmu_counted(). */
	uint8_t entry_insns;
	uint8_t entry_branches;
};

static struct pmu pmu;

static inline uint8_t pmu_nr_counters(void)
{
	return pmu.nr_gp + pmu.nr_fixed;
}

/* They are fractions of what fixed counter 3 counts. */
static inline bool pmu_has_metrics(void)
{
	return pmu.metrics && pmu.nr_fixed > FIXED_SLOTS;
}

static inline bool pmc_is_fixed(int c)
{
	return c >= pmu.nr_gp;
}

static __always_inline uint32_t pmc_msr(int c)
{
	if (pmc_is_fixed(c))
		return MSR_CORE_PERF_FIXED_CTR0 + c - pmu.nr_gp;
	if (pmu.intel)
		return MSR_IA32_PMC0 + c;
	return pmu.core ? MSR_F15H_PERF_CTR + 2 * c : MSR_K7_PERFCTR0 + c;
}

/* The other name that some counters go by; 0 if there is none. */
static inline uint32_t pmc_alias_msr(int c)
{
	if (pmc_is_fixed(c))
		return 0;
	if (pmu.intel)
		return MSR_IA32_PERFCTR0 + c;
	return pmu.core && c < 4 ? MSR_K7_PERFCTR0 + c : 0;
}

static __always_inline uint32_t pmc_selector_msr(int c)
{
	if (pmu.intel)
		return MSR_P6_EVNTSEL0 + c;
	return pmu.core ? MSR_F15H_PERF_CTL + 2 * c : MSR_K7_EVNTSEL0 + c;
}

/*
 * Enabled, in no ring.  It counts nothing, but the guest uses its PMU then: KVM
 * may take an idle one away, i.e. have all accesses exit.
 */
#define SELECT_NOTHING	ARCH_PERFMON_EVENTSEL_ENABLE

static inline uint32_t pmc_rdpmc_index(int c)
{
	return pmc_is_fixed(c) ? INTEL_RDPMC_FIXED | (c - pmu.nr_gp) : c;
}

static inline uint64_t pmc_global_bit(int c)
{
	return pmc_is_fixed(c) ? BIT_ULL(32 + c - pmu.nr_gp) : BIT_ULL(c);
}

static inline uint64_t pmu_global_mask(void)
{
	uint64_t mask = pmu_has_metrics() ? GLOBAL_METRICS : 0;
	int c;

	for (c = 0; c < pmu_nr_counters(); c++)
		mask |= pmc_global_bit(c);
	return mask;
}

/*
 * A guest that lacks no more than fixed counter 3 or PERF_METRICS may have GLOBAL_CTRL and
 * RDPMC directly.  Then what belongs to them does not fault, as the CPU has it, but nothing
 * counts: the bits of GLOBAL_CTRL are gone after the next VM-exit, and RDPMC reads 0.
 */
static inline uint64_t pmu_spare_bits(void)
{
	uint64_t bits = BIT_ULL(32 + FIXED_SLOTS) | (pmu.host_metrics ? GLOBAL_METRICS : 0);

	if (!pmu.global || pmu.host_fixed != FIXED_SLOTS + 1 || pmu.nr_gp != pmu.host_gp ||
	    pmu.nr_fixed < FIXED_SLOTS)
		return 0;
	return bits & ~pmu_global_mask();
}

static inline bool pmu_is_spare_index(uint32_t index)
{
	return (index == (INTEL_RDPMC_FIXED | FIXED_SLOTS) &&
		pmu_spare_bits() & BIT_ULL(32 + FIXED_SLOTS)) ||
	       (index == INTEL_RDPMC_METRICS && pmu_spare_bits() & GLOBAL_METRICS);
}

static inline uint32_t pmu_global_ctrl_msr(void)
{
	return pmu.intel ? MSR_CORE_PERF_GLOBAL_CTRL : MSR_AMD64_PERF_CNTR_GLOBAL_CTL;
}

static inline uint32_t pmu_global_status_msr(void)
{
	return pmu.intel ? MSR_CORE_PERF_GLOBAL_STATUS : MSR_AMD64_PERF_CNTR_GLOBAL_STATUS;
}

static inline uint32_t pmu_global_clear_msr(void)
{
	return pmu.intel ? MSR_CORE_PERF_GLOBAL_OVF_CTRL : MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR;
}

static inline uint64_t pmu_instructions(void)
{
	return pmu.intel ? INTEL_ARCH_INSTRUCTIONS_RETIRED : AMD_ZEN_INSTRUCTIONS_RETIRED;
}

static inline uint64_t pmu_branches(void)
{
	return pmu.intel ? INTEL_ARCH_BRANCHES_RETIRED : AMD_ZEN_BRANCHES_RETIRED;
}

#define SELECT_OS	(ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_ENABLE)
#define SELECT_OS_PMI	(SELECT_OS | ARCH_PERFMON_EVENTSEL_INT)
#define SELECT_USR	(ARCH_PERFMON_EVENTSEL_USR | ARCH_PERFMON_EVENTSEL_ENABLE)

/* Guest: everything off and zero. */
static inline void guest_pmu_reset(void)
{
	int c;

	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), 0);
	if (pmu.nr_fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
	for (c = 0; c < pmu_nr_counters(); c++) {
		if (!pmc_is_fixed(c))
			wrmsr(pmc_selector_msr(c), 0);
		wrmsr(pmc_msr(c), 0);
	}
	/* After the counter of slots. */
	if (pmu_has_metrics())
		wrmsr(MSR_PERF_METRICS, 0);
	if (pmu.global)
		wrmsr(pmu_global_clear_msr(), pmu_global_mask());
}

/*
 * Measured blocks.  @ctrl := @on; @loops rounds of @block; @ctrl := 0, in one go,
 * so that the compiler cannot add to what is counted.
 *
 * Each way to enable a counter counts exactly one of the two WRMSRs: if they do
 * not exit, hardware counts the one that disables; if they do, KVM counts the
 * one that enables, because the counter is enabled when it has been emulated.
 */
#define MEASURED_INSNS(_per_loop, _loops)	(1 + (_loops) * ((_per_loop) + 2) + 4)
#define MEASURED_BRANCHES(_per_loop, _loops)	((_loops) * ((_per_loop) + 1))

#define GUEST_MEASURE(_ctrl, _on, _loops, _block)			\
do {									\
	register uint64_t r12 asm("r12") = (_ctrl);			\
	register uint64_t r13 asm("r13") = (_loops);			\
	uint64_t value = (_on), a = (uint32_t)value;			\
	uint64_t d = value >> 32, c = r12;				\
									\
	asm volatile("wrmsr\n\t"					\
		     "mov %%r13d, %%r8d\n\t"				\
		     "1:\n\t"						\
		     _block						\
		     "dec %%r8d\n\t"					\
		     "jnz 1b\n\t"					\
		     "mov %%r12d, %%ecx\n\t"				\
		     "xor %%eax, %%eax\n\t"				\
		     "xor %%edx, %%edx\n\t"				\
		     "wrmsr\n\t"					\
		     : "+a"(a), "+d"(d), "+c"(c)			\
		     : "r"(r12), "r"(r13)				\
		     : "rbx", "r8", "cc", "memory");			\
} while (0)

/*
 * AMD CPUs count VMRUN in the guest: each VM-entry adds an instruction, and maybe
 * a branch, to what the guest executes.  pmu_measure_entry() finds out.  Of the
 * exits that a block makes itself the number is known, but the host may have
 * interrupts on top.
 *
 * Is @count right for @want, with @min to @max exits in between, each of which
 * adds @each?  A counter that has nothing to count must not count entries either.
 */
#define SPARE_ENTRIES		20

static inline bool __pmu_counted(uint64_t count, uint64_t want, uint64_t min,
				 uint64_t max, uint64_t each)
{
	min -= min < SPARE_ENTRIES ? min : SPARE_ENTRIES;
	if (!want)
		return !count;
	return count >= want + min * each && count <= want + (max + SPARE_ENTRIES) * each;
}

static inline bool pmu_counted_insns(uint64_t count, uint64_t want, uint64_t exits)
{
	return __pmu_counted(count, want, exits, exits, pmu.entry_insns);
}

static inline bool pmu_counted_branches(uint64_t count, uint64_t want, uint64_t exits)
{
	return __pmu_counted(count, want, exits, exits, pmu.entry_branches);
}

/* Two counts of instructions, with about as many exits. */
static inline bool pmu_same_insns(uint64_t a, uint64_t b)
{
	uint64_t spare = SPARE_ENTRIES * pmu.entry_insns;

	return a - b + spare <= 2 * spare;
}

/* No exits, */
#define BLOCK_PLAIN		"nop\n\t nop\n\t"
#define BLOCK_PLAIN_INSNS	2
/* emulated by KVM, */
#define BLOCK_CPUID		"xor %%eax, %%eax\n\t cpuid\n\t"
#define BLOCK_CPUID_INSNS	2
#define BLOCK_RDMSR		"mov $0x1b, %%ecx\n\t rdmsr\n\t"
#define BLOCK_RDMSR_INSNS	2
/* emulated by KVM and the VMM together, */
#define BLOCK_IO		"inb $" __stringify(IO_PORT) ", %%al\n\t"
#define BLOCK_IO_INSNS		1
/* an interrupt by INT n, for what its handler adds, */
#define BLOCK_INT		"int $" __stringify(IRQ_VECTOR) "\n\t"
#define BLOCK_INT_INSNS		1
/* and the same interrupt by ICR, which ends a HLT: both may be fastpath exits. */
#define BLOCK_ICR_HLT		"mov $0x830, %%ecx\n\t"			\
				"mov $" __stringify(0x40000 + IRQ_VECTOR) ", %%eax\n\t" \
				"xor %%edx, %%edx\n\t"			\
				"wrmsr\n\t"				\
				"sti\n\t hlt\n\t cli\n\t"
#define BLOCK_ICR_HLT_INSNS	7

#define IRQ_VECTOR		0x31

/*
 * What counter @index counts, while it goes on, between two RDPMCs: the first
 * RDPMC itself, four MOVs and the loop.
 */
#define RUNNING_INSNS(_loops)		(5 + (_loops) * (BLOCK_RDMSR_INSNS + 2))
#define RUNNING_BRANCHES(_loops)	(_loops)

static inline uint64_t guest_running_delta(uint32_t index, uint32_t loops)
{
	uint64_t lo1, hi1, lo2, hi2, c = index;

	asm volatile("rdpmc\n\t"
		     "mov %%eax, %%esi\n\t"
		     "mov %%edx, %%edi\n\t"
		     "mov %[loops], %%r8d\n\t"
		     "1:\n\t"
		     BLOCK_RDMSR
		     "dec %%r8d\n\t"
		     "jnz 1b\n\t"
		     "mov %[index], %%ecx\n\t"
		     "rdpmc\n\t"
		     : "=&a"(lo2), "=&d"(hi2), "=&S"(lo1), "=&D"(hi1), "+&c"(c)
		     : [loops]"r"(loops), [index]"r"(index)
		     : "r8", "cc", "memory");

	return (hi2 << 32 | lo2) - (hi1 << 32 | lo1);
}

/* Guest: what filters are tried on, instructions, branches and fixed counter 0. */
static inline void guest_start_filtered(void)
{
	guest_pmu_reset();
	wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
	wrmsr(pmc_selector_msr(1), pmu_branches() | SELECT_OS);
	if (pmu.nr_fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, FIXED_PMC_CTRL(0, FIXED_PMC_KERNEL));
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), pmu_global_mask());
}

/* Host. */
static inline bool pmu_is_mediated(void)
{
	const char *path = host_cpu_is_intel ?
		"/sys/module/kvm_intel/parameters/enable_mediated_pmu" :
		"/sys/module/kvm_amd/parameters/enable_mediated_pmu";

	if (access(path, R_OK))
		return false;

	return host_cpu_is_intel ? get_kvm_intel_param_bool("enable_mediated_pmu") :
				   get_kvm_amd_param_bool("enable_mediated_pmu");
}

/* Hardware, as the host finds it: CPU 0's MSRs. */
static inline int host_msr_fd(void)
{
	static int fd = -1;
	char path[] = "/tmp/mediated_pmu_msr_XXXXXX";

	if (fd >= 0)
		return fd;

	fd = open("/dev/cpu/0/msr", O_RDWR);
	if (fd < 0 && mkdtemp(path)) {
		char node[64];

		snprintf(node, sizeof(node), "%s/msr", path);
		if (!mknod(node, S_IFCHR | 0600, makedev(202, 0)))
			fd = open(node, O_RDWR);
		unlink(node);
		rmdir(path);
	}
	return fd;
}

static inline bool host_rdmsr_safe(uint32_t msr, uint64_t *value)
{
	return pread(host_msr_fd(), value, sizeof(*value), msr) == sizeof(*value);
}

static inline uint64_t host_rdmsr(uint32_t msr)
{
	uint64_t value = -1;

	TEST_ASSERT(host_rdmsr_safe(msr, &value), "RDMSR %#x: %s", msr, strerror(errno));
	return value;
}

/* False if there is no such MSR, or not this value. */
static inline bool host_wrmsr(uint32_t msr, uint64_t value)
{
	int fd = open("/sys/module/msr/parameters/allow_writes", O_WRONLY);

	/* Or it taints the kernel. */
	if (fd >= 0) {
		if (write(fd, "on", 2) != 2)
			pr_info("Writes of MSRs are not allowed\n");
		close(fd);
	}
	return pwrite(host_msr_fd(), &value, sizeof(value), msr) == sizeof(value);
}

/* One of the binary statistics. */
static inline uint64_t vcpu_stat(struct kvm_vcpu *vcpu, const char *name)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *descs, *desc;
	int fd = vcpu_get_stats_fd(vcpu);
	uint64_t value = 0;
	bool found = false;
	int i;

	read_stats_header(fd, &header);
	descs = read_stats_descriptors(fd, &header);
	for (i = 0; i < header.num_desc && !found; i++) {
		desc = get_stats_descriptor(descs, i, &header);
		found = !strcmp(desc->name, name);
		if (found)
			read_stat_data(fd, &header, desc, &value, 1);
	}
	TEST_ASSERT(found, "No statistic '%s'", name);
	free(descs);
	close(fd);
	return value;
}

static inline struct kvm_vm *pmu_vm_create(struct kvm_vcpu **vcpu, void *guest_code);
static inline void pmu_run_to_done(struct kvm_vcpu *vcpu);

static inline bool nmi_watchdog_is_on(void)
{
	int fd = open("/proc/sys/kernel/nmi_watchdog", O_RDONLY);
	char value = '0';

	if (fd >= 0) {
		TEST_ASSERT_EQ(pread(fd, &value, 1, 0), 1);
		close(fd);
	}
	return value == '1';
}

static inline bool set_nmi_watchdog(char value)
{
	int fd = open("/proc/sys/kernel/nmi_watchdog", O_RDWR);
	char before = '0';

	if (fd < 0)
		return false;
	if (pread(fd, &before, 1, 0) == 1 && before != value &&
	    pwrite(fd, &value, 1, 0) != 1)
		pr_info("Cannot set the NMI watchdog to %c\n", value);
	close(fd);
	return before == '1';
}

#define ENTRY_LOOPS	1000

static void guest_measure_entry(void)
{
	uint64_t insns, branches;

	guest_pmu_reset();
	if (pmu.global)
		wrmsr(pmu_global_ctrl_msr(), pmc_global_bit(0));
	GUEST_MEASURE(pmc_selector_msr(0), pmu_instructions() | SELECT_OS, ENTRY_LOOPS,
		      BLOCK_CPUID);
	insns = rdmsr(pmc_msr(0)) - MEASURED_INSNS(BLOCK_CPUID_INSNS, ENTRY_LOOPS);
	wrmsr(pmc_msr(0), 0);
	GUEST_MEASURE(pmc_selector_msr(0), pmu_branches() | SELECT_OS, ENTRY_LOOPS,
		      BLOCK_CPUID);
	branches = rdmsr(pmc_msr(0)) - MEASURED_BRANCHES(0, ENTRY_LOOPS);

	/* Other exits are far fewer than those of CPUID. */
	__GUEST_ASSERT(insns < 2 * ENTRY_LOOPS && branches < 2 * ENTRY_LOOPS,
		       "%u VM-entries add %ld instructions and %ld branches",
		       ENTRY_LOOPS, insns, branches);
	pmu.entry_insns = insns / ENTRY_LOOPS;
	pmu.entry_branches = branches / ENTRY_LOOPS;
	GUEST_DONE();
}

static inline void pmu_measure_entry(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = pmu_vm_create(&vcpu, guest_measure_entry);
	pmu_run_to_done(vcpu);
	sync_global_from_guest(vm, pmu);
	kvm_vm_free(vm);

	TEST_ASSERT(!pmu.intel || (!pmu.entry_insns && !pmu.entry_branches),
		    "VM-entry counts as %u instructions and %u branches",
		    pmu.entry_insns, pmu.entry_branches);
}

/*
 * Do the CPU's PERF_METRICS count while fixed counter 3 does not?  Nobody in the host uses
 * either, and perf sets GLOBAL_CTRL again when it next has a reason to.
 */
static inline bool host_metrics_count_alone(void)
{
	uint64_t ctrl, metrics, loops = 1000;

	kvm_pin_this_task_to_pcpu(0);
	if (host_msr_fd() < 0)
		return false;
	ctrl = host_rdmsr(MSR_CORE_PERF_GLOBAL_CTRL);
	if (!host_wrmsr(MSR_PERF_METRICS, 0) ||
	    !host_wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, ctrl | GLOBAL_METRICS))
		return false;
	asm volatile("1: dec %0\n\t jnz 1b" : "+r"(loops) : : "cc");
	host_wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, ctrl);
	metrics = host_rdmsr(MSR_PERF_METRICS);
	host_wrmsr(MSR_PERF_METRICS, 0);
	return metrics;
}

static inline void pmu_detect(void)
{
	TEST_REQUIRE(host_cpu_is_intel || host_cpu_is_amd);
	TEST_REQUIRE(kvm_is_pmu_enabled());

	pmu.mediated = pmu_is_mediated();
	pmu.intel = host_cpu_is_intel;

	if (pmu.intel) {
		TEST_REQUIRE(kvm_cpu_has_p(X86_PROPERTY_PMU_VERSION));
		TEST_REQUIRE(kvm_cpu_property(X86_PROPERTY_PMU_VERSION) >= 2);
		TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_PDCM));
		pmu.global = true;
		pmu.nr_gp = kvm_cpu_property(X86_PROPERTY_PMU_NR_GP_COUNTERS);
		pmu.nr_fixed = kvm_cpu_property(X86_PROPERTY_PMU_NR_FIXED_COUNTERS);
		pmu.metrics = kvm_get_feature_msr(MSR_IA32_PERF_CAPABILITIES) &
			      PMU_CAP_METRICS;
		if (pmu.mediated) {
			pmu.host_gp = this_cpu_property(X86_PROPERTY_PMU_NR_GP_COUNTERS);
			pmu.host_fixed = this_cpu_property(X86_PROPERTY_PMU_NR_FIXED_COUNTERS);
			pmu.host_metrics = kvm_check_cap(KVM_CAP_PMU_CAPABILITY) &
					   KVM_PMU_CAP_METRICS;
		}
		if (pmu.host_metrics)
			pmu.metrics_alone = host_metrics_count_alone();
		pmu_measure_entry();
		return;
	}

	pmu.vpmc = !access("/sys/module/kvm_amd/parameters/vpmc", R_OK) &&
		   get_kvm_amd_param_bool("vpmc");
	pmu.direct_selectors = pmu.vpmc && get_kvm_amd_param_bool("direct_selectors");
	pmu.core = kvm_cpu_has(X86_FEATURE_PERFCTR_CORE);
	pmu.global = kvm_cpu_has(X86_FEATURE_AMD_PERFMON_V2);
	pmu.nr_gp = pmu.core ? 6 : 4;
	if (pmu.global)
		pmu.nr_gp = kvm_cpu_property(X86_PROPERTY_AMD_NR_COUNTERS);
	pmu_measure_entry();
}

/*
 * The next VMs have fixed counter 3 and PERF_METRICS, as their VMM asks for them if KVM
 * does not give them to everybody.  False where there are none to be had.
 */
static inline bool pmu_ask_for_metrics(void)
{
	if (!pmu.host_metrics)
		return false;
	pmu.asks = true;
	pmu.nr_fixed = pmu.host_fixed;
	pmu.metrics = true;
	return true;
}

static inline struct kvm_vm *pmu_vm_create_asking(struct kvm_vcpu **vcpu, void *guest_code)
{
	struct kvm_vm *vm = vm_create(1);

	vm_enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_METRICS);
	*vcpu = vm_vcpu_add(vm, 0, guest_code);
	vcpu_set_cpuid_property(*vcpu, X86_PROPERTY_PMU_NR_FIXED_COUNTERS, pmu.nr_fixed);
	vcpu_set_msr(*vcpu, MSR_IA32_PERF_CAPABILITIES,
		     (kvm_get_feature_msr(MSR_IA32_PERF_CAPABILITIES) & ~PMU_CAP_METRICS) |
		     (pmu.metrics ? PMU_CAP_METRICS : 0));
	return vm;
}

static inline struct kvm_vm *pmu_vm_create(struct kvm_vcpu **vcpu, void *guest_code)
{
	struct kvm_vm *vm = pmu.asks ? pmu_vm_create_asking(vcpu, guest_code) :
				       vm_create_with_one_vcpu(vcpu, guest_code);
	struct kvm_lapic_state lapic;

	sync_global_to_guest(vm, pmu);
	if (pmu.vpmc) {
		vcpu_ioctl(*vcpu, KVM_GET_LAPIC, &lapic);
		*(uint32_t *)&lapic.regs[APIC_LVTPC] = APIC_DM_NMI;
		vcpu_ioctl(*vcpu, KVM_SET_LAPIC, &lapic);
	}
	return vm;
}

/* Give a guest less than KVM supports: @shape is what it finds in @pmu. */
static inline struct kvm_vm *pmu_vm_create_shaped(struct kvm_vcpu **vcpu,
						  void *guest_code,
						  const struct pmu *shape)
{
	const struct pmu all = pmu;
	struct kvm_vm *vm;

	pmu = *shape;
	vm = pmu_vm_create(vcpu, guest_code);
	pmu = all;

	if (pmu.intel) {
		vcpu_set_cpuid_property(*vcpu, X86_PROPERTY_PMU_NR_GP_COUNTERS,
					shape->nr_gp);
		vcpu_set_cpuid_property(*vcpu, X86_PROPERTY_PMU_NR_FIXED_COUNTERS,
					shape->nr_fixed);
		if (!shape->global)
			vcpu_set_cpuid_property(*vcpu, X86_PROPERTY_PMU_VERSION, 1);
		if (!shape->metrics && pmu.metrics)
			vcpu_set_msr(*vcpu, MSR_IA32_PERF_CAPABILITIES,
				     vcpu_get_msr(*vcpu, MSR_IA32_PERF_CAPABILITIES) &
				     ~PMU_CAP_METRICS);
		return vm;
	}

	if (!shape->core)
		vcpu_clear_cpuid_feature(*vcpu, X86_FEATURE_PERFCTR_CORE);
	if (!shape->global && pmu.global)
		vcpu_clear_cpuid_feature(*vcpu, X86_FEATURE_AMD_PERFMON_V2);
	if (shape->global)
		vcpu_set_cpuid_property(*vcpu, X86_PROPERTY_AMD_NR_COUNTERS, shape->nr_gp);
	return vm;
}

/*
 * Run to the next exit to user space.  Is it a GUEST_SYNC(), the stage of which then
 * is in @stage, or GUEST_DONE(), -1?
 */
static inline bool pmu_step(struct kvm_vcpu *vcpu, uint64_t *stage)
{
	struct ucall uc;

	vcpu_run(vcpu);
	if (vcpu->run->exit_reason == KVM_EXIT_IO &&
	    vcpu->run->io.port == IO_PORT)
		return false;

	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		*stage = uc.args[1];
		return true;
	case UCALL_DONE:
		*stage = -1;
		return true;
	case UCALL_PRINTF:
		pr_info("%s", uc.buffer);
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	default:
		TEST_FAIL("Unexpected exit %u (%s), ucall %lu",
			  vcpu->run->exit_reason,
			  exit_reason_str(vcpu->run->exit_reason), uc.cmd);
	}
	return false;
}

static inline uint64_t pmu_run(struct kvm_vcpu *vcpu)
{
	uint64_t stage;

	while (!pmu_step(vcpu, &stage))
		;
	return stage;
}

static inline void pmu_run_to_done(struct kvm_vcpu *vcpu)
{
	while (pmu_run(vcpu) != -1ull)
		;
}

/* Two vCPUs to GUEST_DONE(), an exit each in turn, i.e. with counters enabled. */
static inline void pmu_run_by_turns(struct kvm_vcpu *vcpus[2])
{
	bool done[2] = { };
	uint64_t stage;
	int i;

	for (i = 0; !done[0] || !done[1]; i ^= 1) {
		if (done[i] || !pmu_step(vcpus[i], &stage))
			continue;
		TEST_ASSERT(stage == -1ull, "Unexpected GUEST_SYNC(%lu)", stage);
		done[i] = true;
	}
}

/* The event filter: @event, if not 0, and the fixed counters of @fixed_bitmap. */
static inline void pmu_set_filter(struct kvm_vm *vm, uint32_t action,
				  uint64_t event, uint32_t fixed_bitmap)
{
	struct {
		struct kvm_pmu_event_filter f;
		uint64_t event;
	} filter = {
		.f.action = action,
		.f.nevents = event ? 1 : 0,
		.f.fixed_counter_bitmap = fixed_bitmap,
		.event = event,
	};

	vm_ioctl(vm, KVM_SET_PMU_EVENT_FILTER, &filter.f);
}

/*
 * Status bits that are not of counters are the host's.  A guest neither sees nor clears
 * them, and has its own beside them.
 */
#define STATUS_ACCESSES	200

static inline void guest_beside_status_bits(uint64_t bits)
{
	const uint32_t status = pmu_global_status_msr(), clear = pmu_global_clear_msr();
	int i;

	guest_pmu_reset();
	wrmsr(pmc_selector_msr(0), pmu_instructions() | SELECT_OS);
	wrmsr(pmc_msr(0), -7ull & COUNTER_MASK);
	GUEST_MEASURE(pmu_global_ctrl_msr(), pmc_global_bit(0), 20, BLOCK_PLAIN);
	GUEST_SYNC(0);
	for (i = 0; i < STATUS_ACCESSES; i++) {
		GUEST_ASSERT_EQ(rdmsr(status), pmc_global_bit(0));
		wrmsr(clear, pmc_global_bit(1));
	}
	GUEST_SYNC(1);
	/* Whether it may write them depends on whether the write exits. */
	wrmsr_safe(clear, pmu_global_mask() | bits);
	wrmsr(clear, pmc_global_bit(0));
	GUEST_ASSERT_EQ(rdmsr(status), 0);
}

/*
 * The vCPU executes guest_beside_status_bits() over and over.  With @alone the host has
 * no event, and nothing exits as long as no such bit is set.
 */
static inline void run_beside_status_bits(struct kvm_vcpu *vcpu, bool alone)
{
	const uint32_t set = pmu.intel ? MSR_INTEL_GLOBAL_STATUS_SET : MSR_AMD64_GLOBAL_STATUS_SET;
	/* Of trace, LBRs, uncore and debug store; AMD's is of LBRs. */
	static const uint8_t intel[] = { 55, 58, 61, 62 }, amd[] = { 58 };
	const uint8_t *nr = pmu.intel ? intel : amd;
	int n = pmu.intel ? ARRAY_SIZE(intel) : ARRAY_SIZE(amd), i, round, nr_set = 0;
	uint64_t bit, found, exits;

	for (i = 0; i < n; i++) {
		bit = BIT_ULL(nr[i]);
		for (round = 0; round < 6; round++) {
			bool is_set = round / 2 == 1;

			TEST_ASSERT(!(host_rdmsr(pmu_global_status_msr()) & bit),
				    "Bit %u of the status is set already", nr[i]);
			/* Not all processors have all of them. */
			if (is_set && !host_wrmsr(set, bit))
				break;

			TEST_ASSERT_EQ(pmu_run(vcpu), 0);
			exits = vcpu_stat(vcpu, "exits");
			TEST_ASSERT_EQ(pmu_run(vcpu), 1);
			exits = vcpu_stat(vcpu, "exits") - exits;
			TEST_ASSERT_EQ(pmu_run(vcpu), 2);

			/*
			 * There may be some interrupts.  With VPMC it is a register of
			 * the guest's own, but not in L2.
			 */
			if (alone || (is_set && !pmu.vpmc))
				TEST_ASSERT(is_set && !pmu.vpmc ? exits >= 2 * STATUS_ACCESSES :
						     exits < STATUS_ACCESSES / 4,
					    "Bit %u, round %d: %lu exits of %u accesses to the status",
					    nr[i], round, exits, 2 * STATUS_ACCESSES);

			found = host_rdmsr(pmu_global_status_msr());
			TEST_ASSERT(found == (is_set ? bit : 0),
				    "Bit %u, round %d: the status is %#lx", nr[i], round, found);
			if (is_set) {
				TEST_ASSERT(host_wrmsr(pmu_global_clear_msr(), bit),
					    "Cannot clear bit %u of the status", nr[i]);
				nr_set++;
			}
		}
	}
	TEST_ASSERT(nr_set, "No bit of the status can be set that is not of a counter");
}

#define EVENT_EXCLUDE_GUEST	BIT_ULL(0)
#define EVENT_EXCLUDE_HOST	BIT_ULL(1)
#define EVENT_EXCLUDE_KERNEL	BIT_ULL(2)
#define EVENT_EXCLUDE_USER	BIT_ULL(3)
#define EVENT_PINNED		BIT_ULL(4)
#define EVENT_INHERIT		BIT_ULL(5)
#define EVENT_SOFTWARE		BIT_ULL(6)
#define EVENT_RAW		BIT_ULL(7)

static inline int perf_open_group(uint64_t config, uint64_t flags, uint64_t period,
				  pid_t pid, int cpu, int leader)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = flags & EVENT_SOFTWARE ? PERF_TYPE_SOFTWARE :
			flags & EVENT_RAW ? PERF_TYPE_RAW : PERF_TYPE_HARDWARE,
		.config = config,
		.sample_period = period,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED |
			       PERF_FORMAT_TOTAL_TIME_RUNNING,
		.exclude_guest = !!(flags & EVENT_EXCLUDE_GUEST),
		.exclude_host = !!(flags & EVENT_EXCLUDE_HOST),
		.exclude_kernel = !!(flags & EVENT_EXCLUDE_KERNEL),
		.exclude_user = !!(flags & EVENT_EXCLUDE_USER),
		.pinned = !!(flags & EVENT_PINNED),
		.inherit = !!(flags & EVENT_INHERIT),
	};

	return syscall(__NR_perf_event_open, &attr, pid, cpu, leader,
		       PERF_FLAG_FD_CLOEXEC);
}

static inline int __perf_open(uint64_t config, uint64_t flags, uint64_t period,
			      pid_t pid, int cpu)
{
	return perf_open_group(config, flags, period, pid, cpu, -1);
}

static inline int perf_open(uint64_t config, uint64_t flags, pid_t pid, int cpu)
{
	return __perf_open(config, flags, 0, pid, cpu);
}

struct perf_value {
	uint64_t count;
	uint64_t enabled;
	uint64_t running;
};

static inline struct perf_value perf_read(int fd)
{
	struct perf_value v;

	TEST_ASSERT(read(fd, &v, sizeof(v)) == sizeof(v),
		    "Cannot read an event, it has an error or no counter");
	return v;
}

#endif /* SELFTEST_KVM_MEDIATED_PMU_H */
