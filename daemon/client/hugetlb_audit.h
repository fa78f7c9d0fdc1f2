/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugetlb_audit - clients that reserve the host's hugepages through our descriptor
 *
 * Purpose     A client that maps a hugetlb descriptor without MAP_NORESERVE takes hugepages from
 *             the whole host, invisible in the file. The broker itself reserves nothing, so a
 *             reservation that appears is searched for in the clients' smaps, and the session that
 *             did it ends.
 */
#ifndef MMB_CLIENT_HUGETLB_AUDIT_H
#define MMB_CLIENT_HUGETLB_AUDIT_H

/* Notes what is reserved before any client comes. */
void hugetlb_audit_init(void);
/* Once a second; waits for nobody. */
void hugetlb_audit(void);
/* No search begins any more: waits for one under way, for a second, since a client may hold it up
 * for ever. */
void hugetlb_audit_stop(void);

#endif
