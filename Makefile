# Neutral rather than empty: an empty GOFLAGS lets `go env -w GOFLAGS` through.
export GOFLAGS := -mod=readonly
export GOWORK := off

ARCH ?= $(shell go env GOARCH)
IMAGE ?= podfqdn:dev
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
DATE ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
FUZZTIME ?= 10s
CLUSTER ?= dev
DOMAIN ?= cluster.local
REPS ?= 20
ENGINES ?= docker podman buildah

BUILD = CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags "-s -w -buildid="
# vet and staticcheck use the mode of the tests, so that everything is compiled once. CoreDNS is compiled without -race,
# like the demo; `make race` runs those tests with it.
RACE = CGO_ENABLED=1 GOFLAGS="$(GOFLAGS) -race"
PLAIN = CGO_ENABLED=0
# The kubectl plugin needs client-go, which is also compiled once, without -race.
PLUGIN = ./identity/kube/... ./cmd/kubectl-podfqdn/...
PODFQDN = $$(go list ./... | grep -v -e '/identity/kube$$' -e '/cmd/kubectl-podfqdn$$')
# Tests in integration run the product's binary, which go's test cache does not track.
UNCACHED = -vet=off -count=1

# Text profiles of two modules cannot be merged; the binaries' coverage data can.
COVER = -vet=off -cover -covermode=atomic -coverpkg=$$(go -C $(CURDIR) list ./identity/... | grep -v '/identity/kube$$' | paste -sd ,)
COVERDATA = -args -test.gocoverdir=$(CURDIR)/bin/cover

# make cluster-down CLUSTER=e2e-dev removes a cluster that a killed run left behind.
ONLY ?= 0
E2E = ../../bin/e2e.test -test.v -test.parallel 16 -test.timeout 25m -image $(IMAGE) -tools "$(TOOLS)" -domain $(DOMAIN) -load $(CURDIR)/dist/podfqdn-$(ARCH).tar -plugin $(CURDIR)/bin/kubectl-podfqdn
E2ECLUSTER = timeout --foreground 60m ../../bin/cluster run -id e2e-$(CLUSTER) -k8s "$(K8S)"

comma = ,
# $(call quote,TEXT) is one word for the shell, whatever is in it; $(call given,NAME) is the variable's value
# so, as the user gave it, and '' if it is only this file's.
quote = '$(subst ','\'',$(1))'
given = $(call quote,$(if $(filter-out file,$(origin $(1))),$(value $(1))))
# $(call stage,TITLE,COMMAND) prints the title, runs the command, and prints the seconds.
stage = @echo "== $(1)"; start=$$(date +%s); $(2) || exit; echo "== $(1): $$(($$(date +%s) - start)) s"

# make release push is one after the other, whatever -j says; Go uses all cores by itself.
.NOTPARALLEL:

.PHONY: help demo quick test race test-kerberos faults faults-long test-release build plugin release push cosign sign publish outdated image image-tar lint lint-root lint-integration staticcheck fuzz cover cluster cluster-down test-cluster e2e bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {gsub(/\$$\$$/, "$$"); printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## one Pod, a real CoreDNS on loopback, and the files that appear
	@$(PLAIN) go -C integration run ./demo -podfqdn $(CURDIR)/bin/podfqdn

quick: ## the tests of everything that runs in the Pod, without vet and the race detector
	$(call stage,quick,$(PLAIN) go test -vet=off $(PODFQDN))

test: lint-root ## everything that needs no root: vet, staticcheck, tests with the race detector
	$(call stage,test,$(RACE) go test -vet=off $(PODFQDN))
	$(call stage,test plugin,$(PLAIN) go test -vet=off $(PLUGIN))
	$(call stage,test integration,$(PLAIN) go -C integration test $(UNCACHED) ./...)

faults: ## breaks what podfqdn depends on, one thing at a time, and checks what must hold then
	$(call stage,build faults,$(PLAIN) go -C integration test -vet=off -c -tags faults -o $(CURDIR)/bin/faults.test ./faults)
	@cd integration/faults && ../../bin/faults.test -test.timeout 10m

faults-long: ## the same, with every fault in every place
	$(call stage,build faults,$(PLAIN) go -C integration test -vet=off -c -tags faults -o $(CURDIR)/bin/faults.test ./faults)
	@cd integration/faults && ../../bin/faults.test -test.timeout 60m -long

# Without release, which starts no goroutine and would take longer than all the others.
race: ## the tests of integration with the race detector too
	$(call stage,race integration,$(RACE) go -C integration test $(UNCACHED) $$(go -C integration list ./... | grep -v '/release$$'))

test-kerberos: ## compares keytabs with MIT krb5, and tries extracted keys on a real KDC (needs krb5-kdc, krb5-admin-server, krb5-user)
	$(call stage,test kerberos,$(PLAIN) go -C integration test -vet=off -count=1 -tags kerberos ./kerberos/...)

test-release: ## a whole release, made twice, signed, and what is in it; the Dockerfile (root; needs git, qemu-user-static, buildah)
	$(call stage,test release,$(PLAIN) go -C integration test -vet=off -count=1 -tags release -timeout 60m -v ./release)

build: ## bin/podfqdn
	@$(BUILD) -o bin/podfqdn ./cmd/podfqdn

plugin: ## bin/kubectl-podfqdn; in the PATH it is kubectl podfqdn
	@$(BUILD) -o bin/kubectl-podfqdn ./cmd/kubectl-podfqdn

release: ## dist/release: images, SBOMs, the plugin's archives, examples and sums of the commit (VERSION=v1.2.3 IMAGE=REGISTRY/podfqdn)
	@$(PLAIN) go -C integration run ./release build -version $(call given,VERSION) -image $(call given,IMAGE) -o $(call quote,$(CURDIR)/dist/release)

push: ## dist/release to the registry it was made for, with the credentials of docker or podman
	@$(PLAIN) go -C integration run ./release push -release $(call quote,$(CURDIR)/dist/release) -image $(call given,IMAGE) -version $(call given,VERSION)

# A module of its own, so that it has the dependencies it was released with.
cosign: ## bin/cosign, which signs and verifies
	@$(PLAIN) go -C integration/release/cosign build -trimpath -buildvcs=false -ldflags "-s -w" -o $(call quote,$(CURDIR)/bin/cosign) tool

sign: cosign ## what was pushed, and SHA256SUMS, by cosign (KEY=cosign.key; COSIGN_PASSWORD opens it)
	@$(PLAIN) go -C integration run ./release sign -release $(call quote,$(CURDIR)/dist/release) -cosign $(call quote,$(CURDIR)/bin/cosign) -key $(call quote,$(if $(wildcard $(KEY)),$(abspath $(KEY)),$(KEY)))

image: ## the container image, by the first of ENGINES that answers (GO_IMAGE=golang@sha256:… is another base than the Dockerfile's)
	@for engine in $(ENGINES) none; do $$engine info >/dev/null 2>&1 && break; done; \
	if [ $$engine = none ]; then echo "make image: none of these answers: $(ENGINES); make image-tar needs no engine" >&2; exit 1; fi; \
	$$engine build --platform linux/$(ARCH) $(if $(GO_IMAGE),--build-arg $(call quote,GO_IMAGE=$(GO_IMAGE))) --build-arg SOURCE_DATE_EPOCH=$(DATE) \
		--build-arg $(call quote,VERSION=$(VERSION)) --build-arg $(call quote,REVISION=$(REVISION)) -t $(call quote,$(IMAGE)) .

image-tar: ## the same image as dist/podfqdn-ARCH.tar, without an engine (ARCH=amd64, arm64, ppc64le, riscv64, s390x)
	@GOOS=linux GOARCH=$(ARCH) $(BUILD) -o dist/$(ARCH)/podfqdn ./cmd/podfqdn
	@$(PLAIN) go -C integration run ./release image -o $(call quote,$(CURDIR)/dist/podfqdn-$(ARCH).tar) -binary $(call quote,$(CURDIR)/dist/$(ARCH)/podfqdn) \
		-arch $(ARCH) -tag $(call quote,$(IMAGE)) -version $(call quote,$(VERSION)) -revision $(call quote,$(REVISION)) -date $(DATE)

publish: ## what is in dist/release as a release of the forge, with its section of CHANGELOG.md (needs gh, and GH_TOKEN)
	@version=$$(sed -n 's/.*:\(.*\)@.*/\1/p' dist/release/image.txt 2>/dev/null); \
	if [ -z "$$version" ]; then echo "make publish: dist/release does not have a release: make release push sign writes and uploads one" >&2; exit 1; fi; \
	awk -v version="$$version" '/^## / {on = $$2 == version; next} on' CHANGELOG.md >dist/notes.md || exit; \
	if ! grep -q . dist/notes.md; then echo "make publish: CHANGELOG.md does not say what $$version changes: write its section, \"## $$version\"" >&2; exit 1; fi; \
	case $$version in (*-*) pre=--prerelease;; (*) pre=;; esac; \
	cd dist/release || exit; \
	if ! sha256sum --check --strict --quiet SHA256SUMS; then echo "make publish: dist/release is not as it was built: make release again" >&2; exit 1; fi; \
	if ! [ -s SHA256SUMS.sig ]; then echo "make publish: dist/release is not signed: make sign KEY=cosign.key" >&2; exit 1; fi; \
	gh release create "$$version" --verify-tag --title "$$version" $$pre --notes-file ../notes.md \
		$$(sed -n 's/^[0-9a-f]*  \([^/]*\)$$/\1/p' SHA256SUMS) SHA256SUMS SHA256SUMS.sig

lint: lint-root lint-integration ## go vet and staticcheck, for integration too

lint-root: staticcheck
	$(call stage,vet,$(RACE) go vet $(PODFQDN) && $(PLAIN) go vet $(PLUGIN))
	$(call stage,staticcheck,$(RACE) bin/staticcheck $(PODFQDN) && $(PLAIN) bin/staticcheck $(PLUGIN))

lint-integration: staticcheck
	$(call stage,vet integration,$(PLAIN) go -C integration vet -tags cluster$(comma)e2e$(comma)kerberos$(comma)faults$(comma)release ./...)
	$(call stage,staticcheck integration,cd integration && $(PLAIN) ../bin/staticcheck -tags cluster$(comma)e2e$(comma)kerberos$(comma)faults$(comma)release ./...)

staticcheck:
	$(call stage,build staticcheck,$(PLAIN) go -C integration build -o $(CURDIR)/bin/staticcheck honnef.co/go/tools/cmd/staticcheck)

outdated: ## the modules in the two programs of which a newer patch release is served; it asks the module proxy
	@for os in linux darwin windows; do \
		linked=$$(GOOS=$$os CGO_ENABLED=0 go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}' ./cmd/...) || exit; \
		modules=$$(printf '%s\n' $$modules $$linked | sort -u); \
	done; \
	selected=$$(go list -m $$modules) && newest=$$(go list -m $$(printf '%s@patch\n' $$modules)) || exit; \
	printf '%s\n' "$$selected" "$$newest" | awk '!($$1 in at) {at[$$1] = $$2; next} \
		$$2 != at[$$1] && $$2 !~ /[-.][0-9]+-[0-9a-f]+$$/ {print $$1 " " at[$$1] ": " $$2 " is served"; behind++} \
		END {if (!behind) print "no module in the programs is behind its patch releases"}'

fuzz: ## each fuzz target for FUZZTIME (10s; 10m is the long form, 10000000x a number of executions)
	@packages=$$(go list ./...) || exit; for package in $$packages; do \
		targets=$$(go test -list '^Fuzz' $$package) || exit; \
		for target in $$(echo "$$targets" | grep '^Fuzz'); do \
			echo "== $$package $$target"; \
			go test -vet=off -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$package || exit; \
		done; \
	done

cover: ## statements that the tests of both modules reach, without those that need a cluster (root)
	@rm -rf bin/cover && mkdir -p bin/cover && chmod 1777 bin/cover
	@$(RACE) go test $(COVER),./cmd/podfqdn $(PODFQDN) $(COVERDATA)
	@$(PLAIN) go test $(COVER),./identity/kube,./cmd/kubectl-podfqdn $(PLUGIN) $(COVERDATA)
	@$(PLAIN) go -C integration test $(COVER) ./... $(COVERDATA)
	@GOCOVERDIR=$(CURDIR)/bin/cover $(MAKE) faults
	@go tool covdata percent -i=bin/cover
	@go tool covdata textfmt -i=bin/cover -o=bin/cover.out
	@go tool cover -func=bin/cover.out | tail -1

cluster: image-tar ## a Kubernetes of one node with the image in it (root; CLUSTER=dev, K8S=1.36): eval "$$(bin/cluster env)"
	@$(PLAIN) go -C integration build -o $(CURDIR)/bin/cluster ./cluster/cmd
	@cd integration && timeout --foreground 45m ../bin/cluster up -id $(CLUSTER) -k8s "$(K8S)" $(CURDIR)/dist/podfqdn-$(ARCH).tar

cluster-down: ## ends the cluster and removes all of it
	@$(PLAIN) go -C integration build -o $(CURDIR)/bin/cluster ./cluster/cmd
	@timeout --foreground 2m bin/cluster down -id $(CLUSTER)

test-cluster: ## the tests of the cluster itself: what it has, and that nothing is left of it (root)
	$(call stage,test cluster,$(PLAIN) go -C integration test -vet=off -count=1 -tags cluster -timeout 20m ./cluster/...)

e2e: image-tar plugin ## every scenario in real Pods (root; K8S=1.36, ONLY=7), or in your own cluster: KUBECONFIG=… IMAGE=… TOOLS=… DOMAIN=…
	$(call stage,build e2e,$(PLAIN) go -C integration build -o $(CURDIR)/bin/cluster ./cluster/cmd && \
		$(PLAIN) go -C integration test -vet=off -tags e2e -c -o $(CURDIR)/bin/e2e.test ./e2e)
	@cd integration/e2e && if [ -n "$$KUBECONFIG" ]; then $(E2E) -only $(ONLY); else \
		$(E2ECLUSTER) -- $(E2E) -only $(ONLY) && \
		$(E2ECLUSTER) -domain example.internal -- $(E2E) -only 5; fi

bench: build $(if $(filter peers,$(BENCH)),,image-tar) ## time to identity compared with what people use now, in real Pods (root; REPS=20 takes two and a half hours, BENCH=running half an hour, BENCH=short four minutes); BENCH=peers, without Pods, half an hour
ifeq ($(BENCH),peers)
	@mkdir -p dist/bench && $(PLAIN) go -C integration build -o $(CURDIR)/bin/peers ./bench/peers
	@bin/peers -podfqdn $(CURDIR)/bin/podfqdn -o $(CURDIR)/dist/bench/peers.md
else
	$(call stage,build bench,$(PLAIN) go -C integration build -o $(CURDIR)/bin/cluster ./cluster/cmd && \
		$(PLAIN) go -C integration build -trimpath -ldflags "-s -w" -o $(CURDIR)/bin/ ./bench ./bench/app)
	@cd integration && timeout --foreground 5h ../bin/cluster run -id bench-$(CLUSTER) -k8s "$(K8S)" -- \
		../bin/bench $(if $(filter short,$(BENCH)),-short) $(if $(filter running,$(BENCH)),-only running) -reps $(REPS) -o $(CURDIR)/dist/bench \
		-load $(CURDIR)/dist/podfqdn-$(ARCH).tar -podfqdn $(CURDIR)/bin/podfqdn -app $(CURDIR)/bin/app
endif

clean: ## remove bin and dist
	@rm -rf bin dist
