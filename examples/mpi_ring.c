/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring whose ranks find each other by an all-gather of the caller's, here
 * MPI's. Every rank adds up what all of them hold.
 *
 *	mpicc mpi_ring.c -lkvring -o mpi_ring && mpirun -n 4 ./mpi_ring
 */
#include <stdio.h>
#include <string.h>

#include <mpi.h>

#include <kvring/kvring.h>

static int allgather(void *arg, const void *local, size_t bytes, void *all)
{
	MPI_Comm *comm = arg;

	return MPI_Allgather(local, (int)bytes, MPI_BYTE, all, (int)bytes,
			     MPI_BYTE, *comm) != MPI_SUCCESS;
}

/* One pass: every rank's number comes by. */
static enum kvr_status add_up(struct kvr_ring *ring,
			      const struct kvr_segment *mine, long *sum)
{
	struct kvr_pass_desc desc;
	struct kvr_block block;
	struct kvr_pass *pass;
	enum kvr_status status;
	long theirs;

	kvr_pass_desc_init(&desc);
	desc.lane[0].segments = mine;
	desc.lane[0].segment_count = 1;
	kvr_block_init(&block);
	status = kvr_pass_begin(ring, &desc, &pass);
	while (status == KVR_OK &&
	       (status = kvr_pass_next(pass, 0, &block)) == KVR_OK) {
		memcpy(&theirs, block.data, sizeof(theirs));
		*sum += theirs;
		status = kvr_pass_release(pass, 0, block.step);
	}
	return status == KVR_ERR_END ? kvr_pass_end(pass) : status;
}

static enum kvr_status run(const struct kvr_bootstrap *who, long *sum)
{
	long number = 1 + (long)who->rank;
	struct kvr_segment mine = {.bytes = sizeof(number)};
	struct kvr_ring_options options;
	struct kvr_context *context = NULL;
	struct kvr_ring *ring = NULL;
	enum kvr_status status;

	kvr_ring_options_init(&options);
	options.lane[0].slot_bytes = sizeof(number);
	status = kvr_context_open(NULL, &context);
	if (status == KVR_OK)
		status = kvr_memory_register(context, &number, sizeof(number),
					     &mine.memory);
	if (status == KVR_OK)
		status = kvr_ring_open(context, who, &options, &ring);
	if (status == KVR_OK)
		status = add_up(ring, &mine, sum);
	kvr_ring_close(ring); /* nothing is sent from number any more */
	kvr_memory_deregister(mine.memory);
	kvr_context_close(context);
	return status;
}

int main(int argc, char **argv)
{
	MPI_Comm comm = MPI_COMM_WORLD;
	struct kvr_bootstrap who;
	enum kvr_status status;
	int rank, n;
	long sum = 0;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(comm, &rank);
	MPI_Comm_size(comm, &n);
	kvr_bootstrap_init(&who);
	who.rank = (uint32_t)rank;
	who.n = (uint32_t)n;
	who.allgather = allgather;
	who.arg = &comm;

	status = run(&who, &sum);
	if (status == KVR_OK)
		printf("rank %d of %d: the sum is %ld\n", rank, n, sum);
	else
		fprintf(stderr, "rank %d: %s\n", rank, kvr_status_text(status));
	if (status != KVR_OK)
		MPI_Abort(comm, 1);
	MPI_Finalize();
	return 0;
}
