/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VHX_TESTS_FDS_H
#define VHX_TESTS_FDS_H

/* How many descriptors this process has: for a test to find one that was left open. */
int fds_open(void);

#endif
