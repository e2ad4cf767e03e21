/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvring level 2: attention on keys and values in pages.
 *
 * A cache of keys and values in pages, as servers keep it: each holds up to so
 * many neighbouring tokens of one sequence, packed once as the kernels and the
 * ring want them, and grows in place while tokens are decoded. Runs send pages
 * from where they are; queries may be fewer than keys: prefix hits, chunked
 * prefill, decoding.
 *
 *	kvr_attention_page_bytes	how large a page of 64 tokens is
 *	kvr_memory_register		a pool of such pages, the caller's
 *	kvr_attention_page_append	new tokens, a page at a time
 *	kvr_plan_create			paged = 1, each page a kv_range
 *	kvr_attention_run_pages		a layer's pages, in that order
 *
 * A page is a kvr_segment: its place, and the bytes that it may grow to. It
 * begins at a multiple of KVR_PAGE_ALIGN in the process's memory. What is in
 * it depends on kv_heads, head_dim, value_dim, values_in_keys, dtype and the
 * kernel's layout alone, which is the same for portable, avx2 and avx512: pages
 * outlive plans and rings, and serve any of the same shape, but belong to the
 * context that their memory is registered with. The bytes do not say of what
 * shape they are: a page of another one gives wrong results. How many tokens of
 * a page count, its range says: the first of them, or all. Those behind change
 * nothing, but up to 15 of them travel along and must be finite, as whatever a
 * mask hides.
 *
 * A multiple of 16 tokens a page is best: neighbouring pages whose positions
 * go on are then computed on like one long range, and give the same bits.
 */
#ifndef KVRING_PAGES_H
#define KVRING_PAGES_H

#include "kvring/attention.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVR_PAGE_ALIGN 64

/*
 * Bytes of a page of up to `tokens` tokens, a multiple of KVR_PAGE_ALIGN.
 * Ranges of desc are ignored. Errors: INVALID, UNSUPPORTED (no such kernel),
 * LIMIT (beyond all memory).
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_page_bytes(const struct kvr_plan_desc *desc, uint64_t tokens,
			 size_t *out);

/*
 * Puts rows of k and v behind the first `held` tokens of a page, which are
 * there already; what was behind these is lost: 0 begins anew, and fewer than
 * there are take tokens back. v is NULL where values are in keys. Local, in the
 * calling thread; several may append to different pages. Not while a run
 * borrows the page. Ranges of desc are ignored, the rest must be valid.
 * Errors: INVALID, UNSUPPORTED (no such kernel, or kv_wire is not plain), LIMIT
 * (the page is too small), FORKED; the page is then as it was.
 */
KVR_API KVR_MUST_CHECK enum kvr_status kvr_attention_page_append(
	const struct kvr_plan_desc *desc, const struct kvr_segment *page,
	uint64_t held, const struct kvr_tensor *k, const struct kvr_tensor *v);

/*
 * kvr_attention_run with this rank's keys in pages, one for each of its
 * kv_ranges; an empty range's is not looked at. One page may serve several
 * ranges, such as a prefix that sequences share: it is kept once, but sent, and
 * counted in slot_bytes, once for each. pages is read by the call
 * alone; what is in them is borrowed until it returns. The other ranks may
 * have pages or not. Pages that follow each other in memory, and are full,
 * count once against max_segments.
 * Errors: those of kvr_attention_run; INVALID (not as many pages as kv_ranges,
 * a page smaller than its range, outside its memory or not aligned), LIMIT
 * (max_segments), STATE (the plan is not paged; of a paged one,
 * kvr_attention_run and kvr_attention_pack say so).
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_run_pages(struct kvr_plan *plan, const struct kvr_tensor *q,
			const struct kvr_segment *pages, size_t count,
			const struct kvr_tensor *out, float *lse,
			size_t lse_head_stride);

#ifdef __cplusplus
}
#endif

#endif
