"""Arguments of the command line, whichever command they belong to."""

from __future__ import annotations

import argparse
from typing import NoReturn

from backend.api import ErrorCode
from backend.errors import MaquetteError


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one sentence, like every other failure: it raises `MaquetteError`."""

    def error(self, message: str) -> NoReturn:
        sentence = f"{message[0].upper()}{message[1:].rstrip('.')}; see '{self.prog} --help'."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="command line")
