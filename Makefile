# Everything sets itself up in .venv from python3, python3-venv, git and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
PROGRAMS := .venv/programs
PARALLEL := -n auto --dist worksteal

.PHONY: help setup demo test check accept bench lint lock clean
help: ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## install Drover and its tools into .venv (done by every other target)
demo: $(READY) ## three simulated nodes: placement, a drain, the way back (about a minute)
	@$(BIN)/drover demo
test: $(PROGRAMS) ## run the tests
	@$(BIN)/python -m pytest $(PARALLEL)
lint: $(READY) ## format and fix what can be fixed
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .
check: $(PROGRAMS) ## all that CI runs: format, lint, types, layers, tests
	@$(BIN)/ruff format -q --check . && $(BIN)/ruff check -q . && $(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache >.venv/layers.log || { cat .venv/layers.log; exit 1; }
	@$(BIN)/python -m pytest $(PARALLEL)
accept: $(READY) ## write the golden logs of the stories and the generated files anew, for review with git diff
	@$(BIN)/python -m pytest -q $(PARALLEL) tests/stories --accept && $(BIN)/drover schema --write .
bench: $(READY) ## print the benchmarks: requests, CPU seconds, memory
	@$(BIN)/python -m tests.bench
lock: $(READY) ## resolve the dependencies anew into requirements/*.lock
	@for set in "run pyproject.toml" "dev pyproject.toml --group dev" "bench --group bench" "oracle --group oracle"; do set -- $$set; lock=$$1; shift; \
	  $(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --upgrade \
	  "$$@" -o requirements/$$lock.lock; done
clean: ## remove everything that was set up
	@rm -rf .venv
$(READY): requirements/dev.lock requirements/uv.lock pyproject.toml
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.lock
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements/dev.lock 2>/dev/null || $(BIN)/python -m pip \
	  install -q --disable-pip-version-check --require-hashes -r requirements/dev.lock # slower; knows pip's index and certificates
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
$(PROGRAMS): requirements/debian.sh $(READY) ; @sh requirements/debian.sh .venv && touch $@
