#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No path of somebody's machine, no build for one processor, no file without
its licence, no dead link between documents."""
import re

import tree

ANY = [  # in every text file
    (re.compile(r"(?<![\w.~-])/(work|tmp/bg|home/\w+)(?=/|\b(?![\w-]))"),
     "a path of somebody's machine"),
]
SOURCE = [  # in what is compiled or run; documents may explain the ban
    (re.compile(r"-march=" + "native"), "builds for one processor only"),
    (re.compile(r"\b(TO" + r"DO|FIX" + r"ME)\b"), "unfinished"),
]
SOURCE_ENDINGS = (".c", ".h", ".py", ".sh", ".cmake", ".txt", ".json", ".in",
                  ".pml", ".cu")
LICENSED = (".c", ".h", ".py", ".sh", ".cmake", ".pml", ".cu",
            "CMakeLists.txt")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)|src=\"([^\"]+)\"")


def line_problems(name, text):
    rules = ANY + (SOURCE if name.endswith(SOURCE_ENDINGS) else [])
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, why in rules:
            if pattern.search(line):
                yield f"{name}:{number}: {why}: {line.strip()[:60]}"


def link_problems(name, text):
    for groups in LINK.findall(text):
        target = groups[0] or groups[1]
        if re.match(r"[a-z]+:", target):
            continue
        if not ((tree.SOURCE / name).parent / target).exists():
            yield f"{name}: dead link {target}"


def problems_of(name):
    data = (tree.SOURCE / name).read_bytes()
    if b"\0" in data:
        return
    text = data.decode("utf-8", errors="replace")
    yield from line_problems(name, text)
    if name.endswith(LICENSED) and \
            "SPDX-License-Identifier: Apache-2.0" not in text[:200]:
        yield f"{name}: no SPDX-License-Identifier"
    if name.endswith(".md"):
        yield from link_problems(name, text)


def main():
    names = tree.files()
    tree.finish("words", [p for n in names for p in problems_of(n)],
                len(names))


if __name__ == "__main__":
    main()
