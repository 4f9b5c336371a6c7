# shellcheck shell=sh
# QEMU with a PMU wanted and interrupt controllers in the kernel or not: where the local
# APIC is not in the kernel there is no mediated PMU; the guest comes up without
# and does not see one, and the host's log says why.

# In a guest: what its kernel found, and what perf counts.
cat >/tmp/command <<'EOF'
dmesg | sed -n 's/.*[Pp]erformance [Ee]vents: //p' | head -n 1
dmesg | grep -c 'unchecked MSR\|Broken PMU\|Firmware Bug'
perf stat -x, -e instructions:u work-loop 0100001 2>&1 | cut -d, -f1
perf stat -x, -e instructions:u work-loop 0000001 2>&1 | cut -d, -f1
EOF

# The four lines of a guest: "yes 0 700000", for example.  Has it a PMU, how many
# complaints, instructions of 100000 rounds.
guest_with() { # OPTION-OF-L2 IRQCHIP
	# One of KVM's own features needs the local APIC, too; QEMU's default has it.
	l2 "$1" --cpu host,pmu=on,kvm-asyncpf-int=off --qemu "-machine kernel-irqchip=$2" "$(cat /tmp/command)" >/tmp/out
	guest_status=$?
	[ $guest_status = 0 ] || { diag "$(cat /tmp/out)"; echo "status $guest_status"; return; }
	awk '
		NR == 1 { found = /no PMU|software events only/ ? "no" : "yes" }
		NR == 2 { bad = $0 }
		NR == 3 { many = $0 }
		# On AMD each VM-entry counts as an instruction of the guest.
		NR == 4 && many ~ /^[0-9]+$/ {
			many -= $0
			if (amd && many > 700000 && many < 700700)
				many = 700000
		}
		NR == 4 { print found, bad, many }' amd="$(case $MODEL in amd*) echo 1 ;; *) echo 0 ;; esac)" /tmp/out
}

reasons() { dmesg | grep -c 'no PMU for the VM: a mediated PMU needs the local APIC in the kernel'; }

is "$(guest_with --legacy off)" "yes 0 700000" "parameter off, kernel-irqchip=off: the guest has a PMU"
is "$(guest_with --mediated split)" "yes 0 700000" "kernel-irqchip=split: a mediated PMU"
is "$(reasons)" 0 "nothing is said of them"
is "$(guest_with --mediated off)" "no 0 <not supported>" "kernel-irqchip=off: the guest comes up and sees no PMU"
is "$(reasons)" 1 "one line says why"
