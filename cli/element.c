/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/element.h"

#include <math.h>
#include <string.h>

static double bf16_value(uint16_t bits)
{
	uint32_t wide = (uint32_t)bits << 16;
	float value;

	memcpy(&value, &wide, sizeof(value));
	return value;
}

static double f16_value(uint16_t bits)
{
	int exponent = bits >> 10 & 31, mantissa = bits & 0x3ff;
	double size;

	if (exponent == 31)
		size = mantissa ? (double)NAN : (double)INFINITY;
	else if (exponent == 0)
		size = ldexp(mantissa, -24);
	else
		size = ldexp(mantissa + 0x400, exponent - 25);
	return bits & 0x8000 ? -size : size;
}

double element_value(enum kvr_dtype dtype, const void *data, uint64_t index)
{
	if (dtype == KVR_F32)
		return (double)((const float *)data)[index];
	if (dtype == KVR_F16)
		return f16_value(((const uint16_t *)data)[index]);
	return bf16_value(((const uint16_t *)data)[index]);
}
