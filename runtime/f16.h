/* SPDX-License-Identifier: Apache-2.0 */
/* IEEE binary16 as bits; not every compiler and processor has the type. */
#ifndef KVR_RUNTIME_F16_H
#define KVR_RUNTIME_F16_H

#include <stdint.h>
#include <string.h>

/* Of f32's exponents; its bias is larger than f16's by that. */
#define KVR_F16_BIAS ((uint32_t)112 << 23)

static inline float kvr_f16_from_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* Exact. Without subnormals of f32 on the way, which a caller may flush. */
static inline float kvr_f16_to_f32(uint16_t bits)
{
	uint32_t size = (uint32_t)(bits & 0x7fff) << 13;
	float value;

	if (size < 0x00800000) /* subnormal: 2^-14 (1 + m) - 2^-14 */
		value = kvr_f16_from_bits(size + KVR_F16_BIAS + 0x00800000) -
			0x1p-14f;
	else if (size < 0x0f800000)
		value = kvr_f16_from_bits(size + KVR_F16_BIAS);
	else /* infinity, NaN */
		value = kvr_f16_from_bits(size + 2 * KVR_F16_BIAS);
	return bits & 0x8000 ? -value : value;
}

/*
 * Round to nearest, ties to even; infinity from 65520 on. A NaN stays one,
 * quiet, of its sign.
 */
static inline uint16_t kvr_f16_from_f32(float value)
{
	uint32_t bits, size;
	uint16_t sign;
	float sum;

	memcpy(&bits, &value, sizeof(bits));
	size = bits & 0x7fffffff;
	sign = (uint16_t)(bits >> 16 & 0x8000);
	if (size > 0x7f800000)
		return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x3ff));
	if (size >= 0x477ff000)
		return sign | 0x7c00;
	if (size >= 0x38800000) {
		size += 0xfff + (size >> 13 & 1) - KVR_F16_BIAS;
		return (uint16_t)(sign | size >> 13);
	}
	/* Units of 2^-24 are those of f32 at 1/2: the sum rounds to them. */
	sum = kvr_f16_from_bits(size) + 0.5f;
	memcpy(&bits, &sum, sizeof(bits));
	return (uint16_t)(sign | (bits & 0xffff));
}

#endif
