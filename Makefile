# `make demo` shows the main job, `make test` checks everything; both install what they need.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
SOURCES := approvals clients gateway notifiers policy recorder tests

# Every process that is started here reads compiled modules; without them a gateway takes a third longer to be there.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo demo-stop test bench lint types proto constraints packages clean

# make demo AWS=1: recordings go to stand-ins of S3 and KMS.
demo: $(if $(AWS),$(BIN)/.installed,$(BIN)/.runtime)
	tests/debian-packages.sh openssh-client openssh-server
	$(BIN)/python -m tests.demo $(if $(AWS),--aws)

# Ends what the demo left running.
demo-stop:
	$(BIN)/python -m tests.demo stop

# Tests start processes while gRPC runs in their own: its fork handlers can abort the child.
PYTEST := GRPC_ENABLE_FORK_SUPPORT=0 timeout -k 30 2400 $(BIN)/python -m pytest

# Three at a time, a file as a whole by one of them, in their order: by their number the longest files, which start
# servers and have few tests, would come last. Product deadlines and crashes have the machine to themselves.
# A process that died ends the run and is named: replaced, it would be given nothing and waited for (pytest-xdist 1323).
# PYTEST_ARGS chooses instead.
test: $(BIN)/.installed packages
ifdef PYTEST_ARGS
	$(PYTEST) $(PYTEST_ARGS)
else
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -m "not alone"; most=$$?; \
	  $(PYTEST) -m alone && exit $$most
endif

# One part: make bench PART=policy
bench: $(BIN)/.installed packages
	$(BIN)/python -m tests.bench $(PART)

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(BIN)/.installed
	$(BIN)/mypy $(SOURCES)

packages:
	tests/debian-packages.sh

# What runs, without the tools of tests: the demo need not wait for those. The list is whole, so nothing is resolved anew:
# pip would look for what is pinned by its plain name and wanted with an extra.
$(BIN)/.runtime: pyproject.toml constraints-runtime.txt
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps --require-hashes -r constraints-runtime.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

$(BIN)/.installed: $(BIN)/.runtime constraints.txt
	$(PIP) --no-deps --require-hashes -r constraints.txt
	touch $@

# The contract's generated code is committed, so that installing needs no compiler.
proto: $(BIN)/.installed
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=proto --grpc_python_out=proto \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --mypy_out=quiet:proto --mypy_grpc_out=quiet:proto proto/jitgate/v1/*.proto

# Versions and hashes of everything, and no address; then of those among them that run.
PIN := $(BIN)/pip-compile --quiet --all-build-deps --allow-unsafe --generate-hashes --strip-extras --no-header --no-annotate \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links
constraints: $(BIN)/.installed
	$(PIN) --upgrade --extra dev --output-file constraints.txt pyproject.toml
	$(PIN) --extra dkim --constraint constraints.txt --output-file constraints-runtime.txt pyproject.toml

clean:
	[ ! -d .demo ] || $(MAKE) demo-stop
	rm -rf .venv build *.egg-info .demo bench.json
