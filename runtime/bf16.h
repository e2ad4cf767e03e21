/* SPDX-License-Identifier: Apache-2.0 */
/* bfloat16 as bits: the upper half of an IEEE binary32. */
#ifndef KVR_RUNTIME_BF16_H
#define KVR_RUNTIME_BF16_H

#include <stdint.h>
#include <string.h>

static inline float kvr_bf16_to_f32(uint16_t bits)
{
	uint32_t wide = (uint32_t)bits << 16;
	float value;

	memcpy(&value, &wide, sizeof(value));
	return value;
}

/* Round to nearest, ties to even. A NaN stays one, quiet, of its sign. */
static inline uint16_t kvr_bf16_from_f32(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	/* Rounding could carry a NaN's payload into infinity. */
	if ((bits & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
