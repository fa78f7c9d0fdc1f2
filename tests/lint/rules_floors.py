# SPDX-License-Identifier: Apache-2.0
"""rules_floors - who may include whom

The floors are those of docs/architecture.md. A daemon file includes "floor/name.h" relative to
daemon/; proto/ and the public header are named from the root and from include/.
"""
import os
import re

from rules import CHECKED, Problem, rule

FLOORS = {"daemon/base": 0, "daemon/os": 1, "daemon/mm/phys": 2, "daemon/mm/obj": 3,
          "daemon/mm/map": 4, "daemon/mm/balance": 5, "daemon/mm/space": 6, "daemon/client": 7,
          "daemon/ipc": 8, "daemon/app": 9}
PUBLIC = "include/mmbroker.h"
GENERATED = re.compile(r"\.pb-c\.h$")

# folder of the includer -> prefixes that it may include, beside its own folder
OUTSIDE = {
    "include": (),
    "proto": ("proto/",),
    "libclient": ("libclient/", "proto/", "include/"),
    "tools": ("tools/", "proto/", "include/"),
    "examples": ("examples/", "include/"),
    "bench": ("bench/", "daemon/", "libclient/", "proto/", "include/", "tests/lib/"),
    "tests": ("tests/", "daemon/", "libclient/", "proto/", "include/", "bench/lib/", "tools/"),
}
# libraries that belong to some floors only
LIBRARIES = {
    "liburing.h": ("daemon/os",), "xxhash.h": ("daemon/mm/balance",),
    "hwloc.h": ("daemon/os",), "numa.h": ("daemon/os",),
    "numaif.h": ("daemon/os",), "linux/userfaultfd.h": ("daemon/os",),
    "event2/": ("daemon/ipc",), "protobuf-c/": ("daemon/ipc",),
    "systemd/": ("daemon/app",), "ini.h": ("daemon/app",),
}
FLOOR_OF_PUBLIC = 6      # from here on the protocol's words and the public header's are spoken
FOR_ALL = {"proto/uffd_compat.h"}     # what an older kernel header lacks, once for both sides


def floor_of(path):
    return next((f for folder, f in FLOORS.items() if path.startswith(folder + "/")), None)


def resolve(tree, path, name):
    """The repository's file behind #include "name" in path, or None."""
    near = os.path.normpath(os.path.join(os.path.dirname(path), name))
    for candidate in (near, "daemon/" + name, name, "include/" + name, "tests/" + name,
                      "bench/" + name, "libclient/" + name, "tools/" + name):
        if candidate in tree.files:
            return candidate
    return None


def quoted_includes(tree, path):
    for line, mark, name in tree.source(path).includes:
        if mark == '"' and not GENERATED.search(name):
            yield line, name, resolve(tree, path, name)


@rule("a file includes from its own floor or a lower one")
def floors(tree):
    for path in tree.c_paths("daemon/"):
        floor = floor_of(path)
        yield CHECKED
        if floor is None:
            yield Problem(path, 1, "stands on no floor of the daemon")
            continue
        for line, name, target in quoted_includes(tree, path):
            if target is None:
                yield Problem(path, line, f'"{name}" is no file of the repository')
            elif target == PUBLIC or target.startswith("proto/"):
                if floor < FLOOR_OF_PUBLIC and target not in FOR_ALL:
                    yield Problem(path, line, f"floor {floor} includes {target}: the protocol "
                                  f"and the public header begin at floor {FLOOR_OF_PUBLIC}")
            elif floor_of(target) is None:
                yield Problem(path, line, f"the daemon includes {target}")
            elif floor_of(target) > floor:
                yield Problem(path, line, f"floor {floor} includes floor {floor_of(target)}: "
                              f"{target}")


@rule("library, tools, examples and public header keep to their side of the border")
def borders(tree):
    for top, allowed in OUTSIDE.items():
        for path in tree.c_paths(top + "/"):
            yield CHECKED
            for line, name, target in quoted_includes(tree, path):
                if target is None:
                    yield Problem(path, line, f'"{name}" is no file of the repository')
                elif not target.startswith(allowed or ("\0",)):
                    yield Problem(path, line, f"{top}/ may not include {target}")


@rule("an outside library is used on its own floor only")
def libraries(tree):
    for path in tree.c_paths("daemon/"):
        for line, mark, name in tree.source(path).includes:
            owners = next((o for prefix, o in LIBRARIES.items()
                           if name == prefix or (prefix.endswith("/") and name.startswith(prefix))),
                          None)
            if mark != "<" or owners is None:
                continue
            yield CHECKED
            if not path.startswith(owners):
                yield Problem(path, line, f"<{name}> belongs to {', '.join(owners)}")


@rule("includes form no circle")
def circles(tree):
    graph = {path: [t for _, _, t in quoted_includes(tree, path) if t and t.endswith(".h")]
             for path in tree.c_paths() if path.endswith(".h")}
    done, trail = set(), []

    def visit(path):
        if path in trail:
            yield Problem(path, 1, "circle: " + " -> ".join(trail[trail.index(path):] + [path]))
        elif path not in done:
            trail.append(path)
            for target in graph.get(path, []):
                yield from visit(target)
            trail.pop()
            done.add(path)

    for path in graph:
        yield CHECKED
        yield from visit(path)


@rule("the public folder holds the public header alone")
def public(tree):
    for path in tree.paths(under="include/"):
        yield CHECKED
        if path not in (PUBLIC, "include/meson.build"):
            yield Problem(path, 1, "only mmbroker.h is public")
