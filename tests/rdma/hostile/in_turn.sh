#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs programs one after the other, all of them, in one guest.
#	in_turn.sh PROGRAM...
code=0
for program; do
	echo "-- ${program##*/}"
	"$program" || code=$?
done
exit $code
