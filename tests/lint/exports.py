#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The public headers and the shared library say the same, and each header
stands alone, in C and in C++.

    exports.py LIBRARY CC CXX
"""
import os
import re
import subprocess
import sys

import tree

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
PREPROCESSOR = re.compile(r"^\s*#(?:[^\n]*\\\n)*[^\n]*$", re.MULTILINE)
DECLARED = re.compile(r"\bKVR_API\b[^;{]*?\b(kvr_\w+)\s*\(")


def declared(names):
    """Functions with KVR_API, and how often the macro is used at all."""
    found, uses = set(), 0
    for name in names:
        text = PREPROCESSOR.sub("", COMMENT.sub("", tree.text(name)))
        uses += len(re.findall(r"\bKVR_API\b", text))
        found.update(DECLARED.findall(text))
    return found, uses


def exported(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library],
                           check=True, capture_output=True,
                           text=True).stdout.splitlines()
    symbols = {}
    for line in lines:
        kind, name = line.split()[-2:]
        if kind != "A":  # the version node itself
            symbols[name.split("@")[0]] = kind
    return symbols


def compile_problems(name, compiler, standard, language):
    header = name.removeprefix("include/")
    done = subprocess.run(
        [compiler, f"-std={standard}", "-Wall", "-Wextra", "-pedantic",
         "-Werror", "-fsyntax-only", f"-I{tree.SOURCE / 'include'}",
         "-x", language, "-"],
        input=f'#include "{header}"\n#include "{header}"\n', text=True,
        capture_output=True)
    if done.returncode:
        yield f"{name} alone as {standard}:\n{done.stderr}"


def main():
    library, cc, cxx = sys.argv[1:]
    names = tree.files(".h")
    names = [n for n in names if n.startswith("include/")]
    promised, uses = declared(names)
    symbols = exported(library)
    problems = [f"{n}: declared, not exported" for n in
                sorted(promised - symbols.keys())]
    problems += [f"{n}: exported, in no public header" for n in
                 sorted(symbols.keys() - promised)]
    if uses != len(promised):
        problems.append(f"{uses} uses of KVR_API, {len(promised)} functions")
    for name in names:
        problems += compile_problems(name, cc, "c11", "c")
        for standard in ("c++11", "c++17"):
            if cxx and os.path.exists(cxx):
                problems += compile_problems(name, cxx, standard, "c++")
    print(f"{len(promised)} functions")
    tree.finish("exports", problems, len(names))


if __name__ == "__main__":
    main()
