# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2046,SC2086 # words are to be split
#
# What runs in L1 for demo/growth, which takes the figures from the machine log.  Steps
# are SCENE/N/CONDITION, where N is what grows.  $PART is "one", for what grows on a
# machine with one CPU, or "cpus", for what depends on how many it has.  "loads GUEST N"
# is the statistic pmu_loads, before and after what is measured; "count EVENT N RUNNING"
# what perf counted in a guest, and for which part of the time, in percent; "crowd ..." and
# "life ..." are of demo/crowd.c.

# The first counts what the programs here have a known number of.  The last of those that
# each have a counter are on Intel's fixed counters.  Nothing counts instructions in user
# mode: KVM would have to count CPUID, which it emulates.
case $MODEL in
intel*)
	list=r00c4:uD,r00c5,r4f2e,r412e,r81d0,r82d0,r83d0,r00c4:k,cycles,instructions:k,ref-cycles
	more=r00c5:u,r4f2e:u,r412e:u,r81d0:u,r82d0:u,r83d0:u,r00c5:k,r4f2e:k,r412e:k,r81d0:k,r82d0:k
	host_list=r00c4:DH,r00c5:DH,r4f2e:DH,r412e:DH,r81d0:DH,r82d0:DH,r83d0:DH,r00c4:kDH,cycles:DH,instructions:DH,ref-cycles:DH
	models="host Skylake-Server,pdcm=on Skylake-Server qemu64"
	guest_events="1 2 4 8 11" multiplexed="16 22" host_events="0 1 2 4 6 8 11" ;;
*)
	list=r00c2:uD,r00c3,rff60,r0964,r0129,r00c2:k
	more=r00c3:u,rff60:u,r0964:u,r0129:u,r00c3:k,rff60:k
	host_list=r00c2:DH,r00c3:DH,rff60:DH,r0964:DH,r0129:DH,r00c2:kDH
	models="host EPYC qemu64"
	guest_events="1 2 4 6" multiplexed="8 12" host_events="0 1 2 3 4 6" ;;
esac
first() { echo "$1" | cut -d, -f1-"$2"; }	# LIST N
four=$(first $list 4)

loads() { for g in "$@"; do echo "loads $g $(kvm_stat "$g" pmu_loads)"; done; }

# A program that is counted by EVENTS, in a guest, and in window 0x1000.
counted() { # STEP GUEST EVENTS PROGRAM...
	counted_step=$1 counted_guest=$2 counted_events=$3
	shift 3
	step "$counted_step"
	loads "$counted_guest"
	in_guest "$counted_guest" "perf stat -x, -o /tmp/stat -e $counted_events $* && grep , /tmp/stat" >/tmp/counted
	awk -F, '/^#/ { next } NF < 5 { print; next } { print "count", $3, $1, $5 }' /tmp/counted
	loads "$counted_guest"
}

# VMs of demo/crowd.c: what it prints has the statistics.
crowd() { # STEP WORDS
	step "$1"
	shift
	/machine/files/crowd "$@" || bail "crowd $*: status $?"
}

# VMs, and vCPUs of a VM, that take turns on a CPU.  Alone on it, a vCPU executes CPUID.
turns() {
	for c in quiet stock; do
		condition $c
		crowd vms/1/$c exits 1
		for n in 2 4 8 16; do
			crowd vms/$n/$c turns $n 1 4
			crowd vcpus/$n/$c turns 1 $n 4
		done
		for n in $guest_events; do crowd events-switch/$n/$c turns 2 1 $n; done
	done
}

kill_guest() {
	kill "$(cat "/tmp/guest.$1/pid")"
	wait
}

# Events that a guest has.  What it has used once stays used for a while: their number grows.
guest_events() {
	condition quiet
	step boot/events
	guest_start v --mem 128
	for n in $guest_events $multiplexed; do
		events=$(first $list,$more $n)
		counted events-exit/$n/quiet v $events cpuid-loop long
		counted events-return/$n/quiet v $events port-loop
	done
	kill_guest v
}

# Events that the host has, beside four of a guest.
host_events() {
	condition quiet
	step boot/host
	guest_start v --mem 128
	for n in $host_events; do
		rm -f /tmp/ready /tmp/end
		mkfifo /tmp/ready /tmp/end
		if [ $n != 0 ]; then
			perf stat -x, -a -o /tmp/stat $(each "$(first $host_list $n)") \
				sh -c 'echo >/tmp/ready; read -r l </tmp/end' &
			host=$!
			read -r _ </tmp/ready
		fi
		counted host-exit/$n/quiet v $four cpuid-loop
		counted host-return/$n/quiet v $four port-loop
		[ $n != 0 ] || continue
		echo >/tmp/end
		wait $host
		# A pinned event without a counter has not been counted.
		echo "host $n $(grep -c '^[0-9]' /tmp/stat)"
	done
	kill_guest v
}

# Guests of QEMU's models of processors, as libvirt asks for them.
models() {
	n=0
	for model in $models; do
		n=$((n + 1))
		step boot/$model
		guest_start m --mem 128 --cpu $model,pmu=on
		for c in stock quiet; do
			condition $c
			counted model-exit/$n/$c m $four cpuid-loop
			counted model-return/$n/$c m $four port-loop
		done
		kill_guest m
	done
}

# A VM on each CPU, at the same time, then VMs that come and go.
cpus() {
	for c in quiet stock; do
		condition $c
		crowd cpus-exit/$CPUS/$c exits $CPUS
	done
	condition quiet
	life on
	kvm_mediated N || bail "KVM does not load with enable_mediated_pmu=0"
	life off
}

# What the first VMs cost since KVM was loaded is left out.
life() { # MODE
	crowd warm/$CPUS/$1 life $CPUS 4
	crowd life/$CPUS/$1 life $CPUS 16
}

kvm_mediated Y || bail "KVM does not load with enable_mediated_pmu=1"
# Real-time tasks may have all of the time, and change at each tick.
echo -1 >/proc/sys/kernel/sched_rt_runtime_us
echo 10 >/proc/sys/kernel/sched_rr_timeslice_ms
case $PART in
one)
	turns
	guest_events
	host_events
	models ;;
cpus) cpus ;;
*) bail "PART is '$PART': one or cpus" ;;
esac
