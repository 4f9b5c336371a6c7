#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Build the machine's emulator: unpack Bochs, apply the patches, add the new
# files, configure, compile.  A line per step; $O/build.log has the rest.
#
#   build.sh machine	Bochs with the PMU model	-> $O/bochs
#   build.sh stock	Bochs as it comes, but for patches/series.stock: what
#			the cost of the model is measured against
#
# Environment:
#   BOCHS_TARBALL	bochs_3.0+dfsg.orig.tar.xz
#   BOCHS_SHA256	its sum, checked if given
#   O			where to build; everything below it is thrown away
#			when anything that goes in has changed
#   PMU_O		where machine/pmu is built (default: $O/pmu)
#   JOBS		default: number of processors
#
# ccache is used when it is there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
variant=${1:-machine}
: "${BOCHS_TARBALL:?path of the Bochs tarball}"
: "${O:?where to build}"
JOBS=${JOBS:-$(nproc)}

say() { echo "bochs ($variant): $*"; }
die() { say "$*" >&2; exit 1; }

case $variant in
machine) series=series ;;
stock) series=series.stock ;;
*) die "no such variant" ;;
esac

[ -r "$BOCHS_TARBALL" ] || die "cannot read $BOCHS_TARBALL"
sum=$(sha256sum <"$BOCHS_TARBALL")
sum=${sum%% *}
[ "$sum" = "${BOCHS_SHA256:-$sum}" ] || die "$BOCHS_TARBALL has the wrong sum $sum"

mkdir -p "$O"
O=$(cd "$O" && pwd)
PMU_O=${PMU_O:-$O/pmu}
log=$O/build.log

if [ "$variant" = machine ]; then
	say "PMU model"
	mkdir -p "$PMU_O"
	PMU_O=$(cd "$PMU_O" && pwd)
	make -s -C "$here/../pmu" O="$PMU_O" >"$log" 2>&1 || { cat "$log"; die "machine/pmu does not build"; }
fi

# Everything that goes in.
inputs() {
	echo "$sum" "$variant"
	cat "$here/build.sh" "$here/patches/$series"
	while read -r p; do cat "$here/patches/$p"; done <"$here/patches/$series"
	[ "$variant" = stock ] && return
	find "$here/src" -type f | LC_ALL=C sort | xargs cat
	cat "$here"/../pmu/*.[ch]
}
stamp=$(inputs | sha256sum)
if [ -x "$O/bochs" ] && [ "$(cat "$O/stamp" 2>/dev/null)" = "$stamp" ]; then
	say "up to date"
	exit 0
fi
rm -f "$O/stamp"

say "unpack"
rm -rf "$O/src"
mkdir "$O/src"
tar -C "$O/src" --strip-components=1 -xf "$BOCHS_TARBALL"

while read -r p; do
	say "apply $p"
	patch -d "$O/src" -p1 --fuzz=0 --no-backup-if-mismatch <"$here/patches/$p" >"$log" 2>&1 ||
		{ cat "$log"; die "$p does not apply"; }
done <"$here/patches/$series"

set -- --enable-smp --enable-cpu-level=6 --enable-x86-64 --enable-vmx=2 --enable-svm \
	--enable-avx --enable-evex --enable-all-optimizations --enable-pci --with-nogui \
	--disable-plugins --disable-readline --enable-logging
flags=-O3
libs=
if [ "$variant" = machine ]; then
	say "add new files"
	cp -R "$here/src/." "$O/src/"
	set -- "$@" --enable-instrumentation=instrument/pmu
	flags="$flags -I$here/../pmu"
	libs=$PMU_O/libpmu.a
fi

[ -d /usr/lib/ccache ] && PATH=/usr/lib/ccache:$PATH
cd "$O/src"
say "configure"
./configure "$@" CFLAGS=-O3 CXXFLAGS="$flags" LIBS="$libs" >"$log" 2>&1 ||
	{ tail -20 "$log"; die "configure failed"; }
say "compile"
make -j"$JOBS" >>"$log" 2>&1 || { grep -B2 -A6 -m1 'error:' "$log" || tail -20 "$log"; die "make failed"; }
cp bochs "$O/bochs.new"
mv "$O/bochs.new" "$O/bochs"	# the old one may be running
echo "$stamp" >"$O/stamp"
say "$O/bochs"
