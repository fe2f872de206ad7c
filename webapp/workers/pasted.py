"""The line to paste on a machine: it fetches agent.pyz from this server, checks it, keeps it and starts it.

It needs a `python3` and nothing else. Whether the server's certificate is good doesn't matter for the fetching: the line
itself says which bytes it wants, by their SHA-256, and nothing of them runs, or is kept, before that has been compared.
What comes after, the agent's own calls, is checked as usual, or against the certificate that the line pins.
"""

import shlex
from collections.abc import Sequence

# Its arguments: the checksum, then what the agent is started with, of which the third is the server's address. No
# apostrophe may be in it (it stands between two), and an older Python has to be able to read it.
PROGRAM = ";".join(
    (
        "import hashlib,os,ssl,sys,urllib.request as web",
        'sys.version_info<(3,10) and sys.exit("The agent needs Python 3.10 or newer; this is "+sys.version.split()[0])',
        'sys.excepthook=lambda kind,error,trace:sys.stderr.write("No agent was started: %s\\n"%error)',
        "wanted,*words=sys.argv[1:]",
        "way=ssl.create_default_context()",
        "way.check_hostname=False",
        "way.verify_mode=ssl.CERT_NONE",
        'body=web.urlopen(words[2]+"/agent.pyz",timeout=60,context=way).read()',
        'hashlib.sha256(body).hexdigest()==wanted or sys.exit("No agent was started: the file is not the one that '
        "this line names (another checksum). Make a new line on the server; if that does not help, somebody is in "
        'between.")',
        'path=os.path.expanduser("~/.garageswarm/agent.pyz")',
        "os.makedirs(os.path.dirname(path),0o700,exist_ok=True)",
        'file=open(path+".new","wb")',
        "file.write(body)",
        "file.close()",
        "os.replace(file.name,path)",
        "os.execv(sys.executable,[sys.executable,path]+words)",
    )
)


def line(token: str, sha256: str, origin: str, options: Sequence[str]) -> str:
    """The token goes by the environment: other people on the machine can read a program's arguments."""
    return f"{_given(token)} python3 -c '{PROGRAM}' {sha256} {_run(origin, options)}"


def by_hand(token: str, program: str, origin: str, options: Sequence[str]) -> str:
    """The same for who has the program already: `python3 agent.pyz`, or `python3 -m agent` in a checkout."""
    return " ".join([*([_given(token)] if token else []), program, _run(origin, options)])


def _given(token: str) -> str:
    return f"AGENT_JOIN_TOKEN={shlex.quote(token)}"


def _run(origin: str, options: Sequence[str]) -> str:
    return shlex.join(["run", "--server", origin, *options])
