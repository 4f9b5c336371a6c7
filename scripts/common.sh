# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Sourced by the other scripts: where things are, how to speak and how to stop.
set -euo pipefail
export LC_ALL=C

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

# What stands at a kernel's place in the repository.
new_files() { (cd "$TOP" && find "${NEW_DIRS[@]}" -type f ! -path 'Documentation/project/*' ! -name '*~' ! -name '.*.sw?' 2>/dev/null || true) | sort; }

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
