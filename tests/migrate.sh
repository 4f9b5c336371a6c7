# shellcheck shell=sh
# QEMU migrates a guest with plain pmu=on while its perf counts with all the counters it
# has: through a file, stopped, and then live, by a socket.  Each time another QEMU goes on
# with it, and the counts are as if nothing had been.  On AMD QEMU does not save the PMU.

# Two programs on a vCPU each: whenever it is stopped both have their values in counters.
# As many digits as those of the one loop that is counted before.
LOOPS_FILE=10000000 LOOPS_LIVE=16000000
# Three fixed counters and eight others, all of them in use; a letter for what each counts.
all="instructions:u=i instructions:u=i instructions:u=i cycles:u=c ref-cycles:u=c
r00c4:u=b r00c4:u=b r81d0:u=l r81d0:u=l r82d0:u=s r82d0:u=s"
# More than that.
by_turns="$all r00c4:u=b r81d0:u=l r82d0:u=s"

# QMP, its commands and its answers by pipes as well: nothing is lost, and nothing waits.
qmp() { # GUEST COMMAND [ARGUMENTS]
	echo "{ \"execute\": \"$2\" ${3:+, \"arguments\": { $3 \}} }" >"/tmp/qmp.$1.in"
	# shellcheck disable=SC3045 # busybox has -t
	while read -t 100 -r qmp_line; do
		case $qmp_line in
		'{"return"'*|'{"error"'*) echo "$qmp_line"; return ;;
		esac
	done <"/tmp/qmp.$1.out"
	echo "no answer to $2"
}
# What QEMU says of the guest or, with query-migrate, of the migration.
state() { qmp "$1" "${2:-query-status}" | sed -n 's/.*[{ ]"status": "\([a-z-]*\)".*/\1/p'; }
# It gets there, or stays in another state for too long.
reaches() { # GUEST STATE [COMMAND]
	for _ in $(seq 200); do
		reaches_is=$(state "$1" "$3")
		[ "$reaches_is" != "$2" ] || return 0
		sleep 0.1
	done
	echo "$reaches_is after 20 s"
	return 1
}

# A live migration has sent most of the memory.
most_is_sent() { # GUEST
	for _ in $(seq 200); do
		remaining=$(qmp "$1" query-migrate | sed -n 's/.*"remaining": \([0-9]*\).*/\1/p')
		[ "${remaining:-0}" = 0 ] || [ "$remaining" -gt $((12 << 20)) ] || return 0
		sleep 0.1
	done
	echo "$remaining bytes remain"
	return 1
}
bandwidth() { qmp "$1" migrate-set-parameters "\"max-bandwidth\": $2" >/tmp/qmp; }

qemu_boot() { # GUEST [WORDS FOR QEMU]
	rm -f "/tmp/qmp.$1.in" "/tmp/qmp.$1.out"
	mkfifo "/tmp/qmp.$1.in" "/tmp/qmp.$1.out"
	guest_boot "$1" --cpus 2 --qemu "-chardev pipe,id=q,path=/tmp/qmp.$1 -mon chardev=q,mode=control $2"
	qmp "$1" qmp_capabilities >/tmp/qmp
}
qemu_quit() {
	echo '{ "execute": "quit" }' >"/tmp/qmp.$1.in"
	wait "$(cat "/tmp/guest.$1/pid")"
}

# perf stat's -e for a list of the above.
events() { echo "$*" | tr ' ' '\n' | sed 's/=.*//; s/^/-e /' | tr '\n' ' '; }
# What perf stat counts, in the order of the list; the second is how long it was counting.
stat() { # GUEST FILE
	guest "$1" "cat $2" | awk -F, '/:u/ { print $1, $5 }'
}

# shellcheck disable=SC2086 # lists
counting_begin() { # GUEST LOOPS
	loops=$2
	guest "$1" "
		perf stat -x, -o /tmp/exact $(events $all) work-loop $loops >/tmp/perf.out 2>&1 & exact=\$!
		perf stat -x, -o /tmp/turns $(events $by_turns) work-loop $loops >/tmp/perf.out 2>&1 & turns=\$!
		until [ \$(grep -l work-loop /proc/[0-9]*/comm 2>/dev/null | wc -l) = 2 ]; do sleep 0.02; done
		sleep 0.1"
}
# Instructions and branches of a loop are known to the unit.  Interrupts have cycles, loads
# and stores; an instruction is a cycle here.  SCALED, if not 0: so many percent
# may a count be off that is scaled, by a clock that went on while the guest stood still.
# shellcheck disable=SC2086 # lists
right() { # FILE EVENTS SCALED
	file=$1 scaled=$3
	set -- $2
	[ "$(wc -l <"$file")" = $# ] || { cat "$file"; return 1; }
	for event; do echo "$event"; done | paste -d' ' - "$file" /tmp/one.out | awk -v loops="$loops" -v scaled="$scaled" '
		BEGIN { n["i"] = 7; n["c"] = 7; n["b"] = 3; n["l"] = 2; n["s"] = 2 }
		{
			what = substr($1, length($1))
			want = n[what] * (loops - 1)
			# What one loop takes, where that has been counted.
			got = $2 - (scaled ? 0 : $4)
			printf "%s %d, wanted %d, counting %s %% of the time\n", $1, got, want, $3
			most = scaled ? want * scaled / 100 : what ~ /[cls]/ ? want / 1000 : 0
			if ($2 !~ /^[0-9]+$/ || got < want - most || got > want + most)
				bad = 1
			if (scaled ? $3 < 10 : $3 != 100)
				bad = 1
		}
		END { exit bad }'
}
counting_end() { # GUEST HOW
	# shellcheck disable=SC2016 # the guest's
	is "$(guest "$1" 'kill -0 $exact && kill -0 $turns && echo counting; wait $exact $turns')" counting \
		"$2: in the midst of both programs"
	stat "$1" /tmp/exact >/tmp/exact.out
	stat "$1" /tmp/turns >/tmp/turns.out
	check "$2: all counters: the counts are exact" right /tmp/exact.out "$all" 0
	check "$2: events by turns: the counts are right" right /tmp/turns.out "$by_turns" 50
}

# To be exact nobody else may have a counter.
echo 0 >/proc/sys/kernel/nmi_watchdog
for mode in Y N; do
	kvm_mediated $mode || bail "KVM does not load"
	is "$(kvm_param enable_mediated_pmu)" $mode "enable_mediated_pmu=$mode"
	qemu_boot a
	guest_end a >/tmp/guest.a/boot || { cat /tmp/guest.a/boot /tmp/guest.a/qemu; bail "the guest does not come up"; }
	# shellcheck disable=SC2086 # lists
	guest a "perf stat -x, -o /tmp/one $(events $all) work-loop 00000001 2>&1" >/tmp/out
	stat a /tmp/one >/tmp/one.out
	mark "up-$mode"

	# It is stopped where it comes from, so it waits to be told to go on; QEMU forgets that
	# it has been told to when it is not paused yet, and the guest says nothing ever after.
	counting_begin a $LOOPS_FILE
	qmp a stop >/tmp/qmp
	qmp a migrate '"uri": "file:/tmp/saved"' >/tmp/qmp
	check "a guest is saved, $mode" reaches a completed query-migrate
	qemu_quit a
	qemu_boot b "-incoming file:/tmp/saved"
	check "a guest is restored, $mode" reaches b paused
	qmp b cont >/tmp/qmp
	is "$(state b)" running "it goes on, $mode"
	counting_end b "through a file, $mode"
	rm -f /tmp/saved
	mark "file-$mode"

	qemu_boot c "-incoming unix:/tmp/socket"
	# Most of its memory takes longer than its programs.  The rest does, too, but waits
	# for them to begin.
	qmp b migrate '"uri": "unix:/tmp/socket"' >/tmp/qmp
	check "most memory of a guest that runs is sent, $mode" most_is_sent b
	bandwidth b 100000
	counting_begin b $LOOPS_LIVE
	bandwidth b 1000000000
	check "a guest moves, live, $mode" reaches b completed query-migrate
	check "it goes on by itself, $mode" reaches c running
	qemu_quit b
	counting_end c "live, $mode"
	mark "live-$mode"

	guest c pmu-selfcount >/tmp/out
	is $? 0 "a program counts itself thereafter, $mode"
	is "$(guest c "dmesg | grep -i 'unknown reason\|WARNING: \|BUG: \|stall\|lockup\|unchecked'")" "" \
		"the guest's kernel has no complaint, $mode"
	qemu_quit c
done
is "$(dmesg | grep -ci 'NMI received for unknown reason')" 0 "no unknown NMI"
