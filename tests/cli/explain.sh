#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The flight recorder from outside: what ranks leave in files, and what `kvring
# explain` and `kvring run` make of it.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1
set -m

# A rank of another program: rank 1 gives up, the others wait for a pass.
program='
import ctypes, os, sys
lib = ctypes.CDLL(os.environ["KVRING_BUILD"] + "/libkvring.so.0")
def room(): return ctypes.create_string_buffer(8192)
bootstrap, options, desc, block = room(), room(), room(), room()
context, ring, one = (ctypes.c_void_p() for _ in range(3))
assert lib.kvr_bootstrap_from_environment(bootstrap) == 0
assert lib.kvr_context_open(None, ctypes.byref(context)) == 0
lib.kvr_ring_options_init(options)
assert lib.kvr_ring_open(context, bootstrap, options, ctypes.byref(ring)) == 0
if lib.kvr_ring_rank(ring) == 1:
    lib.kvr_ring_abort(ring)
else:
    lib.kvr_pass_desc_init(desc)
    lib.kvr_block_init(block)
    status = lib.kvr_pass_begin(ring, desc, ctypes.byref(one))
    while status == 0:
        status = lib.kvr_pass_next(one, 0, block)
lib.kvr_ring_close(ring)
lib.kvr_context_close(context)
sys.exit(4)
'
# A sanitized library does not load into a program that is not.
if [ "${1:-}" != sanitized ]; then
	fails 4 "cause: rank 1 gave up the ring between passes" \
		run -n 3 -- python3 -c "$program"
	# A file of the user's is the user's.
	KVRING_RECORDER=ring.log "$kvring" run -n 3 -- python3 -c "$program" \
		2>.err && die "no failure"
	grep -q cause: .err && die "cause, though KVRING_RECORDER is set"
	works explain ring.log
	[[ $printed == "rank 1 gave up the ring between passes"* ]] ||
		die "$printed"
	rm -f ring.log .err
fi

works random in.st --tokens 64000 --q-heads 4 --kv-heads 2 --head-dim 64
KVRING_RECORDER=ring.%r "$kvring" attention in.st -o out.st -n 4 --timeout 2 \
	>.out 2>.err </dev/null &
command=$!
eventually rank_pid $command 3 >/dev/null
sleep 0.5
kill -KILL "$(rank_pid $command 2)"
wait $command && die "a rank was killed, and all is well"
only in.st ring.0 ring.1 ring.3 .out .err
works explain ring.3 ring.0 ring.1
[[ $printed == "rank 2 died: "*$'\n'"recordings of 3 of 4 ranks" ]] ||
	die "$printed"
works explain -v --events 3 ring.*
for rank in 0 1 3; do
	grep -qE "^rank $rank of 4, process [0-9]+ on .*: KVR_ERR_PEER_LOST" \
		<<<"$printed" || die "no state of rank $rank: $printed"
	[ "$(grep -cE "^ +-?[0-9.]+ s  rank $rank " <<<"$printed")" -eq 3 ] ||
		die "not 3 events of rank $rank: $printed"
done

# One file in any order is as good as several.
cat ring.1 ring.3 ring.0 >all
works explain all
[[ $printed == "rank 2 died: "* ]] || die "$printed"

# Damaged, cut short, or something else.
head -c -1 ring.0 >short
fails 1 "short: holds no recordings" explain short
(printf x && tail -c +2 ring.0) >other
fails 1 "other: holds no recordings" explain ring.1 other
: >empty
fails 1 "empty: holds no recordings" explain empty
fails 1 "missing: No such file or directory" explain missing
fails 2 "a file of recordings is missing" explain
fails 2 "--events: 'x' is not a whole number" explain --events x all
