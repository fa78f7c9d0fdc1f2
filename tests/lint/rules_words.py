# SPDX-License-Identifier: Apache-2.0
"""rules_words - words and names: what must not be written, what must be written, what must exist
"""
import os
import re

from rules import CHECKED, Problem, rule

FORBIDDEN = re.compile(r"\b(TODO|FIXME|XXX|HACK|WIP)\b|not (yet )?implemented", re.I)
CASED = {"todo", "fixme", "xxx", "hack", "wip"}
SUSPECT = (*sorted(CASED), "implemented")     # one of these is in whatever is forbidden
DEAD = re.compile(r"^[ \t]*#[ \t]*if[ \t]+0\b", re.M)
MACHINE = re.compile(r"(?:^|[^A-Za-z0-9_.~$}])(/(?:work|farm|root|tmp/build|home/\w+)(?:/|\b-?))")
PLACES = ("/work", "/farm", "/root", "/tmp/build", "/home/")
SPDX = "SPDX-License-Identifier: Apache-2.0"
HEAD = re.compile(r"/\* SPDX-License-Identifier: Apache-2\.0 \*/\n/\*(\n \*)? \S+( \S+)? - \S")
VAGUE = {"common", "util", "utils", "misc", "helpers", "helper", "stuff"}

# Named in comments and found in a library or the kernel rather than here.
FOREIGN = set("""
    main fork exec execve exit _exit abort malloc calloc realloc free mmap munmap mremap mprotect
    madvise process_madvise mlock mlock2 fallocate ftruncate memfd_create fchmod fcntl dup dup2
    close open openat read write pread pwrite recvmsg sendmsg poll epoll_wait epoll_ctl ioctl
    userfaultfd membarrier sched_getcpu sched_yield getcpu getrandom clock_gettime nanosleep
    pthread_create pthread_join pthread_atfork pthread_mutex_lock pthread_setaffinity_np
    sigaction raise kill waitpid wait fstat stat lseek mbind set_mempolicy move_pages memcpy
    memset memcmp strerror perror printf snprintf rseq pidfd_open pidfd_send_signal socketpair
    accept bind listen connect unlink rename fsync fdatasync sysconf setrlimit getrlimit prctl
    clone clone3 openat2 vfork posix_spawn sd_notify sd_listen_fds atexit qsort time sysinfo usleep
""".split())


def lines_with(text, *words):
    """(number, line) of each that has one of the words, in whatever case: quicker than a pattern"""
    lowered = text.lower()
    if any(word in lowered for word in words):
        for number, line in enumerate(text.split("\n"), 1):
            if any(word in line.lower() for word in words):
                yield number, line


@rule("nothing is marked as unfinished")
def unfinished(tree):
    for path in tree.paths():
        if path == "LICENSE":
            continue
        yield CHECKED
        for number, line in lines_with(tree.files[path], *SUSPECT):
            for match in FORBIDDEN.finditer(line):
                word = match.group(0)
                if word.lower() in CASED and not word.isupper():
                    continue
                yield Problem(path, number, f"says {word}")
        for match in DEAD.finditer(tree.files[path] if path.endswith((".c", ".h")) else ""):
            number = tree.files[path].count("\n", 0, match.start()) + 1
            yield Problem(path, number, "dead code under #if 0")


@rule("no file names a path of somebody's machine")
def machine_paths(tree):
    for path in tree.paths():
        yield CHECKED
        for number, line in lines_with(tree.files[path], *PLACES):
            match = MACHINE.search(line)
            if match:
                yield Problem(path, number, f"names {match.group(1)}")


@rule("every file has its licence line, every C file begins by saying what it is")
def head_comment(tree):
    for path in tree.paths(".c", ".h", ".py", ".proto", ".sh", "run", "check", own=True):
        yield CHECKED
        text = tree.files[path]
        if SPDX not in "\n".join(text.split("\n")[:3]):
            yield Problem(path, 1, "has no SPDX line on top")
        elif path.endswith((".c", ".h")) and not HEAD.match(text):
            yield Problem(path, 1, "has no head comment `name - what it is` after the SPDX line")


# By such calls changes what outlives the daemon; and the files that they stand in.
LASTING = re.compile(r"\b(?:record_(?:commit|free|end|word_set)|word_commit_busy|keep_fd|"
                     r"keep_drop|page_set_owner|section_add)\(")
PRIMITIVE = {"daemon/mm/phys/record", "daemon/os/keep", "daemon/mm/map/pageword"}
EPHEMERAL = {"daemon/mm/obj/own"}  # the daemon's own memory


@rule("who changes what outlives the daemon says what a crash leaves")
def crash(tree):
    for path in tree.paths(".c"):
        base = path[:-2]
        if not path.startswith("daemon/") or base in PRIMITIVE | EPHEMERAL:
            continue
        if not LASTING.search(tree.source(path).code):
            continue
        yield CHECKED
        said = tree.files[path] + tree.files.get(base + ".h", "")
        if not re.search(r"\bCrash\b", said):
            yield Problem(path, 1, "changes what outlives the daemon; neither it nor its header "
                          "says what a crash leaves")


@rule("no file has a name that could hold anything")
def vague_names(tree):
    for path in tree.c_paths():
        yield CHECKED
        if os.path.basename(path).rsplit(".", 1)[0] in VAGUE:
            yield Problem(path, 1, "a name that says nothing attracts everything")


@rule("comments hold no banners")
def banners(tree):
    for path in tree.c_paths():
        yield CHECKED
        for line, comment in tree.source(path).comments:
            if re.search(r"[-=*#]{10,}", comment):
                yield Problem(path, line, "banner comment")


def names_in_code(tree):
    known = set(FOREIGN)
    for path in tree.c_paths():
        known.update(re.findall(r"\b([A-Za-z_]\w*)\s*\(", tree.source(path).code))
        known.update(re.findall(r"\(\*\s*([A-Za-z_]\w*)\s*\)", tree.source(path).code))
    for path in tree.paths(".py", own=True):
        known.update(re.findall(r"\bdef (\w+)", tree.files[path]))
    return known


@rule("a function that a comment names exists")
def named_functions(tree):
    known = names_in_code(tree)
    for path in tree.c_paths():
        for line, comment in tree.source(path).comments:
            for match in re.finditer(r"\b([A-Za-z_]\w*)\(\)", comment):
                yield CHECKED
                if match.group(1) not in known:
                    yield Problem(path, line + comment.count("\n", 0, match.start()),
                                  f"{match.group(1)}() exists nowhere")
    for path in tree.paths(".md"):
        for number, line in enumerate(tree.files[path].split("\n"), 1):
            for name in re.findall(r"\b(mmb_\w+)\(", line):
                yield CHECKED
                if name not in known:
                    yield Problem(path, number, f"{name}() exists nowhere")
