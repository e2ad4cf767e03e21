/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress_bar.h"

#include <stdio.h>
#include <unistd.h>

#define WIDTH 40

struct progress_bar progress_bar_begin(const char *label)
{
	return (struct progress_bar){.label = label,
				     .visible = isatty(STDERR_FILENO)};
}

void progress_bar_show(const struct progress_bar *bar, double fraction)
{
	char cells[WIDTH + 1];
	int i;

	if (!bar->visible)
		return;
	for (i = 0; i < WIDTH; i++)
		cells[i] = i < fraction * WIDTH ? '#' : '.';
	cells[WIDTH] = '\0';
	fprintf(stderr, "\r%s [%s] %3.0f %%", bar->label, cells,
		fraction * 100);
	fflush(stderr);
}

void progress_bar_end(const struct progress_bar *bar)
{
	if (bar->visible)
		fputs("\r\033[K", stderr);
}
