#!/bin/sh
# PID 1 of the boot initramfs: mount the base file system (first disk) and what
# belongs to this run (second disk) and go there.
mkdir -p /proc /sys /dev /new
mount -t devtmpfs dev /dev
# A kernel with everything built in has no list here.
[ -f /modules/order ] && while read -r m; do insmod "/modules/$m"; done </modules/order
mount -t squashfs -o ro /dev/sda /new && mount -t squashfs -o ro /dev/sdb /new/machine ||
	echo "machine: cannot mount the disks" >/dev/ttyS0
mount -o move /dev /new/dev
exec switch_root /new /machine/init
