// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated PMU: the record of PMIs.
 *
 * The rule, which is that of hardware: a status bit that rises while its counter's PMI
 * is enabled and LVTPC is not masked leads to a PMI of the guest, however late the
 * physical interrupt is.  Bits that rise before the guest takes it share one PMI.
 * There is none without such a bit.
 *
 * An overflow is seen in two ways that can come in either order: by its status bit,
 * whenever KVM looks at GLOBAL_STATUS, and by its interrupt.  Whichever is first
 * requests the PMI, the other one is recognized and does nothing.  The status alone is
 * not enough, because the guest clears it without KVM's noticing, and the bit may rise
 * again; the interrupt alone is not, because it may come after the PMU has changed
 * hands, on perf's NMI, and after the vCPU has gone to sleep.
 *
 * What is known:
 *  of a vCPU, struct kvm_pmi_record
 *	reported	the status bits of the last look.  A bit that is not among them
 *			is a new overflow.
 *	with_pmi	counters that were enabled since then with their PMI enabled,
 *	without_pmi	and without.  No counter is in both: KVM looks at the status
 *			before one changes over.  So a new bit of with_pmi is one that
 *			raises a PMI, and no other is.
 *	lvtpc		while the vCPU has the PMU: APIC_LVT_MASKED, then no new bit raises
 *			a PMI, or 0.  It is that of the physical LVTPC, but in state SHARED
 *			of the guest's own, because the physical one is perf's.  Else
 *			APIC_DM_NMI.
 *	taken		in state SHARED: bits that an NMI has taken out of the status, and
 *			that are not in struct kvm_pmu yet.
 *  of a CPU, struct kvm_pmi_cpu
 *	expected	physical interrupts that are still to come, though their overflow
 *			was seen already: of a guest that has been told, or of a host
 *			event that was stopped in time.  They do nothing when they come.
 *			At most one NMI and one that LVTPC made the vector: interrupts
 *			that meet are one.
 *	nmis		NMIs that took bits out of the status in state SHARED.
 *	suspect		the vCPU that had the PMU a moment ago with PMIs enabled.  An
 *			interrupt that nobody else accounts for is of its counters: the
 *			guest has cleared the status bit, or it was set before.
 *
 * ============================  =====================================  =================
 * an interrupt comes            when                                   it is
 * ============================  =====================================  =================
 * vector, values in hardware    the status has a new bit of with_pmi   a PMI of the guest
 *                               else, the vector is expected           done
 *                               else, a status bit is set: it rose     a PMI of the guest
 *                               again, or LVTPC was unmasked too
 *                               early for this hardware
 *                               else, an NMI is expected: hardware is  done
 *                               so late that LVTPC has changed
 *                               else, there is another suspect         a PMI of that vCPU
 *                               else, the status is direct and there   a PMI of the guest
 *                               are counters in with_pmi: the guest
 *                               has cleared the bit itself
 *                               else                                   of others
 * NMI, state SHARED             the status has a bit of the guest:     a PMI of the guest
 *                               if that is of with_pmi, and LVTPC
 *                               not masked
 * vector or NMI, values are     perf has an overflow (NMI)             perf's
 * saved, or state SHARED        one is expected                        done
 *                               there is a suspect, and perf has no    a PMI of that vCPU,
 *                               explanation or a status bit was set    if its LVTPC was not
 *                                                                      masked
 *                               else                                   of others
 * NMI, values in hardware       LVTPC is perf's still                  as if saved, but
 *                                                                      never of others
 *                               one is expected                        done
 *                               else                                   of others
 * ============================  =====================================  =================
 *
 * What does not come after a while never will: it may have been merged with another
 * one, and an interrupt of some other source is not to be taken for it.
 */
#include <linux/jiffies.h>
#include <linux/once.h>
#include <linux/rcuwait.h>
#include <linux/sched/clock.h>

#include <asm/svm.h>

#include "lapic.h"
#include "x86.h"
#include "mediated/internal.h"

/*
 * An interrupt that is later than this is lost.  Hardware is late by microseconds, but
 * the vector also waits for whoever has interrupts off.
 */
#define KVM_PMI_LATE_JIFFIES	2
#define KVM_PMI_LATE_NS		(KVM_PMI_LATE_JIFFIES * TICK_NSEC)

/*
 * The same for an NMI that there may be or not.  The guest's next one is not to be taken
 * for it: KVM cannot tell them apart if the guest clears the status bit itself.
 */
#define KVM_PMI_MAYBE_LATE_NS	(200 * NSEC_PER_USEC)

enum kvm_pmi_suspicion {
	KVM_PMI_POSSIBLE,	/* the guest may have cleared the status bit */
	KVM_PMI_LIKELY,		/* a status bit is set that is no reason for a PMI */
	KVM_PMI_MASKED,		/* as before, but LVTPC was masked: not to be reported */
};

/* What LVTPC was when an interrupt was raised. */
#define KVM_PMI_NMI		BIT(0)
#define KVM_PMI_VECTOR		BIT(1)

struct kvm_pmi_cpu {
	unsigned int	expected;	/* KVM_PMI_NMI, KVM_PMI_VECTOR */
	unsigned int	nmis;
	u64		expect_until;	/* local_clock() */
	struct kvm_vcpu	*suspect;
	enum kvm_pmi_suspicion suspicion;
	unsigned long	suspect_until;
};

static DEFINE_PER_CPU(struct kvm_pmi_cpu, kvm_pmi_cpu);

/* Does hardware raise a PMI when a status bit is set by software? */
static bool kvm_pmi_status_set_raises __read_mostly;

static struct kvm_pmi_record *pmi_record(struct kvm_vcpu *vcpu)
{
	return &vcpu_to_pmu(vcpu)->mediated->record;
}

static void kvm_pmi_wakeup(struct irq_work *work)
{
	kvm_vcpu_kick(container_of(work, struct kvm_pmi_record, wakeup)->vcpu);
}

void kvm_pmi_init(struct kvm_vcpu *vcpu)
{
	pmi_record(vcpu)->vcpu = vcpu;
	pmi_record(vcpu)->lvtpc = APIC_DM_NMI;
	init_irq_work(&pmi_record(vcpu)->wakeup, kvm_pmi_wakeup);
}

void kvm_pmi_destroy(struct kvm_vcpu *vcpu)
{
	irq_work_sync(&pmi_record(vcpu)->wakeup);
}

/*
 * Have the vCPU deliver a PMI.  Called in any context, NMI and the scheduler included;
 * the vCPU may be about to sleep, be asleep, or run elsewhere.
 */
static void kvm_pmi_report(struct kvm_vcpu *vcpu)
{
	kvm_make_request(KVM_REQ_PMI, vcpu);

	/* Pairs with the barrier of prepare_to_rcuwait() in kvm_vcpu_block(). */
	smp_mb__after_atomic();
	if (kvm_get_running_vcpu() != vcpu ||
	    rcuwait_active(kvm_arch_vcpu_get_wait(vcpu)))
		irq_work_queue(&pmi_record(vcpu)->wakeup);
}

/* An interrupt is still to come, within @ns: KVM_PMI_NMI or KVM_PMI_VECTOR. */
static void kvm_pmi_expect(unsigned int kind, u64 ns)
{
	struct kvm_pmi_cpu *cpu = this_cpu_ptr(&kvm_pmi_cpu);
	u64 now = local_clock();

	/* An NMI may take one at any point. */
	if (now > cpu->expect_until)
		cpu->expected = 0;
	cpu->expect_until = max(cpu->expect_until, now + ns);
	this_cpu_or(kvm_pmi_cpu.expected, kind);
}

static bool __kvm_pmi_was_expected(unsigned int kind)
{
	struct kvm_pmi_cpu *cpu = this_cpu_ptr(&kvm_pmi_cpu);
	unsigned int expected = READ_ONCE(cpu->expected);

	if (expected && local_clock() > cpu->expect_until) {
		cpu->expected = 0;
		return false;
	}

	do {
		if (!(expected & kind))
			return false;
	} while (!this_cpu_try_cmpxchg(kvm_pmi_cpu.expected, &expected, expected & ~kind));

	return true;
}

/* Hardware may be so late that LVTPC has changed meanwhile. */
static bool kvm_pmi_was_expected(void)
{
	unsigned int kind = in_nmi() ? KVM_PMI_NMI : KVM_PMI_VECTOR;

	return __kvm_pmi_was_expected(kind) ||
	       __kvm_pmi_was_expected(kind ^ (KVM_PMI_NMI | KVM_PMI_VECTOR));
}

static void kvm_pmi_probe(void)
{
	guard(irqsave)();

	kvm_pmi_status_set_raises = x86_guest_pmu_probe_status_set();
	if (kvm_pmi_status_set_raises)
		kvm_pmi_expect(KVM_PMI_VECTOR, KVM_PMI_LATE_NS);
}

/* A PMU is reserved, and no vCPU of the VM has run. */
void kvm_pmi_reserved(void)
{
	DO_ONCE(kvm_pmi_probe);
}

/* What the interrupt of an overflow is, if the vCPU has the PMU or is about to. */
static unsigned int kvm_pmi_kind(struct kvm_vcpu *vcpu)
{
	return pmi_record(vcpu)->lvtpc == APIC_DM_NMI ? KVM_PMI_NMI : KVM_PMI_VECTOR;
}

/* Set @bits of the status: that they are set is known.  Called with interrupts off. */
void kvm_pmi_write_status(struct kvm_vcpu *vcpu, u64 bits)
{
	if (kvm_pmi_status_set_raises)
		kvm_pmi_expect(kvm_pmi_kind(vcpu), KVM_PMI_LATE_NS);
	wrmsrl(kvm_pmu_ops.GLOBAL_STATUS_SET, bits);
}

static u64 kvm_pmi_status(void)
{
	u64 status;

	rdmsrl(kvm_pmu_ops.GLOBAL_STATUS, status);
	return status & kvm_mediated_pmu_status_bits;
}

/*
 * Which of @bits of the status raise a PMI?  The metrics have no control for that, they
 * always do; their bit of the status is that of the set of registers.
 */
static u64 kvm_pmi_raising(struct kvm_vcpu *vcpu, u64 bits)
{
	return bits & (pmi_record(vcpu)->with_pmi |
		       (vcpu_to_pmu(vcpu)->mediated->has & X86_GUEST_PMU_METRICS));
}

/* The status has been looked at: from now on the counters of these settings matter. */
static void kvm_pmi_restart(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;

	mediated->record.with_pmi = mediated->pmi;
	mediated->record.without_pmi = mediated->wants.enabled & ~mediated->pmi;
}

/* Look at the status: which bits are new and raise a PMI? */
static u64 kvm_pmi_look(struct kvm_vcpu *vcpu, u64 status)
{
	u64 raised = kvm_pmi_raising(vcpu, status & ~pmi_record(vcpu)->reported);

	pmi_record(vcpu)->reported = status;
	kvm_pmi_restart(vcpu);

	return raised;
}

/*
 * The status shows overflows before their interrupt has come.  If LVTPC is masked then
 * it is dropped, as a rule; one that is late may find LVTPC unmasked, or be an NMI.
 */
static void kvm_pmi_status_seen(struct kvm_vcpu *vcpu, u64 status)
{
	u32 lvtpc = pmi_record(vcpu)->lvtpc;

	if (!kvm_pmi_look(vcpu, status) || lvtpc)
		return;

	kvm_pmi_expect(KVM_PMI_VECTOR, KVM_PMI_LATE_NS);
	kvm_pmi_report(vcpu);
}

/* In state SHARED an overflow leads to a PMI of the guest if it raised an interrupt. */
static void kvm_pmi_report_taken(struct kvm_vcpu *vcpu, u64 bits)
{
	if (kvm_pmi_raising(vcpu, bits) && !pmi_record(vcpu)->lvtpc)
		kvm_pmi_report(vcpu);
}

/*
 * State SHARED: take the guest's bits out of GLOBAL_STATUS, where new ones may be, into
 * struct kvm_pmu.  The interrupt of those with a PMI is still to come, unless it comes
 * just now.  Called with interrupts off, when no counter of the guest runs.
 */
void kvm_pmi_take_status(struct kvm_vcpu *vcpu)
{
	struct kvm_pmi_record *record = pmi_record(vcpu);
	unsigned int nmis = this_cpu_read(kvm_pmi_cpu.nmis);
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	u64 bits;

	bits = kvm_pmi_status() & x86_guest_pmu()->regs;
	if (bits) {
		bool raising = kvm_pmi_raising(vcpu, bits);

		/* The NMI may come as soon as the status is clear, or have come. */
		if (raising)
			kvm_pmi_expect(KVM_PMI_NMI, KVM_PMI_LATE_NS);
		wrmsrl(kvm_pmu_ops.GLOBAL_STATUS_CLR, bits);
		if (raising && nmis != this_cpu_read(kvm_pmi_cpu.nmis))
			__kvm_pmi_was_expected(KVM_PMI_NMI);
		kvm_pmi_report_taken(vcpu, bits);
	}

	bits |= atomic64_xchg(&record->taken, 0);
	if (bits && kvm_pmu_has_perf_global_ctrl(pmu))
		pmu->global_status |= bits & ~pmu->global_status_rsvd;

	kvm_pmi_restart(vcpu);
}

static void kvm_pmi_see_status(struct kvm_vcpu *vcpu)
{
	if (x86_guest_pmu()->state == X86_GUEST_PMU_SHARED)
		kvm_pmi_take_status(vcpu);
	else
		kvm_pmi_status_seen(vcpu, kvm_pmi_status());
}

static u32 kvm_pmi_guest_lvtpc(struct kvm_vcpu *vcpu)
{
	return kvm_lapic_get_reg(vcpu->arch.apic, APIC_LVTPC) & APIC_LVT_MASKED;
}

static void kvm_pmi_set_lvtpc(struct kvm_vcpu *vcpu)
{
	u32 lvtpc = kvm_pmi_guest_lvtpc(vcpu);

	/*
	 * It drops what is still to come.  If that comes later after all then the guest
	 * gets a PMI too many: better than one too few.  Beside perf's events none can get
	 * lost, as no status bit goes unnoticed, and perf would not know the interrupt.
	 */
	if (lvtpc && kvm_mediated_pmu_status_is_direct(vcpu))
		__kvm_pmi_was_expected(KVM_PMI_VECTOR);

	/* An NMI in between is of the old one. */
	x86_guest_pmu_set_lvtpc(lvtpc);
	barrier();
	pmi_record(vcpu)->lvtpc = lvtpc;
}

/*
 * The vCPU has got the PMU, its status is loaded.  @found is the status that was there:
 * a host event's overflow, whose NMI has not come.
 */
void kvm_pmi_load(struct kvm_vcpu *vcpu, u64 found)
{
	if (found & kvm_mediated_pmu_status_bits)
		kvm_pmi_expect(KVM_PMI_NMI, KVM_PMI_LATE_NS);

	kvm_pmi_look(vcpu, vcpu_to_pmu(vcpu)->global_status);
	kvm_pmi_set_lvtpc(vcpu);
}

/* The same for state SHARED, where the status stays in memory, and LVTPC perf's. */
void kvm_pmi_load_shared(struct kvm_vcpu *vcpu)
{
	kvm_pmi_restart(vcpu);
	pmi_record(vcpu)->lvtpc = kvm_pmi_guest_lvtpc(vcpu);
}

void __kvm_pmi_resume(struct kvm_vcpu *vcpu)
{
	/* What has overflowed until now did so under the old one. */
	kvm_pmi_see_status(vcpu);

	if (x86_guest_pmu()->state == X86_GUEST_PMU_SHARED)
		WRITE_ONCE(pmi_record(vcpu)->lvtpc, kvm_pmi_guest_lvtpc(vcpu));
	else
		kvm_pmi_set_lvtpc(vcpu);
}

/* Hardware is about to get other event selectors: those in struct kvm_mediated_pmu. */
void kvm_pmi_controls_change(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *mediated = vcpu_to_pmu(vcpu)->mediated;
	struct kvm_pmi_record *record = &mediated->record;
	u64 with = record->with_pmi | mediated->pmi;
	u64 without = record->without_pmi | (mediated->wants.enabled & ~mediated->pmi);

	if (unlikely(with & without)) {
		kvm_pmi_see_status(vcpu);
		return;
	}

	record->with_pmi = with;
	record->without_pmi = without;
}

/* Can there be an overflow whose status bit the guest has cleared without KVM's noticing? */
static bool kvm_pmi_may_be_cleared(struct kvm_vcpu *vcpu)
{
	return pmi_record(vcpu)->with_pmi && kvm_mediated_pmu_status_is_direct(vcpu);
}

/* State SHARED ends for the vCPU, or may be about to. */
void kvm_pmi_leave_shared(struct kvm_vcpu *vcpu)
{
	kvm_pmi_take_status(vcpu);
	pmi_record(vcpu)->lvtpc = APIC_DM_NMI;
}

/* The vCPU's status is saved and cleared in hardware, where it was @status. */
void kvm_pmi_saved(struct kvm_vcpu *vcpu, u64 status)
{
	struct kvm_pmi_cpu *cpu = this_cpu_ptr(&kvm_pmi_cpu);
	bool likely = status & pmi_record(vcpu)->with_pmi;
	bool possible = kvm_pmi_may_be_cleared(vcpu);

	kvm_pmi_status_seen(vcpu, status & kvm_mediated_pmu_status_bits);

	if (likely || possible) {
		if (pmi_record(vcpu)->lvtpc)
			cpu->suspicion = KVM_PMI_MASKED;
		else
			cpu->suspicion = likely ? KVM_PMI_LIKELY : KVM_PMI_POSSIBLE;
		cpu->suspect_until = jiffies + KVM_PMI_LATE_JIFFIES;
		WRITE_ONCE(cpu->suspect, vcpu);
	}
	pmi_record(vcpu)->lvtpc = APIC_DM_NMI;
}

/*
 * KVM has counted an event that it emulated, and the counters in @bits overflow.
 */
void kvm_pmi_set_status(struct kvm_vcpu *vcpu, u64 bits)
{
	enum x86_guest_pmu_state state = x86_guest_pmu()->state;
	struct vmcb_save_area *vmcb = kvm_mediated_pmu_vmcb(vcpu);
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	if (!kvm_pmu_has_perf_global_ctrl(pmu)) {
		;
	} else if (vmcb) {
		vmcb->pmc_global_status |= bits;
		kvm_pmu_call(vpmc_changed)(vcpu);
	} else if (kvm_mediated_pmu_is_armed(vcpu) && kvm_get_running_vcpu() == vcpu &&
		   (state == X86_GUEST_PMU_GUEST || state == X86_GUEST_PMU_PARKED)) {
		kvm_pmi_status_seen(vcpu, kvm_pmi_status());
		pmi_record(vcpu)->reported |= bits;
		kvm_pmi_write_status(vcpu, bits);
	} else {
		pmu->global_status |= bits;
	}

	if (bits & pmu->mediated->pmi && !kvm_pmi_guest_lvtpc(vcpu))
		kvm_make_request(KVM_REQ_PMI, vcpu);
}

/*
 * Deliver a PMI that is requested to the local APIC.  For user space that is
 * about to read the vCPU's state: requests are not part of it.
 */
void kvm_pmi_flush(struct kvm_vcpu *vcpu)
{
	if (kvm_vcpu_has_mediated_pmu(vcpu) &&
	    kvm_check_request(KVM_REQ_PMI, vcpu))
		kvm_pmu_deliver_pmi(vcpu);
}

/*
 * An interrupt came as one of perf's, or when the values are saved: is it of a counter
 * that has changed hands?
 */
static bool kvm_pmi_handle_late(bool explained)
{
	struct kvm_pmi_cpu *cpu = this_cpu_ptr(&kvm_pmi_cpu);
	struct kvm_vcpu *suspect;

	if (kvm_pmi_was_expected())
		return true;

	suspect = READ_ONCE(cpu->suspect);
	if (!suspect || time_after(jiffies, cpu->suspect_until) ||
	    (explained && cpu->suspicion == KVM_PMI_POSSIBLE))
		return false;

	WRITE_ONCE(cpu->suspect, NULL);
	if (cpu->suspicion != KVM_PMI_MASKED)
		kvm_pmi_report(suspect);
	return true;
}

/* The vector has come, and the vCPU's values are in hardware. */
static bool kvm_pmi_handle_vector(struct kvm_vcpu *vcpu)
{
	struct kvm_pmi_cpu *cpu = this_cpu_ptr(&kvm_pmi_cpu);
	bool may_raise = kvm_pmi_may_be_cleared(vcpu);
	u64 status = kvm_pmi_status();
	bool raised = kvm_pmi_look(vcpu, status);

	/* As hardware does. */
	if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL)
		pmi_record(vcpu)->lvtpc = APIC_LVT_MASKED;

	if (!raised) {
		if (__kvm_pmi_was_expected(KVM_PMI_VECTOR))
			return true;

		/* It is this vCPU's, unless another one has better reason for it. */
		if (cpu->suspect == vcpu ||
		    (may_raise && cpu->suspicion == KVM_PMI_POSSIBLE))
			WRITE_ONCE(cpu->suspect, NULL);
		if (!status && kvm_pmi_handle_late(false))
			return true;
		if (!status && !may_raise)
			return false;
	}

	kvm_pmi_report(vcpu);
	return true;
}

/* An NMI in state SHARED has found and cleared the status bits @taken. */
static bool kvm_pmi_handle_taken(struct kvm_vcpu *vcpu, u64 taken, bool explained)
{
	this_cpu_inc(kvm_pmi_cpu.nmis);
	/* Perf's event and the guest's have one each, if these have not met. */
	if (explained && kvm_pmi_raising(vcpu, taken))
		kvm_pmi_expect(KVM_PMI_NMI, KVM_PMI_MAYBE_LATE_NS);
	atomic64_or(taken, &pmi_record(vcpu)->taken);
	kvm_pmi_report_taken(vcpu, taken);
	return true;
}

/*
 * Whose is this interrupt?  Called by the vector's handler, with interrupts off, and by
 * perf's NMI handler: with @taken, the guest's status bits in state SHARED, before it
 * looks for its own, and with 0 if it has found nothing of its own.  @explained: events of
 * perf overflowed, too, so that one more NMI may come, or this may be it.  Returns whether
 * the interrupt is known: see the table at the top.
 */
bool kvm_pmi_handle(u64 taken, bool explained)
{
	enum x86_guest_pmu_state state = x86_guest_pmu()->state;

	if (taken)
		return kvm_pmi_handle_taken(kvm_get_running_vcpu(), taken, explained);

	if ((state != X86_GUEST_PMU_GUEST && state != X86_GUEST_PMU_PARKED) ||
	    x86_guest_pmu()->swapped)
		return kvm_pmi_handle_late(explained);

	if (!in_nmi())
		return kvm_pmi_handle_vector(kvm_get_running_vcpu());

	/* kvm_pmi_reserved() tries the registers out. */
	if (!kvm_get_running_vcpu())
		return kvm_pmi_handle_late(explained);

	/*
	 * While the registers are being loaded, LVTPC is perf's still.  What is expected of
	 * events that perf has stopped is known only later.
	 */
	if (pmi_record(kvm_get_running_vcpu())->lvtpc == APIC_DM_NMI) {
		kvm_pmi_handle_late(explained);
		return true;
	}

	return kvm_pmi_was_expected();
}

/* Called with interrupts off, before the vCPUs of a VM are freed, or the CPU goes. */
void kvm_pmi_forget_cpu(void)
{
	__this_cpu_write(kvm_pmi_cpu.suspect, NULL);
	__this_cpu_write(kvm_pmi_cpu.expected, 0);
}

/* Does the CPU know a vCPU of @kvm?  None of them runs any more. */
bool kvm_pmi_suspects(int cpu, struct kvm *kvm)
{
	struct kvm_vcpu *suspect = READ_ONCE(per_cpu(kvm_pmi_cpu.suspect, cpu));

	return suspect && suspect->kvm == kvm;
}
