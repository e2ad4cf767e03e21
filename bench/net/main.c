/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvring-bench: the program behind `kvring bench`. Apart from the command,
 * because it drives the transport seam, which is not in the public headers.
 */
#include "bench/net/tests.h"
#include "runtime/clock.h"

int main(int argc, char **argv)
{
	static const ranks_body bodies[NET_TESTS] = {
		[NET_LAT] = lat_run,	     [NET_BW] = bw_run,
		[NET_CREDIT] = lat_run,	     [NET_PASS] = pass_run,
		[NET_OVERLAP] = overlap_run,
	};
	uint64_t begin_ns = kvr_clock_ns();
	struct net_options options;

	net_options_parse(argc, argv, &options);
	options.begin_ns = begin_ns;
	ranks_run(&options, bodies[options.test]);
	return 0;
}
