/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corpus - reads files into the shared region
 *
 * Files are read into an ordinary buffer and copied: where the kernel gives an unprivileged client
 * a userfaultfd for its own faults only, a read() straight into a page that isn't there yet fails.
 */
#include "corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 256 << 10, BUFFER_BYTES = 128 << 10, BIG_PAGE = 2 << 20 };

/* What the list says, before there is a region. Sizes are taken once: a file that grows later is
 * read up to the size that the region was made for. */
struct listing {
	char            *text; /* the list itself, newlines turned into NULs */
	size_t           length;
	struct document *documents;
	uint32_t         nr;
	uint64_t         bytes; /* of all files, each with one more byte for its newline */
};

static uint64_t file_bytes(const char *name)
{
	struct stat st;

	return stat(name, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static int listing_add(struct listing *list, char *name)
{
	/* Grows at every power of two. */
	if ((list->nr & (list->nr - 1)) == 0) {
		size_t room = list->nr ? 2 * (size_t)list->nr : 1;
		struct document *more = reallocarray(list->documents, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		list->documents = more;
	}
	list->documents[list->nr++] = (struct document){ .name = name, .bytes = file_bytes(name) };
	list->bytes += list->documents[list->nr - 1].bytes + 1;
	return 0;
}

static int listing_read(const char *list_path, struct listing *list)
{
	size_t room = 0;
	ssize_t length;
	FILE *file = fopen(list_path, "re");
	int r = 0;

	*list = (struct listing){ 0 };
	if (!file)
		return -errno;
	length = getdelim(&list->text, &room, '\0', file);
	fclose(file);
	if (length <= 0)
		return -ENODATA;
	list->length = (size_t)length;
	for (char *name = list->text; name < list->text + length && r == 0;
	     name += strlen(name) + 1) {
		name[strcspn(name, "\n")] = '\0';
		r = listing_add(list, name);
	}
	return r;
}

/* Fills document->text with at most document->bytes bytes of the file and a newline. */
static int document_read(struct document *document, char *buffer)
{
	uint64_t limit = document->bytes, done = 0;
	ssize_t got = 0;
	int fd = open(document->name, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		perror(document->name);
		return -errno;
	}
	while (done < limit && (got = read(fd, buffer, BUFFER_BYTES)) > 0) {
		uint64_t piece = (uint64_t)got < limit - done ? (uint64_t)got : limit - done;

		memcpy(document->text + done, buffer, piece);
		done += piece;
	}
	close(fd);
	if (got < 0)
		return -EIO;
	document->text[done] = '\n';
	document->bytes = done + 1;
	return 0;
}

static void corpus_cut(struct corpus *corpus)
{
	struct chunk *chunk = corpus->chunks;
	uint64_t bytes = 0;

	*chunk = (struct chunk){ 0 };
	for (uint32_t i = 0; i < corpus->nr_documents; i++) {
		if (bytes >= CHUNK_BYTES) {
			*++chunk = (struct chunk){ .first = i };
			bytes = 0;
		}
		bytes += corpus->documents[i].bytes;
		chunk->nr++;
	}
	corpus->nr_chunks = (uint32_t)(chunk - corpus->chunks) + 1;
}

/* Lays the tables out behind the head and reads every document. */
static int corpus_fill(struct corpus *corpus, const struct listing *list)
{
	char *buffer = malloc(BUFFER_BYTES), *names;
	int r = buffer ? 0 : -ENOMEM;

	corpus->nr_documents = list->nr;
	corpus->documents = (struct document *)(corpus + 1);
	corpus->chunks = (struct chunk *)(corpus->documents + list->nr);
	names = (char *)(corpus->chunks + list->nr);
	corpus->text = names + list->length + 1;
	memcpy(names, list->text, list->length);
	for (uint32_t i = 0; i < list->nr && r == 0; i++) {
		struct document *document = &corpus->documents[i];

		*document = list->documents[i];
		document->name = names + (document->name - list->text);
		document->text = corpus->text + corpus->bytes;
		r = document_read(document, buffer);
		corpus->bytes += document->bytes;
	}
	free(buffer);
	if (r == 0)
		corpus_cut(corpus);
	return r;
}

int corpus_create(struct mmb_pool *pool, const char *list_path, struct mmb_region **out)
{
	struct mmb_region_options options = { .size = sizeof(options), .page_size = BIG_PAGE };
	struct listing list;
	uint64_t length;
	int r = listing_read(list_path, &list);

	if (r == 0) {
		length = sizeof(struct corpus) + list.length + 1 + list.bytes +
			 list.nr * (sizeof(struct document) + sizeof(struct chunk));
		length = (length + BIG_PAGE - 1) / BIG_PAGE * BIG_PAGE;
		r = mmb_region_open(pool, CORPUS_REGION, length,
				    MMB_REGION_CREATE | MMB_REGION_EXCL, &options, out);
	}
	if (r == 0)
		r = corpus_fill(mmb_region_address(*out), &list);
	free(list.documents);
	free(list.text);
	return r;
}
