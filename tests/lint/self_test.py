#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants each violation in a small tree of its own and sees it caught; the
same tree without it must pass."""
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LICENCE = "/* SPDX-License-Identifier: Apache-2.0 */\n"

CLEAN = {
    "include/kvring/kvring.h": "#include <stddef.h>\n",
    "runtime/transport.h": '#include "kvring/kvring.h"\n',
    "runtime/registry.c": '#include "rdma/fake/fake.h"\n',
    "runtime/engine.c": "#include <string.h>\n",
    "rdma/fake/fake.h": '#include "runtime/transport.h"\n',
    "rdma/verbs/device.c": "#include <infiniband/verbs.h>\n",
    "compute/cuda/kernel.c": "#include <cuda.h>\n"
                             '#include "runtime/accelerator_memory.h"\n',
    "compute/cuda/CMakeLists.txt": "# SPDX-License-Identifier: Apache-2.0\n"
                                   "target_link_libraries(x -lcudart)\n",
    "docs/shown.md": "```c cli/shown.c\nint x;\n```\n",
    "cli/shown.c": "int x;\n",
    "cli/main.c": '#include "kvring/kvring.h"\n#include "cli/run.h"\n',
}


def long_function(lines):
    return "int f(void)\n{\n" + "\tg();\n" * lines + "}\n"


PLANTED = [  # check, file, its text
    ("layering", "cli/bad.c", '#include "runtime/engine.h"\n'),
    ("layering", "bench/bad.c", '#include "compute/cpu/cpu.h"\n'),
    ("layering", "bench/bad.c", '#include "runtime/transport.h"\n'),
    ("layering", "bench/net/bad.c", '#include "runtime/engine.h"\n'),
    ("layering", "bench/net/bad.c", '#include "rdma/shm/shm.h"\n'),
    ("layering", "runtime/bad.c", '#include "rdma/shm/shm.h"\n'),
    ("layering", "runtime/bad.c", '#  include "compute/cpu/cpu.h"\n'),
    ("layering", "rdma/shm/bad.c", '#include "rdma/fake/fake.h"\n'),
    ("layering", "rdma/shm/bad.c", '#include "runtime/engine.h"\n'),
    ("layering", "rdma/shm/bad.c", "#include <rdma/rdma_cma.h>\n"),
    ("layering", "runtime/bad.c", "#include <infiniband/verbs.h>\n"),
    ("layering", "tests/bad.c", "#include <infiniband/verbs.h>\n"),
    ("layering", "compute/cpu/bad.c", '#include "runtime/transport.h"\n'),
    ("layering", "compute/cpu/bad.c", "#include <cuda_runtime.h>\n"),
    ("layering", "runtime/bad.c", "#include <cublas_v2.h>\n"),
    ("layering", "runtime/bad.c", '#include "cuda.h"\n'),
    ("layering", "runtime/bad.c", "#include <driver_types.h>\n"),
    ("layering", "compute/cpu/bad.c", '#include "runtime/accelerator.h"\n'),
    ("layering", "compute/cpu/bad.c", "#include <cuda/std/limits>\n"),
    ("layering", "runtime/bad.c", '#include "compute/cuda/driver.h"\n'),
    ("layering", "compute/cuda/bad.txt", "target_link_libraries(x -lcuda)\n"),
    ("layering", "bad.cmake", "target_link_libraries(x CUDA::cuda_driver)\n"),
    ("layering", "runtime/bad.c", "#include <pmix.h>\n"),
    ("layering", "cli/bad.c", "#include <openssl/hmac.h>\n"),
    ("layering", "runtime/engine_rx.c", "#include <time.h>\n"),
    ("layering", "include/kvring/bad.h", '#include "runtime/log.h"\n'),
    ("sizes", "runtime/bad.c", long_function(79)),
    ("sizes", "runtime/bad.c", "int x;\n" * 600),
    ("sizes", "compute/cuda/bad.cu", long_function(79)),
    ("sizes", "include/kvring/bad.h", "int x;\n" * 410),
    ("words", "runtime/bad.c", "/* see /" + "work/notes */\n"),
    ("words", "docs/bad.md", "kept in /" + "tmp/bg/log\n"),
    ("words", "CMakeLists.txt", "# SPDX-License-Identifier: Apache-2.0\n"
     "add_compile_options(-march=" + "native)\n"),
    ("words", "runtime/bad.c", "/* TO" + "DO */\n"),
    ("quoted", "docs/bad.md", "```c cli/shown.c\nint y;\n```\n"),
    ("quoted", "docs/bad.md", "```c cli/gone.c\nint x;\n```\n"),
    ("words", "docs/bad.md", "[there](missing.md)\n"),
]


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(LICENCE + text if name.endswith((".c", ".h")) else text)


def run(check, root):
    # no .git there: the checks fall back to the file system
    return subprocess.run(
        [sys.executable, "-B", str(HERE / f"{check}.py")],
        env={**os.environ, "KVRING_SOURCE": str(root),
             "GIT_CEILING_DIRECTORIES": str(root.parent)},
        capture_output=True, text=True)


def caught(check, name, text):
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory) / "tree"
        for clean, contents in CLEAN.items():
            write(root, clean, contents)
        before = run(check, root)
        if before.returncode != 0:
            print(f"{check} rejects the clean tree:\n{before.stdout}"
                  f"{before.stderr}")
            return False
        write(root, name, text)
        after = run(check, root)
        if after.returncode != 1 or f"{name}" not in after.stdout:
            print(f"{check} missed {name}: {text[:60]!r}\n{after.stdout}"
                  f"{after.stderr}")
            return False
        return True


def main():
    missed = [p for p in PLANTED if not caught(*p)]
    print(f"{len(PLANTED) - len(missed)} of {len(PLANTED)} planted "
          f"violations caught")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
