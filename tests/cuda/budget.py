#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each kernel takes of a GPU stays within its committed budget.

    budget.py BUDGET TARGETS OCCUPANCY LOG...

BUDGET is compute/cuda/budget.txt; TARGETS "sm_80,sm_90a"; OCCUPANCY the program
of compute/cuda/occupancy.c; LOG what ptxas -v said of a file of kernels. Every
kernel has a row, every row a kernel, in every target; nothing is spilled.
"""
import re
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, "
                   r"(\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def demangle(names):
    """Without "void " before it, namespaces of none, and the parameters."""
    done = subprocess.run(["c++filt"], input="\n".join(names), text=True,
                          check=True, capture_output=True)
    plain = (re.sub(r"^void ", "", line) for line in done.stdout.splitlines())
    return dict(zip(names, (re.sub(r"\([^()]*\)$", "", p) for p in plain)))


def read_logs(paths):
    """{(kernel, target): [registers, shared, frame and spills]}"""
    found, current = {}, None
    for path in paths:
        with open(path, encoding="utf-8") as log:
            for line in log:
                if match := ENTRY.search(line):
                    current = found[match.groups()] = [0, 0, 0]
                elif match := FRAME.search(line):
                    if current is not None:
                        current[2] += sum(map(int, match.groups()))
                elif match := USED.search(line):
                    current[0] = int(match[1])
                    shared = SHARED.search(line)
                    current[1] = int(shared[1]) if shared else 0
    plain = demangle(sorted({kernel for kernel, _ in found}))
    return {(plain[k], t): used for (k, t), used in found.items()}


def read_budget(path):
    """{kernel: [registers, shared, dynamic, threads]}"""
    rows = {}
    with open(path, encoding="utf-8") as table:
        for line in table:
            words = line.split("#")[0].split(None, 4)
            if words:
                rows[words[4].strip()] = [int(w) for w in words[:4]]
    return rows


def check(budget, used, targets):
    for kernel in sorted({k for k, _ in used} - budget.keys()):
        yield f"{kernel}: has no row in the budget"
    for kernel, (registers, shared, _, _) in sorted(budget.items()):
        for target in targets:
            got = used.get((kernel, target))
            if not got:
                yield f"{kernel}: not compiled for {target}"
                continue
            if got[0] > registers:
                yield (f"{kernel}, {target}: {got[0]} registers, "
                       f"at most {registers}")
            if got[1] > shared:
                yield (f"{kernel}, {target}: {got[1]} bytes of shared "
                       f"memory, at most {shared}")
            if got[2]:
                yield f"{kernel}, {target}: {got[2]} bytes on the stack"


PERCENT = re.compile(r"^(\w+): .* (\d+) % of the threads")


def summary(lines):
    """scripts/test.sh shows lines that begin so."""
    percents = {}
    for line in lines:
        if match := PERCENT.match(line):
            percents.setdefault(match[1], set()).add(int(match[2]))
    print("report: occupancy of " + ", ".join(
        f"{gpu} {min(p)} to {max(p)} %" for gpu, p in sorted(percents.items())))


def occupancy(program, budget, used):
    """Prints it; false when a kernel does not fit."""
    rows = "".join(
        f"{target} {got[0]} {got[1]} {budget[kernel][2]} {budget[kernel][3]} "
        f"{kernel}\n" for (kernel, target), got in sorted(used.items())
        if kernel in budget)
    done = subprocess.run([program], input=rows, text=True,
                          stdout=subprocess.PIPE)
    print(done.stdout, end="")
    summary(done.stdout.splitlines())
    return done.returncode == 0


def judge(table, targets, program, logs):
    """(problems, how much was looked at)"""
    budget, used = read_budget(table), read_logs(logs)
    for (kernel, target), got in sorted(used.items()):
        print(f"{target:7} {got[0]:3} registers {got[1]:6} bytes shared  "
              f"{kernel}")
    problems = list(check(budget, used, targets))
    if not occupancy(program, budget, used):
        problems.append("the occupancy of a kernel is none")
    return problems, len(used)


def main():
    table, targets, program, *logs = sys.argv[1:]
    problems, looked_at = judge(table, targets.split(","), program, logs)
    for problem in problems:
        print(problem)
    print(f"budget: {len(problems)} problems, {looked_at} looked at")
    sys.exit(1 if problems or not looked_at else 0)


if __name__ == "__main__":
    main()
