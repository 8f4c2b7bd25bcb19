# The front door: `make help`. The work is done by Meson and by the scripts in tools/.
export EXEC ARGS INPUT ROOTFS MUTATE FAST ARCH CPUS MEM HTTP_PORT HEADLESS ICOUNT NET CMDLINE ACCEL ONLY JOBS SOAK MINUTES
export SOURCE_DATE_EPOCH ?= 0
ARCHES := x86_64 aarch64 riscv64
# One architecture where one is meant (make run), all where none is named (make test).
ONE := $(or $(ARCH),x86_64)
ALL := $(or $(ARCH),$(ARCHES))
PYTHON := python3 -B

.DEFAULT_GOAL := help
.PHONY: help run test bench latency compare soak proof lint fmt docs image build host debug setup clean

## make run      build and boot; the page is at http://localhost:8080/
##                 ARCH=x86_64|aarch64|riscv64  CPUS=1..8  MEM=128M  HTTP_PORT=8080  HEADLESS=1  ICOUNT=1  NET=user|none
##                 EXEC=program ARGS="..." INPUT=file ROOTFS=dir|tar: a Linux program of this ARCH instead; its output and exit status, nothing else
ifeq ($(EXEC),)
run:
	$(BOOT)
else
# Ends as the program did, where make can load the function for it; make's own answer to a failure is always 2.
STATUS := build/run/status.$(shell echo $$PPID)
run: run-program
	@$(if $(.LOADED),$(leave $(shell cat $(STATUS); rm $(STATUS))))status=$$(cat $(STATUS)); rm $(STATUS); exit $$status
.PHONY: run-program
run-program:
	$(BOOT); status=$$?; mkdir -p $(dir $(STATUS)); echo $$status >$(STATUS)
-load build/make_exit.so(make_exit_setup)
build/make_exit.so: tools/make_exit.c
	@mkdir -p build; { clang-19 -shared -fPIC $< -o $@ || cc -shared -fPIC $< -o $@; } 2>/dev/null || true
endif
define BOOT
@$(PYTHON) tools/run --check && $(PYTHON) tools/setup --for run $(ONE) >&2 && $(PYTHON) tools/build $(ONE) >&2 && $(PYTHON) tools/run
endef

## make test     all tests, host and booted; ARCH=... only one, ONLY=regex; SOAK=1: full counts, hours
test:
	@$(PYTHON) tools/setup --for test $(ALL)
	@$(PYTHON) tools/test

## make soak     everything made, used and destroyed at random on 4 CPUs, MINUTES=30 for each ARCH; nothing hangs, nothing is lost
soak:
	@$(PYTHON) tools/setup --for run $(ALL)
	@$(PYTHON) tools/build $(ALL)
	@$(PYTHON) tools/soak $(ALL)

## make proof    model checking of the kernel's source with CBMC, minutes to an hour; ONLY=regex; MUTATE=1: does it find seeded mistakes
proof:
	@$(PYTHON) tools/setup --for build
	@$(PYTHON) tools/prove

## make bench    instructions of the kernel's paths, to build/bench.json; ARCH=...
bench:
	@$(PYTHON) tools/setup --for run $(ALL)
	@$(PYTHON) tools/build $(ALL)
	@$(PYTHON) tools/bench $(ALL)

## make compare  the same work on Debian's Linux in the same QEMU: ratios, and how both scale; ARCH=... ROUNDS=3 SCALE=no
compare:
	@$(PYTHON) tools/setup --for run $(ALL)
	@$(PYTHON) tools/build $(ALL)
	@$(PYTHON) tools/compare $(ALL)

## make latency  for how many instructions at a time the kernel keeps interrupts off during long work; ARCH=...
latency:
	@$(PYTHON) tools/setup --for run $(ALL)
	@$(PYTHON) tools/build $(ALL)
	@$(PYTHON) tools/latency $(ALL)

## make lint     clang-tidy, thread-safety analysis, include directions; make fmt: clang-format
lint:
	@$(PYTHON) tools/setup --for lint
	@$(PYTHON) tools/lint

fmt:
	@$(PYTHON) tools/setup --for fmt
	@$(PYTHON) tools/lint --fix-format

## make docs     reference of the interfaces, from abi/, in build/docs/
docs:
	@$(PYTHON) tools/idlc/idlc.py --abi abi --out build/docs-generated
	@rm -rf build/docs && cp -r docs build/docs && cp -r build/docs-generated/docs build/docs/objects
	@echo "docs: build/docs/README.md, build/docs/objects/reference.md"

## make image    kernel and boot image for each ARCH, in build/ARCH/boot/
image build:
	@$(PYTHON) tools/setup --for build $(ALL)
	@$(PYTHON) tools/build $(if $(filter image,$@),$(ALL),$(ONE))

host:
	@$(PYTHON) tools/build host

## make debug    like run, but waits for gdb, which is started with symbols and helper commands
debug:
	@$(PYTHON) tools/run --check
	@$(PYTHON) tools/setup --for debug $(ONE)
	@$(PYTHON) tools/build $(ONE)
	@$(PYTHON) tools/debug

## make setup    install all that any of these needs
setup:
	@$(PYTHON) tools/setup

## make clean    remove what was built; downloaded packages stay (rm -r build removes them too)
clean:
	@rm -rf $(filter-out build/packages,$(wildcard build/*))

help:
	@sed -n 's/^## \{0,1\}//p' $(firstword $(MAKEFILE_LIST))
