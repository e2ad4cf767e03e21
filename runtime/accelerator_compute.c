/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/accelerator_compute.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "runtime/accelerator.h"
#include "runtime/accelerator_attention.h"

/* Between two looks at a stream, for a caller that makes progress meanwhile. */
#define LOOK_NS 50000

struct device {
	struct kvr_compute base;
	const struct kvr_accelerator_attention_ops *ops;
	struct kvr_accelerator_attention *attention;
	bool pack_failed, run_failed;
	atomic_bool stopped;
	void (*pulse)(void *arg);
	void *pulse_arg;
};

static struct device *device_of(struct kvr_compute *compute)
{
	return (struct device *)compute;
}

static enum kvr_status table(const struct kvr_accelerator_attention_ops **out,
			     char *reason, size_t reason_bytes)
{
	const struct kvr_accelerator_ops *ops;
	enum kvr_status status =
		kvr_accelerator_open(&ops, reason, reason_bytes);

	if (status == KVR_OK)
		*out = ops->attention;
	return status;
}

static enum kvr_status probe(char *reason, size_t reason_bytes)
{
	const struct kvr_accelerator_attention_ops *ops;

	enum kvr_status status = table(&ops, reason, reason_bytes);

	return status == KVR_OK ? ops->probe(reason, reason_bytes) : status;
}

static size_t block_bytes(const struct kvr_compute_shape *shape,
			  struct kvr_ranges kv)
{
	const struct kvr_accelerator_attention_ops *ops;
	char reason[160];

	if (table(&ops, reason, sizeof(reason)) != KVR_OK)
		return KVR_BLOCK_BYTES_MOST;
	return ops->block_bytes(shape, kv);
}

static enum kvr_status device_open(const struct kvr_compute_shape *shape,
				   struct kvr_ranges q, uint32_t threads,
				   struct kvr_compute **out)
{
	const struct kvr_accelerator_attention_options options = {0};
	struct device *d = calloc(1, sizeof(*d));
	enum kvr_status status;
	char reason[160];

	(void)threads;
	if (!d)
		return KVR_ERR_NO_MEMORY;
	d->base.ops = &kvr_accelerator_compute;
	status = table(&d->ops, reason, sizeof(reason));
	if (status == KVR_OK)
		status = d->ops->open(shape, q, &options, &d->attention, reason,
				      sizeof(reason));
	if (status != KVR_OK) {
		free(d);
		return status;
	}
	*out = &d->base;
	return KVR_OK;
}

static void device_close(struct kvr_compute *compute)
{
	struct device *d = device_of(compute);

	if (!d)
		return;
	d->ops->close(d->attention);
	free(d);
}

static enum kvr_status reserve(struct kvr_compute *compute, size_t ranges,
			       size_t bytes)
{
	struct device *d = device_of(compute);

	return d->ops->reserve(d->attention, ranges, bytes);
}

static bool can_read(const void *address)
{
	const struct kvr_accelerator_attention_ops *ops;
	char reason[160];

	return table(&ops, reason, sizeof(reason)) == KVR_OK &&
	       ops->can_read(address);
}

/*
 * Until the GPU has done what was enqueued; it still uses the caller's tensors
 * and our slots. Where asking fails it is asked once more: on return they are
 * others', whatever is returned.
 */
static enum kvr_status settle(struct device *d)
{
	const struct timespec nap = {.tv_nsec = LOOK_NS};
	enum kvr_status status;

	while ((status = d->ops->wait(d->attention, NULL, !d->pulse)) ==
	       KVR_ERR_AGAIN) {
		if (d->pulse)
			d->pulse(d->pulse_arg);
		(void)nanosleep(&nap, NULL);
	}
	if (status != KVR_OK)
		(void)d->ops->wait(d->attention, NULL, true);
	return status;
}

static void device_pack(struct kvr_compute *compute, struct kvr_ranges kv,
			const struct kvr_tensor *k, const struct kvr_tensor *v,
			void *block)
{
	struct device *d = device_of(compute);

	/* Of the run before; the next begins with begin. */
	d->run_failed = false;
	d->pack_failed =
		d->ops->pack(d->attention, kv, k, v, block, NULL) != KVR_OK;
	d->pack_failed |= settle(d) != KVR_OK;
}

static void begin(struct kvr_compute *compute, const struct kvr_tensor *q)
{
	struct device *d = device_of(compute);

	atomic_store_explicit(&d->stopped, false, memory_order_relaxed);
	d->run_failed = d->ops->begin(d->attention, q, NULL) != KVR_OK;
}

static void step(struct kvr_compute *compute, struct kvr_ranges kv,
		 const void *block)
{
	struct device *d = device_of(compute);

	/* Relaxed: it carries nothing but itself. */
	if (d->run_failed ||
	    atomic_load_explicit(&d->stopped, memory_order_relaxed))
		return;
	d->run_failed = d->ops->step(d->attention, kv, block, NULL) != KVR_OK;
	d->run_failed |= settle(d) != KVR_OK;
}

/* Not called: paged is false. */
static void step_pages(struct kvr_compute *compute, struct kvr_ranges kv,
		       const void *const *page)
{
	(void)kv;
	(void)page;
	device_of(compute)->run_failed = true;
}

static void append(const struct kvr_compute_shape *shape, size_t held,
		   const struct kvr_tensor *k, const struct kvr_tensor *v,
		   void *page)
{
	(void)shape;
	(void)held;
	(void)k;
	(void)v;
	(void)page;
}

static void device_stop(struct kvr_compute *compute)
{
	atomic_store_explicit(&device_of(compute)->stopped, true,
			      memory_order_relaxed);
}

static void set_pulse(struct kvr_compute *compute, void (*pulse)(void *arg),
		      void *arg)
{
	device_of(compute)->pulse = pulse;
	device_of(compute)->pulse_arg = arg;
}

static void finish(struct kvr_compute *compute, const struct kvr_tensor *out,
		   float *lse, size_t lse_head_stride)
{
	struct device *d = device_of(compute);

	if (!d->run_failed)
		d->run_failed =
			d->ops->finish(d->attention, out, lse, lse_head_stride,
				       NULL) != KVR_OK ||
			settle(d) != KVR_OK;
}

static const char *failed(const struct kvr_compute *compute)
{
	const struct device *d = (const struct device *)compute;

	return d->pack_failed || d->run_failed ? d->ops->failure(d->attention)
					       : NULL;
}

const struct kvr_compute_ops kvr_accelerator_compute = {
	.name = "cuda",
	.layout_id = KVR_ACCELERATOR_LAYOUT_ID,
	.probe = probe,
	.block_bytes = block_bytes,
	.open = device_open,
	.close = device_close,
	.pack = device_pack,
	.append = append,
	.reserve = reserve,
	.begin = begin,
	.step = step,
	.step_pages = step_pages,
	.stop = device_stop,
	.set_pulse = set_pulse,
	.finish = finish,
	.failed = failed,
	.can_read = can_read,
	.paged = false,
};
