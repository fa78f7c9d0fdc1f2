/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor - keeps the daemon's descriptors and restarts it
 *
 * Purpose     Without a service manager: runs the daemon as its child, holds the descriptors that
 *             the child hands it, and starts another one within milliseconds when it dies, which
 *             gets them and goes on. Signals are passed on; a planned end of the child is its own.
 *             A child that hangs is killed, as the service manager's watchdog would: it says that
 *             all its threads turn four times in $WATCHDOG_USEC (10 s; 0: it isn't watched). One
 *             that refuses the state of the last one is followed by the program of the last one.
 * Invariants  W1  the child's descriptors are taken out of the socket before another child begins.
 *             W2  one child at a time, and the next only when the last has been waited for: nothing
 *                 of its is still running; or when it has been ended and only threads that close
 *                 what clients have left are in the kernel still, which a client's file system may
 *                 hold up: none of them touches memory or files of the broker any more.
 *             W3  a child that dies before it serves is followed by the next more and more slowly;
 *                 after some the supervisor gives up.
 *             W4  once one has served, a child that says with an exit status that it can't is
 *                 followed by the next for ever, every 5 s at last: giving up would end every
 *                 client's memory, and what keeps it from serving can be mended.
 *             W5  after ten deaths within a minute of daemons that served the next one waits a
 *                 moment, and none is the last: what ends them is refused in the end.
 * Crash       of the supervisor: its child stops as planned. While no child runs it holds all that
 *             the next one needs; of both at once clients see a connection that closes.
 * Locking     one thread.
 * Not here    What the descriptors are.
 */
#ifndef MMB_APP_SUPERVISOR_H
#define MMB_APP_SUPERVISOR_H

/* The child's arguments are these without --supervise. Returns the exit status. */
int supervisor_run(int argc, char **argv);

#endif
