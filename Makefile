# Every target runs the script of the same name in scripts/, which also runs alone. ARGS are handed on:
#     make test ARGS="-k sandbox -x"
.DEFAULT_GOAL := help
.PHONY: help setup ready demo serve test check fix docs bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## install everything into .venv and compile llama.cpp for this CPU (once)
	@scripts/setup $(ARGS)

# What a target needs to run; a fraction of a second when all is there.
ready:
	@scripts/setup

demo: ready ## ask a coding question, run the answer against tests, show the verdict
	@scripts/demo $(ARGS)

serve: ready ## open every door and print its URL, until Ctrl-C
	@scripts/serve $(ARGS)

test: ready ## run all tests
	@scripts/test $(ARGS)

check: ready ## lint, types, import rules and generated pages, without changing a file
	@scripts/check $(ARGS)

fix: ready ## format, apply the linter's safe repairs, write the generated pages anew
	@scripts/fix $(ARGS)

docs: ready ## write the generated pages of docs/ anew from the code
	@scripts/docs $(ARGS)

bench: ready ## run every benchmark, or the one named: make bench ARGS=batching
	@scripts/bench $(ARGS)

clean: ## remove caches and logs; keeps .venv, compiled wheels and your data
	@scripts/clean $(ARGS)
