/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptors - how many this process has open, to see whether one was lost
 */
#ifndef MMB_TESTS_LIB_DESCRIPTORS_H
#define MMB_TESTS_LIB_DESCRIPTORS_H

unsigned int open_descriptors(void);

#endif
