#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A document that shows a file shows it as it is: what stands between
"```c FILE" and "```" is FILE without its licence. `quoted.py --update` makes
the documents follow the files."""
import re
import sys

import tree

BLOCK = re.compile(r"^(```\w+ (\S+)\n)(.*?)^```$", re.DOTALL | re.MULTILINE)
LICENCE = re.compile(r"\A.*SPDX-License-Identifier.*\n")


def wanted(name):
    return LICENCE.sub("", tree.text(name)) \
        if (tree.SOURCE / name).is_file() else None


def main():
    update = sys.argv[1:] == ["--update"]
    problems, blocks = [], 0
    for document in tree.files(".md"):
        text = tree.text(document)
        for _, name, body in BLOCK.findall(text):
            blocks += 1
            if body != wanted(name):
                problems.append(f"{document}: not {name} as it is: "
                                "tests/lint/quoted.py --update")
        if update:
            new = BLOCK.sub(lambda m: m[1] + (wanted(m[2]) or m[3]) + "```",
                            text)
            (tree.SOURCE / document).write_text(new, encoding="utf-8")
    tree.finish("quoted", [] if update else problems, blocks)


if __name__ == "__main__":
    main()
