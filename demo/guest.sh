# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Runs in the guest: commands come on the serial line, see machine.sh.
exec </dev/ttyS0
stty raw -echo
echo "=DONE 0"
while read -r command; do
	eval "$command" 2>&1
	echo "=DONE $?"
done
