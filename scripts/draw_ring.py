#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/ring.svg: four ranks, two slots each, chunks on their way.

    python3 scripts/draw_ring.py           writes it
    python3 scripts/draw_ring.py --check   is the committed one this drawing?
"""
import pathlib
import sys

TARGET = pathlib.Path(__file__).resolve().parents[1] / "docs" / "ring.svg"
WIDTH, HEIGHT = 920, 560
BOX_W, BOX_H = 280, 168
CORNERS = [(40, 74), (600, 74), (600, 326), (40, 326)]  # ranks 0 .. 3
BLOCK = ["#2563a8", "#c05621", "#2f7d4f", "#7b4aa3"]  # one colour a block
INK, GREY, PAPER, LINE = "#1f2933", "#697586", "#ffffff", "#c3cad4"
CREDIT = "#697586"

STYLE = f"""
text {{ font-family: "Segoe UI", "DejaVu Sans", Helvetica, sans-serif;
  fill: {INK}; }}
.t {{ font-size: 17px; font-weight: 600; }}
.m {{ font-size: 13px; }}
.g {{ font-size: 12px; fill: {GREY}; }}
.w {{ font-size: 12.5px; fill: #ffffff; font-weight: 600; }}
"""


def tag(name, body=None, **attributes):
    words = "".join(f' {key.replace("_", "-")}="{value}"'
                    for key, value in attributes.items())
    if body is None:
        return f"<{name}{words}/>"
    return f"<{name}{words}>{body}</{name}>"


def text(x, y, words, cls="m", anchor="start"):
    return tag("text", words, x=x, y=y, cls=cls,
               text_anchor=anchor).replace(" cls=", " class=")


def rect(x, y, w, h, fill, **more):
    return tag("rect", x=x, y=y, width=w, height=h, rx=5, fill=fill, **more)


def block(x, y, w, owner, part=1.0):
    """A K/V block of its owner's colour, landed up to `part`."""
    yield rect(x, y, w, 30, PAPER, stroke=BLOCK[owner], stroke_width=1.5,
               stroke_dasharray="4 3" if part < 1 else "none")
    if part > 0:
        yield rect(x, y, round(w * part), 30, BLOCK[owner])
        yield text(x + 9, y + 20, f"KV {owner}", "w")


def rank(i):
    """Step 1: computes on the block of i - 1, that of i - 2 is landing."""
    x, y = CORNERS[i]
    near, far = (i + 3) % 4, (i + 2) % 4
    yield rect(x, y, BOX_W, BOX_H, PAPER, stroke=LINE, stroke_width=1.5)
    yield text(x + 16, y + 27, f"rank {i}", "t")
    yield text(x + BOX_W - 16, y + 27, f"keeps its queries Q {i}", "g", "end")
    yield text(x + 16, y + 62, "own")
    yield from block(x + 72, y + 42, 112, i)
    yield text(x + 16, y + 102, "slot 0")
    yield from block(x + 72, y + 82, 112, near)
    yield text(x + 196, y + 102, "computes", "m")
    yield text(x + 16, y + 142, "slot 1")
    yield from block(x + 72, y + 122, 112, far, 0.55)
    yield text(x + 196, y + 142, "lands", "m")


def chunk(x, y, h, owner, opacity):
    """On its way; paper below, so that the arrow does not shine through."""
    yield rect(x, y, 32, h, "#f7f8fa")
    yield rect(x, y, 32, h, BLOCK[owner], opacity=round(opacity, 2))


def arrow(x1, y1, x2, y2, colour, **more):
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour,
               marker_end="url(#%s)" % ("c" if colour == CREDIT else "d"),
               **more)


def edge(i):
    """Data to next, chunk by chunk; a credit the other way."""
    x, y = CORNERS[i]
    owner = (i + 3) % 4  # forwarded: what landed before
    if i % 2 == 0:
        sign = 1 if i == 0 else -1
        left, right = 40 + BOX_W + 14, 600 - 14
        start, end = (left, right) if sign > 0 else (right, left)
        # data runs on the outer side of the ring
        data, back = (y + 56, y + 112) if sign > 0 else (y + 112, y + 56)
        yield arrow(start, data, end, data, INK, stroke_width=2)
        for k in range(4):
            yield from chunk(start + sign * (44 + 50 * k) - 16, data - 10, 20,
                             owner, 1 - 0.13 * (3 - k))
        yield arrow(end, back, start, back, CREDIT, stroke_width=1.5,
                    stroke_dasharray="2 5", stroke_linecap="round")
        middle = (left + right) / 2
        above, below = (data - 20, back + 22) if sign > 0 else \
            (data + 28, back - 12)
        yield text(middle, above, "one-sided writes", "g", "middle")
        yield text(middle, below, "credit: a slot is free", "g", "middle")
    else:
        sign = 1 if i == 1 else -1
        top, low = 74 + BOX_H + 10, 326 - 10
        start, end = (top, low) if sign > 0 else (low, top)
        data, back = (x + 196, x + 84) if sign > 0 else (x + 84, x + 196)
        yield arrow(data, start, data, end, INK, stroke_width=2)
        for k in range(2):
            yield from chunk(data - 16, start + sign * (17 + 25 * k) - 9, 18,
                             owner, 1 - 0.2 * (1 - k))
        yield arrow(back, end, back, start, CREDIT, stroke_width=1.5,
                    stroke_dasharray="2 5", stroke_linecap="round")


def marker(name, colour):
    return tag("marker", tag("path", d="M0 0 L10 5 L0 10 z", fill=colour),
               id=name, viewBox="0 0 10 10", refX=9, refY=5, markerWidth=8,
               markerHeight=8, orient="auto", markerUnits="userSpaceOnUse")


def draw():
    parts = [tag("style", STYLE), tag("defs", marker("d", INK) +
                                      marker("c", CREDIT)),
             rect(0, 0, WIDTH, HEIGHT, "#f7f8fa"),
             text(40, 44, "A ring of four ranks, step 1 of 3", "t"),
             text(WIDTH - 40, 44, "while slot 0 is computed on, slot 1 fills",
                  "m", "end")]
    for i in range(4):
        parts += edge(i)
        parts += rank(i)
    parts.append(text(
        WIDTH / 2, HEIGHT - 28, "Every rank sees every key and value once; "
        "chunks are forwarded as they land, and nothing is approximated.",
        "m", "middle"))
    body = "\n" + "\n".join(parts) + "\n"
    return tag("svg", body, xmlns="http://www.w3.org/2000/svg",
               viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
               aria_label="Four ranks in a ring, each with two slots; blocks "
               "travel to the next rank, credits to the previous one") + "\n"


def main():
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if TARGET.read_text() == draw() else
                 "docs/ring.svg is not what scripts/draw_ring.py draws")
    TARGET.write_text(draw())


if __name__ == "__main__":
    main()
