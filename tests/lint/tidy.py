#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over the C files that the build compiles, several at a time.

A file that was found clean is not looked at again until it, a header of it,
its flags, the configuration or clang-tidy change: the key is the hash of all
that, the memory is build/.../tidy-cache. Exit 77 without clang-tidy, or with
findings of another version than the one that the tree is kept clean with.

	tidy.py [--no-analyzer]

The static analyzer takes minutes, twenty times what all other checks do: CI
leaves it out, scripts/nightly.sh does not.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import tree

BUILD = pathlib.Path(os.environ.get("KVRING_BUILD",
                                    tree.SOURCE / "build" / "release"))
VERSION = "version 14."
CACHE = BUILD / "tidy-cache"


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def words_of(entry):
    return entry.get("arguments") or shlex.split(entry["command"])


def flags_of(entry):
    words = words_of(entry)
    return [w for before, w in zip(words, words[1:])
            if w.startswith(("-D", "-I", "-m", "-std", "-isystem")) or
            before == "-isystem"]


def key_of(entry, salt):
    """Hash of what clang-tidy would see; None when it does not preprocess."""
    words, keep = words_of(entry), flags_of(entry)
    done = run("clang", "-E", "-P", *keep, entry["file"],
               cwd=entry["directory"])
    if done.returncode:
        return None
    # comments matter: they may hold NOLINT
    own = pathlib.Path(entry["file"]).read_text(encoding="utf-8")
    return hashlib.sha256("\0".join(
        [salt, own, done.stdout, *words]).encode()).hexdigest()


def check(entry, checks, salt):
    key = key_of(entry, salt)
    mark = CACHE / key if key else None
    if mark and mark.exists():
        return ""
    how = ["--", *flags_of(entry)] if entry.get("borrowed") else []
    done = run("clang-tidy", "--quiet", "--checks=" + checks, "-p", str(BUILD),
               entry["file"], *how)
    if done.returncode == 0:
        if mark:
            mark.touch()
        return ""
    return done.stdout + done.stderr


def entries():
    """One compile command a file of the library, the command and the
    benchmarks. Tests are cppcheck's: they may take a null for granted, where
    a crash is a failure like any other; but not the fuzzers, whose crashes
    are findings. This build lacks them: they borrow the engine's command."""
    wanted = {str(tree.SOURCE / name) for name in tree.files(".c")
              if not name.startswith("tests/")}
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    found = {e["file"]: e for e in commands if e["file"] in wanted}
    engine = found[str(tree.SOURCE / "runtime/engine.c")]
    fuzzers = [{"file": str(tree.SOURCE / name), "borrowed": True,
                "directory": engine["directory"],
                "arguments": ["cc", *flags_of(engine)]}
               for name in tree.files(".c") if name.startswith("tests/fuzz/")]
    return [*found.values(), *fuzzers]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-analyzer", action="store_true")
    # added to those of .clang-tidy
    checks = "-clang-analyzer-*" if parser.parse_args().no_analyzer else ""
    if not shutil.which("clang-tidy") or not shutil.which("clang"):
        print("clang-tidy is not installed; scripts/setup.sh test installs it")
        sys.exit(77)
    CACHE.mkdir(parents=True, exist_ok=True)
    salt = run("clang-tidy", "--version").stdout + \
        (tree.SOURCE / ".clang-tidy").read_text() + checks
    todo = entries()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [o for o in pool.map(lambda e: check(e, checks, salt), todo) if o]
    if problems and VERSION not in salt:
        print(*problems, f"not clang-tidy {VERSION}: no verdict", sep="\n")
        sys.exit(77)
    tree.finish("tidy", problems, len(todo))


if __name__ == "__main__":
    main()
