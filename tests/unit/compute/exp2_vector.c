/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled once per instruction set, which names the functions. */
#include "exp2_vector.h"
#include "compute/cpu/simd.h"

void EXP2_ARRAY(const float *x, float *out, size_t count)
{
	for (size_t i = 0; i < count; i += KVR_LANES)
		kvr_store(out + i, kvr_exp2(kvr_load(x + i)));
}

void TANH_ARRAY(const float *x, float *out, size_t count)
{
	for (size_t i = 0; i < count; i += KVR_LANES)
		kvr_store(out + i, kvr_tanh(kvr_load(x + i)));
}
