/* SPDX-License-Identifier: Apache-2.0 */
/*
 * activation - the listening socket that the service manager made
 *
 * Not here    What is done with it (server_options.listen_fd of ipc/server.h).
 */
#ifndef MMB_APP_ACTIVATION_H
#define MMB_APP_ACTIVATION_H

/* The one listening SOCK_SEQPACKET unix socket among the inherited descriptors; -1: none was
 * passed; -EINVAL: more than one, or one of another kind. */
int activation_socket(void);

#endif
