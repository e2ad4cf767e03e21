/* SPDX-License-Identifier: Apache-2.0 */
/*
 * float8 e4m3 as bits, as the OCP 8-bit floating point specification has it
 * and PyTorch's float8_e4m3fn: 1 sign, 4 exponent (bias 7), 3 mantissa; no
 * infinity; all ones is NaN; from 2^-9 to 448.
 */
#ifndef KVR_RUNTIME_E4M3_H
#define KVR_RUNTIME_E4M3_H

#include <stdint.h>
#include <string.h>

#define KVR_E4M3_MAX 448.0f

static inline float kvr_e4m3_to_f32(uint8_t code)
{
	uint32_t size = code & 0x7fu, sign = (uint32_t)(code & 0x80u) << 24;
	uint32_t bits = (size << 20) + (UINT32_C(120) << 23);
	float value;

	if (size == 0x7f)
		bits = 0x7fc00000;
	memcpy(&value, &bits, sizeof(value));
	/* Subnormal: its mantissa as that of 2^-6, less that. */
	if (size < 8) {
		bits += UINT32_C(1) << 23;
		memcpy(&value, &bits, sizeof(value));
		value -= 0x1p-6f;
	}
	memcpy(&bits, &value, sizeof(bits));
	bits |= sign;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/*
 * Rounds to nearest, ties to even; beyond 448 it is 448. NaN and infinity are
 * NaN: what was no number before shall not look like one.
 */
static inline uint8_t kvr_e4m3_from_f32(float value)
{
	uint32_t bits, size, code;
	uint8_t sign;

	memcpy(&bits, &value, sizeof(bits));
	sign = (uint8_t)(bits >> 24 & 0x80);
	size = bits & 0x7fffffff;
	if (size >= 0x7f800000)
		return sign | 0x7f;
	if (size < 0x3c800000) { /* 2^-6: subnormal */
		float shifted;

		/* The last place of 2^14 is 2^-9: adding rounds to it. */
		memcpy(&shifted, &size, sizeof(shifted));
		shifted += 0x1p14f;
		memcpy(&code, &shifted, sizeof(code));
		return (uint8_t)(sign | (code & 0xf));
	}
	code = ((size + 0x7ffff + (size >> 20 & 1)) >> 20) - (120 << 3);
	return (uint8_t)(sign | (code < 0x7e ? code : 0x7e));
}

/*
 * What codes of values up to most are multiplied by; 1 where that is too
 * small to say, and the codes are 0.
 */
static inline float kvr_e4m3_scale(float most)
{
	float scale = most / KVR_E4M3_MAX;

	return scale > 0 ? scale : 1;
}

#endif
