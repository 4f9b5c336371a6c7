# shellcheck shell=sh
# Linux guests with several processors, on one or several CPUs of the machine: the counts of
# each vCPU are what its programs have, whatever moves, goes or comes.  Called by tests/smp.t,
# which compares the lines "smp ..." and "perf ..." with the machine log.  Guests have 2
# vCPUs, or $VCPUS, from the kernel's command line.

vcpus=${VCPUS:-2}
LOOPS=20000 ROUNDS=6 PERIOD=50021

# On AMD the entry of a guest counts as an instruction of it; the oracle of smp.t has it too.
# shellcheck disable=SC2154 # near, of lib.sh
# What smp-count must print of N vCPUs in window ID, with HOW_OFTEN times the loops.
right() { # ID N HOW_OFTEN
	cat /tmp/counts
	awk -v id="$1" -v n="$2" -v loops=$((LOOPS * ROUNDS * $3)) -v near=$near '
		{
			off = $4 - 7 * loops
			if (off < 0)
				off = -off
			bad += NF != 5 || $1 != "smp" || $2 != id || $3 != NR - 1 ||
			       off > (near ? 7 * loops / near : 0) || $5 != 3 * loops
		}
		END { exit bad || NR != n }' /tmp/counts
}
count_begin() { guest_begin "$1" "smp-count $2 $((LOOPS * $4)) $ROUNDS"; }
count_end() { # GUEST ID N HOW_OFTEN NAME
	guest_end "$1" >/tmp/counts
	check "$5: counts of $3 vCPUs" right "$2" "$3" "$4"
}
# The same where nobody else counts or works: the oracle's window has it too.
count() { count_begin "$@"; count_end "$@"; grep ^smp /tmp/counts; }

start() { # GUEST
	guest_start "$1" --cpus "$vcpus" --qemu "-name $1,debug-threads=on"
	is "$(guest "$1" nproc)" "$vcpus" "guest $1 has $vcpus vCPUs"
	grep -H '^CPU .*/KVM' /proc/"$(cat "/tmp/guest.$1/pid")"/task/*/comm |
		sed 's,.*/task/\([0-9]*\)/comm:CPU \([0-9]*\).*,\2 \1,' | sort -n | cut -d' ' -f2 >"/tmp/vcpus.$1"
}
stop() {
	is "$(guest "$1" "dmesg | grep -i 'unknown reason\|WARNING: \|BUG: \|stall\|lockup\|unchecked'")" "" \
		"guest $1: its kernel has no complaint"
	guest_stop "$1"
	is $? 0 "guest $1 ends well"
}

# Each vCPU goes to a CPU of its own, as far as there are any.
place() { # GUEST
	cpu=0
	while read -r tid; do
		taskset -p $((1 << cpu)) "$tid" >/dev/null
		cpu=$(((cpu + 1) % CPUS))
	done <"/tmp/vcpus.$1"
}
# Whatever the guest does from here to moving_end is done on another CPU every other moment.
moving_begin() { # GUEST
	# shellcheck disable=SC2046
	smp-count move /tmp/moved $(cat "/tmp/vcpus.$1") >/tmp/moves &
	mover=$!
}
moving_end() { # LEAST NAME
	: >/tmp/moved
	wait $mover
	rm /tmp/moved
	check "$2: $(cat /tmp/moves) moves" [ "$(cat /tmp/moves)" -ge "$1" ]
}

# perf stat of all vCPUs; perf's own few instructions fall to any, so the sum is compared.
perf_stat() { # ID LOOPS
	guest a "perf stat -x, -a -A -e instructions:u,branches:u -o /tmp/stat mwindow run $1 smp-count 0 $2 $ROUNDS; grep , /tmp/stat" |
		sed -n "s/^CPU\([0-9]*\),\([0-9]*\),,\([^,]*\),.*,100.00,,\$/perf $1 \1 \3 \2/p"
}

# Each sample has the value of its counter: one for each full period, on each vCPU, and of
# what the programs have there at most one period is without.
perf_record() { # NAME
	nmi=$(guest a "awk '/NMI:/ { for (i = 2; \$i ~ /^[0-9]+\$/; i++) n += \$i; print n }' /proc/interrupts")
	guest a "perf record -q -a -N -B -o /tmp/p -e instructions:uS -c $PERIOD smp-count 0 $((LOOPS * 5)) $ROUNDS 2>&1"
	guest a "awk '/NMI:/ { for (i = 2; \$i ~ /^[0-9]+\$/; i++) n += \$i; print n }' /proc/interrupts" >/tmp/nmi
	nmi=$(($(cat /tmp/nmi) - nmi))
	guest a "perf script -i /tmp/p -D 2>/dev/null | grep '^\.* id .* value'" >/tmp/samples
	check "$1: perf record -a loses nothing" awk -v period=$PERIOD -v vcpus="$vcpus" -v nmi="$nmi" \
		-v least=$((7 * LOOPS * 5 * ROUNDS - PERIOD)) '
		{
			v = 0
			for (i = 1; i <= 16; i++)
				v = v * 16 + index("0123456789abcdef", substr($5, i, 1)) - 1
			n[$3]++; last[$3] = v; lost += $7; all++
		}
		END {
			for (id in n) {
				printf "%d samples, the last at %d\n", n[id], last[id]
				cpus++; bad += n[id] != int(last[id] / period) || last[id] < least
			}
			printf "%d vCPUs, %d lost, %d NMIs for %d samples\n", cpus, lost, nmi, all
			exit bad || lost || cpus != vcpus || nmi != all
		}' /tmp/samples
}

# Where the host has an event of its own, a guest's values do not stay in a CPU's registers.
watchdog() { echo "$1" >/proc/sys/kernel/nmi_watchdog; }

moves_of_a_task() { # LOOPS
	guest a "perf stat -x, -e instructions:u,branches:u,cpu-migrations -o /tmp/stat smp-count 0 $1 $ROUNDS; grep , /tmp/stat" |
		cut -d, -f1 | tr '\n' ' '
}

kvm_mediated N || bail "KVM does not load"
is "$(kvm_param enable_mediated_pmu)" N "enable_mediated_pmu=0"
start a
count a 100 "$vcpus" 1 "parameter off"
moving_begin a
count a 102 "$vcpus" 4 "parameter off, while vCPUs move"
moving_end 10 "parameter off"
stop a
mark off

kvm_mediated Y || bail "KVM does not load with enable_mediated_pmu=1"
is "$(kvm_param enable_mediated_pmu)" Y "enable_mediated_pmu=1"
start a
place a
count a 110 "$vcpus" 1 "each at its place"
mark place

for id in 1 3; do
	perf_stat 12$id 00001
	perf_stat 13$id $((LOOPS + 1))
done
# A program that moves from vCPU to vCPU: with each of its processes.
# shellcheck disable=SC2046
set -- $(moves_of_a_task 00001) $(moves_of_a_task $((LOOPS + 1)))
echo "smp 0 0 $((($4 - $1) / vcpus)) $((($5 - $2) / vcpus))" >/tmp/counts
check "a program that moves between vCPUs: its counts" right 0 1 1
check "... it has moved $6 times" [ "$6" -ge $((ROUNDS * vcpus / 2)) ]
mark stat
moving_begin a
count a 140 "$vcpus" 5 "while vCPUs move"
perf_record "while vCPUs move"
watchdog 0
count a 142 "$vcpus" 10 "while vCPUs move, no watchdog in the host"
moving_end 30 "while vCPUs move"
watchdog 1
place a
mark move

# The last vCPU goes and comes while perf counts them all.
online=/sys/devices/system/cpu/cpu$((vcpus - 1))/online
guest a "mkfifo /tmp/off
perf stat -x, -a -e instructions:u -o /tmp/all sh -c ': >/tmp/on; read -r line </tmp/off' &
until [ -e /tmp/on ]; do sleep 0.1; done
echo 0 >$online"
is "$(guest a nproc)" $((vcpus - 1)) "a vCPU goes"
count a 150 $((vcpus - 1)) 1 "a vCPU has gone"
guest a "echo 1 >$online"
count a 152 "$vcpus" 1 "a vCPU is back"
# As on bare metal, an event of a CPU ends with it.
guest a 'echo >/tmp/off; wait; grep , /tmp/all' | cut -d, -f1 >/tmp/all
check "perf stat -a has seen it go: $(cat /tmp/all)" [ "$(cat /tmp/all)" -ge $((2 * 7 * LOOPS * ROUNDS * (vcpus - 1))) ]
mark vcpu

# A CPU goes and comes while the guest counts: its vCPUs go elsewhere.
if [ "$CPUS" -gt 1 ]; then
	for i in 0 2; do
		place a
		count_begin a 16$i "$vcpus" 20
		sleep 0.1
		echo 0 >/sys/devices/system/cpu/cpu1/online
		sleep 0.1
		echo 1 >/sys/devices/system/cpu/cpu1/online
		count_end a 16$i "$vcpus" 20 "a CPU goes and comes"
		grep ^smp /tmp/counts
	done
	place a
	mark cpu
fi

# Another VM on the same CPUs.
start b
place b
for i in 0 2; do
	watchdog $((i / 2))
	moving_begin b
	count_begin a 17$i "$vcpus" 5
	count_begin b 18$i "$vcpus" 5
	count_end a 17$i "$vcpus" 5 "guest a, with another VM"
	count_end b 18$i "$vcpus" 5 "guest b, with another VM"
	moving_end 2 "two VMs"
done
mark two
stop b
stop a
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI in the host"
