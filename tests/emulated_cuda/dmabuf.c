/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dma-buf descriptors: a pipe's end each, of which this process remembers what
 * it stands for as long as it is open.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/emulated_cuda/internal.h"

#define DMABUFS_MAX 256
#define PAGE 4096

static struct dmabuf {
	ino_t inode; /* 0: unused */
	void *base;
	size_t size;
} dmabufs[DMABUFS_MAX];
static size_t next_slot;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ino_t inode_of(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

cudaError_t emu_dmabuf_open(void *at, size_t size, int *fd)
{
	struct emu_area area;
	int ends[2];

	if (!size || (uintptr_t)at % PAGE || size % PAGE ||
	    !emu_area_find(at, &area) || area.kind != EMU_DEVICE)
		return cudaErrorInvalidValue;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return cudaErrorOperatingSystem;
	close(ends[1]);
	pthread_mutex_lock(&lock);
	dmabufs[next_slot++ % DMABUFS_MAX] =
		(struct dmabuf){inode_of(ends[0]), at, size};
	pthread_mutex_unlock(&lock);
	*fd = ends[0];
	return cudaSuccess;
}

EMU_EXPORT bool kvr_emulated_dmabuf(int fd, void **base, size_t *size)
{
	ino_t inode = inode_of(fd);
	bool found = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; inode && i < DMABUFS_MAX && !found; i++) {
		found = dmabufs[i].inode == inode;
		if (found) {
			*base = dmabufs[i].base;
			*size = dmabufs[i].size;
		}
	}
	pthread_mutex_unlock(&lock);
	return found;
}
