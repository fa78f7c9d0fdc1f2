/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address - which client addresses windows get
 *
 * Purpose     One table of address ranges, from which every arena and region gets a place of its
 *             own, so that it can have the same address in every client.
 * Invariants  X1  two live arenas or regions never share an address.
 * Locking     one leaf mutex inside.
 */
#ifndef MMB_CLIENT_ADDRESS_H
#define MMB_CLIENT_ADDRESS_H

#include "base/range_alloc.h"

void addresses_init(void);
/* `align` is a power of two. -EADDRNOTAVAIL: no room. r->start is the address. */
int address_alloc(struct range *r, uint64_t length, uint64_t align);
/*
 * For what is touched at its beginning first: `lead` bytes, a multiple of align, lie before a
 * multiple of ADDRESS_SPAN, if there is room so, and all else behind. A table of page tables is for
 * one span, and of each that it has touched, a process that ends looks at all entries that lie in
 * the window: 40 us where one of huge pages begins with a span.
 */
#define ADDRESS_SPAN (1ull << 30)
int address_alloc_early(struct range *r, uint64_t length, uint64_t align, uint64_t lead);
/* Exactly there, as it was before; -EADDRNOTAVAIL. */
int address_take(struct range *r, uint64_t start, uint64_t length);
/* An allocated range is another's from now on. */
void address_move(struct range *to, struct range *from);
void address_free(struct range *r);
/* Where a session finds room of its own when the common address is taken. */
extern const uint64_t address_private_bounds[2];
/* Can a client have a window there at all? */
bool address_is_legal(uint64_t address, uint64_t length);
void addresses_validate(struct validation *v);

#endif
