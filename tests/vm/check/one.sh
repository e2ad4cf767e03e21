#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One guest: what the command finds there and what comes back.
# shellcheck source=tests/vm/check/lib.bash
. "$KVRING_SOURCE/tests/vm/check/lib.bash" || exit 1

export KVR_WORDS='two  words' OTHER=1
echo here >mark
ends_with 7 --timeout 150 -- bash "$here/check/inside_one.sh" 'an  argument' ''
[ "$(tail -n 1 out)" = 'to stdout' ] || die "stdout is not its own"
[ "$(cat err)" = 'to stderr' ] || die "stderr is not its own"
cat out
[ ! -e written ] || die "the guest wrote on the host"
