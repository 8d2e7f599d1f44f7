#!/usr/bin/env python3
"""Calls the operations of a misc driver that `nook-run DRIVER --serve PATH` serves.

    with nook_client.Client("/run/edu.sock") as edu:
        edu.call("factorial", (5).to_bytes(4, "little"))

As a program: nook_client.py PATH OPERATION [BYTES], with bytes in hexadecimal. The protocol is in docs/calls.md.
Needs Python 3.8 and nothing else.
"""

import socket
import sys

MOST_LINE_BYTES = 8192
REASONS = ("invalid", "refused", "lost", "given-up", "ended")


class CallError(Exception):
    """A call without output: `reason` is one of REASONS, or None if the connection failed."""

    def __init__(self, reason, why):
        super().__init__(f"{reason}: {why}" if reason else why)
        self.reason = reason


class Client:
    """A connection to a nook. Calls on it are done one after the other."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise CallError(None, f"nothing serves calls at {path}: {error}") from error
        self._answers = self._socket.makefile("rb")

    def call(self, operation, data=b""):
        """Does `operation` with these bytes, and returns what it gives. Raises CallError if it gives nothing."""
        if not operation or any(character.isspace() or not character.isprintable() for character in operation):
            raise CallError("invalid", f"{operation!r} is no name of an operation")
        try:
            self._socket.sendall(f"{operation} {data.hex() or '-'}\n".encode())
        except OSError:
            pass  # A nook that refuses what comes closes the connection, and has said why before.
        try:
            line = self._answers.readline(MOST_LINE_BYTES).decode()
        except OSError as error:
            raise CallError(None, f"the connection failed: {error}") from error
        word, _, rest = line.rstrip("\n").partition(" ")
        if not line.endswith("\n"):
            raise CallError(None, "the nook closed the connection before it answered")
        if word == "done":
            return b"" if rest == "-" else bytes.fromhex(rest)
        if word in REASONS:
            raise CallError(word, rest)
        raise CallError(None, f"what came is no answer: {line!r}")

    def close(self):
        self._answers.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main(arguments):
    if len(arguments) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    path, operation, *data = arguments
    try:
        with Client(path) as nook:
            print(nook.call(operation, bytes.fromhex("".join(data).replace("-", ""))).hex() or "-")
    except (CallError, ValueError) as error:
        print(f"nook_client: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
