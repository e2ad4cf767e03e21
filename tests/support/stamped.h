/* SPDX-License-Identifier: Apache-2.0 */
/* Passes whose blocks say in every byte whose they are, and of which pass. */
#ifndef KVR_TESTS_STAMPED_H
#define KVR_TESTS_STAMPED_H

#include "tests/support/ranks.h"

#define BLOCK_MAX (64u << 10)

/* BLOCK_MAX registered bytes to send from. */
struct sender {
	uint8_t *buffer;
	struct kvr_memory *memory;
};

void sender_open(struct sender *sender, struct rank *rank);
void sender_close(struct sender *sender);

/* Begins a pass with the stamped local block, split into `pieces` <= 8. */
enum kvr_status stamped_try_begin(struct rank *rank,
				  const struct sender *sender, uint64_t tag,
				  size_t pieces, struct kvr_pass **out);
struct kvr_pass *stamped_begin(struct rank *rank, const struct sender *sender,
			       uint64_t tag, size_t pieces);

/* Ends the program when a byte of the block is not its owner's. */
void stamped_check(const struct kvr_block *block, uint64_t pass);

/* Takes and checks `steps` blocks, releasing each `lag` steps late. */
void stamped_take(struct rank *rank, struct kvr_pass *pass, uint64_t tag,
		  uint32_t steps, uint32_t lag);

#endif
