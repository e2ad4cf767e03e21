/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory that cannot outlive its users, nor shrink under them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "rdma/shm/endpoint.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

void shm_layout_init(const struct kvr_endpoint_config *config,
		     enum kvr_role role, struct kvr_landing *out)
{
	struct kvr_endpoint_config own = *config;

	/* Nothing lands at the sender. */
	if (role == KVR_ROLE_OUT)
		own.lanes = 0;
	kvr_landing_init(&own, sizeof(struct shm_ring), out);
}

static enum kvr_status map(const struct kvr_log *log, int fd, size_t bytes,
			   struct shm_region *out)
{
	/* Populated: the hot path takes no page faults. */
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_POPULATE, fd, 0);

	if (base == MAP_FAILED)
		return shm_errno(log, "mmap landing slots");
	*out = (struct shm_region){.base = base, .bytes = bytes, .fd = -1};
	return KVR_OK;
}

static enum kvr_status allocate(const struct kvr_log *log, int fd, size_t bytes)
{
	int error;

	do {
		error = posix_fallocate(fd, 0, (off_t)bytes);
	} while (error == EINTR);
	if (error) {
		errno = error;
		return shm_errno(log, "posix_fallocate landing slots");
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS))
		return shm_errno(log, "seal landing slots");
	return KVR_OK;
}

enum kvr_status shm_region_create(const struct kvr_log *log, size_t bytes,
				  struct shm_region *out)
{
	int fd = memfd_create("kvring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct shm_region region;
	enum kvr_status status;

	if (fd < 0)
		return shm_errno(log, "memfd_create");
	status = allocate(log, fd, bytes);
	if (status == KVR_OK)
		status = map(log, fd, bytes, &region);
	if (status != KVR_OK) {
		close(fd);
		return status;
	}
	region.fd = fd;
	*out = region;
	return KVR_OK;
}

enum kvr_status shm_region_adopt(const struct kvr_log *log, int fd,
				 size_t bytes, struct shm_region *out)
{
	const int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;
	struct stat file;

	/* Not hugetlbfs: there a hole that cannot be filled is a SIGBUS. */
	if (seals < 0 || (seals & SEALS) != SEALS || fstatfs(fd, &fs) ||
	    fs.f_type != TMPFS_MAGIC || fstat(fd, &file) || file.st_size < 0 ||
	    (uint64_t)file.st_size != bytes) {
		kvr_log(log, KVR_LOG_ERROR,
			"shm: the peer's memory is not a sealed memfd of %zu "
			"bytes",
			bytes);
		return KVR_ERR_PROTOCOL;
	}
	return map(log, fd, bytes, out);
}

void shm_region_close_fd(struct shm_region *region)
{
	if (region->fd >= 0)
		close(region->fd);
	region->fd = -1;
}

void shm_region_release(struct shm_region *region)
{
	shm_region_close_fd(region);
	if (region->base)
		munmap(region->base, region->bytes);
	region->base = NULL;
}
