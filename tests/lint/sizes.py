#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Functions and files stay short: house style in numbers."""
import re

import tree

FUNCTION_MAX = 80
FILE_MAX = 600
HEADER_MAX = 410  # public headers, each read in one sitting
MEDIAN_MAX = 15  # of the library and the command
P90_MAX = 40


def functions(text):
    """(line, lines) of each body: braces in column 0, as the style has it."""
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            yield start, number - start + 1
            start = None


def main():
    problems, lengths = [], []
    names = tree.files(".c", ".h", ".cu", ".cuh", ".py", ".sh", ".cmake")
    for name in names:
        text = tree.text(name)
        lines = text.count("\n")
        public = re.fullmatch(r"include/.*\.h", name)
        limit = HEADER_MAX if public else FILE_MAX
        if lines > limit:
            problems.append(f"{name}: {lines} lines, at most {limit}")
        if not name.endswith((".c", ".h", ".cu", ".cuh")):
            continue
        for start, length in functions(text):
            if length > FUNCTION_MAX:
                problems.append(f"{name}:{start}: a function of {length} "
                                f"lines, at most {FUNCTION_MAX}")
            if not name.startswith("tests/"):
                lengths.append(length)
    if lengths:
        lengths.sort()
        median = lengths[len(lengths) // 2]
        p90 = lengths[len(lengths) * 9 // 10]
        print(f"{len(lengths)} functions: median {median} lines, p90 {p90}, "
              f"longest {lengths[-1]}")
        if median > MEDIAN_MAX or p90 > P90_MAX:
            problems.append(f"functions grew: median at most {MEDIAN_MAX}, "
                            f"p90 at most {P90_MAX}")
    tree.finish("sizes", problems, len(names))


if __name__ == "__main__":
    main()
