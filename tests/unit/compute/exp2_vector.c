/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled once per instruction set, with EXP2_ARRAY as the function. */
#include "exp2_vector.h"
#include "compute/cpu/simd.h"

void EXP2_ARRAY(const float *x, float *out, size_t count)
{
	for (size_t i = 0; i < count; i += KVR_LANES)
		kvr_store(out + i, kvr_exp2(kvr_load(x + i)));
}
