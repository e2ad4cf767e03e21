/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory of another process: its memfd, found under /proc and mapped
 * where our own device memory is, so that the same rights hold. Events are not
 * shared.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/emulated_cuda/internal.h"

struct handle {
	pid_t pid;
	int fd;
	size_t offset, size; /* of the whole allocation */
};

_Static_assert(sizeof(struct handle) <= sizeof(cudaIpcMemHandle_t),
	       "does not fit");

EMU_EXPORT cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *out, void *at)
{
	struct handle handle = {.pid = getpid()};
	struct emu_area area;

	EMU_CALL();
	if (!out || !emu_area_find(at, &area) || area.kind != EMU_DEVICE)
		return emu_error(cudaErrorInvalidValue);
	handle.size = area.size;
	handle.fd = emu_area_file(&area, &handle.offset);
	memset(out, 0, sizeof(*out));
	memcpy(out, &handle, sizeof(handle));
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaIpcOpenMemHandle(void **out,
					    cudaIpcMemHandle_t given,
					    unsigned flags)
{
	struct handle handle;
	cudaError_t error;
	char path[64];
	int fd;

	EMU_CALL();
	memcpy(&handle, &given, sizeof(handle));
	if (flags != cudaIpcMemLazyEnablePeerAccess)
		return emu_error(cudaErrorInvalidValue);
	if (handle.pid == getpid()) /* as the driver has it */
		return emu_error(cudaErrorDeviceUninitialized);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)handle.pid,
		 handle.fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return emu_error(cudaErrorMapBufferObjectFailed);
	error = emu_area_import(out, fd, handle.offset, handle.size);
	close(fd);
	return emu_error(error);
}

EMU_EXPORT cudaError_t cudaIpcCloseMemHandle(void *at)
{
	EMU_CALL();
	emu_device_wait();
	return emu_error(emu_area_return(at));
}
