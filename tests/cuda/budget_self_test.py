#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants what budget.py is for and sees it caught; the same without it passes.

    budget_self_test.py OCCUPANCY
"""
import contextlib
import io
import pathlib
import sys
import tempfile

import budget as checker

BUDGET = "# registers shared dynamic threads kernel\n" \
    "32 48 0 256 softmax<float, 4>\n40 0 166912 128 merge\n"


def log(registers=32, shared=48, spills=0, targets=("sm_80", "sm_90a"),
        kernels=("_Z7softmaxIfLi4EEvPT_i", "merge"), frame=0):
    """As ptxas of CUDA 13 says it; that of 12 adds constant memory."""
    return "ptxas info    : 0 bytes gmem\n" + "".join(
        f"ptxas info    : Compiling entry function '{k}' for '{t}'\n"
        f"ptxas info    : Function properties for {k}\n"
        f"    {frame} bytes stack frame, {spills} bytes spill stores, "
        f"{spills} bytes spill loads\n"
        f"ptxas info    : Used {registers} registers, used 1 barriers"
        + (f", {shared} bytes smem" if k.startswith("_Z") else "")
        + (", 380 bytes cmem[0]\n" if t == "sm_80" else "\n")
        for k in kernels for t in targets)


CASES = [  # budget, log, what must be said; None: it passes
    (BUDGET, log(), None),
    (BUDGET, log(registers=33), "33 registers, at most 32"),
    (BUDGET, log(shared=49), "49 bytes of shared memory, at most 48"),
    (BUDGET, log(spills=4), "8 bytes on the stack"),
    (BUDGET, log(frame=16), "16 bytes on the stack"),
    (BUDGET, log(kernels=("merge", "_Z7softmaxIfLi4EEvPT_i", "extra")),
     "extra: has no row"),
    (BUDGET, log(kernels=("merge",)),
     "softmax<float, 4>: not compiled for sm_80"),
    (BUDGET, log(targets=("sm_80",)), "merge: not compiled for sm_90a"),
    (BUDGET, "", "not compiled"),
    (BUDGET.replace("166912", "166913"), log(), "occupancy of a kernel"),
]


def judged(program, budget, text):
    with tempfile.TemporaryDirectory() as directory:
        table = pathlib.Path(directory) / "budget.txt"
        kernels = pathlib.Path(directory) / "kernels.log"
        table.write_text(budget)
        kernels.write_text(text)
        with contextlib.redirect_stdout(io.StringIO()):
            return checker.judge(table, ["sm_80", "sm_90a"], program,
                                 [kernels])


def main():
    wrong = 0
    for budget, text, expected in CASES:
        problems, _ = judged(sys.argv[1], budget, text)
        ok = not problems if expected is None else \
            any(expected in p for p in problems)
        if not ok:
            print(f"wanted {expected!r}, got {problems}")
            wrong += 1
    print(f"{len(CASES) - wrong} of {len(CASES)} cases as wanted")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
