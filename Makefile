# SPDX-License-Identifier: GPL-2.0
#
# A facade: each target is one script, which can be run by itself.  All output
# goes to build/.

SHELL := /bin/bash
export BUILD ?= $(CURDIR)/build
export TREE ?= $(BUILD)/linux

.DEFAULT_GOAL := help

help: ## this list
	@echo "Mediated PMU for KVM on Linux 6.12: what can be made"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16 | sed 's/^/  /'

demo: export NO_SELFTESTS = 1
demo: ready ## the feature at work, on an Intel and an AMD model: five tables
	@demo/run

check: ready ## all tests; the last line is "N passed, N failed"
	@tests/run

check-all: export ALL = 1
check-all: kernel-debug check ## all tests, and those on the kernel with lockdep and sanitizers

check-unit: machine ## only the tests that need no kernel
	@tests/run unit-

kernel: tree-keep ## compile the patched kernel, its modules and KVM selftests
	@scripts/kernel

kernel-debug: tree-keep ## the kernel with lockdep, KASAN, UBSAN and KVM_PROVE_MEDIATED_PMU
	@scripts/kernel debug

kernel-base: tree-keep ## the kernel with the base fixes only, for BASE=build/kernel-base make bench
	@scripts/kernel base

machine: deps ## build the emulator with the PMU model
	@scripts/machine

image: kernel ## build what boots in the machine
	@scripts/image

bench: ready ## what a mediated PMU costs the host, on each model: tables and charts
	@scripts/deps gnuplot-nox
	@demo/bench
	@[ -z "$(BASE)" ] || MODES=off demo/perf-cost

bench-growth: ready ## how that cost grows with VMs, vCPUs, events and CPUs: tables and charts
	@scripts/deps gnuplot-nox
	@demo/growth

bench-selectors: ready ## what a guest costs that has more events than counters, on amd-zen5: a table
	@demo/selectors

machine-bench: ready ## what the PMU model costs: against the emulator as it comes
	@scripts/machine-bench

deb: tree-keep ## Debian packages of Debian's own configuration (hours); CONFIG=machine: for the machine (minutes)
	@scripts/deb $(CONFIG)

rebase-check: tree-keep ## does the series apply to a newer 6.12.y of apt's mirrors? SOURCE=...: to that one
	@scripts/rebase-check $(SOURCE)

tree: deps ## from patches/ and new files to a kernel tree in build/linux
	@scripts/tree

refresh: ## from edits committed in build/linux back to patches/ and new files
	@scripts/refresh

series: deps ## mail-ready series in build/series, proven with git am
	@scripts/series

series-check: tree-keep ## build every step of the series, KVM as modules and built in
	@scripts/series-check

config-check: tree-keep ## compile other configurations: arm64, clang, no KVM, one vendor, built in
	@scripts/config-check

style: deps ## checkpatch --strict on the series, shellcheck on our scripts
	@scripts/style

states: ## the picture of a CPU's states, from Documentation/project/states.dot
	@scripts/deps graphviz
	@dot -Tsvg Documentation/project/states.dot -o Documentation/project/states.svg

clean: ## remove build/, with the kernel tree in it
	@scripts/clean

# Not for the list: what the others need.
deps:
	@scripts/deps

tree-keep: deps
	@scripts/tree --keep

ready: machine image

.PHONY: help bench bench-growth bench-selectors demo check check-unit kernel kernel-debug kernel-base machine image machine-bench deb rebase-check tree refresh series series-check config-check style states clean deps tree-keep ready
