# make setup once; then demo, test, lint, bench. Everything lives in .venv and runs/.
PYTHON ?= python3
VENV := .venv
REPETITIONS ?= 200
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := train,sim,mujoco,behaviours,convert,benchmark,ros,unitree,test,dev
MESSAGES := hardware/unitree/messages

.PHONY: setup unitree-messages demo test lint format bench reaction clean

setup: $(STAMP)

$(STAMP): setup.py constraints.txt $(wildcard $(MESSAGES)/*.py $(MESSAGES)/*/msg/*.msg)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "dara_ros needs Python 3.10 or newer; name one: make setup PYTHON=python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing into $(VENV): some minutes, once'
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]' --constraint constraints.txt
	@# without a compiler there is no driver of the Go2, and its tests skip
	$(BIN)/python -m dara_ros.$(subst /,.,$(MESSAGES)).build || test $$? = 2
	@touch $@

unitree-messages: setup
	$(BIN)/python -m dara_ros.$(subst /,.,$(MESSAGES)).build

demo: setup
	$(BIN)/dara demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/dara bench

# Reaction times to injected faults, REPETITIONS of each: about an hour, on a machine that does nothing else.
reaction: setup
	$(BIN)/python tests/reaction/measure.py --repetitions $(REPETITIONS) --out docs/results/reaction.csv

clean:
	rm -rf $(VENV) build install log dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
