# shellcheck shell=sh
# What a script that runs in L1 (machine/run --script) may use.
#
#   plan is not needed: machine/run counts the points and prints it.
#   ok NAME; not_ok NAME; skip NAME REASON; diag TEXT
#   is GOT WANT NAME          point: the two are equal
#                             A NAME that ends with "# TODO ROW" has to fail until it is done
#   check NAME COMMAND...     point: COMMAND ends with 0 (its output becomes "# ...")
#   selftest NAME [ARG...]    point: a kernel selftest; exit status 4 is a skip
#   bail TEXT                 end the run here, failed
#   mark NAME                 machine/run says the time, and the emulator's, at this point
#   kvm_load [NAME=VALUE...]  (re)load the KVM modules; each parameter goes to the
#                             module that has it
#   kvm_param NAME            its value now, "" when no module has it
#   l2 [OPTION...] COMMAND    boot a guest, run COMMAND there, print its output,
#                             return its exit status (125: guest did not come up or end)
#        --legacy --mediated  reload KVM for it with enable_mediated_pmu=0 or =1
#        --cpus N  --mem MB  --timeout SECONDS (of the machine's clock)
#        --cpu FLAGS          default: host,pmu=on
#        --append TEXT        guest's kernel command line
#        --files DIR          goes into its file system
#        --initrd FILE        another one than the machine's
#        --qemu ARGS          more words for QEMU
#   guest_start NAME [OPTION...]  boot a guest that takes commands; options as for l2
#   guest NAME COMMANDS       run them there in its shell, print their output, return
#                             their exit status (125: no answer); guest_begin and
#                             guest_end are the halves of it
#   in_guest NAME COMMANDS    the same where its output is figures: "status N" in it when
#                             they fail; without an answer the run ends
#   kvm_stat NAME STATISTIC   one of its vCPU's binary statistics, as debugfs has it
#   guest_busy NAME COMMANDS  have its counters in use all the time, and it run COMMANDS over and
#                             over; in the guest, /tmp/rounds.pid is who does
#   guest_exact NAME WHEN     points: they have succeeded, and at least once since the last time
#   guest_stop NAME           end it, return QEMU's exit status
#   guest_boot NAME [OPTION...]  only start QEMU; its process is $guest_pid
#   kvm_mode_is_as_given      point: KVM is in the mode that --kvm-param asks for
#   cmdline NAME              value of NAME=VALUE on the kernel's command line
#   step NAME                 what follows, here and in the machine log, belongs to step
#                             NAME: see machine/figures.py
#   mwindow open|close|mark|run ID ...   windows of the machine log
#   work-loop, pmu-selfcount             workloads of known counts, here and in the guest
#   $four_events              of this vendor, comma between, that any counter can count
#   $first_selector           MSR number of the first event selector
#   $near                     one in so many instructions of a guest may be counted twice, as
#                             VM-entries count (AMD); 0 if none

tap_n=0
tap_failed=0

# shellcheck disable=SC2034 # for the scripts
case $MODEL in
intel*)
	four_events=r00c4,r00c5,r4f2e,r412e
	first_selector=$((0x189)) ;;
*)
	four_events=r00c2,r00c3,rff60,r0964
	first_selector=$((0xc0010003)) ;;
esac
# shellcheck disable=SC2034 # for the scripts
case $MODEL,$QUIRKS in
intel*|*vmrun=host*) near=0 ;;
*) near=1000 ;;
esac

cmdline() { sed -n "s/.*\\b$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline; }

ok() { tap_n=$((tap_n + 1)); echo "ok $tap_n - $1"; }
not_ok() {
	tap_n=$((tap_n + 1))
	case $1 in *"# TODO"*) ;; *) tap_failed=$((tap_failed + 1)) ;; esac
	echo "not ok $tap_n - $1"
}
skip() { tap_n=$((tap_n + 1)); echo "ok $tap_n - $1 # SKIP $2"; }
diag() { echo "$*" | sed 's/^/# /'; }
# Not "Bail out!", which would end all other suites of tests/run, too.
bail() { not_ok "goes on to the end"; diag "$*"; exit 1; }

step_n=0
step() { step_n=$((step_n + 1)); echo "@ $step_n $1"; mwindow mark $step_n; }

# The port is drained first: the mark is seen when it is made.
mark() { echo "MACHINE-MARK $1"; sleep 0.01; }

is() {
	if [ "$1" = "$2" ]; then ok "$3"; return; fi
	not_ok "$3"
	diag "got:    $1"
	diag "wanted: $2"
	return 1
}

check() {
	check_name=$1; shift
	"$@" >/tmp/check.out 2>&1
	check_status=$?
	sed 's/^/# /' /tmp/check.out
	[ $check_status = 0 ] && ok "$check_name" && return
	not_ok "$check_name"
	diag "exit status $check_status: $*"
	return 1
}

selftest() {
	test_path=$(find /machine/selftests -name "$1" -type f 2>/dev/null | head -n 1)
	test_name=$*
	[ -n "$test_path" ] || { not_ok "$test_name"; diag "no such selftest here"; return 1; }
	shift
	"$test_path" "$@" >/tmp/selftest.out 2>&1
	test_status=$?
	sed 's/^/# /' /tmp/selftest.out
	case $test_status in
	0) ok "$test_name" ;;
	4) skip "$test_name" "$(sed -n 's/.*SKIP[ -]*//p; /^Requirement/p' /tmp/selftest.out | head -n 1)" ;;
	*) not_ok "$test_name"; diag "exit status $test_status"; return 1 ;;
	esac
}

kvm_load() {
	for kvm_mod in $(echo "$KVM_MODULES" | tr ' ' '\n' | sed '1!G;h;$!d'); do
		[ ! -d "/sys/module/$kvm_mod" ] || rmmod "$kvm_mod" || return
	done
	for kvm_arg in "$@"; do
		cat /machine/modules/*.parm | grep -qx "${kvm_arg%%=*}" ||
			{ echo "kvm_load: no KVM module has a parameter ${kvm_arg%%=*}" >&2; return 1; }
	done
	for kvm_mod in $KVM_MODULES; do
		kvm_args=
		for kvm_arg in "$@"; do
			grep -qx "${kvm_arg%%=*}" "/machine/modules/$kvm_mod.parm" &&
				kvm_args="$kvm_args $kvm_arg"
		done
		# shellcheck disable=SC2086
		insmod "/machine/modules/$kvm_mod.ko" $kvm_args ||
			{ echo "kvm_load: $kvm_mod$kvm_args refused" >&2; return 1; }
	done
	kvm_loaded=$*
}

kvm_param() { cat /sys/module/kvm*/parameters/"$1" 2>/dev/null | head -n 1; }

# Reload only when that changes something: it costs half a second.
kvm_mediated() {
	[ "$(kvm_param enable_mediated_pmu)" != "$1" ] || return 0
	if [ "$1" = N ] && [ -z "$(kvm_param enable_mediated_pmu)" ]; then return 0; fi
	kvm_keep=
	for kvm_arg in $kvm_loaded; do
		case $kvm_arg in enable_mediated_pmu=*) ;; *) kvm_keep="$kvm_keep $kvm_arg" ;; esac
	done
	# shellcheck disable=SC2086
	kvm_load $kvm_keep enable_mediated_pmu=$1
}

kvm_mode_is_as_given() {
	case " $KVM_PARAMS " in
	*" enable_mediated_pmu=1 "*) kvm_mode=Y ;;
	*) kvm_mode=N ;;
	esac
	is "$(kvm_param enable_mediated_pmu)" $kvm_mode "enable_mediated_pmu=$kvm_mode"
}

# Options of l2 and guest_boot, into l2_*; what is no option stays in l2_rest.
l2_options() {
	l2_cpus=1 l2_mem=256 l2_cpu=host,pmu=on l2_append='' l2_qemu='' l2_files='' l2_timeout=300
	l2_initrd=/machine/l2/initrd l2_rest=''
	while [ $# -gt 0 ]; do
		case $1 in
		--legacy) kvm_mediated N || return; shift; continue ;;
		--mediated) kvm_mediated Y || return; shift; continue ;;
		--*) ;;
		*) l2_rest=$1; shift; continue ;;
		esac
		[ $# -gt 1 ] || { echo "l2: $1 without a value" >&2; return 1; }
		case $1 in
		--cpus) l2_cpus=$2 ;;
		--mem) l2_mem=$2 ;;
		--cpu) l2_cpu=$2 ;;
		--timeout) l2_timeout=$2 ;;
		--append) l2_append=$2 ;;
		--files) l2_files=$2 ;;
		--initrd) l2_initrd=$2 ;;
		--qemu) l2_qemu=$2 ;;
		*) echo "l2: unknown option $1" >&2; return 1 ;;
		esac
		shift 2
	done
}

# In a subshell, becomes QEMU with a guest by l2_options, which runs DIR/command.
l2_exec() { # DIR [WORD...] words to start QEMU with
	l2_dir=$1
	shift
	cp "$l2_initrd" "$l2_dir/initrd"
	(cd "$l2_dir" && echo command | cpio -o -H newc 2>/dev/null) >>"$l2_dir/initrd"
	[ -z "$l2_files" ] ||
		(cd "$l2_files" && find . | cpio -o -H newc 2>/dev/null) >>"$l2_dir/initrd"
	# shellcheck disable=SC2086
	exec "$@" qemu-system-x86_64 -accel kvm $L2_MACHINE -nodefaults -no-user-config \
		-no-reboot -display none -cpu "$l2_cpu" -smp "$l2_cpus" -m "$l2_mem" \
		-kernel /machine/l2/kernel -initrd "$l2_dir/initrd" \
		-append "console=ttyS0 loglevel=5 panic=-1 reboot=t nokaslr $L2_CMDLINE $l2_append" $l2_qemu </dev/null
}

l2() {
	l2_options "$@" || return 125
	# More than one guest may run: nothing is shared.
	l2_dir=$(mktemp -d /tmp/l2.XXXXXX)
	# Debian's echo makes something else of a backslash.
	printf '%s\n' "$l2_rest" >"$l2_dir/command"
	l2_qemu="-serial stdio $l2_qemu"
	(l2_exec "$l2_dir" timeout "$l2_timeout") >"$l2_dir/console" 2>&1
	l2_status=$?
	# Between the marks is the command's output; more than that only on failure.
	sed -n '/^L2-BEGIN/,/^L2-END/ { /^L2-BEGIN/d; /^L2-END/d; p }' "$l2_dir/console" | tr -d '\r'
	l2_end=$(sed -n 's/^L2-END \([0-9]*\).*/\1/p' "$l2_dir/console")
	l2_bad=$(grep -n -m 1 'WARNING: \|BUG: \|Oops\|Kernel panic\|general protection fault' "$l2_dir/console")
	if [ -n "$l2_bad" ]; then
		echo "l2: trouble in the guest's kernel; its console:"
		tail -n "+${l2_bad%%:*}" "$l2_dir/console" | head -n 60 | tr -d '\r' | sed 's/^/l2| /'
		l2_end=125
	fi
	if [ -z "$l2_end" ]; then
		echo "l2: guest ended without an end mark, QEMU with status $l2_status; its console:"
		tail -n 40 "$l2_dir/console" | tr -d '\r' | sed 's/^/l2| /'
		l2_end=125
	fi
	rm -rf "$l2_dir"
	return "$l2_end"
}

# Guests that take commands: see machine/image/take-commands for their side.  What
# belongs to guest NAME is in /tmp/guest.NAME, the messages of QEMU in qemu.
guest_boot() { # NAME [OPTION...]
	guest_dir=/tmp/guest.$1
	shift
	l2_options "$@" || return
	rm -rf "$guest_dir"
	mkdir "$guest_dir" && mkfifo "$guest_dir/p.in" "$guest_dir/p.out" || return
	echo "exec sh /usr/bin/take-commands" >"$guest_dir/command"
	l2_qemu="-chardev pipe,id=p,path=$guest_dir/p -serial chardev:p $l2_qemu"
	l2_append="quiet nmi_watchdog=0 $l2_append"
	(l2_exec "$guest_dir") >"$guest_dir/qemu" 2>&1 &
	guest_pid=$!
	echo $guest_pid >"$guest_dir/pid"
}

guest_start() { # NAME [OPTION...]
	guest_boot "$@" || bail "guest $1 cannot be started"
	guest_end "$1" >"/tmp/guest.$1/boot" ||
		{ cat "/tmp/guest.$1/boot" "/tmp/guest.$1/qemu"; bail "guest $1 does not come up"; }
}

# QEMU has both ends of both pipes open: nothing gets lost between these two.
guest_begin() { printf '%s\n=RUN\n' "$2" >"/tmp/guest.$1/p.in"; }
guest_end() {
	# shellcheck disable=SC3045 # busybox has -t
	while read -t 200 -r guest_line; do
		case $guest_line in
		"=DONE "*) return "${guest_line#=DONE }" ;;
		*) printf '%s\n' "$guest_line" ;;
		esac
	done <"/tmp/guest.$1/p.out"
	return 125
}
guest() { guest_begin "$1" "$2"; guest_end "$1"; }

in_guest() {
	guest "$@"
	guest_status=$?
	[ $guest_status != 125 ] || bail "the guest does not answer: $2"
	[ $guest_status = 0 ] || echo "status $guest_status"
}

kvm_stat() { cat /sys/kernel/debug/kvm/"$(cat "/tmp/guest.$1/pid")"-*/"$2"; }

guest_busy() {
	guest "$1" "
		: >/tmp/rounds
		perf stat -a -o /tmp/all -e cycles,instructions,branches sleep 100000 &
		rounds() {
			while :; do
				{ $2; } >/tmp/out 2>&1 || cat /tmp/out >>/tmp/wrong
				echo >>/tmp/rounds
			done
		}
		rounds &
		echo \$! >/tmp/rounds.pid"
	guest_rounds=0
}

guest_exact() {
	guest_rounds_before=$guest_rounds
	for _ in $(seq 60); do
		guest "$1" 'wc -l </tmp/rounds; cat /tmp/wrong 2>/dev/null' >/tmp/rounds
		guest_rounds=$(head -n 1 /tmp/rounds)
		[ "$guest_rounds" -le "$guest_rounds_before" ] || break
		sleep 0.1
	done
	is "$(sed 1d /tmp/rounds)" "" "$2: the guest's counts are exact"
	check "$2: the guest was busy, $((guest_rounds - guest_rounds_before)) rounds" \
		[ "$guest_rounds" -gt "$guest_rounds_before" ] || guest "$1" 'ps; dmesg | tail -n 20' | sed 's/^/# guest: /'
}

guest_stop() {
	guest_begin "$1" "exit 0"
	wait "$(cat "/tmp/guest.$1/pid")"
	guest_status=$?
	rm -r "/tmp/guest.$1"
	return $guest_status
}
