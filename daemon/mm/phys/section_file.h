/* SPDX-License-Identifier: Apache-2.0 */
/*
 * section_file - the memfds of sections, some of the commonest made before they are wanted
 *
 * Purpose     A memfd that is sized, sealed and unnamed costs four system calls and an inode. Those
 *             of the smallest unnamed regions that are ready cost a client nothing.
 * Invariants  F1  A file has one section in its life: who had it before may still have it open.
 *             F2  At most `kept` files are ready; none before section_files_keep().
 *             F3  A file in the stock is as section_file_new() makes one: all holes.
 * Locking     a leaf mutex for what is ready; files are made and closed without it.
 * Crash       what is ready is nobody's, and ends with the daemon.
 * Not here    Sections and their records (section.h).
 */
#ifndef MMB_MM_PHYS_SECTION_FILE_H
#define MMB_MM_PHYS_SECTION_FILE_H

#include "mm/phys/section.h"

enum { SECTION_FILES_READY_MAX = 16 };

/* Of an unnamed region's section. */
#define SECTION_FILE_UNNAMED SECTION_FILE_PREFIX "region"

void section_files_init(void);
void section_files_fini(void);
/* So many shall be ready from now on. */
void section_files_keep(uint32_t nr);
/* Makes what is missing; takes a while. */
void section_files_refill(void);

/* A descriptor, the caller's, or -errno. */
int section_file_new(const char *name, uint64_t bytes, enum stock_kind kind);

#endif
