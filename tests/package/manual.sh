#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A page for each public function, which mandoc and groff accept and whatis
# finds; and a function without a contract is refused.
# shellcheck source=tests/package/lib.bash
. "$KVRING_SOURCE/tests/package/lib.bash" || exit 1
needs groff mandoc python3
pages=$KVRING_BUILD/man3

functions=$(nm -D --defined-only "$KVRING_BUILD/libkvring.so" |
	awk '$(NF-1) == "T" { sub("@.*", "", $NF); print $NF }' | sort)
diff <(echo "$functions") \
	<(find "$pages" -name 'kvr_*.3' -printf '%f\n' | sed 's/\.3$//' |
		sort) || die "the functions and their pages"

sections=(NAME LIBRARY SYNOPSIS DESCRIPTION "RETURN VALUES" "SEE ALSO")
for function in $functions; do
	page=$pages/$function.3
	found=$(grep '^\.Sh' "$page" | sed 's/^\.Sh //; /^ERRORS$/d')
	[ "$found" = "$(printf '%s\n' "${sections[@]}")" ] ||
		die "sections of $page: $found"
	grep -qx ".Nm $function" "$page" || die "$page is another's"
done
# Every function with errors names them.
grep -q '^\.It Dv KVR_ERR_PEER_LOST$\|^\.It Dv KVR_ERR_LIMIT$' \
	"$pages/kvr_ring_open.3" || die "the errors of kvr_ring_open"

mandoc -Tlint -W warning "$pages"/*.3 "$KVRING_SOURCE"/cli/man/*.1 ||
	die "mandoc complains"
out=$(groff -mdoc -Tutf8 -ww "$pages"/*.3 2>&1 >/dev/null)
[ -z "$out" ] || die "groff: $out"

# What whatis would say.
if command -v lexgrog >/dev/null; then
	lexgrog "$pages"/kvr*.3 >whatis || die "lexgrog: $(cat whatis)"
	[ "$(wc -l <whatis)" -eq "$(find "$pages" -name '*.3' | wc -l)" ] ||
		die "whatis: $(cat whatis)"
	grep -q '"kvr_pass_begin - begins a pass"' whatis || die "$(cat whatis)"
fi

# Mistakes planted into copies of the headers.
refused() { # what, sed script, file
	cp "$KVRING_SOURCE"/include/kvring/*.h .
	sed -i "$2" "$3"
	! cmp -s "$3" "$KVRING_SOURCE/include/kvring/$3" || die "nothing: $1"
	if python3 -B "$KVRING_SOURCE/scripts/manual.py" --date 2026-01-01 \
		--out pages ./*.h 2>log; then
		die "missed: $1"
	fi
	echo "caught: $1: $(cat log)"
}
refused "no comment" '/^\/\* Closes a context/d' kvring.h
refused "a comment that stands apart" '/^\/\* Closes a context/s/$/\n/' kvring.h
refused "a comment of errors alone" \
	's/^\/\* Closes a context.*/\/* Errors: INVALID. *\//' kvring.h
