/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the conformance body; each returns the tests that failed. */
#ifndef TESTS_CONFORMANCE_TRANSPORT_SUITE_H
#define TESTS_CONFORMANCE_TRANSPORT_SUITE_H

int suite_data(void);
int suite_connect(void);
int suite_threads(void);
int suite_processes(void);

#endif
