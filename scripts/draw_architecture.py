#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/architecture.svg: layers, seams, and who calls whom.

    python3 scripts/draw_architecture.py           writes it
    python3 scripts/draw_architecture.py --check   is the committed one this?
"""
import sys

import draw_ring as pen

TARGET = pen.TARGET.with_name("architecture.svg")
WIDTH, HEIGHT = 920, 560
USER, CORE, SEAM, BACK = "#2563a8", "#2f7d4f", "#c05621", "#7b4aa3"

BOXES = [  # x, y, w, h, colour, title, lines
    (40, 70, 180, 84, USER, "cli", ["the kvring command", "thin: parses, prints"]),
    (240, 70, 180, 84, USER, "bench", ["one program a question", ""]),
    (440, 70, 200, 84, USER, "your program", ["a server, a trainer", "examples/"]),
    (40, 186, 600, 64, CORE, "include/kvring",
     ["opaque handles, contracts, manual pages"]),
    (40, 282, 600, 126, CORE, "runtime",
     ["engine: pure state machine, events in, actions out",
      "progress: the only I/O loop, in a thread or the caller's",
      "context, ring, pass, plan, ranges, merge, bootstraps"]),
    (40, 440, 290, 92, BACK, "rdma",
     ["verbs, shm, fake: one-sided writes", "verbs headers only in rdma/verbs"]),
    (350, 440, 290, 92, BACK, "compute",
     ["cpu: the oracle; portable, AVX2,", "AVX-512 kernels"]),
]
PROOFS = [
    ("tests/model", "SPIN: every interleaving"),
    ("tests/unit", "the engine, over mocks"),
    ("tests/conformance", "one body, every back end"),
    ("tests/reference", "PyTorch in float64"),
    ("tests/ring, rdma", "processes, hosts, deaths"),
    ("tests/mutants", "would a test notice?"),
    ("tests/package", "as users find it"),
]


def box(x, y, w, h, colour, title, lines):
    yield pen.rect(x, y, w, h, pen.PAPER, stroke=colour, stroke_width=1.5)
    yield pen.text(x + 14, y + 25, title, "t")
    for i, line in enumerate(lines):
        yield pen.text(x + 14, y + 48 + 20 * i, line)


def seam(x, y, name):
    """Owned by the runtime, filled in by what is below."""
    yield pen.rect(x, y, 170, 24, SEAM)
    yield pen.text(x + 85, y + 17, name, "w", "middle")


def down(x, y1, y2):
    return pen.arrow(x, y1, x, y2, pen.INK, stroke_width=1.5)


def draw():
    parts = [pen.tag("style", pen.STYLE),
             pen.tag("defs", pen.marker("d", pen.INK)),
             pen.rect(0, 0, WIDTH, HEIGHT, "#f7f8fa"),
             pen.text(40, 44, "Dependencies point one way", "t"),
             pen.text(680, 44, "what proves it", "t")]
    for one in BOXES:
        parts += box(*one)
    parts += [down(x, 156, 182) for x in (130, 330, 540)]
    parts.append(pen.arrow(340, 280, 340, 254, pen.INK, stroke_width=1.5))
    for x, name in ((100, "runtime/transport.h"), (410, "runtime/compute.h")):
        parts.append(pen.arrow(x + 85, 438, x + 85, 424, pen.INK,
                               stroke_width=1.5))
        parts += seam(x, 396, name)
    for i, (where, what) in enumerate(PROOFS):
        y = 82 + 64 * i
        parts.append(pen.text(680, y, where, "m"))
        parts.append(pen.text(680, y + 18, what, "g"))
    body = "\n" + "\n".join(parts) + "\n"
    return pen.tag("svg", body, xmlns="http://www.w3.org/2000/svg",
                   viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
                   aria_label="Layers of kvring: commands and programs above "
                   "the public headers, the runtime with its two seams, "
                   "transports and kernels below") + "\n"


def main():
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if TARGET.is_file() and TARGET.read_text() == draw() else
                 "docs/architecture.svg is not what its script draws")
    TARGET.write_text(draw())


if __name__ == "__main__":
    main()
