/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who holds a lock on a file? An OFD lock has no owner that fcntl(2) could name, but /proc shows, for
 * every descriptor of the processes that we may look into, the locks held through it.
 */
#ifndef VHX_DEVICE_HOLDER_H
#define VHX_DEVICE_HOLDER_H

#include "util/base.h"

/*
 * Writes "process 123 (name)", "this process", or "another process" when nothing more can be known.
 * @fd: the file; locks held through @fd itself do not count.
 */
void vhx_holder_describe(int fd, char *text, size_t text_len);

#endif
