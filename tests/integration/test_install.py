"""What `make install` puts down is enough to embed the library: a program outside the tree is built with pkg-config and runs."""

import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from boxlite_testing import oci  # noqa: E402

REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.join(REPOSITORY, "build", "dev")

PROGRAM = r"""
#include <boxlite/runtime.h>

#include <iostream>

int main(int, char** argv) {
  boxlite::RuntimeOptions options;
  options.home = argv[1];
  auto runtime = boxlite::Runtime::open(options);
  if (!runtime) return std::cerr << runtime.error().message() << '\n', 1;
  boxlite::BoxOptions box_options;
  box_options.image = argv[2];
  box_options.command = {"sleep", "infinity"};
  auto box = runtime->create(box_options);
  if (!box) return std::cerr << box.error().message() << '\n', 1;
  boxlite::StartOptions start;
  start.ownership = boxlite::Ownership::kOwnerBound;
  if (auto started = box->start(start); !started) return std::cerr << started.error().message() << '\n', 1;
  boxlite::ExecOptions command;
  command.command = {"echo", "from the box"};
  auto session = box->exec(command);
  if (!session) return std::cerr << session.error().message() << '\n', 1;
  for (;;) {
    auto event = session->next({});
    if (!event) return std::cerr << event.error().message() << '\n', 1;
    if (auto* chunk = std::get_if<boxlite::OutputChunk>(&**event)) std::cout << chunk->data;
    if (std::get_if<boxlite::ExitInfo>(&**event)) break;
  }
  return box->remove(true) ? 0 : 1;
}
"""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    directory = tmp_path_factory.mktemp("prefix")
    subprocess.run(["cmake", "--install", BUILD, "--prefix", directory], check=True, stdout=subprocess.DEVNULL)
    return directory


def test_an_installed_library_is_found_by_pkg_config_and_runs_boxes(prefix, tmp_path):
    (library,) = prefix.glob("lib/libboxlite.so")
    (tmp_path / "program.cc").write_text(PROGRAM)
    environment = {**os.environ, "PKG_CONFIG_PATH": str(library.parent / "pkgconfig"), "LD_LIBRARY_PATH": str(library.parent)}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "boxlite"], env=environment, check=True, capture_output=True,
                           text=True).stdout.split()
    subprocess.run(["g++", "program.cc", "-o", "program", *flags], cwd=tmp_path, check=True)
    image = "oci:" + oci.write_demo(str(tmp_path / "image"))
    done = subprocess.run([tmp_path / "program", tmp_path / "home", image], env=environment, capture_output=True, text=True,
                          timeout=300)
    assert (done.returncode, done.stdout) == (0, "from the box\n"), done.stderr
    assert os.listdir(tmp_path / "home" / "boxes") == []


def test_an_installed_command_line_finds_its_parts(prefix, tmp_path):
    image = "oci:" + oci.write_demo(str(tmp_path / "image"))
    done = subprocess.run([prefix / "bin/boxlite", "--home", tmp_path / "home", "run", "--rm", image, "echo", "hello"],
                          capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


def test_an_install_before_the_end_of_a_release_build_is_refused(tmp_path):
    shutil.copy(os.path.join(REPOSITORY, "Makefile"), tmp_path)
    done = subprocess.run(["make", "install", f"PREFIX={tmp_path}/prefix"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "run it first" in done.stderr, done
    assert not (tmp_path / "prefix").exists()
