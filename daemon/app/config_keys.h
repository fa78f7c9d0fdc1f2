/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_keys - every configuration key, once
 *
 * Purpose     The file's parser, the flags, the environment, --help and the manual page are all
 *             generated from this table, so that defaults can't differ between them.
 * Columns     section, key, TYPE, default, allowed, when, help
 *             allowed: "a|b|c" for ENUM (the value is the word's place), "low..high" for INT,
 *             DURATION (in its own syntax) and SIZE; "" for the rest.
 *             when: LIVE takes effect on reload, RESTART at the next start.
 * Types       SIZE      bytes, with K, M, G or T          -> uint64_t
 *             RESERVE   SIZE or N% of the host's memory   -> uint64_t, bytes
 *             DURATION  with ms, s or m; bare: seconds    -> uint64_t, milliseconds
 *             ENUM      one of a list of words            -> uint32_t
 *             INT       decimal                           -> uint32_t
 *             MODE      octal permission bits             -> uint32_t
 *             STRING                                      -> char *, never NULL
 */
#ifndef MMB_APP_CONFIG_KEYS_H
#define MMB_APP_CONFIG_KEYS_H

#define CONFIG_KEYS(X)                                                                         \
	X(memory, reserve, RESERVE, "25%", "", RESTART,                                        \
	  "ordinary memory that the broker owns, over all nodes")                              \
	X(memory, reserve_huge, RESERVE, "0", "", RESTART,                                     \
	  "memory in huge pages that the broker owns; 0: none")                                \
	X(memory, reserve_mode, ENUM, "account", "account|hold", RESTART,                      \
	  "hold takes the reserve at start, account only counts it")                           \
	X(memory, fault_deadline, DURATION, "60s", "100ms..60m", LIVE,                         \
	  "a page that can't be produced in this time is poisoned")                            \
	X(memory, pass_userfaultfd, ENUM, "group", "group|all|never", LIVE,                    \
	  "who gets /dev/userfaultfd: members of socket.group, all, nobody")                   \
	X(memory, fault_threads, INT, "0", "0..16", RESTART,                                   \
	  "threads that answer page faults; 0: one for each CPU, which are the most")          \
	X(memory, watermark_scale_factor, INT, "10", "1..3000", LIVE,                          \
	  "least distance between a zone's watermarks, in 1/10000 of its memory")              \
	X(memory, slub_debug, STRING, "", "", RESTART,                                         \
	  "checks on the daemon's own objects, as Linux has it: FZPU,cache; empty: none")      \
	X(swap, path, STRING, "", "", RESTART,                                                 \
	  "file or block device that pages go to when memory is short; empty: none")           \
	X(swap, size, SIZE, "0", "", RESTART,                                                  \
	  "size of the file, which is made if need be; 0: as large as it is")                  \
	X(swap, io, ENUM, "auto", "auto|threads", RESTART,                                     \
	  "auto is io_uring where the kernel lets us, threads is without")                     \
	X(socket, path, STRING, "", "", RESTART,                                               \
	  "where clients connect; empty: the user's or the system's runtime folder")           \
	X(socket, mode, MODE, "0660", "", RESTART, "permission bits of the socket")            \
	X(socket, group, STRING, "", "", RESTART,                                              \
	  "group of the socket, by name or number; empty: the daemon's own")                   \
	X(socket, admin_group, STRING, "", "", RESTART,                                        \
	  "group that may change things, beside root and the daemon's user; empty: none")      \
	X(log, level, ENUM, "info", "error|warning|notice|info|debug", LIVE,                   \
	  "least important lines that are logged")                                             \
	X(limits, sessions, INT, "1024", "1..16384", LIVE, "connected clients")                \
	X(limits, sessions_per_uid, INT, "512", "1..16384", LIVE,                              \
	  "connected clients of one user")                                                     \
	X(limits, regions_per_session, INT, "16384", "1..262143", LIVE,                        \
	  "regions that one client has open")                                                  \
	X(limits, regions_per_uid, INT, "32768", "1..1048576", LIVE,                            \
	  "regions that exist for one user")                                                   \
	X(limits, span_per_uid, SIZE, "2T", "1G..16T", LIVE,                                   \
	  "what one user's regions and arenas span together, resident or not")                 \
	X(limits, requests_in_flight, INT, "64", "1..1024", LIVE,                              \
	  "requests of one client that are being worked on")                                   \
	X(limits, upcall_deadline, DURATION, "5s", "10ms..5m", LIVE,                           \
	  "a client that doesn't acknowledge an upcall in this time is unresponsive")          \
	X(limits, hello_deadline, DURATION, "5s", "10ms..5m", LIVE,                            \
	  "a connection that says nothing in this time is closed")                             \
	X(control, workers, INT, "2", "1..16", RESTART, "threads that serve requests")

#endif
