/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rdma/fake_verbs.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct fake_machine fake;

static char log_text[8192];
static struct kvr_log sink;
static pthread_t own_thread;

/* ------------------------------------------------------------------ log */

static void keep_line(void *arg, enum kvr_log_level level, const char *line)
{
	size_t used = strlen(log_text);

	(void)arg;
	snprintf(log_text + used, sizeof(log_text) - used, "%d %s\n",
		 (int)level, line);
}

const char *fake_log(void)
{
	return log_text;
}

unsigned fake_open_files(void)
{
	DIR *all = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(all))
		count++;
	closedir(all);
	return count;
}

/* True: this call is the one that fails. */
static bool fails(enum fake_call call)
{
	fake.calls[call]++;
	if (fake.fail != call || fake.calls[call] != fake.nth)
		return false;
	errno = fake.fail_errno;
	return true;
}

static void bad(const char *what)
{
	fprintf(stderr, "against the rules: %s\n", what);
	fake.bad++;
}

/* -------------------------------------------------------- device memory */

#define REGIONS 32

static struct region {
	uint8_t *address;
	size_t bytes;
} regions[REGIONS];

static struct region *region_of(const void *address)
{
	for (size_t i = 0; i < REGIONS; i++) {
		const struct region *r = &regions[i];

		if (r->address && (const uint8_t *)address >= r->address &&
		    (const uint8_t *)address < r->address + r->bytes)
			return &regions[i];
	}
	return NULL;
}

void *fake_device_memory(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	for (size_t i = 0; i < REGIONS; i++) {
		if (regions[i].address)
			continue;
		regions[i] = (struct region){memory, bytes};
		fake.allocations++;
		return memory;
	}
	abort();
}

void fake_device_free(void *address, size_t bytes)
{
	struct region *r = region_of(address);

	if (!r || r->address != address || r->bytes != bytes) {
		bad("frees what is not allocated");
		return;
	}
	munmap(address, bytes);
	r->address = NULL;
	fake.allocations--;
}

/* Copies where either side may be the GPU's. */
static void copy_bytes(void *to, const void *from, size_t bytes)
{
	struct region *both[] = {region_of(to), region_of(from)};

	for (int i = 0; i < 2; i++)
		if (both[i])
			mprotect(both[i]->address, both[i]->bytes,
				 PROT_READ | PROT_WRITE);
	if (fake.other)
		fake.other->open();
	memcpy(to, from, bytes);
	if (fake.other)
		fake.other->close();
	for (int i = 0; i < 2; i++)
		if (both[i])
			mprotect(both[i]->address, both[i]->bytes, PROT_NONE);
}

/* -------------------------------------------------------------- the GPU */

static enum kvr_status refuse(enum kvr_status status, const char *what,
			      char *reason, size_t bytes)
{
	snprintf(reason, bytes, "%s", what);
	return status;
}

static enum kvr_status export_dmabuf(const void *address, size_t bytes,
				     bool pcie, int *fd, char *reason,
				     size_t reason_bytes)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	fake.exports++;
	fake.pcie_exports += pcie;
	if ((uintptr_t)address % page || bytes % page)
		bad("exports parts of pages");
	if (!region_of(address))
		bad("exports what is not the GPU's");
	if (fails(FAKE_EXPORT) || (pcie && !fake.pcie_flag))
		return refuse(KVR_ERR_UNSUPPORTED, "no export", reason,
			      reason_bytes);
	*fd = memfd_create("dmabuf", MFD_CLOEXEC);
	/* So that who maps it can be checked. */
	if (pwrite(*fd, &address, sizeof(address), 0) != sizeof(address) ||
	    pwrite(*fd, &bytes, sizeof(bytes), 8) != sizeof(bytes))
		abort();
	return KVR_OK;
}

static enum kvr_status order_copies(const void *address, char *reason,
				    size_t reason_bytes)
{
	if (!region_of(address))
		bad("orders copies of what is not the GPU's");
	if (fails(FAKE_ORDER))
		return refuse(KVR_ERR_UNSUPPORTED, "not for pools", reason,
			      reason_bytes);
	return KVR_OK;
}

static enum kvr_status allocate(uint32_t device, size_t bytes, void **out,
				char *reason, size_t reason_bytes)
{
	(void)device;
	if (fails(FAKE_ALLOCATE))
		return refuse(KVR_ERR_NO_MEMORY, "GPU full", reason,
			      reason_bytes);
	/* As cudaMalloc: not at the start of a page. */
	*out = (uint8_t *)fake_device_memory(bytes + 512) + 512;
	return KVR_OK;
}

static void release(uint32_t device, void *address)
{
	struct region *r = region_of(address);

	(void)device;
	fake_device_free(r ? r->address : address, r ? r->bytes : 0);
}

static enum kvr_status copy(uint32_t device, void *to, const void *from,
			    size_t bytes, char *reason, size_t reason_bytes)
{
	(void)device;
	if (fails(FAKE_COPY))
		return refuse(KVR_ERR_DEVICE, "copy failed", reason,
			      reason_bytes);
	copy_bytes(to, from, bytes);
	return KVR_OK;
}

static enum kvr_status flush(uint32_t device, char *reason, size_t reason_bytes)
{
	(void)device;
	fake.flushes++;
	fake.flushed_here |= pthread_equal(pthread_self(), own_thread) != 0;
	if (fails(FAKE_FLUSH))
		return refuse(KVR_ERR_DEVICE, "flush failed", reason,
			      reason_bytes);
	return KVR_OK;
}

static const struct kvr_accelerator_memory_ops memory_ops = {
	.export_dmabuf = export_dmabuf,
	.order_copies = order_copies,
	.allocate = allocate,
	.release = release,
	.copy = copy,
	.flush = flush,
};

static enum kvr_status probe(char *reason, size_t bytes)
{
	return refuse(KVR_OK, "played", reason, bytes);
}

static enum kvr_status device_info(uint32_t index, struct kvr_gpu_info *out,
				   char *reason, size_t bytes)
{
	if (fails(FAKE_DEVICE_INFO))
		return refuse(KVR_ERR_DEVICE, "fell off the bus", reason,
			      bytes);
	if (index > 0)
		return KVR_ERR_END;
	*out = fake.gpu;
	return KVR_OK;
}

static enum kvr_status pointer_query(const void *address,
				     struct kvr_pointer_info *out)
{
	const struct region *r = region_of(address);

	if (fails(FAKE_POINTER_QUERY))
		return KVR_ERR_DEVICE;
	*out = (struct kvr_pointer_info){.kind = KVR_POINTER_HOST};
	if (!r)
		return KVR_OK;
	*out = fake.pointer;
	out->base = (uintptr_t)r->address;
	out->bytes = r->bytes;
	return KVR_OK;
}

static const struct kvr_accelerator_ops accelerator = {
	.abi = KVR_ACCELERATOR_ABI,
	.size = sizeof(accelerator),
	.name = "fake",
	.probe = probe,
	.device_info = device_info,
	.pointer_query = pointer_query,
	.memory = &memory_ops,
};

const struct kvr_accelerator_ops *fake_present(void)
{
	return fake.other ? fake.other->ops : &accelerator;
}

/* ------------------------------------------------------------- the card */

#define KEYS 256

/* The library casts what it knows of; ours begins with it. */
struct fake_mr {
	struct ibv_mr mr;
	uint8_t *begin; /* in our address space */
	int access;
};

static struct fake_mr *keys[KEYS];

struct fake_qp {
	struct ibv_qp qp;
	int state;
};

struct fake_cq {
	struct ibv_cq cq;
	unsigned done, asked;
	enum ibv_wc_status status;
};

static struct verbs_context the_context;

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
	struct ibv_pd *pd;

	if (fails(FAKE_ALLOC_PD))
		return NULL;
	pd = calloc(1, sizeof(*pd));
	pd->context = context;
	fake.pds++;
	return pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	for (size_t i = 0; i < KEYS; i++)
		if (keys[i] && keys[i]->mr.pd == pd)
			bad("a domain goes before what is in it");
	free(pd);
	fake.pds--;
	return 0;
}

static struct ibv_mr *make_mr(struct ibv_pd *pd, void *begin, size_t bytes,
			      int access)
{
	struct fake_mr *mr = calloc(1, sizeof(*mr));

	if (access & IBV_ACCESS_REMOTE_WRITE &&
	    !(access & IBV_ACCESS_LOCAL_WRITE))
		bad("remote write without local write");
	for (uint32_t i = 1; i < KEYS; i++) {
		if (keys[i])
			continue;
		*mr = (struct fake_mr){
			.mr = {.context = pd->context,
			       .pd = pd,
			       .addr = begin,
			       .length = bytes,
			       .lkey = i,
			       .rkey = i},
			.begin = begin,
			.access = access,
		};
		keys[i] = mr;
		fake.mrs++;
		if (region_of(begin)) {
			fake.access = access;
			if (bytes > fake.longest_mr)
				fake.longest_mr = bytes;
		}
		return &mr->mr;
	}
	abort();
}

static struct ibv_mr *register_plain(struct ibv_pd *pd, void *address,
				     size_t bytes, int access)
{
	if (fails(FAKE_REG_MR))
		return NULL;
	fake.plain_mrs += region_of(address) != NULL;
	return make_mr(pd, address, bytes, access);
}

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *address, size_t bytes,
			  int access)
{
	return register_plain(pd, address, bytes, access);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *address, size_t bytes,
				uint64_t iova, unsigned access)
{
	(void)iova;
	/* The optional flags are the library's to drop. */
	return register_plain(pd, address, bytes,
			      (int)(access & ~IBV_ACCESS_OPTIONAL_RANGE));
}

static bool what_is_dmabuf(int fd, uint8_t **start, size_t *bytes)
{
	void *base;

	if (!fake.other)
		return pread(fd, start, sizeof(*start), 0) == sizeof(*start) &&
		       pread(fd, bytes, sizeof(*bytes), 8) == sizeof(*bytes);
	if (!fake.other->dmabuf(fd, &base, bytes))
		return false;
	*start = base;
	return true;
}

struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset,
				 size_t bytes, uint64_t iova, int fd,
				 int access)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *start;
	size_t whole;

	if (fd < 0) {
		errno = fake.nic_dmabuf == 0  ? EOPNOTSUPP
			: fake.nic_dmabuf > 0 ? EBADF
					      : EINVAL;
		return NULL;
	}
	if (fails(FAKE_REG_DMABUF))
		return NULL;
	if (!what_is_dmabuf(fd, &start, &whole)) {
		bad("no dma-buf");
		errno = EBADF;
		return NULL;
	}
	if (offset + bytes > whole)
		bad("reaches past the dma-buf");
	if (offset % page != iova % page)
		bad("offset and address differ within the page");
	if ((uint64_t)(uintptr_t)start + offset != iova)
		bad("the address is not where the offset is");
	fake.dmabuf_mrs++;
	return make_mr(pd, start + offset, bytes, access);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	if (mr->lkey < KEYS && keys[mr->lkey] == (struct fake_mr *)mr)
		keys[mr->lkey] = NULL;
	else
		bad("forgets what is not registered");
	free(mr);
	fake.mrs--;
	return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int depth, void *arg,
			     struct ibv_comp_channel *channel, int vector)
{
	struct fake_cq *cq;

	(void)depth;
	(void)arg;
	(void)vector;
	if (fails(FAKE_CREATE_CQ))
		return NULL;
	cq = calloc(1, sizeof(*cq));
	cq->cq.context = context;
	cq->cq.channel = channel;
	fake.cqs++;
	return &cq->cq;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
	free(cq);
	fake.cqs--;
	return 0;
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *init)
{
	struct fake_qp *qp;

	if (fails(FAKE_CREATE_QP))
		return NULL;
	qp = calloc(1, sizeof(*qp));
	qp->qp.context = pd->context;
	qp->qp.pd = pd;
	qp->qp.send_cq = init->send_cq;
	qp->qp.qp_num = 77;
	fake.qps++;
	return &qp->qp;
}

int ibv_destroy_qp(struct ibv_qp *qp)
{
	free(qp);
	fake.qps--;
	return 0;
}

int ibv_modify_qp(struct ibv_qp *base, struct ibv_qp_attr *attr, int mask)
{
	struct fake_qp *qp = (struct fake_qp *)base;

	(void)mask;
	if (fails(FAKE_MODIFY_QP))
		return fake.fail_errno;
	if (attr->qp_state == IBV_QPS_RTR && attr->dest_qp_num != 77)
		bad("a queue pair to another");
	qp->state = attr->qp_state;
	return 0;
}

int ibv_query_gid(struct ibv_context *context, uint8_t port, int index,
		  union ibv_gid *gid)
{
	(void)context;
	(void)port;
	(void)index;
	memset(gid, 0, sizeof(*gid));
	return 0;
}

static struct fake_mr *allowed(uint32_t key, const struct ibv_pd *pd,
			       uint64_t address, size_t bytes, int access)
{
	struct fake_mr *mr = key < KEYS ? keys[key] : NULL;

	if (!mr || mr->mr.pd != pd || (mr->access & access) != access ||
	    address < (uintptr_t)mr->mr.addr ||
	    address + bytes > (uintptr_t)mr->mr.addr + mr->mr.length)
		return NULL;
	return mr;
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad_wr)
{
	struct fake_cq *cq = (struct fake_cq *)qp->send_cq;
	const struct ibv_sge *sge = wr->sg_list;
	const bool read = wr->opcode == IBV_WR_RDMA_READ;
	void *host = (void *)(uintptr_t)sge->addr;
	void *there = (void *)(uintptr_t)wr->wr.rdma.remote_addr;

	*bad_wr = wr;
	if (fails(FAKE_POST_SEND))
		return fake.fail_errno;
	if (((struct fake_qp *)qp)->state != IBV_QPS_RTS)
		bad("posts before it is ready");
	cq->done++;
	cq->asked = 0;
	cq->status = IBV_WC_SUCCESS;
	fake.reads += read;
	if (!allowed(sge->lkey, qp->pd, sge->addr, sge->length,
		     read ? IBV_ACCESS_LOCAL_WRITE : 0) ||
	    !allowed(wr->wr.rdma.rkey, qp->pd, wr->wr.rdma.remote_addr,
		     sge->length,
		     read ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE))
		cq->status = IBV_WC_REM_ACCESS_ERR;
	else if (read)
		copy_bytes(host, there, sge->length);
	else if (fake.writes_arrive)
		copy_bytes(there, host, sge->length);
	return 0;
}

static int poll_cq(struct ibv_cq *base, int count, struct ibv_wc *wc)
{
	struct fake_cq *cq = (struct fake_cq *)base;

	(void)count;
	if (cq->done == 0 || cq->asked++ < fake.polls_until_done)
		return 0;
	cq->done--;
	*wc = (struct ibv_wc){.status = cq->status};
	if (fails(FAKE_POLL_CQ))
		wc->status = IBV_WC_RETRY_EXC_ERR;
	return 1;
}

void fake_reset(struct verbs_transport *t, uint32_t rails)
{
	static struct ibv_device device = {.name = "fake_0"};

	log_text[0] = '\0';
	own_thread = pthread_self();
	memset(regions, 0, sizeof(regions));
	memset(keys, 0, sizeof(keys));
	fake = (struct fake_machine){
		.gpu = {.size = sizeof(fake.gpu),
			.name = "NVIDIA A100",
			.pci_address = "fake:00:00.0",
			.compute_major = 8,
			.dmabuf = 1,
			.direct_rdma = 1},
		.pointer = {.kind = KVR_POINTER_DEVICE, .direct_rdma = true},
		.nic_dmabuf = 1,
		.writes_arrive = true,
		.fail_errno = EINVAL,
	};
	the_context.context.device = &device;
	the_context.context.ops.post_send = post_send;
	the_context.context.ops.poll_cq = poll_cq;
	sink = (struct kvr_log){.sink = keep_line, .level = KVR_LOG_DEBUG};
	*t = (struct verbs_transport){
		.log = &sink,
		.gpu = {.present = fake_present},
		.rails = rails,
	};
	for (uint32_t i = 0; i < rails; i++) {
		t->device[i].context = &the_context.context;
		t->device[i].port = 1;
		t->device[i].attr.max_mr_size = UINT64_MAX;
		t->device[i].pd_out = ibv_alloc_pd(&the_context.context);
	}
	fake.calls[FAKE_ALLOC_PD] = 0;
}
