# SPDX-License-Identifier: Apache-2.0
"""What every check of this directory shares: the files of the tree."""
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(os.environ.get(
    "KVRING_SOURCE", pathlib.Path(__file__).resolve().parents[2]))


def files(*endings):
    """Tracked and new files, not ignored ones; relative, sorted."""
    try:
        # -c: a checkout that belongs to somebody else is read all the same
        listed = subprocess.run(
            ["git", "-c", f"safe.directory={SOURCE}", "-C", str(SOURCE),
             "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True, text=True).stdout.split("\0")
        names = [name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        names = [str(p.relative_to(SOURCE)) for p in SOURCE.rglob("*")]
        names = [n for n in names if not n.startswith(("build/", ".git/"))]
    return sorted(n for n in set(names) if (SOURCE / n).is_file() and
                  (not endings or n.endswith(endings)))


def text(name):
    return (SOURCE / name).read_text(encoding="utf-8", errors="replace")


def finish(check, problems, looked_at):
    for problem in problems:
        print(problem)
    if not looked_at:
        problems = ["nothing was looked at"]
        print(problems[0])
    print(f"{check}: {len(problems)} problems, {looked_at} looked at")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":  # tree.py ENDING...: the files, NUL-separated
    print("\0".join(files(*sys.argv[1:])), end="\0")
