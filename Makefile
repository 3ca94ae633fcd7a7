# The front door. CMake does the work: see CMakePresets.json; every target here is one or two commands of it.
#
#   make demo      installs the packages, builds everything, runs a box with an explanation of each step
#   make           builds: programs land in build/bin, guest parts in build/guest
#   make test      all tests, about three quarters of an hour on two cores; as root it runs the end-to-end suite as root and as an ordinary user
#   make fuzz      the fuzzers, ten minutes each; `make test` runs them for seconds
#   make soak      what takes longer; results in docs/results
#   make release, make install [PREFIX=DIR]   without failpoints and tests; below /usr/local
#   make bench     the figures of the README; results in docs/results
#   make test-asan, make test-tsan   unit and integration tests with AddressSanitizer and UndefinedBehaviorSanitizer; base, portal and runtime with ThreadSanitizer
#   make format | tidy | deps | clean

PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
PYTHON ?= /usr/bin/python3

.PHONY: all build programs release install kernel deps demo test unit soak bench fuzz test-asan test-tsan format tidy clean

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
	rm -f build/release/complete
	cmake --preset release >/dev/null
	cmake --build --preset release --target programs -j $(JOBS)
	guest/kernel/build.sh build/release/guest/vmlinux
	touch build/release/complete

# Installs what `make release` has built.
install:
	@test -f build/release/complete || { echo "make: 'make release' has not come to its end; run it first" >&2; exit 1; }
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

fuzz:
	scripts/fuzz.sh

bench: release
	$(PYTHON) bench/bench.py

# What was not built for it is no test of it. The integration tests run the programs that were.
test-asan:
	cmake --preset asan >/dev/null
	cmake --build --preset asan --target unit_tests shim_test programs tree_facts -j $(JOBS)
	guest/kernel/build.sh build/asan/guest/vmlinux
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ctest --test-dir build/asan -E NOT_BUILT --output-on-failure -j $(JOBS)
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ASAN_OPTIONS=detect_leaks=0 BOXLITE_SANITIZED=1 \
	  BOXLITE_BIN_DIR=$(CURDIR)/build/asan/bin BOXLITE_GUEST_DIR=$(CURDIR)/build/asan/guest \
	  $(PYTHON) -m pytest tests/integration -q -rsxX --durations=15 --deselect tests/integration/test_install.py

test-tsan:
	cmake --preset tsan >/dev/null
	cmake --build --preset tsan -j $(JOBS) --target base_test failpoint_test portal_test portal_client_test records_test runtime_test runtime_process_test
	ctest --test-dir build/tsan -E NOT_BUILT --output-on-failure -j $(JOBS)

format:
	git ls-files '*.cc' '*.h' | xargs clang-format-19 -i

# File by file, each with what it includes itself: the build compiles ten as one.
tidy:
	cmake --preset dev -B build/tidy -DCMAKE_UNITY_BUILD=OFF >/dev/null
	cmake --build build/tidy --target boxlite_proto_sources
	git ls-files 'src/*.cc' | xargs -P $(JOBS) -n 4 clang-tidy-19 --quiet -p build/tidy

clean:
	rm -rf build
