#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two guests, the cable between them, and what comes back from both.
# shellcheck source=tests/vm/check/lib.bash
. "$KVRING_SOURCE/tests/vm/check/lib.bash" || exit 1

ends_with 4 --hosts 2 --netem "delay 20ms" --timeout 240 -- \
	bash "$here/check/inside_two.sh"
cat out err
says out '^host 1 is done$'
says err '^host 2: host 2 is done$'
