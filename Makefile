# Everything a person or a machine does here, by name. `make help` lists it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two halves of the tests beside each other, a file in one piece; each starts its own PostgreSQL.
ALONGSIDE ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: up sample bench-workers bench-family bench-import bench-concepts wheel-check coverage mutants help install run accept test-full-size torture bench bench-fitting bench-border bench-states bench-judgement bench-serving bench-night bench-runners check quick test clean
.DEFAULT_GOAL := help
# Commands that tests start must not compile our sources again each time.
export PYTHONDONTWRITEBYTECODE :=

help:                ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)    ## build .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m flows.health.kernels
	$(BIN)/python -m flows.deployment.prefect_database
	touch $@

run: $(STAMP)        ## a night on simulated attempts, from nothing to mastery
	$(BIN)/bkt simulate var/attempts.parquet
	$(BIN)/bkt init
	$(BIN)/bkt import var/attempts.parquet
	$(BIN)/bkt retrain

up:                  ## containers: everything of compose.yaml on this machine, with secrets in .env
	containers/new-secrets
	docker compose up --build --detach --wait

sample:              ## containers: a sample of attempts, and a night over them
	docker compose run --rm sample

accept: $(STAMP)     ## every figure on real logs: make accept DATA=folder
	$(BIN)/python -m benchmarks.accept $(DATA)

bench-fitting: $(STAMP)  ## the table of the fitting engine, BKT_BENCHMARK_DATA=folder for real data
	$(BIN)/python -m benchmarks.fitting

bench-border: $(STAMP)  ## the table of extraction and import: PostgreSQL, SQLite, memory
	$(BIN)/python -m benchmarks.border

bench-family: $(STAMP)   ## v3, v4 and v5 out of fold on real logs, beside their bars: BKT_BENCHMARK_DATA=folder
	$(BIN)/python -m benchmarks.family

bench-states: $(STAMP)  ## writing a million states against COPY, replay, online latency
	$(BIN)/python -m benchmarks.states

bench-night: $(STAMP)    ## a night over 10 million attempts beside the floor of its parts, 20 minutes
	$(BIN)/python -m benchmarks.night

bench-import: $(STAMP)   ## imports of 400,000 rows beside executemany and COPY, 2 minutes
	$(BIN)/python -m benchmarks.imports

bench-concepts: $(STAMP) ## nights over 5,000 concepts of 12 attempts on SQLite: the first, and one with nothing new
	$(BIN)/python -m benchmarks.concepts

torture: $(STAMP)    ## kill everything at random for some minutes, then count what was lost
	$(BIN)/python -m tests.torture

check: $(STAMP)      ## lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: $(STAMP)      ## the everyday tests, below two minutes
	$(BIN)/python -m pytest -q $(ALONGSIDE) -m "not slow and not parity and not harness and not full_size"

test: $(STAMP)       ## every test, on SQLite and on a PostgreSQL the suite starts
	$(BIN)/python -m pytest $(ALONGSIDE) -m "not full_size"

test-full-size: $(STAMP) ## replay equality under 10,000 attempts over HTTP, some minutes each
	$(BIN)/python -m pytest -m full_size

bench-judgement: $(STAMP) ## how often promotions are right, and whether shrinkage wins
	$(BIN)/python -m benchmarks.judgement
	$(BIN)/python -m benchmarks.shrinkage
	$(BIN)/python -m benchmarks.tracking

bench-serving: $(STAMP)  ## the API under load on PostgreSQL, beside a bare route in the same run
	$(BIN)/python -m benchmarks.serving

bench-workers: $(STAMP)  ## the API with one to four workers, beside pgbench running the same statements
	$(BIN)/python -m benchmarks.parts.serving_workers

bench-runners: $(STAMP)  ## two Dask workers against one, on shards of some seconds
	$(BIN)/python -m benchmarks.runners

bench: bench-fitting bench-border bench-import bench-states bench-judgement bench-serving ## every speed, as a ratio against a named opponent in the same run

mutants: $(STAMP)    ## a sample of mutants of the decisive code: does a test notice each of them?
	$(BIN)/python -m tests.mutants

coverage: $(STAMP)   ## branch coverage by package, of the everyday tests
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -q -m "not slow and not parity and not harness and not full_size"
	$(BIN)/python -m coverage combine --quiet
	@for package in bkt_core bkt_settings datasets flows serving; do \
	    printf '%-14s' $$package; $(BIN)/python -m coverage report --include="$$package/*" --format=total; done

wheel-check: $(STAMP) ## the wheel in an empty environment: make wheel-check PYTHONS="python3.11 python3.12"
	$(BIN)/python -m tests.packaging.check_wheel $(PYTHONS)

clean:               ## forget the environment and what runs have written
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis
