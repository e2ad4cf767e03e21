/* SPDX-License-Identifier: Apache-2.0 */
/* Says what kvr_accelerator_open says, twice, and each GPU. A plug-in is
 * loaded once a process: test_accelerator.c starts one for each case. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/accelerator.h"

int main(void)
{
	const struct kvr_accelerator_ops *ops = NULL, *again = NULL;
	struct kvr_gpu_info gpu;
	enum kvr_status status;
	char reason[256];
	pid_t child;
	int code = 1;

	status = kvr_accelerator_open(&ops, reason, sizeof(reason));
	printf("%s %s\n", kvr_status_name(status), reason);
	status = kvr_accelerator_open(&again, reason, sizeof(reason));
	printf("%s %s %s\n", kvr_status_name(status), reason,
	       ops == again ? "same" : "other");
	for (uint32_t i = 0; i < 3; i++) {
		kvr_gpu_info_init(&gpu);
		status = kvr_gpu_get_info(i, &gpu, reason, sizeof(reason));
		printf("%s [%s] %s\n", kvr_status_name(status), reason,
		       gpu.name);
	}
	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(kvr_accelerator_present() != NULL);
	waitpid(child, &code, 0);
	printf("present: %s, in a child: %s\n",
	       kvr_accelerator_present() ? "yes" : "no",
	       WEXITSTATUS(code) ? "yes" : "no");
	return 0;
}
