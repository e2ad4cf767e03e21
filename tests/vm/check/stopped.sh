#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest that stops while it boots is started anew, twice and no more.
# shellcheck source=tests/vm/check/lib.bash
. "$KVRING_SOURCE/tests/vm/check/lib.bash" || exit 1

"$here/run" --boot 10 --hosts 2 -- echo up >out 2>err </dev/null &
run=$!
for ((i = 0; i < 600; i++)); do
	guest=$(guests_of $run | head -n 1)
	[ -z "$guest" ] || break
	sleep 0.01
done
kill -STOP "$guest" || die "no guest to stop"
wait $run || die "exit $?"
says out '^up$'
says err '^vm: no guest after 10 s'
says err '^report: vm: a guest stopped'
none_left $run

ends_with 125 --boot 0.1 -- true
says err '^vm: no guest after 0.2 s'
says err '^vm: no guest after 0.3 s'
[ "$(grep -c '^report: ' err)" = 2 ] || die "not two tries more"
