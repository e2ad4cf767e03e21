#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs one libFuzzer target for some seconds, from its committed corpus.
#	tests/fuzz/run.sh TARGET CORPUS [SECONDS]
# The words of CORPUS.dict, where there is one, are tried first. What it finds is
# left in the current directory, as crash-*. The seed is fixed: what one run says
# of a change, the next says, too; scripts/nightly.sh goes elsewhere every time.
set -euo pipefail
target=$1 corpus=$2 seconds=${3:-60}
words=()
[ ! -f "$corpus.dict" ] || words=("-dict=$corpus.dict")
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
# libFuzzer's own status would be 77, which is a skip elsewhere.
"$target" "${words[@]}" -seed=1 -error_exitcode=99 \
	-max_total_time="$seconds" -timeout=10 \
	-rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
	"$found" "$corpus" 2>&1 | tail -n 40
