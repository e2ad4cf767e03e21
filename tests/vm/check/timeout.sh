#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A command that takes too long.
# shellcheck source=tests/vm/check/lib.bash
. "$KVRING_SOURCE/tests/vm/check/lib.bash" || exit 1

ends_with 124 --timeout 3 --log kept -- sh -c 'echo started; sleep 1000'
says err '^vm: no result after 3 s'
says err '^-- console of guest 1'
says out '^started$'
says kept/console-1.log 'Linux version'
