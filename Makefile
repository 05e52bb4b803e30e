# What a person types. Each target is a script that can be run by itself.
CACHE ?= $(or $(MEMLOCK_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/memlock-operator)
CARGO_DENY_VERSION := 0.20.2
MDBOOK_VERSION := 0.5.4
MDBOOK := $(CACHE)/tools/mdbook-$(MDBOOK_VERSION)/bin/mdbook
CARGO_DENY := $(CACHE)/tools/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
SCRIPTS = $(shell git grep -lE '^\#!/usr/bin/env bash|^\# shellcheck shell=bash')

.PHONY: help demo demo-down test packages lint unit image-check reproducible sbom chart cluster-check e2e availability matrix podman fuzz fuzz-short bench arm64 image book cluster cluster-down audit
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

demo: ## a local cluster with the operator and three example pods
	demo/run

demo-down: ## takes the demo away
	demo/down

test: packages lint unit image-check chart cluster-check e2e podman fuzz-short ## everything that must hold before a change lands
	@echo "all tests passed"

packages: ## the Debian packages that the project needs
	tests/cluster/cluster packages

lint: $(CARGO_DENY) ## formatting, clippy, dependencies, scripts
	cargo fmt --all --check
	cargo clippy --locked --all-targets --all-features -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' cargo doc --locked --no-deps --document-private-items --quiet
	$(CARGO_DENY) --locked check --hide-inclusion-graph bans licenses sources
	shellcheck --external-sources $(SCRIPTS)

unit: ## unit, golden, property and HTTP tests
	INSTA_UPDATE=no cargo test --locked

image-check: ## the image: built twice alike, its files, labels and list of crates
	tests/image

chart: ## the chart's renders, schema and rules, with Helm 4 and 3
	tests/cluster/cluster build
	PATH="$$(tests/cluster/cluster path):$$PATH" charts/memlock-operator/check
	helm3=$$(tests/helm3/build) && PATH="$$helm3:$$PATH" charts/memlock-operator/check

cluster-check: ## the local cluster's own guarantees
	tests/cluster/check

e2e: ## the product on the local cluster (MEMLOCK_FULL=1: with the full counts, half an hour)
	tests/e2e/run

matrix: ## the same on the oldest and the newest supported Kubernetes; compiles the oldest the first time
	for version in 1.30 ''; do MEMLOCK_KUBERNETES=$$version tests/e2e/run || exit 1; done

availability: ## admissions at a steady rate while everything is done to the product, twenty rotations of certificates among it
	MEMLOCK_FULL=1 tests/e2e/run availability::

podman: ## what is said of containers without Kubernetes, on Podman
	cargo build --locked --bin memlock-operator
	images/operator
	MEMLOCK_BINARY=$${CARGO_TARGET_DIR:-target}/debug/memlock-operator MEMLOCK_IMAGE=$$PWD/target/images/memlock-operator.tar tests/podman/run

fuzz-short: ## ten seconds of each fuzz target; without a nightly compiler skipped, but not where CI=true
	@if RUSTUP_TOOLCHAIN=nightly cargo --version > /dev/null 2>&1; then fuzz/run 10; \
	elif [ "$${CI:-false}" = false ]; then echo "fuzz-short: skipped, because coverage needs a nightly compiler: rustup toolchain install nightly"; \
	else echo "fuzz-short: coverage needs a nightly compiler: rustup toolchain install nightly" >&2; exit 1; fi

fuzz: ## ten million inputs for each fuzz target; needs a nightly compiler, and hours
	fuzz/run --inputs 10000000

bench: ## what it costs
	cargo bench --locked --bench inject
	cargo bench --locked --bench webhook
	benches/agent
	benches/check
	benches/create
	MEMLOCK_FULL=1 cargo test --locked --lib -- --nocapture heap_tests
	benches/scale

arm64: ## the agent on an emulated arm64 machine; fetches a kernel
	agent/tests/aarch64/run

image: ## target/images/memlock-operator.tar
	images/operator

sbom: ## target/images/memlock-operator.cdx.json: what the image is made of
	images/sbom

reproducible: ## compiles the image twice, in two folders: the same bytes
	tests/reproducible

book: $(MDBOOK) ## target/book/index.html: the documentation for a browser
	docs/book $(MDBOOK)

cluster: ## a local Kubernetes; kubeconfig in target/cluster/kubeconfig
	tests/cluster/cluster up

cluster-down: ## stops it and leaves nothing
	tests/cluster/cluster down

audit: $(CARGO_DENY) ## known vulnerabilities; fetches the advisory database
	$(CARGO_DENY) --locked check advisories

$(CARGO_DENY):
	cargo install cargo-deny --version $(CARGO_DENY_VERSION) --locked --root $(CACHE)/tools/cargo-deny-$(CARGO_DENY_VERSION)

$(MDBOOK):
	cargo install mdbook --version $(MDBOOK_VERSION) --locked --no-default-features --features search --root $(CACHE)/tools/mdbook-$(MDBOOK_VERSION)
