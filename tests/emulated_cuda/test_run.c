/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels under the emulation: order, warps, shared memory, refusals. */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/emulated_cuda/emulated.h"
#include "tests/emulated_cuda/test_kernels.h"

#define COUNT 256  /* threads of run_note_order */
#define BYTES 4096 /* of each buffer */

struct fixture {
	cudaStream_t stream;
	void *a, *b; /* on the device */
};

static void ok(int error)
{
	assert_int_equal(error, cudaSuccess);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	kvr_emulated_reset();
	ok(cudaStreamCreateWithFlags(&f->stream, cudaStreamNonBlocking));
	ok(cudaMalloc(&f->a, BYTES));
	ok(cudaMalloc(&f->b, BYTES));
	ok(cudaMemset(f->a, 0, BYTES));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ok(cudaFree(f->a));
	ok(cudaFree(f->b));
	ok(cudaStreamDestroy(f->stream));
	free(f);
	kvr_emulated_reset();
	assert_int_equal(kvr_emulated_allocations(), 0);
	return 0;
}

static void fetch(struct fixture *f, void *to, const void *from, size_t bytes)
{
	ok(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, f->stream));
	ok(cudaStreamSynchronize(f->stream));
}

static void emulation_linked_is_not_the_runtime(void **state)
{
	Dl_info ours, call;

	(void)state;
	assert_string_equal(kvr_emulated_cuda_marker, "emulated CUDA");
	assert_true(dladdr(dlsym(RTLD_DEFAULT, "kvr_emulated_reset"), &ours));
	assert_true(dladdr(dlsym(RTLD_DEFAULT, "cudaMalloc"), &call));
	assert_string_equal(ours.dli_fname, call.dli_fname);
	assert_null(dlsym(RTLD_DEFAULT, "cuStreamWaitValue32_v2"));
}

static void note_order(struct fixture *f, unsigned *list)
{
	ok(cudaMemsetAsync(f->b, 0, sizeof(unsigned), f->stream));
	ok(run_note_order(f->a, f->b, 4, 64, f->stream));
	fetch(f, list, f->a, COUNT * sizeof(*list));
}

static void kernel_forward_runs_threads_in_order(void **state)
{
	unsigned list[COUNT];

	note_order(*state, list);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(list[i], i);
}

static void kernel_reversed_runs_threads_backwards(void **state)
{
	unsigned list[COUNT];

	kvr_emulated_set_order(KVR_EMULATED_REVERSE, 0);
	note_order(*state, list);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(list[i], COUNT - 1 - i);
}

static void kernel_random_runs_each_once_as_seeded(void **state)
{
	unsigned list[COUNT], again[COUNT], other[COUNT];
	bool seen[COUNT] = {false};

	kvr_emulated_set_order(KVR_EMULATED_RANDOM, 1);
	note_order(*state, list);
	note_order(*state, again);
	kvr_emulated_set_order(KVR_EMULATED_RANDOM, 2);
	note_order(*state, other);
	assert_memory_equal(list, again, sizeof(list));
	assert_memory_not_equal(list, other, sizeof(list));
	for (unsigned i = 0; i < COUNT; i++) {
		assert_false(seen[list[i]]);
		seen[list[i]] = true;
	}
}

static void check_lanes(const unsigned *word, unsigned lane)
{
	assert_int_equal(word[0], lane / 8 * 8 + 3);
	assert_int_equal(word[1], lane ^ 16);
	assert_int_equal(word[2], lane % 16 < 12 ? lane + 4 : lane);
	assert_int_equal(word[3], lane < 4 ? lane : lane - 4);
	assert_int_equal(word[4], 0x49249249);
	assert_int_equal(word[5], 1);
	assert_int_equal(word[6], 0);
	assert_int_equal(word[7], 31);
	assert_int_equal(word[8], 20);
	assert_int_equal(word[9], lane < 16 ? 120 : 376);
}

static void warp_operations_any_order_give_cuda_s_results(void **state)
{
	static const enum kvr_emulated_order orders[] = {KVR_EMULATED_FORWARD,
							 KVR_EMULATED_REVERSE,
							 KVR_EMULATED_RANDOM};
	unsigned out[64 * LANES_WORDS];
	struct fixture *f = *state;

	for (size_t i = 0; i < 3; i++) {
		kvr_emulated_set_order(orders[i], 3);
		ok(run_lanes(f->a, 64, f->stream));
		fetch(f, out, f->a, sizeof(out));
		for (unsigned t = 0; t < 64; t++)
			check_lanes(out + (size_t)t * LANES_WORDS, t % 32);
	}
}

static void kernel_static_and_dynamic_shared_transposes(void **state)
{
	float in[16 * 48], out[16 * 48];
	struct fixture *f = *state;

	for (size_t i = 0; i < 16 * 48; i++)
		in[i] = (float)i;
	ok(cudaMemcpyAsync(f->a, in, sizeof(in), cudaMemcpyHostToDevice,
			   f->stream));
	ok(run_transpose(f->a, f->b, 3, 1, f->stream));
	fetch(f, out, f->b, sizeof(out));
	for (size_t y = 0; y < 16; y++)
		for (size_t x = 0; x < 48; x++)
			assert_true(out[x * 16 + y] == in[y * 48 + x] + 1.5f);
}

static void shared_dynamic_new_block_is_not_a_number(void **state)
{
	struct fixture *f = *state;
	float out[2];

	ok(run_first_of_shared(f->a, 2, 64, f->stream));
	fetch(f, out, f->a, sizeof(out));
	assert_true(isnan(out[0]) && isnan(out[1]));
}

static void shared_dynamic_beyond_limit_needs_permission(void **state)
{
	struct fixture *f = *state;
	int most;

	ok(cudaDeviceGetAttribute(&most,
				  cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
	assert_int_equal(run_first_of_shared(f->a, 1, 49153, f->stream),
			 cudaErrorInvalidValue);
	assert_int_equal(allow_first_of_shared(most + 1),
			 cudaErrorInvalidValue);
	ok(allow_first_of_shared(most));
	ok(run_first_of_shared(f->a, 1, (size_t)most, f->stream));
	assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
	assert_int_equal(cudaGetLastError(), cudaSuccess);
}

static void launch_too_many_threads_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run_add_one(f->a, 1025, f->stream),
			 cudaErrorInvalidConfiguration);
	assert_int_equal(run_add_one(f->a, 0, f->stream),
			 cudaErrorInvalidConfiguration);
	ok(cudaStreamSynchronize(f->stream));
}

static void device_arithmetic_halves_rounds_as_host(void **state)
{
	struct fixture *f = *state;
	float out[3];

	ok(run_halves(f->a, f->stream));
	fetch(f, out, f->a, sizeof(out));
	assert_true(out[0] == 1.0f); /* a tie, to even */
	assert_true(out[1] == 0.333251953125f);
	assert_true(fabsf(out[2] - 2.7182818f) < 1e-6f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(emulation_linked_is_not_the_runtime),
		TEST(kernel_forward_runs_threads_in_order),
		TEST(kernel_reversed_runs_threads_backwards),
		TEST(kernel_random_runs_each_once_as_seeded),
		TEST(warp_operations_any_order_give_cuda_s_results),
		TEST(kernel_static_and_dynamic_shared_transposes),
		TEST(shared_dynamic_new_block_is_not_a_number),
		TEST(shared_dynamic_beyond_limit_needs_permission),
		TEST(launch_too_many_threads_is_refused),
		TEST(device_arithmetic_halves_rounds_as_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
