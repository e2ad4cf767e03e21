/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is sent. Everything that must wake the peer is a write with immediate:
 * a plain write raises no completion there. A chunk travels whole on one
 * queue pair; descriptors and signals on queue pair 0, so that they keep
 * their order.
 *
 * Where the fabric routes adaptively, devices let only plain writes take all
 * paths: a chunk is then plain writes and a write with immediate without
 * bytes after them, on the same queue pair. The receiver sees no difference.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "rdma/verbs/endpoint.h"

/* Places that writes leave to descriptors, and both to signals. */
#define RESERVE_SIGNALS 32u
#define RESERVE_DESCRIBES 32u

/* Completions cost the sender time; at most so many go without. */
#define SILENT_MAX 32u

/* More pieces in one chunk than this many requests carry are refused. */
#define REQUESTS_MAX 384u

/* Requests that may be posted; a write keeps its op until it is reported. */
static uint32_t room(const struct verbs_qp *q, uint32_t reserve)
{
	uint32_t used = q->posted - q->done;

	if (used < q->op_count)
		used = q->op_count;
	used += reserve;
	return used < q->depth ? q->depth - used : 0;
}

static enum kvr_status post(struct verbs_endpoint *e, struct verbs_qp *q,
			    struct ibv_send_wr *wr, bool report)
{
	struct ibv_send_wr *bad;

	q->silent++;
	if (report || q->silent >= SILENT_MAX) {
		wr->send_flags |= IBV_SEND_SIGNALED;
		q->silent = 0;
	}
	wr->wr_id =
		verbs_wr_id(VERBS_WR_SEND, e->attempt, q->index, q->posted + 1);
	errno = ibv_post_send(q->qp, wr, &bad);
	if (errno) {
		verbs_complain(e, q, "post", strerror(errno));
		e->broken = true; /* the next poll says so */
		return KVR_ERR_AGAIN;
	}
	q->posted++;
	return KVR_OK;
}

static void remember(struct verbs_qp *q, uint64_t cookie)
{
	struct verbs_op *op = &q->ops[(q->op_first + q->op_count) % q->depth];

	*op = (struct verbs_op){.cookie = cookie, .end = q->posted};
	q->op_count++;
}

static bool can_send(const struct verbs_endpoint *e)
{
	return e->connected && !e->broken && !e->gone;
}

/* --------------------------------------------------------------- write */

static struct verbs_qp *queue_of(struct verbs_endpoint *e, uint32_t imm)
{
	struct kvr_imm decoded = kvr_imm_decode(imm);

	if (decoded.type != KVR_IMM_CHUNK)
		return &e->qp[0];
	return &e->qp[decoded.chunk % e->qps];
}

/*
 * Does no later chunk of the block go over this queue pair? Those of one
 * queue pair are posted in order, for they land in order.
 */
static bool is_last(const struct verbs_endpoint *e,
		    const struct kvr_write *write)
{
	return kvr_imm_decode(write->imm).chunk + e->qps >= write->chunks;
}

/* As much of *part bytes as one registration has. */
static struct ibv_sge element(const struct verbs_qp *q,
			      const struct kvr_piece *piece, size_t offset,
			      size_t *part)
{
	const uint64_t address = (uintptr_t)piece->address + offset;
	const struct ibv_mr *mr;
	size_t left;

	mr = verbs_memory_at(piece->key, q->rail, address, &left);
	if (*part > left)
		*part = left;
	return (struct ibv_sge){
		.addr = address,
		.length = (uint32_t)*part,
		.lkey = mr->lkey,
	};
}

/* The next pieces of the chunk, at most sge_max; returns their bytes. */
static size_t collect(const struct verbs_qp *q, struct kvr_gather *gather,
		      size_t left, struct ibv_sge *sge, int *count)
{
	size_t total = 0;

	*count = 0;
	while (left > 0 && (uint32_t)*count < q->sge_max) {
		const struct kvr_piece *piece = gather->piece;
		size_t part = piece->bytes - gather->offset;

		if (part > left)
			part = left;
		if (part > 0)
			sge[(*count)++] =
				element(q, piece, gather->offset, &part);
		left -= part;
		total += part;
		gather->offset += part;
		if (gather->offset == piece->bytes) {
			gather->piece++;
			gather->offset = 0;
		}
	}
	return total;
}

/* Registrations that [offset, offset + bytes) of a piece lies in. */
static uint32_t spanned(const struct kvr_piece *piece, size_t offset,
			size_t bytes)
{
	const struct verbs_memory *memory = piece->key;
	const size_t first =
		(uintptr_t)piece->address + offset - memory->address;

	return (uint32_t)((first + bytes - 1) / memory->part_bytes -
			  first / memory->part_bytes + 1);
}

/* How many requests the chunk needs; 0: a piece is not registered. */
static uint32_t requests(const struct verbs_qp *q, struct kvr_gather gather,
			 size_t left)
{
	uint32_t pieces = 0;

	while (left > 0) {
		size_t part = gather.piece->bytes - gather.offset;

		if (part > left)
			part = left;
		if (part > 0 && !gather.piece->key)
			return 0;
		if (part > 0)
			pieces += spanned(gather.piece, gather.offset, part);
		left -= part;
		gather.piece++;
		gather.offset = 0;
	}
	return (pieces + q->sge_max - 1) / q->sge_max;
}

/* The immediate of a chunk whose bytes went before it. */
static enum kvr_status post_arrival(struct verbs_endpoint *e,
				    struct verbs_qp *q,
				    const struct kvr_write *write)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.imm_data = htonl(write->imm),
	};

	return post(e, q, &wr, is_last(e, write));
}

static enum kvr_status post_chunk(struct verbs_endpoint *e, struct verbs_qp *q,
				  const struct kvr_write *write,
				  struct kvr_gather *gather)
{
	const bool apart = e->transport->adaptive_routing;
	struct ibv_sge sge[32];
	uint64_t target = e->grant.slots_address +
			  verbs_slot_offset(e, write->lane, write->slot) +
			  write->offset;
	enum kvr_status status = KVR_OK;
	size_t left = write->bytes;

	while (left > 0 && status == KVR_OK) {
		struct ibv_send_wr wr = {
			.sg_list = sge,
			.opcode = IBV_WR_RDMA_WRITE,
			.wr.rdma.remote_addr = target,
			.wr.rdma.rkey = e->grant.slots_key[q->rail],
		};
		size_t part = collect(q, gather, left, sge, &wr.num_sge);
		bool last = part == left && !apart;

		left -= part;
		target += part;
		if (last) {
			wr.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
			wr.imm_data = htonl(write->imm);
		}
		status = post(e, q, &wr, last && is_last(e, write));
	}
	if (apart && status == KVR_OK)
		status = post_arrival(e, q, write);
	return status;
}

uint32_t verbs_pieces_max(struct kvr_endpoint *base)
{
	const struct verbs_endpoint *e = verbs_endpoint(base);
	uint32_t least = UINT32_MAX;

	for (uint32_t i = 0; i < e->qps; i++)
		if (e->qp[i].sge_max < least)
			least = e->qp[i].sge_max;
	return REQUESTS_MAX * least;
}

enum kvr_status verbs_write(struct kvr_endpoint *base,
			    const struct kvr_write *write)
{
	struct verbs_endpoint *e = verbs_endpoint(base);
	struct verbs_qp *q = queue_of(e, write->imm);
	struct kvr_gather gather;
	enum kvr_status status = kvr_gather_begin(&e->config, write, &gather);
	uint32_t count;

	if (status != KVR_OK)
		return status;
	if (!can_send(e))
		return KVR_ERR_AGAIN;
	count = requests(q, gather, write->bytes);
	if (count == 0 || count > REQUESTS_MAX)
		return KVR_ERR_INVALID;
	count += e->transport->adaptive_routing;
	if (room(q, RESERVE_SIGNALS + RESERVE_DESCRIBES) < count)
		return KVR_ERR_AGAIN;
	status = post_chunk(e, q, write, &gather);
	if (status == KVR_OK)
		remember(q, write->cookie);
	return status;
}

/* ------------------------------------------------------ describe, signal */

/* Is the place free to be written: was its last descriptor sent? */
static bool place_free(const struct verbs_endpoint *e, uint32_t place)
{
	return !e->describe_used[place] ||
	       (int32_t)(e->qp[0].done - e->describe_end[place]) >= 0;
}

enum kvr_status verbs_describe(struct kvr_endpoint *base,
			       const struct kvr_describe *describe)
{
	struct verbs_endpoint *e = verbs_endpoint(base);
	struct verbs_qp *q = &e->qp[0];
	const uint32_t place =
		describe->lane * e->config.slots + describe->slot;
	const size_t bytes = sizeof(struct kvr_descriptor) +
			     describe->descriptor->metadata_bytes;
	enum kvr_status status = kvr_describe_check(&e->config, describe);
	struct kvr_described *copy;

	if (status != KVR_OK)
		return status;
	if (!can_send(e) || room(q, RESERVE_SIGNALS) == 0 ||
	    !place_free(e, place))
		return KVR_ERR_AGAIN;
	copy = (struct kvr_described *)(void *)e->memory + place;
	copy->descriptor = *describe->descriptor;
	if (copy->descriptor.metadata_bytes > 0)
		memcpy(copy->metadata, describe->metadata,
		       copy->descriptor.metadata_bytes);
	struct ibv_sge sge = {
		.addr = (uintptr_t)copy,
		.length = (uint32_t)bytes,
		.lkey = e->mr_described[0]->lkey,
	};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.send_flags = bytes <= q->inline_max ? IBV_SEND_INLINE : 0,
		.imm_data = htonl(describe->imm),
		.wr.rdma.remote_addr =
			e->grant.address + sizeof(struct kvr_described) * place,
		.wr.rdma.rkey = e->grant.described_key[0],
	};
	status = post(e, q, &wr, true);
	if (status != KVR_OK)
		return status;
	e->describe_used[place] = true;
	e->describe_end[place] = q->posted;
	return KVR_OK;
}

static enum kvr_status post_imm(struct verbs_endpoint *e, uint32_t imm)
{
	struct verbs_qp *q = &e->qp[0];
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.imm_data = htonl(imm),
	};
	const enum kvr_imm_type type = kvr_imm_decode(imm).type;
	/* The last words: whoever closes waits for them. */

	return post(e, q, &wr, type >= KVR_IMM_BYE);
}

enum kvr_status verbs_signal(struct kvr_endpoint *base, uint32_t imm)
{
	struct verbs_endpoint *e = verbs_endpoint(base);

	if (!can_send(e) || room(&e->qp[0], 1) == 0)
		return KVR_ERR_AGAIN;
	return post_imm(e, imm);
}

void verbs_post_last(struct verbs_endpoint *e)
{
	if (can_send(e) && room(&e->qp[0], 0) > 0)
		(void)!post_imm(e, kvr_imm_value(KVR_IMM_TRANSPORT, 0, 0));
}

void verbs_post_fence(struct verbs_endpoint *e, struct verbs_qp *q)
{
	/* Without bytes and immediate: the peer's program sees nothing. */
	struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_WRITE};

	if (q->silent > 0 && q->posted - q->done < q->depth)
		(void)!post(e, q, &wr, true);
}

enum kvr_status verbs_post_message(struct verbs_endpoint *e, uint32_t index)
{
	struct verbs_qp *q = &e->qp[0];
	struct ibv_sge sge = {
		.addr = (uintptr_t)&e->talk.message[index],
		.length = sizeof(e->talk.message[index]),
		.lkey = e->mr_talk->lkey,
	};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_SEND,
	};

	return post(e, q, &wr, true) == KVR_OK ? KVR_OK : KVR_ERR_PEER_LOST;
}
