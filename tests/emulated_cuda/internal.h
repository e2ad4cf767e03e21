/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the emulation share. One process-wide lock guards every
 * object; it is never held while a kernel, a copy or a callback runs.
 */
#ifndef KVR_TESTS_EMULATED_CUDA_INTERNAL_H
#define KVR_TESTS_EMULATED_CUDA_INTERNAL_H

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "tests/emulated_cuda/emulated.h"

#define EMU_EXPORT __attribute__((visibility("default")))
#define EMU_DEVICES_MAX 16
#define EMU_ARGS_MAX 64

struct emu_op;
struct emu_capture;

/* Runs with the identity of the stream, without any lock. */
typedef void (*emu_run)(struct emu_op *op);
/* A wait: polled, asleep in between, until true. */
typedef bool (*emu_ready)(struct emu_op *op);

struct emu_op {
	struct emu_op *next; /* in its stream */
	emu_run run;	     /* NULL: nothing but its place in the order */
	emu_ready ready;
	bool host; /* a callback: device memory stays shut */
	bool done;
	int refs;
	struct emu_op **deps;
	size_t dep_count;
	struct timespec time; /* when it was done */
	size_t bytes;	      /* of the payload, flat, copied into graphs */
	_Alignas(16) unsigned char payload[];
};

struct emu_links { /* nodes of a capture, by index */
	size_t *at;
	size_t count;
};

struct CUstream_st {
	struct CUstream_st *next;
	struct emu_op *head, *tail; /* not yet run */
	struct emu_op *last;	    /* newest, perhaps done; a reference */
	pthread_cond_t work;
	pthread_t thread;
	bool stop, nonblocking;
	bool open; /* device memory, for its thread alone */
	int device, priority;
	unsigned long long id;
	void *identity; /* its sanitizer fiber */
	struct emu_capture *capture;
	struct emu_links frontier; /* what the next captured node follows */
};

struct CUevent_st {
	struct emu_op *last;	     /* recorded as; a reference, NULL: never */
	struct emu_capture *capture; /* recorded while capturing */
	struct emu_links frontier;
	unsigned flags;
};

struct emu_state {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* an operation was done */
	struct CUstream_st *streams;
	struct CUstream_st *legacy[EMU_DEVICES_MAX];
	struct CUstream_st *per_thread; /* one for all: see stream.c */
	unsigned long long stream_count;
};

extern struct emu_state emu;

/* settings.c */
#define EMU_CALL()                                                             \
	do {                                                                   \
		cudaError_t emu_planned = emu_call(__func__);                  \
		if (emu_planned != cudaSuccess)                                \
			return emu_error(emu_planned);                         \
	} while (0)
cudaError_t emu_call(const char *name);
cudaError_t emu_error(cudaError_t error); /* remembers it */
int emu_device_current(void);
int emu_device_count(void);
_Noreturn void emu_abort(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
/* Zeroed; aborts where there is none. */
void *emu_new(size_t count, size_t size) __attribute__((returns_nonnull));
enum kvr_emulated_order emu_order(uint64_t *seed);

/* device.c */
cudaError_t emu_attribute(int device, int attribute, int *value);
void emu_devices_reset(void);

/* stream.c */
struct emu_op *emu_op_new(emu_run run, const void *payload, size_t bytes);
struct emu_op *emu_op_clone(const struct emu_op *op);
struct emu_op *emu_op_get(struct emu_op *op);
void emu_op_put(struct emu_op *op);
void emu_op_follow(struct emu_op *op, struct emu_op *dep);
void *emu_payload(struct emu_op *op);
struct CUstream_st *emu_stream_of(cudaStream_t handle);
struct CUstream_st *emu_stream_new(unsigned flags, int priority, int device);
void emu_stream_free(struct CUstream_st *stream);
/* Locked; takes the reference of op. */
void emu_enqueue(struct CUstream_st *stream, struct emu_op *op);
/* Unlocked; into the stream or its capture. Takes the reference. */
cudaError_t emu_submit(cudaStream_t stream, struct emu_op *op);
void emu_wait(struct emu_op *op); /* locked, and again on return */
void emu_device_wait(void);	  /* unlocked: everything enqueued */
/* Back to the thread's own identity, for code that takes locks. */
void emu_identity_leave(void);
void emu_identity_enter(void);
void emu_thread_began(void);

/* capture.c; locked */
cudaError_t emu_capture_forbidden(struct CUstream_st *stream);
cudaError_t emu_capture_add(struct CUstream_st *stream, struct emu_op *op);
void emu_capture_record(struct CUstream_st *stream, struct CUevent_st *event);
cudaError_t emu_capture_wait(struct CUstream_st *stream,
			     struct CUevent_st *event);
void emu_links_copy(struct emu_links *to, const struct emu_links *from);

/* memory.c */
enum emu_kind { EMU_NONE, EMU_DEVICE, EMU_HOST, EMU_MANAGED };
struct emu_area {
	uintptr_t base;
	size_t size;
	enum emu_kind kind;
	bool registered; /* the caller's own memory, pinned */
	bool sync_memops;
	bool imported; /* of another process */
	int device;
	unsigned flags;
	unsigned long long id;
	struct emu_area *next;
};
bool emu_area_find(const void *address, struct emu_area *out);
/* In an operation: aborts where it reaches what is not one area's. */
void emu_area_check(const char *what, const void *at, size_t bytes);
bool emu_area_sync(const void *address, bool on);
/* The file that holds it, and where. */
int emu_area_file(const struct emu_area *area, size_t *offset);
cudaError_t emu_area_import(void **out, int fd, size_t offset, size_t size);
cudaError_t emu_area_return(void *at);
cudaError_t emu_dmabuf_open(void *at, size_t size, int *fd);
cudaError_t emu_device_alloc(void **out, size_t size);
cudaError_t emu_device_free(void *at);

/* grid.c */
struct emu_launch {
	const void *function;
	void (*invoke)(const void *function, void **args);
	uint3 grid, block;
	size_t shared;
	size_t count, bytes;	 /* arguments, one after the other from data */
	size_t at[EMU_ARGS_MAX]; /* where each begins */
	_Alignas(16) unsigned char data[];
};
void emu_grid_run(const struct emu_launch *launch);

/* launch.c */
void emu_statics_forget(const void *function);

/* sanitizer.c: nothing in a plain build */
extern const bool emu_tsan;
void *emu_identity_new(void);
void emu_identity_free(void *identity);
void *emu_identity_now(void);
void emu_identity_switch(void *identity); /* orders nothing */
void emu_acquire(void *at);
void emu_release(void *at);
void emu_forget(void *at, size_t bytes); /* as if new */
void emu_touch_read(const void *at, size_t bytes);
void emu_touch_write(void *at, size_t bytes);
/* Unseen by any sanitizer. */
void emu_copy_quiet(void *to, const void *from, size_t bytes);
void emu_poison(void *at, size_t bytes);
void emu_unpoison(void *at, size_t bytes);

#endif
