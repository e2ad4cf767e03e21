#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whatever ends tests/vm/run ends its guests.
# shellcheck source=tests/vm/check/lib.bash
. "$KVRING_SOURCE/tests/vm/check/lib.bash" || exit 1
set -m # so that an interrupt is not ignored in the background

for signal in TERM INT KILL; do
	"$here/run" --hosts 2 -- sleep 1000 >out 2>err </dev/null &
	run=$!
	for ((i = 0; i < 600; i++)); do
		[ "$(guests_of $run | wc -l)" != 2 ] || break
		sleep 0.1
	done
	[ "$(guests_of $run | wc -l)" = 2 ] || die "no two guests"
	code=0
	kill -$signal $run
	wait $run || code=$?
	[ $code = $((128 + $(kill -l $signal))) ] || die "$signal: exit $code"
	for ((i = 0; i < 50; i++)); do # the kernel's own kill may take a while
		[ -n "$(guests_of $run)" ] || break
		sleep 0.1
	done
	none_left $run
	echo "ok: $signal"
done
