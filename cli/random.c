/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/random.h"

#include <math.h>
#include <string.h>

#define GOLDEN 0x9e3779b97f4a7c15u
#define SQRT3_OVER_65536 2.6428998e-5f /* 1 / the sum's standard deviation */

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index)
{
	return mix(mix(mix(seed) + stream * GOLDEN) + (index + 1) * GOLDEN);
}

float random_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
	uint64_t bits = random_bits(seed, stream, index);
	int32_t sum = (int32_t)((bits & 0xffff) + (bits >> 16 & 0xffff) +
				(bits >> 32 & 0xffff) + (bits >> 48));

	return (float)(sum - 131070) * SQRT3_OVER_65536;
}

uint16_t random_to_bf16(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	bits += 0x7fff + (bits >> 16 & 1);
	return (uint16_t)(bits >> 16);
}

uint16_t random_to_f16(float value)
{
	uint32_t bits, size;
	uint16_t sign;

	memcpy(&bits, &value, sizeof(bits));
	size = bits & 0x7fffffff;
	sign = (uint16_t)(bits >> 16 & 0x8000);
	/* Below 2^-14: units of 2^-24. */
	if (size < 0x38800000)
		return (uint16_t)(sign |
				  (uint16_t)nearbyintf(fabsf(value) * 0x1p24f));
	size += 0xfff + (size >> 13 & 1) - (112u << 23);
	return (uint16_t)(sign | size >> 13);
}
