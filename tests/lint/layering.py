#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dependencies point one way:

    cli, bench, python, examples -> include  (bench/cpu_*: also compute/cpu;
                                              bench/net: also the transport seam;
                                              bench/integrity: its checksum)
    include <- runtime -> its own headers; runtime/registry.c names back ends
    rdma, compute -> include, the seams of runtime, their own directory

Verbs headers stay under rdma/verbs, CUDA's under compute/cuda, nothing links
libcuda, and the engine includes nothing that could do I/O, tell the time, start
a thread or allocate.
"""
import re

import tree

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)

PUBLIC = r"kvring/[^/]+\.h"
SEAM = r"runtime/(%s)\.h"
RULES = [  # where, what quoted includes it may name
    (r"include/kvring/.*", [PUBLIC]),
    (r"cli/.*", [PUBLIC, r"cli/.*"]),
    # what a kernel reaches of the processor's peak cannot be asked from outside
    (r"bench/(cpu|fma)_.*", [PUBLIC, r"bench/.*", r"compute/cpu/.*",
                             SEAM % "compute|registry|bf16"]),
    # attention without its kernels is no public call
    (r"bench/gpu_.*", [PUBLIC, r"bench/.*", r"compute/cuda/.*",
                       SEAM % r"accelerator(_\w+)?"]),
    # what one note costs drowns in a whole ring
    (r"bench/recorder\.c", [SEAM % "recorder"]),
    # `kvring bench` is a command, and measures the transport by itself
    (r"bench/net/.*", [PUBLIC, r"bench/.*", r"cli/(command|parse)\.h",
                       SEAM % "transport|registry|settings|wire|log|clock"]),
    (r"bench/integrity\.c", [PUBLIC, r"bench/.*", SEAM % "crc32c"]),
    (r"bench/.*", [PUBLIC, r"bench/.*"]),
    (r"(python|examples)/.*", [PUBLIC]),
    (r"runtime/registry\.c", [PUBLIC, r"(runtime|rdma|compute)/.*"]),
    (r"runtime/.*", [PUBLIC, r"runtime/.*"]),
    (r"rdma/(?P<back>[^/]+)/.*",
     [PUBLIC, SEAM % r"transport|wire|log|clock|secret|accelerator(_\w+)?", r"rdma/[^/]+\.h",
      r"rdma/{back}/.*"]),
    (r"rdma/[^/]+", [PUBLIC, SEAM % r"transport|wire|log|clock|secret|accelerator(_\w+)?",
                     r"rdma/[^/]+\.h"]),
    (r"compute/cuda/.*",
     [PUBLIC, SEAM % r"compute|log|tensor|bf16|f16|e4m3|element|accelerator(_\w+)?",
      r"compute/[^/]+\.h", r"compute/cuda/.*"]),
    (r"compute/(?P<back>[^/]+)/.*",
     [PUBLIC, SEAM % "compute|log|tensor|bf16|f16|e4m3|element", r"compute/[^/]+\.h",
      r"compute/{back}/.*"]),
    (r"compute/[^/]+", [PUBLIC, SEAM % "compute|log|tensor|bf16|f16|e4m3|element",
                        r"compute/[^/]+\.h"]),
]

FOREIGN = [  # system headers, where alone they may appear
    (r"(infiniband|rdma)/.*", r"rdma/verbs/.*"),
    (r"pmix.*", r"runtime/bootstrap_pmix\.c"),
    (r"openssl/.*", r"(runtime/secret\.c|tests/.*)"),
    (r"((cuda|cub|cooperative_groups|thrust|nv)/.*|cooperative_groups\.h|"
     r"(cuda|cublas|cudnn|nvrtc|nccl|driver_types|vector_types|math_constants|"
     r"mma|nvtx)[^/]*\.h(pp)?)",
     r"(compute/cuda|examples|tests/emulated_cuda)/.*|tests/.*/(test_)?(emulated|gpu)[a-z_]*\.c|bench/gpu_[a-z]*\.c"),
]

# A library linked to libcuda, or to its stub, does not load without a driver.
LINKED = re.compile(r"-lcuda\b(?!rt)|CUDA::cuda_driver|-l:libcuda\.so")

ENGINE = r"runtime/engine[^/]*\.[ch]"
ENGINE_MAY = r"(std(bool|def|int)|string|limits)\.h"


def quoted_problem(name, header):
    sibling = (tree.SOURCE / name).parent / header
    if "/" not in header and sibling.is_file():
        return None
    for where, allowed in RULES:
        match = re.fullmatch(where, name)
        if match:
            allowed = [a.replace("{back}", match.groupdict().get("back", ""))
                       for a in allowed]
            if any(re.fullmatch(a, header) for a in allowed):
                return None
            return f'{name}: must not include "{header}"'
    return None


def foreign_problem(name, header):
    for pattern, where in FOREIGN:
        if re.fullmatch(pattern, header) and not re.fullmatch(where, name):
            return f"{name}: <{header}> belongs under {where}"
    return None


def system_problem(name, header):
    problem = foreign_problem(name, header)
    if problem:
        return problem
    if re.fullmatch(ENGINE, name) and not re.fullmatch(ENGINE_MAY, header):
        return f"{name}: the engine is pure, no <{header}>"
    return None


def problems_of(name):
    for kind, header in INCLUDE.findall(tree.text(name)):
        problem = system_problem(name, header) if kind == "<" else \
            quoted_problem(name, header)
        if kind == '"' and not (tree.SOURCE / header).is_file():
            problem = problem or foreign_problem(name, header)
        if problem:
            yield problem


def main():
    names = tree.files(".c", ".h", ".cu", ".cuh", ".cc", ".cpp")
    problems = [p for n in names for p in problems_of(n)]
    problems += [f"{n}: links libcuda" for n in
                 tree.files(".txt", ".cmake", ".sh", ".in", ".json")
                 if LINKED.search(tree.text(n))]
    tree.finish("layering", problems, len(names))


if __name__ == "__main__":
    main()
