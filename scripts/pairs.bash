# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What scripts that compare two programs say of their samples; sourced.

# median (min..max) of the lines of standard input
spread() { # format of a number
	sort -g | awk -v f="$1" '{ v[NR] = $1 } END {
		m = (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2
		printf f " (" f ".." f ")", m, v[1], v[NR] }'
}

verdict() { # goal, ratio
	[ -n "$1" ] || { echo "the floor"; return; }
	awk -v g="$1" -v r="${2%% *}" 'BEGIN {
		split(g, part, " ")
		ok = part[1] == ">=" ? r >= part[2] : r <= part[2]
		print "goal " g ": " (ok ? "reached" : "not reached") }'
}
