# Two commands: `make demo` runs the main job, `make test` passes the tests.
# The README says what each does; everything here also works alone.

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CHART := charts/mailrelay-operator
CARGO := cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

.PHONY: demo
demo: ## From a bare checkout to a delivered, verified message on a real cluster
	@tests/prerequisites build cluster mail
	@echo 'demo: compiling the demo itself first; with nothing compiled yet, all of this takes half an hour' >&2
	$(CARGO) run --locked --quiet -p mailrelay-tests --bin demo -- up

.PHONY: demo-down
demo-down: ## Remove what `make demo` made
	@$(CARGO) run --locked --quiet -p mailrelay-tests --bin demo -- down

.PHONY: test
test: ## Unit, golden, process-level, client, mail server, fuzz and cluster tests
	@tests/prerequisites bench build clients cluster fuzz mail peers receiver
	tests/run all

.PHONY: unit
unit: ## Unit, golden and process-level tests: no root, no cluster
	@tests/prerequisites build
	tests/run unit

.PHONY: check
check: format lint docs walls crds chart ## Everything that can be judged without running the product

.PHONY: format
format: ## Formatting
	@$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check

.PHONY: lint
lint: ## Clippy, warnings denied
	@$(CARGO) clippy --locked --workspace --all-targets --all-features --quiet -- -D warnings

.PHONY: docs
docs: ## API documentation, warnings denied
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --locked --workspace --no-deps --document-private-items --quiet

.PHONY: walls
walls: ## Dependency walls, licences, sources
	@"$$(.ci/tools cargo-deny)" --log-level error check bans licenses sources
	$(CARGO) metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null
	.ci/walls

.PHONY: crds
crds: ## crds/ is what the operator's types say
	@$(CARGO) run --locked --quiet -p operator -- crds --check crds
	diff -r crds $(CHART)/files/crds || { echo 'crds: the chart has other files than crds/; run `make generate`' >&2; exit 1; }

.PHONY: generate
generate: ## Write crds/ and the chart's golden renders anew
	@$(CARGO) run --locked --quiet -p operator -- crds --output crds
	cp crds/*.yaml $(CHART)/files/crds/
	tests/chart/golden write

.PHONY: chart
chart: ## helm lint and golden renders
	@tests/chart/golden check

.PHONY: images
images: ## Static binaries in images from scratch
	@tests/prerequisites build
	tests/images/build

.PHONY: cluster-up
cluster-up: ## Start the test cluster
	@tests/prerequisites cluster
	tests/cluster/cluster up

.PHONY: cluster-down
cluster-down: ## Stop the test cluster
	@tests/cluster/cluster down

.PHONY: bench
bench: ## The relay beside other mail servers and the limits of the machine; writes docs/performance.*
	@tests/prerequisites build
	tests/bench/run

.PHONY: submission-bench
submission-bench: ## Authenticated submission over TLS: rate, latency, memory
	@tests/prerequisites build
	tests/bench/submission

.PHONY: delivery-bench
delivery-bench: ## Delivery to one, to many, and to many destinations of which a third are dead
	@tests/prerequisites build
	tests/bench/delivery

.PHONY: permissions
permissions: ## What of its rights the operator used in the cluster tests before, on the same cluster
	@tests/prerequisites build cluster mail
	$(CARGO) test --locked -p mailrelay-tests --features cluster --test permissions -- --nocapture

.PHONY: chaos
chaos: ## A quarter of an hour of trouble on the cluster while clients send; nothing may be lost
	@tests/prerequisites build cluster mail
	MAILRELAY_CHAOS_SECONDS=900 $(CARGO) test --locked -p mailrelay-tests --features cluster --test cluster -- --nocapture chaos

.PHONY: flow
flow: ## 50,000 messages handed over at a scale-down, and a rollout, while clients send
	@tests/prerequisites build cluster mail
	MAILRELAY_QUEUED=50000 MAILRELAY_RATE=200 $(CARGO) test --locked -p mailrelay-tests --features cluster --test cluster -- --nocapture --test-threads=1 flow

.PHONY: operator-bench
operator-bench: ## The operator with 1,000 relays and 10,000 domains, and at each write killed
	@tests/prerequisites build cluster
	tests/bench/operator

.PHONY: fuzz
fuzz: ## Ten minutes for each fuzz target
	@tests/prerequisites build fuzz
	tests/fuzz/run -s 600

.PHONY: crash
crash: ## Power cuts and failing disks from 100,000 seeds, 200 kills of the real process
	@tests/prerequisites build
	tests/crash

.PHONY: signatures
signatures: ## DKIM signatures of 10,000 generated messages, judged by dkimpy and OpenDKIM
	@tests/prerequisites build peers
	MAILRELAY_MESSAGES=10000 $(CARGO) test --locked -p relay --features peers --lib -- --nocapture dkim::tests::others

.PHONY: sbom
sbom: ## What operator and relay are made of, as CycloneDX, on standard output
	@tests/sbom

.PHONY: smoke-bench
smoke-bench: ## Messages per second beside Postfix in the same run
	@tests/prerequisites build
	tests/bench/smoke
