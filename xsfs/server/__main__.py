# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`python -m xsfs.server`: the embedded store as a process of its own."""

from __future__ import annotations

import argparse
import logging
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xsfs import jsontree
from xsfs.server import sample
from xsfs.server.access import DOMID_FIRST_RESERVED
from xsfs.server.listener import Listener
from xsfs.server.rules import BY_NAME, C_XENSTORED
from xsfs.server.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 after SIGTERM or SIGINT, 1 if it cannot serve."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="xsfs.server: %(message)s", level=logging.WARNING)
    store = Store(BY_NAME[options.like])
    try:
        if options.load is not None:
            store.load_nodes(jsontree.loads(options.load.read_bytes()))
        elif options.sample:
            sample.load(store)
        _allow_many_connections()
        with Listener(store, {0: options.socket, **dict(options.domain)}) as listener:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: listener.stop())
            print("listening", flush=True)
            listener.run()
    except OSError as error:
        what = error.filename or options.socket
        print(f"xsfs.server: {what}: {error.strerror}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"xsfs.server: {options.load}: {error}", file=sys.stderr)
        return 1
    return 0


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _domain(text: str) -> tuple[int, str]:
    number, equals, path = text.partition("=")
    if not (equals and number.isdigit() and 0 < int(number) < DOMID_FIRST_RESERVED and path):
        raise argparse.ArgumentTypeError(f"{text}: DOMID=PATH is needed")
    return int(number), path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xsfs.server", description="A XenStore daemon without Xen."
    )
    parser.add_argument("--socket", required=True, metavar="PATH", help="where to listen")
    parser.add_argument(
        "--domain",
        action="append",
        default=[],
        type=_domain,
        metavar="N=PATH",
        help="a socket that speaks as the unprivileged domain N; as often as needed",
    )
    parser.add_argument("--load", type=Path, metavar="FILE.json", help="what is in the store")
    parser.add_argument("--sample", action="store_true", help="put a host with guests in it")
    parser.add_argument(
        "--like",
        choices=sorted(BY_NAME),
        default=C_XENSTORED.name,
        help="which real daemon to follow where they differ (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
