#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What GPUs the built plug-in has code for, read from its fat binaries.

    targets.py PLUGIN WANTED

WANTED is "sm_80,sm_90a,sm_100,ptx_100": each file of kernels has all of them
and nothing else. Read here, for cuobjdump is not in every toolkit.
"""
import struct
import sys

MAGIC = struct.pack("<I", 0xBA55ED50)
HEADER = struct.Struct("<IHHQ")  # magic, version, its size, size of the rest
ENTRY = struct.Struct("<HHIQIIHHI")  # kind, _, its size, size, ..., arch
PTX, ELF = 1, 2


def entries(data, start):
    """Names of what one fat binary holds; the letter of 90a is not in it."""
    _, _, header_size, size = HEADER.unpack_from(data, start)
    at, end = start + header_size, start + header_size + size
    while at + ENTRY.size <= end:
        kind, _, own_size, payload, *_, arch = ENTRY.unpack_from(data, at)
        if kind not in (PTX, ELF):
            raise ValueError(f"an entry of kind {kind}")
        yield f"{'ptx' if kind == PTX else 'sm'}_{arch}"
        at += own_size + payload


def fat_binaries(data):
    start = data.find(MAGIC)
    while start >= 0:
        names = set(entries(data, start))
        if names:
            yield names
        start = data.find(MAGIC, start + 1)


def main():
    plugin, wanted = sys.argv[1:]
    wanted = {w.rstrip("a") for w in wanted.split(",")}
    with open(plugin, "rb") as file:
        found = list(fat_binaries(file.read()))
    for names in found:
        print(*sorted(names))
    wrong = [names for names in found if names != wanted]
    print(f"targets: {len(wrong)} files of kernels are not for "
          f"{' '.join(sorted(wanted))}, {len(found)} looked at")
    sys.exit(1 if wrong or not found else 0)


if __name__ == "__main__":
    main()
