#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The series as such: it applies without fuzz, a refresh changes nothing, it can
# be mailed, it is clean.
cd "$(dirname "$0")/.." || exit
n=0
point() {
	name=$1
	shift
	n=$((n + 1))
	if out=$("$@" 2>&1); then echo "ok $n - $name"; else echo "not ok $n - $name"; fi
	echo "$out" | sed 's/^/# /'
}
point "patches apply to the base without fuzz" scripts/tree
point "a refresh changes nothing" scripts/refresh --check
point "git am of the mails gives the same tree" scripts/series
point "checkpatch --strict and shellcheck are clean" scripts/style
echo "1..$n"
