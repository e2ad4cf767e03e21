/* SPDX-License-Identifier: Apache-2.0 */
/* Copies and fills. A copy from or to pageable memory returns when done. */
#include <string.h>

#include "tests/emulated_cuda/internal.h"

struct copy { /* rows of width bytes */
	char *to;
	const char *from;
	size_t to_pitch, from_pitch, width, height;
};

static void run_copy(struct emu_op *op)
{
	const struct copy *copy = emu_payload(op);

	for (size_t row = 0; row < copy->height; row++) {
		char *to = copy->to + row * copy->to_pitch;
		const char *from = copy->from + row * copy->from_pitch;

		emu_area_check("a copy writes", to, copy->width);
		emu_area_check("a copy reads", from, copy->width);
		memmove(to, from, copy->width);
	}
}

static bool is_device(const void *at)
{
	struct emu_area area;

	return emu_area_find(at, &area) && area.kind == EMU_DEVICE;
}

static bool is_pageable(const void *at)
{
	return !emu_area_find(at, NULL);
}

static bool kind_fits(const void *to, const void *from,
		      enum cudaMemcpyKind kind)
{
	switch (kind) {
	case cudaMemcpyHostToHost:
		return !is_device(to) && !is_device(from);
	case cudaMemcpyHostToDevice:
		return is_device(to) && !is_device(from);
	case cudaMemcpyDeviceToHost:
		return !is_device(to) && is_device(from);
	case cudaMemcpyDeviceToDevice:
		return is_device(to) && is_device(from);
	case cudaMemcpyDefault:
		return true;
	}
	return false;
}

/* Waits for the stream, unless it captures. */
static cudaError_t settle(cudaStream_t handle)
{
	struct CUstream_st *stream;

	pthread_mutex_lock(&emu.lock);
	stream = emu_stream_of(handle);
	if (!stream->capture)
		emu_wait(stream->last);
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

static cudaError_t copy_submit(const struct copy *copy,
			       enum cudaMemcpyKind kind, cudaStream_t stream,
			       bool wait)
{
	bool pageable = is_pageable(copy->to) || is_pageable(copy->from);
	cudaError_t error;

	if (!kind_fits(copy->to, copy->from, kind))
		return cudaErrorInvalidValue;
	if (!copy->width || !copy->height)
		return cudaSuccess;
	error = emu_submit(stream, emu_op_new(run_copy, copy, sizeof(*copy)));
	if (error == cudaSuccess && (wait || pageable))
		error = settle(stream);
	return error;
}

EMU_EXPORT cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size,
				       enum cudaMemcpyKind kind,
				       cudaStream_t stream)
{
	struct copy copy = {to, from, size, size, size, 1};

	EMU_CALL();
	return emu_error(copy_submit(&copy, kind, stream, false));
}

EMU_EXPORT cudaError_t cudaMemcpy(void *to, const void *from, size_t size,
				  enum cudaMemcpyKind kind)
{
	struct copy copy = {to, from, size, size, size, 1};

	EMU_CALL();
	return emu_error(copy_submit(&copy, kind, NULL, true));
}

EMU_EXPORT cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch,
					 const void *from, size_t from_pitch,
					 size_t width, size_t height,
					 enum cudaMemcpyKind kind,
					 cudaStream_t stream)
{
	struct copy copy = {to, from, to_pitch, from_pitch, width, height};

	EMU_CALL();
	if (width > to_pitch || width > from_pitch)
		return emu_error(cudaErrorInvalidPitchValue);
	return emu_error(copy_submit(&copy, kind, stream, false));
}

EMU_EXPORT cudaError_t cudaMemcpyPeerAsync(void *to, int to_device,
					   const void *from, int from_device,
					   size_t size, cudaStream_t stream)
{
	struct copy copy = {to, from, size, size, size, 1};

	EMU_CALL();
	if (to_device < 0 || to_device >= emu_device_count() ||
	    from_device < 0 || from_device >= emu_device_count())
		return emu_error(cudaErrorInvalidDevice);
	return emu_error(
		copy_submit(&copy, cudaMemcpyDeviceToDevice, stream, false));
}

struct fill {
	void *at;
	int value;
	size_t size;
};

static void run_fill(struct emu_op *op)
{
	const struct fill *fill = emu_payload(op);

	emu_area_check("a fill writes", fill->at, fill->size);
	memset(fill->at, fill->value, fill->size);
}

EMU_EXPORT cudaError_t cudaMemsetAsync(void *at, int value, size_t size,
				       cudaStream_t stream)
{
	struct fill fill = {at, value, size};

	EMU_CALL();
	if (size && is_pageable(at))
		return emu_error(cudaErrorInvalidValue);
	return emu_error(
		emu_submit(stream, emu_op_new(run_fill, &fill, sizeof(fill))));
}

EMU_EXPORT cudaError_t cudaMemset(void *at, int value, size_t size)
{
	cudaError_t error = cudaMemsetAsync(at, value, size, NULL);

	return error == cudaSuccess ? settle(NULL) : error;
}
