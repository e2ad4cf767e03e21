/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of immediates in shared memory: one producer, one consumer, each
 * with its own copy of its index. What the other side wrote is believed only
 * within bounds.
 *
 * Sleeping is Dekker's pattern: each side stores its own word, then loads the
 * other's, all four sequentially consistent, so that one of them sees the
 * other. The pairs are
 *	consumer: armed = 1, load head		producer: head, load armed
 *	producer: starved = 1, load tail	consumer: tail, load starved
 */
#ifndef KVR_RDMA_SHM_RING_H
#define KVR_RDMA_SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SHM_RING_ENTRIES 1024u

/*
 * What a producer fills. The rest is for its farewell: all that it still has
 * queued when it closes finds room, whether the consumer reads or not.
 */
#define SHM_RING_ROOM (SHM_RING_ENTRIES - 128u)

struct shm_ring {
	_Alignas(64) _Atomic uint32_t head;    /* the producer's */
	_Alignas(64) _Atomic uint32_t tail;    /* the consumer's */
	_Alignas(64) _Atomic uint32_t armed;   /* the consumer sleeps */
	_Alignas(64) _Atomic uint32_t starved; /* the producer waits for room */
	_Alignas(64) _Atomic uint32_t entries[SHM_RING_ENTRIES];
};

_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "atomics work between processes");

struct shm_producer {
	struct shm_ring *ring;
	uint32_t head;
};

struct shm_consumer {
	struct shm_ring *ring;
	uint32_t tail;
};

/* What is in the ring; more than SHM_RING_ENTRIES: the peer lies. */
static inline uint32_t shm_producer_used(const struct shm_producer *producer)
{
	/* Pairs with the store in shm_consumer_advance: entries are read. */
	return producer->head - atomic_load(&producer->ring->tail);
}

static inline uint32_t shm_consumer_used(const struct shm_consumer *consumer)
{
	/* Pairs with the store in shm_producer_push: bytes are in place. */
	return atomic_load(&consumer->ring->head) - consumer->tail;
}

/* There must be room. Returns whether the consumer wants to be woken. */
static inline bool shm_producer_push(struct shm_producer *producer,
				     uint32_t imm)
{
	struct shm_ring *ring = producer->ring;

	/* Ordered by the store of head. */
	atomic_store_explicit(&ring->entries[producer->head % SHM_RING_ENTRIES],
			      imm, memory_order_relaxed);
	/* Pairs with the load in shm_consumer_used. */
	atomic_store(&ring->head, ++producer->head);
	/* Pairs with shm_consumer_arm. */
	return atomic_load(&ring->armed) && atomic_exchange(&ring->armed, 0);
}

static inline uint32_t shm_consumer_peek(const struct shm_consumer *consumer,
					 uint32_t ahead)
{
	/* Ordered by the load in shm_consumer_used. */
	return atomic_load_explicit(
		&consumer->ring
			 ->entries[(consumer->tail + ahead) % SHM_RING_ENTRIES],
		memory_order_relaxed);
}

/* Returns whether the producer wants to be woken. */
static inline bool shm_consumer_advance(struct shm_consumer *consumer,
					uint32_t count)
{
	struct shm_ring *ring = consumer->ring;

	/* Pairs with the load in shm_producer_used. */
	atomic_store(&ring->tail, consumer->tail += count);
	/* Pairs with shm_producer_starve. */
	return atomic_load(&ring->starved) &&
	       atomic_exchange(&ring->starved, 0);
}

/* True when the ring stayed empty: the next push rings. */
static inline bool shm_consumer_arm(struct shm_consumer *consumer)
{
	/* Pairs with the load of armed in shm_producer_push. */
	atomic_store(&consumer->ring->armed, 1);
	if (shm_consumer_used(consumer) == 0)
		return true;
	atomic_store(&consumer->ring->armed, 0);
	return false;
}

/* True when no room came free: the next advance rings. */
static inline bool shm_producer_starve(struct shm_producer *producer)
{
	/* Pairs with the load of starved in shm_consumer_advance. */
	atomic_store(&producer->ring->starved, 1);
	if (shm_producer_used(producer) >= SHM_RING_ROOM)
		return true;
	atomic_store(&producer->ring->starved, 0);
	return false;
}

#endif
