#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The talk of verbs_message_test.c, made from the layout alone.

    python3 tests/unit/rdma/verbs_message.py > tests/unit/rdma/verbs_message_golden.h
"""
import hashlib
import hmac
import struct

SECRET = b"a shared secret"
RING, GENERATION = 0x1122334455667788, 3
VERSION = 2
BODY, MAC = 320, 32
OUT, IN = 1, 0


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def key_and_mark():
    seed = b"kvring edge key".ljust(16, b"\0") + bytes(range(1, 33))
    key = mac(SECRET, seed + struct.pack("<QQ", RING, GENERATION))
    return key, mac(key, b"kvring edge mark\0")[:8]


def hello(role, rank, peer, salt, mark):
    base = struct.pack("<QII16s", 0x6F6C6C656852564B, 1, role,
                       bytes([salt]) * 16)
    base += struct.pack("<QIIIIII", RING, GENERATION, 4, rank, peer, 2, 2)
    base += struct.pack("<QQQQQQ", 1000, 2000, 300, 0, 0, 0)
    body = base + bytes([salt + 1]) * 16 + mark + struct.pack("<II", 1, 2)
    body += struct.pack("<II", 0x100 + salt, 0x200 + salt).ljust(64, b"\0")
    return body + (bytes([salt + 2]) * 16).ljust(64, b"\0")


def grant():
    return (struct.pack("<Q", 0x7F0011223344) +
            struct.pack("<I", 0xABCD).ljust(16, b"\0") +
            struct.pack("<I", 0xEF01).ljust(16, b"\0") + bytes(8))


def macs(key, bodies):
    said = b""
    for index, body in enumerate(bodies):
        said += struct.pack("<QII", 0x6B6C617462765652, VERSION, index + 1)
        said += body.ljust(BODY, b"\0")
        made = mac(key, said + bytes(MAC))
        said += made
        yield made


def array(name, values, declare):
    rows = [values[i:i + 8] for i in range(0, len(values), 8)]
    text = ",\n\t".join(", ".join(f"0x{b:02x}" for b in row) for row in rows)
    return f"{declare}{name}{{\n\t{text},\n}}"


def main():
    key, mark = key_and_mark()
    bodies = [hello(OUT, 1, 2, 0x10, mark), hello(IN, 2, 1, 0x20, mark),
              b"", grant()]
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Written by verbs_message.py, which knows the layout, not us. */")
    print(array("", key, "static const uint8_t golden_key[32] = ") + ";")
    print(array("", mark, "static const uint8_t golden_mark[8] = ") + ";")
    print("static const uint8_t golden_mac[4][32] = {")
    for made in macs(key, bodies):
        print(array("", made, "\t").replace("\n", "\n\t") + ",")
    print("};")


if __name__ == "__main__":
    main()
