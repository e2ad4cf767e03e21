#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest that panics under the command.
# shellcheck source=tests/vm/check/lib.bash
. "$KVRING_SOURCE/tests/vm/check/lib.bash" || exit 1

ends_with 125 --timeout 60 -- sh -c 'echo c >/proc/sysrq-trigger; sleep 1000'
says err '^vm: guest 1 died under the command'
says err 'Kernel panic - not syncing: sysrq triggered crash'
