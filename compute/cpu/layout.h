/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block of the CPU kernels, layout id 2. Nothing but panels, one after
 * the other, each with the keys and values of 16 neighbouring tokens of a
 * range, as the micro-kernels stream them; the elements keep the input type.
 *
 *	block   | range 0                   | range 1                   | ...
 *	range   | tokens 0 .. 15 | tokens 16 .. 31 | ... | to 64 B |
 *	tokens  | panel of kv head 0 | panel of kv head 1 | ...
 *	panel   | K, transposed        | V, in groups of 16 columns      |
 *
 *	K	        token 0  1  2 ... 15
 *	  dim 0	              x  x  x ...  x	16 elements
 *	  dim 1	              x  x  x ...  x
 *	  ...
 *	  dim head_dim - 1    x  x  x ...  x
 *
 *	V	       column 0  1  2 ... 15	group 0
 *	  token 0             x  x  x ...  x	16 elements
 *	  ...
 *	  token 15            x  x  x ...  x
 *		      column 16 17 18 ... 31	group 1
 *	  token 0             x  x  x ...  x
 *	  ...
 *
 * Tokens past the end of a range and columns past value_dim are 0. A range
 * always begins a panel, so that a rectangle of the mask does, too; and the
 * block of several ranges is theirs, one after the other: pages of a cache,
 * packed one by one, are gathered as they are. What a range has first does not
 * depend on how long it is: a page grows, and is cut short, in place.
 *
 * Where the values are columns of the keys, a panel is K alone. The kernels
 * want V all the same: they get it turned out of K, when a panel is widened.
 */
#ifndef KVR_COMPUTE_LAYOUT_H
#define KVR_COMPUTE_LAYOUT_H

#include "runtime/compute.h"

#define KVR_CPU_LAYOUT_ID 2
#define KVR_CPU_PANEL 16 /* tokens of a panel, columns of a group */

/*
 * With KVR_KV_E4M3 the elements are codes of one byte, and the scales of a
 * range stand behind its panels, before the 64 B: f32 of K and of V, head by
 * head.
 */

/* Both round up. */
size_t kvr_cpu_panels(uint64_t tokens);
size_t kvr_cpu_groups(uint32_t value_dim);

/* Elements of one panel, as the kernels want it. */
size_t kvr_cpu_tile_panel_elements(const struct kvr_compute_shape *shape);

/* Of one in a block; panels of one kv head. */
size_t kvr_cpu_panel_elements(const struct kvr_compute_shape *shape);
size_t kvr_cpu_head_panels(struct kvr_ranges kv);

/* Of a block. */
size_t kvr_cpu_element_bytes(const struct kvr_compute_shape *shape);

/* The scales of a range of so many tokens, 0 unless it has any. */
size_t kvr_cpu_scales_bytes(const struct kvr_compute_shape *shape,
			    uint64_t tokens);

/* KVR_BLOCK_BYTES_MOST where they exceed the address space. */
size_t kvr_cpu_range_bytes(const struct kvr_compute_shape *shape,
			   uint64_t tokens);

/* See kvr_compute_ops; likewise. */
size_t kvr_cpu_block_bytes(const struct kvr_compute_shape *shape,
			   struct kvr_ranges kv);

/*
 * Puts rows of k and v behind the first `held` tokens of a range; see
 * kvr_compute_ops.
 */
void kvr_cpu_append(const struct kvr_compute_shape *shape, size_t held,
		    const struct kvr_tensor *k, const struct kvr_tensor *v,
		    void *page);

/*
 * One panel of kv_head: the `count` <= 16 rows of k and v from `token`; v may
 * be NULL if the shape's values are in its keys.
 */
void kvr_cpu_pack_panel(const struct kvr_compute_shape *shape,
			const struct kvr_tensor *k, const struct kvr_tensor *v,
			size_t kv_head, size_t token, size_t count,
			void *panel);

/* ------------------------------------------------------ KVR_KV_E4M3 alone */

struct kvr_cpu_scales {
	float k, v;
};

/* Of the `tokens` rows of k and v from `token`; v may be NULL, as above. */
struct kvr_cpu_scales kvr_cpu_find_scales(const struct kvr_tensor *k,
					  const struct kvr_tensor *v,
					  size_t kv_head, size_t token,
					  size_t tokens);

/* As kvr_cpu_pack_panel. */
void kvr_cpu_quantise_panel(const struct kvr_compute_shape *shape,
			    const struct kvr_tensor *k,
			    const struct kvr_tensor *v, size_t kv_head,
			    size_t token, size_t count,
			    struct kvr_cpu_scales scales, void *panel);

/* In a range's part of a block: those of a head. */
struct kvr_cpu_scales kvr_cpu_get_scales(const struct kvr_compute_shape *shape,
					 uint64_t tokens, size_t kv_head,
					 const char *range);
void kvr_cpu_set_scales(const struct kvr_compute_shape *shape, uint64_t tokens,
			size_t kv_head, struct kvr_cpu_scales scales,
			char *range);

#endif
