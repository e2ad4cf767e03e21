#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Wrong usage is exit 2, names the option, and leaves nothing; help is exit 0.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

fails 2 "command is missing"
fails 2 "'frobnicate' is not a command" frobnicate
fails 2 "'frobnicate' is not a command" help frobnicate
fails 2 "argument: 'extra'" help attention extra
fails 2 "unrecognized option '--frobnicate'" --frobnicate

works random in.st --tokens 10 --q-heads 4 --kv-heads 2 --head-dim 8
a="attention in.st -o out.st"

# shellcheck disable=SC2086 # $a is several words
{
	fails 2 "input file is missing" attention -o out.st -n 2
	fails 2 "-o FILE.* is missing" attention in.st -n 2
	fails 2 "-n N.* is missing" $a
	fails 2 "-n: '0' is not a whole number from 1 to" $a -n 0
	fails 2 "-n: '-3' is not" $a -n -3
	fails 2 "-n: '2x' is not" $a -n 2x
	fails 2 "-n: '1025' is not" $a -n 1025
	fails 2 "unrecognized option '--frobnicate'" $a -n 2 --frobnicate
	fails 2 "option '--scale' requires an argument" $a -n 2 --scale
	fails 2 "--scale: 'nan'" $a -n 2 --scale nan
	fails 2 "--scale: '0'" $a -n 2 --scale 0
	fails 2 "--scale: '1e99'" $a -n 2 --scale 1e99
	fails 2 "--values-in-keys: '0'" $a -n 2 --values-in-keys 0
	fails 2 "--values-in-keys: '577'" $a -n 2 --values-in-keys 577
	fails 2 "--softcap: '0'" $a -n 2 --softcap 0
	fails 2 "--softcap: '-5'" $a -n 2 --softcap -5
	for window in "" 3 "3," ,3 3,-2 3x,1 1,2,3 99999999999999999999,1 \
		1111111111111111111111111111,1; do
		fails 2 "--window: '$window'" $a -n 2 --window "$window"
	done
	fails 2 "--kv-wire: 'fp4' is not input or fp8" $a -n 2 --kv-wire fp4
	fails 2 "--chunks: '0'" $a -n 2 --causal --chunks 0
	fails 2 "--causal, with --chunks, is missing" $a -n 2 --chunks 3
	fails 2 "--kv-wire: 'fp8' is not for pages" \
		$a -n 2 --causal --chunks 3 --kv-wire fp8
	fails 2 "--chunks, with --page-tokens, is missing" \
		$a -n 2 --causal --page-tokens 16
	fails 2 "--page-tokens: '0'" $a -n 2 --causal --chunks 3 --page-tokens 0
	for how in diagonal interleaved interleave: interleave:0 interleave:-1 \
		interleave:2x interleave:1099511627777 zigzag:2 ""; do
		fails 2 "--partition: '$how' is not contiguous, zigzag" \
			$a -n 2 --partition "$how"
	done
	fails 2 "--threads: '0'" $a -n 2 --threads 0
	fails 2 "--slots: '0'" $a -n 2 --slots 0
	fails 2 "--slots: '1' is not enough" $a -n 3 --slots 1
	fails 2 "--chunk: '0'" $a -n 2 --chunk 0
	fails 2 "--chunk: '1Q'" $a -n 2 --chunk 1Q
	fails 2 "--transport: 'pigeon' is not a transport" \
		$a -n 2 --transport pigeon
	fails 2 "--timeout: '0'" $a -n 2 --timeout 0
	fails 2 "argument: 'more.st'" $a -n 2 more.st
}

r="--tokens 4 --q-heads 4 --head-dim 8"
# shellcheck disable=SC2086 # $r is several words
{
	fails 2 "output file is missing" random $r
	fails 2 "--tokens is missing" random out.st --q-heads 4 --head-dim 8
	fails 2 "--q-heads is missing" random out.st --tokens 4 --head-dim 8
	fails 2 "--head-dim is missing" random out.st --tokens 4 --q-heads 4
	fails 2 "--tokens: '0'" random out.st $r --tokens 0
	fails 2 "--head-dim: '577'" random out.st $r --head-dim 577
	fails 2 "--value-dim: '577'" random out.st $r --value-dim 577
	fails 2 "--kv-heads: 3 do not divide 4" random out.st $r --kv-heads 3
	fails 2 "--dtype: 'f8'" random out.st $r --dtype f8
	fails 2 "--seed: '-1'" random out.st $r --seed -1
	fails 2 "--sequences: '0'" random out.st $r --sequences 0
	for list in "" 0 4 1,4 0,3 0,5 0,3,2,4 0,,4 "0,4," 0,-1,4 0,x,4 \
		0,18446744073709551615,4 0,18446744073709551616,4; do
		fails 2 "--cu-seqlens: '$list' is not a list" \
			random out.st $r --cu-seqlens "$list"
	done
	fails 2 "--cu-seqlens: '0,4' is not needed with --sequences" \
		random out.st $r --sequences 1 --cu-seqlens 0,4
}

fails 2 "the program is missing" run -n 2
fails 2 "-n N.* is missing" run -- true
fails 2 "-n: '0'" run -n 0 -- true
fails 2 "argument: 'extra'" info extra

for command in "" attention random run info doctor bench; do
	works ${command:+"$command"} --help
	grep -q "^Usage: kvring $command" <<<"$printed" || die "no usage line"
	! grep -n ' $' <<<"$printed" || die "trailing blanks"
	works ${command:+"$command"} --usage
	works ${command:+"$command"} --version
	[[ $printed =~ ^kvring\ [0-9]+\.[0-9]+\.[0-9]+$ ]] || die "$printed"
	works help ${command:+"$command"}
	grep -q "^Usage: kvring $command" <<<"$printed" || die "no usage line"
done
# Help that nobody can read is a failure, and one line of it.
for command in "" attention random run info; do
	for flag in --help --usage --version; do
		status=0
		"$kvring" ${command:+"$command"} $flag >/dev/full 2>.err ||
			status=$?
		[ $status -eq 1 ] || die "$command $flag: exit $status"
		grep -q "^kvring: standard output: cannot be written: No " \
			.err || die "$command $flag: $(cat .err)"
		[ "$(wc -l <.err)" -eq 1 ] || die "said twice: $(cat .err)"
	done
done
rm .err
for command in attention random; do
	works $command --help
	grep -q 130 <<<"$printed" || die "$command --help: no exit of Ctrl-C"
done
only in.st
