"""Why a measurement ends without a figure."""


class BenchError(Exception):
    """A part did not start, did not answer, or answered something else than what is to be measured."""


class MissingError(BenchError):
    """A program that only a comparison needs is not on this machine; that line is left out."""
