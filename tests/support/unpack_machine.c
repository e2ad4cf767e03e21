/* SPDX-License-Identifier: Apache-2.0 */
/* unpack_machine FILE.tree DIRECTORY: for the tests of the command. */
#include <stdio.h>

#include "tests/support/machine.h"

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: unpack_machine FILE DIRECTORY\n");
		return 2;
	}
	return machine_unpack(argv[1], argv[2]) ? 0 : 1;
}
