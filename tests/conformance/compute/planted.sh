#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A program with a planted mistake must fail, by itself or by its sanitizer.
log=$("$1" quick 2>&1)
status=$?
if [ $status -eq 0 ]; then
	echo "$1: the mistake was not noticed"
	exit 1
fi
echo "$log" | grep -m 3 -E 'FAILED|ERROR|WARNING'
