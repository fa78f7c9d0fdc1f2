/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corpus - all documents in one region of 2 MiB pages
 *
 * Purpose     The text, a table of documents and a table of chunks (documents that one worker
 *             does in one go). A region has the same address in every client, so the tables hold
 *             plain pointers.
 * Invariants  C1  nothing changes after corpus_create: workers open the region read-only.
 *             C2  every document's text ends with a newline, so that no word spans two.
 */
#ifndef EXAMPLES_WORD_INDEX_CORPUS_H
#define EXAMPLES_WORD_INDEX_CORPUS_H

#include <mmbroker.h>
#include <stdint.h>

#define CORPUS_REGION "corpus"

struct document {
	const char *name;
	char       *text;
	uint64_t    bytes;
};

struct chunk {
	uint32_t first, nr; /* documents */
};

/* The head of the region. */
struct corpus {
	uint64_t         bytes; /* of text */
	uint32_t         nr_documents, nr_chunks;
	struct document *documents;
	struct chunk    *chunks;
	char            *text;
};

/* Reads the files named in list_path, one a line, into a new region of the pool. The region is
 * open until the caller closes it. 0 or a negative errno. */
int corpus_create(struct mmb_pool *pool, const char *list_path, struct mmb_region **out);

#endif
