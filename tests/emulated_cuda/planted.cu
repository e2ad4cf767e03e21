/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planted CASE healthy|faulty: a small program with one mistake, or without.
 * Exit 0: the result is right. 3: wrong. Else somebody caught it earlier.
 * test_planted.c says who has to.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include <cuda.h>

#include "compute/cuda/launch.h"
#include "tests/emulated_cuda/emulated.h"

#define N 64
#define WRONG 3

#define CHECK(call)                                                            \
	do {                                                                   \
		int error_ = (int)(call);                                      \
		if (error_) {                                                  \
			fprintf(stderr, "%s: error %d\n", #call, error_);      \
			exit(1);                                               \
		}                                                              \
	} while (0)

static cudaStream_t one, two;
static float *in, *out; /* on the device, N floats; in: 0, 1, 2, ... */
static float seen[N];	/* out, as fetched */

/* Kernels */

__global__ void flip(const float *from, float *to, bool faulty)
{
	__shared__ float tile[N];

	tile[threadIdx.x] = from[threadIdx.x];
	if (!faulty)
		__syncthreads();
	to[threadIdx.x] = tile[N - 1 - threadIdx.x];
}

/* Across warps a shuffle is no barrier. */
__global__ void flip_warp(const float *from, float *to, bool faulty)
{
	__shared__ float tile[32];

	tile[threadIdx.x] = from[threadIdx.x];
	if (faulty)
		__shfl_sync(0xffffffffu, 0, 0);
	else
		__syncwarp();
	to[threadIdx.x] = tile[31 - threadIdx.x];
}

__global__ void chain(float *list, bool faulty)
{
	unsigned i = blockIdx.x;

	if (threadIdx.x == 0 && i > 0)
		list[i] = faulty ? list[i - 1] + 1 : (float)i;
}

__global__ void fill(float *list, float value)
{
	list[threadIdx.x] = value;
}

__global__ void twice(const float *from, float *to)
{
	to[threadIdx.x] = 2 * from[threadIdx.x];
}

__global__ void shift(const float *from, float *to, int by)
{
	float *tile = kvr_shared<float>();

	tile[threadIdx.x + by] = from[threadIdx.x];
	__syncthreads();
	to[threadIdx.x] = tile[threadIdx.x];
}

__global__ void shift_static(const float *from, float *to, int by)
{
	__shared__ float tile[N];

	tile[threadIdx.x + by] = from[threadIdx.x];
	__syncthreads();
	to[threadIdx.x] = tile[threadIdx.x];
}

__global__ void half_waits(float *list, bool faulty)
{
	if (!faulty || threadIdx.x < N / 2)
		__syncthreads();
	list[threadIdx.x] = 1;
}

__global__ void two_barriers(float *list, bool faulty)
{
	if (faulty && threadIdx.x % 2)
		__syncthreads();
	else
		__syncthreads();
	list[threadIdx.x] = 1;
}

__global__ void lone_lane(float *list, bool faulty)
{
	if (!faulty || threadIdx.x != 5)
		list[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0);
}

/* Host */

static void fetch()
{
	CHECK(cudaMemcpyAsync(seen, out, sizeof(seen), cudaMemcpyDeviceToHost,
			      one));
	CHECK(cudaStreamSynchronize(one));
}

static int verdict(bool right)
{
	if (!right)
		fprintf(stderr, "the result is wrong\n");
	return right ? 0 : WRONG;
}

static int missing_barrier(bool faulty)
{
	bool right = true;

	CHECK(kvr_launch(flip, 1, N, 0, one, in, out, faulty));
	fetch();
	for (int i = 0; i < N; i++)
		right &= seen[i] == (float)(N - 1 - i);
	return verdict(right);
}

static int missing_syncwarp(bool faulty)
{
	CHECK(kvr_launch(flip_warp, 1, 32, 0, one, in, out, faulty));
	fetch();
	return verdict(seen[0] == 31 && seen[31] == 0);
}

static int between_blocks(bool faulty)
{
	CHECK(cudaMemsetAsync(out, 0, N * sizeof(float), one));
	CHECK(kvr_launch(chain, N, 32, 0, one, out, faulty));
	fetch();
	return verdict(seen[N - 1] == N - 1);
}

static int go;

/*
 * Holds a stream up, so that a mistake shows every time. Relaxed: for the
 * sanitizer it orders nothing.
 */
static void hold(void *)
{
	while (!__atomic_load_n(&go, __ATOMIC_RELAXED))
		usleep(200);
}

static void let_go()
{
	__atomic_store_n(&go, 1, __ATOMIC_RELAXED);
}

static int missing_event(bool faulty)
{
	cudaEvent_t written;

	CHECK(cudaEventCreateWithFlags(&written, cudaEventDisableTiming));
	CHECK(cudaLaunchHostFunc(one, hold, nullptr));
	CHECK(kvr_launch(fill, 1, N, 0, one, in, 21.0f));
	CHECK(cudaEventRecord(written, one));
	if (!faulty)
		CHECK(cudaStreamWaitEvent(two, written, 0));
	CHECK(kvr_launch(twice, 1, N, 0, two, in, out));
	if (!faulty)
		let_go();
	CHECK(cudaStreamSynchronize(two));
	let_go();
	fetch();
	CHECK(cudaEventDestroy(written));
	return verdict(seen[N - 1] == 42);
}

static int missing_synchronize(bool faulty)
{
	float *pinned;
	bool right;

	CHECK(cudaMallocHost((void **)&pinned, N * sizeof(float)));
	memset(pinned, 0, N * sizeof(float));
	CHECK(cudaLaunchHostFunc(one, hold, nullptr));
	CHECK(cudaMemcpyAsync(pinned, in, N * sizeof(float),
			      cudaMemcpyDeviceToHost, one));
	if (!faulty) {
		let_go();
		CHECK(cudaStreamSynchronize(one));
	}
	right = pinned[N - 1] == N - 1;
	let_go();
	CHECK(cudaStreamSynchronize(one));
	CHECK(cudaFreeHost(pinned));
	return verdict(right);
}

static int host_dereference(bool faulty)
{
	fetch();
	return verdict(faulty ? in[1] == 1 : seen[0] == 0);
}

static int shared_too_small(bool faulty)
{
	size_t bytes = (N + (faulty ? 0 : 1)) * sizeof(float);

	CHECK(kvr_launch(shift, 1, N, bytes, one, in, out, 1));
	fetch();
	return verdict(seen[1] == 0);
}

static int static_shared_overrun(bool faulty)
{
	CHECK(kvr_launch(shift_static, 1, N, 0, one, in, out, faulty));
	fetch();
	return verdict(seen[1] == !faulty);
}

static int buffer_overrun(bool faulty)
{
	CHECK(kvr_launch(fill, 1, N + faulty, 0, one, out, 1.0f));
	fetch();
	return verdict(seen[0] == 1);
}

static int copy_overrun(bool faulty)
{
	CHECK(cudaMemsetAsync(out, 0, (N + faulty) * sizeof(float), one));
	fetch();
	return verdict(seen[0] == 0);
}

static int use_after_free(bool faulty)
{
	float *gone;

	CHECK(cudaMallocAsync((void **)&gone, 4096, one));
	if (faulty)
		CHECK(cudaFreeAsync(gone, one));
	CHECK(kvr_launch(fill, 1, N, 0, one, gone, 1.0f));
	if (!faulty)
		CHECK(cudaFreeAsync(gone, one));
	CHECK(cudaStreamSynchronize(one));
	return 0;
}

static int divergent_barrier(bool faulty)
{
	CHECK(kvr_launch(half_waits, 1, N, 0, one, out, faulty));
	fetch();
	return verdict(seen[0] == 1);
}

static int different_barriers(bool faulty)
{
	CHECK(kvr_launch(two_barriers, 1, N, 0, one, out, faulty));
	fetch();
	return verdict(seen[0] == 1);
}

static int divergent_warp(bool faulty)
{
	CHECK(kvr_launch(lone_lane, 1, 32, 0, one, out, faulty));
	fetch();
	return verdict(seen[0] == 1);
}

/* Words of streams */

static CUresult (*wait_value)(CUstream, CUdeviceptr, cuuint32_t, unsigned);
static CUresult (*write_value)(CUstream, CUdeviceptr, cuuint32_t, unsigned);

static void *entry(const char *name)
{
	cudaDriverEntryPointQueryResult found;
	void *function;

	CHECK(cudaGetDriverEntryPointByVersion(name, &function, 12000,
					       cudaEnableDefault, &found));
	CHECK(found != cudaDriverEntryPointSuccess);
	return function;
}

static uint32_t *word_new()
{
	uint32_t *word;

	wait_value = (decltype(wait_value))entry("cuStreamWaitValue32");
	write_value = (decltype(write_value))entry("cuStreamWriteValue32");
	CHECK(cudaHostAlloc((void **)&word, 64, cudaHostAllocMapped));
	*word = 0;
	return word;
}

/* What a NIC does: the block; and the engine: flush, say so. */
static void deliver(float *slot, float value, uint32_t *ready, uint32_t say,
		    bool flush = true)
{
	float block[N];

	for (float &element : block)
		element = value;
	kvr_emulated_deliver(slot, block, sizeof(block));
	if (flush)
		CHECK(cudaDeviceFlushGPUDirectRDMAWrites(
			cudaFlushGPUDirectRDMAWritesTargetCurrentDevice,
			cudaFlushGPUDirectRDMAWritesToOwner));
	__atomic_store_n(ready, say, __ATOMIC_RELEASE);
}

static cudaGraphExec_t captured_step(uint32_t *ready, bool faulty)
{
	unsigned how =
		faulty ? CU_STREAM_WAIT_VALUE_GEQ : CU_STREAM_WAIT_VALUE_EQ;
	cudaGraphExec_t exec;
	cudaGraph_t graph;

	CHECK(cudaStreamBeginCapture(one, cudaStreamCaptureModeThreadLocal));
	CHECK(wait_value(one, (CUdeviceptr)ready, 1, how));
	if (!faulty)
		CHECK(write_value(one, (CUdeviceptr)ready, 0, 0));
	CHECK(kvr_launch(twice, 1, N, 0, one, in, out));
	CHECK(cudaStreamEndCapture(one, &graph));
	CHECK(cudaGraphInstantiate(&exec, graph, 0));
	CHECK(cudaGraphDestroy(graph));
	return exec;
}

/* Replayed, a wait for a number that only grows is satisfied by the last. */
static int stale_replay(bool faulty)
{
	uint32_t *ready = word_new();
	cudaGraphExec_t exec = captured_step(ready, faulty);
	int naps = faulty ? 10000 : 50;

	deliver(in, 1, ready, 1);
	CHECK(cudaGraphLaunch(exec, one));
	CHECK(cudaStreamSynchronize(one));
	CHECK(cudaGraphLaunch(exec, one));
	while (naps-- && cudaStreamQuery(one) == cudaErrorNotReady)
		usleep(1000);
	if (cudaStreamQuery(one) == cudaErrorNotReady)
		deliver(in, 2, ready, faulty ? 2 : 1);
	fetch();
	CHECK(cudaGraphExecDestroy(exec));
	CHECK(cudaFreeHost(ready));
	return verdict(seen[N - 1] == 4);
}

/* The word overtakes the block. */
static int missing_flush(bool faulty)
{
	uint32_t *ready = word_new();

	CHECK(wait_value(one, (CUdeviceptr)ready, 1, CU_STREAM_WAIT_VALUE_EQ));
	CHECK(kvr_launch(twice, 1, N, 0, one, in, out));
	deliver(in, 7, ready, 1, !faulty);
	fetch();
	CHECK(cudaFreeHost(ready));
	return verdict(seen[N - 1] == 14);
}

/* The slot is given back before it was read. */
static int credit_before_release(bool faulty)
{
	uint32_t *released = word_new();

	if (faulty)
		CHECK(write_value(one, (CUdeviceptr)released, 1, 0));
	if (faulty)
		CHECK(wait_value(one, (CUdeviceptr)released, 2,
				 CU_STREAM_WAIT_VALUE_GEQ));
	CHECK(kvr_launch(twice, 1, N, 0, one, in, out));
	if (!faulty)
		CHECK(write_value(one, (CUdeviceptr)released, 1, 0));
	while (__atomic_load_n(released, __ATOMIC_ACQUIRE) == 0)
		usleep(100);
	kvr_emulated_memory_open();
	for (int i = 0; i < N; i++)
		in[i] = -1;
	kvr_emulated_memory_close();
	/* Relaxed: the wait is there to make the mistake show every time. */
	__atomic_store_n(released, 2, __ATOMIC_RELAXED);
	fetch();
	CHECK(cudaFreeHost(released));
	return verdict(seen[N - 1] == 2 * (N - 1));
}

#define CASE(name)                                                             \
	{                                                                      \
#name, name                                                    \
	}
static const struct {
	const char *name;
	int (*run)(bool faulty);
} cases[] = {
	CASE(missing_barrier),	     CASE(missing_syncwarp),
	CASE(between_blocks),	     CASE(missing_event),
	CASE(missing_synchronize),   CASE(host_dereference),
	CASE(shared_too_small),	     CASE(static_shared_overrun),
	CASE(buffer_overrun),	     CASE(copy_overrun),
	CASE(use_after_free),	     CASE(divergent_barrier),
	CASE(different_barriers),    CASE(divergent_warp),
	CASE(stale_replay),	     CASE(missing_flush),
	CASE(credit_before_release),
};

static void prepare()
{
	float first[N];

	for (int i = 0; i < N; i++)
		first[i] = (float)i;
	CHECK(cudaStreamCreateWithFlags(&one, cudaStreamNonBlocking));
	CHECK(cudaStreamCreateWithFlags(&two, cudaStreamNonBlocking));
	CHECK(cudaMalloc((void **)&in, sizeof(first)));
	CHECK(cudaMalloc((void **)&out, sizeof(first)));
	CHECK(cudaMemcpy(in, first, sizeof(first), cudaMemcpyHostToDevice));
	CHECK(cudaMemset(out, 0, sizeof(first)));
	CHECK(cudaDeviceSynchronize());
}

static void clean_up()
{
	CHECK(cudaFree(in));
	CHECK(cudaFree(out));
	CHECK(cudaStreamDestroy(one));
	CHECK(cudaStreamDestroy(two));
}

int main(int argc, char **argv)
{
	int result = 2;

	if (argc != 3)
		return result;
	prepare();
	for (const auto &each : cases)
		if (!strcmp(each.name, argv[1]))
			result = each.run(!strcmp(argv[2], "faulty"));
	clean_up();
	return result;
}
