# Targets for people. CI runs .ci/run, which also installs what these need.

PROMETHOS := ./cmd/promethos
FUZZTIME  ?= 10s
RACE      := ./ppf/... ./modules/... ./source/... ./control/... ./daemon/...

.PHONY: build deb check lint tidy test race fuzz netns update

build: ## the one binary, ./promethos
	go build -trimpath -o promethos $(PROMETHOS)

deb: ## a Debian package, with a static binary, manual pages and units
	packaging/deb .

check: lint tidy test race fuzz ## what CI runs; needs staticcheck in PATH

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt: the files above are not formatted (gofmt -w .)' >&2; exit 1; }
	go vet ./...
	staticcheck ./...

tidy:
	go mod tidy -diff
	go mod verify

test:
	go test -count=1 ./...

race:
	go test -race -count=1 $(RACE)

fuzz: ## every fuzz target for FUZZTIME
	.ci/fuzz $(FUZZTIME)

netns: ## all tests as root, with the ones that need namespaces, and the demo
	sudo env "PATH=$$PATH" go test -count=1 ./...
	sudo env "PATH=$$PATH" go run $(PROMETHOS) demo

update: ## rewrite golden files; read the diff before you commit it
	@for p in $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -r -n1 dirname | sort -u); do \
		echo "go test $$p -update"; go test -count=1 $$p -update || exit 1; done
