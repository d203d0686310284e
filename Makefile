# The two commands are `make run` and `make test`; each sets up what this machine lacks.
# Everything they do lies in scripts/, one small file for each.

.DEFAULT_GOAL := help
.PHONY: help run test audit bench plants crashes simulate setup fmt lint clean-data

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: ## build, and start everything in one process (ARGS="…" go to `polymirror up`)
	@scripts/run $(ARGS)

test: ## every test, the ones against real Kafka and real Postgres included
	@scripts/test

audit: ## licences, sources, duplicate crates, known vulnerabilities
	@scripts/audit

bench: ## what BENCHMARKS.md quotes, into target/bench/
	@scripts/bench

plants: ## plant each bug of tests/plants/ and see that the tests catch it (slow; ARGS="name…" for some)
	@scripts/plants $(ARGS)

crashes: ## kill execute at every step of an order's life, ten times each (slow; ROUNDS=n for another number)
	@scripts/crashes $(ROUNDS)

simulate: ## the whole system in one thread, every fault chosen by a seed (ARGS="--seeds 10000", ARGS="--seed 17")
	@scripts/simulate $(ARGS)

setup: ## install what is missing for all of these
	@scripts/setup test

fmt: ## format the code
	@cargo fmt --all

lint: ## clippy, warnings being errors
	@cargo clippy --workspace --all-targets --locked -- -D warnings

clean-data: ## remove what `make run` has gathered under .polymirror/ (asks first)
	@scripts/clean-data
