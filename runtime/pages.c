/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values in the caller's pages: packing them, running on them. */
#include "kvring/pages.h"
#include "runtime/plan.h"
#include "runtime/tensor.h"

/* Is the page all in its memory, which the host reads, and aligned? */
static bool is_page(const struct kvr_segment *page)
{
	const struct kvr_memory *memory = page->memory;

	return memory && !memory->on_gpu && page->offset <= memory->bytes &&
	       page->bytes <= memory->bytes - page->offset &&
	       ((uintptr_t)memory->address + page->offset) % KVR_PAGE_ALIGN ==
		       0;
}

static void *address_of(const struct kvr_segment *page)
{
	return (char *)page->memory->address + page->offset;
}

static size_t range_bytes(const struct kvr_compute_ops *ops,
			  const struct kvr_compute_shape *shape,
			  uint64_t tokens)
{
	const struct kvr_range range = {.length = tokens};

	return ops->block_bytes(shape, (struct kvr_ranges){&range, 1});
}

/* -------------------------------------------------------------- append */

static bool are_rows(const struct kvr_compute_shape *shape,
		     const struct kvr_tensor *k, const struct kvr_tensor *v)
{
	return kvr_tensor_is(k, shape->dtype, k->tokens, shape->kv_heads,
			     shape->head_dim) &&
	       (shape->values_in_keys
			? !v
			: v && kvr_tensor_is(v, shape->dtype, k->tokens,
					     shape->kv_heads,
					     shape->value_dim));
}

enum kvr_status kvr_attention_page_append(const struct kvr_plan_desc *desc,
					  const struct kvr_segment *page,
					  uint64_t held,
					  const struct kvr_tensor *k,
					  const struct kvr_tensor *v)
{
	const struct kvr_compute_ops *ops;
	struct kvr_compute_shape shape;
	enum kvr_status status;
	uint64_t tokens;

	if (!page || !k)
		return KVR_ERR_INVALID;
	status = kvr_plan_find_kernel(desc, &shape, &ops);
	if (status != KVR_OK)
		return status;
	if (!is_page(page) || !are_rows(&shape, k, v))
		return KVR_ERR_INVALID;
	/* One scale is of all tokens of a page: it cannot grow. */
	if (shape.kv_wire != KVR_KV_PLAIN || !ops->paged)
		return KVR_ERR_UNSUPPORTED;
	if (kvr_context_forked(page->memory->context))
		return KVR_ERR_FORKED;
	if (__builtin_add_overflow(held, k->tokens, &tokens) ||
	    range_bytes(ops, &shape, tokens) > page->bytes)
		return KVR_ERR_LIMIT;
	ops->append(&shape, (size_t)held, k, v, address_of(page));
	return KVR_OK;
}

/* ----------------------------------------------------------------- run */

static enum kvr_status refuse(const struct kvr_plan *plan, size_t index,
			      const char *what)
{
	kvr_log(&plan->ring->context->log, KVR_LOG_ERROR,
		"attention: page %zu %s", index, what);
	return KVR_ERR_INVALID;
}

static bool follows(const struct kvr_segment *page,
		    const struct kvr_segment *last)
{
	return page->memory == last->memory &&
	       page->offset == last->offset + last->bytes;
}

/* Pages that follow each other are one segment. */
static void add_segment(struct kvr_plan *plan, const struct kvr_segment *page,
			size_t bytes)
{
	struct kvr_segment *next = plan->segments + plan->segment_count;

	if (plan->segment_count > 0 && follows(page, next - 1)) {
		next[-1].bytes += bytes;
		return;
	}
	*next = (struct kvr_segment){
		.memory = page->memory,
		.offset = page->offset,
		.bytes = bytes,
	};
	plan->segment_count++;
}

static enum kvr_status take_page(struct kvr_plan *plan, size_t index,
				 const struct kvr_range *range,
				 const struct kvr_segment *page)
{
	size_t bytes = range_bytes(plan->ops, &plan->shape, range->length);

	if (!bytes)
		return KVR_OK;
	if (!is_page(page))
		return refuse(plan, index,
			      "is outside its memory, or not at a multiple of "
			      "KVR_PAGE_ALIGN");
	if (page->memory->context != plan->ring->context)
		return refuse(plan, index,
			      "is registered with another context than the "
			      "ring's");
	if (bytes > page->bytes)
		return refuse(plan, index,
			      "is smaller than its range; see "
			      "kvr_attention_page_bytes");
	plan->page[index] = address_of(page);
	add_segment(plan, page, bytes);
	return KVR_OK;
}

static enum kvr_status take_pages(struct kvr_plan *plan,
				  const struct kvr_segment *pages, size_t count)
{
	const struct kvr_ranges kv = plan->kv[plan->ring->rank];
	enum kvr_status status = KVR_OK;

	if (count != kv.count)
		return refuse(plan, count, "is not of a range of the plan's");
	plan->segment_count = 0;
	for (size_t i = 0; i < count && status == KVR_OK; i++)
		status = take_page(plan, i, &kv.range[i], &pages[i]);
	return status;
}

enum kvr_status kvr_attention_run_pages(struct kvr_plan *plan,
					const struct kvr_tensor *q,
					const struct kvr_segment *pages,
					size_t count,
					const struct kvr_tensor *out,
					float *lse, size_t lse_head_stride)
{
	enum kvr_status status;

	if (!plan || !q || !out || (count > 0 && !pages))
		return KVR_ERR_INVALID;
	if (kvr_context_forked(plan->ring->context))
		return KVR_ERR_FORKED;
	if (!plan->page)
		return KVR_ERR_STATE;
	status = kvr_plan_check_run(plan, q, out, lse, lse_head_stride);
	if (status == KVR_OK)
		status = take_pages(plan, pages, count);
	if (status != KVR_OK)
		return status;
	return kvr_plan_run(plan, q, out, lse, lse_head_stride);
}
