# op-dbus: `make` shows what there is to make.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PROGRAMS := op-discover op-query op-apply op-install op-snapshot op-audit op-embed op-dbus
ALL_BUT_EMBED := $(filter-out op-embed,$(PROGRAMS))
PREFIX ?= /usr/local
# What the package and the archives are made of: release, or debug for tests.
PROFILE ?= release
DESTDIR ?=

.PHONY: help deps build demo test test-vm lint bench claims bench-gpu install uninstall deb dist registry docs clean-test-cache

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install what building and testing need (Debian, as root); starts nothing
	@tests/deps.sh

build: ## the programs, optimised, in target/release
	@set -e; for p in $(PROGRAMS); do cargo build --locked --release -p $$p; done

demo: deps ## discover, create, query, plan, apply, verify: real services in a throw-away root
	@cargo build --locked --quiet $(ALL_BUT_EMBED:%=-p %)
	@tests/demo.sh

# Package by package, so that each is built as it ships: --workspace would give all of them op-embed's features, and
# link its engine into a hundred test programs.
test: deps lint ## everything but the VM: lints, pure logic, programs, real services, a booted machine (as root)
	@tests/root/build.sh >/dev/null
	@tests/machine/build.sh >/dev/null
	@tests/tools.sh >/dev/null
	cargo test --locked $(ALL_BUT_EMBED:%=-p %)
	cargo test --locked -p op-embed
	cargo test --locked -p op_dbus --lib --features engine
	cargo test --locked -p op_dbus -p op_dbus_tests
	@tests/folders.sh

test-vm: test ## the same, and what needs a virtual machine with two NUMA nodes
	cargo test --locked -p op_dbus_tests --test vm --test vectors_vm -- --ignored

lint: ## formatting and clippy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

bench: deps build ## measure beside what people use today, in one run (as root)
	@cargo build --locked --release -p op_dbus_tests --bins
	@tests/bench/run.sh

claims: deps build ## docs/claims.md: what the first design claimed beside what holds on this machine (as root, idle)
	@cargo build --locked --release -p op_dbus_tests --bins
	@tests/bench/claims.sh target/release > target/claims.md && mv target/claims.md docs/claims.md

bench-gpu: ## embeddings on the processor and on a GPU, where a device and a GPU build of ONNX Runtime are there
	@tests/bench/gpu.sh

install: ## all that an installation has, under $(DESTDIR)$(PREFIX), after make build; starts nothing
	@PROGRAMS="$(PROGRAMS)" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" BUILT="target/$(PROFILE)" packaging/install.sh

uninstall: ## take away what make install put there; data and /etc/op-dbus stay
	@PROGRAMS="$(PROGRAMS)" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" packaging/uninstall.sh

deb: ## the Debian package, in target/deb, after make build (Debian 12: it serves 12, 13, Proxmox VE 8 and 9)
	@PROGRAMS="$(PROGRAMS)" BUILT="target/$(PROFILE)" packaging/debian/build.sh target/deb

dist: ## archives of source and programs, bill of materials, checksums, in target/dist (KEY=FILE: signed by minisign)
	@PROGRAMS="$(PROGRAMS)" BUILT="target/$(PROFILE)" packaging/dist.sh target/dist $(KEY)

registry: build ## the shipped mappings as signed packages with an index, in target/registry (KEY=FILE: the secret key)
	@packaging/registry.sh target/registry $(KEY)

docs: ## the library's documentation, in target/doc
	cargo doc --locked --no-deps -p op_dbus

clean-test-cache: ## remove the roots and machines of older recipes
	@tests/root/build.sh clean
	@tests/machine/build.sh clean
	@tests/tools.sh clean
