# Each command does all of its own set-up, in the virtual environment .venv.

PYTHON ?= python3
HOST ?=
PORT ?= 8080
EXTRAS ?= test

VENV := .venv
BIN := $(VENV)/bin
C_SOURCES := $(wildcard sono_core/native/*.[ch] sono_io/native/*.[ch] benchmarks/load/*.[ch])
SOURCES := setup.cfg setup.py pyproject.toml $(filter sono_%,$(C_SOURCES))

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: serve
serve: $(VENV)/.installed ## the server with its demo, on PORT=8080 of loopback or HOST=
	@exec $(BIN)/sono serve $(if $(HOST),--host '$(HOST)') --port '$(PORT)'

# Tests wait for much of their time: four at once keep two processors busy.
JOBS ?= 4
SPREAD = -n $(JOBS) --dist worksteal
NATIVE := $(BIN)/python -c 'import sono_core, sys; sys.exit(not sono_core.native_available)'

# Beside the conformance suite they wait for more of it.
check: JOBS = 6

# What is started hundreds of times is compiled once, whatever the environment says.
test check: export PYTHONDONTWRITEBYTECODE :=

.PHONY: test
test: $(VENV)/.installed-test ## lint and the tests of the path that is built, in three minutes
	@$(MAKE) lint || { echo 'sono: FAILED: lint; no test ran'; exit 1; }
	@SONO_TEST_BESIDE=lint SONO_HYPOTHESIS_PROFILE=$${SONO_HYPOTHESIS_PROFILE:-quick} \
	    $(BIN)/python -m pytest -q -r fEX $(SPREAD) -m 'not autobahn and not slow'

# Autobahn runs beside the rest, as it takes about as long; its output comes at the end, that of the
# pure path in a process of its own. Properties have a run of their own with all of hypothesis's
# examples: measuring coverage would make it take twice as long, and 25 show as much of that. What
# else says nothing of coverage, the browser's tests and those marked `once`, runs there too. The run
# in pure Python has 25 examples, as the two paths have been compared with all of them; it leaves out
# what runs both paths by itself or neither. What failed in any run is told once more at the end.
AUTOBAHN_LOG := build/autobahn.log
FAILURES := build/failures.log
SAME_IN_PURE := tests/backplane tests/core/messaging/lossless tests/test_benchmarks.py \
    tests/test_imports.py
BARS := sono_core=100 sono_io=95 sono_server=95 sono_client=95
.PHONY: check
check: lint ## everything: both paths with coverage enforced, Autobahn, types, sanitizers
	@$(BIN)/coverage erase
	@mkdir -p build
	@rm -f $(FAILURES)
	@set +e; failed=; export SONO_TEST_FAILURES='$(abspath $(FAILURES))'; \
	if $(NATIVE); then native=yes; else native=; fi; \
	$(BIN)/python -m pytest -m autobahn >$(AUTOBAHN_LOG) 2>&1 & autobahn=$$!; \
	if [ -n "$$native" ]; then \
	    SONO_PURE=1 $(BIN)/python -m pytest -m 'autobahn and not native' >$(AUTOBAHN_LOG).pure 2>&1 & \
	    autobahn_pure=$$!; \
	fi; \
	$(MAKE) types || failed="$$failed types"; \
	SONO_HYPOTHESIS_PROFILE=quick $(BIN)/coverage run -m pytest $(SPREAD) \
	    -m 'not autobahn and not browser and not once' || failed="$$failed tests"; \
	SONO_HYPOTHESIS_PROFILE=$${SONO_HYPOTHESIS_PROFILE:-ci} $(BIN)/python -m pytest $(SPREAD) \
	    -m '(hypothesis or once or browser) and not autobahn' || failed="$$failed properties"; \
	if [ -n "$$native" ]; then \
	    echo 'sono: once more, in pure Python'; \
	    SONO_PURE=1 SONO_HYPOTHESIS_PROFILE=quick $(BIN)/coverage run -m pytest $(SPREAD) \
	        $(SAME_IN_PURE:%=--ignore=%) \
	        -m 'not autobahn and not browser and not native and not once' \
	        || failed="$$failed pure"; \
	    $(MAKE) coverage || failed="$$failed coverage"; \
	    $(MAKE) sanitize || failed="$$failed sanitize"; \
	else \
	    echo 'sono: SKIPPED: the native path, what coverage it needs and its sanitizers; install a' \
	        'C compiler with: apt-get install gcc python3-dev, then: make clean'; \
	fi; \
	wait $$autobahn || failed="$$failed autobahn"; \
	cat $(AUTOBAHN_LOG); \
	if [ -n "$$native" ]; then \
	    wait $$autobahn_pure || failed="$$failed autobahn-pure"; \
	    cat $(AUTOBAHN_LOG).pure; \
	fi; \
	if [ -n "$$failed" ]; then \
	    cat $(FAILURES); echo "sono: make check FAILED in:$$failed"; exit 1; \
	fi; \
	echo 'sono: make check passed'

# Of what `make check` has measured on both paths.
.PHONY: coverage
coverage:
	@$(BIN)/coverage combine --quiet
	@set +e; failed=; \
	for bar in $(BARS); do \
	    $(BIN)/coverage report --include="$${bar%=*}/*" --fail-under="$${bar#*=}" || failed=1; \
	done; \
	[ -z "$$failed" ]

.PHONY: lint
lint: $(VENV)/.installed-test ## ruff, mypy and clang-format
	@$(BIN)/ruff check --quiet --output-format=concise
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/clang-format --dry-run --Werror $(C_SOURCES)

# The packages whose public names must have complete types, for those who import them. pyright runs
# in node, and is told where the packages are: it does not see an editable installation. It finds
# what they import only with the Python that comes first in PATH.
TYPED := sono_core sono_io sono_server sono_client
.PHONY: types
types: $(VENV)/.installed-test ## pyright: every public name of the packages has a complete type
	@command -v node >/dev/null || { \
	    echo 'sono: types need node; install it with: apt-get install nodejs' >&2; exit 1; }
	@set +e; failed=; \
	for package in $(TYPED); do \
	    said=$$(PATH="$(abspath $(BIN)):$$PATH" PYTHONPATH=. pyright --ignoreexternal \
	        --verifytypes $$package) || { failed=1; echo "$$said" | grep -E ' - error: '; }; \
	    echo "$$package: $$(echo "$$said" | grep -i 'type completeness score')"; \
	done; \
	[ -z "$$failed" ]

# A copy of its own, so that the extensions in use stay. Leaks are looked for in tests/core/native/test_native.py:
# the interpreter's own memory at exit is none.
SANITIZED := build/sanitized
.PHONY: sanitize
sanitize: $(VENV)/.installed-test ## the native code's tests, and half a minute of fuzzing, under gcc's sanitizers
	@rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	@cp -r setup.cfg setup.py pyproject.toml README.md LICENSE \
	    sono_core sono_io sono_server sono_client tests fuzz $(SANITIZED)
	@find $(SANITIZED) -name '*.so' -delete
	@$(BIN)/python -m pip install --quiet setuptools
	@cd $(SANITIZED) && CC=gcc LDFLAGS=-fsanitize=address,undefined \
	    CFLAGS='-g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' \
	    ../../$(BIN)/python setup.py --quiet build_ext --inplace
	@cd $(SANITIZED) && export PYTHONPATH=. PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
	    SONO_TEST_REQUIRE=native SONO_HYPOTHESIS_PROFILE=default \
	    LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" && \
	    ../../$(BIN)/python -m pytest -p no:cacheprovider $(SPREAD) tests/rules \
	        tests/io/test_fast.py tests/io/test_loop.py tests/io/test_secure.py \
	        tests/core/websocket/test_connection.py tests/core/websocket/test_outbox.py \
	        tests/core/native/test_native.py tests/core/native/test_head.py \
	        tests/core/native/test_scan.py \
	        tests/core/native/test_scan_msgpack.py \
	        tests/properties/test_native_agrees.py \
	        tests/server/test_selector_*.py tests/server/test_websocket.py && \
	    ../../$(BIN)/python -m fuzz.run_corpus --target server --target client --target packets \
	        --target request --target v2 --seconds 30

BENCH ?=
.PHONY: bench
bench: $(VENV)/.installed-bench ## Sono beside other servers, on the native path; BENCH='S3 F1 --quick'
	@$(BIN)/python -m benchmarks $(BENCH)

SOAK_MINUTES ?= 30
.PHONY: soak
soak: $(VENV)/.installed-test ## SOAK_MINUTES=30 of connects, messages and ends; then clients of sono.v2 that come back
	@$(BIN)/python -m benchmarks.soak churn --minutes $(SOAK_MINUTES)
	@$(BIN)/python -m benchmarks.soak returns
	@$(BIN)/python -m benchmarks.soak storm

FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz: $(VENV)/.installed-test ## each fuzz target for FUZZ_SECONDS=60; what it finds goes into build/fuzz
	@$(BIN)/python -m pip install --quiet --editable '.[fuzz]' || echo 'sono: no atheris here: fuzzing blindly'
	@$(BIN)/python -m fuzz.fuzz --all --seconds $(FUZZ_SECONDS)

.PHONY: fuzz-corpus
fuzz-corpus: $(VENV)/.installed ## fuzz/corpus anew, from its tables
	@$(BIN)/python -m fuzz.make_corpus

.PHONY: conformance
conformance: $(VENV)/.installed ## all of Autobahn in both roles (10 to 20 minutes), into docs/conformance.md
	@$(BIN)/python -m tests.interop.conformance --all --write docs/conformance.md

.PHONY: clean
clean: ## remove what the other commands made
	@rm -rf $(VENV) build dist *.egg-info htmlcov .coverage .coverage.* \
	    .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Stamps. What `make test` installs holds all that `make serve` needs, and not the reverse.

$(VENV)/.installed: $(VENV)/.made $(SOURCES)
	@echo 'sono: installing into $(VENV)'
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.made $(SOURCES)
	@echo 'sono: installing into $(VENV), with what the tests need'
	@$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: $(VENV)/.made $(SOURCES)
	@echo 'sono: installing into $(VENV), with what the benchmarks compare'
	@$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $(VENV)/.installed $@

# pip before 21.3 cannot install an editable project that has a pyproject.toml.
$(VENV)/.made:
	@'$(PYTHON)' -c '' 2>/dev/null || { \
	    echo 'sono: $(PYTHON) does not start; install it with: apt-get install python3 python3-venv' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "sono: Python 3.10 or newer is needed, and $(PYTHON) is $$('$(PYTHON)' --version 2>&1);" \
	        'name another with: make PYTHON=…' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo 'sono: python3-venv is missing; install it with: apt-get install python3-venv' >&2; exit 1; }
	@echo 'sono: making a virtual environment in $(VENV)'
	@rm -rf $(VENV)
	@'$(PYTHON)' -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet 'pip>=21.3'
	@echo '$(PYTHON)' >$@

# A PYTHON that is named, and is not the one that .venv was made with, makes it anew.
ifneq ($(origin PYTHON),file)
ifneq ($(shell cat $(VENV)/.made 2>/dev/null),$(PYTHON))
.PHONY: $(VENV)/.made
endif
endif
