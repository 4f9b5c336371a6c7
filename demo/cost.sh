# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What the scripts of demo/bench and demo/growth share, in L1: see demo/cost.py, which
# puts this before them.

each() { echo "$1" | sed 's/\([^,]*\)/-e \1/g; s/,/ /g'; }

# With the NMI watchdog on, as every distribution has it, or with no host event at all.
condition() { # stock|quiet
	case $1 in
	stock) echo 1 ;;
	*) echo 0 ;;
	esac >/proc/sys/kernel/nmi_watchdog
}
