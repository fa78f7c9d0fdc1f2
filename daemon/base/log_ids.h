/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_ids - the journal's message ids of events that administrators look for
 *
 * Purpose     An id stays with its event for good: scripts filter by it, and the catalogue
 *             (systemd/mmbroker.catalog) explains it. An event without a row has no id, but its
 *             name in MMB_EVENT as all have.
 */
#ifndef MMB_BASE_LOG_IDS_H
#define MMB_BASE_LOG_IDS_H

#define LOG_IDS(X) \
	X(ready, "3eda8e3cfd9b4497b194922cca8a7792")                          \
	X(stopping, "42109320230246c9bd7840c79acebacf")                       \
	X(start_failed, "9f582e51aa4249f58b2a46d8582da34e")                   \
	X(socket_failed, "79cd23e08e654e15b707a0d0ab7301d1")                  \
	X(check_failed, "8b01548aa92c47528d7cfe620a4401e3")                   \
	X(worker_hung, "48592cd1d96344bca0df4e6bb5f7a1ff")                    \
	X(reload, "fedb591f826e43e38c8c306919f914bb")                         \
	X(reload_refused, "63ef8e08037547a690a49c7ed97dcbf2")                 \
	X(drain_begin, "f0d4b9146c2c479086e29b8ae696d10e")                    \
	X(drain_end, "bacccc9d0bd24187a3e7e7bfcc772c7d")                      \
	X(resumed, "d87537a094c144ecab81069808625924")                        \
	X(handed_over, "6e451811fa5d4e4e8bc224b7d6681c24")                    \
	X(state_refused, "b4e8572531f64b8887155ba29e61a035")                   \
	X(config_kept, "3e922ad4f4b8428fb0e05d2d201b40d3")                     \
	X(daemon_hung, "e0f36b43bbae4bb1b7d2ee9e63a83ab7")                     \
	X(daemon_died, "b3a45e91c66d40ad97360404a4a5762e")                     \
	X(death_loop, "494eef7cc62e4deb9d9301781e85a675")                      \
	X(request_refused, "e3ea450aa469410699c4d7db132e156d")                 \
	X(session_end, "74772ecdff024009a769389252749640")                    \
	X(session_cut, "9acaf88a513943b281550f91e931041c")                    \
	X(bad_message, "09a10ac10e1f44e69b7d7dfd834969ed")                    \
	X(client_killed, "329ef4a3ab594ccea95ed308666495be")                  \
	X(client_unresponsive, "7e4c5264799541ecbacfb11828793768")            \
	X(page_poisoned, "860cbbf336914d16acf301f87fbf71af")                  \
	X(fault_deadline, "37f22600a91443ffaaa236d823d140ee")                 \
	X(frames_conjured, "3c89b16c57d9474aa56045157eaef86f")                \
	X(slab_corruption, "cdca1b95256447819d9ec5713cb09f25")                \
	X(descriptors_exhausted, "72cb018de2bb413a90bf80bd06c7312b")          \
	X(descriptors_unread, "5f3c1e0b7a4e4d0b9a51c6b7e2d84f19")             \
	X(descriptors_in_flight, "c2b7d6a90f1b4f6fb8a3e5d41c7092ae")          \
	X(no_userfaultfd_device, "9f5c871c790f4ae5b5146b5e21e403f5")          \
	X(account_mode, "59d00943ffba4e2190350c54e7a834c2")                   \
	X(log_lost, "520422d3762e4adb966b31b90f260057")

#endif
