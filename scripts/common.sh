# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Sourced by the other scripts: where things are, how to speak and how to stop.
set -euo pipefail
export LC_ALL=C
# Each script that compiles has its own -j; the Makefile's job server is for scripts.
unset MAKEFLAGS MFLAGS MAKELEVEL

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$TOP/build}
TREE=${TREE:-$BUILD/linux}
[[ $TREE = /* ]] || TREE=$PWD/$TREE
JOBS=${JOBS:-$(nproc)}
# shellcheck source=../base.lock
. "$TOP/base.lock"
# Where whole new files of the series live, as in a kernel tree.
NEW_DIRS=(arch include kernel virt tools Documentation)

name=$(basename "$0")

# One line per step, with the time since the script began.
step() { printf '[%4d s] %s: %s\n' "$SECONDS" "$name" "$*"; }
die() { printf '%s: %s\n' "$name" "$*" >&2; exit 1; }

# run LOG COMMAND...: quiet while it goes well.
run() {
	local log=$1
	shift
	mkdir -p "$(dirname "$log")"
	"$@" >"$log" 2>&1 && return
	{ grep -m 5 -iE '(^|[^a-z_])(error|fatal)[: ]|\*\*\*' "$log" || tail -n 15 "$log"; } >&2
	die "failed: $* (all of it: $log)"
}

# need_space GB DIR WHAT
need_space() {
	local have
	mkdir -p "$2"
	have=$(df -P --block-size=1G "$2" | awk 'NR == 2 { print $4 }')
	[ "$have" -ge "$1" ] || die "$3 needs $1 GB in $2, $have GB are free"
}

sum_of() { sha256sum <"$1" | cut -d' ' -f1; }
has_sum() { [ -r "$1" ] && [ "$(sum_of "$1")" = "$2" ]; }

use_ccache() {
	[ -d /usr/lib/ccache ] || return 0
	export PATH=/usr/lib/ccache:$PATH CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache}
}

# What stands at a kernel's place in the repository; not all of these directories does.
new_files() { (cd "$TOP" && find "${NEW_DIRS[@]}" -type f ! -path 'Documentation/project/*' ! -path 'tools/mediated-pmu-check' ! -path 'tools/mediated-pmu-silicon.c' ! -name '*~' ! -name '.*.sw?' 2>/dev/null || true) | sort; }

# The new files that a patch names.
named_files() { sed '/^diff --git /,$d' "$1" | sed -n 's/^New-file: //p'; }

# A sum over all of the series as the repository has it.  $TREE remembers the
# one it corresponds to, so that neither direction overwrites what only the
# other side has.
repo_sum() {
	local tmp=${tmp:?a directory of the caller}
	(
		cd "$TOP"
		find patches -name '*.patch' -o -name series 2>/dev/null | sort >"$tmp/sum.patches"
		{ cat "$tmp/sum.patches"; while read -r p; do named_files "$p"; done <"$tmp/sum.patches"; } | sort >"$tmp/sum.files"
		xargs -r -d '\n' sha256sum <"$tmp/sum.files" 2>&1 || true
		xargs -r -d '\n' -I{} find {} -perm /100 <"$tmp/sum.files"
	) | sha256sum | cut -d' ' -f1
}

# configure OUT BASE FRAGMENT...: OUT/.config, unless it is there already.  BASE is a goal of
# the kernel's Makefile (tinyconfig) or a file; a later fragment has the last word.  The
# caller's k runs the kernel's Makefile for OUT.
configure() {
	local out=$1 base=$2 fragment sum missing f
	shift 2
	fragment=$out/.fragment.new
	: >"$fragment"
	for f; do
		sed -n 's/^\(# \)\{0,1\}\(CONFIG_[A-Za-z0-9_]*\)[= ].*/\2/p' "$f" >"$fragment.names"
		grep -vwFf "$fragment.names" "$fragment" >"$fragment.rest" || true
		cat "$fragment.rest" "$f" >"$fragment"
	done
	rm -f "$fragment.names" "$fragment.rest"

	sum=$(sum_of "$fragment")
	[ ! -f "$base" ] || sum=$sum-$(sum_of "$base")
	if [ -e "$out/.config" ] && [ "$sum" = "$(cat "$out/.fragment" 2>/dev/null)" ]; then
		rm "$fragment"
		return
	fi
	step "configure"
	if [ -f "$base" ]; then cp "$base" "$out/.config"; else run "$out.log" k "$base"; fi
	run "$out.log" "$TREE/scripts/kconfig/merge_config.sh" -m -O "$out" "$out/.config" "$fragment"
	run "$out.log" k olddefconfig
	# An option can be lost to a dependency.
	missing=$(grep -E '^(CONFIG_|# CONFIG_.* is not set)' "$fragment" | sed 's/^\(CONFIG_[A-Z0-9_]*\)=n$/# \1 is not set/' |
		while read -r line; do
			case $line in
			'# '*) ! grep -q "^$(echo "$line" | cut -d' ' -f2)=" "$out/.config" || echo "$line" ;;
			*) grep -qxF "$line" "$out/.config" || echo "$line" ;;
			esac
		done)
	[ -z "$missing" ] || die "options that ${*##*/} ask for and the kernel did not take:
$missing"
	rm "$fragment"
	echo "$sum" >"$out/.fragment"
}
