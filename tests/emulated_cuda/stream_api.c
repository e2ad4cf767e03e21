/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and events as the runtime API has them. */
#include <stdlib.h>

#include "tests/emulated_cuda/internal.h"

EMU_EXPORT cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out,
						    unsigned flags,
						    int priority)
{
	EMU_CALL();
	if (!out)
		return emu_error(cudaErrorInvalidValue);
	pthread_mutex_lock(&emu.lock);
	*out = emu_stream_new(flags, priority, emu_device_current());
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out,
						 unsigned flags)
{
	return cudaStreamCreateWithPriority(out, flags, 0);
}

EMU_EXPORT cudaError_t cudaStreamCreate(cudaStream_t *out)
{
	return cudaStreamCreateWithPriority(out, 0, 0);
}

EMU_EXPORT cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
	EMU_CALL();
	if (!stream || stream == cudaStreamLegacy ||
	    stream == cudaStreamPerThread)
		return emu_error(cudaErrorInvalidResourceHandle);
	pthread_mutex_lock(&emu.lock);
	emu_stream_free(stream);
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
	cudaError_t error = cudaSuccess;
	struct CUstream_st *stream;

	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	stream = emu_stream_of(handle);
	if (stream->capture)
		error = emu_capture_forbidden(stream);
	else
		emu_wait(stream->last);
	pthread_mutex_unlock(&emu.lock);
	return emu_error(error);
}

EMU_EXPORT cudaError_t cudaStreamQuery(cudaStream_t handle)
{
	struct CUstream_st *stream;
	bool done = true;

	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	stream = emu_stream_of(handle);
	if (stream->last) {
		done = stream->last->done;
		if (done)
			emu_acquire(stream->last);
	}
	pthread_mutex_unlock(&emu.lock);
	return done ? cudaSuccess : cudaErrorNotReady;
}

EMU_EXPORT cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *out)
{
	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	*out = emu_stream_of(stream)->priority;
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned *out)
{
	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	*out = emu_stream_of(stream)->nonblocking ? cudaStreamNonBlocking : 0;
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaStreamGetId(cudaStream_t stream,
				       unsigned long long *out)
{
	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	*out = emu_stream_of(stream)->id;
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaStreamGetDevice(cudaStream_t stream, int *out)
{
	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	*out = emu_stream_of(stream)->device;
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaDeviceGetStreamPriorityRange(int *least,
							int *greatest)
{
	EMU_CALL();
	if (least)
		*least = 0;
	if (greatest)
		*greatest = -5;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaDeviceSynchronize(void)
{
	EMU_CALL();
	emu_device_wait();
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out,
						unsigned flags)
{
	EMU_CALL();
	if (!out)
		return emu_error(cudaErrorInvalidValue);
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return emu_error(cudaErrorMemoryAllocation);
	(*out)->flags = flags;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaEventCreate(cudaEvent_t *out)
{
	return cudaEventCreateWithFlags(out, 0);
}

static void forget_record(struct CUevent_st *event)
{
	emu_op_put(event->last);
	event->last = NULL;
	event->capture = NULL;
	event->frontier.count = 0;
}

EMU_EXPORT cudaError_t cudaEventDestroy(cudaEvent_t event)
{
	EMU_CALL();
	if (!event)
		return emu_error(cudaErrorInvalidResourceHandle);
	pthread_mutex_lock(&emu.lock);
	forget_record(event);
	pthread_mutex_unlock(&emu.lock);
	free(event->frontier.at);
	free(event);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaEventRecordWithFlags(cudaEvent_t event,
						cudaStream_t handle,
						unsigned flags)
{
	struct CUstream_st *stream;

	EMU_CALL();
	if (!event)
		return emu_error(cudaErrorInvalidResourceHandle);
	if (flags)
		return emu_error(cudaErrorNotSupported);
	pthread_mutex_lock(&emu.lock);
	stream = emu_stream_of(handle);
	forget_record(event);
	if (stream->capture) {
		emu_capture_record(stream, event);
	} else {
		event->last = emu_op_new(NULL, NULL, 0);
		emu_enqueue(stream, emu_op_get(event->last));
	}
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
	return cudaEventRecordWithFlags(event, stream, 0);
}

EMU_EXPORT cudaError_t cudaStreamWaitEvent(cudaStream_t handle,
					   cudaEvent_t event, unsigned flags)
{
	cudaError_t error = cudaSuccess;
	struct CUstream_st *stream;

	EMU_CALL();
	if (!event)
		return emu_error(cudaErrorInvalidResourceHandle);
	if (flags)
		return emu_error(cudaErrorNotSupported);
	pthread_mutex_lock(&emu.lock);
	stream = emu_stream_of(handle);
	if (event->capture || stream->capture) {
		error = emu_capture_wait(stream, event);
	} else if (event->last) {
		struct emu_op *op = emu_op_new(NULL, NULL, 0);

		emu_op_follow(op, event->last);
		emu_enqueue(stream, op);
	}
	pthread_mutex_unlock(&emu.lock);
	return emu_error(error);
}

EMU_EXPORT cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
	EMU_CALL();
	if (!event)
		return emu_error(cudaErrorInvalidResourceHandle);
	pthread_mutex_lock(&emu.lock);
	emu_wait(event->last);
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaEventQuery(cudaEvent_t event)
{
	bool done = true;

	EMU_CALL();
	if (!event)
		return emu_error(cudaErrorInvalidResourceHandle);
	pthread_mutex_lock(&emu.lock);
	if (event->last) {
		done = event->last->done;
		if (done)
			emu_acquire(event->last);
	}
	pthread_mutex_unlock(&emu.lock);
	return done ? cudaSuccess : cudaErrorNotReady;
}

static bool timed(const struct CUevent_st *event)
{
	return event->last && event->last->done &&
	       !(event->flags & cudaEventDisableTiming);
}

EMU_EXPORT cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin,
					    cudaEvent_t end)
{
	cudaError_t error = cudaErrorInvalidResourceHandle;

	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	if (timed(begin) && timed(end)) {
		struct timespec a = begin->last->time, b = end->last->time;

		*ms = (float)((double)(b.tv_sec - a.tv_sec) * 1e3 +
			      (double)(b.tv_nsec - a.tv_nsec) * 1e-6);
		error = cudaSuccess;
	}
	pthread_mutex_unlock(&emu.lock);
	return emu_error(error);
}

struct host_call {
	cudaHostFn_t function;
	void *argument;
};

static void run_host_call(struct emu_op *op)
{
	struct host_call *call = emu_payload(op);

	call->function(call->argument);
}

EMU_EXPORT cudaError_t cudaLaunchHostFunc(cudaStream_t stream,
					  cudaHostFn_t function, void *argument)
{
	struct host_call call = {function, argument};
	struct emu_op *op;

	EMU_CALL();
	op = emu_op_new(run_host_call, &call, sizeof(call));
	op->host = true;
	return emu_error(emu_submit(stream, op));
}
