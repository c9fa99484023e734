# The commands of Sluice. "make help" lists them; CMakePresets.json holds the builds.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-all build model up test test-all cuda release test-asan test-tsan test-fuzz \
        test-peers bench format clean

FUZZ_SECONDS ?= 60
MODEL = $(shell tools/python tools/fetch_model.py | tail -n 1)
configure = cmake --preset $(1) --log-level=WARNING >/dev/null
CTEST = SLUICE_MODEL="$(MODEL)" ctest --output-on-failure --no-tests=error

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | column -t -s $$'\t'

setup: ## installs what building and testing need and this machine lacks
	@tools/setup.sh test

setup-all:
	@tools/setup.sh all

build: setup ## the release binary, build/release/bin/sluice
	@$(call configure,release)
	@cmake --build --preset release --target sluice

model: setup ## fetches the default model; prints its path as the last line
	@tools/python tools/fetch_model.py

up: build model ## builds, fetches the default model and serves it on 127.0.0.1 (ARGS="--port 8080")
	@echo 'starting; a Python that has the openai package: tools/python'
	@build/release/bin/sluice up "$(MODEL)" $(ARGS)

test: setup model ## builds and runs all tests
	@$(call configure,release)
	@cmake --build --preset release
	@$(CTEST) --test-dir build/release --parallel 2

test-asan: setup model ## all tests with the address and undefined behaviour sanitizers
	@$(call configure,asan) && cmake --build --preset asan
	@$(CTEST) --test-dir build/asan --label-exclude tools

cuda: setup ## builds with the CUDA backend (build/cuda, needs nvcc) and runs what needs no card
	@$(call configure,cuda)
	@cmake --build --preset cuda --target sluice test_cuda test_kernels test_model
	@ctest --test-dir build/cuda --output-on-failure --no-tests=error -R '^(cuda|kernels|model)$$'

release: setup ## the binary for every machine, with CUDA for sm_80 and sm_90a: build/release-cuda/bin/sluice
	@$(call configure,release-cuda)
	@cmake --build --preset release-cuda --target sluice

test-tsan: setup model ## all tests with the thread sanitizer
	@$(call configure,tsan) && cmake --build --preset tsan
	@$(CTEST) --test-dir build/tsan --label-exclude tools

test-fuzz: setup-all ## every fuzz target for FUZZ_SECONDS (60) each
	@$(call configure,fuzz) && cmake --build --preset fuzz
	@tools/fuzz.sh build/fuzz/bin $(FUZZ_SECONDS)

test-all: test test-asan test-tsan test-fuzz ## test, then the sanitizers and the fuzz targets

test-peers: build model ## compares with llama.cpp's published test data (fetched from PyPI)
	@cmake --build --preset release --target jinja_render
	@tools/test_peers.sh

bench: build model ## speed of the default model beside this machine's limits
	@build/release/bin/sluice bench "$(MODEL)" \
	  -p 512 -n 128 -t "$$(nproc)" -r 5

format: setup ## clang-format over the whole tree
	@git ls-files '*.h' '*.cpp' | xargs clang-format-14 -i

clean: ## removes build/; the cache folder stays
	@rm -rf build
