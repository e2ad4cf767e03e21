#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Missing, truncated and lying files, and shapes that disagree: exit 1, the
# file and the tensor are named, nothing remains.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

refuses() { # name, pattern
	fails 1 "^kvring: $1: (?=.*; ).*$2" attention "$1" -o out.st -n 2
}

python3 "$KVRING_SOURCE/tests/cli/craft.py"
: >empty.st
printf 'abc' >short.st
mkfifo pipe.st
mkdir directory.st

refuses missing.st "No such file"
refuses directory.st "not a regular file"
refuses pipe.st "not a regular file"
refuses empty.st "is empty"
refuses short.st "shorter than a safetensors header"
refuses empty-header.st "not JSON"
refuses not-json.st "not JSON"
refuses array.st "not a JSON object"
refuses long-header.st "header of 1099511627776 bytes"
refuses header-past-end.st "longer than the file"
refuses truncated.st "'v' ends at byte 1920 .* 1919"
refuses trailing.st "1 bytes follow the last tensor"
refuses duplicate.st "twice.*\"q\""
refuses overlap.st "'k' overlaps tensor 'q'"
refuses past-end.st "'v'.*(do not fit|ends at byte)"
refuses backwards.st "'v' begins after its end"
refuses no-v.st "no tensor 'v'"
refuses wrong-dtype.st "'q' is F64.*F32, BF16 or F16"
refuses two-dtypes.st "q is F32, k F32, v BF16"
refuses flat.st "'q' has 2 axes"
refuses no-tokens.st "'q' is empty"
refuses wide.st "'q' has a head dimension of 577.*576"
refuses more-keys.st "'q' has 5 tokens, 'k' 6"
refuses other-dim.st "'q' has 16 elements per head, 'k' 8"
refuses other-v-heads.st "'k' has 4 heads, 'v' 2"
refuses other-v-tokens.st "'k' has 5 tokens, 'v' 4"
refuses indivisible.st "q's 4 heads cannot share k's 3"
refuses fewer-q-heads.st "q's 2 heads cannot share k's 4"
fails 1 "good.st: has a tensor 'v', and --values-in-keys" \
	attention good.st -o out.st -n 2 --values-in-keys 4
fails 1 "--values-in-keys: 9 columns are more than the 8 of no-v.st's k" \
	attention no-v.st -o out.st -n 2 --values-in-keys 9
refuses other-sinks.st "'sinks' is not \[4\]"
refuses sinks-of-rows.st "'sinks' is not \[4\]"
refuses wrong-sinks.st "'sinks' is I32.*F32, BF16 or F16"
refuses infinite-sink.st "'sinks' has NaN or infinity for head 2"
refuses huge-shape.st "'q' has a shape larger than any file"
refuses wrong-size.st "'q' has data_offsets that do not fit"
refuses late.st "'cu_seqlens' begins with 1; it must begin with 0"
refuses negative-first.st "'cu_seqlens' begins with -2147483648;"
refuses falling.st "'cu_seqlens'\[2\] is 2 after 3; it must not descend"
refuses negative.st "'cu_seqlens'\[1\] is -1 after 0;"
refuses negative-wide.st "'cu_seqlens'\[1\] is -9223372036854775808 after 0;"
refuses short-packed.st "'cu_seqlens' ends with 4, but there are 5 tokens"
refuses long-packed.st "'cu_seqlens' ends with 6, but there are 5 tokens"
refuses far-packed.st "ends with 9223372036854775807, but"
refuses small-dtype.st "'cu_seqlens' is I16; convert it to I32 or I64"
refuses two-axes.st "'cu_seqlens' has 2 axes; make it .sequences . 1."
refuses no-offsets.st "'cu_seqlens' has 0 elements; make it one more"
refuses one-offset.st "'cu_seqlens' has 1 elements"
refuses no-axis.st "'cu_seqlens' has 0 axes; make it"

# An output of a former run survives the failure of the next.
echo precious >kept.st
fails 1 "truncated" attention truncated.st -o kept.st -n 2
[ "$(cat kept.st)" = precious ] || die "the old output is gone"
for file in good good-packed good-packed-wide; do
	works attention $file.st -o kept.st -n 2 --verify
	grep -qx verified <<<"$printed" || die "$printed"
done
