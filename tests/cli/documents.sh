#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Man pages and completion say what --help says, no more and no less, and are
# installed where they are found.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

pages=$KVRING_SOURCE/cli/man

# Options of the column on the left, long ones with =VALUE.
help_options() { # command
	"$kvring" ${1:+"$1"} --help |
		grep -E '^ {2,6}-' | sed -E 's/^ *//; s/ {2,}.*//' |
		grep -oE -- '--[a-z0-9-]+|-[a-zA-Z?]' | sort -u
}

# Of the .It lines, which describe them: "Fl o Ar file , Fl -output".
page_options() { # page
	grep -E '^\.It Fl' "$1" | sed -E 's/\\&//g' |
		grep -oE 'Fl [-a-zA-Z0-9?]+' | sed 's/^Fl /-/' | sort -u
}

for command in "" attention random run info doctor bench; do
	page=$pages/kvring${command:+-$command}.1
	[ -f "$page" ] || die "no man page $page"
	diff <(help_options "$command") <(page_options "$page") ||
		die "$page and kvring $command --help differ"
	[ "$(help_options "$command" | wc -l)" -ge 5 ] || die "options lost"
	echo "ok: $page"
done

# Every command is in the top page.
for command in attention random run info doctor bench help; do
	grep -qE "^\.It Cm $command\$" "$pages/kvring.1" ||
		die "kvring.1 does not describe $command"
done

# Every variable of the environment that the programs know is in the top page,
# and whatever moves blocks over RDMA says which of them it heeds.
variables() { # file...
	grep -hoE '"KVRING_[A-Z_]+"' "$@" | tr -d '"' | sort -u
}
described() { # page
	grep -oE 'KVRING_[A-Z_]+' "$1" | sort -u
}
cd "$KVRING_SOURCE"
mapfile -t sources < <(find runtime rdma compute cli bench -name '*.c')
all=$(variables "${sources[@]}")
[ "$(wc -l <<<"$all")" -ge 13 ] || die "variables lost: $all"
diff <(echo "$all") <(described "$pages/kvring.1") ||
	die "kvring.1 and the variables that are read differ"
for command in attention bench; do
	missing=$(comm -23 <(variables runtime/settings.c) \
		<(described "$pages/kvring-$command.1"))
	[ -z "$missing" ] || die "kvring-$command.1 lacks $missing"
done
for page in "$pages"/*.1; do
	unknown=$(comm -13 <(echo "$all") <(described "$page"))
	[ -z "$unknown" ] || die "$page describes $unknown, which nobody reads"
done
echo "ok: variables of the environment"
cd "$work"

if command -v groff >/dev/null && groff -mdoc -Tascii /dev/null &>/dev/null; then
	for page in "$pages"/*.1; do
		out=$(groff -mdoc -Tascii -ww "$page" 2>&1 >/dev/null)
		[ -z "$out" ] || die "$page: $out"
	done
fi

# What the completion offers for a line.
PATH=$KVRING_BUILD:$PATH
# shellcheck source=cli/completion/kvring.bash
. "$KVRING_SOURCE/cli/completion/kvring.bash"
offers() { # word...
	COMP_WORDS=("$@")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	_kvring
	printf '%s\n' "${COMPREPLY[@]}" | sort
}
has() { # wanted, word...
	local wanted=$1
	shift
	offers "$@" | grep -qxe "$wanted" || die "'$*' does not offer $wanted"
}
for command in attention random run info doctor bench help; do
	has $command kvring ""
done
for command in attention random run info doctor bench; do
	diff <(help_options $command | grep -e '^--') \
		<(offers kvring $command --) || die "completion of $command"
done
has zigzag kvring attention --partition = zig
has interleave kvring attention --partition = i
has contiguous kvring attention --partition ""
has shm kvring attention --transport ""
for name in lat bw credit pass overlap; do
	has $name kvring bench ""
done
has bf16 kvring random --dtype = ""
has f16 kvring random --dtype = ""
touch some-file.st
has some-file.st kvring attention some

# Installed, everything is in its place and finds its library.
cmake --install "$KVRING_BUILD" --prefix "$work/prefix" >/dev/null
"$work/prefix/bin/kvring" --version
"$work/prefix/bin/kvring" bench --version
for page in "$pages"/*.1; do
	[ -f "$work/prefix/share/man/man1/$(basename "$page")" ] ||
		die "$page is not installed"
done
[ -f "$work/prefix/share/bash-completion/completions/kvring" ] ||
	die "the completion is not installed"
