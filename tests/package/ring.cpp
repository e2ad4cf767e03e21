// SPDX-License-Identifier: Apache-2.0
// The library from C++17: each rank's number goes round and is added up.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

#include <kvring/attention.h>
#include <kvring/bootstrap.h>
#include <kvring/device.h>

namespace {

void check(kvr_status status)
{
	if (status != KVR_OK)
		throw std::runtime_error(kvr_status_text(status));
}

template <auto close> struct closes {
	template <class T> void operator()(T *object) const { close(object); }
};
using context_ptr = std::unique_ptr<kvr_context, closes<kvr_context_close>>;
using memory_ptr = std::unique_ptr<kvr_memory, closes<kvr_memory_deregister>>;
using ring_ptr = std::unique_ptr<kvr_ring, closes<kvr_ring_close>>;

std::uint64_t add_up(kvr_ring *ring, const kvr_segment &mine)
{
	std::uint64_t sum = 0;
	kvr_status status;
	kvr_pass *pass;
	kvr_pass_desc desc;
	kvr_block block;

	kvr_pass_desc_init(&desc);
	desc.lane[0].segments = &mine;
	desc.lane[0].segment_count = 1;
	kvr_block_init(&block);
	check(kvr_pass_begin(ring, &desc, &pass));
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK) {
		std::uint64_t theirs;
		std::memcpy(&theirs, block.data, sizeof(theirs));
		sum += theirs;
		check(kvr_pass_release(pass, 0, block.step));
	}
	if (status != KVR_ERR_END)
		check(status);
	check(kvr_pass_end(pass));
	return sum;
}

std::uint64_t run(const kvr_bootstrap &who)
{
	std::uint64_t number = 1 + who.rank;
	kvr_ring_options options;
	kvr_context *context;
	kvr_memory *memory;
	kvr_ring *ring;

	check(kvr_context_open(nullptr, &context));
	const context_ptr own_context(context);
	check(kvr_memory_register(context, &number, sizeof(number), &memory));
	const memory_ptr own_memory(memory);
	kvr_ring_options_init(&options);
	options.lane[0].slot_bytes = sizeof(number);
	check(kvr_ring_open(context, &who, &options, &ring));
	const ring_ptr own_ring(ring);
	return add_up(ring, {memory, 0, sizeof(number)});
}

} // namespace

int main()
try {
	kvr_bootstrap who;

	check(kvr_bootstrap_open(nullptr, &who));
	const auto sum = run(who);
	std::printf("rank %u of %u: the sum is %u\n", who.rank, who.n,
		    static_cast<unsigned>(sum));
	const auto right = sum == who.n * (who.n + 1ul) / 2;
	kvr_bootstrap_close(&who);
	return right ? 0 : 1;
} catch (const std::exception &error) {
	std::fprintf(stderr, "%s\n", error.what());
	return 1;
}
