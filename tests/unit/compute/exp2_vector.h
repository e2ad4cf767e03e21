/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KVR_TESTS_EXP2_VECTOR_H
#define KVR_TESTS_EXP2_VECTOR_H

#include <stddef.h>

/* kvr_exp2 of `count` numbers, a multiple of 16. */
typedef void (*exp2_array_fn)(const float *x, float *out, size_t count);

void exp2_array_portable(const float *x, float *out, size_t count);
void exp2_array_avx2(const float *x, float *out, size_t count);
void exp2_array_avx512(const float *x, float *out, size_t count);

/* kvr_tanh likewise. */
void tanh_array_portable(const float *x, float *out, size_t count);
void tanh_array_avx2(const float *x, float *out, size_t count);
void tanh_array_avx512(const float *x, float *out, size_t count);

#endif
