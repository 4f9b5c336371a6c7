#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The packages of make deb CONFIG=machine: installed by apt in a fresh Debian, boot what
# was installed in the machine, use it, remove it.  packages.t [MODEL...]
#
# What an administrator does is in Documentation/project/packages.md.  The commands are read
# there: each of them is run here, or it is one of those that are named as not run.
cd "$(dirname "$0")/.." || exit
. scripts/common.sh
set +e
name=packages.t
[ $# -gt 0 ] || set -- intel-8+3 ${ALL:+amd-v2}
text=Documentation/project/packages.md
packages=$BUILD/packages/machine
work=$BUILD/deb/root
root=$work/root
log=$BUILD/deb/root.log
logs=$BUILD/check/logs
mkdir -p "$work" "$logs"
n=0
point() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
logged() { # STATUS NAME: a point, with what is in the log
	sed 's/^/# /' "$log"
	point "$1" "$2"
}
bail() { # WHY: there is no more to test here; other suites go on
	point 1 "$*"
	echo "1..$n"
	exit 1
}
if [ "$(id -u)" = 0 ]; then sudo=(); else sudo=(sudo -n); fi
if ! "${sudo[@]}" true; then
	echo "1..0 # SKIP installing in a root directory needs root, or sudo without a password"
	exit
fi

# The commands of the page's SECTION, or of all, one a line, without comments.
page() { # [SECTION]
	awk -v section="$1" '
		/^#/ { here = section == "" || $0 == "## " section }
		!here || !sub(/^    /, "") { next }
		sub(/ *\\$/, " ") { start = start $0; next }
		{ $0 = start $0; start = ""; sub(/ +# .*/, ""); gsub(/ +/, " "); print }' $text
}

# In $command: the one command of SECTION that has WORDS in it, or is =WORDS, with the
# release's name here.
: >"$work/tried"
find_command() { # SECTION WORDS
	case $2 in
	=*) command=$(page "$1" | grep -xF -e "${2#=}") ;;
	*) command=$(page "$1" | grep -F -e "$2") ;;
	esac
	[ "$(grep -c . <<<"$command")" = 1 ] || bail "$text: in section $1 there is not one command with \"$2\""
	echo "$command" >>"$work/tried"
	command=${command//-mpmu-amd64/-mpmu-machine}
}

in_root() { "${sudo[@]}" chroot "$root" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

# A point: a command of the page, in the root file system.
run_in_root() { # SECTION WORDS DIRECTORY NAME
	find_command "$1" "$2"
	in_root sh -c "cd $3 && $command" >"$log" 2>&1 && ! grep -q '^[WE]: ' "$log"
	logged $? "$4"
}

find_command "" CONFIG=machine
scripts/deb machine | sed 's/^/# /'
[ "${PIPESTATUS[0]}" = 0 ] || bail "no packages: scripts/deb machine"
scripts/deps mmdebstrap sbsigntool systemd-boot-efi openssl | sed 's/^/# /'
image=$(echo "$packages"/linux-image-*.deb)
release=$(dpkg-deb -f "$image" Package | sed 's/^linux-image-//')
debs=("$packages"/*.deb)

# A Debian with what the packages need, but without them; again only when that changes.
codename=$(. /etc/os-release; echo "$VERSION_CODENAME")
mapfile -t sources < <(apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
	grep " $codename" | sort -u)
needs=$(for deb in "${debs[@]}"; do dpkg-deb -f "$deb" Depends; done | tr ',' '\n' | sed 's/ *[(|].*//; s/ //g; /^$/d; /^linux-/d' | sort -u | paste -sd,)
stamp=$(printf '%s\n' "$codename" "$needs" 4)
if [ "$stamp" != "$(cat "$work/stamp" 2>/dev/null)" ]; then
	echo "# mmdebstrap $codename"
	rm -f "$work/stamp" "$work/base.tar"
	"${sudo[@]}" mmdebstrap --quiet --variant=minbase --include="initramfs-tools,udev,cpio,zstd,procps,qemu-system-x86,$needs" \
		--aptopt='APT::Install-Recommends "false"' --aptopt='APT::Get::Assume-Yes "true"' --aptopt='Dpkg::Use-Pty "false"' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		"$codename" "$work/base.tar" "${sources[@]}" >"$log" 2>&1 ||
		{ sed 's/^/# /' "$log" | tail -n 20; bail "no Debian from mmdebstrap"; }
	echo "$stamp" >"$work/stamp"
fi

"${sudo[@]}" rm -rf "$root"
"${sudo[@]}" mkdir -p "$root/packages"
"${sudo[@]}" tar -C "$root" -xf "$work/base.tar"
"${sudo[@]}" cp "${debs[@]}" "$root/packages"
# The machine's kernel has no inotify, without which udev does not load modules.
printf '%s\n' ata_piix sd_mod squashfs | "${sudo[@]}" tee -a "$root/etc/initramfs-tools/modules" >/dev/null

# Install.
run_in_root Install linux-image- /packages "apt installs the packages"
run_in_root Install linux-headers- /packages "apt installs the headers"
[ -e "$root/boot/initrd.img-$release" ]
point $? "initramfs-tools has made an initramfs"
[ "$(dpkg-deb -f "$image" Version)" = "$(in_root dpkg-query -W -f '${Version}' "linux-image-$release")" ]
point $? "dpkg has their version"
in_root mediated-pmu-selftests --list | grep '^mediated_\|^pmu_counters' | sort >"$log"
(cd "$BUILD/selftests/x86_64" && ls mediated_*_test pmu_counters_test) | cmp - "$log" && [ "$(wc -l <"$log")" -gt 10 ]
logged $? "mediated-pmu-selftests has all of the series' tests"
run_in_root "Switch on" update-initramfs / "update-initramfs"

# A module of others.
hello=$work/hello
rm -rf "$hello"
mkdir "$hello"
echo 'obj-m := hello.o' >"$hello/Makefile"
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_DESCRIPTION("made with the packaged headers");\n' >"$hello/hello.c"
make -C "$root/usr/src/linux-headers-$release" M="$hello" modules >"$log" 2>&1
logged $? "a module is built with the headers"

# Secure Boot: what needs no firmware.  The machine's kernel is no program for EFI, as Debian's
# configuration makes it; systemd's stub stands for it.
keys=$work/keys
rm -rf "$keys"
mkdir "$keys"
cp /usr/lib/systemd/boot/efi/linuxx64.efi.stub "$keys/vmlinuz"
script='set -e'
for words in "openssl req" "openssl x509" "k=" "sbsign "; do
	find_command "Secure Boot" "$words"
	script+=$'\n'${command//"/boot/vmlinuz-6.12.117-mpmu-machine"/vmlinuz}
done
(cd "$keys" && sh -c "$script" && sbverify --cert mok.pem vmlinuz) >"$log" 2>&1
logged $? "what is signed for Secure Boot can be verified"

# What is run in the machine: NAME, tab, command.
: >"$work/page"
while IFS=: read -r key section words; do
	[ -n "$key" ] || continue
	find_command "$section" "$words"
	printf '%s\t%s\n' "$key" "$command" >>"$work/page"
done <<-END
	option:Switch on:options kvm_intel
	reload:Switch on:modprobe -r
	off:Go back:rm
	reload-off:Go back:modprobe -r
	check:Check:=mediated-pmu-check
	json:Check:--json
	selftests:Check:--as-is
	watchdog:The hard lockup detector:sysctl
	${ALL:+all-selftests:Check:=mediated-pmu-selftests}
	END

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
"${sudo[@]}" chown "$(id -u)" "$work/root.img"
machine/image/pad "$work/root.img"
logged $status "an image of it"
echo "$release" >"$work/release"

for model; do
	machine/run --model "$model" --script tests/packages.sh --no-skip --no-kvm --timeout 400 --root "$work/root.img" \
		--kernel "$work/vmlinuz" --initrd "$work/initrd" --modules "$root/lib/modules/$release" \
		--file "$work/release" --file "$work/page" --file "$hello/hello.ko" ${ALL:+--cmdline whole=1 --timeout 3600} \
		--out "$logs/packages@$model" >"$logs/packages@$model.txt" 2>&1
	while read -r line; do
		case $line in
		"ok "* | "not ok "*)
			[[ $line = "not "* ]]
			point $((1 - $?)) "$model: ${line#* - }" ;;
		*) echo "# $line" ;;
		esac
	done <"$logs/packages@$model.txt"
done
find_command "" reboot

# Go back.
run_in_root "Go back" purge / "apt removes the packages"
left=$("${sudo[@]}" find "$root/boot" "$root/lib/modules" "$root/usr/src" "$root/usr/bin" "$root/usr/libexec" -name "*$release*" -o -name perf -o -name 'mediated-pmu*' 2>/dev/null)
[ -z "$left" ]
point $? "nothing of them is left"
echo "$left" | sed 's/^/# /'
if [ -n "${ALL:-}" ]; then
	in_root apt-get -q update >/dev/null
	run_in_root "Go back" "apt install linux-perf" / "Debian's perf is back"
fi
rm -f "$work/root.img"
"${sudo[@]}" rm -rf "$root"

# Every command of the page is either run, or has a reason not to be.
{
	cat "$work/tried"
	cat <<-'END'
		make deb
		echo CONFIG_HARDLOCKUP_DETECTOR_PREFER_BUDDY=y >buddy.config
		make deb FRAGMENT=buddy.config
		apt install sbsigntool mokutil
		mokutil --import mok.der
	END
	[ -n "${ALL:-}" ] || { echo "apt install linux-perf"; echo mediated-pmu-selftests; }
} | sort -u >"$work/known"
page "" | sort -u | comm -23 - "$work/known" >"$log"
[ ! -s "$log" ]
logged $? "no other command is on the page"
echo "1..$n"
