#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The packages of make deb CONFIG=machine: installed by apt in a fresh Debian, boot what
# was installed in the machine, use it, remove it.  packages.t [MODEL...]
cd "$(dirname "$0")/.." || exit
. scripts/common.sh
set +e
name=packages.t
[ $# -gt 0 ] || set -- intel-8+3 ${ALL:+amd-v2}
packages=$BUILD/packages/machine
work=$BUILD/deb/root
log=$BUILD/deb/root.log
logs=$BUILD/check/logs
mkdir -p "$work" "$logs"
n=0
point() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
bail() { echo "Bail out! $*"; exit 1; }
if [ "$(id -u)" = 0 ]; then sudo=(); else sudo=(sudo -n); fi
"${sudo[@]}" true || bail "installing in a root directory needs root, or sudo without a password"

scripts/deb machine | sed 's/^/# /'
[ -e "$packages/.stamp" ] || bail "no packages: scripts/deb machine"
scripts/deps mmdebstrap | sed 's/^/# /'
image=$(echo "$packages"/linux-image-*.deb)
release=$(dpkg-deb -f "$image" Package | sed 's/^linux-image-//')
debs=("$packages"/*.deb)

# A Debian with what the packages need, but without them; again only when that changes.
codename=$(. /etc/os-release; echo "$VERSION_CODENAME")
mapfile -t sources < <(apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
	grep " $codename" | sort -u)
needs=$(for deb in "${debs[@]}"; do dpkg-deb -f "$deb" Depends; done | tr ',' '\n' | sed 's/ *[(|].*//; s/ //g; /^$/d; /^linux-/d' | sort -u | paste -sd,)
stamp=$(printf '%s\n' "$codename" "$needs" 1)
if [ "$stamp" != "$(cat "$work/stamp" 2>/dev/null)" ]; then
	echo "# mmdebstrap $codename"
	rm -f "$work/stamp" "$work/base.tar"
	"${sudo[@]}" mmdebstrap --quiet --variant=minbase --include="initramfs-tools,udev,cpio,qemu-system-x86,$needs" \
		--aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' "$codename" "$work/base.tar" "${sources[@]}" >"$log" 2>&1 ||
		{ sed 's/^/# /' "$log" | tail -n 20; bail "no Debian from mmdebstrap"; }
	echo "$stamp" >"$work/stamp"
fi

root=$work/root
"${sudo[@]}" rm -rf "$root"
"${sudo[@]}" mkdir -p "$root/packages"
"${sudo[@]}" tar -C "$root" -xf "$work/base.tar"
"${sudo[@]}" cp "${debs[@]}" "$root/packages"
# The machine's kernel has no inotify, without which udev does not load modules.
printf '%s\n' ata_piix sd_mod squashfs | "${sudo[@]}" tee -a "$root/etc/initramfs-tools/modules" >/dev/null
apt() { "${sudo[@]}" chroot "$root" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin apt-get -q -y --no-install-recommends "$@"; }
# shellcheck disable=SC2046 # names of packages have no blanks
apt install $(cd "$root" && ls packages/*.deb | sed 's,^,/,') >"$log" 2>&1
status=$?
sed 's/^/# /' "$log"
point $status "apt installs the packages"
[ -e "$root/boot/initrd.img-$release" ]
point $? "initramfs-tools has made an initramfs"
[ "$(dpkg-deb -f "${debs[0]}" Version)" = "$("${sudo[@]}" chroot "$root" dpkg-query -W -f '${Version}' "linux-image-$release")" ]
point $? "dpkg has their version"
# What an administrator does, see Documentation/project/packages.md.
for module in kvm_intel kvm_amd; do echo "options $module enable_mediated_pmu=1"; done |
	"${sudo[@]}" tee "$root/etc/modprobe.d/mediated-pmu.conf" >/dev/null
# Not systemd, which would take minutes in the emulator.
# udev's script of the initramfs ends before it has moved /dev here.
printf '#!/bin/sh\nmount -t devtmpfs dev /dev\nuntil [ -b /dev/sdb ]; do sleep 0.1; done\nmount -t squashfs -o ro /dev/sdb /machine && exec /machine/init\n' | "${sudo[@]}" tee "$root/sbin/machine-init" >/dev/null
"${sudo[@]}" chmod 755 "$root/sbin/machine-init"
"${sudo[@]}" mkdir "$root/machine"
"${sudo[@]}" rm -rf "$root/packages"
cp "$root/boot/vmlinuz-$release" "$work/vmlinuz"
cp "$root/boot/initrd.img-$release" "$work/initrd"
"${sudo[@]}" mksquashfs "$root" "$work/root.img" -comp lz4 -noappend -no-progress -quiet >"$log" 2>&1
status=$?
sed 's/^/# /' "$log"
"${sudo[@]}" chown "$(id -u)" "$work/root.img"
machine/image/pad "$work/root.img"
point $status "an image of it"
echo "$release" >"$work/release"

for model; do
	machine/run --model "$model" --script tests/packages.sh --no-skip --no-kvm --timeout 400 --root "$work/root.img" \
		--kernel "$work/vmlinuz" --initrd "$work/initrd" --modules "$root/lib/modules/$release" \
		--file "$work/release" --out "$logs/packages@$model" >"$logs/packages@$model.txt" 2>&1
	while read -r line; do
		case $line in
		"ok "* | "not ok "*)
			[[ $line = "not "* ]]
			point $((1 - $?)) "$model: ${line#* - }" ;;
		*) echo "# $line" ;;
		esac
	done <"$logs/packages@$model.txt"
done

apt purge "linux-image-$release" "linux-headers-$release" linux-perf-mpmu mediated-pmu-tools >"$log" 2>&1
status=$?
sed 's/^/# /' "$log"
point $status "apt removes them"
left=$("${sudo[@]}" find "$root/boot" "$root/lib/modules" "$root/usr/src" "$root/usr/bin" "$root/usr/libexec" -name "*$release*" -o -name perf -o -name 'mediated-pmu*' 2>/dev/null)
[ -z "$left" ]
point $? "nothing of them is left"
echo "$left" | sed 's/^/# /'
rm -f "$work/root.img"
"${sudo[@]}" rm -rf "$root"
echo "1..$n"
