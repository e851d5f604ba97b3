# Everything is installed in .venv, with the versions in constraints.txt; nothing else on the machine changes.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: demo test verify bench fuzz kill soak lint format install clean
.DEFAULT_GOAL := test

demo: $(READY)
	$(BIN)/python topologies/digits/demo.py

test: lint
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

verify: lint
	HLSIM_VERIFY=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "verify or not verify"

bench: $(READY)
	$(BIN)/python tools/bench.py $(ARGS)

# Bad input: of EXAMPLES commands none may end otherwise than well or in one line.
EXAMPLES ?= 10000
SEED ?= 0
fuzz: $(READY)
	$(BIN)/python tools/fuzz.py --examples $(EXAMPLES) --seed $(SEED)

# Runs of KILLS processes that are killed at random moments go on, bit for bit.
KILLS ?= 200
kill: $(READY)
	$(BIN)/python tools/kill_test.py --kills $(KILLS) --seed $(SEED)

# A run of TICKS ticks takes no more memory at its end than after its first part.
TICKS ?= 1000000
soak: $(READY)
	$(BIN)/python tools/soak.py --ticks $(TICKS)

lint: $(READY)
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy --no-error-summary

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

install: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
