# What people type. Every target does its own set-up.
SHELL := /bin/bash
NODE_MODULES := node_modules/.package-lock.json
WORKSPACES := proto helper controller cli test

.PHONY: help build bench demo demo-down test unit e2e check fuzz soak deb tarball generate packages clean

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(NODE_MODULES): package-lock.json package.json $(wildcard $(WORKSPACES:%=%/package.json))
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

build: $(NODE_MODULES) ## Compiles and bundles into dist/
	@npm run --silent build

demo: build ## Three uplinks in network namespaces, configured before your eyes (KEEP=1 leaves it)
	@node --enable-source-maps test/dist/lab/demo.js $(if $(KEEP),--keep)

demo-down: build ## Removes what `make demo KEEP=1` left
	@node --enable-source-maps test/dist/lab/demo.js --down

packages: ## Installs the Debian packages that the tests need, when root; else says which are missing
	@scripts/packages.sh

check: build ## Format, lint, types, generated code
	@.ci/check

unit: build ## Unit tests
	@scripts/run-tests.sh proto/dist helper/dist controller/dist cli/dist bench/dist

e2e: packages build ## Whole programs on the real kernel, in network namespaces
	@scripts/run-tests.sh test/dist

test: packages build ## Everything: checks, unit tests, whole-program tests
	@.ci/check
	@scripts/run-tests.sh proto/dist helper/dist controller/dist cli/dist bench/dist test/dist

fuzz: build ## A million mutated DHCP replies (SEED= and COUNT= repeat a run)
	@node --enable-source-maps controller/dist/testing/fuzz-dhcp4.js --seed "$(SEED)" --count "$(COUNT)"

soak: build ## kill -9 200 + 200 times, a minute of idling, 20 minutes of churn (DURATION= seconds, KILLS=, SEED=)
	@scripts/packages.sh
	@KILLS=$(or $(KILLS),200) IDLE_SEC=60 node --enable-source-maps --test --test-concurrency=2 \
		test/dist/e2e/crash.test.js test/dist/e2e/idle.test.js
	@node --enable-source-maps test/dist/soak/main.js

bench: build ## MNM beside its peers (ONLY=hotplug,idle N=8 RUNS=20 PEERS=mnm,dhcpcd QUICK=1 MULTI_BINARY=)
	@scripts/packages.sh gcc libc6-dev
	@node --enable-source-maps bench/dist/main.js

deb: build ## dist/deb/mnm_VERSION_ARCH.deb (ARCH=amd64 or arm64, else that of this machine)
	@node scripts/package/deb.mjs $(if $(ARCH),--arch $(ARCH))

tarball: build ## dist/mnm-VERSION-ARCH.tar.gz, with install.sh, for other distributions (ARCH= likewise)
	@node scripts/package/tarball.mjs $(if $(ARCH),--arch $(ARCH))

generate: $(NODE_MODULES) ## Generates proto/src/gen from proto/
	@npm run --silent generate

clean: ## Removes everything that was built
	rm -rf dist */dist node_modules
