"""What runs first in agent.pyz: there this file is its `__main__`.

An older Python has to be able to read it, so that it can say what is wrong.
"""

import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036 - nobody has chosen the Python of a machine for us
    sys.exit("agent: it needs Python 3.10 or newer; this is " + sys.version.split()[0])


def hold_file(path: str) -> None:
    """Modules come from the very file that was started, also after `agent update` has put another one in its place:
    half of each would be no program. `agent.__file__` goes on naming the path, which is where that other one is."""
    import agent

    held = "/proc/self/fd/" + str(os.open(path, os.O_RDONLY))
    if os.path.exists(held):  # noqa: PTH110 - nothing is imported before its time
        sys.path[0] = held
        agent.__path__[:] = [held + "/agent"]


def hold_certificates() -> None:
    """Certifi unpacks them into /tmp, where machines clear up after some days, and from then on no server could be
    checked any more. Here they are in memory, under a name that lasts as long as the program."""
    import certifi

    if hasattr(os, "memfd_create"):
        held = os.memfd_create("cacert.pem")
        with os.fdopen(held, "wb", closefd=False) as file:
            file.write(certifi.contents().encode())
        certifi.where = lambda: "/proc/self/fd/" + str(held)


hold_file(sys.path[0])
hold_certificates()

from agent.__main__ import start  # noqa: E402

start()
