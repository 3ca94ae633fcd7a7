"""A run with programs that were built with a sanitizer (make test-asan): they are told what to do when they find something, and take more
memory than the product."""

import os

import pytest

SANITIZED = "BOXLITE_SANITIZED" in os.environ
# The programs get no more of the test's own environment than this.
ENVIRONMENT = {name: os.environ[name] for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS") if name in os.environ}
# How much of it, at most, as a multiple of the product's.
MEMORY = 16 if SANITIZED else 1

plain_build = pytest.mark.skipif(SANITIZED, reason="the sanitizer's own system calls and memory are in the way")
