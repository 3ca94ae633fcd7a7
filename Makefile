# The front door. CMake does the work: see CMakePresets.json; every target here is one or two commands of it.
#
#   make demo      installs the packages, builds everything, runs a box with an explanation of each step
#   make           builds: programs land in build/bin, guest parts in build/guest
#   make test      all tests, at most half an hour; as root it runs the end-to-end suite as root and as an ordinary user
#   make soak      what takes longer; results in docs/results
#   make release, make install [PREFIX=DIR]   without failpoints and tests; below /usr/local
#   make bench     the figures of the README; results in docs/results
#   make test-asan | format | tidy | deps | clean

PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
PYTHON ?= /usr/bin/python3

.PHONY: all build programs release install kernel deps demo test unit soak bench test-asan format tidy clean

all: build kernel

build:
	@for tool in cmake ninja g++ protoc pkg-config; do command -v $$tool >/dev/null || \
	  { echo "make: $$tool is missing; 'make deps' installs everything that is needed" >&2; exit 1; }; done
	cmake --preset dev >/dev/null
	cmake --build --preset dev -j $(JOBS)

# What a user needs, without the tests.
programs:
	cmake --preset dev >/dev/null
	cmake --build --preset dev --target programs -j $(JOBS)

release:
	cmake --preset release >/dev/null
	cmake --build --preset release --target programs -j $(JOBS)
	guest/kernel/build.sh build/release/guest/vmlinux

# Installs what `make release` has built.
install:
	cmake --install build/release --prefix $(abspath $(PREFIX)) --strip

kernel:
	guest/kernel/build.sh build/guest/vmlinux

deps:
	scripts/install-deps.sh

demo: deps
	$(MAKE) programs kernel
	scripts/demo.sh

test: all
	scripts/test.sh

unit: build
	ctest --test-dir build/dev --output-on-failure -j $(JOBS)

soak: all
	scripts/soak.sh

bench: release
	$(PYTHON) bench/bench.py

test-asan:
	cmake --preset asan >/dev/null
	cmake --build --preset asan -j $(JOBS)
	ctest --test-dir build/asan --output-on-failure -j $(JOBS)

format:
	git ls-files '*.cc' '*.h' | xargs clang-format-19 -i

tidy: build
	git ls-files 'src/*.cc' | xargs -P $(JOBS) -n 4 clang-tidy-19 --quiet -p build/dev

clean:
	rm -rf build
