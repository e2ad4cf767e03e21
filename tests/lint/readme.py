#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The C examples of the README compile without a warning: readme.py CC."""
import re
import subprocess
import sys

import tree


def main():
    examples = re.findall(r"^```c\n(.*?)^```$", tree.text("README.md"),
                          re.DOTALL | re.MULTILINE)
    problems = []
    for example in examples:
        done = subprocess.run(
            [sys.argv[1], "-std=c11", "-Wall", "-Wextra", "-Werror",
             "-fsyntax-only", f"-I{tree.SOURCE / 'include'}", "-xc", "-"],
            input=example, text=True, capture_output=True)
        if done.returncode:
            problems.append(done.stderr)
    tree.finish("readme", problems, len(examples))


if __name__ == "__main__":
    main()
