"""A root file system with the host's C compiler in it, for a job that works like a build: it reads headers, computes, writes."""

import glob
import os
import subprocess

from boxlite_testing import oci

_FUNCTIONS = 300

# Preprocessor, compiler proper and assembler, called one by one: the driver would want the whole of binutils.
COMPILE = ("cd /src && cc1 -quiet -O2 -isystem /usr/lib/gcc-include -I/usr/include/x86_64-linux-gnu -I/usr/include "
           "job.c -o /tmp/job.s && as /tmp/job.s -o /tmp/job.o && test -s /tmp/job.o")


def toolchain_image():
    """One layer: busybox, cc1, as, their libraries, the C headers and a source file to compile."""
    folder = subprocess.run(["gcc", "-print-file-name=include"], check=True, capture_output=True, text=True).stdout.strip()
    cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], check=True, capture_output=True, text=True).stdout.strip()
    layer = oci.Layer()
    oci.add_busybox(layer)
    for path in ("src", "lib", "lib64", "lib/x86_64-linux-gnu", "usr/include", "usr/lib"):
        layer.folder(path)
    for name, program in (("cc1", cc1), ("as", os.path.realpath("/usr/bin/as"))):
        layer.file(f"usr/bin/{name}", read(program), 0o755)
        for library in libraries(program):
            layer.file(library.lstrip("/"), read(library), 0o755)
    for source, target in ((folder, "usr/lib/gcc-include"), ("/usr/include/x86_64-linux-gnu", "usr/include/x86_64-linux-gnu")):
        for path in headers(source):
            layer.file(f"{target}/{os.path.relpath(path, source)}", read(path))
    for path in glob.glob("/usr/include/*.h") + headers("/usr/include/linux") + headers("/usr/include/asm-generic"):
        layer.file(path.lstrip("/"), read(path))
    return layer.file("src/job.c", source_text()).tar()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def headers(folder):
    return [path for path in glob.glob(f"{folder}/**/*.h", recursive=True)
            if "/c++/" not in path and os.path.getsize(path) < 1 << 20]


_seen = set()


def libraries(program):
    """Paths of the shared libraries of a program that were not asked for before."""
    lines = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [word for line in lines for word in line.split() if word.startswith("/")]
    new = [path for path in paths if path not in _seen]
    _seen.update(new)
    return new


def source_text():
    functions = [f"""
static int function_{n}(const char *text, size_t length) {{
  int sum = {n};
  for (size_t i = 0; i < length; i++) {{
    if (text[i] == '{chr(97 + n % 26)}') sum += (int)i * {n + 1};
    else sum ^= text[i] << ({n} % 7);
  }}
  if (sum % 3 == 0) printf("%d %s\\n", sum, text);
  return sum + (int)strlen(text);
}}""" for n in range(_FUNCTIONS)]
    calls = "".join(f"  sum += function_{n}(argv[0], {n % 9});\n" for n in range(_FUNCTIONS))
    return ("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n" + "".join(functions) +
            f"\nint main(int argc, char **argv) {{\n  int sum = argc;\n{calls}  return sum & 1;\n}}\n")
