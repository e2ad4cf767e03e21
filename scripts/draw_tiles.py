#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/cpu-kernels.svg: a tile, from queries and keys to sums.

    python3 scripts/draw_tiles.py           writes it
    python3 scripts/draw_tiles.py --check   is the committed one this?
"""
import sys

import draw_ring as pen

TARGET = pen.TARGET.with_name("cpu-kernels.svg")
WIDTH, HEIGHT = 920, 500
Q, K, P, V = "#2563a8", "#2f7d4f", "#c05621", "#7b4aa3"


def grid(x, y, w, h, columns, rows, colour):
    """A matrix with the lines between its vectors."""
    yield pen.rect(x, y, w, h, pen.PAPER, stroke=colour, stroke_width=1.5)
    for i in range(1, columns):
        yield pen.tag("line", x1=x + w * i / columns, y1=y,
                      x2=x + w * i / columns, y2=y + h, stroke=pen.LINE)
    for i in range(1, rows):
        yield pen.tag("line", x1=x, y1=y + h * i / rows, x2=x + w,
                      y2=y + h * i / rows, stroke=pen.LINE)


def lit(x, y, w, h, colour, opacity=0.75):
    return pen.tag("rect", x=x, y=y, width=w, height=h, fill=colour,
                   opacity=opacity)


def note(x, y, title, *lines):
    yield pen.text(x, y, title, "t")
    for i, line in enumerate(lines):
        yield pen.text(x, y + 20 + 18 * i, line)


def scores():
    """12 rows x 2 vectors of keys stay in registers over all dims."""
    yield from grid(300, 70, 320, 100, 10, 5, K)
    yield lit(300, 90, 64, 20, K)
    yield pen.text(630, 84, "K of the panels, transposed:", "m")
    yield pen.text(630, 102, "a row is one dim of 16 keys a panel", "m")
    yield from grid(150, 200, 100, 120, 5, 12, Q)
    yield lit(170, 200, 20, 120, Q)
    yield pen.text(150, 192, "q: 12 rows", "m")
    yield from grid(300, 200, 320, 120, 10, 12, P)
    yield lit(300, 200, 64, 120, P, 0.45)
    yield pen.arrow(332, 114, 332, 196, pen.INK, stroke_width=1.5)
    yield pen.arrow(194, 260, 296, 260, pen.INK, stroke_width=1.5)
    yield from note(630, 214, "1 score",
                    "24 sums of 16 in registers; each dim adds",
                    "12 numbers of q times 2 vectors of K.",
                    "Maxima are taken on the way to L1.")


def softmax():
    yield from note(630, 298, "2 soften",
                    "2^(score - max), in place; max is an",
                    "integer, so that old sums shrink exactly")


def values():
    """A row of V for a key, a column of P."""
    yield from grid(300, 360, 100, 100, 5, 10, V)
    yield lit(300, 380, 40, 10, V)
    yield pen.text(300, 478, "V: 16 keys a panel", "m")
    yield from grid(150, 360, 100, 120, 5, 12, pen.INK)
    yield lit(150, 360, 40, 120, pen.INK, 0.35)
    yield pen.text(150, 352, "out: 12 rows", "m")
    yield pen.arrow(296, 385, 254, 385, pen.INK, stroke_width=1.5)
    yield pen.tag("path", d="M 300 324 C 280 340 262 350 254 370",
                  fill="none", stroke=pen.INK, stroke_width=1.5,
                  marker_end="url(#d)")
    yield from note(630, 384, "3 add values",
                    "24 sums again: each key adds 12 numbers",
                    "of P times 2 vectors of V. After all keys",
                    "of the tile: out = out * decay + sums")


def draw():
    parts = [pen.tag("style", pen.STYLE),
             pen.tag("defs", pen.marker("d", pen.INK)),
             pen.rect(0, 0, WIDTH, HEIGHT, "#f7f8fa"),
             pen.text(40, 40, "A tile: 12 rows of queries (AVX-512; 6 elsewhere) "
                      "against up to 256 keys", "t"),
             *scores(), *softmax(), *values()]
    body = "\n" + "\n".join(parts) + "\n"
    return pen.tag("svg", body, xmlns="http://www.w3.org/2000/svg",
                   viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
                   aria_label="A tile of the CPU kernels: queries times "
                   "transposed keys give scores, whose exponentials times "
                   "values are added to the output") + "\n"


def main():
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if TARGET.is_file() and TARGET.read_text() == draw() else
                 "docs/cpu-kernels.svg is not what its script draws")
    TARGET.write_text(draw())


if __name__ == "__main__":
    main()
