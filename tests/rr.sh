# shellcheck shell=sh
# Debian's rr records a program of four threads, and plays it back: in L1, and in a
# guest with a mediated PMU.  rr ends each thread's turn by the PMI of a counter of
# conditional branches, and finds the place again by its exact count: an event too
# many or too few, and the replay goes another way and stops.
#
# With the guest of build/image/l2-software.cpio and, for L1, software.cpio.

# Turns of 3000 branches, so that there are many.  The second recording is to show
# that the program does not do the same each time anyway.
# shellcheck disable=SC2016
recording='
export _RR_TRACE_DIR=/tmp/rr
rm -rf /tmp/rr; mkdir /tmp/rr
rr record -c 3000 -o /tmp/rr/1 threads >/tmp/rr.1 2>/tmp/rr.err; echo "record $?"
rr record -c 3000 -o /tmp/rr/2 threads >/tmp/rr.2 2>>/tmp/rr.err; echo "again $?"
rr replay -a /tmp/rr/1 >/tmp/rr.played 2>>/tmp/rr.err; echo "replay $?"
sed "s/^/recorded /" /tmp/rr.1
sed "s/^/other /" /tmp/rr.2
sed "s/^/played /" /tmp/rr.played
sed "s/^/rr: /" /tmp/rr.err
'

# What rr did $1, judged.
judge() {
	said() { sed -n "s/^$1 //p" /tmp/out; }
	sed 's/^/# /' /tmp/out
	is "$(said record) $(said again)" "0 0" "$1: rr records"
	is "$(said recorded | grep -c '^sum [0-9a-f]* handovers [0-9]*$')" 1 "$1: the program comes to its end"
	handovers=$(said recorded | sed -n 's/.*handovers //p')
	check "$1: the threads get their turns" test "${handovers:-0}" -ge 20
	check "$1: no two runs are the same" test "$(said recorded)" != "$(said other)"
	is "$(said replay) $(said played)" "0 $(said recorded)" "$1: rr plays it back"
}

mkdir /tmp/sw
(cd /tmp/sw && cpio -i -d </machine/files/software.cpio 2>/dev/null) || bail "no software.cpio"
PATH=/tmp/sw/usr/bin:$PATH LD_LIBRARY_PATH=/tmp/sw/usr/lib/x86_64-linux-gnu sh -c "$recording" >/tmp/out 2>&1
judge "L1"

kvm_mode_is_as_given
guest_start rr --mem 512
guest rr "$recording" >/tmp/out
judge "guest"
check "guest: its counters were the processor's" test "$(kvm_stat rr pmu_pmis)" -ge 100
guest_stop rr >/dev/null
is "$?" 0 "guest: it ends"
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
