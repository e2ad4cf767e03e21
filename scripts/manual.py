#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A manual page (mdoc, section 3) for each public function, made of the
contract comments in the headers, and kvring(3), which lists them.

    manual.py --date YYYY-MM-DD --out DIR HEADER...

A function without a comment is an error. A comment holds for all declarations
that follow it without an empty line; an init function needs none, for what it
does is the same for every struct.
"""
import argparse
import datetime
import pathlib
import re
import sys
import textwrap

ITEM = re.compile(r"""
    (?P<divider>/\*\ -{3,}\ (?P<title>[\w ,]+)\ \*/)
  | (?P<comment>/\*.*?\*/)
  | (?P<function>KVR_API\b[^;{]*;)
  | (?P<body>(?:struct|enum)\ (?P<name>\w+)\ \{.*?\n?\};)
  | (?P<callback>typedef\b[^;]*\(\*(?P<alias>\w+)\)[^;]*;)
  | (?P<blank>\n[ \t]*\n)
  | (?P<other>\#(?:[^\n]*\\\n)*[^\n]*|[^\s])
""", re.VERBOSE | re.DOTALL)


class Function:
    def __init__(self, declaration, comment, group):
        self.group, self.comment = group, comment
        words = re.sub(r"\b(KVR_API|KVR_MUST_CHECK)\b", "", declaration)
        words = " ".join(words.split()).rstrip(";")
        match = re.match(r"(.*?[\s*])(kvr_\w+)\s*\((.*)\)$", words)
        self.result = match[1].strip()
        self.name = match[2]
        self.arguments = [a.strip() for a in match[3].split(",")]

    def types(self):
        """Of ours, those that the prototype names, in its order."""
        return list(dict.fromkeys(re.findall(
            r"\bkvr_\w+", " ".join([self.result, *self.arguments]))))


class Header:
    def __init__(self, path):
        text = path.read_text()
        self.path, self.name = path, f"kvring/{path.name}"
        self.functions, self.types, self.errors = [], {}, []
        self.about = prose(re.findall(r"/\*.*?\*/", text, re.DOTALL)[1])
        self.group = self.name
        comment = None
        for item in ITEM.finditer(text):
            kind = item.lastgroup
            if item["divider"]:
                self.group, comment = item["title"], None
            elif item["comment"]:
                comment = item["comment"]
            elif item["blank"]:
                comment = None
            elif item["function"]:
                self.add(item["function"], comment)
            elif item["body"] or item["callback"]:
                self.types[item["name"] or item["alias"]] = (
                    (comment + "\n" if comment else "") + item[0])
                comment = None
            elif kind == "other" and item[0] != "{":
                comment = comment if item[0].startswith("#") else None

    def add(self, declaration, comment):
        function = Function(declaration, prose(comment) if comment else None,
                            self.group)
        self.functions.append(function)
        if comment:
            if re.match(r"(Errors|NULL)\b", function.comment[0]):
                self.errors.append(f"{self.path}: {function.name}: begin with "
                                   "what it does")
            return
        match = re.fullmatch(r"struct (kvr_\w+) \*(\w+)",
                             function.arguments[0])
        if function.name.endswith("_init") and match:
            function.comment = [
                f"Fills in the defaults of *{match[2]}. Sets its size, too, by "
                "which versions of the library stay apart: call it before "
                "setting anything else."]
        else:
            self.errors.append(f"{self.path}: {function.name} has no comment")


def prose(comment):
    """Paragraphs of a comment; what is indented by a tab stays as it is and
    begins with that tab."""
    lines = [re.sub(r"^ ?\* ?", "", line) for line in
             re.sub(r"^/\*|\s*\*/$", "", comment).split("\n")]
    found = []
    for line in (line.rstrip().removeprefix(" ") for line in lines):
        if line.startswith("\t"):
            if found and found[-1].startswith("\t"):
                found[-1] += "\n" + line
            else:
                found.append(line)
        elif not line:
            found.append("")
        elif found and found[-1] and not found[-1].startswith("\t"):
            found[-1] += " " + line
        else:
            found.append(line)
    merged = []
    for part in found:  # a table may have empty lines
        if part:
            merged.append(part)
    return merged


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def running(text):
    """One input line a sentence, as mdoc wants it."""
    for sentence in re.split(r"(?<=[A-Za-z0-9)\]*\"][.?!]) (?=[A-Z*a-z])", text):
        for line in textwrap.wrap(sentence, 76, break_on_hyphens=False,
                                  break_long_words=False):
            yield escape(line)


def literal(text):
    yield ".Bd -literal"
    lines = textwrap.dedent(text).split("\n")
    yield from (escape(line.expandtabs(8)) for line in lines)
    yield ".Ed"


def paragraphs(parts):
    for index, part in enumerate(parts):
        if part.startswith("\t"):
            yield from literal(part)
        else:
            if index:
                yield ".Pp"
            yield from running(part)


def summary(comment):
    first = re.split(r"(?<=\w)[.:;] |[.:;]$|: ", comment[0] + " ")[0].strip()
    first = re.sub(r" \([^)]*$", "", first).rstrip(".,")
    return first if re.match(r"[A-Z]{2}", first) else \
        first[0].lower() + first[1:]


def head(name, line, date):
    yield ".\\\" SPDX-License-Identifier: Apache-2.0"
    yield ".\\\" Made by scripts/manual.py of the header."
    yield f".Dd {date:%B} {date.day}, {date.year}"
    yield f".Dt {name.upper()} 3"
    yield ".Os"
    yield ".Sh NAME"
    yield f".Nm {name}"
    yield f".Nd {escape(line)}"


def errors(function, statuses):
    """Those that the comment names, or that every call may return."""
    text = " ".join(p for p in function.comment if not p.startswith("\t"))
    named = set(re.findall(r"\bKVR_ERR_(\w+)", text))
    for listed in re.findall(r"Errors: (.*)", text):
        named |= set(re.findall(r"\b[A-Z_]{3,}\b", listed))
    return [s for s in statuses if s.removeprefix("KVR_ERR_") in named]


def returns(function, statuses):
    yield ".Sh RETURN VALUES"
    if function.result == "void":
        yield "None."
        return
    if function.result != "enum kvr_status":
        yield from running(f"{function.comment[0]}")
        return
    yield ".Dv KVR_OK ,"
    yield "or a negative status; outputs are set only on"
    yield ".Dv KVR_OK ."
    found = errors(function, statuses)
    if not found:
        return
    yield ".Sh ERRORS"
    yield ".Bl -tag -width Ds"
    for status in found:
        yield f".It Dv {status}"
        yield from running(statuses[status][0].upper() +
                           statuses[status][1:] + ".")
    yield ".El"


def see_also(names):
    names = sorted(set(names), key=str)
    yield ".Sh SEE ALSO"
    for index, name in enumerate(names):
        yield f".Xr {name} 3" + (" ," if index + 1 < len(names) else "")


def page(function, header, types, statuses, date):
    yield from head(function.name, summary(function.comment), date)
    yield ".Sh LIBRARY"
    yield "libkvring, \\-lkvring"
    yield ".Sh SYNOPSIS"
    yield f".In {header.name}"
    yield f".Ft {function.result}"
    yield f".Fo {function.name}"
    yield from (f".Fa \"{escape(a)}\"" for a in function.arguments)
    yield ".Fc"
    yield ".Sh DESCRIPTION"
    yield from paragraphs(function.comment)
    wanted = [t for t in function.types() if t in types and t != "kvr_status"]
    if wanted:
        yield ".Ss Types"
        for name in wanted:
            yield from literal(types[name])
    yield from returns(function, statuses)
    yield from see_also(["kvring"] + [
        f.name for f in header.functions
        if f.group == function.group and f is not function])


def overview(headers, date):
    yield from head("kvring", "exact attention over sequences too long for "
                    "one device", date)
    yield ".Sh LIBRARY"
    yield "libkvring, \\-lkvring"
    yield ".Sh SYNOPSIS"
    yield from (f".In {h.name}" for h in headers)
    yield ".Sh DESCRIPTION"
    yield "Each function has a page of its own."
    for header in headers:
        yield f".Ss {header.name}"
        yield from paragraphs(header.about)
        yield ".Bl -tag -width Ds"
        for function in header.functions:
            yield f".It Xr {function.name} 3"
            yield from running(summary(function.comment))
        yield ".El"
    yield ".Sh SEE ALSO"
    yield ".Xr kvring 1"


def status_texts(headers):
    body = next(h.types["kvr_status"] for h in headers
                if "kvr_status" in h.types)
    found = dict(re.findall(r"(KVR_ERR_\w+) = -\d+,?\s*/\* (.*?) \*/", body))
    names = re.findall(r"KVR_ERR_\w+(?= =)", body)
    return {n: found.get(n, "the device is lost") for n in names}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--date", required=True,
                        type=datetime.date.fromisoformat)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("headers", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    headers = [Header(path) for path in args.headers]
    problems = [e for h in headers for e in h.errors]
    if problems:
        sys.exit("\n".join(problems))
    types = {name: text for h in headers for name, text in h.types.items()}
    statuses = status_texts(headers)
    pages = {"kvring": overview(headers, args.date)}
    for header in headers:
        for function in header.functions:
            pages[function.name] = page(function, header, types, statuses,
                                        args.date)
    args.out.mkdir(parents=True, exist_ok=True)
    for old in args.out.glob("kvr*.3"):
        old.unlink()
    for name, lines in pages.items():
        (args.out / f"{name}.3").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
