#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The list of exits that finish the guest's instruction (figures.FINISHED) is KVM's: each exit for
which the kernel has a handler is in it if and only if the handler is one that does so."""
import os
import re
import sys

from machinetest import BUILD, figures, main, ok

TREE = os.environ.get("TREE", os.path.join(BUILD, "linux"))
# Where the handlers are, where the numbers are, the prefix of the names.
TABLES = {
    "intel": ("arch/x86/kvm/vmx/vmx.c", "arch/x86/include/uapi/asm/vmx.h", "EXIT_REASON_"),
    "amd": ("arch/x86/kvm/svm/svm.c", "arch/x86/include/uapi/asm/svm.h", "SVM_EXIT_"),
}

# Handlers that emulate or skip the instruction, if nothing is wrong with it.
FINISH = set("""
    kvm_emulate_cpuid kvm_emulate_halt kvm_emulate_hypercall kvm_emulate_invd kvm_emulate_monitor
    kvm_emulate_mwait kvm_emulate_rdmsr kvm_emulate_rdpmc kvm_emulate_wbinvd kvm_emulate_wrmsr
    kvm_emulate_xsetbv
    handle_apic_access handle_cr handle_desc handle_ept_misconfig handle_invlpg
    handle_invpcid handle_io handle_pause handle_vmx_instruction
    clgi_interception cr8_write_interception cr_interception invlpg_interception
    invlpga_interception invpcid_interception io_interception msr_interception pause_interception
    rsm_interception stgi_interception vmload_interception vmmcall_interception vmrun_interception
    vmsave_interception
""".split())
# What is not about an instruction, has it executed again, or fails it.
OTHER = set("""
    kvm_handle_invalid_op
    handle_apic_eoi_induced handle_apic_write handle_bus_lock_vmexit handle_exception_nmi
    handle_external_interrupt handle_interrupt_window handle_machine_check handle_monitor_trap
    handle_nmi_window handle_notify handle_pml_full handle_preemption_timer
    handle_tpr_below_threshold handle_triple_fault
    avic_incomplete_ipi_interception cr_trap efer_trap interrupt_window_interception
    intr_interception iret_interception nmi_interception shutdown_interception
    skinit_interception smi_interception
""".split())
# It depends: on whether the memory is there, on the operand.  The guest executes an access to a
# debug register again, unless the VMM debugs it.  No guest of the demo has the rest.
EITHER = set("""
    handle_dr dr_interception
    handle_ept_violation npf_interception
    handle_encls handle_task_switch task_switch_interception avic_unaccelerated_access_interception
    sev_handle_vmgexit
""".split())
# They go on in L2, or fail.
NOT_OF_THEIR_HANDLER = {"EXIT_REASON_VMLAUNCH", "EXIT_REASON_VMRESUME", "EXIT_REASON_VMFUNC"}


def read(path):
    with open(os.path.join(TREE, path), encoding="utf-8") as file:
        return file.read()


def test(vendor, _):
    source, header, prefix = TABLES[vendor]
    number = {name: int(value, 0) for name, value in
              re.findall(rf"^#define ({prefix}\w+)\s+(\w+)$", read(header), re.M)}
    handlers = re.findall(rf"^\s*\[({prefix}\w+)\]\s*= (\w+),", read(source), re.M)
    ok(len(handlers) > 40, f"{vendor}: KVM's table is found", f"{len(handlers)} handlers")

    unknown = {handler for _, handler in handlers} - FINISH - OTHER - EITHER
    ok(not unknown, f"{vendor}: all handlers are known", *sorted(unknown))

    missing, wrong = [], []
    for name, handler in handlers:
        finishes = handler in FINISH and name not in NOT_OF_THEIR_HANDLER
        listed = number[name] in figures.FINISHED[vendor]
        if finishes and not listed:
            missing.append(f"{number[name]:#x} {name}")
        elif listed and not finishes:
            wrong.append(f"{number[name]:#x} {name}")
    ok(not missing, f"{vendor}: exits that finish an instruction are in the list", *missing)
    ok(not wrong, f"{vendor}: others are not", *wrong)


if not os.path.isdir(TREE):
    sys.exit(f"no kernel tree at {TREE}: make tree")
main(test, list(TABLES))
