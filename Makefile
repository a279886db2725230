# Everything a developer types; `make` alone lists it.
PYTHON ?= python3
BIN := .venv/bin
KERNELS := $(wildcard csrc/*.cpp csrc/*.h)
# Tests $(3) in a copy of the tree with the build $(1), of which $(2) is true, in the environment $(4), so that
# the release build stays where it is.
define test_build
	GEOQUANT_BUILD=$(1) $(BIN)/python setup.py --quiet build_ext --build-lib build/$(1)/lib --build-temp build/$(1)/temp
	rm -rf build/$(1)/tree
	mkdir -p build/$(1)/tree
	tar -cf - --exclude='*.so' --exclude=__pycache__ --exclude=results geoquant tests benchmarks pyproject.toml | tar -xf - -C build/$(1)/tree
	cp build/$(1)/lib/geoquant/_core*.so build/$(1)/tree/geoquant
	cd build/$(1)/tree && $(4) $(CURDIR)/$(BIN)/python -c 'from geoquant import _core; assert _core.$(2), _core'
	cd build/$(1)/tree && $(4) $(CURDIR)/$(BIN)/python -m pytest $(3)
endef
# Python itself is not built with the sanitizers, so their libraries come first; it never frees all.
SANITIZED = LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
FIGURES = GEOQUANT_FIGURES=$(CURDIR)/docs/reliability.json
# Not those that count memory, which the sanitizers take too, nor those of the tree itself.
SANITIZED_TESTS = tests geoquant --ignore=tests/hard --ignore=tests/benchmarks --ignore=tests/test_memory.py \
	--ignore=tests/test_project.py --ignore=tests/test_catalogue.py --ignore=tests/test_packaging.py \
	--ignore=tests/docs --timeout=900 \
	--deselect=tests/test_estimate.py::test_peak_memory_is_as_said \
	--deselect=tests/test_hostile_arrays.py::test_fewer_threads_than_asked_for --junitxml=../results.xml
# The kernels without their Python face, in a program that the sanitizer $(1) watches, in the environment $(2).
PLAIN_KERNELS = $(filter-out csrc/bind%,$(filter %.cpp,$(KERNELS)))
comma := ,
DRIVER := tests/threads/driver.cpp tests/threads/scene.h
define thread_driver
	mkdir -p build/threads
	$(CXX) -std=c++17 -O1 -g -UNDEBUG -Wall -Wextra -Werror -ffp-contract=off -fsanitize=$(1) -fno-sanitize-recover=all \
		-Icsrc $(filter %.cpp,$(DRIVER)) $(PLAIN_KERNELS) -pthread -o build/threads/driver-$(1)
	$(2) build/threads/driver-$(1)
endef

# What has to be covered whole.
COVERED = arguments checkpoint errors files tensor_files formats/* latents memory
space := $(subst ,, )

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-hard test-debug test-narrow test-sanitize test-threads test-lowest test-newest test-wheels coverage mutation audit lint format bench bench-full bench-quick bench-tokens bench-report paper-geodesic-vq paper-geodesic-vq-quick paper-rethinking-vae paper-rethinking-vae-quick costs picture screenshot docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-24s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: .venv/stamp  ## build the kernels and install everything into .venv

.venv/stamp: pyproject.toml constraints.txt setup.py $(KERNELS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt setuptools wheel pybind11
	$(BIN)/pip install --quiet --no-build-isolation -c constraints.txt -e '.[dev]'
	touch $@

# Without what only developers need, so that a first look takes no longer than it has to.
.venv/demo-stamp: pyproject.toml constraints.txt setup.py $(KERNELS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt setuptools wheel pybind11
	$(BIN)/pip install --quiet --no-build-isolation -c constraints.txt -e '.[plot]'
	touch $@

demo: .venv/demo-stamp  ## quantize the digits of scikit-learn, and look at what came out
	$(BIN)/geoquant demo

test: setup  ## run the tests and the examples in docstrings
	$(BIN)/pytest

test-slow: setup  ## run the tests that need minutes
	$(BIN)/pytest -m slow

test-hard: setup  ## run campaigns of many cases: damaged files, random graphs, kills, failures
	$(FIGURES) $(BIN)/pytest -m hard tests/hard --ignore=tests/hard/test_damaged_files.py
	$(call test_build,sanitize,BUILD_TYPE == "sanitize",-m hard tests/hard/test_damaged_files.py,$(FIGURES) $(SANITIZED))
	$(BIN)/python -m benchmarks.reliability

test-debug: setup  ## run the kernels' tests with their asserts on
	$(call test_build,debug,BUILD_TYPE == "debug",tests/graph tests/clustering tests/test_kernels.py)

coverage: setup  ## measure which lines and branches the tests reach: all of what reads, checks and writes
	rm -rf build/coverage
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include='$(subst $(space),$(comma),$(COVERED:%=geoquant/%.py))'
	$(BIN)/coverage json --quiet -o build/coverage/report.json
	$(BIN)/python -m benchmarks.strength coverage build/coverage/report.json
	$(BIN)/python -m benchmarks.reliability

# What is mutated, by which tests it is to be noticed, and what is left out, is in pyproject.toml under
# tool.mutmut. By itself mutmut leaves out what is outside of functions and functions with decorators.
mutation: .venv/mutation-stamp  ## change what reads, checks and writes in one place at a time, and see that a test fails
	rm -rf build/mutation
	mkdir -p build/mutation
	tar -cf - --exclude=__pycache__ geoquant tests pyproject.toml | tar -xf - -C build/mutation
	cd build/mutation && OMP_NUM_THREADS=1 $(CURDIR)/$(BIN)/mutmut run
	cd build/mutation && $(CURDIR)/$(BIN)/mutmut results --all true > results.txt
	$(BIN)/python -m benchmarks.strength mutation build/mutation/results.txt
	$(BIN)/python -m benchmarks.reliability

test-narrow: setup  ## run kernels whose nodes have 16 bits at the end of their numbers
	$(call test_build,narrow,NODE_BITS == 16,tests/test_node_numbers.py)

test-sanitize: setup  ## run the tests with kernels that stop at a wrong address or undefined behaviour
	$(call test_build,sanitize,BUILD_TYPE == "sanitize",$(SANITIZED_TESTS),$(SANITIZED))
	$(BIN)/python -m benchmarks.strength sanitizers build/sanitize/results.xml
	$(BIN)/python -m benchmarks.reliability

test-lowest: .venv-lowest/stamp  ## run the tests with the lowest releases that pyproject.toml allows
	.venv-lowest/bin/python -m pytest -W default $(LOWEST_TESTS)

# Warnings of old releases are theirs. Readers of other formats need libraries that are not there. PyTorch is the same as in setup, so what needs it is not tried again.
LOWEST_TESTS = tests geoquant --ignore=tests/torch --ignore=tests/benchmarks --ignore=geoquant/torch \
	--doctest-ignore-import-errors

.venv-lowest/stamp: .venv/stamp .ci/lowest_versions.py
	$(PYTHON) -m venv .venv-lowest
	$(BIN)/python .ci/lowest_versions.py > .venv-lowest/requirements.txt
	.venv-lowest/bin/pip install --quiet -r .venv-lowest/requirements.txt
	.venv-lowest/bin/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

audit:  ## look for known weaknesses of the pinned releases; needs the index's advisories
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

test-threads:  ## run the kernels and their threads in a program that sanitizers watch for races and leaks
	$(call thread_driver,thread,TSAN_OPTIONS=suppressions=)
	$(call thread_driver,address$(comma)undefined,ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1)

lint: setup  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(KERNELS) $(DRIVER)

format: setup  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(KERNELS) $(DRIVER)

bench: .venv/bench-stamp  ## time every stage beside its peers, in ten minutes
	$(BIN)/python -m benchmarks --bench

bench-full: .venv/bench-stamp  ## the same with a million latents and slow peers, for the record
	$(BIN)/python -m benchmarks --full
	$(BIN)/python -m benchmarks.report

bench-quick: .venv/bench-stamp  ## see that every benchmark runs, on few latents
	$(BIN)/python -m benchmarks --quick

bench-tokens: .venv/bench-stamp  ## error of several tokens a latent beside faiss, for the record
	$(BIN)/python -m benchmarks.quality.tokens --full

bench-report: setup  ## write tables and plots of the recorded results into the READMEs
	$(BIN)/python -m benchmarks.report

paper-geodesic-vq: .venv/stamp  ## measure the paper on geodesic quantization, three seeds, in under an hour
	$(BIN)/python -m benchmarks.papers.geodesic_vq $(PAPER_FLAGS)
	$(BIN)/python -m benchmarks.papers.geodesic_vq.table

paper-geodesic-vq-quick: .venv/stamp  ## see that it runs, on few images
	$(BIN)/python -m benchmarks.papers.geodesic_vq --quick $(PAPER_FLAGS)

paper-rethinking-vae: .venv/stamp  ## measure the paper "Rethinking VAE", three seeds, in about an hour and a half
	$(BIN)/python -m benchmarks.papers.rethinking_vae $(PAPER_FLAGS)
	$(BIN)/python -m benchmarks.papers.rethinking_vae.table

paper-rethinking-vae-quick: .venv/stamp  ## see that it runs, on few images
	$(BIN)/python -m benchmarks.papers.rethinking_vae --quick $(PAPER_FLAGS)

# It is needed for nothing else, and brings much.
.venv/mutation-stamp: .venv/stamp
	$(BIN)/pip install --quiet -c constraints.txt 'mutmut>=3.8'
	touch $@

# The peers are many and heavy, so they are no part of setup.
.venv/bench-stamp: .venv/stamp
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"][1:], sep="\n")' > .venv/bench.txt
	$(BIN)/pip install --quiet -c constraints.txt -r .venv/bench.txt
	touch $@

costs: setup  ## measure fits anew for what geoquant fit --estimate says
	$(BIN)/python -m benchmarks.fit_cost_constants

picture: setup  ## draw the picture of the README
	$(BIN)/python docs/make_picture.py

screenshot: setup  ## take the picture of the explorer for the README, with Chromium
	$(BIN)/python docs/make_screenshot.py

test-newest: .venv-newest/stamp  ## run the tests with the newest releases of everything but PyTorch
	.venv-newest/bin/python -m pytest

.venv-newest/stamp: pyproject.toml setup.py $(KERNELS)
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet "$$(grep '^torch==' constraints.txt)" -e '.[dev]'
	touch $@

test-wheels:  ## build sdist and wheels for every Python there is, and try them where there is no compiler
	PYTHON=$(PYTHON) .ci/test_wheels

docs: setup  ## make the pages of the documentation, with their pictures, in build/docs
	$(BIN)/sphinx-build -W --keep-going -q -d build/doctrees docs build/docs
	@echo build/docs/index.html

clean:  ## remove what was built, .venv included
	rm -rf .venv .venv-lowest .venv-newest .venv-audit build dist *.egg-info geoquant/_core*.so .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find geoquant tests -name __pycache__ -type d -prune -exec rm -rf {} +
