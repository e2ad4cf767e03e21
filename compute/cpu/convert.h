/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tile gets its operands by: other types to f32, rows to columns.
 * Included by flash.h alone.
 */
#ifndef KVR_COMPUTE_CONVERT_H
#define KVR_COMPUTE_CONVERT_H

#include <string.h>

#include "compute/cpu/kernel.h"
#include "compute/cpu/simd.h"

static void widen_bf16(const uint16_t *from, float *out, size_t count)
{
	for (size_t i = 0; i < count; i += KVR_LANES)
		kvr_store(out + i, kvr_load_bf16(from + i));
}

static void widen_f16(const uint16_t *from, float *out, size_t count)
{
	for (size_t i = 0; i < count; i += KVR_LANES)
		kvr_store(out + i, kvr_load_f16(from + i));
}

static void widen_e4m3(const uint8_t *from, float scale, float *out,
		       size_t count)
{
	for (size_t i = 0; i < count; i += KVR_LANES)
		kvr_store(out + i, kvr_load_e4m3(from + i) * scale);
}

/* KVR_LANES columns of as many keys; of the columns, the first `left`. */
KVR_INLINE void turn_block(const float *keys, float *values, size_t left)
{
	kvr_vf row[KVR_LANES];

	KVR_UNROLL
	for (size_t i = 0; i < KVR_LANES; i++)
		row[i] = i < left ? kvr_load(keys + i * KVR_CPU_PANEL)
				  : (kvr_vf){0};
	kvr_transpose(row);
	KVR_UNROLL
	for (size_t i = 0; i < KVR_LANES; i++)
		kvr_store(values + i * KVR_CPU_PANEL, row[i]);
}

static void turn(const float *keys, float *values, size_t columns)
{
	size_t all = kvr_cpu_groups((uint32_t)columns) * KVR_CPU_PANEL;

	for (size_t at = 0; at < all; at += KVR_LANES) {
		size_t group = at / KVR_CPU_PANEL * KVR_CPU_PANEL;
		size_t left = at < columns ? columns - at : 0;

		for (size_t key = 0; key < KVR_CPU_PANEL; key += KVR_LANES)
			turn_block(keys + at * KVR_CPU_PANEL + key,
				   values + (group + key) * KVR_CPU_PANEL +
					   at % KVR_CPU_PANEL,
				   left);
	}
}

/* KVR_LANES elements, of which `left` are there; the others are 0. */
KVR_INLINE kvr_vf load_as(enum kvr_dtype dtype, const char *from, size_t left)
{
	const size_t size = kvr_dtype_bytes(dtype);
	char some[KVR_LANES * sizeof(float)] = {0};

	if (left < KVR_LANES) {
		memcpy(some, from, left * size);
		from = some;
	}
	if (dtype == KVR_F32)
		return kvr_load((const float *)(const void *)from);
	if (dtype == KVR_BF16)
		return kvr_load_bf16((const uint16_t *)(const void *)from);
	return kvr_load_f16((const uint16_t *)(const void *)from);
}

/* KVR_LANES columns, from `at`, of as many rows, from `first`, transposed. */
KVR_INLINE void take_columns(const struct kvr_cpu_rows *rows, size_t first,
			     size_t at, kvr_vf column[KVR_LANES])
{
	const size_t size = kvr_dtype_bytes(rows->dtype);

	KVR_UNROLL
	for (size_t i = 0; i < KVR_LANES; i++) {
		kvr_vf x = {0};

		if (first + i < KVR_ROWS && rows->row[first + i])
			x = load_as(rows->dtype,
				    rows->row[first + i] + at * size,
				    rows->dim - at);
		column[i] = x * rows->scale + x * rows->rest;
	}
	kvr_transpose(column);
}

#define Q_VECTORS ((KVR_ROWS + KVR_LANES - 1) / KVR_LANES)

/* What a vector writes past the rows of a column is what comes next. */
static void pack_q(const struct kvr_cpu_rows *rows, float *to)
{
	for (size_t at = 0; at < rows->dim; at += KVR_LANES) {
		kvr_vf column[Q_VECTORS][KVR_LANES];

		for (size_t i = 0; i < Q_VECTORS; i++)
			take_columns(rows, i * KVR_LANES, at, column[i]);
		for (size_t j = 0; j < KVR_LANES && at + j < rows->dim; j++)
			for (size_t i = 0; i < Q_VECTORS; i++)
				kvr_store(to + (at + j) * KVR_ROWS +
						  i * KVR_LANES,
					  column[i][j]);
	}
}

#endif
