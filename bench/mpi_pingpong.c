/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Half a round trip between two ranks of MPI, beside `kvring bench lat`:
 *	send	MPI_Send and MPI_Recv
 *	put	MPI_Put into a window, and the flush that completes it; the
 *		receiver is told nothing and watches the last byte in memory
 *
 *	mpirun -n 2 mpi_pingpong send|put BYTES ITERATIONS
 *
 * Prints the median and the least in microseconds, after a tenth as many
 * round trips that do not count.
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES_MAX (1 << 30)

struct pingpong {
	int rank, bytes;
	char *source, *target; /* target: the window */
	MPI_Win window;
	uint8_t turn; /* never 0, which the window begins with */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ------------------------------------------------------------- messages */

static void send_one(struct pingpong *p)
{
	MPI_Send(p->source, p->bytes, MPI_BYTE, !p->rank, 0, MPI_COMM_WORLD);
}

static void get_one(struct pingpong *p)
{
	MPI_Recv(p->target, p->bytes, MPI_BYTE, !p->rank, 0, MPI_COMM_WORLD,
		 MPI_STATUS_IGNORE);
}

static void put_one(struct pingpong *p)
{
	p->source[p->bytes - 1] = (char)p->turn;
	MPI_Put(p->source, p->bytes, MPI_BYTE, !p->rank, 0, p->bytes, MPI_BYTE,
		p->window);
	MPI_Win_flush(!p->rank, p->window);
}

static void watch_one(struct pingpong *p)
{
	const volatile char *last = &p->target[p->bytes - 1];

	while (*last != (char)p->turn)
		MPI_Win_sync(p->window);
}

struct way {
	const char *name;
	void (*send)(struct pingpong *p);
	void (*get)(struct pingpong *p);
};

static const struct way ways[] = {
	{"send", send_one, get_one},
	{"put", put_one, watch_one},
};

/* ---------------------------------------------------------------- rounds */

static void round_trip(struct pingpong *p, const struct way *way)
{
	p->turn = (uint8_t)(p->turn % 255 + 1);
	if (p->rank == 0)
		way->send(p);
	way->get(p);
	if (p->rank == 1)
		way->send(p);
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int measure(struct pingpong *p, const struct way *way, long count)
{
	uint64_t *ns = calloc((size_t)count, sizeof(*ns)), begin_ns, end_ns;

	if (!ns)
		return 1;
	for (long i = 0; i < count / 10; i++)
		round_trip(p, way);
	MPI_Barrier(MPI_COMM_WORLD);
	begin_ns = now_ns();
	for (long i = 0; i < count; i++) {
		round_trip(p, way);
		end_ns = now_ns();
		ns[i] = end_ns - begin_ns;
		begin_ns = end_ns;
	}
	qsort(ns, (size_t)count, sizeof(*ns), compare);
	if (p->rank == 0)
		printf("%d,%ld,%.3f,%.3f\n", p->bytes, count,
		       (double)ns[count / 2] * 0.5e-3, (double)ns[0] * 0.5e-3);
	free(ns);
	return 0;
}

static const struct way *find_way(const char *name)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		if (strcmp(ways[i].name, name) == 0)
			return &ways[i];
	return NULL;
}

static int run(const struct way *way, int bytes, long count)
{
	struct pingpong p = {.bytes = bytes};
	int size, status;

	MPI_Comm_rank(MPI_COMM_WORLD, &p.rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	p.source = calloc(1, (size_t)bytes);
	if (size != 2 || !p.source) {
		fprintf(stderr, "mpi_pingpong: %s\n",
			size == 2 ? "out of memory" : "start two ranks");
		free(p.source);
		return 1;
	}
	MPI_Win_allocate(bytes, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &p.target,
			 &p.window);
	memset(p.target, 0, (size_t)bytes);
	MPI_Win_lock_all(MPI_MODE_NOCHECK, p.window);
	MPI_Barrier(MPI_COMM_WORLD);
	status = measure(&p, way, count);
	MPI_Win_unlock_all(p.window);
	MPI_Win_free(&p.window);
	free(p.source);
	return status;
}

int main(int argc, char **argv)
{
	const struct way *way = argc == 4 ? find_way(argv[1]) : NULL;
	long bytes = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
	long count = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
	int status = 2;

	if (!way || bytes < 1 || bytes > BYTES_MAX || count < 10) {
		fprintf(stderr, "usage: mpirun -n 2 mpi_pingpong send|put "
				"BYTES ITERATIONS\n");
		return status;
	}
	MPI_Init(&argc, &argv);
	status = run(way, (int)bytes, count);
	MPI_Finalize();
	return status;
}
