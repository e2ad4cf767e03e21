#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# compile.sh OBJECT NVCC ARGUMENT...: what is said goes to OBJECT.log, what the
# object depends on to OBJECT.d. Silent unless it fails.
object=$1
shift
"$@" -c -o "$object" -MD -MT "$object" -MF "$object.d" \
	>"$object.log" 2>&1 && exit
cat "$object.log" >&2
rm -f "$object" "$object.log"
exit 1
