/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_disk - a loop device to swap to, over a file that fails as a test wants it to
 *
 * Purpose     One a process: a folder, in it the file "disk" that the test makes, and the device.
 *             All of it goes when the process that made it ends.
 * Locking     none.
 */
#ifndef MMB_TESTS_SYSTEM_LOOP_DISK_H
#define MMB_TESTS_SYSTEM_LOOP_DISK_H

extern char loop_folder[64], loop_device[64];

/* Skips the case without root. mount: what is unmounted at the end, in the folder; "": itself. */
void loop_begin(const char *mount);
/* A shell command; its exit status. */
int  loop_run(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* losetup, with further options; skips the case if no device can be had. */
void loop_attach(const char *options);
void loop_end(void);

#endif
