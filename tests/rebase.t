#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make rebase-check: it finds that the series applies to its own base, that lines which
# have moved do not matter, and which patch meets with a conflict, and in which file.
cd "$(dirname "$0")/.." || exit
tree=${TREE:-${BUILD:-$PWD/build}/linux}
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
n=0
point() {
	n=$((n + 1))
	if "${@:2}"; then echo "ok $n - $1"; else echo "not ok $n - $1"; sed 's/^/# /' "$new.out"; fi
}
check() { scripts/rebase-check "$new" >"$new.out" 2>&1; }
said() { grep -q "$1" "$new.out"; }
conflict() { ! check; }

base=$(git -C "$tree" rev-list --max-parents=0 HEAD)
count=$(git -C "$tree" rev-list --count "$base..HEAD")
git -C "$tree" diff --no-renames --name-only --diff-filter=d -R "$base" HEAD |
	xargs git -C "$tree" archive "$base" | tar -x -C "$new"
file=kernel/watchdog_perf.c
sed -i '1i\/* One line more. */' "$new/$file"
point "the base with a line more: no conflict" check
point "all patches apply as they are" said "of $count patches $count apply as they are, 0 merge, 0 conflict"
sed -i '/Try to register using hardware perf events/d' "$new/$file"
point "lines that a patch edits are gone: exit status" conflict
point "the patch that cannot be applied is named" said 'CONFLICTS: perf: Let a hypervisor have the PMU for its guests$'
point "the file is named" said "  $file\$"
point "it is the only one" said ', 1 conflict$'
point "what is no kernel source is refused" sh -c '! scripts/rebase-check /etc 2>&1 | grep -q "patches" && scripts/rebase-check /etc 2>&1 | grep -q "/etc: no kernel source"'
rm -f "$new.out"
echo "1..$n"
