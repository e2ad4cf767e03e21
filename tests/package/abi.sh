#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The public ABI is the committed one, and the comparison notices a change of a
# struct, an enum and a function.
# shellcheck source=tests/package/lib.bash
. "$KVRING_SOURCE/tests/package/lib.bash" || exit 1
needs abidw abidiff
[ "$(uname -m)" = x86_64 ] || {
	echo "docs/abi.xml is of x86-64"
	exit 77
}

export KVRING_ABI_BUILD=$KVRING_BUILD/deb
"$KVRING_SOURCE/scripts/abi.sh"

if grep -nE "='/|$KVRING_SOURCE" "$KVRING_SOURCE/docs/abi.xml"; then
	die "docs/abi.xml holds paths"
fi
planted() { # what, sed script
	sed "$2" "$KVRING_SOURCE/docs/abi.xml" >old.xml
	! cmp -s old.xml "$KVRING_SOURCE/docs/abi.xml" || die "nothing: $1"
	! abidiff --harmless old.xml "$KVRING_SOURCE/docs/abi.xml" >log ||
		die "missed: $1"
	echo "caught: $1"
}
planted "a struct grew" "/class-decl name='kvr_failure'/s/size-in-bits='[0-9]*'/size-in-bits='2048'/"
planted "an enum has another value" "/name='KVR_ERR_DEVICE'/s/value='-40'/value='-41'/"
planted "a function is new" "/elf-symbol name='kvr_version'/d"
