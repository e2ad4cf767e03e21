# SPDX-License-Identifier: Apache-2.0
"""The table of coverage.sh: what gcov says of each file of the tree that was
compiled, added up by directory. A line counts once, however many objects it
is in, and is run when it was in any of them; the same with each branch."""
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[1]
LEFT_OUT = ("tests/", "build/", "bench/")
LEAST_LINES = 92  # percent; below it the status is 1
DEVICES = "rdma/verbs"  # runs in a guest, or not at all


def reports(notes):
    """gcov's JSON of one object, one document a line."""
    done = subprocess.run(
        ["gcov", "--json-format", "--branch-probabilities", "--stdout",
         notes.name], cwd=notes.parent, capture_output=True, text=True,
        check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line]


def name_of(report, file):
    path = pathlib.Path(report["current_working_directory"], file["file"])
    try:
        name = str(path.resolve().relative_to(SOURCE))
    except ValueError:
        return None
    return None if name.startswith(LEFT_OUT) else name


def gather(notes):
    """{file: {line: (run, [branch run])}}"""
    tree = collections.defaultdict(dict)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for report in (r for rs in pool.map(reports, notes) for r in rs):
            for file in report["files"]:
                name = name_of(report, file)
                for line in file["lines"] if name else ():
                    merge(tree[name], line)
    return tree


def merge(lines, line):
    number = line["line_number"]
    branches = [b["count"] > 0 for b in line["branches"] if not b["throw"]]
    run, before = lines.get(number, (False, []))
    if len(before) == len(branches):
        branches = [a or b for a, b in zip(before, branches)]
    elif len(before) > len(branches):
        branches = before
    lines[number] = (run or line["count"] > 0, branches)


def count(lines):
    """(lines, run, branches, run)"""
    branches = [b for _, bs in lines.values() for b in bs]
    return (len(lines), sum(run for run, _ in lines.values()),
            len(branches), sum(branches))


def row(name, counts):
    lines, run, branches, taken = counts
    print(f"{name:36} {run:6} of {lines:6} {percent(run, lines)}   "
          f"{taken:6} of {branches:6} {percent(taken, branches)}")


def percent(part, whole):
    return f"{100 * part / whole:6.1f} %" if whole else "     - %"


def add_up(by_file):
    """By directory; of all; of all that needs no device."""
    sums = collections.defaultdict(lambda: (0, 0, 0, 0))
    for name, counts in by_file.items():
        places = [str(pathlib.Path(name).parent), "all"]
        if not name.startswith(DEVICES + "/"):
            places.append("rest")
        for place in places:
            sums[place] = tuple(map(sum, zip(sums[place], counts)))
    return sums, sums.pop("all"), sums.pop("rest")


def main():
    build = pathlib.Path(sys.argv[-1])
    tree = gather(sorted(build.rglob("*.gcno")))
    if not tree:
        sys.exit("coverage: nothing was built here")
    by_file = {name: count(lines) for name, lines in sorted(tree.items())}
    sums, whole, rest = add_up(by_file)
    print(f"{'':36} {'lines':>16} {'':8}   {'branches':>16}")
    if "--files" in sys.argv:
        for name, counts in by_file.items():
            row(name, counts)
        print()
    for place, counts in sorted(sums.items()):
        row(place, counts)
    row(f"all but {DEVICES}", rest)
    row("all", whole)
    judged = whole if any((build / "guest").rglob("*.gcda")) else rest
    if 100 * judged[1] < LEAST_LINES * judged[0]:
        sys.exit(f"coverage: below {LEAST_LINES} % of the lines")


if __name__ == "__main__":
    main()
